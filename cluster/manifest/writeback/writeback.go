// Package writeback edits the files of a target so that rendering it yields
// what is live: that is how drift is adopted.
//
// Where a field is set is guessed: in the document that an object comes from,
// in the images, replicas and patches of kustomizations. Whether an edit is
// right is proven: the edited tree is rendered again, and an edit stands only
// if exactly the wanted fields of exactly the wanted objects moved, and nothing
// of any other target. What cannot be proven is refused, with the reason and a
// patch that says what was wanted.
//
// A file that others use as well (a base, a component) is never edited: the
// overlay gets a patch instead. Secrets are never written.
package writeback

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"lockkeeper/cluster"
	"lockkeeper/cluster/manifest"
)

// Renderer turns a directory of a tree into objects.
type Renderer interface {
	Render(ctx context.Context, tree fs.FS, path string) (*manifest.Rendering, error)
}

// Want is what rendering should yield for one object: nothing at all, or the
// object with other fields. After is the value that is wanted; Remove wants none.
type Want struct {
	Ref    cluster.Ref
	Delete bool
	Fields []cluster.FieldChange
}

// Refusal is a want, or one field of it, that is not written.
type Refusal struct {
	Ref cluster.Ref
	// Path is the field's, as in cluster.FieldChange; "" is the whole object.
	Path string
	// Reason says why, and names the file or the feature in the way.
	Reason string
	// Patch is a strategic merge patch, in YAML, that says what is wanted. It is
	// "" where that would write a secret down.
	Patch string
}

// Proposal is what to write. Edits are by path in the tree; those that would
// change nothing are not there.
type Proposal struct {
	Edits   map[string]Edit
	Refused []Refusal
}

// Writer proposes edits.
type Writer struct {
	Renderer Renderer
}

// Propose finds the edits of a tree after which the target, a directory of it,
// renders to what it does now but for the wants, and the other targets render
// to what they do now: others are their directories. Wants that hold already
// need no edit. A target that cannot be rendered is no error: its wants are
// refused. Errors are the tree's, the renderer's or ctx's.
func (w *Writer) Propose(ctx context.Context, tree fs.FS, target string, others []string, wants []Want) (*Proposal, error) {
	target = path.Clean(target)
	if slices.ContainsFunc(others, func(o string) bool { return path.Clean(o) == target }) {
		return refuseAll(wants, target+" is the directory of another target too, which every edit would move"), nil
	}
	a := &attempt{writer: w, target: target, before: map[string]string{}}
	s := &state{tree: newEdited(tree)}
	r, err := w.Renderer.Render(ctx, tree, target)
	if problem := problemOf(err); problem != "" {
		return refuseAll(wants, "the target cannot be rendered: "+problem), nil
	}
	if err != nil {
		return nil, fmt.Errorf("write back: %w", err)
	}
	s.take(r)
	if a.survey, err = newSurvey(s.tree.ask, target, others); err != nil {
		return nil, fmt.Errorf("write back: %w", err)
	}
	for _, o := range a.survey.others {
		if a.before[o], err = a.outcome(ctx, tree, o); err != nil {
			return nil, fmt.Errorf("write back: %w", err)
		}
	}
	p := &Proposal{}
	a.units, p.Refused = unitsOf(s, wants)
	if all, err := a.together(ctx, s); err != nil {
		return nil, fmt.Errorf("write back: %w", err)
	} else if all != nil {
		p.Edits = all.tree.edits
		return p, nil
	}
	s, refused, err := a.oneByOne(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("write back: %w", err)
	}
	p.Edits, p.Refused = s.tree.edits, append(p.Refused, refused...)
	return p, nil
}

// problemOf is what is wrong with a target's files, or "".
func problemOf(err error) string {
	var found *manifest.Errors
	if !errors.As(err, &found) || len(found.Problems) == 0 {
		return ""
	}
	return found.Problems[0].String()
}

func refuseAll(wants []Want, reason string) *Proposal {
	p := &Proposal{Edits: map[string]Edit{}}
	for _, w := range wants {
		p.Refused = append(p.Refused, refuseWant(nil, w, reason)...)
	}
	return p
}

// attempt is one proposal being made.
type attempt struct {
	writer *Writer
	survey *survey
	target string
	before map[string]string // outcomes of the other targets
	units  []*unit
	trials int
}

// maxTrials bounds the renderings of one proposal.
const maxTrials = 600

// outcome tells renderings of a target apart, those that fail included.
func (a *attempt) outcome(ctx context.Context, tree fs.FS, dir string) (string, error) {
	r, err := a.writer.Renderer.Render(ctx, tree, dir)
	var found *manifest.Errors
	switch {
	case errors.As(err, &found):
		return found.Error(), nil
	case err != nil:
		return "", err
	}
	return r.Digest, nil
}

// together tries the likeliest edit of every unit at once, which takes one
// rendering. It returns nil if that is not it.
func (a *attempt) together(ctx context.Context, s *state) (*state, error) {
	next := s
	for _, u := range a.units {
		if u.done(s) {
			continue
		}
		edits := a.likeliest(next, u)
		if edits == nil {
			return nil, nil
		}
		next = next.with(edits)
	}
	if next == s {
		return s, nil
	}
	after, refused, err := a.try(ctx, s, next, nil)
	if err != nil || refused != "" {
		return nil, err
	}
	return after, nil
}

// likeliest is the first edit that can be made for a unit at all.
func (a *attempt) likeliest(s *state, u *unit) map[string]Edit {
	for _, c := range a.candidates(s, u) {
		if edits, err := c(); err == nil && len(edits) > 0 {
			return edits
		}
	}
	return nil
}

// oneByOne tries all edits of each unit, so that one that cannot be proven
// keeps no other back.
func (a *attempt) oneByOne(ctx context.Context, s *state) (*state, []Refusal, error) {
	var refused []Refusal
	for _, u := range a.units {
		if u.done(s) {
			continue
		}
		next, reasons, err := a.one(ctx, s, u)
		if err != nil {
			return nil, nil, err
		}
		if next == nil {
			refused = append(refused, u.refusals(s, reasons)...)
			u.given = true
			continue
		}
		s = next
	}
	return s, refused, nil
}

func (a *attempt) one(ctx context.Context, s *state, u *unit) (*state, []string, error) {
	var reasons []string
	for _, c := range a.candidates(s, u) {
		edits, err := c()
		if err != nil {
			reasons = append(reasons, err.Error())
			continue
		}
		if a.trials++; a.trials > maxTrials {
			return nil, []string{fmt.Sprintf("more than %d edits were tried for this target; adopt fewer changes at a time", maxTrials)}, nil
		}
		after, refused, err := a.try(ctx, s, s.with(edits), u)
		if err != nil {
			return nil, nil, err
		}
		if refused == "" {
			return after, nil, nil
		}
		reasons = append(reasons, refused)
	}
	if len(reasons) == 0 {
		reasons = []string{"nothing in the files of the target sets it"}
	}
	return nil, slices.Compact(reasons), nil
}
