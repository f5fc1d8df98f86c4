package writeback

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"lockkeeper/cluster"
	"lockkeeper/cluster/manifest/writeback/field"
	"lockkeeper/cluster/manifest/writeback/splice"
)

// unit is what is accepted or refused as one: a field, a list whose changes are
// told by position, or the deletion of an object.
type unit struct {
	want   Want
	ref    cluster.Ref // as the target renders it
	delete bool
	change field.Change
	// fields are the changes that the unit stands for.
	fields []cluster.FieldChange
	given  bool // up
}

// done reports whether the state has what the unit wants.
func (u *unit) done(s *state) bool {
	o, there := s.objects[u.ref]
	if u.delete {
		return !there
	}
	return there && u.change.Holds(o.Content)
}

// refusals says that the unit is not written.
func (u *unit) refusals(s *state, reasons []string) []Refusal {
	const most = 3
	var distinct []string
	for _, r := range reasons {
		if !slices.Contains(distinct, r) && len(distinct) < most {
			distinct = append(distinct, r)
		}
	}
	w := u.want
	w.Fields = u.fields
	return refuseWant(s, w, strings.Join(distinct, "; "))
}

// refuseWant refuses all of a want, with a patch of each field.
func refuseWant(s *state, w Want, reason string) []Refusal {
	if w.Delete {
		return []Refusal{{Ref: w.Ref, Reason: reason, Patch: readyPatch(s, w, nil)}}
	}
	var out []Refusal
	for _, f := range w.Fields {
		out = append(out, Refusal{Ref: w.Ref, Path: f.Path, Reason: reason, Patch: readyPatch(s, w, &f)})
	}
	return out
}

// secret reports whether what is wanted must not be written to Git, not even
// as a patch to copy (threat 7).
func secret(w Want, f *cluster.FieldChange) bool {
	return w.Ref.Kind == "Secret" && w.Ref.Group == "" || f != nil && f.Masked
}

// readyPatch is a strategic merge patch of one field, or of a deletion. It is
// "" if a secret is in it, or if the path cannot be written as a patch.
func readyPatch(s *state, w Want, f *cluster.FieldChange) string {
	if secret(w, f) && !w.Delete {
		return ""
	}
	patch := map[string]any{"apiVersion": apiVersion(s, w.Ref), "kind": w.Ref.Kind, "metadata": metadata(w.Ref)}
	if w.Delete {
		patch["$patch"] = "delete"
		return string(splice.Encode(patch))
	}
	p, err := field.Parse(f.Path)
	if err != nil {
		return ""
	}
	full, err := strategic(patch, field.Change{Path: p, Op: f.Op, Value: field.Clone(f.After)})
	if err != nil {
		return ""
	}
	return string(splice.Encode(full))
}

func metadata(ref cluster.Ref) map[string]any {
	m := map[string]any{"name": ref.Name}
	if ref.Namespace != "" {
		m["namespace"] = ref.Namespace
	}
	return m
}

func apiVersion(s *state, ref cluster.Ref) string {
	if s != nil {
		if o, there := s.objects[ref]; there {
			return o.APIVersion
		}
	}
	if ref.Group == "" {
		return "v1"
	}
	return ref.Group + "/v1"
}

// unitsOf takes wants apart. What cannot be written at all is refused.
func unitsOf(s *state, wants []Want) (units []*unit, refused []Refusal) {
	for _, w := range wants {
		ref, there := rendered(s, w.Ref)
		switch {
		case !there && w.Delete:
			continue
		case !there:
			refused = append(refused, refuseWant(s, w, "the target does not render this object")...)
			continue
		case secret(w, nil):
			refused = append(refused, refuseWant(s, w, "Secrets are never written to Git: change it where its value is kept, or restore what Git has")...)
			continue
		case w.Delete:
			units = append(units, &unit{want: w, ref: ref, delete: true})
			continue
		}
		u, r := fieldUnits(s.objects[ref], w, ref)
		units, refused = append(units, u...), append(refused, r...)
	}
	return units, refused
}

// rendered finds the object of a live one: its namespace may come from the
// target.
func rendered(s *state, ref cluster.Ref) (cluster.Ref, bool) {
	if _, there := s.objects[ref]; there {
		return ref, true
	}
	ref.Namespace = ""
	_, there := s.objects[ref]
	return ref, there
}

// fieldUnits makes the units of an object's fields.
func fieldUnits(o cluster.Object, w Want, ref cluster.Ref) (units []*unit, refused []Refusal) {
	refuse := func(f cluster.FieldChange, reason string) {
		one := w
		one.Fields = []cluster.FieldChange{f}
		refused = append(refused, refuseWant(nil, one, reason)...)
	}
	var parsed []change
	for _, f := range w.Fields {
		p, err := field.Parse(f.Path)
		switch {
		case f.Masked:
			refuse(f, "the value is secret, and never written to Git")
		case f.Server:
			refuse(f, "the API server assigns it")
		case err != nil:
			refuse(f, err.Error())
		default:
			c := change{given: f, Change: field.Change{Path: p, Op: f.Op, Value: field.Clone(f.After)}}
			parsed = append(parsed, c)
		}
	}
	slices.SortStableFunc(parsed, func(a, b change) int { return comparePaths(a.Path, b.Path) })
	for _, g := range group(o.Content, parsed) {
		u, err := g.unit(o.Content)
		if err != nil {
			for _, c := range g.changes {
				refuse(c.given, fmt.Sprintf("%s cannot be changed so in what Git has: %v", c.given.Path, err))
			}
			continue
		}
		u.want, u.ref = w, ref
		units = append(units, u)
	}
	return units, refused
}

// change is a change of a field, as it was given and parsed.
type change struct {
	field.Change
	given cluster.FieldChange
}

// order are the selectors of a list's items, if the change is about the order
// of a list and nothing else.
func (c change) order(content any) []field.Path {
	names, is := c.Value.([]any)
	now, _ := field.Get(content, c.Path)
	list, isList := now.([]any)
	if !is || !isList || c.Op != cluster.Set || len(names) == 0 {
		return nil
	}
	if len(list) > 0 {
		if _, text := list[0].(string); text && !strings.HasPrefix(list[0].(string), "[") {
			return nil
		}
	}
	var out []field.Path
	for _, n := range names {
		text, _ := n.(string)
		p, err := field.Parse(text)
		if err != nil || len(p) != 1 || p[0].IsKey() || !strings.HasPrefix(text, "[") {
			return nil
		}
		out = append(out, p)
	}
	return out
}

// grouped are changes that are made together: of one list.
type grouped struct {
	list    field.Path // nil: a single change
	changes []change
}

// group puts the changes together that only make sense so: those by position
// in one list, and those of a list that gets another order.
func group(content any, all []change) []*grouped {
	var lists []field.Path
	for _, c := range all {
		if c.order(content) != nil {
			lists = append(lists, c.Path)
		} else if i := slices.IndexFunc(c.Path, func(s field.Step) bool { return s.At }); i >= 0 {
			lists = append(lists, c.Path[:i])
		}
	}
	slices.SortFunc(lists, func(a, b field.Path) int { return len(a) - len(b) })
	var out []*grouped
	for _, c := range all {
		i := slices.IndexFunc(lists, func(l field.Path) bool { return within(c.Path, l) })
		if i < 0 {
			out = append(out, &grouped{changes: []change{c}})
			continue
		}
		at := slices.IndexFunc(out, func(g *grouped) bool { return g.list != nil && comparePaths(g.list, lists[i]) == 0 })
		if at < 0 {
			at, out = len(out), append(out, &grouped{list: lists[i]})
		}
		out[at].changes = append(out[at].changes, c)
	}
	return out
}

func within(p, parent field.Path) bool {
	return len(p) >= len(parent) && comparePaths(p[:len(parent)], parent) == 0
}

// comparePaths orders paths; positions are ordered as numbers.
func comparePaths(a, b field.Path) int {
	return slices.CompareFunc(a, b, func(x, y field.Step) int {
		return cmp.Or(strings.Compare(x.Key, y.Key), x.Index-y.Index, strings.Compare(fmt.Sprint(x.Where, deref(x.Value)), fmt.Sprint(y.Where, deref(y.Value))))
	})
}

// deref is the value of a selector by value, told apart from none.
func deref(s *string) string {
	if s == nil {
		return ""
	}
	return "=" + *s
}

// unit makes one change of the group's.
func (g *grouped) unit(content any) (*unit, error) {
	u := &unit{}
	for _, c := range g.changes {
		u.fields = append(u.fields, c.given)
	}
	if g.list == nil {
		u.change = g.changes[0].Change
		_, err := u.change.Apply(content)
		return u, err
	}
	now, err := g.applied(content)
	if err != nil {
		return nil, err
	}
	value, ok := field.Get(now, g.list)
	if !ok {
		return nil, field.ErrMissing
	}
	u.change = field.Change{Path: g.list, Op: cluster.Set, Value: value}
	return u, nil
}

// applied makes the changes of a list: those in place, removals from the last
// position to the first, and the order of what is there then.
func (g *grouped) applied(content any) (any, error) {
	now := content
	var orders, removals []change
	for _, c := range g.changes {
		if c.order(content) != nil {
			orders = append(orders, c)
			continue
		}
		was, there := field.Get(content, c.Path)
		if there && c.Op != cluster.Add && c.given.Before != nil && !field.Fits(was, field.Clone(c.given.Before)) {
			return nil, errors.New("at its position is something else than what was applied")
		}
		if c.Op == cluster.Remove {
			removals = append(removals, c)
			continue
		}
		var err error
		if now, err = c.Apply(now); err != nil {
			return nil, err
		}
	}
	for _, c := range slices.Backward(removals) {
		now = field.Without(now, c.Path)
	}
	for _, c := range orders {
		list, _ := field.Get(now, c.Path)
		sorted, err := reorder(list, c.order(content))
		if err != nil {
			return nil, err
		}
		if now, err = field.With(now, c.Path, sorted); err != nil {
			return nil, err
		}
	}
	return now, nil
}

// reorder is a list in the order of selectors.
func reorder(v any, order []field.Path) ([]any, error) {
	list, _ := v.([]any)
	var out []any
	for _, p := range order {
		item, ok := field.Get(v, p)
		if !ok {
			return nil, field.ErrMissing
		}
		out = append(out, item)
	}
	if len(out) != len(list) {
		return nil, field.ErrMissing
	}
	return out, nil
}
