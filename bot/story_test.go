package bot_test

import (
	"testing"

	"lockkeeper/bot/audit"
)

func TestPullIsPlannedApprovedAppliedAndMerged(t *testing.T) {
	h := newHouse(t, build{})
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	report := h.sticky(n)
	mustContain(t, report, "not yet allowed", "`/approve`", "+ data.key: two")
	if got := h.check(h.pull(n).Head.SHA); got != "action_required" {
		t.Fatalf("check concluded %q before the approval", got)
	}
	if got := h.value("a"); got != "" {
		t.Fatalf("planning wrote to the cluster: %q", got)
	}

	mustContain(t, h.say(second, n, "/apply"), "refused", "1 approval")
	mustContain(t, h.say(opener, n, "/approve"), "refused", "opened it")
	mustContain(t, h.say(reviewer, n, "/approve"), "approved")
	mustContain(t, h.sticky(n), "ready for `/apply`", "bob")
	mustContain(t, h.say(second, n, "/apply"), "🚀", "Merged as")

	if got := h.value("a"); got != "two" {
		t.Fatalf("live value is %q, want two", got)
	}
	if p := h.pull(n); !p.Merged {
		t.Fatal("the pull is not merged")
	}
	mustContain(t, h.sticky(n), "Applied and merged")
	if len(h.records(audit.ApplyStart)) != 1 || len(h.records(audit.ApplyEnd)) != 1 || len(h.records(audit.Merge)) == 0 {
		t.Fatal("the audit trail lacks the apply or the merge")
	}
}
