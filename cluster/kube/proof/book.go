package proof

import (
	"sync"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/inventory"
)

// Book holds, in memory, the baselines that exact checks found: objects that
// were written since they were applied, but hold all the same what was applied.
// It may be used concurrently; the zero value is empty.
type Book struct {
	mu      sync.Mutex
	lessons map[cluster.Ref]lesson
}

// lesson is a baseline, and the inventory's entry that it stands in for.
type lesson struct {
	over   Baseline
	digest string // of the entry
	now    Baseline
}

// Learn keeps the baseline of an object that an exact check against its entry
// found to be as applied. It holds until the entry changes: what a later apply
// wrote wins.
func (b *Book) Learn(e inventory.Entry, now Baseline) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lessons == nil {
		b.lessons = map[cluster.Ref]lesson{}
	}
	b.lessons[e.Ref] = lesson{over: OfEntry(e), digest: e.Digest, now: now}
}

// Baseline is what an object of the inventory has to be compared with.
func (b *Book) Baseline(e inventory.Entry) Baseline {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l, ok := b.lessons[e.Ref]; ok && l.digest == e.Digest && l.over == OfEntry(e) {
		return l.now
	}
	return OfEntry(e)
}

// Keep drops what was learnt about all other objects.
func (b *Book) Keep(known func(cluster.Ref) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for ref := range b.lessons {
		if !known(ref) {
			delete(b.lessons, ref)
		}
	}
}
