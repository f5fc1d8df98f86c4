package git

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"lockkeeper/forge"
)

// lines is a file of n lines, of which some say something else.
func lines(n int, other map[int]string) string {
	var b strings.Builder
	for i := 1; i <= n; i++ {
		text, changed := other[i]
		if !changed {
			text = fmt.Sprint("line ", i)
		}
		fmt.Fprintln(&b, text)
	}
	return b.String()
}

// undone reverts and returns the tree's files; it must not conflict.
func undone(t *testing.T, w *work, tip, from, to string) map[string]string {
	t.Helper()
	r := w.open()
	tree, conflicts, err := r.Revert(t.Context(), tip, from, to)
	if err != nil || len(conflicts) > 0 {
		t.Fatalf("Revert = %q, %v", conflicts, err)
	}
	files := map[string]string{}
	edits, err := r.Edits(t.Context(), w.git("hash-object", "-t", "tree", "-w", "/dev/null"), tree)
	if err != nil {
		t.Fatal(err)
	}
	for path, e := range edits {
		files[path] = string(e.Content)
	}
	return files
}

// Git's own revert is the judge where it can do the same.
func TestRevertOfOneCommitIsGitsOwn(t *testing.T) {
	w := newWork(t)
	w.write("a", lines(20, nil))
	w.write("gone", "was here\n")
	before := w.commit("base")
	w.write("a", lines(20, map[int]string{3: "three"}))
	w.write("new", "new\n")
	w.git("rm", "-q", "gone")
	bad := w.commit("bad")
	w.write("a", lines(20, map[int]string{3: "three", 18: "eighteen"}))
	w.write("later", "stays\n")
	tip := w.commit("later")

	tree, conflicts, err := w.open().Revert(t.Context(), tip, before, bad)
	if err != nil || len(conflicts) > 0 {
		t.Fatal(conflicts, err)
	}
	w.git("revert", "--no-edit", bad)
	if want := w.git("rev-parse", "HEAD^{tree}"); tree != want {
		t.Errorf("tree %s; git revert made %s", tree, want)
	}
	files := undone(t, w, tip, before, bad)
	if files["a"] != lines(20, map[int]string{18: "eighteen"}) || files["gone"] == "" || files["new"] != "" || files["later"] == "" {
		t.Errorf("%q", files)
	}
	// Undone once, nothing is left to undo.
	again, _, err := w.open().Revert(t.Context(), w.git("rev-parse", "HEAD"), before, bad)
	if err != nil || again != tree {
		t.Errorf("a second time: %s, %v", again, err)
	}
}

func TestRevertOfAMergeAndOfASquash(t *testing.T) {
	for _, how := range []string{"--no-ff", "--squash"} {
		w := newWork(t)
		w.write("a", lines(20, nil))
		w.commit("base")
		w.git("checkout", "-q", "-b", "topic")
		w.write("a", lines(20, map[int]string{2: "two"}))
		w.commit("t1")
		w.write("b", "b\n")
		w.commit("t2")
		w.git("checkout", "-q", "main")
		w.write("c", "c\n")
		before := w.commit("main goes on")
		w.git("merge", "-q", how, "--no-commit", "topic")
		merge := w.commit("merge of the topic")
		w.write("a", lines(20, map[int]string{2: "two", 15: "fifteen"}))
		tip := w.commit("later")
		files := undone(t, w, tip, before, merge)
		if files["a"] != lines(20, map[int]string{15: "fifteen"}) || files["b"] != "" || files["c"] != "c\n" {
			t.Errorf("%s: %q", how, files)
		}
	}
}

func TestRevertOfARangeKeepsWhatCameAfter(t *testing.T) {
	w := newWork(t)
	w.write("a", lines(30, nil))
	from := w.commit("good")
	var to string
	for i := 1; i <= 3; i++ {
		w.write("a", lines(30, map[int]string{2 * i: "bad"}))
		to = w.commit("bad")
	}
	w.write("a", lines(30, map[int]string{6: "bad", 25: "kept"}))
	tip := w.commit("good again")
	if got := undone(t, w, tip, from, to)["a"]; got != lines(30, map[int]string{25: "kept"}) {
		t.Errorf("%s", got)
	}
	if got := undone(t, w, tip, from, tip)["a"]; got != lines(30, nil) {
		t.Errorf("everything: %s", got)
	}
}

func TestRevertListsConflictsByFile(t *testing.T) {
	w := newWork(t)
	w.write("x/a", lines(5, nil))
	w.write("b", "1\n")
	w.write("c", "1\n")
	from := w.commit("base")
	w.write("x/a", lines(5, map[int]string{3: "bad"}))
	w.write("b", "2\n")
	w.write("c", "2\n")
	to := w.commit("bad")
	w.write("x/a", lines(5, map[int]string{3: "worked on since"}))
	w.git("rm", "-q", "b")
	tip := w.commit("later")
	tree, conflicts, err := w.open().Revert(t.Context(), tip, from, to)
	if err != nil || tree != "" || !slices.Equal(conflicts, []string{"b", "x/a"}) {
		t.Errorf("tree %q, conflicts %q, %v", tree, conflicts, err)
	}
}

// What was bad is undone where it lies now, and a rename that was bad is too.
func TestRevertFollowsRenames(t *testing.T) {
	w := newWork(t)
	w.write("old", lines(20, nil))
	w.write("dir/one", lines(20, map[int]string{1: "one"}))
	from := w.commit("base")
	w.write("old", lines(20, map[int]string{4: "bad"}))
	w.git("mv", "dir/one", "two")
	to := w.commit("bad")
	w.git("mv", "old", "new")
	w.write("two", lines(20, map[int]string{1: "one", 19: "later"}))
	tip := w.commit("moved since")
	files := undone(t, w, tip, from, to)
	if len(files) != 2 || files["new"] != lines(20, nil) || files["dir/one"] != lines(20, map[int]string{1: "one", 19: "later"}) {
		t.Errorf("%q", files)
	}
}

func TestRevertOfWhatIsNotHereFails(t *testing.T) {
	w := newWork(t)
	tip := w.commit("base")
	unknown := strings.Repeat("1", 40)
	for _, at := range [][3]string{{unknown, tip, tip}, {tip, unknown, tip}, {tip, tip, unknown}} {
		if _, _, err := w.open().Revert(t.Context(), at[0], at[1], at[2]); !errors.Is(err, ErrNoRevision) {
			t.Errorf("%v: %v", at, err)
		}
	}
	if _, _, err := w.open().Revert(t.Context(), tip, "--all", tip); err == nil {
		t.Error("an option passed as a commit")
	}
}

func TestEditsTurnOneTreeIntoAnother(t *testing.T) {
	w := newWork(t)
	w.write("same", "same")
	w.write("changed\nname", "1")
	w.write("gone", "gone")
	w.write("file", "becomes a directory")
	w.write("mode", "#!/bin/sh\n")
	a := w.commit("a")
	w.write("changed\nname", "2\x00")
	w.git("rm", "-q", "gone", "file")
	w.write("file/below", "below")
	w.git("add", "mode")
	w.git("update-index", "--chmod=+x", "mode")
	w.link("link", "same")
	w.git("add", "-A")
	w.git("update-index", "--chmod=+x", "mode")
	w.git("commit", "-qm", "b")
	r := w.open()
	b := w.git("rev-parse", "HEAD")
	got, err := r.Edits(t.Context(), a, b)
	want := map[string]forge.FileEdit{
		"changed\nname": {Content: []byte("2\x00"), Mode: forge.RegularFile}, "gone": {Delete: true}, "file": {Delete: true},
		"file/below": {Content: []byte("below"), Mode: forge.RegularFile}, "mode": {Content: []byte("#!/bin/sh\n"), Mode: forge.Executable},
		"link": {Content: []byte("same"), Mode: forge.SymbolicLink},
	}
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v\nwant %v, %v", got, want, err)
	}
	if none, err := r.Edits(t.Context(), b, b); err != nil || len(none) != 0 {
		t.Errorf("between a tree and itself: %v, %v", none, err)
	}
	w.git("update-index", "--add", "--cacheinfo", "160000,"+a+",sub")
	w.git("commit", "-qm", "submodule")
	if _, err := r.Edits(t.Context(), b, w.git("rev-parse", "HEAD")); !errors.Is(err, ErrSubmodule) || !strings.Contains(err.Error(), "sub") {
		t.Errorf("a submodule: %v", err)
	}
}

func TestOnLineFollowsFirstParentsOnly(t *testing.T) {
	w := newWork(t)
	root := w.commit("root")
	w.git("checkout", "-q", "-b", "topic")
	side := w.commit("side")
	w.git("checkout", "-q", "main")
	w.commit("main")
	w.git("merge", "-q", "--no-ff", "--no-edit", "topic")
	tip := w.git("rev-parse", "HEAD")
	r := w.open()
	line := func(beginning string) []string {
		t.Helper()
		got, err := r.OnLine(t.Context(), tip, beginning)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := line(""); len(got) != 3 || got[0] != tip || got[2] != root {
		t.Errorf("the whole line: %v", got)
	}
	if got := line(root[:7]); !slices.Equal(got, []string{root}) {
		t.Errorf("by its beginning: %v", got)
	}
	if got := line(side); len(got) != 0 {
		t.Errorf("a commit of the other side: %v", got)
	}
	if _, err := r.OnLine(t.Context(), strings.Repeat("1", 40), ""); !errors.Is(err, ErrNoRevision) {
		t.Errorf("an unknown tip: %v", err)
	}
}

// Random histories, with Git's own revert as the judge of result and conflicts.
func TestRevertAgreesWithGitOnRandomHistories(t *testing.T) {
	undone, conflicting := 0, 0
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 7))
		w := newWork(t)
		state := map[string]map[int]string{}
		var commits []string
		for i := range 7 {
			for range 1 + rng.IntN(3) {
				name := fmt.Sprintf("dir%d/f%d", rng.IntN(2), rng.IntN(2))
				if state[name] == nil {
					state[name] = map[int]string{}
				}
				state[name][1+rng.IntN(25)] = fmt.Sprint("changed by ", i)
				w.write(name, lines(25, state[name]))
			}
			if i > 1 && rng.IntN(3) == 0 {
				name := fmt.Sprintf("new%d", i)
				w.write(name, lines(5, nil))
			}
			commits = append(commits, w.commit(fmt.Sprint(i)))
		}
		r, tip := w.open(), commits[len(commits)-1]
		for at := 1; at < len(commits); at++ {
			tree, conflicts, err := r.Revert(t.Context(), tip, commits[at-1], commits[at])
			if err != nil {
				t.Fatal(err)
			}
			want, wantConflicts := w.revert(tip, commits[at])
			if tree != want || !slices.Equal(conflicts, wantConflicts) {
				t.Errorf("seed %d, commit %d: %s %q; git says %s %q", seed, at, tree, conflicts, want, wantConflicts)
			}
			if undone++; len(conflicts) > 0 {
				conflicting++
			}
		}
	}
	if conflicting == 0 || conflicting == undone {
		t.Errorf("%d of %d conflict: the histories show one case only", conflicting, undone)
	}
}

// revert does it in the clone, and returns the tree or what is in conflict.
func (w *work) revert(tip, commit string) (tree string, conflicts []string) {
	w.t.Helper()
	w.git("reset", "-q", "--hard", tip)
	cmd := exec.Command("git", "revert", "--no-commit", commit)
	cmd.Dir, cmd.Env = w.dir, append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull)
	if cmd.Run() == nil {
		return w.git("write-tree"), nil
	}
	return "", strings.Fields(w.git("diff", "--name-only", "--diff-filter=U"))
}
