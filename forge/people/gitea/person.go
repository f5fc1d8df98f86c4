package gitea

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"lockkeeper/forge"
	"lockkeeper/forge/people"
	"lockkeeper/forge/people/clone"
)

var _ people.Person = (*person)(nil)

// Push adds commits to a branch.
func (p *person) Push(ctx context.Context, repo, branch, from string, commits ...people.Commit) (string, error) {
	at, err := p.f.Head(ctx, repo, branch)
	if err != nil {
		return "", err
	}
	if at != "" {
		from = branch
	}
	return p.push(ctx, repo, branch, from, false, commits...)
}

// ForcePush rewrites a branch.
func (p *person) ForcePush(ctx context.Context, repo, branch, from string, commits ...people.Commit) (string, error) {
	return p.push(ctx, repo, branch, from, true, commits...)
}

func (p *person) push(ctx context.Context, repo, branch, from string, force bool, commits ...people.Commit) (string, error) {
	p.f.mu.Lock()
	email := p.f.emails[p.login]
	p.f.mu.Unlock()
	desk := clone.Desk{URL: p.f.CloneURL(repo), Auth: p.GitAuth(), Name: p.login, Email: email, Now: p.f.Now}
	return desk.Push(ctx, branch, from, force, commits...)
}

// CreateBranch makes a branch at the tip of another.
func (p *person) CreateBranch(ctx context.Context, repo, name, from string) error {
	return p.post(ctx, "/repos/"+repo+"/branches", obj{"new_branch_name": name, "old_branch_name": from}, nil)
}

// DeleteBranch deletes a branch.
func (p *person) DeleteBranch(ctx context.Context, repo, name string) error {
	return p.do(ctx, http.MethodDelete, "/repos/"+repo+"/branches/"+name, nil, nil)
}

// Fork copies a repository to the person's account.
func (p *person) Fork(ctx context.Context, repo string) (forge.RepoRef, error) {
	var made struct {
		ID   int64
		Name string
	}
	if err := p.post(ctx, "/repos/"+repo+"/forks", obj{}, &made); err != nil {
		return forge.RepoRef{}, err
	}
	return forge.RepoRef{ID: made.ID, Owner: p.login, Name: made.Name}, p.f.Settle(ctx)
}

func pullPath(repo string, number int) string { return fmt.Sprintf("/repos/%s/pulls/%d", repo, number) }

func issuePath(repo string, number int) string {
	return fmt.Sprintf("/repos/%s/issues/%d", repo, number)
}

func commentPath(repo string, id int64) string {
	return fmt.Sprintf("/repos/%s/issues/comments/%d", repo, id)
}

// OpenPull opens a pull.
func (p *person) OpenPull(ctx context.Context, repo, base, head, title, body string) (int, error) {
	var made struct{ Number int }
	err := p.post(ctx, "/repos/"+repo+"/pulls", obj{"base": base, "head": head, "title": title, "body": body}, &made)
	return made.Number, err
}

// draft begins the title of a pull that is a draft: Gitea knows it by nothing
// else.
const draft = "WIP: "

// OpenDraft opens a draft.
func (p *person) OpenDraft(ctx context.Context, repo, base, head, title, body string) (int, error) {
	return p.OpenPull(ctx, repo, base, head, draft+title, body)
}

// EditPull replaces title and body. A draft stays one.
func (p *person) EditPull(ctx context.Context, repo string, number int, title, body string) error {
	now, err := p.Pull(ctx, repo, number)
	if err != nil {
		return err
	}
	if strings.HasPrefix(now.Title, draft) && !strings.HasPrefix(title, draft) {
		title = draft + title
	}
	return p.patch(ctx, pullPath(repo, number), obj{"title": title, "body": body}, nil)
}

// MarkReady takes the mark of a draft from the title.
func (p *person) MarkReady(ctx context.Context, repo string, number int) error {
	now, err := p.Pull(ctx, repo, number)
	if err != nil {
		return err
	}
	return p.patch(ctx, pullPath(repo, number), obj{"title": strings.TrimPrefix(now.Title, draft)}, nil)
}

// Retarget changes the base branch of a pull.
func (p *person) Retarget(ctx context.Context, repo string, number int, base string) error {
	return p.patch(ctx, pullPath(repo, number), obj{"base": base}, nil)
}

// Close closes a pull without merging it.
func (p *person) Close(ctx context.Context, repo string, number int) error {
	return p.patch(ctx, pullPath(repo, number), obj{"state": "closed"}, nil)
}

// Reopen opens a closed pull again.
func (p *person) Reopen(ctx context.Context, repo string, number int) error {
	return p.patch(ctx, pullPath(repo, number), obj{"state": "open"}, nil)
}

// Merge merges a pull, once Gitea has found out whether it can.
func (p *person) Merge(ctx context.Context, repo string, number int, method string) (string, error) {
	if err := p.f.Settle(ctx); err != nil {
		return "", err
	}
	if err := p.post(ctx, pullPath(repo, number)+"/merge", obj{"Do": method}, nil); err != nil {
		return "", err
	}
	now, err := p.Pull(ctx, repo, number)
	return now.MergeSHA, err
}

// Comment writes a conversation comment and returns its ID.
func (p *person) Comment(ctx context.Context, repo string, number int, body string) (int64, error) {
	var made struct{ ID int64 }
	err := p.post(ctx, issuePath(repo, number)+"/comments", obj{"body": body}, &made)
	return made.ID, err
}

// EditComment replaces a comment's body, in a later second than it was made.
func (p *person) EditComment(ctx context.Context, repo string, _ int, id int64, body string) error {
	var now struct {
		Created time.Time `json:"created_at"`
	}
	if err := p.get(ctx, commentPath(repo, id), &now); err != nil {
		return err
	}
	later := time.NewTimer(time.Until(now.Created.Add(time.Second)))
	defer later.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-later.C:
	}
	return p.patch(ctx, commentPath(repo, id), obj{"body": body}, nil)
}

// DeleteComment deletes a comment.
func (p *person) DeleteComment(ctx context.Context, repo string, _ int, id int64) error {
	return p.do(ctx, http.MethodDelete, commentPath(repo, id), nil, nil)
}

// Review submits a review of the present head.
func (p *person) Review(ctx context.Context, repo string, number int, s forge.ReviewState, body string) (int64, error) {
	event := map[forge.ReviewState]string{
		forge.Approved: "APPROVED", forge.ChangesRequested: "REQUEST_CHANGES", forge.Commented: "COMMENT",
	}[s]
	now, err := p.Pull(ctx, repo, number)
	if err != nil {
		return 0, err
	}
	var made struct{ ID int64 }
	err = p.post(ctx, pullPath(repo, number)+"/reviews", obj{"event": event, "body": body, "commit_id": now.HeadSHA}, &made)
	return made.ID, err
}

// Dismiss dismisses a review, which administrators of the repository may. Others
// can delete their own.
func (p *person) Dismiss(ctx context.Context, repo string, number int, review int64) error {
	path := fmt.Sprintf("%s/reviews/%d", pullPath(repo, number), review)
	err := p.post(ctx, path+"/dismissals", obj{"message": "withdrawn"}, nil)
	if forge.CodeOf(err) == forge.Forbidden {
		return p.do(ctx, http.MethodDelete, path, nil, nil)
	}
	return err
}

// Status writes a commit status.
func (p *person) Status(ctx context.Context, repo, sha, name string, s forge.CheckState) error {
	return p.post(ctx, "/repos/"+repo+"/statuses/"+sha, obj{"context": name, "state": statuses[s]}, nil)
}

// statuses are Gitea's words, of which some stand for several states.
var statuses = map[forge.CheckState]string{
	forge.Pending: "pending", forge.Success: "success", forge.Failure: "failure",
	forge.ActionRequired: "failure", forge.Neutral: "success", forge.Skipped: "skipped",
}

// OpenIssue opens an issue and returns its number.
func (p *person) OpenIssue(ctx context.Context, repo, title string) (int, error) {
	var made struct{ Number int }
	err := p.post(ctx, "/repos/"+repo+"/issues", obj{"title": title}, &made)
	return made.Number, err
}

// CloseIssue closes an issue.
func (p *person) CloseIssue(ctx context.Context, repo string, number int) error {
	return p.patch(ctx, issuePath(repo, number), obj{"state": "closed"}, nil)
}

type account struct{ Login string }

// Issues lists the issues.
func (p *person) Issues(ctx context.Context, repo string) ([]people.Issue, error) {
	type issue struct {
		Number      int
		Title, Body string
		User        account
		State       forge.PullState
	}
	found, err := all[issue](ctx, p, "/repos/"+repo+"/issues?type=issues&state=all")
	if err != nil {
		return nil, err
	}
	var list []people.Issue
	for _, i := range found {
		list = append(list, people.Issue{Number: i.Number, Title: i.Title, Body: i.Body, Author: i.User.Login, State: i.State})
	}
	return list, nil
}

type pull struct {
	Number      int
	Title, Body string
	User        account
	State       forge.PullState
	Merged      bool
	MergeSHA    *string `json:"merge_commit_sha"`
	Base, Head  struct {
		// Label is the branch's name; Ref is another one once the branch is gone.
		Label, Ref, SHA string
	}
}

func (w pull) seen() people.Pull {
	p := people.Pull{
		Number: w.Number, Title: w.Title, Body: w.Body, Author: w.User.Login, State: w.State,
		Base: w.Base.Ref, Head: w.Head.Label, HeadSHA: w.Head.SHA, Merged: w.Merged,
	}
	if w.MergeSHA != nil && w.Merged {
		p.MergeSHA = *w.MergeSHA
	}
	return p
}

// Pull reads a pull.
func (p *person) Pull(ctx context.Context, repo string, number int) (people.Pull, error) {
	var found pull
	err := p.get(ctx, pullPath(repo, number), &found)
	return found.seen(), err
}

// Pulls lists the pulls.
func (p *person) Pulls(ctx context.Context, repo string) ([]people.Pull, error) {
	found, err := all[pull](ctx, p, "/repos/"+repo+"/pulls?state=all")
	if err != nil {
		return nil, err
	}
	var list []people.Pull
	for _, w := range found {
		list = append(list, w.seen())
	}
	return list, nil
}

// Comments lists a pull's comments.
func (p *person) Comments(ctx context.Context, repo string, number int) ([]people.Comment, error) {
	type comment struct {
		ID   int64
		User account
		Body string
	}
	var found []comment // this list has no pages
	if err := p.get(ctx, issuePath(repo, number)+"/comments", &found); err != nil {
		return nil, err
	}
	var list []people.Comment
	for _, c := range found {
		list = append(list, people.Comment{ID: c.ID, Author: c.User.Login, Body: c.Body})
	}
	return list, nil
}

// Reactions lists who reacted how to a comment.
func (p *person) Reactions(ctx context.Context, repo string, _ int, comment int64) (map[forge.Reaction][]string, error) {
	type reaction struct {
		User    account
		Content forge.Reaction
	}
	var found []reaction // this list has no pages
	if err := p.get(ctx, commentPath(repo, comment)+"/reactions", &found); err != nil {
		return nil, err
	}
	by := map[forge.Reaction][]string{}
	for _, r := range found {
		by[r.Content] = append(by[r.Content], r.User.Login)
	}
	return by, nil
}

// Checks lists the newest status of each name on a commit.
func (p *person) Checks(ctx context.Context, repo, sha string) ([]people.Shown, error) {
	type status struct {
		Context, Description, Status string
	}
	const size = 50
	var list []people.Shown
	for page := 1; ; page++ {
		var found struct{ Statuses []status }
		path := fmt.Sprintf("/repos/%s/commits/%s/status?limit=%d&page=%d", repo, url.PathEscape(sha), size, page)
		if err := p.get(ctx, path, &found); err != nil {
			return nil, err
		}
		for _, s := range found.Statuses {
			list = append(list, people.Shown{Name: s.Context, Title: s.Description, State: shownAs(s.Status)})
		}
		if len(found.Statuses) < size {
			return list, nil
		}
	}
}

func shownAs(status string) forge.CheckState {
	switch status {
	case "pending", "success", "skipped":
		return forge.CheckState(status)
	}
	return forge.Failure // failure, error, warning
}
