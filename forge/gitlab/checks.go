package gitlab

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	gl "gitlab.com/gitlab-org/api/client-go"

	"lockkeeper/forge"
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
		return 0, wire.Fail(op, notSHA(k.SHA))
	}
	states := []gl.BuildStateValue{gl.Failed}
	switch k.State {
	case forge.Success:
		states[0] = gl.Success
	case forge.Pending:
		states = []gl.BuildStateValue{gl.Pending, gl.Running}
	}
	for _, state := range states {
		id, err := f.setStatus(ctx, ref, k, state)
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

func (f *Forge) setStatus(ctx context.Context, ref forge.RepoRef, k forge.Check, state gl.BuildStateValue) (int64, error) {
	in := &gl.SetCommitStatusOptions{State: state, Name: &k.Name, Description: gl.Ptr(clip(k.Title, maxDescription))}
	if k.DetailsURL != "" && len(k.DetailsURL) <= maxDescription {
		in.TargetURL = &k.DetailsURL
	}
	st, _, err := f.client.Commits.SetCommitStatus(ref.ID, k.SHA, in, gl.WithContext(ctx))
	if err != nil {
		return 0, err
	}
	return st.ID, nil
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
	all, err := f.statuses(ctx, ref, k.SHA)
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

func notSHA(sha string) error {
	return &forge.Error{Code: forge.Invalid, Unsent: true, Message: fmt.Sprintf("%q is not a full SHA", sha)}
}

// statuses lists the results of a commit, CI jobs included: of each name and
// writer the newest, newest first. The same job of another pipeline (a branch's
// and a pull's, say) counts as the same.
func (f *Forge) statuses(ctx context.Context, ref forge.RepoRef, sha string) ([]*gl.CommitStatus, error) {
	all, err := list[*gl.CommitStatus](ctx, f, fmt.Sprintf("projects/%d/repository/commits/%s/statuses", ref.ID, sha), url.Values{"order_by": {"id"}, "sort": {"desc"}})
	if err != nil {
		return nil, err
	}
	type writer struct {
		name string
		by   int64
	}
	newest := map[writer]int{}
	var out []*gl.CommitStatus
	for _, s := range all {
		if s == nil {
			continue
		}
		w := writer{s.Name, s.Author.ID}
		i, seen := newest[w]
		switch {
		case !seen:
			newest[w] = len(out)
			out = append(out, s)
		case out[i].ID < s.ID:
			out[i] = s
		}
	}
	return out, nil
}

// Checks lists what CI jobs and other systems say of a commit. A status says
// which account wrote it; programs have no other identity on GitLab.
func (f *Forge) Checks(ctx context.Context, ref forge.RepoRef, sha string) ([]forge.CheckResult, error) {
	op := fmt.Sprintf("list checks of %s@%s", ref, sha)
	if !wire.IsSHA(sha) {
		return nil, wire.Fail(op, notSHA(sha))
	}
	ref, err := f.at(ctx, ref)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	all, err := f.statuses(ctx, ref, sha)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	var out []forge.CheckResult
	for _, s := range all {
		out = append(out, forge.CheckResult{Name: s.Name, State: resultState(s), By: someone(s.Author.ID, s.Author.Username), URL: s.TargetURL})
	}
	who := make([]*forge.User, len(out))
	for i := range out {
		who[i] = &out[i].By
	}
	if err := f.typed(ctx, who...); err != nil {
		return nil, wire.Fail(op, err)
	}
	return out, nil
}

// resultState reads GitLab's word; one that GitLab adds tomorrow is no success. A
// job that people may start by hand, and need not, was skipped.
func resultState(s *gl.CommitStatus) forge.CheckState {
	switch s.Status {
	case "success":
		return forge.Success
	case "created", "waiting_for_resource", "waiting_for_callback", "preparing", "pending", "running", "scheduled":
		return forge.Pending
	case "manual":
		if s.AllowFailure {
			return forge.Skipped
		}
		return forge.Pending
	case "skipped":
		return forge.Skipped
	}
	return forge.Failure
}
