// Package ask asks an API server about one object: it reads it, dry-runs an
// apply (ask.go), and puts in words what the server has against it
// (refusal.go). It knows nothing of plans, and writes nothing.
package ask

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/client"
	"lockkeeper/cluster/kube/fields"
	"lockkeeper/cluster/kube/kinds"
	"lockkeeper/cluster/kube/secret"
)

// Desired is the object to apply: Git's content with its namespace, without
// what a client must not send, and stringData folded into data (as the server
// does, but so that fields can be removed again).
func Desired(o *cluster.Object) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: (&unstructured.Unstructured{Object: o.Content}).DeepCopy().Object}
	u.SetAPIVersion(o.APIVersion)
	u.SetNamespace(o.Ref.Namespace)
	for _, f := range []string{"managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink"} {
		unstructured.RemoveNestedField(u.Object, "metadata", f)
	}
	delete(u.Object, "status")
	secret.Fold(o.Ref, u.Object)
	return u
}

// Find reads a live object; nil means that it is not there. That its kind is not
// is an error (KindGone).
func Find(ctx context.Context, api *client.Client, k kinds.Kind, ref cluster.Ref) (*unstructured.Unstructured, error) {
	live, err := api.Get(ctx, k.GVR, ref.Namespace, ref.Name)
	if apierrors.IsNotFound(err) && !KindGone(err) {
		return nil, nil
	}
	return live, err
}

// DryApply is a dry-run of a server-side apply under our manager's name.
func DryApply(ctx context.Context, api *client.Client, k kinds.Kind, u *unstructured.Unstructured, force bool) (*unstructured.Unstructured, error) {
	body, err := json.Marshal(u.Object)
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", u.GetName(), err)
	}
	opts := metav1.PatchOptions{
		DryRun: []string{metav1.DryRunAll}, FieldManager: fields.Manager, Force: &force,
		FieldValidation: metav1.FieldValidationStrict,
	}
	var out *unstructured.Unstructured
	err = api.Ask(ctx, func(ctx context.Context) (err error) {
		out, err = api.Resource(k.GVR, u.GetNamespace()).Patch(ctx, u.GetName(), types.ApplyPatchType, body, opts)
		return err
	})
	return out, err
}

// DryUpdate is a dry-run of an update under our manager's name: what the server
// makes of an object that was composed here.
func DryUpdate(ctx context.Context, api *client.Client, k kinds.Kind, u *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	var out *unstructured.Unstructured
	err := api.Ask(ctx, func(ctx context.Context) (err error) {
		out, err = api.Resource(k.GVR, u.GetNamespace()).Update(ctx, u,
			metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: fields.Manager})
		return err
	})
	return out, err
}

// ServerAssigned are the fields that the API server fills with values of its
// own; a dry-run answers with placeholders for them.
func ServerAssigned(ref cluster.Ref, path string) bool {
	switch ref.GroupKind() {
	case "Service":
		return strings.HasPrefix(path, "spec.clusterIP") || path == "spec.healthCheckNodePort" || strings.HasSuffix(path, ".nodePort")
	case "Job.batch":
		return strings.Contains(path, "controller-uid")
	case "PersistentVolumeClaim":
		return path == "spec.volumeName"
	}
	return false
}

// PathNames maps the server's spelling of the paths of an object to ours.
func PathNames(u *unstructured.Unstructured) map[string]string {
	out := map[string]string{}
	for _, s := range fields.All(u) {
		s.Iterate(func(p fieldpath.Path) { out[p.String()] = fields.PathOf(p) })
	}
	return out
}

// WaitsFor names the finalizers of an object that is being deleted.
func WaitsFor(u *unstructured.Unstructured) string {
	if len(u.GetFinalizers()) == 0 {
		return ""
	}
	return " (it waits for " + strings.Join(u.GetFinalizers(), ", ") + ")"
}
