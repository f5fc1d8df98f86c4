package forgetest

import (
	"fmt"
	"maps"
	"strings"
	"time"
)

// The shapes of GitHub's JSON. The REST description and the webhook schemas
// differ in details; where one function serves both, the result satisfies both.

func stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339)
}

func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func node(kind string, id int64) string { return fmt.Sprintf("%s_%d", kind, id) }

// userURLs are templates over the account's API address.
var userURLs = map[string]string{
	"followers_url": "/followers", "following_url": "/following{/other_user}", "gists_url": "/gists{/gist_id}",
	"starred_url": "/starred{/owner}{/repo}", "subscriptions_url": "/subscriptions", "organizations_url": "/orgs",
	"repos_url": "/repos", "events_url": "/events{/privacy}", "received_events_url": "/received_events",
}

func (s *Server) userJSON(a *account) any {
	if a == nil {
		return nil
	}
	u := s.URL + "/users/" + a.login
	o := obj{
		"login": a.login, "id": a.id, "node_id": node("U", a.id), "avatar_url": fmt.Sprintf("%s/avatars/%d", s.URL, a.id),
		"gravatar_id": "", "url": u, "html_url": s.URL + "/" + a.login, "type": a.kind, "site_admin": false,
	}
	for k, path := range userURLs {
		o[k] = u + path
	}
	return o
}

// userLong adds what GET /users/{login} tells.
func (s *Server) userLong(a *account) obj {
	o := s.userJSON(a).(obj)
	maps.Copy(o, obj{
		"name": a.login, "company": nil, "blog": nil, "location": nil, "email": nil, "hireable": nil, "bio": nil,
		"public_repos": 0, "public_gists": 0, "followers": 0, "following": 0,
		"created_at": stamp(a.created), "updated_at": stamp(a.created), "user_view_type": "public",
	})
	return o
}

func (s *Server) orgJSON(a *account) obj {
	u := s.URL + "/orgs/" + a.login
	return obj{
		"login": a.login, "id": a.id, "node_id": node("O", a.id), "url": u, "repos_url": u + "/repos",
		"events_url": u + "/events", "hooks_url": u + "/hooks", "issues_url": u + "/issues",
		"members_url": u + "/members{/member}", "public_members_url": u + "/public_members{/member}",
		"avatar_url": fmt.Sprintf("%s/avatars/%d", s.URL, a.id), "description": "",
	}
}

// repoURLs are templates over the repository's API address.
var repoURLs = map[string]string{
	"archive_url": "/{archive_format}{/ref}", "assignees_url": "/assignees{/user}", "blobs_url": "/git/blobs{/sha}",
	"branches_url": "/branches{/branch}", "collaborators_url": "/collaborators{/collaborator}", "comments_url": "/comments{/number}",
	"commits_url": "/commits{/sha}", "compare_url": "/compare/{base}...{head}", "contents_url": "/contents/{+path}",
	"contributors_url": "/contributors", "deployments_url": "/deployments", "downloads_url": "/downloads", "events_url": "/events",
	"forks_url": "/forks", "git_commits_url": "/git/commits{/sha}", "git_refs_url": "/git/refs{/sha}", "git_tags_url": "/git/tags{/sha}",
	"hooks_url": "/hooks", "issue_comment_url": "/issues/comments{/number}", "issue_events_url": "/issues/events{/number}",
	"issues_url": "/issues{/number}", "keys_url": "/keys{/key_id}", "labels_url": "/labels{/name}", "languages_url": "/languages",
	"merges_url": "/merges", "milestones_url": "/milestones{/number}", "notifications_url": "/notifications{?since,all,participating}",
	"pulls_url": "/pulls{/number}", "releases_url": "/releases{/id}", "stargazers_url": "/stargazers", "statuses_url": "/statuses/{sha}",
	"subscribers_url": "/subscribers", "subscription_url": "/subscription", "tags_url": "/tags", "teams_url": "/teams",
	"trees_url": "/git/trees{/sha}",
}

func (s *Server) apiRepo(r *repo) string { return s.URL + "/repos/" + r.full() }

func (s *Server) repoJSON(r *repo) obj {
	html, visibility, open := s.URL+"/"+r.full(), "public", 0
	if r.private {
		visibility = "private"
	}
	for _, p := range r.pulls {
		if !p.closed {
			open++
		}
	}
	o := obj{
		"id": r.id, "node_id": node("R", r.id), "name": r.name, "full_name": r.full(), "private": r.private, "owner": s.userJSON(r.owner),
		"html_url": html, "description": nil, "fork": r.parent != nil, "url": s.apiRepo(r), "created_at": stamp(r.created),
		"updated_at": stamp(r.updated), "pushed_at": stamp(r.pushed), "git_url": "git" + strings.TrimPrefix(html, "http") + ".git",
		"ssh_url": "git@localhost:" + r.full() + ".git", "clone_url": html + ".git", "svn_url": html, "homepage": nil, "size": 1,
		"stargazers_count": 0, "watchers_count": 0, "language": nil, "has_issues": true, "has_projects": false, "has_downloads": false,
		"has_wiki": false, "has_pages": false, "has_discussions": false, "forks_count": 0, "mirror_url": nil, "archived": r.archived,
		"disabled": false, "open_issues_count": open, "license": nil, "allow_forking": true, "is_template": false,
		"web_commit_signoff_required": false, "topics": []string{}, "visibility": visibility, "forks": 0, "open_issues": open,
		"watchers": 0, "default_branch": r.defaultBranch, "custom_properties": obj{},
		"allow_merge_commit": r.methods["merge"], "allow_squash_merge": r.methods["squash"], "allow_rebase_merge": r.methods["rebase"],
		"delete_branch_on_merge": false, "allow_auto_merge": false, "allow_update_branch": false,
	}
	for k, path := range repoURLs {
		o[k] = s.apiRepo(r) + path
	}
	return o
}

// repoFull is the answer of GET /repos/{owner}/{repo}.
func (s *Server) repoFull(c *call, r *repo) obj {
	o := s.repoJSON(r)
	role := s.role(c.cred, r)
	o["subscribers_count"], o["network_count"] = 0, 0
	o["permissions"] = obj{
		"admin": role == "admin", "maintain": atLeast(role, "maintain"), "push": atLeast(role, "write"),
		"triage": atLeast(role, "triage"), "pull": atLeast(role, "read"),
	}
	if r.parent != nil {
		o["parent"], o["source"] = s.repoJSON(r.parent), s.repoJSON(r.parent)
	}
	return o
}

func (s *Server) endJSON(r *repo, owner *account, ref, sha string) obj {
	var rj any
	if r != nil {
		rj = s.repoJSON(r)
	}
	return obj{"label": owner.login + ":" + ref, "ref": ref, "sha": sha, "user": s.userJSON(owner), "repo": rj}
}

// pullSimple is a pull in lists and in review events.
func (s *Server) pullSimple(p *pull) obj {
	api, html := fmt.Sprintf("%s/pulls/%d", s.apiRepo(p.repo), p.number), s.pullURL(p)
	issue := fmt.Sprintf("%s/issues/%d", s.apiRepo(p.repo), p.number)
	statuses := s.apiRepo(p.repo) + "/statuses/" + p.headSHA
	requested := []any{}
	for _, a := range p.requested {
		requested = append(requested, s.userJSON(a))
	}
	mergedAt := time.Time{}
	if p.merged {
		mergedAt = p.closedAt
	}
	href := func(u string) obj { return obj{"href": u} }
	return obj{
		"url": api, "id": p.id, "node_id": node("PR", p.id), "html_url": html, "diff_url": html + ".diff", "patch_url": html + ".patch",
		"issue_url": issue, "number": p.number, "state": p.state(), "locked": false, "title": p.title, "user": s.userJSON(p.author),
		"body": orNil(p.body), "created_at": stamp(p.created), "updated_at": stamp(p.updated), "closed_at": stamp(p.closedAt),
		"merged_at": stamp(mergedAt), "merge_commit_sha": orNil(p.mergeSHA), "assignee": nil, "assignees": []any{},
		"requested_reviewers": requested, "requested_teams": []any{}, "labels": s.labelsJSON(p), "milestone": nil, "draft": p.draft,
		"commits_url": api + "/commits", "review_comments_url": api + "/comments", "comments_url": issue + "/comments",
		"review_comment_url": s.apiRepo(p.repo) + "/pulls/comments{/number}", "statuses_url": statuses,
		"head": s.endJSON(p.headRepo, p.headOwner, p.headRef, p.headSHA), "base": s.endJSON(p.repo, p.repo.owner, p.baseRef, p.baseSHA),
		"_links": obj{
			"self": href(api), "html": href(html), "issue": href(issue), "comments": href(issue + "/comments"),
			"review_comments": href(api + "/comments"), "review_comment": href(s.apiRepo(p.repo) + "/pulls/comments{/number}"),
			"commits": href(api + "/commits"), "statuses": href(statuses),
		},
		"author_association": s.association(p.repo, p.author), "auto_merge": nil, "active_lock_reason": nil,
	}
}

func (s *Server) pullURL(p *pull) string {
	kind := "pull"
	if p.isIssue {
		kind = "issues"
	}
	return fmt.Sprintf("%s/%s/%s/%d", s.URL, p.repo.full(), kind, p.number)
}

func (s *Server) labelsJSON(p *pull) []any {
	list := []any{}
	for i, name := range p.labels {
		list = append(list, obj{
			"id": p.id*100 + int64(i), "node_id": node("LA", p.id*100+int64(i)), "name": name, "description": "", "color": "ededed",
			"default": false, "url": s.apiRepo(p.repo) + "/labels/" + name,
		})
	}
	return list
}

// issueJSON is a pull (or an issue) as the issues API and comment events show it.
func (s *Server) issueJSON(p *pull) obj {
	api := fmt.Sprintf("%s/issues/%d", s.apiRepo(p.repo), p.number)
	o := obj{
		"url": api, "repository_url": s.apiRepo(p.repo), "labels_url": api + "/labels{/name}", "comments_url": api + "/comments",
		"events_url": api + "/events", "html_url": s.pullURL(p), "id": p.issueID, "node_id": node("I", p.issueID), "number": p.number,
		"title": p.title, "user": s.userJSON(p.author), "assignees": []any{}, "assignee": nil, "milestone": nil,
		"labels": s.labelsJSON(p), "state": p.state(), "locked": false, "comments": len(p.commentList()),
		"created_at": stamp(p.created), "updated_at": stamp(p.updated), "closed_at": stamp(p.closedAt),
		"author_association": s.association(p.repo, p.author), "active_lock_reason": nil, "body": orNil(p.body),
		"reactions": s.reactionsJSON(api, nil), "timeline_url": api + "/timeline", "state_reason": nil, "performed_via_github_app": nil,
	}
	if !p.isIssue {
		html := s.pullURL(p)
		var mergedAt any
		if p.merged {
			mergedAt = stamp(p.closedAt)
		}
		o["draft"] = p.draft
		o["pull_request"] = obj{
			"url": fmt.Sprintf("%s/pulls/%d", s.apiRepo(p.repo), p.number), "html_url": html, "diff_url": html + ".diff",
			"patch_url": html + ".patch", "merged_at": mergedAt,
		}
	}
	return o
}

func (s *Server) reactionsJSON(of string, list []*reaction) obj {
	o := obj{"url": of + "/reactions", "total_count": len(list)}
	for _, kind := range reactionKinds {
		o[kind] = 0
	}
	for _, r := range list {
		o[r.content] = o[r.content].(int) + 1
	}
	return o
}

func (s *Server) commentJSON(c *comment) obj {
	api := fmt.Sprintf("%s/issues/comments/%d", s.apiRepo(c.pull.repo), c.id)
	return obj{
		"url": api, "html_url": fmt.Sprintf("%s#issuecomment-%d", s.pullURL(c.pull), c.id),
		"issue_url": fmt.Sprintf("%s/issues/%d", s.apiRepo(c.pull.repo), c.pull.number),
		"id":        c.id, "node_id": node("IC", c.id), "user": s.userJSON(c.author), "created_at": stamp(c.created), "updated_at": stamp(c.updated),
		"author_association": s.association(c.pull.repo, c.author), "body": c.body, "reactions": s.reactionsJSON(api, c.reactions),
		"performed_via_github_app": nil,
	}
}

func (s *Server) reviewJSON(p *pull, v *review) obj {
	html := fmt.Sprintf("%s#pullrequestreview-%d", s.pullURL(p), v.id)
	api := fmt.Sprintf("%s/pulls/%d", s.apiRepo(p.repo), p.number)
	o := obj{
		"id": v.id, "node_id": node("PRR", v.id), "user": s.userJSON(v.author), "body": v.body, "state": v.state, "html_url": html,
		"pull_request_url": api, "_links": obj{"html": obj{"href": html}, "pull_request": obj{"href": api}},
		"commit_id": v.sha, "author_association": s.association(p.repo, v.author),
	}
	if !v.submitted.IsZero() {
		o["submitted_at"] = stamp(v.submitted)
	}
	return o
}

func (s *Server) appJSON(a *App) any {
	if a == nil {
		return nil
	}
	return obj{
		"id": a.ID, "slug": a.Slug, "node_id": node("A", a.ID), "owner": s.userJSON(a.owner), "name": a.Name, "description": nil,
		"external_url": s.URL + "/apps/" + a.Slug, "html_url": s.URL + "/apps/" + a.Slug, "created_at": stamp(a.created),
		"updated_at": stamp(a.created), "permissions": a.Permissions, "events": a.Events,
	}
}
