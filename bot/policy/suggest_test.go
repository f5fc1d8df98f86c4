package policy_test

import (
	"slices"
	"testing"

	"lockkeeper/bot/policy"
	"lockkeeper/forge"
)

func TestFewestUsefulReviewersAreSuggested(t *testing.T) {
	env := func(q policy.Requirement) policy.Environment { return policy.Environment{Approvals: &q} }
	users := func(n int, users ...string) policy.Requirement { return need(n, users...) }
	for _, tt := range []struct {
		situation
		want []string
	}{
		{situation{name: "nothing is missing"}, nil},
		{situation{name: "anybody will do", env: env(users(1))}, nil},
		{situation{name: "a person", env: env(users(1, "cho#3"))}, []string{"@cho"}},
		{situation{name: "no more than are missing", env: env(users(1, "bob#2", "cho#3"))}, []string{"@bob"}},
		{situation{name: "who approved already is not asked", env: env(users(2, "bob#2", "cho#3")), by: []forge.User{bob}}, []string{"@cho"}},
		{situation{name: "contributors are not asked", env: env(users(1, "ann#1", "dev", "cho#3"))}, []string{"@cho"}},
		{situation{name: "who helps two rules", env: env(users(1, "bob#2", "cho#3")), rule: asks(policy.Selector{})}, []string{"@cho"}},
		{situation{name: "a team", env: env(policy.Requirement{Approvals: 1, From: policy.People{Teams: []string{"acme/platform"}}})}, []string{"acme/platform"}},
		{situation{name: "a team of contributors", env: env(policy.Requirement{Approvals: 1, From: policy.People{Teams: []string{"acme/platform"}}}),
			facts: func(f *policy.Facts) { f.Pushers = []forge.User{bob} }}, nil},
		{situation{name: "the way of `any` that lacks least", env: env(policy.Requirement{Any: []policy.Requirement{users(2, "bob#2", "cho#3"), users(1, "cho#3")}})}, []string{"@cho"}},
		{situation{name: "code owners", env: env(policy.Requirement{Approvals: 1, From: policy.People{CodeOwners: true}}),
			facts: func(f *policy.Facts) {
				f.Files = []policy.File{touched("a", ownedBy("@cho", "x@example.com")), touched("b", ownedBy("@acme/platform"))}
			}}, []string{"@cho", "acme/platform"}},
		{situation{name: "what an override lifts", env: glass(), facts: fire()}, nil},
	} {
		p := tt.policy()
		f := factsFor(p)
		f.At = noon
		for _, u := range tt.by {
			f.Votes = append(f.Votes, approval(p, u))
		}
		if tt.facts != nil {
			tt.facts(&f)
		}
		var got []string
		for _, r := range policy.Suggest(p, f) {
			got = append(got, r.String())
		}
		slices.Sort(got)
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: suggested %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestApproversAreNamedByAccount(t *testing.T) {
	v := situation{env: policy.Environment{Approvals: &policy.Requirement{All: []policy.Requirement{need(1, "bob#2"), need(1, "bob#2", "cho#3")}}},
		by: []forge.User{bob, cho, eve}}.verdict()
	if got := v.Approvers(); !slices.Equal(got, []forge.User{bob, cho}) {
		t.Errorf("approvers are %v, want bob and cho, each once", got)
	}
	if got := v.AllNotCounted(); !slices.Contains(got, "@eve: not among @bob or @cho") {
		t.Errorf("not counted are %q", got)
	}
}

func TestPolicyThatCannotBeUsedAllowsNothing(t *testing.T) {
	for name, r := range map[string]policy.Rule{
		"glob":     {When: policy.Selector{Names: []string{"[a"}}},
		"action":   {When: policy.Selector{Actions: []string{"destroy"}}},
		"field":    {When: policy.Selector{Fields: []string{"spec[name"}}},
		"approval": {Require: policy.Requirement{Approvals: -1}},
	} {
		p := policy.Policy{Rules: []policy.Rule{r}}
		v := policy.Evaluate(p, factsFor(p))
		if v.OK || len(v.AllMissing()) == 0 {
			t.Errorf("%s: OK is %v, missing %q", name, v.OK, v.AllMissing())
		}
		if policy.MayApprove(p, factsFor(p), bob) == "" || policy.Eligible(p, factsFor(p), "production", bob) {
			t.Errorf("%s: somebody may act under a policy that cannot be used", name)
		}
	}
}
