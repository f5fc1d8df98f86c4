package bare_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"lockkeeper/forge/forgetest/bare"
)

var who = bare.Person{Name: "Ann", Email: "ann@example.com", When: time.Unix(1767225600, 0).UTC()}

// commit adds files on top of parents.
func commit(t *testing.T, r *bare.Repo, message string, files []bare.File, parents ...string) string {
	t.Helper()
	from := ""
	if len(parents) > 0 {
		from = parents[0]
	}
	tree, err := r.WriteTree(t.Context(), from, filepath.Join(t.TempDir(), "index"), files)
	if err != nil {
		t.Fatal(err)
	}
	sha, err := r.CommitTree(t.Context(), bare.Commit{Tree: tree, Parents: parents, Author: who, Committer: who, Message: message})
	if err != nil {
		t.Fatal(err)
	}
	return sha
}

func newRepo(t *testing.T) *bare.Repo {
	t.Helper()
	r, err := bare.Init(t.Context(), filepath.Join(t.TempDir(), "r.git"), "main")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func text(path, content string) bare.File { return bare.File{Path: path, Content: []byte(content)} }

func TestRebasePicksEveryCommitOntoTheBase(t *testing.T) {
	r := newRepo(t)
	root := commit(t, r, "root", []bare.File{text("a", "1\n"), text("b", "1\n")})
	base := commit(t, r, "base", []bare.File{text("a", "2\n")}, root)
	one := commit(t, r, "one", []bare.File{text("b", "2\n")}, root)
	two := commit(t, r, "two", []bare.File{text("b", "3\n"), text("c", "new\n")}, one)
	tip, err := r.Rebase(t.Context(), base, two, who)
	if err != nil {
		t.Fatal(err)
	}
	list, err := r.Between(t.Context(), base, tip)
	if err != nil || len(list) != 2 || list[0].Message != "one" || list[1].Message != "two" {
		t.Fatalf("rebased to %+v, %v", list, err)
	}
	clash := commit(t, r, "clash", []bare.File{text("a", "3\n")}, root)
	if _, err := r.Rebase(t.Context(), base, clash, who); !errors.Is(err, bare.ErrConflict) {
		t.Errorf("rebasing a conflict: %v", err)
	}
	if _, err := r.Merge(t.Context(), base, clash, "m", who, who); !errors.Is(err, bare.ErrConflict) {
		t.Errorf("merging a conflict: %v", err)
	}
}

func TestDiffTellsRenamesAndCounts(t *testing.T) {
	r := newRepo(t)
	from := commit(t, r, "from", []bare.File{text("old name", "1\n2\n3\n4\n5\n"), text("gone", "x\n"), text("same", "s\n")})
	to := commit(t, r, "to", []bare.File{{Path: "old name"}, text("new name", "1\n2\n3\n4\n6\n"), {Path: "gone"}, text("added", "y\nz\n")}, from)
	list, err := r.Diff(t.Context(), from, to, true)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bare.FileChange{}
	for _, f := range list {
		got[f.Path] = f
	}
	if f := got["new name"]; f.Status != "renamed" || f.OldPath != "old name" || f.Additions != 1 || f.Deletions != 1 || f.Patch == "" {
		t.Errorf("renamed file: %+v", f)
	}
	if f := got["gone"]; f.Status != "removed" || f.Deletions != 1 {
		t.Errorf("removed file: %+v", f)
	}
	if f := got["added"]; f.Status != "added" || f.Additions != 2 {
		t.Errorf("added file: %+v", f)
	}
	if len(list) != 3 {
		t.Errorf("%d changes, want 3: %+v", len(list), list)
	}
}

func TestRefsMoveOnlyFromWhereTheyWere(t *testing.T) {
	r := newRepo(t)
	a := commit(t, r, "a", []bare.File{text("a", "a")})
	b := commit(t, r, "b", []bare.File{text("a", "b")}, a)
	if err := r.SetRef(t.Context(), "refs/heads/main", a, ""); err != nil {
		t.Fatal(err)
	}
	if err := r.SetRef(t.Context(), "refs/heads/main", a, b); !errors.Is(err, bare.ErrMoved) {
		t.Errorf("a ref moved from elsewhere: %v", err)
	}
	if _, err := r.Resolve(t.Context(), "--all"); !errors.Is(err, bare.ErrNoCommit) {
		t.Errorf("an option resolved as a revision: %v", err)
	}
}
