package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"lockkeeper/bot/policy/calendar"
)

// Describe says in plain lines what holds in an environment: its approvals,
// conditions, separation of duties, and the rules that can select its changes.
func (p Policy) Describe(environment string) []string {
	var out []string
	say := func(floor bool, format string, args ...any) {
		line := environment + ": " + fmt.Sprintf(format, args...)
		if floor {
			line += " (the operator's floor)"
		}
		out = append(out, line)
	}
	own := false
	var all, operator Separation
	for _, e := range p.entries() {
		if !glob(e.Name, environment) {
			continue
		}
		if e.Approvals != nil {
			own = own || !e.Floor
			say(e.Floor, "%s", e.Approvals)
		}
		for _, line := range e.describe() {
			say(e.Floor, "%s", line)
		}
		all = all.merge(e.Separation)
		if e.Floor {
			operator = operator.merge(e.Separation)
		}
	}
	if !own {
		say(false, "%s, by default", p.Default.asked())
	}
	for _, line := range all.fill().describe() {
		say(false, "%s", line)
	}
	if o := operator.fill().strictest(all.fill()); o != all.fill() {
		for _, line := range o.describe() {
			say(true, "%s", line)
		}
	}
	for i, r := range p.Rules {
		if r.Environment == "" && r.concerns(environment) {
			say(r.Floor, "%s", r.describe(i))
		}
	}
	return out
}

// entries are the environments, those in short form included.
func (p Policy) entries() []Environment {
	out := slices.Clone(p.Environments)
	for _, r := range p.Rules {
		if r.Environment != "" {
			q := r.asked()
			out = append(out, Environment{Name: r.Environment, Floor: r.Floor, Approvals: &q})
		}
	}
	return out
}

func (r Rule) concerns(environment string) bool {
	return len(r.When.Environments) == 0 || globbed(r.When.Environments, environment)
}

func (r Rule) describe(i int) string {
	name := r.Name
	if name == "" {
		name = fmt.Sprintf("rule %d", i+1)
	}
	return fmt.Sprintf("%s: %s: %s", name, r.When, r.asked())
}

// String says what is selected.
func (s Selector) String() string {
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

// String says what is asked for.
func (r Requirement) String() string {
	var parts []string
	if r.Approvals > 0 {
		c := compiler{}
		parts = append(parts, count(r.Approvals, "approval", true)+" from "+c.people(r.From, false).who)
	}
	for _, q := range r.All {
		parts = append(parts, q.String())
	}
	var ways []string
	for _, q := range r.Any {
		ways = append(ways, q.String())
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

func (e Environment) describe() []string {
	var out []string
	for _, w := range e.Freeze {
		out = append(out, describeWindow(w))
	}
	for _, c := range e.Checks {
		out = append(out, "check "+c.String()+" has to succeed")
	}
	if e.MinimumAge > 0 {
		out = append(out, "a plan has to be shown for "+span(e.MinimumAge))
	}
	if s := e.Soak; s != nil {
		line := fmt.Sprintf("healthy in %s for %s first", s.In, span(s.For))
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
		out = append(out, o.describe())
	}
	return out
}

func (o BreakGlass) describe() string {
	who := "nobody"
	if !o.By.empty() {
		who = (&compiler{}).people(o.By, false).who
	}
	line := fmt.Sprintf("override by %s for %s, reviewed within %s", who, span(o.Expires), span(o.Review))
	if len(o.Actions)+len(o.Targets) > 0 {
		line += fmt.Sprintf(" (%s)", Selector{Actions: o.Actions, Targets: o.Targets})
	}
	return line
}

func describeWindow(w calendar.Window) string {
	line := "frozen" + because(w.Name)
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

// describe lists the roles that bar, and what differs from the defaults.
func (d duties) describe() []string {
	var barred []string
	for i, r := range roles {
		if d.barred[i] {
			barred = append(barred, string(r))
		}
	}
	out := []string{"contributors, who may not approve: " + strings.Join(barred, ", ")}
	for _, x := range []struct {
		on   bool
		line string
	}{
		{d.approverApart, "approver and applier are different people"},
		{d.helpersApart, "contributors may not apply"},
		{d.signed, "every commit has a verified signature"},
		{!d.attributed, "commits of people without an account pass"},
		{d.digest, "approvals name the plan's digest"},
		{!d.dropOnMerge, "approvals outlive a merge of the base branch that changes no digest"},
		{!d.withoutOutside, "approvals of outside collaborators count"},
	} {
		if x.on {
			out = append(out, x.line)
		}
	}
	return out
}

// Diff says in lines what changing one policy into the other changes: "- " what
// held, "+ " what will. No lines: nothing.
func Diff(before, after Policy) []string {
	envs := map[string]bool{}
	for _, e := range slices.Concat(before.entries(), after.entries()) {
		envs[e.Name] = true
	}
	was, will := before.lines(envs), after.lines(envs)
	var out []string
	for _, l := range was {
		if !slices.Contains(will, l) {
			out = append(out, "- "+l)
		}
	}
	for _, l := range will {
		if !slices.Contains(was, l) {
			out = append(out, "+ "+l)
		}
	}
	return out
}

// lines say all of a policy, with what holds in these environments.
func (p Policy) lines(envs map[string]bool) []string {
	bare := p
	bare.Rules = slices.DeleteFunc(slices.Clone(p.Rules), func(r Rule) bool { return r.Environment == "" })
	var out []string
	for _, env := range slices.Sorted(maps.Keys(envs)) {
		out = append(out, bare.Describe(env)...)
	}
	floor := func(is bool) string {
		if is {
			return " (the operator's floor)"
		}
		return ""
	}
	out = append(out, "other environments: "+p.Default.asked().String())
	for i, r := range p.Rules {
		if r.Environment == "" {
			out = append(out, r.describe(i)+floor(r.Floor))
		}
	}
	c := compiler{policy: p}
	for _, g := range p.Groups {
		out = append(out, fmt.Sprintf("group %s: %s%s", g.Name, c.people(g.From, g.Floor).who, floor(g.Floor)))
	}
	for _, o := range p.Owners {
		out = append(out, "owners of the policy: "+c.people(o.From, o.Floor).who+floor(o.Floor))
	}
	if len(p.Owners) == 0 {
		out = append(out, "owners of the policy: accounts with admin access")
	}
	for _, id := range p.ServiceAccounts {
		out = append(out, fmt.Sprintf("service account %d is nobody", id))
	}
	for _, name := range p.ServiceNames {
		out = append(out, "co-author "+name+" is nobody")
	}
	return out
}
