package forgetest

import (
	"context"
	"maps"
	"strings"
	"time"

	"lockkeeper/forge/forgetest/bare"
)

// emitPull sends a pull_request event.
func (s *Server) emitPull(ctx context.Context, p *pull, action string, by *account, extra obj) {
	payload := obj{"action": action, "number": p.number, "pull_request": s.pullFull(ctx, p), "sender": s.userJSON(by)}
	maps.Copy(payload, extra)
	s.emit(p.repo, "pull_request", action, payload)
}

func (s *Server) emitComment(m *comment, action string, by *account, changes obj) {
	payload := obj{"action": action, "issue": s.issueJSON(m.pull), "comment": s.commentJSON(m), "sender": s.userJSON(by)}
	if changes != nil {
		payload["changes"] = changes
	}
	s.emit(m.pull.repo, "issue_comment", action, payload)
}

// emitReview sends a review; its state is in lower case there, unlike in REST.
func (s *Server) emitReview(p *pull, v *review, action string, by *account) {
	r := s.reviewJSON(p, v)
	r["state"] = strings.ToLower(v.state)
	r["body"] = orNil(v.body)
	s.emit(p.repo, "pull_request_review", action, obj{
		"action": action, "review": r, "pull_request": s.pullSimple(p), "sender": s.userJSON(by)})
}

// emitPush sends create, push and delete events as GitHub does for a ref.
func (s *Server) emitPush(ctx context.Context, r *repo, ref, before, after string, by *account) {
	kind, name := "tag", strings.TrimPrefix(ref, "refs/tags/")
	if branch, found := strings.CutPrefix(ref, "refs/heads/"); found {
		kind, name = "branch", branch
	}
	if before == zeroSHA || after == zeroSHA {
		event := "create"
		payload := obj{"ref": name, "ref_type": kind, "pusher_type": "user", "sender": s.userJSON(by)}
		if after == zeroSHA {
			event = "delete"
		} else {
			payload["master_branch"], payload["description"] = r.defaultBranch, nil
		}
		s.emit(r, event, "", payload)
	}
	var commits []bare.Commit
	var head any
	switch {
	case after == zeroSHA:
	case before == zeroSHA:
		commits, _ = r.git.Between(ctx, r.branch(r.defaultBranch), after)
	default:
		commits, _ = r.git.Between(ctx, before, after)
	}
	list := []any{}
	for _, c := range commits[max(0, len(commits)-pushCap):] {
		list = append(list, s.pushCommit(ctx, r, c))
	}
	if after != zeroSHA {
		if c, err := r.git.Commit(ctx, after); err == nil {
			head = s.pushCommit(ctx, r, c)
		}
	}
	repoJSON := s.repoJSON(r)
	s.emit(r, "push", "", obj{
		"ref": ref, "before": before, "after": after, "created": before == zeroSHA, "deleted": after == zeroSHA,
		"forced":   before != zeroSHA && after != zeroSHA && !r.git.IsAncestor(ctx, before, after),
		"base_ref": nil, "compare": repoJSON["html_url"].(string) + "/compare/" + before[:12] + "..." + after[:12],
		"commits": list, "head_commit": head, "pusher": obj{"name": by.login, "email": by.email()}, "sender": s.userJSON(by),
	})
}

// pushCap is how many commits a push event lists.
const pushCap = 2048

func (s *Server) pushCommit(ctx context.Context, r *repo, c bare.Commit) obj {
	person := func(p bare.Person) obj {
		o := obj{"name": p.Name, "email": p.Email, "date": stamp(p.When)}
		if a := s.accountByEmail(p.Email); a != nil {
			o["username"] = a.login
		}
		return o
	}
	parent := emptyTree
	if len(c.Parents) > 0 {
		parent = c.Parents[0]
	}
	added, removed, modified := []string{}, []string{}, []string{}
	files, _ := r.git.Diff(ctx, parent, c.SHA, false)
	for _, f := range files {
		switch f.Status {
		case "added", "copied":
			added = append(added, f.Path)
		case "removed":
			removed = append(removed, f.Path)
		case "renamed":
			added, removed = append(added, f.Path), append(removed, f.OldPath)
		default:
			modified = append(modified, f.Path)
		}
	}
	return obj{
		"id": c.SHA, "tree_id": c.Tree, "distinct": true, "message": c.Message, "timestamp": stamp(c.Committer.When),
		"url": s.URL + "/" + r.full() + "/commit/" + c.SHA, "author": person(c.Author), "committer": person(c.Committer),
		"added": added, "removed": removed, "modified": modified,
	}
}

func (s *Server) emitCheck(ctx context.Context, r *repo, k *check, action string, by *account) {
	o := s.checkJSON(r, k)
	app := s.appJSON(k.app)
	suiteStatus, conclusion := "in_progress", any(nil)
	if k.status == "completed" {
		suiteStatus, conclusion = "completed", k.conclusion
	}
	o["check_suite"] = obj{
		"id": k.suite, "node_id": node("CS", k.suite), "head_branch": nil, "head_sha": k.sha, "status": suiteStatus, "conclusion": conclusion,
		"url": s.apiRepo(r) + "/check-suites/1", "before": nil, "after": nil, "pull_requests": s.minimalPulls(r, k.sha), "app": app,
		"created_at": stamp(k.started), "updated_at": stamp(s.last),
	}
	s.emit(r, "check_run", action, obj{"action": action, "check_run": o, "sender": s.userJSON(by)})
}

func (s *Server) emitStatus(ctx context.Context, r *repo, t *status, by *account) {
	commit, err := r.git.Commit(ctx, t.sha)
	if err != nil {
		return
	}
	cj := s.commitJSON(r, commit)
	delete(cj["commit"].(obj)["verification"].(obj), "verified_at")
	branches := []any{}
	for _, name := range r.branches() {
		if r.branch(name) == t.sha {
			branches = append(branches, obj{
				"name": name, "commit": obj{"sha": t.sha, "url": s.apiRepo(r) + "/commits/" + t.sha}, "protected": r.protected(name)})
		}
	}
	s.emit(r, "status", "", obj{
		"id": t.id, "sha": t.sha, "name": r.full(), "target_url": orNil(t.target), "context": t.context, "description": orNil(t.description),
		"state": t.state, "commit": cj, "branches": branches, "created_at": stamp(t.created), "updated_at": stamp(t.created),
		"sender": s.userJSON(by),
	})
}

// emitInstallation tells an App, and only it, what became of its installation.
func (s *Server) emitInstallation(in *installation, action string, by *account) {
	list := []any{}
	for _, r := range s.sortedRepos() {
		if in.has(r) {
			list = append(list, obj{"id": r.id, "node_id": node("R", r.id), "name": r.name, "full_name": r.full(), "private": r.private})
		}
	}
	o := s.installationJSON(in)
	payload := obj{"action": action, "installation": o, "repositories": list, "sender": s.userJSON(by)}
	s.post(nil, "installation", action, payload, &Delivery{
		app: in.app, URL: in.app.WebhookURL, secret: in.app.WebhookSecret, Installation: in.id})
}

// Suspend makes an installation's tokens useless, or useful again.
func (s *Server) Suspend(installationID int64, suspended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, app := range s.apps {
		for _, in := range app.installations {
			if in.id != installationID {
				continue
			}
			action := "unsuspend"
			if in.suspend = nil; suspended {
				in.suspend, action = in.account, "suspend"
			}
			s.emitInstallation(in, action, in.account)
		}
	}
}

// Enqueue puts a pull into the merge queue: a branch with the merge result,
// and a merge_group event that asks for checks on it. It returns the commit.
func (s *Server) Enqueue(ctx context.Context, fullName string, number int) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.mustRepo(fullName)
	p := r.pulls[number]
	base := r.branch(p.baseRef)
	web := bare.Person{Name: "GitHub", Email: s.webFlow.email(), When: s.tick()}
	sha, err := r.git.Merge(ctx, base, p.headSHA, "Merge pull request #"+itoa(number), web, web)
	if err != nil {
		return "", err
	}
	branch := "gh-readonly-queue/" + p.baseRef + "/pr-" + itoa(number) + "-" + base
	ref := "refs/heads/" + branch
	if err := s.setRef(ctx, r, ref, sha); err != nil {
		return "", err
	}
	c, err := r.git.Commit(ctx, sha)
	if err != nil {
		return "", err
	}
	who := obj{"name": c.Author.Name, "email": c.Author.Email}
	s.emit(r, "merge_group", "checks_requested", obj{
		"action": "checks_requested", "sender": s.userJSON(p.author),
		"merge_group": obj{
			"head_sha": sha, "head_ref": ref, "base_ref": "refs/heads/" + p.baseRef, "base_sha": base,
			"head_commit": obj{
				"id": sha, "tree_id": c.Tree, "message": c.Message, "timestamp": c.Committer.When.Format(time.RFC3339),
				"author": who, "committer": who},
		}})
	return sha, nil
}
