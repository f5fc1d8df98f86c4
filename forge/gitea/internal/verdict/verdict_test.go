package verdict

import (
	"testing"
	"time"

	"lockkeeper/forge"
)

// A pull that is said not to be mergeable may only be in the queue.
func TestMergeabilityIsUnknownAtFirst(t *testing.T) {
	var v Memory
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	p := forge.Pull{Number: 7, Head: forge.Branch{SHA: "a"}, Base: forge.Branch{SHA: "b", RepoID: 5}}
	if got, _ := v.Of(p, false, now); got != nil {
		t.Errorf("at once: %v", *got)
	}
	if got, _ := v.Of(p, false, now.Add(Settled)); got == nil || *got {
		t.Errorf("when settled: %v", got)
	}
	p.Base.SHA = "c"
	if got, _ := v.Of(p, false, now.Add(Settled)); got != nil {
		t.Errorf("after the base moved: %v", *got)
	}
	if got, _ := v.Of(p, true, now.Add(Settled)); got == nil || !*got {
		t.Errorf("mergeable: %v", got)
	}
	p.Draft = true
	if got, word := v.Of(p, false, now); got == nil || *got || word != "draft" {
		t.Errorf("a draft: %v, %s", got, word)
	}
}
