package policy

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"lockkeeper/cluster"
)

// The attributes of changes that selectors look at; those of which a plan has
// few different values come first.
const (
	byEnvironment = iota
	byCluster
	byAction
	byGroup
	byKind
	byTarget
	byNamespace
	byName
	byField
	attributes
)

// Takeover is the action of a change that forces fields which another manager
// set, beside its own action.
const Takeover = "takeover"

// actions are what a selector may ask for.
var actions = []string{
	string(cluster.Create), string(cluster.Update), string(cluster.Replace), string(cluster.Delete),
	string(cluster.Adopt), string(cluster.Transfer), Takeover,
}

// anyField stands for the fields of a change that lists none and concerns all.
const anyField = ""

// values are those of one attribute of a change.
func (c Change) values(attribute int) []string {
	switch attribute {
	case byEnvironment:
		return append([]string{c.Environment}, c.Also...)
	case byCluster:
		return []string{c.Cluster}
	case byAction:
		return c.acts()
	case byGroup:
		return []string{c.Ref.Group}
	case byKind:
		return []string{c.Ref.Kind}
	case byTarget:
		return []string{c.Target}
	case byNamespace:
		return []string{c.Ref.Namespace}
	case byName:
		return []string{c.Ref.Name}
	}
	if len(c.Fields) == 0 && slices.Contains([]cluster.Action{cluster.Create, cluster.Delete, cluster.Replace}, c.Action) {
		return []string{anyField}
	}
	return c.Fields
}

func (c Change) acts() []string {
	if c.Takeover {
		return []string{string(c.Action), Takeover}
	}
	return []string{string(c.Action)}
}

// set is a set of changes, by their index.
type set []uint64

func newSet(n int) set { return make(set, (n+63)/64) }

func (s set) add(i int) { s[i/64] |= 1 << (i % 64) }

func (s set) has(i int) bool { return s[i/64]&(1<<(i%64)) != 0 }

func (s set) all(n int) set {
	for i := range n {
		s.add(i)
	}
	return s
}

func (s set) unite(o set) {
	for i := range s {
		s[i] |= o[i]
	}
}

func (s set) intersect(o set) {
	for i := range s {
		s[i] &= o[i]
	}
}

func (s set) meets(o set) bool {
	for i := range s {
		if s[i]&o[i] != 0 {
			return true
		}
	}
	return false
}

func (s set) size() int {
	n := 0
	for _, word := range s {
		n += bits.OnesCount64(word)
	}
	return n
}

// table knows, for each attribute, which changes have which value. With it a
// selector looks at each value once instead of at each change.
type table struct {
	changes int
	have    [attributes]map[string]set
	fields  map[string][]step // the paths of have[byField]
}

func newTable(changes []Change) *table {
	t := &table{changes: len(changes), fields: map[string][]step{}}
	for a := range t.have {
		t.have[a] = map[string]set{}
		for i, c := range changes {
			for _, v := range c.values(a) {
				if t.have[a][v] == nil {
					t.have[a][v] = newSet(len(changes))
				}
				t.have[a][v].add(i)
			}
		}
	}
	for path := range t.have[byField] {
		// A path that cannot be read has no steps, and concerns every pattern.
		t.fields[path], _ = parsePath(path)
	}
	return t
}

// selector is a Selector whose patterns were read.
type selector struct {
	globs [attributes][]string // fields excepted
	paths [][]step
	files []string
}

func compileSelector(s Selector) (selector, error) {
	out := selector{files: s.Files}
	out.globs = [attributes][]string{
		byEnvironment: s.Environments, byCluster: s.Clusters, byAction: s.Actions, byKind: s.Kinds,
		byTarget: s.Targets, byNamespace: s.Namespaces, byName: s.Names,
	}
	for _, g := range s.APIGroups {
		if g == "core" {
			g = ""
		}
		out.globs[byGroup] = append(out.globs[byGroup], g)
	}
	for _, g := range slices.Concat(append(out.globs[:], s.Files)...) {
		if !doublestar.ValidatePattern(g) {
			return out, fmt.Errorf("%q is not a glob", g)
		}
	}
	for _, a := range s.Actions {
		if !slices.Contains(actions, a) {
			return out, fmt.Errorf("%q is no action; there are %s", a, strings.Join(actions, ", "))
		}
	}
	for _, f := range s.Fields {
		path, err := parsePath(f)
		if err != nil {
			return out, err
		}
		out.paths = append(out.paths, path)
	}
	return out, nil
}

// onlyFiles reports whether the selector looks at files and nothing else.
func (s selector) onlyFiles() bool {
	return len(s.files) > 0 && len(s.paths) == 0 &&
		!slices.ContainsFunc(s.globs[:], func(g []string) bool { return len(g) > 0 })
}

// pick finds the changes that match all but the files.
func (s selector) pick(t *table) set {
	out := newSet(t.changes).all(t.changes)
	for a, globs := range s.globs {
		if len(globs) > 0 {
			out.intersect(t.matching(a, func(v string) bool { return globbed(globs, v) }))
		}
		if out.size() == 0 {
			return out
		}
	}
	if len(s.paths) > 0 {
		out.intersect(t.matching(byField, func(v string) bool {
			return slices.ContainsFunc(s.paths, func(p []step) bool { return touches(p, t.fields[v]) })
		}))
	}
	return out
}

func (t *table) matching(attribute int, match func(string) bool) set {
	out := newSet(t.changes)
	for v, changes := range t.have[attribute] {
		if match(v) {
			out.unite(changes)
		}
	}
	return out
}

func globbed(globs []string, s string) bool {
	return slices.ContainsFunc(globs, func(g string) bool { return glob(g, s) })
}

// glob matches `*` within a segment and `**` across.
func glob(pattern, s string) bool {
	return pattern == s || strings.ContainsAny(pattern, `*?[{\`) && doublestar.MatchUnvalidated(pattern, s)
}
