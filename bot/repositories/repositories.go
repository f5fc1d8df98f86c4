// Package repositories knows what the forge calls the operator's repositories
// now, which branch is their default one, and whether they can be worked on: one
// may be renamed, transferred, archived or deleted, and the App or the token that
// reaches it taken away and given back. The number of the server file decides; the
// name in it is for people.
package repositories

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"lockkeeper/bot/config"
	"lockkeeper/bot/trail"
	"lockkeeper/forge"
)

// Reader reads repositories, each at most once a minute. Forge, Log and Now are
// required.
type Reader struct {
	Forge forge.Forge
	Log   *slog.Logger
	// Now is the clock.
	Now func() time.Time

	mu    sync.Mutex
	known map[int64]*entry
}

// entry is one repository. Its mutex has those who ask at once share one call.
type entry struct {
	mu   sync.Mutex
	repo forge.Repo
	err  error     // an *Unreachable, if it was the last answer
	read time.Time // zero: never, or it has to be read again
	told time.Time // when the log was last told that it cannot be reached

	doubt atomic.Bool // a webhook tells otherwise
	name  string      // under the Reader's mutex; empty while it cannot be reached
}

const (
	// fresh is how long an answer is believed, a refusal too: a repository that is
	// gone costs one call a minute, whatever waits for it.
	fresh = time.Minute
	// again is the least time between two lines of the log that say the same.
	again = time.Hour
)

// Unreachable tells that the forge does not let us at a repository: it was
// deleted, the App or our account was taken off it or suspended, or the token is no
// longer good.
type Unreachable struct {
	Name string
	Err  error
}

// Error says what is wrong and what to do about it.
func (u *Unreachable) Error() string {
	return fmt.Sprintf("%v; nothing is done for %s until it can be reached again: install the App there or let our account in, renew the credential, or take the repository out of the server file", u.Err, u.Name)
}

// Unwrap gives the forge's error.
func (u *Unreachable) Unwrap() error { return u.Err }

func (r *Reader) entry(id int64) *entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known == nil {
		r.known = map[int64]*entry{}
	}
	if r.known[id] == nil {
		r.known[id] = &entry{}
	}
	return r.known[id]
}

// Get is the repository as it was a minute ago or later. The error is an
// *Unreachable where only people can help.
func (r *Reader) Get(ctx context.Context, op config.Repository) (forge.Repo, error) {
	e := r.entry(op.ID)
	e.mu.Lock()
	defer e.mu.Unlock()
	now := r.Now()
	if !e.doubt.Swap(false) && !e.read.IsZero() && now.Sub(e.read) < fresh {
		return e.repo, e.err
	}
	repo, err := r.Forge.Repo(ctx, op.Ref())
	switch code := forge.CodeOf(err); {
	case code == forge.NotFound || code == forge.Forbidden || code == forge.Unauthorized:
		e.read, e.err = now, &Unreachable{Name: op.Name, Err: err}
		r.call(e, "")
		if now.Sub(e.told) >= again {
			e.told = now
			r.Log.ErrorContext(ctx, "a repository cannot be reached", trail.Repo, op.Name, "error", e.err)
		}
		return forge.Repo{}, e.err
	case err != nil:
		return forge.Repo{}, err
	case repo.ID != op.ID:
		return forge.Repo{}, fmt.Errorf("the forge says that %s has the id %d, and the server file says %d; correct the file", op.Name, repo.ID, op.ID)
	}
	r.tell(ctx, op, e, repo)
	e.repo, e.err, e.read, e.told = repo, nil, now, time.Time{}
	r.call(e, repo.String())
	return repo, nil
}

// call notes a repository's name.
func (r *Reader) call(e *entry, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.name = name
}

// tell has the log say what changed since the last reading, or is not as the
// server file says.
func (r *Reader) tell(ctx context.Context, op config.Repository, e *entry, repo forge.Repo) {
	was := e.repo
	if was.ID == 0 { // the first reading
		was = forge.Repo{RepoRef: op.Ref(), DefaultBranch: repo.DefaultBranch}
	}
	if e.err != nil {
		r.Log.InfoContext(ctx, "a repository can be reached again", trail.Repo, repo.String())
	}
	if !strings.EqualFold(was.String(), repo.String()) {
		r.Log.WarnContext(ctx, "a repository has another name now; correct it in the server file when convenient", "id", op.ID, "was", was.String(), "is", repo.String())
	}
	if was.DefaultBranch != repo.DefaultBranch {
		r.Log.WarnContext(ctx, "a repository has another default branch now", trail.Repo, repo.String(), "was", was.DefaultBranch, "is", repo.DefaultBranch)
	}
	switch {
	case repo.Archived && !was.Archived:
		r.Log.WarnContext(ctx, "a repository is archived: it is left alone until it is not, or take it out of the server file", trail.Repo, repo.String())
	case was.Archived && !repo.Archived:
		r.Log.InfoContext(ctx, "a repository is no longer archived", trail.Repo, repo.String())
	}
}

// Heard takes a hint from a webhook: a repository that has another name there is
// read anew, and all are if installations changed. It waits for nothing.
func (r *Reader) Heard(e forge.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, known := range r.known {
		if e.Installation || id == e.Repo.ID && !strings.EqualFold(known.name, e.Repo.String()) {
			known.doubt.Store(true)
		}
	}
}
