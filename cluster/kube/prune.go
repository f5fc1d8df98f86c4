package kube

import (
	"context"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/health"
	"lockkeeper/cluster/kube/kinds"
)

// prune deletes what the plan listed, and nothing else, if all went well so
// far. A group is gone before the next one is begun: what is left would need
// it, such as a custom resource its controller and its definition. The error
// is the inventory's.
func (a *applying) prune(ctx context.Context, groups []group) error {
	for _, g := range groups {
		if a.stopped(ctx) {
			return nil
		}
		a.wait(ctx, a.each(ctx, g, a.deleteObject))
		if err := a.save(ctx, false); err != nil {
			return err
		}
	}
	return nil
}

// deleteObject carries out one delete.
func (a *applying) deleteObject(ctx context.Context, i int) *health.Awaited {
	it := a.pr.items[i]
	a.step(i, cluster.Applying, "")
	var w *health.Awaited
	_, err := a.carryOut(ctx, &it, func(ctx context.Context, it *item) (_ *unstructured.Unstructured, err error) {
		w, err = a.remove(ctx, it)
		return nil, err
	})
	switch {
	case errors.Is(err, errAsPlanned):
		a.forget(i)
		a.step(i, cluster.Healthy, "it was gone already")
		return nil
	case err != nil:
		a.step(i, cluster.Failed, err.Error())
		return nil
	}
	if it.change.Ref.GroupKind() == kinds.CRD {
		a.c.kinds.Forget()
	}
	w.Index = i
	if w.State == "" {
		a.step(i, cluster.Applied, w.Message)
	}
	return w
}

// remove deletes an object as the plan saw it and looks whether it is gone.
// What it owns is collected in the background.
func (a *applying) remove(ctx context.Context, it *item) (*health.Awaited, error) {
	uid, version := it.live.GetUID(), it.live.GetResourceVersion()
	err := a.c.api.Request(ctx, func(ctx context.Context) error {
		return a.c.api.Resource(it.gvr, it.change.Ref.Namespace).Delete(ctx, it.change.Ref.Name, metav1.DeleteOptions{
			Preconditions:     &metav1.Preconditions{UID: &uid, ResourceVersion: &version},
			PropagationPolicy: new(metav1.DeletePropagationBackground),
		})
	})
	if err != nil {
		return nil, err
	}
	w := leaving(it)
	obj, err := a.c.api.Get(ctx, it.gvr, it.change.Ref.Namespace, it.change.Ref.Name)
	if err == nil || apierrors.IsNotFound(err) {
		w.Look(obj)
	}
	return w, nil
}

// leaving is an object that was deleted, until it is known to be gone.
func leaving(it *item) *health.Awaited {
	return &health.Awaited{GVR: it.gvr, UID: it.live.GetUID(), Object: it.live, Gone: true, Verdict: health.Verdict{Message: "is still being deleted"}}
}
