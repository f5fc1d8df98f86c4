package writeback

import (
	"fmt"
	"maps"

	"lockkeeper/cluster"
	"lockkeeper/cluster/manifest/writeback/field"
)

// candidate makes edits that may bring about what a unit wants. An error says
// why it makes none.
type candidate func() (map[string]Edit, error)

// candidates are the edits that may bring about a unit, the likeliest first.
func (a *attempt) candidates(s *state, u *unit) []candidate {
	o, there := s.objects[u.ref]
	if !there {
		return []candidate{refuse("an edit for another change took the object away")}
	}
	src, err := s.sourceOf(o)
	if err != nil {
		reason := a.generator(s, o)
		if reason == "" {
			reason = err.Error()
		}
		if reason != err.Error() || len(a.survey.reach) == 0 {
			return []candidate{refuse(reason)}
		}
	}
	c := &aim{attempt: a, state: s, unit: u, object: o, source: src, found: err == nil}
	switch {
	case u.delete:
		return c.deletions()
	case len(a.survey.reach) == 0:
		return []candidate{c.inSource}
	}
	return c.kustomized()
}

func refuse(reason string) candidate {
	return func() (map[string]Edit, error) { return nil, fmt.Errorf("%s", reason) }
}

// aim is a unit to be brought about in a state.
type aim struct {
	*attempt
	state  *state
	unit   *unit
	object cluster.Object
	source source
	found  bool // the source
}

// kustomized are the candidates for a field of a kustomization.
func (c *aim) kustomized() []candidate {
	var out []candidate
	ch := c.unit.change
	if ch.Op != cluster.Remove {
		out = append(out, c.replicas()...)
		out = append(out, c.images()...)
	}
	patches := c.patches()
	for _, p := range patches {
		if p.sets(ch.Path, c.object.Content) {
			out = append(out, func() (map[string]Edit, error) { return c.inPatch(p) })
		}
	}
	inSource := false
	if c.found {
		_, inSource = field.Get(c.source.value, ch.Path)
	}
	if ch.Op == cluster.Remove && inSource && len(out) > 0 {
		out = append([]candidate{func() (map[string]Edit, error) { return c.everywhere(patches) }}, out...)
	}
	if c.found && (inSource || ch.Op != cluster.Remove) {
		out = append(out, c.inSource)
	}
	for _, p := range patches {
		if p.dir == c.target && !p.sets(ch.Path, c.object.Content) && p.strategic() {
			out = append(out, func() (map[string]Edit, error) { return c.inPatch(p) })
		}
	}
	return append(out, c.newPatches()...)
}

// own refuses the edit of a file that others use as well.
func (c *aim) own(file string) error {
	if by := c.survey.outsider(file); by != "" {
		return fmt.Errorf("%s is also used by %s", file, by)
	}
	return nil
}

// inSource changes the document that the object comes from.
func (c *aim) inSource() (map[string]Edit, error) {
	if err := c.own(c.source.path); err != nil {
		return nil, err
	}
	value, err := c.unit.change.Apply(c.source.value)
	if err != nil {
		return nil, fmt.Errorf("%s does not have its list: %w", c.source.path, err)
	}
	data, err := c.source.file.Update(c.source.doc, c.source.with(value))
	if err != nil {
		return nil, err
	}
	return map[string]Edit{c.source.path: {Content: data}}, nil
}

// everywhere takes a field out of the source and of all patches that set it.
func (c *aim) everywhere(patches []patch) (map[string]Edit, error) {
	edits, err := c.inSource()
	if err != nil {
		return nil, err
	}
	now := *c
	for i := range patches {
		now.state = c.state.with(edits)
		p := now.patches()
		if len(p) != len(patches) || !p[i].sets(c.unit.change.Path, c.object.Content) {
			continue
		}
		more, err := now.inPatch(p[i])
		if err != nil {
			return nil, err
		}
		maps.Copy(edits, more)
	}
	return edits, nil
}
