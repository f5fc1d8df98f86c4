package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"lockkeeper/bot/secret"
	"lockkeeper/cmd/internal/house"
	"lockkeeper/forge/forgetest"
)

// program is this test binary under the name by which it is lockkeeper; see
// TestMain.
func program(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "lockkeeper")
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	return link
}

// served is the real program at work, and the test that looks at it.
type served struct {
	*house.House
	t       *testing.T
	ns      string
	address string
}

func newServed(t *testing.T) *served {
	t.Helper()
	cp := controlPlane(t)
	s := &served{t: t, ns: cp.Namespace(t)}
	h, err := house.Start(t.Context(), house.Options{
		Binary: program(t), Plane: cp, MaxDeletes: 25,
		Repo: forgetest.NewRepo{Owner: "acme", Name: "shop", Files: map[string]string{
			".lockkeeper.yaml": fmt.Sprintf("targets:\n  - {name: shop, path: deploy, cluster: main, environment: production, namespace: %s}\n", s.ns),
			"deploy/a.yaml":    s.object("a", "one"),
		}},
	})
	s.House = h
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log ends with\n%s", h.Log(60))
		}
		s.discreet()
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	s.must(err)
	s.address = strings.TrimSuffix(strings.TrimPrefix(h.Door(), "http://"), "/webhook")
	return s
}

// discreet looks for the operator's secrets in the log and in the metrics
// (threat 8).
func (s *served) discreet() {
	redact := &secret.Redactor{}
	server, err := readServer(s.ServerFile)
	if err != nil {
		s.t.Error(err)
		return
	}
	if _, err := readCredentials(server, redact); err != nil {
		s.t.Error(err)
	}
	log, err := os.ReadFile(s.Bot().Log)
	if err != nil {
		s.t.Error(err)
	}
	_, metrics := s.get("/metrics")
	for what, text := range map[string]string{"log": string(log), "metrics": metrics} {
		if strings.Contains(redact.Redact(strings.ReplaceAll(text, secret.Mark, "")), secret.Mark) {
			s.t.Errorf("a secret is in the %s", what)
		}
	}
}

func (s *served) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *served) object(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {key: %q}\n", name, value)
}

// open opens a pull that changes a file, and waits until it is planned.
func (s *served) open(branch string, files map[string]string) int {
	s.t.Helper()
	ctx := s.t.Context()
	_, err := s.Forge.As(house.Opener).Push(ctx, s.Repo, branch, "main", forgetest.Commit{Message: branch, Files: forgetest.Text(files)})
	s.must(err)
	n, err := s.Forge.As(house.Opener).OpenPull(ctx, s.Repo, "main", branch, branch, "")
	s.must(err)
	s.must(s.Settle(ctx))
	return n
}

// get asks the program for a page.
func (s *served) get(path string) (status int, body string) {
	s.t.Helper()
	// Also once the test is over.
	r, err := http.NewRequestWithContext(context.WithoutCancel(s.t.Context()), http.MethodGet, "http://"+s.address+path, nil)
	s.must(err)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	s.must(err)
	return res.StatusCode, string(text)
}

// until waits for something that nobody tells us about.
func (s *served) until(what string, ok func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			s.t.Fatalf("waited in vain until %s", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// logged returns the records of the log with a message.
func (s *served) logged(msg string) []map[string]any {
	s.t.Helper()
	data, err := os.ReadFile(s.Bot().Log)
	s.must(err)
	var out []map[string]any
	for line := range bytes.Lines(data) {
		record := map[string]any{}
		if json.Unmarshal(line, &record) == nil && record["msg"] == msg {
			out = append(out, record)
		}
	}
	return out
}

// edit changes the operator's file, or one beside it.
func (s *served) edit(name string, change func(string) string) {
	s.t.Helper()
	path := filepath.Join(filepath.Dir(s.ServerFile), name)
	text, err := os.ReadFile(path)
	s.must(err)
	s.must(os.WriteFile(path, []byte(change(string(text))), 0o600))
}

// reload sends SIGHUP and returns what the log says of it.
func (s *served) reload(msg string) map[string]any {
	s.t.Helper()
	before := len(s.logged(msg))
	s.must(s.Bot().Signal(syscall.SIGHUP))
	s.until(msg, func() bool { return len(s.logged(msg)) > before })
	all := s.logged(msg)
	return all[len(all)-1]
}

const (
	reloaded    = "the server file is in force"
	halfway     = "the server file is in force but for what needs a restart"
	notReloaded = "the server file is not taken over, and what was in force stays so: correct it and send SIGHUP again"
)

// What an operator can change while the bot runs, and what happens to a file
// with a mistake.
func TestReloadOfTheServerFile(t *testing.T) {
	s := newServed(t)
	n := s.open("change", map[string]string{"deploy/a.yaml": s.object("a", "two")})
	_, err := s.Say(t.Context(), house.Reviewer, n, "/approve")
	s.must(err)
	report, err := s.Report(t.Context(), n)
	s.must(err)
	if !strings.Contains(report, "/apply") {
		t.Fatalf("not ready to apply:\n%s", report)
	}

	t.Run("a mistake is told with file and line, and changes nothing", func(t *testing.T) {
		var good string
		s.edit("server.yaml", func(text string) string {
			good = text
			return text + "floors:\n  environments: {production: {approvals: many}}\n"
		})
		record := s.reload(notReloaded)
		line := fmt.Sprintf("%s:%d: ", s.ServerFile, strings.Count(good, "\n")+2)
		if says := fmt.Sprint(record["error"]); !strings.Contains(says, line) {
			t.Errorf("the log says %q, without %q", says, line)
		}
		s.edit("server.yaml", func(string) string { return good })
		s.reload(reloaded)
		s.must(s.Settle(t.Context()))
		if after, err := s.Report(t.Context(), n); err != nil || after != report {
			t.Errorf("the report has changed: %v\n%s", err, after)
		}
	})

	t.Run("floors judge what was planned before", func(t *testing.T) {
		s.edit("server.yaml", func(text string) string {
			return text + "floors:\n  environments:\n    production:\n      approvals:\n        required: 2\n"
		})
		s.reload(reloaded)
		s.must(s.Settle(t.Context()))
		after, err := s.Report(t.Context(), n)
		s.must(err)
		if after == report {
			t.Error("the report still says what it said under the old floors")
		}
		reply, err := s.Say(t.Context(), house.Applier, n, "/apply")
		s.must(err)
		if merged, err := s.Merged(t.Context(), n); err != nil || merged {
			t.Errorf("applied with one approval of two: %v\n%s", err, reply)
		}
	})

	t.Run("webhook secrets rotate", func(t *testing.T) {
		s.edit("webhook-secret", func(string) string { return "another-secret-of-the-webhook" })
		if s.reload(reloaded); s.ping("a-wrong-secret") != http.StatusUnauthorized {
			t.Error("a wrong secret is taken")
		}
		if got := s.ping("another-secret-of-the-webhook"); got != http.StatusAccepted {
			t.Errorf("the new secret is answered with %d", got)
		}
		s.Forge.SetWebhook(s.App, "http://"+s.address+"/webhook", "another-secret-of-the-webhook")
	})

	t.Run("a key that is none is refused", func(t *testing.T) {
		s.edit("app.pem", func(text string) string { return strings.Replace(text, "MII", "XII", 1) })
		if says := fmt.Sprint(s.reload(notReloaded)["error"]); !strings.Contains(says, "privateKey") || strings.Contains(says, "MII") {
			t.Errorf("the log says %q", says)
		}
		s.edit("app.pem", func(string) string { return s.App.Key })
	})

	t.Run("a key that the forge refuses is not taken up", func(t *testing.T) {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		s.must(err)
		other := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
		s.edit("app.pem", func(string) string { return string(other) })
		if says := fmt.Sprint(s.reload(notReloaded)["error"]); !strings.Contains(says, "the forge refuses the credentials") {
			t.Errorf("the log says %q", says)
		}
		s.edit("app.pem", func(string) string { return s.App.Key })
	})

	t.Run("what needs a restart is named", func(t *testing.T) {
		s.edit("server.yaml", func(text string) string { return text + "drain: 7s\n" })
		if names := fmt.Sprint(s.reload(halfway)["restart"]); names != "[drain]" {
			t.Errorf("a restart is needed for %v", names)
		}
	})

	for _, who := range []string{house.Reviewer, house.Applier} { // what was approved under the old floors is void
		_, err = s.Say(t.Context(), who, n, "/approve")
		s.must(err)
	}
	reply, err := s.Say(t.Context(), house.Opener, n, "/apply")
	s.must(err)
	if merged, err := s.Merged(t.Context(), n); err != nil || !merged {
		t.Errorf("after all that, nothing can be applied: %v\n%s", err, reply)
	}
}

// Records tell which pull, delivery, operation and replica they are about.
func TestLogsTellWhatTheyAreAbout(t *testing.T) {
	s := newServed(t)
	n := s.open("change", map[string]string{"deploy/a.yaml": s.object("a", "two")})
	_, err := s.Say(t.Context(), house.Reviewer, n, "/approve")
	s.must(err)
	_, err = s.Say(t.Context(), house.Applier, n, "/apply")
	s.must(err)
	found := map[string]bool{}
	for _, r := range s.logged("recorded") {
		if r["repo"] != s.Repo || r["pull"] != float64(n) || r["key"] == "" || r["replica"] == nil || r["delivery"] == nil {
			t.Errorf("about nothing: %v", r)
		}
		if r["operation"] != nil {
			found[fmt.Sprint(r["record"])] = true
		}
	}
	if !found["apply-end"] {
		t.Errorf("no end of an operation is told with its id: %v", found)
	}
}

// The end of a process as a cluster does it: readiness first, then the work that
// runs, and the door last.
func TestDrainHandsOver(t *testing.T) {
	s := newServed(t)
	s.until("it is ready", func() bool {
		status, body := s.get("/readyz")
		return status == http.StatusOK && strings.Contains(body, "store: ok\nwork: ok")
	})
	if status, body := s.get("/healthz"); status != http.StatusOK || !strings.Contains(body, "work: ok") {
		t.Fatalf("not alive: %d %s", status, body)
	}
	// A Deployment without nodes never becomes healthy: the apply waits.
	n := s.open("change", map[string]string{"deploy/d.yaml": `apiVersion: apps/v1
kind: Deployment
metadata: {name: d}
spec:
  selector: {matchLabels: {app: d}}
  template:
    metadata: {labels: {app: d}}
    spec:
      nodeSelector: {nowhere: "true"}
      containers: [{name: c, image: example.com/c}]
`})
	_, err := s.Say(t.Context(), house.Reviewer, n, "/approve")
	s.must(err)
	s.edit("server.yaml", func(text string) string { return text + "drain: 2s\n" })
	s.must(s.Bot().Stop())
	s.must(s.Restart(t.Context()))
	s.address = strings.TrimSuffix(strings.TrimPrefix(s.Door(), "http://"), "/webhook")
	_, err = s.Forge.As(house.Applier).Comment(t.Context(), s.Repo, n, "/apply")
	s.must(err)
	s.until("the apply runs", func() bool {
		ops, err := s.Operations(t.Context(), n)
		return err == nil && len(ops) == 1 && ops[0].Finished.IsZero()
	})

	bot := s.Bot()
	s.must(bot.Signal(syscall.SIGTERM))
	s.until("it is not ready", func() bool { status, _ := s.get("/readyz"); return status == http.StatusServiceUnavailable })
	if status, _ := s.get("/healthz"); status != http.StatusOK {
		t.Errorf("a process that drains is no patient: %d", status)
	}
	if got := s.ping(s.beside("webhook-secret")); got != http.StatusAccepted {
		t.Errorf("a delivery while draining is answered with %d", got)
	}
	<-bot.Done
	if err := bot.Ended(); !strings.Contains(err.Error(), "exit status 0") {
		t.Errorf("the end was none to be proud of: %v", err)
	}
	ops, err := s.Operations(t.Context(), n)
	s.must(err)
	if len(ops) != 1 || !ops[0].Finished.IsZero() {
		t.Fatalf("the operation was not left running for the next: %+v", ops)
	}
	s.must(s.Restart(t.Context()))
	s.address = strings.TrimSuffix(strings.TrimPrefix(s.Door(), "http://"), "/webhook")
	s.until("the next one goes on with it", func() bool {
		_, metrics := s.get("/metrics")
		return strings.Contains(metrics, `lockkeeper_steps_total{step="gate"}`) && strings.Contains(metrics, `lockkeeper_cluster_requests_total{method="PATCH",status="200"}`)
	})
}

// ping delivers a ping signed with a secret and returns the answer's status.
func (s *served) ping(secret string) int {
	s.t.Helper()
	const body = `{"zen": "Keep it logically awesome.", "hook_id": 1}`
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, "http://"+s.address+"/webhook", strings.NewReader(body))
	s.must(err)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	r.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	r.Header.Set("X-Github-Event", "ping")
	r.Header.Set("X-Github-Delivery", "ping-"+rand.Text())
	r.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(r)
	s.must(err)
	s.must(res.Body.Close())
	return res.StatusCode
}

// beside reads a file beside the operator's.
func (s *served) beside(name string) string {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(filepath.Dir(s.ServerFile), name))
	s.must(err)
	return string(text)
}

// A loop that stands still is past help; one that never began, or is about to
// end, is not.
func TestLivenessIsAboutTheLoopAlone(t *testing.T) {
	var beat time.Time
	l := &lifecycle{beat: func() time.Time { return beat }, began: time.Now()}
	alive := func(want bool, when string) {
		t.Helper()
		if err := l.alive(t.Context()); (err == nil) != want {
			t.Errorf("%s: %v", when, err)
		}
	}
	alive(true, "before it began")
	l.working.Store(true)
	alive(true, "just begun")
	l.began, beat = time.Now().Add(-time.Hour), time.Now().Add(-time.Second)
	alive(true, "going round")
	beat = time.Now().Add(-stuckAfter - time.Second)
	alive(false, "standing still")
	l.draining.Store(true)
	alive(true, "draining")
}
