package exact

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"lockkeeper/cluster"
)

// segment is one step of a FieldChange's path: a key, or a list's selector.
type segment struct {
	key   string
	item  map[string]string // name=web: fields of an item, as text
	value *string           // =x: an item of a set
	index int
	list  bool
}

// segments parses a path as documented at cluster.FieldChange. It is written
// apart from the code that prints paths, so that one checks the other.
func segments(path string) ([]segment, error) {
	var out []segment
	for path != "" {
		switch {
		case path[0] == '.':
			path = path[1:]
		case strings.HasPrefix(path, `["`):
			q, err := strconv.QuotedPrefix(path[1:])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			k, _ := strconv.Unquote(q)
			out = append(out, segment{key: k})
			path = path[1+len(q)+1:]
		case path[0] == '[':
			s, rest, err := selectorSegment(path[1:])
			if err != nil {
				return nil, err
			}
			out, path = append(out, s), rest
		default:
			end := strings.IndexAny(path, ".[")
			if end < 0 {
				end = len(path)
			}
			out = append(out, segment{key: path[:end]})
			path = path[end:]
		}
	}
	return out, nil
}

func selectorSegment(text string) (segment, string, error) {
	s := segment{list: true, item: map[string]string{}}
	for {
		key := ""
		if end := strings.IndexAny(text, "=]"); end < 0 {
			return s, "", fmt.Errorf("unfinished selector %q", text)
		} else if text[end] == ']' {
			n, err := strconv.Atoi(text[:end])
			s.index, s.item = n, nil
			return s, text[end+1:], err
		} else {
			key, text = text[:end], text[end+1:]
		}
		value := ""
		if q, err := strconv.QuotedPrefix(text); err == nil {
			value, _ = strconv.Unquote(q)
			text = text[len(q):]
		} else {
			end := strings.IndexAny(text, ",]")
			if end < 0 {
				return s, "", fmt.Errorf("unfinished selector %q", text)
			}
			value, text = text[:end], text[end:]
		}
		if key == "" {
			s.value = &value
		} else {
			s.item[key] = value
		}
		if strings.HasPrefix(text, "]") {
			return s, text[1:], nil
		}
		text = strings.TrimPrefix(text, ",")
	}
}

// find returns the index of the item that a segment selects, -1 for none.
func (s segment) find(list l) int {
	if s.item == nil {
		if s.index < len(list) {
			return s.index
		}
		return -1
	}
	return slices.IndexFunc(list, func(x any) bool {
		if s.value != nil {
			return fmt.Sprint(x) == *s.value
		}
		for k, v := range s.item {
			f, ok := x.(m)[k]
			if !ok && k == "protocol" {
				f = "TCP"
			}
			if fmt.Sprint(f) != v {
				return false
			}
		}
		return true
	})
}

func lookup(v any, path string) (any, bool) {
	segs, err := segments(path)
	if err != nil {
		return nil, false
	}
	for _, s := range segs {
		switch x := v.(type) {
		case m:
			next, ok := x[s.key]
			if s.list || !ok {
				return nil, false
			}
			v = next
		case l:
			i := s.find(x)
			if !s.list || i < 0 {
				return nil, false
			}
			v = x[i]
		default:
			return nil, false
		}
	}
	return v, true
}

// put carries a field change out on an object.
func put(o m, path string, op cluster.Op, value any) error {
	segs, err := segments(path)
	if err != nil {
		return err
	}
	_, err = putAt(o, segs, op, value)
	return err
}

func putAt(v any, segs []segment, op cluster.Op, value any) (any, error) {
	if len(segs) == 0 {
		if list, ok := v.(l); ok && op == cluster.Set {
			if ordered, ok := reorder(list, value); ok {
				return ordered, nil
			}
		}
		return value, nil
	}
	s, last := segs[0], len(segs) == 1
	if s.list {
		list, _ := v.(l)
		i := s.find(list)
		switch {
		case last && op == cluster.Add:
			if s.item == nil {
				return slices.Insert(slices.Clone(list), min(s.index, len(list)), value), nil
			}
			return append(slices.Clone(list), value), nil
		case i < 0:
			return nil, fmt.Errorf("no such item in %s", pretty(list))
		case last && op == cluster.Remove:
			return slices.Delete(slices.Clone(list), i, i+1), nil
		}
		item, err := putAt(list[i], segs[1:], op, value)
		list[i] = item
		return list, err
	}
	in, ok := v.(m)
	if !ok {
		return nil, fmt.Errorf("no map at %s", s.key)
	}
	if last && op == cluster.Remove {
		if _, ok := in[s.key]; !ok {
			return nil, fmt.Errorf("%s is not there", s.key)
		}
		delete(in, s.key)
		return in, nil
	}
	if _, ok := in[s.key]; !ok && !last {
		in[s.key] = m{} // labels, annotations and data are shown key by key
	}
	sub, err := putAt(in[s.key], segs[1:], op, value)
	in[s.key] = sub
	return in, err
}

func isOrder(f cluster.FieldChange) int {
	if names, ok := f.After.(l); ok && len(names) > 0 && f.Op == cluster.Set {
		if text, ok := names[0].(string); ok && strings.HasPrefix(text, "[") {
			return 1
		}
	}
	return 0
}

// reorder sorts named items as a change of a list's order says.
func reorder(list l, order any) (l, bool) {
	names, ok := order.(l)
	if !ok || len(names) == 0 {
		return nil, false
	}
	var out l
	for _, n := range names {
		text, ok := n.(string)
		if !ok || !strings.HasPrefix(text, "[") {
			return nil, false
		}
		s, rest, err := selectorSegment(text[1:])
		if err != nil || rest != "" || s.find(list) < 0 {
			return nil, false
		}
		out = append(out, list[s.find(list)])
	}
	return out, len(out) == len(list)
}

// equalJSON compares JSON values; whole floats equal their integers.
func equalJSON(a, b any) bool {
	switch x := a.(type) {
	case m:
		y, ok := b.(m)
		return ok && maps.EqualFunc(x, y, equalJSON)
	case l:
		y, ok := b.(l)
		return ok && slices.EqualFunc(x, y, equalJSON)
	case int64:
		if y, ok := b.(float64); ok {
			return float64(x) == y
		}
	case float64:
		if y, ok := b.(int64); ok {
			return float64(y) == x
		}
	}
	return reflect.DeepEqual(a, b)
}
