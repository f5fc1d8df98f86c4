package manifest

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"slices"
)

// Asked is one question that rendering asked, and the digest of the answer.
// Object is the hash of the Git object behind the path, where the tree knew it:
// it lets two trees be compared without reading either.
type Asked struct {
	Op     Op     `json:"op"`
	Path   string `json:"path"`
	Answer string `json:"answer"`
	Object string `json:"object,omitempty"`
}

// Closure is everything that a rendering depends on: every question it asked,
// misses included, sorted by path and operation. Nothing else can change the
// result.
type Closure []Asked

// Digest is equal for closures with the same questions and answers.
func (c Closure) Digest() string {
	h := sha256.New()
	for _, a := range c {
		fmt.Fprintf(h, "%s\x00%s\x00%s\x00", a.Op, a.Path, a.Answer)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Changed asks the closure's questions again of another tree. It reports
// whether any answer differs, and which. A tree that cannot answer counts as
// changed: an error is never read as "no change".
func Changed(c Closure, fsys fs.FS) (changed bool, why string) {
	return changedIn(c, newTree(fsys))
}

func changedIn(c Closure, t *tree) (bool, string) {
	for _, a := range c {
		if a.Object != "" && t.object(a.Path) == a.Object {
			continue
		}
		sum, err := t.digest(question{a.Op, a.Path})
		switch {
		case err != nil:
			return true, fmt.Sprintf("%s cannot be read: %v", a.Path, err)
		case sum != a.Answer:
			return true, difference(a)
		}
	}
	return false, ""
}

func difference(a Asked) string {
	switch {
	case a.Answer == answer{}.digest():
		return a.Path + " is new"
	case a.Op == List:
		return "files were added to or removed from " + a.Path
	case a.Op == Read:
		return a.Path + " has changed"
	}
	return a.Path + " has come, gone or moved"
}

// recorder passes questions on to a tree and writes them down.
type recorder struct {
	tree  *tree
	asked map[question]Asked
	// err is the first question that the tree could not answer: then there is
	// no closure, and nothing may be concluded from what the child says.
	err error
}

func (r *recorder) ask(op Op, path string) (answer, error) {
	a, err := r.tree.ask(op, path)
	if err == nil {
		err = r.note(question{op, path}, r.tree.remember(question{op, path}, a), a.Kind == missing)
	}
	if err != nil {
		if r.err == nil {
			r.err = err
		}
		return answer{}, err
	}
	return a, nil
}

// note writes down a question and the digest of its answer.
func (r *recorder) note(q question, sum string, missing bool) error {
	if _, known := r.asked[q]; !known && len(r.asked) >= maxAsked {
		return fmt.Errorf("more than %d files and directories were asked for", maxAsked)
	}
	asked := Asked{Op: q.op, Path: q.path, Answer: sum}
	if q.op != Real && !missing {
		asked.Object = r.tree.object(q.path)
	}
	r.asked[q] = asked
	return nil
}

func (r *recorder) closure() Closure {
	c := make(Closure, 0, len(r.asked))
	for _, a := range r.asked {
		c = append(c, a)
	}
	slices.SortFunc(c, func(a, b Asked) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Op, b.Op))
	})
	return c
}
