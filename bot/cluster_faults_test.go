package bot_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"lockkeeper/bot/config"
)

// later lets time go by on the forge's clock, which is the bot's, until
// something that becomes due is done.
func (h *house) later(what string, ok func() bool) {
	h.t.Helper()
	h.until(what, func() bool {
		h.forge.Advance(30 * time.Second)
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
	t.Log(h.replyTo(n, id), h.sticky(n))
	h.must(link.Restore())
	h.kubectl("label", "nodes", "--all", h.ns+"=yes")
	h.later("there is a plan again", func() bool { return !strings.Contains(h.sticky(n), "cannot be applied") })
	t.Log(h.sticky(n))
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
