package policy

import (
	"cmp"
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
	// Users (logins, or login#id) and Teams (org/slug) limit whose approval
	// counts; both empty: anybody with write access.
	Users []string `json:"users,omitempty"`
	Teams []string `json:"teams,omitempty"`
	// Floor marks a rule of the operator.
	Floor bool `json:"floor,omitempty"`
}

// Policy is a compiled policy. Rules for environments that Default does not
// cover come from Rules.
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
	e := evaluation{p: p, f: f, votes: lastVotes(f.Votes), contributors: contributors(p, f)}
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
	return evaluation{p: p, f: f, contributors: contributors(p, f)}.barred(u)
}

// Eligible reports whether an account's approval could count for every rule of
// an environment.
func Eligible(p Policy, f Facts, environment string, u forge.User) bool {
	e := evaluation{p: p, f: f, contributors: contributors(p, f)}
	if e.barred(u) != "" {
		return false
	}
	return !slices.ContainsFunc(p.For(environment), func(r Rule) bool { return !e.eligible(r, u) })
}

type evaluation struct {
	p            Policy
	f            Facts
	votes        []Vote
	contributors map[int64]string
}

func (e evaluation) blocked() []Node {
	var out []Node
	for _, b := range e.f.Blocked {
		out = append(out, Node{Title: "the plan can be carried out", Missing: []string{b}})
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
	for _, v := range e.votes {
		if v.Kind != RequestChanges {
			continue
		}
		if !slices.Contains(e.f.Writers, v.User.ID) {
			n.NotCounted = append(n.NotCounted, fmt.Sprintf("@%s requests changes, without write access to the repository", v.User.Login))
			continue
		}
		n.OK = false
		n.Missing = append(n.Missing, fmt.Sprintf("@%s requests changes", v.User.Login))
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
		if c.Environment == r.Environment {
			digests[c.Digest] = true
		}
	}
	for _, v := range e.votes {
		if v.Kind != Approve {
			continue
		}
		if why := e.discount(r, v, digests); why != "" {
			n.NotCounted = append(n.NotCounted, "@"+v.User.Login+": "+why)
			continue
		}
		n.Met = append(n.Met, fmt.Sprintf("@%s (%s)", v.User.Login, v.Via))
	}
	n.OK = len(n.Met) >= r.Required
	if lack := r.Required - len(n.Met); lack > 0 {
		n.Missing = []string{fmt.Sprintf("%s: %s from %s", r.Environment, count(lack, "more approval", len(n.Met) == 0), who(r))}
	}
	return n
}

// discount says why an approval does not count for a rule, or "".
func (e evaluation) discount(r Rule, v Vote, digests map[string]bool) string {
	switch {
	case v.Void != "":
		return v.Void
	case e.barred(v.User) != "":
		return e.barred(v.User)
	case v.Head != e.f.Pull.Head.SHA:
		return fmt.Sprintf("approved %s, the head is now %s", short(v.Head), short(e.f.Pull.Head.SHA))
	case len(v.Digests) == 0:
		return "approved before a plan was published"
	case v.PolicyRevision != e.f.PolicyRevision:
		return "approved under a policy that has changed since"
	}
	for d := range digests {
		if !slices.Contains(v.Digests, d) {
			return "the plan has changed since that approval"
		}
	}
	if !e.eligible(r, v.User) {
		return "not among " + who(r)
	}
	return ""
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

func (e evaluation) eligible(r Rule, u forge.User) bool {
	if len(r.Users) == 0 && len(r.Teams) == 0 {
		return slices.Contains(e.f.Writers, u.ID)
	}
	named := slices.ContainsFunc(r.Users, func(s string) bool { return matchUser(s, u) })
	return named || slices.ContainsFunc(r.Teams, func(t string) bool { return slices.Contains(e.f.Teams[t], u.ID) })
}

// matchUser compares with "login" or "login#id"; an id decides (threat 26).
func matchUser(s string, u forge.User) bool {
	login, id, hasID := strings.Cut(s, "#")
	if hasID {
		return id == strconv.FormatInt(u.ID, 10)
	}
	return strings.EqualFold(login, u.Login)
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

// lastVotes keeps each account's last vote, in order of the accounts' ids.
func lastVotes(votes []Vote) []Vote {
	sorted := slices.Clone(votes)
	slices.SortFunc(sorted, func(a, b Vote) int {
		return cmp.Or(cmp.Compare(a.User.ID, b.User.ID), a.At.Compare(b.At),
			cmp.Compare(rank(a.Kind), rank(b.Kind)), cmp.Compare(a.ID, b.ID))
	})
	var out []Vote
	for i, v := range sorted {
		if i+1 == len(sorted) || sorted[i+1].User.ID != v.User.ID {
			out = append(out, v)
		}
	}
	return out
}

// rank orders votes of the same second so that the denying one is last.
func rank(k VoteKind) int {
	return slices.Index([]VoteKind{Approve, Withdraw, RequestChanges}, k)
}

func environments(changes []Change) []string {
	seen := map[string]bool{}
	for _, c := range changes {
		seen[c.Environment] = true
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
