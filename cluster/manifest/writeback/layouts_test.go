package writeback

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"sigs.k8s.io/yaml"

	"lockkeeper/cluster/manifest/writeback/field"
)

// app is what all layouts deploy: a Deployment with many forms of values, and
// a ConfigMap. The styles rewrite it.
const app = `# The web of the shop.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web # its name
  namespace: shop
  labels:
    app: web
    tier: "front" # quoted
  annotations:
    example.org/note: 'single'
spec:
  replicas: 3 # enough for now
  selector:
    matchLabels: {app: web}

  template:
    metadata:
      labels:
        app: web
    spec:
      # the only one
      containers:
      - name: web # first
        image: shop/web:1.0 # pinned
        args: ["serve", "--port=80"] # flow
        env:
        # of all
        - name: A
          value: "1" # one
        - name: B
          value: b
        resources:
          limits:
            cpu: 500m # half
            memory: 1Gi
        ports:
        - containerPort: 80
      tolerations:
      - operator: Exists # anything
        effect: NoSchedule
      - operator: Exists
        effect: NoExecute
`

const settings = `apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
  namespace: shop
data:
  level: info # quiet
  app.conf: |
    # inside
    port = 80

    host = web
  one.conf: "x"
`

// styles are the ways to write the same file.
var styles = []struct {
	name, ext string
	write     func(string) string
}{
	{"as it is", "yaml", func(s string) string { return s }},
	{"CRLF", "yaml", func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }},
	{"no final break", "yml", func(s string) string { return strings.TrimSuffix(s, "\n") }},
	{"wide", "yaml", func(s string) string {
		s = regexp.MustCompile(`(?m)^ +`).ReplaceAllStringFunc(s, func(sp string) string { return sp + sp })
		return regexp.MustCompile(`(?m)^( *)- `).ReplaceAllString(s, "$1-   ")
	}},
	{"dented lists", "yaml", dented},
	{"bare", "yaml", func(s string) string { return regexp.MustCompile(`(?m)^ *#.*\n| #.*$`).ReplaceAllString(s, "") }},
	{"blank lines", "yaml", func(s string) string {
		return "---\n\n" + strings.Replace(s, "\nspec:\n", "\n\nspec:\n\n", 1) + "\n\n# the end\n"
	}},
	{"anchors", "yaml", func(s string) string {
		s = strings.Replace(s, "    app: web\n", "    app: &app web\n", 1)
		return strings.Replace(s, "matchLabels: {app: web}", "matchLabels: {app: *app}", 1)
	}},
	{"flow", "yaml", func(s string) string {
		s = strings.Replace(s, "          limits:\n            cpu: 500m # half\n            memory: 1Gi\n", "          limits: {cpu: 500m, memory: 1Gi} # half\n", 1)
		return strings.Replace(s, "        - name: A\n          value: \"1\" # one\n        - name: B\n          value: b\n", "        - {name: A, value: \"1\"} # one\n        - {name: B, value: b}\n", 1)
	}},
	{"JSON", "json", func(s string) string { return toJSON(s, true) }},
	{"compact JSON", "json", func(s string) string { return toJSON(s, false) }},
	{"JSON in YAML", "yaml", func(s string) string { return toJSON(s, true) }},
}

// dented indents the lists below their keys.
func dented(s string) string {
	lines := strings.Split(s, "\n")
	var extra []int // columns of keys of lists
	for i, line := range lines {
		col := len(line) - len(strings.TrimLeft(line, " "))
		for len(extra) > 0 && strings.TrimSpace(line) != "" && (col < extra[len(extra)-1] || col == extra[len(extra)-1] && !strings.HasPrefix(line[col:], "-") && !strings.HasPrefix(line[col:], "#")) {
			extra = extra[:len(extra)-1]
		}
		if strings.HasPrefix(line[col:], "- ") && (len(extra) == 0 || extra[len(extra)-1] != col) {
			extra = append(extra, col)
		}
		lines[i] = strings.Repeat("  ", len(extra)) + line
		if strings.TrimSpace(line) == "" {
			lines[i] = line
		}
	}
	return strings.Join(lines, "\n")
}

func toJSON(s string, lines bool) string {
	var v any
	if err := yaml.Unmarshal([]byte(s), &v); err != nil {
		panic(err)
	}
	b, _ := json.Marshal(v)
	if lines {
		b, _ = json.MarshalIndent(v, "", "  ")
	}
	return string(b) + "\n"
}

// structures are the ways to lay out a repository; the target is "prod".
var structures = []struct {
	name   string
	others string
	files  func(write func(string) string, ext string) map[string]string
}{
	{"plain", "", func(w func(string) string, ext string) map[string]string {
		return map[string]string{"prod/web." + ext: w(app), "prod/deep/settings." + ext: w(settings)}
	}},
	{"plain, one file", "", func(w func(string) string, ext string) map[string]string {
		if ext == "json" {
			return map[string]string{"prod/all.json": w(app) + w(settings)}
		}
		return map[string]string{"prod/all.yaml": strings.TrimRight(w(app), "\r\n") + strings.Repeat(eolOf(w(app)), 1) + "---" + eolOf(w(app)) + w(settings)}
	}},
	{"own kustomization", "", func(w func(string) string, ext string) map[string]string {
		return map[string]string{"prod/kustomization.yaml": w2(w, ext, "resources:\n- web."+ext+" # web\n- settings."+ext+"\n"),
			"prod/web." + ext: w(app), "prod/settings." + ext: w(settings)}
	}},
	{"base of its own", "", func(w func(string) string, ext string) map[string]string {
		return map[string]string{"prod/kustomization.yaml": "resources: [../base]\n", "base/kustomization.yaml": "resources:\n- web." + ext + "\n- settings." + ext + "\n",
			"base/web." + ext: w(app), "base/settings." + ext: w(settings)}
	}},
	{"shared base", "staging", func(w func(string) string, ext string) map[string]string {
		return map[string]string{"prod/kustomization.yaml": w2(w, ext, "# prod\nresources:\n- ../base # shared\n"), "staging/kustomization.yaml": "resources: [../base]\n",
			"base/kustomization.yaml": "resources:\n- web." + ext + "\n- settings." + ext + "\n", "base/web." + ext: w(app), "base/settings." + ext: w(settings)}
	}},
	{"shared base with patches", "staging", func(w func(string) string, ext string) map[string]string {
		return map[string]string{"prod/kustomization.yaml": "# prod\nresources: [../base]\npatches:\n- path: patch." + ext + " # ours\n", "staging/kustomization.yaml": "resources: [../base]\n",
			"prod/patch." + ext:       w("apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n  namespace: shop\n  labels:\n    app: web\n    tier: back # here\nspec:\n  replicas: 5 # more\n  template:\n    spec:\n      containers:\n      - name: web\n        image: shop/web:2.0 # newer\n"),
			"base/kustomization.yaml": "resources:\n- web." + ext + "\n- settings." + ext + "\n", "base/web." + ext: w(app), "base/settings." + ext: w(settings)}
	}},
	{"inline patches", "staging", func(w func(string) string, ext string) map[string]string {
		return map[string]string{"prod/kustomization.yaml": w2(w, ext, "resources: [../base]\npatches:\n- target: {kind: Deployment}\n  patch: |-\n    - op: replace # twice\n      path: /spec/replicas\n      value: 6 # six\n- patch: |\n    apiVersion: v1\n    kind: ConfigMap\n    metadata: {name: settings, namespace: shop}\n    data: {level: debug} # loud\n"),
			"staging/kustomization.yaml": "resources: [../base]\n", "base/kustomization.yaml": "resources:\n- web." + ext + "\n- settings." + ext + "\n", "base/web." + ext: w(app), "base/settings." + ext: w(settings)}
	}},
	{"images and replicas", "staging", func(w func(string) string, ext string) map[string]string {
		return map[string]string{"prod/kustomization.yaml": w2(w, ext, "resources: [../base]\nimages:\n- name: shop/web # web\n  newTag: \"7\" # seven\nreplicas:\n- name: web\n  count: 4 # four\n"), "staging/kustomization.yaml": "resources: [../base]\n",
			"base/kustomization.yaml": "resources:\n- web." + ext + "\n- settings." + ext + "\n", "base/web." + ext: w(app), "base/settings." + ext: w(settings)}
	}},
	{"component", "staging", func(w func(string) string, ext string) map[string]string {
		return map[string]string{"prod/kustomization.yaml": "resources: [../base]\ncomponents: [../extra]\n", "staging/kustomization.yaml": "resources: [../base]\ncomponents: [../extra]\n",
			"extra/kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources: [settings." + ext + "]\n", "extra/settings." + ext: w(settings),
			"base/kustomization.yaml": "resources:\n- web." + ext + "\n", "base/web." + ext: w(app)}
	}},
	{"namespace and labels", "staging", func(w func(string) string, ext string) map[string]string {
		return map[string]string{"prod/kustomization.yaml": "namespace: shop\nresources: [../base]\nlabels:\n- pairs: {env: prod}\n  includeTemplates: true\n", "staging/kustomization.yaml": "namespace: staging\nresources: [../base]\n",
			"base/kustomization.yaml": "resources:\n- web." + ext + "\n- settings." + ext + "\n", "base/web." + ext: withoutNamespace(w(app)), "base/settings." + ext: w(settings)}
	}},
}

func withoutNamespace(s string) string {
	return regexp.MustCompile(`(?m)^ +namespace: shop\r?\n| *"namespace": ?"shop",?\n?|"namespace":"shop",?`).ReplaceAllString(strings.Replace(s, ",\n    \"namespace\": \"shop\"\n", "\n", 1), "")
}

func eolOf(s string) string {
	if strings.Contains(s, "\r\n") {
		return "\r\n"
	}
	return "\n"
}

// w2 writes a kustomization in a style, which must be YAML.
func w2(write func(string) string, ext, s string) string {
	if ext == "json" {
		return s
	}
	return write(s)
}

// mutations are what people do to the live objects.
var mutations = []struct {
	name, object string
	changes      []string
	lines        int // of the source that may go away or change, at most
}{
	{"scaled", "Deployment web", []string{"spec.replicas = 9"}, 1},
	{"image", "Deployment web", []string{"spec.template.spec.containers[name=web].image = shop/web:3.1"}, 1},
	{"image by digest", "Deployment web", []string{"spec.template.spec.containers[name=web].image = other/web@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}, 3},
	{"label changed", "Deployment web", []string{"metadata.labels.tier = back end"}, 1},
	{"label added", "Deployment web", []string{`metadata.labels["app.kubernetes.io/part-of"] = shop`}, 0},
	{"label removed", "Deployment web", []string{"- metadata.labels.tier"}, 1},
	{"last annotation removed", "Deployment web", []string{`- metadata.annotations["example.org/note"]`}, 2},
	{"annotation added", "ConfigMap settings", []string{`metadata.annotations.why = "yes"`}, 0},
	{"env changed", "Deployment web", []string{`spec.template.spec.containers[name=web].env[name=A].value = "2"`}, 1},
	{"env added", "Deployment web", []string{"spec.template.spec.containers[name=web].env[name=C] = {name: C, value: '{c}'}"}, 0},
	{"env removed", "Deployment web", []string{"- spec.template.spec.containers[name=web].env[name=A]"}, 2},
	{"args", "Deployment web", []string{"spec.template.spec.containers[name=web].args = [serve, --port=81, -v]"}, 1},
	{"limits", "Deployment web", []string{"spec.template.spec.containers[name=web].resources.limits.cpu = \"1\"", "- spec.template.spec.containers[name=web].resources.limits.memory"}, 2},
	{"resources removed", "Deployment web", []string{"- spec.template.spec.containers[name=web].resources"}, 4},
	{"sidecar", "Deployment web", []string{"spec.template.spec.containers[name=zz] = {name: zz, image: 'zz:1', ports: [{containerPort: 99, protocol: TCP}]}"}, 0},
	{"toleration by position", "Deployment web", []string{"spec.template.spec.tolerations[1].effect = PreferNoSchedule"}, 1},
	{"toleration removed", "Deployment web", []string{"- spec.template.spec.tolerations[0]"}, 2},
	{"order", "Deployment web", []string{"spec.template.spec.containers[name=web].env = ['[name=B]', '[name=A]']"}, 2},
	{"map added", "Deployment web", []string{"spec.strategy = {type: RollingUpdate, rollingUpdate: {maxSurge: 25%, maxUnavailable: 0}}"}, 0},
	{"text of lines", "ConfigMap settings", []string{`data["app.conf"] = "# inside\nport = 81\n\nhost = web\n"`}, 1},
	{"text becomes lines", "ConfigMap settings", []string{`data["one.conf"] = "x\ny\n"`}, 1},
	{"data changed", "ConfigMap settings", []string{"data.level = \"off\""}, 1},
	{"data removed", "ConfigMap settings", []string{`- data["app.conf"]`}, 5},
	{"several", "Deployment web", []string{"spec.replicas = 2", "spec.paused = true", "metadata.labels.tier = x", "spec.template.spec.containers[name=web].image = a/b:c"}, 3},
	{"deleted", "ConfigMap settings", []string{"delete"}, 16},
	{"deployment deleted", "Deployment web", []string{"delete"}, 55},
}

// TestAdoptionsOfManyLayouts makes every mutation in every structure, each in
// some of the styles: all pairs of structure and style, of structure and
// mutation, and of style and mutation come up.
func TestAdoptionsOfManyLayouts(t *testing.T) {
	layouts, refused := 0, 0
	for i, st := range structures {
		for j, style := range styles {
			for k, mu := range mutations {
				if (i+2*j+k)%7 != 0 && i > 0 {
					continue
				}
				layouts++
				t.Run(fmt.Sprintf("%s/%s/%s", st.name, style.name, mu.name), func(t *testing.T) {
					tree := fstest.MapFS{}
					for name, data := range st.files(style.write, style.ext) {
						tree[name] = &fstest.MapFile{Data: []byte(data)}
					}
					w := wantOf(t, mu.object, mu.changes...)
					applied(t, tree, &w)
					if mu.name == "order" {
						orderWant(t, tree, w)
						return
					}
					p, _ := adopted(t, tree, "prod", strings.Fields(st.others), w)
					refused += len(p.Refused)
					if len(p.Refused) > 0 {
						t.Errorf("refused: %+v", p.Refused)
					}
					preserved(t, tree, p.Edits, mu.lines)
					if t.Failed() {
						t.Logf("%s", archive(tree, p.Edits))
					}
				})
			}
		}
	}
	t.Logf("%d layouts, %d refusals", layouts, refused)
	if layouts < 200 {
		t.Errorf("only %d layouts", layouts)
	}
}

// applied fills in what the fields were.
func applied(t *testing.T, tree fstest.MapFS, w *Want) {
	have := objects(t, tree, "prod")
	for i := range w.Fields {
		p, err := field.Parse(w.Fields[i].Path)
		if err != nil {
			t.Fatal(err)
		}
		w.Fields[i].Before, _ = field.Get(have[w.Ref], p)
	}
}

// orderWant checks a change of order, whose value names items.
func orderWant(t *testing.T, tree fstest.MapFS, w Want) {
	p, err := (&Writer{Renderer: shared}).Propose(t.Context(), tree, "prod", nil, []Want{w})
	if err != nil || len(p.Refused) > 0 {
		t.Fatal(err, p.Refused)
	}
	got := objects(t, written(tree, p.Edits), "prod")
	env := fmt.Sprint(got[w.Ref])
	if !strings.Contains(env, "env:[map[name:B value:b] map[name:A value:1]]") {
		t.Errorf("%s", env)
	}
	preserved(t, tree, p.Edits, 4)
}

// preserved checks that files keep their lines but for a few, their line
// breaks, and whether they end with one.
func preserved(t *testing.T, tree fstest.MapFS, edits map[string]Edit, most int) {
	t.Helper()
	for name, e := range edits {
		old, existed := tree[name]
		if !existed || e.Delete {
			continue
		}
		before, after := string(old.Data), string(e.Content)
		if eolOf(before) == "\r\n" && strings.Contains(strings.ReplaceAll(after, "\r\n", ""), "\n") {
			t.Errorf("%s: a line break of another kind", name)
		}
		if strings.HasSuffix(before, "\n") != strings.HasSuffix(after, "\n") && !strings.HasPrefix(before, after) {
			t.Errorf("%s: the final line break came or went", name)
		}
		allowed := most
		if strings.HasSuffix(name, "json") || strings.HasPrefix(before, "{") {
			allowed = 2*most + 1 // commas and brackets
		}
		if strings.Count(before, "\n") < 2 {
			continue // all on one line
		}
		if strings.Contains(name, "kustomization") {
			allowed = max(allowed, 1)
		}
		if lost := lost(before, after); len(lost) > allowed {
			t.Errorf("%s: %d lines changed, at most %d may:\n%s", name, len(lost), allowed, strings.Join(lost, "\n"))
		}
	}
}

// lost are the lines of a text that another does not have, in order.
func lost(before, after string) []string {
	var out []string
	rest := strings.Split(after, "\n")
	for _, line := range strings.Split(before, "\n") {
		if i := slices.Index(rest, line); i >= 0 {
			rest = slices.Delete(rest, i, i+1)
			continue
		}
		out = append(out, line)
	}
	return out
}
