package watch

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// refusalAge is how long it is remembered that a kind may not be listed
// cluster-wide.
const refusalAge = 10 * time.Minute

// lot is what is looked at by one list or watch: a kind, in the version that the
// inventory names, or what there is of it in one namespace, where the account may
// not list it cluster-wide.
type lot struct {
	gvk       schema.GroupVersionKind
	namespace string // "" means the whole cluster
}

// divide has the next fit look at a kind by namespace. It is false if that is no
// help: its objects have none, or it is one namespace already. What is known of
// the kind is known no longer.
func (w *world) divide(k *kind) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if k.namespace != "" {
		return false
	}
	for at := range k.members {
		if at.namespace != "" {
			w.apart[k.gvk], k.synced = true, false
			return true
		}
	}
	return false
}

// refused reports whether err says that a kind may not be looked at cluster-wide,
// and that it will be looked at by namespace. Later worlds know, for a while.
func (f *Follower) refused(w *world, k *kind, err error) bool {
	if !apierrors.IsForbidden(err) || !w.divide(k) {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refusals[k.gvk] = time.Now()
	return true
}

// world is one of which nothing is known but what was refused lately.
func (f *Follower) world() *world {
	w := newWorld(f.book)
	f.mu.Lock()
	defer f.mu.Unlock()
	for gvk, at := range f.refusals {
		if time.Since(at) < refusalAge {
			w.apart[gvk] = true
		}
	}
	return w
}

// unite has kinds looked at cluster-wide again which were refused some time ago,
// and would be no longer. Rights for the whole cluster are rights in each
// namespace: until then nothing is missing.
func (r *run) unite(ctx context.Context) {
	for _, k := range r.kinds() {
		if k.namespace == "" || k.by == nil || !r.f.due(k.gvk) {
			continue
		}
		err := r.f.api.Request(ctx, func(ctx context.Context) error {
			_, err := r.f.api.Metadata.Resource(k.gvr).List(ctx, metav1.ListOptions{Limit: 1})
			return err
		})
		switch {
		case err == nil:
			r.f.allowed(r.world, k.gvk)
		case !apierrors.IsForbidden(err):
			return // the cluster has other troubles now
		}
	}
}

// due reports whether a kind was refused long ago. It says so once in a while.
func (f *Follower) due(gvk schema.GroupVersionKind) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.refusals[gvk]) < refusalAge {
		return false
	}
	f.refusals[gvk] = time.Now()
	return true
}

// allowed has the next fit look at a kind cluster-wide.
func (f *Follower) allowed(w *world, gvk schema.GroupVersionKind) {
	w.mu.Lock()
	delete(w.apart, gvk)
	w.mu.Unlock()
	f.mu.Lock()
	delete(f.refusals, gvk)
	f.mu.Unlock()
}
