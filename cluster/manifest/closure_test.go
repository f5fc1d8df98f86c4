package manifest

import (
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"lockkeeper/cluster/manifest/closure"
)

// hashed is a tree that knows the hashes of its objects, as Git trees do, and
// counts what is read.
type hashed struct {
	fstest.MapFS
	sums  map[string]string
	reads map[string]int
}

func newHashed(files map[string]string) *hashed {
	h := &hashed{repo(files), map[string]string{}, map[string]int{}}
	dirs := map[string][]string{}
	for p, content := range files {
		sum := sha1.Sum([]byte(content))
		h.sums[p] = hex.EncodeToString(sum[:])
		for at := p; at != "."; {
			at = parent(at)
			dirs[at] = append(dirs[at], p+" "+h.sums[p])
		}
	}
	for dir, lines := range dirs {
		slices.Sort(lines)
		sum := sha1.Sum([]byte(strings.Join(lines, "\n")))
		h.sums[dir] = hex.EncodeToString(sum[:])
	}
	return h
}

func parent(p string) string {
	if i := strings.LastIndexByte(p, '/'); i >= 0 {
		return p[:i]
	}
	return "."
}

func (h *hashed) Hash(p string) (string, bool) { s, ok := h.sums[p]; return s, ok }

func (h *hashed) ReadFile(p string) ([]byte, error) {
	h.reads[p]++
	return h.MapFS.ReadFile(p)
}

func TestEqualAnswersNeedNoChild(t *testing.T) {
	r := newRenderer(t, Limits{})
	in := files(layouts["overlay"])
	first := mustRender(t, r, repo(in), "top")
	r.idle[0].kill() // whoever asked it now would fail
	elsewhere := with(in, "other/x.yaml", "x", "README.md", "changed")
	if got := mustRender(t, r, repo(elsewhere), "top"); got != first {
		t.Error("a change elsewhere made the target render again")
	}
	if got := mustRender(t, r, newHashed(elsewhere), "top"); got != first {
		t.Error("a tree that knows hashes made the target render again")
	}
}

func TestProblemsAreRememberedToo(t *testing.T) {
	r := newRenderer(t, Limits{})
	in := map[string]string{"p/x.yaml": "nonsense"}
	_, first := r.Render(t.Context(), repo(in), "p")
	r.idle[0].kill()
	_, again := r.Render(t.Context(), repo(in), "p")
	if first == nil || again == nil || first.Error() != again.Error() {
		t.Errorf("got %v, then %v", first, again)
	}
}

func TestChangedReadsNothingWhereHashesAreEqual(t *testing.T) {
	in := files(layouts["components"])
	base := newHashed(in)
	got := mustRender(t, newRenderer(t, Limits{}), base, "top")
	merge := newHashed(with(in, "elsewhere/x", "new"))
	if changed, why := closure.Changed(got.Closure, closure.NewTree(merge)); changed {
		t.Errorf("changed: %s", why)
	}
	for p, n := range merge.reads {
		// Misses have no hash, and looking for them reads nothing.
		if _, exists := merge.sums[p]; exists {
			t.Errorf("%s was read %d times", p, n)
		}
	}
}

func TestChangedSaysWhy(t *testing.T) {
	in := files(layouts["overlay"])
	got := mustRender(t, shared, repo(in), "top")
	without := maps.Clone(in)
	delete(without, "base/service.yaml")
	for want, tree := range map[string]map[string]string{
		"base/web.env has changed":                 with(in, "base/web.env", "x=y"),
		"files were added to or removed from base": without,
	} {
		for _, fsys := range []fs.FS{repo(tree), newHashed(tree)} {
			changed, why := closure.Changed(got.Closure, closure.NewTree(fsys))
			if !changed || why != want {
				t.Errorf("got %v %q, want %q", changed, why, want)
			}
		}
	}
}

func TestAppearanceOfWhatWasMissedIsAChange(t *testing.T) {
	r := newRenderer(t, Limits{})
	_, err := r.Render(t.Context(), repo(nil), "nope")
	asked := closureOf(t, r, repo(nil), "nope")
	if changed, why := closure.Changed(asked, closure.NewTree(repo(map[string]string{"nope/x.yaml": ""}))); err == nil || !changed || why != "nope is new" {
		t.Errorf("got %v %q after %v", changed, why, err)
	}
}

// broken answers nothing.
type broken struct{ err error }

func (b broken) Open(string) (fs.File, error) { return nil, b.err }

func TestTreeThatCannotAnswerCountsAsChanged(t *testing.T) {
	got := mustRender(t, shared, repo(files(layouts["overlay"])), "top")
	if changed, why := closure.Changed(got.Closure, closure.NewTree(broken{errors.New("disk on fire")})); !changed || !strings.Contains(why, "disk on fire") {
		t.Errorf("got %v %q", changed, why)
	}
	if _, err := shared.Render(t.Context(), broken{errors.New("disk on fire")}, "top"); err == nil || !strings.Contains(err.Error(), "disk on fire") {
		t.Errorf("render: got %v", err)
	}
}

func TestClosureIsTheSameWhetherTheTreeKnowsHashes(t *testing.T) {
	in := files(layouts["replacements"])
	a := mustRender(t, newRenderer(t, Limits{}), repo(in), "top")
	b := mustRender(t, newRenderer(t, Limits{}), newHashed(in), "top")
	if a.Closure.Digest() != b.Closure.Digest() || a.Digest != b.Digest {
		t.Error("closure or content depends on how the tree was asked")
	}
}

// edit makes a random change to a repository.
func edit(rnd *rand.Rand, in map[string]string) (map[string]string, string) {
	out := maps.Clone(in)
	names := slices.Sorted(maps.Keys(in))
	p := names[rnd.IntN(len(names))]
	switch rnd.IntN(6) {
	case 0:
		delete(out, p)
		return out, "delete " + p
	case 1:
		dir := parent(p)
		added := fmt.Sprintf("%s/added-%d.yaml", dir, rnd.IntN(3))
		out[added] = configMap(fmt.Sprintf("added-%d", rnd.IntN(100)))
		return out, "add " + added
	case 2:
		added := parent(p) + "/" + []string{"kustomization.yml", "Kustomization", ".hidden.yaml", "notes.txt"}[rnd.IntN(4)]
		out[added] = "resources: []\n"
		return out, "add " + added
	case 3:
		to := parent(names[rnd.IntN(len(names))]) + "/moved.yaml"
		out[to] = out[p]
		delete(out, p)
		return out, "move " + p + " to " + to
	case 4:
		out[p] = strings.Replace(out[p], "name: web", fmt.Sprintf("name: web%d", rnd.IntN(5)), 1)
		return out, "rename in " + p
	}
	out[p] += fmt.Sprintf("\n# comment %d\n", rnd.IntN(3))
	return out, "comment in " + p
}

// describe is everything that a rendering says.
func describe(t *testing.T, r *Renderer, tree fs.FS, dir string) string {
	t.Helper()
	got, err := r.Render(t.Context(), tree, dir)
	var e *Errors
	if errors.As(err, &e) {
		return e.Error()
	}
	if err != nil {
		t.Fatalf("render %s: %v", dir, err)
	}
	s := got.Digest
	for _, o := range got.Objects {
		s += "\n" + o.Ref.String() + " from " + o.Source
	}
	return s
}

// A closure never misses: whenever the output differs, so does an answer; and
// where no answer differs, a fresh rendering is the same.
func TestClosureNeverMissesAChange(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	in := with(files(layouts["components"]), "plain/a.yaml", configMap("a"), "plain/sub/b.yaml", configMap("b"), "plain/sub/c.json", "{}", "other/x.yaml", configMap("x"))
	in["plain/sub/c.json"] = `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web"}}`
	cases, quiet, moved := 150, 0, 0
	if testing.Short() || raceEnabled {
		cases = 40
	}
	fresh := newRenderer(t, Limits{})
	for range cases {
		after, what := edit(rnd, in)
		if rnd.IntN(2) == 0 {
			var second string
			after, second = edit(rnd, after)
			what += ", " + second
		}
		for _, dir := range []string{"top", "plain"} {
			fresh.cache = newCache()
			before := describe(t, fresh, repo(in), dir)
			asked := closureOf(t, fresh, repo(in), dir)
			fresh.cache = newCache()
			now := describe(t, fresh, repo(after), dir)
			for _, tree := range []fs.FS{repo(after), newHashed(after)} {
				changed, why := closure.Changed(asked, closure.NewTree(tree))
				if !changed && before != now {
					t.Fatalf("%s: %s: missed: output went from\n%s\nto\n%s", dir, what, before, now)
				}
				if changed && closureOf(t, fresh, repo(after), dir).Digest() == asked.Digest() {
					t.Errorf("%s: %s: %s, yet the recorded answers are the same", dir, what, why)
				}
				if changed {
					moved++
				} else {
					quiet++
				}
			}
		}
	}
	t.Logf("%d changed, %d did not", moved, quiet)
	if moved < cases/4 || quiet < cases/4 {
		t.Error("the edits are too one-sided to prove anything")
	}
}

// closureOf is the closure of the last rendering, good or bad.
func closureOf(t *testing.T, r *Renderer, tree fs.FS, dir string) closure.Closure {
	t.Helper()
	found := r.cache.find(r.cache.tree(tree), dir)
	if found == nil {
		t.Fatalf("%s was not remembered", dir)
	}
	return found.closure
}

func TestCacheForgetsTheOldest(t *testing.T) {
	c := newCache()
	for i := range 3 * maxPerTarget {
		c.add("d", &remembered{closure: closure.Closure{{Op: closure.Read, Path: fmt.Sprint(i)}}})
	}
	if n := len(c.byTarget["d"]); n != maxPerTarget {
		t.Errorf("%d renderings of one target are kept, want %d", n, maxPerTarget)
	}
	for i := range maxRemembered + 100 {
		c.add(fmt.Sprint(i), &remembered{})
	}
	if c.order.Len() != maxRemembered || len(c.byTarget["d"]) != 0 {
		t.Errorf("%d renderings are kept, want %d", c.order.Len(), maxRemembered)
	}
	for i := range 3 * maxTrees {
		c.tree(newHashed(map[string]string{"a": fmt.Sprint(i)}))
	}
	if len(c.memos) != maxTrees {
		t.Errorf("answers of %d trees are kept, want %d", len(c.memos), maxTrees)
	}
}
