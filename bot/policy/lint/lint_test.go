package lint_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"lockkeeper/bot/policy"
	"lockkeeper/bot/policy/calendar"
	"lockkeeper/bot/policy/lint"
	"lockkeeper/cluster"
)

func need(n int, users ...string) policy.Requirement {
	return policy.Requirement{Approvals: n, From: policy.People{Users: users}}
}

func base() policy.Policy {
	one := need(1)
	return policy.Policy{
		Default:      policy.Requirement{Approvals: 1},
		Environments: []policy.Environment{{Name: "production", Approvals: &one}},
		Rules:        []policy.Rule{{Name: "rbac", When: policy.Selector{Kinds: []string{"Role"}}, Require: need(1, "bob#2")}},
	}
}

func TestWarningsNameWhatCanHardlyBeMeant(t *testing.T) {
	rule := func(when policy.Selector, q policy.Requirement) func(*policy.Policy) {
		return func(p *policy.Policy) { p.Rules = []policy.Rule{{Name: "r", When: when, Require: q}} }
	}
	ignored := func(rules ...cluster.IgnoreRule) func(*policy.Policy) {
		return func(p *policy.Policy) { p.Watching.Ignore = rules }
	}
	env := func(edit func(e *policy.Environment)) func(*policy.Policy) {
		return func(p *policy.Policy) { edit(&p.Environments[0]) }
	}
	for want, edit := range map[string]func(*policy.Policy){
		"r: can never be satisfied: it asks for 2 approvals, and names 1":   rule(policy.Selector{}, need(2, "bob#2", "Bob")),
		`r: there is no group "dba"`:                                        rule(policy.Selector{}, policy.Requirement{Approvals: 1, From: policy.People{Groups: []string{"dba"}}}),
		"r: asks for no approval":                                           rule(policy.Selector{}, policy.Requirement{}),
		"r: names people and asks for no approval of theirs":                rule(policy.Selector{}, need(0, "bob")),
		"r: one way of `any` asks for nothing":                              rule(policy.Selector{}, policy.Requirement{Any: []policy.Requirement{need(1), {}}}),
		`r: can never match kind "deployment"`:                              rule(policy.Selector{Kinds: []string{"deployment"}}, need(1)),
		`r: can never match kind "Role.rbac"`:                               rule(policy.Selector{Kinds: []string{"Role.rbac"}}, need(1)),
		`r: can never match API group "apps/v1"`:                            rule(policy.Selector{APIGroups: []string{"apps/v1"}}, need(1)),
		"r: can never match: ClusterRole are in no namespace":               rule(policy.Selector{Kinds: []string{"ClusterRole"}, Namespaces: []string{"shop"}}, need(1)),
		`r: can never match file "/deploy"`:                                 rule(policy.Selector{Files: []string{"/deploy"}}, need(1)),
		`r: environments: "prod" matches none of production, staging`:       rule(policy.Selector{Environments: []string{"prod"}}, need(1)),
		`r: "bob#x" can never match`:                                        rule(policy.Selector{}, need(1, "bob#x", "cho")),
		`r: "[a" is not a glob`:                                             rule(policy.Selector{Names: []string{"[a"}}, need(1)),
		"environment production: freeze \"x\" is always active":             env(func(e *policy.Environment) { e.Freeze = []calendar.Window{{Name: "x"}} }),
		"environment production: can never be satisfied: it has to soak in": env(func(e *policy.Environment) { e.Soak = &policy.Soak{In: "production"} }),
		"environment production: can never be satisfied: the ticket":        env(func(e *policy.Environment) { e.Ticket = &policy.TicketRule{} }),
		"environment production: override names nobody":                     env(func(e *policy.Environment) { e.Override = &policy.BreakGlass{Expires: 1} }),
		"environment production: override expires at once": env(func(e *policy.Environment) {
			e.Override = &policy.BreakGlass{By: policy.People{Users: []string{"bob"}}}
		}),
		`environment production: check "ci" counts whoever wrote it`:                                                  env(func(e *policy.Environment) { e.Checks = []policy.RequiredCheck{{Name: "ci"}} }),
		`drift: ignore 1: can never match kind "Deployment", which would be of the core group; write Deployment.apps`: ignored(cluster.IgnoreRule{Kinds: []string{"Deployment"}}),
		`drift: ignore 1: can never match kind "pods"`:                                                                ignored(cluster.IgnoreRule{Kinds: []string{"pods"}}),
		`drift: ignore 1: can never match kind "apps/v1/Deployment"`:                                                  ignored(cluster.IgnoreRule{Kinds: []string{"apps/v1/Deployment"}}),
		"drift: ignore 1: can never match: Node are in no namespace":                                                  ignored(cluster.IgnoreRule{Kinds: []string{"Node"}, Namespaces: []string{"shop"}}),
		"drift: ignore 1: ignores all drift":                                                                          ignored(cluster.IgnoreRule{Namespaces: []string{"**"}}),
		"drift: ignore 2: changes nothing: ignore 1 says the same":                                                    ignored(cluster.IgnoreRule{Names: []string{"a"}}, cluster.IgnoreRule{Names: []string{"a"}}),
		"environment production: drift is never healed by itself": env(func(e *policy.Environment) {
			yes := true
			e.Drift, e.Ticket = &policy.Drift{AutoHeal: &yes}, &policy.TicketRule{Pattern: "X"}
		}),
		"environment production: rollback changes nothing: it asks for as many": env(func(e *policy.Environment) {
			one := need(1)
			e.Rollback = &one
		}),
		"environment production: rollback changes nothing: no pull needs": env(func(e *policy.Environment) {
			none, one := need(0), need(1, "bob")
			e.Approvals, e.Rollback = &none, &one
		}),
		"environment prod*: rollback changes nothing: it eases the approvals of its own": func(p *policy.Policy) {
			none := need(0)
			p.Environments = append(p.Environments, policy.Environment{Name: "prod*", Rollback: &none})
		},
		"group idle: is used by no rule": func(p *policy.Policy) {
			p.Groups = []policy.Group{{Name: "idle", From: policy.People{Users: []string{"bob"}}}}
		},
		"narrow: changes nothing: rbac asks for as much": func(p *policy.Policy) {
			p.Rules = append(p.Rules, policy.Rule{Name: "narrow", When: policy.Selector{Kinds: []string{"Role"}, Names: []string{"x"}}, Require: need(1, "bob#2")})
		},
		`floor: the operator's file has no group "dba"`: func(p *policy.Policy) {
			p.Groups = []policy.Group{{Name: "dba", From: policy.People{Users: []string{"bob"}}}}
			p.Rules = []policy.Rule{{Name: "floor", Floor: true, Require: policy.Requirement{Approvals: 1, From: policy.People{Groups: []string{"dba"}}}}}
		},
	} {
		p := base()
		edit(&p)
		var got []string
		for _, w := range lint.Warnings(p, lint.Known{Environments: []string{"production", "staging"}}) {
			got = append(got, w.String())
		}
		if !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, want) }) {
			t.Errorf("no warning %q among:\n%s", want, strings.Join(got, "\n"))
		}
	}
	if got := lint.Warnings(base(), lint.Known{Environments: []string{"production"}}); len(got) > 0 {
		t.Errorf("a good policy is warned of: %v", got)
	}
}

func TestDiffSaysWhatHeldAndWhatWill(t *testing.T) {
	after := base()
	two := policy.Requirement{Approvals: 2, From: policy.People{Teams: []string{"acme/platform"}}}
	after.Environments[0].Approvals = &two
	after.Environments[0].MinimumAge = 90 * time.Minute
	after.Rules = nil
	after.Owners = []policy.Owners{{From: policy.People{Users: []string{"cho#3"}}}}
	want := []string{
		"- production: 1 approval from somebody with write access who did not contribute",
		"- rbac: kinds Role: 1 approval from @bob#2",
		"- owners of the policy: accounts with admin access",
		"+ production: 2 approvals from acme/platform",
		"+ production: a plan has to be shown for 1h30m",
		"+ owners of the policy: @cho#3",
	}
	if got := lint.Diff(base(), after); !slices.Equal(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got := lint.Diff(base(), base()); len(got) > 0 {
		t.Errorf("the same policy differs: %q", got)
	}
}

func TestDiffOfEnvironmentThatGoesSaysWhatHoldsThen(t *testing.T) {
	after := base()
	none := need(0)
	before := base()
	before.Environments[0].Approvals, after.Environments = &none, nil
	if got := lint.Diff(before, after); !slices.Contains(got, "+ production: 1 approval from somebody with write access who did not contribute, by default") {
		t.Errorf("the default is not named: %q", got)
	}
}

// TestEveryChangeOfThePolicyShows: an approver of a policy change sees a line,
// whatever changed (threat 2).
func TestEveryChangeOfThePolicyShows(t *testing.T) {
	no := false
	for name, edit := range map[string]func(*policy.Policy){
		"separation": func(p *policy.Policy) {
			p.Environments[0].Separation = &policy.Separation{Contributors: []policy.Role{policy.Author}}
		},
		"applier":  func(p *policy.Policy) { p.Environments[0].Separation = &policy.Separation{ApproverMayApply: &no} },
		"override": func(p *policy.Policy) { p.Environments[0].Override = &policy.BreakGlass{Expires: time.Hour} },
		"soak":     func(p *policy.Policy) { p.Environments[0].Soak = &policy.Soak{In: "staging"} },
		"ticket":   func(p *policy.Policy) { p.Environments[0].Ticket = &policy.TicketRule{Pattern: "X"} },
		"freeze": func(p *policy.Policy) {
			p.Environments[0].Freeze = []calendar.Window{{Name: "x", Cron: "0 18 * * FRI", For: "62h", Zone: "UTC"}}
		},
		"account id": func(p *policy.Policy) { p.Rules[0].Require.From.Users = []string{"bob#3"} },
		"group": func(p *policy.Policy) {
			p.Groups = []policy.Group{{Name: "dba", From: policy.People{Users: []string{"bob"}}}}
		},
		"heal":    func(p *policy.Policy) { p.Environments[0].Drift = &policy.Drift{AutoHeal: &no} },
		"silence": func(p *policy.Policy) { p.Environments[0].Drift = &policy.Drift{Silence: time.Hour} },
		"drift from": func(p *policy.Policy) {
			p.Environments[0].Drift = &policy.Drift{From: policy.People{Users: []string{"bob"}}}
		},
		"rollback": func(p *policy.Policy) { p.Environments[0].Rollback = &policy.Requirement{} },
		"ignore":   func(p *policy.Policy) { p.Watching.Ignore = []cluster.IgnoreRule{{Names: []string{"x"}}} },
		"humans":   func(p *policy.Policy) { p.Watching.Humans = []string{"console"} },
		"service":  func(p *policy.Policy) { p.ServiceAccounts = []int64{5} },
		"tool":     func(p *policy.Policy) { p.ServiceNames = []string{"tool"} },
		"floor":    func(p *policy.Policy) { p.Rules[0].Floor = true },
		"default":  func(p *policy.Policy) { p.Default.Approvals = 0 },
		"order":    func(p *policy.Policy) { p.Environments = append(p.Environments, p.Environments[0]) },
	} {
		after := base()
		edit(&after)
		got := lint.Diff(base(), after)
		if len(got) == 0 || strings.Contains(got[0], "the order of entries") != (name == "order") {
			t.Errorf("a change of %s shows as %q", name, got)
		}
	}
}
