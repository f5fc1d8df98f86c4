package github

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"lockkeeper/forge"
)

// appForge answers as GitHub does to an App installed on repository 7, and
// remembers what tokens were asked for.
type appForge struct {
	answers
	mu      sync.Mutex
	minted  []map[string]any
	granted string
	revoked bool
}

func newAppForge() *appForge {
	a := &appForge{granted: `{"checks":"write","contents":"write","issues":"write","metadata":"read","pull_requests":"write","statuses":"write","actions":"write","administration":"write"}`}
	a.answers = answers{
		"GET /repos/acme/shop/installation": func(w http.ResponseWriter, r *http.Request) {
			say(200, `{"id":99,"permissions":`+a.granted+`}`)(w, r)
		},
		"POST /app/installations/99/access_tokens": a.mint,
		"GET /repos/acme/shop/pulls/3":             a.pull,
		"GET /app":                                 say(200, `{"id":42,"slug":"keeper"}`),
		"GET /app/installations":                   say(200, `[{"id":99}]`),
		"GET /users/keeper[bot]":                   say(200, `{"id":4242,"login":"keeper[bot]","type":"Bot"}`),
	}
	return a
}

func (a *appForge) mint(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ey") {
		say(401, `{"message":"A JSON web token could not be decoded"}`)(w, r)
		return
	}
	var ask map[string]any
	if err := json.NewDecoder(r.Body).Decode(&ask); err != nil {
		say(400, err.Error())(w, r)
		return
	}
	a.minted = append(a.minted, ask)
	say(201, fmt.Sprintf(`{"token":"ghs_%d","expires_at":%q}`, len(a.minted), time.Now().Add(time.Hour).Format(time.RFC3339)))(w, r)
}

func (a *appForge) pull(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.revoked || r.Header.Get("Authorization") != fmt.Sprintf("token ghs_%d", len(a.minted)) {
		a.revoked = false
		say(401, `{"message":"Bad credentials"}`)(w, r)
		return
	}
	say(200, pull3)(w, r)
}

// Threat 19: a token reaches one repository, with what we use and no more.
func TestTokenIsNoWiderThanTheJob(t *testing.T) {
	srv := newAppForge()
	f := withApp(t, srv)
	if _, err := f.Pull(t.Context(), shop, 3); err != nil {
		t.Fatal(err)
	}
	want := `{"permissions":{"checks":"write","contents":"write","issues":"write","metadata":"read","pull_requests":"write","statuses":"read"},"repository_ids":[7]}`
	if got := asJSON(t, srv.minted[0]); got != want {
		t.Errorf("asked for %s\nwant      %s", got, want)
	}
}

func TestTokenIsSharedUntilItExpires(t *testing.T) {
	srv := newAppForge()
	f := withApp(t, srv)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := f.Pull(t.Context(), shop, 3); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got := f.Calls()
	if got["GET /repos/{name}/{name}/installation"] != 1 || got["POST /app/installations/{id}/access_tokens"] != 1 {
		t.Errorf("calls: %v", got)
	}
}

func TestReinstalledAppRecovers(t *testing.T) {
	srv := newAppForge()
	f := withApp(t, srv)
	if _, err := f.Pull(t.Context(), shop, 3); err != nil {
		t.Fatal(err)
	}
	srv.revoked = true
	if _, err := f.Pull(t.Context(), shop, 3); forge.CodeOf(err) != forge.Unauthorized {
		t.Fatalf("error %v", err)
	}
	if _, err := f.Pull(t.Context(), shop, 3); err != nil {
		t.Error(err)
	}
}

func TestRefusedTokenSaysWhy(t *testing.T) {
	srv := newAppForge()
	srv.answers["POST /app/installations/99/access_tokens"] = say(403, `{"message":"This installation has been suspended"}`)
	_, err := withApp(t, srv).Pull(t.Context(), shop, 3)
	if forge.CodeOf(err) != forge.Forbidden || !strings.Contains(err.Error(), "has been suspended") {
		t.Error(err)
	}
}

func TestRepositoryWithoutTheAppIsNotFound(t *testing.T) {
	_, err := withApp(t, answers{}).GitAuth(t.Context(), shop)
	if forge.CodeOf(err) != forge.NotFound {
		t.Error(err)
	}
}

func TestGitAuthIsBasic(t *testing.T) {
	srv := newAppForge()
	for name, c := range map[string]struct {
		f    *Forge
		want string
	}{
		"app":   {withApp(t, srv), "x-access-token:ghs_1"},
		"token": {withToken(t, answers{}), "x-access-token:" + secret},
	} {
		got, err := c.f.GitAuth(t.Context(), shop)
		if want := "Basic " + base64.StdEncoding.EncodeToString([]byte(c.want)); err != nil || got != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestAppKnowsItself(t *testing.T) {
	f := withApp(t, newAppForge())
	for range 2 {
		u, err := f.Self(t.Context())
		if err != nil || u != (forge.User{ID: 4242, Login: "keeper[bot]", Type: forge.Bot}) {
			t.Fatalf("%+v, %v", u, err)
		}
	}
	if n := f.Calls()["GET /app"]; n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestBadConfigIsRefused(t *testing.T) {
	for name, c := range map[string]Config{
		"no credentials":     {},
		"both credentials":   {AppID: 1, PrivateKey: appKey(), Token: secret},
		"key that is no key": {AppID: 1, PrivateKey: []byte("-----BEGIN " + secret)},
		"plain http":         {APIURL: "http://github.example/api/v3", Token: secret},
		"no host":            {APIURL: "https:///api", Token: secret},
		"user in URL":        {APIURL: "https://me:" + secret + "@github.example", Token: secret},
		"other scheme":       {APIURL: "ftp://github.example", Token: secret},
		"plain GraphQL":      {GraphQLURL: "http://github.example/graphql", Token: secret},
	} {
		if _, err := New(t.Context(), c); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestGraphQLAddressFollowsTheAPI(t *testing.T) {
	for api, want := range map[string]string{
		"":                              "https://api.github.com/graphql",
		"https://ghe.example/api/v3":    "https://ghe.example/api/graphql",
		"https://ghe.example/api/v3/":   "https://ghe.example/api/graphql",
		"https://api.tenant.ghe.com":    "https://api.tenant.ghe.com/graphql",
		"http://127.0.0.1:1234":         "http://127.0.0.1:1234/graphql",
		"http://[::1]:1234/some/prefix": "http://[::1]:1234/some/prefix/graphql",
	} {
		f, err := New(t.Context(), Config{APIURL: api, Token: secret})
		if err != nil || f.graphQL.String() != want {
			t.Errorf("%q: %v, %v", api, f, err)
		}
	}
}

// Threat 8: whatever prints a configuration prints no credential.
func TestPrintedConfigHidesCredentials(t *testing.T) {
	c := Config{Token: secret, AppID: 1, PrivateKey: []byte(secret)}
	a := AppCredentials{AppID: 1, PrivateKey: []byte(secret), WebhookSecret: []byte(secret), ClientSecret: secret}
	var out bytes.Buffer
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "config", c)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		fmt.Fprintf(&out, verb+" "+verb+" ", c, a)
	}
	text, _ := io.ReadAll(&out)
	if bytes.Contains(text, []byte(secret)) || bytes.Contains(text, []byte("116 111 112")) {
		t.Error(string(text))
	}
}
