package github

import (
	"context"
	"fmt"

	gh "github.com/google/go-github/v60/github"

	"lockkeeper/forge"
	"lockkeeper/forge/github/internal/sdk"
)

// CreateIssue opens an issue; repositories with issues switched off answer
// forge.NotFound.
func (f *Forge) CreateIssue(ctx context.Context, ref forge.RepoRef, title, body string) (forge.Issue, error) {
	op := fmt.Sprintf("open an issue in %s", ref)
	c, ref, err := f.repo(ctx, ref)
	if err != nil {
		return forge.Issue{}, sdk.Fail(op, err)
	}
	i, _, err := c.Issues.Create(ctx, ref.Owner, ref.Name, &gh.IssueRequest{Title: &title, Body: &body})
	if err != nil {
		return forge.Issue{}, sdk.Fail(op, err)
	}
	return toIssue(i), nil
}

// UpdateIssue replaces the body, closes the issue, or both.
func (f *Forge) UpdateIssue(ctx context.Context, ref forge.RepoRef, number int, e forge.IssueEdit) (forge.Issue, error) {
	op := fmt.Sprintf("update issue %s#%d", ref, number)
	c, ref, err := f.repo(ctx, ref)
	if err != nil {
		return forge.Issue{}, sdk.Fail(op, err)
	}
	in := &gh.IssueRequest{Body: e.Body}
	if e.Close {
		in.State = gh.String(string(forge.Closed))
	}
	i, _, err := c.Issues.Edit(ctx, ref.Owner, ref.Name, number, in)
	if err != nil {
		return forge.Issue{}, sdk.Fail(op, err)
	}
	return toIssue(i), nil
}

// Issues lists open issues by our account, newest first. GitHub filters by
// login; the id decides (threat 26).
func (f *Forge) Issues(ctx context.Context, ref forge.RepoRef) ([]forge.Issue, error) {
	op := "list our open issues of " + ref.String()
	me, err := f.Self(ctx)
	if err != nil {
		return nil, err
	}
	c, ref, err := f.repo(ctx, ref)
	if err != nil {
		return nil, sdk.Fail(op, err)
	}
	list, err := sdk.Pages(func(o gh.ListOptions) ([]*gh.Issue, *gh.Response, error) {
		return c.Issues.ListByRepo(ctx, ref.Owner, ref.Name, &gh.IssueListByRepoOptions{State: "open", Creator: me.Login, ListOptions: o})
	})
	if err != nil {
		return nil, sdk.Fail(op, err)
	}
	var out []forge.Issue
	seen := map[int]bool{} // an issue opened between two pages shifts the rest
	for _, i := range list {
		if n := i.GetNumber(); i.GetUser().GetID() == me.ID && !i.IsPullRequest() && !seen[n] {
			seen[n] = true
			out = append(out, toIssue(i))
		}
	}
	return out, nil
}

func toIssue(i *gh.Issue) forge.Issue {
	out := forge.Issue{
		Number:    i.GetNumber(),
		Title:     i.GetTitle(),
		Body:      i.GetBody(),
		WebURL:    i.GetHTMLURL(),
		State:     forge.Closed,
		Author:    sdk.User(i.User),
		CreatedAt: i.GetCreatedAt().Time,
		UpdatedAt: i.GetUpdatedAt().Time,
	}
	if i.GetState() == "open" {
		out.State = forge.Open
	}
	return out
}
