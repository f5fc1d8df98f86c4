package gitlab

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	gl "gitlab.com/gitlab-org/api/client-go"

	"lockkeeper/forge"
	"lockkeeper/forge/internal/wire"
)

// mostEvents bounds how far back a project's events are read: GitLab lists the
// pushes to all branches together.
const mostEvents = 5000

// Pushes reads the head repository's events of the head branch, newest first,
// back to the branch's creation. ok is false where they may not be read (a fork
// that we do not see, a fork that is gone) and where they do not lead from the
// pull's head to its creation without a gap: GitLab keeps them for a few years,
// and makes one event without details of a push of several branches at once.
func (f *Forge) Pushes(ctx context.Context, ref forge.RepoRef, p forge.Pull) ([]forge.BranchPush, bool, error) {
	op := fmt.Sprintf("list pushes to %s of pull %s#%d", p.Head.Name, ref, p.Number)
	if p.Head.RepoID == 0 {
		return nil, false, nil
	}
	found, err := f.events(ctx, p.Head.RepoID, p.Head.Name, time.Time{}, true)
	if unreadable(err) {
		return nil, false, nil
	} else if err != nil {
		return nil, false, wire.Fail(op, err)
	}
	for len(found) > 0 && found[0].After != p.Head.SHA {
		found = found[1:] // the pull was read before these
	}
	whole := chained(found) && len(found) > 0 && found[len(found)-1].Kind == forge.BranchCreation
	if err := f.name(ctx, p.Head.RepoID, found, ""); err != nil {
		return nil, false, wire.Fail(op, err)
	}
	return found, whole, nil
}

// BranchPushes reads the repository's events of a branch, newest first, back to
// since. ok is false where they may not be read, and where they do not lead
// without a gap to where the branch is now, as for a moment after a push.
func (f *Forge) BranchPushes(ctx context.Context, ref forge.RepoRef, branch string, since time.Time) ([]forge.BranchPush, bool, error) {
	op := fmt.Sprintf("list pushes to %s of %s", branch, ref)
	id, err := f.id(ctx, ref)
	if err != nil {
		return nil, false, wire.Fail(op, err)
	}
	found, err := f.events(ctx, id, branch, since, false)
	if unreadable(err) {
		return nil, false, nil
	} else if err != nil {
		return nil, false, wire.Fail(op, err)
	}
	tip, err := f.tip(ctx, id, branch)
	if err != nil {
		return nil, false, wire.Fail(op, err)
	}
	if !chained(found) || len(found) > 0 && found[0].After != tip {
		return nil, false, nil
	}
	if err := f.name(ctx, id, found, branch); err != nil {
		return nil, false, wire.Fail(op, err)
	}
	return found, true, nil
}

func unreadable(err error) bool {
	code := forge.CodeOf(err)
	return err != nil && (code == forge.Forbidden || code == forge.NotFound)
}

// chained reports whether each push begins where the one before it ended.
func chained(pushes []forge.BranchPush) bool {
	for i := 1; i < len(pushes); i++ {
		if pushes[i-1].Before != pushes[i].After {
			return false
		}
	}
	return true
}

// events lists what moved a branch at or after since, newest first; with life
// those of its present life only. Pushes are not told from forced ones yet.
func (f *Forge) events(ctx context.Context, project int64, branch string, since time.Time, life bool) ([]forge.BranchPush, error) {
	q := url.Values{"action": {"pushed"}, "sort": {"desc"}, "per_page": {fmt.Sprint(perPage)}, "page": {"1"}}
	if !since.IsZero() {
		q.Set("after", since.UTC().AddDate(0, 0, -2).Format(time.DateOnly)) // whole days, and none of the day itself
	}
	var out []forge.BranchPush
	seen := map[int64]bool{}
	for read := 0; read < mostEvents; {
		var some []gl.ContributionEvent
		resp, err := f.page(ctx, fmt.Sprintf("projects/%d/events", project), q, &some)
		if err != nil {
			return nil, err
		}
		for i := range some {
			e := &some[i]
			push, ours := toPush(e, branch)
			if !ours || seen[e.ID] {
				continue
			}
			seen[e.ID] = true
			if push.At.Before(since) {
				return out, f.whose(ctx, out)
			}
			out = append(out, push)
			if life && push.Kind == forge.BranchCreation {
				return out, f.whose(ctx, out)
			}
		}
		next, err := following(resp)
		if err != nil {
			return nil, err
		}
		if next == nil {
			return out, f.whose(ctx, out)
		}
		for k, v := range next {
			q[k] = v
		}
		read += perPage
	}
	return nil, &forge.Error{Code: forge.NotFound, Unsent: true, Message: fmt.Sprintf("the last %d pushes do not reach back far enough", mostEvents)}
}

func (f *Forge) whose(ctx context.Context, pushes []forge.BranchPush) error {
	who := make([]*forge.User, len(pushes))
	for i := range pushes {
		who[i] = &pushes[i].By
	}
	return f.typed(ctx, who...)
}

// toPush reads an event; ours is false for one of another branch.
func toPush(e *gl.ContributionEvent, branch string) (_ forge.BranchPush, ours bool) {
	d := e.PushData
	if d.RefType != "branch" || d.Ref != branch {
		return forge.BranchPush{}, false
	}
	by := someone(e.Author.ID, e.Author.Username)
	if by.ID == 0 {
		by = someone(e.AuthorID, e.AuthorUsername)
	}
	p := forge.BranchPush{Before: notZero(d.CommitFrom), After: notZero(d.CommitTo), By: by, At: moment(e.CreatedAt), Kind: forge.PlainPush}
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

// name tells plain pushes from those that threw commits away and, on the branch
// base, from merges of pulls.
func (f *Forge) name(ctx context.Context, project int64, pushes []forge.BranchPush, base string) error {
	for i := range pushes {
		p := &pushes[i]
		if p.Kind != forge.PlainPush {
			continue
		}
		grown, err := f.grown(ctx, project, p.Before, p.After)
		if err != nil {
			return err
		}
		if !grown {
			p.Kind = forge.ForcePush
			continue
		}
		if base == "" {
			continue
		}
		merged, err := f.mergedAs(ctx, project, p.After, base)
		if err != nil {
			return err
		}
		if merged {
			p.Kind = forge.PullMerge
		}
	}
	return nil
}

// grown reports whether a commit comes after another. What a forced push threw
// away may be gone.
func (f *Forge) grown(ctx context.Context, project int64, from, to string) (bool, error) {
	var c gl.Commit
	err := f.get(ctx, fmt.Sprintf("projects/%d/repository/merge_base", project), url.Values{"refs[]": {from, to}}, &c)
	switch code := forge.CodeOf(err); {
	case code == forge.NotFound, code == forge.Invalid:
		return false, nil
	case err != nil:
		return false, err
	}
	return c.ID == from, nil
}

// mergedAs reports whether a merge of a pull made the commit on a branch.
func (f *Forge) mergedAs(ctx context.Context, project int64, sha, base string) (bool, error) {
	pulls, err := f.commitPulls(ctx, project, sha)
	if err != nil && forge.CodeOf(err) != forge.NotFound {
		return false, err
	}
	for _, p := range pulls {
		if p.Merged && p.MergeSHA == sha && p.Base.Name == base {
			return true, nil
		}
	}
	return false, nil
}
