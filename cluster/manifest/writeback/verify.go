package writeback

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"lockkeeper/cluster"
	"lockkeeper/cluster/manifest"
	"lockkeeper/cluster/manifest/writeback/field"
)

// state is a tree and what the target renders to in it.
type state struct {
	tree    *edited
	objects map[cluster.Ref]cluster.Object
}

func (s *state) take(r *manifest.Rendering) {
	s.objects = make(map[cluster.Ref]cluster.Object, len(r.Objects))
	for _, o := range r.Objects {
		s.objects[o.Ref] = o
	}
}

// with is the state with more edits, not rendered yet.
func (s *state) with(edits map[string]Edit) *state {
	return &state{tree: s.tree.with(edits), objects: s.objects}
}

// try renders an edited tree. Refused says, unless it is "", why the edits do
// not stand: they must bring about the unit (nil: all units), and move nothing
// but what units want.
func (a *attempt) try(ctx context.Context, before, edited *state, u *unit) (after *state, refused string, err error) {
	r, err := a.writer.Renderer.Render(ctx, edited.tree, a.target)
	if problem := problemOf(err); problem != "" {
		return nil, "with the edit the target could not be rendered: " + problem, nil
	}
	if err != nil {
		return nil, "", err
	}
	after = &state{tree: edited.tree}
	after.take(r)
	for _, w := range a.units {
		if (w == u || u == nil) && !w.done(after) {
			return nil, "an edit of " + named(before, edited) + " does not bring it about: something else sets it as well", nil
		}
	}
	if moved := a.moved(before, after); moved != "" {
		return nil, "an edit of " + named(before, edited) + " would also " + moved, nil
	}
	for _, o := range a.survey.others {
		is, err := a.outcome(ctx, after.tree, o)
		if err != nil {
			return nil, "", err
		}
		if is != a.before[o] {
			return nil, "an edit of " + named(before, edited) + " would also change the target in " + o, nil
		}
	}
	return after, "", nil
}

// named are the files that one state has otherwise than another.
func named(before, after *state) string {
	var names []string
	for name, e := range after.tree.edits {
		was, is := before.tree.edits[name]
		if !is || was.Delete != e.Delete || string(was.Content) != string(e.Content) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	switch len(names) {
	case 0:
		return "nothing"
	case 1:
		return names[0]
	}
	return fmt.Sprintf("%s and %s", names[0], names[1])
}

// moved says what changed that no unit wants, or "".
func (a *attempt) moved(before, after *state) string {
	for _, ref := range slices.SortedFunc(maps.Keys(after.objects), cluster.Ref.Compare) {
		if _, was := before.objects[ref]; !was {
			return fmt.Sprintf("make %s", ref)
		}
	}
	units := map[cluster.Ref][]*unit{}
	for _, u := range a.units {
		if !u.given {
			units[u.ref] = append(units[u.ref], u)
		}
	}
	for _, ref := range slices.SortedFunc(maps.Keys(before.objects), cluster.Ref.Compare) {
		is, there := after.objects[ref]
		if !there {
			if !slices.ContainsFunc(units[ref], func(u *unit) bool { return u.delete }) {
				return fmt.Sprintf("remove %s", ref)
			}
			continue
		}
		var expected any = before.objects[ref].Content
		for _, u := range units[ref] {
			if u.done(after) {
				if next, err := u.change.Apply(expected); err == nil {
					expected = next
				}
			}
		}
		if !field.Same(expected, is.Content) {
			return fmt.Sprintf("change %s in another way than is wanted", ref)
		}
	}
	return ""
}
