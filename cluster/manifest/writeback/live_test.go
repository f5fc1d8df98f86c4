package writeback

import (
	"encoding/json"
	"flag"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/jsonmergepatch"
	"k8s.io/client-go/dynamic"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube"
)

var liveLayouts = flag.Int("adopt.layouts", 220, "layouts that are adopted on a real API server")

// batch are drifts that people make, as they make them: arguments of kubectl.
var batch = []struct {
	structure, style string
	kubectl          [][]string
}{
	{"plain", "as it is", [][]string{{"scale", "deployment/web", "--replicas=7"}, {"set", "image", "deployment/web", "web=shop/web:9.1"}}},
	{"plain, one file", "CRLF", [][]string{{"label", "deployment/web", "tier-", "team=blue"}, {"annotate", "configmap/settings", "who=me"}}},
	{"own kustomization", "flow", [][]string{{"set", "env", "deployment/web", "A=two", "C=three"}, {"set", "resources", "deployment/web", "--limits=cpu=2,memory=2Gi"}}},
	{"base of its own", "wide", [][]string{{"set", "env", "deployment/web", "A-"}, {"patch", "configmap/settings", "--type=merge", "-p", `{"data":{"app.conf":"# inside\nport = 81\n","level":null,"more":"yes"}}`}}},
	{"shared base", "dented lists", [][]string{{"scale", "deployment/web", "--replicas=0"}, {"patch", "deployment/web", "--type=json", "-p", `[{"op":"add","path":"/spec/template/spec/containers/-","value":{"name":"side","image":"side:1","ports":[{"containerPort":90}]}}]`}}},
	{"shared base", "JSON", [][]string{{"set", "env", "deployment/web", "B=c", "Z=1"}, {"delete", "configmap/settings"}}},
	{"shared base with patches", "as it is", [][]string{{"scale", "deployment/web", "--replicas=2"}, {"set", "image", "deployment/web", "web=x/y:z"}, {"label", "--overwrite", "deployment/web", "tier=middle"}}},
	{"inline patches", "blank lines", [][]string{{"scale", "deployment/web", "--replicas=2"}, {"patch", "configmap/settings", "--type=merge", "-p", `{"data":{"level":"warn"}}`}}},
	{"images and replicas", "as it is", [][]string{{"scale", "deployment/web", "--replicas=2"}, {"set", "image", "deployment/web", "web=mirror/web:8"}}},
	{"component", "anchors", [][]string{{"delete", "configmap/settings"}, {"patch", "deployment/web", "--type=json", "-p", `[{"op":"remove","path":"/spec/template/spec/tolerations/0"},{"op":"replace","path":"/spec/template/spec/containers/0/args","value":["serve"]}]`}}},
	{"namespace and labels", "no final break", [][]string{{"patch", "deployment/web", "--type=merge", "-p", `{"spec":{"strategy":{"type":"Recreate","rollingUpdate":null},"template":{"spec":{"nodeSelector":{"disk":"ssd"}}}}}`}}},
	{"plain", "compact JSON", [][]string{{"scale", "deployment/web", "--replicas=2"}, {"delete", "configmap/settings"}}},
}

// TestWhatIsAdoptedHasNotDrifted applies layouts to a real API server, changes
// the live objects by kubectl, adopts what is live, and plans what rendering
// the edited tree yields: no field would change.
func TestWhatIsAdoptedHasNotDrifted(t *testing.T) {
	cp := plane.Get(t)
	c, err := kube.New(kube.Config{Name: "test", REST: cp.Access.RESTConfig()})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	deeds := map[int][]deed{}
	for n := range *liveLayouts {
		// Each as it is written above, then others to which the same is done.
		b, script := batch[n%len(batch)], batch[n%len(batch)].kubectl
		if n >= len(batch) {
			b.structure, b.style = structures[n%len(structures)].name, styles[(n/len(structures)+5*n)%len(styles)].name
		}
		t.Run(b.structure+"/"+b.style, func(t *testing.T) {
			ns := cp.Namespace(t)
			w := world{t: t, ns: ns, cluster: c, tree: layout(t, b.structure, b.style, ns)}
			w.apply()
			if done, known := deeds[n%len(batch)]; known {
				w.edit(done)
			} else {
				before := w.live()
				for _, args := range script {
					w.kubectl(args...)
				}
				deeds[n%len(batch)] = w.since(before)
			}
			wants := w.wants()
			if len(wants) == 0 {
				t.Fatal("nothing drifted")
			}
			p, err := (&Writer{Renderer: shared}).Propose(t.Context(), w.tree, "prod", nil, wants)
			if err != nil || len(p.Refused) > 0 {
				t.Fatalf("%v: %+v", err, p.Refused)
			}
			was := w.tree
			w.tree = written(w.tree, p.Edits)
			for _, change := range w.plan().Changes {
				if len(change.Fields) > 0 || change.Action != cluster.Update && change.Action != cluster.Adopt {
					t.Errorf("%s %s: %+v", change.Action, change.Ref, change.Fields)
				}
			}
			if t.Failed() {
				t.Logf("%s", archive(was, p.Edits))
			}
		})
	}
}

// layout is one of the structures in one of the styles, in a namespace.
func layout(t *testing.T, structure, style, ns string) fstest.MapFS {
	for _, st := range structures {
		for _, sy := range styles {
			if st.name != structure || sy.name != style {
				continue
			}
			tree := fstest.MapFS{}
			for name, data := range st.files(sy.write, sy.ext) {
				data = strings.NewReplacer("namespace: shop", "namespace: "+ns, `"namespace":"shop"`, `"namespace":"`+ns+`"`, `"namespace": "shop"`, `"namespace": "`+ns+`"`).Replace(data)
				tree[name] = &fstest.MapFile{Data: []byte(data)}
			}
			return tree
		}
	}
	t.Fatalf("there is no %s in %s", structure, style)
	return nil
}

// world is a target, in Git and live.
type world struct {
	t       *testing.T
	ns      string
	cluster cluster.Cluster
	tree    fstest.MapFS
}

func (w *world) target() cluster.Target {
	return cluster.Target{RepoID: 1, Name: w.ns, Path: "prod", Cluster: "test", Namespace: w.ns, Timeout: time.Millisecond,
		Fence: cluster.Fence{Namespaces: []string{w.ns}}}
}

func (w *world) plan() *cluster.Plan {
	w.t.Helper()
	r, err := shared.Render(w.t.Context(), w.tree, "prod")
	if err != nil {
		w.t.Fatal(err)
	}
	p, err := w.cluster.Plan(w.t.Context(), cluster.Request{
		Target: w.target(), Base: r.Objects, Merge: r.Objects, Revision: "r", Everything: true,
	})
	if err != nil || len(p.Problems) > 0 {
		w.t.Fatalf("%v: %+v", err, p)
	}
	return p
}

// apply does not wait for health: there are no controllers.
func (w *world) apply() {
	w.t.Helper()
	r, err := w.cluster.Apply(w.t.Context(), w.plan(), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, s := range r.Steps {
		if s.State == cluster.Failed || s.State == cluster.Skipped {
			w.t.Fatalf("%s: %s", s.Ref, s.Message)
		}
	}
}

func (w *world) kubectl(args ...string) string {
	w.t.Helper()
	out, err := plane.Get(w.t).Kubectl(w.t.Context(), append([]string{"-n", w.ns}, args...)...).CombinedOutput()
	if err != nil {
		w.t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// deed is what somebody did to an object: a merge patch, or its deletion.
type deed struct {
	resource, name string
	patch          []byte // nil: deleted
}

// people's objects, by resource and name.
var touched = []deed{{resource: "deployments", name: "web"}, {resource: "configmaps", name: "settings"}}

func (w *world) client(resource string) dynamic.ResourceInterface {
	group := map[string]string{"deployments": "apps"}[resource]
	c := dynamic.NewForConfigOrDie(plane.Get(w.t).RESTConfig())
	return c.Resource(schema.GroupVersionResource{Group: group, Version: "v1", Resource: resource}).Namespace(w.ns)
}

// live are the objects that people touch, in JSON, as far as people set them;
// nil for one that is not there.
func (w *world) live() [][]byte {
	w.t.Helper()
	out := make([][]byte, len(touched))
	for i, o := range touched {
		u, err := w.client(o.resource).Get(w.t.Context(), o.name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			w.t.Fatal(err)
		}
		delete(u.Object, "status")
		u.Object["metadata"] = map[string]any{"labels": u.Object["metadata"].(map[string]any)["labels"], "annotations": u.Object["metadata"].(map[string]any)["annotations"]}
		if out[i], err = json.Marshal(u.Object); err != nil {
			w.t.Fatal(err)
		}
	}
	return out
}

// since is what was done to the objects.
func (w *world) since(before [][]byte) []deed {
	w.t.Helper()
	var out []deed
	for i, now := range w.live() {
		d := touched[i]
		if now != nil {
			var err error
			if d.patch, err = jsonmergepatch.CreateThreeWayJSONMergePatch(before[i], now, before[i]); err != nil {
				w.t.Fatal(err)
			}
		}
		if before[i] != nil && string(d.patch) != "{}" {
			out = append(out, d)
		}
	}
	return out
}

// edit does the same to the objects of this world.
func (w *world) edit(all []deed) {
	w.t.Helper()
	for _, d := range all {
		var err error
		if d.patch == nil {
			err = w.client(d.resource).Delete(w.t.Context(), d.name, metav1.DeleteOptions{})
		} else {
			_, err = w.client(d.resource).Patch(w.t.Context(), d.name, types.MergePatchType, d.patch, metav1.PatchOptions{FieldManager: "kubectl-edit"})
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

// wants are what the exact check finds, but for ownership alone.
func (w *world) wants() []Want {
	w.t.Helper()
	r, err := shared.Render(w.t.Context(), w.tree, "prod")
	if err != nil {
		w.t.Fatal(err)
	}
	report, err := w.cluster.Drift(w.t.Context(), cluster.DriftRequest{Target: w.target(), Objects: r.Objects})
	if err != nil || len(report.Problems) > 0 {
		w.t.Fatalf("%v: %+v", err, report)
	}
	var out []Want
	for _, f := range report.Findings {
		if f.Kind == cluster.Disowned {
			continue
		}
		at := slices.IndexFunc(out, func(x Want) bool { return x.Ref == f.Ref })
		if at < 0 {
			at, out = len(out), append(out, Want{Ref: f.Ref})
		}
		if out[at].Delete = f.Kind == cluster.Gone; f.Kind != cluster.Gone {
			out[at].Fields = append(out[at].Fields, f.Field)
		}
	}
	return out
}
