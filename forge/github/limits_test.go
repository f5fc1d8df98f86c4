package github

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lockkeeper/forge"
)

// clock is moved by the test. It is nowhere near the machine's, as little as the
// forge's need be.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// granting is a forge that lets a number of calls through in an hour, as GitHub
// counts them, and then refuses.
type granting struct {
	limit, used atomic.Int32
	reset       atomic.Int64 // by the machine's clock, which the Date header shows
	then        http.Handler
}

func newGranting(limit int32, then http.Handler) *granting {
	g := &granting{then: then}
	g.limit.Store(limit)
	g.reset.Store(time.Now().Add(time.Hour).Unix())
	return g
}

func (g *granting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	used := g.used.Add(1)
	h := w.Header()
	h.Set("X-RateLimit-Limit", fmt.Sprint(g.limit.Load()))
	h.Set("X-RateLimit-Remaining", fmt.Sprint(max(0, g.limit.Load()-used)))
	h.Set("X-RateLimit-Reset", fmt.Sprint(g.reset.Load()))
	if used > g.limit.Load() {
		say(403, `{"message":"API rate limit exceeded for installation ID 99."}`)(w, r)
		return
	}
	g.then.ServeHTTP(w, r)
}

func withClock(t *testing.T, h http.Handler, c *clock) *Forge {
	t.Helper()
	f, err := New(t.Context(), Config{APIURL: serve(t, h).URL, Token: secret, Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// limited is the error of a call that has to wait, and how long from now.
func limited(t *testing.T, err error, c *clock) time.Duration {
	t.Helper()
	var e *forge.Error
	if !errors.As(err, &e) || e.Code != forge.RateLimited || !e.Unsent {
		t.Fatalf("error %v, want a limit", err)
	}
	return e.RetryAfter.Sub(c.Now()).Round(time.Minute)
}

func TestWorkThatNobodyWaitsForLeavesAReserveToPeople(t *testing.T) {
	c, srv := newClock(), newGranting(200, say(200, pull3))
	f := withClock(t, srv, c)
	background := forge.Background(t.Context())
	sent := 0
	for {
		_, err := f.Pull(background, shop, 3)
		if err != nil {
			if wait := limited(t, err, c); wait != time.Hour {
				t.Errorf("it may come back in %s", wait)
			}
			break
		}
		sent++
	}
	// 10 % of 200 would be less than the least reserve.
	if sent != 150 || srv.used.Load() != 150 {
		t.Errorf("background work got %d calls, %d went out; want 150", sent, srv.used.Load())
	}
	for range 50 {
		if _, err := f.Pull(t.Context(), shop, 3); err != nil {
			t.Fatalf("a person's call: %v", err)
		}
	}
	// Now people have to wait as well, and that is found out without a request.
	_, err := f.Pull(t.Context(), shop, 3)
	limited(t, err, c)
	if !strings.Contains(err.Error(), "all 200 calls are spent") || srv.used.Load() != 200 {
		t.Errorf("%d calls, %v", srv.used.Load(), err)
	}
	c.advance(time.Hour)
	srv.used.Store(0)
	srv.reset.Add(3600)
	if _, err := f.Pull(background, shop, 3); err != nil {
		t.Errorf("in the next hour: %v", err)
	}
}

// The repositories of one installation are asked with tokens of their own, and
// GitHub counts them together.
func TestBudgetIsTheInstallations(t *testing.T) {
	app := newAppForge()
	app.answers["GET /repos/acme/store/installation"] = app.answers["GET /repos/acme/shop/installation"]
	app.answers["GET /repos/acme/other/installation"] = say(200, `{"id":100,"permissions":{}}`)
	app.answers["POST /app/installations/100/access_tokens"] = app.mint
	limits := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-RateLimit-Limit", "5000")
		w.Header().Set("X-RateLimit-Remaining", "0")
		w.Header().Set("X-RateLimit-Reset", fmt.Sprint(time.Now().Add(time.Hour).Unix()))
		say(200, `[]`)(w, r)
	}
	for _, name := range []string{"shop", "store", "other"} {
		app.answers["GET /repos/acme/"+name+"/issues/3/comments"] = limits
	}
	c := newClock()
	f, err := New(t.Context(), Config{APIURL: serve(t, app).URL, AppID: 42, PrivateKey: appKey(), Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Comments(t.Context(), shop, 3); err != nil {
		t.Fatal(err)
	}
	store := forge.RepoRef{ID: 8, Owner: "acme", Name: "store"}
	_, err = f.Comments(t.Context(), store, 3)
	if wait := limited(t, err, c); wait != time.Hour || f.Calls()["GET /repos/{name}/{name}/issues/{id}/comments"] != 1 {
		t.Errorf("wait %s, calls %v", wait, f.Calls())
	}
	if _, err = f.Comments(t.Context(), forge.RepoRef{ID: 9, Owner: "acme", Name: "other"}, 3); err != nil {
		t.Errorf("another installation has a budget of its own: %v", err)
	}
}

func TestSecondaryLimitSilencesTheCredentialForLongerEachTime(t *testing.T) {
	c := newClock()
	var asked atomic.Int32
	answer := atomic.Pointer[http.HandlerFunc]{}
	set := func(h http.HandlerFunc) { answer.Store(&h) }
	secondary := say(403, `{"message":"You have exceeded a secondary rate limit. Please wait."}`)
	set(secondary)
	f := withClock(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		(*answer.Load())(w, r)
	}), c)
	// calls tries a write and GraphQL too: a secondary limit is for everything.
	calls := func(want time.Duration) {
		t.Helper()
		for range 3 {
			_, err := f.Pull(t.Context(), shop, 3)
			if wait := limited(t, err, c); wait != want {
				t.Errorf("wait %s, want %s", wait, want)
			}
		}
		_, err := f.CreateComment(t.Context(), shop, 3, "x")
		limited(t, err, c)
		_, err = f.Commit(t.Context(), shop, forge.NewCommit{Branch: "b", Parent: shaHead, Message: "x", Edits: map[string]forge.FileEdit{"a": {}}})
		limited(t, err, c)
	}
	for n, want := range []time.Duration{1, 2, 4, 8, 16, 16} {
		calls(want * time.Minute)
		if int(asked.Load()) != n+1 {
			t.Fatalf("%d requests after %d limits", asked.Load(), n+1)
		}
		c.advance(want * time.Minute)
	}
	set(say(200, pull3))
	if _, err := f.Pull(t.Context(), shop, 3); err != nil {
		t.Fatal(err)
	}
	set(secondary)
	calls(time.Minute) // an answer ends the row
	c.advance(time.Minute)
	set(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", time.Now().Add(5*time.Minute).UTC().Format(http.TimeFormat))
		say(429, `{"message":"slow down"}`)(w, r)
	})
	calls(5 * time.Minute)
	c.advance(5 * time.Minute)
	set(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "31536000")
		say(403, `{"message":"slow down"}`)(w, r)
	})
	calls(2 * time.Hour) // no header silences us for a year
}

// GraphQL has a window of its own.
func TestSpentGraphQLLeavesTheRest(t *testing.T) {
	c := newClock()
	f := withClock(t, answers{
		"POST /graphql": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-RateLimit-Limit", "5000")
			w.Header().Set("X-RateLimit-Remaining", "0")
			w.Header().Set("X-RateLimit-Resource", "graphql")
			w.Header().Set("X-RateLimit-Reset", fmt.Sprint(time.Now().Add(30*time.Minute).Unix()))
			say(200, `{"errors":[{"type":"RATE_LIMITED","message":"API rate limit exceeded"}]}`)(w, r)
		},
		"GET /repos/acme/shop/pulls/3": say(200, pull3),
	}, c)
	for range 2 {
		_, err := f.Commit(t.Context(), shop, forge.NewCommit{Branch: "b", Parent: shaHead, Message: "x", Edits: map[string]forge.FileEdit{"a": {}}})
		if wait := limited(t, err, c); wait != 30*time.Minute {
			t.Errorf("wait %s", wait)
		}
	}
	if n := f.Calls()["POST /graphql"]; n != 1 {
		t.Errorf("%d queries", n)
	}
	if _, err := f.Pull(t.Context(), shop, 3); err != nil {
		t.Error(err)
	}
}

// Half a page is a failure, in whatever way the rest was lost, and never a list
// that seems to be short. Nor is it kept for the next time.
func TestHalfAPageIsNoShortList(t *testing.T) {
	page1 := `[{"id":1,"user":{"id":5,"login":"ann"},"body":"/apply"},{"id":2}]`
	for name, half := range map[string]string{
		"nothing": "", "null": "null", "cut in a list": page1[:len(page1)-1], "cut in an object": page1[:30],
		"a list and more": "[]" + page1, "a page for people": "[]<html>", "spaces": "  \n",
	} {
		var asked atomic.Int32
		bad := true
		f := withToken(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			w.Header().Set("ETag", `"v1"`)
			if r.Header.Get("If-None-Match") != "" {
				w.WriteHeader(304)
				return
			}
			if bad {
				say(200, half)(w, r)
				return
			}
			say(200, page1)(w, r)
		}))
		got, err := f.Comments(t.Context(), shop, 3)
		if forge.CodeOf(err) != forge.Unavailable || asked.Load() != 3 {
			t.Errorf("%s: %d comments after %d calls, error %v", name, len(got), asked.Load(), err)
		}
		bad = false
		if got, err := f.Comments(t.Context(), shop, 3); err != nil || len(got) != 2 {
			t.Errorf("%s, then a whole page: %d comments, error %v", name, len(got), err)
		}
	}
}

// The second page is lost: the first alone is not the list.
func TestLostSecondPageIsAnError(t *testing.T) {
	f := withToken(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("page") == "2" {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Link", fmt.Sprintf(`<http://%s%s?page=2>; rel="next"`, r.Host, r.URL.Path))
		say(200, `[{"id":1}]`)(w, r)
	}))
	if got, err := f.Comments(t.Context(), shop, 3); forge.CodeOf(err) != forge.Unavailable || got != nil {
		t.Errorf("%d comments, error %v", len(got), err)
	}
}

// silent gives no answer until the client hangs up, which a server notices once
// it has read the request.
func silent(_ http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body) //nolint:errcheck // the client may hang up meanwhile
	<-r.Context().Done()
}

// hanging never answers the first n requests.
func hanging(n int32, then http.Handler) (http.Handler, *atomic.Int32) {
	seen := new(atomic.Int32)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if seen.Add(1) > n {
			then.ServeHTTP(w, r)
			return
		}
		silent(w, r)
	}), seen
}

func hasty(t *testing.T, h http.Handler, cfg Config) *Forge {
	t.Helper()
	cfg.APIURL, cfg.HTTPClient = serve(t, h).URL, &http.Client{Timeout: 900 * time.Millisecond}
	f, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestHangingReadIsTriedAgainAndAHangingWriteIsNot(t *testing.T) {
	h, seen := hanging(1, say(200, pull3))
	if _, err := hasty(t, h, Config{Token: secret}).Pull(t.Context(), shop, 3); err != nil || seen.Load() != 2 {
		t.Errorf("%d calls, %v", seen.Load(), err)
	}
	h, seen = hanging(9, say(201, `{"id":1}`))
	_, err := hasty(t, h, Config{Token: secret}).CreateComment(t.Context(), shop, 3, "x")
	var e *forge.Error
	if !errors.As(err, &e) || e.Code != forge.Unavailable || e.Unsent || seen.Load() != 1 {
		t.Errorf("%d calls, %v", seen.Load(), err)
	}
}

// A token that is never handed out must not hold its repository for ever:
// nothing but the transport bounds that call.
func TestHangingTokenEnds(t *testing.T) {
	app := newAppForge()
	app.answers["POST /app/installations/99/access_tokens"] = silent
	_, err := hasty(t, app, Config{AppID: 42, PrivateKey: appKey()}).GitAuth(t.Context(), shop)
	if forge.CodeOf(err) != forge.Unavailable {
		t.Error(err)
	}
}

// Tries do not outlast the patience of the one who asks.
func TestReadIsNotRepeatedForSomebodyWhoIsGone(t *testing.T) {
	var asked atomic.Int32
	f := withToken(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		say(502, `{}`)(w, r)
	}))
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Millisecond)
	defer cancel()
	if _, err := f.Pull(ctx, shop, 3); forge.CodeOf(err) != forge.Unavailable || asked.Load() != 1 {
		t.Errorf("%d calls, %v", asked.Load(), err)
	}
}

// Three times the load does not help a forge that is down to get up.
func TestForgeThatIsDownIsNotAskedThreeTimesForEach(t *testing.T) {
	var asked atomic.Int32
	down := atomic.Bool{}
	down.Store(true)
	f := withToken(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if down.Load() {
			say(503, `{}`)(w, r)
			return
		}
		say(200, pull3)(w, r)
	}))
	for range 10 {
		if _, err := f.Pull(t.Context(), shop, 3); forge.CodeOf(err) != forge.Unavailable {
			t.Fatal(err)
		}
	}
	if n := asked.Load(); n != 3*3+7 {
		t.Errorf("%d requests for 10 calls, want 16", n)
	}
	down.Store(false)
	if _, err := f.Pull(t.Context(), shop, 3); err != nil {
		t.Error(err)
	}
}

// To a credential that is not accepted GitHub tells what strangers may ask, 60
// calls an hour. That says nothing of the one that takes its place.
func TestRefusedCredentialLeavesTheBudgetAlone(t *testing.T) {
	c := newClock()
	f := withClock(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer new" {
			say(200, pull3)(w, r)
			return
		}
		w.Header().Set("X-RateLimit-Limit", "60")
		w.Header().Set("X-RateLimit-Remaining", "0")
		w.Header().Set("X-RateLimit-Resource", "core")
		w.Header().Set("X-RateLimit-Reset", fmt.Sprint(time.Now().Add(time.Hour).Unix()))
		say(401, `{"message":"Bad credentials"}`)(w, r)
	}), c)
	for range 2 {
		if _, err := f.Pull(t.Context(), shop, 3); forge.CodeOf(err) != forge.Unauthorized {
			t.Errorf("with a token that expired: %v", err)
		}
	}
	if err := f.Rotate(Config{Token: "new"}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Pull(t.Context(), shop, 3); err != nil {
		t.Errorf("with the new token: %v", err)
	}
}

// GraphQL answers 200 to what comes too fast, and says for how long to wait.
func TestGraphQLTellsOfASecondaryLimitBy200(t *testing.T) {
	c := newClock()
	f := withClock(t, answers{
		"POST /graphql": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "120")
			say(200, `{"message":"You have exceeded a secondary rate limit."}`)(w, r)
		},
		"GET /repos/acme/shop/pulls/3": say(200, pull3),
	}, c)
	_, err := f.Commit(t.Context(), shop, forge.NewCommit{Branch: "b", Parent: shaHead, Message: "x", Edits: map[string]forge.FileEdit{"a": {}}})
	if wait := limited(t, err, c); wait != 2*time.Minute {
		t.Errorf("wait %s", wait)
	}
	_, err = f.Pull(t.Context(), shop, 3)
	if limited(t, err, c); f.Calls()["GET /repos/{name}/{name}/pulls/{id}"] != 0 {
		t.Error("GitHub was asked meanwhile")
	}
}
