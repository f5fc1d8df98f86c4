package exact

import (
	"strings"
	"testing"

	"lockkeeper/cluster"
)

func live(image string, more ...any) m {
	containers := l{m{"name": "web", "image": image, "env": l{m{"name": "A", "value": "1"}, m{"name": "B", "value": "2"}}}}
	return m{
		"metadata": m{"name": "x", "uid": "u", "resourceVersion": image, "labels": m{"app.kubernetes.io/name": "x"}},
		"spec":     m{"containers": append(containers, more...), "tags": l{"a", "b"}},
		"status":   m{"seen": image},
	}
}

func TestUnlikeTellsWhatWasNotPredicted(t *testing.T) {
	image := cluster.FieldChange{Path: "spec.containers[name=web].image", Op: cluster.Set, Before: "one", After: "two"}
	gone := cluster.FieldChange{Path: "spec.containers[name=web].env[name=A]", Op: cluster.Remove}
	label := cluster.FieldChange{Path: `metadata.labels["app.kubernetes.io/name"]`, Op: cluster.Set, After: "y"}
	tag := cluster.FieldChange{Path: "spec.tags[=b]", Op: cluster.Remove}
	for name, c := range map[string]struct {
		fields []cluster.FieldChange
		after  func(m)
		want   string
	}{
		"as predicted":              {[]cluster.FieldChange{image}, func(m) {}, ""},
		"a field more":              {nil, func(m) {}, "image: predicted \"one\", observed \"two\""},
		"a value of the server's":   {[]cluster.FieldChange{{Path: image.Path, Op: cluster.Set, Server: true}}, func(m) {}, ""},
		"an item that did not go":   {[]cluster.FieldChange{image, gone}, func(m) {}, "env"},
		"a label that did not turn": {[]cluster.FieldChange{image, label}, func(m) {}, "app.kubernetes.io/name"},
		"an item of a set":          {[]cluster.FieldChange{image, tag}, func(o m) { o["spec"].(m)["tags"] = l{"a"} }, ""},
		"a path that leads nowhere": {[]cluster.FieldChange{{Path: "spec.containers[name=db].image", Op: cluster.Set}}, func(m) {}, "does not fit"},
	} {
		t.Run(name, func(t *testing.T) {
			after := live("two")
			c.after(after)
			got := Unlike(cluster.Change{Action: cluster.Update, Fields: c.fields}, live("one"), after)
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestUnlikeTellsWhatIsThereAndShouldNot(t *testing.T) {
	for _, c := range []struct {
		action        cluster.Action
		before, after m
		want          string
	}{
		{cluster.Delete, live("one"), nil, ""},
		{cluster.Delete, live("one"), live("one"), "still there"},
		{cluster.Create, nil, live("one"), ""},
		{cluster.Create, nil, nil, "it is there: false"},
		{cluster.Replace, live("one"), live("one"), "the same object"},
		{cluster.Update, live("one"), nil, "it is there: false"},
	} {
		got := Unlike(cluster.Change{Action: c.action}, c.before, c.after)
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.action, got, c.want)
		}
	}
}
