// Package wire is the driver's way out to GitHub: it counts calls, keeps to what
// each credential may still ask (budget.go), repeats reads that got no whole
// answer (attempts.go), answers unchanged GETs from a cache by ETag (cache.go),
// speaks to no host but the API's, and turns what went wrong into forge.Error.
package wire

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Wire is the one way out to the forge. It wraps the configured transport and
// sits below authentication, so that minted tokens are counted too.
type Wire struct {
	base    http.RoundTripper
	timeout time.Duration
	api     *url.URL
	graphQL *url.URL
	now     func() time.Time
	cache   etagCache
	failed  atomic.Int32 // reads in a row that got no answer

	mu      sync.Mutex
	calls   map[string]int
	budgets map[string]*Budget
}

// callTimeout ends calls that got no complete answer. GitHub itself gives up
// after 10 s.
const callTimeout = 30 * time.Second

// New wraps the transport of c, nil for the default one. Only the hosts of api
// and graphQL are spoken to. now is the clock by which limits end.
func New(c *http.Client, api, graphQL *url.URL, now func() time.Time) *Wire {
	w := &Wire{
		base: http.DefaultTransport, timeout: callTimeout, api: api, graphQL: graphQL, now: now,
		calls: map[string]int{}, budgets: map[string]*Budget{},
	}
	if c != nil && c.Transport != nil {
		w.base = c.Transport
	}
	if c != nil && c.Timeout != 0 {
		w.timeout = c.Timeout
	}
	return w
}

// Client is an http.Client over rt that keeps to the API's host.
func (w *Wire) Client(rt http.RoundTripper) *http.Client {
	return &http.Client{Transport: rt, Timeout: w.timeout, CheckRedirect: w.checkRedirect}
}

// checkRedirect follows what GitHub answers for renamed repositories. A write
// is never sent to another address than the one it was meant for.
func (w *Wire) checkRedirect(req *http.Request, via []*http.Request) error {
	switch {
	case via[0].Method != http.MethodGet:
		return http.ErrUseLastResponse
	case len(via) >= 5:
		return errors.New("the forge redirects in circles")
	}
	return nil
}

// RoundTrip sends a request and takes in the whole answer.
func (w *Wire) RoundTrip(req *http.Request) (*http.Response, error) {
	if !w.ours(req.URL) {
		// Authentication is already in the headers: an answer that points
		// elsewhere must not get it (threat 8).
		closeBody(req)
		return nil, fmt.Errorf("refused to send credentials to %s, which is not the configured forge", req.URL.Host)
	}
	if req.Method != http.MethodGet {
		return w.attempt(req, w.timeout)
	}
	known := w.cache.offer(req)
	if known != nil {
		req = req.Clone(req.Context())
		req.Header.Set("If-None-Match", known.etag)
	}
	resp, err := w.read(req)
	if err != nil {
		return nil, err
	}
	return w.cache.settle(req, resp, known)
}

// closeBody does what a RoundTripper owes a request that it does not send.
func closeBody(req *http.Request) {
	if req.Body != nil {
		req.Body.Close()
	}
}

func (w *Wire) ours(u *url.URL) bool {
	return u.Scheme == w.api.Scheme && u.Host == w.api.Host ||
		u.Scheme == w.graphQL.Scheme && u.Host == w.graphQL.Host
}

func (w *Wire) count(req *http.Request) {
	key := req.Method + " " + w.route(req.URL)
	w.mu.Lock()
	w.calls[key]++
	w.mu.Unlock()
}

// Counts is how many requests went out, by method and route.
func (w *Wire) Counts() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.calls)
}

var (
	numberRE = regexp.MustCompile(`^[0-9]+$`)
	shaRE    = regexp.MustCompile(`^[0-9a-f]{40}$`)
	// nameAfter lists path segments that a free name follows.
	nameAfter = map[string]int{"repos": 2, "orgs": 1, "teams": 1, "branches": 1, "collaborators": 1, "users": 1, "compare": 1, "app-manifests": 1, "apps": 1}
)

// route is the path with names and numbers taken out, so that counters stay few
// and carry no names.
func (w *Wire) route(u *url.URL) string {
	path := strings.TrimPrefix(u.EscapedPath(), strings.TrimRight(w.api.EscapedPath(), "/"))
	parts := strings.Split(strings.Trim(path, "/"), "/")
	names := 0
	for i, p := range parts {
		switch {
		case names > 0:
			parts[i] = "{name}"
			names--
		case shaRE.MatchString(p):
			parts[i] = "{sha}"
		case numberRE.MatchString(p):
			parts[i] = "{id}"
		default:
			names = nameAfter[p]
		}
	}
	return "/" + strings.Join(parts, "/")
}
