// Package sweep finds out what there is to do, for events as for lost ones: which
// pulls a repository has, which of them a moved base branch or a finished check
// concerns, and what a merge queue waits for. It only says what is to be looked
// at, and looks at base branches (bot/bypass).
package sweep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"lockkeeper/bot/bypass"
	"lockkeeper/bot/config"
	"lockkeeper/bot/drift"
	"lockkeeper/bot/names"
	"lockkeeper/bot/reconcile"
	"lockkeeper/bot/store"
	"lockkeeper/cluster"
	"lockkeeper/forge"
)

// Sweeper finds work. All fields are required.
type Sweeper struct {
	Server   *config.Live
	Forge    forge.Forge
	Store    *store.Store
	Bypass   *bypass.Watcher
	Clusters map[string]cluster.Cluster
	Log      *slog.Logger
	// Now is the clock.
	Now func() time.Time
	// CheckName is how the check on a head is called.
	CheckName string
	// Self is the bot's own account.
	Self forge.User
	// Repository reads a repository from the forge.
	Repository func(context.Context, config.Repository) (forge.Repo, error)

	attempts attempts
}

// Keys are the work keys by which everything on the forge is looked at.
func (s *Sweeper) Keys() []string {
	keys := []string{DeliveriesKey}
	for _, r := range s.Server.Load().Repositories {
		keys = append(keys, fmt.Sprintf("sweep/%d", r.ID))
	}
	return keys
}

// Wants names the work that an event asks for: events are hints (threat 15), and
// all that they change is what is looked at next. What the bot itself did to a
// pull is no news to it.
func (s *Sweeper) Wants(e forge.Event) []string {
	switch {
	case e.Installation:
		return s.Keys()
	case e.Pull != 0 && e.Sender == s.Self.ID:
		return nil
	case e.Pull != 0:
		return []string{names.PullKey{Repo: e.Repo.ID, Number: e.Pull}.String()}
	case e.HeadSHA != "":
		return []string{fmt.Sprintf("group/%d/%s", e.Repo.ID, e.HeadSHA)}
	case e.Branch != "":
		return []string{bypass.Key(e.Repo.ID, e.Branch)}
	case e.Commit != "" && e.Sender != s.Self.ID:
		return []string{fmt.Sprintf("commit/%d/%s", e.Repo.ID, e.Commit)}
	}
	return nil
}

// WantAll has every repository swept: at start, and then by itself at the
// interval of the server file, so that lost webhooks cost time and nothing
// else.
func (s *Sweeper) WantAll(ctx context.Context) error {
	for _, key := range s.Keys() {
		if err := s.Store.Want(ctx, key); err != nil {
			return err
		}
	}
	for name := range s.Clusters {
		if err := s.Store.Want(ctx, drift.Key(name)); err != nil {
			return err
		}
	}
	ops, err := s.Store.RunningOperations(ctx)
	if err != nil {
		return err
	}
	for _, op := range ops {
		if op.Number == 0 {
			continue
		}
		if err := s.Store.Want(ctx, names.PullKey{Repo: op.RepoID, Number: op.Number}.String()); err != nil {
			return err
		}
	}
	return nil
}

// Sweep has every base branch of a repository looked at, every open pull, and
// those that the bot believes open, pending or holding something.
func (s *Sweeper) Sweep(ctx context.Context, repo int64) error {
	op, ok := s.Server.Load().Repository(repo)
	if !ok {
		return nil
	}
	r, err := s.Repository(ctx, op)
	if err != nil {
		return err
	}
	branches := op.Watched(r)
	if r.Archived {
		branches = nil // nothing comes to them, and nothing can be said
	}
	for _, branch := range branches {
		if err := s.Store.Want(ctx, bypass.Key(repo, branch)); err != nil {
			return err
		}
	}
	return s.Store.WantAt(ctx, fmt.Sprintf("sweep/%d", repo), s.Now().Add(time.Duration(s.Server.Load().Sweep)))
}

// wantUnfinished has the pulls looked at that hold a target, were merged and
// not applied, or were open when last seen: they may be closed on the forge and
// so missing from its list.
func (s *Sweeper) wantUnfinished(ctx context.Context, repo int64) error {
	numbers, err := s.Store.ListPulls(ctx, repo)
	if err != nil {
		return err
	}
	for _, n := range numbers {
		doc, _, err := s.Store.LoadPull(ctx, repo, n)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		m, err := reconcile.DecodeMemory(doc)
		if err != nil {
			return err
		}
		if m.Closed && len(m.Leases) == 0 && m.PendingMerge == "" {
			continue
		}
		if err := s.Store.Want(ctx, names.PullKey{Repo: repo, Number: n}.String()); err != nil {
			return err
		}
	}
	return nil
}

// Moved looks at what came to a base branch, and has the open pulls against it
// planned again.
func (s *Sweeper) Moved(ctx context.Context, repo int64, branch string) error {
	op, ok := s.Server.Load().Repository(repo)
	if !ok {
		return nil
	}
	r, err := s.Repository(ctx, op)
	if err != nil {
		return err
	}
	if !slices.Contains(op.Watched(r), branch) {
		return nil
	}
	// The pulls do not wait for what is wrong with the branch.
	return errors.Join(s.wantPulls(ctx, op, branch), s.Bypass.Watch(ctx, op, branch))
}

func (s *Sweeper) wantPulls(ctx context.Context, op config.Repository, branch string) error {
	pulls, err := s.Forge.OpenPulls(ctx, op.Ref())
	if err != nil {
		return err
	}
	ctx = store.Unasked(ctx) // whoever moved the branch waits for none of them
	for _, p := range pulls {
		if p.Base.Name != branch {
			continue
		}
		if err := s.Store.Want(ctx, names.PullKey{Repo: op.ID, Number: p.Number}.String()); err != nil {
			return err
		}
	}
	return s.wantUnfinished(ctx, op.ID)
}

// Head has the pulls looked at that wait for checks of a commit.
func (s *Sweeper) Head(ctx context.Context, repo int64, sha string) error {
	numbers, err := s.Store.ListPullsNaming(ctx, repo, sha)
	if err != nil {
		return err
	}
	for _, n := range numbers {
		doc, _, err := s.Store.LoadPull(ctx, repo, n)
		if err != nil {
			return err
		}
		m, err := reconcile.DecodeMemory(doc)
		if err != nil {
			return err
		}
		if !m.Checks || m.Closed || m.Check.SHA != sha {
			continue
		}
		if err := s.Store.Want(ctx, names.PullKey{Repo: repo, Number: n}.String()); err != nil {
			return err
		}
	}
	return nil
}

// Group answers a merge queue: its commits are applied after the merge,
// through the gate, so that the queue itself has nothing to wait for. A
// required check that never answers would block the queue.
func (s *Sweeper) Group(ctx context.Context, repo int64, sha string) error {
	op, ok := s.Server.Load().Repository(repo)
	if !ok {
		return nil
	}
	_, err := s.Forge.SetCheck(ctx, op.Ref(), forge.Check{
		Name: s.CheckName, SHA: sha, State: forge.Success, Title: "Planned on the pulls themselves",
		Summary: "lockkeeper judges each pull of the queue on its own head, and applies after the merge what its gate allows.",
	})
	return err
}
