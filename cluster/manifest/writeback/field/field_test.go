package field

import (
	"fmt"
	"testing"

	"lockkeeper/cluster"
)

var object = map[string]any{
	"metadata": map[string]any{"labels": map[string]any{"app.kubernetes.io/name": "web"}, "finalizers": []any{"a/b", "c"}},
	"spec": map[string]any{
		"ports": []any{map[string]any{"port": int64(80), "name": "http"}, map[string]any{"port": int64(80), "protocol": "UDP"}},
		"list":  []any{[]any{"x", "y"}},
	},
}

func TestPathsAreFollowed(t *testing.T) {
	for path, want := range map[string]string{
		`metadata.labels["app.kubernetes.io/name"]`:   "web",
		`metadata.finalizers[=a/b]`:                   "a/b",
		`spec.ports[port=80,protocol=TCP].name`:       "http",
		`spec.ports[port=80,protocol=UDP].protocol`:   "UDP",
		`spec.ports[name="http"].port`:                "80",
		`spec.list[0][1]`:                             "y",
		`spec.ports[port=81,protocol=TCP].name`:       "<nil>",
		`spec.ports.name`:                             "<nil>",
		`spec["ports"][1]`:                            "map[port:80 protocol:UDP]",
		`metadata.labels["app.kubernetes.io/name"].x`: "<nil>",
	} {
		p, err := Parse(path)
		if err != nil {
			t.Error(err)
			continue
		}
		if got, _ := Get(object, p); fmt.Sprint(got) != want {
			t.Errorf("%s is %v, want %s", path, got, want)
		}
	}
	for _, bad := range []string{"", ".a", "a..b", "a[", "a[x]", "a[-1]", `a["x`, `a["x"b]`, "a[b=c", "a[b=c,1]", "a]b[", "a[0]b"} {
		if p, err := Parse(bad); err == nil && bad != "a]b[" {
			t.Errorf("%q is read as %v", bad, p)
		}
	}
}

func TestChangesHoldOnceTheyAreMade(t *testing.T) {
	for _, c := range []struct {
		path  string
		op    cluster.Op
		value any
	}{
		{"spec.replicas", cluster.Add, 3},
		{"spec.template.metadata.labels.x", cluster.Add, "y"},
		{"spec.ports[port=81,protocol=TCP]", cluster.Add, map[string]any{"port": 81}},
		{"spec.ports[port=82,protocol=TCP].name", cluster.Add, "new"},
		{"spec.list[1]", cluster.Add, "z"},
		{"spec.list[0]", cluster.Remove, nil},
		{"metadata.finalizers[=c]", cluster.Remove, nil},
		{`metadata.labels["app.kubernetes.io/name"]`, cluster.Remove, nil},
	} {
		p, err := Parse(c.path)
		if err != nil {
			t.Fatal(err)
		}
		change := Change{p, c.op, Clone(c.value)}
		before := fmt.Sprint(object)
		after, err := change.Apply(object)
		if err != nil || !change.Holds(after) || change.Holds(object) {
			t.Errorf("%s: %v: %v", c.path, err, after)
		}
		if fmt.Sprint(object) != before {
			t.Fatalf("%s changed the object itself", c.path)
		}
	}
}

func TestValuesAreComparedByMeaning(t *testing.T) {
	if !Same(map[string]any{"a": 1.0, "labels": map[string]any{}}, map[string]any{"a": int64(1)}) {
		t.Error("a whole number, or labels that are empty, make a difference")
	}
	for _, pair := range [][2]any{{"1", int64(1)}, {nil, ""}, {map[string]any{"x": nil}, map[string]any{}}, {[]any{}, nil}, {true, "true"}, {1.5, int64(1)}} {
		if Same(pair[0], pair[1]) {
			t.Errorf("%v and %v are the same", pair[0], pair[1])
		}
	}
}

// FuzzParse reads paths without a panic.
func FuzzParse(f *testing.F) {
	f.Add(`spec.a[name=web].b["c.d"][0][="x,]"]`)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(text)
		if err == nil {
			v, _ := With(map[string]any{}, p, "x")
			Get(v, p)
			Without(object, p)
		}
	})
}
