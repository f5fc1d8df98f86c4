package config

import (
	"fmt"
	"slices"
	"strings"
)

// place is a value of a document, which problems can be reported at.
type place struct {
	doc  *document
	path []any // keys (string) and indices (int)
}

func (d *document) at(path ...any) place { return place{d, path} }

func (p place) at(steps ...any) place { return place{p.doc, append(slices.Clip(p.path), steps...)} }

// has reports whether the file mentions the value.
func (p place) has() bool { return p.doc.has(p.path) }

// add reports a problem at the value's line: `rules[0].when.names: ...`.
func (p place) add(format string, args ...any) {
	p.doc.add(p.String()+": "+fmt.Sprintf(format, args...), p.path...)
}

// String is the path as people write it.
func (p place) String() string {
	var b strings.Builder
	for _, step := range p.path {
		if i, ok := step.(int); ok {
			fmt.Fprintf(&b, "[%d]", i)
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		fmt.Fprint(&b, step)
	}
	return b.String()
}

// oneOf reports a word that is none of those wanted; "" is left to defaults.
func (p place) oneOf(got string, wanted ...string) {
	if got != "" && !slices.Contains(wanted, got) {
		p.add("got %q, want %s", got, or(wanted))
	}
}

// or joins words: "a, b or c".
func or(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
