package git

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

func TestTreeIsAFileSystem(t *testing.T) {
	w := newWork(t)
	w.write("README.md", "hello\n")
	w.write("apps/shop/deploy.yaml", "kind: Deployment\n")
	w.write("apps/shop/empty", "")
	w.write("apps-old/x", "sorts between apps and apps/ in git's order")
	w.link("current", "apps/shop")
	w.link("apps/link.yaml", "shop/deploy.yaml")
	w.git("add", "-A")
	w.git("update-index", "--chmod=+x", "README.md")
	w.git("commit", "-q", "-m", "one")
	tree := w.tree()
	if err := fstest.TestFS(tree, "README.md", "apps/shop/deploy.yaml", "apps/shop/empty", "apps/link.yaml", "current"); err != nil {
		t.Fatal(err)
	}
	info, err := tree.Stat("README.md")
	if err != nil || info.Size() != 6 || info.Mode() != 0o755 {
		t.Errorf("Stat(README.md) = %v, %v; want 6 bytes, mode 0755", info, err)
	}
	if got, want := info.Sys().(Object).SHA, w.git("rev-parse", "HEAD:README.md"); got != want {
		t.Errorf("Sys().SHA = %s, want %s", got, want)
	}
}

func TestLinksInsideTheTreeAreFollowed(t *testing.T) {
	w := newWork(t)
	w.write("base/a.yaml", "a")
	w.link("over/lay/a.yaml", "../../base/a.yaml")
	w.link("over/base", "../base")
	w.link("again", "over/./base/")
	w.commit("one")
	tree := w.tree()
	for _, name := range []string{"over/lay/a.yaml", "over/base/a.yaml", "again/a.yaml"} {
		if got, err := tree.ReadFile(name); err != nil || string(got) != "a" {
			t.Errorf("ReadFile(%s) = %q, %v; want a", name, got, err)
		}
		if sha, ok := tree.Hash(name); !ok || sha != w.git("rev-parse", "HEAD:base/a.yaml") {
			t.Errorf("Hash(%s) = %s, %v; want the hash of what it leads to", name, sha, ok)
		}
	}
	if info, err := tree.Lstat("again"); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("Lstat(again) = %v, %v; want a link", info, err)
	}
	if got, err := tree.ReadLink("over/base"); err != nil || got != "../base" {
		t.Errorf("ReadLink = %q, %v", got, err)
	}
}

// Threat 4: links that leave the tree.
func TestLinksThatLeaveTheTreeAreRefused(t *testing.T) {
	w := newWork(t)
	w.write("a/secret", "x")
	for name, target := range map[string]string{
		"abs": "/etc/passwd", "up": "../outside", "a/up": "../../outside",
		"a/back": "../../" + filepath.Base(w.dir) + "/a/secret", "dirlink": "..", "indirect": "a/up",
	} {
		w.link(name, target)
	}
	w.commit("one")
	tree := w.tree()
	for name, want := range map[string][]string{
		"abs": {`"abs"`, `"/etc/passwd"`}, "up": {`"up"`, `"../outside"`}, "a/up": {`"a/up"`}, "a/back": {`"a/back"`},
		"dirlink/etc": {`"dirlink"`, `".."`}, "indirect": {`"a/up"`, `"../../outside"`},
	} {
		_, err := tree.ReadFile(name)
		if !errors.Is(err, ErrOutsideTree) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("ReadFile(%s) = %v, want ErrOutsideTree", name, err)
			continue
		}
		for _, words := range want {
			if !strings.Contains(err.Error(), words) {
				t.Errorf("ReadFile(%s) = %v, want it to name %s", name, err, words)
			}
		}
		if _, ok := tree.Hash(name); ok {
			t.Errorf("Hash(%s) is known", name)
		}
	}
}

func TestLinkCyclesEnd(t *testing.T) {
	w := newWork(t)
	w.link("self", "self")
	w.link("a", "b")
	w.link("b", "a")
	w.link("dir/loop", "../dir/loop/x")
	w.commit("one")
	tree := w.tree()
	for _, name := range []string{"self", "a", "b/c", "dir/loop"} {
		if _, err := tree.Stat(name); !errors.Is(err, ErrLinkCycle) {
			t.Errorf("Stat(%s) = %v, want ErrLinkCycle", name, err)
		}
	}
}

func TestWhatCannotBeReadSaysWhy(t *testing.T) {
	w := newWork(t)
	w.write("file", "x")
	w.write("dir/file", "x")
	w.link("dangling", "nowhere")
	w.git("add", "-A")
	w.git("update-index", "--add", "--cacheinfo", "160000,"+strings.Repeat("1", 40)+",vendor/lib")
	w.git("commit", "-q", "-m", "one")
	tree := w.tree()
	for name, want := range map[string]error{
		"missing": fs.ErrNotExist, "dir/missing": fs.ErrNotExist, "file/below": fs.ErrNotExist, "dangling": fs.ErrNotExist,
		"vendor/lib": ErrSubmodule, "vendor/lib/main.go": ErrSubmodule,
		"../file": fs.ErrInvalid, "/file": fs.ErrInvalid, "dir/": fs.ErrInvalid, "": fs.ErrInvalid, "dir/../file": fs.ErrInvalid,
	} {
		if _, err := tree.ReadFile(name); !errors.Is(err, want) {
			t.Errorf("ReadFile(%q) = %v, want %v", name, err, want)
		}
		if _, err := tree.Open(name); !errors.Is(err, want) {
			t.Errorf("Open(%q) = %v, want %v", name, err, want)
		}
	}
	if _, err := tree.ReadDir("vendor/lib"); !errors.Is(err, ErrSubmodule) {
		t.Errorf("ReadDir(submodule) = %v", err)
	}
	if _, err := tree.ReadFile("dir"); err == nil {
		t.Error("reading a directory as a file succeeded")
	}
	if _, err := tree.ReadDir("file"); err == nil {
		t.Error("listing a file succeeded")
	}
}

func TestHostileFileNames(t *testing.T) {
	w := newWork(t)
	names := []string{"new\nline", `quo"te`, "--output=x", "ünï\u202Ecode", "tab\there", "back\\slash", " space "}
	for _, n := range names {
		w.write("d/"+n, "content of "+n)
	}
	first := w.commit("one")
	for _, n := range names {
		w.write("d/"+n, "changed")
	}
	second := w.commit("two")
	tree := w.tree()
	list, err := tree.ReadDir("d")
	if err != nil || len(list) != len(names) {
		t.Fatalf("ReadDir = %d entries, %v; want %d", len(list), err, len(names))
	}
	for _, n := range names {
		if got, err := tree.ReadFile("d/" + n); err != nil || string(got) != "changed" {
			t.Errorf("ReadFile(%q) = %q, %v", n, got, err)
		}
	}
	changed, err := tree.repo.ChangedFiles(t.Context(), first, second)
	if err != nil || len(changed) != len(names) {
		t.Errorf("ChangedFiles = %q, %v; want %d names", changed, err, len(names))
	}
}

// Threat 6: huge documents. The reader must survive them.
func TestFileOverTheLimitIsRefused(t *testing.T) {
	w := newWork(t)
	w.write("fits", strings.Repeat("x", 1000))
	w.write("huge", strings.Repeat("x", 1001))
	w.commit("one")
	r, err := Open(t.Context(), w.dir, Options{MaxBlob: 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	tree, err := r.Tree(t.Context(), w.git("rev-parse", "HEAD^{tree}"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tree.ReadFile("huge"); !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "1001 bytes, the limit is 1000") {
		t.Errorf("ReadFile(huge) = %v", err)
	}
	if got, err := tree.ReadFile("fits"); err != nil || len(got) != 1000 {
		t.Errorf("ReadFile(fits) = %d bytes, %v", len(got), err)
	}
}

func TestTreeObjectsWithForbiddenNamesAreRefused(t *testing.T) {
	sha := bytes.Repeat([]byte{1}, 20)
	line := func(s string) []byte { return append([]byte(s+"\x00"), sha...) }
	for name, data := range map[string][]byte{
		"parent":    line("100644 .."),
		"self":      line("100644 ."),
		"empty":     line("100644 "),
		"slash":     line("100644 a/b"),
		"twice":     append(line("100644 a"), line("40000 a")...),
		"mode":      line("1o0644 a"),
		"truncated": line("100644 a")[:12],
	} {
		if _, err := parseTree(data, 20); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzParseTree(f *testing.F) {
	f.Add([]byte("100644 a\x0012345678901234567890"))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := parseTree(data, 20)
		if err != nil {
			return
		}
		for _, e := range d.entries {
			if strings.Contains(e.name, "/") || e.name == ".." || len(e.sha) != 40 {
				t.Errorf("accepted %+v", e)
			}
		}
	})
}

func TestReadsStopWithTheContext(t *testing.T) {
	w := newWork(t)
	w.write("a", "x")
	w.commit("one")
	r := w.open()
	ctx, cancel := context.WithCancel(t.Context())
	tree, err := r.Tree(ctx, w.git("rev-parse", "HEAD^{tree}"))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := tree.ReadFile("a"); !errors.Is(err, context.Canceled) {
		t.Errorf("ReadFile = %v, want context.Canceled", err)
	}
	again, err := r.Tree(t.Context(), tree.SHA())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.ReadFile("a"); err != nil {
		t.Errorf("a cancelled read spoiled the repository: %v", err)
	}
}

func TestManyReadersAtOnce(t *testing.T) {
	w := newWork(t)
	for i := range 50 {
		w.write(fmt.Sprintf("f%d", i), fmt.Sprint(i))
	}
	w.commit("one")
	tree := w.tree()
	done := make(chan error)
	for range 8 {
		go func() {
			for i := range 50 {
				got, err := tree.ReadFile(fmt.Sprintf("f%d", i))
				if err == nil && string(got) != fmt.Sprint(i) {
					err = fmt.Errorf("f%d holds %q", i, got)
				}
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestOpenLeavesTheCloneAlone(t *testing.T) {
	w := newWork(t)
	w.write("a", "1\n2\n3\n4\n5\n")
	w.commit("base")
	w.git("checkout", "-q", "-b", "topic")
	w.write("a", "1\n2\n3\n4\nfive\n")
	w.commit("topic")
	w.git("checkout", "-q", "main")
	w.write("a", "one\n2\n3\n4\n5\n")
	w.commit("main")
	marker := filepath.Join(t.TempDir(), "ran")
	// A clone that would run programs if its configuration counted.
	for _, kv := range [][2]string{
		{"core.fsmonitor", "touch " + marker}, {"merge.evil.driver", "touch " + marker},
		{"core.hooksPath", w.dir}, {"diff.external", "touch " + marker}, {"core.alternateRefsCommand", "touch " + marker},
	} {
		w.git("config", kv[0], kv[1])
	}
	w.write(".git/info/attributes", "* merge=evil\n")
	before := listing(t, w.dir)
	r, err := Open(t.Context(), filepath.Join(w.dir, ".git"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	base, err := r.ResolveCommit(t.Context(), "main")
	if err != nil {
		t.Fatal(err)
	}
	head, err := r.ResolveCommit(t.Context(), "refs/heads/topic")
	if err != nil {
		t.Fatal(err)
	}
	sha, conflicts, err := r.MergeTree(t.Context(), base, head)
	if err != nil || len(conflicts) > 0 {
		t.Fatalf("MergeTree = %v, %v", conflicts, err)
	}
	tree, err := r.Tree(t.Context(), sha)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := tree.ReadFile("a"); err != nil || string(got) != "one\n2\n3\n4\nfive\n" {
		t.Errorf("merged file = %q, %v", got, err)
	}
	if after := listing(t, w.dir); after != before {
		t.Errorf("the clone changed:\n%s\nwas\n%s", after, before)
	}
	if _, err := os.Stat(marker); err == nil {
		t.Error("the clone's configuration ran a program")
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(r.scratch); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("temporary files stay behind: %v", err)
	}
}

// listing names every file below dir with its size.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			fmt.Fprintln(&b, name, info.Mode(), info.Size(), info.ModTime())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestOpenUnusualClones(t *testing.T) {
	w := newWork(t)
	w.write("sub/a", "x")
	w.commit("one")
	w.git("tag", "-a", "-m", "v", "v1")
	head := w.commit("two")
	linked := filepath.Join(t.TempDir(), `linked "tree" # ü`)
	w.git("worktree", "add", "-q", linked, "HEAD~1")
	shallow := filepath.Join(t.TempDir(), "shallow")
	w.git("clone", "-q", "--depth=1", "file://"+w.dir, shallow)
	sha256 := &work{t, t.TempDir()}
	sha256.git("init", "-q", "--object-format=sha256")
	sha256.write("a", "x")
	for dir, want := range map[string]string{
		filepath.Join(w.dir, "sub"): head, linked: w.git("rev-parse", "HEAD~1"), shallow: head, sha256.dir: sha256.commit("one"),
	} {
		r, err := Open(t.Context(), dir, Options{})
		if err != nil {
			t.Errorf("Open(%s): %v", dir, err)
			continue
		}
		got, err := r.ResolveCommit(t.Context(), "HEAD")
		if err != nil || got != want {
			t.Errorf("%s: HEAD = %s, %v; want %s", dir, got, err, want)
		}
		if sha, err := r.TreeOf(t.Context(), got); err != nil {
			t.Errorf("%s: %v", dir, err)
		} else if _, err := r.Tree(t.Context(), sha); err != nil {
			t.Errorf("%s: %v", dir, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	if got, err := w.open().ResolveCommit(t.Context(), w.git("rev-parse", "v1")); err != nil || got != w.git("rev-parse", "HEAD~1") {
		t.Errorf("annotated tag by hash = %s, %v", got, err)
	}
	if _, err := Open(t.Context(), t.TempDir(), Options{}); err == nil || !strings.Contains(err.Error(), "is not a Git repository") {
		t.Errorf("Open(plain directory) = %v", err)
	}
	if _, err := Open(t.Context(), filepath.Join(t.TempDir(), "none"), Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open(missing) = %v", err)
	}
}

func TestRevisionsAreNotOptions(t *testing.T) {
	w := newWork(t)
	w.commit("one")
	r := w.open()
	for _, rev := range []string{"", "-h", "--git-dir", "^HEAD", "HEAD..HEAD", "a b", "a\nb", strings.Repeat("a", 600)} {
		if _, err := r.ResolveCommit(t.Context(), rev); err == nil || errors.Is(err, ErrNoRevision) {
			t.Errorf("ResolveCommit(%q) = %v, want a refusal", rev, err)
		}
	}
	for _, rev := range []string{"nope", "HEAD~7", strings.Repeat("0", 40), w.git("rev-parse", "HEAD^{tree}")} {
		if _, err := r.ResolveCommit(t.Context(), rev); !errors.Is(err, ErrNoRevision) {
			t.Errorf("ResolveCommit(%q) = %v, want ErrNoRevision", rev, err)
		}
	}
}

func TestOldGitIsRefused(t *testing.T) {
	for out, ok := range map[string]bool{
		"git version 2.39.5\n": true, "git version 2.38.0": true, "git version 3.0.0": true, "git version 2.50.1 (Apple Git-155)": true,
		"git version 2.37.7": false, "git version 1.99.0": false, "gat": false,
	} {
		if err := checkVersion(out); (err == nil) != ok {
			t.Errorf("checkVersion(%q) = %v", out, err)
		}
	}
}

func BenchmarkTree1000Files(b *testing.B) {
	w := newWork(b)
	for i := range 1000 {
		w.write(fmt.Sprintf("apps/team%d/app%d.yaml", i%40, i), strings.Repeat("kind: Deployment\n", 40)+fmt.Sprint(i))
	}
	w.commit("one")
	w.git("gc", "-q")
	sha := w.git("rev-parse", "HEAD^{tree}")
	r := w.open()
	b.Run("list", func(b *testing.B) {
		for b.Loop() {
			r.dirs = dirCache{}
			readAll(b, r, sha, false)
		}
	})
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			readAll(b, r, sha, true)
		}
	})
}

func readAll(b *testing.B, r *Repo, sha string, contents bool) {
	tree, err := r.Tree(b.Context(), sha)
	if err != nil {
		b.Fatal(err)
	}
	files := 0
	err = fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		if contents {
			_, err = tree.ReadFile(name)
		}
		return err
	})
	if err != nil || files != 1000 {
		b.Fatalf("%d files, %v", files, err)
	}
}

func TestMain(m *testing.M) {
	if _, err := exec.LookPath("git"); err != nil {
		fmt.Fprintln(os.Stderr, "git is needed for the tests of this package:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// A crafted tree must not make the bot fetch everything again and again.
func TestTreeThatLiesAboutTypesIsNoDamage(t *testing.T) {
	w := newWork(t)
	w.write("a", "x")
	w.commit("one")
	blob, inner := w.git("rev-parse", "HEAD:a"), w.git("rev-parse", "HEAD^{tree}")
	raw := func(sha string) []byte {
		b, err := hex.DecodeString(sha)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	data := append([]byte("100644 file\x00"), raw(inner)...)
	data = append(append(data, "40000 tree\x00"...), raw(blob)...)
	sha := w.feed(data, "hash-object", "-t", "tree", "-w", "--literally", "--stdin")
	r := w.open()
	tree, err := r.Tree(t.Context(), sha)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tree.ReadFile("file"); err == nil || !strings.Contains(err.Error(), "is a tree, not a blob") {
		t.Errorf("ReadFile = %v", err)
	}
	if _, err := tree.ReadDir("tree"); err == nil || !strings.Contains(err.Error(), "is a blob, not a tree") {
		t.Errorf("ReadDir = %v", err)
	}
	if r.damaged.Load() {
		t.Error("taken for damage of the mirror")
	}
}

func TestManyFilesAreReadAtOnce(t *testing.T) {
	w := newWork(t)
	var names []string
	for i := range 3*maxAtOnce + 1 {
		names = append(names, fmt.Sprintf("f%d", i))
		w.write(names[i], fmt.Sprintf("content of %d", i))
	}
	w.write("dir/x", "x")
	w.link("link", "f7")
	w.commit("files")
	tree := w.tree()
	got, err := tree.ReadFiles(append(names, "link"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range names {
		if want := fmt.Sprintf("content of %d", i); string(got[i]) != want {
			t.Errorf("%s: got %q, want %q", names[i], got[i], want)
		}
	}
	if string(got[len(names)]) != "content of 7" {
		t.Errorf("a link leads to %q", got[len(names)])
	}
	for _, bad := range []string{"missing", "dir", "../x"} {
		if _, err := tree.ReadFiles([]string{"f0", bad, "f1"}); err == nil {
			t.Errorf("reading %s among others: no error", bad)
		}
	}
	if got, err := tree.ReadFiles([]string{"f1"}); err != nil || string(got[0]) != "content of 1" {
		t.Errorf("after errors: %q, %v", got, err)
	}
}
