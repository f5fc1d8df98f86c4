package bot_test

import (
	"fmt"
	"testing"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/config"
	"lockkeeper/bot/store"
)

func TestDriftIsAdoptedByAMergeAndAppliedAfterIt(t *testing.T) {
	h := newHouse(t, build{Server: func(s *config.Server) { s.Repositories[0].Apply = config.ApplyOnMerge }})
	h.seedLive()
	h.byHand("a", "by hand")
	h.lookForDrift()
	n := h.driftPull(1).Number
	mustContain(t, h.sticky(n), "not yet allowed", "2 approvals", "whoever changed ConfigMap "+h.ns+"/a live may be anybody")
	h.approve(reviewer, n)
	if got := h.check(h.pull(n).Head.SHA); got != "action_required" {
		t.Fatalf("one approval, and the check concluded %q", got)
	}
	// What is live moves on: what was approved is not what would be adopted.
	h.byHand("a", "by another hand")
	h.settle()
	h.say(second, n, "/plan")
	if got := h.check(h.pull(n).Head.SHA); got != "failure" {
		t.Fatalf("live moved on, and the check concluded %q:\n%s", got, h.sticky(n))
	}
	mustContain(t, h.sticky(n), "live moved on")
	h.lookForDrift()
	h.approve(reviewer, n)
	h.approve(opener, n)
	if got := h.check(h.pull(n).Head.SHA); got != "success" {
		t.Fatalf("the check concluded %q:\n%s", got, h.sticky(n))
	}
	_, err := h.as(second).Merge(t.Context(), shop, n, "squash")
	h.must(err)
	h.settle()
	h.lookForDrift()
	if left := h.drifts(); len(left) != 0 || h.value("a") != "by another hand" {
		t.Errorf("adopted, and known are %+v; a is %q", left, h.value("a"))
	}
	h.chain()
}

// Threat 28: a heal that a stop of the process cut short holds nothing, and is
// not running, after the next start.
func TestThreat28AHealThatWasCutShortIsOver(t *testing.T) { // threat 28
	h := newHouse(t, build{})
	repo := h.server.Repositories[0].ID
	key := fmt.Sprintf("target/main/%s/%d", h.ns, repo)
	_, _, _, err := h.store.Acquire(t.Context(), key, "heal/cut", "heal of "+h.ns, 0)
	h.must(err)
	h.must(h.store.StartOperation(t.Context(), store.Operation{ID: "cut", Kind: "heal", RepoID: repo, Targets: []string{h.ns}}))
	h.lookForDrift()
	running, err := h.store.RunningOperations(t.Context())
	h.must(err)
	leases, err := h.store.Leases(t.Context())
	h.must(err)
	if len(running)+len(leases) > 0 {
		t.Errorf("running are %+v, held %+v", running, leases)
	}
	if ends := h.records(audit.ApplyEnd); len(ends) != 1 || ends[0].Operation != "cut" || ends[0].Outcome != "interrupted" {
		t.Errorf("recorded are %+v", ends)
	}
	h.chain()
}
