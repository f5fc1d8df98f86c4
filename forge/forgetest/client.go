package forgetest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"lockkeeper/forge"
	"lockkeeper/forge/forgetest/bare"
)

// Client acts as one user, over HTTP and Git as that user would.
type Client struct {
	// Login is the user.
	Login string
	// Token is the user's personal access token.
	Token string

	s *Server
}

// As gives a client for a user that was added before.
func (s *Server) As(login string) *Client {
	return &Client{Login: login, Token: s.Token(login), s: s}
}

// AsApp gives a client for an App in a repository that it is installed on.
func (s *Server) AsApp(app *App, repo string) *Client {
	return &Client{Login: app.BotLogin(), Token: s.InstallationToken(app, repo), s: s}
}

// StatusError is an answer other than success.
type StatusError struct {
	Method, Path string
	Status       int
	Body         string
}

// Error names the request and the answer.
func (e *StatusError) Error() string {
	return fmt.Sprintf("%s %s: HTTP %d: %s", e.Method, e.Path, e.Status, e.Body)
}

// Message is the forge's own explanation.
func (e *StatusError) Message() string {
	var body struct {
		Message string
		Errors  []any
	}
	if err := json.Unmarshal([]byte(e.Body), &body); err != nil || body.Message == "" {
		return e.Error()
	}
	for _, detail := range body.Errors {
		if text, isText := detail.(string); isText {
			body.Message += ": " + text
		} else if m, isMap := detail.(map[string]any); isMap && m["message"] != nil {
			body.Message += fmt.Sprintf(": %v", m["message"])
		}
	}
	return body.Message
}

// As lets errors.As find what the forge package calls this answer.
func (e *StatusError) As(target any) bool {
	out, is := target.(**forge.Error)
	if !is {
		return false
	}
	code := map[int]forge.Code{401: forge.Unauthorized, 403: forge.Forbidden, 404: forge.NotFound, 405: forge.Conflict, 409: forge.Conflict, 410: forge.NotFound, 429: forge.RateLimited}[e.Status]
	if e.Status >= 500 {
		code = forge.Unavailable
	}
	*out = &forge.Error{Op: e.Method + " " + e.Path, Code: cmp.Or(code, forge.Invalid), Status: e.Status, Message: e.Message()}
	return true
}

// Do sends one API request and decodes the answer into out, if not nil.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.s.URL+path, body)
	if err != nil {
		return err
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	res, err := c.s.Client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		return &StatusError{Method: method, Path: path, Status: res.StatusCode, Body: string(data)}
	}
	if out == nil || len(data) == 0 {
		return nil
	}
	return json.Unmarshal(data, out)
}

// OpenPull opens a pull from head ("branch" or "owner:branch") into base and
// returns its number.
func (c *Client) OpenPull(ctx context.Context, repo, base, head, title, body string) (int, error) {
	return c.open(ctx, repo, obj{"base": base, "head": head, "title": title, "body": body})
}

// OpenDraft opens a draft.
func (c *Client) OpenDraft(ctx context.Context, repo, base, head, title, body string) (int, error) {
	return c.open(ctx, repo, obj{"base": base, "head": head, "title": title, "body": body, "draft": true})
}

func (c *Client) open(ctx context.Context, repo string, in obj) (int, error) {
	var out struct{ Number int }
	err := c.Do(ctx, "POST", "/repos/"+repo+"/pulls", in, &out)
	return out.Number, err
}

type idAnswer struct{ ID int64 }

// Comment writes a conversation comment and returns its id.
func (c *Client) Comment(ctx context.Context, repo string, number int, body string) (int64, error) {
	var out idAnswer
	err := c.Do(ctx, "POST", fmt.Sprintf("/repos/%s/issues/%d/comments", repo, number), obj{"body": body}, &out)
	return out.ID, err
}

// EditComment replaces a comment's body.
func (c *Client) EditComment(ctx context.Context, repo string, id int64, body string) error {
	return c.Do(ctx, "PATCH", fmt.Sprintf("/repos/%s/issues/comments/%d", repo, id), obj{"body": body}, nil)
}

// DeleteComment deletes a comment.
func (c *Client) DeleteComment(ctx context.Context, repo string, id int64) error {
	return c.Do(ctx, "DELETE", fmt.Sprintf("/repos/%s/issues/comments/%d", repo, id), nil, nil)
}

// Review submits a review of the present head: APPROVE, REQUEST_CHANGES or
// COMMENT. "" leaves it pending. It returns the review's id.
func (c *Client) Review(ctx context.Context, repo string, number int, event, body string) (int64, error) {
	in, out := obj{"body": body}, idAnswer{}
	if event != "" {
		in["event"] = event
	}
	err := c.Do(ctx, "POST", fmt.Sprintf("/repos/%s/pulls/%d/reviews", repo, number), in, &out)
	return out.ID, err
}

// DismissReview dismisses somebody's review.
func (c *Client) DismissReview(ctx context.Context, repo string, number int, id int64, why string) error {
	return c.Do(ctx, "PUT", fmt.Sprintf("/repos/%s/pulls/%d/reviews/%d/dismissals", repo, number, id), obj{"message": why}, nil)
}

func (c *Client) edit(ctx context.Context, repo string, number int, in obj) error {
	return c.Do(ctx, "PATCH", fmt.Sprintf("/repos/%s/pulls/%d", repo, number), in, nil)
}

// Close closes a pull without merging it.
func (c *Client) Close(ctx context.Context, repo string, number int) error {
	return c.edit(ctx, repo, number, obj{"state": "closed"})
}

// Reopen opens a closed pull again.
func (c *Client) Reopen(ctx context.Context, repo string, number int) error {
	return c.edit(ctx, repo, number, obj{"state": "open"})
}

// Retarget changes the base branch of a pull.
func (c *Client) Retarget(ctx context.Context, repo string, number int, base string) error {
	return c.edit(ctx, repo, number, obj{"base": base})
}

// EditPull changes a pull's title and body.
func (c *Client) EditPull(ctx context.Context, repo string, number int, title, body string) error {
	return c.edit(ctx, repo, number, obj{"title": title, "body": body})
}

// MarkReady makes a draft ready for review.
func (c *Client) MarkReady(ctx context.Context, repo string, number int) error {
	return c.draft(ctx, repo, number, "markPullRequestReadyForReview")
}

// ConvertToDraft makes a pull a draft.
func (c *Client) ConvertToDraft(ctx context.Context, repo string, number int) error {
	return c.draft(ctx, repo, number, "convertPullRequestToDraft")
}

func (c *Client) draft(ctx context.Context, repo string, number int, mutation string) error {
	var p struct {
		NodeID string `json:"node_id"`
	}
	if err := c.Do(ctx, "GET", fmt.Sprintf("/repos/%s/pulls/%d", repo, number), nil, &p); err != nil {
		return err
	}
	query := fmt.Sprintf("mutation($id:ID!){%s(input:{pullRequestId:$id}){pullRequest{isDraft}}}", mutation)
	var out struct{ Errors []struct{ Message string } }
	if err := c.Do(ctx, "POST", "/graphql", obj{"query": query, "variables": obj{"id": p.NodeID}}, &out); err != nil {
		return err
	}
	if len(out.Errors) > 0 {
		return fmt.Errorf("%s of %s#%d: %s", mutation, repo, number, out.Errors[0].Message)
	}
	return nil
}

// Merge merges a pull (merge, squash or rebase) and returns the commit on base.
func (c *Client) Merge(ctx context.Context, repo string, number int, method string) (string, error) {
	var out struct{ SHA string }
	err := c.Do(ctx, "PUT", fmt.Sprintf("/repos/%s/pulls/%d/merge", repo, number), obj{"merge_method": method}, &out)
	return out.SHA, err
}

// Check writes a finished check run, which only Apps may; conclusion is
// GitHub's word (success, failure, neutral...), "" leaves it running. Nothing
// keeps an App from using another's name.
func (c *Client) Check(ctx context.Context, repo, sha, name, conclusion string) (int64, error) {
	in, out := obj{"name": name, "head_sha": sha, "status": "in_progress"}, idAnswer{}
	if conclusion != "" {
		in["status"], in["conclusion"] = "completed", conclusion
	}
	err := c.Do(ctx, "POST", "/repos/"+repo+"/check-runs", in, &out)
	return out.ID, err
}

// Status writes a commit status: success, failure, error or pending.
func (c *Client) Status(ctx context.Context, repo, sha, name, state string) error {
	return c.Do(ctx, "POST", "/repos/"+repo+"/statuses/"+sha, obj{"context": name, "state": state}, nil)
}

// UpdateBranch merges the base into a pull's head, as the button does, and
// returns the new head.
func (c *Client) UpdateBranch(ctx context.Context, repo string, number int) (string, error) {
	path := fmt.Sprintf("/repos/%s/pulls/%d", repo, number)
	if err := c.Do(ctx, "PUT", path+"/update-branch", obj{}, nil); err != nil {
		return "", err
	}
	var p struct{ Head struct{ SHA string } }
	err := c.Do(ctx, "GET", path, nil, &p)
	return p.Head.SHA, err
}

// CreateBranch makes a branch at the tip of another.
func (c *Client) CreateBranch(ctx context.Context, repo, name, from string) error {
	var ref struct{ Object struct{ SHA string } }
	if err := c.Do(ctx, "GET", "/repos/"+repo+"/git/ref/heads/"+from, nil, &ref); err != nil {
		return err
	}
	return c.Do(ctx, "POST", "/repos/"+repo+"/git/refs", obj{"ref": "refs/heads/" + name, "sha": ref.Object.SHA}, nil)
}

// DeleteBranch deletes a branch.
func (c *Client) DeleteBranch(ctx context.Context, repo, name string) error {
	return c.Do(ctx, "DELETE", "/repos/"+repo+"/git/refs/heads/"+name, nil, nil)
}

// Commit is one commit that Push makes.
type Commit struct {
	Message string
	// Files are the new contents by path; nil removes a file.
	Files map[string][]byte
	// AuthorName and AuthorEmail, if set, name another author than the pusher.
	AuthorName, AuthorEmail string
	// CommitterName and CommitterEmail likewise.
	CommitterName, CommitterEmail string
	// Signature is what the forge will find of its signature: "valid", or
	// GitHub's word for why it does not hold (unknown_key, bad_email...); "" is
	// an unsigned commit.
	Signature string
}

// Text makes the Files of a Commit from strings; "" removes a file.
func Text(files map[string]string) map[string][]byte {
	out := map[string][]byte{}
	for path, content := range files {
		if out[path] = []byte(content); content == "" {
			out[path] = nil
		}
	}
	return out
}

// Push adds commits to a branch with git over HTTP and returns the new head.
// A branch that does not exist starts at from (a branch of the same
// repository; "" is an empty tree).
func (c *Client) Push(ctx context.Context, repo, branch, from string, commits ...Commit) (string, error) {
	return c.push(ctx, repo, branch, from, false, commits)
}

// ForcePush rewrites a branch: commits on top of the branch from.
func (c *Client) ForcePush(ctx context.Context, repo, branch, from string, commits ...Commit) (string, error) {
	return c.push(ctx, repo, branch, from, true, commits)
}

func (c *Client) push(ctx context.Context, repo, branch, from string, force bool, commits []Commit) (string, error) {
	dir, err := os.MkdirTemp("", "forgetest-push-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	local, err := bare.Init(ctx, filepath.Join(dir, "repo.git"), "main")
	if err != nil {
		return "", err
	}
	start := from
	if !force && c.s.Head(repo, branch) != "" {
		start = branch
	}
	tip := ""
	if start != "" {
		if _, err := c.git(ctx, local, "fetch", "-q", "--depth=1", c.s.CloneURL(repo), "refs/heads/"+start); err != nil {
			return "", err
		}
		if tip, err = local.Resolve(ctx, "FETCH_HEAD"); err != nil {
			return "", err
		}
	}
	for _, m := range commits {
		if tip, err = c.commit(ctx, local, filepath.Join(dir, "index"), tip, m); err != nil {
			return "", err
		}
	}
	spec := tip + ":refs/heads/" + branch
	if force {
		spec = "+" + spec
	}
	_, err = c.git(ctx, local, "push", "-q", c.s.CloneURL(repo), spec)
	return tip, err
}

func (c *Client) commit(ctx context.Context, local *bare.Repo, index, tip string, m Commit) (string, error) {
	var files []bare.File
	for _, path := range slices.Sorted(maps.Keys(m.Files)) {
		files = append(files, bare.File{Path: path, Content: m.Files[path]})
	}
	tree, err := local.WriteTree(ctx, tip, index, files)
	if err != nil {
		return "", err
	}
	author := c.s.Signature(c.Login)
	committer := author
	if m.AuthorEmail != "" {
		author.Name, author.Email = cmp.Or(m.AuthorName, m.AuthorEmail), m.AuthorEmail
	}
	if m.CommitterEmail != "" {
		committer.Name, committer.Email = cmp.Or(m.CommitterName, m.CommitterEmail), m.CommitterEmail
	}
	next := bare.Commit{Tree: tree, Author: author, Committer: committer, Message: cmp.Or(m.Message, "Change")}
	if tip != "" {
		next.Parents = []string{tip}
	}
	sha, err := local.CommitTree(ctx, next)
	if err == nil && m.Signature != "" {
		c.s.SetSignature(sha, m.Signature)
	}
	return sha, err
}

// PushFrom pushes refspecs from a local repository, e.g. "+main:feature".
func (c *Client) PushFrom(ctx context.Context, dir, repo string, refspecs ...string) error {
	_, err := c.git(ctx, &bare.Repo{Dir: dir}, append([]string{"push", "-q", c.s.CloneURL(repo)}, refspecs...)...)
	return err
}

// git runs git with the user's token in a header, where no error shows it.
func (c *Client) git(ctx context.Context, r *bare.Repo, args ...string) (string, error) {
	env := []string{
		"GIT_CONFIG_COUNT=2", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
		"GIT_CONFIG_KEY_1=http.extraHeader", "GIT_CONFIG_VALUE_1=Authorization: Bearer " + c.Token,
	}
	out, err := r.Git(ctx, env, "", args...)
	if err != nil {
		return "", gitRefused(fmt.Errorf("%s: %w", c.Login, err))
	}
	return strings.TrimSpace(out), nil
}

// gitRefused tells what git's words about an answer of the forge come to.
func gitRefused(err error) error {
	for words, code := range map[string]forge.Code{
		"remote rejected": forge.Forbidden, "error: 403": forge.Forbidden, "error: 404": forge.NotFound, "not found": forge.NotFound,
		"Authentication failed": forge.Unauthorized, "[rejected]": forge.Conflict,
	} {
		if strings.Contains(err.Error(), words) {
			return &forge.Error{Op: "git", Code: code, Message: err.Error(), Err: err}
		}
	}
	return err
}

// obj is a JSON object on its way out.
type obj = map[string]any
