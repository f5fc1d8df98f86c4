package report

import (
	"fmt"
	"strings"

	"lockkeeper/cluster"
)

// Headline is one sentence on where the pull stands. It uses backquotes, and
// no other marks.
func Headline(v View) string {
	n, on := count(changes(v.Targets), "change"), where(v.Targets)
	switch v.Phase {
	case Untouched:
		return "No target is affected"
	case Waiting:
		return "Not planned yet"
	case Broken:
		return "This cannot be applied as it is"
	case Unchanged:
		return "Nothing would change" + on
	case Denied:
		return n + on + ", not yet allowed"
	case Ready:
		if v.MergeMode {
			return n + on + ", applied after the merge"
		}
		return n + on + ", ready for `/apply`"
	case Planned:
		return n + on
	case Applying:
		return "Applying" + under(v.Operation, on)
	case Failed:
		return fmt.Sprintf("The apply ended half-way, %s left", n)
	case Cancelled:
		return fmt.Sprintf("The apply was cancelled, %s left", n)
	case Applied:
		return "Applied, NOT merged"
	case Merged:
		return "Applied and merged" + as(v.MergeSHA)
	case Pending:
		return fmt.Sprintf("Merged, %s not applied yet", n)
	case Closed:
		return "Closed, nothing is applied"
	case Restoring:
		return fmt.Sprintf("Closed after it was applied: %s to restore", n)
	}
	return string(v.Phase)
}

// where names the targets if they are few.
func where(targets []Target) string {
	var names []string
	for _, t := range targets {
		names = append(names, "`"+clip(strings.ReplaceAll(oneLine(t.Plan.Target.Name), "`", "'"), 60)+"`")
	}
	switch len(names) {
	case 0:
		return ""
	case 1:
		return " on " + names[0]
	case 2, 3:
		last := len(names) - 1
		return " on " + strings.Join(names[:last], ", ") + " and " + names[last]
	}
	return " on " + count(len(names), "target")
}

// under is how far a running operation is.
func under(o *Operation, on string) string {
	if o == nil || len(o.Results) == 0 {
		return on
	}
	done, all := 0, 0
	for _, r := range o.Results {
		d, a := doneOf(r)
		done, all = done+d, all+a
	}
	return fmt.Sprintf("%s: %d of %d done", on, done, all)
}

func as(sha string) string {
	if sha == "" {
		return ""
	}
	return " as `" + short(sha) + "`"
}

func icon(p Phase) string {
	return map[Phase]string{
		Untouched: "⚪", Waiting: "⏸️", Broken: "❌", Unchanged: "🟰", Denied: "🔒", Ready: "🔓", Applying: "⏳",
		Failed: "❌", Cancelled: "⏹️", Applied: "🚨", Merged: "✅", Pending: "🕓", Closed: "⚪", Restoring: "↩️", Planned: "📋",
	}[p]
}

func statusIcon(status string) string {
	switch status {
	case "ready", "no change", "applied":
		return "✅"
	case "problems":
		return "❌"
	case "":
		return "·"
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

func (t *tally) add(o tally) {
	t.Create += o.Create
	t.Update += o.Update
	t.Replace += o.Replace
	t.Delete += o.Delete
	t.Adopt += o.Adopt
}

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

// loud is dot for what destroys something.
func loud(n int) string {
	if n == 0 {
		return dot(n)
	}
	return fmt.Sprintf("**%d**", n)
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
	if len(parts) == 0 {
		parts = append(parts, "no change")
	}
	if len(p.Drift) > 0 {
		parts = append(parts, fmt.Sprintf("%d drifted", len(p.Drift)))
	}
	return strings.Join(parts, ", ")
}

func doneOf(r cluster.Result) (done, all int) {
	for _, s := range r.Steps {
		if s.State == cluster.Healthy {
			done++
		}
	}
	return done, len(r.Steps)
}

// progress is a bar and a count.
func progress(r cluster.Result) string {
	done, all := doneOf(r)
	if all == 0 {
		return "nothing to do"
	}
	const width = 10
	full := done * width / all
	return fmt.Sprintf("%s%s %d of %d done", strings.Repeat("▰", full), strings.Repeat("▱", width-full), done, all)
}

// title is what an operation is called; applying a pull, before or after its
// merge, is the usual one.
func title(kind string) string {
	switch kind {
	case "pull", "merged", "":
		return "Apply"
	}
	return strings.ToUpper(kind[:1]) + kind[1:]
}

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

// short is the beginning of a hash, long enough for people.
func short(s string) string {
	s = strings.TrimPrefix(s, "sha256:")
	if len(s) > 8 {
		return s[:8]
	}
	return s
}
