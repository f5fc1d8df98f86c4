package policy_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"lockkeeper/bot/policy"
	"lockkeeper/bot/policy/calendar"
	"lockkeeper/cluster"
	"lockkeeper/forge"
)

var (
	ann = forge.User{ID: 1, Login: "ann", Type: forge.Person} // opened the pull
	bob = forge.User{ID: 2, Login: "bob", Type: forge.Person} // in acme/platform
	cho = forge.User{ID: 3, Login: "cho", Type: forge.Person}
	eve = forge.User{ID: 4, Login: "eve", Type: forge.Person} // no write access
	dev = forge.User{ID: 5, Login: "dev", Type: forge.Person} // wrote a commit
	app = forge.User{ID: 6, Login: "app[bot]", Type: forge.Bot}
	web = forge.User{ID: 7, Login: "web-flow", Type: forge.Person} // service account

	noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

const (
	head   = "1111111111111111111111111111111111111111"
	before = "2222222222222222222222222222222222222222"
)

// onePolicy asks for one approval in production.
func onePolicy(r rule) policy.Policy {
	r.Environment = "production"
	return of(1, r)
}

// rule is the short form of what an environment asks for.
type rule struct {
	Environment  string
	Required     int
	Users, Teams []string
	Floor        bool
}

// of is a policy of such rules; environments that none names ask for default.
func of(standard int, rules ...rule) policy.Policy {
	p := policy.Policy{Default: policy.Requirement{Approvals: standard}, ServiceAccounts: []int64{web.ID}}
	for _, r := range rules {
		p.Environments = append(p.Environments, policy.Environment{Name: r.Environment, Floor: r.Floor,
			Approvals: &policy.Requirement{Approvals: r.Required, From: policy.People{Users: r.Users, Teams: r.Teams}}})
	}
	return p
}

// factsFor is a pull of ann with a commit of dev, and one change in production.
func factsFor(p policy.Policy, votes ...policy.Vote) policy.Facts {
	f := policy.Facts{
		Pull: policy.Pull{
			Repo: forge.RepoRef{ID: 9, Owner: "acme", Name: "shop"}, Number: 12, Author: ann,
			Base: forge.Branch{Name: "main", SHA: before, RepoID: 9}, Head: forge.Branch{Name: "change", SHA: head, RepoID: 9},
		},
		Commits: []policy.Commit{{SHA: head, Author: dev, Committer: web}},
		Teams:   map[string][]int64{"acme/platform": {bob.ID}},
		Writers: []int64{ann.ID, bob.ID, cho.ID, dev.ID, app.ID, web.ID},
		Changes: []policy.Change{change("production", "d1")},
		Votes:   votes, PolicyRevision: p.Revision(),
	}
	return f
}

func change(environment, digest string) policy.Change {
	return policy.Change{
		Target: "shop", Environment: environment, Cluster: "main",
		Ref: cluster.Ref{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"}, Action: cluster.Update,
		Fields: []string{"spec.replicas"}, Digest: digest,
	}
}

// approval is a good one, given at noon after everything was published.
func approval(p policy.Policy, u forge.User, edit ...func(*policy.Vote)) policy.Vote {
	v := policy.Vote{
		User: u, Kind: policy.Approve, Via: "command", ID: 100 + u.ID, At: noon, Head: head,
		Digests: []string{"d1", "d2"}, PolicyRevision: p.Revision(),
	}
	for _, e := range edit {
		e(&v)
	}
	return v
}

func at(seconds int) func(*policy.Vote) {
	return func(v *policy.Vote) { v.At = noon.Add(time.Duration(seconds) * time.Second) }
}

func as(k policy.VoteKind) func(*policy.Vote) { return func(v *policy.Vote) { v.Kind = k } }

func by(via string) func(*policy.Vote) { return func(v *policy.Vote) { v.Via = via } }

// said is everything a verdict tells, for searching.
func said(v policy.Verdict) string {
	var lines []string
	var walk func(n policy.Node)
	walk = func(n policy.Node) {
		lines = append(lines, n.Title)
		lines = slices.Concat(lines, n.Met, n.Missing, n.NotCounted)
		for _, c := range n.Children {
			walk(c)
		}
	}
	walk(v.Node)
	return strings.Join(lines, "\n")
}

func TestRulesOfCounting(t *testing.T) {
	team := rule{Required: 1, Teams: []string{"acme/platform"}}
	anybody := rule{Required: 1}
	type vote = policy.Vote
	edited := func(v *vote) { v.Void = "the comment that approved was edited" }
	tests := []struct {
		name  string
		rule  rule
		votes func(p policy.Policy) []vote
		facts func(f *policy.Facts)
		allow bool
		tells string // part of what the verdict says
	}{
		{name: "nobody approved", rule: anybody, tells: "production: 1 approval from somebody with write access"},
		{name: "no approval needed", rule: rule{}, allow: true, tells: "no approval needed"},
		{name: "approved", rule: anybody, allow: true, tells: "@bob (command)",
			votes: func(p policy.Policy) []vote { return []vote{approval(p, bob)} }},
		{name: "approved by review", rule: anybody, allow: true, tells: "@bob (review)",
			votes: func(p policy.Policy) []vote { return []vote{approval(p, bob, by("review"))} }},
		{name: "one of two", rule: rule{Required: 2}, tells: "production: 1 more approval from",
			votes: func(p policy.Policy) []vote { return []vote{approval(p, bob)} }},
		{name: "two of two", rule: rule{Required: 2}, allow: true,
			votes: func(p policy.Policy) []vote { return []vote{approval(p, bob), approval(p, cho)} }},
		{name: "one person twice is one person", rule: rule{Required: 2}, tells: "1 more approval",
			votes: func(p policy.Policy) []vote {
				return []vote{approval(p, bob), approval(p, bob, at(5), by("review"))}
			}},
		{name: "the opener", rule: anybody, tells: "contributed to this pull (opened it)",
			votes: func(p policy.Policy) []vote { return []vote{approval(p, ann)} }},
		{name: "the author of a commit", rule: anybody, tells: "author of 1111111",
			votes: func(p policy.Policy) []vote { return []vote{approval(p, dev)} }},
		{name: "the committer", rule: anybody, tells: "committer of 1111111",
			votes: func(p policy.Policy) []vote { return []vote{approval(p, bob)} },
			facts: func(f *policy.Facts) { f.Commits[0].Committer = bob }},
		{name: "a co-author", rule: anybody, tells: "co-author of 1111111",
			votes: func(p policy.Policy) []vote { return []vote{approval(p, bob)} },
			facts: func(f *policy.Facts) { f.Commits[0].CoAuthors = []forge.User{cho, bob} }},
		{name: "a pusher", rule: anybody, tells: "pushed to it",
			votes: func(p policy.Policy) []vote { return []vote{approval(p, bob)} },
			facts: func(f *policy.Facts) { f.Pushers = []forge.User{bob} }},
		{name: "who asked for it", rule: anybody, tells: "asked for it",
			votes: func(p policy.Policy) []vote { return []vote{approval(p, bob)} },
			facts: func(f *policy.Facts) { f.AskedBy = &bob }},
		{name: "the forge's web committer is nobody", rule: anybody, tells: "a service account is not a person",
			votes: func(p policy.Policy) []vote { return []vote{approval(p, web)} }},
		{name: "a bot", rule: anybody, tells: "a bot is not a person",
			votes: func(p policy.Policy) []vote { return []vote{approval(p, app)} }},
		{name: "an account of unknown type", rule: anybody, tells: "a bot is not a person",
			votes: func(p policy.Policy) []vote {
				return []vote{approval(p, forge.User{ID: bob.ID, Login: "bob"})}
			}},
		{name: "a deleted account", rule: anybody, tells: "the account is gone",
			votes: func(p policy.Policy) []vote {
				return []vote{approval(p, forge.User{ID: bob.ID, Login: "ghost", Type: forge.Deleted})}
			}},
		{name: "an account without a number", rule: anybody, tells: "the account is gone",
			votes: func(p policy.Policy) []vote {
				return []vote{approval(p, forge.User{Login: "bob", Type: forge.Person})}
			}},
		{name: "no write access", rule: anybody, tells: "has no write access", // threat 22
			votes: func(p policy.Policy) []vote { return []vote{approval(p, eve)} }},
		{name: "in the team", rule: team, allow: true,
			votes: func(p policy.Policy) []vote { return []vote{approval(p, bob)} }},
		{name: "not in the team", rule: team, tells: "@cho: not among acme/platform",
			votes: func(p policy.Policy) []vote { return []vote{approval(p, cho)} }},
		{name: "a team that is not there has no members", rule: rule{Required: 1, Teams: []string{"acme/gone"}}, tells: "not among acme/gone",
			votes: func(p policy.Policy) []vote { return []vote{approval(p, bob)} }},
		{name: "named by login", rule: rule{Required: 1, Users: []string{"BOB"}}, allow: true,
			votes: func(p policy.Policy) []vote { return []vote{approval(p, bob)} }},
		{name: "named by login and id", rule: rule{Required: 1, Users: []string{"robert#2"}}, allow: true,
			votes: func(p policy.Policy) []vote { return []vote{approval(p, bob)} }},
		{name: "the login was registered again", rule: rule{Required: 1, Users: []string{"bob#77"}}, tells: "not among @bob", // threat 26
			votes: func(p policy.Policy) []vote { return []vote{approval(p, bob)} }},
		{name: "a bare login without write access", rule: rule{Required: 1, Users: []string{"eve"}}, tells: "without an account id (eve#4)", // threat 26
			votes: func(p policy.Policy) []vote { return []vote{approval(p, eve)} }},
		{name: "named by id without write access", rule: rule{Required: 1, Users: []string{"eve#4"}}, allow: true,
			votes: func(p policy.Policy) []vote { return []vote{approval(p, eve)} }},
		{name: "an id is not a prefix", rule: rule{Required: 1, Users: []string{"bob#"}}, tells: "not among",
			votes: func(p policy.Policy) []vote { return []vote{approval(p, bob)} }},
		{name: "user or team", rule: rule{Required: 2, Users: []string{"cho"}, Teams: []string{"acme/platform"}}, allow: true,
			votes: func(p policy.Policy) []vote { return []vote{approval(p, bob), approval(p, cho)} }},
		{name: "for an older head", rule: anybody, tells: "approved 2222222, the head is now 1111111", // threats 16, 17
			votes: func(p policy.Policy) []vote {
				return []vote{approval(p, bob, func(v *vote) { v.Head = before })}
			}},
		{name: "before anything was published", rule: anybody, tells: "before a plan was published", // threat 32
			votes: func(p policy.Policy) []vote {
				return []vote{approval(p, bob, func(v *vote) { v.Digests = nil })}
			}},
		{name: "for another plan", rule: anybody, tells: "the plan has changed since", // threat 32
			votes: func(p policy.Policy) []vote {
				return []vote{approval(p, bob, func(v *vote) { v.Digests = []string{"d0", "d2"} })}
			}},
		{name: "for a part of the plan", rule: anybody, tells: "the plan has changed since",
			votes: func(p policy.Policy) []vote {
				return []vote{approval(p, bob, func(v *vote) { v.Digests = []string{"d1"} })}
			},
			facts: func(f *policy.Facts) { f.Changes = append(f.Changes, change("production", "d2")) }},
		{name: "for more than is left", rule: anybody, allow: true,
			votes: func(p policy.Policy) []vote { return []vote{approval(p, bob)} }},
		{name: "a change without a digest was shown to nobody", rule: anybody, tells: "the plan has changed since",
			votes: func(p policy.Policy) []vote {
				return []vote{approval(p, bob, func(v *vote) { v.Digests = []string{"", "d1"} })}
			},
			facts: func(f *policy.Facts) { f.Changes = append(f.Changes, change("production", "")) }},
		{name: "under another policy", rule: anybody, tells: "under a policy that has changed",
			votes: func(p policy.Policy) []vote {
				return []vote{approval(p, bob, func(v *vote) { v.PolicyRevision = "another" })}
			}},
		{name: "in an edited comment", rule: anybody, tells: "@bob: the comment that approved was edited", // threat 11
			votes: func(p policy.Policy) []vote { return []vote{approval(p, bob, edited)} }},
		{name: "an edited comment takes earlier approvals along", rule: anybody, tells: "was edited", // threat 11
			votes: func(p policy.Policy) []vote {
				return []vote{approval(p, bob), approval(p, bob, at(9), edited)}
			}},
		{name: "taken back", rule: anybody, tells: "1 approval",
			votes: func(p policy.Policy) []vote {
				return []vote{approval(p, bob), approval(p, bob, at(9), as(policy.Withdraw))}
			}},
		{name: "taken back in a comment that was edited since", rule: anybody, tells: "1 approval", // threat 11
			votes: func(p policy.Policy) []vote {
				return []vote{approval(p, bob), approval(p, bob, at(9), as(policy.Withdraw), edited)}
			}},
		{name: "given again", rule: anybody, allow: true,
			votes: func(p policy.Policy) []vote {
				return []vote{approval(p, bob, at(12)), approval(p, bob, at(9), as(policy.Withdraw))}
			}},
		{name: "given and taken back in the same second", rule: anybody, tells: "1 approval",
			votes: func(p policy.Policy) []vote {
				return []vote{approval(p, bob), approval(p, bob, as(policy.Withdraw))}
			}},
		{name: "a stale review after a good approval", rule: anybody, allow: true,
			votes: func(p policy.Policy) []vote {
				return []vote{approval(p, bob), approval(p, bob, at(9), by("review"), func(v *vote) { v.Head = before })}
			}},
		{name: "changes requested by another", rule: anybody, tells: "@cho requests changes",
			votes: func(p policy.Policy) []vote {
				return []vote{approval(p, bob), approval(p, cho, as(policy.RequestChanges), by("review"))}
			}},
		{name: "changes requested after the own approval", rule: anybody, tells: "@bob requests changes",
			votes: func(p policy.Policy) []vote {
				return []vote{approval(p, bob), approval(p, bob, at(9), as(policy.RequestChanges), by("review"))}
			}},
		{name: "changes requested in the second of the own approval", rule: anybody, tells: "@bob requests changes",
			votes: func(p policy.Policy) []vote {
				return []vote{approval(p, bob), approval(p, bob, as(policy.RequestChanges), by("review"))}
			}},
		{name: "changes requested, then approved", rule: anybody, allow: true,
			votes: func(p policy.Policy) []vote {
				return []vote{approval(p, bob, at(9)), approval(p, bob, as(policy.RequestChanges), by("review"))}
			}},
		{name: "changes requested, then dismissed", rule: anybody, allow: true,
			votes: func(p policy.Policy) []vote {
				return []vote{approval(p, bob), approval(p, cho, as(policy.Withdraw), by("review"))}
			}},
		{name: "taking back an approval lifts no objection", rule: rule{}, tells: "@bob requests changes",
			votes: func(p policy.Policy) []vote {
				return []vote{approval(p, bob, as(policy.RequestChanges), by("review")), approval(p, bob, at(9), as(policy.Withdraw))}
			}},
		{name: "an edited approval lifts no objection", rule: rule{}, tells: "@bob requests changes", // threat 11
			votes: func(p policy.Policy) []vote {
				return []vote{approval(p, bob, as(policy.RequestChanges), by("review")), approval(p, bob, at(9), edited)}
			}},
		{name: "a stranger's request for changes is shown and does not block", rule: rule{}, allow: true, tells: "@eve requests changes, without write access",
			votes: func(p policy.Policy) []vote {
				return []vote{approval(p, eve, as(policy.RequestChanges), by("review"))}
			}},
		{name: "the opener may object", rule: rule{}, tells: "@ann requests changes",
			votes: func(p policy.Policy) []vote { return []vote{approval(p, ann, as(policy.RequestChanges))} }},
		{name: "an author without an account", rule: anybody, tells: "commit 1111111 has an author",
			votes: func(p policy.Policy) []vote { return []vote{approval(p, bob)} },
			facts: func(f *policy.Facts) { f.Commits[0].Author = forge.User{} }},
		{name: "a co-author without an account", rule: anybody, tells: "commit 1111111 has an author",
			votes: func(p policy.Policy) []vote { return []vote{approval(p, bob)} },
			facts: func(f *policy.Facts) { f.Commits[0].CoAuthors = []forge.User{{Login: "x@example.com"}} }},
		{name: "an unknown author matters only where approvals do", rule: rule{}, allow: true,
			facts: func(f *policy.Facts) { f.Commits[0].Author = forge.User{} }},
		{name: "no commits at all", rule: anybody, tells: "lists no commits", // threat 20
			votes: func(p policy.Policy) []vote { return []vote{approval(p, bob)} },
			facts: func(f *policy.Facts) { f.Commits = nil }},
		{name: "held", rule: anybody, tells: "@cho holds it (the sale); `/unhold` lifts that",
			votes: func(p policy.Policy) []vote { return []vote{approval(p, bob)} },
			facts: func(f *policy.Facts) { f.Hold = &policy.Hold{By: cho, Reason: "the sale"} }},
		{name: "blocked", rule: rule{}, tells: "shop: Service shop/web is outside",
			facts: func(f *policy.Facts) { f.Blocked = []string{"shop: Service shop/web is outside"} }},
		{name: "facts of another policy", rule: rule{}, tells: "gathered under another policy",
			facts: func(f *policy.Facts) { f.PolicyRevision = "another" }},
		{name: "nothing to apply", rule: anybody, allow: true, facts: func(f *policy.Facts) { f.Changes = nil }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := onePolicy(tt.rule)
			f := factsFor(p)
			if tt.votes != nil {
				f.Votes = tt.votes(p)
			}
			if tt.facts != nil {
				tt.facts(&f)
			}
			v := policy.Evaluate(p, f)
			if v.OK != tt.allow {
				t.Errorf("OK is %v, want %v:\n%s", v.OK, tt.allow, said(v))
			}
			if !strings.Contains(said(v), tt.tells) {
				t.Errorf("the verdict does not say %q:\n%s", tt.tells, said(v))
			}
			if !v.OK && len(v.AllMissing()) == 0 {
				t.Errorf("a denial without anything missing:\n%s", said(v))
			}
		})
	}
}

func TestEveryRuleForTheEnvironmentMustHold(t *testing.T) {
	own := rule{Environment: "production"}
	floor := rule{Environment: "production", Required: 1, Teams: []string{"acme/platform"}, Floor: true}
	p := of(1, own, floor)
	f := factsFor(p, approval(p, cho))
	v := policy.Evaluate(p, f)
	if v.OK {
		t.Errorf("a repository lowered the operator's floor:\n%s", said(v))
	}
	if want := "the operator's floor"; !strings.Contains(said(v), want) {
		t.Errorf("the verdict does not name %q:\n%s", want, said(v))
	}
	f.Votes = append(f.Votes, approval(p, bob))
	if v := policy.Evaluate(p, f); !v.OK {
		t.Errorf("denied though floor and rule hold:\n%s", said(v))
	}
}

func TestEnvironmentsAreJudgedApart(t *testing.T) {
	p := of(2, rule{Environment: "staging"}, rule{Environment: "production", Required: 1})
	f := factsFor(p, approval(p, bob))
	f.Changes = []policy.Change{change("staging", "never seen"), change("production", "d1")}
	if v := policy.Evaluate(p, f); !v.OK {
		t.Errorf("what staging changes concerned production:\n%s", said(v))
	}
	f.Changes = append(f.Changes, change("unheard of", "d2"))
	v := policy.Evaluate(p, f)
	if v.OK || !strings.Contains(said(v), "unheard of: 1 more approval") {
		t.Errorf("an environment without rules does not ask for the default:\n%s", said(v))
	}
}

func TestChangeThatLeavesAnEnvironmentNeedsItsRulesToo(t *testing.T) {
	p := of(0, rule{Environment: "production", Required: 1, Teams: []string{"acme/platform"}}, rule{Environment: "staging"})
	f := factsFor(p, approval(p, cho))
	f.Changes = []policy.Change{change("staging", "d1")}
	if v := policy.Evaluate(p, f); !v.OK {
		t.Errorf("staging asks for nobody:\n%s", said(v))
	}
	f.Changes[0].Also = []string{"production"}
	v := policy.Evaluate(p, f)
	if v.OK || !strings.Contains(said(v), "production: 1 approval from acme/platform") {
		t.Errorf("production was called staging, and its rules were gone:\n%s", said(v))
	}
	f.Votes = []policy.Vote{approval(p, bob)}
	if v := policy.Evaluate(p, f); !v.OK {
		t.Errorf("denied though production's team approved:\n%s", said(v))
	}
}

func TestFloorAloneKeepsTheDefaultRule(t *testing.T) {
	p := of(2, rule{Environment: "production", Required: 1, Floor: true})
	if v := policy.Evaluate(p, factsFor(p, approval(p, bob))); v.OK {
		t.Errorf("a floor replaced the default instead of adding to it:\n%s", said(v))
	}
}

func TestRevisionCoversEveryField(t *testing.T) {
	base := onePolicy(rule{Required: 1})
	edits := map[string]func(p *policy.Policy){
		"required": func(p *policy.Policy) { p.Environments[0].Approvals.Approvals = 0 },
		"users":    func(p *policy.Policy) { p.Environments[0].Approvals.From.Users = []string{"eve"} },
		"teams":    func(p *policy.Policy) { p.Environments[0].Approvals.From.Teams = []string{"acme/all"} },
		"floor":    func(p *policy.Policy) { p.Environments[0].Floor = true },
		"freeze":   func(p *policy.Policy) { p.Environments[0].Freeze = []calendar.Window{{Name: "sale"}} },
		"rules":    func(p *policy.Policy) { p.Rules = []policy.Rule{{Name: "a"}} },
		"default":  func(p *policy.Policy) { p.Default.Approvals = 0 },
		"service":  func(p *policy.Policy) { p.ServiceAccounts = nil },
	}
	for name, edit := range edits {
		p := onePolicy(rule{Required: 1})
		edit(&p)
		if p.Revision() == base.Revision() {
			t.Errorf("a change of %s does not show in the revision", name)
		}
	}
	if onePolicy(rule{Required: 1}).Revision() != base.Revision() {
		t.Error("the same policy has two revisions")
	}
}

func TestTeamsToReadAreThoseOfTheEnvironments(t *testing.T) {
	p := of(1,
		rule{Environment: "staging", Teams: []string{"acme/devs"}},
		rule{Environment: "production", Teams: []string{"acme/platform", "acme/devs"}},
		rule{Environment: "production", Teams: []string{"acme/ops"}, Floor: true},
	)
	p.Default.From.Teams = []string{"acme/everybody"}
	want := []forge.Team{{Org: "acme", Slug: "devs"}, {Org: "acme", Slug: "ops"}, {Org: "acme", Slug: "platform"}}
	if got := p.Teams([]string{"production"}); !reflect.DeepEqual(got, want) {
		t.Errorf("teams of production: %v, want %v", got, want)
	}
	if got := p.Teams([]string{"new"}); !reflect.DeepEqual(got, []forge.Team{{Org: "acme", Slug: "everybody"}}) {
		t.Errorf("teams of an environment without rules: %v", got)
	}
}

func TestEligibleNeedsEveryRule(t *testing.T) {
	p := of(0,
		rule{Environment: "production", Required: 1},
		rule{Environment: "production", Required: 1, Teams: []string{"acme/platform"}, Floor: true},
	)
	f := factsFor(p)
	for u, want := range map[forge.User]bool{bob: true, cho: false, ann: false, eve: false, app: false} {
		if got := policy.Eligible(p, f, "production", u); got != want {
			t.Errorf("eligible(%s) is %v, want %v", u.Login, got, want)
		}
	}
	if why := policy.MayApprove(p, f, dev); !strings.Contains(why, "author of 1111111") {
		t.Errorf("the author may not approve because of %q", why)
	}
	if why := policy.MayApprove(p, f, cho); why != "" {
		t.Errorf("cho may not approve: %s", why)
	}
}

func TestSomebodyWhomNoRuleCountsMayNotApprove(t *testing.T) {
	p := onePolicy(rule{Required: 1, Teams: []string{"acme/platform"}})
	f := factsFor(p)
	if why := policy.MayApprove(p, f, eve); !strings.Contains(why, "acme/platform") {
		t.Errorf("eve may not approve because of %q, want that she is not in acme/platform", why)
	}
	if why := policy.MayApprove(p, f, bob); why != "" {
		t.Errorf("bob may not approve: %s", why)
	}
}

func TestWhatTwoRulesAskAlikeIsMissingOnce(t *testing.T) {
	r := rule{Environment: "production", Required: 1, Teams: []string{"acme/platform"}}
	floor := r
	floor.Floor = true
	p := of(0, r, floor)
	if got := policy.Evaluate(p, factsFor(p)).AllMissing(); len(got) != 1 {
		t.Errorf("missing are %q, want one", got)
	}
}

func TestRecordedFactsGiveTheSameVerdict(t *testing.T) {
	p := onePolicy(rule{Required: 2, Teams: []string{"acme/platform"}, Users: []string{"cho#3"}})
	f := factsFor(p, approval(p, bob), approval(p, cho, func(v *policy.Vote) { v.Void = "edited" }), approval(p, eve, as(policy.RequestChanges)))
	f.AskedBy, f.Hold, f.Pushers = &eve, &policy.Hold{By: cho, Reason: "sale"}, []forge.User{dev}
	f.Blocked = []string{"a problem"}
	doc, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	var back policy.Facts
	if err := json.Unmarshal(doc, &back); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(f, back) {
		t.Errorf("facts changed in the record:\n%+v\n%+v", f, back)
	}
	if a, b := policy.Evaluate(p, f), policy.Evaluate(p, back); !reflect.DeepEqual(a, b) {
		t.Errorf("the verdict changed in the record:\n%s\n---\n%s", said(a), said(b))
	}
}
