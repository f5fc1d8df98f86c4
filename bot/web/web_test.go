package web

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lockkeeper/bot/secret"
	"lockkeeper/bot/store"
	"lockkeeper/forge"
	"lockkeeper/forge/github"
)

const hookSecret = "a long webhook secret"

// fixture is a door over a real store, with GitHub's own verify and parse.
type fixture struct {
	store   *store.Store
	metrics *Metrics
	parsed  atomic.Int32
	log     bytes.Buffer
	config  Config
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return newFixtureOn(s)
}

func newFixtureOn(s *store.Store) *fixture {
	f := &fixture{store: s, metrics: NewMetrics()}
	f.config = Config{
		Forge:   "github",
		Secrets: []secret.Secret{hookSecret},
		Verify:  github.Verify,
		Parse: func(h http.Header, body []byte) (forge.Event, error) {
			f.parsed.Add(1)
			return github.ParseEvent(h, body)
		},
		Wants: func(e forge.Event) []string {
			if e.Pull == 0 {
				return nil
			}
			return []string{fmt.Sprintf("pull/%d/%d", e.Repo.ID, e.Pull)}
		},
		Deliver: s.AddDelivery,
		Ready:   map[string]func(context.Context) error{"store": s.Ping},
		Metrics: f.metrics,
		Logger:  slog.New(slog.NewTextHandler(&f.log, nil)),
	}
	return f
}

func (f *fixture) handler(t *testing.T) http.Handler {
	t.Helper()
	h, err := New(f.config)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

const pullBody = `{"action":"opened","number":7,"pull_request":{"number":7,"body":"private text"},
	"repository":{"id":1,"name":"shop","owner":{"login":"acme"}}}`

func sign(body, with string) string {
	mac := hmac.New(sha256.New, []byte(with))
	mac.Write([]byte(body))
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

func delivery(id, body, signature string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/webhook", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-GitHub-Event", "pull_request")
	r.Header.Set("X-GitHub-Delivery", id)
	if signature != "" {
		r.Header.Set(github.SignatureHeader, signature)
	}
	return r
}

func do(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func (f *fixture) waiting(t *testing.T) int {
	t.Helper()
	n, err := f.store.Waiting(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestSignedDeliveryIsStoredAndWanted(t *testing.T) {
	f := newFixture(t)
	h := f.handler(t)
	if w := do(h, delivery("d-1", pullBody, sign(pullBody, hookSecret))); w.Code != http.StatusAccepted {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	if n := f.waiting(t); n != 1 {
		t.Errorf("%d keys wait, want 1", n)
	}
	log := f.log.String()
	for _, want := range []string{"delivery=d-1", "event=pull_request", "repo=acme/shop", "pull=7", "outcome=accepted"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q: %s", want, log)
		}
	}
	if strings.Contains(log, "private text") || strings.Contains(log, hookSecret) {
		t.Errorf("the log shows the body or the secret: %s", log)
	}
}

// Threat 13: unsigned and forged deliveries. Threat 14: they are not parsed.
func TestUnsignedOrForgedDeliveryIsRefusedBeforeParsing(t *testing.T) {
	valid := sign(pullBody, hookSecret)
	for name, signature := range map[string]string{
		"none":          "",
		"other secret":  sign(pullBody, "another secret"),
		"empty secret":  sign(pullBody, ""),
		"other body":    sign(pullBody+" ", hookSecret),
		"SHA-1":         "sha1=" + valid[7:47],
		"truncated":     valid[:len(valid)-2],
		"not hex":       "sha256=" + strings.Repeat("zz", 32),
		"without kind":  valid[7:],
		"two, one good": "sha256=00," + valid,
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			if w := do(f.handler(t), delivery("d-1", pullBody, signature)); w.Code != http.StatusUnauthorized {
				t.Errorf("status %d, want 401", w.Code)
			}
			if f.parsed.Load() != 0 {
				t.Error("the body was parsed before its signature was found good")
			}
			if n := f.waiting(t); n != 0 {
				t.Errorf("%d keys wait", n)
			}
		})
	}
}

func TestBothSecretsCountDuringRotation(t *testing.T) {
	f := newFixture(t)
	f.config.Secrets = []secret.Secret{"the new secret", hookSecret}
	h := f.handler(t)
	for i, with := range []string{"the new secret", hookSecret} {
		if w := do(h, delivery(fmt.Sprint("d-", i), pullBody, sign(pullBody, with))); w.Code != http.StatusAccepted {
			t.Errorf("signed with secret %d: status %d", i, w.Code)
		}
	}
	if w := do(h, delivery("d-3", pullBody, sign(pullBody, "the oldest secret"))); w.Code != http.StatusUnauthorized {
		t.Errorf("signed with a retired secret: status %d", w.Code)
	}
}

// Threat 12.
func TestReplayedDeliveryWantsNothing(t *testing.T) {
	f := newFixture(t)
	h := f.handler(t)
	do(h, delivery("d-1", pullBody, sign(pullBody, hookSecret)))
	ctx, stop := context.WithCancel(t.Context())
	runs, done := make(chan string, 9), make(chan error, 1)
	go func() {
		done <- f.store.Run(ctx, 1, func(_ context.Context, key string) error { runs <- key; return nil })
	}()
	if err := f.store.Idle(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if w := do(h, delivery("d-1", pullBody, sign(pullBody, hookSecret))); w.Code != http.StatusAccepted {
			t.Errorf("a replay: status %d, want 202 (the forge need not know)", w.Code)
		}
	}
	if err := f.store.Idle(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if len(runs) != 1 {
		t.Errorf("%d runs, want 1", len(runs))
	}
}

func TestDoorRefusesToBeBuiltWithoutSecret(t *testing.T) {
	for name, secrets := range map[string][]secret.Secret{"none": nil, "empty": {""}, "one of two empty": {hookSecret, ""}} {
		f := newFixture(t)
		f.config.Secrets = secrets
		if _, err := New(f.config); err == nil || !strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), hookSecret) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	f := newFixture(t)
	f.config.Verify = nil
	if _, err := New(f.config); err == nil {
		t.Error("built without Verify")
	}
	f = newFixture(t)
	f.config.MaxBody = -1
	if _, err := New(f.config); err == nil {
		t.Error("built with a negative cap")
	}
}

// endless is a body of unknown length that counts what is read of it.
type endless struct{ read atomic.Int64 }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	e.read.Add(int64(len(p)))
	return len(p), nil
}

// Threat 14.
func TestTooLargeBodyIsRefusedUnread(t *testing.T) {
	f := newFixture(t)
	f.config.MaxBody = 1000
	h := f.handler(t)
	exact := pullBody + strings.Repeat(" ", 1000-len(pullBody))
	if w := do(h, delivery("d-1", exact, sign(exact, hookSecret))); w.Code != http.StatusAccepted {
		t.Errorf("a body of exactly the cap: status %d", w.Code)
	}
	over := exact + " "
	if w := do(h, delivery("d-2", over, sign(over, hookSecret))); w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("one byte over the cap: status %d", w.Code)
	}
	body := &endless{}
	r := delivery("d-3", "", "sha256=00")
	r.Body, r.ContentLength = io.NopCloser(body), -1
	if w := do(h, r); w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("an endless body: status %d", w.Code)
	}
	if n := body.read.Load(); n > 10_000 {
		t.Errorf("read %d bytes of an endless body, with a cap of 1000", n)
	}
	body = &endless{}
	r = delivery("d-4", "", "sha256=00")
	r.Body, r.ContentLength = io.NopCloser(body), 1<<40
	if w := do(h, r); w.Code != http.StatusRequestEntityTooLarge || body.read.Load() != 0 {
		t.Errorf("a body announced as 1 TiB: status %d after %d bytes", w.Code, body.read.Load())
	}
}

func TestOtherMethodsAreRefused(t *testing.T) {
	h := newFixture(t).handler(t)
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete, http.MethodHead} {
		w := do(h, httptest.NewRequest(method, "/webhook", nil))
		if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != http.MethodPost {
			t.Errorf("%s: status %d, Allow %q", method, w.Code, w.Header().Get("Allow"))
		}
	}
	if w := do(h, httptest.NewRequest(http.MethodPost, "/webhook/extra", nil)); w.Code != http.StatusNotFound {
		t.Errorf("another path: status %d", w.Code)
	}
}

func TestMalformedDeliveryIsRefusedAfterVerification(t *testing.T) {
	f := newFixture(t)
	h := f.handler(t)
	for name, body := range map[string]string{"not JSON": "{", "empty": "", "no number": `{"pull_request":{}}`, "null": "null"} {
		if w := do(h, delivery("d-1", body, sign(body, hookSecret))); w.Code != http.StatusBadRequest {
			t.Errorf("%s: status %d, want 400", name, w.Code)
		}
	}
	for name, id := range map[string]string{"none": "", "long": strings.Repeat("x", 129), "controls": "a\x1b[2Jb", "not ASCII": "d\u202e1"} {
		if w := do(h, delivery(id, pullBody, sign(pullBody, hookSecret))); w.Code != http.StatusBadRequest {
			t.Errorf("delivery id %s: status %d, want 400", name, w.Code)
		}
	}
	if n := f.waiting(t); n != 0 {
		t.Errorf("%d keys wait", n)
	}
}

func TestUnwantedEventIsAccepted(t *testing.T) {
	f := newFixture(t)
	body := `{"zen":"Keep it logically awesome."}`
	r := delivery("d-1", body, sign(body, hookSecret))
	r.Header.Set("X-GitHub-Event", "ping")
	if w := do(f.handler(t), r); w.Code != http.StatusAccepted || f.waiting(t) != 0 {
		t.Errorf("status %d, %d keys wait", w.Code, f.waiting(t))
	}
}

func TestStoreFailureAsksForRedelivery(t *testing.T) {
	f := newFixture(t)
	f.config.Deliver = func(context.Context, store.Delivery, []string) (bool, error) {
		return false, errors.New("disk full at /secret/place")
	}
	w := do(f.handler(t), delivery("d-1", pullBody, sign(pullBody, hookSecret)))
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("status %d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
	}
	if strings.Contains(w.Body.String(), "/secret/place") {
		t.Errorf("the answer tells the caller about our inside: %s", w.Body)
	}
	if !strings.Contains(f.log.String(), "disk full") {
		t.Error("the log does not say why")
	}
}

func TestDeliverySurvivesACallerThatHangsUp(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithCancel(t.Context())
	deliver := f.config.Deliver
	f.config.Deliver = func(ctx context.Context, d store.Delivery, wants []string) (bool, error) {
		cancel() // the caller is gone just before the store is asked
		return deliver(ctx, d, wants)
	}
	do(f.handler(t), delivery("d-1", pullBody, sign(pullBody, hookSecret)).WithContext(ctx))
	if n := f.waiting(t); n != 1 {
		t.Errorf("%d keys wait, want 1", n)
	}
}

func TestDoorAnswersWhileWorkersAreBusy(t *testing.T) {
	f := newFixture(t)
	server := httptest.NewServer(f.handler(t))
	defer server.Close()
	ctx, stop := context.WithCancel(t.Context())
	busy, proceed, done := make(chan struct{}, 2), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- f.store.Run(ctx, 2, func(context.Context, string) error { busy <- struct{}{}; <-proceed; return nil })
	}()
	for _, key := range []string{"pull/9/1", "pull/9/2", "pull/9/3"} {
		if err := f.store.Want(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	<-busy
	<-busy
	// Both workers hang until proceed is closed, after all answers are in.
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			r := delivery(fmt.Sprint("d-", i), pullBody, sign(pullBody, hookSecret))
			post, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/webhook", r.Body)
			if err != nil {
				t.Error(err)
				return
			}
			post.Header = r.Header
			begin := time.Now()
			res, err := server.Client().Do(post)
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			if res.StatusCode != http.StatusAccepted {
				t.Errorf("status %d after %s", res.StatusCode, time.Since(begin))
			}
		})
	}
	wg.Wait()
	close(proceed)
	if err := f.store.Idle(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestHealthAndReadiness(t *testing.T) {
	f := newFixture(t)
	h := f.handler(t)
	for _, path := range []string{"/healthz", "/readyz"} {
		if w := do(h, httptest.NewRequest(http.MethodGet, path, nil)); w.Code != http.StatusOK {
			t.Errorf("%s: status %d: %s", path, w.Code, w.Body)
		}
	}
	f.config.Ready["forge"] = func(context.Context) error { return errors.New("401 from api.example") }
	h = f.handler(t)
	w := do(h, httptest.NewRequest(http.MethodGet, "/readyz", nil))
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "forge: failed") ||
		!strings.Contains(w.Body.String(), "store: ok") || strings.Contains(w.Body.String(), "api.example") {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
	if !strings.Contains(f.log.String(), "401 from api.example") {
		t.Error("the log does not say why")
	}
	if w := do(h, httptest.NewRequest(http.MethodGet, "/healthz", nil)); w.Code != http.StatusOK {
		t.Errorf("/healthz is about the process alone, got status %d", w.Code)
	}
}

func TestMetricsNameNoPullAndStayBounded(t *testing.T) {
	f := newFixture(t)
	h := f.handler(t)
	do(h, delivery("d-1", pullBody, sign(pullBody, hookSecret)))
	do(h, delivery("d-1", pullBody, sign(pullBody, hookSecret)))
	do(h, delivery("d-2", pullBody, ""))
	for i := range 100 { // no signature covers the event's name
		r := delivery(fmt.Sprint("e-", i), "{}", sign("{}", hookSecret))
		r.Header.Set("X-GitHub-Event", fmt.Sprint("event\xff", i))
		do(h, r)
		r = delivery(fmt.Sprint("f-", i), "{}", sign("{}", hookSecret))
		r.Header.Set("X-GitHub-Event", fmt.Sprint("event", i))
		do(h, r)
	}
	f.metrics.Job("pull", "done", time.Second)
	f.metrics.ForgeRequest("GET", 200)
	f.metrics.ClusterRequest("PATCH", 0)
	f.metrics.Waiting(func() float64 { return 3 })
	f.metrics.Clusters(func() ([]ClusterState, error) {
		return []ClusterState{{Cluster: "main", Drifting: 2, Looked: time.Unix(1700000000, 0)}, {Cluster: "edge", Unknown: time.Unix(1700000001, 0)}}, nil
	})
	text := do(h, httptest.NewRequest(http.MethodGet, "/metrics", nil)).Body.String()
	for _, want := range []string{
		`lockkeeper_deliveries_total{event="pull_request",outcome="accepted"} 1`,
		`lockkeeper_deliveries_total{event="pull_request",outcome="doubled"} 1`,
		`lockkeeper_deliveries_total{event="none",outcome="unsigned"} 1`,
		`lockkeeper_job_duration_seconds_count{kind="pull",outcome="done"} 1`,
		`lockkeeper_forge_requests_total{method="GET",status="200"} 1`,
		`lockkeeper_cluster_requests_total{method="PATCH",status="0"} 1`,
		`lockkeeper_work_waiting 3`, `go_goroutines`,
		`lockkeeper_drifting_targets{cluster="main"} 2`, `lockkeeper_drift_looked_timestamp_seconds{cluster="main"} 1.7e+09`,
		`lockkeeper_drift_unknown_since_timestamp_seconds{cluster="main"} 0`,
		`lockkeeper_drift_unknown_since_timestamp_seconds{cluster="edge"} 1.700000001e+09`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("metrics lack %q", want)
		}
	}
	if strings.Contains(text, "acme") || strings.Contains(text, "shop") {
		t.Error("metrics name the repository")
	}
	if n := strings.Count(text, "lockkeeper_deliveries_total{"); n > maxEvents+5 {
		t.Errorf("%d series of deliveries", n)
	}
	var none *Metrics
	none.delivery("x", "y")
	none.Job("x", "y", 0)
	none.ForgeRequest("GET", 200)
	none.ClusterRequest("GET", 200)
	none.Waiting(nil)
	none.Clusters(nil)
}

func TestServerCutsOffSlowCallers(t *testing.T) {
	s := Server("127.0.0.1:0", http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	if s.ReadHeaderTimeout == 0 || s.ReadTimeout == 0 || s.WriteTimeout <= s.ReadTimeout || s.IdleTimeout == 0 || s.MaxHeaderBytes == 0 {
		t.Errorf("a time-out is missing: %+v", s)
	}
}

func TestFullDoorAnswersThatItIsBusy(t *testing.T) {
	f := newFixture(t)
	entered, proceed := make(chan struct{}), make(chan struct{})
	f.config.Verify = func(http.Header, []byte, [][]byte) error {
		entered <- struct{}{}
		<-proceed
		return errors.New("no")
	}
	h := f.handler(t)
	var wg sync.WaitGroup
	for range maxInFlight {
		wg.Go(func() { do(h, delivery("d", "{}", "")) })
		<-entered
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // do not wait out slotWait
	if w := do(h, delivery("d-1", pullBody, sign(pullBody, hookSecret)).WithContext(ctx)); w.Code != http.StatusServiceUnavailable {
		t.Errorf("status %d with every slot taken, want 503", w.Code)
	}
	close(proceed)
	wg.Wait()
}

// FuzzDoor throws anything at the door: it never panics, never accepts what is
// not signed, and never parses it.
func FuzzDoor(f *testing.F) {
	f.Add("POST", pullBody, sign(pullBody, hookSecret), "pull_request", "d-1")
	f.Add("POST", "{}", "", "push", "")
	f.Add("GET", "", "sha256=", "", "\x00")
	parsed := false
	h, err := New(Config{
		Forge: "github", Secrets: []secret.Secret{hookSecret}, MaxBody: 1 << 16, Metrics: NewMetrics(),
		Verify: github.Verify,
		Parse: func(h http.Header, body []byte) (forge.Event, error) {
			parsed = true
			return github.ParseEvent(h, body)
		},
		Wants:   func(forge.Event) []string { return nil },
		Deliver: func(context.Context, store.Delivery, []string) (bool, error) { return true, nil },
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, method, body, signature, event, id string) {
		parsed = false
		r := httptest.NewRequest(http.MethodPost, "/webhook", strings.NewReader(body))
		r.Method = method
		r.Header[http.CanonicalHeaderKey(github.SignatureHeader)] = []string{signature}
		r.Header["X-Github-Event"] = []string{event}
		r.Header["X-Github-Delivery"] = []string{id}
		w := do(h, r)
		signed := strings.EqualFold(signature, sign(body, hookSecret))
		if parsed && !signed || w.Code == http.StatusAccepted && !parsed {
			t.Errorf("status %d, parsed %v, signed %v", w.Code, parsed, signed)
		}
	})
}
