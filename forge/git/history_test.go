package git

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"lockkeeper/forge/git/internal/check"
)

func TestMergeTree(t *testing.T) {
	w := newWork(t)
	w.write("a", "1\n2\n3\n4\n5\n")
	w.write("dir/b", "b\n")
	w.commit("base")
	w.git("checkout", "-q", "-b", "topic")
	w.write("a", "1\n2\n3\n4\nfive\n")
	topic := w.commit("topic")
	w.git("checkout", "-q", "-b", "clash", "main")
	w.write("a", "uno\n2\n3\n4\n5\n")
	w.write("dir/new\nline", "clash")
	clash := w.commit("clash")
	w.git("checkout", "-q", "main")
	w.write("a", "one\n2\n3\n4\n5\n")
	w.write("dir/new\nline", "main")
	main := w.commit("main")
	r := w.open()

	tree, conflicts, err := r.MergeTree(t.Context(), main, topic)
	if err != nil || len(conflicts) > 0 {
		t.Fatalf("MergeTree = %v, %v", conflicts, err)
	}
	w.git("merge", "-q", "--no-edit", "topic")
	if want := w.git("rev-parse", "HEAD^{tree}"); tree != want {
		t.Errorf("tree = %s; git merge made %s", tree, want)
	}
	clean, err := r.IsCleanMerge(t.Context(), w.git("rev-parse", "HEAD"))
	if err != nil || !clean {
		t.Errorf("IsCleanMerge = %v, %v", clean, err)
	}
	tree, conflicts, err = r.MergeTree(t.Context(), main, clash)
	if err != nil || tree != "" || !slices.Equal(conflicts, []string{"a", "dir/new\nline"}) {
		t.Errorf("MergeTree with conflicts = %q, %q, %v", tree, conflicts, err)
	}
	if _, _, err := r.MergeTree(t.Context(), main, strings.Repeat("1", 40)); !errors.Is(err, ErrNoRevision) {
		t.Errorf("MergeTree(unknown) = %v", err)
	}
	if _, _, err := r.MergeTree(t.Context(), main, "--stdin"); err == nil {
		t.Error("an option passed as a commit")
	}
}

func TestMergesThatAddSomethingAreNotClean(t *testing.T) {
	w := newWork(t)
	w.write("a", "a\n")
	root := w.commit("base")
	for _, side := range []string{"x", "y"} {
		w.git("checkout", "-q", "-b", side, root)
		w.write(side, side)
		w.commit(side)
	}
	merge := func(name string, do func()) string {
		w.git("checkout", "-q", "-B", "m-"+name, "x")
		do()
		return w.git("rev-parse", "HEAD")
	}
	r := w.open()
	for name, c := range map[string]struct {
		commit string
		want   bool
	}{
		"clean": {merge("clean", func() { w.git("merge", "-q", "--no-edit", "y") }), true},
		"plain": {merge("plain", func() { w.commit("no merge") }), false},
		"ours":  {merge("ours", func() { w.git("merge", "-q", "--no-edit", "-s", "ours", "y") }), false},
		"evil":  {merge("evil", func() { w.git("merge", "-q", "--no-commit", "y"); w.write("evil", "x"); w.commit("merge") }), false},
		"octops": {merge("octops", func() {
			w.git("checkout", "-q", "-B", "z", root)
			w.write("z", "z")
			w.commit("z")
			w.git("merge", "-q", "--no-edit", "x", "y")
		}), false},
	} {
		if got, err := r.IsCleanMerge(t.Context(), c.commit); err != nil || got != c.want {
			t.Errorf("%s: IsCleanMerge = %v, %v; want %v", name, got, err, c.want)
		}
	}
}

func TestUnrelatedHistories(t *testing.T) {
	w := newWork(t)
	w.write("a", "a")
	a := w.commit("a")
	w.git("checkout", "-q", "--orphan", "other")
	w.write("b", "b")
	b := w.commit("b")
	w.git("merge", "-q", "--no-edit", "--allow-unrelated-histories", "main")
	r := w.open()
	if _, _, err := r.MergeTree(t.Context(), a, b); !errors.Is(err, ErrUnrelated) {
		t.Errorf("MergeTree = %v", err)
	}
	if _, err := r.MergeBase(t.Context(), a, b); !errors.Is(err, ErrUnrelated) {
		t.Errorf("MergeBase = %v", err)
	}
	if clean, err := r.IsCleanMerge(t.Context(), w.git("rev-parse", "HEAD")); err != nil || clean {
		t.Errorf("IsCleanMerge = %v, %v", clean, err)
	}
	if ok, err := r.IsAncestor(t.Context(), a, b); err != nil || ok {
		t.Errorf("IsAncestor = %v, %v", ok, err)
	}
}

func TestHistoryQuestions(t *testing.T) {
	w := newWork(t)
	root := w.commit("root")
	w.git("checkout", "-q", "-b", "topic")
	t1 := w.commit("t1\n\nbody\n\nCo-authored-by: Eve <eve@example.com>\nco-Authored-By: No Mail\n")
	w.git("checkout", "-q", "main")
	m1 := w.commit("m1")
	w.git("merge", "-q", "--no-ff", "--no-edit", "topic")
	m2 := w.git("rev-parse", "HEAD")
	r := w.open()
	ctx := t.Context()

	line, err := r.FirstParents(ctx, root, m2)
	if err != nil || len(line) != 2 || line[0].SHA != m1 || line[1].SHA != m2 {
		t.Fatalf("FirstParents = %+v, %v; want %v", line, err, []string{m1, m2})
	}
	if !slices.Equal(line[1].Parents, []string{m1, t1}) || line[1].Author.Name == "" || line[1].Committer.Email == "" {
		t.Errorf("a merge on the line: %+v", line[1])
	}
	// t1 came by the second parent: what it has is not listed, m1 and m2 are.
	if line, err = r.FirstParents(ctx, t1, m2); err != nil || len(line) != 2 || line[0].SHA != m1 {
		t.Errorf("FirstParents from a side branch = %+v, %v", line, err)
	}
	if line, err = r.FirstParents(ctx, m2, m2); err != nil || len(line) != 0 {
		t.Errorf("FirstParents of nothing = %+v, %v", line, err)
	}
	for _, c := range []struct {
		a, b string
		want bool
	}{{root, m2, true}, {t1, m2, true}, {m2, m2, true}, {m2, t1, false}, {t1, m1, false}} {
		if got, err := r.IsAncestor(ctx, c.a, c.b); err != nil || got != c.want {
			t.Errorf("IsAncestor(%s, %s) = %v, %v", c.a, c.b, got, err)
		}
	}
	if got, err := r.MergeBase(ctx, m1, t1); err != nil || got != root {
		t.Errorf("MergeBase = %s, %v", got, err)
	}
	commits, err := r.Commits(ctx, root, m2)
	if err != nil || len(commits) != 3 || commits[2].SHA != m2 || !slices.Equal(commits[2].Parents, []string{m1, t1}) {
		t.Fatalf("Commits = %+v, %v; want m1, t1 and their merge last", commits, err)
	}
	side := commits[slices.IndexFunc(commits, func(c Commit) bool { return c.SHA == t1 })]
	want := Commit{
		SHA: t1, Tree: w.git("rev-parse", t1+"^{tree}"), Parents: []string{root},
		Author:    Signature{"Ada", "ada@example.com", time.Unix(1700000000, 0).UTC()},
		Committer: Signature{"Bob", "bob@example.com", time.Unix(1700000001, 0).UTC()},
		Message:   "t1\n\nbody\n\nCo-authored-by: Eve <eve@example.com>\nco-Authored-By: No Mail\n",
		CoAuthors: []Signature{{Name: "Eve", Email: "eve@example.com"}, {Name: "No Mail"}},
	}
	if side.Subject() != "t1" || side.Author != want.Author || side.Committer != want.Committer || side.Tree != want.Tree ||
		side.Message != want.Message || !slices.Equal(side.CoAuthors, want.CoAuthors) || !slices.Equal(side.Parents, want.Parents) {
		t.Errorf("commit = %+v\nwant %+v", side, want)
	}
	if _, err := r.Commits(ctx, strings.Repeat("1", 40), m2); !errors.Is(err, ErrNoRevision) {
		t.Errorf("Commits(unknown) = %v", err)
	}
}

func TestChangedFilesNamesBothSidesOfARename(t *testing.T) {
	w := newWork(t)
	w.write("old/a", strings.Repeat("same\n", 100))
	w.write("kept", "x")
	w.write("mode", "x")
	one := w.commit("one")
	w.git("mv", "old", "new")
	w.git("update-index", "--chmod=+x", "mode")
	w.git("commit", "-q", "-m", "two")
	r := w.open()
	got, err := r.ChangedFiles(t.Context(), one, w.git("rev-parse", "HEAD^{tree}"))
	if err != nil || !slices.Equal(got, []string{"mode", "new/a", "old/a"}) {
		t.Errorf("ChangedFiles = %q, %v", got, err)
	}
	if got, err := r.ChangedFiles(t.Context(), one, one); err != nil || len(got) != 0 {
		t.Errorf("ChangedFiles of equal trees = %q, %v", got, err)
	}
}

func TestOddCommitObjectsAreRead(t *testing.T) {
	w := newWork(t)
	tree := w.feed(nil, "mktree")
	raw := "tree " + tree + "\nauthor nobody at all\ncommitter B\xe4r <<b@x>> nonsense\ngpgsig -----BEGIN\n tree 1\n author Mallory <m@x> 1 +0000\n\nsubject \xff\n"
	sha := w.feed([]byte(raw), "hash-object", "-t", "commit", "-w", "--literally", "--stdin")
	c, err := w.open().ReadCommit(t.Context(), sha)
	if err != nil {
		t.Fatal(err)
	}
	if c.Author.Name != "nobody at all" || c.Committer.Email != "<b@x>" || c.Tree != tree || c.Subject() != "subject \ufffd" {
		t.Errorf("commit = %+v", c)
	}
}

func FuzzParseCommit(f *testing.F) {
	f.Add([]byte("tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor A <a@x> 1 +0000\n\nm\n\nCo-authored-by: B <b@x>"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseCommit(data)
		if err == nil && check.SHAs(append(c.Parents, c.Tree)...) != nil {
			t.Errorf("accepted %+v", c)
		}
	})
}

func TestWriteTreeAndCommit(t *testing.T) {
	w := newWork(t)
	w.write("keep/me", "k")
	w.write("edit.yaml", "old")
	w.write("gone/away", "x")
	w.link("link", "keep")
	w.git("add", "-A")
	w.git("update-index", "--chmod=+x", "edit.yaml")
	w.git("commit", "-q", "-m", "one")
	head := w.git("rev-parse", "HEAD")
	r, ctx := w.open(), t.Context()
	base, err := r.TreeOf(ctx, head)
	if err != nil {
		t.Fatal(err)
	}
	sha, err := r.WriteTree(ctx, base, map[string]Edit{
		"edit.yaml": {Content: []byte("new\r\n")}, "gone/away": {Delete: true}, "-new/dir\n/f": {Content: []byte("n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	tree, err := r.Tree(ctx, sha)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"edit.yaml": "new\r\n", "-new/dir\n/f": "n", "keep/me": "k"} {
		if got, err := tree.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s = %q, %v; want %q", name, got, err, want)
		}
	}
	if info, err := tree.Stat("edit.yaml"); err != nil || info.Mode() != 0o755 {
		t.Errorf("mode of the edited file = %v, %v; want it kept", info, err)
	}
	if _, err := tree.Stat("gone"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an emptied directory stays: %v", err)
	}
	for name, edits := range map[string]map[string]Edit{
		"through a link": {"link/me": {Content: []byte("x")}}, "a link itself": {"link": {Content: []byte("x")}},
		"below a file": {"edit.yaml/x": {}}, "a directory": {"keep": {}}, "absent": {"nope": {Delete: true}},
		"outside": {"../x": {}}, "git's own": {".git/config": {}}, "root": {".": {}},
	} {
		if _, err := r.WriteTree(ctx, base, edits); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	who := Signature{"lockkeeper[bot]", "bot@example.com", time.Unix(1700000000, 0)}
	spec := Commit{Tree: sha, Parents: []string{head}, Author: who, Committer: who, Message: "Adopt\n\nbody"}
	one, err := r.WriteCommit(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	if two, err := r.WriteCommit(ctx, spec); err != nil || two != one {
		t.Errorf("the same commit twice: %s and %s, %v", one, two, err)
	}
	if got, err := r.ReadCommit(ctx, one); err != nil || got.Tree != sha || got.Author.Name != who.Name || got.Subject() != "Adopt" || !slices.Equal(got.Parents, spec.Parents) {
		t.Errorf("commit = %+v, %v", got, err)
	}
	spec.Author.Name = "x\ncommitter y"
	if _, err := r.WriteCommit(ctx, spec); err == nil {
		t.Error("a name with a line break was accepted")
	}
}
