package gitea

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	sdk "code.gitea.io/sdk/gitea"

	"lockkeeper/forge"
	"lockkeeper/forge/internal/wire"
)

// Pushes reads who pushed to the head branch from the head repository's activity
// feed, newest first, back to the branch's creation. ok is false where the feed
// may not be read (a fork that is not shown to us, one that is gone), where it
// has gaps (Gitea leaves out what people do who hide their activity), and where
// somebody pushed with a deploy key.
func (f *Forge) Pushes(ctx context.Context, ref forge.RepoRef, p forge.Pull) ([]forge.BranchPush, bool, error) {
	op := fmt.Sprintf("list pushes to %s of pull %s#%d", p.Head.Name, ref, p.Number)
	if p.Head.RepoID == 0 || p.Head.Name == "" {
		return nil, false, nil
	}
	head, err := f.repo(ctx, ref)
	if p.Fork() && err == nil {
		head, err = f.repo(ctx, forge.RepoRef{ID: p.Head.RepoID})
	}
	if err != nil {
		return ungiven(op, err, p.Fork())
	}
	steps, whole, err := f.history(ctx, head, p.Head.Name, p.Head.SHA, time.Time{})
	if err != nil || !whole {
		return ungiven(op, err, true)
	}
	if i := lastMade(steps); i > 0 {
		steps = steps[i:]
	}
	out, err := f.pushes(ctx, head, steps, time.Time{})
	if err != nil {
		return nil, false, wire.Fail(op, err)
	}
	named, err := f.people(ctx, head, out)
	if err != nil {
		return nil, false, wire.Fail(op, err)
	}
	return out, named, nil
}

// people reports whether somebody in particular made each push. What comes with a
// deploy key, Gitea says, is by the owner of the repository: an organisation
// pushes nothing itself. With a person as the owner it cannot be told.
func (f *Forge) people(ctx context.Context, ref forge.RepoRef, pushes []forge.BranchPush) (bool, error) {
	if !slices.ContainsFunc(pushes, func(p forge.BranchPush) bool { return strings.EqualFold(p.By.Login, ref.Owner) }) {
		return true, nil
	}
	org, err := f.organisation(ctx, ref.Owner)
	return !org, err
}

// ungiven is the answer where pushes are not told: no error if that is because
// they are not for us.
func ungiven(op string, err error, private bool) ([]forge.BranchPush, bool, error) {
	if err == nil || private && unreadable(err) {
		return nil, false, nil
	}
	return nil, false, wire.Fail(op, err)
}

// lastMade is where the branch was made last.
func lastMade(steps []*step) int {
	for i, s := range slices.Backward(steps) {
		if s.Kind == forge.BranchCreation {
			return i
		}
	}
	return -1
}

// BranchPushes reads what moved a branch from the repository's activity feed. ok
// is false where the feed may not be read or has gaps, as for Pushes, and where it
// does not end at where the branch is.
func (f *Forge) BranchPushes(ctx context.Context, ref forge.RepoRef, branch string, since time.Time) ([]forge.BranchPush, bool, error) {
	op := fmt.Sprintf("list pushes to %s of %s", branch, ref)
	ref, err := f.repo(ctx, ref)
	if err != nil {
		return nil, false, wire.Fail(op, err)
	}
	tip := ""
	b, err := f.branch(ctx, ref, branch)
	switch {
	case err == nil:
		tip = b.Commit.ID
	case code(err) != forge.NotFound:
		return nil, false, wire.Fail(op, err)
	}
	steps, whole, err := f.history(ctx, ref, branch, tip, since)
	if err != nil || !whole {
		return ungiven(op, err, true)
	}
	out, err := f.pushes(ctx, ref, steps, since)
	if err != nil {
		return nil, false, wire.Fail(op, err)
	}
	return out, true, nil
}

// CommitPulls lists the pull whose merge brought a commit: as the merge's own
// commit, or below it within what the merge pushed to the base. For a commit that
// is not in the default branch the open pulls that hold it are listed.
func (f *Forge) CommitPulls(ctx context.Context, ref forge.RepoRef, sha string) ([]forge.Pull, error) {
	op := fmt.Sprintf("list pulls of commit %s@%s", ref, sha)
	if !wire.IsSHA(sha) {
		return nil, wire.Fail(op, invalid("%q is not a full SHA", sha))
	}
	ref, err := f.repo(ctx, ref)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	out, err := f.origin(ctx, ref, sha)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	return out, nil
}

func (f *Forge) origin(ctx context.Context, ref forge.RepoRef, sha string) ([]forge.Pull, error) {
	merged, err := f.mergedAs(ctx, ref, sha)
	if err != nil {
		return nil, err
	}
	if merged != nil {
		return []forge.Pull{*merged}, nil
	}
	if _, _, err := f.client(ctx).GetSingleCommit(ref.Owner, ref.Name, sha); err != nil {
		return nil, err // unknown
	}
	repo, err := f.read(ctx, ref)
	if err != nil {
		return nil, err
	}
	in, err := f.holds(ctx, ref, repo.DefaultBranch, sha)
	if err != nil {
		return nil, err
	}
	if !in {
		return f.holders(ctx, ref, sha)
	}
	p, err := f.brought(ctx, ref, repo.DefaultBranch, sha)
	if p == nil || err != nil {
		return nil, err
	}
	return []forge.Pull{*p}, nil
}

// holders are the open pulls that hold a commit, and the merged ones whose base
// has it.
func (f *Forge) holders(ctx context.Context, ref forge.RepoRef, sha string) ([]forge.Pull, error) {
	open, err := f.pulls(ctx, ref, sdk.StateOpen)
	if err != nil {
		return nil, err
	}
	var out []forge.Pull
	bases := map[string]bool{}
	for _, p := range open {
		held := p.Head.SHA == sha
		if !held && p.Head.SHA != "" {
			if held, err = f.holds(ctx, ref, p.Head.SHA, sha); err != nil {
				return nil, err
			}
		}
		if !held {
			continue
		}
		in, looked := bases[p.Base.Name]
		if !looked {
			if in, err = f.holds(ctx, ref, p.Base.Name, sha); err != nil {
				return nil, err
			}
			bases[p.Base.Name] = in
		}
		if in {
			continue
		}
		out = append(out, p)
	}
	for base, in := range bases {
		if !in {
			continue
		}
		p, err := f.brought(ctx, ref, base, sha)
		if err != nil {
			return nil, err
		}
		if p != nil {
			out = append(out, *p)
		}
	}
	return out, nil
}

// climb is how many commits above one are looked at for the merge that brought it.
const climb = 50

// brought is the pull whose merge into a branch brought a commit that is not the
// merge's own, nil if none did. The merge is above the commit, and what it pushed
// begins below: Gitea's feed tells where.
func (f *Forge) brought(ctx context.Context, ref forge.RepoRef, branch, sha string) (*forge.Pull, error) {
	above, err := f.above(ctx, ref, branch, sha)
	if err != nil {
		return nil, err
	}
	for _, c := range above {
		p, err := f.mergedAs(ctx, ref, c)
		if err != nil {
			return nil, err
		}
		if p == nil {
			continue
		}
		before, err := f.mergedOnto(ctx, ref, *p)
		if before == "" || err != nil {
			return nil, err
		}
		old, err := f.holds(ctx, ref, before, sha)
		if old || err != nil {
			return nil, err
		}
		return p, nil
	}
	return nil, nil
}

// mergedOnto is where the base was before a pull was merged, "" where the feed
// does not tell.
func (f *Forge) mergedOnto(ctx context.Context, ref forge.RepoRef, p forge.Pull) (string, error) {
	fd := f.feeds.of(ref.ID)
	select {
	case fd.turn <- struct{}{}:
		defer func() { <-fd.turn }()
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	find := func() int {
		return slices.IndexFunc(fd.moves, func(m *move) bool { return m.branch == p.Base.Name && m.after == p.MergeSHA })
	}
	if err := fd.read(ctx, f, ref, func() bool { return find() >= 0 }); err != nil {
		if unreadable(err) {
			return "", nil
		}
		return "", err
	}
	if i := find(); i >= 0 {
		return fd.moves[i].before, nil
	}
	return "", nil
}

// above lists the commits of a branch that came after one, the next ones first.
func (f *Forge) above(ctx context.Context, ref forge.RepoRef, branch, sha string) ([]string, error) {
	n, err := f.missing(ctx, ref, sha, branch)
	if err != nil {
		return nil, err
	}
	var out []string
	// The list is newest first; its last pages are wanted.
	for page := (n + perPage - 1) / perPage; page > 0 && len(out) < climb; page-- {
		q := pageQuery(page)
		for k, v := range map[string]string{"sha": branch, "not": sha, "stat": "false", "files": "false", "verification": "false"} {
			q.Set(k, v)
		}
		var some []*sdk.Commit
		if _, err := f.get(ctx, at(ref, "/commits"), q, &some); err != nil {
			return nil, err
		}
		for _, c := range slices.Backward(some) {
			out = append(out, c.SHA)
		}
	}
	return out[:min(len(out), climb)], nil
}
