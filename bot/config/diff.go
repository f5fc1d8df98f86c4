package config

import (
	"fmt"
	"strings"
	"time"
)

// DiffTargets says in words, a line each, what changes about the targets that a
// repository lists. A nil file has none.
func DiffTargets(before, after *File) []string {
	var out []string
	was, will := listed(before), listed(after)
	for _, name := range sortedKeys(will) {
		switch old, known := was[name]; {
		case !known:
			out = append(out, fmt.Sprintf("target %s is added: %s", name, will[name].words()))
		case old.words() != will[name].words():
			out = append(out, fmt.Sprintf("target %s changes: it was %s, and becomes %s", name, old.words(), will[name].words()))
		}
	}
	for _, name := range sortedKeys(was) {
		if _, still := will[name]; !still {
			out = append(out, fmt.Sprintf("target %s is removed: it was %s", name, was[name].words()))
		}
	}
	return out
}

// listed are a file's entries by what they are called.
func listed(f *File) map[string]Target {
	out := map[string]Target{}
	if f == nil {
		return out
	}
	for _, t := range f.Targets {
		name := t.Name
		if name == "" {
			name = t.Path
		}
		out[name] = t
	}
	return out
}

// words are all that an entry says.
func (t Target) words() string {
	parts := []string{t.Path + " on cluster " + t.Cluster + " as " + t.Environment}
	if t.Namespace != "" {
		parts = append(parts, "namespace "+t.Namespace)
	}
	if t.Timeout != 0 {
		parts = append(parts, "timeout "+time.Duration(t.Timeout).String())
	}
	return strings.Join(parts, ", ")
}
