package kube

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"

	"lockkeeper/cluster"
)

// listKeys tells how the items of lists are named. It is keyed by the path of
// the list without selectors: "spec.template.spec.containers".
type listKeys struct {
	keys map[string][]string // fields that identify an item
	sets map[string]bool     // lists that are sets of scalars
}

// commonKeys name list items where managedFields does not tell.
var commonKeys = [][]string{
	{"name"}, {"containerPort", "protocol"}, {"port", "protocol"}, {"mountPath"}, {"devicePath"},
	{"ip"}, {"topologyKey", "whenUnsatisfiable"}, {"type"}, {"key"},
}

// keysOf learns the list keys from field ownership: the server writes them in
// the terms of the kind's schema.
func keysOf(sets ...*fieldpath.Set) listKeys {
	lk := listKeys{map[string][]string{}, map[string]bool{}}
	for _, s := range sets {
		if s != nil {
			lk.learn("", s)
		}
	}
	return lk
}

func (lk listKeys) learn(at string, s *fieldpath.Set) {
	element := func(pe fieldpath.PathElement) string {
		switch {
		case pe.FieldName != nil && at == "":
			return *pe.FieldName
		case pe.FieldName != nil:
			return at + "." + *pe.FieldName
		case pe.Key != nil:
			var names []string
			for _, f := range *pe.Key {
				names = append(names, f.Name)
			}
			lk.keys[at] = names
		case pe.Value != nil:
			lk.sets[at] = true
		}
		return at
	}
	for pe := range s.Members.All() {
		element(pe)
	}
	for pe := range s.Children.All() {
		child, _ := s.Children.Get(pe)
		lk.learn(element(pe), child)
	}
}

// serverMetadata are the fields of metadata that only the server sets.
var serverMetadata = []string{
	"managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink",
	"deletionTimestamp", "deletionGracePeriodSeconds",
}

// diffObjects lists what differs between two states of one object, by value,
// over everything but server-owned metadata and status. A side may be empty.
func diffObjects(before, after map[string]any, lk listKeys) []cluster.FieldChange {
	d := differ{lk: lk}
	d.maps("", "", shownPart(before), shownPart(after))
	slices.SortStableFunc(d.out, func(a, b cluster.FieldChange) int { return strings.Compare(a.Path, b.Path) })
	return d.out
}

// shownPart is the part of an object that diffs speak of. The maps that are
// always looked into exist, so that their keys are listed one by one.
func shownPart(obj map[string]any) map[string]any {
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
	lk  listKeys
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
	if equalJSON(before, after) {
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
		sub := joinPath(path, k)
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
	if !slices.ContainsFunc(slices.Concat(before, after), isContainer) {
		d.add(path, before, after, true, true)
		return
	}
	head := 0
	for head < min(len(before), len(after)) && equalJSON(before[head], after[head]) {
		head++
	}
	b, a := before[head:], after[head:]
	for len(b) > 0 && len(a) > 0 && equalJSON(b[len(b)-1], a[len(a)-1]) {
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

// name returns how to name the items of a list, if all of both sides can be
// named apart.
func (lk listKeys) name(at string, sides ...[]any) (func(any) (string, bool), bool) {
	candidates := commonKeys
	if k, ok := lk.keys[at]; ok {
		candidates = append([][]string{k}, commonKeys...)
	}
	for _, keys := range candidates {
		n := func(item any) (string, bool) { return selector(item, keys) }
		if !slices.ContainsFunc(sides, func(s []any) bool { return !distinct(s, n) }) {
			return n, true
		}
	}
	byValue := func(item any) (string, bool) {
		return "[=" + scalar(item) + "]", !isContainer(item)
	}
	if lk.sets[at] && !slices.ContainsFunc(sides, func(s []any) bool { return !distinct(s, byValue) }) {
		return byValue, true
	}
	return nil, false
}

func distinct(items []any, name func(any) (string, bool)) bool {
	seen := map[string]bool{}
	for _, it := range items {
		n, ok := name(it)
		if !ok || seen[n] {
			return false
		}
		seen[n] = true
	}
	return true
}

func index(items []any, name func(any) (string, bool)) (map[string]any, []string) {
	m, order := map[string]any{}, make([]string, 0, len(items))
	for _, it := range items {
		n, _ := name(it)
		m[n] = it
		order = append(order, n)
	}
	return m, order
}

// keyDefaults are values that the server gives to key fields left out.
var keyDefaults = map[string]any{"protocol": "TCP"}

// selector is "[name=web]" or "[containerPort=80,protocol=TCP]".
func selector(item any, keys []string) (string, bool) {
	m, ok := item.(map[string]any)
	if !ok {
		return "", false
	}
	var parts []string
	for _, k := range keys {
		v, ok := m[k]
		if !ok && keyDefaults[k] != nil {
			v, ok = keyDefaults[k], true
		}
		if !ok || isContainer(v) {
			return "", false
		}
		parts = append(parts, k+"="+scalar(v))
	}
	return "[" + strings.Join(parts, ",") + "]", true
}

func isContainer(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return true
	}
	return false
}

func anys(xs []string) []any {
	out := make([]any, len(xs))
	for i, x := range xs {
		out[i] = x
	}
	return out
}

// scalar prints a list key, quoted where it would be unclear.
func scalar(v any) string {
	s := fmt.Sprint(v)
	if s == "" || strings.ContainsAny(s, "[],=\"") {
		return strconv.Quote(s)
	}
	return s
}

func join(at, key string) string {
	if at == "" {
		return key
	}
	return at + "." + key
}

// joinPath appends a map key to a path, quoted unless it is a plain word.
func joinPath(path, key string) string {
	plain := key != "" && !strings.ContainsFunc(key, func(r rune) bool {
		return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
	if !plain {
		return path + "[" + strconv.Quote(key) + "]"
	}
	return join(path, key)
}

// pathOf prints a path of managedFields as FieldChange.Path does.
func pathOf(p fieldpath.Path) string {
	out := ""
	for _, pe := range p {
		switch {
		case pe.FieldName != nil:
			out = joinPath(out, *pe.FieldName)
		case pe.Key != nil:
			out += keySelector(*pe.Key)
		case pe.Value != nil:
			out += "[=" + scalar((*pe.Value).Unstructured()) + "]"
		case pe.Index != nil:
			out += fmt.Sprintf("[%d]", *pe.Index)
		}
	}
	return out
}

func keySelector(fields value.FieldList) string {
	var parts []string
	for _, f := range fields {
		parts = append(parts, f.Name+"="+scalar(f.Value.Unstructured()))
	}
	return "[" + strings.Join(parts, ",") + "]"
}

// equalJSON compares JSON values; whole floats equal their integers.
func equalJSON(a, b any) bool {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		return ok && maps.EqualFunc(x, y, equalJSON)
	case []any:
		y, ok := b.([]any)
		return ok && slices.EqualFunc(x, y, equalJSON)
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

// flatten lists every node of an object by path.
func flatten(obj map[string]any, lk listKeys) map[string]any {
	out := map[string]any{}
	var walk func(path, at string, v any)
	walk = func(path, at string, v any) {
		if path != "" {
			out[path] = v
		}
		switch x := v.(type) {
		case map[string]any:
			for k, sub := range x {
				walk(joinPath(path, k), join(at, k), sub)
			}
		case []any:
			name, ok := lk.name(at, x)
			for i, sub := range x {
				n := fmt.Sprintf("[%d]", i)
				if ok {
					n, _ = name(sub)
				}
				walk(path+n, at, sub)
			}
		}
	}
	walk("", "", obj)
	return out
}

// stripped is v without what stands at the given paths, as flatten names them.
func stripped(v any, path, at string, lk listKeys, drop map[string]bool) any {
	switch x := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(x))
		for k, sub := range x {
			if p := joinPath(path, k); !drop[p] {
				out[k] = stripped(sub, p, join(at, k), lk, drop)
			}
		}
		return out
	case []any:
		name, named := lk.name(at, x)
		out := make([]any, 0, len(x))
		for i, sub := range x {
			n := fmt.Sprintf("[%d]", i)
			if named {
				n, _ = name(sub)
			}
			if !drop[path+n] {
				out = append(out, stripped(sub, path+n, at, lk, drop))
			}
		}
		return out
	}
	return v
}

// project is the part of v that has the shape of like: its fields and list
// items, with the values of v.
func project(v, like any, at string, lk listKeys) any {
	switch shape := like.(type) {
	case map[string]any:
		m, ok := v.(map[string]any)
		if !ok {
			return v
		}
		out := map[string]any{}
		for k, sub := range shape {
			if got, ok := m[k]; ok {
				out[k] = project(got, sub, join(at, k), lk)
			}
		}
		return out
	case []any:
		l, ok := v.([]any)
		if !ok {
			return v
		}
		return projectList(l, shape, at, lk)
	}
	return v
}

func projectList(l, shape []any, at string, lk listKeys) any {
	name, named := lk.name(at, l, shape)
	if !named && len(l) != len(shape) {
		return l
	}
	byName := map[string]any{}
	for _, item := range shape {
		if named {
			n, _ := name(item)
			byName[n] = item
		}
	}
	out := []any{}
	for i, item := range l {
		if !named {
			out = append(out, project(item, shape[i], at, lk))
			continue
		}
		n, _ := name(item)
		if like, ok := byName[n]; ok {
			out = append(out, project(item, like, at, lk))
		}
	}
	return out
}
