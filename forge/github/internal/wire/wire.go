// Package wire is the driver's way out to GitHub: it counts calls, repeats a cut
// GET once, answers unchanged GETs from a cache by ETag, speaks to no host but
// the API's, and turns what went wrong into forge.Error.
package wire

import (
	"bytes"
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Wire is the one way out to the forge. It wraps the configured transport and
// sits below authentication, so that minted tokens are counted too.
type Wire struct {
	base    http.RoundTripper
	timeout time.Duration
	api     *url.URL
	graphQL *url.URL
	cache   etagCache

	mu    sync.Mutex
	calls map[string]int
}

// retryPause is the longest pause before a cut GET is repeated.
const retryPause = 250 * time.Millisecond

// callTimeout ends calls that got no complete answer. GitHub itself gives up
// after 10 s.
const callTimeout = 30 * time.Second

// New wraps the transport of c, nil for the default one. Only the hosts of api
// and graphQL are spoken to.
func New(c *http.Client, api, graphQL *url.URL) *Wire {
	w := &Wire{base: http.DefaultTransport, timeout: callTimeout, api: api, graphQL: graphQL, calls: map[string]int{}}
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

// RoundTrip sends a request; a GET is tried twice on a cut connection.
func (w *Wire) RoundTrip(req *http.Request) (*http.Response, error) {
	if !w.ours(req.URL) {
		// Authentication is already in the headers: an answer that points
		// elsewhere must not get it (threat 8).
		return nil, fmt.Errorf("refused to send credentials to %s, which is not the configured forge", req.URL.Host)
	}
	if req.Method != http.MethodGet {
		return w.send(req)
	}
	known := w.cache.offer(req)
	if known != nil {
		req = req.Clone(req.Context())
		req.Header.Set("If-None-Match", known.etag)
	}
	resp, err := w.sendTwice(req)
	if err != nil {
		return nil, err
	}
	return w.cache.settle(req, resp, known)
}

func (w *Wire) ours(u *url.URL) bool {
	return u.Scheme == w.api.Scheme && u.Host == w.api.Host ||
		u.Scheme == w.graphQL.Scheme && u.Host == w.graphQL.Host
}

func (w *Wire) send(req *http.Request) (*http.Response, error) {
	key := req.Method + " " + w.route(req.URL)
	w.mu.Lock()
	w.calls[key]++
	w.mu.Unlock()
	return w.base.RoundTrip(req)
}

func (w *Wire) sendTwice(req *http.Request) (*http.Response, error) {
	resp, err := w.send(req)
	if err == nil {
		err = readAhead(resp)
	}
	if err == nil || req.Context().Err() != nil {
		return resp, err
	}
	if err := pause(req.Context(), rand.N(retryPause)); err != nil {
		return nil, err
	}
	if resp, err = w.send(req); err != nil {
		return nil, err
	}
	return resp, readAhead(resp)
}

// maxAnswer bounds an answer's size in bytes: 100 commits with 300 patches are
// far below.
const maxAnswer = 64 << 20

// readAhead takes in the body, so that a connection cut within it is noticed
// where the GET can still be repeated.
func readAhead(resp *http.Response) error {
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("the answer was cut: %w", err)
	case len(b) > maxAnswer:
		return fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
	}
	resp.Body = io.NopCloser(bytes.NewReader(b))
	resp.ContentLength = int64(len(b))
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
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

// etagCache keeps answers by URL for conditional requests: GitHub does not
// charge for "not modified", and decides with the credential of the request
// at hand whether the caller may see it. Zero value ready.
type etagCache struct {
	mu      sync.Mutex
	entries map[string]*list.Element
	order   list.List // of *cached, least recently used first
	size    int
}

type cached struct {
	key, etag string
	header    http.Header
	body      []byte
}

// cacheBytes bounds the bodies kept; larger ones than an eighth are not kept.
const cacheBytes = 16 << 20

func cacheKey(req *http.Request) string { return req.Header.Get("Accept") + " " + req.URL.String() }

// offer returns what is known of the request's answer.
func (c *etagCache) offer(req *http.Request) *cached {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[cacheKey(req)]
	if e == nil {
		return nil
	}
	c.order.MoveToBack(e)
	return e.Value.(*cached)
}

// settle turns "not modified" into the known answer and keeps new ones.
func (c *etagCache) settle(req *http.Request, resp *http.Response, known *cached) (*http.Response, error) {
	if resp.StatusCode == http.StatusNotModified && known != nil {
		resp.StatusCode, resp.Status = http.StatusOK, "200 OK"
		for k, v := range known.header {
			if resp.Header.Get(k) == "" {
				resp.Header[k] = v
			}
		}
		resp.Body = io.NopCloser(bytes.NewReader(known.body))
		resp.ContentLength = int64(len(known.body))
		return resp, nil
	}
	etag := resp.Header.Get("ETag")
	if resp.StatusCode != http.StatusOK || etag == "" || resp.ContentLength > cacheBytes/8 {
		return resp, nil
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	// Only what go-github reads from a repeated answer.
	h := http.Header{}
	for _, k := range []string{"Content-Type", "Link"} {
		if v := resp.Header.Values(k); len(v) > 0 {
			h[k] = v
		}
	}
	c.keep(&cached{key: cacheKey(req), etag: etag, header: h, body: body})
	return resp, nil
}

func (c *etagCache) keep(n *cached) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil {
		c.entries = map[string]*list.Element{}
	}
	if old := c.entries[n.key]; old != nil {
		c.drop(old)
	}
	c.entries[n.key] = c.order.PushBack(n)
	c.size += len(n.body)
	for c.size > cacheBytes {
		c.drop(c.order.Front())
	}
}

func (c *etagCache) drop(e *list.Element) {
	old := c.order.Remove(e).(*cached)
	delete(c.entries, old.key)
	c.size -= len(old.body)
}
