package client

import (
	"context"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"lockkeeper/cluster"
)

// Tally counts what one piece of work cost, and collects the server's warnings.
type Tally struct {
	requests, bytes atomic.Int64
	mu              sync.Mutex
	warnings        []string
}

type tallyKey struct{}

// Counted makes ctx count requests into the returned Tally.
func Counted(ctx context.Context) (context.Context, *Tally) {
	t := &Tally{}
	return context.WithValue(ctx, tallyKey{}, t), t
}

// Stats are the requests and bytes so far.
func (t *Tally) Stats() cluster.Stats {
	return cluster.Stats{Requests: int(t.requests.Load()), Bytes: t.bytes.Load()}
}

// Add counts requests and bytes that were sent ahead.
func (t *Tally) Add(s cluster.Stats) {
	t.requests.Add(int64(s.Requests))
	t.bytes.Add(s.Bytes)
}

// Warnings are what the server warned of, each once, sorted.
func (t *Tally) Warnings() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Sorted(slices.Values(t.warnings))
}

// warn adds a warning once.
func (t *Tally) warn(text string) {
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
	if t, ok := ctx.Value(tallyKey{}).(*Tally); ok && code == 299 && text != "" {
		t.warn(text)
	}
}

// meter tells of requests, and counts them and the bytes of response bodies into
// the tally in ctx.
type meter struct {
	next  http.RoundTripper
	asked func(method string, status int)
}

// RoundTrip implements http.RoundTripper.
func (m meter) RoundTrip(r *http.Request) (*http.Response, error) {
	t, counted := r.Context().Value(tallyKey{}).(*Tally)
	if counted {
		t.requests.Add(1)
	}
	resp, err := m.next.RoundTrip(r)
	if m.asked != nil {
		status := 0
		if resp != nil {
			status = resp.StatusCode
		}
		m.asked(r.Method, status)
	}
	if counted && resp != nil && resp.Body != nil {
		resp.Body = meteredBody{resp.Body, t}
	}
	return resp, err
}

// WrappedRoundTripper lets client-go find the transport below.
func (m meter) WrappedRoundTripper() http.RoundTripper { return m.next }

type meteredBody struct {
	io.ReadCloser
	t *Tally
}

func (b meteredBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.t.bytes.Add(int64(n))
	return n, err
}
