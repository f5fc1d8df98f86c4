package gitlab

import (
	"context"
	"errors"
	"fmt"
	"strings"

	gl "gitlab.com/gitlab-org/api/client-go"

	"lockkeeper/forge"
	"lockkeeper/forge/gitlab/internal/api"
	"lockkeeper/forge/internal/wire"
)

// maxDescription is the longest description of a commit status, and the longest
// link, in characters.
const maxDescription = 255

// SetCheck writes a commit status, which joins the commit's newest pipeline or
// makes one of its own. A status that ended is followed by a new one; one that
// waits can only go on, so that a second text of a waiting check is shown as
// "running", and a third one not before its state changes.
func (f *Forge) SetCheck(ctx context.Context, ref forge.RepoRef, k forge.Check) (int64, error) {
	op := fmt.Sprintf("write check %q on %s@%s", k.Name, ref, k.SHA)
	ref, err := f.at(ctx, ref)
	if err != nil {
		return 0, wire.Fail(op, err)
	}
	if !wire.IsSHA(k.SHA) {
		return 0, wire.Fail(op, api.NotSHA(k.SHA))
	}
	states := []gl.BuildStateValue{gl.Failed}
	switch k.State {
	case forge.Success:
		states[0] = gl.Success
	case forge.Pending:
		states = []gl.BuildStateValue{gl.Pending, gl.Running}
	}
	in := ""
	for _, state := range states {
		id, err := f.setStatus(ctx, ref, k, state, in)
		if nowhere(err) && in == "" {
			if in, err = f.forksRef(ctx, ref, k.SHA); err == nil {
				id, err = f.setStatus(ctx, ref, k, state, in)
			}
		}
		if err == nil {
			return id, nil
		}
		if !stays(err) {
			return 0, wire.Fail(op, err)
		}
	}
	id, err := f.standing(ctx, ref, k)
	if err != nil {
		return 0, wire.Fail(op, err)
	}
	return id, nil
}

func (f *Forge) setStatus(ctx context.Context, ref forge.RepoRef, k forge.Check, state gl.BuildStateValue, of string) (int64, error) {
	in := &gl.SetCommitStatusOptions{State: state, Name: &k.Name, Description: gl.Ptr(clip(k.Title, maxDescription))}
	if k.DetailsURL != "" && len(k.DetailsURL) <= maxDescription {
		in.TargetURL = &k.DetailsURL
	}
	if of != "" {
		in.Ref = &of
	}
	st, _, err := f.api.SDK.Commits.SetCommitStatus(ref.ID, k.SHA, in, gl.WithContext(ctx))
	if err != nil {
		return 0, err
	}
	return st.ID, nil
}

// nowhere tells that no branch of the project holds the commit.
func nowhere(err error) bool {
	var e *forge.Error
	return errors.As(err, &e) && e.Code == forge.NotFound && strings.Contains(e.Message, "References")
}

// forksRef is what GitLab calls the head of a fork's pull in the project itself.
// A status there is seen at the commit, and does not count for the pull: its
// pipelines are the fork's, where we may not write.
func (f *Forge) forksRef(ctx context.Context, ref forge.RepoRef, sha string) (string, error) {
	pulls, err := f.commitPulls(ctx, ref.ID, sha)
	if err != nil {
		return "", err
	}
	for _, p := range pulls {
		if p.Head.SHA == sha {
			return fmt.Sprintf("refs/merge-requests/%d/head", p.Number), nil
		}
	}
	return "", &forge.Error{Code: forge.NotFound, Unsent: true, Message: "no branch and no pull of the project holds the commit"}
}

// stays tells that a status is in the wanted state already.
func stays(err error) bool {
	var e *forge.Error
	return errors.As(err, &e) && e.Code == forge.Invalid && strings.Contains(e.Message, "Cannot transition status")
}

// standing finds our status that waits already.
func (f *Forge) standing(ctx context.Context, ref forge.RepoRef, k forge.Check) (int64, error) {
	me, err := f.me(ctx)
	if err != nil {
		return 0, err
	}
	all, err := f.api.Statuses(ctx, ref, k.SHA)
	if err != nil {
		return 0, err
	}
	for _, s := range all {
		if s.Name == k.Name && s.Author.ID == me.user.ID {
			return s.ID, nil
		}
	}
	return 0, &forge.Error{Code: forge.Conflict, Unsent: true, Message: "the forge neither takes the status nor shows it"}
}

// Checks lists what CI jobs and other systems say of a commit. A status says
// which account wrote it; programs have no other identity on GitLab.
func (f *Forge) Checks(ctx context.Context, ref forge.RepoRef, sha string) ([]forge.CheckResult, error) {
	op := fmt.Sprintf("list checks of %s@%s", ref, sha)
	if !wire.IsSHA(sha) {
		return nil, wire.Fail(op, api.NotSHA(sha))
	}
	ref, err := f.at(ctx, ref)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	all, err := f.api.Statuses(ctx, ref, sha)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	var out []forge.CheckResult
	for _, s := range all {
		out = append(out, forge.CheckResult{Name: s.Name, State: api.ResultState(s), By: api.Someone(s.Author.ID, s.Author.Username), URL: s.TargetURL})
	}
	who := make([]*forge.User, len(out))
	for i := range out {
		who[i] = &out[i].By
	}
	if err := f.api.Typed(ctx, who...); err != nil {
		return nil, wire.Fail(op, err)
	}
	return out, nil
}
