package kube

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"lockkeeper/cluster"
)

// drift tells how the live object differs from what was applied last, by whom,
// and what applying does to each difference. It is nil where nothing differs.
func (l *look) drift(predicted *unstructured.Unstructured) *cluster.Drift {
	if l.w.owned != nil && l.adopts() {
		return &cluster.Drift{
			Ref: l.w.ref, Managers: managersOf(l.live), Deleted: true,
			Effect: "it was deleted and made again behind lockkeeper's back: applying adopts the new one",
		}
	}
	if l.adopts() || l.base == nil {
		return nil
	}
	lk := keysOf(allFields(l.live, l.base)...)
	live, base := l.shown(l.live), l.shown(l.base)
	d := &cluster.Drift{Ref: l.w.ref, Fields: diffObjects(base, live, lk)}
	d.Fields = slices.DeleteFunc(d.Fields, func(f cluster.FieldChange) bool { return serverAssigned(l.w.ref, f.Path) })
	d.Fields = append(d.Fields, l.handAdded(live, lk)...)
	if len(d.Fields) == 0 {
		return nil
	}
	sortFields(d.Fields)
	d.Managers = writers(l.live, d.Fields)
	d.Effect = effects(d.Fields, flatten(base, lk), flatten(live, lk), flatten(l.shown(predicted), lk))
	unmask(d.Fields)
	return d
}

// handAdded are fields that people added beside those that Git sets.
func (l *look) handAdded(live map[string]any, lk listKeys) []cluster.FieldChange {
	there := flatten(live, lk)
	ours := ourFields(l.base).Union(ourFields(l.live))
	var out []cluster.FieldChange
	for _, e := range l.live.GetManagedFields() {
		if e.Subresource != "" || e.Operation != metav1.ManagedFieldsOperationUpdate || !matches(e.Manager, hands) {
			continue
		}
		added := fieldsOf(e).Leaves().Difference(ours)
		added.Iterate(func(p fieldpath.Path) {
			path := pathOf(p)
			v, ok := there[path]
			known := slices.ContainsFunc(out, func(f cluster.FieldChange) bool { return f.Path == path })
			if ok && !known && !isContainer(v) && path != joinPath("metadata.annotations", lastApplied) {
				out = append(out, cluster.FieldChange{Path: path, Op: cluster.Add, After: v})
			}
		})
	}
	return out
}

// writers names the managers that own the drifted fields, or hold what is
// above or below them.
func writers(live *unstructured.Unstructured, fields []cluster.FieldChange) []string {
	var out []string
	for _, e := range live.GetManagedFields() {
		if isOurs(e) {
			continue
		}
		fieldsOf(e).Leaves().Iterate(func(p fieldpath.Path) {
			path := pathOf(p)
			if slices.ContainsFunc(fields, func(f cluster.FieldChange) bool { return path == f.Path || under(path, f.Path) }) {
				out = append(out, e.Manager)
			}
		})
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// under reports whether a path lies below another.
func under(path, parent string) bool {
	rest, ok := strings.CutPrefix(path, parent)
	return ok && rest != "" && (rest[0] == '.' || rest[0] == '[')
}

// effects says in words what becomes of each drifted field.
func effects(fields []cluster.FieldChange, base, live, predicted map[string]any) string {
	var back, stays, over []string
	for _, f := range fields {
		was, wasThere := base[f.Path]
		is, isThere := live[f.Path]
		will, willBeThere := predicted[f.Path]
		switch {
		case willBeThere == isThere && equalJSON(will, is):
			stays = append(stays, f.Path)
		case willBeThere == wasThere && equalJSON(will, was):
			back = append(back, f.Path)
		default:
			over = append(over, f.Path)
		}
	}
	var parts []string
	for _, p := range []struct {
		verb  string
		paths []string
	}{{"applying sets back ", back}, {"this pull overwrites ", over}, {"applying leaves as it is ", stays}} {
		if len(p.paths) > 0 {
			parts = append(parts, p.verb+strings.Join(p.paths, ", "))
		}
	}
	return strings.Join(parts, "; ")
}
