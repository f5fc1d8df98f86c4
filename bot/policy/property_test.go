package policy_test

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"lockkeeper/bot/policy"
	"lockkeeper/bot/policy/calendar"
	"lockkeeper/cluster"
	"lockkeeper/forge"
)

// cases is how many random situations each property is tried on.
const cases = 500

// everyProperty runs check on random situations; a failure names its seed.
func everyProperty(t *testing.T, check func(t *testing.T, r *rand.Rand, p policy.Policy, f policy.Facts)) {
	t.Helper()
	for seed := range uint64(cases) {
		r := rand.New(rand.NewPCG(seed, 1))
		p := randomPolicy(r)
		check(t, r, p, randomFacts(r, p))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

var people = []forge.User{ann, bob, cho, eve, dev, app, web, {Login: "ghost", Type: forge.Deleted}}

func some[T any](r *rand.Rand, from []T, chance float64) []T {
	var out []T
	for _, x := range from {
		if r.Float64() < chance {
			out = append(out, x)
		}
	}
	return out
}

func one[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func maybe(r *rand.Rand) *bool {
	return one(r, nil, nil, nil, new(bool), func() *bool { yes := true; return &yes }())
}

func randomPeople(r *rand.Rand) policy.People {
	return policy.People{
		Users: some(r, []string{"bob", "cho#3", "eve", "dev", "eve#4"}, 0.15), Teams: some(r, []string{"acme/platform", "acme/gone"}, 0.15),
		Groups: some(r, []string{"dba", "nobody"}, 0.1), CodeOwners: r.IntN(8) == 0,
	}
}

func randomRequirement(r *rand.Rand, depth int) policy.Requirement {
	q := policy.Requirement{Approvals: r.IntN(3), From: randomPeople(r)}
	for depth > 0 && r.IntN(4) == 0 {
		q.All = append(q.All, randomRequirement(r, depth-1))
	}
	for depth > 0 && r.IntN(4) == 0 {
		q.Any = append(q.Any, randomRequirement(r, depth-1))
	}
	return q
}

func randomRule(r *rand.Rand) policy.Rule {
	return policy.Rule{Require: randomRequirement(r, 2), Floor: r.IntN(3) == 0, When: policy.Selector{
		Environments: some(r, []string{"prod*", "staging"}, 0.2), Kinds: some(r, []string{"Deployment", "Secret"}, 0.2),
		Actions: some(r, []string{"update", "delete", "takeover"}, 0.2), Fields: some(r, []string{"spec.replicas", "data.*"}, 0.1),
		Files: some(r, []string{"deploy/**", "docs/*"}, 0.1), Names: some(r, []string{"w*"}, 0.1),
	}}
}

func randomEnvironment(r *rand.Rand) policy.Environment {
	e := policy.Environment{Name: one(r, "production", "staging", "*"), Floor: r.IntN(3) == 0}
	if r.IntN(3) > 0 {
		q := randomRequirement(r, 1)
		e.Approvals = &q
	}
	if r.IntN(3) == 0 {
		e.Separation = &policy.Separation{
			ApproverMayApply: maybe(r), ContributorMayApply: maybe(r), Signatures: maybe(r), AllowUnattributable: maybe(r),
			Digest: maybe(r), KeepOnBaseMerge: maybe(r), OutsideCollaborators: maybe(r),
		}
	}
	if r.IntN(8) == 0 {
		e.Freeze = []calendar.Window{{Name: "sale", From: one(r, "2026-03-01", "2026-02-01"), To: one(r, "2026-03-01", "2026-03-02"), Zone: "UTC"}}
	}
	if r.IntN(8) == 0 {
		e.Checks = []policy.RequiredCheck{{Name: "ci", App: int64(r.IntN(2))}}
	}
	if r.IntN(8) == 0 {
		e.MinimumAge = time.Hour
	}
	if r.IntN(8) == 0 {
		e.Soak = &policy.Soak{In: "staging", For: time.Hour, AllowUntouched: r.IntN(2) == 0}
	}
	if r.IntN(8) == 0 {
		e.Ticket = &policy.TicketRule{Pattern: "CHG[0-9]+", Window: r.IntN(2) == 0}
	}
	if r.IntN(4) == 0 {
		e.Drift = &policy.Drift{AutoHeal: maybe(r)}
		if r.IntN(2) == 0 {
			e.Drift.From = randomPeople(r)
		}
	}
	if r.IntN(4) == 0 {
		q := randomRequirement(r, 1)
		e.Rollback = &q
	}
	if r.IntN(3) == 0 {
		e.Override = &policy.BreakGlass{By: randomPeople(r), Expires: time.Hour, Review: 48 * time.Hour, Actions: some(r, []string{"update"}, 0.3)}
	}
	return e
}

func randomPolicy(r *rand.Rand) policy.Policy {
	p := policy.Policy{Default: policy.Requirement{Approvals: r.IntN(2)}, ServiceAccounts: []int64{web.ID}}
	for range r.IntN(3) {
		p.Rules = append(p.Rules, randomRule(r))
	}
	for range r.IntN(3) {
		p.Environments = append(p.Environments, randomEnvironment(r))
	}
	for _, floor := range some(r, []bool{false, true}, 0.5) {
		p.Groups = append(p.Groups, policy.Group{Name: "dba", From: policy.People{Users: []string{one(r, "bob", "cho#3")}}, Floor: floor})
		p.Owners = append(p.Owners, policy.Owners{From: policy.People{Users: []string{one(r, "bob", "cho#3")}, Groups: some(r, []string{"dba"}, 0.2)}, Floor: floor})
	}
	return p
}

func randomChange(r *rand.Rand) policy.Change {
	c := change(one(r, "production", "staging", "other"), one(r, "d1", "d2", "d3"))
	c.Ref.Kind, c.Action = one(r, "Deployment", "Secret"), one(r, cluster.Update, cluster.Update, cluster.Delete, cluster.Create)
	c.Also, c.Takeover = some(r, []string{"production"}, 0.1), r.IntN(8) == 0
	return c
}

func randomFacts(r *rand.Rand, p policy.Policy) policy.Facts {
	f := factsFor(p)
	f.At = noon.Add(time.Duration(r.IntN(120)) * time.Minute)
	f.Commits[0].Author = one(r, people...)
	f.Commits = append(f.Commits, policy.Commit{SHA: before, Author: one(r, people...), Committer: one(r, people...),
		CoAuthors: some(r, people, 0.05), Merge: r.IntN(2) == 0, Verified: r.IntN(2) == 0, Suggested: r.IntN(2) == 0})
	f.Pushers, f.PushersKnown = some(r, people, 0.05), r.IntN(2) == 0
	f.EquivalentHeads = some(r, []string{before}, 0.5)
	f.Writers = some(r, []int64{1, 2, 3, 4, 5, 6, 7}, 0.8)
	f.Admins, f.Outside = some(r, f.Writers, 0.4), some(r, f.Writers, 0.1)
	f.Changes = nil
	for range r.IntN(4) {
		f.Changes = append(f.Changes, randomChange(r))
	}
	f.Files = []policy.File{{Path: "deploy/a.yaml", Owners: []policy.OwnerSet{{Owners: some(r, []string{"@cho", "@acme/platform", "x@example.com"}, 0.5), Required: r.IntN(3)}}},
		{Path: "docs/b.md", Owners: []policy.OwnerSet{{Section: "s", Owners: []string{"@bob"}, Optional: true}}}}[:r.IntN(3)]
	for range r.IntN(9) {
		f.Votes = append(f.Votes, randomVote(r, p))
	}
	if r.IntN(12) == 0 {
		f.Hold = &policy.Hold{By: cho}
	}
	if r.IntN(2) == 0 {
		who := one(r, people...)
		f.Applier = &who
	}
	if r.IntN(4) == 0 {
		f.UnknownContributor = "whoever changed web live"
	}
	if r.IntN(4) == 0 {
		f.Rollback = &policy.Rollback{To: before, Pure: r.IntN(2) == 0, Why: "dev pushed to it"}
	}
	randomConditions(r, p, &f)
	return f
}

func randomConditions(r *rand.Rand, p policy.Policy, f *policy.Facts) {
	f.Published = noon.Add(-time.Duration(r.IntN(90)) * time.Minute)
	f.Checks = some(r, []policy.Check{{Name: "ci", App: 1, State: "success"}, {Name: "ci", State: "success"}, {Name: "ci", State: "pending"}}, 0.4)
	f.Applied = some(r, []policy.Applied{{Target: "s", Environment: "staging", At: noon.Add(-time.Hour), Healthy: r.IntN(3) > 0}}, 0.5)
	f.Waiting = some(r, []policy.Waiting{{Target: "w", Environment: "staging"}}, 0.1)
	if r.IntN(2) == 0 {
		f.Ticket = &policy.Ticket{ID: one(r, "CHG1", "nonsense"), By: bob, From: noon.Add(-time.Hour), To: noon.Add(time.Hour)}
	}
	for range r.IntN(3) {
		f.Overrides = append(f.Overrides, policy.Override{By: one(r, people...), Reason: "fire", At: noon, Head: one(r, head, head, before),
			Digests: some(r, []string{"d1", "d2", "d3"}, 0.95), ID: int64(r.IntN(50)), Void: one(r, "", "", "edited")})
	}
	if r.IntN(8) == 0 {
		f.Duties = []policy.Duty{{ID: "x", Environment: "production", Pull: 3, By: bob, Due: noon.Add(time.Duration(r.IntN(120)) * time.Minute)},
			{ID: "y", Environment: "staging", Pull: 4, By: cho, Due: noon.Add(time.Hour)}}
	}
	if r.IntN(8) == 0 {
		f.Bypass = []policy.Bypass{{SHA: before, Kind: policy.DirectPush, By: one(r, people...)}, {SHA: head, Kind: policy.UnapprovedMerge, By: bob, Pull: 2}}
	}
	f.PolicyChange = some(r, []string{"+ production: 0 approvals"}, 0.15)
}

func randomVote(r *rand.Rand, p policy.Policy) policy.Vote {
	kinds := []policy.VoteKind{policy.Approve, policy.Approve, policy.Approve, policy.Approve, policy.Withdraw, policy.RequestChanges}
	v := approval(p, one(r, people...), at(r.IntN(4)), as(one(r, kinds...)), by(one(r, "review", "command")))
	v.ID = int64(r.IntN(1000))
	v.Head = one(r, head, head, head, head, before)
	v.Digests = some(r, []string{"d1", "d2", "d3"}, 0.9)
	v.PolicyRevision = one(r, p.Revision(), p.Revision(), p.Revision(), "another")
	v.Digest, v.Ticket = one(r, "", "abc1234"), one(r, "", (&policy.Ticket{ID: "CHG1", From: noon.Add(-time.Hour), To: noon.Add(time.Hour)}).Key())
	v.Teams, v.Base = some(r, []string{"acme/platform"}, 0.3), one(r, "", "main", "main", "main", "other")
	if r.IntN(10) == 0 {
		v.Void = "edited"
	}
	return v
}

func TestAddingAnApprovalNeverTurnsAllowIntoDeny(t *testing.T) {
	allowed := 0
	everyProperty(t, func(t *testing.T, r *rand.Rand, p policy.Policy, f policy.Facts) {
		if !policy.Evaluate(p, f).OK {
			return
		}
		allowed++
		v := randomVote(r, p)
		v.Kind, v.Void = policy.Approve, ""
		f.Votes = append(slices.Clone(f.Votes), v)
		if after := policy.Evaluate(p, f); !after.OK {
			t.Errorf("the approval %+v denied what was allowed:\n%s", v, said(after))
		}
	})
	if allowed < cases/20 {
		t.Errorf("only %d of %d situations were allowed: the test shows little", allowed, cases)
	}
}

func TestRemovingAnApprovalNeverTurnsDenyIntoAllow(t *testing.T) {
	denied := 0
	everyProperty(t, func(t *testing.T, r *rand.Rand, p policy.Policy, f policy.Facts) {
		if policy.Evaluate(p, f).OK {
			return
		}
		for i, v := range f.Votes {
			if v.Kind != policy.Approve || v.Void != "" {
				continue
			}
			denied++
			less := f
			less.Votes = slices.Delete(slices.Clone(f.Votes), i, i+1)
			if after := policy.Evaluate(p, less); after.OK {
				t.Errorf("without the approval %+v it is allowed", v)
			}
		}
	})
	if denied < cases/20 {
		t.Errorf("only %d approvals were removed from denials: the test shows little", denied)
	}
}

func TestVoidingAnApprovalNeverTurnsDenyIntoAllow(t *testing.T) { // threat 11
	everyProperty(t, func(t *testing.T, r *rand.Rand, p policy.Policy, f policy.Facts) {
		if policy.Evaluate(p, f).OK {
			return
		}
		for i := range f.Votes {
			void := f
			void.Votes = slices.Clone(f.Votes)
			void.Votes[i].Void = "edited"
			if after := policy.Evaluate(p, void); after.OK {
				t.Errorf("with %+v void it is allowed", f.Votes[i])
			}
		}
	})
}

func TestContributorsApprovalNeverMatters(t *testing.T) {
	everyProperty(t, func(t *testing.T, r *rand.Rand, p policy.Policy, f policy.Facts) {
		who := one(r, ann, dev)
		f.Commits[0].Author = dev
		var others []policy.Vote
		for _, v := range f.Votes {
			if v.User.ID != who.ID {
				others = append(others, v)
			}
		}
		f.Votes = others
		before := policy.Evaluate(p, f).OK
		v := approval(p, who, at(9))
		v.Digests, v.Digest, v.Ticket = []string{"d1", "d2", "d3"}, "abc1234", f.Ticket.Key()
		f.Votes = append(slices.Clone(others), v)
		if after := policy.Evaluate(p, f); after.OK != before {
			t.Errorf("the approval of %s changed %v to %v:\n%s", who.Login, before, after.OK, said(after))
		}
	})
}

func shuffle[T any](r *rand.Rand, list []T) []T {
	out := slices.Clone(list)
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

func TestOrderOfEventsNeverMatters(t *testing.T) { // threat 15
	everyProperty(t, func(t *testing.T, r *rand.Rand, p policy.Policy, f policy.Facts) {
		before := policy.Evaluate(p, f)
		f.Votes, f.Commits, f.Pushers, f.Changes = shuffle(r, f.Votes), shuffle(r, f.Commits), shuffle(r, f.Pushers), shuffle(r, f.Changes)
		f.Overrides, f.Duties, f.Bypass, f.Checks = shuffle(r, f.Overrides), shuffle(r, f.Duties), shuffle(r, f.Bypass), shuffle(r, f.Checks)
		f.Files, f.Applied, f.Writers, f.Admins = shuffle(r, f.Files), shuffle(r, f.Applied), shuffle(r, f.Writers), shuffle(r, f.Admins)
		if after := policy.Evaluate(p, f); !reflect.DeepEqual(before, after) {
			t.Errorf("another order, another verdict:\n%s\n---\n%s", said(before), said(after))
		}
	})
}

// floorsOf is the policy without anything that the repository said.
func floorsOf(p policy.Policy) policy.Policy {
	out := policy.Policy{ServiceAccounts: p.ServiceAccounts}
	for _, e := range p.Environments {
		if e.Floor {
			out.Environments = append(out.Environments, e)
		}
	}
	for _, rule := range p.Rules {
		if rule.Floor {
			out.Rules = append(out.Rules, rule)
		}
	}
	for _, g := range p.Groups {
		if g.Floor {
			out.Groups = append(out.Groups, g)
		}
	}
	for _, o := range p.Owners {
		if o.Floor {
			out.Owners = append(out.Owners, o)
		}
	}
	return out
}

func TestFloorsAreNeverLowered(t *testing.T) {
	compared := 0
	everyProperty(t, func(t *testing.T, r *rand.Rand, p policy.Policy, f policy.Facts) {
		floors := floorsOf(p)
		if len(floors.Owners) == 0 {
			f.PolicyChange = nil // whom to ask by default is no floor
		}
		// The same situation under the floors alone, everything approved anew.
		alone := f
		alone.PolicyRevision = floors.Revision()
		alone.Votes = slices.Clone(f.Votes)
		for i, v := range alone.Votes {
			if v.PolicyRevision == p.Revision() {
				alone.Votes[i].PolicyRevision = floors.Revision()
			}
		}
		if !policy.Evaluate(p, f).OK {
			return
		}
		if len(floors.Environments)+len(floors.Rules) > 0 {
			compared++
		}
		if v := policy.Evaluate(floors, alone); !v.OK {
			t.Errorf("allowed below the floors %+v:\n%s", floors, said(v))
		}
	})
	if compared < cases/50 {
		t.Errorf("only %d situations with floors were allowed: the test shows little", compared)
	}
}

func TestAnUnknownContributorNeverNeedsFewerApprovals(t *testing.T) {
	denied := 0
	everyProperty(t, func(t *testing.T, r *rand.Rand, p policy.Policy, f policy.Facts) {
		f.UnknownContributor = ""
		known := policy.Evaluate(p, f)
		f.UnknownContributor = "whoever changed web live"
		unknown := policy.Evaluate(p, f)
		if unknown.OK && !known.OK {
			t.Errorf("allowed because nobody knows who contributed; else missing are %q", known.AllMissing())
		}
		if known.OK && !unknown.OK {
			denied++
		}
		for _, env := range f.Environments() {
			if unknown.OK && len(unknown.Approvers())+len(unknown.Overrides) == 0 {
				t.Errorf("nobody agreed to what somebody unknown did in %s:\n%s", env, said(unknown))
			}
		}
	})
	if denied < cases/50 {
		t.Errorf("only %d verdicts depended on it: the test shows little", denied)
	}
}

func TestAPureRollbackNeverNeedsMoreThanAnyPull(t *testing.T) {
	eased := 0
	everyProperty(t, func(t *testing.T, r *rand.Rand, p policy.Policy, f policy.Facts) {
		for i := range p.Environments {
			if r.IntN(2) == 0 {
				p.Environments[i].Rollback = &policy.Requirement{Approvals: r.IntN(2)}
			}
		}
		f.PolicyRevision, f.Rollback = p.Revision(), nil
		for i := range f.Votes {
			f.Votes[i].PolicyRevision = p.Revision()
		}
		ordinary := policy.Evaluate(p, f)
		f.Rollback = &policy.Rollback{To: before, Why: "dev pushed to it"}
		if impure := policy.Evaluate(p, f); impure.OK != ordinary.OK {
			t.Errorf("more than a rollback, and %v became %v", ordinary.OK, impure.OK)
		}
		f.Rollback = &policy.Rollback{To: before, Pure: true}
		pure := policy.Evaluate(p, f)
		if ordinary.OK && !pure.OK {
			t.Errorf("a rollback is denied where any pull would pass:\n%s", said(pure))
		}
		if pure.OK && !ordinary.OK {
			eased++
		}
	})
	if eased == 0 {
		t.Error("no rollback was ever eased: the test shows little")
	}
}

func TestAHealPassesOnlyWhereItIsAutomatic(t *testing.T) {
	healed := 0
	everyProperty(t, func(t *testing.T, r *rand.Rand, p policy.Policy, f policy.Facts) {
		f.Heal, f.Commits, f.Votes, f.Applier = true, nil, nil, nil
		v := policy.Evaluate(p, f)
		if !v.OK {
			return
		}
		healed++
		for _, env := range f.Environments() {
			if !p.Heals(env) {
				t.Errorf("%s was healed without being asked for:\n%s", env, said(v))
			}
			for _, e := range p.Environments {
				if e.Drift != nil && e.Drift.AutoHeal != nil && !*e.Drift.AutoHeal && (e.Name == env || e.Name == "*") {
					t.Errorf("%s was healed although %+v forbids it", env, e)
				}
			}
		}
		if len(f.Changes) == 0 || f.Hold != nil || len(f.Bypass) > 0 {
			t.Errorf("healed in spite of %+v", f)
		}
	})
	if healed == 0 {
		t.Error("nothing was ever healed: the test shows little")
	}
}

func TestDenialAlwaysSaysWhatIsMissing(t *testing.T) {
	everyProperty(t, func(t *testing.T, _ *rand.Rand, p policy.Policy, f policy.Facts) {
		v := policy.Evaluate(p, f)
		if !v.OK && len(v.AllMissing()) == 0 {
			t.Errorf("a denial without anything missing:\n%s", said(v))
		}
		if v.OK && len(v.AllMissing()) > 0 {
			t.Errorf("allowed, and missing are %q", v.AllMissing())
		}
	})
}

func TestFactsFromTheRecordGiveTheSameVerdict(t *testing.T) {
	everyProperty(t, func(t *testing.T, _ *rand.Rand, p policy.Policy, f policy.Facts) {
		var facts policy.Facts
		var rules policy.Policy
		remember(t, f, &facts)
		remember(t, p, &rules)
		if a, b := policy.Evaluate(p, f), policy.Evaluate(rules, facts); !reflect.DeepEqual(a, b) {
			t.Errorf("the verdict changed in the record:\n%s\n---\n%s", said(a), said(b))
		}
	})
}

// remember writes and reads JSON.
func remember(t *testing.T, from, to any) {
	t.Helper()
	doc, err := json.Marshal(from)
	if err == nil {
		err = json.Unmarshal(doc, to)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestAnOverrideNeverTurnsAllowIntoDeny(t *testing.T) {
	everyProperty(t, func(t *testing.T, r *rand.Rand, p policy.Policy, f policy.Facts) {
		after := f
		after.Overrides = append(slices.Clone(f.Overrides), policy.Override{By: one(r, people...), At: f.At, Head: head, Digests: []string{"d1", "d2", "d3"}})
		if policy.Evaluate(p, f).OK && !policy.Evaluate(p, after).OK {
			t.Error("an override denied what was allowed")
		}
	})
}

func TestWhoIsSuggestedIsNamedAndDidNotContribute(t *testing.T) {
	suggested := 0
	everyProperty(t, func(t *testing.T, _ *rand.Rand, p policy.Policy, f policy.Facts) {
		for _, s := range policy.Suggest(p, f) {
			suggested++
			if s.ID == ann.ID || s.Login == "ann" {
				t.Errorf("the opener is asked for a review: %v", s)
			}
		}
	})
	if suggested == 0 {
		t.Error("nobody was ever suggested")
	}
}

func TestEvaluationChangesNothingItIsGiven(t *testing.T) {
	everyProperty(t, func(t *testing.T, _ *rand.Rand, p policy.Policy, f policy.Facts) {
		votes := slices.Clone(f.Votes)
		policy.Evaluate(p, f)
		if !reflect.DeepEqual(votes, f.Votes) {
			t.Error("the votes were reordered in place")
		}
	})
}
