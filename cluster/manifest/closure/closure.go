// Package closure asks a tree questions, and writes down the questions and the
// hashes of the answers. That record, the Closure, tells whether a result that
// came from one tree holds for another.
package closure

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
)

// maxAsked is how many questions one rendering may ask.
const maxAsked = 100_000

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
func Changed(c Closure, t *Tree) (changed bool, why string) {
	for _, a := range c {
		if a.Object != "" && t.Object(a.Path) == a.Object {
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
	case a.Answer == Answer{}.digest():
		return a.Path + " is new"
	case a.Op == List:
		return "files were added to or removed from " + a.Path
	case a.Op == Read:
		return a.Path + " has changed"
	}
	return a.Path + " has come, gone or moved"
}

// Recorder passes questions on to a tree and writes them down.
type Recorder struct {
	Tree  *Tree
	asked map[question]Asked
	// Err is the first question that the tree could not answer: then there is
	// no closure, and nothing may be concluded from what the child says.
	Err error
}

// NewRecorder records what is asked of a tree.
func NewRecorder(t *Tree) *Recorder { return &Recorder{Tree: t, asked: map[question]Asked{}} }

// Ask passes a question on. An error is the tree's, or says that too much was
// asked.
func (r *Recorder) Ask(op Op, path string) (Answer, error) {
	a, err := r.Tree.Ask(op, path)
	if err == nil {
		err = r.note(question{op, path}, r.Tree.Remember(op, path, a), a.Kind == Missing)
	}
	if err != nil {
		if r.Err == nil {
			r.Err = err
		}
		return Answer{}, err
	}
	return a, nil
}

// NoteRead writes down that a file was read, by the digest of the answer: for
// answers that are remembered, and not asked for again.
func (r *Recorder) NoteRead(path, sum string) error {
	return r.note(question{Read, path}, sum, false)
}

// note writes down a question and the digest of its answer.
func (r *Recorder) note(q question, sum string, missing bool) error {
	if _, known := r.asked[q]; !known && len(r.asked) >= maxAsked {
		return fmt.Errorf("more than %d files and directories were asked for", maxAsked)
	}
	asked := Asked{Op: q.op, Path: q.path, Answer: sum}
	if q.op != Real && !missing {
		asked.Object = r.Tree.Object(q.path)
	}
	r.asked[q] = asked
	return nil
}

// Closure is what has been written down.
func (r *Recorder) Closure() Closure {
	c := make(Closure, 0, len(r.asked))
	for _, a := range r.asked {
		c = append(c, a)
	}
	slices.SortFunc(c, func(a, b Asked) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Op, b.Op))
	})
	return c
}
