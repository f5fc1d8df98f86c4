package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"lockkeeper/bot/policy/fact"
	"lockkeeper/bot/policy/match"
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

// actions are what a selector may ask for.
var actions = []string{
	string(cluster.Create), string(cluster.Update), string(cluster.Replace), string(cluster.Delete),
	string(cluster.Adopt), string(cluster.Transfer), fact.Takeover,
}

// values are those of one attribute of a change. What is created, deleted or
// replaced without a list of its fields concerns all of them.
func values(c Change, attribute int) []string {
	switch attribute {
	case byEnvironment:
		return append([]string{c.Environment}, c.Also...)
	case byCluster:
		return []string{c.Cluster}
	case byAction:
		return c.Actions()
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
		return []string{""}
	}
	return c.Fields
}

// selector is a Selector whose patterns were read.
type selector struct {
	globs [attributes][]match.Pattern // fields excepted
	paths [][]match.Step
	files []match.Pattern
}

func compileSelector(s Selector) (selector, error) {
	out := selector{files: match.Patterns(s.Files)}
	groups := slices.Clone(s.APIGroups)
	for i, g := range groups {
		if g == "core" {
			groups[i] = ""
		}
	}
	lists := [attributes][]string{
		byEnvironment: s.Environments, byCluster: s.Clusters, byAction: s.Actions, byGroup: groups, byKind: s.Kinds,
		byTarget: s.Targets, byNamespace: s.Namespaces, byName: s.Names,
	}
	for a, globs := range lists {
		out.globs[a] = match.Patterns(globs)
	}
	for _, g := range slices.Concat(append(lists[:], s.Files)...) {
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
		path, err := match.ParsePath(f)
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
		!slices.ContainsFunc(s.globs[:], func(p []match.Pattern) bool { return len(p) > 0 })
}

// pick finds the changes that match all but the files.
func (s selector) pick(t *match.Table, changes int) match.Set {
	out := match.Full(changes)
	for a, patterns := range s.globs {
		if len(patterns) > 0 && out.Size() > 0 {
			out.Intersect(t.Any(a, patterns))
		}
	}
	if len(s.paths) > 0 && out.Size() > 0 {
		out.Intersect(t.Touching(byField, s.paths))
	}
	return out
}
