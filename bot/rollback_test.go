package bot_test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"lockkeeper/bot/audit"
)

const easyRollback = oneTarget + `environments:
  production:
    approvals: {required: 2}
    rollback: {required: 1}
`

// undoing is the number of the pull that a reply names.
func undoing(t *testing.T, reply string) int {
	t.Helper()
	m := regexp.MustCompile(`#(\d+)`).FindStringSubmatch(reply)
	if m == nil {
		t.Fatalf("no pull is named in: %s", reply)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// change brings a value to the cluster, with two approvals.
func (h *house) change(value string) int {
	h.t.Helper()
	n := h.open(opener, "to-"+value, map[string]string{"deploy/a.yaml": configMap("a", value)})
	h.approve(reviewer, n)
	h.approve(second, n)
	h.applied(opener, n, value)
	return n
}

func TestARollbackIsAPullAndMayNeedFewerApprovals(t *testing.T) {
	h := newHouse(t, build{Config: easyRollback})
	h.live(reviewer, second)
	n := h.change("two")
	mustContain(t, h.say(outsider, n, "/rollback"), "refused", "write access")
	back := undoing(t, h.say(second, n, "/rollback"))
	h.settle()
	mustContain(t, h.sticky(back), "- data.key: two", "+ data.key: one", "applied with approval and healthy", "not yet allowed")
	if again := undoing(t, h.say(opener, n, "/rollback")); again != back {
		t.Fatalf("a second rollback is #%d, the first #%d", again, back)
	}
	mustContain(t, h.say(second, back, "/approve"), "refused", "asked for it")
	h.refused(opener, back, "one", "either 2 approvals", "or 1 approval")
	h.approve(reviewer, back)
	h.applied(second, back, "one")

	// What somebody adds makes it a pull like any other.
	n = h.change("three")
	back = undoing(t, h.say(second, n, fmt.Sprintf("/rollback to #%d", n-1)))
	h.settle()
	mustContain(t, h.sticky(back), "+ data.key: one")
	h.push(opener, fmt.Sprintf("lockkeeper/rollback/%d", n), map[string]string{"deploy/b.yaml": configMap("b", "new")})
	h.settle()
	h.approve(reviewer, back)
	h.refused(second, back, "one", "2 more approvals", "which lockkeeper committed")
	mustContain(t, h.sticky(back), "it is more than a rollback")
}

// A rollback to what nobody had to approve then, or what was approved for another
// environment, needs what any pull does by the rules of now.
func TestOnlyWhatWasApprovedForItsEnvironmentIsGoneBackToWithFewerApprovals(t *testing.T) {
	for name, before := range map[string]string{
		"nobody had to approve it": oneTarget + "environments:\n  production:\n    approvals: {required: 0}\n",
		"it was staging": strings.Replace(oneTarget, "production", "staging", 1) +
			"environments:\n  staging:\n    approvals: {required: 1}\n  production:\n    approvals: {required: 2}\n",
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, build{Config: before})
			h.live(reviewer)
			h.change("two")
			h.land("policy", map[string]string{".lockkeeper.yaml": easyRollback})
			n := h.change("three")
			back := undoing(t, h.say(second, n, "/rollback"))
			h.settle()
			h.approve(reviewer, back)
			h.refused(opener, back, "two", "1 more approval")
			mustContain(t, h.sticky(back), "was never applied with approval")
		})
	}
}

func TestAHalfAppliedPullIsRolledBackByClosingIt(t *testing.T) {
	h := newHouse(t, build{Files: map[string]string{"deploy/b.yaml": configMap("b", "one")}})
	h.seedLive()
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two"), "deploy/z.yaml": stuck})
	mustContain(t, h.say(second, n, "/rollback"), "refused", "nothing of this pull is applied")
	h.say(reviewer, n, "/approve")
	mustContain(t, h.say(second, n, "/apply"), "❌", "`/rollback` goes back instead", "Deployment.apps "+h.ns+"/z")
	mustContain(t, h.sticky(n), "half-way", "`/rollback`")
	mustContain(t, h.say(second, n, "/rollback"), "the plan above puts main back")
	if p := h.pull(n); p.State != "closed" {
		t.Fatalf("the pull is %s", p.State)
	}
	mustContain(t, h.sticky(n), "Closed after it was applied", "/unlock restore")
	h.say(reviewer, n, "/approve")
	mustContain(t, h.say(second, n, "/unlock restore"), "🚀")
	if h.value("a") != "one" {
		t.Fatalf("a is %q after the restore", h.value("a"))
	}
	h.chain()
	if got := h.records(audit.ApplyEnd); len(got) != 3 {
		t.Errorf("%d operations are recorded", len(got))
	}
}
