package fields

import (
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// An adoption may only be valid once the fields go that Git does not have
// (maxUnavailable beside an old minAvailable). The server cannot dry-run an
// apply to such an object before ownership moved, so the outcome is composed
// here, and then dry-run by the server as an update: what this gets wrong, the
// server refuses or the apply reports.

// Overlaid is live with the desired fields put over it, and managedFields as an
// apply would leave them. known is what all managers own: it tells which lists
// have keys and which values are atomic.
func Overlaid(live, desired *unstructured.Unstructured) *unstructured.Unstructured {
	known := &fieldpath.Set{}
	for _, s := range All(live) {
		known = known.Union(s)
	}
	out := live.DeepCopy()
	want := desired.DeepCopy().Object
	ours := &fieldpath.Set{}
	out.Object = overlay(out.Object, want, known, nil, ours).(map[string]any)
	ours = ours.Difference(identity)
	entries := slices.DeleteFunc(live.GetManagedFields(), IsOurs)
	out.SetManagedFields(append(entries, metav1.ManagedFieldsEntry{
		Manager: Manager, Operation: metav1.ManagedFieldsOperationApply, APIVersion: desired.GetAPIVersion(),
		FieldsType: "FieldsV1", FieldsV1: encodeFields(ours),
	}))
	return out
}

// overlay puts want over v and notes the paths it sets in ours.
func overlay(v, want any, known *fieldpath.Set, at fieldpath.Path, ours *fieldpath.Set) any {
	switch w := want.(type) {
	case map[string]any:
		m, ok := v.(map[string]any)
		if !ok || len(w) == 0 || ownedWhole(known, at) {
			break
		}
		m = maps.Clone(m)
		for k, sub := range w {
			pe := fieldpath.FieldNameElement(k)
			if sub == nil {
				continue // null sets nothing
			}
			m[k] = overlay(m[k], sub, below(known, pe), extend(at, pe), ours)
		}
		return m
	case []any:
		l, ok := v.([]any)
		if ok && keyed(known) {
			return overlayList(l, w, known, at, ours)
		}
	}
	ours.Insert(at)
	return want
}

// overlayList merges a list whose items have keys.
func overlayList(l, want []any, known *fieldpath.Set, at fieldpath.Path, ours *fieldpath.Set) any {
	items := map[string]any{}
	var left, right []string
	for _, item := range l {
		pe, _ := keyLike(item, known)
		items[pe.String()] = item
		left = append(left, pe.String())
	}
	for _, item := range want {
		pe, ok := keyLike(item, known)
		if !ok {
			ours.Insert(at)
			return want
		}
		ours.Insert(extend(at, pe))
		right = append(right, pe.String())
		if was, ok := items[pe.String()]; ok {
			item = overlay(was, item, below(known, pe), extend(at, pe), ours)
		}
		items[pe.String()] = item
	}
	out := make([]any, 0, len(items))
	for _, name := range mergedOrder(left, right) {
		out = append(out, items[name])
	}
	return out
}

// mergedOrder is the order in which a server-side apply leaves a list: that of
// right, with the items that only left has kept at their place
// (structured-merge-diff, typed/merge.go, visitListItems).
func mergedOrder(left, right []string) []string {
	inRight, done := map[string]bool{}, map[string]bool{}
	for _, r := range right {
		inRight[r] = true
	}
	shared := slices.DeleteFunc(slices.Clone(right), func(r string) bool { return !slices.Contains(left, r) })
	var out []string
	for len(left)+len(right) > 0 {
		if len(left) > 0 && len(right) > 0 && left[0] != right[0] && inRight[left[0]] && len(shared) > 0 && shared[0] != left[0] {
			left = left[1:] // shared, but another one is next
			continue
		}
		if len(left) > 0 && !inRight[left[0]] {
			out, left = append(out, left[0]), left[1:]
			continue
		}
		if len(left) > 0 && (done[left[0]] || len(right) > 0 && left[0] == right[0]) {
			left = left[1:]
		}
		if len(right) > 0 {
			next := right[0]
			out, right, done[next] = append(out, next), right[1:], true
			if len(shared) > 0 && shared[0] == next {
				shared = shared[1:]
			}
		}
	}
	return out
}

func extend(p fieldpath.Path, pe fieldpath.PathElement) fieldpath.Path {
	return append(slices.Clip(slices.Clone(p)), pe)
}

// ownedWhole reports whether the managers own the value at a path as one: known is
// what lies below it, and nothing does. Metadata never is: the server writes in it
// too.
func ownedWhole(known *fieldpath.Set, at fieldpath.Path) bool {
	return len(at) > 0 && known.Empty() && !at.Equals(metadataPath)
}

var metadataPath = fieldpath.MakePathOrDie("metadata")
