package bot_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/config"
	"lockkeeper/forge"
	"lockkeeper/forge/forgetest"
)

// The conditions of the policy beside people: each holds back an apply through
// the whole bot, says until when or what is missing, and lets it pass then.

// approved opens the usual change with an approval.
func (h *house) approved() int {
	h.t.Helper()
	n := h.open(opener, "change", change("two"))
	mustContain(h.t, h.say(reviewer, n, "/approve"), "approved")
	return n
}

// The look-alike's clock starts on 2026-01-05, a Monday, at nine.
func TestConditionFreezeWindowEndsByItself(t *testing.T) {
	h := newHouse(t, build{Config: oneTarget + `environments:
  production:
    approvals: {required: 1}
    freeze:
      - {name: holidays, from: "2026-01-01", to: "2026-01-06", zone: Europe/Berlin}
      - {name: nights, cron: "0 22 * * *", for: 8h, zone: Europe/Berlin}
`})
	h.advance(0) // the dates are of its clock
	n := h.approved()
	mustContain(t, h.sticky(n), "production: frozen (holidays) until 2026-01-07 00:00 Europe/Berlin")
	h.refused(second, n, "two", "frozen (holidays)")
	h.advance(40 * time.Hour) // the night after
	h.refused(second, n, "two", "frozen (nights) until 2026-01-07 06:00 Europe/Berlin")
	h.advance(6 * time.Hour)
	h.applied(second, n, "two")
}

// tick lets the store see that time has passed: the look-alike's clock is not
// the one its timer runs by.
func (h *house) tick(d time.Duration) {
	h.t.Helper()
	h.advance(d)
	h.must(h.store.Want(h.t.Context(), "sweep/0"))
	h.settle()
}

// What time changes is shown, and done, without anybody's asking.
func TestConditionThatTimeSettlesIsLookedAtAgain(t *testing.T) {
	h := newHouse(t, build{Config: oneTarget + `environments:
  production:
    approvals: {required: 1}
    freeze: [{name: lunch, from: "2026-01-05T08:00", to: "2026-01-05T12:00", zone: UTC}]
    override: {by: {users: [cho]}, expires: 1h, review: 24h}
`, Server: func(s *config.Server) { s.Repositories[0].Apply = config.ApplyOnMerge }})
	h.advance(0) // the dates are of its clock
	n := h.approved()
	red := func() {
		t.Helper()
		mustContain(t, h.sticky(n), "frozen (lunch) until 2026-01-05 12:00")
		if got := h.check(h.pull(n).Head.SHA); got != "action_required" {
			t.Fatalf("the check concluded %q", got)
		}
	}
	red()
	h.say(second, n, "/override the shop is down")
	mustNotContain(t, h.sticky(n), "frozen (lunch) until")
	h.tick(time.Hour) // the override ends
	red()
	h.tick(2 * time.Hour) // lunch does
	if got := h.check(h.pull(n).Head.SHA); got != "success" {
		t.Fatalf("the check concluded %q:\n%s", got, h.sticky(n))
	}
}

func TestConditionOverrideGoesThroughAFreeze(t *testing.T) {
	h := newHouse(t, build{Config: oneTarget + `environments:
  production:
    approvals: {required: 1}
    freeze: [{name: holidays, from: "2026-01-01", to: "2026-01-06", zone: UTC, except: [{from: "2026-01-02", to: "2026-01-02"}]}]
    override: {by: {users: [cho]}, expires: 1h, review: 24h}
`})
	h.advance(0) // the dates are of its clock
	n := h.approved()
	h.refused(second, n, "two", "frozen (holidays)")
	mustContain(t, h.say(second, n, "/override checkout is down"), "overridden")
	mustContain(t, h.say(outsider, n, "/explain"), "not frozen (holidays), lifted by @\u200bcho's override until")
	h.applied(second, n, "two")
	_, r := h.gateFacts()
	mustContain(t, r.Reason, "approved by @bob", "production overridden by @cho (checkout is down)")
}

// ci adds an App that writes checks, and gives its number.
func (h *house) ci(slug string) *forgetest.App {
	h.t.Helper()
	app, err := h.hub(programs).AddApp("acme", slug, map[string]string{"checks": "write", "metadata": "read", "contents": "read"})
	h.must(err)
	h.hub(programs).Install(app, "acme", shop)
	return app
}

func TestConditionRequiredCheckByNameAndApp(t *testing.T) { // threat 25
	h := newHouse(t, build{})
	ci, forger := h.ci("ci"), h.ci("forger")
	h.land("policy", map[string]string{config.RepoFile: fmt.Sprintf(oneTarget+`environments:
  production:
    approvals: {required: 1}
    checks: [{name: ci/test, app: %d}]
`, ci.ID)})
	n := h.approved()
	head := h.pull(n).Head.SHA
	says := func(app *forgetest.App, conclusion string) {
		t.Helper()
		_, err := h.hub(programs).AsApp(app, shop).Check(t.Context(), shop, head, "ci/test", conclusion)
		h.must(err)
		h.settle()
	}
	h.refused(second, n, "two", "check ci/test", "where it has not run")
	says(forger, "success")
	h.must(h.as(opener).Status(t.Context(), shop, head, "ci/test", forge.Success))
	h.settle()
	mustContain(t, h.sticky(n), "(forger), which is not app", "of no app, which is not app")
	h.refused(second, n, "two", "where it has not run")
	for _, conclusion := range []string{"failure", "neutral", ""} {
		says(ci, conclusion)
		h.refused(second, n, "two", "check ci/test")
	}
	says(ci, "success")
	mustContain(t, h.sticky(n), "ready for") // the check's webhook woke the pull
	h.applied(second, n, "two")
}

func TestConditionMinimumAgeCountsFromThePlanAtHand(t *testing.T) {
	h := newHouse(t, build{Config: oneTarget + `environments:
  production:
    approvals: {required: 1}
    minimumAge: 10m
`})
	n := h.approved()
	h.refused(second, n, "two", "has to have been shown for 10m")
	h.advance(9 * time.Minute)
	h.push(opener, "change", change("three"))
	h.settle()
	h.say(reviewer, n, "/approve")
	h.advance(5 * time.Minute)
	h.refused(second, n, "three", "has to have been shown for 10m") // the old plan's age is not the new one's
	h.advance(6 * time.Minute)
	h.applied(second, n, "three")
}

const soaking = `targets:
  - {name: NS, path: deploy, cluster: main, environment: production}
  - {name: NS-stage, path: stage, cluster: main, environment: staging}
environments:
  staging:
    approvals: {required: 0}
  production:
    approvals: {required: 1}
    soak: {in: staging, for: 30m}
`

func TestConditionSoakInStagingBeforeProduction(t *testing.T) {
	h := newHouse(t, build{Config: soaking})
	none := h.open(opener, "none", change("none"))
	h.say(reviewer, none, "/approve")
	h.refused(second, none, "none", "changed nothing in staging")
	h.must(h.as(opener).Close(t.Context(), shop, none))
	h.settle()

	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two"), "stage/b.yaml": configMap("b", "two")})
	h.say(reviewer, n, "/approve")
	h.refused(second, n, "two", "apply "+h.ns+"-stage in staging first")
	mustContain(t, h.say(second, n, "/apply "+h.ns), "refused", "in staging first")
	mustContain(t, h.say(second, n, "/apply "+h.ns+"-stage"), "🚀")
	if h.value("b") != "two" || h.value("a") != "" || h.pull(n).Merged {
		t.Fatalf("b is %q, a is %q", h.value("b"), h.value("a"))
	}
	h.refused(second, n, "two", "has to soak in staging until")
	h.advance(29 * time.Minute)
	h.refused(second, n, "two", "has to soak in staging until")
	// A push is another thing to soak.
	h.push(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "three"), "stage/b.yaml": configMap("b", "three")})
	h.settle()
	h.say(reviewer, n, "/approve")
	h.advance(time.Hour)
	h.refused(second, n, "three", "in staging first")
	mustContain(t, h.say(second, n, "/apply "+h.ns+"-stage"), "🚀")
	h.advance(31 * time.Minute)
	h.applied(second, n, "three")
}

func TestConditionUnhealthyStagingKeepsFromProduction(t *testing.T) {
	h := newHouse(t, build{Config: soaking})
	h.kubectl("label", "nodes", "--all", h.ns+"=yes")
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two"), "stage/z.yaml": stuck})
	h.say(reviewer, n, "/approve")
	mustContain(t, h.say(second, n, "/apply "+h.ns+"-stage"), "🚀")
	h.kubectl("label", "nodes", "--all", h.ns+"-")
	h.kubectl("-n", h.ns, "delete", "pods", "--all", "--wait=false")
	h.kubectl("-n", h.ns, "wait", "--for=condition=Available=false", "deployment/z", "--timeout=90s")
	h.advance(time.Hour)
	h.refused(second, n, "two", h.ns+"-stage is not healthy in staging")
	h.freeNodes()
	h.refused(second, n, "two", "has to soak in staging until") // the time begins anew
	h.advance(31 * time.Minute)
	h.applied(second, n, "two")
}

func TestConditionDigestIsDemanded(t *testing.T) { // threat 32
	h := newHouse(t, build{Config: oneTarget + `environments:
  production:
    approvals: {required: 1}
    separation: {digest: true}
`})
	n := h.open(opener, "change", change("two"))
	h.say(reviewer, n, "/approve")
	h.approve(reviewer, n)
	mustContain(t, h.sticky(n), "not counted", "without naming the plan's digest", "`/approve "+h.digest(n)[:7]+"`, then `/apply`")
	h.refused(second, n, "two", "without naming the plan's digest")
	mustContain(t, h.say(reviewer, n, "/approve 01234567"), "refused", h.digest(n)[:7])
	mustContain(t, h.say(reviewer, n, "/approve "+h.digest(n)), "approved")
	h.applied(second, n, "two")
}

func TestConditionMergeOfTheBaseKeepsApprovalsWhereAllowed(t *testing.T) {
	t.Parallel()
	for _, keep := range []bool{true, false} {
		t.Run(fmt.Sprint(keep), func(t *testing.T) {
			h := newHouse(t, build{Config: oneTarget + fmt.Sprintf(`environments:
  production:
    approvals: {required: 1}
    separation: {keepOnBaseMerge: %t}
`, keep)})
			n := h.approved()
			update := func(file string, files map[string]string) {
				t.Helper()
				h.land(file, files)
				h.update(opener, n)
			}
			update("words", map[string]string{"README.md": "words\n"})
			if !keep {
				mustContain(t, h.sticky(n), "the base branch was merged in since")
				h.refused(second, n, "two", "the base branch was merged in since")
				h.say(reviewer, n, "/approve")
			}
			update("more", map[string]string{"README.md": "more words\n"})
			if !keep {
				h.say(reviewer, n, "/approve")
			}
			h.applied(second, n, "two")
		})
	}
}

// A merge by hand that brings in more than the base branch has is no update.
func TestConditionMergeWithOtherContentKeepsNothing(t *testing.T) {
	h := newHouse(t, build{Config: oneTarget + `environments:
  production:
    approvals: {required: 1}
    separation: {keepOnBaseMerge: true}
`})
	n := h.approved()
	h.push(opener, "side", map[string]string{"deploy/b.yaml": configMap("b", "smuggled")})
	h.mergeBranch(opener, "change", "side")
	h.settle()
	mustContain(t, h.sticky(n), "not counted", "the head is now")
	h.refused(second, n, "two", "1 approval")
}

// requested are the logins and slugs that a review is requested from.
func (h *house) requested(number int) []string {
	h.t.Helper()
	p, err := h.driver.Pull(h.t.Context(), h.repo, number)
	h.must(err)
	var names []string
	for _, u := range p.Requested.Users {
		names = append(names, u.Login)
	}
	for _, t := range p.Requested.Teams {
		names = append(names, t.String())
	}
	slices.Sort(names)
	return names
}

func TestConditionReviewIsRequestedOnceOfTheFewest(t *testing.T) {
	h := newHouse(t, build{Config: oneTarget + `environments:
  production:
    approvals: {required: 1, from: {teams: [acme/platform], users: [ann, cho]}}
rules:
  - name: maps
    when: {kinds: [ConfigMap]}
    require: {approvals: 1, from: {teams: [acme/platform, acme/dba]}}
  - name: keys
    when: {fields: ["data.key"]}
    require: {approvals: 1, from: {users: [cho]}}
`})
	h.team("dba", second)
	for _, team := range []string{"platform", "dba"} {
		h.must(h.forge.GrantTeam(t.Context(), shop, team))
	}
	asks := func() int {
		return len(slices.DeleteFunc(h.hub(counted).Calls(h.login, h.app().Slug), func(c forgetest.Call) bool {
			return c.Method != "POST" || !strings.HasSuffix(c.Path, "/requested_reviewers")
		}))
	}
	n := h.open(opener, "change", change("two"))
	// cho alone suffices for all three: nobody else is bothered, and ann opened it.
	if got := h.requested(n); len(got) > 2 || !slices.Contains(got, second) || asks() != 1 {
		t.Fatalf("asked %v in %d calls", got, asks())
	}
	before := h.requested(n)
	h.push(opener, "change", change("three"))
	h.settle()
	h.say(reviewer, n, "/approve")
	if got := h.requested(n); asks() != 1 || len(got) > len(before) {
		t.Fatalf("asked again: %v in %d calls", got, asks())
	}
}

// A team that cannot read the repository makes the forge refuse the whole
// request; whoever can is asked all the same.
func TestConditionReviewIsRequestedOfThoseWhoCanGiveIt(t *testing.T) {
	h := newHouse(t, build{Config: oneTarget + `environments:
  production:
    approvals: {required: 1, from: {teams: [acme/far]}}
rules:
  - name: keys
    require: {approvals: 1, from: {users: [cho]}}
`})
	h.person("fay")
	h.team("far", "fay")
	n := h.open(opener, "change", change("two"))
	if got := h.requested(n); !slices.Equal(got, []string{second}) {
		t.Fatalf("asked %v, want %s", got, second)
	}
	mustContain(t, h.sticky(n), "1 approval from acme/far", "1 approval from @\u200bcho")
}

func TestConditionFloorsCannotBeLowered(t *testing.T) {
	h := newHouse(t, build{
		Config: oneTarget + `environments:
  "*":
    approvals: {required: 0}
    separation: {contributors: [opener], approverMayApply: true, unattributable: allow}
    override: {by: {users: [ann, cho]}, expires: 24h, review: 999h}
groups:
  trusted: {users: [ann, cho]}
`,
		Server: func(s *config.Server) {
			floors, err := config.ParseServer("floors.yaml", []byte(`store: s
cache: c
github: {tokenFile: t, webhookSecretFiles: [w]}
clusters: {main: {}}
repositories: [{id: 1, name: acme/shop, allow: [{paths: ["**"], clusters: [main], environments: [production], namespaces: ["*"]}]}]
floors:
  groups: {trusted: {teams: [acme/platform]}}
  environments:
    production:
      approvals: {required: 1, from: {groups: [trusted]}}
      separation: {approverMayApply: false}
      freeze: [{name: the operator's, from: "2026-01-01", to: "2026-01-05", zone: UTC}]
  rules:
    - name: maps
      when: {kinds: [ConfigMap]}
      require: {approvals: 2}
`))
			if err != nil {
				t.Fatal(err)
			}
			s.Floors = floors.Floors
		},
	})
	h.advance(0) // the dates are of its clock
	h.member(second)
	n := h.open(opener, "change", change("two"))
	mustContain(t, h.sticky(n), "(the operator's floor)", "2 approvals", "frozen (the operator's)")
	h.say(opener, n, "/override it is mine")
	h.refused(second, n, "two", "frozen", "2 approvals", "group trusted") // the repository lifts only its own
	h.say(second, n, "/approve")
	h.say(reviewer, n, "/approve")
	h.advance(24 * time.Hour)
	h.refused(reviewer, n, "two", "approver and applier have to be different people")
	h.applied("owner", n, "two")
}

func TestConditionNestedAlternatives(t *testing.T) {
	h := newHouse(t, build{Config: oneTarget + `groups:
  dba: {users: [cho]}
environments:
  production:
    approvals: {required: 0}
rules:
  - name: data
    when: {kinds: [ConfigMap]}
    require:
      any:
        - {approvals: 1, from: {teams: [acme/directors]}}
        - all:
            - {approvals: 1, from: {groups: [dba]}}
            - any: [{approvals: 1, from: {teams: [acme/platform]}}, {approvals: 1, from: {teams: [acme/oncall]}}]
`})
	h.team("directors", "owner")
	h.team("oncall")
	h.member(second)
	n := h.open(opener, "change", change("two"))
	h.refused(second, n, "two", "either", "acme/directors", "or", "acme/platform")
	h.say(second, n, "/approve")
	h.refused(second, n, "two", "acme/platform")
	explained := h.say(outsider, n, "/explain")
	mustContain(t, explained, "one of", "all of", "cho")
	h.say(reviewer, n, "/approve")
	h.applied(second, n, "two")
	if got := h.records(audit.Gate); got[len(got)-1].Outcome != "allow" {
		t.Fatalf("the gate's last word is %q", got[len(got)-1].Outcome)
	}
}
