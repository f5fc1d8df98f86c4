// Package blockers finds out what keeps GitLab from merging a pull.
package blockers

import (
	"context"
	"fmt"
	"strings"

	gl "gitlab.com/gitlab-org/api/client-go"

	"lockkeeper/forge"
	"lockkeeper/forge/gitlab/internal/api"
)

const checksQuery = `query($ids:[ID!],$iid:String!){projects(ids:$ids){nodes{mergeRequest(iid:$iid){mergeabilityChecks{identifier status}}}}}`

// Find lists what keeps GitLab from merging p now, besides the check named own.
// It judges p as given and asks further where GitLab would not merge: a pull
// shows one cause only, the checks behind it all.
func Find(ctx context.Context, a *api.API, ref forge.RepoRef, p forge.Pull, own string) ([]string, error) {
	if simple := obvious(p); len(simple) > 0 {
		return simple, nil
	}
	if p.MergeState == "mergeable" {
		return nil, nil
	}
	m, err := a.OfPull(ctx, ref, p.Number, checksQuery, "")
	if err != nil {
		return nil, err
	}
	b := blockers{api: a, ref: ref, p: p, own: own}
	for _, c := range m.Checks {
		switch strings.ToUpper(c.Status) {
		case "SUCCESS", "INACTIVE", "WARNING":
			continue
		}
		if err := b.explain(ctx, strings.ToLower(c.Identifier)); err != nil {
			return nil, err
		}
	}
	if !b.asked {
		if err := b.explain(ctx, p.MergeState); err != nil {
			return nil, err
		}
	}
	return b.found, nil
}

// obvious are the blockers that the pull itself shows.
func obvious(p forge.Pull) []string {
	switch {
	case p.Merged:
		return []string{"the pull request is merged already"}
	case p.State != forge.Open:
		return []string{"the pull request is closed"}
	case p.Mergeable == nil:
		return []string{"the forge is still computing whether it can be merged"}
	case !*p.Mergeable && p.MergeState == "commits_status":
		return []string{"its branch is gone, or holds nothing new"}
	case !*p.Mergeable:
		return []string{fmt.Sprintf("it conflicts with %s; merge or rebase and push again", p.Base.Name)}
	case p.Draft || p.MergeState == "draft_status":
		return []string{"the pull request is a draft"}
	}
	return nil
}

// blockers collects the causes for which GitLab would not merge.
type blockers struct {
	api   *api.API
	ref   forge.RepoRef
	p     forge.Pull
	own   string
	asked bool // a cause was looked at
	found []string
}

func (b *blockers) add(format string, args ...any) {
	b.found = append(b.found, fmt.Sprintf(format, args...))
}

// explain says one of GitLab's words in plain ones. One that is not known is a
// blocker too: a merge that fails after an apply is worse than one that waits.
func (b *blockers) explain(ctx context.Context, word string) error {
	b.asked = true
	switch word {
	case "ci_must_pass", "ci_still_running", "ci":
		return b.pipeline(ctx)
	case "not_approved", "approved":
		return b.approvals(ctx)
	case "requested_changes":
		return b.demands(ctx)
	}
	if plain := words[word]; plain != "" {
		b.add("%s", strings.ReplaceAll(plain, "BASE", b.p.Base.Name))
		return nil
	}
	b.add("the forge calls its state %q", word)
	return nil
}

// words are GitLab's words for what blocks a merge.
//
// Source: https://docs.gitlab.com/api/merge_requests/#merge-status
var words = map[string]string{
	"broken_status":                   "it cannot be merged into BASE",
	"commits_status":                  "its branch is gone, or holds nothing new",
	"conflict":                        "it conflicts with BASE; merge or rebase and push again",
	"need_rebase":                     "the branch is behind BASE and has to be rebased first",
	"discussions_not_resolved":        "threads are not resolved",
	"draft_status":                    "the pull request is a draft",
	"not_open":                        "the pull request is closed",
	"merge_request_blocked":           "another pull request has to be merged before it",
	"blocked_status":                  "another pull request has to be merged before it",
	"merge_time":                      "it is not to be merged before the time that is set for it",
	"jira_association_missing":        "its title or description names no Jira issue",
	"title_regex":                     "its title is not as the project demands",
	"status_checks_must_pass":         "an external status check has not passed",
	"external_status_checks":          "an external status check has not passed",
	"security_policy_violations":      "it violates a security policy",
	"policies_denied":                 "it violates a security policy",
	"security_policy_pipeline_check":  "the pipelines of a security policy have not passed",
	"locked_paths":                    "it changes a path that somebody has locked",
	"locked_lfs_files":                "it changes a file that somebody has locked",
	"approvals_syncing":               "the forge is still counting its approvals",
	"preparing":                       "the forge is still computing whether it can be merged",
	"checking":                        "the forge is still computing whether it can be merged",
	"unchecked":                       "the forge is still computing whether it can be merged",
	"security_policy_evaluation":      "a security policy is still being evaluated",
	"security_policies_still_running": "a security policy is still being evaluated",
}

// pipeline names the results that keep the pipeline from succeeding. Where only
// ours is missing, nothing else does: it makes a pipeline where there is none.
func (b *blockers) pipeline(ctx context.Context) error {
	all, err := b.api.Statuses(ctx, b.ref, b.p.Head.SHA)
	if err != nil {
		return err
	}
	ours, others := false, false
	for _, s := range all {
		if s.Name == b.own {
			ours = ours || api.ResultState(s) != forge.Success
			continue
		}
		switch state := api.ResultState(s); {
		case state == forge.Pending:
			b.add("the check %q has not finished", s.Name)
			others = true
		case state == forge.Failure && !s.AllowFailure:
			b.add("the check %q failed", s.Name)
			others = true
		}
	}
	if len(all) > 0 && !ours && !others {
		b.add("the pipeline has not succeeded, and the forge does not tell which part")
	}
	return nil
}

// approvals says how many are missing.
func (b *blockers) approvals(ctx context.Context) error {
	a, _, err := b.api.SDK.MergeRequests.GetMergeRequestApprovals(b.ref.ID, int64(b.p.Number), gl.WithContext(ctx))
	if err != nil {
		return err
	}
	switch {
	case a.ApprovalsLeft == 1:
		b.add("1 approving review is missing")
	case a.ApprovalsLeft > 1:
		b.add("%d approving reviews are missing", a.ApprovalsLeft)
	default:
		b.add("an approving review is missing")
	}
	return nil
}

// demands names who wants changes.
func (b *blockers) demands(ctx context.Context) error {
	asked, err := b.api.Reviewers(ctx, b.ref.ID, b.p.Number)
	if err != nil {
		return err
	}
	before := len(b.found)
	for _, r := range asked {
		if r.State == "requested_changes" && r.User != nil {
			b.add("%s requests changes", r.User.Username)
		}
	}
	if len(b.found) == before {
		b.add("somebody requests changes")
	}
	return nil
}
