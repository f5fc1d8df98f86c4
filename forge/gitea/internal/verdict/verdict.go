// Package verdict makes of Gitea's yes or no whether a pull can be merged.
package verdict

import (
	"sync"
	"time"

	"lockkeeper/forge"
)

// Settled is how long a pull has to be said not to be mergeable until that is
// believed: Gitea says the same while it finds out.
const Settled = 3 * time.Second

// Memory remembers since when pulls are said not to be mergeable. Zero value
// ready, safe for concurrent use.
type Memory struct {
	mu    sync.Mutex
	since map[verdict]time.Time
}

// verdict is what was judged.
type verdict struct {
	repo       int64
	number     int
	head, base string
}

// Of turns Gitea's yes or no into whether a pull can be merged, nil while Gitea
// may still be finding out.
func (v *Memory) Of(p forge.Pull, yes bool, now time.Time) (*bool, string) {
	key := verdict{p.Base.RepoID, p.Number, p.Head.SHA, p.Base.SHA}
	v.mu.Lock()
	defer v.mu.Unlock()
	if p.Draft { // which is never mergeable, whatever else holds
		return &yes, "draft"
	}
	if yes {
		delete(v.since, key)
		return &yes, "mergeable"
	}
	if v.since == nil || len(v.since) > 10_000 {
		v.since = map[verdict]time.Time{}
	}
	since, seen := v.since[key]
	if !seen {
		v.since[key], since = now, now
	}
	if now.Sub(since) < Settled {
		return nil, "checking"
	}
	return &yes, "conflict"
}
