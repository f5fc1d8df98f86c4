// Package wire is a driver's way out to its forge: it counts calls, keeps to what
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
	"slices"
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
	cfg     Config
	cache   etagCache
	failed  atomic.Int32 // reads in a row that got no answer

	mu      sync.Mutex
	calls   map[string]int
	budgets map[string]*Budget
}

// Config is what one forge's way out differs in from another's.
type Config struct {
	// HTTP has the transport and the time that a call may take; nil for the
	// default ones.
	HTTP *http.Client
	// Hosts are the roots of the API, the most particular path first. No other
	// host is spoken to.
	Hosts []*url.URL
	// GraphQL is where queries are posted, nil for none. They are counted apart.
	GraphQL *url.URL
	// Now is the clock by which limits end; nil for the machine's.
	Now func() time.Time
	// Names are path segments that free names follow, and how many do: what is
	// counted by route carries no names.
	Names map[string]int
	// Limits are the headers that tell what may still be asked; zero for none.
	Limits Headers
	// Terse is for forges that answer a write by 200 and nothing, and list
	// nothing by null. From others both count as an answer that was cut.
	Terse bool
}

// Headers are the names of the headers by which a forge tells what a credential
// may still ask. Reset is in seconds since 1970. Resource is what is counted
// apart, "core" or "graphql"; "" where a forge does not tell.
type Headers struct{ Limit, Remaining, Reset, Resource string }

// callTimeout ends calls that got no complete answer. Forges themselves give up
// sooner: GitHub after 10 s.
const callTimeout = 30 * time.Second

// New makes the way out that cfg describes.
func New(cfg Config) *Wire {
	w := &Wire{
		base: http.DefaultTransport, timeout: callTimeout, cfg: cfg,
		calls: map[string]int{}, budgets: map[string]*Budget{},
	}
	if cfg.Now == nil {
		w.cfg.Now = time.Now
	}
	c := cfg.HTTP
	if c != nil && c.Transport != nil {
		w.base = c.Transport
	}
	if c != nil && c.Timeout != 0 {
		w.timeout = c.Timeout
	}
	return w
}

// GraphQL is where queries are posted, nil for none.
func (w *Wire) GraphQL() *url.URL { return w.cfg.GraphQL }

// Now is the time by the clock that limits end by.
func (w *Wire) Now() time.Time { return w.cfg.Now() }

// Client is an http.Client over rt that keeps to the API's hosts.
func (w *Wire) Client(rt http.RoundTripper) *http.Client {
	return &http.Client{Transport: rt, Timeout: w.timeout, CheckRedirect: w.checkRedirect}
}

// checkRedirect follows what forges answer for renamed repositories. A write
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
	same := func(h *url.URL) bool { return u.Scheme == h.Scheme && u.Host == h.Host }
	return slices.ContainsFunc(w.cfg.Hosts, same) || w.cfg.GraphQL != nil && same(w.cfg.GraphQL)
}

// asks tells a query from other calls.
func (w *Wire) asks(req *http.Request) bool {
	return req.Method == http.MethodPost && w.cfg.GraphQL != nil && req.URL.Path == w.cfg.GraphQL.Path
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
)

// IsSHA tells whether s is a full SHA: a branch's name would be taken too in
// most places, for whatever it points to then.
func IsSHA(s string) bool { return shaRE.MatchString(s) }

// route is the path with names and numbers taken out, so that counters stay few
// and carry no names.
func (w *Wire) route(u *url.URL) string {
	path := u.EscapedPath()
	for _, h := range w.cfg.Hosts {
		if root := strings.TrimRight(h.EscapedPath(), "/"); strings.HasPrefix(path, root+"/") {
			path = strings.TrimPrefix(path, root)
			break
		}
	}
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
			names = w.cfg.Names[p]
		}
	}
	return "/" + strings.Join(parts, "/")
}
