package kube

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/jsonmergepatch"
	"k8s.io/client-go/dynamic"

	"lockkeeper/cluster"
)

// mutate does up to five things to most objects, each as the API call that the
// tool makes which is named as the manager.
func (d *differential) mutate(round int) {
	known, err := d.c.kinds.For(d.t.Context(), nil)
	if err != nil {
		d.t.Fatal(err)
	}
	number := map[cluster.Ref]uint64{}
	for i, o := range d.objs {
		number[o.Ref] = uint64(i)
	}
	d.each(func(o cluster.Object) {
		k, _ := known.Get(o.Ref, o.APIVersion)
		r := rand.New(rand.NewPCG(*driftSeed+uint64(round)*1000, number[o.Ref]))
		u := &mutator{
			d: d, o: o, at: d.c.api.Resource(k.GVR, o.Ref.Namespace),
			w: &world{r: r, namespaces: []string{o.Ref.Namespace}, group: d.group, next: 100 * (round + 1)},
		}
		for range r.IntN(6) {
			u.once()
		}
	})
}

// mutator changes one live object.
type mutator struct {
	d  *differential
	o  cluster.Object
	at dynamic.ResourceInterface
	w  *world
}

// once makes one mutation; one that the server refuses does not count.
func (u *mutator) once() {
	live, err := u.at.Get(u.d.t.Context(), u.o.Ref.Name, metav1.GetOptions{})
	if err != nil {
		u.note("create by kubectl-create", u.create(false))
		return
	}
	p := u.w.r.IntN(100)
	switch {
	case p < 12:
		u.edit(live, u.w.one("kubectl-edit", "kubectl-patch", "k9s", "kubectl-client-side-apply").(string))
	case p < 18:
		u.edit(live, "some-operator")
	case p < 25:
		u.replace(live, u.w.one("kubectl-replace", "some-operator").(string))
	case p < 31:
		u.serverSide(u.w.one("kubectl", "some-operator").(string))
	case p < 36:
		u.serverSide(Manager)
	case p < 40:
		u.edit(live, Manager) // an update under our name is not our apply
	case p < 52:
		u.metadata(u.w.one("kubectl-label", "kubectl-annotate", "some-operator", "some-operator").(string))
	case p < 62:
		u.status()
	case p < 72:
		u.thereAndBack(live)
	case p < 82:
		u.note("nothing, by kubectl-replace", u.update(live, "kubectl-replace"))
	case p < 88:
		u.note("managedFields are reset", u.patch("anybody", `{"metadata":{"managedFields":[{}]}}`))
	case p < 95:
		u.rewrite(live)
	case p < 97:
		u.note("delete", u.at.Delete(u.d.t.Context(), u.o.Ref.Name, metav1.DeleteOptions{}))
	default:
		u.note("delete and create", u.create(true))
	}
}

func (u *mutator) note(what string, err error) {
	if err != nil {
		what += ": refused: " + err.Error()
	} else {
		u.d.mutations.Add(1)
	}
	u.d.mu.Lock()
	defer u.d.mu.Unlock()
	u.d.log[u.o.Ref] = append(u.d.log[u.o.Ref], what)
}

// edited is an object after a random edit that fits its kind.
func (u *mutator) edited(o *unstructured.Unstructured) *unstructured.Unstructured {
	out := o.DeepCopy()
	edits := speciesOf(u.o.Ref.Kind).edits
	if u.o.Ref.Kind == "PodDisruptionBudget" {
		edits = edits[1:] // the other field in the way of Git's, by a controller, has no way back
	}
	edits[u.w.r.IntN(len(edits))](u.w, out.Object)
	return out
}

func (u *mutator) patch(manager, patch string, sub ...string) error {
	_, err := u.at.Patch(u.d.t.Context(), u.o.Ref.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: manager}, sub...)
	return err
}

func (u *mutator) update(o *unstructured.Unstructured, manager string) error {
	_, err := u.at.Update(u.d.t.Context(), o, metav1.UpdateOptions{FieldManager: manager})
	return err
}

// edit sends what differs, as kubectl edit, patch and client-side apply do.
func (u *mutator) edit(live *unstructured.Unstructured, manager string) {
	was, is := pretty(live.Object), u.edited(live)
	if manager == "kubectl-client-side-apply" {
		unstructured.SetNestedField(is.Object, "{}", "metadata", "annotations", "kubectl.kubernetes.io/last-applied-configuration")
	}
	patch, err := jsonmergepatch.CreateThreeWayJSONMergePatch([]byte(was), []byte(pretty(is.Object)), []byte(was))
	if err != nil {
		u.d.t.Error(err)
		return
	}
	u.note(fmt.Sprintf("patch by %s: %.300s", manager, patch), u.patch(manager, string(patch)))
}

func (u *mutator) replace(live *unstructured.Unstructured, manager string) {
	u.note("replace by "+manager, u.update(u.edited(live), manager))
}

// serverSide applies what Git has, edited, by force.
func (u *mutator) serverSide(manager string) {
	o := u.edited(&unstructured.Unstructured{Object: u.o.Content})
	if u.w.chance(40) { // or only a part of it
		o.Object = m{"apiVersion": u.o.APIVersion, "kind": u.o.Ref.Kind, "metadata": m{"name": u.o.Ref.Name, "labels": m{"tier": u.w.word(), "added": "x"}}}
	}
	o.SetManagedFields(nil)
	_, err := u.at.Patch(u.d.t.Context(), u.o.Ref.Name, types.ApplyPatchType, []byte(pretty(o.Object)), metav1.PatchOptions{FieldManager: manager, Force: new(true)})
	u.note(fmt.Sprintf("server-side apply by %s: %.300s", manager, pretty(o.Object)), err)
}

// metadata sets or removes a label or an annotation, of Git or not.
func (u *mutator) metadata(manager string) {
	field := u.w.one("labels", "annotations").(string)
	key := u.w.one("tier", "app.kubernetes.io/name", "example.org/note", "own").(string)
	patch := pretty(m{"metadata": m{field: m{key: u.w.one(nil, u.w.word(), u.w.word())}}})
	u.note("patch by "+manager+": "+patch, u.patch(manager, patch))
}

// status is what controllers write: status, and the scale of what they scale.
func (u *mutator) status() {
	switch kind := u.o.Ref.Kind; {
	case (kind == "Deployment" || kind == "StatefulSet") && u.w.chance(70):
		manager := u.w.one("kube-controller-manager", "kube-controller-manager", "kubectl").(string)
		u.note("scale by "+manager, u.patch(manager, pretty(m{"spec": m{"replicas": u.w.r.IntN(2)}}), "scale"))
	case kind == "Ingress" || kind == "Service":
		u.note("status", u.patch("some-controller", pretty(m{"status": m{"loadBalancer": m{"ingress": l{m{"ip": fmt.Sprintf("192.0.2.%d", u.w.r.IntN(200))}}}}}), "status"))
	case kind == "HorizontalPodAutoscaler":
		u.note("status", u.patch("kube-controller-manager", pretty(m{"status": m{"desiredReplicas": u.w.r.IntN(9), "currentReplicas": 1}}), "status"))
	default:
		u.metadata("some-controller")
	}
}

// thereAndBack changes something and takes it back, so that only versions,
// generations and owners tell.
func (u *mutator) thereAndBack(live *unstructured.Unstructured) {
	manager := u.w.one("some-operator", "kubectl-edit").(string)
	err := u.update(u.edited(live), manager)
	if err == nil {
		var now *unstructured.Unstructured
		if now, err = u.at.Get(u.d.t.Context(), u.o.Ref.Name, metav1.GetOptions{}); err == nil {
			back := live.DeepCopy()
			back.SetResourceVersion(now.GetResourceVersion())
			back.SetManagedFields(now.GetManagedFields())
			err = u.update(back, manager)
		}
	}
	u.note("there and back by "+manager, err)
}

// create makes the object, as it was or edited, after removing it if it is there.
func (u *mutator) create(remove bool) error {
	if remove {
		if err := u.at.Delete(u.d.t.Context(), u.o.Ref.Name, metav1.DeleteOptions{}); err != nil {
			return err
		}
	}
	o := &unstructured.Unstructured{Object: u.o.Content}
	if u.w.chance(50) {
		o = u.edited(o)
	}
	_, err := u.at.Create(u.d.t.Context(), o, metav1.CreateOptions{FieldManager: "kubectl-create"})
	return err
}

// rewriteKey is the annotation in which a bystander's update carries what the
// webhook is to make of the object.
const rewriteKey = "example.org/rewrite"

// rewrite is a harmless update by somebody, during which a mutating webhook
// changes fields of ours: managedFields tells of it nowhere.
func (u *mutator) rewrite(live *unstructured.Unstructured) {
	var patch l
	is := u.edited(live)
	for _, k := range []string{"spec", "data", "rules", "subjects", "automountServiceAccountToken"} {
		v, ok := is.Object[k]
		if _, had := live.Object[k]; ok {
			patch = append(patch, m{"op": "add", "path": "/" + k, "value": v})
		} else if had {
			patch = append(patch, m{"op": "remove", "path": "/" + k})
		}
	}
	if len(patch) == 0 {
		return
	}
	err := u.patch("bystander", pretty(m{"metadata": m{"annotations": m{rewriteKey: pretty(patch)}}}))
	u.note(fmt.Sprintf("rewritten by a webhook: %.300s", pretty(patch)), err)
}

// rewriting installs a webhook that does in a namespace what bystanders' updates
// ask for.
func rewriting(t *testing.T, c *Cluster, ns string) {
	t.Helper()
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review struct {
			Request struct {
				UID    string                    `json:"uid"`
				Object unstructured.Unstructured `json:"object"`
			} `json:"request"`
		}
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(body, &review)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer := m{"uid": review.Request.UID, "allowed": true}
		if patch, ok := review.Request.Object.GetAnnotations()[rewriteKey]; ok {
			answer["patchType"], answer["patch"] = "JSONPatch", []byte(patch)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(m{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer})
	}))
	t.Cleanup(srv.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	config := &unstructured.Unstructured{Object: m{
		"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
		"metadata": m{"name": ns},
		"webhooks": l{m{
			"name": "rewrite.example.org", "admissionReviewVersions": l{"v1"}, "sideEffects": "None",
			"clientConfig":      m{"url": srv.URL, "caBundle": ca},
			"namespaceSelector": m{"matchLabels": m{"kubernetes.io/metadata.name": ns}},
			"rules":             l{m{"apiGroups": l{"*"}, "apiVersions": l{"*"}, "operations": l{"UPDATE"}, "resources": l{"*"}}},
			"matchConditions": l{m{
				"name": "bystander", "expression": "has(request.options.fieldManager) && request.options.fieldManager == 'bystander'",
			}},
		}},
	}}
	var doc m
	if err := json.Unmarshal([]byte(pretty(config.Object)), &doc); err != nil {
		t.Fatal(err)
	}
	at := c.api.Resource(gvrOf("mutatingwebhookconfigurations.v1.admissionregistration.k8s.io"), "")
	if _, err := at.Create(t.Context(), &unstructured.Unstructured{Object: doc}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := at.Delete(context.WithoutCancel(t.Context()), ns, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
}
