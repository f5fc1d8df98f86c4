package wire

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"lockkeeper/forge"
)

// Budget is what one credential may still ask. Forges count by user (GitHub: by
// installation and by App, too), and GitHub apart for REST and GraphQL; whatever
// token a request carries, it is spent from the same budget. Every answer tells
// what is left, where the forge tells it.
//
// Sources: https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
// and https://docs.gitlab.com/administration/settings/user_and_ip_rate_limits/
type Budget struct {
	w *Wire

	mu      sync.Mutex
	windows map[string]*window // by the forge's word for the resource
	// rest is until when nothing at all is sent, because of a secondary limit,
	// and why in the forge's words. strikes counts such limits in a row.
	rest    time.Time
	why     string
	strikes int
}

// window is a grant for one resource: an hour's on GitHub, a minute's on GitLab.
type window struct {
	limit, left int
	reset       time.Time // zero: nothing is known yet
	flying      int       // requests without an answer so far
}

// What we ask, in GitHub's words.
const (
	core    = "core"
	graphQL = "graphql"
)

// The share of a window, and the least number of calls, that background work
// leaves to people; but never more than half of a window.
const (
	reservePart  = 10
	reserveLeast = 50
)

// secondaryPause is how long to wait after a limit that came without Retry-After
// (GitHub: "at least one minute" after a secondary one), and twice as long after
// each further one, up to secondaryMost.
const (
	secondaryPause = time.Minute
	secondaryMost  = 16 * time.Minute
)

// maxRest bounds what an answer can make us wait: no window is longer than an
// hour, and a broken header must not silence us for a year.
const maxRest = 2 * time.Hour

// Budget finds or makes the budget of a credential. The name is the caller's.
func (w *Wire) Budget(name string) *Budget {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.budgets[name] == nil {
		w.budgets[name] = &Budget{w: w, windows: map[string]*window{}}
	}
	return w.budgets[name]
}

// Over spends from the budget what goes to next. An answer that asks to slow
// down becomes a *forge.Error with the code RateLimited, and so does, without a
// request, every call until then.
func (b *Budget) Over(next http.RoundTripper) http.RoundTripper { return spender{b, next} }

type spender struct {
	*Budget
	next http.RoundTripper
}

// RoundTrip sends the request if the budget allows it.
func (s spender) RoundTrip(req *http.Request) (*http.Response, error) {
	resource := core
	if s.w.asks(req) {
		resource = graphQL
	}
	if err := s.take(resource, forge.IsBackground(req.Context())); err != nil {
		closeBody(req)
		return nil, err
	}
	resp, err := s.next.RoundTrip(req)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.window(resource).flying--
	if err != nil {
		return nil, err
	}
	return s.learn(resource, resp)
}

func (b *Budget) window(resource string) *window {
	if b.windows[resource] == nil {
		b.windows[resource] = &window{}
	}
	return b.windows[resource]
}

// take reserves one request, or says until when there is none.
func (b *Budget) take(resource string, background bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, win := b.w.Now(), b.window(resource)
	if now.Before(b.rest) {
		return Limited("", nil, "nothing is sent before "+clock(b.rest)+": "+b.why, b.rest)
	}
	if now.Before(win.reset) {
		left := win.left - win.flying
		reserve := min(max(win.limit/reservePart, reserveLeast), win.limit/2)
		switch {
		case left <= 0:
			return Limited("", nil, fmt.Sprintf("all %d calls are spent; nothing is sent before %s", win.limit, clock(win.reset)), win.reset)
		case background && left <= reserve:
			return Limited("", nil, fmt.Sprintf("%d of %d calls are left, which are kept for people; work that nobody waits for goes on at %s", left, win.limit, clock(win.reset)), win.reset)
		}
	}
	win.flying++
	return nil
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05 MST") }

// learn reads what an answer says of limits. A refusal for their sake is turned
// into an error. The lock is held.
func (b *Budget) learn(resource string, resp *http.Response) (*http.Response, error) {
	h, names := resp.Header, b.w.cfg.Limits
	if r := h.Get(names.Resource); r == core || r == graphQL {
		resource = r
	}
	win := b.window(resource)
	if reset, ok := resetOf(names, h, b.w.Now()); ok {
		// A credential that is not accepted is not the one that was counted for:
		// GitHub tells what strangers at our address may ask, 60 calls an hour.
		if resp.StatusCode != http.StatusUnauthorized {
			win.hear(names, h, reset)
		}
		// SDKs keep such a count for every client, by the machine's clock. Ours is
		// shared by all clients of a credential, so that they are never told that
		// nothing is left.
		h.Set(names.Reset, strconv.FormatInt(reset.Unix(), 10))
		if h.Get(names.Remaining) == "0" {
			h.Set(names.Remaining, "1")
		}
	}
	// GraphQL tells of a secondary limit by 200, too.
	asked := resource == graphQL && h.Get("Retry-After") != ""
	if resp.StatusCode != http.StatusForbidden && resp.StatusCode != http.StatusTooManyRequests && !asked {
		b.strikes = 0
		return resp, nil
	}
	return b.refused(win, resp)
}

// sameWindow is how far the ends of one window may seem to lie apart: the clocks
// that they are told by run in whole seconds.
const sameWindow = 30 * time.Second

// hear takes over what is left. Answers may come in another order than the
// forge wrote them: of one window the least counts.
func (w *window) hear(names Headers, h http.Header, reset time.Time) {
	left, err := strconv.Atoi(h.Get(names.Remaining))
	limit, _ := strconv.Atoi(h.Get(names.Limit))
	switch later := reset.Sub(w.reset); {
	case err != nil || later < -sameWindow:
	case later < sameWindow:
		w.left, w.limit = min(w.left, left), limit
	default:
		w.left, w.limit, w.reset = left, limit, reset
	}
}

// refused tells a limit from a permission that is lacking. GitHub sends both as
// 403, limits also as 429, some with Retry-After and some recognisable by their
// words only. The lock is held.
func (b *Budget) refused(win *window, resp *http.Response) (*http.Response, error) {
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	words, now := said(resp.Header, body), b.w.Now()
	until, secondary := retryAfter(resp.Header, now)
	switch {
	case secondary:
	case win.left == 0 && now.Before(win.reset):
		return nil, Limited("", resp, words, win.reset)
	case resp.StatusCode == http.StatusTooManyRequests || speaksOfLimits(words):
		until = now.Add(min(secondaryPause<<min(b.strikes, 10), secondaryMost))
		b.strikes++
	default:
		return resp, nil // a permission is lacking
	}
	if until.After(b.rest) {
		b.rest, b.why = until, words
	}
	return nil, Limited("", resp, words, until)
}

func speaksOfLimits(words string) bool {
	low := strings.ToLower(words)
	return strings.Contains(low, "rate limit") || strings.Contains(low, "abuse detection")
}

// retryAfter reads Retry-After, in seconds or as a date.
func retryAfter(h http.Header, now time.Time) (time.Time, bool) {
	v := h.Get("Retry-After")
	if s, err := strconv.Atoi(v); err == nil && s >= 0 {
		return now.Add(min(time.Duration(s)*time.Second, maxRest)), true
	}
	if at, err := http.ParseTime(v); err == nil {
		return now.Add(min(max(at.Sub(dateOf(h, now)), 0), maxRest)), true
	}
	return time.Time{}, false
}

// resetOf is when the window ends, by our own clock: the forge tells it by its
// own, which the answer's date shows.
func resetOf(names Headers, h http.Header, now time.Time) (time.Time, bool) {
	s, err := strconv.ParseInt(h.Get(names.Reset), 10, 64)
	if err != nil || h.Get(names.Remaining) == "" {
		return time.Time{}, false
	}
	wait := time.Unix(s, 0).Sub(dateOf(h, now))
	return now.Add(min(wait, maxRest)).Truncate(time.Second), true
}

func dateOf(h http.Header, now time.Time) time.Time {
	if at, err := http.ParseTime(h.Get("Date")); err == nil {
		return at
	}
	return now
}
