package watch

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/client"
	"lockkeeper/cluster/kube/inventory"
	"lockkeeper/cluster/kube/kinds"
)

// take asks the cluster: its inventory, and one list of metadata per kind.
func (f *Follower) take(ctx context.Context) (*cluster.Census, error) {
	ctx, counts := client.Counted(ctx)
	w := newWorld(f.book)
	inv, err := inventory.Read(ctx, f.api)
	if err == nil {
		w.fit(inv)
		_, err = f.resolve(ctx, w)
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("census of cluster %s: %w", f.api.Name, ctx.Err())
	}
	w.trouble(&w.away, "", err)
	var lists errgroup.Group
	for _, k := range w.kinds {
		if !k.gvr.Empty() {
			lists.Go(func() error { f.list(ctx, w, k); return nil })
		}
	}
	_ = lists.Wait() // what goes wrong is the kind's trouble
	if ctx.Err() != nil {
		return nil, fmt.Errorf("census of cluster %s: %w", f.api.Name, ctx.Err())
	}
	c, _ := w.census()
	c.Stats = counts.Stats()
	return c, nil
}

// list brings a kind's members up to date.
func (f *Follower) list(ctx context.Context, w *world, k *kind) {
	var seen []glance
	err := f.api.EachMetadata(ctx, k.gvr, metav1.ListOptions{}, func(o *metav1.PartialObjectMetadata) {
		if at := (place{o.Namespace, o.Name}); k.members[at] != nil {
			seen = append(seen, w.glance(k, o))
		}
	})
	if err != nil {
		w.trouble(&k.trouble, k.name(), f.reason(k, err))
		return
	}
	w.replace(k, nil, seen)
}

// reason puts in words why a kind cannot be looked at.
func (f *Follower) reason(k *kind, err error) error {
	if apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) {
		return notServed(k)
	}
	return f.api.Explain(err)
}

func notServed(k *kind) error {
	return fmt.Errorf("the cluster does not serve %s %s any more, or not yet: its CRD is gone, or its API service does not answer", k.gvk.GroupVersion(), k.gvk.Kind)
}

// resolve finds how the kinds are served that are not known yet; true is news.
// The error is the whole cluster's.
func (f *Follower) resolve(ctx context.Context, w *world) (news bool, err error) {
	w.mu.Lock()
	var need []schema.GroupVersionKind
	for gvk, k := range w.kinds {
		if k.gvr.Empty() {
			need = append(need, gvk)
		}
	}
	w.mu.Unlock()
	if len(need) == 0 {
		return false, nil
	}
	served, err := f.discovery.For(ctx, need)
	if err != nil {
		return false, err
	}
	trusted := f.discovery.Generations(ctx, need)
	for _, gvk := range need {
		w.mu.Lock()
		k := w.kinds[gvk]
		found, ok := where(served, gvk)
		k.gvr, k.generations = found, trusted(gvk)
		w.mu.Unlock()
		if !ok {
			news = w.trouble(&k.trouble, k.name(), notServed(k)) || news
		}
	}
	return news, nil
}

func where(served *kinds.Served, gvk schema.GroupVersionKind) (schema.GroupVersionResource, bool) {
	k, _, ok := served.Any(cluster.Ref{Group: gvk.Group, Kind: gvk.Kind}, gvk.GroupVersion().String())
	return k.GVR, ok
}
