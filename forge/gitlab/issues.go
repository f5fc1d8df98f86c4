package gitlab

import (
	"context"
	"fmt"
	"net/url"

	gl "gitlab.com/gitlab-org/api/client-go"

	"lockkeeper/forge"
	"lockkeeper/forge/gitlab/internal/api"
	"lockkeeper/forge/gitlab/internal/quick"
	"lockkeeper/forge/internal/wire"
)

// CreateIssue opens an issue. Issues and pulls are numbered apart on GitLab.
func (f *Forge) CreateIssue(ctx context.Context, ref forge.RepoRef, title, body string) (forge.Issue, error) {
	op := fmt.Sprintf("open an issue in %s", ref)
	id, err := f.id(ctx, ref)
	if err != nil {
		return forge.Issue{}, wire.Fail(op, err)
	}
	text, err := quick.Plain(body)
	if err != nil {
		return forge.Issue{}, wire.Fail(op, err)
	}
	title = clip(title, maxTitle)
	i, _, err := f.api.SDK.Issues.CreateIssue(id, &gl.CreateIssueOptions{Title: &title, Description: &text}, gl.WithContext(ctx))
	if err != nil {
		return forge.Issue{}, wire.Fail(op, err)
	}
	return f.issue(ctx, op, i)
}

// UpdateIssue replaces the body, closes the issue, or both.
func (f *Forge) UpdateIssue(ctx context.Context, ref forge.RepoRef, number int, e forge.IssueEdit) (forge.Issue, error) {
	op := fmt.Sprintf("update issue %s#%d", ref, number)
	id, err := f.id(ctx, ref)
	if err != nil {
		return forge.Issue{}, wire.Fail(op, err)
	}
	in := &gl.UpdateIssueOptions{}
	if e.Body != nil {
		text, err := quick.Plain(*e.Body)
		if err != nil {
			return forge.Issue{}, wire.Fail(op, err)
		}
		in.Description = &text
	}
	if e.Close {
		in.StateEvent = gl.Ptr("close")
	}
	i, _, err := f.api.SDK.Issues.UpdateIssue(id, int64(number), in, gl.WithContext(ctx))
	if err != nil {
		return forge.Issue{}, wire.Fail(op, err)
	}
	return f.issue(ctx, op, i)
}

// Issues lists open issues by our account, newest first.
func (f *Forge) Issues(ctx context.Context, ref forge.RepoRef) ([]forge.Issue, error) {
	op := "list our open issues of " + ref.String()
	me, err := f.me(ctx)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	id, err := f.id(ctx, ref)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	all, err := api.List[*gl.Issue](ctx, f.api, fmt.Sprintf("projects/%d/issues", id), url.Values{
		"state": {"opened"}, "scope": {"all"}, "author_id": {fmt.Sprint(me.user.ID)}, "order_by": {"created_at"}, "sort": {"desc"},
	})
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	var out []forge.Issue
	seen := map[int64]bool{} // an issue opened between two pages shifts the rest
	for _, i := range all {
		if i != nil && i.Author != nil && i.Author.ID == me.user.ID && !seen[i.IID] {
			seen[i.IID] = true
			issue, err := f.issue(ctx, op, i)
			if err != nil {
				return nil, err
			}
			out = append(out, issue)
		}
	}
	return out, nil
}

// issue is an issue of ours.
func (f *Forge) issue(ctx context.Context, op string, i *gl.Issue) (forge.Issue, error) {
	out := forge.Issue{
		Number:    int(i.IID),
		Title:     i.Title,
		Body:      quick.Original(i.Description),
		WebURL:    i.WebURL,
		State:     forge.Closed,
		Author:    forge.User{Type: forge.Deleted},
		CreatedAt: api.Moment(i.CreatedAt),
		UpdatedAt: api.Moment(i.UpdatedAt),
	}
	if i.State == "opened" {
		out.State = forge.Open
	}
	if i.Author != nil {
		out.Author = api.Someone(i.Author.ID, i.Author.Username)
	}
	if err := f.api.Typed(ctx, &out.Author); err != nil {
		return forge.Issue{}, wire.Fail(op, err)
	}
	return out, nil
}
