package bot_test

import (
	"fmt"
	"strings"
	"testing"

	"lockkeeper/bot/drift"
	"lockkeeper/bot/store"
)

// Invariant 9: of objects that the inventory knows nothing of any more nobody can
// say that what was applied is live again; that is said, and the pull stays.
func TestDriftIsUnknownWhileTheInventoryIsGone(t *testing.T) {
	h := newHouse(t, build{})
	h.seedLive()
	h.byHand("a", "by hand")
	h.lookForDrift()
	h.driftPull(1)
	var shards []string
	for _, line := range strings.Split(h.kubectl("-n", "lockkeeper-system", "get", "secrets", "-o", "jsonpath={range .items[*]}{.metadata.name} {.metadata.labels} {.metadata.annotations}{\"\\n\"}{end}"), "\n") {
		if strings.Contains(line, h.ns) {
			shards = append(shards, strings.Fields(line)[0])
		}
	}
	if len(shards) == 0 {
		t.Fatal("the inventory has nothing of the target")
	}
	for _, s := range shards {
		h.kubectl("-n", "lockkeeper-system", "delete", "secret", s)
	}
	h.lookForDrift()
	p := h.driftPull(1)
	if p.State != "open" || len(h.drifts()) != 1 {
		t.Fatalf("nobody knows what was applied, and the pull is %+v", p)
	}
	// Where the inventory held nothing else, the cluster was made anew.
	known, err := h.store.Watch(t.Context(), "main")
	h.must(err)
	if issues := h.issues("open"); known.Mass.IsZero() != (len(issues) == 0) {
		t.Errorf("many changes since %s, and the issues %+v", known.Mass, issues)
	}

	// Nor is it clean where nothing drifted before.
	h.must(h.store.DropDrift(t.Context(), h.server.Repositories[0].ID, "main", h.ns))
	h.must(h.store.SaveWatch(t.Context(), store.Watch{Cluster: "main"})) // everything is due
	h.lookForDrift()
	known, err = h.store.Watch(t.Context(), "main")
	h.must(err)
	if told := fmt.Sprint(known.Unknown); !strings.Contains(told, "target "+h.ns+" ") {
		t.Errorf("unknown: %s", told)
	}
	mustContain(t, h.drifted(), "unknown")

	n := h.open(opener, "anew", map[string]string{"README.md": "anew\n"})
	h.say(second, n, "/sync "+h.ns)
	h.say(reviewer, n, "/approve")
	mustContain(t, h.say(second, n, "/apply"), "🚀")
	h.must(h.store.Want(t.Context(), drift.Key("main")))
	h.settle()
	if known, err = h.store.Watch(t.Context(), "main"); err != nil || strings.Contains(fmt.Sprint(known.Unknown), h.ns) {
		t.Errorf("applied again, and unknown: %v %v", known.Unknown, err)
	}
	mustContain(t, h.drifted(), "known again")
}
