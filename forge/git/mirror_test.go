package git

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lockkeeper/forge"
)

func TestFetchOnlyWhatIsAskedFor(t *testing.T) {
	r := newRemote(t)
	r.write("a", "1")
	main := r.commit("main")
	r.git("tag", "v1")
	r.git("checkout", "-q", "-b", "topic")
	r.write("a", "2")
	topic := r.commit("topic")
	r.git("update-ref", "refs/pull/7/head", topic)
	r.git("checkout", "-q", "-b", "unwanted")
	unwanted := r.commit("unwanted")
	m, ctx := newMirror(t), t.Context()

	if _, err := m.ResolveCommit(ctx, main); !errors.Is(err, ErrNoRevision) {
		t.Errorf("before any fetch: %v", err)
	}
	got, err := m.Fetch(ctx, r.url, secret, "refs/heads/main", "refs/pull/7/head", main)
	if err != nil || !slices.Equal(got, []string{main, topic, main}) {
		t.Fatalf("Fetch = %v, %v; want %v", got, err, []string{main, topic, main})
	}
	if sha, err := m.ResolveCommit(ctx, "refs/pull/7/head"); err != nil || sha != topic {
		t.Errorf("ResolveCommit = %s, %v", sha, err)
	}
	if _, err := m.ResolveCommit(ctx, unwanted); !errors.Is(err, ErrNoRevision) {
		t.Errorf("a branch nobody asked for was fetched: %v", err)
	}
	refs, err := m.run(ctx, "for-each-ref", "--format=%(refname)")
	if err != nil || strings.Count(string(refs), "\n") != 3 || strings.Count(string(refs), "refs/lockkeeper/") != 3 {
		t.Errorf("refs of the mirror: %s, %v", refs, err)
	}
	tree, conflicts, err := m.MergeTree(ctx, main, topic)
	if err != nil || len(conflicts) > 0 {
		t.Fatal(conflicts, err)
	}
	files, err := m.Tree(ctx, tree)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := files.ReadFile("a"); err != nil || string(data) != "2" {
		t.Errorf("a = %q, %v", data, err)
	}
}

func TestPresentHashesNeedNoNetwork(t *testing.T) {
	r := newRemote(t)
	one := r.commit("one")
	m, ctx := newMirror(t), t.Context()
	if _, err := m.Fetch(ctx, r.url, secret, one); err != nil {
		t.Fatal(err)
	}
	before := r.requests.Load()
	if got, err := m.Fetch(ctx, r.url, secret, one); err != nil || got[0] != one {
		t.Fatal(got, err)
	}
	if n := r.requests.Load() - before; n != 0 {
		t.Errorf("%d requests for a commit that is here", n)
	}
	two := r.commit("two")
	if got, err := m.Fetch(ctx, r.url, secret, one, two); err != nil || got[1] != two {
		t.Errorf("Fetch of a new hash = %v, %v", got, err)
	}
}

func TestForcePushedBranchesAndClashingNames(t *testing.T) {
	r := newRemote(t)
	r.write("a", "1")
	r.commit("main")
	r.git("checkout", "-q", "-b", "team")
	old := r.commit("old")
	m, ctx := newMirror(t), t.Context()
	if _, err := m.Fetch(ctx, r.url, secret, "refs/heads/team"); err != nil {
		t.Fatal(err)
	}
	r.git("commit", "-q", "--amend", "--allow-empty", "-m", "new")
	forced := r.git("rev-parse", "HEAD")
	if got, err := m.Fetch(ctx, r.url, secret, "refs/heads/team"); err != nil || got[0] != forced {
		t.Errorf("after a force-push: %v, %v; want %s", got, err, forced)
	}
	if _, err := m.ResolveCommit(ctx, old); err != nil {
		t.Errorf("the replaced head is gone, though something may still need it: %v", err)
	}
	// refs/heads/team must not stand in the way of refs/heads/team/x.
	r.git("branch", "-m", "team/x")
	if got, err := m.Fetch(ctx, r.url, secret, "refs/heads/team/x"); err != nil || got[0] != forced {
		t.Errorf("Fetch(team/x) = %v, %v", got, err)
	}
}

// Threat 8: no credential in errors, arguments or on disk.
func TestCredentialStaysSecret(t *testing.T) {
	r := newRemote(t)
	r.commit("one")
	m, ctx := newMirror(t), t.Context()
	wrong := "Basic eC1hY2Nlc3MtdG9rZW46Z2hzX1dST05H" // x-access-token:ghs_WRONG
	_, err := m.Fetch(ctx, r.url, wrong, "refs/heads/main")
	if forge.CodeOf(err) != forge.Unauthorized {
		t.Errorf("Fetch with a wrong credential = %v, want unauthorized", err)
	}
	if _, err := m.Fetch(ctx, r.url, "", "refs/heads/main"); forge.CodeOf(err) != forge.Unauthorized {
		t.Errorf("Fetch without a credential = %v, want unauthorized", err)
	}
	echo := &failure{stderr: scrub("remote: bad "+wrong+" and ghs_WRONG\x1b[31m\nfatal: no", wrong)}
	for _, text := range []string{err.Error(), echo.Error()} {
		for _, leak := range []string{"ghs_WRONG", "eC1hY2Nlc3", "\x1b", "\n"} {
			if strings.Contains(text, leak) {
				t.Errorf("%q leaks %q", text, leak)
			}
		}
	}
	if _, err := m.Fetch(ctx, r.url, secret, "refs/heads/main"); err != nil {
		t.Fatal(err)
	}
	r.answerWith(func(w http.ResponseWriter, _ *http.Request) { // while git runs
		names, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, name := range names {
			if argv, err := os.ReadFile(name); err == nil && strings.Contains(string(argv), "eC1h") {
				t.Errorf("%s holds the credential: %q", name, argv)
			}
		}
		w.WriteHeader(http.StatusInternalServerError)
	})
	if _, err := m.Fetch(ctx, r.url, secret, "refs/heads/main"); err == nil {
		t.Error("Fetch succeeded on HTTP 500")
	}
	config, err := os.ReadFile(filepath.Join(m.dir, "config"))
	if err != nil || strings.Contains(string(config), "eC1h") {
		t.Errorf("config on disk: %s, %v", config, err)
	}
	_, err = m.Fetch(ctx, strings.Replace(r.url, "http://", "http://me:hunter2@", 1), secret, "refs/heads/main")
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("URL with a password: %v", err)
	}
}

func TestUnsafeFetchesAreRefused(t *testing.T) {
	r := newRemote(t)
	r.commit("one")
	m := newMirror(t)
	for _, url := range []string{
		"", "-c", "--upload-pack=touch x", "ext::sh -c true", "ssh://git@example.com/x", "git@example.com:x/y", "file://" + r.dir,
		r.dir, "git://example.com/x", "http://", "http://a b/", "http://h/\n", "ftp://h/x",
	} {
		if _, err := m.Fetch(t.Context(), url, "", "refs/heads/main"); err == nil || forge.CodeOf(err) != "" {
			t.Errorf("Fetch(%q) = %v, want a refusal", url, err)
		}
	}
	for _, want := range []string{
		"", "main", "HEAD", "-x", "refs/heads/../x", "refs/heads/a:refs/heads/b", "+refs/heads/a", "refs/heads/*", "refs/heads/a b",
		"refs/heads/a\nrefs/heads/b", "refs/heads/x.lock", "abc123", "refs/heads/@{u}", "refs/heads/",
	} {
		if _, err := m.Fetch(t.Context(), r.url, secret, want); err == nil || forge.CodeOf(err) != "" {
			t.Errorf("Fetch want %q = %v, want a refusal", want, err)
		}
	}
	if _, err := m.Fetch(t.Context(), r.url, "Bearer x\r\nEvil: y", "refs/heads/main"); err == nil || forge.CodeOf(err) != "" {
		t.Errorf("a header with a line break: %v", err)
	}
	if n := r.requests.Load(); n != 0 {
		t.Errorf("%d requests reached the server", n)
	}
}

func TestRemoteFailuresHaveACode(t *testing.T) {
	r := newRemote(t)
	one := r.commit("one")
	elsewhere := newRemote(t)
	elsewhere.commit("one")
	m, ctx := newMirror(t), t.Context()
	if _, err := m.Fetch(ctx, r.url, secret, "refs/pull/9/head"); forge.CodeOf(err) != forge.NotFound || !strings.Contains(err.Error(), "refs/pull/9/head") {
		t.Errorf("missing ref: %v", err)
	}
	if _, err := m.Fetch(ctx, r.url, secret, strings.Repeat("1", 40)); forge.CodeOf(err) != forge.NotFound {
		t.Errorf("missing hash: %v", err)
	}
	for status, want := range map[int]forge.Code{
		401: forge.Unauthorized, 403: forge.Forbidden, 404: forge.NotFound, 429: forge.RateLimited, 500: forge.Unavailable, 503: forge.Unavailable,
	} {
		r.answerWith(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		if _, err := m.Fetch(ctx, r.url, secret, "refs/heads/main"); forge.CodeOf(err) != want {
			t.Errorf("HTTP %d: %v, want %s", status, err, want)
		}
	}
	// A redirect would carry the credential to whoever it names.
	before := elsewhere.requests.Load()
	r.answerWith(func(w http.ResponseWriter, req *http.Request) {
		http.Redirect(w, req, elsewhere.url+"/info/refs?service=git-upload-pack", http.StatusFound)
	})
	if _, err := m.Fetch(ctx, r.url, secret, "refs/heads/main"); forge.CodeOf(err) == "" || elsewhere.requests.Load() != before {
		t.Errorf("redirect: %v, %d requests elsewhere", err, elsewhere.requests.Load()-before)
	}
	r.answerWith(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	})
	if _, err := m.Fetch(ctx, r.url, secret, "refs/heads/main"); forge.CodeOf(err) != forge.Unavailable {
		t.Errorf("cut connection: %v", err)
	}
	r.answerWith(nil)
	if got, err := m.Fetch(ctx, r.url, secret, "refs/heads/main"); err != nil || got[0] != one {
		t.Errorf("after the failures: %v, %v", got, err)
	}
}

func TestFetchStopsWithTheContext(t *testing.T) {
	r := newRemote(t)
	r.commit("one")
	m := newMirror(t)
	ctx, cancel := context.WithCancel(t.Context())
	r.answerWith(func(_ http.ResponseWriter, req *http.Request) {
		cancel()
		<-req.Context().Done() // git hangs up because it was killed
	})
	if _, err := m.Fetch(ctx, r.url, secret, "refs/heads/main"); !errors.Is(err, context.Canceled) {
		t.Errorf("Fetch = %v, want context.Canceled", err)
	}
	m.turn <- struct{}{} // somebody else fetches
	if _, err := m.Fetch(ctx, r.url, secret, "refs/heads/main"); !errors.Is(err, context.Canceled) {
		t.Errorf("Fetch while waiting its turn = %v, want context.Canceled", err)
	}
	<-m.turn
}

func TestConcurrentFetches(t *testing.T) {
	r := newRemote(t)
	var heads []string
	for i := range 6 {
		r.write("a", fmt.Sprint(i))
		heads = append(heads, r.commit(fmt.Sprint(i)))
		r.git("update-ref", fmt.Sprintf("refs/pull/%d/head", i), "HEAD")
	}
	m := newMirror(t)
	done := make(chan error)
	for i := range heads {
		go func() {
			got, err := m.Fetch(t.Context(), r.url, secret, fmt.Sprintf("refs/pull/%d/head", i))
			if err == nil && got[0] != heads[i] {
				err = fmt.Errorf("pull %d = %s, want %s", i, got[0], heads[i])
			}
			done <- err
		}()
	}
	for range heads {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestDamagedMirrorIsFetchedAgain(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, m *Mirror){
		"half deleted": func(t *testing.T, m *Mirror) { remove(t, filepath.Join(m.dir, "objects")) },
		"no HEAD":      func(t *testing.T, m *Mirror) { remove(t, filepath.Join(m.dir, "HEAD")) },
		"gone":         func(t *testing.T, m *Mirror) { remove(t, m.dir) },
		"empty pack":   func(t *testing.T, m *Mirror) { overwrite(t, m, "objects/pack/*.pack", nil) },
		"broken config": func(t *testing.T, m *Mirror) {
			overwrite(t, m, "config", []byte("[core\n"))
		},
		"broken ref": func(t *testing.T, m *Mirror) { overwrite(t, m, "refs/lockkeeper/*", []byte("zzz")) },
		"lock left by a killed git": func(t *testing.T, m *Mirror) {
			lock := filepath.Join(m.dir, private("refs/heads/main")+".lock")
			if err := os.WriteFile(lock, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRemote(t)
			r.write("a", "1")
			r.commit("one")
			m, ctx := newMirror(t), t.Context()
			if _, err := m.Fetch(ctx, r.url, secret, "refs/heads/main"); err != nil {
				t.Fatal(err)
			}
			m.objects.close() // as after a restart
			damage(t, m)
			r.write("a", "2")
			two := r.commit("two")
			got, err := m.Fetch(ctx, r.url, secret, "refs/heads/main")
			if err != nil || got[0] != two {
				t.Fatalf("Fetch = %v, %v; want %s", got, err, two)
			}
			checkFileA(t, m, two, "2")
		})
	}
}

// A damage that no fetch notices is noticed when reading, and then repaired.
func TestDamageFoundByReadingIsRepaired(t *testing.T) {
	r := newRemote(t)
	r.write("a", strings.Repeat("content ", 1000))
	one := r.commit("one")
	m, ctx := newMirror(t), t.Context()
	if _, err := m.Fetch(ctx, r.url, secret, one); err != nil {
		t.Fatal(err)
	}
	packs, err := filepath.Glob(filepath.Join(m.dir, "objects/pack/*.pack"))
	if err != nil || len(packs) != 1 {
		t.Fatal(packs, err)
	}
	data, err := os.ReadFile(packs[0])
	if err != nil {
		t.Fatal(err)
	}
	for i := 20; i < len(data)-20; i++ {
		data[i] ^= 0xff
	}
	m.objects.close()
	overwrite(t, m, "objects/pack/*.pack", data)
	if _, err := m.TreeOf(ctx, one); err == nil {
		t.Fatal("reading a broken pack succeeded")
	}
	if _, err := m.Fetch(ctx, r.url, secret, one); err != nil {
		t.Fatal(err)
	}
	checkFileA(t, m, one, strings.Repeat("content ", 1000))
}

func checkFileA(t *testing.T, m *Mirror, commit, want string) {
	t.Helper()
	sha, err := m.TreeOf(t.Context(), commit)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := m.Tree(t.Context(), sha)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := tree.ReadFile("a"); err != nil || string(got) != want {
		t.Errorf("a = %.20q, %v; want %.20q", got, err, want)
	}
}

func remove(t *testing.T, name string) {
	t.Helper()
	if err := os.RemoveAll(name); err != nil {
		t.Fatal(err)
	}
}

func overwrite(t *testing.T, m *Mirror, pattern string, data []byte) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(m.dir, pattern))
	if err != nil || len(names) == 0 {
		t.Fatal("nothing to damage: ", names, err)
	}
	for _, name := range names {
		if err := os.Chmod(name, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestManyFetchesKeepTheMirrorTidy(t *testing.T) {
	r := newRemote(t)
	m, ctx := newMirror(t), t.Context()
	var first, last string
	for i := range maxPacks + 2 {
		r.write("a", fmt.Sprint(i))
		last = r.commit(fmt.Sprint(i))
		if first == "" {
			first = last
		}
		if _, err := m.Fetch(ctx, r.url, secret, last); err != nil {
			t.Fatal(err)
		}
	}
	packs, err := filepath.Glob(filepath.Join(m.dir, "objects/pack/*.pack"))
	if err != nil || len(packs) > 5 {
		t.Errorf("%d packs, %v", len(packs), err)
	}
	checkFileA(t, m, first, "0")
	checkFileA(t, m, last, fmt.Sprint(maxPacks+1))
}

// fetched is a remote with one commit, of one file, and a mirror that has it.
func fetched(t *testing.T) (r *remote, m *Mirror, commit, tree string) {
	t.Helper()
	r = newRemote(t)
	r.write("a", "1")
	commit = r.commit("main")
	m = newMirror(t)
	if _, err := m.Fetch(t.Context(), r.url, secret, commit); err != nil {
		t.Fatal(err)
	}
	tree, err := m.TreeOf(t.Context(), commit)
	if err != nil {
		t.Fatal(err)
	}
	return r, m, commit, tree
}

// What a killed process was changing is found and removed by the next one, which
// looks into the cache only.
func TestTreesAreWrittenInTheCache(t *testing.T) {
	_, m, _, base := fetched(t)
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "none"))
	if _, err := m.WriteTree(t.Context(), base, map[string]Edit{"a": {Content: []byte("2")}}); err != nil {
		t.Error(err)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(m.dir), "old-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestPush(t *testing.T) {
	r, m, main, base := fetched(t)
	ctx := t.Context()
	tree, err := m.WriteTree(ctx, base, map[string]Edit{"a": {Content: []byte("2")}})
	if err != nil {
		t.Fatal(err)
	}
	who := Signature{"bot", "bot@example.com", time.Unix(1700000000, 0)}
	sha, err := m.WriteCommit(ctx, Commit{Tree: tree, Parents: []string{main}, Author: who, Committer: who, Message: "m"})
	if err != nil {
		t.Fatal(err)
	}
	const ref = "refs/heads/lockkeeper/drift/shop"
	if err := m.Push(ctx, r.url, secret, sha, ref, main); !errors.Is(err, ErrStale) {
		t.Errorf("push that expects a ref which is not there = %v, want ErrStale", err)
	}
	if err := m.Push(ctx, r.url, secret, sha, ref, ""); err != nil {
		t.Fatal(err)
	}
	if got := r.git("rev-parse", ref); got != sha {
		t.Errorf("remote has %s, want %s", got, sha)
	}
	if err := m.Push(ctx, r.url, secret, main, ref, ""); !errors.Is(err, ErrStale) {
		t.Errorf("push over somebody else's ref = %v, want ErrStale", err)
	}
	if err := m.Push(ctx, r.url, secret, main, ref, sha); err != nil {
		t.Errorf("push back to main, which is no fast-forward: %v", err)
	}
	if err := m.Push(ctx, r.url, "Basic d3Jvbmc6d3Jvbmc=", sha, ref, main); forge.CodeOf(err) != forge.Unauthorized || strings.Contains(err.Error(), "d3Jv") {
		t.Errorf("push with a wrong credential = %v", err)
	}
	if err := m.Push(ctx, r.url, secret, "", ref, main); err != nil {
		t.Errorf("deleting: %v", err)
	}
	if refs := r.git("for-each-ref", ref); refs != "" {
		t.Errorf("the ref is still there: %s", refs)
	}
	hook := filepath.Join(r.dir, ".git/hooks/pre-receive")
	if err := os.WriteFile(hook, []byte("#!/bin/sh\necho no such luck >&2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := m.Push(ctx, r.url, secret, sha, ref, ""); forge.CodeOf(err) != forge.Forbidden || !strings.Contains(err.Error(), "no such luck") {
		t.Errorf("push that the remote refuses = %v", err)
	}
	for _, bad := range [][3]string{{"-f", ref, ""}, {sha, "--mirror", ""}, {sha, "refs/heads/a:b", ""}, {sha, ref, "main"}} {
		if err := m.Push(ctx, r.url, secret, bad[0], bad[1], bad[2]); err == nil || forge.CodeOf(err) != "" {
			t.Errorf("Push(%q) = %v, want a refusal", bad, err)
		}
	}
}
