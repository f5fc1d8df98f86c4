package gitlab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"lockkeeper/forge"
	server "lockkeeper/forge/forgetest/gitlab"
	"lockkeeper/forge/people"
	"lockkeeper/forge/people/clone"
)

// obj is a JSON object on its way out.
type obj = map[string]any

// person is somebody with an access token.
type person struct {
	f *Forge
	c *server.Client
}

var _ people.Person = (*person)(nil)

// codes are the kinds of GitLab's refusals.
var codes = map[int]forge.Code{
	http.StatusUnauthorized: forge.Unauthorized, http.StatusForbidden: forge.Forbidden, http.StatusNotFound: forge.NotFound, http.StatusTooManyRequests: forge.RateLimited,
	http.StatusMethodNotAllowed: forge.Conflict, http.StatusNotAcceptable: forge.Conflict, http.StatusConflict: forge.Conflict,
	http.StatusBadRequest: forge.Invalid, http.StatusUnprocessableEntity: forge.Invalid,
}

// told turns a refusal into what everybody understands.
func (p *person) told(method, path string, err error) error {
	if err == nil {
		return nil
	}
	e := &forge.Error{Op: p.c.Login + ": " + method + " " + path, Code: forge.Unavailable, Err: err}
	if s := (*server.StatusError)(nil); errors.As(err, &s) {
		e.Status, e.Message = s.Status, s.Message()
		if code, known := codes[s.Status]; known {
			e.Code = code
		}
	}
	return e
}

func (p *person) do(ctx context.Context, method, path string, in, out any) error {
	return p.told(method, path, p.c.Do(ctx, method, path, in, out))
}

func (p *person) get(ctx context.Context, path string, out any) error {
	return p.do(ctx, http.MethodGet, path, nil, out)
}

func (p *person) post(ctx context.Context, path string, in, out any) error {
	return p.do(ctx, http.MethodPost, path, in, out)
}

func (p *person) put(ctx context.Context, path string, in, out any) error {
	return p.do(ctx, http.MethodPut, path, in, out)
}

// all reads every page of a list.
func all[T any](ctx context.Context, p *person, path string) ([]T, error) {
	var list []T
	err := p.c.All(ctx, path, func(item json.RawMessage) error {
		var one T
		if err := json.Unmarshal(item, &one); err != nil {
			return err
		}
		list = append(list, one)
		return nil
	})
	return list, p.told(http.MethodGet, path, err)
}

// GitAuth is Basic with the token, which the API takes too.
func (p *person) GitAuth() string { return p.c.GitAuth() }

// Push adds commits to a branch.
func (p *person) Push(ctx context.Context, repo, branch, from string, commits ...people.Commit) (string, error) {
	if p.f.Server.Head(repo, branch) != "" {
		from = branch
	}
	return p.push(ctx, repo, branch, from, false, commits)
}

// ForcePush rewrites a branch.
func (p *person) ForcePush(ctx context.Context, repo, branch, from string, commits ...people.Commit) (string, error) {
	return p.push(ctx, repo, branch, from, true, commits)
}

func (p *person) push(ctx context.Context, repo, branch, from string, force bool, commits []people.Commit) (string, error) {
	who := p.f.Server.Signature(p.c.Login)
	desk := clone.Desk{URL: p.f.CloneURL(repo), Auth: p.GitAuth(), Name: who.Name, Email: who.Email, Now: p.f.Now}
	return desk.Push(ctx, branch, from, force, commits...)
}

func branchPath(repo, name string) string {
	return server.ProjectPath(repo) + "/repository/branches/" + url.PathEscape(name)
}

// CreateBranch makes a branch at the tip of another.
func (p *person) CreateBranch(ctx context.Context, repo, name, from string) error {
	return p.post(ctx, server.ProjectPath(repo)+"/repository/branches", obj{"branch": name, "ref": from}, nil)
}

// DeleteBranch deletes a branch.
func (p *person) DeleteBranch(ctx context.Context, repo, name string) error {
	return p.do(ctx, http.MethodDelete, branchPath(repo, name), nil, nil)
}

// Fork copies a project to the person's own namespace.
func (p *person) Fork(ctx context.Context, repo string) (forge.RepoRef, error) {
	var made struct {
		ID   int64
		Path string
	}
	err := p.post(ctx, server.ProjectPath(repo)+"/fork", obj{}, &made)
	return forge.RepoRef{ID: made.ID, Owner: p.c.Login, Name: made.Path}, err
}

// draft begins the title of a draft.
const draft = "Draft: "

// OpenPull opens a merge request.
func (p *person) OpenPull(ctx context.Context, repo, base, head, title, body string) (int, error) {
	in := obj{"source_branch": head, "target_branch": base, "title": title, "description": body}
	from := repo
	if owner, branch, forked := strings.Cut(head, ":"); forked {
		var target struct{ ID int64 }
		if err := p.get(ctx, server.ProjectPath(repo), &target); err != nil {
			return 0, err
		}
		_, name := split(repo)
		from, in["source_branch"], in["target_project_id"] = owner+"/"+name, branch, target.ID
	}
	var made struct{ IID int }
	err := p.post(ctx, server.ProjectPath(from)+"/merge_requests", in, &made)
	return made.IID, err
}

// OpenDraft opens a draft.
func (p *person) OpenDraft(ctx context.Context, repo, base, head, title, body string) (int, error) {
	return p.OpenPull(ctx, repo, base, head, draft+title, body)
}

// EditPull replaces title and body. A draft stays one.
func (p *person) EditPull(ctx context.Context, repo string, number int, title, body string) error {
	var now mergeRequest
	if err := p.get(ctx, server.MRPath(repo, number), &now); err != nil {
		return err
	}
	if now.Draft {
		title = draft + title
	}
	return p.put(ctx, server.MRPath(repo, number), obj{"title": title, "description": body}, nil)
}

// MarkReady takes the mark of a draft off the title.
func (p *person) MarkReady(ctx context.Context, repo string, number int) error {
	var now mergeRequest
	if err := p.get(ctx, server.MRPath(repo, number), &now); err != nil {
		return err
	}
	return p.put(ctx, server.MRPath(repo, number), obj{"title": strings.TrimPrefix(now.Title, draft)}, nil)
}

// Retarget changes the target branch.
func (p *person) Retarget(ctx context.Context, repo string, number int, base string) error {
	return p.put(ctx, server.MRPath(repo, number), obj{"target_branch": base}, nil)
}

// Close closes a merge request without merging it.
func (p *person) Close(ctx context.Context, repo string, number int) error {
	return p.put(ctx, server.MRPath(repo, number), obj{"state_event": "close"}, nil)
}

// Reopen opens it again.
func (p *person) Reopen(ctx context.Context, repo string, number int) error {
	return p.put(ctx, server.MRPath(repo, number), obj{"state_event": "reopen"}, nil)
}

// Merge merges; GitLab rebases only where the whole project says so.
func (p *person) Merge(ctx context.Context, repo string, number int, method string) (string, error) {
	if method != string(forge.MethodMerge) && method != string(forge.MethodSquash) {
		return "", &forge.Error{Op: "merge " + repo, Code: forge.Invalid, Message: "GitLab does not merge by " + method + " when asked for it: it is a setting of the project"}
	}
	var done mergeRequest
	err := p.put(ctx, server.MRPath(repo, number)+"/merge", obj{"squash": method == string(forge.MethodSquash)}, &done)
	return done.mergedAs(), err
}

func notesPath(repo string, number int) string { return server.MRPath(repo, number) + "/notes" }

func notePath(repo string, number int, id int64) string {
	return fmt.Sprintf("%s/%d", notesPath(repo, number), id)
}

// Comment writes a note and returns its ID, which is 0 when it held quick actions
// only.
func (p *person) Comment(ctx context.Context, repo string, number int, body string) (int64, error) {
	var made struct{ ID int64 }
	err := p.post(ctx, notesPath(repo, number), obj{"body": body}, &made)
	return made.ID, err
}

// EditComment replaces a note's body.
func (p *person) EditComment(ctx context.Context, repo string, number int, id int64, body string) error {
	return p.put(ctx, notePath(repo, number, id), obj{"body": body}, nil)
}

// DeleteComment deletes a note.
func (p *person) DeleteComment(ctx context.Context, repo string, number int, id int64) error {
	return p.do(ctx, http.MethodDelete, notePath(repo, number, id), nil, nil)
}

// The system notes that tell of a review.
const (
	approved         = "approved this merge request"
	requestedChanges = "requested changes"
)

// Review approves or requests changes. What one says with it is a note of its own,
// as is a review that only comments. The review's ID is that of GitLab's own note
// about it.
func (p *person) Review(ctx context.Context, repo string, number int, s forge.ReviewState, body string) (int64, error) {
	if s == forge.Commented {
		return p.Comment(ctx, repo, number, body)
	}
	if body != "" {
		if _, err := p.Comment(ctx, repo, number, body); err != nil {
			return 0, err
		}
	}
	mr, said := server.MRPath(repo, number), requestedChanges
	if s == forge.Approved {
		said = approved
		err := p.post(ctx, mr+"/approve", obj{}, nil)
		if forge.CodeOf(err) == forge.Unauthorized { // approved already, of an earlier head
			if again := p.post(ctx, mr+"/unapprove", obj{}, nil); again == nil {
				err = p.post(ctx, mr+"/approve", obj{}, nil)
			}
		}
		if err != nil {
			return 0, err
		}
	} else if err := p.c.RequestChanges(ctx, repo, number); err != nil {
		return 0, p.told(http.MethodPost, mr, err)
	}
	notes, err := all[note](ctx, p, notesPath(repo, number)+"?activity_filter=only_activity")
	if err != nil {
		return 0, err
	}
	for _, n := range notes { // newest first
		if n.Author.Username == p.c.Login && n.Body == said {
			return n.ID, nil
		}
	}
	return 0, &forge.Error{Op: "review " + mr, Code: forge.NotFound, Message: "GitLab noted no review"}
}

// Dismiss takes back one's own approval. A request for changes goes when the
// reviewer is taken off the list, which everybody who may write can do.
func (p *person) Dismiss(ctx context.Context, repo string, number int, review int64) error {
	var n note
	if err := p.get(ctx, notePath(repo, number, review), &n); err != nil {
		return err
	}
	mr := server.MRPath(repo, number)
	if n.Body == approved {
		if n.Author.Username != p.c.Login {
			return &forge.Error{Op: "dismiss " + mr, Code: forge.Forbidden, Message: "only " + n.Author.Username + " can take this approval back"}
		}
		return p.post(ctx, mr+"/unapprove", obj{}, nil)
	}
	var now mergeRequest
	if err := p.get(ctx, mr, &now); err != nil {
		return err
	}
	ids := []int64{}
	for _, r := range now.Reviewers {
		if r.ID != n.Author.ID {
			ids = append(ids, r.ID)
		}
	}
	return p.put(ctx, mr, obj{"reviewer_ids": ids}, nil)
}

// states are GitLab's words, of which some stand for several states.
var states = map[forge.CheckState]string{
	forge.Pending: "pending", forge.Success: "success", forge.Failure: "failed", forge.ActionRequired: "failed", forge.Neutral: "success", forge.Skipped: "skipped",
}

// Status writes a commit status.
func (p *person) Status(ctx context.Context, repo, sha, name string, s forge.CheckState) error {
	return p.post(ctx, server.ProjectPath(repo)+"/statuses/"+sha, obj{"name": name, "state": states[s]}, nil)
}

// OpenIssue opens an issue and returns its number.
func (p *person) OpenIssue(ctx context.Context, repo, title string) (int, error) {
	var made struct{ IID int }
	err := p.post(ctx, server.ProjectPath(repo)+"/issues", obj{"title": title}, &made)
	return made.IID, err
}

// CloseIssue closes an issue.
func (p *person) CloseIssue(ctx context.Context, repo string, number int) error {
	return p.put(ctx, fmt.Sprintf("%s/issues/%d", server.ProjectPath(repo), number), obj{"state_event": "close"}, nil)
}
