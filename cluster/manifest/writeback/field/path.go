// Package field knows the paths by which changes of objects are named, such as
// spec.template.spec.containers[name=web].image, and makes such changes to
// values of JSON types. It is pure.
package field

import (
	"fmt"
	"strconv"
	"strings"
)

// Step is one element of a path: a key of a map, or a selector of a list's
// item by key fields, by value or by position.
type Step struct {
	Key   string // of a map, if nothing else is set
	Where []Pair // fields that the item has
	Value *string
	Index int // if At is set
	At    bool
}

// Pair is one key field of a list's item. The value is as fmt.Sprint has it.
type Pair struct{ Name, Value string }

// IsKey reports whether the step is a key of a map.
func (s Step) IsKey() bool { return len(s.Where) == 0 && s.Value == nil && !s.At }

// Path names a value in an object.
type Path []Step

// Parse reads the notation of cluster.FieldChange.Path. Errors name the path.
func Parse(text string) (Path, error) {
	var p Path
	rest := text
	for rest != "" {
		s, after, err := next(rest, len(p) == 0)
		if err != nil {
			return nil, fmt.Errorf("field path %q: %w", text, err)
		}
		p, rest = append(p, s), after
	}
	if len(p) == 0 {
		return nil, fmt.Errorf("field path %q: is empty", text)
	}
	return p, nil
}

func next(text string, first bool) (Step, string, error) {
	if text[0] == '[' {
		return bracket(text[1:])
	}
	if !first {
		if text[0] != '.' {
			return Step{}, "", fmt.Errorf("expected . or [ before %q", text)
		}
		text = text[1:]
	}
	end := strings.IndexAny(text, ".[")
	if end < 0 {
		end = len(text)
	}
	if end == 0 {
		return Step{}, "", fmt.Errorf("an empty key before %q", text)
	}
	return Step{Key: text[:end]}, text[end:], nil
}

// bracket reads what follows "[".
func bracket(text string) (Step, string, error) {
	if strings.HasPrefix(text, `"`) {
		key, rest, err := token(text, "]")
		return Step{Key: key}, strings.TrimPrefix(rest, "]"), err
	}
	if after, is := strings.CutPrefix(text, "="); is {
		v, rest, err := token(after, "]")
		return Step{Value: &v}, strings.TrimPrefix(rest, "]"), err
	}
	var s Step
	for {
		name, rest, err := token(text, "=]")
		switch {
		case err != nil:
			return s, "", err
		case rest[0] == ']':
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || len(s.Where) > 0 {
				return s, "", fmt.Errorf("[%s] selects nothing", name)
			}
			return Step{Index: i, At: true}, rest[1:], nil
		}
		value, rest, err := token(rest[1:], ",]")
		if err != nil {
			return s, "", err
		}
		s.Where = append(s.Where, Pair{name, value})
		if rest[0] == ']' {
			return s, rest[1:], nil
		}
		text = rest[1:]
	}
}

// token reads a word up to one of the stops, or a quoted string before one.
func token(text, stops string) (string, string, error) {
	if strings.HasPrefix(text, `"`) {
		quoted, err := strconv.QuotedPrefix(text)
		if err != nil {
			return "", "", fmt.Errorf("a quote is not closed")
		}
		word, err := strconv.Unquote(quoted)
		rest := text[len(quoted):]
		if err != nil || rest == "" || !strings.ContainsRune(stops, rune(rest[0])) {
			return "", "", fmt.Errorf("expected one of %s after a quoted word", stops)
		}
		return word, rest, nil
	}
	end := strings.IndexAny(text, stops)
	if end < 0 {
		return "", "", fmt.Errorf("[ is not closed")
	}
	return text[:end], text[end:], nil
}

// implied are values that the server gives to key fields left out.
var implied = map[string]string{"protocol": "TCP"}

// selects reports whether a list's item is the one that the step means.
func (s Step) selects(item any, i int) bool {
	switch {
	case s.At:
		return i == s.Index
	case s.Value != nil:
		return !container(item) && fmt.Sprint(item) == *s.Value
	}
	m, ok := item.(map[string]any)
	for _, p := range s.Where {
		v, set := m[p.Name]
		if !ok || container(v) || set && fmt.Sprint(v) != p.Value || !set && implied[p.Name] != p.Value {
			return false
		}
	}
	return len(s.Where) > 0
}

// find is the position of the item that the step selects, or -1.
func (s Step) find(list []any) int {
	for i, item := range list {
		if s.selects(item, i) {
			return i
		}
	}
	return -1
}

func container(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return true
	}
	return false
}
