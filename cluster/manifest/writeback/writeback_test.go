package writeback

import (
	"strings"
	"testing"

	"lockkeeper/cluster"
	"lockkeeper/cluster/manifest/writeback/splice"
)

func yamlValue(t testing.TB, text string) any {
	t.Helper()
	f, err := splice.Parse("v.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f.Documents()[0]
}

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web # the shop
  namespace: shop
spec:
  replicas: 3 # enough
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
      - name: web
        image: shop/web:1.0 # pinned
        env:
        - name: A
          value: "1"
`

const twoOverlays = `
-- base/kustomization.yaml --
resources: [web.yaml]
-- base/web.yaml --
` + deployment + `
-- prod/kustomization.yaml --
# production
resources:
- ../base # shared
-- staging/kustomization.yaml --
resources:
- ../base
`

func TestWhereAdoptionsAreWritten(t *testing.T) {
	for _, c := range []struct {
		name, files, target, others string
		object                      string
		changes                     []string
		edits                       string
	}{
		{"plain", "-- prod/web.yaml --\n" + deployment, "prod", "", "Deployment web", []string{"spec.replicas = 5"},
			"-- prod/web.yaml --\n" + strings.Replace(deployment, "replicas: 3 #", "replicas: 5 #", 1)},
		{"shared base", twoOverlays, "prod", "staging", "Deployment web", []string{"spec.replicas = 5"}, `-- prod/drift-deployment-web.yaml --
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: shop
spec:
  replicas: 5
-- prod/kustomization.yaml --
# production
resources:
- ../base # shared
patches:
- path: drift-deployment-web.yaml
`},
		{"base shared with no target", twoOverlays, "prod", "", "Deployment web", []string{"- spec.replicas"}, `-- prod/drift-deployment-web.yaml --
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: shop
spec:
  replicas: null
-- prod/kustomization.yaml --
# production
resources:
- ../base # shared
patches:
- path: drift-deployment-web.yaml
`},
		{"several fields in one patch", twoOverlays, "prod", "staging", "Deployment web", []string{"spec.replicas = 5", "spec.template.spec.containers[name=web].image = x:2"}, `-- prod/drift-deployment-web.yaml --
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: shop
spec:
  replicas: 5
  template:
    spec:
      containers:
      - name: web
        image: x:2
-- prod/kustomization.yaml --
# production
resources:
- ../base # shared
patches:
- path: drift-deployment-web.yaml
`},
		{"images and replicas", `
-- prod/kustomization.yaml --
resources: [web.yaml]
images:
- name: shop/web # ours
  newTag: "1.5" # tested
replicas:
- {name: web, count: 2} # few
-- prod/web.yaml --
` + deployment, "prod", "", "Deployment web", []string{"spec.replicas = 5", "spec.template.spec.containers[name=web].image = shop/web:1.6"}, `-- prod/kustomization.yaml --
resources: [web.yaml]
images:
- name: shop/web # ours
  newTag: "1.6" # tested
replicas:
- {name: web, count: 5} # few
`},
		{"existing patches", twoOverlays + `
-- top/kustomization.yaml --
resources: [../base]
patches:
- path: web.yaml # size
- target: {kind: Deployment, name: web}
  patch: |-
    # an operation
    - op: replace
      path: /spec/template/spec/containers/0/image
      value: shop/web:9 # nine
-- top/web.yaml --
kind: Deployment
apiVersion: apps/v1
metadata: {name: web, namespace: shop}
spec: {replicas: 7} # seven
`, "top", "staging prod", "Deployment web", []string{"spec.replicas = 8", "spec.template.spec.containers[name=web].image = shop/web:10"}, `-- top/kustomization.yaml --
resources: [../base]
patches:
- path: web.yaml # size
- target: {kind: Deployment, name: web}
  patch: |-
    # an operation
    - op: replace
      path: /spec/template/spec/containers/0/image
      value: shop/web:10 # nine
-- top/web.yaml --
kind: Deployment
apiVersion: apps/v1
metadata: {name: web, namespace: shop}
spec: {replicas: 8} # seven
`},
		{"deleted with its file", `
-- prod/kustomization.yaml --
resources:
- web.yaml # the web
- map.yaml
patches:
- path: size.yaml
-- prod/size.yaml --
kind: Deployment
apiVersion: apps/v1
metadata: {name: web, namespace: shop}
spec: {replicas: 7}
-- prod/web.yaml --
` + deployment + `
-- prod/map.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: map, namespace: shop}
`, "prod", "", "Deployment web", []string{"delete"}, `-- prod/kustomization.yaml --
resources:
- map.yaml
-- prod/size.yaml --
(deleted)
-- prod/web.yaml --
(deleted)
`},
		{"deleted from a shared base", twoOverlays, "prod", "staging", "Deployment web", []string{"delete"}, `-- prod/drift-deployment-web-deleted.yaml --
apiVersion: apps/v1
kind: Deployment
$patch: delete
metadata:
  name: web
  namespace: shop
-- prod/kustomization.yaml --
# production
resources:
- ../base # shared
patches:
- path: drift-deployment-web-deleted.yaml
`},
		{"the last of a plain directory", "-- prod/web.yaml --\n# keep\n" + deployment, "prod", "", "Deployment web", []string{"delete"}, "-- prod/web.yaml --\n# keep\n"},
		{"one of several documents", "-- prod/all.yaml --\n" + deployment + "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: map, namespace: shop}\n", "prod", "", "ConfigMap map", []string{"delete"}, "-- prod/all.yaml --\n" + deployment},
		{"an item of a list", "-- prod/all.yaml --\nkind: List\napiVersion: v1\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {k: v}} # a\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: b}, data: {k: v}}\n", "prod", "", "ConfigMap b", []string{"data.k = w"},
			"-- prod/all.yaml --\nkind: List\napiVersion: v1\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {k: v}} # a\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: b}, data: {k: w}}\n"},
		{"a list item in an overlay", twoOverlays, "prod", "staging", "Deployment web", []string{"spec.template.spec.containers[name=web].env[name=B] = {name: B, value: x}"}, `-- prod/drift-deployment-web-json.yaml --
- op: add
  path: /spec/template/spec/containers/0/env/-
  value:
    name: B
    value: x
-- prod/kustomization.yaml --
# production
resources:
- ../base # shared
patches:
- path: drift-deployment-web-json.yaml
  target:
    kind: Deployment
    name: web
    group: apps
    version: v1
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree := repo(c.files)
			p, _ := adopted(t, tree, c.target, strings.Fields(c.others), wantOf(t, c.object, c.changes...))
			if got := archive(tree, p.Edits); got != c.edits || len(p.Refused) > 0 {
				t.Errorf("refused %v, wrote\n%s\nwant\n%s", p.Refused, got, c.edits)
			}
		})
	}
}

func TestWhatCannotBeProvenIsRefusedWithItsReason(t *testing.T) {
	for _, c := range []struct {
		name, files, target, others, object string
		changes                             []string
		reason                              string
	}{
		{"generator", "-- prod/kustomization.yaml --\nnamespace: shop\nconfigMapGenerator:\n- name: app\n  options: {disableNameSuffixHash: true}\n  literals: [a=b]\n", "prod", "", "ConfigMap app", []string{"data.a = c"}, "configMapGenerator app in prod/kustomization.yaml makes it"},
		{"secret", "-- prod/s.yaml --\napiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: shop}\nstringData: {a: b}\n", "prod", "", "Secret s", []string{"stringData.a = hunter2"}, "Secrets are never written to Git"},
		{"helm", "-- prod/kustomization.yaml --\nhelmCharts: [{name: x}]\n", "prod", "", "Deployment web", []string{"spec.replicas = 1"}, "helmCharts is refused"},
		{"remote base", "-- prod/kustomization.yaml --\nresources: [https://example.org/base]\n", "prod", "", "Deployment web", []string{"delete"}, "is remote"},
		{"encrypted", "-- prod/s.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: s, namespace: shop}\nsops: {mac: x}\n", "prod", "", "ConfigMap s", []string{"data.a = b"}, "encrypted with SOPS"},
		{"anchor shared by two objects' fields", "-- prod/a.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: s, namespace: shop}\ndata:\n  a: &x one\n  b: *x\n", "prod", "", "ConfigMap s", []string{"data.a = two"}, "anchor"},
		{"labels of the kustomization", "-- prod/kustomization.yaml --\nresources: [a.yaml, b.yaml]\nlabels: [{pairs: {env: prod}}]\n-- prod/a.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: shop}\n-- prod/b.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b, namespace: shop}\n", "prod", "", "ConfigMap a", []string{"metadata.labels.env = test"}, "something else sets it"},
		{"plain file that a kustomization elsewhere uses", "-- prod/web.yaml --\n" + deployment + "-- other/kustomization.yaml --\nresources: [../prod/web.yaml]\n", "prod", "", "Deployment web", []string{"spec.replicas = 4"}, "prod/web.yaml is also used by other"},
		{"the overlay is a base of another target", twoOverlays + "-- more/kustomization.yaml --\nresources: [../prod]\n", "prod", "more", "Deployment web", []string{"spec.replicas = 4"}, "prod/kustomization.yaml is also used by more"},
		{"a directory of two targets", "-- prod/in/web.yaml --\n" + deployment, "prod", "prod/in", "Deployment web", []string{"spec.replicas = 4"}, "prod/in/web.yaml is also used by prod/in"},
		{"unknown object", "-- prod/web.yaml --\n" + deployment, "prod", "", "ConfigMap x", []string{"data.a = b"}, "does not render this object"},
		{"bad path", "-- prod/web.yaml --\n" + deployment, "prod", "", "Deployment web", []string{"spec[ = 1"}, "not closed"},
		{"two bases with one name", "-- base/kustomization.yaml --\nresources: [web.yaml]\n-- base/web.yaml --\n" + deployment + "-- a/kustomization.yaml --\nresources: [../base]\nnamePrefix: a-\n-- b/kustomization.yaml --\nresources: [../base]\nnamePrefix: b-\n-- prod/kustomization.yaml --\nresources: [../a, ../b]\nnameSuffix: -x\n", "prod", "", "Deployment a-web-x", []string{"spec.template.metadata.labels.app = x"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree := repo(c.files)
			w := wantOf(t, c.object, c.changes...)
			p, err := (&Writer{Renderer: shared}).Propose(t.Context(), tree, c.target, strings.Fields(c.others), []Want{w})
			if err != nil {
				t.Fatal(err)
			}
			if c.reason == "" { // the overlay can say which
				adopted(t, tree, c.target, nil, w)
				return
			}
			if len(p.Refused) != 1 || len(p.Edits) != 0 || !strings.Contains(p.Refused[0].Reason, c.reason) {
				t.Fatalf("%d edits, refused %+v", len(p.Edits), p.Refused)
			}
			if r := p.Refused[0]; strings.Contains(r.Patch+r.Reason, "hunter2") || w.Ref.Kind != "Secret" && r.Patch == "" && c.name != "bad path" {
				t.Errorf("patch: %q", r.Patch)
			}
		})
	}
}

func TestOneRefusalKeepsNoOtherBack(t *testing.T) {
	tree := repo("-- prod/all.yaml --\n" + deployment + "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: m, namespace: shop}\ndata:\n  a: &x one\n  b: *x\n  c: d\n")
	masked := wantOf(t, "Deployment web", "spec.replicas = 4", "spec.paused = true")
	masked.Fields[1].Masked = true
	p, after := adopted(t, tree, "prod", nil, wantOf(t, "ConfigMap m", "data.a = two", "data.c = e"), masked)
	if len(p.Refused) != 2 || !strings.Contains(string(after["prod/all.yaml"].Data), "replicas: 4 # enough") || !strings.Contains(string(after["prod/all.yaml"].Data), "c: e") {
		t.Errorf("%+v\n%s", p.Refused, after["prod/all.yaml"].Data)
	}
}

func TestOneEditMayServeSeveralObjects(t *testing.T) {
	files := "-- prod/kustomization.yaml --\nresources: [web.yaml, job.yaml]\nimages: [{name: shop/web, newTag: v1}]\n-- prod/web.yaml --\n" + deployment +
		"-- prod/job.yaml --\n" + strings.ReplaceAll(deployment, "name: web # the shop", "name: job")
	path := "spec.template.spec.containers[name=web].image = shop/web:v2"
	p, _ := adopted(t, repo(files), "prod", nil, wantOf(t, "Deployment web", path), wantOf(t, "Deployment job", path))
	if len(p.Refused) > 0 || len(p.Edits) != 1 {
		t.Errorf("%v %v", p.Refused, p.Edits)
	}
	// One of them alone gets a patch, if that helps: here the entry wins, so it is refused.
	p, _ = adopted(t, repo(files), "prod", nil, wantOf(t, "Deployment web", path))
	if len(p.Refused) != 1 {
		t.Errorf("%v %v", p.Refused, p.Edits)
	}
}

func TestChangesByPositionAndOfOrderAreOne(t *testing.T) {
	tree := repo("-- prod/web.yaml --\n" + strings.Replace(deployment, "        - name: A\n          value: \"1\"\n", "        - name: A # a\n          value: \"1\"\n        - name: B # b\n          value: x\n      tolerations:\n      - {effect: X, operator: Exists} # x\n      - effect: Y\n        operator: Exists\n", 1))
	w := wantOf(t, "Deployment web", "- spec.template.spec.tolerations[0]", "spec.template.spec.containers[name=web].env = ['[name=B]', '[name=A]']")
	w.Fields = append(w.Fields, cluster.FieldChange{Path: "spec.template.spec.containers[name=web].env[name=B].value", Op: cluster.Set, After: "y"})
	p, err := (&Writer{Renderer: shared}).Propose(t.Context(), tree, "prod", nil, []Want{w})
	if err != nil || len(p.Refused) > 0 {
		t.Fatal(err, p.Refused)
	}
	got := string(p.Edits["prod/web.yaml"].Content)
	if !strings.HasSuffix(got, "        - name: B # b\n          value: \"y\"\n        - name: A\n          value: \"1\"\n      tolerations:\n      - effect: Y\n        operator: Exists\n") {
		t.Errorf("%s", got)
	}
}
