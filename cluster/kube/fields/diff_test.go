package fields

import (
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/yaml"

	"lockkeeper/cluster"
)

func parse(t testing.TB, text string) map[string]any {
	t.Helper()
	b, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestDiffNamesFields(t *testing.T) {
	for name, tt := range map[string]struct{ before, after, want string }{
		"equal":                {"a: 1", "a: 1.0", ""},
		"server's own":         {"metadata: {uid: a, resourceVersion: '1'}\nstatus: {x: 1}", "metadata: {uid: b}\nstatus: {}", ""},
		"scalar":               {"spec: {a: 1}", "spec: {a: 2}", "set spec.a"},
		"missing and empty":    {"spec: {}", "spec: {emptyDir: {}}", "add spec.emptyDir"},
		"quoted keys":          {"data: {}", "data: {app.conf: x, a-b: y}", `add data.a-b,add data["app.conf"]`},
		"new map of labels":    {"metadata: {}", "metadata: {labels: {a: b, c: d}}", "add metadata.labels.a,add metadata.labels.c"},
		"named items":          {"spec: {env: [{name: A, value: x}, {name: B}]}", "spec: {env: [{name: A, value: y}, {name: C}]}", "remove spec.env[name=B],set spec.env[name=A].value,add spec.env[name=C]"},
		"two keys":             {"spec: {ports: [{containerPort: 80}]}", "spec: {ports: [{containerPort: 80, protocol: UDP}]}", "remove spec.ports[containerPort=80,protocol=TCP],add spec.ports[containerPort=80,protocol=UDP]"},
		"order":                {"spec: {env: [{name: A}, {name: B}]}", "spec: {env: [{name: B}, {name: A}]}", "set spec.env"},
		"scalars":              {"spec: {args: [a, b]}", "spec: {args: [a, c]}", "set spec.args"},
		"unnamed in front":     {"rules: [{verbs: [get]}]", "rules: [{verbs: [list]}, {verbs: [get]}]", "add rules[0]"},
		"unnamed changed":      {"rules: [{verbs: [get]}, {verbs: [x]}]", "rules: [{verbs: [list]}, {verbs: [x]}]", "set rules[0].verbs"},
		"names given twice":    {"spec: {env: [{name: A, value: x}, {name: A, value: z}]}", "spec: {env: [{name: A, value: y}, {name: A, value: z}]}", "set spec.env[0].value"},
		"other type":           {"spec: {a: [1]}", "spec: {a: {b: 1}}", "set spec.a"},
		"keys that need quote": {"spec: {x: [{name: 'a]b'}]}", "spec: {x: []}", `remove spec.x[name="a]b"]`},
	} {
		var got []string
		for _, f := range Diff(parse(t, tt.before), parse(t, tt.after), Keys{}) {
			got = append(got, string(f.Op)+" "+f.Path)
		}
		want := strings.Split(tt.want, ",")
		if tt.want == "" {
			want = nil
		}
		if strings.Contains(tt.want, "containerPort=80,") {
			want = []string{"remove spec.ports[containerPort=80,protocol=TCP]", "add spec.ports[containerPort=80,protocol=UDP]"}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestSetListsAreComparedByValue(t *testing.T) {
	set := &fieldpath.Set{}
	if err := set.FromJSON(strings.NewReader(`{"f:metadata":{"f:finalizers":{".":{},"v:\"a.b/c\"":{}}}}`)); err != nil {
		t.Fatal(err)
	}
	got := Diff(parse(t, "metadata: {finalizers: [a.b/c]}"), parse(t, "metadata: {finalizers: [a.b/c, x]}"), KeysOf(set))
	if len(got) != 1 || got[0].Path != "metadata.finalizers[=x]" || got[0].Op != cluster.Add {
		t.Errorf("%+v", got)
	}
	if s := PathOf(fieldpath.MakePathOrDie("metadata", "labels", "a.b/c")); s != `metadata.labels["a.b/c"]` {
		t.Errorf("got %s", s)
	}
}

// FuzzDiff: a diff is empty for equal objects only, speaks of every field once,
// and its reverse adds what it removes.
func FuzzDiff(f *testing.F) {
	f.Add(`{"spec":{"env":[{"name":"A"},{"name":"B"}]}}`, `{"spec":{"env":[{"name":"B","value":"x"}]}}`)
	f.Add(`{"data":{"a.b":"1"},"metadata":{"labels":{"x":"y"}}}`, `{"data":{"a":{"b":1}}}`)
	f.Add(`{"a":[1,[2],{"name":null}]}`, `{"a":[[2],{"name":"x"}],"":{"":""}}`)
	f.Fuzz(func(t *testing.T, x, y string) {
		a, b := map[string]any{}, map[string]any{}
		if json.Unmarshal([]byte(x), &a) != nil || json.Unmarshal([]byte(y), &b) != nil || a == nil || b == nil {
			return
		}
		if d := Diff(a, a, Keys{}); len(d) != 0 {
			t.Errorf("an object differs from itself: %+v", d)
		}
		there, back := Diff(a, b, Keys{}), Diff(b, a, Keys{})
		if (len(there) == 0) != Equal(map[string]any(Shown(a)), map[string]any(Shown(b))) {
			t.Errorf("empty diff of different objects, or the reverse: %+v", there)
		}
		// What one way adds the other way removes; where order is told (as a
		// change of the list itself) only one of them may need it.
		count := func(changes []cluster.FieldChange, op cluster.Op) (n int) {
			for _, c := range changes {
				if c.Op == op {
					n++
				}
			}
			return n
		}
		if count(there, cluster.Add) != count(back, cluster.Remove) || count(there, cluster.Remove) != count(back, cluster.Add) {
			t.Errorf("not reversed: %+v and %+v", there, back)
		}
		for path := range Flatten(a, Keys{}) {
			if path == "" {
				t.Error("a field without a path")
			}
		}
		Project(a, b, Keys{})
	})
}
