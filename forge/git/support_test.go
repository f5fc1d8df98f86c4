package git

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// work is a real clone that a test commits to with the real git.
type work struct {
	t   testing.TB
	dir string
}

func newWork(t testing.TB) *work {
	t.Helper()
	w := &work{t, t.TempDir()}
	w.git("init", "-q", "-b", "main")
	return w
}

// git runs git in the clone and returns its trimmed output.
func (w *work) git(args ...string) string { return w.feed(nil, args...) }

func (w *work) feed(stdin []byte, args ...string) string {
	w.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = w.dir
	cmd.Stdin = bytes.NewReader(stdin)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull,
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_AUTHOR_DATE=1700000000 +0000",
		"GIT_COMMITTER_NAME=Bob", "GIT_COMMITTER_EMAIL=bob@example.com", "GIT_COMMITTER_DATE=1700000001 +0000")
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func (w *work) write(name, content string) {
	w.t.Helper()
	full := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

func (w *work) link(name, target string) {
	w.t.Helper()
	full := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Symlink(target, full); err != nil {
		w.t.Fatal(err)
	}
}

// commit commits everything and returns the hash.
func (w *work) commit(message string) string {
	w.t.Helper()
	w.git("add", "-A")
	w.git("commit", "-q", "--allow-empty", "-m", message)
	return w.git("rev-parse", "HEAD")
}

// open opens the clone with the code under test.
func (w *work) open() *Repo {
	w.t.Helper()
	r, err := Open(w.t.Context(), w.dir, Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := r.Close(); err != nil {
			w.t.Error(err)
		}
	})
	return r
}

// tree opens HEAD's tree.
func (w *work) tree() *Tree {
	w.t.Helper()
	r := w.open()
	tree, err := r.Tree(w.t.Context(), w.git("rev-parse", "HEAD^{tree}"))
	if err != nil {
		w.t.Fatal(err)
	}
	return tree
}

const secret = "Basic eC1hY2Nlc3MtdG9rZW46Z2hzX1NFQ1JFVA==" // x-access-token:ghs_SECRET

// remote is a forge's Git over HTTP: git http-backend behind a check of the
// Authorization header.
type remote struct {
	*work
	url      string
	server   *httptest.Server
	requests atomic.Int64
	answer   atomic.Pointer[http.HandlerFunc] // overrides when set
}

func newRemote(t testing.TB) *remote {
	t.Helper()
	r := &remote{work: newWork(t)}
	r.git("config", "uploadpack.allowAnySHA1InWant", "true")
	r.git("config", "http.receivepack", "true")
	r.git("config", "receive.denyCurrentBranch", "ignore")
	path, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	backend := &cgi.Handler{Path: path, Args: []string{"http-backend"}, Env: []string{
		"GIT_PROJECT_ROOT=" + filepath.Dir(r.dir), "GIT_HTTP_EXPORT_ALL=1",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + os.DevNull, "REMOTE_USER=x"}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.requests.Add(1)
		if h := r.answer.Load(); h != nil {
			(*h)(w, req)
			return
		}
		if req.Header.Get("Authorization") != secret {
			w.Header().Set("WWW-Authenticate", "Basic")
			http.Error(w, "who are you, "+req.Header.Get("Authorization"), http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, req)
	}))
	t.Cleanup(server.Close)
	r.server = server
	r.url = fmt.Sprintf("%s/%s/.git", server.URL, filepath.Base(r.dir))
	return r
}

func (r *remote) answerWith(h http.HandlerFunc) {
	if h == nil {
		r.answer.Store(nil)
		return
	}
	r.answer.Store(&h)
}

func newMirror(t testing.TB) *Mirror {
	t.Helper()
	c, err := OpenCache(t.Context(), t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c.Mirror(t.Context(), "example.com/1")
}
