package pushed_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lockkeeper/forge"
	"lockkeeper/forge/git"
	"lockkeeper/forge/internal/pushed"
)

// auth is what the remote wants to see: "Basic bot:secret-token".
const auth = "Basic Ym90OnNlY3JldC10b2tlbg=="

// remote is a bare repository with a branch main, behind git http-backend.
type remote struct {
	t   *testing.T
	dir string
	pushed.Remote
	cut atomic.Bool // answers to pushes do not arrive
	// meanwhile is called as a push arrives.
	meanwhile atomic.Pointer[func()]
}

func newRemote(t *testing.T) *remote {
	t.Helper()
	root := t.TempDir()
	r := &remote{t: t, dir: filepath.Join(root, "shop.git")}
	bin, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	backend := &cgi.Handler{Path: bin, Args: []string{"http-backend"}, Dir: root, Env: []string{
		"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + os.DevNull, "REMOTE_USER=bot"},
		InheritEnv: []string{"PATH"}}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Header.Get("Authorization") != auth {
			w.Header().Set("WWW-Authenticate", "Basic")
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if act := r.meanwhile.Load(); act != nil && strings.HasSuffix(q.URL.Path, "/git-receive-pack") {
			(*act)()
		}
		if r.cut.Load() && strings.HasSuffix(q.URL.Path, "/git-receive-pack") {
			backend.ServeHTTP(httptest.NewRecorder(), q)
			panic(http.ErrAbortHandler)
		}
		backend.ServeHTTP(w, q)
	}))
	t.Cleanup(srv.Close)
	r.Remote = pushed.Remote{URL: srv.URL + "/shop.git", Auth: auth}
	r.git("", "init", "-q", "--bare", "-b", "main", r.dir)
	r.git(r.dir, "config", "http.receivepack", "true")
	tree := r.feed("100644 blob "+r.feed("hello\n", "hash-object", "-w", "--stdin")+"\tREADME.md\n", "mktree")
	r.git(r.dir, "update-ref", "refs/heads/main", r.feed("Start", "commit-tree", tree))
	return r
}

func (r *remote) git(dir string, args ...string) string {
	r.t.Helper()
	return r.run(dir, "", args...)
}

func (r *remote) feed(stdin string, args ...string) string {
	r.t.Helper()
	return r.run(r.dir, stdin, args...)
}

func (r *remote) run(dir, stdin string, args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + os.DevNull,
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com"}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		r.t.Fatalf("git %v: %v\n%s", args, err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

func (r *remote) tip(branch string) string {
	r.t.Helper()
	return r.git(r.dir, "for-each-ref", "--format=%(objectname)", "refs/heads/"+branch)
}

func (r *remote) files(branch string) string {
	r.t.Helper()
	return r.git(r.dir, "ls-tree", "-r", "--format=%(objectmode) %(path)", branch)
}

// who is the bot; every call happens a second later than the one before.
func who() git.Signature {
	return git.Signature{Name: "lockkeeper", Email: "bot@example.com", When: time.Unix(1_700_000_000+clock.Add(1), 0).UTC()}
}

var clock atomic.Int64

func (r *remote) commit(n forge.NewCommit) (string, error) {
	return pushed.Commit(r.t.Context(), r.Remote, n, who())
}

func (r *remote) must(n forge.NewCommit) string {
	r.t.Helper()
	sha, err := r.commit(n)
	if err != nil {
		r.t.Fatal(err)
	}
	return sha
}

func (r *remote) wantCode(what string, err error, want forge.Code) {
	r.t.Helper()
	if got := forge.CodeOf(err); got != want {
		r.t.Errorf("%s: code %q, want %q (%v)", what, got, want, err)
	}
	if err != nil && strings.Contains(err.Error(), "secret-token") {
		r.t.Errorf("%s: the error tells the credential (threat 8): %v", what, err)
	}
}

func text(s string) forge.FileEdit { return forge.FileEdit{Content: []byte(s)} }

func edit(path, s string) map[string]forge.FileEdit {
	return map[string]forge.FileEdit{path: text(s)}
}

func TestCommitsArriveWithModesAndAuthor(t *testing.T) {
	r := newRemote(t)
	for _, filters := range []string{"true", "false"} {
		r.git(r.dir, "config", "uploadpack.allowFilter", filters)
		branch := "bot/größe-" + filters
		first := r.must(forge.NewCommit{Branch: branch, Base: r.tip("main"), Message: "Übergröße\n\nWhy.", Edits: map[string]forge.FileEdit{
			"a/b": text("1\r\n"), "run": {Content: []byte("#!/bin/sh\n"), Mode: forge.Executable}, "link": {Content: []byte("run"), Mode: forge.SymbolicLink}}})
		if got := r.files(branch); got != "100644 README.md\n100644 a/b\n120000 link\n100755 run" {
			t.Errorf("files after the first commit:\n%s", got)
		}
		second := r.must(forge.NewCommit{Branch: branch, Parent: first, Message: "Two", Edits: map[string]forge.FileEdit{
			"a/b": {Delete: true}, "a": text("file now"), "README.md": text("hello you\n"), "run": text("plain"), "link": {Content: []byte("x"), Mode: forge.Executable}}})
		if got := r.files(branch); got != "100644 README.md\n100644 a\n100755 link\n100644 run" || r.tip(branch) != second {
			t.Errorf("files after the second commit:\n%s", got)
		}
		if got := r.git(r.dir, "log", "--format=%an <%ae> %cn <%ce> %s", "main.."+branch); got !=
			"lockkeeper <bot@example.com> lockkeeper <bot@example.com> Two\nlockkeeper <bot@example.com> lockkeeper <bot@example.com> Übergröße" {
			t.Errorf("log:\n%s", got)
		}
		if got := r.git(r.dir, "fsck", "--strict"); got != "" {
			t.Errorf("fsck: %s", got)
		}
	}
}

// Threat 16: nobody's push is overwritten.
func TestBranchThatMovedIsAConflict(t *testing.T) {
	r := newRemote(t)
	main := r.tip("main")
	first := r.must(forge.NewCommit{Branch: "bot", Base: main, Message: "One", Edits: edit("a", "1")})
	second := r.must(forge.NewCommit{Branch: "bot", Parent: first, Message: "Two", Edits: edit("a", "2")})
	_, err := r.commit(forge.NewCommit{Branch: "bot", Parent: first, Message: "Three", Edits: edit("a", "3")})
	r.wantCode("grown", err, forge.Conflict)
	_, err = r.commit(forge.NewCommit{Branch: "bot", Base: main, Message: "Three", Edits: edit("a", "3")})
	r.wantCode("exists", err, forge.Conflict)
	_, err = r.commit(forge.NewCommit{Branch: "nowhere", Parent: first, Message: "x", Edits: edit("a", "3")})
	r.wantCode("unknown branch", err, forge.NotFound)
	_, err = r.commit(forge.NewCommit{Branch: "x", Base: strings.Repeat("1", 40), Message: "x", Edits: edit("a", "3")})
	r.wantCode("unknown base", err, forge.Invalid)
	r.wantCode("deletion where it was", pushed.Delete(t.Context(), r.Remote, "bot", first), forge.Conflict)
	if r.tip("bot") != second {
		t.Errorf("the branch is at %s, want %s", r.tip("bot"), second)
	}
	for range 2 { // gone already is as good
		r.wantCode("deletion", pushed.Delete(t.Context(), r.Remote, "bot", second), "")
	}
	if r.tip("bot") != "" {
		t.Error("the branch is still there")
	}
	r.wantCode("deletion of no commit", pushed.Delete(t.Context(), r.Remote, "bot", ""), forge.Invalid)
}

// A push between our look and our push is seen by the lease.
func TestPushInBetweenIsAConflict(t *testing.T) {
	r := newRemote(t)
	main := r.tip("main")
	first := r.must(forge.NewCommit{Branch: "bot", Base: main, Message: "One", Edits: edit("a", "1")})
	r.meanwhile.Store(new(func() { r.git(r.dir, "update-ref", "refs/heads/bot", main) }))
	n := forge.NewCommit{Branch: "bot", Parent: first, Message: "Two", Edits: edit("a", "2")}
	_, err := r.commit(n)
	r.wantCode("moved in between", err, forge.Conflict)
	if r.tip("bot") != main {
		t.Errorf("the branch is at %s, want %s", r.tip("bot"), main)
	}
}

func TestLostAnswerIsRecognised(t *testing.T) {
	r := newRemote(t)
	n := forge.NewCommit{Branch: "bot", Base: r.tip("main"), Message: "One\n\nWhy.", Edits: edit("a", "1")}
	r.cut.Store(true)
	_, err := r.commit(n)
	r.wantCode("cut", err, forge.Unavailable)
	r.cut.Store(false)
	made := r.tip("bot")
	_, err = r.commit(n)
	r.wantCode("again, tree unknown", err, forge.Conflict)
	n.Tree = r.git(r.dir, "rev-parse", made+"^{tree}")
	if sha, err := r.commit(n); err != nil || sha != made {
		t.Errorf("again: %s, %v; want %s", sha, err, made)
	}
	n.Message = "Another reason"
	_, err = r.commit(n)
	r.wantCode("with another message", err, forge.Conflict)
}

func TestWhatCannotBeCommittedIsInvalid(t *testing.T) {
	r := newRemote(t)
	main := r.tip("main")
	for what, n := range map[string]forge.NewCommit{
		"no edit":               {Branch: "x", Base: main, Message: "x"},
		"no message":            {Branch: "x", Base: main, Edits: edit("a", "1")},
		"branch for a commit":   {Branch: "x", Base: "main", Message: "x", Edits: edit("a", "1")},
		"unknown mode":          {Branch: "x", Base: main, Message: "x", Edits: map[string]forge.FileEdit{"a": {Mode: "160000"}}},
		"bad name":              {Branch: "x..y", Base: main, Message: "x", Edits: edit("a", "1")},
		"a path out":            {Branch: "x", Base: main, Message: "x", Edits: edit("../a", "1")},
		"a rooted path":         {Branch: "x", Base: main, Message: "x", Edits: edit("/a", "1")},
		"Git's own":             {Branch: "x", Base: main, Message: "x", Edits: edit("a/.git/config", "1")},
		"not there":             {Branch: "x", Base: main, Message: "x", Edits: map[string]forge.FileEdit{"gone": {Delete: true}}},
		"below a file":          {Branch: "x", Base: main, Message: "x", Edits: edit("README.md/a", "1")},
		"file and below it too": {Branch: "x", Base: main, Message: "x", Edits: map[string]forge.FileEdit{"a": text("1"), "a/b": text("1")}},
	} {
		_, err := r.commit(n)
		r.wantCode(what, err, forge.Invalid)
	}
	if r.tip("x") != "" {
		t.Error("something was pushed")
	}
}

func TestRefusalsKeepTheForgesWords(t *testing.T) {
	r := newRemote(t)
	main := r.tip("main")
	hook := "#!/bin/sh\necho 'main is protected'\nexit 1\n"
	if err := os.WriteFile(filepath.Join(r.dir, "hooks", "pre-receive"), []byte(hook), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := r.commit(forge.NewCommit{Branch: "main", Parent: main, Message: "x", Edits: edit("a", "1")})
	r.wantCode("refused", err, forge.Forbidden)
	if err == nil || !strings.Contains(err.Error(), "main is protected") {
		t.Errorf("the error does not tell what the forge said: %v", err)
	}
	r.wantCode("refused deletion", pushed.Delete(t.Context(), r.Remote, "main", main), forge.Forbidden)

	bad := r.Remote
	bad.Auth = "Basic d3Jvbmc6d3Jvbmc="
	_, err = pushed.Commit(t.Context(), bad, forge.NewCommit{Branch: "x", Base: main, Message: "x", Edits: edit("a", "1")}, who())
	r.wantCode("wrong credential", err, forge.Unauthorized)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = pushed.Commit(ctx, r.Remote, forge.NewCommit{Branch: "x", Base: main, Message: "x", Edits: edit("a", "1")}, who()); err == nil {
		t.Error("a cancelled commit worked")
	}
}
