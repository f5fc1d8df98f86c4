package gitlab

import (
	"context"
	"fmt"
	"time"

	"lockkeeper/forge"
	"lockkeeper/forge/gitlab/internal/pushes"
	"lockkeeper/forge/internal/wire"
)

// Pushes reads the head repository's events of the head branch, newest first,
// back to the branch's creation. ok is false where they may not be read (a fork
// that we do not see, a fork that is gone) and where they do not lead from the
// pull's head to its creation without a gap: GitLab keeps them for a few years,
// and makes one event without details of a push of several branches at once.
func (f *Forge) Pushes(ctx context.Context, ref forge.RepoRef, p forge.Pull) ([]forge.BranchPush, bool, error) {
	op := fmt.Sprintf("list pushes to %s of pull %s#%d", p.Head.Name, ref, p.Number)
	if p.Head.RepoID == 0 {
		return nil, false, nil
	}
	found, _, err := pushes.List(ctx, f.api, p.Head.RepoID, p.Head.Name, time.Time{}, true)
	if unreadable(err) {
		return nil, false, nil
	} else if err != nil {
		return nil, false, wire.Fail(op, err)
	}
	for len(found) > 0 && found[0].After != p.Head.SHA {
		found = found[1:] // the pull was read before these
	}
	whole := pushes.Chained(found) && len(found) > 0 && found[len(found)-1].Kind == forge.BranchCreation
	if err := pushes.Name(ctx, f.api, p.Head.RepoID, found, nil); err != nil {
		return nil, false, wire.Fail(op, err)
	}
	return found, whole, nil
}

// BranchPushes reads the repository's events of a branch, newest first, back to
// since. ok is false where they may not be read, and where they do not lead
// without a gap to where the branch is now, as for a moment after a push.
func (f *Forge) BranchPushes(ctx context.Context, ref forge.RepoRef, branch string, since time.Time) ([]forge.BranchPush, bool, error) {
	op := fmt.Sprintf("list pushes to %s of %s", branch, ref)
	id, err := f.id(ctx, ref)
	if err != nil {
		return nil, false, wire.Fail(op, err)
	}
	found, bulk, err := pushes.List(ctx, f.api, id, branch, since, false)
	if unreadable(err) {
		return nil, false, nil
	} else if err != nil {
		return nil, false, wire.Fail(op, err)
	}
	tip, err := f.api.Tip(ctx, id, branch)
	if err != nil {
		return nil, false, wire.Fail(op, err)
	}
	if bulk || !pushes.Chained(found) || len(found) > 0 && found[0].After != tip {
		return nil, false, nil
	}
	if err := pushes.Name(ctx, f.api, id, found, func(sha string) (bool, error) { return f.mergedAs(ctx, id, sha, branch) }); err != nil {
		return nil, false, wire.Fail(op, err)
	}
	return found, true, nil
}

func unreadable(err error) bool {
	code := forge.CodeOf(err)
	return err != nil && (code == forge.Forbidden || code == forge.NotFound)
}

// mergedAs reports whether a merge of a pull made the commit on a branch.
func (f *Forge) mergedAs(ctx context.Context, project int64, sha, base string) (bool, error) {
	pulls, err := f.commitPulls(ctx, project, sha)
	if err != nil && forge.CodeOf(err) != forge.NotFound {
		return false, err
	}
	for _, p := range pulls {
		if p.Merged && p.MergeSHA == sha && p.Base.Name == base {
			return true, nil
		}
	}
	return false, nil
}
