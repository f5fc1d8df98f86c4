package watch

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/inventory"
)

// backoff is how often a cluster that does not answer is tried again: sooner
// than client-go's default, for until then its state is unknown.
func backoff() *wait.Backoff {
	return &wait.Backoff{Duration: 500 * time.Millisecond, Cap: 15 * time.Second, Steps: 8, Factor: 2, Jitter: 0.5}
}

// source lists and watches one kind for a reflector.
type source struct {
	list  func(context.Context, metav1.ListOptions) (runtime.Object, error)
	watch func(context.Context, metav1.ListOptions) (apiwatch.Interface, error)
	// failed hears why the server could not be asked; answered, that a watch
	// goes on from where the last one ended.
	failed   func(error)
	answered func()
}

// reflect keeps a store up to date until ctx ends, whatever happens to the
// server. It returns at once; what it started may end some seconds after ctx,
// and says nothing more by then.
func (r *run) reflect(ctx context.Context, name string, s source, store cache.ReflectorStore) {
	heard := func(err error) error {
		if err != nil && ctx.Err() == nil {
			s.failed(err)
		}
		return err
	}
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (list runtime.Object, err error) {
			err = r.f.api.Request(ctx, func(ctx context.Context) (err error) {
				list, err = s.list(ctx, o)
				return err
			})
			return list, heard(err)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (apiwatch.Interface, error) {
			w, err := s.watch(ctx, o)
			streamed := o.SendInitialEvents != nil
			switch {
			case streamed && (apierrors.IsInvalid(err) || apierrors.IsBadRequest(err)):
				return w, err // an older server, which will be asked for a list
			case err == nil && !streamed:
				s.answered()
			}
			return w, heard(err)
		},
	}
	quiet := klog.Logger{}
	options := cache.ReflectorOptions{Name: name, TypeDescription: name, Logger: &quiet, Backoff: backoff()}
	reflector := cache.NewReflectorWithOptions(lw, nil, store, options)
	go reflector.RunWithContext(ctx)
}

// reflection keeps one kind up to date; it is the store of its reflector.
type reflection struct {
	r      *run
	k      *kind
	cancel context.CancelFunc
}

// follow starts to keep a kind up to date.
func (r *run) follow(ctx context.Context, k *kind) {
	ctx, cancel := context.WithCancel(ctx)
	s := &reflection{r, k, cancel}
	r.world.mu.Lock()
	k.by = s
	r.world.mu.Unlock()
	resource := r.f.api.Metadata.Resource(k.gvr).Namespace(k.namespace)
	r.reflect(ctx, k.name(), source{
		list: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			list, err := resource.List(ctx, o)
			return list, err
		},
		watch:    resource.Watch,
		failed:   s.failed,
		answered: func() { r.told(r.world.trouble(&k.trouble, "", nil)) },
	}, s)
}

// failed notes that the kind cannot be looked at. One that is not served is
// looked for again, as it may come back otherwise.
func (s *reflection) failed(err error) {
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return // too old to go on from: the reflector begins again
	}
	if s.r.f.refused(s.r.world, s.k, err) {
		poke(s.r.work)
		return
	}
	s.r.told(s.r.world.trouble(&s.k.trouble, s.k.name(), s.r.f.reason(s.k, err)))
	if apierrors.IsNotFound(err) {
		s.r.world.mu.Lock()
		s.k.gone = s.k.gone || s.k.by == s
		s.r.world.mu.Unlock()
		poke(s.r.later)
	}
}

// glance reduces what a reflector brings.
func (s *reflection) glance(o any) glance {
	if g, ok := o.(glance); ok {
		return g
	}
	return s.r.world.glance(s.k, o.(*metav1.PartialObjectMetadata))
}

// Transformer implements cache.TransformingStore: it makes a stream of all
// objects of a kind take little memory until it has ended.
func (s *reflection) Transformer() cache.TransformFunc {
	return func(o any) (any, error) { return s.glance(o), nil }
}

// Add implements cache.ReflectorStore.
func (s *reflection) Add(o any) error { return s.Update(o) }

// Update implements cache.ReflectorStore.
func (s *reflection) Update(o any) error {
	if s.r.world.has(s.k, o.(*metav1.PartialObjectMetadata)) {
		s.r.told(s.r.world.see(s.k, s, s.glance(o)))
	}
	return nil
}

// Delete implements cache.ReflectorStore.
func (s *reflection) Delete(o any) error {
	gone := o.(*metav1.PartialObjectMetadata)
	s.r.told(s.r.world.lose(s.k, s, place{gone.Namespace, gone.Name}))
	return nil
}

// Replace implements cache.ReflectorStore.
func (s *reflection) Replace(list []any, _ string) error {
	seen := make([]glance, len(list))
	for i, o := range list {
		seen[i] = s.glance(o)
	}
	s.r.told(s.r.world.replace(s.k, s, seen))
	return nil
}

// Resync implements cache.ReflectorStore.
func (s *reflection) Resync() error { return nil }

// followInventory keeps the Secrets of the inventory up to date.
func (r *run) followInventory(ctx context.Context) {
	secrets := r.f.api.Core.Secrets(cluster.SystemNamespace)
	r.reflect(ctx, "inventory", source{
		list: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.LabelSelector = inventory.Selector
			list, err := secrets.List(ctx, o)
			return list, err
		},
		watch: func(ctx context.Context, o metav1.ListOptions) (apiwatch.Interface, error) {
			o.LabelSelector = inventory.Selector
			return secrets.Watch(ctx, o)
		},
		failed: func(err error) {
			if !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
				r.told(r.world.trouble(&r.world.away, "", r.f.api.Explain(err)))
			}
		},
		answered: func() { r.told(r.world.trouble(&r.world.away, "", nil)) },
	}, shelf{r})
}

// shelf is the store of the inventory's reflector.
type shelf struct{ r *run }

// Add implements cache.ReflectorStore.
func (s shelf) Add(o any) error { return s.Update(o) }

// Update implements cache.ReflectorStore.
func (s shelf) Update(o any) error {
	s.change(func(m map[string]corev1.Secret) { put(m, o) })
	return nil
}

// Delete implements cache.ReflectorStore.
func (s shelf) Delete(o any) error {
	s.change(func(m map[string]corev1.Secret) { delete(m, o.(*corev1.Secret).Name) })
	return nil
}

// Replace implements cache.ReflectorStore.
func (s shelf) Replace(list []any, _ string) error {
	s.change(func(m map[string]corev1.Secret) {
		clear(m)
		for _, o := range list {
			put(m, o)
		}
	})
	s.r.told(s.r.world.trouble(&s.r.world.away, "", nil))
	return nil
}

// Resync implements cache.ReflectorStore.
func (s shelf) Resync() error { return nil }

func (s shelf) change(do func(map[string]corev1.Secret)) {
	s.r.mu.Lock()
	if s.r.shards == nil {
		s.r.shards = map[string]corev1.Secret{}
	}
	do(s.r.shards)
	s.r.mu.Unlock()
	poke(s.r.work)
}

func put(m map[string]corev1.Secret, o any) {
	secret := *o.(*corev1.Secret)
	secret.ManagedFields = nil
	m[secret.Name] = secret
}
