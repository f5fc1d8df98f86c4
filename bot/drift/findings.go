package drift

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"lockkeeper/bot/names"
	"lockkeeper/bot/store"
	"lockkeeper/cluster"
)

// found joins what an exact check found with what was known: a finding that
// stays keeps the time since when it is known, and of what could not be looked
// at, what was known stands.
func found(known []store.DriftFinding, report *cluster.DriftReport, now time.Time) []store.DriftFinding {
	since := map[string]time.Time{}
	for _, f := range known {
		since[identity(f.Finding)] = f.Since
	}
	var out []store.DriftFinding
	seen := map[cluster.Ref]bool{}
	for _, f := range report.Findings {
		seen[f.Ref] = true
		at, ok := since[identity(f)]
		if !ok {
			at = now
		}
		out = append(out, store.DriftFinding{Finding: f, Since: at})
	}
	for _, f := range known {
		if !seen[f.Ref] && unseen(report.Problems, f.Ref) {
			out = append(out, f)
		}
	}
	slices.SortStableFunc(out, func(a, b store.DriftFinding) int {
		return cmp.Or(a.Ref.Compare(b.Ref), cmp.Compare(a.Field.Path, b.Field.Path), cmp.Compare(a.Kind, b.Kind))
	})
	return out
}

// unseen reports whether an object could not be looked at; a problem without an
// object is of all of them.
func unseen(problems []cluster.Problem, ref cluster.Ref) bool {
	return slices.ContainsFunc(problems, func(p cluster.Problem) bool { return p.Ref == nil || *p.Ref == ref })
}

// undecided are the problems of objects that are pending and of which it must be
// known whether they drifted: they did before, or their metadata does not prove
// that they did not. What was applied to them cannot be told, so that they are
// neither clean nor drifted. That they are pending is no drift either.
func undecided(report *cluster.DriftReport, known []store.DriftFinding, suspects []cluster.Ref) []cluster.Problem {
	doubted := map[cluster.Ref]bool{}
	for _, ref := range append(refs(known), suspects...) {
		doubted[ref] = true
	}
	var out []cluster.Problem
	for _, ref := range report.Pending {
		if doubted[ref] {
			out = append(out, cluster.Problem{
				Ref: &ref, Message: "Git has it otherwise than it was applied, or the inventory not at all, and what was applied last cannot be read: whether it drifted shows when the target is applied",
			})
		}
	}
	return out
}

// identity is which difference a finding is, whatever the values are now.
func identity(f cluster.Finding) string {
	return names.Hash(string(f.Kind), f.Ref.String(), f.Field.Path)
}

// digestOf is over what is different, and how: not over when it was found, nor
// over who made the difference, which the cluster may tell late. It is "" for
// nothing.
func digestOf(all []store.DriftFinding) (string, error) {
	if len(all) == 0 {
		return "", nil
	}
	var parts []string
	for _, f := range all {
		doc, err := json.Marshal(struct {
			Kind  cluster.FindingKind
			Ref   cluster.Ref
			Field cluster.FieldChange
			Seal  string `json:",omitempty"`
		}{f.Kind, f.Ref, f.Field, f.Seal})
		if err != nil {
			return "", err
		}
		parts = append(parts, string(doc))
	}
	return names.Hash(parts...), nil
}

// loud are the findings that people are told of. That a value is another
// manager's while it is what it should be is stored, and shown beside others;
// it is what is left when somebody sets back by hand what they changed, and the
// next apply takes it back.
func loud(all []store.DriftFinding) []store.DriftFinding {
	return slices.DeleteFunc(slices.Clone(all), func(f store.DriftFinding) bool { return f.Kind == cluster.Disowned })
}

// objects counts the objects that findings are of.
func objects(all []store.DriftFinding) int { return len(refs(all)) }

// refs are the objects that findings are of, sorted.
func refs(all []store.DriftFinding) []cluster.Ref {
	var out []cluster.Ref
	for _, f := range all {
		out = append(out, f.Ref)
	}
	slices.SortFunc(out, cluster.Ref.Compare)
	return slices.Compact(out)
}

// managers are who made the differences, as far as the cluster tells.
func managers(all []store.DriftFinding) []string {
	var out []string
	for _, f := range all {
		out = append(out, f.Managers...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
