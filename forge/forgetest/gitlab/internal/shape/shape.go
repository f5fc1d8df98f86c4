// Package shape writes down what the look-alike knows as GitLab's REST API does: each
// method is one of GitLab's entities.
package shape

import (
	"context"
	"fmt"
	"strings"
	"time"

	"lockkeeper/forge/forgetest/bare"
	"lockkeeper/forge/forgetest/gitlab/internal/lab"
	"lockkeeper/forge/forgetest/gitlab/internal/post"
)

// obj is a JSON object on its way out.
type obj = map[string]any

// View is a state as the API shows it.
type View struct{ *lab.Lab }

// stampOrNil is a time, with null for none.
func stampOrNil(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return lab.Stamp(t)
}

// orNil is null for an empty text.
func orNil(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// UserJSON is Entities::UserBasic.
func (s View) UserJSON(u *lab.User) any {
	if u == nil {
		return nil
	}
	return obj{"id": u.ID, "username": u.Login, "name": u.Name, "state": u.State, "locked": false, "avatar_url": lab.Avatar(u), "web_url": s.URL + "/" + u.Login}
}

func (s View) usersJSON(list []*lab.User) []any {
	out := []any{}
	for _, u := range list {
		out = append(out, s.UserJSON(u))
	}
	return out
}

// UserFull is Entities::UserPublic, or with self what people see of themselves.
func (s View) UserFull(u *lab.User, self bool) obj {
	o := s.UserJSON(u).(obj)
	for k, v := range (obj{
		"created_at": lab.Stamp(u.Created), "bio": "", "location": nil, "public_email": "", "linkedin": "", "twitter": "", "website_url": "", "organization": nil,
		"job_title": "", "bot": u.Bot, "followers": 0, "following": 0,
	}) {
		o[k] = v
	}
	if !self {
		return o
	}
	for k, v := range (obj{
		"last_sign_in_at": nil, "confirmed_at": lab.Stamp(u.Created), "last_activity_on": u.Created.Format("2006-01-02"), "email": u.Email(), "theme_id": 1,
		"color_scheme_id": 1, "projects_limit": 100000, "current_sign_in_at": nil, "identities": []any{}, "can_create_group": true, "can_create_project": true,
		"two_factor_enabled": false, "external": false, "private_profile": false, "note": nil,
	}) {
		o[k] = v
	}
	if u.Admin {
		o["is_admin"] = true
	}
	return o
}

// MemberJSON is Entities::Member.
func (s View) MemberJSON(m lab.Member) obj {
	o := s.UserJSON(m.User).(obj)
	o["access_level"], o["created_at"], o["expires_at"], o["membership_state"] = m.Level, lab.Stamp(m.Created), nil, "active"
	o["created_by"] = nil
	return o
}

// GroupJSON is Entities::Group.
func (s View) GroupJSON(g *lab.Group) obj {
	var parent any
	if g.Parent != nil {
		parent = g.Parent.ID
	}
	return obj{
		"id": g.ID, "web_url": s.URL + "/groups/" + g.Full(), "name": g.Path, "path": g.Path, "description": "", "visibility": "private",
		"share_with_group_lock": false, "require_two_factor_authentication": false, "two_factor_grace_period": 48, "project_creation_level": "developer",
		"auto_devops_enabled": nil, "subgroup_creation_level": "maintainer", "emails_disabled": false, "emails_enabled": true, "mentions_disabled": nil,
		"lfs_enabled": true, "default_branch": nil, "default_branch_protection": 0, "avatar_url": nil, "request_access_enabled": true,
		"full_name": strings.ReplaceAll(g.Full(), "/", " / "), "full_path": g.Full(), "created_at": lab.Stamp(g.Created), "parent_id": parent,
		"shared_runners_setting": "enabled", "marked_for_deletion_on": nil,
	}
}

func (s View) namespaceJSON(p *lab.Project) obj {
	o := obj{"name": p.Namespace(), "path": p.Namespace(), "full_path": p.Namespace(), "avatar_url": nil}
	if p.Group == nil {
		o["id"], o["kind"], o["parent_id"], o["web_url"] = p.Home.ID, "user", nil, s.URL+"/"+p.Home.Login
		return o
	}
	o["id"], o["kind"], o["name"], o["path"], o["parent_id"], o["web_url"] = p.Group.ID, "group", p.Group.Path, p.Group.Path, nil, s.URL+"/groups/"+p.Group.Full()
	if p.Group.Parent != nil {
		o["parent_id"] = p.Group.Parent.ID
	}
	return o
}

// ProjectJSON is Entities::Project, or what is simple of it.
func (s View) ProjectJSON(p *lab.Project, viewer *lab.User) obj {
	o := obj{
		"id": p.ID, "description": nil, "name": p.Path, "name_with_namespace": strings.ReplaceAll(p.Full(), "/", " / "), "path": p.Path, "path_with_namespace": p.Full(),
		"created_at": lab.Stamp(p.Created), "default_branch": p.DefaultBranch, "topics": []any{}, "ssh_url_to_repo": "git@gitlab.test:" + p.Full() + ".git",
		"http_url_to_repo": s.CloneURL(p), "web_url": s.Web(p), "readme_url": s.Web(p) + "/-/blob/" + p.DefaultBranch + "/README.md", "forks_count": 0,
		"avatar_url": nil, "star_count": 0, "last_activity_at": lab.Stamp(p.Active), "visibility": p.Visibility, "namespace": s.namespaceJSON(p),
	}
	for k, v := range (obj{
		"packages_enabled": true, "empty_repo": len(p.Refs) == 0, "archived": p.Archived, "resolve_outdated_diff_discussions": false, "lfs_enabled": true,
		"issues_access_level": "enabled", "repository_access_level": "enabled", "merge_requests_access_level": "enabled", "forking_access_level": "enabled",
		"wiki_access_level": "enabled", "builds_access_level": "enabled", "snippets_access_level": "enabled", "shared_runners_enabled": false,
		"creator_id": 1, "import_url": nil, "import_type": nil, "import_status": "none", "open_issues_count": 0, "ci_default_git_depth": 20, "ci_config_path": nil,
		"shared_with_groups": s.sharedJSON(p), "only_allow_merge_if_pipeline_succeeds": p.PipelinesMustSucceed, "allow_merge_on_skipped_pipeline": nil,
		"request_access_enabled": true, "only_allow_merge_if_all_discussions_are_resolved": false, "remove_source_branch_after_merge": false,
		"printing_merge_request_link_enabled": true, "merge_method": p.MergeMethod, "squash_option": p.Squash, "suggestion_commit_message": nil,
		"merge_commit_template": nil, "squash_commit_template": nil, "autoclose_referenced_issues": true, "can_create_merge_request_in": true,
		"permissions": s.permissionsJSON(p, viewer),
	}) {
		o[k] = v
	}
	if p.Forked != nil && s.Sees(viewer, p.Forked) {
		f := p.Forked
		o["forked_from_project"] = obj{"id": f.ID, "name": f.Path, "path": f.Path, "name_with_namespace": f.Full(), "path_with_namespace": f.Full(), "http_url_to_repo": s.CloneURL(f), "web_url": s.Web(f)}
	}
	return o
}

func (s View) sharedJSON(p *lab.Project) []any {
	out := []any{}
	for _, g := range s.Groups {
		if level := p.Shared[g]; level > 0 {
			out = append(out, obj{"group_id": g.ID, "group_name": g.Path, "group_full_path": g.Full(), "group_access_level": level})
		}
	}
	return out
}

func (s View) permissionsJSON(p *lab.Project, u *lab.User) obj {
	o := obj{"project_access": nil, "group_access": nil}
	if u == nil {
		return o
	}
	if l := p.Members[u.ID]; l > 0 {
		o["project_access"] = obj{"access_level": l, "notification_level": 3}
	}
	if l := p.Group.Level(u.ID); l > 0 {
		o["group_access"] = obj{"access_level": l, "notification_level": 3}
	}
	return o
}

// MRBasic is Entities::MergeRequestBasic, as lists have it. recheck has GitLab find
// out whether it can be merged.
func (s View) MRBasic(ctx context.Context, m *lab.MR, recheck bool) obj {
	detailed := s.DetailedStatus(ctx, m, recheck)
	status := m.StatusOr(lab.Unchecked)
	if m.State == lab.Opened && m.Status != "" {
		status = m.Status
	}
	var source, merged, squashed, assignee any
	if m.Source != nil {
		source = m.Source.ID
	}
	merged, squashed = orNil(m.MergeSHA), orNil(m.SquashSHA)
	if len(m.Assignees) > 0 {
		assignee = s.UserJSON(m.Assignees[0])
	}
	short := fmt.Sprintf("!%d", m.IID)
	return obj{
		"id": m.ID, "iid": m.IID, "project_id": m.Project.ID, "title": m.Title, "description": orNil(m.Description), "state": m.State,
		"imported": false, "imported_from": "none", "created_at": lab.Stamp(m.Created), "updated_at": lab.Stamp(m.Updated),
		"merged_by": s.UserJSON(m.MergeUser), "merge_user": s.UserJSON(m.MergeUser), "merged_at": stampOrNil(m.MergedAt),
		"closed_by": s.UserJSON(m.ClosedBy), "closed_at": stampOrNil(m.ClosedAt), "target_branch": m.TargetBranch, "source_branch": m.SourceBranch,
		"user_notes_count": userNotes(m), "upvotes": 0, "downvotes": 0, "author": s.UserJSON(m.Author), "assignees": s.usersJSON(m.Assignees),
		"assignee": assignee, "reviewers": s.usersJSON(m.ReviewerUsers()), "source_project_id": source, "target_project_id": m.Project.ID,
		"labels": labels(m.Labels), "draft": m.Draft(), "work_in_progress": m.Draft(), "milestone": nil, "merge_when_pipeline_succeeds": false,
		"merge_status": status, "detailed_merge_status": detailed, "merge_after": nil, "sha": m.Head(), "merge_commit_sha": merged,
		"squash_commit_sha": squashed, "discussion_locked": nil, "should_remove_source_branch": nil, "force_remove_source_branch": m.RemoveSource,
		"prepared_at": lab.Stamp(m.Created), "reference": short, "references": obj{"short": short, "relative": short, "full": m.Project.Full() + short},
		"web_url": s.MRURL(m), "time_stats": obj{"time_estimate": 0, "total_time_spent": 0, "human_time_estimate": nil, "human_total_time_spent": nil},
		"squash": m.Squash, "squash_on_merge": m.Squash || m.Project.Squash == "always", "task_completion_status": obj{"count": 0, "completed_count": 0},
		"approvals_before_merge": nil, "has_conflicts": status == lab.CannotMerge, "blocking_discussions_resolved": true,
	}
}

func labels(list []string) []string { return append([]string{}, list...) }

func userNotes(m *lab.MR) int {
	n := 0
	for _, r := range m.Project.Notes(m, nil) {
		if !r.System {
			n++
		}
	}
	return n
}

// MRFull is Entities::MergeRequest, of a single one.
func (s View) MRFull(ctx context.Context, m *lab.MR, viewer *lab.User) obj {
	o := s.MRBasic(ctx, m, true)
	v := m.Latest()
	o["subscribed"], o["changes_count"] = false, fmt.Sprint(len(m.Patches(ctx, false)))
	o["latest_build_started_at"], o["latest_build_finished_at"], o["first_deployed_to_production_at"] = nil, nil, nil
	o["pipeline"], o["head_pipeline"] = nil, nil
	if l := m.HeadPipeline(); l != nil {
		o["pipeline"], o["head_pipeline"] = s.PipelineJSON(l), s.PipelineFull(l)
	}
	o["diff_refs"] = obj{"base_sha": v.Base, "head_sha": v.Head, "start_sha": v.Start}
	o["merge_error"], o["first_contribution"] = nil, false
	o["user"] = obj{"can_merge": s.MayMerge(viewer, m.Project, m.TargetBranch)}
	return o
}

// VersionJSON is Entities::MergeRequestDiff.
func (s View) VersionJSON(ctx context.Context, m *lab.MR, v *lab.Version) obj {
	return obj{"id": v.ID, "head_commit_sha": v.Head, "base_commit_sha": v.Base, "start_commit_sha": v.Start, "created_at": lab.Stamp(v.At),
		"merge_request_id": m.ID, "state": "collected", "real_size": fmt.Sprint(len(m.Patches(ctx, false))), "patch_id_sha": nil}
}

// ReviewerJSON is Entities::MergeRequestReviewer.
func (s View) ReviewerJSON(r *lab.Reviewer) obj {
	return obj{"user": s.UserJSON(r.User), "state": r.State, "created_at": lab.Stamp(r.Since)}
}

// ApprovalsJSON is Entities::ApprovalState of a merge request.
func (s View) ApprovalsJSON(m *lab.MR, viewer *lab.User) obj {
	by := []any{}
	for _, a := range m.Approvals {
		by = append(by, obj{"user": s.UserJSON(a.User), "approved_at": lab.Stamp(a.At)})
	}
	left := s.ApprovalsLeft(m)
	rules := []any{}
	if left > 0 {
		rules = append(rules, obj{"id": m.Project.ID, "name": "All Members", "rule_type": "any_approver", "report_type": nil})
	}
	return obj{
		"id": m.ID, "iid": m.IID, "project_id": m.Project.ID, "title": m.Title, "description": orNil(m.Description), "state": m.State,
		"created_at": lab.Stamp(m.Created), "updated_at": lab.Stamp(m.Updated), "merge_status": m.StatusOr(lab.Unchecked), "approved": left == 0,
		"approvals_required": m.Project.Approvals, "approvals_left": left, "require_password_to_approve": false, "approved_by": by, "suggested_approvers": []any{},
		"approvers": []any{}, "approver_groups": []any{}, "user_has_approved": m.ApprovedBy(viewer), "user_can_approve": s.MayApprove(m, viewer),
		"approval_rules_left": rules, "has_approval_rules": m.Project.Approvals > 0, "merge_request_approvers_available": true, "multiple_approval_rules_available": true,
	}
}

// NoteJSON is Entities::Note.
func (s View) NoteJSON(n *lab.Remark) obj {
	o := obj{
		"id": n.ID, "type": nil, "body": n.Body, "attachment": nil, "author": s.UserJSON(n.Author), "created_at": lab.Stamp(n.Created), "updated_at": lab.Stamp(n.Updated),
		"system": n.System, "project_id": n.Project.ID, "resolvable": false, "confidential": false, "internal": false, "imported": false, "imported_from": "none",
		"commands_changes": obj{},
	}
	if n.MR != nil {
		o["noteable_id"], o["noteable_type"], o["noteable_iid"] = n.MR.ID, "MergeRequest", n.MR.IID
	} else {
		o["noteable_id"], o["noteable_type"], o["noteable_iid"] = n.Issue.ID, "Issue", n.Issue.IID
	}
	return o
}

// AwardJSON is Entities::AwardEmoji.
func (s View) AwardJSON(n *lab.Remark, a *lab.Award) obj {
	return obj{"id": a.ID, "name": a.Name, "user": s.UserJSON(a.User), "created_at": lab.Stamp(a.At), "updated_at": lab.Stamp(a.At), "awardable_id": n.ID, "awardable_type": "Note", "url": nil}
}

// IssueJSON is Entities::Issue.
func (s View) IssueJSON(i *lab.Issue) obj {
	short := fmt.Sprintf("#%d", i.IID)
	self := fmt.Sprintf("%s/api/v4/projects/%d/issues/%d", s.URL, i.Project.ID, i.IID)
	return obj{
		"id": i.ID, "iid": i.IID, "project_id": i.Project.ID, "title": i.Title, "description": orNil(i.Description), "state": i.State, "created_at": lab.Stamp(i.Created),
		"updated_at": lab.Stamp(i.Updated), "closed_at": stampOrNil(i.ClosedAt), "closed_by": s.UserJSON(i.ClosedBy), "labels": labels(i.Labels), "milestone": nil,
		"assignees": []any{}, "author": s.UserJSON(i.Author), "type": "ISSUE", "assignee": nil, "user_notes_count": len(i.Project.Notes(nil, i)),
		"merge_requests_count": 0, "upvotes": 0, "downvotes": 0, "due_date": nil, "confidential": false, "discussion_locked": nil, "issue_type": "issue",
		"web_url":    fmt.Sprintf("%s/-/issues/%d", s.Web(i.Project), i.IID),
		"time_stats": obj{"time_estimate": 0, "total_time_spent": 0, "human_time_estimate": nil, "human_total_time_spent": nil}, "task_completion_status": obj{"count": 0, "completed_count": 0},
		"has_tasks": false, "_links": obj{"self": self, "notes": self + "/notes", "award_emoji": self + "/award_emoji", "project": fmt.Sprintf("%s/api/v4/projects/%d", s.URL, i.Project.ID), "closed_as_duplicate_of": nil},
		"references": obj{"short": short, "relative": short, "full": i.Project.Full() + short}, "severity": "UNKNOWN", "subscribed": false, "moved_to_id": nil,
		"imported": false, "imported_from": "none", "service_desk_reply_to": nil,
	}
}

// CommitJSON is Entities::Commit.
func (s View) CommitJSON(p *lab.Project, c bare.Commit) obj {
	title, _, _ := strings.Cut(c.Message, "\n")
	return obj{
		"id": c.SHA, "short_id": c.SHA[:8], "created_at": lab.Stamp(c.Committer.When), "parent_ids": append([]string{}, c.Parents...), "title": title, "message": c.Message + "\n",
		"author_name": c.Author.Name, "author_email": c.Author.Email, "authored_date": lab.Stamp(c.Author.When), "committer_name": c.Committer.Name,
		"committer_email": c.Committer.Email, "committed_date": lab.Stamp(c.Committer.When), "trailers": obj{}, "extended_trailers": obj{}, "web_url": s.Web(p) + "/-/commit/" + c.SHA,
	}
}

// CommitFull is Entities::CommitDetail.
func (s View) CommitFull(p *lab.Project, c bare.Commit) obj {
	o := s.CommitJSON(p, c)
	o["stats"], o["status"], o["project_id"], o["last_pipeline"] = obj{"additions": 0, "deletions": 0, "total": 0}, nil, p.ID, nil
	if l := p.PipelinesOf(c.SHA); len(l) > 0 {
		o["status"], o["last_pipeline"] = l[0].Status(), s.PipelineJSON(l[0])
	}
	return o
}

// BranchJSON is Entities::Branch.
func (s View) BranchJSON(ctx context.Context, p *lab.Project, name string, viewer *lab.User) obj {
	c, err := p.Git.Commit(ctx, p.Branch(name))
	if err != nil {
		return nil
	}
	return obj{"name": name, "commit": s.CommitJSON(p, c), "merged": false, "protected": p.Protected[name] != nil, "developers_can_push": false, "developers_can_merge": false,
		"can_push": s.MayPush(viewer, p, name), "default": name == p.DefaultBranch, "web_url": s.Web(p) + "/-/tree/" + name}
}

// StatusJSON is Entities::CommitStatus.
func (s View) StatusJSON(t *lab.Status) obj {
	return obj{"id": t.ID, "sha": t.Pipeline.SHA, "ref": t.Pipeline.Ref, "status": t.State, "name": t.Name, "target_url": orNil(t.TargetURL), "description": orNil(t.Description),
		"created_at": lab.Stamp(t.Created), "started_at": stampOrNil(t.Started), "finished_at": stampOrNil(t.Finished), "allow_failure": false, "coverage": nil,
		"pipeline_id": t.Pipeline.ID, "author": s.UserJSON(t.User)}
}

// PipelineJSON is Entities::Ci::PipelineBasic.
func (s View) PipelineJSON(l *lab.Pipeline) obj {
	return obj{"id": l.ID, "iid": l.IID, "project_id": l.Project.ID, "sha": l.SHA, "ref": l.Ref, "status": l.Status(), "source": "external", "created_at": lab.Stamp(l.Created),
		"updated_at": lab.Stamp(l.Created), "web_url": fmt.Sprintf("%s/-/pipelines/%d", s.Web(l.Project), l.ID)}
}

// PipelineFull is Entities::Ci::Pipeline.
func (s View) PipelineFull(l *lab.Pipeline) obj {
	o := s.PipelineJSON(l)
	state := l.Status()
	for k, v := range (obj{"before_sha": lab.Zero, "tag": false, "yaml_errors": nil, "user": s.UserJSON(l.User), "started_at": nil, "finished_at": nil, "committed_at": nil,
		"duration": nil, "queued_duration": nil, "coverage": nil, "name": nil,
		"detailed_status": obj{"icon": "status_" + state, "text": state, "label": state, "group": state, "tooltip": state, "has_details": false, "details_path": fmt.Sprintf("/%s/-/pipelines/%d", l.Project.Full(), l.ID),
			"illustration": nil, "favicon": "/assets/ci_favicons/favicon_status_" + state + ".png"}}) {
		o[k] = v
	}
	return o
}

// EventJSON is Entities::Event.
func (s View) EventJSON(p *lab.Project, e *lab.Event) obj {
	o := obj{"id": e.ID, "project_id": p.ID, "action_name": e.Action, "target_id": nil, "target_iid": nil, "target_type": nil, "author_id": e.Author.ID, "target_title": nil,
		"created_at": lab.Stamp(e.At), "author": s.UserJSON(e.Author), "author_username": e.Author.Login, "imported": false, "imported_from": "none"}
	if e.Target != "" {
		o["target_id"], o["target_iid"], o["target_type"], o["target_title"] = e.TID, e.TIID, e.Target, e.TTitle
	}
	if e.Comment != nil {
		o["note"] = s.NoteJSON(e.Comment)
	}
	if d := e.Push; d != nil {
		o["push_data"] = obj{"commit_count": d.Count, "action": d.Action, "ref_type": d.RefType, "commit_from": orNil(d.From), "commit_to": orNil(d.To), "ref": orNil(d.Ref),
			"commit_title": orNil(d.Title), "ref_count": nil}
		if d.Refs > 0 {
			o["push_data"].(obj)["ref_count"] = d.Refs
		}
	}
	return o
}

// ProtectionJSON is Entities::ProtectedBranch.
func ProtectionJSON(name string, r *lab.Protection) obj {
	level := func(l int) []any {
		words := map[int]string{0: "No one", lab.Developer: "Developers + Maintainers", lab.Maintainer: "Maintainers"}
		return []any{obj{"id": r.ID, "access_level": l, "access_level_description": words[l], "user_id": nil, "group_id": nil, "deploy_key_id": nil}}
	}
	return obj{"id": r.ID, "name": name, "push_access_levels": level(r.Push), "merge_access_levels": level(r.Merge), "unprotect_access_levels": []any{},
		"allow_force_push": r.AllowForce, "code_owner_approval_required": r.CodeOwners, "inherited": false}
}

// HookJSON is Entities::ProjectHook or GroupHook.
func (s View) HookJSON(h *post.Hook) obj {
	o := obj{"id": h.ID, "url": h.URL, "name": nil, "description": nil, "created_at": lab.Stamp(h.Created), "push_events": h.On["push"], "tag_push_events": h.On["tag_push"],
		"merge_requests_events": h.On["merge_request"], "repository_update_events": false, "enable_ssl_verification": true, "alert_status": h.Alert(s.Clock()),
		"disabled_until": stampOrNil(h.DisabledUntil), "url_variables": []any{}, "push_events_branch_filter": nil, "branch_filter_strategy": "all_branches",
		"custom_webhook_template": "", "custom_headers": []any{}, "issues_events": h.On["issue"], "confidential_issues_events": h.On["issue"],
		"note_events": h.On["note"], "confidential_note_events": h.On["note"], "pipeline_events": h.On["pipeline"], "wiki_page_events": false, "deployment_events": false,
		"feature_flag_events": false, "job_events": false, "releases_events": false, "milestone_events": false, "emoji_events": false, "resource_access_token_events": false,
		"vulnerability_events": false}
	if h.Project != 0 {
		o["project_id"] = h.Project
	}
	if h.Group != 0 {
		o["group_id"], o["subgroup_events"], o["member_events"], o["project_events"] = h.Group, false, false, false
		delete(o, "disabled_until")
		delete(o, "url_variables")
	}
	return o
}

// TokenJSON is Entities::PersonalAccessToken.
func (s View) TokenJSON(t *lab.Token) obj {
	var expires any
	if !t.Expires.IsZero() {
		expires = t.Expires.Format("2006-01-02")
	}
	return obj{"id": t.ID, "name": t.Name, "revoked": t.Revoked, "created_at": lab.Stamp(t.Created), "description": "", "scopes": t.Scopes, "user_id": t.User.ID,
		"last_used_at": lab.Stamp(s.Clock()), "active": t.Active(s.Clock()), "expires_at": expires}
}
