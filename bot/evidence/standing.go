package evidence

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"lockkeeper/bot/config"
	"lockkeeper/bot/history"
	"lockkeeper/bot/names"
	"lockkeeper/bot/reconcile"
)

// Mergeable asks the forge, for a pull that is merged after its apply, whether
// everything that the merge needs besides our own check holds already.
func (r *Reader) Mergeable(ctx context.Context, s *reconcile.State) ([]string, error) {
	if s.Kind != reconcile.PlanPull {
		return nil, nil
	}
	if s.Operator.Apply == config.ApplyOnMerge {
		return []string{"this repository applies after the merge: merge the pull"}, nil
	}
	if err := r.computed(ctx, s); err != nil {
		return nil, err
	}
	reasons, err := r.Forge.MergeBlockers(ctx, s.Operator.Ref(), s.Pull, s.CheckName)
	if err != nil {
		return nil, err
	}
	for i, why := range reasons {
		reasons[i] = "it could not be merged afterwards: " + why
	}
	return reasons, nil
}

// computed waits a little while the forge still works out whether the pull can
// be merged, which it begins with the first question after a push.
func (r *Reader) computed(ctx context.Context, s *reconcile.State) error {
	for pause := 250 * time.Millisecond; s.Pull.Mergeable == nil && pause <= 4*time.Second; pause *= 2 {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
		p, err := r.Forge.Pull(ctx, s.Operator.Ref(), s.Pull.Number)
		if err != nil {
			return err
		}
		if p.Head.SHA != s.Pull.Head.SHA || p.Base.Name != s.Pull.Base.Name {
			return nil // the blockers of what was read before tell that it moved
		}
		s.Pull.Mergeable, s.Pull.MergeState = p.Mergeable, p.MergeState
	}
	return nil
}

// Earlier keeps merged pulls in the order of their merges: one that is merged
// and not applied goes first where it shares a target (first-parent order).
func (r *Reader) Earlier(ctx context.Context, s *reconcile.State, t *history.Trees) ([]string, error) {
	if s.Kind != reconcile.PlanMerged {
		return nil, nil
	}
	numbers, err := r.Store.ListPulls(ctx, s.Operator.ID)
	if err != nil {
		return nil, err
	}
	var reasons []string
	for _, n := range numbers {
		if n == s.Pull.Number {
			continue
		}
		shared, err := r.waitsFor(ctx, s, t, n)
		if err != nil {
			return nil, err
		}
		if len(shared) > 0 {
			reasons = append(reasons, fmt.Sprintf("%s was merged before and is not applied yet (%s); apply it first", s.Limits.PullName(n), strings.Join(shared, ", ")))
		}
	}
	return reasons, nil
}

// waitsFor lists the targets that another pull, merged before this one, still
// has to apply.
func (r *Reader) waitsFor(ctx context.Context, s *reconcile.State, t *history.Trees, number int) ([]string, error) {
	doc, _, err := r.Store.LoadPull(ctx, s.Operator.ID, number)
	if err != nil {
		return nil, err
	}
	m, err := reconcile.DecodeMemory(doc)
	if err != nil || m.PendingMerge == "" || m.PendingMerge == s.Pull.MergeSHA {
		return nil, err
	}
	before, err := t.Repo.IsAncestor(ctx, m.PendingMerge, s.Pull.MergeSHA)
	if err != nil || !before {
		return nil, err
	}
	var shared []string
	for _, target := range s.Targets() {
		if slices.Contains(m.PendingTargets, names.TargetKey(target)) {
			shared = append(shared, target.Name)
		}
	}
	return shared, nil
}
