// Package history reads from Git what a pull's plan and policy look at: the
// trees that the plan compares, which commits are merges that add nothing, and
// who pushed anything else. It asks nobody but the mirror of the repository.
package history

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"lockkeeper/bot/names"
	"lockkeeper/bot/reconcile"
	"lockkeeper/forge"
	"lockkeeper/forge/git"
)

// Trees are the trees that a plan of a pull compares, and where they are.
type Trees struct {
	Repo        *git.Mirror
	Base, Merge fs.FS  // Merge is nil if there is nothing to plan
	Rules       fs.FS  // the tree of the base branch whose policy holds
	BaseSHA     string // commit that Base is the tree of
	Tree        string // SHA of the merge tree
	Revision    string // what the inventory will call the applied state
}

// Find finds the two trees that the plan of s compares, by its Kind. What keeps
// it from comparing any is added to what blocks s.
func (t *Trees) Find(ctx context.Context, s *reconcile.State) error {
	base, head := s.BaseSHA, s.Pull.Head.SHA
	switch s.Kind {
	case reconcile.PlanMerged:
		return t.merged(ctx, s)
	case reconcile.PlanSync, reconcile.PlanReset, reconcile.PlanHeal:
		return t.set(ctx, base, base, base)
	case reconcile.PlanRestore:
		return t.restore(ctx, s)
	}
	tree, conflicts, err := t.Repo.MergeTree(ctx, base, head)
	switch {
	case errors.Is(err, git.ErrUnrelated):
		s.Blocked = append(s.Blocked, "the head and the base branch have no common history")
		return t.set(ctx, base, "", "")
	case err != nil:
		return err
	case len(conflicts) > 0:
		s.Blocked = append(s.Blocked, "the head conflicts with "+s.Pull.Base.Name+" in "+strings.Join(conflicts, ", ")+"; merge or rebase, and push")
		return t.set(ctx, base, "", "")
	}
	return t.set(ctx, base, tree, head)
}

// restore compares what was applied with the base branch, which is to come
// back and whose policy judges that.
func (t *Trees) restore(ctx context.Context, s *reconcile.State) error {
	if err := t.set(ctx, s.BaseSHA, s.BaseSHA, s.BaseSHA); err != nil {
		return err
	}
	applied, err := t.Repo.Tree(ctx, s.Memory.Applied)
	if err != nil {
		// The mirror was thrown away since: the same merge has the same tree.
		tree, conflicts, err := t.Repo.MergeTree(ctx, s.BaseSHA, s.Pull.Head.SHA)
		if err != nil && !errors.Is(err, git.ErrUnrelated) {
			return err
		}
		if s.Memory.Applied == "" && len(s.Memory.Leases) == 0 {
			return nil // nothing was applied, and base is to stay as it is
		}
		if err != nil || len(conflicts) > 0 {
			s.Blocked = append(s.Blocked, "what was applied cannot be told any more, because the head no longer merges with "+s.Pull.Base.Name+"; `"+s.Spell("/unlock keep")+"` gives its targets up, and `/sync TARGET` on another pull brings "+s.Pull.Base.Name+" back")
			t.Merge, t.Tree = nil, ""
			return nil
		}
		if applied, err = t.Repo.Tree(ctx, tree); err != nil {
			return err
		}
	}
	t.Base = applied
	t.BaseSHA = applied.SHA()
	return nil
}

// merged compares the base branch before and after the merge.
func (t *Trees) merged(ctx context.Context, s *reconcile.State) error {
	merge := s.Pull.MergeSHA
	there, err := t.Repo.IsAncestor(ctx, merge, s.BaseSHA)
	if err != nil {
		return err
	}
	before := ""
	if there {
		if before, err = BeforeMerge(ctx, t.Repo, merge, s.Commits); err != nil {
			return err
		}
	}
	if before == "" {
		s.Blocked = append(s.Blocked, fmt.Sprintf("%s was rewritten: what the merge %s added to it cannot be told any more", s.Pull.Base.Name, names.Short(merge)))
		return t.set(ctx, s.BaseSHA, "", "")
	}
	return t.set(ctx, before, merge, merge)
}

// Extra reports whether a merge that is not judged yet holds anything else than
// merging the pull gives: a direct push that contains the head is a merge to the
// forge, and may bring along what it likes.
func (t *Trees) Extra(ctx context.Context, s *reconcile.State) (bool, error) {
	if s.Kind != reconcile.PlanMerged || s.Memory.Judged || t.Merge == nil {
		return false, nil
	}
	tree, conflicts, err := t.Repo.MergeTree(ctx, t.BaseSHA, s.Pull.Head.SHA)
	if err != nil && !errors.Is(err, git.ErrUnrelated) {
		return false, err
	}
	return err != nil || len(conflicts) > 0 || tree != t.Tree, nil
}

// BeforeMerge finds where the base branch was before a pull of these commits was
// merged as merge; "" if it was nowhere. That is the first parent, except after
// a rebase, which puts all commits of the pull onto the base under their own
// messages: the parent of the first of them.
func BeforeMerge(ctx context.Context, repo *git.Mirror, merge string, commits []forge.Commit) (string, error) {
	at, first := merge, ""
	for _, c := range slices.Backward(commits) {
		if len(c.Parents) > 1 {
			continue // a rebase leaves merge commits out
		}
		on, err := repo.ReadCommit(ctx, at)
		if err != nil {
			return "", err
		}
		if first == "" && len(on.Parents) > 0 {
			first = on.Parents[0]
		}
		if len(on.Parents) != 1 || on.Subject() != strings.TrimSpace(c.Subject) {
			return first, nil
		}
		at = on.Parents[0]
	}
	if first != "" {
		return at, nil
	}
	on, err := repo.ReadCommit(ctx, at)
	if err != nil || len(on.Parents) == 0 {
		return "", err
	}
	return on.Parents[0], nil
}

// set opens both trees; merge may be a tree, a commit, or "" for none.
func (t *Trees) set(ctx context.Context, base, merge, revision string) error {
	bt, err := t.ofCommit(ctx, base)
	if err != nil {
		return err
	}
	t.Base, t.Rules, t.BaseSHA, t.Revision = bt, bt, base, revision
	if merge == "" {
		return nil
	}
	mt, err := t.Repo.Tree(ctx, merge)
	if err != nil {
		mt, err = t.ofCommit(ctx, merge)
	}
	if err != nil {
		return err
	}
	t.Merge, t.Tree = mt, mt.SHA()
	return nil
}

func (t *Trees) ofCommit(ctx context.Context, commit string) (*git.Tree, error) {
	tree, err := t.Repo.TreeOf(ctx, commit)
	if err != nil {
		return nil, err
	}
	return t.Repo.Tree(ctx, tree)
}
