package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"lockkeeper/bot/policy"
	"lockkeeper/cluster"
)

// room is how much of everything is said: how many rows of a list, and how
// many characters of one text. What is left out is counted.
type room struct{ most, clip int }

// rooms are tried from the widest to the narrowest until the words fit.
var rooms = []room{{60, 1500}, {25, 600}, {10, 300}, {4, 160}, {1, 80}, {0, 40}}

// Say shows foreign text as itself.
func (r room) Say(s string) string { return md(clip(oneLine(s), r.clip)) }

// Name shows the name of something as code.
func (r room) Name(s string) string { return code(clip(oneLine(s), min(r.clip, 200))) }

// Pick is a list as far as there is room, with the count of what is not in it.
func (r room) Pick(items []string) []string {
	if len(items) <= r.most || len(items) == r.most+1 && r.most > 0 {
		return items
	}
	return append(slices.Clone(items[:r.most]), fmt.Sprintf("and %d more", len(items)-r.most))
}

// page is a view with the room there is for it.
type page struct {
	room
	View
}

// Headline is the headline as Markdown.
func (p page) Headline() string { return md(Headline(p.View)) }

// Rows are the targets shown in the table. If there are too many, those that
// want attention come first.
func (p page) Rows() []Target {
	if len(p.Targets) <= p.most {
		return p.Targets
	}
	rows := slices.Clone(p.Targets)
	slices.SortStableFunc(rows, func(a, b Target) int { return cmp.Compare(urgency(a), urgency(b)) })
	return rows[:p.most]
}

// DigestOf is what the table calls the plan of a target: where there is but one,
// what `/approve <digest>` names.
func (p page) DigestOf(t Target) string {
	if len(p.Targets) == 1 && p.Digest != "" {
		return p.Digest
	}
	return t.Plan.Digest
}

// More counts the targets that the table leaves out.
func (p page) More() int { return len(p.Targets) - len(p.Rows()) }

func urgency(t Target) int {
	n := counts(t.Plan)
	switch {
	case len(t.Plan.Problems) > 0:
		return 0
	case n.Delete+n.Replace > 0:
		return 1
	case len(t.Plan.Changes) > 0:
		return 2
	}
	return 3
}

// Total sums the table up; nil where there is one row.
func (p page) Total() *tally {
	if len(p.Targets) < 2 {
		return nil
	}
	var sum tally
	for _, t := range p.Targets {
		sum.add(counts(t.Plan))
	}
	return &sum
}

// AllProblems lists what keeps the pull from being applied, as Markdown.
func (p page) AllProblems() []string {
	var out []string
	for _, s := range p.Problems {
		out = append(out, p.Say(s))
	}
	for _, t := range p.Targets {
		for _, problem := range t.Plan.Problems {
			out = append(out, p.Name(t.Plan.Target.Name)+": "+p.problem(problem))
		}
	}
	return p.Pick(out)
}

func (p page) problem(problem cluster.Problem) string {
	out := ""
	if problem.Source != "" {
		out += p.Name(problem.Source) + ": "
	}
	if r := problem.Ref; r != nil && !strings.Contains(problem.Message, r.String()) {
		out += p.Name(r.String()) + ": "
	}
	return out + p.Say(problem.Message)
}

// Dangers call out what cannot be taken back: deletes, replaces, takeovers.
func (p page) Dangers() []string {
	var deletes, replaces, takeovers []string
	for _, t := range p.Targets {
		for _, c := range t.Plan.Changes {
			what := p.Name(c.Ref.String()) + " on " + p.Name(t.Plan.Target.Cluster)
			because := ""
			if c.Reason != "" {
				because = ": " + p.Say(c.Reason)
			}
			switch c.Action {
			case cluster.Delete:
				deletes = append(deletes, "**deletes** "+what+because)
			case cluster.Replace:
				replaces = append(replaces, "**replaces** (deletes and creates) "+what+because)
			}
			if len(c.Takeovers) > 0 {
				takeovers = append(takeovers, fmt.Sprintf("**takes over** %s of %s from %s", count(len(c.Takeovers), "field"), what, p.Name(managers(c.Takeovers))))
			}
		}
	}
	return p.Pick(slices.Concat(deletes, replaces, takeovers))
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

// PolicyLines are what the pull changes about the policy.
func (p page) PolicyLines() []string {
	var out []string
	for _, line := range p.PolicyChange {
		out = append(out, p.Say(line))
	}
	return p.Pick(out)
}

// Notes are notices, what the plans warn of, and what a reader of the diffs
// should know.
func (p page) Notes() []string {
	var out []string
	for _, n := range p.Notices {
		out = append(out, p.Say(n))
	}
	for _, t := range p.Targets {
		name := p.Name(t.Plan.Target.Name) + ": "
		for _, s := range targetNotes(t.Plan) {
			out = append(out, name+p.Say(s))
		}
	}
	return p.Pick(out)
}

func targetNotes(plan *cluster.Plan) []string {
	out := slices.Clone(plan.Warnings)
	unverified := 0
	for _, c := range plan.Changes {
		if c.Unverified != "" {
			unverified++
		}
	}
	if unverified > 0 {
		out = append(out, count(unverified, "change")+" could be predicted only, not verified by the server; the diff says why.")
	}
	if n := len(plan.Drift); n > 0 {
		out = append(out, count(n, "object")+" of this plan differed from Git before it; the diff shows by whom, and what applying does to that.")
	}
	if n := plan.Unadopted; n > 0 {
		out = append(out, fmt.Sprintf("%s of this target never applied by lockkeeper, and not touched here; `/sync %s` shows and applies all of it.", count(n, "object"), plan.Target.Name))
	}
	return out
}

// Shown reports whether the last operation says something about the state at
// hand.
func (p page) Shown() bool {
	o := p.Operation
	return o != nil && o.Outcome != "" && o.Outcome != "refused" && p.Phase != Untouched
}

// Results are the operation's, as far as there is room, unfinished ones first.
func (p page) Results() []cluster.Result {
	rs := slices.Clone(p.Operation.Results)
	if len(rs) > p.most {
		slices.SortStableFunc(rs, func(a, b cluster.Result) int { return cmp.Compare(rank(a.OK()), rank(b.OK())) })
		rs = rs[:p.most]
	}
	return rs
}

// MoreResults counts the targets whose progress is left out.
func (p page) MoreResults() int { return max(0, len(p.Operation.Results)-p.most) }

// Steps are a result's steps as far as there is room, those that are not done
// first where some are left out.
func (p page) Steps(r cluster.Result) []cluster.Step {
	steps := slices.Clone(r.Steps)
	if len(steps) > p.most {
		slices.SortStableFunc(steps, func(a, b cluster.Step) int {
			return cmp.Compare(rank(a.State == cluster.Healthy), rank(b.State == cluster.Healthy))
		})
		steps = steps[:p.most]
	}
	return steps
}

// MoreSteps counts the steps that are left out.
func (p page) MoreSteps(r cluster.Result) int { return max(0, len(r.Steps)-p.most) }

func rank(done bool) int {
	if done {
		return 1
	}
	return 0
}

// Judged reports whether what the policy asks for matters now.
func (p page) Judged() bool {
	switch p.Phase {
	case Denied, Ready, Pending, Failed, Restoring:
		return len(p.Verdict.Children) > 0
	}
	return false
}

// Asked lists what the policy asks for, and how far it holds.
func (p page) Asked() []string { return p.cut(p.outline(p.Verdict, false), p.most) }

// cut keeps the first lines of a list, and counts the rest.
func (r room) cut(lines []string, most int) []string {
	if len(lines) <= most+1 {
		return lines
	}
	return append(lines[:most:most], fmt.Sprintf("- and %d more", len(lines)-most))
}

// AllMissing lists what would turn a denial into a pass.
func (p page) AllMissing() []string {
	var out []string
	for _, m := range p.Verdict.AllMissing() {
		out = append(out, p.Say(m))
	}
	return p.Pick(out)
}

// Steer is the commands that help now, in words.
func (p page) Steer() string { return steer(p.Next, p.Phase == Restoring) }

func steer(commands []string, choice bool) string {
	word := ", then "
	if choice {
		word = " or "
	}
	var out []string
	for _, c := range commands {
		out = append(out, code(clip(oneLine(c), 250)))
	}
	return strings.Join(out, word)
}

func mark(ok bool) string {
	if ok {
		return "✅"
	}
	return "❌"
}

// tree is a verdict as a nested list, as far as there is room.
func (r room) tree(v *policy.Verdict) string {
	return strings.Join(r.cut(r.outline(*v, true), 4*max(r.most, 1)), "\n")
}

// Clip bounds a text that is escaped later.
func (r room) Clip(s string) string { return clip(oneLine(s), min(r.clip, 200)) }

// Events are what a step's object reported, as far as there is room.
func (p page) Events(s cluster.Step) []string {
	return s.Events[:min(len(s.Events), 5, p.most)]
}
