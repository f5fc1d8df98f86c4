package kube

import (
	"context"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/ask"
	"lockkeeper/cluster/kube/client"
	"lockkeeper/cluster/kube/fields"
	"lockkeeper/cluster/kube/kinds"
)

// keepsData are kinds whose deletion loses data: they are never replaced.
var keepsData = map[string]string{
	"PersistentVolumeClaim": "the data on its volume",
	"PersistentVolume":      "the data on it",
	"Namespace":             "everything in it",
	kinds.CRD:               "all objects of its kind",
}

// replace predicts a delete and create. The server cannot dry-run that, so the
// change compares what Git sets with what is live.
func (l *look) replace(paths []string) (outcome, error) {
	list := strings.Join(paths, ", ")
	if what, ok := keepsData[l.w.ref.GroupKind()]; ok {
		return l.problem("%s: %s cannot be changed on a live object, and replacing it would lose %s: give the new one another name and move over, or take the change back", l.w.ref, list, what), nil
	}
	change := l.change(cluster.Replace)
	change.Reason = list + " cannot be changed on a live object: it is deleted and created again"
	change.Unverified = "a replace cannot be dry-run"
	if l.adopts() {
		change.Managers = fields.Managers(l.live)
	}
	change.Fields = l.gitFields()
	out, err := l.finish(change, nil)
	if out.item != nil {
		out.item.force = true
	}
	return out, err
}

// gitFields compares what Git sets with what is live, without the server's help.
func (l *look) gitFields() []cluster.FieldChange {
	lk := fields.KeysOf(fields.All(l.live)...)
	given := l.shown(l.desired)
	if l.live == nil {
		return fields.Diff(nil, given, lk)
	}
	live := l.shown(l.live)
	out := fields.Diff(fields.Project(live, given, lk).(map[string]any), given, lk)
	if l.w.base == nil {
		return out
	}
	there := fields.Flatten(live, lk)
	for _, f := range fields.Diff(l.shown(ask.Desired(l.w.base)), given, lk) {
		if v, ok := there[f.Path]; ok && f.Op == cluster.Remove {
			out = append(out, cluster.FieldChange{Path: f.Path, Op: cluster.Remove, Before: v})
		}
	}
	return fields.Sorted(out)
}

// planDelete predicts the removal of an object that Git no longer has.
func (c *Cluster) planDelete(ctx context.Context, p *prepared, w wanted) (outcome, error) {
	apiVersion := ""
	switch {
	case w.base != nil:
		apiVersion = w.base.APIVersion
	case w.owned != nil:
		apiVersion = w.owned.APIVersion
	}
	k, apiVersion, ok := p.kinds.Any(w.ref, apiVersion)
	if !ok {
		if len(p.kinds.Broken) > 0 {
			return outcome{problem: &cluster.Problem{Ref: &w.ref, Passing: true, Message: fmt.Sprintf("%s is to be deleted, but the API service of its kind does not answer", w.ref)}}, nil
		}
		return outcome{drop: true}, nil // its CRD is gone, and so is it
	}
	live, err := ask.Find(ctx, c.api, k, w.ref)
	if ask.Hopeless(err) {
		return outcome{}, fmt.Errorf("%s: %w", w.ref, c.api.Explain(err))
	}
	if ask.KindGone(err) {
		c.kinds.Forget()
		return outcome{drop: true}, nil // its CRD is gone since discovery was asked
	}
	if err != nil {
		return outcome{problem: &cluster.Problem{Ref: &w.ref, Message: fmt.Sprintf("%s: %s", w.ref, ask.Refusal(c.api, err)), Passing: client.Passing(err)}}, nil
	}
	if live == nil {
		out := outcome{drop: true}
		if w.owned != nil && w.base != nil {
			out.drift = &cluster.Drift{Ref: w.ref, Deleted: true, Effect: "it was deleted behind lockkeeper's back, and Git has it no more either"}
		}
		return out, nil
	}
	change := cluster.Change{Ref: w.ref, APIVersion: apiVersion, Action: cluster.Delete, Pending: w.pending}
	if w.base != nil {
		change.Source = w.base.Source
	}
	if w.owned == nil || w.owned.UID != live.GetUID() {
		change.Managers = fields.Managers(live)
	}
	if change.Reason, err = c.takesAlong(ctx, p, w.ref, live); err != nil {
		return outcome{}, c.api.Explain(err)
	}
	return seal(p, &item{want: w, gvr: k.GVR, live: live}, change)
}

// takesAlong says what else a delete removes.
func (c *Cluster) takesAlong(ctx context.Context, p *prepared, ref cluster.Ref, live *unstructured.Unstructured) (string, error) {
	switch ref.GroupKind() {
	case "Namespace":
		pods, err := c.count(ctx, schema.GroupVersionResource{Version: "v1", Resource: "pods"}, ref.Name)
		if err != nil {
			return "", err
		}
		claims, err := c.count(ctx, schema.GroupVersionResource{Version: "v1", Resource: "persistentvolumeclaims"}, ref.Name)
		return fmt.Sprintf("everything in the namespace goes with it, among that %s and %s", counted(pods, "pod"), counted(claims, "volume claim")), err
	case kinds.CRD:
		defined := kinds.Defined(live.Object)
		k, _, ok := p.kinds.Any(cluster.Ref{Group: defined.Group, Kind: defined.Kind}, "")
		if !ok {
			return "all objects of its kind go with it", nil
		}
		n, err := c.count(ctx, k.GVR, "")
		return fmt.Sprintf("all objects of its kind go with it: %s", counted(n, defined.Kind)), err
	case "PersistentVolumeClaim":
		return "the volume behind it may be deleted with its data, as its storage class says", nil
	}
	return "", nil
}

func counted(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// count counts objects with one small metadata-only LIST.
func (c *Cluster) count(ctx context.Context, gvr schema.GroupVersionResource, namespace string) (int64, error) {
	var page *metav1.PartialObjectMetadataList
	err := c.api.Ask(ctx, func(ctx context.Context) (err error) {
		page, err = c.api.Metadata.Resource(gvr).Namespace(namespace).List(ctx, metav1.ListOptions{Limit: 1})
		return err
	})
	if err != nil {
		return 0, err
	}
	n := int64(len(page.Items))
	if page.RemainingItemCount != nil {
		n += *page.RemainingItemCount
	}
	return n, nil
}
