// Package bypass watches base branches: it notices the commits that came to one
// past the gate, reports them in an issue of the repository, and settles them
// once what they did is undone, or was applied with somebody's approval. What
// is open is in bot/store; what a commit without a pull is, bot/reconcile says.
package bypass

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/bypass/brought"
	"lockkeeper/bot/config"
	"lockkeeper/bot/plan"
	"lockkeeper/bot/policy"
	"lockkeeper/bot/store"
	"lockkeeper/forge"
	"lockkeeper/forge/git"
)

const (
	// lateForge is how long a forge may take to tell whose a commit is after it
	// shows it on the branch, and who pushed it.
	lateForge = time.Hour
	// askAgain is when a forge that has not told yet is asked again.
	askAgain = time.Minute
	// clockSkew is by how much the forge's clock may be behind ours.
	clockSkew = 5 * time.Minute
)

// Watcher looks at base branches. All exported fields are required. It is safe
// for concurrent use.
type Watcher struct {
	Forge   forge.Forge
	Store   *store.Store
	Mirrors *git.Cache
	Planner *plan.Planner // of which it needs the Sources
	Log     *slog.Logger
	// Now is the clock.
	Now func() time.Time
	// Repository reads a repository from the forge.
	Repository func(context.Context, config.Repository) (forge.Repo, error)
	// Record appends to the audit trail. It fills in who acted (nobody, if the
	// account has no ID), when, and which lockkeeper wrote it.
	Record func(ctx context.Context, by forge.User, r audit.Record) error

	noticing sync.Mutex // held while what came to a base branch is looked at
}

// watched is a base branch with its objects here.
type watched struct {
	op   config.Repository
	name string
	tip  string
	repo *git.Mirror
}

// Key is the key of the work queue under which a branch is watched.
func Key(repo int64, branch string) string { return fmt.Sprintf("base/%d/%s", repo, branch) }

// Watch looks at what came to a base branch, and reports what came past the
// gate. It must run once at a time for a branch, as work under Key does.
func (w *Watcher) Watch(ctx context.Context, op config.Repository, branch string) error {
	at, err := w.notice(ctx, op, branch)
	if err != nil {
		return err
	}
	open, err := w.Store.Bypasses(ctx, op.ID, branch)
	if err != nil {
		return err
	}
	if open, err = w.recheck(ctx, at, open); err != nil {
		return err
	}
	return w.report(ctx, at, open)
}

// Open lists what came to a base branch past the gate and is not settled;
// brought.Concerning picks what concerns a plan. A branch that was not looked
// at since it came to tip is looked at first, in case its webhook is late or
// lost.
func (w *Watcher) Open(ctx context.Context, op config.Repository, branch, tip string) ([]brought.Commit, error) {
	last, err := w.Store.Branch(ctx, op.ID, branch)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	if last.SHA != tip {
		if _, err := w.notice(ctx, op, branch); err != nil {
			return nil, err
		}
	}
	open, err := w.Store.Bypasses(ctx, op.ID, branch)
	if err != nil {
		return nil, err
	}
	var out []brought.Commit
	for _, f := range open {
		out = append(out, brought.Commit{
			Bypass:  policy.Bypass{SHA: f.SHA, Kind: f.Kind, By: f.By, Pull: f.Number},
			Targets: f.Targets,
		})
	}
	return out, nil
}

// Settle settles commits of a base branch for what an apply brought: targets,
// and policy, which config.RepoFile stands for. how says by what. The branch is
// looked at again afterwards.
func (w *Watcher) Settle(ctx context.Context, op config.Repository, branch string, commits []policy.Bypass, brought []string, how string) error {
	open, err := w.Store.Bypasses(ctx, op.ID, branch)
	if err != nil {
		return err
	}
	at := &watched{op: op, name: branch}
	for _, f := range open {
		if !slices.ContainsFunc(commits, func(o policy.Bypass) bool { return o.SHA == f.SHA }) {
			continue
		}
		if err := w.leave(ctx, at, f, func(target string) bool { return slices.Contains(brought, target) }, how); err != nil {
			return err
		}
	}
	return w.Store.Want(context.WithoutCancel(ctx), Key(op.ID, branch))
}
