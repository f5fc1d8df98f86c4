package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// patience bounds what requests take, and keeps all of a client's requests from
// a server that asked one of them to wait (429 or 503 with Retry-After, as its
// API priority and fairness does): else each of many would try for itself. For a
// while after, they go one at a time, or all would come at once again.
type patience struct {
	next http.RoundTripper
	c    *Client
	one  chan struct{} // holds who goes, while they go one at a time

	mu    sync.Mutex
	until time.Time // nothing is sent before
}

// longestRest bounds how long is waited for because a server says so, and
// oneByOne is how long after that requests go one at a time.
const (
	longestRest = time.Minute
	oneByOne    = 5 * time.Second
)

// RestingError says that a request was not sent, because the server had asked
// for a rest that lasts longer than the request may.
type RestingError struct{ Until time.Time }

func (e *RestingError) Error() string {
	return "it asked lockkeeper to wait until " + e.Until.UTC().Format("15:04:05 MST")
}

// RoundTrip implements http.RoundTripper.
func (p *patience) RoundTrip(r *http.Request) (*http.Response, error) {
	if p.busy(time.Now()) {
		select {
		case p.one <- struct{}{}:
			defer func() { <-p.one }()
		case <-r.Context().Done():
			return nil, context.Cause(r.Context())
		}
	}
	if err := p.rest(r.Context()); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	late := fmt.Errorf("no answer within %s", p.c.timeout)
	// Other requests have a deadline; a watch lasts, but has to begin.
	begin := time.AfterFunc(p.c.timeout, func() {
		if r.URL.Query().Get("watch") != "" {
			cancel(late)
		}
	})
	resp, err := p.next.RoundTrip(r.WithContext(ctx))
	begin.Stop()
	if err != nil {
		cause := context.Cause(ctx)
		cancel(nil)
		if errors.Is(cause, late) {
			return nil, late
		}
		return nil, err
	}
	p.heed(resp)
	resp.Body = &bounded{resp.Body, cancel, p.watched(r, cancel)}
	return resp, nil
}

// WrappedRoundTripper lets client-go find the transport below.
func (p *patience) WrappedRoundTripper() http.RoundTripper { return p.next }

// rest waits until the server may be asked again. A request that may not last
// as long is not sent.
func (p *patience) rest(ctx context.Context) error {
	p.mu.Lock()
	until := p.until
	p.mu.Unlock()
	wait := time.Until(until)
	if wait <= 0 {
		return nil
	}
	if at, ok := ctx.Deadline(); ok && at.Before(until) {
		return &RestingError{until}
	}
	if !Pause(ctx, wait) {
		return context.Cause(ctx)
	}
	return nil
}

// heed notes that the server asks for a rest.
func (p *patience) heed(resp *http.Response) {
	if resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusServiceUnavailable {
		return
	}
	n, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil || n <= 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if at := time.Now().Add(min(time.Duration(n)*time.Second, longestRest)); at.After(p.until) {
		p.until = at
	}
}

// busy reports whether the server asked for a rest that was not over long before
// a moment.
func (p *patience) busy(at time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.until.Add(oneByOne).After(at)
}

// watched ends a watch that lasts longer than the server was told to let it: the
// server, or what stands for it, is not there any more.
func (p *patience) watched(r *http.Request, cancel context.CancelCauseFunc) *time.Timer {
	q := r.URL.Query()
	n, err := strconv.Atoi(q.Get("timeoutSeconds"))
	if q.Get("watch") == "" || err != nil || n <= 0 {
		return nil
	}
	return time.AfterFunc(time.Duration(n)*time.Second+p.c.timeout, func() { cancel(errors.New("the watch did not end in time")) })
}

// bounded is a body that lets go of its bounds when it is closed.
type bounded struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
	end    *time.Timer // nil but for watches
}

// Close implements io.Closer.
func (b *bounded) Close() error {
	if b.end != nil {
		b.end.Stop()
	}
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}

// Passing reports whether the same request may be answered otherwise soon,
// without anybody changing anything: the server is out of reach, too busy, or in
// trouble of its own.
func Passing(err error) bool {
	var u *url.Error
	var answer apierrors.APIStatus
	switch {
	case err == nil || errors.Is(err, context.Canceled):
		return false
	case Unreached(err):
		return true
	case errors.As(err, &answer):
		code := answer.Status().Code
		// Of an object that does not fit its schema, too, it speaks as of an
		// error of its own.
		return code == http.StatusTooManyRequests || code >= 500 && !strings.Contains(err.Error(), "typed patch object")
	}
	// An answer that was cut short has no type of its own.
	return errors.As(err, &u) || errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(err.Error(), "when reading response body")
}

// Unreached reports whether a server did not answer at all, in time, or only to
// say that it has no time: others that ask it now fare no better.
func Unreached(err error) bool {
	var u *url.Error
	return errors.As(err, &u) || errors.Is(err, context.DeadlineExceeded) || apierrors.IsTooManyRequests(err)
}

// askTries bounds how often a question is asked.
const askTries = 3

// Ask is Request for what changes nothing, such as a read or a dry-run: where the
// answer is lost or the server in trouble for a moment, it is asked again. One
// that does not answer in time is not.
func (c *Client) Ask(ctx context.Context, do func(context.Context) error) error {
	for try, pause := 1, FirstPause; ; try, pause = try+1, 2*pause {
		err := c.Request(ctx, do)
		again := Passing(err) && !errors.Is(err, context.DeadlineExceeded) && !errors.As(err, new(*RestingError)) && !ByWebhook(err)
		if !again || try == askTries || !Pause(ctx, pause) {
			return err
		}
	}
}
