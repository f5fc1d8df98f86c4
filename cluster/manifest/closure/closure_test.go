package closure

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
)

// repo makes a tree of paths and contents.
func repo(files ...string) fstest.MapFS {
	m := fstest.MapFS{}
	for i := 0; i < len(files); i += 2 {
		m[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	return m
}

// hashed is a tree that says the same hashes of a.yaml and d, whatever they hold.
type hashed struct{ fs.FS }

func (hashed) Hash(p string) (string, bool) { return "hash of " + p, p == "a.yaml" || p == "d" }

// broken answers nothing.
type broken struct{ err error }

func (b broken) Open(string) (fs.File, error) { return nil, b.err }

// record asks for a file, a directory, what is nowhere, and where that leads.
func record(t *testing.T, fsys fs.FS) Closure {
	t.Helper()
	rec := NewRecorder(NewTree(fsys))
	for _, q := range []question{{Stat, "nope"}, {Real, "nope"}, {List, "d"}, {Read, "a.yaml"}, {Read, "a.yaml"}} {
		if _, err := rec.Ask(q.op, q.path); err != nil {
			t.Fatal(err)
		}
	}
	return rec.Closure()
}

func TestClosureIsSortedAndSaysEachQuestionOnce(t *testing.T) {
	var got []string
	for _, a := range record(t, hashed{repo("a.yaml", "a", "d/x", "x")}) {
		got = append(got, fmt.Sprintf("%s %s %s", a.Op, a.Path, a.Object))
	}
	if want := "read a.yaml hash of a.yaml; list d hash of d; real nope ; stat nope "; strings.Join(got, "; ") != want {
		t.Errorf("got %q, want %q", strings.Join(got, "; "), want)
	}
}

func TestChangedSaysWhatDiffers(t *testing.T) {
	c := record(t, repo("a.yaml", "a", "d/x", "x"))
	for want, tree := range map[string]fstest.MapFS{
		"":                                      repo("a.yaml", "a", "d/x", "other", "elsewhere", "new"),
		"a.yaml has changed":                    repo("a.yaml", "b", "d/x", "x"),
		"files were added to or removed from d": repo("a.yaml", "a", "d/x", "x", "d/y", "y"),
		"nope is new":                           repo("a.yaml", "a", "d/x", "x", "nope", ""),
	} {
		if changed, why := Changed(c, NewTree(tree)); changed != (want != "") || why != want {
			t.Errorf("got %v %q, want %q", changed, why, want)
		}
		if same := record(t, tree).Digest() == c.Digest(); same != (want == "") {
			t.Errorf("%q: equal digests: %v", want, same)
		}
	}
}

func TestChangedTrustsEqualHashes(t *testing.T) {
	c := record(t, hashed{repo("a.yaml", "a", "d/x", "x")})
	// Only what was missed has no hash, and is looked for.
	if changed, why := Changed(c, NewTree(hashed{repo()})); changed {
		t.Errorf("changed: %s", why)
	}
}

func TestTreeThatCannotAnswerCountsAsChanged(t *testing.T) {
	tree := NewTree(broken{errors.New("disk on fire")})
	if changed, why := Changed(record(t, repo("a.yaml", "a", "d/x", "x")), tree); !changed || !strings.Contains(why, "disk on fire") {
		t.Errorf("got %v %q", changed, why)
	}
	rec := NewRecorder(tree)
	if _, err := rec.Ask(Read, "a.yaml"); err == nil || rec.Err == nil {
		t.Errorf("got %v, recorded %v", err, rec.Err)
	}
}

// Threat 4.
func TestLinksAreFollowedInsideTheTreeOnly(t *testing.T) {
	in := repo("real/x", "x")
	for at, to := range map[string]string{"in": "real", "up": "../x", "root": "/etc", "loop": "loop"} {
		in[at] = &fstest.MapFile{Data: []byte(to), Mode: fs.ModeSymlink | 0o777}
	}
	tree := NewTree(in)
	for p, want := range map[string]string{"in/x": "real/x", "real/x": "real/x", "in/nope": "in/nope"} {
		if a, err := tree.Ask(Real, p); err != nil || a.Real != want {
			t.Errorf("%s: got %q %v, want %q", p, a.Real, err, want)
		}
	}
	for _, p := range []string{"up", "root/passwd"} {
		if _, err := tree.Ask(Real, p); !errors.Is(err, ErrOutside) {
			t.Errorf("%s: got %v", p, err)
		}
	}
	if _, err := tree.Ask(Real, "loop"); err == nil || !strings.Contains(err.Error(), "too many links") {
		t.Errorf("loop: got %v", err)
	}
	if _, err := tree.Ask(Read, "../x"); err == nil {
		t.Error("a path outside the tree was read")
	}
}

func TestRunawayQuestionsAreStopped(t *testing.T) {
	rec := NewRecorder(NewTree(repo()))
	for i := range maxAsked {
		if _, err := rec.Ask(Stat, fmt.Sprint("x", i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := rec.Ask(Stat, "x0"); err != nil {
		t.Errorf("a question asked before: %v", err)
	}
	if _, err := rec.Ask(Stat, "one more"); err == nil || rec.Err == nil {
		t.Error("a question over the limit was answered")
	}
}
