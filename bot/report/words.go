package report

import (
	"fmt"
	"slices"
	"strings"

	"lockkeeper/cluster"
)

// Headline is one sentence on where the pull stands.
func Headline(v View) string {
	n, targets := changes(v.Targets), count(len(v.Targets), "target")
	switch v.Phase {
	case Untouched:
		return "No target is affected"
	case Waiting:
		return "Not planned yet"
	case Broken:
		return "This cannot be applied as it is"
	case Unchanged:
		return fmt.Sprintf("Nothing would change on %s", targets)
	case Denied:
		return fmt.Sprintf("%s on %s, not yet allowed", count(n, "change"), targets)
	case Ready:
		if v.MergeMode {
			return fmt.Sprintf("%s on %s, applied after the merge", count(n, "change"), targets)
		}
		return fmt.Sprintf("%s on %s, ready for `/apply`", count(n, "change"), targets)
	case Planned:
		return fmt.Sprintf("%s on %s", count(n, "change"), targets)
	case Applying:
		return "Applying"
	case Failed:
		return fmt.Sprintf("The apply ended half-way, %s left", count(n, "change"))
	case Applied:
		return "Applied, NOT merged"
	case Merged:
		return "Applied and merged"
	case Pending:
		return fmt.Sprintf("Merged, %s not applied yet", count(n, "change"))
	case Closed:
		return "Closed, nothing is applied"
	case Restoring:
		return fmt.Sprintf("Closed after it was applied: %s to restore", count(n, "change"))
	}
	return string(v.Phase)
}

func icon(p Phase) string {
	return map[Phase]string{
		Untouched: "⚪", Waiting: "⏸️", Broken: "❌", Unchanged: "🟰", Denied: "🔒", Ready: "🔓", Applying: "⏳",
		Failed: "❌", Applied: "🚨", Merged: "✅", Pending: "🕓", Closed: "⚪", Restoring: "↩️", Planned: "📋",
	}[p]
}

func statusIcon(status string) string {
	switch {
	case status == "ready" || status == "no change":
		return "✅"
	case status == "problems":
		return "❌"
	}
	return "🔒"
}

func stepIcon(s cluster.StepState) string {
	return map[cluster.StepState]string{
		cluster.Waiting: "·", cluster.Applying: "⏳", cluster.Applied: "⏳", cluster.Healthy: "✅",
		cluster.Unhealthy: "❌", cluster.Failed: "❌", cluster.Skipped: "⏭️",
	}[s]
}

// tally counts a plan's changes by what they do.
type tally struct{ Create, Update, Replace, Delete, Adopt int }

func counts(p *cluster.Plan) tally {
	var t tally
	for _, c := range p.Changes {
		switch c.Action {
		case cluster.Create:
			t.Create++
		case cluster.Update:
			t.Update++
		case cluster.Replace:
			t.Replace++
		case cluster.Delete:
			t.Delete++
		case cluster.Adopt, cluster.Transfer:
			t.Adopt++
		}
	}
	return t
}

// dot shows a zero as something the eye passes over.
func dot(n int) string {
	if n == 0 {
		return "·"
	}
	return fmt.Sprint(n)
}

// summary is "1 to create, 2 to update".
func summary(p *cluster.Plan) string {
	t := counts(p)
	var parts []string
	for _, x := range []struct {
		n    int
		verb string
	}{{t.Create, "create"}, {t.Update, "update"}, {t.Replace, "replace"}, {t.Delete, "delete"}, {t.Adopt, "adopt"}} {
		if x.n > 0 {
			parts = append(parts, fmt.Sprintf("%d to %s", x.n, x.verb))
		}
	}
	if len(p.Drift) > 0 {
		parts = append(parts, fmt.Sprintf("%d drifted", len(p.Drift)))
	}
	if len(parts) == 0 {
		return "no change"
	}
	return strings.Join(parts, ", ")
}

// dangers calls out what cannot be taken back: deletes, replaces, takeovers.
func dangers(targets []Target) []string {
	var out []string
	for _, t := range targets {
		for _, c := range t.Plan.Changes {
			reason := ""
			if c.Reason != "" {
				reason = ": " + md(c.Reason)
			}
			switch {
			case c.Action == cluster.Delete:
				out = append(out, fmt.Sprintf("**deletes** %s on %s%s", code(c.Ref.String()), code(t.Plan.Target.Cluster), reason))
			case c.Action == cluster.Replace:
				out = append(out, fmt.Sprintf("**replaces** (deletes and creates) %s on %s%s", code(c.Ref.String()), code(t.Plan.Target.Cluster), reason))
			case len(c.Takeovers) > 0:
				out = append(out, fmt.Sprintf("**takes over** %s of %s from %s", count(len(c.Takeovers), "field"), code(c.Ref.String()), code(managers(c.Takeovers))))
			}
		}
	}
	const most = 15
	if len(out) > most {
		out = append(out[:most], fmt.Sprintf("and %d more", len(out)-most))
	}
	return out
}

func managers(os []cluster.Ownership) string {
	var names []string
	for _, o := range os {
		if !slices.Contains(names, o.Manager) {
			names = append(names, o.Manager)
		}
	}
	return strings.Join(names, ", ")
}

// notes are notices and the plans' warnings.
func notes(v View) []string {
	out := slices.Clone(v.Notices)
	for _, t := range v.Targets {
		for _, w := range t.Plan.Warnings {
			out = append(out, t.Plan.Target.Name+": "+w)
		}
		if n := t.Plan.Unadopted; n > 0 {
			out = append(out, fmt.Sprintf("%s: %s of this target were made by something else and are not touched here; `/sync %s` adopts them.",
				t.Plan.Target.Name, count(n, "object"), t.Plan.Target.Name))
		}
	}
	return out
}

func showVerdict(v View) bool {
	switch v.Phase {
	case Denied, Ready, Pending, Failed, Restoring:
		return true
	}
	return false
}

// operationShown drops an operation that says nothing about the state at hand.
func operationShown(v View, o *Operation) bool {
	return o.Outcome != "" && o.Outcome != "refused" && v.Phase != Untouched
}

func progress(r cluster.Result) string {
	done := 0
	for _, s := range r.Steps {
		if s.State == cluster.Healthy {
			done++
		}
	}
	if len(r.Steps) == 0 {
		return "nothing to do"
	}
	return fmt.Sprintf("%d of %d done", done, len(r.Steps))
}

func title(s string) string {
	if s == "pull" || s == "merged" {
		return "Apply"
	}
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// shown is how many rows of a list a comment has.
const shown = 60

func first[T any](xs []T) []T { return xs[:min(len(xs), shown)] }

func more[T any](xs []T) int { return max(0, len(xs)-shown) }

func changes(targets []Target) int {
	n := 0
	for _, t := range targets {
		n += len(t.Plan.Changes)
	}
	return n
}

// count is "1 change" or "3 changes".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func short(s string) string {
	if len(s) > 8 {
		return s[:8]
	}
	return s
}
