package kinds

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/client"
)

// discoveryAge is how long discovery's answer is believed. Unknown kinds ask
// again at once; the age only matters for kinds that went away.
const discoveryAge = 5 * time.Minute

// Kind is how the server serves a kind.
type Kind struct {
	// GVR is what requests for its objects name.
	GVR        schema.GroupVersionResource
	Namespaced bool
}

// Served is discovery's answer.
type Served struct {
	// ByGVK are the kinds that can be asked for.
	ByGVK map[schema.GroupVersionKind]Kind
	// Broken are group versions whose API service did not answer.
	Broken map[schema.GroupVersion]error
	read   time.Time
}

// Get finds a kind in the version that the object names.
func (k *Served) Get(ref cluster.Ref, apiVersion string) (Kind, bool) {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return Kind{}, false
	}
	got, ok := k.ByGVK[gv.WithKind(ref.Kind)]
	return got, ok
}

// Any finds a kind in the version given, or in another one if that is no
// longer served: enough to delete by.
func (k *Served) Any(ref cluster.Ref, apiVersion string) (Kind, string, bool) {
	if got, ok := k.Get(ref, apiVersion); ok {
		return got, apiVersion, true
	}
	var best schema.GroupVersionKind
	for gvk := range k.ByGVK {
		if gvk.Group == ref.Group && gvk.Kind == ref.Kind && (best.Version == "" || gvk.Version < best.Version) {
			best = gvk
		}
	}
	return k.ByGVK[best], best.GroupVersion().String(), best.Version != ""
}

// Warnings names the API services that did not answer.
func (k *Served) Warnings() []string {
	var out []string
	for _, gv := range slices.SortedFunc(maps.Keys(k.Broken), func(a, b schema.GroupVersion) int {
		return strings.Compare(a.String(), b.String())
	}) {
		out = append(out, fmt.Sprintf("the API service of %s does not answer: objects of its kinds could not be looked at", gv))
	}
	return out
}

// Discovery asks one cluster which kinds it serves, and remembers the answer.
// It may be used concurrently.
type Discovery struct {
	api *client.Client

	mu    sync.Mutex
	known *Served // the last answer
	// asking lets those who need the answer at the same time share it.
	asking singleflight.Group
}

// NewDiscovery sends no request.
func NewDiscovery(api *client.Client) *Discovery { return &Discovery{api: api} }

// For returns discovery's answer, asked again once if it lacks one of the
// kinds needed.
func (d *Discovery) For(ctx context.Context, need []schema.GroupVersionKind) (*Served, error) {
	for {
		d.mu.Lock()
		known := d.known
		d.mu.Unlock()
		if known != nil && time.Since(known.read) < discoveryAge &&
			!slices.ContainsFunc(need, func(g schema.GroupVersionKind) bool { _, ok := known.ByGVK[g]; return !ok }) {
			return known, nil
		}
		answer, mine, err := d.share(ctx)
		if mine {
			return answer, err
		}
		// Somebody else's answer may be older than what is needed here, and
		// their failure theirs alone.
	}
}

// share asks, or waits for somebody who is asking already.
func (d *Discovery) share(ctx context.Context) (answer *Served, mine bool, err error) {
	var asked atomic.Bool // it may be asked still when ctx has ended
	done := d.asking.DoChan("", func() (any, error) { asked.Store(true); return d.ask(ctx) })
	select {
	case r := <-done:
		answer, _ = r.Val.(*Served)
		return answer, asked.Load(), r.Err
	case <-ctx.Done():
		return nil, true, fmt.Errorf("discovery: %w", ctx.Err())
	}
}

// Forget makes the next For ask again, as it must after a CRD was written.
func (d *Discovery) Forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known = nil
}

func (d *Discovery) ask(ctx context.Context) (*Served, error) {
	var lists []*metav1.APIResourceList
	err := d.api.Ask(ctx, func(ctx context.Context) (err error) {
		_, lists, err = d.api.Discovery.ServerGroupsAndResourcesWithContext(ctx)
		return err
	})
	k := &Served{ByGVK: map[schema.GroupVersionKind]Kind{}, read: time.Now()}
	var partial *discovery.ErrGroupDiscoveryFailed
	if errors.As(err, &partial) {
		k.Broken = partial.Groups
	} else if err != nil {
		return nil, fmt.Errorf("discovery: %w", d.api.Explain(err))
	}
	for _, l := range lists {
		k.add(l)
	}
	d.mu.Lock()
	d.known = k
	d.mu.Unlock()
	return k, nil
}

func (k *Served) add(l *metav1.APIResourceList) {
	gv, err := schema.ParseGroupVersion(l.GroupVersion)
	if err != nil {
		return // a server that breaks its own format serves no kind we could name
	}
	for _, r := range l.APIResources {
		if strings.Contains(r.Name, "/") {
			continue
		}
		k.ByGVK[gv.WithKind(r.Kind)] = Kind{gv.WithResource(r.Name), r.Namespaced}
	}
}
