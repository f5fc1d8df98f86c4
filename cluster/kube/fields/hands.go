package fields

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// hands are managers behind which a person sits: what they add is drift.
var hands = []string{"kubectl*", "k9s", "lens*", "node-fetch", "mozilla*", "rancher", "headlamp*", "dashboard*"}

// ByHand reports whether a person sits behind a field manager: one that is
// known, or one of more.
func ByHand(manager string, more []string) bool {
	return matches(manager, hands) || matches(manager, more)
}

// notes are what kubectl leaves behind that sets nothing: its copy of the object
// it applied, and the order to restart the pods, which is carried out. To take
// that back would restart them again.
var notes = fieldpath.NewSet(
	fieldpath.MakePathOrDie("metadata", "annotations", "kubectl.kubernetes.io/last-applied-configuration"),
	fieldpath.MakePathOrDie("spec", "template", "metadata", "annotations", "kubectl.kubernetes.io/restartedAt"),
)

// Stored are the fields of an entry as they are kept: what a client gives a
// Secret as stringData is in data.
func Stored(e metav1.ManagedFieldsEntry) *fieldpath.Set {
	s := Of(e)
	plain := below(s, fieldpath.FieldNameElement("stringData"))
	if plain.Empty() {
		return s
	}
	given := &fieldpath.Set{}
	for _, pe := range elements(plain) {
		given.Insert(fieldpath.Path{fieldpath.FieldNameElement("stringData"), pe})
		s.Insert(fieldpath.Path{fieldpath.FieldNameElement("data"), pe})
	}
	return s.Difference(given)
}

// added are the fields of one entry that a person put beside those that Git
// sets; nil for none. Subresources are left to those that they are for: a person
// who scales what Git does not set a scale for does what an autoscaler does.
func added(e metav1.ManagedFieldsEntry, git *fieldpath.Set, humans []string) *fieldpath.Set {
	if e.Subresource != "" || IsOurs(e) || !ByHand(e.Manager, humans) {
		return nil
	}
	all := Stored(e)
	if all.Leaves().Difference(git).Difference(notes).Empty() {
		return nil
	}
	return all.Difference(git).Difference(notes)
}

// WithoutHandAdded is a live object without the fields that people added to it
// beside those that Git sets, and that nobody else owns: the object itself where
// there are none. humans are managers of people beside the known ones.
func WithoutHandAdded(live *unstructured.Unstructured, git *fieldpath.Set, humans []string) *unstructured.Unstructured {
	gone, kept := &fieldpath.Set{}, git.Union(identity)
	for _, e := range live.GetManagedFields() {
		if by := added(e, git, humans); by != nil {
			gone = gone.Union(by)
			kept = kept.Union(Stored(e).Intersection(notes))
		} else {
			kept = kept.Union(Stored(e))
		}
	}
	if gone.Leaves().Difference(kept).Empty() {
		return live
	}
	out := live.DeepCopy()
	strip(out.Object, gone, kept)
	return out
}

// strip removes from v what gone has as a member, unless kept has it or
// anything below it. Other than prune, it leaves what merely surrounds that.
func strip(v any, gone, kept *fieldpath.Set) any {
	switch x := v.(type) {
	case map[string]any:
		for k, val := range x {
			pe := fieldpath.FieldNameElement(k)
			if contains(gone, pe, false) && !contains(kept, pe, true) {
				delete(x, k)
			} else if contains(gone, pe, true) {
				x[k] = strip(val, below(gone, pe), below(kept, pe))
			}
		}
	case []any:
		out := x[:0]
		for _, item := range x {
			pe, ok := elementOf(item, gone)
			if ok && contains(gone, pe, false) && !contains(kept, pe, true) {
				continue
			}
			if ok {
				item = strip(item, below(gone, pe), below(kept, pe))
			}
			out = append(out, item)
		}
		return out
	}
	return v
}

// PlanTakeback moves to us what people added beside Git, so that the next apply
// removes it. It returns nil when there is nothing to take.
func PlanTakeback(live *unstructured.Unstructured, git *fieldpath.Set, apiVersion string, humans []string) *Migration {
	m := &Migration{Fields: Ours(live)}
	var rest []metav1.ManagedFieldsEntry
	for _, e := range live.GetManagedFields() {
		by := added(e, git, humans)
		if by == nil {
			rest = append(rest, e)
			continue
		}
		m.Managers = append(m.Managers, e.Manager)
		left := Stored(e).Difference(by)
		if e.APIVersion != apiVersion {
			by = presentIn(live, by)
		}
		m.Fields = m.Fields.Union(by)
		if e.FieldsV1 = encodeFields(left); !left.Empty() {
			rest = append(rest, e)
		}
	}
	if len(m.Managers) == 0 {
		return nil
	}
	slices.Sort(m.Managers)
	m.Managers = slices.Compact(m.Managers)
	m.Entries = m.setOurs(m.ownEmptied(live, rest, git), apiVersion)
	return m
}

// ownEmptied takes the maps and lists as well that are left empty once the fields
// go that Git does not set, whoever owns those: the server would leave a null in
// their place, which need not be valid. It returns the other managers' entries.
func (m *Migration) ownEmptied(live *unstructured.Unstructured, rest []metav1.ManagedFieldsEntry, git *fieldpath.Set) []metav1.ManagedFieldsEntry {
	gone, kept := m.Fields.Difference(git), git.Union(identity)
	for _, e := range rest {
		if !IsOurs(e) {
			kept = kept.Union(Stored(e))
		}
	}
	bare := live.DeepCopy()
	strip(bare.Object, gone, kept)
	emptied := &fieldpath.Set{}
	gone.Leaves().Iterate(func(p fieldpath.Path) {
		for n := len(p) - 1; n > 0 && emptyAt(bare.Object, p[:n]); n-- {
			emptied.Insert(p[:n].Copy())
		}
	})
	m.Fields = m.Fields.Union(emptied)
	var out []metav1.ManagedFieldsEntry
	for _, e := range rest {
		if left := Of(e).Difference(emptied); !IsOurs(e) && !left.Equals(Of(e)) {
			if e.FieldsV1 = encodeFields(left); left.Empty() {
				continue
			}
		}
		out = append(out, e)
	}
	return out
}

// emptyAt reports whether a path leads to a map or list with nothing in it.
func emptyAt(v any, p fieldpath.Path) bool {
	switch x := v.(type) {
	case map[string]any:
		if len(p) == 0 {
			return len(x) == 0
		}
		return p[0].FieldName != nil && emptyAt(x[*p[0].FieldName], p[1:])
	case []any:
		if len(p) == 0 {
			return len(x) == 0
		}
		i := slices.IndexFunc(x, func(item any) bool { return names(p[0], item) })
		return i >= 0 && emptyAt(x[i], p[1:])
	}
	return false
}

// Then is this migration, which may be nil, followed by the one that then plans on
// what it leaves.
func (m *Migration) Then(live *unstructured.Unstructured, then func(*unstructured.Unstructured) *Migration) *Migration {
	if m == nil {
		return then(live)
	}
	moved := live.DeepCopy()
	moved.SetManagedFields(m.Entries)
	next := then(moved)
	if next == nil {
		return m
	}
	next.Managers = append(next.Managers, m.Managers...)
	slices.Sort(next.Managers)
	next.Managers = slices.Compact(next.Managers)
	return next
}

// presentIn are the fields that an object has as it was read: those that an
// entry names in another API version, and that mean the same in this one.
func presentIn(live *unstructured.Unstructured, s *fieldpath.Set) *fieldpath.Set {
	out := &fieldpath.Set{}
	s.Iterate(func(p fieldpath.Path) {
		if present(live.Object, p) {
			out.Insert(p.Copy())
		}
	})
	return out
}
