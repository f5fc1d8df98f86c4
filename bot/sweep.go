package bot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"lockkeeper/bot/bypass"
	"lockkeeper/bot/config"
	"lockkeeper/bot/drift"
	"lockkeeper/bot/reconcile"
	"lockkeeper/bot/store"
	"lockkeeper/forge"
)

// WantAll has every repository swept: at start, and then by itself at the
// interval of the server file, so that lost webhooks cost time and nothing
// else.
func (b *Bot) WantAll(ctx context.Context) error {
	for _, r := range b.server.Repositories {
		if err := b.store.Want(ctx, fmt.Sprintf("sweep/%d", r.ID)); err != nil {
			return err
		}
	}
	for name := range b.clusters {
		if err := b.store.Want(ctx, drift.Key(name)); err != nil {
			return err
		}
	}
	ops, err := b.store.RunningOperations(ctx)
	if err != nil {
		return err
	}
	for _, op := range ops {
		if op.Number == 0 {
			continue
		}
		if err := b.store.Want(ctx, reconcile.PullKey{Repo: op.RepoID, Number: op.Number}.String()); err != nil {
			return err
		}
	}
	return b.endHeals(ctx, ops)
}

// sweep has every base branch of a repository looked at, every open pull, and
// those that the bot believes open, pending or holding something.
func (b *Bot) sweep(ctx context.Context, repo int64) error {
	op, ok := b.server.Repository(repo)
	if !ok {
		return nil
	}
	r, err := b.repository(ctx, op)
	if err != nil {
		return err
	}
	for _, branch := range bases(op, r) {
		if err := b.store.Want(ctx, bypass.Key(repo, branch)); err != nil {
			return err
		}
	}
	return b.store.WantAt(ctx, fmt.Sprintf("sweep/%d", repo), b.now().Add(time.Duration(b.server.Sweep)))
}

// wantUnfinished has the pulls looked at that hold a target, were merged and
// not applied, or were open when last seen: they may be closed on the forge and
// so missing from its list.
func (b *Bot) wantUnfinished(ctx context.Context, repo int64) error {
	numbers, err := b.store.ListPulls(ctx, repo)
	if err != nil {
		return err
	}
	for _, n := range numbers {
		doc, _, err := b.store.LoadPull(ctx, repo, n)
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
		if err := b.store.Want(ctx, reconcile.PullKey{Repo: repo, Number: n}.String()); err != nil {
			return err
		}
	}
	return nil
}

// moved looks at what came to a base branch, and has the open pulls against it
// planned again.
func (b *Bot) moved(ctx context.Context, repo int64, branch string) error {
	op, ok := b.server.Repository(repo)
	if !ok {
		return nil
	}
	r, err := b.repository(ctx, op)
	if err != nil {
		return err
	}
	if !slices.Contains(bases(op, r), branch) {
		return nil
	}
	// The pulls do not wait for what is wrong with the branch.
	return errors.Join(b.wantPulls(ctx, op, branch), b.bypass.Watch(ctx, op, branch))
}

func (b *Bot) wantPulls(ctx context.Context, op config.Repository, branch string) error {
	pulls, err := b.forge.OpenPulls(ctx, op.Ref())
	if err != nil {
		return err
	}
	for _, p := range pulls {
		if p.Base.Name != branch {
			continue
		}
		if err := b.store.Want(ctx, reconcile.PullKey{Repo: op.ID, Number: p.Number}.String()); err != nil {
			return err
		}
	}
	return b.wantUnfinished(ctx, op.ID)
}

// wantHead has the pulls looked at that wait for checks of a commit.
func (b *Bot) wantHead(ctx context.Context, repo int64, sha string) error {
	numbers, err := b.store.ListPulls(ctx, repo)
	if err != nil {
		return err
	}
	for _, n := range numbers {
		doc, _, err := b.store.LoadPull(ctx, repo, n)
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
		if err := b.store.Want(ctx, reconcile.PullKey{Repo: repo, Number: n}.String()); err != nil {
			return err
		}
	}
	return nil
}

// answerGroup answers a merge queue: its commits are applied after the merge,
// through the gate, so that the queue itself has nothing to wait for. A
// required check that never answers would block the queue.
func (b *Bot) answerGroup(ctx context.Context, repo int64, sha string) error {
	op, ok := b.server.Repository(repo)
	if !ok {
		return nil
	}
	_, err := b.forge.SetCheck(ctx, op.Ref(), forge.Check{
		Name: b.checkName, SHA: sha, State: forge.Success, Title: "Planned on the pulls themselves",
		Summary: "lockkeeper judges each pull of the queue on its own head, and applies after the merge what its gate allows.",
	})
	return err
}
