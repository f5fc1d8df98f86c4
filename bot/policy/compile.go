package policy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"lockkeeper/bot/policy/fact"
)

// Engine is a policy whose patterns were read. It is safe for concurrent use.
type Engine struct {
	policy       Policy
	revision     string
	environments []environment
	rules        []compiledRule
	fallback     requirement
	owners       []owner
}

type environment struct {
	Environment
	approvals *requirement
	rollback  *requirement
	ticket    *regexp.Regexp
	override  people
	driftFrom people
}

type compiledRule struct {
	name    string
	when    selector
	require requirement
	floor   bool
}

type owner struct {
	people
	floor bool
}

type requirement struct {
	demands   bool // see Requirement.Demands
	approvals int
	extra     int // on top of the approvals, and of what code owners ask for
	from      people
	all, any  []requirement
}

// people is a People whose groups were looked up.
type people struct {
	users      []named
	teams      []string
	codeOwners bool
	// writers and admins are anybody with that access.
	writers, admins bool
	// who is how sentences call them.
	who string
	// unknown are groups that do not exist.
	unknown []string
}

// named is "login" or "login#id". An id decides, whatever the login is now. A
// bare login is whoever has it today, which is not sure to be whom the policy's
// author meant (threat 26): it counts only together with write access, which
// the forge keeps by account.
type named struct{ login, id string }

// Compile reads the patterns of a policy. The error lists all that is wrong.
func Compile(p Policy) (*Engine, error) {
	g := &Engine{policy: p, revision: p.Revision()}
	c := compiler{policy: p}
	for _, e := range p.Environments {
		g.environments = append(g.environments, c.environment(e))
	}
	for i, r := range p.Rules {
		g.rules = append(g.rules, c.rule(i, r))
	}
	g.fallback = c.requirement("the default", p.Default, false)
	for _, o := range p.Owners {
		if o.From.Empty() {
			c.add("owners", errors.New("nobody is named"))
			continue
		}
		g.owners = append(g.owners, owner{c.people(o.From, o.Floor), o.Floor})
	}
	if len(g.owners) == 0 {
		g.owners = []owner{{people: people{admins: true, who: "somebody with admin access who did not contribute"}}}
	}
	return g, errors.Join(c.problems...)
}

// compiler collects problems.
type compiler struct {
	policy   Policy
	problems []error
}

func (c *compiler) add(where string, err error) {
	if err != nil {
		c.problems = append(c.problems, fmt.Errorf("%s: %w", where, err))
	}
}

func (c *compiler) rule(i int, r Rule) compiledRule {
	out := compiledRule{name: r.Name, floor: r.Floor}
	if out.name == "" {
		out.name = fmt.Sprintf("rule %d", i+1)
	}
	var err error
	out.when, err = compileSelector(r.When)
	c.add(out.name, err)
	out.require = c.requirement(out.name, r.Require, r.Floor)
	return out
}

func (c *compiler) environment(e Environment) environment {
	out := environment{Environment: e}
	if !doublestar.ValidatePattern(e.Name) {
		c.add("environment "+e.Name, errors.New("the name is not a glob"))
	}
	if e.Approvals != nil {
		q := c.requirement("environment "+e.Name, *e.Approvals, e.Floor)
		out.approvals = &q
	}
	if e.Rollback != nil {
		q := c.requirement("environment "+e.Name+": rollback", *e.Rollback, e.Floor)
		out.rollback = &q
	}
	if e.Drift != nil {
		out.driftFrom = c.people(e.Drift.From, e.Floor)
	}
	if e.Separation != nil {
		for _, r := range e.Separation.Contributors {
			if !slices.Contains(fact.Roles, r) {
				c.add("environment "+e.Name, fmt.Errorf("%q is no role of a contributor", r))
			}
		}
	}
	if e.Ticket != nil {
		var err error
		out.ticket, err = regexp.Compile(`^(?:` + e.Ticket.Pattern + `)$`)
		c.add("environment "+e.Name, err)
	}
	if e.Override != nil {
		out.override = c.people(e.Override.By, e.Floor)
		_, err := compileSelector(Selector{Actions: e.Override.Actions, Targets: e.Override.Targets})
		c.add("environment "+e.Name+": override", err)
	}
	return out
}

func (c *compiler) requirement(where string, r Requirement, floor bool) requirement {
	if r.Approvals < 0 {
		c.add(where, fmt.Errorf("%d approvals cannot be asked for", r.Approvals))
	}
	out := requirement{demands: r.Demands(), approvals: r.Approvals, from: c.people(r.From, floor)}
	for _, part := range r.All {
		out.all = append(out.all, c.requirement(where, part, floor))
	}
	for _, part := range r.Any {
		out.any = append(out.any, c.requirement(where, part, floor))
	}
	return out
}

func (c *compiler) people(p People, floor bool) people {
	out := people{codeOwners: p.CodeOwners, writers: p.Empty(), who: p.String(), teams: slices.Clone(p.Teams)}
	users := slices.Clone(p.Users)
	for _, name := range p.Groups {
		group, ok := c.policy.Group(name, floor)
		if !ok {
			out.unknown = append(out.unknown, name)
		}
		users, out.teams = append(users, group.Users...), append(out.teams, group.Teams...)
	}
	for _, u := range users {
		out.users = append(out.users, parseNamed(u))
	}
	return out
}

func parseNamed(s string) named {
	login, id, ok := strings.Cut(s, "#")
	if ok && id == "" {
		id = "?" // nobody
	}
	return named{login, id}
}
