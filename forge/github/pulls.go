package github

import (
	"context"
	"fmt"
	"net/http"

	gh "github.com/google/go-github/v60/github"

	"lockkeeper/forge"
	"lockkeeper/forge/github/internal/blockers"
	"lockkeeper/forge/github/internal/commits"
	"lockkeeper/forge/github/internal/sdk"
)

// OpenPulls lists open pulls, newest first. Mergeable and MergeState are only
// in what Pull reads.
func (f *Forge) OpenPulls(ctx context.Context, ref forge.RepoRef) ([]forge.Pull, error) {
	op := "list open pulls of " + ref.String()
	c, ref, err := f.repo(ctx, ref)
	if err != nil {
		return nil, sdk.Fail(op, err)
	}
	list, err := sdk.Pages(func(o gh.ListOptions) ([]*gh.PullRequest, *gh.Response, error) {
		return c.PullRequests.List(ctx, ref.Owner, ref.Name, &gh.PullRequestListOptions{
			State: "open", Sort: "created", Direction: "desc", ListOptions: o,
		})
	})
	if err != nil {
		return nil, sdk.Fail(op, err)
	}
	var pulls []forge.Pull
	seen := map[int]bool{}
	for _, p := range list {
		// A pull opened between two pages moves the last entry of the first
		// onto the second.
		if !seen[p.GetNumber()] {
			seen[p.GetNumber()] = true
			pulls = append(pulls, f.toPull(p))
		}
	}
	return pulls, nil
}

// Pull reads one pull, in a call more for one that was closed without a merge.
func (f *Forge) Pull(ctx context.Context, ref forge.RepoRef, number int) (forge.Pull, error) {
	op := fmt.Sprintf("read pull %s#%d", ref, number)
	c, ref, err := f.repo(ctx, ref)
	if err != nil {
		return forge.Pull{}, sdk.Fail(op, err)
	}
	p, _, err := c.PullRequests.Get(ctx, ref.Owner, ref.Name, number)
	if err != nil {
		return forge.Pull{}, sdk.Fail(op, err)
	}
	if got := p.GetBase().GetRepo().GetID(); ref.ID != 0 && got != ref.ID {
		// The name was given up and taken by another repository (threat 26).
		f.names.lose(ref)
		return forge.Pull{}, sdk.Fail(op, &forge.Error{Code: forge.NotFound,
			Message: fmt.Sprintf("%s is now another repository (id %d, not %d)", ref, got, ref.ID)})
	}
	out := f.toPull(p)
	if out.State == forge.Closed && !out.Merged {
		i, _, err := c.Issues.Get(ctx, ref.Owner, ref.Name, number) // pulls do not tell who closed them
		if err != nil {
			return forge.Pull{}, sdk.Fail(op, err)
		}
		out.ClosedBy = sdk.User(i.ClosedBy)
	}
	return out, nil
}

func (f *Forge) toPull(p *gh.PullRequest) forge.Pull {
	f.learnOwner(p.GetBase().GetRepo().GetOwner())
	out := forge.Pull{
		Number:     p.GetNumber(),
		Title:      p.GetTitle(),
		Body:       p.GetBody(),
		WebURL:     p.GetHTMLURL(),
		State:      forge.Closed,
		Draft:      p.GetDraft(),
		Merged:     p.GetMerged() || p.MergedAt != nil, // lists have the time only
		Author:     sdk.User(p.User),
		Base:       toBranch(p.GetBase()),
		Head:       toBranch(p.GetHead()),
		Mergeable:  p.Mergeable,
		MergeState: p.GetMergeableState(),
		UpdatedAt:  p.GetUpdatedAt().Time,
	}
	if p.GetState() == "open" {
		out.State = forge.Open
	}
	if out.Merged {
		// Before the merge GitHub keeps a trial merge's commit in this field.
		out.MergeSHA = p.GetMergeCommitSHA()
		out.MergedBy = sdk.User(p.MergedBy)
	}
	for _, u := range p.RequestedReviewers {
		out.Requested.Users = append(out.Requested.Users, sdk.User(u))
	}
	for _, t := range p.RequestedTeams {
		// Only teams of the organisation that owns the repository can be asked.
		out.Requested.Teams = append(out.Requested.Teams, forge.Team{Org: p.GetBase().GetRepo().GetOwner().GetLogin(), Slug: t.GetSlug()})
	}
	return out
}

func toBranch(b *gh.PullRequestBranch) forge.Branch {
	return forge.Branch{Name: b.GetRef(), SHA: b.GetSHA(), RepoID: b.GetRepo().GetID()}
}

// Merge merges the pull if its head is still headSHA. GitHub pins the head
// only; what the base was is for the caller to compare.
func (f *Forge) Merge(ctx context.Context, ref forge.RepoRef, number int, headSHA string, m forge.MergeMethod) (string, error) {
	op := fmt.Sprintf("merge pull %s#%d at %s", ref, number, headSHA)
	c, ref, err := f.repo(ctx, ref)
	if err != nil {
		return "", sdk.Fail(op, err)
	}
	if headSHA == "" {
		return "", sdk.Fail(op, &forge.Error{Code: forge.Invalid, Unsent: true, Message: "a merge needs the SHA of the head it is meant for"})
	}
	res, resp, err := c.PullRequests.Merge(ctx, ref.Owner, ref.Name, number, "", &gh.PullRequestOptions{SHA: headSHA, MergeMethod: string(m)})
	switch {
	case err != nil && resp != nil && resp.StatusCode == http.StatusOK:
		// Merged, but the answer was cut: never to be read as refused.
		return "", sdk.Fail(op, fmt.Errorf("the answer could not be read: %w", err))
	case err != nil:
		return "", sdk.Fail(op, err)
	case !res.GetMerged():
		return "", sdk.Fail(op, &forge.Error{Code: forge.Conflict, Unsent: true, Message: res.GetMessage()})
	}
	return res.GetSHA(), nil
}

// Commits lists p.Base.SHA..p.Head.SHA with the accounts GitHub attributes
// them to: one comparison per 100 commits, and one GraphQL query per 100
// commits that name co-authors.
func (f *Forge) Commits(ctx context.Context, ref forge.RepoRef, p forge.Pull) ([]forge.Commit, error) {
	op := fmt.Sprintf("list commits of pull %s#%d", ref, p.Number)
	r, err := f.commits(ctx, ref)
	if err != nil {
		return nil, sdk.Fail(op, err)
	}
	list, err := r.List(ctx, p)
	if err != nil {
		return nil, sdk.Fail(op, err)
	}
	return list, nil
}

// commits is the repository as the rooms within see it.
func (f *Forge) commits(ctx context.Context, ref forge.RepoRef) (commits.Repo, error) {
	c, ref, err := f.repo(ctx, ref)
	return commits.Repo{Client: c, Wire: f.wire, Ref: ref}, err
}

// MergeBlockers lists what keeps GitHub from merging p now, besides the check
// named own. It judges p as given (Mergeable and MergeState come from Pull)
// and asks further only where GitHub says "blocked" without saying why. What
// cannot be found out is itself a blocker: a merge that fails after an apply
// is worse than one that waits.
func (f *Forge) MergeBlockers(ctx context.Context, ref forge.RepoRef, p forge.Pull, own string) ([]string, error) {
	op := fmt.Sprintf("find what blocks the merge of pull %s#%d", ref, p.Number)
	if simple := blockers.Plain(p); len(simple) > 0 {
		return simple, nil
	}
	r, err := f.commits(ctx, ref)
	if err != nil {
		return nil, sdk.Fail(op, err)
	}
	found, err := blockers.Find(ctx, blockers.Pull{Repo: r, Pull: p, Own: own, AppID: f.creds.appID()})
	if err != nil {
		return nil, sdk.Fail(op, err)
	}
	return found, nil
}
