package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lockkeeper/forge"
)

func TestStatusDecidesTheCode(t *testing.T) {
	reset := time.Now().Add(20 * time.Minute).Truncate(time.Second)
	limit := func(status int, h map[string]string, msg string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			for k, v := range h {
				w.Header().Set(k, v)
			}
			say(status, fmt.Sprintf(`{"message":%q}`, msg))(w, r)
		}
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		code   forge.Code
		until  time.Duration // 0: no pause asked for
	}{
		"401":               {say(401, `{"message":"Bad credentials"}`), forge.Unauthorized, 0},
		"403":               {say(403, `{"message":"Resource not accessible by integration"}`), forge.Forbidden, 0},
		"404":               {say(404, `{"message":"Not Found"}`), forge.NotFound, 0},
		"410":               {say(410, `{"message":"Gone"}`), forge.NotFound, 0},
		"409":               {say(409, `{"message":"Head branch was modified"}`), forge.Conflict, 0},
		"405":               {say(405, `{"message":"Pull Request is not mergeable"}`), forge.Conflict, 0},
		"422":               {say(422, `{"message":"Validation Failed","errors":[{"resource":"X","field":"body","code":"too_long"}]}`), forge.Invalid, 0},
		"400":               {say(400, `{"message":"Problems parsing JSON"}`), forge.Invalid, 0},
		"500":               {say(500, `oops`), forge.Unavailable, 0},
		"502 in HTML":       {say(502, `<html>bad gateway`), forge.Unavailable, 0},
		"200 with no JSON":  {say(200, `<html>`), forge.Unavailable, 0},
		"429":               {limit(429, nil, "slow down"), forge.RateLimited, time.Minute},
		"429 Retry-After":   {limit(429, map[string]string{"Retry-After": "30"}, "slow"), forge.RateLimited, 30 * time.Second},
		"403 primary limit": {limit(403, map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": fmt.Sprint(reset.Unix())}, "API rate limit exceeded"), forge.RateLimited, time.Until(reset)},
		"403 secondary":     {limit(403, map[string]string{"Retry-After": "45"}, "You have exceeded a secondary rate limit"), forge.RateLimited, 45 * time.Second},
		"403 by words only": {limit(403, nil, "You have exceeded a secondary rate limit"), forge.RateLimited, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			f := withToken(t, c.answer)
			_, err := f.Pull(t.Context(), shop, 3)
			if got := forge.CodeOf(err); got != c.code {
				t.Fatalf("code = %q, want %q (%v)", got, c.code, err)
			}
			if !strings.Contains(err.Error(), "read pull acme/shop#3") || strings.Contains(err.Error(), secret) {
				t.Errorf("error must name the operation and no credential: %v", err)
			}
			var e *forge.Error
			errors.As(err, &e)
			if c.until == 0 != e.RetryAfter.IsZero() {
				t.Fatalf("RetryAfter = %v", e.RetryAfter)
			}
			if off := time.Until(e.RetryAfter) - c.until; c.until != 0 && (off > 0 || off < -20*time.Second) {
				t.Errorf("RetryAfter is off by %v", off)
			}
		})
	}
}

func TestNoCallIsMadeWhileTheLimitLasts(t *testing.T) {
	f := withToken(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-RateLimit-Limit", "60")
		w.Header().Set("X-RateLimit-Remaining", "0")
		w.Header().Set("X-RateLimit-Reset", fmt.Sprint(time.Now().Add(time.Hour).Unix()))
		say(403, `{"message":"API rate limit exceeded"}`)(w, r)
	}))
	for range 3 {
		if _, err := f.Pull(t.Context(), shop, 3); forge.CodeOf(err) != forge.RateLimited {
			t.Fatal(err)
		}
	}
	if n := calls(f); n != 1 {
		t.Errorf("%d calls went out, want 1", n)
	}
}

// cut closes connections without an answer; with some set, after half of one.
func cut(t *testing.T, n int, then http.Handler, half bool) (http.Handler, *atomic.Int32) {
	seen := new(atomic.Int32)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if int(seen.Add(1)) > n {
			then.ServeHTTP(w, r)
			return
		}
		if half {
			w.Header().Set("Content-Length", "1000")
			fmt.Fprint(w, `{"number":`)
			return
		}
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		conn.Close()
	}), seen
}

const pull3 = `{"number":3,"state":"open","base":{"ref":"main","sha":"` + shaBase + `","repo":{"id":7}},"head":{"ref":"x","sha":"` + shaHead + `","repo":null}}`

func TestCutReadIsRepeatedTwice(t *testing.T) {
	for _, half := range []bool{false, true} {
		h, seen := cut(t, 2, say(200, pull3), half)
		p, err := withToken(t, h).Pull(t.Context(), shop, 3)
		if err != nil || p.Number != 3 || seen.Load() != 3 {
			t.Errorf("half=%v: pull %d after %d calls, error %v", half, p.Number, seen.Load(), err)
		}
		h, seen = cut(t, 9, say(200, pull3), half)
		_, err = withToken(t, h).Pull(t.Context(), shop, 3)
		if forge.CodeOf(err) != forge.Unavailable || seen.Load() != 3 {
			t.Errorf("half=%v: %d calls, error %v", half, seen.Load(), err)
		}
	}
}

func TestCutWriteIsNeverRepeated(t *testing.T) {
	h, seen := cut(t, 9, say(201, `{}`), false)
	_, err := withToken(t, h).CreateComment(t.Context(), shop, 3, "hello")
	var e *forge.Error
	if !errors.As(err, &e) || e.Code != forge.Unavailable || e.Unsent || seen.Load() != 1 {
		t.Errorf("%d calls, error %#v", seen.Load(), err)
	}
}

func TestRefusedConnectionSentNothing(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	f, err := New(t.Context(), Config{APIURL: s.URL, Token: secret})
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.CreateComment(t.Context(), shop, 3, "hello")
	var e *forge.Error
	if !errors.As(err, &e) || e.Code != forge.Unavailable || !e.Unsent {
		t.Errorf("error %#v", err)
	}
}

func TestCancelledCallSaysSo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := withToken(t, answers{}).Pull(ctx, shop, 3)
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestUnchangedAnswerComesFromTheCache(t *testing.T) {
	var asked []string
	f := withToken(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Header.Get("If-None-Match"))
		w.Header().Set("ETag", `"v1"`)
		if r.Header.Get("If-None-Match") == `"v1"` {
			w.WriteHeader(304)
			return
		}
		say(200, pull3)(w, r)
	}))
	for range 2 {
		if p, err := f.Pull(t.Context(), shop, 3); err != nil || p.Head.SHA != shaHead {
			t.Fatal(p, err)
		}
	}
	if len(asked) != 2 || asked[0] != "" || asked[1] != `"v1"` {
		t.Errorf("conditions sent: %q", asked)
	}
}

// Paging has to go on from a cached page: its links are part of the answer.
func TestCachedPageStillLinksToTheNext(t *testing.T) {
	var s *httptest.Server
	s = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"p`+r.URL.Query().Get("page")+`"`)
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(304)
			return
		}
		if r.URL.Query().Get("page") == "1" {
			w.Header().Set("Link", fmt.Sprintf(`<%s%s?page=2>; rel="next"`, s.URL, r.URL.Path))
		}
		say(200, `[{"id":`+r.URL.Query().Get("page")+`}]`)(w, r)
	}))
	f, err := New(t.Context(), Config{APIURL: s.URL, Token: secret})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got, err := f.Comments(t.Context(), shop, 3); err != nil || len(got) != 2 {
			t.Fatalf("%d comments, error %v", len(got), err)
		}
	}
}

// Threat 8: a redirect must not carry the credential to another host.
func TestCredentialStaysWithTheForge(t *testing.T) {
	leaked := false
	other := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { leaked = true }))
	f := withToken(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusMovedPermanently)
	}))
	_, err := f.Pull(t.Context(), shop, 3)
	if err == nil || leaked || strings.Contains(err.Error(), secret) {
		t.Errorf("leaked=%v, error %v", leaked, err)
	}
}

func TestRenamedRepositoryIsReadByItsRedirectAndWrittenUnderItsNewName(t *testing.T) {
	moved := func(w http.ResponseWriter, r *http.Request) {
		status := http.StatusMovedPermanently
		if r.Method != http.MethodGet {
			status = http.StatusTemporaryRedirect
		}
		http.Redirect(w, r, strings.Replace(r.URL.Path, "/repos/acme/shop", "/repositories/7", 1), status)
	}
	wrote := map[string]bool{}
	write := func(w http.ResponseWriter, r *http.Request) {
		wrote[r.URL.Path] = true
		say(201, `{"id":1}`)(w, r)
	}
	srv := answers{
		"GET /repos/acme/shop/pulls/3":                 moved,
		"GET /repositories/7/pulls/3":                  say(200, pull3),
		"POST /repos/acme/shop/issues/3/comments":      moved,
		"GET /repositories/7":                          say(200, `{"id":7,"name":"store","owner":{"login":"umbrella"}}`),
		"POST /repositories/7/issues/3/comments":       write,
		"POST /repos/umbrella/store/issues/3/comments": write,
	}
	f := withToken(t, srv)
	// Not "not found": what it would write to still exists.
	_, err := f.CreateComment(t.Context(), shop, 3, "x")
	var e *forge.Error
	if !errors.As(err, &e) || e.Code != forge.Unavailable || !e.Unsent || len(wrote) > 0 {
		t.Errorf("wrote %v, error %v", wrote, err)
	}
	if _, err := f.CreateComment(t.Context(), shop, 3, "x"); err != nil || !wrote["/repos/umbrella/store/issues/3/comments"] || len(wrote) != 1 {
		t.Errorf("wrote %v, error %v", wrote, err)
	}
	f = withToken(t, srv)
	if _, err := f.Pull(t.Context(), shop, 3); err != nil {
		t.Error(err)
	}
	if _, err := f.CreateComment(t.Context(), shop, 3, "x"); err != nil {
		t.Errorf("a read that was redirected teaches the name: %v", err)
	}
}

// Threat 26, for repositories: a name can be given up and taken.
func TestTakenOverNameIsNotOurRepository(t *testing.T) {
	f := withToken(t, say(200, strings.Replace(pull3, `"id":7`, `"id":8`, 1)))
	if _, err := f.Pull(t.Context(), shop, 3); forge.CodeOf(err) != forge.NotFound {
		t.Error(err)
	}
}

func TestNamesCannotReachIntoOtherPaths(t *testing.T) {
	f := withToken(t, say(200, `{}`))
	for _, bad := range []string{"", ".", "..", "a/b", "a?b", "a#b", "a b", "ä", "a%2fb"} {
		if _, err := f.Pull(t.Context(), forge.RepoRef{Owner: "acme", Name: bad}, 1); forge.CodeOf(err) != forge.Invalid {
			t.Errorf("name %q: %v", bad, err)
		}
		if _, err := f.TeamMembers(t.Context(), shop, forge.Team{Org: bad, Slug: "x"}); forge.CodeOf(err) != forge.Invalid {
			t.Errorf("org %q: %v", bad, err)
		}
		if p, err := f.Permission(t.Context(), shop, forge.User{ID: 1, Login: bad}); p != forge.None || err != nil && bad != "." && bad != ".." {
			t.Errorf("login %q: %v %v", bad, p, err)
		}
	}
}
