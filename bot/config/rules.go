package config

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	"lockkeeper/bot/policy/match"
	"lockkeeper/forge"
)

// validate checks a policy, at the top of a document or below `floors`.
func (p Policy) validate(at place) {
	if p.Owners != nil {
		p.Owners.named(at.at("owners"), p.Groups)
	}
	for _, name := range sortedKeys(p.Groups) {
		here := at.at("groups", name)
		if !validName(name) {
			here.add("the name: want letters, digits, '.', '_', '-' and '/'")
		}
		if len(p.Groups[name].Groups) > 0 {
			here.at("groups").add("a group cannot have groups in it; list users and teams")
			continue
		}
		p.Groups[name].named(here, nil)
	}
	for _, name := range sortedKeys(p.Environments) {
		here := at.at("environments", name)
		if !doublestar.ValidatePattern(name) || name == "" {
			here.add("the name is not a glob; want the name of an environment, or a glob such as prod-*")
		}
		p.Environments[name].validate(here, name, p.Groups)
	}
	if p.Drift != nil {
		p.Drift.validate(at.at("drift"))
	}
	names := map[string]int{}
	for i, r := range p.Rules {
		here := at.at("rules", i)
		if first, ok := names[r.Name]; ok && r.Name != "" {
			here.at("name").add("%q is taken by rules[%d]; names are unique", r.Name, first)
		} else {
			names[r.Name] = i
		}
		r.validate(here, p.Groups)
	}
}

func (e Environment) validate(at place, name string, groups map[string]People) {
	if e.Approvals != nil {
		e.Approvals.validate(at.at("approvals"), groups)
	}
	if e.Separation != nil {
		e.Separation.validate(at.at("separation"))
	}
	for i, w := range e.Freeze {
		for _, p := range w.Check() {
			at.at("freeze", i).at(p.Path...).add("%s", p.Message)
		}
	}
	for i, c := range e.Checks {
		c.validate(at.at("checks", i))
		if slices.Contains(e.Checks[:i], c) {
			at.at("checks", i).add("%s is listed twice", c.Name)
		}
	}
	if e.Soak != nil {
		e.Soak.validate(at.at("soak"), name)
	}
	if e.Ticket != nil {
		e.Ticket.validate(at.at("ticket"))
	}
	if e.Override != nil {
		e.Override.validate(at.at("override"), groups)
	}
	if e.Drift != nil {
		e.Drift.validate(at.at("drift"), groups)
	}
	if e.Rollback != nil {
		e.Rollback.validate(at.at("rollback"), groups)
	}
}

func (a Approvals) validate(at place, groups map[string]People) {
	if !at.at("required").has() {
		at.at("required").add("missing; say how many people must approve (0 for none)")
	}
	if a.Required < 0 {
		at.at("required").add("got %d, want 0 or more", a.Required)
	}
	a.From.validate(at.at("from"), groups)
	a.From.enough(a.Required, at.at("required"), groups)
}

func (s Separation) validate(at place) {
	if s.Contributors != nil && len(s.Contributors) == 0 {
		at.at("contributors").add("an empty list; leave it out for all, or list at least one of %s", or(roles))
	}
	for i, r := range s.Contributors {
		if !slices.Contains(roles, r) {
			at.at("contributors", i).add("got %q, want %s", r, or(roles))
		}
	}
	at.at("unattributable").oneOf(s.Unattributable, "block", "allow")
}

// roles are the words for ways to contribute.
var roles = []string{"opener", "author", "committer", "coauthor", "pusher", "suggester"}

func (c Check) validate(at place) {
	if c.Name == "" {
		at.at("name").add("missing; give the name of a check run or commit status")
	}
	if c.App < 0 {
		at.at("app").add("got %d, want the forge's number of an app", c.App)
	}
	if c.By < 0 {
		at.at("by").add("got %d, want the forge's number of an account", c.By)
	}
	if c.App != 0 && c.By != 0 {
		at.at("by").add("app is given too; name the one that writes the check")
	}
}

func (s Soak) validate(at place, name string) {
	switch {
	case s.In == "":
		at.at("in").add("missing; name the environment to be healthy in first")
	case s.In == name:
		at.at("in").add("got %q, the environment itself; name another one", s.In)
	}
	if s.For <= 0 {
		at.at("for").add("missing; say how long it has to be healthy there, such as 30m")
	}
	at.at("untouched").oneOf(s.Untouched, "deny", "allow")
}

func (t Ticket) validate(at place) {
	if t.Pattern == "" {
		at.at("pattern").add("missing; give a regular expression such as CHG[0-9]{7}")
	}
	if _, err := regexp.Compile(t.Pattern); err != nil {
		at.at("pattern").add("got %q: %v", t.Pattern, err)
	}
	at.at("window").oneOf(t.Window, "optional", "required")
}

// maxOverride bounds how long an override can last: it is for emergencies.
const maxOverride = 24 * time.Hour

func (o Override) validate(at place, groups map[string]People) {
	o.By.named(at.at("by"), groups)
	if o.Expires <= 0 || time.Duration(o.Expires) > maxOverride {
		at.at("expires").add("got %v, want how long an override lasts, such as 1h, at most %v", time.Duration(o.Expires), maxOverride)
	}
	if o.Review <= 0 {
		at.at("review").add("missing; say how soon somebody else has to review it, such as 48h")
	}
	known(o.Actions, at.at("actions"))
	globs(o.Targets, at.at("targets"))
}

func (r Rule) validate(at place, groups map[string]People) {
	if strings.TrimSpace(r.Name) == "" {
		at.at("name").add("missing; say in a few words what the rule is for")
	}
	r.When.validate(at.at("when"))
	r.Require.validate(at.at("require"), groups, maxDepth)
}

// actions are the words for what a plan does to an object.
var actions = []string{"create", "update", "replace", "delete", "adopt", "transfer", "takeover"}

func known(list []string, at place) {
	for i, a := range list {
		if !slices.Contains(actions, a) {
			at.at(i).add("got %q, want %s", a, or(actions))
		}
	}
}

func globs(list []string, at place) {
	for i, g := range list {
		if g == "" || !doublestar.ValidatePattern(g) {
			at.at(i).add("got %q, which is not a glob", g)
		}
	}
}

// maxDepth bounds how deep requirements nest.
const maxDepth = 8

func (r Requirement) validate(at place, groups map[string]People, depth int) {
	if depth == 0 {
		at.add("requirements nest deeper than %d levels", maxDepth)
		return
	}
	asks := at.at("approvals").has()
	switch {
	case !asks && !r.From.Empty():
		at.at("approvals").add("missing; say how many people out of from must approve")
	case !asks && len(r.All) == 0 && len(r.Any) == 0:
		at.add("asks for nothing; give it approvals, all or any")
	case asks && r.Approvals < 1:
		at.at("approvals").add("got %d, want 1 or more", r.Approvals)
	}
	r.From.validate(at.at("from"), groups)
	r.From.enough(r.Approvals, at.at("approvals"), groups)
	for i, sub := range r.All {
		sub.validate(at.at("all", i), groups, depth-1)
	}
	for i, sub := range r.Any {
		sub.validate(at.at("any", i), groups, depth-1)
	}
}

// named is validate for people whom files cannot name, and of whom there has to
// be somebody.
func (p People) named(at place, groups map[string]People) {
	if p.CodeOwners {
		at.at("codeowners").add("not possible here; list users, teams or groups")
	} else if p.Empty() {
		at.add("nobody is listed; give users, teams or groups")
	}
	p.validate(at, groups)
}

func (p People) validate(at place, groups map[string]People) {
	for i, t := range p.Teams {
		if _, ok := forge.ParseTeam(t); !ok {
			at.at("teams", i).add("got %q, want organisation/team", t)
		}
	}
	for i, u := range p.Users {
		if !userName.MatchString(u) {
			at.at("users", i).add("got %q, want a login without @, or login#id with the account's number", u)
		}
	}
	for i, g := range p.Groups {
		if _, ok := groups[g]; ok {
			continue
		}
		if len(groups) == 0 {
			at.at("groups", i).add("got %q, but the file lists no groups", g)
			continue
		}
		at.at("groups", i).add("got %q, want one of the file's groups: %s", g, or(sortedKeys(groups)))
	}
}

// enough reports that fewer people are listed than have to approve.
func (p People) enough(wanted int, at place, groups map[string]People) {
	users := slices.Clone(p.Users)
	teams := len(p.Teams)
	for _, g := range p.Groups {
		users = append(users, groups[g].Users...)
		teams += len(groups[g].Teams)
	}
	slices.Sort(users)
	users = slices.Compact(users)
	if len(users) > 0 && len(users) < wanted && teams == 0 && !p.CodeOwners {
		at.add("asks for %d approvals from %d people, which can never be met", wanted, len(users))
	}
}

func (s Selector) validate(at place) {
	for _, l := range []struct {
		field string
		list  []string
	}{
		{"environments", s.Environments}, {"targets", s.Targets}, {"clusters", s.Clusters}, {"kinds", s.Kinds},
		{"apiGroups", s.APIGroups}, {"namespaces", s.Namespaces}, {"names", s.Names}, {"files", s.Files},
	} {
		globs(l.list, at.at(l.field))
	}
	known(s.Actions, at.at("actions"))
	fieldPaths(s.Fields, at.at("fields"))
}

func fieldPaths(list []string, at place) {
	for i, f := range list {
		if _, err := match.ParsePath(f); err != nil {
			at.at(i).add("%v", err)
		}
	}
}
