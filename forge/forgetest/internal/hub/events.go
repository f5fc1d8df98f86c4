package hub

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"lockkeeper/forge/forgetest/bare"
	"lockkeeper/forge/forgetest/internal/courier"
)

// EmitPull sends a pull_request event.
func (s *Hub) EmitPull(ctx context.Context, p *Pull, action string, by *Account, extra obj) {
	payload := obj{"action": action, "number": p.Number, "pull_request": s.pullEvent(p, s.PullFull(ctx, p)), "sender": s.UserJSON(by)}
	maps.Copy(payload, extra)
	s.Emit(p.Repo, "pull_request", action, payload)
}

// EmitComment sends an issue_comment event.
func (s *Hub) EmitComment(m *Comment, action string, by *Account, changes obj) {
	payload := obj{"action": action, "issue": s.IssueJSON(m.Pull), "comment": s.CommentJSON(m), "sender": s.UserJSON(by)}
	if changes != nil {
		payload["changes"] = changes
	}
	s.Emit(m.Pull.Repo, "issue_comment", action, payload)
}

// EmitReview sends a review; its state is in lower case there, unlike in REST.
func (s *Hub) EmitReview(p *Pull, v *Review, action string, by *Account) {
	r := s.ReviewJSON(p, v)
	r["state"] = strings.ToLower(v.State)
	r["body"] = OrNil(v.Body)
	s.Emit(p.Repo, "pull_request_review", action, obj{
		"action": action, "review": r, "pull_request": s.pullEvent(p, s.PullSimple(p)), "sender": s.UserJSON(by)})
}

// emitPush sends create, push and delete events as GitHub does for a ref.
func (s *Hub) emitPush(ctx context.Context, r *Repo, ref, before, after string, by *Account) {
	kind, name := "tag", strings.TrimPrefix(ref, "refs/tags/")
	if branch, found := strings.CutPrefix(ref, "refs/heads/"); found {
		kind, name = "branch", branch
	}
	if before == zeroSHA || after == zeroSHA {
		event := "create"
		payload := obj{"ref": name, "ref_type": kind, "pusher_type": "user", "sender": s.UserJSON(by)}
		if after == zeroSHA {
			event = "delete"
		} else {
			payload["master_branch"], payload["description"] = r.DefaultBranch, nil
		}
		s.Emit(r, event, "", payload)
	}
	var commits []bare.Commit
	var head any
	switch {
	case after == zeroSHA:
	case before == zeroSHA:
		commits, _ = r.Git.Between(ctx, r.Branch(r.DefaultBranch), after)
	default:
		commits, _ = r.Git.Between(ctx, before, after)
	}
	list := []any{}
	for _, c := range commits[max(0, len(commits)-pushCap):] {
		list = append(list, s.pushCommit(ctx, r, c))
	}
	if after != zeroSHA {
		if c, err := r.Git.Commit(ctx, after); err == nil {
			head = s.pushCommit(ctx, r, c)
		}
	}
	repoJSON := s.RepoJSON(r)
	s.Emit(r, "push", "", obj{
		"ref": ref, "before": before, "after": after, "created": before == zeroSHA, "deleted": after == zeroSHA,
		"forced":   before != zeroSHA && after != zeroSHA && !r.Git.IsAncestor(ctx, before, after),
		"base_ref": nil, "compare": repoJSON["html_url"].(string) + "/compare/" + before[:12] + "..." + after[:12],
		"commits": list, "head_commit": head, "pusher": obj{"name": by.Login, "email": by.Email()}, "sender": s.UserJSON(by),
	})
}

// pushCap is how many commits a push event lists.
const pushCap = 2048

func (s *Hub) pushCommit(ctx context.Context, r *Repo, c bare.Commit) obj {
	person := func(p bare.Person) obj {
		o := obj{"name": p.Name, "email": p.Email, "date": Stamp(p.When)}
		if a := s.AccountByEmail(p.Email); a != nil {
			o["username"] = a.Login
		}
		return o
	}
	parent := EmptyTree
	if len(c.Parents) > 0 {
		parent = c.Parents[0]
	}
	added, removed, modified := []string{}, []string{}, []string{}
	files, _ := r.Git.Diff(ctx, parent, c.SHA, false)
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
		"id": c.SHA, "tree_id": c.Tree, "distinct": true, "message": c.Message, "timestamp": Stamp(c.Committer.When),
		"url": s.URL + "/" + r.Full() + "/commit/" + c.SHA, "author": person(c.Author), "committer": person(c.Committer),
		"added": added, "removed": removed, "modified": modified,
	}
}

// EmitCheck sends a check_run event.
func (s *Hub) EmitCheck(ctx context.Context, r *Repo, k *Check, action string, by *Account) {
	o := s.CheckJSON(r, k)
	app := s.AppJSON(k.App)
	suiteStatus, conclusion := "in_progress", any(nil)
	if k.Status == "completed" {
		suiteStatus, conclusion = "completed", k.Conclusion
	}
	o["check_suite"] = obj{
		"id": k.Suite, "node_id": Node("CS", k.Suite), "head_branch": nil, "head_sha": k.SHA, "status": suiteStatus, "conclusion": conclusion,
		"url": s.APIRepo(r) + "/check-suites/1", "before": nil, "after": nil, "pull_requests": s.minimalPulls(r, k.SHA), "app": app,
		"created_at": Stamp(k.Started), "updated_at": Stamp(s.Last),
	}
	s.Emit(r, "check_run", action, obj{"action": action, "check_run": o, "sender": s.UserJSON(by)})
}

// EmitStatus sends a status event.
func (s *Hub) EmitStatus(ctx context.Context, r *Repo, t *Status, by *Account) {
	commit, err := r.Git.Commit(ctx, t.SHA)
	if err != nil {
		return
	}
	cj := s.CommitJSON(r, commit)
	delete(cj["commit"].(obj)["verification"].(obj), "verified_at")
	branches := []any{}
	for _, name := range r.Branches() {
		if r.Branch(name) == t.SHA {
			branches = append(branches, obj{
				"name": name, "commit": obj{"sha": t.SHA, "url": s.APIRepo(r) + "/commits/" + t.SHA}, "protected": r.Protected(name)})
		}
	}
	s.Emit(r, "status", "", obj{
		"id": t.ID, "sha": t.SHA, "name": r.Full(), "target_url": OrNil(t.Target), "context": t.Context, "description": OrNil(t.Description),
		"state": t.State, "commit": cj, "branches": branches, "created_at": Stamp(t.Created), "updated_at": Stamp(t.Created),
		"sender": s.UserJSON(by),
	})
}

// EmitInstallation tells an App, and only it, what became of its installation.
func (s *Hub) EmitInstallation(in *Installation, action string, by *Account) {
	list := []any{}
	for _, r := range s.SortedRepos() {
		if in.Has(r) {
			list = append(list, obj{"id": r.ID, "node_id": Node("R", r.ID), "name": r.Name, "full_name": r.Full(), "private": r.private})
		}
	}
	o := s.InstallationJSON(in)
	payload := obj{"action": action, "installation": o, "repositories": list, "sender": s.UserJSON(by)}
	s.Post(nil, "installation", action, payload, &courier.Delivery{
		App: in.app.ID, URL: in.app.WebhookURL, Secret: in.app.WebhookSecret, Installation: in.ID})
}

// Suspend makes an installation's tokens useless, or useful again.
func (s *Hub) Suspend(installationID int64, suspended bool) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	for _, app := range s.Apps {
		for _, in := range app.Installations {
			if in.ID != installationID {
				continue
			}
			action := "unsuspend"
			if in.Suspend = nil; suspended {
				in.Suspend, action = in.Account, "suspend"
			}
			s.EmitInstallation(in, action, in.Account)
		}
	}
}

// Enqueue puts a pull into the merge queue: a branch with the merge result,
// and a merge_group event that asks for checks on it. It returns the commit.
func (s *Hub) Enqueue(ctx context.Context, fullName string, number int) (string, error) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	r := s.MustRepo(fullName)
	p := r.Pulls[number]
	base := r.Branch(p.BaseRef)
	web := bare.Person{Name: "GitHub", Email: s.WebFlow.Email(), When: s.Tick()}
	sha, err := r.Git.Merge(ctx, base, p.HeadSHA, "Merge pull request #"+strconv.Itoa(number), web, web)
	if err != nil {
		return "", err
	}
	ref := queueRef(p) + base
	s.Signatures[sha] = Signed
	if err := s.setRef(ctx, r, ref, sha); err != nil {
		return "", err
	}
	c, err := r.Git.Commit(ctx, sha)
	if err != nil {
		return "", err
	}
	who := obj{"name": c.Author.Name, "email": c.Author.Email}
	s.Emit(r, "merge_group", "checks_requested", obj{
		"action": "checks_requested", "sender": s.UserJSON(p.Author),
		"merge_group": obj{
			"head_sha": sha, "head_ref": ref, "base_ref": "refs/heads/" + p.BaseRef, "base_sha": base,
			"head_commit": obj{
				"id": sha, "tree_id": c.Tree, "message": c.Message, "timestamp": c.Committer.When.Format(time.RFC3339),
				"author": who, "committer": who},
		}})
	return sha, nil
}

func queueRef(p *Pull) string {
	return "refs/heads/gh-readonly-queue/" + p.BaseRef + "/pr-" + strconv.Itoa(p.Number) + "-"
}

// MergeQueued ends what Enqueue began: the queue moves the base to the group's
// commit, under the account that GitHub's queue has, and closes the pull.
func (s *Hub) MergeQueued(ctx context.Context, fullName string, number int) (string, error) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	r := s.MustRepo(fullName)
	p := r.Pulls[number]
	queue := s.Account("github-merge-queue[bot]")
	if queue == nil {
		queue = s.addAccount("github-merge-queue[bot]", "Bot")
	}
	for ref, sha := range r.Refs {
		if base, found := strings.CutPrefix(ref, queueRef(p)); found && base == r.Branch(p.BaseRef) {
			s.Tick()
			return sha, errors.Join(s.land(ctx, p, queue, sha, "merge_queue_merge"), s.setRef(ctx, r, ref, ""))
		}
	}
	return "", fmt.Errorf("merge %s#%d from the queue: it is not queued on top of the base as it is now", fullName, number)
}
