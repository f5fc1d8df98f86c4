package gitlab

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"lockkeeper/forge"
)

// Threat 8.
func TestConfigNeverShowsTheToken(t *testing.T) {
	c := Config{URL: "https://git.example.com/lab", Token: secret}
	var logged strings.Builder
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "config", c)
	for _, s := range []string{c.String(), fmt.Sprint(c), fmt.Sprintf("%+v %#v", c, c), logged.String()} {
		if strings.Contains(s, "topsecret") || !strings.Contains(s, "git.example.com/lab") {
			t.Errorf("%s", s)
		}
	}
}

func TestAddressesThatWouldLeakOrCannotBeMeantAreRefused(t *testing.T) {
	for url, good := range map[string]bool{
		"": true, "https://gitlab.example.com": true, "https://example.com/git/lab/": true, "http://127.0.0.1:3000": true, "http://localhost/x": true,
		"http://gitlab.example.com": false, "https://user:pass@gitlab.example.com": false, "gitlab.example.com": false, "https://": false,
		"https://gitlab.example.com?x=1": false, "https://gitlab.example.com/api/v4": false, "ftp://example.com": false, "https://a b": false,
	} {
		_, err := New(t.Context(), Config{URL: url, Token: secret})
		if (err == nil) != good {
			t.Errorf("%q: %v", url, err)
		}
	}
	for _, token := range []string{"", "two words", "line\n", "ü"} {
		if _, err := New(t.Context(), Config{Token: token}); err == nil || token != "" && strings.Contains(err.Error(), token) {
			t.Errorf("token %q: %v", token, err)
		}
	}
}

func TestSelfManagedUnderASubPathWithAnAuthorityOfItsOwn(t *testing.T) {
	var got http.Header
	s := httptest.NewUnstartedServer(answers{"GET /projects/7": func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		ok(`{"id":7,"path_with_namespace":"acme/web/shop","default_branch":"main","http_url_to_repo":"http://elsewhere/acme/web/shop.git","web_url":"https://x/acme/web/shop"}`)(w, r)
	}})
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // it tells of the client that does not trust it
	s.StartTLS()
	defer s.Close()
	f, err := New(t.Context(), Config{URL: s.URL + "/git/lab", Token: secret, HTTPClient: s.Client(), UserAgent: "lockkeeper/1"})
	if err != nil {
		t.Fatal(err)
	}
	r, err := f.Repo(t.Context(), shop)
	if err != nil || r.Owner != "acme/web" || r.Name != "shop" || r.Archived || r.CloneURL != s.URL+"/git/lab/acme/web/shop.git" {
		t.Errorf("%+v, %v", r, err)
	}
	if got.Get("PRIVATE-TOKEN") != secret || got.Get("User-Agent") != "lockkeeper/1" {
		t.Errorf("headers %v", got)
	}
	if _, err := f.Self(t.Context()); err != nil {
		t.Errorf("GraphQL or REST under the sub-path: %v", err)
	}
	auth, _ := f.GitAuth(t.Context(), shop)
	if want := "Basic " + base64.StdEncoding.EncodeToString([]byte("oauth2:"+secret)); auth != want {
		t.Errorf("Git authorization %q", auth)
	}
	if f.Calls()["GET /projects/{name}"] != 1 && f.Calls()["GET /projects/{id}"] != 1 {
		t.Errorf("calls %v", f.Calls())
	}
	stranger, err := New(t.Context(), Config{URL: s.URL + "/git/lab", Token: secret})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err = stranger.Repo(ctx, shop)
	wantCode(t, "a certificate of nobody known", err, forge.Unavailable)
}

// Threat 26: an ID finds a project wherever it went; a name may be another's.
func TestProjectsAreFoundByTheirNumber(t *testing.T) {
	f := driver(t, answers{
		"GET /projects/7": ok(`{"id":7,"path_with_namespace":"new/home/store","archived":true}`),
		"GET /projects/8": ok(`{"id":9,"path_with_namespace":"some/other"}`),
		"GET /projects/9": ok(`{"id":9,"path_with_namespace":"going/away","marked_for_deletion_on":"2026-01-01"}`),
		// The router of the standard library shows the name unescaped.
		"GET /projects/acme/web/shop": ok(`{"id":7,"path_with_namespace":"new/home/store"}`),
	})
	r, err := f.Repo(t.Context(), shop)
	if err != nil || r.String() != "new/home/store" || r.ID != 7 || !r.Archived {
		t.Errorf("renamed, moved and archived: %+v, %v", r, err)
	}
	if r, err = f.Repo(t.Context(), forge.RepoRef{ID: 9}); err != nil || !r.Archived {
		t.Errorf("marked for deletion: %+v, %v", r, err)
	}
	_, err = f.Repo(t.Context(), forge.RepoRef{ID: 8})
	wantCode(t, "an answer about another project", err, forge.Unavailable)
	if r, err = f.Repo(t.Context(), forge.RepoRef{Owner: "acme/web", Name: "shop"}); err != nil || r.ID != 7 {
		t.Errorf("by name: %+v, %v", r, err)
	}
	for _, bad := range []forge.RepoRef{{Name: "7"}, {Owner: "acme"}, {Owner: "a?b", Name: "c"}, {Owner: "..", Name: "x y"}} {
		_, err = f.Repo(t.Context(), bad)
		wantCode(t, bad.String(), err, forge.Invalid)
	}
}

func TestATokenIsReplacedWhileRunning(t *testing.T) {
	who := map[string]int{"one": 99, "two": 99, "other": 98}
	var used string
	f := driver(t, answers{"GET /user": func(w http.ResponseWriter, r *http.Request) {
		used = r.Header.Get("PRIVATE-TOKEN")
		ok(fmt.Sprintf(`{"id":%d,"username":"bot%d","bot":true,"email":"x@example.com"}`, who[used], who[used]))(w, r)
	}})
	for _, token := range []string{"one", "two"} {
		if err := f.Rotate(Config{Token: token}); err != nil {
			t.Fatal(err)
		}
		me, err := f.Self(t.Context())
		if err != nil || me != (forge.User{ID: 99, Login: "bot99", Type: forge.Bot}) || used != token {
			t.Errorf("%s: %+v, %v, used %q", token, me, err, used)
		}
	}
	if err := f.Rotate(Config{}); err == nil {
		t.Error("an empty token is taken up")
	}
	if err := f.Rotate(Config{Token: "other"}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Self(t.Context()); forge.CodeOf(err) != forge.Unauthorized || !strings.Contains(err.Error(), "another account") {
		t.Errorf("another account's token: %v", err)
	}
}

func TestRateLimitsAreKept(t *testing.T) {
	reset := time.Now().Add(time.Minute).Truncate(time.Second)
	n := 0
	f := driver(t, answers{"GET /projects/7": func(w http.ResponseWriter, r *http.Request) {
		n++
		if n > 1 {
			w.Header().Set("Retry-After", "30")
			say(429, `{"message":"Too many requests"}`)(w, r)
			return
		}
		w.Header().Set("RateLimit-Limit", "2000")
		w.Header().Set("RateLimit-Remaining", "1999")
		w.Header().Set("RateLimit-Reset", fmt.Sprint(reset.Unix()))
		ok(`{"id":7,"path_with_namespace":"acme/shop"}`)(w, r)
	}})
	if _, err := f.Repo(t.Context(), shop); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second one is not even sent
		_, err := f.Repo(t.Context(), shop)
		var fe *forge.Error
		if !errors.As(err, &fe) || fe.Code != forge.RateLimited || time.Until(fe.RetryAfter) < 20*time.Second || strings.Contains(err.Error(), "topsecret") {
			t.Errorf("limited: %v", err)
		}
	}
	if n != 2 {
		t.Errorf("%d requests", n)
	}
}
