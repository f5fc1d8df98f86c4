package wire

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"lockkeeper/forge"
)

// Fail turns any error of a call into a *forge.Error about op: one that is in its
// chain, or else that no proper answer came. Addresses are left out because they
// may carry a query.
func Fail(op string, err error) error {
	if errors.Is(err, context.Canceled) {
		return &forge.Error{Op: op, Code: forge.Unavailable, Message: "stopped before the forge answered", Err: context.Canceled}
	}
	var done *forge.Error
	if errors.As(err, &done) {
		e := *done
		e.Op = op
		return &e
	}
	return unanswered(op, err)
}

// CodeOf is what an HTTP status means that is no success. Rate limits told by
// other statuses than 429 have become errors before (Budget).
func CodeOf(status int) forge.Code {
	switch status {
	case http.StatusUnauthorized:
		return forge.Unauthorized
	case http.StatusForbidden, http.StatusUnavailableForLegalReasons:
		return forge.Forbidden
	case http.StatusNotFound, http.StatusGone:
		return forge.NotFound
	case http.StatusMethodNotAllowed, http.StatusConflict:
		return forge.Conflict
	case http.StatusTooManyRequests:
		return forge.RateLimited
	case http.StatusRequestTimeout,
		http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		// A write to a renamed repository is answered by a redirect, which is not
		// followed, and so had no effect. What it wrote to is not gone: that would
		// have the caller make it a second time.
		return forge.Unavailable
	}
	if status >= 500 {
		return forge.Unavailable
	}
	return forge.Invalid
}

// Refused turns an answer that is no success into a *forge.Error, so that what an
// SDK makes of it does not matter. A redirect of a read is left to http.Client,
// and "not modified" to the cache.
func (w *Wire) Refused(next http.RoundTripper) http.RoundTripper { return refusing{w, next} }

type refusing struct {
	w    *Wire
	next http.RoundTripper
}

// RoundTrip sends the request.
func (r refusing) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	redirect := resp.StatusCode >= 300 && resp.StatusCode < 400
	if resp.StatusCode < 300 || redirect && req.Method == http.MethodGet {
		return resp, nil
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	e := &forge.Error{
		Code: CodeOf(resp.StatusCode), Status: resp.StatusCode,
		Message: cmp.Or(said(resp.Header, body), http.StatusText(resp.StatusCode)), Unsent: resp.StatusCode < 500,
	}
	if until, ok := retryAfter(resp.Header, r.w.Now()); ok {
		e.RetryAfter = until
	}
	return nil, e
}

// saidMost bounds a forge's explanation, in bytes.
const saidMost = 1000

// said is the forge's explanation in the body of a refusal: what its JSON calls
// message, error or error_description, with errors as details, or a line of plain
// text. GitLab tells what is wrong with a field by an object, field by field.
func said(h http.Header, body []byte) string {
	var m struct {
		Message, Error, Errors any
		Description            any `json:"error_description"`
	}
	if err := json.Unmarshal(body, &m); err != nil {
		kind := h.Get("Content-Type")
		line, _, _ := bytes.Cut(bytes.TrimSpace(body), []byte("\n"))
		if !strings.HasPrefix(kind, "text/plain") || len(line) > saidMost {
			return ""
		}
		return strings.ToValidUTF8(string(line), "")
	}
	var parts []string
	for _, part := range []any{m.Message, m.Error, m.Description, m.Errors} {
		if s := spoken(part); s != "" && !slices.Contains(parts, s) {
			parts = append(parts, s)
		}
	}
	all := strings.Join(parts, "; ")
	if len(all) > saidMost {
		all = strings.ToValidUTF8(all[:saidMost], "") + "…"
	}
	return all
}

// spoken is a value of JSON as a person would read it.
func spoken(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case []any:
		var parts []string
		for _, e := range v {
			if s := spoken(e); s != "" {
				parts = append(parts, s)
			}
		}
		return strings.Join(parts, ", ")
	case map[string]any:
		if s, ok := v["message"].(string); ok {
			return s
		}
		var parts []string
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if s := spoken(v[k]); s != "" {
				parts = append(parts, k+": "+s)
			}
		}
		return strings.Join(parts, "; ")
	case nil:
		return ""
	}
	return fmt.Sprint(v)
}

// Limited is the failure of a call that the forge asks to repeat later. resp may
// be nil.
func Limited(op string, resp *http.Response, msg string, until time.Time) error {
	e := &forge.Error{Op: op, Code: forge.RateLimited, Message: msg, RetryAfter: until, Unsent: true}
	if resp != nil {
		e.Status = resp.StatusCode
	}
	return e
}

// unanswered is for calls without a (complete) answer: whether they had an
// effect is unknown, unless no connection was made at all.
func unanswered(op string, err error) error {
	e := &forge.Error{Op: op, Code: forge.Unavailable, Err: err}
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		e.Unsent = true
	}
	// url.Error quotes the whole address.
	var u *url.Error
	if errors.As(err, &u) {
		e.Err = u.Err
	}
	return e
}
