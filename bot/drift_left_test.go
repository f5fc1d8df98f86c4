package bot_test

import (
	"fmt"
	"strings"
	"testing"
)

// A target that Git has no more, and whose objects are still there, is not clean:
// nobody can say what they should be.
func TestWhatIsLeftOfARemovedTargetIsNotClean(t *testing.T) {
	h := newHouse(t, build{})
	h.seedLive()
	h.byHand("a", "by hand")
	h.lookForDrift()
	h.driftPull(1)
	h.pushDirectly(opener, map[string]string{".lockkeeper.yaml": strings.Replace(h.in(plainConfig), "name: "+h.ns, "name: "+h.ns+"-renamed", 1)})
	for range 2 { // it is not forgotten at the next look
		h.lookForDrift()
		known, err := h.store.Watch(t.Context(), "main")
		h.must(err)
		if told := fmt.Sprint(known.Unknown); !strings.Contains(told, "no base branch has it") {
			t.Fatalf("unknown: %s", told)
		}
	}
	p := h.driftPull(1)
	if p.State != "closed" {
		t.Errorf("left open: %+v", p)
	}
	var said []string
	for _, c := range h.comments(p.Number) {
		said = append(said, c.Body)
	}
	mustContain(t, strings.Join(said, "\n"), "Git has this target on this cluster no more")
	mustNotContain(t, strings.Join(said, "\n"), "live again")
}
