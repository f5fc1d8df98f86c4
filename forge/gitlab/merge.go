package gitlab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	gl "gitlab.com/gitlab-org/api/client-go"

	"lockkeeper/forge"
	"lockkeeper/forge/gitlab/internal/api"
	"lockkeeper/forge/gitlab/internal/blockers"
	"lockkeeper/forge/internal/wire"
)

// Merge merges the pull if its head is still headSHA. How is a setting of the
// project on GitLab (a merge commit, or fast-forward); only whether to squash can
// be chosen, and what people ticked at the pull or the project prescribes goes
// before. A method that the project does not offer is refused. GitLab pins the
// head only; what the base was is for the caller to compare.
func (f *Forge) Merge(ctx context.Context, ref forge.RepoRef, number int, headSHA string, m forge.MergeMethod) (string, error) {
	op := fmt.Sprintf("merge pull %s#%d at %s", ref, number, headSHA)
	if headSHA == "" {
		return "", wire.Fail(op, &forge.Error{Code: forge.Invalid, Unsent: true, Message: "a merge needs the SHA of the head it is meant for"})
	}
	p, err := f.project(ctx, ref)
	if err == nil {
		err = offered(p, m)
	}
	if err != nil {
		return "", wire.Fail(op, err)
	}
	in := &gl.AcceptMergeRequestOptions{SHA: &headSHA}
	if m == forge.MethodSquash {
		in.Squash = gl.Ptr(true)
	}
	accept := func() (*gl.MergeRequest, *gl.Response, error) {
		return f.api.SDK.MergeRequests.AcceptMergeRequest(p.ID, int64(number), in, gl.WithContext(ctx))
	}
	merged, resp, err := accept()
	if forge.CodeOf(err) == forge.Conflict && f.settles(ctx, p.ID, number, headSHA) {
		merged, resp, err = accept()
	}
	switch {
	case err != nil && resp != nil && resp.StatusCode == http.StatusOK:
		// Merged, but the answer was cut: never to be read as refused.
		return "", wire.Fail(op, fmt.Errorf("the answer could not be read: %w", err))
	case err != nil:
		return "", wire.Fail(op, f.refusal(ctx, err))
	case merged.State == "locked":
		return "", wire.Fail(op, &forge.Error{Code: forge.Unavailable, Message: "the merge has begun and is not done yet"})
	case merged.State != "merged":
		return "", wire.Fail(op, &forge.Error{Code: forge.Conflict, Unsent: true, Message: cmp.Or(merged.MergeError, "the forge did not merge it and does not say why")})
	}
	sha := toPull(&merged.BasicMergeRequest).MergeSHA
	if !wire.IsSHA(sha) {
		return "", wire.Fail(op, &forge.Error{Code: forge.Unavailable, Message: "the forge merged it and does not tell as which commit"})
	}
	return sha, nil
}

// pauses are how long to wait for GitLab, which works out in the background
// whether a pull can be merged and, after the last result of a commit, that its
// pipeline has succeeded.
var pauses = []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second}

// settles reports whether a pull whose merge was refused can be merged after all:
// GitLab had not noticed yet that everything that it waits for is there. Other
// causes are not waited for.
func (f *Forge) settles(ctx context.Context, project int64, number int, headSHA string) bool {
	for _, d := range pauses {
		m, _, err := f.api.SDK.MergeRequests.GetMergeRequest(project, int64(number), nil, gl.WithContext(ctx))
		if err != nil || m.State != "opened" || m.SHA != headSHA {
			return false
		}
		switch word := m.DetailedMergeStatus; {
		case word == "mergeable":
			return true
		case computing(word):
		case strings.HasPrefix(word, "ci_"):
			if !f.succeeded(ctx, project, headSHA) {
				return false
			}
		default:
			return false
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(d):
		}
	}
	return false
}

// succeeded reports whether every result of a commit lets its pipeline succeed.
func (f *Forge) succeeded(ctx context.Context, project int64, sha string) bool {
	all, err := f.api.Statuses(ctx, forge.RepoRef{ID: project}, sha)
	bad := func(s *gl.CommitStatus) bool {
		state := api.ResultState(s)
		return state == forge.Pending || state == forge.Failure && !s.AllowFailure
	}
	return err == nil && len(all) > 0 && !slices.ContainsFunc(all, bad)
}

// offered refuses a method that the project's settings rule out.
func offered(p *gl.Project, m forge.MergeMethod) error {
	forward := p.MergeMethod == gl.FastForwardMerge
	why := ""
	switch {
	case m == forge.MethodSquash && p.SquashOption == gl.SquashOptionNever:
		why = "squashing is switched off in this project"
	case m == forge.MethodMerge && forward:
		why = "this project merges by fast-forward only; choose the method rebase or squash"
	case m == forge.MethodRebase && p.MergeMethod != "" && !forward:
		why = "this project makes merge commits; choose the method merge or squash"
	case m != forge.MethodSquash && p.SquashOption == gl.SquashOptionAlways:
		why = "this project squashes always; choose the method squash"
	default:
		return nil
	}
	return &forge.Error{Code: forge.Invalid, Unsent: true, Message: why}
}

// refusal reads what GitLab answers to a merge that it does not do. Who may not
// merge is told so by 401, as is who has a bad token: only the latter cannot ask
// who they are.
//
// Source: https://docs.gitlab.com/api/merge_requests/#merge-a-merge-request
func (f *Forge) refusal(ctx context.Context, err error) error {
	var e *forge.Error
	if !errors.As(err, &e) {
		return err
	}
	out := *e
	says := strings.ToLower(e.Message)
	switch {
	case e.Status == http.StatusUnauthorized:
		var u gl.User
		if f.api.Get(ctx, "user", nil, &u) == nil {
			out.Code, out.Message = forge.Forbidden, "our account may not merge into that branch (role, or the branch's rules)"
		}
	case e.Status == http.StatusMethodNotAllowed:
		out.Message = "the pull cannot be merged now: " + e.Message
	case e.Status == http.StatusNotAcceptable,
		e.Status == http.StatusUnprocessableEntity && strings.Contains(says, "merge"):
		out.Code = forge.Conflict
	}
	return &out
}

// MergeBlockers lists what keeps GitLab from merging p now, besides the check
// named own. It judges p as given (Mergeable and MergeState come from Pull), and
// asks further where GitLab would not merge.
func (f *Forge) MergeBlockers(ctx context.Context, ref forge.RepoRef, p forge.Pull, own string) ([]string, error) {
	op := fmt.Sprintf("find what blocks the merge of pull %s#%d", ref, p.Number)
	ref, err := f.at(ctx, ref)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	found, err := blockers.Find(ctx, f.api, ref, p, own)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	return found, nil
}
