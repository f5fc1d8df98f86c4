// Package lint reads a policy for people: what it says of an environment, what
// changing it changes, and what in it can hardly be meant.
package lint

import (
	"cmp"
	"fmt"
	"strings"

	"lockkeeper/bot/policy"
	"lockkeeper/bot/policy/calendar"
	"lockkeeper/bot/policy/fact"
	"lockkeeper/bot/policy/match"
)

// Describe says in lines what holds in an environment: its approvals,
// conditions, separation of duties, and the rules that can select its changes.
func Describe(p policy.Policy, environment string) []string {
	out := ofEnvironment(p, environment)
	for i, r := range p.Rules {
		if len(r.When.Environments) == 0 || match.Globs(r.When.Environments, environment) {
			out = append(out, environment+": "+ofRule(r, i))
		}
	}
	return out
}

func ofEnvironment(p policy.Policy, environment string) []string {
	var out []string
	say := func(floor bool, lines ...string) {
		for _, line := range lines {
			out = append(out, environment+": "+line+marked(floor))
		}
	}
	listed := false
	for _, e := range p.Environments {
		if !match.Glob(e.Name, environment) {
			continue
		}
		if e.Approvals != nil {
			listed = listed || !e.Floor
			say(e.Floor, ofRequirement(*e.Approvals))
		}
		say(e.Floor, ofConditions(e)...)
		if e.Rollback != nil {
			say(e.Floor, "of a pure rollback: "+ofRequirement(*e.Rollback))
		}
		if e.Drift != nil {
			say(e.Floor, ofDrift(*e.Drift)...)
		}
	}
	if !listed {
		say(false, ofRequirement(p.Default)+", by default")
	}
	own, floors := p.Restrictions(environment, false), p.Restrictions(environment, true)
	say(false, ofSeparation(own)...)
	if floors != own {
		say(true, ofSeparation(floors)...)
	}
	return out
}

func marked(floor bool) string {
	if floor {
		return " (the operator's floor)"
	}
	return ""
}

func ofRule(r policy.Rule, i int) string {
	return fmt.Sprintf("%s: %s: %s%s", named(r, i), ofSelector(r.When), ofRequirement(r.Require), marked(r.Floor))
}

// named is the name of a rule, or its number.
func named(r policy.Rule, i int) string { return cmp.Or(r.Name, fmt.Sprintf("rule %d", i+1)) }

// ofSelector says what is selected.
func ofSelector(s policy.Selector) string {
	var out []string
	for _, part := range []struct {
		name   string
		values []string
	}{
		{"environments", s.Environments}, {"targets", s.Targets}, {"clusters", s.Clusters}, {"kinds", s.Kinds},
		{"API groups", s.APIGroups}, {"namespaces", s.Namespaces}, {"names", s.Names}, {"actions", s.Actions},
		{"fields", s.Fields}, {"files", s.Files},
	} {
		if len(part.values) > 0 {
			out = append(out, part.name+" "+strings.Join(part.values, ", "))
		}
	}
	if len(out) == 0 {
		return "every change"
	}
	return strings.Join(out, "; ")
}

// ofRequirement says what is asked for.
func ofRequirement(r policy.Requirement) string {
	var parts []string
	if r.Approvals > 0 {
		parts = append(parts, approvals(r.Approvals)+" from "+ofPeople(r.From))
	}
	for _, q := range r.All {
		parts = append(parts, ofRequirement(q))
	}
	var ways []string
	for _, q := range r.Any {
		ways = append(ways, ofRequirement(q))
	}
	if len(ways) > 0 {
		parts = append(parts, "either "+strings.Join(ways, ", or "))
	}
	switch len(parts) {
	case 0:
		return "no approval needed"
	case 1:
		return parts[0]
	}
	return "all of (" + strings.Join(parts, "), (") + ")"
}

// ofPeople is People.String with account ids: two accounts may have had the same
// login, and a change of one into the other has to show.
func ofPeople(p policy.People) string {
	out := p.String()
	for _, u := range p.Users {
		if login, _, ok := strings.Cut(u, "#"); ok {
			out = strings.Replace(out+" ", "@"+login+" ", "@"+u+" ", 1)
			out = strings.TrimSuffix(out, " ")
		}
	}
	return out
}

func approvals(n int) string {
	if n == 1 {
		return "1 approval"
	}
	return fmt.Sprintf("%d approvals", n)
}

func ofConditions(e policy.Environment) []string {
	var out []string
	for _, w := range e.Freeze {
		out = append(out, ofWindow(w))
	}
	for _, c := range e.Checks {
		out = append(out, "check "+c.String()+" has to succeed")
	}
	if e.MinimumAge > 0 {
		out = append(out, "a plan has to be shown for "+policy.Span(e.MinimumAge))
	}
	if s := e.Soak; s != nil {
		line := fmt.Sprintf("healthy in %s for %s first", s.In, policy.Span(s.For))
		if s.AllowUntouched {
			line += ", unless nothing changes there"
		}
		out = append(out, line)
	}
	if t := e.Ticket; t != nil {
		line := "a change ticket like " + t.Pattern
		if t.Window {
			line += " with its window"
		}
		out = append(out, line)
	}
	if o := e.Override; o != nil {
		out = append(out, ofOverride(*o))
	}
	return out
}

func ofOverride(o policy.BreakGlass) string {
	who := "nobody"
	if len(o.By.Users)+len(o.By.Teams)+len(o.By.Groups) > 0 {
		who = ofPeople(o.By)
	}
	line := fmt.Sprintf("override by %s for %s, reviewed within %s", who, policy.Span(o.Expires), policy.Span(o.Review))
	if len(o.Actions)+len(o.Targets) > 0 {
		line += fmt.Sprintf(" (%s)", ofSelector(policy.Selector{Actions: o.Actions, Targets: o.Targets}))
	}
	return line
}

func ofWindow(w calendar.Window) string {
	line := "frozen"
	if w.Name != "" {
		line += " (" + w.Name + ")"
	}
	if w.Cron != "" {
		line += fmt.Sprintf(" at %s for %s", w.Cron, w.For)
	} else {
		line += fmt.Sprintf(" from %s to %s", w.From, w.To)
	}
	if w.Zone != "" {
		line += " " + w.Zone
	}
	for _, x := range w.Except {
		line += fmt.Sprintf(", except %s to %s", x.From, x.To)
	}
	return line
}

// ofSeparation lists the roles that bar, and what differs from the defaults.
func ofSeparation(d policy.Restrictions) []string {
	var barred []string
	for i, r := range fact.Roles {
		if d.Barred[i] {
			barred = append(barred, string(r))
		}
	}
	out := []string{"contributors, who may not approve: " + strings.Join(barred, ", ")}
	for _, x := range []struct {
		on   bool
		line string
	}{
		{d.ApproverApart, "approver and applier are different people"},
		{d.ContributorApart, "contributors may not apply"},
		{d.Signed, "every commit has a verified signature"},
		{!d.Attributed, "commits of people without an account pass"},
		{d.Digest, "approvals name the plan's digest"},
		{!d.DropOnMerge, "approvals outlive a merge of the base branch that changes no digest"},
		{!d.NoOutside, "approvals of outside collaborators count"},
	} {
		if x.on {
			out = append(out, x.line)
		}
	}
	return out
}
