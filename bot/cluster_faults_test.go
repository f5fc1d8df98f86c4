package bot_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"lockkeeper/bot/config"
	"lockkeeper/cluster/clustertest"
	"lockkeeper/forge/forgetest"
)

// later lets time go by on the forge's clock, which is the bot's, until
// something that becomes due is done.
func (h *house) later(what string, ok func() bool) {
	h.t.Helper()
	h.until(what, func() bool {
		h.advance(30 * time.Second)
		// Planning anything has the store look at the clock.
		h.must(h.store.WantAt(h.t.Context(), fmt.Sprintf("sweep/%d", h.server.Repositories[0].ID), h.forge.Now().Add(1000*time.Hour)))
		h.settle()
		return ok()
	})
}

// TestClusterThatCannotBeReachedIsSaidSoAndAskedAgain: no answer is never "no
// change" (invariant 9), and the plan comes by itself once the cluster answers.
func TestClusterThatCannotBeReachedIsSaidSoAndAskedAgain(t *testing.T) {
	link, err := plane.Get(t).Delay(0)
	if err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, build{Server: func(s *config.Server) { s.Clusters["main"] = config.Cluster{Kubeconfig: link.Kubeconfig} }})
	h.must(link.Cut())
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	mustContain(t, h.sticky(n), "cannot be applied", "cluster main", "reach")
	if got := h.check(h.pull(n).Head.SHA); got != "failure" {
		t.Errorf("check concluded %q", got)
	}
	mustContain(t, h.say(second, n, "/apply"), "refused", "cluster main")
	h.must(link.Restore())
	h.later("the plan is there", func() bool { return strings.Contains(h.sticky(n), "+ data.key: two") })
	mustContain(t, h.sticky(n), "not yet allowed")

	h.say(reviewer, n, "/approve")
	h.must(link.Cut())
	mustContain(t, h.say(second, n, "/apply"), "refused", "cluster main")
	h.nothingWritten("cut before the apply")
	h.must(link.Restore())
	h.later("the plan is there again", func() bool { return strings.Contains(h.sticky(n), "ready for") })
	mustContain(t, h.say(second, n, "/apply"), "Merged as")
	h.chain()
}

// TestTroubleOfAClusterWithOneObjectPasses: what the API server could not do for
// one object keeps the plan from being applied, is said so, and is asked again by
// itself.
func TestTroubleOfAClusterWithOneObjectPasses(t *testing.T) {
	road, err := plane.Get(t).Sick()
	if err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, build{Server: func(s *config.Server) { s.Clusters["main"] = config.Cluster{Kubeconfig: road.Kubeconfig} }})
	road.Fall(clustertest.Ill{Of: func(r *http.Request) bool { return r.Method == http.MethodPatch }, Status: http.StatusInternalServerError})
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	mustContain(t, h.sticky(n), "cannot be applied", "ConfigMap "+h.ns+"/a", "cluster main")
	road.Heal()
	h.later("the plan is there", func() bool { return strings.Contains(h.sticky(n), "+ data.key: two") })
}

// TestClusterCutDuringAnApplyFailsItAndApplyGoesOn (threat 28).
func TestClusterCutDuringAnApplyFailsItAndApplyGoesOn(t *testing.T) {
	link, err := plane.Get(t).Delay(0)
	if err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, build{
		Config: strings.Replace(plainConfig, "    path: deploy\n", "    path: deploy\n    timeout: 15s\n", 1),
		Server: func(s *config.Server) { s.Clusters["main"] = config.Cluster{Kubeconfig: link.Kubeconfig} },
	})
	n, id := h.applying()
	h.must(link.Cut())
	h.until("the command is answered", func() bool { return h.replyTo(n, id) != "" })
	h.settle()
	mustContain(t, h.replyTo(n, id), "❌")
	if h.pull(n).Merged {
		t.Fatal("merged without knowing what was applied")
	}
	mustContain(t, h.sticky(n), "cannot be reached", "1 of 2")
	h.must(link.Restore())
	h.freeNodes()
	h.later("there is a plan again", func() bool { return !strings.Contains(h.sticky(n), "cannot be applied") })
	mustContain(t, h.say(second, n, "/apply"), "Merged as")
	if h.value("a") != "two" {
		t.Errorf("a is %q", h.value("a"))
	}
	h.chain()
}

func TestExpiredClusterCredentialsAreSaidSo(t *testing.T) {
	const token = "expired-token-of-nobody"
	login, err := plane.Get(t).Login("expired", token)
	if err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, build{Server: func(s *config.Server) { s.Clusters["main"] = config.Cluster{Kubeconfig: login.Kubeconfig} }})
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	mustContain(t, h.sticky(n), "cannot be applied", "cluster main", "credentials", "expired")
	h.say(reviewer, n, "/approve")
	mustContain(t, h.say(second, n, "/apply"), "refused", "credentials")
	for _, c := range h.comments(n) {
		if strings.Contains(c.Body, token) {
			t.Errorf("the token is shown:\n%s", c.Body)
		}
	}
	h.nothingWritten("expired credentials")
	h.chain()
}

// TestForcePushDuringAnApplyKeepsTheTargetsUntilItIsSettled (threat 16): the
// merge is pinned to the head that was applied, so it is refused; the pull says
// so, keeps its target from others, and the next plan shows how to get from
// what was applied to what is wanted now.
func TestForcePushDuringAnApplyKeepsTheTargetsUntilItIsSettled(t *testing.T) {
	h := newHouse(t, build{})
	other := h.open(opener, "other", map[string]string{"deploy/b.yaml": configMap("b", "other")})
	n, id := h.applying() // a becomes two, z is made
	_, err := h.as(opener).ForcePush(t.Context(), shop, "change", "main", textCommit(map[string]string{"README.md": "nothing any more\n"}))
	h.must(err)
	h.freeNodes()
	h.settle()
	reply := h.replyTo(n, id)
	mustContain(t, reply, "NOT merged", "stay locked")
	mustNotContain(t, reply, "🚀")
	if h.pull(n).Merged || h.value("a") != "two" {
		t.Fatalf("merged %t, a is %q", h.pull(n).Merged, h.value("a"))
	}
	// The head that is there now touches no target, and what was applied is
	// still part of the plan.
	mustContain(t, h.sticky(n), "Deployment.apps "+h.ns+"/z", "**deletes**")
	if got := h.check(h.pull(n).Head.SHA); got == "success" {
		t.Error("the check of the new head succeeded")
	}
	h.say(reviewer, other, "/approve")
	mustContain(t, h.say(second, other, "/apply"), "refused", "is held by")
	mustContain(t, h.say(second, n, "/apply"), "refused", "1 approval")
	h.say(reviewer, n, "/approve")
	mustContain(t, h.say(second, n, "/apply"), "Merged as")
	leases, err := h.store.Leases(t.Context())
	h.must(err)
	if len(leases) > 0 {
		t.Errorf("leases are left: %+v", leases)
	}
	if err := h.plane.Kubectl(t.Context(), "-n", h.ns, "get", "deployment", "z").Run(); err == nil {
		t.Error("the Deployment of the head that was pushed away is still there")
	}
	h.chain()
}

// TestAppliedAndMergedByHandGivesTheTargetsFree: a merge that the forge refused
// lockkeeper and that somebody else makes ends what the pull holds.
func TestAppliedAndMergedByHandGivesTheTargetsFree(t *testing.T) {
	h := newHouse(t, build{})
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	h.say(reviewer, n, "/approve")
	h.fail(func(r *http.Request) *forgetest.Fault {
		if asksLockkeeper(r) && strings.HasSuffix(r.URL.Path, "/merge") {
			return &forgetest.Fault{Status: 405, Message: "Base branch was modified"}
		}
		return nil
	})
	mustContain(t, h.say(second, n, "/apply"), "NOT merged", "Base branch was modified")
	mustContain(t, h.sticky(n), "NOT merged")
	if leases, err := h.store.Leases(t.Context()); err != nil || len(leases) != 1 {
		t.Errorf("leases: %+v, %v", leases, err)
	}
	_, err := h.as(second).Merge(t.Context(), shop, n, "squash")
	h.must(err)
	h.settle()
	if leases, err := h.store.Leases(t.Context()); err != nil || len(leases) > 0 {
		t.Errorf("leases are left: %+v, %v", leases, err)
	}
	mustContain(t, h.sticky(n), "merged")
	mustNotContain(t, h.sticky(n), "NOT merged")
	h.chain()
}
