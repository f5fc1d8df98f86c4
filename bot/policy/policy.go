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

	"lockkeeper/forge"
)

// Rule asks for approvals of the changes it selects. Every rule that selects a
// change must hold for it.
type Rule struct {
	// Environment selects the changes of one environment.
	Environment string `json:"environment"`
	Required    int    `json:"required"`
	// Users (logins of accounts with write access, or login#id) and Teams
	// (org/slug) limit whose approval counts; both empty: anybody with write
	// access.
	Users []string `json:"users,omitempty"`
	Teams []string `json:"teams,omitempty"`
	// Floor marks a rule of the operator.
	Floor bool `json:"floor,omitempty"`
}

// Policy is a compiled policy. All rules for an environment must hold; Default
// stands in where the repository has no rule for it. A floor is one rule more,
// so that nothing a repository writes can lower it.
type Policy struct {
	Rules []Rule `json:"rules"`
	// Default applies to environments for which no rule of the repository exists.
	Default Rule `json:"default"`
	// ServiceAccounts are account ids that act on behalf of people.
	ServiceAccounts []int64 `json:"serviceAccounts,omitempty"`
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
