package gitea

import (
	"context"
	"fmt"
	"strings"

	sdk "code.gitea.io/sdk/gitea"

	"lockkeeper/forge"
	"lockkeeper/forge/internal/wire"
)

// CreateIssue opens an issue.
func (f *Forge) CreateIssue(ctx context.Context, ref forge.RepoRef, title, body string) (forge.Issue, error) {
	op := fmt.Sprintf("open an issue in %s", ref)
	if err := tooLong(body); err != nil {
		return forge.Issue{}, wire.Fail(op, err)
	}
	if strings.TrimSpace(title) == "" {
		return forge.Issue{}, wire.Fail(op, invalid("an issue needs a title"))
	}
	ref, err := f.repo(ctx, ref)
	if err != nil {
		return forge.Issue{}, wire.Fail(op, err)
	}
	i, _, err := f.client(ctx).CreateIssue(ref.Owner, ref.Name, sdk.CreateIssueOption{Title: title, Body: body})
	if err != nil {
		return forge.Issue{}, wire.Fail(op, err)
	}
	return toIssue(i), nil
}

// UpdateIssue replaces the body, closes the issue, or both.
func (f *Forge) UpdateIssue(ctx context.Context, ref forge.RepoRef, number int, e forge.IssueEdit) (forge.Issue, error) {
	op := fmt.Sprintf("update issue %s#%d", ref, number)
	ref, err := f.repo(ctx, ref)
	if err != nil {
		return forge.Issue{}, wire.Fail(op, err)
	}
	in := sdk.EditIssueOption{Body: e.Body}
	if e.Body != nil {
		if err := tooLong(*e.Body); err != nil {
			return forge.Issue{}, wire.Fail(op, err)
		}
	}
	if e.Close {
		closed := sdk.StateClosed
		in.State = &closed
	}
	i, _, err := f.client(ctx).EditIssue(ref.Owner, ref.Name, int64(number), in)
	if err != nil {
		return forge.Issue{}, wire.Fail(op, err)
	}
	return toIssue(i), nil
}

// Issues lists open issues by our account, newest first. Gitea filters by login;
// the id decides (threat 26).
func (f *Forge) Issues(ctx context.Context, ref forge.RepoRef) ([]forge.Issue, error) {
	op := "list our open issues of " + ref.String()
	me, err := f.Self(ctx)
	if err != nil {
		return nil, err
	}
	ref, err = f.repo(ctx, ref)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	list, err := pages(func(n int) ([]*sdk.Issue, int, error) {
		return listed(f.client(ctx).ListRepoIssues(ref.Owner, ref.Name, sdk.ListIssueOption{
			ListOptions: page(n), State: sdk.StateOpen, Type: sdk.IssueTypeIssue, CreatedBy: me.Login,
		}))
	})
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	var out []forge.Issue
	seen := map[int64]bool{} // an issue opened between two pages shifts the rest
	for _, i := range list {
		if i.Poster != nil && i.Poster.ID == me.ID && i.PullRequest == nil && !seen[i.Index] {
			seen[i.Index] = true
			out = append(out, toIssue(i))
		}
	}
	return out, nil
}

func toIssue(i *sdk.Issue) forge.Issue {
	out := forge.Issue{
		Number: int(i.Index), Title: i.Title, Body: i.Body, WebURL: i.HTMLURL, State: forge.Closed,
		Author: toUser(i.Poster), CreatedAt: i.Created, UpdatedAt: i.Updated,
	}
	if i.State == sdk.StateOpen {
		out.State = forge.Open
	}
	return out
}
