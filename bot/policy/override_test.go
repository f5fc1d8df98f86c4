package policy_test

import (
	"strings"
	"testing"
	"time"

	"lockkeeper/bot/policy"
	"lockkeeper/bot/policy/calendar"
	"lockkeeper/cluster"
	"lockkeeper/forge"
)

// glass is an environment that asks for much, and lets bob break it.
func glass() policy.Environment {
	return policy.Environment{
		Approvals: &policy.Requirement{Approvals: 2}, MinimumAge: 48 * time.Hour, Soak: &policy.Soak{In: "staging", For: time.Hour},
		Checks: []policy.RequiredCheck{{Name: "ci"}}, Ticket: &policy.TicketRule{Pattern: "CHG.*"},
		Freeze:   []calendar.Window{{From: "2026-03-01", To: "2026-03-01", Zone: "UTC"}},
		Override: &policy.BreakGlass{By: policy.People{Teams: []string{"acme/platform"}}, Expires: 2 * time.Hour, Review: 48 * time.Hour},
	}
}

func fire(edit ...func(o *policy.Override)) func(*policy.Facts) {
	return func(f *policy.Facts) {
		o := policy.Override{By: bob, Reason: "fire", At: noon, Head: head, Digests: []string{"d1"}, ID: 77}
		for _, e := range edit {
			e(&o)
		}
		f.Overrides = append(f.Overrides, o)
	}
}

func also(edits ...func(*policy.Facts)) func(*policy.Facts) {
	return func(f *policy.Facts) {
		for _, e := range edits {
			e(f)
		}
	}
}

func TestOverrideStandsInForApprovalsAndConditions(t *testing.T) { // want 10
	s := situation{env: glass(), facts: fire()}
	v := s.verdict()
	if !v.OK {
		t.Fatalf("denied in spite of an override:\n%s", said(v))
	}
	want := policy.Use{Environment: "production", ID: 77, By: bob, Reason: "fire", Due: noon.Add(49 * time.Hour)}
	if len(v.Overrides) != 1 || v.Overrides[0] != want {
		t.Errorf("the verdict rests on %+v, want %+v", v.Overrides, want)
	}
	if !strings.Contains(said(v), "@bob's override until 2026-03-01 14:00 UTC") {
		t.Errorf("it does not say by whose override:\n%s", said(v))
	}
	if !v.Again.Equal(noon.Add(2 * time.Hour)) {
		t.Errorf("look again at %v, want when it expires", v.Again)
	}
}

func TestOverrideThatIsNotNeededIsNotUsed(t *testing.T) {
	env := policy.Environment{Override: glass().Override}
	if v := (situation{env: env, facts: fire()}).verdict(); !v.OK || len(v.Overrides) > 0 {
		t.Errorf("OK %v, resting on %+v; want an allowance that rests on no override", v.OK, v.Overrides)
	}
}

func TestOverridesHaveBounds(t *testing.T) {
	narrow := glass()
	narrow.Override.Actions, narrow.Override.Targets = []string{"update"}, []string{"shop*"}
	two := []string{"d1", "d2"}
	try(t, []situation{
		{name: "somebody else's", env: glass(), facts: fire(func(o *policy.Override) { o.By = cho }), tells: "@cho's override: not among acme/platform"},
		{name: "a bot's", env: glass(), facts: fire(func(o *policy.Override) { o.By.Type = forge.Bot }), tells: "a bot is not a person"},
		{name: "where nobody may", env: policy.Environment{Approvals: &policy.Requirement{Approvals: 1}}, facts: fire(), tells: "nobody may override in production"},
		{name: "nobody is named", env: policy.Environment{Approvals: &policy.Requirement{Approvals: 1}, Override: &policy.BreakGlass{Expires: time.Hour}}, facts: fire(), tells: "nobody may override in production"},
		{name: "its comment was edited", env: glass(), facts: fire(func(o *policy.Override) { o.Void = "the comment was edited" }), tells: "@bob's override: the comment was edited"},
		{name: "expired", env: glass(), facts: also(fire(), func(f *policy.Facts) { f.At = noon.Add(2 * time.Hour) }), tells: "@bob's override: expired at 2026-03-01 14:00 UTC"},
		{name: "expired as was asked for", env: glass(), facts: fire(func(o *policy.Override) { o.Expires = noon.Add(time.Minute) }), tells: "expired at 2026-03-01 12:01 UTC"},
		{name: "no longer than the policy allows", env: glass(), tells: "expired at 2026-03-01 14:00 UTC",
			facts: also(fire(func(o *policy.Override) { o.Expires = noon.Add(9 * time.Hour) }), func(f *policy.Facts) { f.At = noon.Add(3 * time.Hour) })},
		{name: "another head", env: glass(), facts: fire(func(o *policy.Override) { o.Head = before }), tells: "given for 2222222, the head is now 1111111"},
		{name: "another plan", env: glass(), facts: fire(func(o *policy.Override) { o.Digests = []string{"d0"} }), tells: "@bob's override: the plan has changed since"},
		{name: "within the actions", env: narrow, facts: fire(), allow: true},
		{name: "beyond the actions", env: narrow, facts: also(fire(), changed(func(c *policy.Change) { c.Action = cluster.Delete })), tells: "covers update only, and the plan has a delete of Deployment.apps shop/web"},
		{name: "a takeover beyond the actions", env: narrow, facts: also(fire(), changed(func(c *policy.Change) { c.Takeover = true })), tells: "has a takeover of"},
		{name: "beyond the targets", env: narrow, facts: also(fire(), changed(func(c *policy.Change) { c.Target = "bank" })), tells: "covers shop* only, and the plan changes bank"},
		{name: "by a contributor whom the policy names", env: glass(), allow: true,
			facts: also(fire(), func(f *policy.Facts) { f.Commits[0].Author = bob })},
		{name: "another environment is not lifted", env: glass(), tells: "unheard of: 1 approval",
			facts: also(fire(func(o *policy.Override) { o.Digests = two }), func(f *policy.Facts) { f.Changes = append(f.Changes, change("unheard of", "d2")) })},
		{name: "a rule over two environments", env: glass(), rule: asks(policy.Selector{}), tells: "cho's: 1 approval from @cho",
			facts: also(fire(func(o *policy.Override) { o.Digests = two }), func(f *policy.Facts) { f.Changes = append(f.Changes, change("staging", "d2")) })},
		{name: "a rule", env: glass(), rule: asks(policy.Selector{}), facts: fire(), allow: true},
	})
}

func TestWhatNoOverrideLifts(t *testing.T) {
	floor := func(p *policy.Policy) {
		p.Environments = append(p.Environments, policy.Environment{Name: "*", Floor: true, Approvals: &policy.Requirement{Approvals: 1}})
	}
	operators := glass()
	operators.Override = nil
	try(t, []situation{
		{name: "problems of the plan", env: glass(), facts: also(fire(), func(f *policy.Facts) { f.Blocked = []string{"outside the fences"} }), tells: "outside the fences"},
		{name: "a hold", env: glass(), facts: also(fire(), func(f *policy.Facts) { f.Hold = &policy.Hold{By: cho} }), tells: "`/unhold`"},
		{name: "a request for changes", env: glass(), tells: "@cho requests changes",
			facts: also(fire(), func(f *policy.Facts) {
				f.Votes = []policy.Vote{{User: cho, Kind: policy.RequestChanges, Via: "review", At: noon}}
			})},
		{name: "a change of policy", env: glass(), facts: also(fire(), func(f *policy.Facts) { f.PolicyChange = []string{"x"} }), tells: "policy: 1 approval from somebody with admin access"},
		{name: "commits past the gate", env: glass(), facts: also(fire(), func(f *policy.Facts) { f.Bypass = []policy.Bypass{{SHA: before, By: cho}} }), tells: "past the gate"},
		{name: "unattributable commits", env: glass(), facts: also(fire(), func(f *policy.Facts) { f.Commits[0].Author = forge.User{} }), tells: "without an account"},
		{name: "a repository's does not lift a floor", env: glass(), more: floor, facts: fire(), tells: "production: 1 approval from somebody with write access who did not contribute (the operator's floor)"},
		{name: "the operator's lifts both", env: operators, facts: fire(), allow: true, more: func(p *policy.Policy) {
			floor(p)
			p.Environments[len(p.Environments)-1].Override = glass().Override
		}},
		{name: "a contributor who applies under another's override", tells: "@ann may not apply",
			env: func() policy.Environment {
				e := glass()
				e.Separation = &policy.Separation{ContributorMayApply: new(bool)}
				return e
			}(), facts: also(fire(), func(f *policy.Facts) { f.Applier = &ann })},
		{name: "a contributor who overrides may apply", allow: true,
			env: func() policy.Environment {
				e := glass()
				e.Separation = &policy.Separation{ContributorMayApply: new(bool)}
				return e
			}(), facts: also(fire(), func(f *policy.Facts) { f.Applier, f.Pushers = &bob, []forge.User{bob} })},
		{name: "an overdue review", env: glass(), tells: "the review of @bob's override of #3 was due at 2026-03-01 12:30 UTC; somebody else",
			facts: also(fire(), owed("production", noon.Add(30*time.Minute)))},
	})
}

func owed(environment string, due time.Time) func(*policy.Facts) {
	return func(f *policy.Facts) {
		f.Duties = []policy.Duty{{ID: "3/77", Environment: environment, Pull: 3, By: bob, Opened: noon, Due: due}}
	}
}

func TestOverdueReviewsBlockTheirEnvironment(t *testing.T) {
	try(t, []situation{
		{name: "due later", facts: owed("production", noon.Add(2*time.Hour)), allow: true, tells: "@bob's override of #3 is reviewed by 2026-03-01 14:00 UTC"},
		{name: "overdue", facts: owed("production", noon), tells: "has to answer `/reviewed` on #3"},
		{name: "overdue on GitLab", facts: also(owed("production", noon), func(f *policy.Facts) { f.Pull.Sign = "!" }), tells: "has to answer `/reviewed` on !3"},
		{name: "elsewhere", facts: owed("staging", noon), allow: true},
	})
}

func TestReviewIsForSomebodyElseWhoMayApprove(t *testing.T) {
	p := situation{env: policy.Environment{Approvals: &policy.Requirement{Approvals: 1}}}.policy()
	f, d := factsFor(p), policy.Duty{Environment: "production", By: bob}
	f.Changes = nil
	for u, want := range map[forge.User]string{bob: "somebody else has to review it", ann: "opened it", dev: "author of", eve: "no write access", app: "a bot", cho: ""} {
		got := policy.MayReview(p, f, d, u)
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s may not review because of %q, want %q", u.Login, got, want)
		}
	}
}

func TestWhoMayOverrideIsNamed(t *testing.T) {
	p := situation{env: glass()}.policy()
	if why := policy.MayOverride(p, factsFor(p), bob); why != "" {
		t.Errorf("bob may not override: %s", why)
	}
	if why := policy.MayOverride(p, factsFor(p), cho); !strings.Contains(why, "not among acme/platform") {
		t.Errorf("cho may not override because of %q", why)
	}
	p = situation{}.policy()
	if why := policy.MayOverride(p, factsFor(p), bob); !strings.Contains(why, "lets nobody override") {
		t.Errorf("bob may not override because of %q", why)
	}
}
