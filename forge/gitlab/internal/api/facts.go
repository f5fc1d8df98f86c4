package api

import (
	"context"
	"fmt"
	"net/url"
	"time"

	gl "gitlab.com/gitlab-org/api/client-go"

	"lockkeeper/forge"
	"lockkeeper/forge/internal/wire"
)

// Tip is where a branch is, "" if it is gone.
func (a *API) Tip(ctx context.Context, project int64, branch string) (string, error) {
	if branch == "" {
		return "", nil
	}
	b, _, err := a.SDK.Branches.GetBranch(project, branch, gl.WithContext(ctx))
	if forge.CodeOf(err) == forge.NotFound {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if b.Commit == nil || !wire.IsSHA(b.Commit.ID) {
		return "", &forge.Error{Code: forge.Unavailable, Message: fmt.Sprintf("the forge does not tell where the branch %s is", branch)}
	}
	return b.Commit.ID, nil
}

// Moment is a time that may be missing.
func Moment(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

// NotSHA refuses what is no full SHA.
func NotSHA(sha string) error {
	return &forge.Error{Code: forge.Invalid, Unsent: true, Message: fmt.Sprintf("%q is not a full SHA", sha)}
}

// Statuses lists the results of a commit, CI jobs included: of each name and
// writer the newest, newest first. The same job of another pipeline (a branch's
// and a pull's, say) counts as the same.
func (a *API) Statuses(ctx context.Context, ref forge.RepoRef, sha string) ([]*gl.CommitStatus, error) {
	all, err := List[*gl.CommitStatus](ctx, a, fmt.Sprintf("projects/%d/repository/commits/%s/statuses", ref.ID, sha), url.Values{"order_by": {"id"}, "sort": {"desc"}})
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

// ResultState reads GitLab's word; one that GitLab adds tomorrow is no success. A
// job that people may start by hand, and need not, was skipped.
func ResultState(s *gl.CommitStatus) forge.CheckState {
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

// Reviewer is somebody who was asked for a review or gave one.
type Reviewer struct {
	User  *gl.BasicUser `json:"user"`
	State string        `json:"state"`
}

// Waited reports whether a review is still waited for.
func (r Reviewer) Waited() bool { return r.State == "unreviewed" || r.State == "review_started" }

// Reviewers lists who was asked for a review of a pull, and what became of it.
func (a *API) Reviewers(ctx context.Context, project int64, number int) ([]Reviewer, error) {
	return List[Reviewer](ctx, a, fmt.Sprintf("projects/%d/merge_requests/%d/reviewers", project, number), nil)
}
