// Package rule holds what a policy says, as plain data: who has to agree to
// what, and which conditions have to hold. What it amounts to for a pull is
// worked out by package policy.
package rule

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"lockkeeper/bot/policy/calendar"
)

// Policy is a compiled policy: plain data, so that its JSON is all of it, and
// its Revision covers all of it. Everything that applies must hold; what the
// operator asks for (Floor) is added to what the repository asks for, so that
// nothing a repository writes can lower it.
type Policy struct {
	// Environments carry the approvals and conditions of environments. All that
	// name an environment hold for it.
	Environments []Environment `json:"environments,omitempty"`
	// Rules ask for approvals of the changes they select. All that select a
	// change hold for it.
	Rules []Rule `json:"rules,omitempty"`
	// Default is asked of an environment whose approvals the repository does
	// not mention.
	Default Requirement `json:"default"`
	// Groups are named people. A rule of the operator sees only the operator's.
	Groups []Group `json:"groups,omitempty"`
	// Owners approve changes of policy, targets and CODEOWNERS: each entry on
	// its own. Without any, accounts with admin access do.
	Owners []Owners `json:"owners,omitempty"`
	// Watching is how drift is looked for.
	Watching Watching `json:"drift,omitzero"`
	// ServiceAccounts are account ids that act on behalf of people.
	ServiceAccounts []int64 `json:"serviceAccounts,omitempty"`
	// ServiceNames are names or e-mail addresses that tools write into co-author
	// trailers; a co-author without an account who is called so is nobody.
	ServiceNames []string `json:"serviceNames,omitempty"`
}

// Group is a named group of people; Floor marks one of the operator.
type Group struct {
	Name  string `json:"name"`
	From  People `json:"from"` // without Groups and CodeOwners
	Floor bool   `json:"floor,omitempty"`
}

// Owners are whose approval a change of the policy needs.
type Owners struct {
	From  People `json:"from"` // without CodeOwners
	Floor bool   `json:"floor,omitempty"`
}

// People limits whose approval counts; all empty: anybody with write access.
type People struct {
	// Users are logins of accounts with write access, or "login#id".
	Users []string `json:"users,omitempty"`
	// Teams are "org/slug".
	Teams []string `json:"teams,omitempty"`
	// Groups are names of Policy.Groups.
	Groups []string `json:"groups,omitempty"`
	// CodeOwners adds, file by file, the owners of the touched files.
	CodeOwners bool `json:"codeOwners,omitempty"`
}

// Requirement is what a rule asks for: all of its parts.
type Requirement struct {
	// Approvals is how many different people, out of From, have to approve.
	Approvals int    `json:"approvals,omitempty"`
	From      People `json:"from,omitzero"`
	// All have to hold, and of Any, if it lists something, one.
	All []Requirement `json:"all,omitempty"`
	Any []Requirement `json:"any,omitempty"`
}

// Demands reports whether no approval at all would be too few.
func (r Requirement) Demands() bool {
	lax := func(q Requirement) bool { return !q.Demands() }
	return r.Approvals > 0 || slices.ContainsFunc(r.All, Requirement.Demands) || len(r.Any) > 0 && !slices.ContainsFunc(r.Any, lax)
}

// Rule asks for approvals of the changes it selects.
type Rule struct {
	Name    string      `json:"name,omitempty"`
	When    Selector    `json:"when,omitzero"`
	Require Requirement `json:"require,omitzero"`
	// Floor marks a rule of the operator.
	Floor bool `json:"floor,omitempty"`
}

// Selector picks changes: one that matches every list that is not empty, and
// in each list at least one entry. Entries are globs (`*` within a segment, `**`
// across) but for Actions and Fields; the core API group is "" or "core".
type Selector struct {
	Environments []string `json:"environments,omitempty"`
	Targets      []string `json:"targets,omitempty"`
	Clusters     []string `json:"clusters,omitempty"`
	Kinds        []string `json:"kinds,omitempty"`
	APIGroups    []string `json:"apiGroups,omitempty"`
	Namespaces   []string `json:"namespaces,omitempty"`
	Names        []string `json:"names,omitempty"`
	// Actions are create, update, replace, delete, adopt, transfer, takeover.
	Actions []string `json:"actions,omitempty"`
	// Fields are paths such as `spec.template.spec.containers[*].image`. A
	// change matches at, above and below that path, and so do a creation, a
	// replacement and a deletion that list no fields.
	Fields []string `json:"fields,omitempty"`
	// Files match changed files of the pull and source files of the object. A
	// selector of nothing but files concerns all changes of the pull, and a pull
	// that changes no object too.
	Files []string `json:"files,omitempty"`
}

// Environment is what one environment asks for besides Policy.Rules.
type Environment struct {
	// Name is the environment's, or a glob.
	Name  string `json:"name"`
	Floor bool   `json:"floor,omitempty"`
	// Approvals of all its changes; nil leaves Policy.Default in place.
	Approvals  *Requirement `json:"approvals,omitempty"`
	Separation *Separation  `json:"separation,omitempty"`
	// Freeze are windows in which nothing is applied.
	Freeze []calendar.Window `json:"freeze,omitempty"`
	Checks []RequiredCheck   `json:"checks,omitempty"`
	// MinimumAge is how long a plan has to have been published.
	MinimumAge time.Duration `json:"minimumAge,omitempty"`
	Soak       *Soak         `json:"soak,omitempty"`
	Ticket     *TicketRule   `json:"ticket,omitempty"`
	// Override names who may break the glass. That of the operator lifts what
	// the environment asks for; that of a repository, what the repository asks
	// for, and never what the operator does.
	Override *BreakGlass `json:"override,omitempty"`
	Drift    *Drift      `json:"drift,omitempty"`
	// Rollback may be asked of a pure rollback in place of Approvals. That of the
	// operator without Approvals is the least that a repository's may ask.
	Rollback *Requirement `json:"rollback,omitempty"`
}

// RequiredCheck has to have succeeded on the head. App or By pins who wrote it, an
// app or an account (threat 25); 0: anybody, and then all of that name.
type RequiredCheck struct {
	Name string `json:"name"`
	App  int64  `json:"app,omitempty"`
	By   int64  `json:"by,omitempty"`
}

// String is the name, and who is pinned.
func (c RequiredCheck) String() string {
	switch {
	case c.App != 0:
		return fmt.Sprintf("%s (app %d)", c.Name, c.App)
	case c.By != 0:
		return fmt.Sprintf("%s (account %d)", c.Name, c.By)
	}
	return c.Name
}

// Soak asks that the pull was applied in another environment, and has been
// healthy there for a time.
type Soak struct {
	In  string        `json:"in"`
	For time.Duration `json:"for"`
	// AllowUntouched lets a pull pass that changes nothing there.
	AllowUntouched bool `json:"allowUntouched,omitempty"`
}

// TicketRule asks for an external change ticket.
type TicketRule struct {
	// Pattern is a regular expression for the whole ID.
	Pattern string `json:"pattern"`
	// Window asks for a ticket with a start and an end.
	Window bool `json:"window,omitempty"`
}

// BreakGlass is who may override approvals and conditions, and how far.
type BreakGlass struct {
	By People `json:"by"` // without CodeOwners; nobody if empty
	// Expires is how long an override lasts, Review when its review is due.
	Expires time.Duration `json:"expires"`
	Review  time.Duration `json:"review"`
	// Actions and Targets (globs) limit what it can be used for; empty: all.
	Actions []string `json:"actions,omitempty"`
	Targets []string `json:"targets,omitempty"`
}

// Revision is a digest of the policy: approvals given under another one do not
// count.
func (p Policy) Revision() string {
	b, err := json.Marshal(p)
	if err != nil { // plain data cannot fail to marshal
		return "unknown"
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Empty reports whether nobody is named.
func (p People) Empty() bool {
	return len(p.Users)+len(p.Teams)+len(p.Groups) == 0 && !p.CodeOwners
}

// String is how sentences call these people.
func (p People) String() string {
	if p.Empty() {
		return "somebody with write access who did not contribute"
	}
	var names []string
	for _, u := range p.Users {
		login, _, _ := strings.Cut(u, "#")
		names = append(names, "@"+login)
	}
	names = append(names, p.Teams...)
	for _, name := range p.Groups {
		names = append(names, "group "+name)
	}
	if p.CodeOwners {
		names = append(names, CodeOwners)
	}
	return strings.Join(names, " or ")
}

// CodeOwners is how sentences call code owners.
const CodeOwners = "the code owners"

// Group finds a group. The operator's rules see only the operator's groups, so
// that no repository decides who is meant; the repository's rules see its own
// before the operator's.
func (p Policy) Group(name string, floor bool) (People, bool) {
	for _, operators := range []bool{false, true} {
		if floor && !operators {
			continue
		}
		for _, g := range p.Groups {
			if g.Name == name && g.Floor == operators {
				return g.From, true
			}
		}
	}
	return People{}, false
}

// Tool reports whether a co-author without an account is a configured tool.
func (p Policy) Tool(name string) bool {
	return slices.ContainsFunc(p.ServiceNames, func(s string) bool { return s != "" && strings.EqualFold(s, name) })
}
