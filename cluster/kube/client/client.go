package client

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/transport"
)

// userAgent is how lockkeeper appears in the access logs of API servers.
const userAgent = "lockkeeper"

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
	// Timeout bounds single requests, and how long a watch may take to begin; 0
	// means 45 seconds, as the server itself gives a webhook up to 30.
	Timeout time.Duration
	// Asked, if not nil, is told of each request: its HTTP method, and the status
	// of the answer, 0 for none.
	Asked func(method string, status int)
}

// Client is a connection to one Kubernetes cluster, for concurrent use. Its
// requests are made inside Request, and their errors put in words by Explain.
type Client struct {
	// Name is how messages call the cluster.
	Name string
	// Dynamic, Metadata, Core and Discovery ask the API server, each in its way.
	Dynamic   dynamic.Interface
	Metadata  metadata.Interface
	Core      corev1.CoreV1Interface
	Discovery *discovery.DiscoveryClient

	host     string
	slots    chan struct{}
	timeout  time.Duration
	patience *patience
}

// New makes a client; it sends no request.
func New(cfg Config) (*Client, error) {
	rc, err := restConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", cfg.Name, err)
	}
	rc = rest.CopyConfig(rc)
	rc.QPS, rc.RateLimiter = -1, nil
	rc.UserAgent = userAgent
	rc.Timeout = 0
	if file := rc.BearerTokenFile; file != "" {
		// Unlike client-go's own way with such files, this reads the file again
		// when the server refuses the token, not only once a minute.
		rc.Wrap(transport.ResettableTokenSourceWrapTransport(transport.NewCachedFileTokenSource(file)))
		rc.BearerToken, rc.BearerTokenFile = "", ""
	}
	rc.WarningHandlerWithContext = warningCollector{}
	c := &Client{Name: cfg.Name, host: rc.Host, timeout: cfg.Timeout}
	if c.timeout == 0 {
		c.timeout = 45 * time.Second
	}
	rc.Wrap(func(next http.RoundTripper) http.RoundTripper { return meter{next, cfg.Asked} })
	rc.Wrap(func(next http.RoundTripper) http.RoundTripper {
		c.patience = &patience{next: next, c: c, one: make(chan struct{}, 1)}
		return c.patience
	})
	hc, err := rest.HTTPClientFor(rc)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", cfg.Name, err)
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

func (c *Client) connect(rc *rest.Config, hc *http.Client) error {
	pb := rest.CopyConfig(rc)
	pb.ContentType = "application/vnd.kubernetes.protobuf"
	pb.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	var errs [4]error
	c.Dynamic, errs[0] = dynamic.NewForConfigAndClient(rc, hc)
	c.Metadata, errs[1] = metadata.NewForConfigAndClient(metadata.ConfigFor(rc), hc)
	c.Core, errs[2] = corev1.NewForConfigAndClient(pb, hc)
	c.Discovery, errs[3] = discovery.NewDiscoveryClientForConfigAndClient(rc, hc)
	if err := errors.Join(errs[:]...); err != nil {
		return fmt.Errorf("cluster %s: %w", c.Name, err)
	}
	return nil
}

// Resource is the dynamic client for one kind and namespace.
func (c *Client) Resource(gvr schema.GroupVersionResource, namespace string) dynamic.ResourceInterface {
	if namespace == "" {
		return c.Dynamic.Resource(gvr)
	}
	return c.Dynamic.Resource(gvr).Namespace(namespace)
}

// Concurrency is how many requests may be under way at once.
func (c *Client) Concurrency() int { return cap(c.slots) }

// Get reads one object; it is nil when there is an error.
func (c *Client) Get(ctx context.Context, gvr schema.GroupVersionResource, namespace, name string) (obj *unstructured.Unstructured, err error) {
	err = c.Ask(ctx, func(ctx context.Context) (err error) {
		obj, err = c.Resource(gvr, namespace).Get(ctx, name, metav1.GetOptions{})
		return err
	})
	if err != nil {
		return nil, err
	}
	return obj, nil
}

// metadataPage is how many objects a page of metadata has: some 2 MB.
const metadataPage = 4000

// EachMetadata lists a kind by metadata alone, in one namespace ("" means all),
// in pages, and shows each object.
func (c *Client) EachMetadata(ctx context.Context, gvr schema.GroupVersionResource, namespace string, opts metav1.ListOptions, do func(*metav1.PartialObjectMetadata)) error {
	opts.Limit = metadataPage
	for {
		var page *metav1.PartialObjectMetadataList
		err := c.Ask(ctx, func(ctx context.Context) (err error) {
			page, err = c.Metadata.Resource(gvr).Namespace(namespace).List(ctx, opts)
			return err
		})
		if err != nil {
			return err
		}
		for i := range page.Items {
			do(&page.Items[i])
		}
		if opts.Continue = page.Continue; opts.Continue == "" {
			return nil
		}
	}
}

// Request runs one request inside the bounds on concurrency and time.
func (c *Client) Request(ctx context.Context, do func(context.Context) error) error {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	bounded, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	begun := time.Now()
	err := do(bounded)
	if err != nil && ctx.Err() == nil && errors.Is(bounded.Err(), context.DeadlineExceeded) {
		if c.patience.busy(begun) {
			return late(fmt.Sprintf("the cluster %s at %s is too busy for lockkeeper: it asked it to wait, for %s (429 Too Many Requests)", c.Name, c.host, c.timeout))
		}
		return late(fmt.Sprintf("the cluster %s at %s did not answer within %s", c.Name, c.host, c.timeout))
	}
	return err
}

// late is the error of a request whose time was over, in people's words.
type late string

func (l late) Error() string { return string(l) }

// Unwrap tells what it is.
func (late) Unwrap() error { return context.DeadlineExceeded }

// FirstPause is how long to wait before something is tried a second time.
const FirstPause = 250 * time.Millisecond

// Pause waits, and reports whether ctx is still good.
func Pause(ctx context.Context, pause time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(pause):
		return true
	}
}

// ByWebhook reports whether a request failed because the server could not ask an
// admission webhook (which is no refusal by it). Nothing was written then.
func ByWebhook(err error) bool {
	return apierrors.IsInternalError(err) && strings.Contains(err.Error(), "failed calling webhook")
}

// Explain puts an error of a request in people's words. The words of the
// server are kept where they say something; credentials are never part of them.
func (c *Client) Explain(err error) error {
	var u *url.Error
	var resting *RestingError
	var certificate x509.CertificateInvalidError
	switch {
	case err == nil:
		return nil
	case errors.As(err, new(late)):
		return err
	case errors.As(err, &resting):
		return fmt.Errorf("the cluster %s at %s is too busy: %w", c.Name, c.host, resting)
	case errors.As(err, &certificate) && certificate.Reason == x509.Expired:
		return fmt.Errorf("the certificate of the cluster %s at %s has expired, or is not valid yet (%w): renew it on its API server, and compare the clocks", c.Name, c.host, certificate)
	case apierrors.IsTooManyRequests(err):
		return fmt.Errorf("the cluster %s is too busy for lockkeeper (429 Too Many Requests): %w; it is asked again later, and a PriorityLevelConfiguration of its API priority and fairness can give lockkeeper's account a share of its own", c.Name, err)
	case ByWebhook(err):
		return fmt.Errorf("an admission webhook on cluster %s does not answer as it should: %w; look at the program behind it", c.Name, err)
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("the cluster %s refused lockkeeper's credentials: they are wrong or have expired, renew them in its kubeconfig (401 Unauthorized)", c.Name)
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "exceeded quota"):
		return fmt.Errorf("the quota of the namespace on cluster %s does not leave room for this: %w; raise the ResourceQuota or ask for less", c.Name, err)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("the cluster %s forbids this to lockkeeper's account: %w; extend its RBAC rules", c.Name, err)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("cluster %s: %w", c.Name, err)
	case errors.As(err, &u):
		return fmt.Errorf("the cluster %s cannot be reached at %s: %w", c.Name, c.host, u.Err)
	}
	return fmt.Errorf("cluster %s: %w", c.Name, err)
}
