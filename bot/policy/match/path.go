// Package match finds, in a table of things with attributes, those that lists of
// patterns select. Each pattern looks at each distinct value once.
package match

import (
	"fmt"
	"strconv"
	"strings"
)

// Step is one part of a field path: a key of a map, or an item of a list as
// cluster.FieldChange writes it, without the brackets.
type Step struct {
	text string
	item bool
}

// ParsePath splits a path such as spec.containers[name=web].env or
// metadata.labels["app.kubernetes.io/name"].
func ParsePath(s string) ([]Step, error) {
	var out []Step
	for rest := s; rest != ""; {
		var next Step
		var err error
		if rest[0] == '[' {
			next, rest, err = bracket(rest)
		} else {
			if len(out) > 0 {
				if rest[0] != '.' {
					return nil, fmt.Errorf("field path %q: got %q after a bracket, want a dot", s, rest)
				}
				rest = rest[1:]
			}
			end := strings.IndexAny(rest, ".[")
			if end < 0 {
				end = len(rest)
			}
			next, rest = Step{text: rest[:end]}, rest[end:]
			if next.text == "" {
				err = fmt.Errorf("an empty key")
			}
		}
		if err != nil {
			return nil, fmt.Errorf("field path %q: %w", s, err)
		}
		out = append(out, next)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("field path %q: says nothing", s)
	}
	return out, nil
}

// bracket reads ["key"] or [item]; an item may hold quoted values.
func bracket(s string) (Step, string, error) {
	if strings.HasPrefix(s, `["`) {
		quoted, err := strconv.QuotedPrefix(s[1:])
		if err != nil {
			return Step{}, "", fmt.Errorf("a quote is not closed")
		}
		if rest, ok := strings.CutPrefix(s[1+len(quoted):], "]"); ok {
			key, err := strconv.Unquote(quoted)
			return Step{text: key}, rest, err
		}
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case ']':
			return Step{text: s[1:i], item: true}, s[i+1:], nil
		case '"':
			quoted, err := strconv.QuotedPrefix(s[i:])
			if err != nil {
				return Step{}, "", fmt.Errorf("a quote is not closed")
			}
			i += len(quoted) - 1
		}
	}
	return Step{}, "", fmt.Errorf("a bracket is not closed")
}

// Touches reports whether a change at path concerns the fields of a pattern:
// it is one of them, lies below one, or is a whole part that holds them, such as
// a new container does its image.
func Touches(pattern, path []Step) bool {
	for i := range min(len(pattern), len(path)) {
		if pattern[i].item != path[i].item || !wildcard(pattern[i].text, path[i].text) {
			return false
		}
	}
	return true
}

// wildcard matches with `*` for any run of characters.
func wildcard(pattern, s string) bool {
	head, tail, ok := strings.Cut(pattern, "*")
	if !ok {
		return pattern == s
	}
	rest, ok := strings.CutPrefix(s, head)
	if !ok {
		return false
	}
	for {
		var part string
		if part, tail, ok = strings.Cut(tail, "*"); !ok {
			return strings.HasSuffix(rest, part)
		}
		i := strings.Index(rest, part)
		if i < 0 {
			return false
		}
		rest = rest[i+len(part):]
	}
}
