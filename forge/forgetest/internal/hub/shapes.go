package hub

import (
	"fmt"
	"maps"
	"strings"
	"time"
)

// The shapes of GitHub's JSON. The REST description and the webhook schemas
// differ in details; where one function serves both, the result satisfies both.

// Stamp is a time in JSON, null if zero.
func Stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339)
}

// OrNil is a string in JSON, null if empty.
func OrNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// Node is a GraphQL node id.
func Node(kind string, id int64) string { return fmt.Sprintf("%s_%d", kind, id) }

// userURLs are templates over the account's API address.
var userURLs = map[string]string{
	"followers_url": "/followers", "following_url": "/following{/other_user}", "gists_url": "/gists{/gist_id}",
	"starred_url": "/starred{/owner}{/repo}", "subscriptions_url": "/subscriptions", "organizations_url": "/orgs",
	"repos_url": "/repos", "events_url": "/events{/privacy}", "received_events_url": "/received_events",
}

// UserJSON is an account, null for nobody.
func (s *Hub) UserJSON(a *Account) any {
	if a == nil {
		return nil
	}
	u := s.URL + "/users/" + a.Login
	o := obj{
		"login": a.Login, "id": a.ID, "node_id": Node("U", a.ID), "avatar_url": fmt.Sprintf("%s/avatars/%d", s.URL, a.ID),
		"gravatar_id": "", "url": u, "html_url": s.URL + "/" + a.Login, "type": a.Kind, "site_admin": false,
	}
	for k, path := range userURLs {
		o[k] = u + path
	}
	return o
}

// UserLong adds what GET /users/{login} tells.
func (s *Hub) UserLong(a *Account) obj {
	o := s.UserJSON(a).(obj)
	maps.Copy(o, obj{
		"name": a.Login, "company": nil, "blog": nil, "location": nil, "email": nil, "hireable": nil, "bio": nil,
		"public_repos": 0, "public_gists": 0, "followers": 0, "following": 0,
		"created_at": Stamp(a.Created), "updated_at": Stamp(a.Created), "user_view_type": "public",
	})
	return o
}

// OrgJSON is an organisation as events carry it.
func (s *Hub) OrgJSON(a *Account) obj {
	u := s.URL + "/orgs/" + a.Login
	return obj{
		"login": a.Login, "id": a.ID, "node_id": Node("O", a.ID), "url": u, "repos_url": u + "/repos",
		"events_url": u + "/events", "hooks_url": u + "/hooks", "issues_url": u + "/issues",
		"members_url": u + "/members{/member}", "public_members_url": u + "/public_members{/member}",
		"avatar_url": fmt.Sprintf("%s/avatars/%d", s.URL, a.ID), "description": "",
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

// APIRepo is a repository's address in the API.
func (s *Hub) APIRepo(r *Repo) string { return s.URL + "/repos/" + r.Full() }

// RepoJSON is a repository in lists and events.
func (s *Hub) RepoJSON(r *Repo) obj {
	html, visibility, open := s.URL+"/"+r.Full(), "public", 0
	if r.private {
		visibility = "private"
	}
	for _, p := range r.Pulls {
		if !p.Closed {
			open++
		}
	}
	o := obj{
		"id": r.ID, "node_id": Node("R", r.ID), "name": r.Name, "full_name": r.Full(), "private": r.private, "owner": s.UserJSON(r.Owner),
		"html_url": html, "description": nil, "fork": r.Parent != nil, "url": s.APIRepo(r), "created_at": Stamp(r.created),
		"updated_at": Stamp(r.updated), "pushed_at": Stamp(r.pushed), "git_url": "git" + strings.TrimPrefix(html, "http") + ".git",
		"ssh_url": "git@localhost:" + r.Full() + ".git", "clone_url": html + ".git", "svn_url": html, "homepage": nil, "size": 1,
		"stargazers_count": 0, "watchers_count": 0, "language": nil, "has_issues": true, "has_projects": false, "has_downloads": false,
		"has_wiki": false, "has_pages": false, "has_discussions": false, "forks_count": 0, "mirror_url": nil, "archived": r.Archived,
		"disabled": false, "open_issues_count": open, "license": nil, "allow_forking": true, "is_template": false,
		"web_commit_signoff_required": false, "topics": []string{}, "visibility": visibility, "forks": 0, "open_issues": open,
		"watchers": 0, "default_branch": r.DefaultBranch, "custom_properties": obj{},
		"allow_merge_commit": r.Methods["merge"], "allow_squash_merge": r.Methods["squash"], "allow_rebase_merge": r.Methods["rebase"],
		"delete_branch_on_merge": false, "allow_auto_merge": false, "allow_update_branch": false,
	}
	for k, path := range repoURLs {
		o[k] = s.APIRepo(r) + path
	}
	return o
}

// RepoFull is the answer of GET /repos/{owner}/{repo}.
func (s *Hub) RepoFull(cred *Credential, r *Repo) obj {
	o := s.RepoJSON(r)
	role := s.Role(cred, r)
	o["subscribers_count"], o["network_count"] = 0, 0
	o["permissions"] = obj{
		"admin": role == "admin", "maintain": AtLeast(role, "maintain"), "push": AtLeast(role, "write"),
		"triage": AtLeast(role, "triage"), "pull": AtLeast(role, "read"),
	}
	if r.Parent != nil {
		o["parent"], o["source"] = s.RepoJSON(r.Parent), s.RepoJSON(r.Parent)
	}
	return o
}

func (s *Hub) endJSON(r *Repo, owner *Account, ref, sha string) obj {
	var rj any
	if r != nil {
		rj = s.RepoJSON(r)
	}
	return obj{"label": owner.Login + ":" + ref, "ref": ref, "sha": sha, "user": s.UserJSON(owner), "repo": rj}
}

// PullSimple is a pull in lists and in review events.
func (s *Hub) PullSimple(p *Pull) obj {
	api, html := fmt.Sprintf("%s/pulls/%d", s.APIRepo(p.Repo), p.Number), s.pullURL(p)
	issue := fmt.Sprintf("%s/issues/%d", s.APIRepo(p.Repo), p.Number)
	statuses := s.APIRepo(p.Repo) + "/statuses/" + p.HeadSHA
	requested := []any{}
	for _, a := range p.Requested {
		requested = append(requested, s.UserJSON(a))
	}
	teams := []any{}
	for _, t := range p.RequestedTeams {
		teams = append(teams, s.TeamJSON(t))
	}
	mergedAt := time.Time{}
	if p.Merged {
		mergedAt = p.ClosedAt
	}
	href := func(u string) obj { return obj{"href": u} }
	return obj{
		"url": api, "id": p.ID, "node_id": Node("PR", p.ID), "html_url": html, "diff_url": html + ".diff", "patch_url": html + ".patch",
		"issue_url": issue, "number": p.Number, "state": p.State(), "locked": false, "title": p.Title, "user": s.UserJSON(p.Author),
		"body": OrNil(p.Body), "created_at": Stamp(p.Created), "updated_at": Stamp(p.Updated), "closed_at": Stamp(p.ClosedAt),
		"merged_at": Stamp(mergedAt), "merge_commit_sha": OrNil(p.MergeSHA), "assignee": nil, "assignees": []any{},
		"requested_reviewers": requested, "requested_teams": teams, "labels": s.LabelsJSON(p), "milestone": nil, "draft": p.Draft,
		"commits_url": api + "/commits", "review_comments_url": api + "/comments", "comments_url": issue + "/comments",
		"review_comment_url": s.APIRepo(p.Repo) + "/pulls/comments{/number}", "statuses_url": statuses,
		"head": s.endJSON(p.HeadRepo, p.HeadOwner, p.HeadRef, p.HeadSHA), "base": s.endJSON(p.Repo, p.Repo.Owner, p.BaseRef, p.BaseSHA),
		"_links": obj{
			"self": href(api), "html": href(html), "issue": href(issue), "comments": href(issue + "/comments"),
			"review_comments": href(api + "/comments"), "review_comment": href(s.APIRepo(p.Repo) + "/pulls/comments{/number}"),
			"commits": href(api + "/commits"), "statuses": href(statuses),
		},
		"author_association": s.association(p.Repo, p.Author), "auto_merge": nil, "active_lock_reason": nil,
	}
}

func (s *Hub) pullURL(p *Pull) string {
	kind := "pull"
	if p.IsIssue {
		kind = "issues"
	}
	return fmt.Sprintf("%s/%s/%s/%d", s.URL, p.Repo.Full(), kind, p.Number)
}

// LabelsJSON are the labels of a pull or an issue.
func (s *Hub) LabelsJSON(p *Pull) []any {
	list := []any{}
	for i, name := range p.Labels {
		list = append(list, obj{
			"id": p.ID*100 + int64(i), "node_id": Node("LA", p.ID*100+int64(i)), "name": name, "description": "", "color": "ededed",
			"default": false, "url": s.APIRepo(p.Repo) + "/labels/" + name,
		})
	}
	return list
}

// IssueJSON is a pull (or an issue) as the issues API and comment events show it.
func (s *Hub) IssueJSON(p *Pull) obj {
	api := fmt.Sprintf("%s/issues/%d", s.APIRepo(p.Repo), p.Number)
	var reason any
	if p.IsIssue && p.Closed {
		reason = "completed"
	}
	o := obj{
		"url": api, "repository_url": s.APIRepo(p.Repo), "labels_url": api + "/labels{/name}", "comments_url": api + "/comments",
		"events_url": api + "/events", "html_url": s.pullURL(p), "id": p.issueID, "node_id": Node("I", p.issueID), "number": p.Number,
		"title": p.Title, "user": s.UserJSON(p.Author), "assignees": []any{}, "assignee": nil, "milestone": nil,
		"labels": s.LabelsJSON(p), "state": p.State(), "locked": false, "comments": len(p.CommentList()),
		"created_at": Stamp(p.Created), "updated_at": Stamp(p.Updated), "closed_at": Stamp(p.ClosedAt),
		"author_association": s.association(p.Repo, p.Author), "active_lock_reason": nil, "body": OrNil(p.Body),
		"reactions": s.reactionsJSON(api, nil), "timeline_url": api + "/timeline", "state_reason": reason, "performed_via_github_app": nil,
	}
	if !p.IsIssue {
		html := s.pullURL(p)
		var mergedAt any
		if p.Merged {
			mergedAt = Stamp(p.ClosedAt)
		}
		o["draft"] = p.Draft
		o["pull_request"] = obj{
			"url": fmt.Sprintf("%s/pulls/%d", s.APIRepo(p.Repo), p.Number), "html_url": html, "diff_url": html + ".diff",
			"patch_url": html + ".patch", "merged_at": mergedAt,
		}
	}
	return o
}

func (s *Hub) reactionsJSON(of string, list []*Reaction) obj {
	o := obj{"url": of + "/reactions", "total_count": len(list)}
	for _, kind := range ReactionKinds {
		o[kind] = 0
	}
	for _, r := range list {
		o[r.Content] = o[r.Content].(int) + 1
	}
	return o
}

// CommentJSON is a conversation comment.
func (s *Hub) CommentJSON(c *Comment) obj {
	api := fmt.Sprintf("%s/issues/comments/%d", s.APIRepo(c.Pull.Repo), c.ID)
	return obj{
		"url": api, "html_url": fmt.Sprintf("%s#issuecomment-%d", s.pullURL(c.Pull), c.ID),
		"issue_url": fmt.Sprintf("%s/issues/%d", s.APIRepo(c.Pull.Repo), c.Pull.Number),
		"id":        c.ID, "node_id": Node("IC", c.ID), "user": s.UserJSON(c.Author), "created_at": Stamp(c.Created), "updated_at": Stamp(c.Updated),
		"author_association": s.association(c.Pull.Repo, c.Author), "body": c.Body, "reactions": s.reactionsJSON(api, c.Reactions),
		"performed_via_github_app": nil,
	}
}

// ReviewJSON is a review as REST shows it.
func (s *Hub) ReviewJSON(p *Pull, v *Review) obj {
	html := fmt.Sprintf("%s#pullrequestreview-%d", s.pullURL(p), v.ID)
	api := fmt.Sprintf("%s/pulls/%d", s.APIRepo(p.Repo), p.Number)
	o := obj{
		"id": v.ID, "node_id": Node("PRR", v.ID), "user": s.UserJSON(v.Author), "body": v.Body, "state": v.State, "html_url": html,
		"pull_request_url": api, "_links": obj{"html": obj{"href": html}, "pull_request": obj{"href": api}},
		"commit_id": v.SHA, "author_association": s.association(p.Repo, v.Author),
	}
	if !v.Submitted.IsZero() {
		o["submitted_at"] = Stamp(v.Submitted)
	}
	return o
}

// AppJSON is an App, null for none.
func (s *Hub) AppJSON(a *App) any {
	if a == nil {
		return nil
	}
	return obj{
		"id": a.ID, "slug": a.Slug, "node_id": Node("A", a.ID), "owner": s.UserJSON(a.owner), "name": a.Name, "description": nil,
		"external_url": s.URL + "/apps/" + a.Slug, "html_url": s.URL + "/apps/" + a.Slug, "created_at": Stamp(a.created),
		"updated_at": Stamp(a.created), "permissions": a.Permissions, "events": a.Events,
	}
}

// ReactionKinds are the reactions that GitHub knows.
var ReactionKinds = []string{"+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes"}
