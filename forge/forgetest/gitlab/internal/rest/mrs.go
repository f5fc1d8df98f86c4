package rest

import (
	"net/http"
	"slices"
	"strings"
	"time"

	gitbare "lockkeeper/forge/forgetest/bare"
	"lockkeeper/forge/forgetest/gitlab/internal/lab"
	"lockkeeper/forge/forgetest/gitlab/internal/refuse"
)

// mrs lists merge requests by what was asked for, newest first.
func mrs(c *call) (reply, error) {
	if !c.Reads(c.user, c.project) {
		return reply{}, refuse.Forbidden()
	}
	if s := c.text("state"); s != "" && !slices.Contains([]string{"opened", "closed", "locked", "merged", "all"}, s) {
		return reply{}, problem(http.StatusBadRequest, "state does not have a valid value")
	}
	list := slices.DeleteFunc(c.project.SortedMRs(), func(m *lab.MR) bool { return !c.wants(m) })
	if c.text("order_by") == "updated_at" {
		slices.SortStableFunc(list, func(a, b *lab.MR) int { return b.Updated.Compare(a.Updated) })
	}
	if c.text("sort") == "asc" {
		slices.Reverse(list)
	}
	return page(c, list, true, func(m *lab.MR) any { return c.MRBasic(c.ctx, m, c.is("with_merge_status_recheck")) })
}

func (c *call) wants(m *lab.MR) bool {
	same := func(key, value string) bool { return c.text(key) == "" || c.text(key) == value }
	if s := c.text("state"); s != "" && s != "all" && s != m.State {
		return false
	}
	if iids := c.numbers("iids"); iids != nil && !slices.Contains(*iids, int64(m.IID)) {
		return false
	}
	if ids := c.numbers("source_project_id"); ids != nil && (m.Source == nil || !slices.Contains(*ids, m.Source.ID)) {
		return false
	}
	if ids := c.numbers("author_id"); ids != nil && !slices.Contains(*ids, m.Author.ID) {
		return false
	}
	if t, err := time.Parse(time.RFC3339, c.text("updated_after")); err == nil && m.Updated.Before(t) {
		return false
	}
	search := strings.ToLower(c.text("search"))
	return same("source_branch", m.SourceBranch) && same("target_branch", m.TargetBranch) && same("author_username", m.Author.Login) &&
		(search == "" || strings.Contains(strings.ToLower(m.Title+" "+m.Description), search))
}

func addMR(c *call) (reply, error) {
	if err := c.needs("title", "source_branch", "target_branch"); err != nil {
		return reply{}, err
	}
	in := lab.NewMR{Title: c.text("title"), Description: c.text("description"), SourceBranch: c.text("source_branch"), TargetBranch: c.text("target_branch"),
		Squash: c.is("squash"), RemoveSource: c.is("remove_source_branch")}
	if to := c.numbers("target_project_id"); to != nil && len(*to) == 1 {
		if in.Target = c.byNumber((*to)[0]); in.Target == nil || !c.Sees(c.user, in.Target) {
			return reply{}, refuse.NotFound("Project")
		}
	}
	for key, into := range map[string]*[]int64{"reviewer_ids": &in.Reviewers, "assignee_ids": &in.Assignees, "assignee_id": &in.Assignees} {
		if ids := c.numbers(key); ids != nil {
			*into = *ids
		}
	}
	if labels := c.words("labels"); labels != nil {
		in.Labels = *labels
	}
	m, err := c.CreateMR(c.ctx, c.project, c.user, in)
	if err != nil {
		return reply{}, err
	}
	return created(c.MRFull(c.ctx, m, c.user))
}

func (c *call) byNumber(id int64) *lab.Project {
	i := slices.IndexFunc(c.Projects, func(p *lab.Project) bool { return p.ID == id })
	if i < 0 {
		return nil
	}
	return c.Projects[i]
}

func readMR(c *call) (reply, error) {
	o := c.MRFull(c.ctx, c.mr, c.user)
	if c.is("include_diverged_commits_count") {
		o["diverged_commits_count"] = c.project.Git.Behind(c.ctx, c.mr.Head(), c.project.Branch(c.mr.TargetBranch))
	}
	if c.is("include_rebase_in_progress") {
		o["rebase_in_progress"] = false
	}
	return ok(o)
}

func editMR(c *call) (reply, error) {
	e := lab.MREdit{Title: c.maybe("title"), Description: c.maybe("description"), TargetBranch: c.maybe("target_branch"), StateEvent: c.maybe("state_event"),
		Reviewers: c.numbers("reviewer_ids"), Assignees: c.numbers("assignee_ids"), Squash: c.flag("squash"), RemoveSource: c.flag("remove_source_branch"), Labels: c.words("labels")}
	if e == (lab.MREdit{}) {
		return reply{}, problem(http.StatusBadRequest, "assignee_id, assignee_ids, reviewer_ids, description, labels, add_labels, remove_labels, milestone_id, remove_source_branch, "+
			"allow_collaboration, allow_maintainer_to_push, squash, target_branch, title, state_event, discussion_locked, merge_after are missing, at least one parameter must be provided")
	}
	if err := c.UpdateMR(c.ctx, c.mr, c.user, e); err != nil {
		return reply{}, err
	}
	return ok(c.MRFull(c.ctx, c.mr, c.user))
}

func mergeMR(c *call) (reply, error) {
	o := lab.MergeOrder{SHA: c.text("sha"), Squash: c.flag("squash"), Message: c.text("merge_commit_message"), SquashMessage: c.text("squash_commit_message"),
		RemoveSource: c.is("should_remove_source_branch")}
	if err := c.Merge(c.ctx, c.mr, c.user, o); err != nil {
		return reply{}, err
	}
	return ok(c.MRFull(c.ctx, c.mr, c.user))
}

func mrCommits(c *call) (reply, error) {
	list := slices.Clone(c.mr.Commits(c.ctx))
	slices.Reverse(list)
	return page(c, list, true, func(m gitbare.Commit) any { return c.CommitJSON(c.project, m) })
}

func versions(c *call) (reply, error) {
	list := slices.Clone(c.mr.Versions)
	slices.Reverse(list)
	return page(c, list, true, func(v *lab.Version) any { return c.VersionJSON(c.ctx, c.mr, v) })
}

func diffs(c *call) (reply, error) {
	return page(c, c.mr.Patches(c.ctx, true), true, func(f gitbare.FileChange) any { return diffJSON(f) })
}

func mrPipelines(c *call) (reply, error) {
	var list []*lab.Pipeline
	if l := c.mr.HeadPipeline(); l != nil {
		list = append(list, l)
	}
	return page(c, list, true, func(l *lab.Pipeline) any { return c.PipelineJSON(l) })
}

func participants(c *call) (reply, error) {
	list := []*lab.User{c.mr.Author}
	for _, n := range c.project.Notes(c.mr, nil) {
		if !slices.Contains(list, n.Author) {
			list = append(list, n.Author)
		}
	}
	return page(c, list, true, c.UserJSON)
}

func reviewers(c *call) (reply, error) {
	return page(c, c.mr.Reviewers, true, func(r *lab.Reviewer) any { return c.ReviewerJSON(r) })
}

func approvals(c *call) (reply, error) { return ok(c.ApprovalsJSON(c.mr, c.user)) }

func approvalState(c *call) (reply, error) {
	rules := []any{}
	if n := c.project.Approvals; n > 0 {
		by := []any{}
		for _, a := range c.mr.Approvals {
			by = append(by, c.UserJSON(a.User))
		}
		rules = append(rules, obj{"id": c.project.ID, "name": "All Members", "rule_type": "any_approver", "report_type": nil, "eligible_approvers": []any{}, "approvals_required": n,
			"users": []any{}, "groups": []any{}, "contains_hidden_groups": false, "section": nil, "source_rule": nil, "overridden": false, "code_owner": false,
			"approved_by": by, "approved": c.ApprovalsLeft(c.mr) == 0})
	}
	return ok(obj{"approval_rules_overwritten": false, "rules": rules})
}

func approve(c *call) (reply, error) {
	if err := c.Approve(c.mr, c.user, c.text("sha")); err != nil {
		return reply{}, err
	}
	return created(c.ApprovalsJSON(c.mr, c.user))
}

func unapprove(c *call) (reply, error) {
	if err := c.Unapprove(c.mr, c.user); err != nil {
		return reply{}, err
	}
	return created(c.ApprovalsJSON(c.mr, c.user))
}
