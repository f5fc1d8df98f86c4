package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"lockkeeper/cluster"
)

// Config says how to reach one cluster.
type Config struct {
	// Name is how messages call the cluster.
	Name string
	// REST is used when set; otherwise Kubeconfig (a path; "" means the usual
	// places, then in-cluster) and Context ("" means the current one).
	REST       *rest.Config
	Kubeconfig string
	Context    string
	// Concurrency bounds requests under way at once; 0 means 16.
	Concurrency int
	// Timeout bounds single requests; 0 means 30 seconds.
	Timeout time.Duration
}

// Cluster is one Kubernetes cluster. It implements cluster.Cluster and may be
// used concurrently.
type Cluster struct {
	name    string
	host    string
	dyn     dynamic.Interface
	meta    metadata.Interface
	core    corev1.CoreV1Interface
	disco   *discovery.DiscoveryClient
	slots   chan struct{}
	timeout time.Duration

	mu    sync.Mutex
	known *kinds // discovery's last answer
}

// New makes a client; it sends no request.
func New(cfg Config) (*Cluster, error) {
	rc, err := restConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", cfg.Name, err)
	}
	rc = rest.CopyConfig(rc)
	rc.QPS, rc.RateLimiter = -1, nil
	rc.UserAgent = Manager
	rc.Timeout = 0
	rc.WarningHandlerWithContext = warningCollector{}
	rc.Wrap(func(next http.RoundTripper) http.RoundTripper { return meter{next} })
	hc, err := rest.HTTPClientFor(rc)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", cfg.Name, err)
	}
	c := &Cluster{name: cfg.Name, host: rc.Host, timeout: cfg.Timeout}
	if c.timeout == 0 {
		c.timeout = 30 * time.Second
	}
	if cfg.Concurrency <= 0 {
		cfg.Concurrency = 16
	}
	c.slots = make(chan struct{}, cfg.Concurrency)
	return c, c.connect(rc, hc)
}

func restConfig(cfg Config) (*rest.Config, error) {
	if cfg.REST != nil {
		return cfg.REST, nil
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = cfg.Kubeconfig
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules,
		&clientcmd.ConfigOverrides{CurrentContext: cfg.Context}).ClientConfig()
}

func (c *Cluster) connect(rc *rest.Config, hc *http.Client) error {
	pb := rest.CopyConfig(rc)
	pb.ContentType = "application/vnd.kubernetes.protobuf"
	pb.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	var errs [4]error
	c.dyn, errs[0] = dynamic.NewForConfigAndClient(rc, hc)
	c.meta, errs[1] = metadata.NewForConfigAndClient(metadata.ConfigFor(rc), hc)
	c.core, errs[2] = corev1.NewForConfigAndClient(pb, hc)
	c.disco, errs[3] = discovery.NewDiscoveryClientForConfigAndClient(rc, hc)
	if err := errors.Join(errs[:]...); err != nil {
		return fmt.Errorf("cluster %s: %w", c.name, err)
	}
	return nil
}

// resource is the dynamic client for one kind and namespace.
func (c *Cluster) resource(gvr schema.GroupVersionResource, namespace string) dynamic.ResourceInterface {
	if namespace == "" {
		return c.dyn.Resource(gvr)
	}
	return c.dyn.Resource(gvr).Namespace(namespace)
}

// request runs one request inside the bounds on concurrency and time.
func (c *Cluster) request(ctx context.Context, do func(context.Context) error) error {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	bounded, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	err := do(bounded)
	if err != nil && ctx.Err() == nil && errors.Is(bounded.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("the cluster %s at %s did not answer within %s: %w", c.name, c.host, c.timeout, context.DeadlineExceeded)
	}
	return err
}

// explain puts an error of a request in people's words. The words of the
// server are kept where they say something; credentials are never part of them.
func (c *Cluster) explain(err error) error {
	var u *url.Error
	switch {
	case err == nil:
		return nil
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("the cluster %s refused lockkeeper's credentials: they are wrong or have expired, renew them in its kubeconfig (401 Unauthorized)", c.name)
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "exceeded quota"):
		return fmt.Errorf("the quota of the namespace on cluster %s does not leave room for this: %w; raise the ResourceQuota or ask for less", c.name, err)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("the cluster %s forbids this to lockkeeper's account: %w; extend its RBAC rules", c.name, err)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("cluster %s: %w", c.name, err)
	case errors.As(err, &u):
		return fmt.Errorf("the cluster %s cannot be reached at %s: %w", c.name, c.host, u.Err)
	}
	return fmt.Errorf("cluster %s: %w", c.name, err)
}

// tally counts what one Plan or Apply cost, and collects the server's warnings.
type tally struct {
	requests, bytes atomic.Int64
	mu              sync.Mutex
	warnings        []string
}

type tallyKey struct{}

// withTally makes ctx count requests into the returned tally.
func withTally(ctx context.Context) (context.Context, *tally) {
	t := &tally{}
	return context.WithValue(ctx, tallyKey{}, t), t
}

func (t *tally) stats() cluster.Stats {
	return cluster.Stats{Requests: int(t.requests.Load()), Bytes: t.bytes.Load()}
}

// warn adds a warning once.
func (t *tally) warn(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !slices.Contains(t.warnings, text) {
		t.warnings = append(t.warnings, text)
	}
}

// warningCollector hands the server's warning headers to the tally in ctx.
type warningCollector struct{}

// HandleWarningHeaderWithContext implements rest.WarningHandlerWithContext.
func (warningCollector) HandleWarningHeaderWithContext(ctx context.Context, code int, _ string, text string) {
	if t, ok := ctx.Value(tallyKey{}).(*tally); ok && code == 299 && text != "" {
		t.warn(text)
	}
}

// meter counts requests and bytes of response bodies into the tally in ctx.
type meter struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (m meter) RoundTrip(r *http.Request) (*http.Response, error) {
	t, ok := r.Context().Value(tallyKey{}).(*tally)
	if !ok {
		return m.next.RoundTrip(r)
	}
	t.requests.Add(1)
	resp, err := m.next.RoundTrip(r)
	if resp != nil && resp.Body != nil {
		resp.Body = meteredBody{resp.Body, t}
	}
	return resp, err
}

// WrappedRoundTripper lets client-go find the transport below.
func (m meter) WrappedRoundTripper() http.RoundTripper { return m.next }

type meteredBody struct {
	io.ReadCloser
	t *tally
}

func (b meteredBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.t.bytes.Add(int64(n))
	return n, err
}
