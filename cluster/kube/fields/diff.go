package fields

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"lockkeeper/cluster"
)

// serverMetadata are the fields of metadata that only the server sets.
var serverMetadata = []string{
	"managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink",
	"deletionTimestamp", "deletionGracePeriodSeconds",
}

// Diff lists what differs between two states of one object, by value,
// over everything but server-owned metadata and status. A side may be empty.
func Diff(before, after map[string]any, lk Keys) []cluster.FieldChange {
	d := differ{lk: lk}
	d.maps("", "", Shown(before), Shown(after))
	return Sorted(d.out)
}

// Shown is the part of an object that diffs speak of. The maps that are
// always looked into exist, so that their keys are listed one by one.
func Shown(obj map[string]any) map[string]any {
	out := maps.Clone(obj)
	if out == nil {
		out = map[string]any{}
	}
	for _, f := range []string{"apiVersion", "kind", "status"} {
		delete(out, f)
	}
	meta, _ := out["metadata"].(map[string]any)
	meta = maps.Clone(meta)
	if meta == nil {
		meta = map[string]any{}
	}
	for _, f := range append([]string{"name", "namespace"}, serverMetadata...) {
		delete(meta, f)
	}
	for _, f := range []string{"labels", "annotations"} {
		if meta[f] == nil {
			meta[f] = map[string]any{}
		}
	}
	out["metadata"] = meta
	for _, f := range []string{"data", "stringData", "binaryData"} {
		if out[f] == nil {
			out[f] = map[string]any{}
		}
	}
	return out
}

type differ struct {
	lk  Keys
	out []cluster.FieldChange
}

func (d *differ) add(path string, before, after any, hadBefore, hasAfter bool) {
	c := cluster.FieldChange{Path: path, Op: cluster.Set, Before: before, After: after}
	switch {
	case !hadBefore:
		c.Op, c.Before = cluster.Add, nil
	case !hasAfter:
		c.Op, c.After = cluster.Remove, nil
	}
	d.out = append(d.out, c)
}

// values compares two values; path is for people, at finds the list keys.
func (d *differ) values(path, at string, before, after any) {
	if Equal(before, after) {
		return
	}
	bm, b := before.(map[string]any)
	am, a := after.(map[string]any)
	if a && b {
		d.maps(path, at, bm, am)
		return
	}
	bl, b := before.([]any)
	al, a := after.([]any)
	if a && b {
		d.lists(path, at, bl, al)
		return
	}
	d.add(path, before, after, true, true)
}

func (d *differ) maps(path, at string, before, after map[string]any) {
	keys := slices.Collect(maps.Keys(before))
	for k := range after {
		if _, ok := before[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		b, hadBefore := before[k]
		a, hasAfter := after[k]
		sub := Join(path, k)
		if hadBefore && hasAfter {
			d.values(sub, join(at, k), b, a)
		} else {
			d.add(sub, b, a, hadBefore, hasAfter)
		}
	}
}

func (d *differ) lists(path, at string, before, after []any) {
	names, ok := d.lk.name(at, before, after)
	if !ok {
		d.positions(path, at, before, after)
		return
	}
	b, border := index(before, names)
	a, aorder := index(after, names)
	for _, n := range border {
		if av, ok := a[n]; ok {
			d.values(path+n, at, b[n], av)
		} else {
			d.add(path+n, b[n], nil, true, false)
		}
	}
	for _, n := range aorder {
		if _, ok := b[n]; !ok {
			d.add(path+n, nil, a[n], false, true)
		}
	}
	// The order matters to some lists (init containers, env); it is told where
	// it is not what removing, and appending by name, would give.
	expected := slices.DeleteFunc(slices.Clone(border), func(n string) bool { _, ok := a[n]; return !ok })
	added := slices.DeleteFunc(slices.Clone(aorder), func(n string) bool { _, ok := b[n]; return ok })
	slices.Sort(added)
	expected = append(expected, added...)
	if !slices.Equal(expected, aorder) {
		d.add(path, anys(border), anys(aorder), true, true)
	}
}

// positions compares lists whose items have no names. Lists of scalars are one
// value; of others, the items that differ between equal heads and tails.
func (d *differ) positions(path, at string, before, after []any) {
	if !slices.ContainsFunc(slices.Concat(before, after), IsContainer) {
		d.add(path, before, after, true, true)
		return
	}
	head := 0
	for head < min(len(before), len(after)) && Equal(before[head], after[head]) {
		head++
	}
	b, a := before[head:], after[head:]
	for len(b) > 0 && len(a) > 0 && Equal(b[len(b)-1], a[len(a)-1]) {
		b, a = b[:len(b)-1], a[:len(a)-1]
	}
	for i := range max(len(b), len(a)) {
		sub := fmt.Sprintf("%s[%d]", path, head+i)
		switch {
		case i >= len(b):
			d.add(sub, nil, a[i], false, true)
		case i >= len(a):
			d.add(sub, b[i], nil, true, false)
		default:
			d.values(sub, at, b[i], a[i])
		}
	}
}

func anys(xs []string) []any {
	out := make([]any, len(xs))
	for i, x := range xs {
		out[i] = x
	}
	return out
}

// Equal compares JSON values; whole floats equal their integers.
func Equal(a, b any) bool {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		return ok && maps.EqualFunc(x, y, Equal)
	case []any:
		y, ok := b.([]any)
		return ok && slices.EqualFunc(x, y, Equal)
	case int64:
		if y, ok := b.(float64); ok {
			return float64(x) == y
		}
	case float64:
		if y, ok := b.(int64); ok {
			return float64(y) == x
		}
	}
	return reflect.DeepEqual(a, b)
}

// IsContainer reports whether a value is a map or a list.
func IsContainer(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return true
	}
	return false
}

// Sorted sorts changes by path, in place.
func Sorted(changes []cluster.FieldChange) []cluster.FieldChange {
	slices.SortStableFunc(changes, func(a, b cluster.FieldChange) int { return strings.Compare(a.Path, b.Path) })
	return changes
}
