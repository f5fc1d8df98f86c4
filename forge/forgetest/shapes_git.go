package forgetest

import (
	"fmt"
	"time"

	"lockkeeper/forge/forgetest/bare"
)

func gitPerson(p bare.Person) obj {
	return obj{"name": p.Name, "email": p.Email, "date": stamp(p.When)}
}

// verification tells that commits made through the API are signed by the forge.
func verification(r *repo, sha string) obj {
	if r.webSigned[sha] {
		return obj{"verified": true, "reason": "valid", "signature": "web", "payload": "web", "verified_at": nil}
	}
	return obj{"verified": false, "reason": "unsigned", "signature": nil, "payload": nil, "verified_at": nil}
}

// commitJSON is a commit with the accounts that its e-mail addresses belong to.
func (s *Server) commitJSON(r *repo, c bare.Commit) obj {
	api := s.apiRepo(r) + "/commits/" + c.SHA
	parents := []any{}
	for _, p := range c.Parents {
		parents = append(parents, obj{"sha": p, "url": s.apiRepo(r) + "/commits/" + p, "html_url": s.URL + "/" + r.full() + "/commit/" + p})
	}
	gitURL := s.apiRepo(r) + "/git/commits/" + c.SHA
	return obj{
		"sha": c.SHA, "node_id": commitNode(r, c.SHA), "url": api, "html_url": s.URL + "/" + r.full() + "/commit/" + c.SHA, "comments_url": api + "/comments",
		"commit": obj{
			"author": gitPerson(c.Author), "committer": gitPerson(c.Committer), "message": c.Message,
			"tree": obj{"sha": c.Tree, "url": s.apiRepo(r) + "/git/trees/" + c.Tree},
			"url":  gitURL, "comment_count": 0, "verification": verification(r, c.SHA),
		},
		"author": s.userJSON(s.accountByEmail(c.Author.Email)), "committer": s.userJSON(s.accountByEmail(c.Committer.Email)),
		"parents": parents,
	}
}

func (s *Server) commitsJSON(r *repo, list []bare.Commit) []any {
	out := []any{}
	for _, c := range list {
		out = append(out, s.commitJSON(r, c))
	}
	return out
}

func (s *Server) filesJSON(r *repo, sha string, files []bare.FileChange) []any {
	out := []any{}
	for _, f := range files {
		o := obj{
			"sha": f.SHA, "filename": f.Path, "status": f.Status, "additions": f.Additions, "deletions": f.Deletions,
			"changes": f.Additions + f.Deletions, "blob_url": fmt.Sprintf("%s/%s/blob/%s/%s", s.URL, r.full(), sha, f.Path),
			"raw_url":      fmt.Sprintf("%s/%s/raw/%s/%s", s.URL, r.full(), sha, f.Path),
			"contents_url": fmt.Sprintf("%s/contents/%s?ref=%s", s.apiRepo(r), f.Path, sha),
		}
		if f.Patch != "" {
			o["patch"] = f.Patch
		}
		if f.OldPath != "" {
			o["previous_filename"] = f.OldPath
		}
		out = append(out, o)
	}
	return out
}

func (s *Server) minimalPulls(r *repo, sha string) []any {
	list := []any{}
	for _, p := range r.sortedPulls() {
		if p.headSHA != sha || p.closed || p.headRepo != r {
			continue
		}
		end := func(ref, sha string, of *repo) obj {
			return obj{"ref": ref, "sha": sha, "repo": obj{"id": of.id, "url": s.apiRepo(of), "name": of.name}}
		}
		list = append(list, obj{
			"id": p.id, "number": p.number, "url": fmt.Sprintf("%s/pulls/%d", s.apiRepo(r), p.number),
			"head": end(p.headRef, p.headSHA, r), "base": end(p.baseRef, p.baseSHA, r),
		})
	}
	return list
}

func (s *Server) checkJSON(r *repo, k *check) obj {
	api := fmt.Sprintf("%s/check-runs/%d", s.apiRepo(r), k.id)
	details := k.details
	if details == "" {
		details = s.URL + "/apps/" + k.app.Slug
	}
	return obj{
		"id": k.id, "name": k.name, "node_id": node("CR", k.id), "head_sha": k.sha, "external_id": k.externalID, "url": api,
		"html_url": fmt.Sprintf("%s/%s/runs/%d", s.URL, r.full(), k.id), "details_url": details, "status": k.status,
		"conclusion": orNil(k.conclusion), "started_at": stamp(k.started), "completed_at": stamp(k.ended),
		"output": obj{
			"title": orNil(k.title), "summary": orNil(k.summary), "text": orNil(k.text),
			"annotations_count": k.annotationsCount, "annotations_url": api + "/annotations",
		},
		"check_suite": obj{"id": k.suite}, "app": s.appJSON(k.app), "pull_requests": s.minimalPulls(r, k.sha),
	}
}

func (s *Server) statusJSON(r *repo, t *status) obj {
	return obj{
		"url": s.apiRepo(r) + "/statuses/" + t.sha, "avatar_url": fmt.Sprintf("%s/avatars/%d", s.URL, t.creator.id), "id": t.id,
		"node_id": node("SC", t.id), "state": t.state, "description": orNil(t.description), "target_url": orNil(t.target),
		"context": t.context, "created_at": stamp(t.created), "updated_at": stamp(t.created), "creator": s.userJSON(t.creator),
	}
}

func (s *Server) activityJSON(a activity) obj {
	return obj{
		"id": a.id, "node_id": node("PSH", a.id), "before": a.before, "after": a.after, "ref": a.ref, "timestamp": stamp(a.at),
		"activity_type": a.kind, "actor": s.userJSON(a.actor),
	}
}

func (s *Server) teamJSON(t *team) obj {
	u := fmt.Sprintf("%s/organizations/%d/team/%d", s.URL, t.org.id, t.id)
	o := obj{
		"id": t.id, "node_id": node("T", t.id), "name": t.slug, "slug": t.slug, "description": nil, "permission": "pull",
		"privacy": "closed", "url": u, "html_url": fmt.Sprintf("%s/orgs/%s/teams/%s", s.URL, t.org.login, t.slug),
		"members_url": u + "/members{/member}", "repositories_url": u + "/repos", "type": "organization", "parent": nil,
		"organization_id": t.org.id, "notification_setting": "notifications_enabled",
	}
	if t.parent != nil {
		parent := s.teamJSON(t.parent)
		delete(parent, "parent")
		o["parent"] = parent
	}
	return o
}

func (s *Server) installationJSON(in *installation) obj {
	selection, kind := "selected", "User"
	if in.all {
		selection = "all"
	}
	if in.account.kind == "Organization" {
		kind = "Organization"
	}
	o := obj{
		"id": in.id, "account": s.userJSON(in.account), "repository_selection": selection, "app_slug": in.app.Slug,
		"access_tokens_url": fmt.Sprintf("%s/app/installations/%d/access_tokens", s.URL, in.id), "repositories_url": s.URL + "/installation/repositories",
		"html_url": fmt.Sprintf("%s/settings/installations/%d", s.URL, in.id), "app_id": in.app.ID, "target_id": in.account.id,
		"target_type": kind, "permissions": in.app.Permissions, "events": in.app.Events, "created_at": stamp(in.created),
		"updated_at": stamp(in.created), "single_file_name": nil, "has_multiple_single_files": false, "single_file_paths": []string{},
		"suspended_by": s.userJSON(in.suspend), "suspended_at": nil,
	}
	if in.suspend != nil {
		o["suspended_at"] = time.Time.Format(in.created, time.RFC3339)
	}
	return o
}
