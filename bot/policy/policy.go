package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"lockkeeper/bot/policy/calendar"
	"lockkeeper/forge"
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
	Default Rule `json:"default"`
	// Groups are named people. A rule of the operator sees only the operator's.
	Groups []Group `json:"groups,omitempty"`
	// Owners approve changes of policy, targets and CODEOWNERS: each entry on
	// its own. Without any, accounts with admin access do.
	Owners []Owners `json:"owners,omitempty"`
	// ServiceAccounts are account ids that act on behalf of people.
	ServiceAccounts []int64 `json:"serviceAccounts,omitempty"`
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

// Rule asks for approvals of the changes it selects.
type Rule struct {
	Name    string      `json:"name,omitempty"`
	When    Selector    `json:"when,omitzero"`
	Require Requirement `json:"require,omitzero"`
	// Floor marks a rule of the operator.
	Floor bool `json:"floor,omitempty"`

	// Environment, Required, Users and Teams are the short form of an
	// Environment with Approvals.
	Environment string   `json:"environment,omitempty"`
	Required    int      `json:"required,omitempty"`
	Users       []string `json:"users,omitempty"`
	Teams       []string `json:"teams,omitempty"`
}

// Selector picks changes: one that matches every list that is not empty, and
// in each list at least one entry. Environments, Targets, Clusters,
// Namespaces, Names and Files are globs (`*` within a segment, `**` across);
// Kinds and APIGroups are exact but for a lone `*`, and "" or "core" is the core
// group.
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
	// change matches at, above and below that path.
	Fields []string `json:"fields,omitempty"`
	// Files match changed files of the pull and source files of the object. A
	// selector of nothing but files also matches a pull that changes no object.
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
	// Override names who may break the glass. It lifts what this entry and its
	// own side (repository or operator) asks for, never the other side's.
	Override *BreakGlass `json:"override,omitempty"`
}

// Role is a way to contribute to a pull.
type Role string

// The roles.
const (
	Opener    Role = "opener"
	Author    Role = "author"
	Committer Role = "committer"
	CoAuthor  Role = "coauthor"
	Pusher    Role = "pusher"
	Suggester Role = "suggester"
)

// Separation is the segregation of duties. What is left out is not said, and
// means the default where nobody says it; where several say it, and where a
// rule concerns several environments, the strictest holds.
type Separation struct {
	// Contributors are the roles that may not approve; default all.
	Contributors []Role `json:"contributors,omitempty"`
	// ApproverMayApply and ContributorMayApply default to true.
	ApproverMayApply    *bool `json:"approverMayApply,omitempty"`
	ContributorMayApply *bool `json:"contributorMayApply,omitempty"`
	// Signatures asks that the forge verified every commit; default false.
	Signatures *bool `json:"signatures,omitempty"`
	// AllowUnattributable lets commits pass whose people have no account;
	// default false. Where no approval is asked for they always pass.
	AllowUnattributable *bool `json:"allowUnattributable,omitempty"`
	// Digest asks for `/approve <digest>`; default false.
	Digest *bool `json:"digest,omitempty"`
	// KeepOnBaseMerge lets approvals outlive a merge of the base branch that
	// leaves all digests as they were; default false.
	KeepOnBaseMerge *bool `json:"keepOnBaseMerge,omitempty"`
	// OutsideCollaborators lets their approvals count; default false: only
	// those do whom a rule names by login#id.
	OutsideCollaborators *bool `json:"outsideCollaborators,omitempty"`
}

// RequiredCheck has to have succeeded on the head. App pins who wrote it (threat
// 25); 0: anybody, and then all of that name.
type RequiredCheck struct {
	Name string `json:"name"`
	App  int64  `json:"app,omitempty"`
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

// For returns the rules that hold for an environment.
func (p Policy) For(environment string) []Rule {
	var rules []Rule
	own := false
	for _, r := range p.Rules {
		if r.Environment == environment {
			rules = append(rules, r)
			own = own || !r.Floor
		}
	}
	if !own {
		d := p.Default
		d.Environment = environment
		rules = append(rules, d)
	}
	return rules
}

// Teams lists the teams that the rules for these environments name: what has
// to be read from the forge before evaluating.
func (p Policy) Teams(environments []string) []forge.Team {
	seen := map[string]forge.Team{}
	for _, env := range environments {
		for _, r := range p.For(env) {
			for _, t := range r.Teams {
				org, slug, _ := strings.Cut(t, "/")
				seen[t] = forge.Team{Org: org, Slug: slug}
			}
		}
	}
	out := make([]forge.Team, 0, len(seen))
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		out = append(out, seen[name])
	}
	return out
}

// Evaluate judges whether the changes in f may be applied.
func Evaluate(p Policy, f Facts) Verdict {
	e := evaluation{p: p, revision: p.Revision(), f: f, opinions: opinions(f.Votes), contributors: contributors(p, f)}
	root := Node{Title: "may be applied"}
	root.Children = append(root.Children, e.blocked()...)
	root.Children = append(root.Children, e.hold(), e.objections())
	envs := environments(f.Changes)
	if e.asks(envs) {
		root.Children = append(root.Children, e.attribution())
	}
	for _, env := range envs {
		for _, r := range p.For(env) {
			root.Children = append(root.Children, e.rule(r))
		}
	}
	root.OK = !slices.ContainsFunc(root.Children, func(n Node) bool { return !n.OK })
	return Verdict{root}
}

// MayApprove says why an account's approval could not count under any rule for
// these facts, or "" if it could.
func MayApprove(p Policy, f Facts, u forge.User) string {
	e := evaluation{p: p, f: f, contributors: contributors(p, f)}
	reason := e.barred(u)
	if reason != "" {
		return reason
	}
	for _, env := range environments(f.Changes) {
		for _, r := range p.For(env) {
			why := e.ineligible(r, u)
			if why == "" {
				return ""
			}
			if r.Required > 0 {
				reason = why
			}
		}
	}
	return reason
}

// Eligible reports whether an account's approval could count for every rule of
// an environment.
func Eligible(p Policy, f Facts, environment string, u forge.User) bool {
	e := evaluation{p: p, f: f, contributors: contributors(p, f)}
	if e.barred(u) != "" {
		return false
	}
	return !slices.ContainsFunc(p.For(environment), func(r Rule) bool { return e.ineligible(r, u) != "" })
}

type evaluation struct {
	p            Policy
	revision     string
	f            Facts
	opinions     []opinion
	contributors map[int64]string
}

func (e evaluation) blocked() []Node {
	var out []Node
	for _, b := range e.f.Blocked {
		out = append(out, Node{Title: "the plan can be carried out", Missing: []string{b}})
	}
	if e.f.PolicyRevision != e.revision {
		out = append(out, Node{Title: "the facts belong to this policy", Missing: []string{
			"the facts were gathered under another policy; they have to be read again"}})
	}
	return out
}

func (e evaluation) hold() Node {
	n := Node{OK: e.f.Hold == nil, Title: "nobody holds the pull"}
	if h := e.f.Hold; h != nil {
		n.Missing = []string{fmt.Sprintf("@%s holds it%s; `/unhold` lifts that", h.By.Login, because(h.Reason))}
	}
	return n
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return " (" + reason + ")"
}

// objections denies while anybody with write access requests changes; it is
// that person's to lift, by approving, or a dismissal's.
func (e evaluation) objections() Node {
	n := Node{OK: true, Title: "nobody requests changes"}
	for _, o := range e.opinions {
		if !o.objects {
			continue
		}
		if !slices.Contains(e.f.Writers, o.user.ID) {
			n.NotCounted = append(n.NotCounted, fmt.Sprintf("@%s requests changes, without write access to the repository", o.user.Login))
			continue
		}
		n.OK = false
		n.Missing = append(n.Missing, fmt.Sprintf("@%s requests changes", o.user.Login))
	}
	return n
}

// asks reports whether any rule wants an approval.
func (e evaluation) asks(envs []string) bool {
	return slices.ContainsFunc(envs, func(env string) bool {
		return slices.ContainsFunc(e.p.For(env), func(r Rule) bool { return r.Required > 0 })
	})
}

// attribution denies when a commit's author or committer has no account: an
// unknown contributor could be anybody, so nobody is known to be independent.
func (e evaluation) attribution() Node {
	n := Node{OK: true, Title: "every contributor is known"}
	if len(e.f.Commits) == 0 {
		return Node{Title: n.Title, Missing: []string{"the forge lists no commits between the base and the head, so nobody knows whose changes these are"}}
	}
	for _, c := range e.f.Commits {
		unknown := c.Author.ID == 0 || c.Committer.ID == 0 ||
			slices.ContainsFunc(c.CoAuthors, func(u forge.User) bool { return u.ID == 0 })
		if unknown {
			n.OK = false
			n.Missing = append(n.Missing, fmt.Sprintf("commit %s has an author, committer or co-author without an account; add the e-mail address to the account, or amend the commit", short(c.SHA)))
		}
	}
	return n
}

func (e evaluation) rule(r Rule) Node {
	n := Node{Title: title(r)}
	digests := map[string]bool{}
	for _, c := range e.f.Changes {
		if c.in(r.Environment) {
			digests[c.Digest] = true
		}
	}
	for _, o := range e.opinions {
		if v, why := e.counted(r, o, digests); why != "" {
			n.NotCounted = append(n.NotCounted, "@"+o.user.Login+": "+why)
		} else if v != nil {
			n.Met = append(n.Met, fmt.Sprintf("@%s (%s)", v.User.Login, v.Via))
		}
	}
	n.OK = len(n.Met) >= r.Required
	if lack := r.Required - len(n.Met); lack > 0 {
		n.Missing = []string{fmt.Sprintf("%s: %s from %s", r.Environment, count(lack, "more approval", len(n.Met) == 0), who(r))}
	}
	return n
}

// counted finds an account's approval that counts for a rule. If there are
// approvals and none counts, it says why the newest does not.
func (e evaluation) counted(r Rule, o opinion, digests map[string]bool) (*Vote, string) {
	if o.void != nil {
		return nil, o.void.Void
	}
	why := ""
	for i, v := range o.approvals {
		reason := e.discount(r, v, digests)
		if reason == "" {
			return &o.approvals[i], ""
		}
		if i == 0 {
			why = reason
		}
	}
	return nil, why
}

// discount says why an approval does not count for a rule, or "".
func (e evaluation) discount(r Rule, v Vote, digests map[string]bool) string {
	switch why := e.barred(v.User); {
	case why != "":
		return why
	case v.Head != e.f.Pull.Head.SHA:
		return fmt.Sprintf("approved %s, the head is now %s", short(v.Head), short(e.f.Pull.Head.SHA))
	case len(v.Digests) == 0:
		return "approved before a plan was published"
	case v.PolicyRevision != e.revision:
		return "approved under a policy that has changed since"
	}
	for d := range digests {
		if d == "" || !slices.Contains(v.Digests, d) {
			return "the plan has changed since that approval"
		}
	}
	return e.ineligible(r, v.User)
}

func (e evaluation) barred(u forge.User) string {
	switch {
	case u.ID == 0 || u.Type == forge.Deleted:
		return "the account is gone"
	case u.Type != forge.Person:
		return "a bot is not a person"
	case slices.Contains(e.p.ServiceAccounts, u.ID):
		return "a service account is not a person"
	}
	if role, ok := e.contributors[u.ID]; ok {
		return "contributed to this pull (" + role + ")"
	}
	return ""
}

// ineligible says why an account is not among those a rule asks for, or "".
func (e evaluation) ineligible(r Rule, u forge.User) string {
	writes := slices.Contains(e.f.Writers, u.ID)
	if len(r.Users) == 0 && len(r.Teams) == 0 {
		if !writes {
			return "has no write access to the repository"
		}
		return ""
	}
	if slices.ContainsFunc(r.Teams, func(t string) bool { return slices.Contains(e.f.Teams[t], u.ID) }) {
		return ""
	}
	for _, s := range r.Users {
		match, sure := matchUser(s, u)
		if match && (sure || writes) {
			return ""
		}
		if match {
			return "the policy names this login without an account id (" + u.Login + "#" + strconv.FormatInt(u.ID, 10) + "), and it has no write access to the repository"
		}
	}
	return "not among " + who(r)
}

// matchUser compares with "login" or "login#id". An id decides, whatever the
// login is now. A bare login matches whoever has it today, which is not sure to
// be whom the policy's author meant (threat 26): it counts only together with
// write access, which the forge keeps by account.
func matchUser(s string, u forge.User) (match, sure bool) {
	login, id, hasID := strings.Cut(s, "#")
	if hasID {
		return id == strconv.FormatInt(u.ID, 10), true
	}
	return strings.EqualFold(login, u.Login), false
}

// contributors maps account ids to what they did.
func contributors(p Policy, f Facts) map[int64]string {
	out := map[int64]string{}
	add := func(u forge.User, role string) {
		if u.ID == 0 || slices.Contains(p.ServiceAccounts, u.ID) {
			return
		}
		if _, ok := out[u.ID]; !ok {
			out[u.ID] = role
		}
	}
	add(f.Pull.Author, "opened it")
	if f.AskedBy != nil {
		add(*f.AskedBy, "asked for it")
	}
	for _, c := range f.Commits {
		add(c.Author, "author of "+short(c.SHA))
		add(c.Committer, "committer of "+short(c.SHA))
		for _, u := range c.CoAuthors {
			add(u, "co-author of "+short(c.SHA))
		}
	}
	for _, u := range f.Pushers {
		add(u, "pushed to it")
	}
	return out
}

func environments(changes []Change) []string {
	seen := map[string]bool{}
	for _, c := range changes {
		seen[c.Environment] = true
		for _, env := range c.Also {
			seen[env] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

func title(r Rule) string {
	t := fmt.Sprintf("%s: %s from %s", r.Environment, count(r.Required, "approval", true), who(r))
	if r.Required == 0 {
		t = r.Environment + ": no approval needed"
	}
	if r.Floor {
		t += " (the operator's floor)"
	}
	return t
}

func who(r Rule) string {
	var names []string
	for _, u := range r.Users {
		login, _, _ := strings.Cut(u, "#")
		names = append(names, "@"+login)
	}
	names = append(names, r.Teams...)
	if len(names) == 0 {
		return "somebody with write access who did not contribute"
	}
	return strings.Join(names, " or ")
}

func count(n int, noun string, fresh bool) string {
	if fresh {
		noun = strings.TrimPrefix(noun, "more ")
	}
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

func short(sha string) string {
	if len(sha) > 7 {
		return sha[:7]
	}
	return sha
}
