package gitea

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/gobwas/glob"

	sdk "code.gitea.io/sdk/gitea"

	"lockkeeper/forge"
	"lockkeeper/forge/internal/wire"
)

// MergeBlockers lists what keeps Gitea from merging p now, besides the check named
// own: what the pull itself shows, and what the rule of its base branch asks for.
// What cannot be found out is itself a blocker: a merge that fails after an apply
// is worse than one that waits.
func (f *Forge) MergeBlockers(ctx context.Context, ref forge.RepoRef, p forge.Pull, own string) ([]string, error) {
	op := fmt.Sprintf("find what blocks the merge of pull %s#%d", ref, p.Number)
	if simple := plain(p); len(simple) > 0 {
		return simple, nil
	}
	ref, err := f.repo(ctx, ref)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	base, err := f.branch(ctx, ref, p.Base.Name)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	var found []string
	if !base.UserCanMerge {
		found = append(found, fmt.Sprintf("the rule of the branch %s does not let lockkeeper's account merge", p.Base.Name))
	}
	if !base.Protected {
		return found, nil
	}
	r, err := f.rule(ctx, ref, base)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	if r == nil {
		return append(found, fmt.Sprintf("the rule of the branch %s is not shown to lockkeeper's account, which has to be an administrator of the repository", p.Base.Name)), nil
	}
	why, err := f.ruled(ctx, ref, p, *r, own)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	return append(found, why...), nil
}

// plain are the blockers that the pull itself shows.
func plain(p forge.Pull) []string {
	switch {
	case p.Merged:
		return []string{"the pull request is merged already"}
	case p.State != forge.Open:
		return []string{"the pull request is closed"}
	case p.Draft:
		return []string{"the pull request is a draft"}
	case p.Mergeable == nil:
		return []string{"the forge is still computing whether it can be merged"}
	case !*p.Mergeable:
		return []string{fmt.Sprintf("it conflicts with %s; merge or rebase and push again", p.Base.Name)}
	}
	return nil
}

// rule is what protects a branch. The SDK leaves out that stale approvals may not
// count.
type rule struct {
	sdk.BranchProtection
	IgnoreStaleApprovals bool `json:"ignore_stale_approvals"`
}

// rule reads the rule that holds for a branch, nil where it is not shown to us.
func (f *Forge) rule(ctx context.Context, ref forge.RepoRef, b *sdk.Branch) (*rule, error) {
	if b.EffectiveBranchProtectionName == "" {
		return nil, nil
	}
	var rules []*rule
	if _, err := f.get(ctx, at(ref, "/branch_protections"), nil, &rules); err != nil {
		if unreadable(err) {
			return nil, nil
		}
		return nil, err
	}
	for _, r := range rules {
		if cmp.Or(r.RuleName, r.BranchName) == b.EffectiveBranchProtectionName {
			return r, nil
		}
	}
	return nil, nil
}

// ruled lists what a rule asks for and the pull does not have.
func (f *Forge) ruled(ctx context.Context, ref forge.RepoRef, p forge.Pull, r rule, own string) ([]string, error) {
	var found []string
	if r.EnableStatusCheck {
		why, err := f.missingChecks(ctx, ref, p, r, own)
		if err != nil {
			return nil, err
		}
		found = append(found, why...)
	}
	why, err := f.missingReviews(ctx, ref, p, r)
	if err != nil {
		return nil, err
	}
	found = append(found, why...)
	if r.BlockOnOutdatedBranch {
		n, err := f.missing(ctx, ref, p.Head.SHA, p.Base.SHA)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			found = append(found, fmt.Sprintf("the branch is behind %s and has to be brought up to date first", p.Base.Name))
		}
	}
	if r.ProtectedFilePatterns != "" {
		why, err := f.protectedFiles(ctx, ref, p, r)
		if err != nil {
			return nil, err
		}
		found = append(found, why...)
	}
	return found, nil
}

// missingChecks judges as Gitea does: of each context the newest status counts,
// whoever wrote it, and names in the rule are patterns.
func (f *Forge) missingChecks(ctx context.Context, ref forge.RepoRef, p forge.Pull, r rule, own string) ([]string, error) {
	list, err := f.statuses(ctx, ref, p.Head.SHA)
	if err != nil {
		return nil, err
	}
	newest := map[string]forge.CheckState{}
	for _, s := range list {
		if _, newer := newest[s.Context]; !newer {
			newest[s.Context] = result(s.State)
		}
	}
	if len(r.StatusCheckContexts) == 0 {
		return failing(newest, func(string) bool { return true }, own), nil
	}
	var found []string
	for _, pattern := range r.StatusCheckContexts {
		g, err := glob.Compile(pattern)
		if err != nil {
			continue // Gitea leaves it out too
		}
		if !slices.ContainsFunc(keys(newest), g.Match) && !g.Match(own) {
			found = append(found, fmt.Sprintf("the required check %q has not run", pattern))
		}
		found = append(found, failing(newest, g.Match, own)...)
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

// failing lists the checks that are no success, ours left out.
func failing(newest map[string]forge.CheckState, asked func(string) bool, own string) []string {
	var found []string
	for _, name := range keys(newest) {
		switch state := newest[name]; {
		case name == own || !asked(name) || state == forge.Success || state == forge.Skipped:
		case state == forge.Pending:
			found = append(found, fmt.Sprintf("the required check %q is still running", name))
		default:
			found = append(found, fmt.Sprintf("the required check %q failed", name))
		}
	}
	return found
}

func keys(m map[string]forge.CheckState) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// missingReviews counts official reviews: those of people whom the rule lets
// approve.
func (f *Forge) missingReviews(ctx context.Context, ref forge.RepoRef, p forge.Pull, r rule) ([]string, error) {
	list, err := f.reviews(ctx, ref, p.Number)
	if err != nil {
		return nil, err
	}
	var found []string
	approvals := int64(0)
	for _, v := range list {
		who := ""
		if v.Reviewer != nil {
			who = v.Reviewer.UserName
		}
		switch {
		case !v.Official || v.Dismissed:
		case v.State == sdk.ReviewStateApproved && !(r.IgnoreStaleApprovals && v.Stale):
			approvals++
		case v.State == sdk.ReviewStateRequestChanges && r.BlockOnRejectedReviews:
			found = append(found, who+" requests changes")
		case v.State == sdk.ReviewStateRequestReview && r.BlockOnOfficialReviewRequests:
			found = append(found, cmp.Or(who, "a team")+" was asked for a review and has not given one")
		}
	}
	if missing := r.RequiredApprovals - approvals; missing > 0 {
		found = append(found, fmt.Sprintf("%d of %d required approving reviews are missing", missing, r.RequiredApprovals))
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

// protectedFiles finds changes to files that the rule protects.
func (f *Forge) protectedFiles(ctx context.Context, ref forge.RepoRef, p forge.Pull, r rule) ([]string, error) {
	var patterns []glob.Glob
	for one := range strings.SplitSeq(strings.ToLower(r.ProtectedFilePatterns), ";") {
		if g, err := glob.Compile(strings.TrimSpace(one), '.', '/'); err == nil && strings.TrimSpace(one) != "" {
			patterns = append(patterns, g)
		}
	}
	if len(patterns) == 0 {
		return nil, nil
	}
	files, err := pages(func(n int) ([]*sdk.ChangedFile, int, error) {
		return listed(f.client(ctx).ListPullRequestFiles(ref.Owner, ref.Name, int64(p.Number), sdk.ListPullRequestFilesOptions{ListOptions: page(n)}))
	})
	if err != nil {
		return nil, err
	}
	var found []string
	for _, file := range files {
		for _, name := range []string{file.Filename, file.PreviousFilename} {
			if slices.ContainsFunc(patterns, func(g glob.Glob) bool { return name != "" && g.Match(strings.ToLower(name)) }) {
				found = append(found, fmt.Sprintf("the rule of the branch %s protects %s, which can only be pushed", p.Base.Name, name))
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}
