package fields

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// Keys tells how the items of lists are named. It is keyed by the path of
// the list without selectors: "spec.template.spec.containers".
type Keys struct {
	keys map[string][]string // fields that identify an item
	sets map[string]bool     // lists that are sets of scalars
}

// commonKeys name list items where managedFields does not tell.
var commonKeys = [][]string{
	{"name"}, {"containerPort", "protocol"}, {"port", "protocol"}, {"mountPath"}, {"devicePath"},
	{"ip"}, {"topologyKey", "whenUnsatisfiable"}, {"type"}, {"key"},
}

// KeysOf learns the list keys from field ownership: the server writes them in
// the terms of the kind's schema.
func KeysOf(sets ...*fieldpath.Set) Keys {
	lk := Keys{map[string][]string{}, map[string]bool{}}
	for _, s := range sets {
		if s != nil {
			lk.learn("", s)
		}
	}
	return lk
}

func (lk Keys) learn(at string, s *fieldpath.Set) {
	element := func(pe fieldpath.PathElement) string {
		switch {
		case pe.FieldName != nil:
			return join(at, *pe.FieldName)
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

// name returns how to name the items of a list, if all of both sides can be
// named apart.
func (lk Keys) name(at string, sides ...[]any) (func(any) (string, bool), bool) {
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
		return "[=" + scalar(item) + "]", !IsContainer(item)
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

// keyValue is the value of one key field of a list item.
func keyValue(item map[string]any, field string) (any, bool) {
	if v, ok := item[field]; ok {
		return v, true
	}
	v, ok := keyDefaults[field]
	return v, ok
}

// selector is "[name=web]" or "[containerPort=80,protocol=TCP]".
func selector(item any, keys []string) (string, bool) {
	m, ok := item.(map[string]any)
	if !ok {
		return "", false
	}
	var parts []string
	for _, k := range keys {
		v, ok := keyValue(m, k)
		if !ok || IsContainer(v) {
			return "", false
		}
		parts = append(parts, k+"="+scalar(v))
	}
	return "[" + strings.Join(parts, ",") + "]", true
}

// scalar prints a list key, quoted where it would be unclear.
func scalar(v any) string {
	s := fmt.Sprint(v)
	if s == "" || strings.ContainsAny(s, "[],=\"") {
		return strconv.Quote(s)
	}
	return s
}
