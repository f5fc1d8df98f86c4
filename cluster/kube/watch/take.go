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
	w := f.world()
	inv, err := inventory.Read(ctx, f.api)
	w.trouble(&w.away, "", err)
	for again := err == nil; again; {
		apart := len(w.apart)
		w.fit(inv)
		f.resolve(ctx, w)
		f.lists(ctx, w)
		again = f.anew(w) || len(w.apart) > apart
	}
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
	err := f.api.EachMetadata(ctx, k.gvr, k.namespace, metav1.ListOptions{}, func(o *metav1.PartialObjectMetadata) {
		if at := (place{o.Namespace, o.Name}); k.members[at] != nil {
			seen = append(seen, w.glance(k, o))
		}
	})
	if err != nil && f.refused(w, k, err) {
		return
	}
	if err != nil {
		w.trouble(&k.trouble, k.name(), f.reason(k, err))
		k.gone = apierrors.IsNotFound(err)
		return
	}
	w.replace(k, nil, seen)
}

// lists lists all kinds that are known to be served.
func (f *Follower) lists(ctx context.Context, w *world) {
	var lists errgroup.Group
	for _, k := range w.kinds {
		if !k.gvr.Empty() && !k.synced && k.trouble == nil {
			lists.Go(func() error { f.list(ctx, w, k); return nil })
		}
	}
	_ = lists.Wait() // what goes wrong is the kind's trouble
}

// reason puts in words why a kind cannot be looked at.
func (f *Follower) reason(k *kind, err error) error {
	switch {
	case apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err):
		return notServed(k)
	case k.namespace != "":
		return fmt.Errorf("in namespace %s: %w", k.namespace, f.api.Explain(err))
	}
	return f.api.Explain(err)
}

func notServed(k *kind) error {
	return fmt.Errorf("the cluster does not serve %s %s any more, or not yet: its CRD is gone, or its API service does not answer", k.gvk.GroupVersion(), k.gvk.Kind)
}

// anew has the kinds looked for again, once, that are not served as was thought:
// their version may be gone, and another one there. True means that there are any.
func (f *Follower) anew(w *world) (found bool) {
	for _, k := range w.kinds {
		if k.gone && !k.asked {
			k.gvr, k.gone, k.asked, k.trouble = schema.GroupVersionResource{}, false, true, nil
			found = true
		}
	}
	if found {
		f.discovery.Forget()
	}
	return found
}

// resolve finds how the kinds are served of which that is not known yet; those
// that are not, or that nobody tells of, are in trouble. It reports whether all
// are known, and whether there is news.
func (f *Follower) resolve(ctx context.Context, w *world) (all, news bool) {
	w.mu.Lock()
	var need, ask []*kind
	for _, k := range w.kinds {
		if !k.gvr.Empty() {
			continue
		}
		need = append(need, k)
		if gvr, ok := kinds.Guess(k.gvk); ok && !k.asked {
			k.gvr = gvr
		} else {
			ask = append(ask, k)
		}
	}
	w.mu.Unlock()
	served, trusted, err := f.ask(ctx, need, ask)
	w.mu.Lock()
	for _, k := range need {
		k.generations = trusted(k.gvk)
	}
	w.mu.Unlock()
	all = true
	for _, k := range ask {
		why := err
		if why == nil {
			w.mu.Lock()
			k.gvr = where(served, k.gvk)
			w.mu.Unlock()
			why = notServed(k)
		}
		if k.gvr.Empty() {
			all, news = false, w.trouble(&k.trouble, k.name(), why) || news
		}
	}
	return all, news
}

// ask asks two things at once: which of the kinds keep a generation that can be
// trusted, and how those are served of which that cannot be guessed.
func (f *Follower) ask(ctx context.Context, need, serve []*kind) (served *kinds.Served, trusted func(schema.GroupVersionKind) bool, err error) {
	var trust errgroup.Group
	trust.Go(func() error { trusted = f.discovery.Generations(ctx, gvks(need)); return nil })
	if len(serve) > 0 {
		served, err = f.discovery.For(ctx, gvks(serve))
	}
	_ = trust.Wait() // it answers in any case
	return served, trusted, err
}

func gvks(of []*kind) []schema.GroupVersionKind {
	out := make([]schema.GroupVersionKind, len(of))
	for i, k := range of {
		out[i] = k.gvk
	}
	return out
}

func where(served *kinds.Served, gvk schema.GroupVersionKind) schema.GroupVersionResource {
	k, _, _ := served.Any(cluster.Ref{Group: gvk.Group, Kind: gvk.Kind}, gvk.GroupVersion().String())
	return k.GVR
}
