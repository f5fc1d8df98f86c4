package wire

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"lockkeeper/forge"
)

func TestCacheStaysSmall(t *testing.T) {
	var c etagCache
	body := make([]byte, cacheBytes/10)
	for i := range 100 {
		c.keep(&cached{key: fmt.Sprint(i), body: body})
	}
	if len(c.entries) != 10 || c.order.Len() != 10 || c.size > cacheBytes {
		t.Errorf("%d entries, %d in order, %d bytes", len(c.entries), c.order.Len(), c.size)
	}
}

func TestCountersCarryNoNames(t *testing.T) {
	api, err := url.Parse("https://ghe.example/api/v3/")
	if err != nil {
		t.Fatal(err)
	}
	w := New(Config{Hosts: []*url.URL{api}, Names: map[string]int{"repos": 2, "orgs": 1, "teams": 1, "branches": 1, "apps": 1}})
	for path, want := range map[string]string{
		"/api/v3/repos/acme/shop/pulls/7":                                           "/repos/{name}/{name}/pulls/{id}",
		"/api/v3/repos/pulls/issues/commits/" + strings.Repeat("2", 40) + "/status": "/repos/{name}/{name}/commits/{sha}/status",
		"/api/v3/orgs/acme/teams/ops/members":                                       "/orgs/{name}/teams/{name}/members",
		"/api/v3/repos/a/b/rules/branches/feature%2Fx":                              "/repos/{name}/{name}/rules/branches/{name}",
		"/api/v3/apps/some-ci":                                                      "/apps/{name}",
		"/api/graphql":                                                              "/api/graphql",
	} {
		u, err := url.Parse("https://ghe.example" + path)
		if err != nil {
			t.Fatal(err)
		}
		if got := w.route(u); got != want {
			t.Errorf("route(%s) = %s, want %s", path, got, want)
		}
	}
}

// answering is a forge that gives one answer to everything.
func answering(t *testing.T, status int, kind, body string) *url.URL {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	t.Cleanup(srv.Close)
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func ask(t *testing.T, w *Wire, method string, u *url.URL) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, u.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := w.Client(w.Refused(w.Budget("one").Over(w))).Do(req)
	if err == nil {
		t.Cleanup(func() { resp.Body.Close() })
	}
	return resp, err
}

func TestRefusalCarriesTheForgesWords(t *testing.T) {
	for _, c := range []struct {
		status     int
		kind, body string
		code       forge.Code
		want       string
	}{
		{404, "application/json", `{"message":"404 Project Not Found"}`, forge.NotFound, "404 Project Not Found"},
		{401, "application/json", `{"error":"invalid_token","error_description":"Token was revoked."}`, forge.Unauthorized, "invalid_token; Token was revoked."},
		{400, "application/json", `{"message":{"base":["is taken"],"note":["can't be blank","is short"]}}`, forge.Invalid, "base: is taken; note: can't be blank, is short"},
		{422, "application/json", `{"message":"Invalid","errors":["no head",{"message":"no base"}],"url":"http://x"}`, forge.Invalid, "Invalid; no head, no base"},
		{409, "text/plain; charset=utf-8", "merge in progress\nmore", forge.Conflict, "merge in progress"},
		{405, "text/html", "<html>", forge.Conflict, "Method Not Allowed"},
		{500, "application/json", `{"message":"oops"}`, forge.Unavailable, "oops"},
		{429, "text/plain", "Retry later\n", forge.RateLimited, "Retry later"},
	} {
		u := answering(t, c.status, c.kind, c.body)
		_, err := ask(t, New(Config{Hosts: []*url.URL{u}}), http.MethodPost, u)
		var e *forge.Error
		if err = Fail("try it", err); !errors.As(err, &e) {
			t.Fatal(err)
		}
		if e.Op != "try it" || e.Code != c.code || e.Status != c.status || e.Message != c.want || e.Unsent != (c.status < 500) {
			t.Errorf("%d %s: %+v", c.status, c.body, e)
		}
	}
}

// A write that is redirected had no effect, and is not taken for a success.
func TestRedirectedWriteIsAnError(t *testing.T) {
	u := answering(t, http.StatusMovedPermanently, "application/json", `{}`)
	_, err := ask(t, New(Config{Hosts: []*url.URL{u}}), http.MethodPut, u)
	if code := forge.CodeOf(Fail("x", err)); code != forge.Unavailable {
		t.Errorf("%s: %v", code, err)
	}
}

// Threat 8: a forge that points elsewhere does not get our credential sent there.
func TestNoOtherHostIsSpokenTo(t *testing.T) {
	other := answering(t, 200, "application/json", `{}`)
	srv := httptest.NewServer(http.RedirectHandler(other.String(), http.StatusFound))
	t.Cleanup(srv.Close)
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	w := New(Config{Hosts: []*url.URL{u}})
	if _, err := ask(t, w, http.MethodGet, u); err == nil || !strings.Contains(err.Error(), "refused to send credentials to "+other.Host) {
		t.Errorf("error %v", err)
	}
	if n := w.Counts()["GET /"]; n != 1 {
		t.Errorf("calls %v", w.Counts())
	}
}

func TestOnlyATerseForgeMayAnswerNothing(t *testing.T) {
	for _, c := range []struct {
		method, kind, body string
		terse, strict      bool
	}{
		{http.MethodGet, "application/json", `null`, true, false},
		{http.MethodPost, "application/json", ``, true, false},
		{http.MethodPost, "text/plain", ``, true, false},
		{http.MethodGet, "text/plain", ``, true, false}, // an empty file
		{http.MethodPost, "application/json", `{"a":`, false, false},
		{http.MethodPost, "application/json", `{"a":1}`, true, true},
	} {
		u := answering(t, 200, c.kind, c.body)
		for terse, want := range map[bool]bool{true: c.terse, false: c.strict} {
			w := New(Config{Hosts: []*url.URL{u}, Terse: terse})
			w.failed.Store(downAfter) // nothing is repeated
			_, err := ask(t, w, c.method, u)
			if (err == nil) != want {
				t.Errorf("%s %s %q, terse %v: %v", c.method, c.kind, c.body, terse, err)
			}
		}
	}
}

// GitLab's window is a minute long, and its headers are called otherwise than
// GitHub's. A small one is halved between people and the rest.
func TestLimitsGoByTheHeadersOfTheForge(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	asked := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		w.Header().Set("RateLimit-Limit", "10")
		w.Header().Set("RateLimit-Remaining", fmt.Sprint(10-asked))
		w.Header().Set("RateLimit-Reset", fmt.Sprint(now.Add(time.Minute).Unix()))
		fmt.Fprint(w, "{}")
	}))
	t.Cleanup(srv.Close)
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	w := New(Config{Hosts: []*url.URL{u}, Now: func() time.Time { return now },
		Limits: Headers{Limit: "RateLimit-Limit", Remaining: "RateLimit-Remaining", Reset: "RateLimit-Reset"}})
	background := forge.Background(t.Context())
	get := func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := w.Client(w.Budget("one").Over(w)).Do(req)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	for range 5 {
		if err := get(background); err != nil {
			t.Fatal(err)
		}
	}
	if err := get(background); forge.CodeOf(err) != forge.RateLimited || asked != 5 {
		t.Errorf("after %d calls: %v", asked, err)
	}
	for range 5 {
		if err := get(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := get(t.Context()); forge.CodeOf(err) != forge.RateLimited || asked != 10 {
		t.Errorf("after %d calls: %v", asked, err)
	}
}
