package gitlab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	gl "gitlab.com/gitlab-org/api/client-go"

	"lockkeeper/forge"
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
	merged, resp, err := f.api.SDK.MergeRequests.AcceptMergeRequest(p.ID, int64(number), in, gl.WithContext(ctx))
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
