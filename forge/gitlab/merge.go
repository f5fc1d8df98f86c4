package gitlab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	gl "gitlab.com/gitlab-org/api/client-go"

	"lockkeeper/forge"
	"lockkeeper/forge/internal/wire"
)

// Merge merges the pull if its head is still headSHA. How is a setting of the
// project on GitLab (a merge commit, or fast-forward); only whether to squash can
// be chosen, and what people ticked at the pull or the project prescribes goes
// before. A method that the project does not offer is refused. GitLab pins the
// head only; what the base was is for the caller to compare.
func (f *Forge) Merge(ctx context.Context, ref forge.RepoRef, number int, headSHA string, m forge.MergeMethod) (string, error) {
	op := fmt.Sprintf("merge pull %s#%d at %s", ref, number, headSHA)
	if headSHA == "" {
		return "", wire.Fail(op, &forge.Error{Code: forge.Invalid, Unsent: true, Message: "a merge needs the SHA of the head it is meant for"})
	}
	p, err := f.project(ctx, ref)
	if err == nil {
		err = offered(p, m)
	}
	if err != nil {
		return "", wire.Fail(op, err)
	}
	in := &gl.AcceptMergeRequestOptions{SHA: &headSHA}
	if m == forge.MethodSquash {
		in.Squash = gl.Ptr(true)
	}
	merged, resp, err := f.client.MergeRequests.AcceptMergeRequest(p.ID, int64(number), in, gl.WithContext(ctx))
	switch {
	case err != nil && resp != nil && resp.StatusCode == http.StatusOK:
		// Merged, but the answer was cut: never to be read as refused.
		return "", wire.Fail(op, fmt.Errorf("the answer could not be read: %w", err))
	case err != nil:
		return "", wire.Fail(op, f.refusal(ctx, err))
	case merged.State == "locked":
		return "", wire.Fail(op, &forge.Error{Code: forge.Unavailable, Message: "the merge has begun and is not done yet"})
	case merged.State != "merged":
		return "", wire.Fail(op, &forge.Error{Code: forge.Conflict, Unsent: true, Message: cmp.Or(merged.MergeError, "the forge did not merge it and does not say why")})
	}
	sha := toPull(&merged.BasicMergeRequest).MergeSHA
	if !wire.IsSHA(sha) {
		return "", wire.Fail(op, &forge.Error{Code: forge.Unavailable, Message: "the forge merged it and does not tell as which commit"})
	}
	return sha, nil
}

// offered refuses a method that the project's settings rule out.
func offered(p *gl.Project, m forge.MergeMethod) error {
	forward := p.MergeMethod == gl.FastForwardMerge
	why := ""
	switch {
	case m == forge.MethodSquash && p.SquashOption == gl.SquashOptionNever:
		why = "squashing is switched off in this project"
	case m == forge.MethodMerge && forward:
		why = "this project merges by fast-forward only; choose the method rebase or squash"
	case m == forge.MethodRebase && p.MergeMethod != "" && !forward:
		why = "this project makes merge commits; choose the method merge or squash"
	case m != forge.MethodSquash && p.SquashOption == gl.SquashOptionAlways:
		why = "this project squashes always; choose the method squash"
	default:
		return nil
	}
	return &forge.Error{Code: forge.Invalid, Unsent: true, Message: why}
}

// refusal reads what GitLab answers to a merge that it does not do. Who may not
// merge is told so by 401, as is who has a bad token: only the latter cannot ask
// who they are.
//
// Source: https://docs.gitlab.com/api/merge_requests/#merge-a-merge-request
func (f *Forge) refusal(ctx context.Context, err error) error {
	var e *forge.Error
	if !errors.As(err, &e) {
		return err
	}
	out := *e
	says := strings.ToLower(e.Message)
	switch {
	case e.Status == http.StatusUnauthorized:
		var u gl.User
		if f.get(ctx, "user", nil, &u) == nil {
			out.Code, out.Message = forge.Forbidden, "our account may not merge into that branch (role, or the branch's rules)"
		}
	case e.Status == http.StatusMethodNotAllowed:
		out.Message = "the pull cannot be merged now: " + e.Message
	case e.Status == http.StatusNotAcceptable,
		e.Status == http.StatusUnprocessableEntity && strings.Contains(says, "merge"):
		out.Code = forge.Conflict
	}
	return &out
}

const checksQuery = `query($ids:[ID!],$iid:String!){projects(ids:$ids){nodes{mergeRequest(iid:$iid){mergeabilityChecks{identifier status}}}}}`

// MergeBlockers lists what keeps GitLab from merging p now, besides the check
// named own. It judges p as given (Mergeable and MergeState come from Pull) and
// asks further where GitLab would not merge: a pull shows one cause only, the
// checks behind it all.
func (f *Forge) MergeBlockers(ctx context.Context, ref forge.RepoRef, p forge.Pull, own string) ([]string, error) {
	op := fmt.Sprintf("find what blocks the merge of pull %s#%d", ref, p.Number)
	if simple := obvious(p); len(simple) > 0 {
		return simple, nil
	}
	if p.MergeState == "mergeable" {
		return nil, nil
	}
	ref, err := f.at(ctx, ref)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	m, err := f.ofPull(ctx, ref, p.Number, checksQuery, "")
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	b := blockers{f: f, ref: ref, p: p, own: own}
	for _, c := range m.Checks {
		word := strings.ToLower(c.Identifier)
		switch strings.ToUpper(c.Status) {
		case "SUCCESS", "INACTIVE", "WARNING":
			continue
		}
		if err := b.explain(ctx, word); err != nil {
			return nil, wire.Fail(op, err)
		}
	}
	if !b.asked {
		if err := b.explain(ctx, p.MergeState); err != nil {
			return nil, wire.Fail(op, err)
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
	f     *Forge
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
	all, err := b.f.statuses(ctx, b.ref, b.p.Head.SHA)
	if err != nil {
		return err
	}
	ours, others := false, false
	for _, s := range all {
		if s.Name == b.own {
			ours = ours || resultState(s) != forge.Success
			continue
		}
		switch state := resultState(s); {
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
	a, _, err := b.f.client.MergeRequests.GetMergeRequestApprovals(b.ref.ID, int64(b.p.Number), gl.WithContext(ctx))
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
	asked, err := b.f.reviewers(ctx, b.ref.ID, b.p.Number)
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
