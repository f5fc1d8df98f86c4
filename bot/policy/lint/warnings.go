package lint

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"lockkeeper/bot/policy"
	"lockkeeper/bot/policy/match"
)

// Warning is something that can hardly be meant. Where is a rule, an
// environment, a group or "owners".
type Warning struct {
	Where   string `json:"where"`
	Message string `json:"message"`
}

// String is "where: message".
func (w Warning) String() string { return w.Where + ": " + w.Message }

// Known are the names that a policy can be about, where somebody has them: of
// a repository's targets, their environments and clusters. A list without
// entries is not checked against.
type Known struct {
	Environments, Targets, Clusters []string
}

// Warnings finds what can never match, can never be satisfied, or changes
// nothing, as far as the policy and the names that exist tell. It is for people:
// what cannot be satisfied denies.
func Warnings(p policy.Policy, k Known) []Warning {
	c := checker{p: p}
	if _, err := policy.Compile(p); err != nil {
		for _, line := range strings.Split(err.Error(), "\n") {
			where, message, _ := strings.Cut(line, ": ")
			c.warn(where, "%s", message)
		}
	}
	for _, e := range p.Environments {
		c.environment(e)
		c.unknown("environment "+e.Name, "environments", []string{e.Name}, k.Environments)
	}
	for i, r := range p.Rules {
		where := named(r, i)
		c.selector(where, r.When)
		c.unknown(where, "environments", r.When.Environments, k.Environments)
		c.unknown(where, "targets", r.When.Targets, k.Targets)
		c.unknown(where, "clusters", r.When.Clusters, k.Clusters)
		if !r.Require.Demands() {
			c.warn(where, "asks for no approval")
		}
		c.requirement(where, r.Require, r.Floor)
		c.shadowed(where, i)
	}
	for _, o := range p.Owners {
		c.people("owners", o.From, o.Floor, 1)
		if o.From.CodeOwners {
			c.warn("owners", "code owners cannot own the policy, because it says who they are")
		}
	}
	c.watching(p.Watching)
	c.groups()
	return c.out
}

type checker struct {
	p    policy.Policy
	out  []Warning
	used []string // groups
}

func (c *checker) warn(where, format string, args ...any) {
	w := Warning{where, fmt.Sprintf(format, args...)}
	if !slices.Contains(c.out, w) {
		c.out = append(c.out, w)
	}
}

// unknown warns of patterns that match none of the names there are.
func (c *checker) unknown(where, what string, patterns, known []string) {
	if len(known) == 0 {
		return
	}
	for _, p := range patterns {
		if !slices.ContainsFunc(known, func(k string) bool { return match.Glob(p, k) }) {
			c.warn(where, "%s: %q matches none of %s", what, p, strings.Join(known, ", "))
		}
	}
}

// clusterScoped are common kinds without a namespace.
var clusterScoped = []string{
	"Namespace", "Node", "PersistentVolume", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "StorageClass",
	"PriorityClass", "IngressClass", "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration", "APIService",
}

func (c *checker) selector(where string, s policy.Selector) {
	for _, k := range s.Kinds {
		first, _ := utf8.DecodeRuneInString(k)
		if unicode.IsLower(first) {
			c.warn(where, "can never match kind %q: kinds begin with a capital letter, such as Deployment", k)
		} else if strings.ContainsAny(k, "./") {
			c.warn(where, "can never match kind %q: the API group belongs under apiGroups", k)
		}
	}
	for _, g := range s.APIGroups {
		if strings.Contains(g, "/") {
			c.warn(where, "can never match API group %q: leave out the version", g)
		}
	}
	scoped := func(k string) bool { return slices.Contains(clusterScoped, k) }
	if len(s.Kinds) > 0 && !slices.ContainsFunc(s.Kinds, func(k string) bool { return !scoped(k) }) &&
		len(s.Namespaces) > 0 && !match.Globs(s.Namespaces, "") {
		c.warn(where, "can never match: %s are in no namespace", strings.Join(s.Kinds, ", "))
	}
	for _, f := range s.Files {
		if strings.HasPrefix(f, "/") || strings.HasPrefix(f, "./") {
			c.warn(where, "can never match file %q: paths begin at the root of the repository, without a slash", f)
		}
	}
}

// requirement warns of counts that nobody can reach and of parts that ask for
// nothing.
func (c *checker) requirement(where string, r policy.Requirement, floor bool) {
	if r.Approvals == 0 && !empty(r.From) {
		c.warn(where, "names people and asks for no approval of theirs")
	}
	c.people(where, r.From, floor, r.Approvals)
	for _, q := range r.All {
		c.requirement(where, q, floor)
	}
	for _, q := range r.Any {
		if !q.Demands() {
			c.warn(where, "one way of `any` asks for nothing, so that the others never matter")
		}
		c.requirement(where, q, floor)
	}
}

// people warns of groups that are not there, and of too few people for a count.
func (c *checker) people(where string, from policy.People, floor bool, need int) {
	users, open := slices.Clone(from.Users), len(from.Teams) > 0 || from.CodeOwners || empty(from)
	for _, name := range from.Groups {
		c.used = append(c.used, name)
		g, ok := c.p.Group(name, floor)
		switch {
		case !ok && floor:
			c.warn(where, "the operator's file has no group %q; groups of a repository do not count for a floor", name)
		case !ok:
			c.warn(where, "there is no group %q", name)
		}
		users = append(users, g.Users...)
		open = open || len(g.Teams) > 0
	}
	logins := map[string]bool{}
	for _, u := range users {
		login, id, ok := strings.Cut(u, "#")
		if ok && (id == "" || strings.Trim(id, "0123456789") != "") {
			c.warn(where, "%q can never match: after # comes the number of the account", u)
			continue
		}
		logins[strings.ToLower(login)] = true
	}
	if !open && len(logins) < need {
		c.warn(where, "can never be satisfied: it asks for %s, and names %d", approvals(need), len(logins))
	}
}

// shadowed warns of a rule that asks for nothing that another does not ask.
func (c *checker) shadowed(where string, i int) {
	r := c.p.Rules[i]
	for j, o := range c.p.Rules {
		simple := len(r.Require.All)+len(r.Require.Any) == 0
		same := reflect.DeepEqual(r.Require.From, o.Require.From) && r.Require.Approvals <= o.Require.Approvals
		wider := covers(o.When, r.When)
		if i == j || r.Floor != o.Floor || !wider || !(simple && same || reflect.DeepEqual(r.Require, o.Require)) {
			continue
		}
		if j < i || !reflect.DeepEqual(r.When, o.When) || !reflect.DeepEqual(r.Require, o.Require) {
			c.warn(where, "changes nothing: %s asks for as much, of at least the same changes", named(o, j))
			return
		}
	}
}

// covers reports whether all that o selects is selected by s, as far as the
// lists alone tell.
func covers(s, o policy.Selector) bool {
	within := func(mine, theirs []string) bool {
		return len(mine) == 0 || len(theirs) > 0 && !slices.ContainsFunc(theirs, func(t string) bool { return !slices.Contains(mine, t) })
	}
	return within(s.Environments, o.Environments) && within(s.Targets, o.Targets) && within(s.Clusters, o.Clusters) &&
		within(s.Kinds, o.Kinds) && within(s.APIGroups, o.APIGroups) && within(s.Namespaces, o.Namespaces) &&
		within(s.Names, o.Names) && within(s.Actions, o.Actions) && within(s.Fields, o.Fields) && within(s.Files, o.Files)
}

func (c *checker) environment(e policy.Environment) {
	where := "environment " + e.Name
	if e.Approvals != nil {
		c.requirement(where, *e.Approvals, e.Floor)
	}
	for _, w := range e.Freeze {
		for _, problem := range w.Check() {
			c.warn(where, "freeze %q is always active, because it cannot be read: %s %s", w.Name, problem.Field(), problem.Message)
		}
	}
	if s := e.Soak; s != nil && s.In == e.Name {
		c.warn(where, "can never be satisfied: it has to soak in itself before it is applied")
	}
	if t := e.Ticket; t != nil && t.Pattern == "" {
		c.warn(where, "can never be satisfied: the ticket's pattern is empty")
	}
	if o := e.Override; o != nil {
		c.people(where, o.By, e.Floor, 1)
		switch {
		case empty(o.By):
			c.warn(where, "override names nobody")
		case o.By.CodeOwners:
			c.warn(where, "override: code owners do not count; name people, teams or groups")
		}
		if o.Expires <= 0 {
			c.warn(where, "override expires at once; say for how long it lasts")
		}
	}
	for _, x := range e.Checks {
		if x.App == 0 && x.By == 0 {
			c.warn(where, "check %q counts whoever wrote it; pin its app, or its account with `by`", x.Name)
		}
	}
	c.wayBack(e)
}

// groups warns of groups that are there twice, that nobody uses, and that name
// nobody.
func (c *checker) groups() {
	for i, g := range c.p.Groups {
		where := "group " + g.Name
		c.people(where, g.From, g.Floor, 0)
		if len(g.From.Users)+len(g.From.Teams) == 0 {
			c.warn(where, "names nobody")
		}
		if slices.ContainsFunc(c.p.Groups[:i], func(o policy.Group) bool { return o.Name == g.Name && o.Floor == g.Floor }) {
			c.warn(where, "is there twice; the first one counts")
		}
		if !g.Floor && !slices.Contains(c.used, g.Name) {
			c.warn(where, "is used by no rule")
		}
	}
}

func empty(p policy.People) bool {
	return len(p.Users)+len(p.Teams)+len(p.Groups) == 0 && !p.CodeOwners
}
