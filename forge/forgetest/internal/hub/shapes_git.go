package hub

import (
	"cmp"
	"fmt"
	"time"

	"lockkeeper/forge/forgetest/bare"
)

// GitPerson is an author or a committer.
func GitPerson(p bare.Person) obj {
	return obj{"name": p.Name, "email": p.Email, "date": Stamp(p.When)}
}

// Signed and Unsigned are GitHub's words for a commit's signature; it has more
// for signatures that fail, such as unknown_key and bad_email.
const (
	Signed   = "valid"
	Unsigned = "unsigned"
)

// SetSignature says what the forge finds out about a commit's signature, in its
// own words. Commits that nothing was said about are unsigned, except those
// that the forge made.
func (s *Hub) SetSignature(sha, reason string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.Signatures[sha] = reason
}

// Verification is what the forge says of a commit's signature.
func (s *Hub) Verification(sha string) obj {
	reason := cmp.Or(s.Signatures[sha], Unsigned)
	o := obj{"verified": reason == Signed, "reason": reason, "signature": "signature", "payload": "payload", "verified_at": nil}
	if reason == Unsigned {
		o["signature"], o["payload"] = nil, nil
	}
	return o
}

// CommitJSON is a commit with the accounts that its e-mail addresses belong to.
func (s *Hub) CommitJSON(r *Repo, c bare.Commit) obj {
	api := s.APIRepo(r) + "/commits/" + c.SHA
	parents := []any{}
	for _, p := range c.Parents {
		parents = append(parents, obj{"sha": p, "url": s.APIRepo(r) + "/commits/" + p, "html_url": s.URL + "/" + r.Full() + "/commit/" + p})
	}
	gitURL := s.APIRepo(r) + "/git/commits/" + c.SHA
	return obj{
		"sha": c.SHA, "node_id": CommitNode(r, c.SHA), "url": api, "html_url": s.URL + "/" + r.Full() + "/commit/" + c.SHA, "comments_url": api + "/comments",
		"commit": obj{
			"author": GitPerson(c.Author), "committer": GitPerson(c.Committer), "message": c.Message,
			"tree": obj{"sha": c.Tree, "url": s.APIRepo(r) + "/git/trees/" + c.Tree},
			"url":  gitURL, "comment_count": 0, "verification": s.Verification(c.SHA),
		},
		"author": s.UserJSON(s.AccountByEmail(c.Author.Email)), "committer": s.UserJSON(s.AccountByEmail(c.Committer.Email)),
		"parents": parents,
	}
}

// CommitsJSON are several commits.
func (s *Hub) CommitsJSON(r *Repo, list []bare.Commit) []any {
	out := []any{}
	for _, c := range list {
		out = append(out, s.CommitJSON(r, c))
	}
	return out
}

// FilesJSON are the changed files of a commit or a pull.
func (s *Hub) FilesJSON(r *Repo, sha string, files []bare.FileChange) []any {
	out := []any{}
	for _, f := range files {
		o := obj{
			"sha": f.SHA, "filename": f.Path, "status": f.Status, "additions": f.Additions, "deletions": f.Deletions,
			"changes": f.Additions + f.Deletions, "blob_url": fmt.Sprintf("%s/%s/blob/%s/%s", s.URL, r.Full(), sha, f.Path),
			"raw_url":      fmt.Sprintf("%s/%s/raw/%s/%s", s.URL, r.Full(), sha, f.Path),
			"contents_url": fmt.Sprintf("%s/contents/%s?ref=%s", s.APIRepo(r), f.Path, sha),
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

func (s *Hub) minimalPulls(r *Repo, sha string) []any {
	list := []any{}
	for _, p := range r.SortedPulls() {
		if p.HeadSHA != sha || p.Closed || p.HeadRepo != r {
			continue
		}
		end := func(ref, sha string, of *Repo) obj {
			return obj{"ref": ref, "sha": sha, "repo": obj{"id": of.ID, "url": s.APIRepo(of), "name": of.Name}}
		}
		list = append(list, obj{
			"id": p.ID, "number": p.Number, "url": fmt.Sprintf("%s/pulls/%d", s.APIRepo(r), p.Number),
			"head": end(p.HeadRef, p.HeadSHA, r), "base": end(p.BaseRef, p.BaseSHA, r),
		})
	}
	return list
}

// CheckJSON is a check run.
func (s *Hub) CheckJSON(r *Repo, k *Check) obj {
	api := fmt.Sprintf("%s/check-runs/%d", s.APIRepo(r), k.ID)
	details := k.Details
	if details == "" {
		details = s.URL + "/apps/" + k.App.Slug
	}
	return obj{
		"id": k.ID, "name": k.Name, "node_id": Node("CR", k.ID), "head_sha": k.SHA, "external_id": k.ExternalID, "url": api,
		"html_url": fmt.Sprintf("%s/%s/runs/%d", s.URL, r.Full(), k.ID), "details_url": details, "status": k.Status,
		"conclusion": OrNil(k.Conclusion), "started_at": Stamp(k.Started), "completed_at": Stamp(k.Ended),
		"output": obj{
			"title": OrNil(k.Title), "summary": OrNil(k.Summary), "text": OrNil(k.Text),
			"annotations_count": k.AnnotationsCount, "annotations_url": api + "/annotations",
		},
		"check_suite": obj{"id": k.Suite}, "app": s.AppJSON(k.App), "pull_requests": s.minimalPulls(r, k.SHA),
	}
}

// StatusJSON is a commit status.
func (s *Hub) StatusJSON(r *Repo, t *Status) obj {
	return obj{
		"url": s.APIRepo(r) + "/statuses/" + t.SHA, "avatar_url": fmt.Sprintf("%s/avatars/%d", s.URL, t.Creator.ID), "id": t.ID,
		"node_id": Node("SC", t.ID), "state": t.State, "description": OrNil(t.Description), "target_url": OrNil(t.Target),
		"context": t.Context, "created_at": Stamp(t.Created), "updated_at": Stamp(t.Created), "creator": s.UserJSON(t.Creator),
	}
}

// ActivityJSON is one entry of a repository's activity.
func (s *Hub) ActivityJSON(a Activity) obj {
	return obj{
		"id": a.ID, "node_id": Node("PSH", a.ID), "before": a.before, "after": a.after, "ref": a.Ref, "timestamp": Stamp(a.at),
		"activity_type": a.Kind, "actor": s.UserJSON(a.Actor),
	}
}

// TeamJSON is a team with its parent.
func (s *Hub) TeamJSON(t *Team) obj {
	u := fmt.Sprintf("%s/organizations/%d/team/%d", s.URL, t.Org.ID, t.ID)
	o := obj{
		"id": t.ID, "node_id": Node("T", t.ID), "name": t.Slug, "slug": t.Slug, "description": nil, "permission": "pull",
		"privacy": "closed", "url": u, "html_url": fmt.Sprintf("%s/orgs/%s/teams/%s", s.URL, t.Org.Login, t.Slug),
		"members_url": u + "/members{/member}", "repositories_url": u + "/repos", "type": "organization", "parent": nil,
		"organization_id": t.Org.ID, "notification_setting": "notifications_enabled",
	}
	if t.parent != nil {
		parent := s.TeamJSON(t.parent)
		delete(parent, "parent")
		o["parent"] = parent
	}
	return o
}

// teamEvent is a team as events carry it, without what REST has added since.
func (s *Hub) teamEvent(t *Team) obj {
	o := s.TeamJSON(t)
	delete(o, "organization_id")
	delete(o, "type")
	return o
}

// pullEvent makes of a pull in REST one in an event.
func (s *Hub) pullEvent(p *Pull, o obj) obj {
	teams := []any{}
	for _, t := range p.RequestedTeams {
		teams = append(teams, s.teamEvent(t))
	}
	o["requested_teams"] = teams
	return o
}

// InstallationJSON is an installation of an App.
func (s *Hub) InstallationJSON(in *Installation) obj {
	selection, kind := "selected", "User"
	if in.All {
		selection = "all"
	}
	if in.Account.Kind == "Organization" {
		kind = "Organization"
	}
	o := obj{
		"id": in.ID, "account": s.UserJSON(in.Account), "repository_selection": selection, "app_slug": in.app.Slug,
		"access_tokens_url": fmt.Sprintf("%s/app/installations/%d/access_tokens", s.URL, in.ID), "repositories_url": s.URL + "/installation/repositories",
		"html_url": fmt.Sprintf("%s/settings/installations/%d", s.URL, in.ID), "app_id": in.app.ID, "target_id": in.Account.ID,
		"target_type": kind, "permissions": in.app.Permissions, "events": in.app.Events, "created_at": Stamp(in.created),
		"updated_at": Stamp(in.created), "single_file_name": nil, "has_multiple_single_files": false, "single_file_paths": []string{},
		"suspended_by": s.UserJSON(in.Suspend), "suspended_at": nil,
	}
	if in.Suspend != nil {
		o["suspended_at"] = time.Time.Format(in.created, time.RFC3339)
	}
	return o
}

// CommitNode is the node id of a commit.
func CommitNode(r *Repo, sha string) string { return fmt.Sprintf("C_%d_%s", r.ID, sha) }
