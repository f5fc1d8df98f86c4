package watch

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/klog/v2"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/client"
	"lockkeeper/cluster/kube/inventory"
	"lockkeeper/cluster/kube/kinds"
	"lockkeeper/cluster/kube/proof"
)

const (
	// resolveFirst and resolveLast bound the pauses between looks for kinds
	// that the cluster does not serve.
	resolveFirst = time.Second
	resolveLast  = 30 * time.Second
	// fewObjects is how many new objects are asked for one by one; for more, a
	// list of the kind is cheaper.
	fewObjects = 32
)

// Follower takes censuses of one cluster, out of memory while it follows it. It
// may be used concurrently.
type Follower struct {
	api       *client.Client
	discovery *kinds.Discovery
	book      *proof.Book

	mu       sync.Mutex
	running  *run                                  // nil while nothing is followed
	refusals map[schema.GroupVersionKind]time.Time // of cluster-wide lists
}

// New sends no request. The book holds what exact checks learn.
func New(api *client.Client, discovery *kinds.Discovery, book *proof.Book) *Follower {
	return &Follower{api: api, discovery: discovery, book: book, refusals: map[schema.GroupVersionKind]time.Time{}}
}

// Census tells which objects of the inventory metadata does not prove to be as
// applied: from memory while Run is in sync, else by asking the cluster. What
// cannot be looked at is in Census.Unknown; the only error is that ctx ended.
func (f *Follower) Census(ctx context.Context) (*cluster.Census, error) {
	f.mu.Lock()
	r := f.running
	f.mu.Unlock()
	if r != nil {
		if c, ok := r.world.census(); ok {
			return c, nil
		}
	}
	return f.take(ctx)
}

// Run follows the inventory and the kinds in it until ctx ends. It calls news,
// never twice at once, when a census may say something new: quiet after the
// last change, and at most patience after the first. One Run at a time.
func (f *Follower) Run(ctx context.Context, news func()) error {
	// client-go's own messages say less than Census.Unknown does.
	ctx, cancel := context.WithCancel(klog.NewContext(ctx, klog.Logger{}))
	defer cancel()
	r := &run{
		f: f, world: f.world(),
		work: make(chan struct{}, 1), later: make(chan struct{}, 1), dirty: make(chan struct{}, 1),
	}
	f.mu.Lock()
	if f.running != nil {
		f.mu.Unlock()
		return errors.New("cluster " + f.api.Name + " is being watched already")
	}
	f.running = r
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.running = nil
	}()
	var telling sync.WaitGroup
	defer telling.Wait()
	defer cancel()
	telling.Go(func() { debounce(ctx, r.dirty, news) })
	r.followInventory(ctx)
	r.keep(ctx)
	return nil
}

// run is one Run.
type run struct {
	f     *Follower
	world *world
	work  chan struct{} // the inventory is to be looked at
	later chan struct{} // kinds are to be looked for, after a pause
	dirty chan struct{} // something is new

	mu     sync.Mutex
	shards map[string]corev1.Secret // the inventory, by name; nil until it is known
}

// told passes news on.
func (r *run) told(news bool) {
	if news {
		poke(r.dirty)
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is due already
	}
}

// keep fits the watches to the inventory, again and again.
func (r *run) keep(ctx context.Context) {
	pause := resolveFirst
	retry := time.NewTimer(resolveLast)
	retry.Stop()
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.later:
			retry.Reset(pause)
			continue
		case <-r.work:
		case <-retry.C:
		}
		if r.refit(ctx) {
			pause = resolveFirst
			retry.Stop()
			continue
		}
		retry.Reset(pause)
		pause = min(2*pause, resolveLast)
	}
}

// refit brings members and watches to what the inventory says now. It is false
// when kinds are left that have to be looked for again.
func (r *run) refit(ctx context.Context) bool {
	inv, known, err := r.inventory()
	if !known {
		return true // it calls again when it was read
	}
	w := r.world
	if err != nil {
		r.told(w.trouble(&w.damaged, "", err))
		return true // until somebody writes it
	}
	r.unite(ctx)
	now := w.fit(inv)
	r.told(now.news)
	for _, k := range now.idle {
		r.stop(k)
	}
	if r.stopGone(now.rekeyed) {
		r.f.discovery.Forget()
	}
	complete := r.find(ctx)
	for k, members := range now.fresh {
		if k.by != nil && k.filling { // else its first list is still to come
			r.fill(ctx, k, members)
		}
	}
	return complete
}

// find looks for the kinds that are not followed yet, and follows them. It is
// false when some are left.
func (r *run) find(ctx context.Context) bool {
	all, news := r.f.resolve(ctx, r.world)
	r.told(news)
	for _, k := range r.kinds() {
		if k.by == nil && !k.gvr.Empty() {
			r.follow(ctx, k)
		}
	}
	return all
}

func (r *run) kinds() []*kind {
	r.world.mu.Lock()
	defer r.world.mu.Unlock()
	return slices.Collect(maps.Values(r.world.kinds))
}

// inventory reads the shards that were received; known is false before that.
func (r *run) inventory() (inv *inventory.Inventory, known bool, err error) {
	r.mu.Lock()
	known, shards := r.shards != nil, slices.Collect(maps.Values(r.shards))
	r.mu.Unlock()
	if !known {
		return nil, false, nil
	}
	inv, err = inventory.Of(r.f.api, shards)
	return inv, true, err
}

// stopGone ends the watches of kinds that are no longer served, so that they are
// looked for anew, or all; true means that there were any.
func (r *run) stopGone(all bool) bool {
	found := false
	for _, k := range r.kinds() {
		r.world.mu.Lock()
		gone := k.gone || all
		r.world.mu.Unlock()
		if gone {
			r.stop(k)
			found = true
		}
	}
	return found
}

// stop ends what keeps a kind up to date. What is known of it goes with that.
func (r *run) stop(k *kind) {
	r.world.mu.Lock()
	defer r.world.mu.Unlock()
	if k.by != nil {
		k.by.cancel()
	}
	k.asked = k.asked || k.gone
	k.by, k.gone, k.synced, k.filling, k.gvr = nil, false, false, false, schema.GroupVersionResource{}
}

// fill asks for objects that became members after their kind was listed. What a
// watch says of them meanwhile is newer.
func (r *run) fill(ctx context.Context, k *kind, members []*member) {
	var err error
	by := k.by
	if len(members) > fewObjects {
		err = r.f.api.EachMetadata(ctx, k.gvr, k.namespace, metav1.ListOptions{}, func(o *metav1.PartialObjectMetadata) {
			r.world.fill(k, by, r.world.glance(k, o))
		})
	} else {
		err = r.fillFew(ctx, k, by, members)
	}
	r.world.mu.Lock()
	k.filling, k.gone = err != nil, k.gone || err != nil
	r.world.mu.Unlock()
	if err != nil {
		poke(r.later) // to list it anew, which says all
	}
	poke(r.dirty)
}

func (r *run) fillFew(ctx context.Context, k *kind, by *reflection, members []*member) error {
	var gets errgroup.Group
	for _, m := range members {
		gets.Go(func() error {
			var o *metav1.PartialObjectMetadata
			err := r.f.api.Request(ctx, func(ctx context.Context) (err error) {
				o, err = r.f.api.Metadata.Resource(k.gvr).Namespace(m.entry.Ref.Namespace).Get(ctx, m.entry.Ref.Name, metav1.GetOptions{})
				return err
			})
			if err == nil {
				r.world.fill(k, by, r.world.glance(k, o))
			} else if apierrors.IsNotFound(err) {
				return nil
			}
			return err
		})
	}
	return gets.Wait()
}
