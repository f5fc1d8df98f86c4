package match

import (
	"math/bits"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// Set is a set of things, by their index.
type Set []uint64

// NewSet is an empty set, for indices below n.
func NewSet(n int) Set { return make(Set, (n+63)/64) }

// Full is the set of all indices below n.
func Full(n int) Set {
	s := NewSet(n)
	for i := range n {
		s.Add(i)
	}
	return s
}

// Add puts an index into the set.
func (s Set) Add(i int) { s[i/64] |= 1 << (i % 64) }

// Has reports whether an index is in the set.
func (s Set) Has(i int) bool { return s[i/64]&(1<<(i%64)) != 0 }

// Unite adds what is in the other set.
func (s Set) Unite(o Set) {
	for i := range s {
		s[i] |= o[i]
	}
}

// Intersect drops what is not in the other set.
func (s Set) Intersect(o Set) {
	for i := range s {
		s[i] &= o[i]
	}
}

// Meets reports whether the sets have something in common.
func (s Set) Meets(o Set) bool {
	for i := range s {
		if s[i]&o[i] != 0 {
			return true
		}
	}
	return false
}

// Size counts the set.
func (s Set) Size() int {
	n := 0
	for _, word := range s {
		n += bits.OnesCount64(word)
	}
	return n
}

// Table knows, for each attribute of things, which of them have which value.
type Table struct {
	things int
	have   []map[string]Set
	paths  map[string][]Step
}

// NewTable reads the values of each attribute of things.
func NewTable(things, attributes int, values func(thing, attribute int) []string) *Table {
	t := &Table{things: things, have: make([]map[string]Set, attributes), paths: map[string][]Step{}}
	for a := range t.have {
		t.have[a] = map[string]Set{}
		for i := range things {
			for _, v := range values(i, a) {
				if t.have[a][v] == nil {
					t.have[a][v] = NewSet(things)
				}
				t.have[a][v].Add(i)
			}
		}
	}
	return t
}

// With are the things that have a value.
func (t *Table) With(attribute int, value string) Set {
	if s := t.have[attribute][value]; s != nil {
		return s
	}
	return NewSet(t.things)
}

// Any are the things that have a value which one of the globs matches.
func (t *Table) Any(attribute int, globs []string) Set {
	out := NewSet(t.things)
	for v, things := range t.have[attribute] {
		if Globs(globs, v) {
			out.Unite(things)
		}
	}
	return out
}

// Touching are the things with a field path that one of the patterns touches. A
// path that cannot be read is touched by every pattern.
func (t *Table) Touching(attribute int, patterns [][]Step) Set {
	out := NewSet(t.things)
	for v, things := range t.have[attribute] {
		path, ok := t.paths[v]
		if !ok {
			path, _ = ParsePath(v)
			t.paths[v] = path
		}
		if slices.ContainsFunc(patterns, func(p []Step) bool { return Touches(p, path) }) {
			out.Unite(things)
		}
	}
	return out
}

// Globs reports whether one of the globs matches.
func Globs(globs []string, s string) bool {
	return slices.ContainsFunc(globs, func(g string) bool { return Glob(g, s) })
}

// Glob matches `*` within a segment between slashes, and `**` across.
func Glob(pattern, s string) bool {
	return pattern == s || strings.ContainsAny(pattern, `*?[{\`) && doublestar.MatchUnvalidated(pattern, s)
}
