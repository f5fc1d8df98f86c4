// Package exact holds plans to what really happens: it compares the changes
// that a plan predicts with the live objects from before and after. Tests and
// cmd/replay use it. It reads paths with a parser of its own, so that it also
// checks how the plan spells them.
package exact

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"lockkeeper/cluster"
)

type (
	m = map[string]any
	l = []any
)

// Content is what of a live object counts: not status, not what the server
// keeps about it, and not what the Deployment controller writes into it.
func Content(live m) m {
	if live == nil {
		return nil
	}
	out := (&unstructured.Unstructured{Object: live}).DeepCopy().Object
	delete(out, "status")
	meta := out["metadata"].(m)
	for _, f := range []string{"managedFields", "resourceVersion", "generation", "uid", "creationTimestamp"} {
		delete(meta, f)
	}
	if a, ok := meta["annotations"].(m); ok {
		delete(a, "deployment.kubernetes.io/revision")
	}
	for _, f := range []string{"annotations", "labels"} {
		if x, ok := meta[f].(m); ok && len(x) == 0 {
			delete(meta, f)
		}
	}
	for _, f := range []string{"data", "binaryData"} {
		if x, ok := out[f].(m); ok && len(x) == 0 {
			delete(out, f)
		}
	}
	return out
}

// Unlike says how what happened differs from the change, "" if it does not.
func Unlike(ch cluster.Change, before, after m) string {
	switch ch.Action {
	case cluster.Delete:
		if after != nil {
			return "it is still there"
		}
		return ""
	case cluster.Create, cluster.Replace:
		return unlikeMade(ch, before, after)
	}
	if before == nil || after == nil {
		return fmt.Sprintf("it was there: %v, it is there: %v", before != nil, after != nil)
	}
	got, want := Content(before), Content(after)
	// A new order speaks of the items that are there in the end.
	ordered := slices.Clone(ch.Fields)
	slices.SortStableFunc(ordered, func(a, b cluster.FieldChange) int { return isOrder(a) - isOrder(b) })
	for _, f := range ordered {
		value := f.After
		if there, ok := lookup(want, f.Path); f.Masked || f.Server {
			if value = there; ok != (f.Op != cluster.Remove) {
				return fmt.Sprintf("%s was to %s and is there: %v", f.Path, f.Op, ok)
			}
			if b, _ := lookup(got, f.Path); f.Masked && equalJSON(b, there) && f.Op == cluster.Set {
				return f.Path + " was to change and did not"
			}
		}
		if err := put(got, f.Path, f.Op, value); err != nil {
			return fmt.Sprintf("%s does not fit: %v", f.Path, err)
		}
	}
	return Difference("", Content(got), want)
}

// unlikeMade compares an object that was made new with what was said of it.
// The plan shows what Git sets, not each default.
func unlikeMade(ch cluster.Change, before, after m) string {
	if (ch.Action == cluster.Replace) != (before != nil) || after == nil {
		return fmt.Sprintf("it was there: %v, it is there: %v", before != nil, after != nil)
	}
	if ch.Action == cluster.Replace && before["metadata"].(m)["uid"] == after["metadata"].(m)["uid"] {
		return "it is the same object"
	}
	for _, f := range ch.Fields {
		there, ok := lookup(after, f.Path)
		switch {
		case ok != (f.Op != cluster.Remove):
			return fmt.Sprintf("%s was to %s and is there: %v", f.Path, f.Op, ok)
		case f.Masked || f.Server || f.Op == cluster.Remove:
		case isOrder(f) > 0:
			list, _ := there.(l)
			if ordered, ok := reorder(slices.Clone(list), f.After); !ok || !equalJSON(ordered, list) {
				return fmt.Sprintf("%s: the order was to be %s, observed %s", f.Path, pretty(f.After), pretty(list))
			}
		default:
			if why := Missing(f.Path, f.After, there); why != "" {
				return why
			}
		}
	}
	return ""
}

// Difference names the first path at which two values differ.
func Difference(path string, a, b any) string {
	x, okX := a.(m)
	y, okY := b.(m)
	if !okX || !okY {
		if xs, ok := a.(l); ok {
			if ys, ok := b.(l); ok && len(xs) == len(ys) {
				for i := range xs {
					if d := Difference(fmt.Sprintf("%s[%d]", path, i), xs[i], ys[i]); d != "" {
						return d
					}
				}
				return ""
			}
		}
		if equalJSON(a, b) {
			return ""
		}
		return fmt.Sprintf("%s: predicted %s, observed %s", path, pretty(a), pretty(b))
	}
	for k := range x {
		if _, ok := y[k]; !ok {
			return fmt.Sprintf("%s.%s: predicted %s, observed nothing", path, k, pretty(x[k]))
		}
		if d := Difference(path+"."+k, x[k], y[k]); d != "" {
			return d
		}
	}
	for k := range y {
		if _, ok := x[k]; !ok {
			return fmt.Sprintf("%s.%s: predicted nothing, observed %s", path, k, pretty(y[k]))
		}
	}
	return ""
}

// Missing names the first path at which part is not contained in whole.
func Missing(path string, part, whole any) string {
	if whole == nil && (part == nil || reflect.ValueOf(part).IsZero()) {
		return "" // the server leaves out what is empty
	}
	switch x := part.(type) {
	case m:
		y, ok := whole.(m)
		if !ok && len(x) > 0 {
			return fmt.Sprintf("%s: %s is missing", path, pretty(part))
		}
		for k, v := range x {
			if d := Missing(path+"."+k, v, y[k]); d != "" {
				return d
			}
		}
		return ""
	case l:
		y, _ := whole.(l)
		if len(x) != len(y) {
			return fmt.Sprintf("%s: %s, observed %s", path, pretty(part), pretty(whole))
		}
		for i := range x {
			if d := Missing(fmt.Sprintf("%s[%d]", path, i), x[i], y[i]); d != "" {
				return d
			}
		}
		return ""
	}
	if !equalJSON(part, whole) {
		return fmt.Sprintf("%s: %s, observed %s", path, pretty(part), pretty(whole))
	}
	return ""
}

func pretty(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
