package kube

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/ask"
	"lockkeeper/cluster/kube/fields"
	"lockkeeper/cluster/kube/secret"
)

// drift tells how the live object differs from what was applied last, by whom,
// and what applying does to each difference. It is nil where nothing differs.
func (l *look) drift(predicted *unstructured.Unstructured) *cluster.Drift {
	if l.w.owned != nil && l.adopts() {
		return &cluster.Drift{
			Ref: l.w.ref, Managers: fields.Managers(l.live), Deleted: true,
			Effect: "it was deleted and made again behind lockkeeper's back: applying adopts the new one",
		}
	}
	if l.adopts() || l.base == nil {
		return nil
	}
	lk := fields.KeysOf(fields.All(l.live, l.base)...)
	git := fields.Ours(l.base).Union(fields.Ours(l.live))
	unhanded := func(u *unstructured.Unstructured) map[string]any {
		return l.shown(fields.WithoutHandAdded(u, git, l.p.request.Humans))
	}
	live, plain, base := l.shown(l.live), unhanded(l.live), l.shown(l.base)
	d := &cluster.Drift{Ref: l.w.ref, Fields: fields.Diff(unhanded(l.base), plain, lk)}
	d.Fields = slices.DeleteFunc(d.Fields, func(f cluster.FieldChange) bool { return ask.ServerAssigned(l.w.ref, f.Path) })
	d.Fields = append(d.Fields, fields.Diff(plain, live, lk)...)
	if len(d.Fields) == 0 {
		return nil
	}
	fields.Sorted(d.Fields)
	d.Managers = writers(l.live, d.Fields)
	d.Effect = effects(d.Fields, fields.Flatten(base, lk), fields.Flatten(live, lk), fields.Flatten(l.shown(predicted), lk))
	secret.Unmask(d.Fields)
	return d
}

// writers names the managers that own the drifted fields, or hold what is
// above or below them.
func writers(live *unstructured.Unstructured, drifted []cluster.FieldChange) []string {
	var out []string
	for _, e := range live.GetManagedFields() {
		if fields.IsOurs(e) {
			continue
		}
		fields.Of(e).Leaves().Iterate(func(p fieldpath.Path) {
			path := fields.PathOf(p)
			if slices.ContainsFunc(drifted, func(f cluster.FieldChange) bool { return fields.Within(path, f.Path) }) {
				out = append(out, e.Manager)
			}
		})
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// effects says in words what becomes of each drifted field.
func effects(drifted []cluster.FieldChange, base, live, predicted map[string]any) string {
	var back, stays, over []string
	for _, f := range drifted {
		was, wasThere := base[f.Path]
		is, isThere := live[f.Path]
		will, willBeThere := predicted[f.Path]
		switch {
		case willBeThere == isThere && fields.Equal(will, is):
			stays = append(stays, f.Path)
		case willBeThere == wasThere && fields.Equal(will, was):
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
