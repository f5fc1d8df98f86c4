package kube

import (
	"context"
	"sync"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/client"
	"lockkeeper/cluster/kube/fields"
	"lockkeeper/cluster/kube/inventory"
	"lockkeeper/cluster/kube/kinds"
)

// Cluster is one Kubernetes cluster. It implements cluster.Cluster and may be
// used concurrently.
type Cluster struct {
	api   *client.Client
	kinds *kinds.Discovery

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
	return &Cluster{api: api, kinds: kinds.NewDiscovery(api)}, nil
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

// Contexts are the names of the contexts in a kubeconfig ("" means the usual
// places). A kubeconfig that cannot be read has none; New says why.
func Contexts(kubeconfig string) map[string]bool { return client.Contexts(kubeconfig) }
