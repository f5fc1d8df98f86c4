package config

import (
	"slices"
	"strings"
	"time"
)

// maxManager is the most characters that the name of a field manager has.
const maxManager = 128

func (w Watching) validate(at place) {
	for i, r := range w.Ignore {
		r.validate(at.at("ignore", i))
	}
	for i, h := range w.Humans {
		switch {
		case strings.TrimSpace(h) == "" || len(h) > maxManager:
			at.at("humans", i).add("got %q, want the name of a field manager, as managedFields shows it", h)
		case slices.Contains(w.Humans[:i], h):
			at.at("humans", i).add("%q is listed twice", h)
		}
	}
}

func (r Ignore) validate(at place) {
	if len(r.Kinds)+len(r.Namespaces)+len(r.Names)+len(r.Fields) == 0 {
		at.add("would ignore all drift; say of which kinds, namespaces, names or fields")
	}
	globs(r.Kinds, at.at("kinds"))
	globs(r.Namespaces, at.at("namespaces"))
	globs(r.Names, at.at("names"))
	fieldPaths(r.Fields, at.at("fields"))
}

// maxSilence keeps drift from being forgotten.
const maxSilence = 8760 * time.Hour

func (d Drift) validate(at place, groups map[string]People) {
	at.at("heal").oneOf(d.Heal, "auto", "ask")
	if silence := time.Duration(d.Silence); at.at("silence").has() && (silence <= 0 || silence > maxSilence) {
		at.at("silence").add("got %v, want how long a closed drift pull is left alone, such as 720h, at most %v", silence, maxSilence)
	}
	d.From.validate(at.at("from"), groups)
}
