package policy_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"lockkeeper/bot/policy"
	"lockkeeper/bot/policy/calendar"
)

// needs asks for approvals in production.
func needs(n int, teams ...string) policy.Requirement {
	return policy.Requirement{Approvals: n, From: policy.People{Teams: teams}}
}

// production is a policy of one environment, edited.
func production(edit func(e *policy.Environment), floors ...policy.Environment) policy.Policy {
	q := needs(1)
	e := policy.Environment{Name: "production", Approvals: &q}
	if edit != nil {
		edit(&e)
	}
	return policy.Policy{Default: needs(1), Environments: append([]policy.Environment{e}, floors...)}
}

// judged are the facts of a pull that these people approved.
func judged(p policy.Policy, edit func(f *policy.Facts), votes ...policy.Vote) policy.Verdict {
	f := factsFor(p)
	f.Changes = []policy.Change{change("production", "d1")}
	f.Votes = votes
	edit(&f)
	return policy.Evaluate(p, f)
}

func unknownHand(f *policy.Facts) { f.UnknownContributor = "whoever changed web live" }

func TestWhatSomebodyUnknownChangedNeedsOneMore(t *testing.T) {
	none := needs(0)
	sre := func(e *policy.Environment) { e.Drift = &policy.Drift{From: policy.People{Users: []string{"cho#3"}}} }
	for name, c := range map[string]struct {
		p       policy.Policy
		missing string
	}{
		"one is too few":             {p: production(nil), missing: "production: 1 more approval from somebody with write access who did not contribute (one more, because whoever changed web live may be anybody)"},
		"where nobody has to, one":   {p: production(func(e *policy.Environment) { e.Approvals = &none }), missing: "production: 1 approval from"},
		"somebody named instead":     {p: production(sre), missing: "production: 1 approval from @cho (because whoever changed web live may be anybody)"},
		"a floor wants one more too": {p: production(sre, policy.Environment{Name: "production", Floor: true, Approvals: func() *policy.Requirement { q := needs(1); return &q }()}), missing: "1 more approval"},
	} {
		v := judged(c.p, unknownHand, approval(c.p, bob))
		if c.missing == "production: 1 approval from" {
			v = judged(c.p, unknownHand)
		}
		if got := v.AllMissing(); v.OK || !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, c.missing) }) {
			t.Errorf("%s: %v, missing %q", name, v.OK, got)
		}
		if both := judged(c.p, unknownHand, approval(c.p, bob), approval(c.p, cho)); !both.OK {
			t.Errorf("%s: bob and cho are not enough:\n%s", name, said(both))
		}
	}
}

func wayBack(pure bool) func(*policy.Facts) {
	return func(f *policy.Facts) { f.Rollback = &policy.Rollback{To: before, Pure: pure, Why: "dev pushed to it"} }
}

func TestARollbackMayNeedFewer(t *testing.T) {
	two, one, none := needs(2), needs(1), needs(0)
	eased := func(e *policy.Environment) { e.Approvals, e.Rollback = &two, &none }
	for name, c := range map[string]struct {
		p     policy.Policy
		pure  bool
		votes int
		allow bool
	}{
		"a pure rollback needs nobody":            {production(eased), true, 0, true},
		"more than a rollback is a pull like any": {production(eased), false, 0, false},
		"a rollback never needs more than a pull": {production(func(e *policy.Environment) { e.Rollback = &two }), true, 1, true},
		"the operator's floor of rollbacks holds": {production(eased, policy.Environment{Name: "prod*", Floor: true, Rollback: &one}), true, 0, false},
		"and is met": {production(eased, policy.Environment{Name: "prod*", Floor: true, Rollback: &one}), true, 1, true},
		"a repository does not ease the operator's": {production(eased, policy.Environment{Name: "production", Floor: true, Approvals: &one}), true, 0, false},
		"the operator does":                         {production(eased, policy.Environment{Name: "production", Floor: true, Approvals: &one, Rollback: &none}), true, 0, true},
		"in place of the default":                   {production(func(e *policy.Environment) { e.Approvals, e.Rollback = nil, &none }), true, 0, true},
		"a hold still holds, whoever may roll back": {production(func(e *policy.Environment) {
			eased(e)
			e.Freeze = []calendar.Window{{Name: "sale", From: "2026-03-01", To: "2026-03-02", Zone: "UTC"}}
		}), true, 2, false},
	} {
		v := judged(c.p, wayBack(c.pure), []policy.Vote{approval(c.p, bob), approval(c.p, cho)}[:c.votes]...)
		if v.OK != c.allow {
			t.Errorf("%s: allowed is %v:\n%s", name, v.OK, said(v))
		}
	}
	v := judged(production(eased), wayBack(false))
	if !strings.Contains(said(v), "it is more than a rollback: dev pushed to it") {
		t.Errorf("nobody is told why it is no pure rollback:\n%s", said(v))
	}
}

func TestAHealNeedsNobodyWhereItIsAutomaticAndNothingElseIsInTheWay(t *testing.T) {
	yes, no := true, false
	auto := func(e *policy.Environment) { e.Drift = &policy.Drift{AutoHeal: &yes} }
	heal := func(f *policy.Facts) { f.Heal, f.Commits, f.Applier = true, nil, nil }
	with := func(edit func(f *policy.Facts)) func(*policy.Facts) {
		return func(f *policy.Facts) { heal(f); edit(f) }
	}
	p := production(auto)
	for name, c := range map[string]struct {
		p       policy.Policy
		edit    func(*policy.Facts)
		missing string
	}{
		"automatic":             {p, heal, ""},
		"nobody says so":        {production(nil), heal, "only by `/restore`"},
		"the operator forbids":  {production(auto, policy.Environment{Name: "*", Floor: true, Drift: &policy.Drift{AutoHeal: &no}}), heal, "only by `/restore`"},
		"the operator switches": {production(nil, policy.Environment{Name: "*", Floor: true, Drift: &policy.Drift{AutoHeal: &yes}}), heal, ""},
		"held":                  {p, with(func(f *policy.Facts) { f.Hold = &policy.Hold{By: cho} }), "@cho holds it"},
		"a duty is overdue": {p, with(func(f *policy.Facts) {
			f.Duties = []policy.Duty{{Environment: "production", Pull: 3, By: bob, Due: f.At.Add(-time.Hour)}}
		}), "override of #3"},
		"what came past the gate is open": {p, with(func(f *policy.Facts) {
			f.Bypass = []policy.Bypass{{SHA: before, Kind: policy.DirectPush, By: bob}}
		}), "bypass: 1 approval"},
		"frozen": {production(func(e *policy.Environment) {
			auto(e)
			e.Freeze = []calendar.Window{{Name: "sale", From: "2026-03-01", To: "2026-03-02", Zone: "UTC"}}
		}), heal, "frozen (sale)"},
		"a ticket is asked for": {production(func(e *policy.Environment) { auto(e); e.Ticket = &policy.TicketRule{Pattern: "CHG[0-9]+"} }), heal, "change ticket"},
		"a problem":             {p, with(func(f *policy.Facts) { f.Blocked = []string{"the cluster does not answer"} }), "does not answer"},
		"another environment is concerned": {p, with(func(f *policy.Facts) {
			f.Changes = append(f.Changes, change("staging", "d2"))
		}), "staging: the policy lets drift"},
		"nothing differs": {p, with(func(f *policy.Facts) { f.Changes = nil }), "nothing differs"},
	} {
		v := judged(c.p, c.edit)
		missing := strings.Join(v.AllMissing(), "\n")
		if v.OK != (c.missing == "") || !strings.Contains(missing, c.missing) {
			t.Errorf("%s: allowed is %v, missing %q", name, v.OK, missing)
		}
	}
	if v := judged(p, heal); !strings.Contains(said(v), "it was applied last, and a heal puts it back") {
		t.Errorf("nobody is told whose approvals count:\n%s", said(v))
	}
}

func TestSilenceIsTheShortestThatSomebodySays(t *testing.T) {
	p := production(func(e *policy.Environment) { e.Drift = &policy.Drift{Silence: time.Hour} },
		policy.Environment{Name: "prod*", Floor: true, Drift: &policy.Drift{Silence: time.Minute}})
	if got := p.Silence("production"); got != time.Minute {
		t.Errorf("in production %v", got)
	}
	if got := p.Silence("staging"); got != 720*time.Hour {
		t.Errorf("where nobody says it %v", got)
	}
}
