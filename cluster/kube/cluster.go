package kube

import (
	"context"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/client"
	"lockkeeper/cluster/kube/drift"
	"lockkeeper/cluster/kube/fields"
	"lockkeeper/cluster/kube/health"
	"lockkeeper/cluster/kube/inventory"
	"lockkeeper/cluster/kube/kinds"
	"lockkeeper/cluster/kube/proof"
	"lockkeeper/cluster/kube/watch"
)

// Cluster is one Kubernetes cluster. It implements cluster.Cluster and may be
// used concurrently.
type Cluster struct {
	api   *client.Client
	kinds *kinds.Discovery
	// book holds what exact checks found beside the inventory's baselines.
	book  proof.Book
	watch *watch.Follower

	mu   sync.Mutex
	warm cluster.Stats // of Warm, until a plan counts it as its own
}

var _ cluster.Cluster = (*Cluster)(nil)

// Config says how to reach one cluster.
type Config = client.Config

// Manager is the field manager under which lockkeeper applies.
const Manager = fields.Manager

// New makes a client; it sends no request.
func New(cfg Config) (*Cluster, error) {
	api, err := client.New(cfg)
	if err != nil {
		return nil, err
	}
	c := &Cluster{api: api, kinds: kinds.NewDiscovery(api)}
	c.watch = watch.New(api, c.kinds, &c.book)
	return c, nil
}

// Warm connects to the cluster and asks which kinds it serves. The requests
// count as the next plan's.
func (c *Cluster) Warm(ctx context.Context) {
	ctx, t := client.Counted(ctx)
	_, _ = c.kinds.For(ctx, nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.warm = cluster.Stats{Requests: c.warm.Requests + t.Stats().Requests, Bytes: c.warm.Bytes + t.Stats().Bytes}
}

func (c *Cluster) takeWarmth() cluster.Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.warm
	c.warm = cluster.Stats{}
	return s
}

// Bootstrap makes lockkeeper's namespace and digest key where they are missing.
func (c *Cluster) Bootstrap(ctx context.Context) error { return inventory.Bootstrap(ctx, c.api) }

// Applied tells, from what the cluster remembers, what was applied last.
func (c *Cluster) Applied(ctx context.Context) (map[cluster.Owner]cluster.AppliedTarget, error) {
	return inventory.Applied(ctx, c.api)
}

// Health tells what of a target's objects is not well now; an inventory without
// any is an error, as nothing proves that they are.
func (c *Cluster) Health(ctx context.Context, o cluster.Owner) ([]cluster.Problem, error) {
	inv, err := inventory.Read(ctx, c.api)
	if err != nil {
		return nil, err
	}
	entries := inv.OwnedBy(o)
	if len(entries) == 0 {
		return nil, fmt.Errorf("the inventory of cluster %s holds no objects of target %s of repository %d, so that its health is not known: apply the target first", c.api.Name, o.Target, o.RepoID)
	}
	var need []schema.GroupVersionKind
	for _, e := range entries {
		need = append(need, schema.FromAPIVersionAndKind(e.APIVersion, e.Ref.Kind))
	}
	served, err := c.kinds.For(ctx, need)
	if err != nil {
		return nil, err
	}
	problems, err := health.Survey(ctx, c.api, served, entries)
	if err != nil {
		return nil, fmt.Errorf("health of target %s: %w", o.Target, err)
	}
	return problems, nil
}

// Census tells which objects metadata alone does not prove to be as applied.
func (c *Cluster) Census(ctx context.Context) (*cluster.Census, error) { return c.watch.Census(ctx) }

// Watch follows the inventory and the kinds in it until ctx ends.
func (c *Cluster) Watch(ctx context.Context, news func()) error { return c.watch.Run(ctx, news) }

// Drift checks exactly how a target's objects differ from what was applied last.
func (c *Cluster) Drift(ctx context.Context, r cluster.DriftRequest) (*cluster.DriftReport, error) {
	ctx, t := client.Counted(ctx)
	check, err := drift.New(ctx, c.api, c.kinds, &c.book, r)
	if err != nil {
		return nil, err
	}
	report, err := check.Run(ctx)
	if err != nil {
		return nil, err
	}
	report.Stats = t.Stats()
	return report, nil
}

// Contexts are the names of the contexts in a kubeconfig ("" means the usual
// places). A kubeconfig that cannot be read has none; New says why.
func Contexts(kubeconfig string) map[string]bool { return client.Contexts(kubeconfig) }
