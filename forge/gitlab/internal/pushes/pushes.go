// Package pushes reads what moved a branch from GitLab's events.
package pushes

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	gl "gitlab.com/gitlab-org/api/client-go"

	"lockkeeper/forge"
	"lockkeeper/forge/gitlab/internal/api"
)

// mostEvents bounds how far back a project's events are read: GitLab lists the
// pushes to all branches together.
const mostEvents = 5000

// Chained reports whether each push begins where the one before it ended.
func Chained(pushes []forge.BranchPush) bool {
	for i := 1; i < len(pushes); i++ {
		if pushes[i-1].Before != pushes[i].After {
			return false
		}
	}
	return true
}

// List lists what moved a branch at or after since, newest first; with life
// those of its present life only. Pushes are not told from forced ones yet. bulk
// tells that several branches were pushed at once, of which GitLab does not say
// which.
func List(ctx context.Context, a *api.API, project int64, branch string, since time.Time, life bool) (_ []forge.BranchPush, bulk bool, err error) {
	q := url.Values{"action": {"pushed"}, "sort": {"desc"}, "per_page": {fmt.Sprint(api.PerPage)}, "page": {"1"}}
	if !since.IsZero() {
		q.Set("after", since.UTC().AddDate(0, 0, -2).Format(time.DateOnly)) // whole days, and none of the day itself
	}
	var out []forge.BranchPush
	seen := map[int64]bool{}
	for read := 0; read < mostEvents; {
		var some []gl.ContributionEvent
		resp, err := a.Page(ctx, fmt.Sprintf("projects/%d/events", project), q, &some)
		if err != nil {
			return nil, false, err
		}
		for i := range some {
			e := &some[i]
			if d := e.PushData; d.RefType == "branch" && d.Ref == "" && !api.Moment(e.CreatedAt).Before(since) {
				bulk = true
			}
			push, ours := toPush(e, branch)
			if !ours || seen[e.ID] {
				continue
			}
			seen[e.ID] = true
			if push.At.Before(since) {
				return out, bulk, whose(ctx, a, out)
			}
			out = append(out, push)
			if life && push.Kind == forge.BranchCreation {
				return out, bulk, whose(ctx, a, out)
			}
		}
		next, err := api.Following(resp)
		if err != nil {
			return nil, false, err
		}
		if next == nil {
			return out, bulk, whose(ctx, a, out)
		}
		for k, v := range next {
			q[k] = v
		}
		read += api.PerPage
	}
	return nil, false, &forge.Error{Code: forge.NotFound, Unsent: true, Message: fmt.Sprintf("the last %d pushes do not reach back far enough", mostEvents)}
}

func whose(ctx context.Context, a *api.API, pushes []forge.BranchPush) error {
	who := make([]*forge.User, len(pushes))
	for i := range pushes {
		who[i] = &pushes[i].By
	}
	return a.Typed(ctx, who...)
}

// toPush reads an event; ours is false for one of another branch.
func toPush(e *gl.ContributionEvent, branch string) (_ forge.BranchPush, ours bool) {
	d := e.PushData
	if d.RefType != "branch" || d.Ref != branch {
		return forge.BranchPush{}, false
	}
	by := api.Someone(e.Author.ID, e.Author.Username)
	if by.ID == 0 {
		by = api.Someone(e.AuthorID, e.AuthorUsername)
	}
	p := forge.BranchPush{Before: notZero(d.CommitFrom), After: notZero(d.CommitTo), By: by, At: api.Moment(e.CreatedAt), Kind: forge.PlainPush}
	switch {
	case d.Action == "created" || p.Before == "":
		p.Kind, p.Before = forge.BranchCreation, ""
	case d.Action == "removed" || p.After == "":
		p.Kind, p.After = forge.BranchDeletion, ""
	}
	return p, true
}

// notZero turns Git's hash for "no such commit" into "".
func notZero(sha string) string {
	if strings.Trim(sha, "0") == "" {
		return ""
	}
	return sha
}

// Name tells plain pushes from those that threw commits away and, with merged,
// from merges of pulls.
func Name(ctx context.Context, a *api.API, project int64, pushes []forge.BranchPush, merged func(sha string) (bool, error)) error {
	for i := range pushes {
		p := &pushes[i]
		if p.Kind != forge.PlainPush {
			continue
		}
		grown, err := grown(ctx, a, project, p.Before, p.After)
		if err != nil {
			return err
		}
		if !grown {
			p.Kind = forge.ForcePush
			continue
		}
		if merged == nil {
			continue
		}
		ours, err := merged(p.After)
		if err != nil {
			return err
		}
		if ours {
			p.Kind = forge.PullMerge
		}
	}
	return nil
}

// grown reports whether a commit comes after another. What a forced push threw
// away may be gone.
func grown(ctx context.Context, a *api.API, project int64, from, to string) (bool, error) {
	var c gl.Commit
	err := a.Get(ctx, fmt.Sprintf("projects/%d/repository/merge_base", project), url.Values{"refs[]": {from, to}}, &c)
	switch code := forge.CodeOf(err); {
	case code == forge.NotFound, code == forge.Invalid:
		return false, nil
	case err != nil:
		return false, err
	}
	return c.ID == from, nil
}
