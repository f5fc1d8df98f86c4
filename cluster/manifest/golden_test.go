package manifest

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/runtime"
	k8sjson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const shop = `
-- base/kustomization.yaml --
resources:
- web.yaml
- service.yaml
configMapGenerator:
- name: web
  files: [app.properties, renamed=app.properties]
  envs: [web.env]
  literals: [LEVEL=info]
secretGenerator:
- name: web
  literals: [password=hunter2hunter2]
-- base/app.properties --
a=1
b=2
-- base/web.env --
FROM_ENV=yes
-- base/web.yaml --
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  annotations: {}
spec:
  replicas: 1
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
      - name: web
        image: example.com/web:1.0
        envFrom:
        - configMapRef: {name: web}
        - secretRef: {name: web}
-- base/service.yaml --
apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  selector: {app: web}
  ports:
  - port: 80
    targetPort: 8080
`

// layouts are kustomizations; each is built at "top".
var layouts = map[string]string{
	"overlay": shop + `
-- top/kustomization.yaml --
resources: [../base]
namespace: shop-prod
namePrefix: prod-
nameSuffix: -eu
replicas: [{name: web, count: 3}]
images: [{name: example.com/web, newTag: "2.0"}]
labels:
- pairs: {env: prod}
  includeSelectors: true
commonAnnotations: {team: shop}
`,
	"strategic and JSON patches": shop + `
-- top/kustomization.yaml --
resources: [../base]
patches:
- path: more.yaml
- target: {kind: Service, name: web}
  patch: |-
    - op: replace
      path: /spec/ports/0/port
      value: 8443
- target: {kind: Deployment}
  patch: |-
    - op: add
      path: /metadata/annotations
      value: {only: this}
patchesStrategicMerge:
- |-
  apiVersion: v1
  kind: Service
  metadata:
    name: web
  spec:
    type: LoadBalancer
-- top/more.yaml --
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  template:
    spec:
      containers:
      - name: web
        resources:
          limits: {memory: 64Mi, cpu: 0.5}
      - name: sidecar
        image: example.com/sidecar
`,
	"patch that a stray annotation would let through": shop + `
-- top/kustomization.yaml --
resources: [../base]
patches:
- target: {kind: Service}
  patch: |-
    - op: add
      path: /metadata/annotations
      value: {mine: "yes"}
`,
	"components": shop + `
-- top/kustomization.yaml --
resources: [../base]
components: [../tls]
-- tls/kustomization.yaml --
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
configMapGenerator:
- name: web
  behavior: merge
  literals: [TLS=on]
patches:
- target: {kind: Deployment}
  patch: |-
    - op: add
      path: /spec/template/spec/volumes
      value: [{name: tls, secret: {secretName: tls}}]
`,
	"replacements": shop + `
-- top/kustomization.yml --
resources: [../base]
replacements:
- path: replace.yaml
- source: {kind: Service, name: web, fieldPath: metadata.name}
  targets:
  - select: {kind: Deployment}
    fieldPaths: [metadata.annotations.service]
    options: {create: true}
-- top/replace.yaml --
source: {kind: Service, fieldPath: "spec.ports.0.port"}
targets:
- select: {kind: Deployment}
  fieldPaths: [spec.replicas]
`,
	"generators and transformers of Kustomize itself": shop + `
-- top/Kustomization --
resources: [../base]
generators: [generate.yaml]
transformers:
- |-
  apiVersion: builtin
  kind: LabelTransformer
  metadata: {name: labels}
  labels: {added: "true"}
  fieldSpecs: [{path: metadata/labels, create: true}]
generatorOptions: {disableNameSuffixHash: true}
-- top/generate.yaml --
apiVersion: builtin
kind: ConfigMapGenerator
metadata: {name: made}
literals: [x=y]
`,
	"origins wanted by the user": shop + `
-- top/kustomization.yaml --
resources: [../base]
buildMetadata: [originAnnotations, managedByLabel]
`,
	"scalars": `
-- top/kustomization.yaml --
resources: [x.yaml]
-- top/x.yaml --
apiVersion: example.com/v1
kind: Thing
metadata: {name: x}
spec: {a: yes, b: "yes", c: 0644, d: 1e3, e: 1.50, f: 12345678901234567890, g: ~, h: 2020-01-01, i: 0x1F, j: off, k: !!str 12, l: 1_000}
`,
}

// files reads a txtar archive.
func files(archive string) map[string]string {
	out := map[string]string{}
	for _, f := range txtar.Parse([]byte(archive)).Files {
		out[f.Name] = string(f.Data)
	}
	return out
}

// kustomizeBuild is what `kustomize build` and a client that reads its output
// as kubectl does make of a kustomization.
func kustomizeBuild(t *testing.T, files map[string]string, dir string) []any {
	t.Helper()
	fsys := filesys.MakeFsInMemory()
	for p, content := range files {
		if err := fsys.WriteFile("/"+p, []byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	opts := krusty.MakeDefaultOptions()
	opts.LoadRestrictions = types.LoadRestrictionsNone
	m, err := krusty.MakeKustomizer(opts).Run(fsys, "/"+dir)
	if err != nil {
		t.Fatal(err)
	}
	out, err := m.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return asKubectl(t, string(out))
}

func asKubectl(t *testing.T, stream string) []any {
	t.Helper()
	var all []any
	for doc := range strings.SplitSeq(stream, "\n---\n") {
		j, err := yaml.YAMLToJSON([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		var v map[string]any
		if err := k8sjson.Unmarshal(j, &v); err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	return all
}

func TestKustomizeRendersAsKustomizeDoes(t *testing.T) {
	for name, archive := range layouts {
		t.Run(name, func(t *testing.T) {
			in := files(archive)
			want := kustomizeBuild(t, in, "top")
			got := mustRender(t, shared, repo(in), "top")
			if len(got.Objects) != len(want) {
				t.Fatalf("got %v, want %d objects", refs(got.Objects), len(want))
			}
			for i, o := range got.Objects {
				if !reflect.DeepEqual(any(o.Content), want[i]) {
					g, _ := json.MarshalIndent(o.Content, "", " ")
					w, _ := json.MarshalIndent(want[i], "", " ")
					t.Errorf("%s: got %s\nwant %s", o.Ref, g, w)
				}
				// Panics on numbers that are neither int64 nor float64.
				runtime.DeepCopyJSON(o.Content)
			}
		})
	}
}

func TestKustomizeObjectsNameTheirSources(t *testing.T) {
	in := with(files(layouts["overlay"]), "base/service.yaml", "# two\n---\n"+configMap("other")+"---\n"+files(shop)["base/service.yaml"])
	got := mustRender(t, shared, repo(in), "top")
	sources := map[string]string{}
	for _, o := range got.Objects {
		sources[o.Ref.Kind+" "+strings.SplitN(o.Ref.Name, "-eu", 2)[0]] = o.Source
	}
	for what, want := range map[string]string{
		"Deployment prod-web":  "base/web.yaml:1",
		"Service prod-web":     "base/service.yaml:9",
		"ConfigMap prod-other": "base/service.yaml:3",
		"ConfigMap prod-web":   "base/kustomization.yaml",
		"Secret prod-web":      "base/kustomization.yaml",
	} {
		if sources[what] != want {
			t.Errorf("source of %s: got %q, want %q (all: %v)", what, sources[what], want, sources)
		}
	}
}

func TestPlainScalarsResolveAsKubectlResolvesThem(t *testing.T) {
	doc := files(layouts["scalars"])["top/x.yaml"]
	got := mustRender(t, shared, repo(map[string]string{"p/x.yaml": doc}), "p")
	if want := asKubectl(t, doc); !reflect.DeepEqual(any(got.Objects[0].Content), want[0]) {
		t.Errorf("got %v\nwant %v", got.Objects[0].Content, want[0])
	}
}
