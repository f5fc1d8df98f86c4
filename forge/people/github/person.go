package github

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"

	"lockkeeper/forge"
	"lockkeeper/forge/forgetest"
	"lockkeeper/forge/people"
)

// person does what a client of the look-alike does; here is what people.Person
// says in other words.
type person struct{ *forgetest.Client }

func (p *person) commits(list []people.Commit) []forgetest.Commit {
	var out []forgetest.Commit
	for _, c := range list {
		out = append(out, forgetest.Commit{Message: c.Message, Files: forgetest.Text(c.Files), AuthorEmail: c.Author, CommitterEmail: c.Committer})
	}
	return out
}

// Push adds commits to a branch.
func (p *person) Push(ctx context.Context, repo, branch, from string, commits ...people.Commit) (string, error) {
	return p.Client.Push(ctx, repo, branch, from, p.commits(commits)...)
}

// ForcePush rewrites a branch.
func (p *person) ForcePush(ctx context.Context, repo, branch, from string, commits ...people.Commit) (string, error) {
	return p.Client.ForcePush(ctx, repo, branch, from, p.commits(commits)...)
}

// GitAuth is Basic, as of Git's credential helpers.
func (p *person) GitAuth() string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(p.Login+":"+p.Token))
}

// Fork copies a repository to the person's account.
func (p *person) Fork(ctx context.Context, repo string) (forge.RepoRef, error) {
	var out struct {
		ID   int64
		Name string
	}
	err := p.Do(ctx, "POST", "/repos/"+repo+"/forks", map[string]any{}, &out)
	return forge.RepoRef{ID: out.ID, Owner: p.Login, Name: out.Name}, err
}

// EditComment replaces a comment's body.
func (p *person) EditComment(ctx context.Context, repo string, _ int, id int64, body string) error {
	return p.Client.EditComment(ctx, repo, id, body)
}

// DeleteComment deletes a comment.
func (p *person) DeleteComment(ctx context.Context, repo string, _ int, id int64) error {
	return p.Client.DeleteComment(ctx, repo, id)
}

// Review submits a review of the present head.
func (p *person) Review(ctx context.Context, repo string, number int, s forge.ReviewState, body string) (int64, error) {
	event := map[forge.ReviewState]string{forge.Approved: "APPROVE", forge.ChangesRequested: "REQUEST_CHANGES", forge.Commented: "COMMENT"}[s]
	return p.Client.Review(ctx, repo, number, event, body)
}

// Dismiss dismisses a review.
func (p *person) Dismiss(ctx context.Context, repo string, number int, review int64) error {
	return p.DismissReview(ctx, repo, number, review, "outdated")
}

// Status writes a commit status.
func (p *person) Status(ctx context.Context, repo, sha, name string, s forge.CheckState) error {
	return p.Client.Status(ctx, repo, sha, name, string(s))
}

// OpenIssue opens an issue.
func (p *person) OpenIssue(ctx context.Context, repo, title string) (int, error) {
	var out struct{ Number int }
	err := p.Do(ctx, "POST", "/repos/"+repo+"/issues", map[string]string{"title": title}, &out)
	return out.Number, err
}

// CloseIssue closes an issue.
func (p *person) CloseIssue(ctx context.Context, repo string, number int) error {
	return p.Do(ctx, "PATCH", fmt.Sprintf("/repos/%s/issues/%d", repo, number), map[string]string{"state": "closed"}, nil)
}

type by struct{ Login string }

type pullJSON struct {
	Number      int
	Title, Body string
	User        by
	State       forge.PullState
	Merged      bool
	MergedAt    *string `json:"merged_at"`
	MergeSHA    string  `json:"merge_commit_sha"`
	Base, Head  struct{ Ref, SHA string }
}

func (p pullJSON) pull() people.Pull {
	out := people.Pull{Number: p.Number, Title: p.Title, Body: p.Body, Author: p.User.Login, Base: p.Base.Ref, Head: p.Head.Ref,
		HeadSHA: p.Head.SHA, State: p.State, Merged: p.Merged || p.MergedAt != nil}
	if out.Merged {
		out.MergeSHA = p.MergeSHA
	}
	return out
}

// Pull reads a pull.
func (p *person) Pull(ctx context.Context, repo string, number int) (people.Pull, error) {
	var out pullJSON
	err := p.Do(ctx, "GET", fmt.Sprintf("/repos/%s/pulls/%d", repo, number), nil, &out)
	return out.pull(), err
}

// Pulls lists the pulls.
func (p *person) Pulls(ctx context.Context, repo string) ([]people.Pull, error) {
	all, err := list[pullJSON](ctx, p, "/repos/"+repo+"/pulls", "&state=all")
	var out []people.Pull
	for _, one := range all {
		out = append(out, one.pull())
	}
	return out, err
}

// list reads all pages of a list.
func list[T any](ctx context.Context, p *person, path, query string) ([]T, error) {
	var out []T
	for page := 1; ; page++ {
		var some []T
		if err := p.Do(ctx, "GET", fmt.Sprintf("%s?per_page=100&page=%d%s", path, page, query), nil, &some); err != nil {
			return nil, err
		}
		if out = append(out, some...); len(some) < 100 {
			return out, nil
		}
	}
}

// Issues lists the issues.
func (p *person) Issues(ctx context.Context, repo string) ([]people.Issue, error) {
	all, err := list[struct {
		Number      int
		Title, Body string
		User        by
		State       forge.PullState
		PullRequest any `json:"pull_request"`
	}](ctx, p, "/repos/"+repo+"/issues", "&state=all")
	var out []people.Issue
	for _, i := range all {
		if i.PullRequest == nil {
			out = append(out, people.Issue{Number: i.Number, Title: i.Title, Body: i.Body, Author: i.User.Login, State: i.State})
		}
	}
	return out, err
}

// Comments lists a pull's comments.
func (p *person) Comments(ctx context.Context, repo string, number int) ([]people.Comment, error) {
	all, err := list[struct {
		ID   int64
		Body string
		User by
	}](ctx, p, fmt.Sprintf("/repos/%s/issues/%d/comments", repo, number), "")
	var out []people.Comment
	for _, c := range all {
		out = append(out, people.Comment{ID: c.ID, Author: c.User.Login, Body: c.Body})
	}
	return out, err
}

// Reactions lists who put which reaction on a comment.
func (p *person) Reactions(ctx context.Context, repo string, _ int, comment int64) (map[forge.Reaction][]string, error) {
	all, err := list[struct {
		Content forge.Reaction
		User    by
	}](ctx, p, fmt.Sprintf("/repos/%s/issues/comments/%d/reactions", repo, comment), "")
	out := map[forge.Reaction][]string{}
	for _, r := range all {
		out[r.Content] = append(out[r.Content], r.User.Login)
	}
	return out, err
}

// Checks lists check runs and commit statuses.
func (p *person) Checks(ctx context.Context, repo, sha string) ([]people.Shown, error) {
	var runs struct {
		CheckRuns []struct {
			Name, Status, Conclusion string
			Output                   struct{ Title, Summary string }
		} `json:"check_runs"`
	}
	if err := p.Do(ctx, "GET", fmt.Sprintf("/repos/%s/commits/%s/check-runs?per_page=100", repo, sha), nil, &runs); err != nil {
		return nil, err
	}
	var out []people.Shown
	for _, r := range runs.CheckRuns {
		s := people.Shown{Name: r.Name, Title: r.Output.Title, Summary: r.Output.Summary, State: forge.CheckState(r.Conclusion)}
		switch known := []forge.CheckState{forge.Success, forge.ActionRequired, forge.Neutral, forge.Skipped}; {
		case r.Status != "completed":
			s.State = forge.Pending
		case !slices.Contains(known, s.State):
			s.State = forge.Failure
		}
		out = append(out, s)
	}
	var statuses struct {
		Statuses []struct {
			Context, Description string
			State                forge.CheckState
		}
	}
	err := p.Do(ctx, "GET", fmt.Sprintf("/repos/%s/commits/%s/status?per_page=100", repo, sha), nil, &statuses)
	for _, s := range statuses.Statuses {
		if s.State == "error" {
			s.State = forge.Failure
		}
		out = append(out, people.Shown{Name: s.Context, Title: s.Description, State: s.State})
	}
	return out, err
}
