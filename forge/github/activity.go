package github

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	gh "github.com/google/go-github/v60/github"

	"lockkeeper/forge"
	"lockkeeper/forge/github/internal/sdk"
)

// activity is one entry of a repository's activity listing, which go-github
// v60 does not know yet.
type activity struct {
	Before string    `json:"before"`
	After  string    `json:"after"`
	Type   string    `json:"activity_type"`
	Actor  *gh.User  `json:"actor"`
	At     time.Time `json:"timestamp"`
}

// Pushes reads the head repository's activity on the head branch, newest
// first, back to the branch's creation. ok is false where the listing may not
// be read (a fork that the App is not installed on, a fork that is gone, a
// server without the listing) and where it does not reach the pull's head.
func (f *Forge) Pushes(ctx context.Context, ref forge.RepoRef, p forge.Pull) ([]forge.BranchPush, bool, error) {
	op := fmt.Sprintf("list pushes to %s of pull %s#%d", p.Head.Name, ref, p.Number)
	if p.Head.RepoID == 0 {
		return nil, false, nil
	}
	c, ref, err := f.repo(ctx, ref)
	if err != nil {
		return nil, false, sdk.Fail(op, err)
	}
	head := ref
	if p.Fork() {
		r, _, err := c.Repositories.GetByID(ctx, p.Head.RepoID)
		if unreadable(err) {
			return nil, false, nil
		} else if err != nil {
			return nil, false, sdk.Fail(op, err)
		}
		head = forge.RepoRef{ID: r.GetID(), Owner: r.GetOwner().GetLogin(), Name: r.GetName()}
	}
	list, err := activities(ctx, c, head, p.Head.Name, time.Time{})
	if unreadable(err) {
		return nil, false, nil
	} else if err != nil {
		return nil, false, sdk.Fail(op, err)
	}
	reached := slices.ContainsFunc(list, func(a activity) bool { return a.After == p.Head.SHA })
	return toPushes(list), reached, nil
}

func toPushes(list []activity) []forge.BranchPush {
	var out []forge.BranchPush
	for _, a := range list {
		// forge.PushKind uses GitHub's own words.
		out = append(out, forge.BranchPush{
			Before: notZero(a.Before), After: notZero(a.After), By: sdk.User(a.Actor), At: a.At, Kind: forge.PushKind(a.Type),
		})
	}
	return out
}

func unreadable(err error) bool {
	code := forge.CodeOf(sdk.Fail("", err))
	return err != nil && (code == forge.Forbidden || code == forge.NotFound)
}

// activities lists what moved a branch, newest first, back to its creation or
// to the first entry before since.
func activities(ctx context.Context, c *gh.Client, ref forge.RepoRef, branch string, since time.Time) ([]activity, error) {
	var all []activity
	q := url.Values{"ref": {"refs/heads/" + branch}, "per_page": {fmt.Sprint(sdk.PerPage)}}
	for {
		req, err := c.NewRequest(http.MethodGet, fmt.Sprintf("repos/%s/%s/activity?%s", ref.Owner, ref.Name, q.Encode()), nil)
		if err != nil {
			return nil, err
		}
		var some []activity
		resp, err := c.Do(ctx, req, &some)
		if err != nil {
			return nil, err
		}
		for _, a := range some {
			if a.At.Before(since) {
				return all, nil
			}
			all = append(all, a)
			if a.Type == string(forge.BranchCreation) {
				return all, nil
			}
		}
		if resp.After == "" || resp.After == q.Get("after") {
			return all, nil
		}
		q.Set("after", resp.After)
	}
}

// BranchPushes reads the repository's activity on a branch, newest first, back
// to since or to the branch's creation. ok is false where the listing may not
// be read and on servers without it. GitHub adds an entry moments after the
// push, so the newest one may be missing for a while.
func (f *Forge) BranchPushes(ctx context.Context, ref forge.RepoRef, branch string, since time.Time) ([]forge.BranchPush, bool, error) {
	op := fmt.Sprintf("list pushes to %s of %s", branch, ref)
	c, ref, err := f.repo(ctx, ref)
	if err != nil {
		return nil, false, sdk.Fail(op, err)
	}
	list, err := activities(ctx, c, ref, branch, since)
	if unreadable(err) {
		return nil, false, nil
	} else if err != nil {
		return nil, false, sdk.Fail(op, err)
	}
	return toPushes(list), true, nil
}

// notZero turns Git's hash for "no such commit" into "".
func notZero(sha string) string {
	if strings.Trim(sha, "0") == "" {
		return ""
	}
	return sha
}
