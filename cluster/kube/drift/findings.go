package drift

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/ask"
	"lockkeeper/cluster/kube/fields"
	"lockkeeper/cluster/kube/secret"
)

// whole is a finding of the whole object.
func (x *exam) whole(kind cluster.FindingKind, managers []string, at time.Time) cluster.Finding {
	f := cluster.Finding{Kind: kind, Ref: x.entry.Ref, APIVersion: x.entry.APIVersion, Managers: managers, At: at}
	if x.object != nil {
		f.Source = x.object.Source
	}
	return f
}

// findings are the differences between live and applied.
func (x *exam) findings() []cluster.Finding {
	lk := fields.KeysOf(fields.All(x.live, x.applied)...)
	git := fields.Ours(x.applied)
	live := x.view(x.live, lk)
	plain := x.view(fields.WithoutHandAdded(x.live, git, x.request.Humans), lk)
	applied := x.view(fields.WithoutHandAdded(x.applied, git, x.request.Humans), lk)
	var out []cluster.Finding
	for _, f := range fields.Diff(plain, live, lk) {
		out = append(out, x.finding(cluster.HandAdded, f))
	}
	for _, f := range x.told(fields.Diff(applied, plain, lk), fields.Flatten(live, lk), lk) {
		out = append(out, x.finding(x.kindOf(f), f))
	}
	return append(out, x.disowned(git, out, fields.Flatten(live, lk))...)
}

// kept are the findings that no rule drops.
func (x *exam) kept(all ...cluster.Finding) []cluster.Finding {
	return slices.DeleteFunc(all, func(f cluster.Finding) bool {
		return slices.ContainsFunc(x.request.Ignore, func(r cluster.IgnoreRule) bool { return r.Drops(f) })
	})
}

// view is the part of an object that is compared, masked, and without what the
// server assigned: those values are nobody's.
func (x *exam) view(u *unstructured.Unstructured, lk fields.Keys) map[string]any {
	out := fields.Shown(secret.Masked(x.entry.Ref, u.Object, x.inv.MAC))
	drop := map[string]bool{}
	for path := range fields.Flatten(out, lk) {
		if ask.ServerAssigned(x.entry.Ref, path) && !x.chosen(path) {
			drop[path] = true
		}
	}
	if len(drop) == 0 {
		return out
	}
	return fields.Without(out, lk, drop)
}

// chosen reports whether a value was given by somebody rather than assigned:
// somebody owns it.
func (x *exam) chosen(path string) bool {
	return slices.ContainsFunc(fields.All(x.live, x.applied), func(s *fieldpath.Set) bool { return touches(s, path) })
}

// touches reports whether a set has a path, something below it, or the whole of
// something that it is a part of.
func touches(s *fieldpath.Set, path string) bool {
	return slices.ContainsFunc(paths(s), func(p string) bool { return fields.Within(p, path) }) ||
		slices.ContainsFunc(paths(s.Leaves()), func(leaf string) bool { return fields.Within(path, leaf) })
}

// paths prints the paths of a set. (Its own iterators must not be left early.)
func paths(s *fieldpath.Set) []string {
	var out []string
	s.Iterate(func(p fieldpath.Path) { out = append(out, fields.PathOf(p)) })
	return out
}

// told drops from the differences what is no drift. What Git does not set either
// follows from another difference, as defaults do; or it follows from nothing
// that was done to the object: a default or a webhook that is new makes something
// else of it when it is applied again.
func (x *exam) told(all []cluster.FieldChange, live map[string]any, lk fields.Keys) []cluster.FieldChange {
	ours := fields.Ours(x.applied).Union(fields.Ours(x.live))
	given := fields.Flatten(x.view(x.desired, lk), lk)
	set := func(f cluster.FieldChange) bool { return touches(ours, f.Path) }
	primary := slices.ContainsFunc(all, set)
	return slices.DeleteFunc(all, func(f cluster.FieldChange) bool {
		want, ok := given[f.Path]
		as := ok && fields.Equal(want, live[f.Path])
		return !set(f) && (primary || x.untouched) || x.untouched && as
	})
}

// kindOf tells what a difference is: what is there beside Git was added under
// our own manager's name, unless it is a part of a value that is set as a whole.
func (x *exam) kindOf(f cluster.FieldChange) cluster.FindingKind {
	switch f.Op {
	case cluster.Remove:
		return cluster.Removed
	case cluster.Add:
		if slices.ContainsFunc(paths(fields.Ours(x.applied).Leaves()), func(leaf string) bool { return fields.Within(f.Path, leaf) }) {
			return cluster.Changed
		}
		return cluster.HandAdded
	}
	return cluster.Changed
}

// disowned are the fields that Git sets and that stand, but that only others own.
func (x *exam) disowned(git *fieldpath.Set, found []cluster.Finding, live map[string]any) []cluster.Finding {
	var out []cluster.Finding
	for _, path := range paths(git.Leaves().Difference(fields.Ours(x.live))) {
		v, there := live[path]
		if !there || slices.ContainsFunc(found, func(f cluster.Finding) bool {
			return fields.Within(path, f.Field.Path) || fields.Within(f.Field.Path, path)
		}) {
			continue
		}
		f := x.finding(cluster.Disowned, cluster.FieldChange{Path: path, Op: cluster.Set, Before: v, After: v})
		if f.Managers != nil {
			out = append(out, f)
		}
	}
	return out
}

// finding is a finding of one field, with those who own what is there.
func (x *exam) finding(kind cluster.FindingKind, change cluster.FieldChange) cluster.Finding {
	f := x.whole(kind, nil, time.Time{})
	for _, e := range x.live.GetManagedFields() {
		if fields.IsOurs(e) || e.Subresource == "status" || !owns(e, change.Path) ||
			kind == cluster.HandAdded && !fields.ByHand(e.Manager, x.request.Humans) {
			continue
		}
		f.Managers = append(f.Managers, e.Manager)
		if e.Time != nil && e.Time.After(f.At) {
			f.At = e.Time.Time
		}
	}
	slices.Sort(f.Managers)
	f.Managers = slices.Compact(f.Managers)
	changes := []cluster.FieldChange{change}
	f.Seal = secret.Unmask(changes)[change.Path]
	f.Field = changes[0]
	return f
}

func owns(e metav1.ManagedFieldsEntry, path string) bool {
	return slices.ContainsFunc(paths(fields.Stored(e).Leaves()), func(name string) bool {
		return fields.Within(name, path) || fields.Within(path, name)
	})
}
