package github

import (
	"context"
	"fmt"

	gh "github.com/google/go-github/v60/github"

	"lockkeeper/forge"
	"lockkeeper/forge/github/internal/sdk"
)

// maxDescription is the longest description of a commit status, in characters.
const maxDescription = 140

// SetCheck writes a check run as an App, or a commit status with a token:
// GitHub lets only Apps write check runs.
func (f *Forge) SetCheck(ctx context.Context, ref forge.RepoRef, k forge.Check) (int64, error) {
	op := fmt.Sprintf("write check %q on %s@%s", k.Name, ref, k.SHA)
	c, ref, err := f.repo(ctx, ref)
	if err != nil {
		return 0, sdk.Fail(op, err)
	}
	var id int64
	if f.creds.appID() == 0 {
		id, err = setStatus(ctx, c, ref, k)
	} else {
		id, err = f.setCheckRun(ctx, c, ref, k)
	}
	if err != nil {
		return 0, sdk.Fail(op, err)
	}
	return id, nil
}

func (f *Forge) setCheckRun(ctx context.Context, c *gh.Client, ref forge.RepoRef, k forge.Check) (int64, error) {
	id := k.ID
	if id == 0 {
		var err error
		if id, err = f.findCheckRun(ctx, c, ref, k); err != nil {
			return 0, err
		}
	}
	status, conclusion := runState(k.State)
	out := &gh.CheckRunOutput{Title: &k.Title, Summary: &k.Summary}
	if k.Summary == "" {
		out.Summary = &k.Title // GitHub wants both
	}
	var url *string
	if k.DetailsURL != "" {
		url = &k.DetailsURL
	}
	if id != 0 {
		run, _, err := c.Checks.UpdateCheckRun(ctx, ref.Owner, ref.Name, id, gh.UpdateCheckRunOptions{
			Name: k.Name, DetailsURL: url, Status: &status, Conclusion: conclusion, Output: out,
		})
		return run.GetID(), err
	}
	run, _, err := c.Checks.CreateCheckRun(ctx, ref.Owner, ref.Name, gh.CreateCheckRunOptions{
		Name: k.Name, HeadSHA: k.SHA, DetailsURL: url, Status: &status, Conclusion: conclusion, Output: out,
	})
	return run.GetID(), err
}

// findCheckRun looks for our own run of that name: another App may write one
// under the same name (threat 25).
func (f *Forge) findCheckRun(ctx context.Context, c *gh.Client, ref forge.RepoRef, k forge.Check) (int64, error) {
	app := f.creds.appID()
	runs, _, err := c.Checks.ListCheckRunsForRef(ctx, ref.Owner, ref.Name, k.SHA, &gh.ListCheckRunsOptions{
		CheckName: &k.Name, Filter: gh.String("latest"), AppID: &app, ListOptions: gh.ListOptions{PerPage: sdk.PerPage},
	})
	if err != nil {
		return 0, err
	}
	for _, r := range runs.CheckRuns {
		if r.GetName() == k.Name && r.GetApp().GetID() == app {
			return r.GetID(), nil
		}
	}
	return 0, nil
}

func runState(s forge.CheckState) (status string, conclusion *string) {
	if s == forge.Pending {
		return "in_progress", nil
	}
	// The other states are GitHub's conclusions by the same words.
	return "completed", gh.String(string(s))
}

func setStatus(ctx context.Context, c *gh.Client, ref forge.RepoRef, k forge.Check) (int64, error) {
	state := string(k.State)
	if k.State == forge.ActionRequired {
		state = "failure"
	}
	st := &gh.RepoStatus{State: &state, Context: &k.Name, Description: gh.String(clip(k.Title, maxDescription))}
	if k.DetailsURL != "" {
		st.TargetURL = &k.DetailsURL
	}
	st, _, err := c.Repositories.CreateStatus(ctx, ref.Owner, ref.Name, k.SHA, st)
	return st.GetID(), err
}

// clip shortens s to n characters.
func clip(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}
