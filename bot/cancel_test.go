package bot_test

import (
	"net/http"
	"sync/atomic"
	"testing"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/config"
	"lockkeeper/cluster/clustertest"
)

// leased counts the targets that are held.
func (h *house) leased() int {
	h.t.Helper()
	leases, err := h.store.Leases(h.t.Context())
	h.must(err)
	return len(leases)
}

// ends are the outcomes of the operations, oldest first.
func (h *house) ends() []string {
	h.t.Helper()
	var out []string
	for _, r := range h.records(audit.ApplyEnd) {
		out = append(out, r.Outcome)
	}
	return out
}

// TestCancelStopsAnApplyThatWaits: between two objects, or while it waits for
// health; by whoever may write, and nobody else. What was done is told and stays
// the pull's, /apply goes on with it.
func TestCancelStopsAnApplyThatWaits(t *testing.T) {
	h := newHouse(t, build{})
	other := h.open(opener, "other", map[string]string{"deploy/b.yaml": configMap("b", "other")})
	mustContain(t, h.say(second, other, "/cancel"), "refused", "nothing of this pull is being applied")
	h.say(reviewer, other, "/approve")
	n, command := h.applying() // a becomes two, z waits
	stranger, err := h.as(outsider).Comment(t.Context(), shop, n, "/cancel")
	h.must(err)
	edited, err := h.as(second).Comment(t.Context(), shop, n, "/status")
	h.must(err)
	h.must(h.as(second).EditComment(t.Context(), shop, n, edited, "/cancel")) // threat 11
	cancel, err := h.as(reviewer).Comment(t.Context(), shop, n, "please stop\n\n/cancel")
	h.must(err)
	h.settle()

	for _, id := range []int64{command, cancel} {
		mustContain(t, h.replyTo(n, id), "⏹️", "Cancelled by @\u200bbob", "1 of 2 changes", "/rollback", "accepted by the cluster")
	}
	mustContain(t, h.replyTo(n, stranger), "refused", "write access")
	mustContain(t, h.sticky(n), "The apply was cancelled", "Deployment.apps "+h.ns+"/z", "/rollback")
	if got := h.check(h.pull(n).Head.SHA); got != "action_required" || h.pull(n).Merged {
		t.Errorf("the check is %s, merged %t", got, h.pull(n).Merged)
	}
	mustContain(t, h.say(second, other, "/apply"), "refused", "is held by")
	mustContain(t, h.say(reviewer, n, "/cancel"), "refused", "any more", "Cancelled by")
	h.freeNodes()
	mustContain(t, h.say(second, n, "/apply"), "Merged as")
	mustContain(t, h.say(second, n, "/cancel"), "refused", "any more", "/rollback")
	if got := h.ends(); len(got) != 2 || got[0] != "cancelled" || got[1] != "succeeded" || h.leased() != 0 {
		t.Errorf("the operations ended as %v; %d leases are left", got, h.leased())
	}
	h.chain()
}

// TestCancelWhileTheProcessWasDown ends the operation that would be taken up
// again, and /rollback goes back.
func TestCancelWhileTheProcessWasDown(t *testing.T) {
	h := newHouse(t, build{})
	n, command := h.applying()
	h.stop()
	cancel, err := h.as(reviewer).Comment(t.Context(), shop, n, "/cancel")
	h.must(err)
	h.start()
	h.must(h.bot.WantAll(t.Context()))
	h.settle()
	for _, id := range []int64{command, cancel} {
		mustContain(t, h.replyTo(n, id), "⏹️", "Cancelled by @\u200bbob", "stopped in the middle")
	}
	if got := h.ends(); len(got) != 1 || got[0] != "cancelled" || h.leased() != 1 {
		t.Errorf("the operations ended as %v; %d leases are held", got, h.leased())
	}
	mustContain(t, h.say(second, n, "/rollback"), "The pull is closed")
	h.say(reviewer, n, "/approve")
	mustContain(t, h.say(second, n, "/unlock restore"), "applied and healthy")
	if h.leased() != 0 || h.plane.Kubectl(t.Context(), "-n", h.ns, "get", "deployment", "z").Run() == nil {
		t.Errorf("%d leases are left, or the Deployment is", h.leased())
	}
	h.chain()
}

// TestNewerPushCancelsARunningPlan: a plan of a head that is gone is not waited
// for, however long its cluster takes; the new head is planned at once.
func TestNewerPushCancelsARunningPlan(t *testing.T) {
	road, err := plane.Get(t).Sick()
	if err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, build{Server: func(s *config.Server) { s.Clusters["main"] = config.Cluster{Kubeconfig: road.Kubeconfig} }})
	var stuck atomic.Bool
	stuck.Store(true)
	road.Fall(clustertest.Ill{Of: func(*http.Request) bool { return stuck.Load() }, Hang: true})
	old := h.push(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	n, err := h.as(opener).OpenPull(t.Context(), shop, "main", "change", "Change", "")
	h.must(err)
	h.until("the plan hangs", func() bool { return len(road.Met()) > 0 })
	stuck.Store(false) // what hangs goes on doing so
	head := h.push(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "three")})
	h.settle()
	mustContain(t, h.sticky(n), "+ data.key: three")
	for _, r := range h.records(audit.Plan) {
		if r.Head == old {
			t.Errorf("the head that was gone was planned to the end: %+v", r)
		}
	}
	if got := h.check(head); got != "action_required" {
		t.Errorf("the check of the new head is %s", got)
	}
}
