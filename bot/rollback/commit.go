package rollback

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"lockkeeper/forge"
	"lockkeeper/forge/git"
)

// called is what people call the pull that is undone.
func (j *job) called() string { return j.limits.PullName(j.Pull.Number) }

// subject is the first line of the commit that undoes a pull.
func (j *job) subject() string { return "Rollback: " + j.called() }

func (j *job) message() string {
	what := fmt.Sprintf("This undoes %s.", j.called())
	if j.back() {
		what = fmt.Sprintf("This brings back what was at %s.", j.from)
	}
	return fmt.Sprintf("%s\n\n%s It was %s..%s.\n", j.subject(), what, j.from, j.to)
}

// commit puts the commit on the rollback's branch, which it makes. A branch that
// an earlier rollback left behind gives way.
func (m *Maker) commit(ctx context.Context, j *job, edits map[string]forge.FileEdit, tree string) (*Outcome, error) {
	n := forge.NewCommit{Branch: Branch(j.Pull.Number), Base: j.tip, Message: j.message(), Edits: edits, Tree: tree}
	_, err := m.Forge.Commit(ctx, j.Repo.Ref(), n)
	if forge.CodeOf(err) == forge.Conflict {
		if out, err := m.clear(ctx, j, n.Branch); out != nil || err != nil {
			return out, err
		}
		_, err = m.Forge.Commit(ctx, j.Repo.Ref(), n)
	}
	var fe *forge.Error
	if errors.As(err, &fe) && fe.Unsent && (fe.Code == forge.Forbidden || fe.Code == forge.Invalid) {
		// A branch that is protected by its name, a file that Apps may not touch.
		err := m.Forge.DeleteBranch(ctx, j.Repo.Ref(), n.Branch, j.tip)
		switch forge.CodeOf(err) {
		case forge.Unavailable, forge.RateLimited, forge.Unauthorized:
			return nil, err
		}
		return j.byHand(ctx, refuse("the forge does not let lockkeeper commit this: %s", fe.Message)), nil
	}
	return nil, err
}

// clear deletes the rollback's branch if nobody's work is lost by it: a pull
// that is closed keeps its commits, and what lockkeeper committed before it
// could open the pull was never looked at.
func (m *Maker) clear(ctx context.Context, j *job, branch string) (*Outcome, error) {
	shas, err := j.repo.Fetch(ctx, j.url, j.auth, "refs/heads/"+branch)
	if forge.CodeOf(err) == forge.NotFound {
		return nil, nil // gone meanwhile
	}
	if err != nil {
		return nil, err
	}
	if shas[0] == j.tip {
		return nil, nil // made a moment ago, and GitHub did not see it everywhere yet
	}
	safe := slices.ContainsFunc(j.pulls, func(p forge.Pull) bool { return p.Head.SHA == shas[0] })
	if !safe {
		if safe, err = j.left(ctx, shas[0]); err != nil {
			return nil, err
		}
	}
	if !safe {
		return refuse("the branch `%s` holds commits of somebody else; rename or delete it, and ask again", branch), nil
	}
	return nil, m.Forge.DeleteBranch(ctx, j.Repo.Ref(), branch, shas[0])
}

// left tells whether a branch holds at most the one commit of an earlier try.
func (j *job) left(ctx context.Context, tip string) (bool, error) {
	landed, err := j.repo.IsAncestor(ctx, tip, j.tip)
	if err != nil || landed {
		return landed, err
	}
	c, err := j.repo.ReadCommit(ctx, tip)
	if err != nil || len(c.Parents) != 1 || c.Subject() != j.subject() {
		return false, err
	}
	landed, err = j.repo.IsAncestor(ctx, c.Parents[0], j.tip)
	if errors.Is(err, git.ErrNoRevision) {
		return false, nil
	}
	return landed, err
}
