package github

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lockkeeper/forge"
)

// enterprise is an Enterprise Server, over HTTPS with a certificate that only its
// owner's authority vouches for. What is asked elsewhere than below /api/v3/ and
// at /api/graphql ends up in strays.
type enterprise struct {
	*httptest.Server
	mu     sync.Mutex
	asked  []string
	strays []string
}

func newEnterprise(t *testing.T, api http.Handler) *enterprise {
	t.Helper()
	e := &enterprise{}
	e.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		rest, ok := strings.CutPrefix(r.URL.Path, "/api/v3/")
		switch {
		case r.URL.Path == "/api/graphql":
			rest, ok = "graphql", true
		case !ok:
			e.strays = append(e.strays, r.URL.Path)
		}
		e.asked = append(e.asked, r.Method+" /"+rest)
		e.mu.Unlock()
		r.URL.Path, r.URL.RawPath = "/"+rest, ""
		api.ServeHTTP(w, r)
	}))
	e.Config.ErrorLog = log.New(io.Discard, "", 0) // of clients that do not trust it
	e.StartTLS()
	t.Cleanup(e.Close)
	return e
}

func (e *enterprise) driver(t *testing.T, cfg Config) *Forge {
	t.Helper()
	cfg.APIURL, cfg.HTTPClient = e.URL+"/api/v3", e.Client()
	f, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// An App writes check runs and a token commit statuses, as on github.com, and
// all of it goes to the server: its REST, its GraphQL, its Git.
func TestEnterpriseServerIsAskedAtItsOwnAddresses(t *testing.T) {
	app := newAppForge()
	written := ""
	write := func(what string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			written = what
			say(201, `{"id":7}`)(w, r)
		}
	}
	for route, h := range map[string]http.HandlerFunc{
		"POST /repos/acme/shop/check-runs":                        write("check run"),
		"GET /repos/acme/shop/commits/" + shaHead + "/check-runs": say(200, `{"total_count":0,"check_runs":[]}`),
		"POST /repos/acme/shop/statuses/" + shaHead:               write("status"),
		"POST /graphql":       say(200, `{"data":{"repository":{"id":"R","databaseId":7,"ref":null}}}`),
		"GET /repositories/7": say(200, `{"id":7,"name":"shop","clone_url":"https://ghe.example.com/acme/shop.git","owner":{"login":"acme"}}`),
		"GET /user":           say(200, `{"id":9,"login":"robot","type":"User"}`),
	} {
		app.answers[route] = h
	}
	for want, cfg := range map[string]Config{"check run": {AppID: 42, PrivateKey: appKey()}, "status": {Token: secret}} {
		e := newEnterprise(t, app)
		f := e.driver(t, cfg)
		if _, err := f.Self(t.Context()); err != nil {
			t.Fatalf("%s: %v", want, err)
		}
		if f.Limits().HasChecks != (cfg.AppID != 0) {
			t.Errorf("%s: limits %+v", want, f.Limits())
		}
		if _, err := f.SetCheck(t.Context(), shop, forge.Check{Name: "lockkeeper", SHA: shaHead, State: forge.Success, Title: "t"}); err != nil || written != want {
			t.Errorf("wrote a %s, want a %s: %v", written, want, err)
		}
		if err := f.DeleteBranch(t.Context(), shop, "gone", shaHead); err != nil {
			t.Errorf("by GraphQL: %v", err)
		}
		if auth, err := f.GitAuth(t.Context(), shop); err != nil || auth == "" {
			t.Errorf("%s: a credential for Git: %v", want, err)
		}
		e.mu.Lock()
		if len(e.strays) > 0 || !slices.Contains(e.asked, "POST /graphql") {
			t.Errorf("%s: strays %v; asked %v", want, e.strays, e.asked)
		}
		e.mu.Unlock()
		for route := range f.Calls() {
			if strings.Contains(route, "v3") {
				t.Errorf("counted under %s", route)
			}
		}
	}
}

func TestUnknownAuthorityIsNamedAndNothingIsSent(t *testing.T) {
	e := newEnterprise(t, answers{})
	f, err := New(t.Context(), Config{APIURL: e.URL + "/api/v3", Token: secret})
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Self(t.Context())
	if forge.CodeOf(err) != forge.Unavailable || !strings.Contains(err.Error(), "certificate") || len(e.asked) > 0 {
		t.Errorf("asked %v: %v", e.asked, err)
	}
}

// What an older release does not have is not told; it is no failure.
func TestOlderEnterpriseServerDoesNotTell(t *testing.T) {
	app := newAppForge()
	unknown := say(200, `{"errors":[{"message":"Field 'refUpdateRule' doesn't exist on type 'Ref'","extensions":{"code":"undefinedField","typeName":"Ref","fieldName":"refUpdateRule"}}]}`)
	app.answers = blocked(app.answers)
	app.answers["POST /graphql"] = unknown
	app.answers["GET /repos/acme/shop/rules/branches/main"] = nil // rulesets came with 3.11
	f := newEnterprise(t, app).driver(t, Config{AppID: 42, PrivateKey: appKey()})

	p := forge.Pull{Number: 3, State: forge.Open, Mergeable: new(bool), MergeState: "blocked", Base: forge.Branch{Name: "main", SHA: shaBase, RepoID: 7}, Head: forge.Branch{Name: "x", SHA: shaHead, RepoID: 7}}
	*p.Mergeable = true
	if list, ok, err := f.Pushes(t.Context(), shop, p); ok || err != nil || list != nil {
		t.Errorf("pushes to a head: %v, %v, %v", list, ok, err)
	}
	if list, ok, err := f.BranchPushes(t.Context(), shop, "main", time.Time{}); ok || err != nil || list != nil {
		t.Errorf("pushes to a branch: %v, %v, %v", list, ok, err)
	}
	if list, ok, err := f.FailedDeliveries(t.Context(), time.Time{}); ok || err != nil || list != nil {
		t.Errorf("deliveries: %v, %v, %v", list, ok, err)
	}
	why, err := f.MergeBlockers(t.Context(), shop, p, "lockkeeper")
	if err != nil || !strings.Contains(fmt.Sprint(why), "this release of GitHub does not tell the state of the reviews") {
		t.Errorf("blockers %v, %v", why, err)
	}
}
