package cluster

import (
	"path"
	"slices"
	"strings"
)

// Drops reports whether the rule says of a finding that it is no drift.
func (r IgnoreRule) Drops(f Finding) bool {
	return r.of(f.Ref) && (len(r.Fields) == 0 || f.Field.Path != "" &&
		slices.ContainsFunc(r.Fields, func(pattern string) bool { return covers(pattern, f.Field.Path) }))
}

// Meets reports whether a change of a field reaches what the rule leaves to
// others: that field, or something above or below it.
func (r IgnoreRule) Meets(ref Ref, field string) bool {
	return r.of(ref) && (len(r.Fields) == 0 ||
		slices.ContainsFunc(r.Fields, func(pattern string) bool { return meets(segments(pattern), segments(field)) }))
}

// of reports whether the rule is about an object.
func (r IgnoreRule) of(ref Ref) bool {
	return matches(r.Kinds, ref.GroupKind()) && matches(r.Namespaces, ref.Namespace) && matches(r.Names, ref.Name)
}

func matches(globs []string, s string) bool {
	return len(globs) == 0 || slices.ContainsFunc(globs, func(g string) bool {
		ok, err := path.Match(g, s)
		return err == nil && ok
	})
}

// covers reports whether a path is what a pattern names, or lies below it. [*]
// in the pattern stands for any one item or quoted key.
func covers(pattern, field string) bool {
	want, got := segments(pattern), segments(field)
	return len(want) <= len(got) && meets(want, got)
}

// meets reports whether one of a pattern and a path is what the other names, or
// lies below it.
func meets(want, got []string) bool {
	for i := range min(len(want), len(got)) {
		if want[i] != got[i] && !(want[i] == "[*]" && strings.HasPrefix(got[i], "[")) {
			return false
		}
	}
	return true
}

// segments splits a path: a.b[name=x]["c.d"] has a, b, [name=x] and ["c.d"].
// Brackets and dots inside quotes are part of a segment.
func segments(p string) []string {
	var out []string
	start, quoted, deep := 0, false, false
	cut := func(end int) {
		if end > start {
			out = append(out, p[start:end])
		}
		start = end
	}
	for i := 0; i < len(p); i++ {
		switch c := p[i]; {
		case quoted && c == '\\':
			i++
		case c == '"' && deep:
			quoted = !quoted
		case quoted:
		case c == '[' && !deep:
			cut(i)
			deep = true
		case c == ']' && deep:
			cut(i + 1)
			deep = false
		case c == '.' && !deep:
			cut(i)
			start = i + 1
		}
	}
	cut(len(p))
	return out
}
