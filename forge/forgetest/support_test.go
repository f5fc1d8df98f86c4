package forgetest_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v4"

	"lockkeeper/forge/forgetest"
)

// world is the seeded look-alike that most tests use: the organisation acme
// with the repository shop, ann and bob who write, carol who owns, eve who is
// nobody, and the App lockkeeper, whose webhook arrives at received.
type world struct {
	*forgetest.Server
	t        *testing.T
	ctx      context.Context
	app      *forgetest.App
	install  int64
	mu       sync.Mutex
	received []received
}

type received struct {
	event  string
	header http.Header
	body   []byte
}

const (
	shop   = "acme/shop"
	secret = "hook secret"
)

func newWorld(t *testing.T, opt forgetest.Options) *world {
	t.Helper()
	opt.Validate = func(violation string) { t.Errorf("against GitHub's schema: %s", violation) }
	s, err := forgetest.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Server: s, t: t, ctx: t.Context()}
	for _, login := range []string{"ann", "bob", "carol", "eve"} {
		s.AddUser(login)
	}
	s.AddOrg("acme", "carol")
	s.AddTeam("acme", "platform", "", "bob")
	s.AddTeam("acme", "sre", "platform", "carol")
	if _, err := s.AddRepo(w.ctx, forgetest.NewRepo{Owner: "acme", Name: "shop", Files: map[string]string{
		"README.md": "# Shop\n", "app/config.yaml": "replicas: 1\n"}}); err != nil {
		t.Fatal(err)
	}
	s.Grant(shop, "ann", "write")
	s.Grant(shop, "bob", "write")
	hook := httptest.NewServer(http.HandlerFunc(w.receive))
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		hook.Close()
	})
	w.app = w.addApp(hook.URL)
	w.install = s.Install(w.app, "acme", shop)
	w.events()
	return w
}

func (w *world) addApp(hookURL string) *forgetest.App {
	app, err := w.AddApp("acme", "lockkeeper", map[string]string{
		"pull_requests": "write", "checks": "write", "contents": "write", "statuses": "write", "members": "read", "metadata": "read", "issues": "write",
	}, "pull_request", "issue_comment", "pull_request_review", "push", "check_run", "status", "create", "delete", "merge_group")
	if err != nil {
		w.t.Fatal(err)
	}
	w.SetWebhook(app, hookURL, secret)
	return app
}

func (w *world) receive(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // cut, because the test is over and the look-alike closed
	}
	w.mu.Lock()
	w.received = append(w.received, received{event: r.Header.Get("X-GitHub-Event"), header: r.Header, body: body})
	w.mu.Unlock()
	rw.WriteHeader(http.StatusAccepted)
}

// events flushes, and lists "event action" of what arrived since the last call.
func (w *world) events() []string {
	w.t.Helper()
	w.must(w.Flush(w.ctx))
	w.mu.Lock()
	defer w.mu.Unlock()
	var names []string
	for _, r := range w.received {
		var head struct{ Action string }
		w.must(json.Unmarshal(r.body, &head))
		name := r.event
		if head.Action != "" {
			name += " " + head.Action
		}
		names = append(names, name)
	}
	w.received = nil
	return names
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// pull pushes a change by login to branch and opens a pull into main.
func (w *world) pull(login, branch string, files map[string]string) int {
	w.t.Helper()
	u := w.As(login)
	_, err := u.Push(w.ctx, shop, branch, "main", forgetest.Commit{Message: "Change " + branch, Files: forgetest.Text(files)})
	w.must(err)
	n, err := u.OpenPull(w.ctx, shop, "main", branch, "Change "+branch, "Please.")
	w.must(err)
	return n
}

func (w *world) jwt() string {
	w.t.Helper()
	key, err := jwt.ParseRSAPrivateKeyFromPEM([]byte(w.app.Key))
	w.must(err)
	now := time.Now()
	token, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.RegisteredClaims{
		Issuer: strconv.FormatInt(w.app.ID, 10), IssuedAt: jwt.NewNumericDate(now.Add(-time.Minute)), ExpiresAt: jwt.NewNumericDate(now.Add(5 * time.Minute)),
	}).SignedString(key)
	w.must(err)
	return token
}

// bot is a client with an installation token.
func (w *world) bot() *forgetest.Client {
	w.t.Helper()
	c := w.with(w.jwt())
	var out struct{ Token string }
	w.must(c.Do(w.ctx, "POST", "/app/installations/"+strconv.FormatInt(w.install, 10)+"/access_tokens", nil, &out))
	return w.with(out.Token)
}

// with is a client with any token.
func (w *world) with(token string) *forgetest.Client {
	c := w.As("ann")
	c.Token = token
	return c
}

// status is the HTTP status of an error, 0 for none.
func status(t *testing.T, err error) int {
	t.Helper()
	if err == nil {
		return 0
	}
	var s *forgetest.StatusError
	if !asStatus(err, &s) {
		t.Fatalf("no HTTP status: %v", err)
	}
	return s.Status
}
