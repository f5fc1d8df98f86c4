package github

import (
	"context"
	"fmt"
	"strings"

	gh "github.com/google/go-github/v60/github"

	"lockkeeper/forge"
	"lockkeeper/forge/github/internal/sdk"
	"lockkeeper/forge/internal/wire"
)

// Checks lists what check runs and commit statuses say of a commit. GitHub
// keeps every status that was ever written; of each context the newest by each
// writer is listed. A check run says which App wrote it. A status says which
// account did, so the App behind a bot's account is asked for by its slug; a
// private App that we may not see keeps AppID 0.
func (f *Forge) Checks(ctx context.Context, ref forge.RepoRef, sha string) ([]forge.CheckResult, error) {
	op := fmt.Sprintf("list checks of %s@%s", ref, sha)
	c, ref, err := f.repo(ctx, ref)
	if err != nil {
		return nil, sdk.Fail(op, err)
	}
	if !wire.IsSHA(sha) {
		// A branch's name would be answered too, for whatever it points to then.
		return nil, sdk.Fail(op, &forge.Error{Code: forge.Invalid, Unsent: true, Message: fmt.Sprintf("%q is not a full SHA", sha)})
	}
	runs, err := checkRuns(ctx, c, ref, sha)
	if err != nil {
		return nil, sdk.Fail(op, err)
	}
	statuses, err := statuses(ctx, c, ref, sha)
	if err != nil {
		return nil, sdk.Fail(op, err)
	}
	return append(runs, statuses...), nil
}

func checkRuns(ctx context.Context, c *gh.Client, ref forge.RepoRef, sha string) ([]forge.CheckResult, error) {
	total := 0
	list, err := sdk.Pages(func(o gh.ListOptions) ([]*gh.CheckRun, *gh.Response, error) {
		some, resp, err := c.Checks.ListCheckRunsForRef(ctx, ref.Owner, ref.Name, sha, &gh.ListCheckRunsOptions{Filter: gh.String("latest"), ListOptions: o})
		if err != nil {
			return nil, resp, err
		}
		total = some.GetTotal()
		return some.CheckRuns, resp, nil
	})
	if err != nil {
		return nil, err
	}
	if len(list) < total {
		return nil, &forge.Error{Code: forge.Unavailable, Message: fmt.Sprintf("the forge listed %d of %d check runs", len(list), total)}
	}
	var out []forge.CheckResult
	for _, r := range list {
		out = append(out, forge.CheckResult{
			Name: r.GetName(), State: resultState(r.GetStatus(), r.GetConclusion()),
			AppID: r.GetApp().GetID(), AppSlug: r.GetApp().GetSlug(), URL: r.GetHTMLURL(),
		})
	}
	return out, nil
}

// resultState reads GitHub's two words; one that GitHub adds tomorrow is no
// success.
func resultState(status, conclusion string) forge.CheckState {
	if status != "completed" {
		return forge.Pending
	}
	switch s := forge.CheckState(conclusion); s {
	case forge.Success, forge.ActionRequired, forge.Neutral, forge.Skipped:
		return s
	}
	return forge.Failure
}

// statuses keeps the newest of each context and writer: GitHub lists newest
// first.
func statuses(ctx context.Context, c *gh.Client, ref forge.RepoRef, sha string) ([]forge.CheckResult, error) {
	list, err := sdk.Pages(func(o gh.ListOptions) ([]*gh.RepoStatus, *gh.Response, error) {
		return c.Repositories.ListStatuses(ctx, ref.Owner, ref.Name, sha, &o)
	})
	if err != nil {
		return nil, err
	}
	type writer struct {
		name string
		by   int64
	}
	seen, apps := map[writer]bool{}, map[string]int64{}
	var out []forge.CheckResult
	for _, s := range list {
		r := forge.CheckResult{Name: s.GetContext(), State: forge.Failure, By: sdk.User(s.Creator), URL: s.GetTargetURL()}
		if w := (writer{r.Name, r.By.ID}); seen[w] {
			continue
		} else {
			seen[w] = true
		}
		if state := s.GetState(); state == "success" || state == "pending" {
			r.State = forge.CheckState(state)
		}
		if slug, isApp := strings.CutSuffix(r.By.Login, "[bot]"); isApp && r.By.Type == forge.Bot {
			r.AppSlug = slug
			if r.AppID, err = appID(ctx, c, apps, slug); err != nil {
				return nil, err
			}
		}
		out = append(out, r)
	}
	return out, nil
}

// appID finds an App by its slug, 0 for one that is not shown to us.
func appID(ctx context.Context, c *gh.Client, known map[string]int64, slug string) (int64, error) {
	if id, ok := known[slug]; ok || !nameRE.MatchString(slug) {
		return id, nil
	}
	app, _, err := c.Apps.Get(ctx, slug)
	if err != nil && !unreadable(err) {
		return 0, err
	}
	known[slug] = app.GetID()
	return known[slug], nil
}

// CommitPulls lists the pulls of a commit: for one in the default branch those
// that brought it there, squashed and rebased ones too; for any other every
// pull that holds it, open ones and forks' included.
func (f *Forge) CommitPulls(ctx context.Context, ref forge.RepoRef, sha string) ([]forge.Pull, error) {
	op := fmt.Sprintf("list pulls of commit %s@%s", ref, sha)
	c, ref, err := f.repo(ctx, ref)
	if err != nil {
		return nil, sdk.Fail(op, err)
	}
	if !wire.IsSHA(sha) {
		return nil, sdk.Fail(op, &forge.Error{Code: forge.Invalid, Unsent: true, Message: fmt.Sprintf("%q is not a full SHA", sha)})
	}
	list, err := sdk.Pages(func(o gh.ListOptions) ([]*gh.PullRequest, *gh.Response, error) {
		return c.PullRequests.ListPullRequestsWithCommit(ctx, ref.Owner, ref.Name, sha, &o)
	})
	if err != nil {
		return nil, sdk.Fail(op, err)
	}
	var out []forge.Pull
	for _, p := range list {
		out = append(out, f.toPull(p))
	}
	return out, nil
}
