package drift

import (
	"path"
	"slices"
	"strings"

	"lockkeeper/cluster"
)

// kept are the findings that no rule drops.
func (x *exam) kept(all ...cluster.Finding) []cluster.Finding {
	return slices.DeleteFunc(all, func(f cluster.Finding) bool {
		return slices.ContainsFunc(x.request.Ignore, func(r cluster.IgnoreRule) bool { return Ignored(r, f) })
	})
}

// Ignored reports whether a rule drops a finding.
func Ignored(r cluster.IgnoreRule, f cluster.Finding) bool {
	if !matches(r.Kinds, f.Ref.GroupKind()) || !matches(r.Namespaces, f.Ref.Namespace) || !matches(r.Names, f.Ref.Name) {
		return false
	}
	return len(r.Fields) == 0 || f.Field.Path != "" &&
		slices.ContainsFunc(r.Fields, func(pattern string) bool { return covers(pattern, f.Field.Path) })
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
	if len(want) > len(got) {
		return false
	}
	for i, w := range want {
		if w != got[i] && !(w == "[*]" && strings.HasPrefix(got[i], "[")) {
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
