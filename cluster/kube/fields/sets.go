package fields

import (
	"slices"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// prune removes from v the nodes that gone has and kept has not, as
// structured-merge-diff does: a node is there if it or anything below it is in
// the set, and goes with all below it. Empty lists that are given stay: where
// lists are merged item by item, one without items is in no set of whoever
// applies it.
func prune(v any, gone, kept *fieldpath.Set, given any) any {
	switch x := v.(type) {
	case map[string]any:
		fields, _ := given.(map[string]any)
		for k, val := range x {
			pe := fieldpath.FieldNameElement(k)
			if !contains(gone, pe, true) {
				continue
			}
			if !contains(kept, pe, true) && !givesEmptyList(fields[k]) {
				delete(x, k)
				continue
			}
			x[k] = prune(val, below(gone, pe), below(kept, pe), fields[k])
		}
		return x
	case []any:
		return pruneList(x, gone, kept, given)
	}
	return v
}

func pruneList(list []any, gone, kept *fieldpath.Set, given any) []any {
	items, _ := given.([]any)
	out := list[:0]
	for _, item := range list {
		pe, ok := elementOf(item, gone)
		if ok && contains(gone, pe, false) && !contains(kept, pe, true) {
			continue
		}
		if ok {
			var own any
			if i := slices.IndexFunc(items, func(g any) bool { return names(pe, g) }); i >= 0 {
				own = items[i]
			}
			item = prune(item, below(gone, pe), below(kept, pe), own)
		}
		out = append(out, item)
	}
	return out
}

// givesEmptyList reports whether a value is an empty list, or has one in it.
func givesEmptyList(v any) bool {
	switch x := v.(type) {
	case []any:
		return len(x) == 0
	case map[string]any:
		for _, sub := range x {
			if givesEmptyList(sub) {
				return true
			}
		}
	}
	return false
}

// contains reports whether a set has an element; with deep also if only as
// the parent of others.
func contains(s *fieldpath.Set, pe fieldpath.PathElement, deep bool) bool {
	if s.Members.Has(pe) {
		return true
	}
	_, ok := s.Children.Get(pe)
	return ok && deep
}

func below(s *fieldpath.Set, pe fieldpath.PathElement) *fieldpath.Set {
	if child, ok := s.Children.Get(pe); ok {
		return child
	}
	return &fieldpath.Set{}
}

// elementOf finds the element of a set that names a list item.
func elementOf(item any, s *fieldpath.Set) (fieldpath.PathElement, bool) {
	for _, pe := range elements(s) {
		if names(pe, item) {
			return pe, true
		}
	}
	return fieldpath.PathElement{}, false
}

func names(pe fieldpath.PathElement, item any) bool {
	switch {
	case pe.Value != nil:
		return Equal((*pe.Value).Unstructured(), item)
	case pe.Key != nil:
		m, ok := item.(map[string]any)
		return ok && !slices.ContainsFunc(*pe.Key, func(f value.Field) bool {
			v, _ := keyValue(m, f.Name)
			return !Equal(v, f.Value.Unstructured())
		})
	}
	return false
}

// elements are what a set has directly below itself: its members, then those
// that are there as the parents of others. (The set's own iterators must not be
// left early, so they are not handed on.)
func elements(s *fieldpath.Set) []fieldpath.PathElement {
	var out []fieldpath.PathElement
	add := func(pe fieldpath.PathElement) { out = append(out, pe) }
	s.Members.Iterate(add)
	s.Children.Iterate(add)
	return out
}

// keyed reports whether the items of a list are named by keys or values.
func keyed(known *fieldpath.Set) bool {
	for _, pe := range elements(known) {
		return pe.Key != nil || pe.Value != nil
	}
	return false
}

// keyLike names an item with the key fields of its siblings.
func keyLike(item any, known *fieldpath.Set) (fieldpath.PathElement, bool) {
	for _, pe := range elements(known) {
		if pe.Value != nil {
			return fieldpath.ValueElement(value.NewValueInterface(item)), !IsContainer(item)
		}
		if pe.Key != nil {
			return keyFrom(item, *pe.Key)
		}
	}
	return fieldpath.PathElement{}, false
}

func keyFrom(item any, like value.FieldList) (fieldpath.PathElement, bool) {
	m, ok := item.(map[string]any)
	if !ok {
		return fieldpath.PathElement{}, false
	}
	var fields value.FieldList
	for _, f := range like {
		v, ok := keyValue(m, f.Name)
		if !ok {
			return fieldpath.PathElement{}, false
		}
		fields = append(fields, value.Field{Name: f.Name, Value: value.NewValueInterface(v)})
	}
	fields.Sort()
	return fieldpath.KeyElement(fields...), true
}
