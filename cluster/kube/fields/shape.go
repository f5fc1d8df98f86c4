package fields

import (
	"fmt"
)

// Flatten lists every node of an object by path.
func Flatten(obj map[string]any, lk Keys) map[string]any {
	out := map[string]any{}
	var walk func(path, at string, v any)
	walk = func(path, at string, v any) {
		if path != "" {
			out[path] = v
		}
		switch x := v.(type) {
		case map[string]any:
			for k, sub := range x {
				walk(Join(path, k), join(at, k), sub)
			}
		case []any:
			name, ok := lk.name(at, x)
			for i, sub := range x {
				n := fmt.Sprintf("[%d]", i)
				if ok {
					n, _ = name(sub)
				}
				walk(path+n, at, sub)
			}
		}
	}
	walk("", "", obj)
	return out
}

// Without is an object without what stands at the given paths, as Flatten names
// them.
func Without(obj map[string]any, lk Keys, drop map[string]bool) map[string]any {
	return stripped(obj, "", "", lk, drop).(map[string]any)
}

func stripped(v any, path, at string, lk Keys, drop map[string]bool) any {
	switch x := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(x))
		for k, sub := range x {
			if p := Join(path, k); !drop[p] {
				out[k] = stripped(sub, p, join(at, k), lk, drop)
			}
		}
		return out
	case []any:
		name, named := lk.name(at, x)
		out := make([]any, 0, len(x))
		for i, sub := range x {
			n := fmt.Sprintf("[%d]", i)
			if named {
				n, _ = name(sub)
			}
			if !drop[path+n] {
				out = append(out, stripped(sub, path+n, at, lk, drop))
			}
		}
		return out
	}
	return v
}

// Project is the part of v that has the shape of like: its fields and list
// items, with the values of v.
func Project(v, like any, lk Keys) any { return project(v, like, "", lk) }

func project(v, like any, at string, lk Keys) any {
	switch shape := like.(type) {
	case map[string]any:
		m, ok := v.(map[string]any)
		if !ok {
			return v
		}
		out := map[string]any{}
		for k, sub := range shape {
			if got, ok := m[k]; ok {
				out[k] = project(got, sub, join(at, k), lk)
			}
		}
		return out
	case []any:
		l, ok := v.([]any)
		if !ok {
			return v
		}
		return projectList(l, shape, at, lk)
	}
	return v
}

func projectList(l, shape []any, at string, lk Keys) any {
	name, named := lk.name(at, l, shape)
	if !named && len(l) != len(shape) {
		return l
	}
	byName := map[string]any{}
	for _, item := range shape {
		if named {
			n, _ := name(item)
			byName[n] = item
		}
	}
	out := []any{}
	for i, item := range l {
		if !named {
			out = append(out, project(item, shape[i], at, lk))
			continue
		}
		n, _ := name(item)
		if like, ok := byName[n]; ok {
			out = append(out, project(item, like, at, lk))
		}
	}
	return out
}
