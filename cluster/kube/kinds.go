package kube

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"

	"lockkeeper/cluster"
)

// discoveryAge is how long discovery's answer is believed. Unknown kinds ask
// again at once; the age only matters for kinds that went away.
const discoveryAge = 5 * time.Minute

// kind is how the server serves a kind.
type kind struct {
	gvr        schema.GroupVersionResource
	namespaced bool
}

// kinds is discovery's answer.
type kinds struct {
	byGVK map[schema.GroupVersionKind]kind
	// broken are group versions whose API service did not answer.
	broken map[schema.GroupVersion]error
	read   time.Time
}

// get finds a kind in the version that the object names.
func (k *kinds) get(ref cluster.Ref, apiVersion string) (kind, bool) {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return kind{}, false
	}
	got, ok := k.byGVK[gv.WithKind(ref.Kind)]
	return got, ok
}

// any finds a kind in the version given, or in another one if that is no
// longer served: enough to delete by.
func (k *kinds) any(ref cluster.Ref, apiVersion string) (kind, string, bool) {
	if got, ok := k.get(ref, apiVersion); ok {
		return got, apiVersion, true
	}
	var best schema.GroupVersionKind
	for gvk := range k.byGVK {
		if gvk.Group == ref.Group && gvk.Kind == ref.Kind && (best.Version == "" || gvk.Version < best.Version) {
			best = gvk
		}
	}
	return k.byGVK[best], best.GroupVersion().String(), best.Version != ""
}

// warnings names the API services that did not answer.
func (k *kinds) warnings() []string {
	var out []string
	for _, gv := range slices.SortedFunc(maps.Keys(k.broken), func(a, b schema.GroupVersion) int {
		return strings.Compare(a.String(), b.String())
	}) {
		out = append(out, fmt.Sprintf("the API service of %s does not answer: objects of its kinds could not be looked at", gv))
	}
	return out
}

// kindsFor returns discovery's answer, asked again once if it lacks one of the
// kinds needed.
func (c *Cluster) kindsFor(ctx context.Context, need []schema.GroupVersionKind) (*kinds, error) {
	c.mu.Lock()
	known := c.known
	c.mu.Unlock()
	if known != nil && time.Since(known.read) < discoveryAge &&
		!slices.ContainsFunc(need, func(g schema.GroupVersionKind) bool { _, ok := known.byGVK[g]; return !ok }) {
		return known, nil
	}
	return c.refreshKinds(ctx)
}

// refreshKinds asks discovery; apply calls it after it created a CRD.
func (c *Cluster) refreshKinds(ctx context.Context) (*kinds, error) {
	var lists []*metav1.APIResourceList
	err := c.request(ctx, func(ctx context.Context) (err error) {
		_, lists, err = c.disco.ServerGroupsAndResourcesWithContext(ctx)
		return err
	})
	k := &kinds{byGVK: map[schema.GroupVersionKind]kind{}, read: time.Now()}
	var partial *discovery.ErrGroupDiscoveryFailed
	if errors.As(err, &partial) {
		k.broken = partial.Groups
	} else if err != nil {
		return nil, fmt.Errorf("discovery: %w", c.explain(err))
	}
	for _, l := range lists {
		k.add(l)
	}
	c.mu.Lock()
	c.known = k
	c.mu.Unlock()
	return k, nil
}

func (k *kinds) add(l *metav1.APIResourceList) {
	gv, err := schema.ParseGroupVersion(l.GroupVersion)
	if err != nil {
		return // a server that breaks its own format serves no kind we could name
	}
	for _, r := range l.APIResources {
		if strings.Contains(r.Name, "/") {
			continue
		}
		k.byGVK[gv.WithKind(r.Kind)] = kind{gv.WithResource(r.Name), r.Namespaced}
	}
}
