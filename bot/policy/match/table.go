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
	things  int
	columns []column
	paths   map[string][]Step
}

// column has the distinct values of an attribute, and who has them.
type column struct {
	index  map[string]int
	values []string
	have   []Set
}

// NewTable reads the values of each attribute of things.
func NewTable(things, attributes int, values func(thing, attribute int) []string) *Table {
	t := &Table{things: things, columns: make([]column, attributes), paths: map[string][]Step{}}
	for a := range t.columns {
		c := column{index: map[string]int{}}
		for i := range things {
			for _, v := range values(i, a) {
				at, ok := c.index[v]
				if !ok {
					at = len(c.values)
					c.index[v] = at
					c.values, c.have = append(c.values, v), append(c.have, NewSet(things))
				}
				c.have[at].Add(i)
			}
		}
		t.columns[a] = c
	}
	return t
}

// With are the things that have a value.
func (t *Table) With(attribute int, value string) Set {
	if at, ok := t.columns[attribute].index[value]; ok {
		return t.columns[attribute].have[at]
	}
	return NewSet(t.things)
}

// Any are the things that have a value which one of the patterns matches.
func (t *Table) Any(attribute int, patterns []Pattern) Set {
	return t.matching(attribute, func(v string) bool { return Any(patterns, v) })
}

// Touching are the things with a field path that one of the patterns touches. A
// path that cannot be read is touched by every pattern.
func (t *Table) Touching(attribute int, patterns [][]Step) Set {
	return t.matching(attribute, func(v string) bool {
		path, ok := t.paths[v]
		if !ok {
			path, _ = ParsePath(v)
			t.paths[v] = path
		}
		return slices.ContainsFunc(patterns, func(p []Step) bool { return Touches(p, path) })
	})
}

func (t *Table) matching(attribute int, match func(string) bool) Set {
	out := NewSet(t.things)
	c := t.columns[attribute]
	for i, v := range c.values {
		if match(v) {
			out.Unite(c.have[i])
		}
	}
	return out
}

// Pattern is a glob that was looked at once: `*` matches within a segment
// between slashes, and `**` across.
type Pattern struct {
	glob string
	// prefix and suffix are what every match begins and ends with; a literal
	// has no more than that.
	prefix, suffix string
	literal        bool
}

// Patterns looks at globs.
func Patterns(globs []string) []Pattern {
	out := make([]Pattern, len(globs))
	for i, g := range globs {
		out[i] = pattern(g)
	}
	return out
}

func pattern(glob string) Pattern {
	const meta = `*?[]{}\`
	first, last := strings.IndexAny(glob, meta), strings.LastIndexAny(glob, meta)
	if first < 0 {
		return Pattern{glob: glob, literal: true}
	}
	// A slash beside `**` may match nothing.
	return Pattern{glob: glob, prefix: strings.TrimSuffix(glob[:first], "/"), suffix: strings.TrimPrefix(glob[last+1:], "/")}
}

// Match reports whether the pattern matches.
func (p Pattern) Match(s string) bool {
	if p.literal || p.glob == s {
		return p.glob == s
	}
	return strings.HasPrefix(s, p.prefix) && strings.HasSuffix(s, p.suffix) && doublestar.MatchUnvalidated(p.glob, s)
}

// Any reports whether one of the patterns matches.
func Any(patterns []Pattern, s string) bool {
	return slices.ContainsFunc(patterns, func(p Pattern) bool { return p.Match(s) })
}

// Glob reports whether a glob matches.
func Glob(glob, s string) bool { return pattern(glob).Match(s) }

// Globs reports whether one of several globs matches.
func Globs(globs []string, s string) bool { return Any(Patterns(globs), s) }
