package bypass

import (
	"context"
	"errors"
	"slices"

	"lockkeeper/bot/config"
	"lockkeeper/bot/plan"
	"lockkeeper/bot/store"
	"lockkeeper/forge"
	"lockkeeper/forge/git"
)

// leave notes that a commit is settled for some targets, and settles it when
// none is left.
func (w *Watcher) leave(ctx context.Context, at *watched, f store.Bypass, settled func(target string) bool, how string) error {
	left := slices.DeleteFunc(slices.Clone(f.Targets), settled)
	switch {
	case len(left) == 0:
		return w.settle(ctx, at, f, how)
	case len(left) == len(f.Targets):
		return nil
	}
	f.Targets = slices.DeleteFunc(slices.Clone(f.Targets), func(t string) bool { return slices.Contains(left, t) })
	if err := w.record(ctx, at, f, "settled", how); err != nil {
		return err
	}
	return ended(w.Store.SetBypassTargets(context.WithoutCancel(ctx), at.op.ID, at.name, f.SHA, left))
}

func (w *Watcher) settle(ctx context.Context, at *watched, f store.Bypass, how string) error {
	if err := w.record(ctx, at, f, "settled", how); err != nil {
		return err
	}
	return ended(w.Store.SettleBypass(context.WithoutCancel(ctx), at.op.ID, at.name, f.SHA, how))
}

// ended forgives that something was settled meanwhile.
func ended(err error) error {
	if errors.Is(err, store.ErrFinished) {
		return nil
	}
	return err
}

// recheck looks again at what is open: the forge may have told late whose it
// is, and what a commit did may be undone on the branch. It returns what is
// still open.
func (w *Watcher) recheck(ctx context.Context, at *watched, open []store.Bypass) ([]store.Bypass, error) {
	if len(open) == 0 {
		return nil, nil
	}
	if err := w.askForge(ctx, at, open); err != nil {
		return nil, err
	}
	now, err := w.sources(ctx, at, at.tip)
	if err != nil {
		return nil, err
	}
	nothing := map[string]bool{}
	for _, f := range open {
		if err := w.undone(ctx, at, f, now, nothing); err != nil {
			return nil, err
		}
	}
	return w.Store.Bypasses(ctx, at.op.ID, at.name)
}

// askForge asks again about what was found lately: forges list the pulls of a
// commit, and who pushed, some time after the push.
func (w *Watcher) askForge(ctx context.Context, at *watched, open []store.Bypass) error {
	var late []store.Bypass
	var line []git.Commit
	for _, f := range open {
		if f.Lost == "" && w.Now().Sub(f.Found) < lateForge {
			late, line = append(late, f), append(line, git.Commit{SHA: f.SHA})
		}
	}
	unexplained, err := w.unexplained(ctx, at, line)
	if err != nil {
		return err
	}
	for i, f := range late {
		if !slices.Contains(unexplained, i) {
			if err := w.settle(ctx, at, f, "the forge says now that it belongs to a merged pull"); err != nil {
				return err
			}
		}
	}
	return w.askPushers(ctx, at, open)
}

// askPushers asks again who brought what was found lately.
func (w *Watcher) askPushers(ctx context.Context, at *watched, open []store.Bypass) error {
	again := false
	for _, f := range open {
		if f.By.ID != 0 || w.Now().Sub(f.Found) >= lateForge {
			continue
		}
		by, err := w.pusher(ctx, at, f)
		if err != nil {
			return err
		}
		if again = again || by.ID == 0; by.ID != 0 {
			if err := ended(w.Store.SetBypassActor(ctx, at.op.ID, at.name, f.SHA, by)); err != nil {
				return err
			}
		}
	}
	if again {
		return w.Store.WantAt(ctx, Key(at.op.ID, at.name), w.Now().Add(askAgain))
	}
	return nil
}

// pusher asks again who brought a commit.
func (w *Watcher) pusher(ctx context.Context, at *watched, f store.Bypass) (forge.User, error) {
	pushes, err := w.pushes(ctx, at, f.Since)
	if err != nil || len(pushes) == 0 {
		return forge.User{}, err
	}
	line, err := at.repo.FirstParents(ctx, f.SHA, at.tip)
	if err != nil {
		return forge.User{}, err
	}
	return Pusher(append([]string{f.SHA}, shas(line)...), 0, pushes), nil
}

// undone settles a commit for the targets that are again as they were before
// it came, and for policy that is; nothing notes them, because then whatever
// came later has undone it.
func (w *Watcher) undone(ctx context.Context, at *watched, f store.Bypass, now *plan.Sources, nothing map[string]bool) error {
	same, err := w.sameAsBefore(ctx, at, f, now)
	if err != nil {
		return err
	}
	return w.leave(ctx, at, f, func(target string) bool {
		nothing[target] = nothing[target] || same(target)
		return nothing[target]
	}, "what it did is no longer on the branch")
}

// sameAsBefore tells of each target, and of policy, whether the branch has it
// as before a commit came.
func (w *Watcher) sameAsBefore(ctx context.Context, at *watched, f store.Bypass, now *plan.Sources) (func(target string) bool, error) {
	unknown := func(string) bool { return false }
	before, err := at.before(ctx, f.SHA, f.Lost)
	if errors.Is(err, git.ErrNoRevision) {
		return unknown, nil
	}
	if err != nil {
		return nil, err
	}
	files, err := at.repo.ChangedFiles(ctx, before, at.tip)
	if errors.Is(err, git.ErrNoRevision) {
		return unknown, nil
	}
	if err != nil {
		return nil, err
	}
	then, err := w.sources(ctx, at, before)
	if err != nil {
		return nil, err
	}
	return func(target string) bool {
		if target == config.RepoFile {
			return !slices.ContainsFunc(files, policyFile)
		}
		return then.Same(now, target)
	}, nil
}
