package github

import (
	"context"
	"errors"
	"fmt"
	"strings"

	gh "github.com/google/go-github/v60/github"

	"lockkeeper/forge"
	"lockkeeper/forge/github/internal/sdk"
)

// PullsOf lists all pulls of a branch of the repository, newest first.
func (f *Forge) PullsOf(ctx context.Context, ref forge.RepoRef, branch string) ([]forge.Pull, error) {
	op := fmt.Sprintf("list pulls of the branch %s of %s", branch, ref)
	c, ref, err := f.repo(ctx, ref)
	if err != nil {
		return nil, sdk.Fail(op, err)
	}
	list, err := sdk.Pages(func(o gh.ListOptions) ([]*gh.PullRequest, *gh.Response, error) {
		return c.PullRequests.List(ctx, ref.Owner, ref.Name, &gh.PullRequestListOptions{
			State: "all", Head: ref.Owner + ":" + branch, Sort: "created", Direction: "desc", ListOptions: o,
		})
	})
	if err != nil {
		return nil, sdk.Fail(op, err)
	}
	var pulls []forge.Pull
	seen := map[int]bool{} // a pull opened between two pages shifts the rest
	for _, p := range list {
		// GitHub filters by the owner's login: another repository of theirs, a
		// fork, may have a branch of that name.
		mine := p.GetHead().GetRef() == branch && p.GetHead().GetRepo().GetID() == p.GetBase().GetRepo().GetID()
		if mine && !seen[p.GetNumber()] {
			seen[p.GetNumber()] = true
			pulls = append(pulls, f.toPull(p))
		}
	}
	return pulls, nil
}

// CreatePull opens a pull.
func (f *Forge) CreatePull(ctx context.Context, ref forge.RepoRef, n forge.NewPull) (forge.Pull, error) {
	op := fmt.Sprintf("open a pull of %s into %s of %s", n.Head, n.Base, ref)
	c, ref, err := f.repo(ctx, ref)
	if err != nil {
		return forge.Pull{}, sdk.Fail(op, err)
	}
	p, _, err := c.PullRequests.Create(ctx, ref.Owner, ref.Name, &gh.NewPullRequest{
		Title: &n.Title, Body: &n.Body, Head: &n.Head, Base: &n.Base, Draft: &n.Draft,
	})
	if err == nil {
		return f.toPull(p), nil
	}
	err = sdk.Fail(op, err)
	var fe *forge.Error
	if errors.As(err, &fe) && fe.Code == forge.Invalid && strings.Contains(fe.Message, "pull request already exists") {
		fe.Code = forge.Conflict // GitHub says 422 to this as well
	}
	return forge.Pull{}, err
}

// UpdatePull edits, closes or reopens a pull.
func (f *Forge) UpdatePull(ctx context.Context, ref forge.RepoRef, number int, e forge.PullEdit) (forge.Pull, error) {
	op := fmt.Sprintf("update pull %s#%d", ref, number)
	c, ref, err := f.repo(ctx, ref)
	if err != nil {
		return forge.Pull{}, sdk.Fail(op, err)
	}
	in := &gh.PullRequest{Title: e.Title, Body: e.Body, State: (*string)(e.State)}
	p, _, err := c.PullRequests.Edit(ctx, ref.Owner, ref.Name, number, in)
	if err != nil {
		return forge.Pull{}, sdk.Fail(op, err)
	}
	return f.toPull(p), nil
}

// Commit puts a commit on a branch: one call, and one more for a new branch.
func (f *Forge) Commit(ctx context.Context, ref forge.RepoRef, n forge.NewCommit) (string, error) {
	op := fmt.Sprintf("commit to the branch %s of %s", n.Branch, ref)
	r, err := f.commits(ctx, ref)
	if err != nil {
		return "", sdk.Fail(op, err)
	}
	sha, err := r.Write(ctx, n)
	if err != nil {
		return "", sdk.Fail(op, err)
	}
	return sha, nil
}

// DeleteBranch deletes a branch if it is at sha, in two calls.
func (f *Forge) DeleteBranch(ctx context.Context, ref forge.RepoRef, branch, sha string) error {
	op := fmt.Sprintf("delete the branch %s of %s", branch, ref)
	r, err := f.commits(ctx, ref)
	if err != nil {
		return sdk.Fail(op, err)
	}
	if err := r.Delete(ctx, branch, sha); err != nil {
		return sdk.Fail(op, err)
	}
	return nil
}
