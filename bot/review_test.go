package bot_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/config"
	"lockkeeper/forge/people"
)

// free checks that no lease is left.
func (h *house) free() {
	h.t.Helper()
	leases, err := h.store.Leases(h.t.Context())
	h.must(err)
	if len(leases) > 0 {
		h.t.Fatalf("leases are left: %+v", leases)
	}
}

// TestOldMergedPullIsHistory comments on a merged pull that others built upon:
// nothing of it may come back, though its environment asks for no approval.
func TestOldMergedPullIsHistory(t *testing.T) {
	h := newHouse(t, build{
		Config: strings.Replace(plainConfig, "required: 1", "required: 0", 1),
		Server: func(s *config.Server) { s.Repositories[0].Apply = config.ApplyOnMerge },
	})
	merge := func(branch, value string) int {
		n := h.open(opener, branch, map[string]string{"deploy/a.yaml": configMap("a", value)})
		_, err := h.as(second).Merge(t.Context(), shop, n, "merge")
		h.must(err)
		h.settle()
		if h.value("a") != value {
			t.Fatalf("a is %q, want %q", h.value("a"), value)
		}
		return n
	}
	h.stop() // lockkeeper comes later than the first pull
	h.push(opener, "before", map[string]string{"deploy/a.yaml": configMap("a", "before")})
	before, err := h.as(opener).OpenPull(t.Context(), shop, "main", "before", "Before", "")
	h.must(err)
	_, err = h.as(second).Merge(t.Context(), shop, before, "merge")
	h.must(err)
	h.start()
	first := merge("first", "one")
	merge("then", "two")
	for _, n := range []int{before, first} {
		h.say(outsider, n, "thanks!")
		mustContain(t, h.say(opener, n, "/plan"), "refused", "nothing of it is left")
		mustContain(t, h.say(second, n, "/apply"), "refused", "nothing of it is left")
		if h.value("a") != "two" {
			t.Fatalf("a comment on #%d brought back %q", n, h.value("a"))
		}
	}
	for _, c := range h.comments(before) {
		if strings.Contains(c.Body, "lockkeeper:pull/") {
			t.Errorf("a pull from before lockkeeper's time got a report:\n%s", c.Body)
		}
	}
	h.free()
}

// TestRebaseMergeAppliesAllOfItsCommits: the parent of a rebase's last commit
// is not the base as it was.
func TestRebaseMergeAppliesAllOfItsCommits(t *testing.T) {
	h := newHouse(t, build{
		Config: strings.Replace(plainConfig, "required: 1", "required: 0", 1),
		Server: func(s *config.Server) { s.Repositories[0].Apply = config.ApplyOnMerge },
	})
	file := func(name, value string) people.Commit {
		return people.Commit{Message: "change " + name, Files: map[string]string{"deploy/" + name + ".yaml": h.in(configMap(name, value))}}
	}
	_, err := h.as(opener).Push(t.Context(), shop, "change", "main", file("a", "two"), file("b", "three"))
	h.must(err)
	n, err := h.as(opener).OpenPull(t.Context(), shop, "main", "change", "Change", "")
	h.must(err)
	_, err = h.as(second).Merge(t.Context(), shop, n, h.keepingCommits())
	h.must(err)
	h.settle()
	if h.value("a") != "two" || h.value("b") != "three" {
		t.Fatalf("a is %q and b is %q after the merge", h.value("a"), h.value("b"))
	}
}

// TestMergeWithoutAWebhookIsFoundBySweeping loses every webhook of a merge.
func TestMergeWithoutAWebhookIsFoundBySweeping(t *testing.T) { // invariant 4
	h := newHouse(t, build{
		Config: strings.Replace(plainConfig, "required: 1", "required: 0", 1),
		Server: func(s *config.Server) { s.Repositories[0].Apply = config.ApplyOnMerge },
	})
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	h.deaf()
	_, err := h.as(second).Merge(t.Context(), shop, n, "merge")
	h.must(err)
	h.must(h.store.Want(t.Context(), fmt.Sprintf("sweep/%d", h.server.Repositories[0].ID)))
	h.must(h.store.Idle(t.Context()))
	if h.value("a") != "two" {
		t.Fatalf("a is %q after the sweep", h.value("a"))
	}
}

// TestRestoreIsJudgedByThePolicyOfTheBase closes a half-applied pull that
// brings a policy without approvals.
func TestThreat2RestoreIsJudgedByThePolicyOfTheBase(t *testing.T) { // threat 2
	h := newHouse(t, build{Files: map[string]string{"deploy/b.yaml": configMap("b", "one")}})
	h.seedLive()
	n := h.open(opener, "change", map[string]string{
		"deploy/a.yaml": configMap("a", "two"), "deploy/z.yaml": stuck,
		".lockkeeper.yaml": strings.Replace(plainConfig, "required: 1", "required: 0", 1),
	})
	h.say(reviewer, n, "/approve")
	h.say("owner", n, "/approve") // the policy's
	mustContain(t, h.say(second, n, "/apply"), "1 of 2")
	h.must(h.as(opener).Close(t.Context(), shop, n))
	h.settle()
	mustContain(t, h.say(opener, n, "/apply"), "refused", "1 approval")
	if h.value("a") != "two" {
		t.Fatalf("a is %q: restored without an approval", h.value("a"))
	}
	mustContain(t, h.say(reviewer, n, "/approve"), "approved")
	mustContain(t, h.say(opener, n, "/apply"), "🚀")
	if h.value("a") != "one" {
		t.Fatalf("a is %q after the restore", h.value("a"))
	}
	h.free()
}

func TestThreat34RewrittenBaseFreezesItsPulls(t *testing.T) { // threat 34
	h := newHouse(t, build{})
	h.must(h.as("owner").CreateBranch(t.Context(), shop, "start", "main"))
	_, err := h.as("owner").Push(t.Context(), shop, "main", "main", people.Commit{Message: "more", Files: map[string]string{"more.md": "more\n"}})
	h.must(err)
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	h.say(reviewer, n, "/approve")
	mustContain(t, h.sticky(n), "ready for")
	_, err = h.as("owner").ForcePush(t.Context(), shop, "main", "start", people.Commit{Message: "rewritten", Files: map[string]string{"less.md": "less\n"}})
	h.must(err)
	h.settle()
	mustContain(t, h.sticky(n), "main was rewritten")
	mustContain(t, h.say(second, n, "/apply"), "refused", "rewritten")
	if len(h.records(audit.Hold)) != 1 {
		t.Error("the rewriting is not recorded")
	}
	mustContain(t, h.say(second, n, "/unhold"), "lifted")
	mustNotContain(t, h.sticky(n), "main was rewritten")
}

func TestCommandsForAnotherBotAreLeftAlone(t *testing.T) {
	h := newHouse(t, build{})
	h.stop()
	h.push(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	n, err := h.as(opener).OpenPull(t.Context(), shop, "main", "change", "Change", "")
	h.must(err)
	id, err := h.as(reviewer).Comment(t.Context(), shop, n, "/approve")
	h.must(err)
	h.advance(24 * time.Hour)
	h.start()
	mustContain(t, h.say(outsider, n, "/status"), "not yet allowed")
	if got := h.replyTo(n, id); got != "" {
		t.Fatalf("answered what was said a day before it came: %s", got)
	}
}

// TestLeaseOfAnApplyThatNeverBeganIsGivenUp is the trace that a kill between
// taking a target and writing down the intent leaves.
func TestLeaseOfAnApplyThatNeverBeganIsGivenUp(t *testing.T) { // threat 28
	h := newHouse(t, build{})
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	repo := h.server.Repositories[0].ID
	_, ok, _, err := h.store.Acquire(t.Context(), fmt.Sprintf("target/main/%s/%d", h.ns, repo), fmt.Sprintf("pull/%d/%d", repo, n), "apply", 0)
	h.must(err)
	if !ok {
		t.Fatal("the lease was taken already")
	}
	h.say(outsider, n, "/status")
	h.free()
}
