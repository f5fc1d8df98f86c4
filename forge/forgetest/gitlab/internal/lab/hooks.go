package lab

import (
	"crypto/md5" //nolint:gosec // names pictures
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"lockkeeper/forge/forgetest/bare"
	"lockkeeper/forge/forgetest/gitlab/internal/post"
	"lockkeeper/forge/forgetest/internal/courier"
)

func (s *Lab) hook(id int64) *post.Hook {
	lists := [][]*post.Hook{s.System}
	for _, g := range s.Groups {
		lists = append(lists, g.Hooks)
	}
	for _, p := range s.Projects {
		lists = append(lists, p.Hooks)
	}
	for _, h := range slices.Concat(lists...) {
		if h.ID == id {
			return h
		}
	}
	return nil
}

// AddHook makes a hook of a project, of a group, or of the whole system.
func (s *Lab) AddHook(p *Project, g *Group, url, token string, on ...string) *post.Hook {
	h := &post.Hook{ID: s.NextID(), URL: url, Token: token, On: map[string]bool{}, Created: s.Tick()}
	for _, event := range on {
		h.On[event] = true
	}
	switch {
	case p != nil:
		h.Project = p.ID
		p.Hooks = append(p.Hooks, h)
	case g != nil:
		h.Group = g.ID
		g.Hooks = append(g.Hooks, h)
	default:
		s.System = append(s.System, h)
	}
	return h
}

// answered tells a hook how its delivery fared.
func (s *Lab) answered(d courier.Delivery) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	if h := s.hook(d.Hook); h != nil {
		h.Answered(d.Status, s.Clock())
	}
}

// hooksOf are the hooks of a project and of the groups above.
func hooksOf(p *Project) []*post.Hook {
	hooks := slices.Clone(p.Hooks)
	for g := p.Group; g != nil; g = g.Parent {
		hooks = append(hooks, g.Hooks...)
	}
	return hooks
}

// heard reports whether anybody is told of an event.
func (s *Lab) heard(p *Project, event string) bool {
	return slices.ContainsFunc(slices.Concat(hooksOf(p), s.System), func(h *post.Hook) bool { return h.On[event] })
}

// tell sends an event to the hooks of its project, of the groups above, and of the
// system; those learn of pushes and merge requests only.
func (s *Lab) tell(p *Project, event string, payload obj) {
	body, err := json.Marshal(payload)
	if err != nil {
		panic(fmt.Sprintf("gitlab look-alike: payload of %s: %v", event, err))
	}
	hooks := hooksOf(p)
	if event == "push" || event == "tag_push" || event == "merge_request" {
		hooks = append(hooks, s.System...)
	}
	for _, h := range hooks {
		if d := h.Delivery(s.NextID(), s.Clock(), s.URL, event, body); d != nil {
			s.Post.Queue(d)
		}
	}
}

func (s *Lab) hookUser(u *User) obj {
	return obj{"id": u.ID, "name": u.Name, "username": u.Login, "avatar_url": Avatar(u), "email": "[REDACTED]"}
}

func (s *Lab) hookUsers(list []*User) []any {
	out := []any{}
	for _, u := range list {
		out = append(out, s.hookUser(u))
	}
	return out
}

func (s *Lab) hookProject(p *Project) any {
	if p == nil {
		return nil
	}
	level := map[string]int{"private": 0, "public": 20}[p.Visibility]
	ssh := "git@gitlab.test:" + p.Full() + ".git"
	return obj{"id": p.ID, "name": p.Path, "description": "", "web_url": s.Web(p), "avatar_url": nil, "git_ssh_url": ssh, "git_http_url": s.CloneURL(p),
		"namespace": p.Namespace(), "visibility_level": level, "path_with_namespace": p.Full(), "default_branch": p.DefaultBranch, "ci_config_path": nil,
		"homepage": s.Web(p), "url": ssh, "ssh_url": ssh, "http_url": s.CloneURL(p)}
}

func (s *Lab) hookRepo(p *Project) obj {
	return obj{"name": p.Path, "url": "git@gitlab.test:" + p.Full() + ".git", "description": "", "homepage": s.Web(p)}
}

// clock is how webhooks write a time.
func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

func (s *Lab) hookMR(m *MR) obj {
	var source any
	if m.Source != nil {
		source = m.Source.ID
	}
	var reviewers []int64
	for _, r := range m.Reviewers {
		reviewers = append(reviewers, r.User.ID)
	}
	o := obj{
		"id": m.ID, "iid": m.IID, "target_branch": m.TargetBranch, "source_branch": m.SourceBranch, "source_project_id": source, "target_project_id": m.Project.ID,
		"author_id": m.Author.ID, "assignee_ids": []int64{}, "assignee_id": nil, "reviewer_ids": append([]int64{}, reviewers...), "title": m.Title, "description": m.Description,
		"created_at": clock(m.Created), "updated_at": clock(m.Updated), "milestone_id": nil, "state": m.State, "state_id": map[string]int{Opened: 1, Closed: 2, Merged: 3}[m.State],
		"blocking_discussions_resolved": true, "work_in_progress": m.Draft(), "draft": m.Draft(), "first_contribution": false, "merge_status": m.StatusOr(Unchecked),
		"detailed_merge_status": "checking", "merge_commit_sha": orNil(m.MergeSHA), "url": s.MRURL(m), "source": s.hookProject(m.Source), "target": s.hookProject(m.Project),
		"last_commit": nil, "labels": []any{}, "total_time_spent": 0, "time_change": 0, "time_estimate": 0,
	}
	if c, err := m.Project.Git.Commit(s.life, m.Head()); err == nil {
		o["last_commit"] = s.hookCommit(m.Project, c)
	}
	return o
}

func (s *Lab) hookCommit(p *Project, c bare.Commit) obj {
	title, _, _ := strings.Cut(c.Message, "\n")
	return obj{"id": c.SHA, "message": c.Message, "title": title, "timestamp": c.Committer.When.Format(time.RFC3339), "url": s.Web(p) + "/-/commit/" + c.SHA,
		"author": obj{"name": c.Author.Name, "email": c.Author.Email}}
}

// TellMR sends a merge request event. changes may hold oldrev, the commit before a
// push.
func (s *Lab) TellMR(m *MR, action string, by *User, changes obj) {
	if !s.heard(m.Project, "merge_request") {
		return
	}
	attributes := s.hookMR(m)
	attributes["action"] = action
	changed := maps.Clone(changes)
	if old, ok := changed["oldrev"]; ok {
		attributes["oldrev"] = old
		delete(changed, "oldrev")
	}
	if changed == nil {
		changed = obj{}
	}
	s.tell(m.Project, "merge_request", obj{
		"object_kind": "merge_request", "event_type": "merge_request", "user": s.hookUser(by), "project": s.hookProject(m.Project), "repository": s.hookRepo(m.Project),
		"object_attributes": attributes, "labels": []any{}, "changes": changed, "assignees": s.hookUsers(m.Assignees), "reviewers": s.hookUsers(m.ReviewerUsers()),
	})
}

// TellNote sends a note event: create or update.
func (s *Lab) TellNote(n *Remark, action string) {
	p := n.Project
	if !s.heard(p, "note") {
		return
	}
	payload := obj{
		"object_kind": "note", "event_type": "note", "user": s.hookUser(n.Author), "project_id": p.ID, "project": s.hookProject(p), "repository": s.hookRepo(p),
		"object_attributes": obj{"id": n.ID, "note": n.Body, "author_id": n.Author.ID, "created_at": clock(n.Created), "updated_at": clock(n.Updated), "project_id": p.ID,
			"attachment": nil, "line_code": nil, "commit_id": nil, "system": false, "st_diff": nil, "type": nil, "internal": false, "action": action,
			"url": s.Web(p) + n.place(), "description": n.Body, "discussion_id": post.UUID()},
	}
	attributes := payload["object_attributes"].(obj)
	attributes["updated_by_id"] = nil
	if n.EditedBy != nil { // the event's user is the note's author all the same: Notes::UpdateService
		attributes["updated_by_id"] = n.EditedBy.ID
	}
	if n.MR != nil {
		attributes["noteable_type"], attributes["noteable_id"] = "MergeRequest", n.MR.ID
		payload["merge_request"] = s.hookMR(n.MR)
	} else {
		attributes["noteable_type"], attributes["noteable_id"] = "Issue", n.Issue.ID
		payload["issue"] = s.hookIssue(n.Issue)
	}
	s.tell(p, "note", payload)
}

func (s *Lab) hookIssue(i *Issue) obj {
	return obj{"id": i.ID, "iid": i.IID, "project_id": i.Project.ID, "title": i.Title, "description": i.Description, "author_id": i.Author.ID, "state": i.State,
		"created_at": clock(i.Created), "updated_at": clock(i.Updated), "url": fmt.Sprintf("%s/-/issues/%d", s.Web(i.Project), i.IID), "labels": []any{}}
}

// TellIssue sends an issue event.
func (s *Lab) TellIssue(i *Issue, action string, by *User) {
	attributes := s.hookIssue(i)
	attributes["action"] = action
	s.tell(i.Project, "issue", obj{"object_kind": "issue", "event_type": "issue", "user": s.hookUser(by), "project": s.hookProject(i.Project),
		"repository": s.hookRepo(i.Project), "object_attributes": attributes, "labels": []any{}, "changes": obj{}})
}

// hookCommits is how many commits a push event lists.
const hookCommits = 20

// TellPush sends a push or tag push event.
func (s *Lab) TellPush(p *Project, by *User, ref, before, after string, fresh []bare.Commit) {
	kind := "push"
	if strings.HasPrefix(ref, "refs/tags/") {
		kind = "tag_push"
	}
	or := func(sha string) string {
		if sha == "" {
			return Zero
		}
		return sha
	}
	repository := s.hookRepo(p)
	for _, key := range []string{"visibility_level", "git_http_url", "git_ssh_url"} {
		repository[key] = s.hookProject(p).(obj)[key]
	}
	commits := []any{}
	for _, c := range fresh[max(0, len(fresh)-hookCommits):] {
		o := s.hookCommit(p, c)
		o["added"], o["modified"], o["removed"] = []string{}, []string{}, []string{}
		commits = append(commits, o)
	}
	s.tell(p, kind, obj{
		"object_kind": kind, "event_name": kind, "before": or(before), "after": or(after), "ref": ref, "ref_protected": p.Protected[strings.TrimPrefix(ref, "refs/heads/")] != nil,
		"checkout_sha": orNil(after), "message": nil, "user_id": by.ID, "user_name": by.Name, "user_username": by.Login, "user_email": nil, "user_avatar": Avatar(by),
		"project_id": p.ID, "project": s.hookProject(p), "repository": repository, "commits": commits, "total_commits_count": len(fresh), "push_options": obj{},
	})
}

// TellPipeline sends a pipeline event, which is how GitLab tells of a commit status.
func (s *Lab) TellPipeline(l *Pipeline, by *User) {
	if !s.heard(l.Project, "pipeline") {
		return
	}
	state := l.Status()
	var mr any
	for _, m := range l.Project.OpenMRs() {
		if m.HeadPipeline() == l {
			mr = obj{"id": m.ID, "iid": m.IID, "title": m.Title, "source_branch": m.SourceBranch, "source_project_id": m.Source.ID, "target_branch": m.TargetBranch,
				"target_project_id": m.Project.ID, "state": m.State, "merge_status": m.StatusOr(Unchecked), "detailed_merge_status": "checking", "url": s.MRURL(m)}
		}
	}
	builds := []any{}
	for _, t := range l.Latest() {
		builds = append(builds, obj{"id": t.ID, "stage": "external", "name": t.Name, "status": t.State, "created_at": clock(t.Created), "user": s.hookUser(t.User)})
	}
	payload := obj{
		"object_kind": "pipeline", "user": s.hookUser(by), "project": s.hookProject(l.Project), "merge_request": mr, "builds": builds,
		"object_attributes": obj{"id": l.ID, "iid": l.IID, "name": nil, "ref": l.Ref, "tag": false, "sha": l.SHA, "before_sha": Zero, "source": "external", "status": state,
			"detailed_status": state, "stages": []string{"external"}, "created_at": clock(l.Created), "finished_at": nil, "duration": nil, "queued_duration": nil,
			"variables": []any{}, "url": fmt.Sprintf("%s/-/pipelines/%d", s.Web(l.Project), l.ID)},
	}
	if c, err := l.Project.Git.Commit(s.life, l.SHA); err == nil {
		payload["commit"] = s.hookCommit(l.Project, c)
	}
	s.tell(l.Project, "pipeline", payload)
}

// Avatar is where the picture of an account is.
func Avatar(u *User) string {
	return fmt.Sprintf("https://www.gravatar.com/avatar/%x?s=80&d=identicon", md5.Sum([]byte(strings.ToLower(u.Email())))) //nolint:gosec // gravatar's way
}

// Web is where people find a project.
func (s *Lab) Web(p *Project) string { return s.URL + "/" + p.Full() }

// CloneURL is where Git finds a project.
func (s *Lab) CloneURL(p *Project) string { return s.Web(p) + ".git" }

// MRURL is where people find a merge request.
func (s *Lab) MRURL(m *MR) string {
	return fmt.Sprintf("%s/-/merge_requests/%d", s.Web(m.Project), m.IID)
}
