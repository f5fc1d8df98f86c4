package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// pauses are the longest times before a read is repeated, and so how often it
// is. The least is half of that: when a forge stumbles, its callers should not
// all come back in one moment.
var pauses = []time.Duration{200 * time.Millisecond, 800 * time.Millisecond}

// downAfter is how many reads in a row have to fail before the forge counts as
// down. Then nothing is repeated until an answer comes: the caller's own next try
// is enough, and a forge that gets up again should not meet three times the load.
const downAfter = 3

// read sends a GET, and sends it again when the answer was cut, incomplete, too
// slow in coming or a 5xx. Nothing but a GET is ever repeated: whether a write
// without an answer had an effect is for the caller to find out.
//
// An attempt has a third of the call's time, so that one that hangs leaves
// enough for the others.
func (w *Wire) read(req *http.Request) (*http.Response, error) {
	for try := 0; ; try++ {
		resp, err := w.attempt(req, w.timeout/3)
		if err == nil && (resp.StatusCode < 500 || resp.StatusCode == http.StatusNotImplemented) {
			w.failed.Store(0)
			return resp, nil
		}
		if try == len(pauses) && req.Context().Err() == nil {
			w.failed.Add(1)
		}
		if try == len(pauses) || w.failed.Load() >= downAfter {
			return resp, err
		}
		wait := pauses[try]/2 + rand.N(pauses[try]/2)
		if !patient(req.Context(), wait) {
			return resp, err
		}
		if err := pause(req.Context(), wait); err != nil {
			return nil, err
		}
	}
}

// patient reports whether ctx leaves time for another attempt after wait.
func patient(ctx context.Context, wait time.Duration) bool {
	end, limited := ctx.Deadline()
	return ctx.Err() == nil && (!limited || time.Until(end) > wait)
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

// attempt sends a request once and reads the answer, both within d.
func (w *Wire) attempt(req *http.Request, d time.Duration) (*http.Response, error) {
	w.count(req)
	ctx, cancel := context.WithTimeout(req.Context(), d)
	defer cancel()
	resp, err := w.base.RoundTrip(req.WithContext(ctx))
	if err == nil {
		err = w.takeIn(req, resp)
	}
	if err == nil {
		resp.Request = req
		return resp, nil
	}
	if ctx.Err() != nil && req.Context().Err() == nil {
		return nil, fmt.Errorf("no complete answer came within %s", d)
	}
	return nil, err
}

// maxAnswer bounds an answer's size in bytes: 100 commits with 300 patches are
// far below.
const maxAnswer = 64 << 20

// takeIn reads the body, so that a connection cut within it is noticed here.
func (w *Wire) takeIn(req *http.Request, resp *http.Response) error {
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("the answer was cut: %w", err)
	case len(b) > maxAnswer:
		return fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
	case resp.StatusCode == http.StatusOK && !w.whole(req, resp, b):
		return errors.New("the answer was cut: it is not complete JSON")
	}
	resp.Body = io.NopCloser(bytes.NewReader(b))
	resp.ContentLength = int64(len(b))
	return nil
}

// whole reports whether an answer of 200 is a complete document. SDKs take an
// empty body, and null, for an empty list, and stop reading at the end of the
// first value: half a page would pass for a short list, and could be kept by its
// ETag.
func (w *Wire) whole(req *http.Request, resp *http.Response, b []byte) bool {
	b = bytes.TrimSpace(b)
	isJSON := strings.Contains(resp.Header.Get("Content-Type"), "json")
	if w.cfg.Terse {
		nothing := len(b) == 0 && req.Method != http.MethodGet
		return !isJSON || nothing || json.Valid(b)
	}
	return len(b) > 0 && !bytes.Equal(b, []byte("null")) && (!isJSON || json.Valid(b))
}
