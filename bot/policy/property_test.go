package policy_test

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"lockkeeper/bot/policy"
	"lockkeeper/forge"
)

// cases is how many random situations each property is tried on.
const cases = 1000

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

func randomRule(r *rand.Rand) policy.Rule {
	return policy.Rule{
		Environment: one(r, "production", "staging"), Required: r.IntN(3),
		Users: some(r, []string{"bob", "cho#3", "eve", "dev"}, 0.2), Teams: some(r, []string{"acme/platform", "acme/gone"}, 0.2),
		Floor: r.IntN(3) == 0,
	}
}

func randomPolicy(r *rand.Rand) policy.Policy {
	p := policy.Policy{Default: policy.Rule{Required: r.IntN(2)}, ServiceAccounts: []int64{web.ID}}
	for range r.IntN(4) {
		p.Rules = append(p.Rules, randomRule(r))
	}
	return p
}

func randomFacts(r *rand.Rand, p policy.Policy) policy.Facts {
	f := factsFor(p)
	f.Commits[0].Author = one(r, people...)
	f.Pushers = some(r, people, 0.05)
	f.Writers = some(r, []int64{1, 2, 3, 4, 5, 6, 7}, 0.8)
	f.Changes = nil
	for range r.IntN(4) {
		f.Changes = append(f.Changes, change(one(r, "production", "staging", "other"), one(r, "d1", "d2", "d3")))
	}
	for range r.IntN(7) {
		f.Votes = append(f.Votes, randomVote(r, p))
	}
	if r.IntN(12) == 0 {
		f.Hold = &policy.Hold{By: cho}
	}
	return f
}

func randomVote(r *rand.Rand, p policy.Policy) policy.Vote {
	kinds := []policy.VoteKind{policy.Approve, policy.Approve, policy.Approve, policy.Withdraw, policy.RequestChanges}
	v := approval(p, one(r, people...), at(r.IntN(4)), as(one(r, kinds...)), by(one(r, "review", "command")))
	v.ID = int64(r.IntN(1000))
	v.Head = one(r, head, head, head, before)
	v.Digests = some(r, []string{"d1", "d2", "d3"}, 0.9)
	v.PolicyRevision = one(r, p.Revision(), p.Revision(), p.Revision(), "another")
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
		v.Digests = []string{"d1", "d2", "d3"}
		f.Votes = append(slices.Clone(others), v)
		if after := policy.Evaluate(p, f); after.OK != before {
			t.Errorf("the approval of %s changed %v to %v:\n%s", who.Login, before, after.OK, said(after))
		}
	})
}

func TestOrderOfEventsNeverMatters(t *testing.T) { // threat 15
	everyProperty(t, func(t *testing.T, r *rand.Rand, p policy.Policy, f policy.Facts) {
		before := policy.Evaluate(p, f)
		shuffled := f
		shuffled.Votes = slices.Clone(f.Votes)
		r.Shuffle(len(f.Votes), func(i, j int) {
			shuffled.Votes[i], shuffled.Votes[j] = shuffled.Votes[j], shuffled.Votes[i]
		})
		shuffled.Changes = slices.Clone(f.Changes)
		slices.Reverse(shuffled.Changes)
		if after := policy.Evaluate(p, shuffled); !reflect.DeepEqual(before, after) {
			t.Errorf("another order, another verdict:\n%s\n---\n%s", said(before), said(after))
		}
	})
}

func TestFloorsAreNeverLowered(t *testing.T) {
	everyProperty(t, func(t *testing.T, r *rand.Rand, p policy.Policy, f policy.Facts) {
		var floors policy.Policy
		floors.ServiceAccounts = p.ServiceAccounts
		for _, rule := range p.Rules {
			if rule.Floor {
				floors.Rules = append(floors.Rules, rule)
			}
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
		if policy.Evaluate(p, f).OK && !policy.Evaluate(floors, alone).OK {
			t.Errorf("allowed below the floors %+v", floors.Rules)
		}
	})
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
