package field

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"lockkeeper/cluster"
)

// Get is what stands at the path.
func Get(v any, p Path) (any, bool) {
	for _, s := range p {
		switch x := v.(type) {
		case map[string]any:
			sub, ok := x[s.Key]
			if !ok || !s.IsKey() {
				return nil, false
			}
			v = sub
		case []any:
			i := -1
			if !s.IsKey() {
				i = s.find(x)
			}
			if i < 0 {
				return nil, false
			}
			v = x[i]
		default:
			return nil, false
		}
	}
	return v, true
}

// Concrete is the path as keys (string) and positions (int) in the value,
// and whether all of it exists; it ends where the value does.
func Concrete(v any, p Path) (out []any, whole bool) {
	for i, s := range p {
		sub, ok := Get(v, p[i:i+1])
		if !ok {
			return out, false
		}
		if list, is := v.([]any); is {
			out = append(out, s.find(list))
		} else {
			out = append(out, s.Key)
		}
		v = sub
	}
	return out, true
}

// ErrMissing says that a value has no place for what a path names.
var ErrMissing = errors.New("there is no such list or item in it")

// With is a copy of the object in which the value stands at the path. Maps on
// the way are made; an item of a list that its keys name is appended.
func With(v any, p Path, value any) (any, error) {
	if len(p) == 0 {
		return Clone(value), nil
	}
	s := p[0]
	if s.IsKey() {
		m, ok := v.(map[string]any)
		if !ok && v != nil {
			return nil, fmt.Errorf("%q: %w", s.Key, ErrMissing)
		}
		out := maps.Clone(m)
		if out == nil {
			out = map[string]any{}
		}
		sub, err := With(m[s.Key], p[1:], value)
		out[s.Key] = sub
		return out, err
	}
	list, ok := v.([]any)
	if !ok && v != nil {
		return nil, ErrMissing
	}
	out := slices.Clone(list)
	if i := s.find(out); i >= 0 {
		sub, err := With(out[i], p[1:], value)
		out[i] = sub
		return out, err
	}
	if s.At && s.Index != len(out) || s.Value != nil && len(p) > 1 {
		return nil, ErrMissing
	}
	sub, err := With(s.Fresh(), p[1:], value)
	return append(out, sub), err
}

// Fresh is a new list item that the step selects. Key values are text in a
// path: numbers become numbers again.
func (s Step) Fresh() any {
	if len(s.Where) == 0 {
		return nil
	}
	m := map[string]any{}
	for _, p := range s.Where {
		m[p.Name] = p.Value
		if i, err := strconv.ParseInt(p.Value, 10, 64); err == nil && p.Name != "name" && p.Name != "key" {
			m[p.Name] = i
		}
	}
	return m
}

// emptied are maps that mean the same when they are empty as when they are not
// there.
var emptied = map[string]bool{"labels": true, "annotations": true, "data": true, "binaryData": true}

// Without is a copy of the object with nothing at the path. Labels,
// annotations and data that become empty go as well.
func Without(v any, p Path) any {
	s := p[0]
	switch x := v.(type) {
	case map[string]any:
		sub, ok := x[s.Key]
		if !ok || !s.IsKey() {
			return v
		}
		out := maps.Clone(x)
		if len(p) == 1 {
			delete(out, s.Key)
			return out
		}
		out[s.Key] = Without(sub, p[1:])
		if m, is := out[s.Key].(map[string]any); is && len(m) == 0 && emptied[s.Key] {
			delete(out, s.Key)
		}
		return out
	case []any:
		i := -1
		if !s.IsKey() {
			i = s.find(x)
		}
		if i < 0 {
			return v
		}
		out := slices.Clone(x)
		if len(p) == 1 {
			return slices.Delete(out, i, i+1)
		}
		out[i] = Without(x[i], p[1:])
		return out
	}
	return v
}

// Change is one change of a field, with its path parsed.
type Change struct {
	Path  Path
	Op    cluster.Op
	Value any
}

// Apply is a copy of the object with the change made.
func (c Change) Apply(v any) (any, error) {
	if c.Op == cluster.Remove {
		return Without(v, c.Path), nil
	}
	return With(v, c.Path, c.Value)
}

// Holds reports whether the object already has the change.
func (c Change) Holds(v any) bool {
	got, ok := Get(v, c.Path)
	if c.Op == cluster.Remove {
		return !ok
	}
	return ok && Same(got, c.Value)
}

// Clone copies a value of JSON types, with whole numbers as int64.
func Clone(v any) any {
	switch x := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(x))
		for k, sub := range x {
			out[k] = Clone(sub)
		}
		return out
	case []any:
		out := make([]any, len(x))
		for i, sub := range x {
			out[i] = Clone(sub)
		}
		return out
	case int:
		return int64(x)
	case int32:
		return int64(x)
	case []string:
		out := make([]any, len(x))
		for i, sub := range x {
			out[i] = sub
		}
		return out
	}
	return v
}

// Same compares values of JSON types. Numbers are equal by value, whatever
// their type; labels, annotations and data that are empty equal none.
func Same(a, b any) bool {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		return ok && sameMaps(x, y) && sameMaps(y, x)
	case []any:
		y, ok := b.([]any)
		return ok && slices.EqualFunc(x, y, Same)
	}
	if container(b) {
		return false
	}
	i, iok := whole(a)
	j, jok := whole(b)
	if iok || jok {
		return iok && jok && i == j
	}
	return a == b
}

// Fits reports whether the first value, from Git, may be what the second was
// made of: servers add fields.
func Fits(part, whole any) bool {
	switch x := part.(type) {
	case map[string]any:
		y, ok := whole.(map[string]any)
		for k, v := range x {
			if w, set := y[k]; !set || !Fits(v, w) {
				return false
			}
		}
		return ok
	case []any:
		y, ok := whole.([]any)
		return ok && slices.EqualFunc(x, y, Fits)
	}
	return Same(part, whole)
}

// sameMaps reports whether y has all that x has.
func sameMaps(x, y map[string]any) bool {
	for k, v := range x {
		w, set := y[k]
		if set && Same(v, w) {
			continue
		}
		if !emptied[k] || !none(v) || !none(w) {
			return false
		}
	}
	return true
}

func none(v any) bool {
	m, is := v.(map[string]any)
	return v == nil || is && len(m) == 0
}

func whole(v any) (int64, bool) {
	switch x := v.(type) {
	case int64:
		return x, true
	case int:
		return int64(x), true
	case int32:
		return int64(x), true
	case uint64:
		return int64(x), x <= math.MaxInt64
	case float64:
		return int64(x), x == math.Trunc(x) && math.Abs(x) < 1<<53
	}
	return 0, false
}
