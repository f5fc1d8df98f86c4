package splice

import (
	"errors"
	"strings"
	"testing"
	"time"

	"lockkeeper/cluster"
	"lockkeeper/cluster/manifest/writeback/field"
)

// edited makes one change, "path = YAML" or "- path", to the first document.
func edited(t testing.TB, name, data, edit string) (string, error) {
	t.Helper()
	f, err := Parse(name, []byte(data))
	if err != nil {
		t.Fatalf("parse: %v\n%s", err, data)
	}
	c := field.Change{Op: cluster.Set}
	path, text, set := strings.Cut(edit, " = ")
	if !set {
		path, c.Op = strings.TrimPrefix(edit, "- "), cluster.Remove
	} else {
		v, err := Parse("v.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		c.Value = v.Documents()[0]
	}
	if c.Path, err = field.Parse(path); err != nil {
		t.Fatal(err)
	}
	want, err := c.Apply(f.Documents()[0])
	if err != nil {
		t.Fatal(err)
	}
	out, err := f.Update(0, want)
	return string(out), err
}

const web = `# the shop
apiVersion: apps/v1   # stable
kind: Deployment
metadata:
    name: "web"
    labels: {app: web, 'tier': "front"}  # flow

spec:
    replicas: 3 # because
    template:
        spec:
            # the one
            containers:
            - name: web
              image: 'shop/web:1.0' # pinned
              args: [serve, "--port=80"]

              env:
              - {name: A, value: "1"}
              - name: B   # second
                value: >-
                  folded
                  text
            - name: side
              image: shop/side:1.0
              command:
                - sh
                - -c   # shell
                - |    # script
                    set -e

                    run
    # at the end
`

func TestEditsTouchOnlyWhatTheyMust(t *testing.T) {
	for _, c := range []struct{ edit, old, new string }{
		{"spec.replicas = 5", "replicas: 3 # because", "replicas: 5 # because"},
		{"spec.template.spec.containers[name=web].image = shop/web:2.0", "'shop/web:1.0' # pinned", "'shop/web:2.0' # pinned"},
		{"spec.template.spec.containers[name=side].image = x:y@sha256:12", "shop/side:1.0", "x:y@sha256:12"},
		{"metadata.name = it's", `"web"`, `"it's"`},
		{"metadata.labels.app = 'on'", "{app: web,", `{app: "on",`},
		{"metadata.labels.more = a b", `"front"}`, `"front", more: a b}`},
		{"- metadata.labels.tier", "{app: web, 'tier': \"front\"}", "{app: web}"},
		{"- metadata.labels.app", "{app: web, 'tier'", "{'tier'"},
		{"- spec.replicas", "    replicas: 3 # because\n", ""},
		{"spec.template.spec.containers[name=web].args = [serve, --port=81]", `"--port=80"`, `"--port=81"`},
		{"spec.template.spec.containers[name=web].args = [serve, --port=80, -v]", `"--port=80"]`, `"--port=80", "-v"]`},
		{"spec.template.spec.containers[name=web].env[name=A].value = \"2\"", `value: "1"`, `value: "2"`},
		{"spec.template.spec.containers[name=web].env[name=B].value = x", ">-\n                  folded\n                  text", "x"},
		{"- spec.template.spec.containers[name=web].env[name=A]", "              - {name: A, value: \"1\"}\n", ""},
		{"spec.template.spec.containers[name=web].env[name=C] = {name: C, value: c}", "                  text\n", "                  text\n              - name: C\n                value: c\n"},
		{"spec.template.spec.containers[name=side].command = [sh, -c, \"set -e\\n\\nwalk\\n\"]", "                    run\n", "                    walk\n"},
		{"spec.template.spec.containers[name=side].command = [sh, -c, short]", "|    # script\n                    set -e\n\n                    run\n", "short\n"},
		{"spec.template.spec.containers[name=side].ports = [{containerPort: 80}]", "                    run\n", "                    run\n              ports:\n              - containerPort: 80\n"},
		{"metadata.annotations.note = \"no\"", "# flow\n", "# flow\n    annotations:\n        note: \"no\"\n"},
		{"spec.paused = true", "                    run\n", "                    run\n    paused: true\n"},
		{"spec.replicas = null", "replicas: 3", "replicas: null"},
		{"- spec.template.spec.containers[name=web].env", "              env:\n              - {name: A, value: \"1\"}\n              - name: B   # second\n                value: >-\n                  folded\n                  text\n", ""},
		{"- spec.template.spec.containers[name=web].name", "- name: web\n              image", "- image"},
		{"spec.replicas = {a: 1}", "replicas: 3 # because", "replicas:\n        a: 1 # because"},
		{"metadata = x", "metadata:\n    name: \"web\"\n    labels: {app: web, 'tier': \"front\"}  # flow\n", "metadata: x  # flow\n"},
	} {
		for _, eol := range []string{"\n", "\r\n"} {
			fit := func(s string) string { return strings.ReplaceAll(s, "\n", eol) }
			got, err := edited(t, "web.yaml", fit(web), c.edit)
			want := strings.Replace(fit(web), fit(c.old), fit(c.new), 1)
			if err != nil || got != want {
				t.Errorf("%s (%q): %v\n%s", c.edit, eol, err, got)
			}
		}
	}
}

func TestFormsOfFiles(t *testing.T) {
	for _, c := range []struct{ name, file, before, edit, after string }{
		{"no final line break", "a.yaml", "a: 1\nb: 2", "c = 3", "a: 1\nb: 2\nc: 3"},
		{"removed at the end", "a.yaml", "a: 1\nb: 2", "- b", "a: 1"},
		{"byte order mark", "a.yaml", "\ufeffa: 1\nb: 2\n", "a = 3", "\ufeffa: 3\nb: 2\n"},
		{"empty value", "a.yaml", "a:   # why\nb: 2\n", "a = 3", "a: 3   # why\nb: 2\n"},
		{"empty value gets a map", "a.yaml", "a:\nb: 2\n", "a.x = 3", "a:\n  x: 3\nb: 2\n"},
		{"empty map", "a.yaml", "a: {} # none\nb: 2\n", "a.x = 3", "a: {x: 3} # none\nb: 2\n"},
		{"last entry of a map", "a.yaml", "a:\n  x: 1\nb: 2\n", "- a.x", "a: {}\nb: 2\n"},
		{"last label", "a.yaml", "labels:\n  x: 1\nb: 2\n", "- labels.x", "b: 2\n"},
		{"last item of a list", "a.yaml", "a: # some\n- 1\nb: 2\n", "- a[0]", "a: [] # some\nb: 2\n"},
		{"other documents", "a.yaml", "a: 1 # x\n---\n# y\nb: {c: 2}\n", "a = 2", "a: 2 # x\n---\n# y\nb: {c: 2}\n"},
		{"markers", "a.yaml", "%YAML 1.1\n---\na: |+\n  x\n\n...\n---\nb: 1\n", "a = 'y'", "%YAML 1.1\n---\na: \"y\"\n...\n---\nb: 1\n"},
		{"anchored", "a.yaml", "a: &x 1\nb: 2\n", "a = 3", "a: &x 3\nb: 2\n"},
		{"alias", "a.yaml", "a: &x {k: 1}\nb: *x # same\n", "b.k = 3", "a: &x {k: 1}\nb:\n  k: 3 # same\n"},
		{"merge key", "a.yaml", "a: &x {k: 1, l: 2}\nb:\n  <<: *x\n  m: 3\n", "b.k = 3", "a: &x {k: 1, l: 2}\nb:\n  <<: *x\n  m: 3\n  k: 3\n"},
		{"tag", "a.yaml", "a: !!str 5\n", "a = '6'", "a: \"6\"\n"},
		{"wide characters", "a.yaml", "ä: {ö: ü, x: 1}\n", "ä.x = 2", "ä: {ö: ü, x: 2}\n"},
		{"plain over lines", "a.yaml", "a: one\n  two\n\n  three # c\nb: 1\n", "a = x", "a: x # c\nb: 1\n"},
		{"quoted over lines", "a.yaml", "a: \"one\n  two\" # c\nb: 1\n", "a = x", "a: \"x\" # c\nb: 1\n"},
		{"list in list", "a.yaml", "a:\n- - 1\n  - 2\n- [3]\n", "a[0] = [1, 4]", "a:\n- - 1\n  - 4\n- [3]\n"},
		{"item before the others", "a.yaml", "a:\n  - name: b # first\n  - name: c\n", "a = [{name: a}, {name: b}, {name: c}]", "a:\n  - name: a\n  - name: b # first\n  - name: c\n"},
		{"order", "a.yaml", "a:\n- name: b # b\n- name: c # c\n", "a = [{name: c}, {name: b}]", "a:\n- name: c # c\n- name: b\n"},
		{"flow over lines", "a.yaml", "a: {\n  b: 1, # one\n  c: 2,\n}\n", "a.d = 3", "a: {\n  b: 1, # one\n  c: 2,\n  d: 3,\n}\n"},
		{"JSON", "a.json", "{\n\t\"a\": 1,\n\t\"b\": {\"c\": [1, 2]}\n}", "a = x", "{\n\t\"a\": \"x\",\n\t\"b\": {\"c\": [1, 2]}\n}"},
		{"JSON entry", "a.json", "{\n  \"a\": 1,\n  \"b\": \"x\"\n}\n", "c = {d: [1]}", "{\n  \"a\": 1,\n  \"b\": \"x\",\n  \"c\": {\n    \"d\": [\n      1\n    ]\n  }\n}\n"},
		{"JSON removal", "a.json", `{"a":1,"b":2}`, "- b", `{"a":1}`},
		{"JSON first removal", "a.json", `{"a":1,"b":2}`, "- a", `{"b":2}`},
		{"JSON in YAML", "a.yaml", `{"a":1,"b":[{"name":"x"}]}`, "b[name=x].v = 'y'", `{"a":1,"b":[{"name":"x", v: "y"}]}`},
		{"comment before a removed key stays", "a.yaml", "a: 1\n# of b\nb: 2\nc: 3\n", "- b", "a: 1\n# of b\nc: 3\n"},
		{"single quotes", "a.yaml", "a: 'x'\n", "a = it's", "a: 'it''s'\n"},
		{"several lines", "a.yaml", "a: x\nb: 1\n", "a = \"l1\\nl2\\n\"", "a: |\n  l1\n  l2\nb: 1\n"},
		{"number to text", "a.yaml", "a: 5\n", "a = '5'", "a: \"5\"\n"},
		{"text to number", "a.yaml", "a: \"5\"\n", "a = 6", "a: 6\n"},
		{"strip to clip", "a.yaml", "a: |-\n   x\nb: 1\n", "a = \"x\\ny\\n\"", "a: |\n   x\n   y\nb: 1\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := edited(t, c.file, c.before, c.edit)
			if err != nil || got != c.after {
				t.Errorf("%s: %v\ngot  %q\nwant %q", c.edit, err, got, c.after)
			}
		})
	}
}

func TestEditsThatWouldSpreadAreRefused(t *testing.T) {
	for name, c := range map[string][2]string{
		"anchor used elsewhere":    {"a: &x 1\nb: *x\n", "a = 2"},
		"inside an anchored map":   {"a: &x {k: 1}\nb: *x\n", "a.k = 2"},
		"merged key removed":       {"a: &x {k: 1}\nb:\n  <<: *x\n  c: 1\n", "- b.k"},
		"anchored map is replaced": {"a: &x {k: 1}\nb: *x\n", "a = 1"},
		"anchor removed":           {"a: &x 1\nb: *x\n", "- a"},
	} {
		if got, err := edited(t, "a.yaml", c[0], c[1]); !errors.Is(err, ErrSplice) {
			t.Errorf("%s: %v\n%s", name, err, got)
		}
	}
}

func TestDocumentsAreDropped(t *testing.T) {
	for _, c := range []struct {
		before string
		doc    int
		after  string
	}{
		{"# head\n---\na: 1\n---\n# of b\nb: 2\n", 0, "# head\n---\n# of b\nb: 2\n"},
		{"# head\na: 1\n---\nb: 2\n", 0, "# head\n---\nb: 2\n"},
		{"a: 1\n---\nb: 2 # x\n---\nc: |+\n  x\n\n", 1, "a: 1\n---\nc: |+\n  x\n\n"},
		{"a: 1\n---\nb: 2", 1, "a: 1\n"},
		{"a: 1\r\n---\r\n---\r\nb: 2\r\n", 2, "a: 1\r\n---\r\n"},
	} {
		f, err := Parse("a.yaml", []byte(c.before))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := f.Drop(c.doc); err != nil || string(got) != c.after {
			t.Errorf("%q without %d: %v\n%q", c.before, c.doc, err, got)
		}
	}
}

func TestEncodedDocumentsAreReadBack(t *testing.T) {
	v := map[string]any{"kind": "X", "a": []any{"y", "1e3", map[string]any{"z": nil, "b": true}, []any{int64(1), []any{}}},
		"text": "one\ntwo\n", "odd": " lead\n", "tab": "a\tb", "n": 1.5, "e": map[string]any{}, "no": "~", "time": "2020-01-01", "port": "80:80"}
	f, err := Parse("x.yaml", Encode(v))
	if err != nil || !field.Same(f.Documents()[0], v) {
		t.Errorf("%v\n%s", err, Encode(v))
	}
}

// A large file on one line takes no more than time in proportion (threat 6).
func TestLargeFilesAreEditedQuickly(t *testing.T) {
	for name, data := range map[string]string{
		"a.yaml": "{a: [" + strings.Repeat("{k: v}, ", 30_000) + "], z: 1}\n",
		"a.json": `{"a": [` + strings.Repeat(`{"k": "v"}, `, 30_000) + `0], "z": 1}` + "\n",
		"b.yaml": "a:\n" + strings.Repeat("- k: v # c\n", 10_000) + "z: 1\n",
	} {
		begun := time.Now()
		got, err := edited(t, name, data, "z = 2")
		if took := time.Since(begun); err != nil || len(got) != len(data) || took > 20*time.Second {
			t.Errorf("%s: %v after %v", name, err, took)
		}
	}
}
