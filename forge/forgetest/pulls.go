package forgetest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"lockkeeper/forge/forgetest/bare"
)

func (r *repo) sortedPulls() []*pull {
	list := slices.Collect(maps.Values(r.pulls))
	slices.SortFunc(list, func(a, b *pull) int { return a.number - b.number })
	return list
}

func (p *pull) commentList() []*comment {
	var list []*comment
	for _, c := range p.repo.comments {
		if c.pull == p {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b *comment) int { return int(a.id - b.id) })
	return list
}

func (p *pull) headRefName() string { return fmt.Sprintf("refs/pull/%d/head", p.number) }

// commits are base..head as GitHub counts them.
func (p *pull) commits(ctx context.Context) []bare.Commit {
	p.look(ctx)
	return p.commitsKnown
}

// files are the changed files, without their patches.
func (p *pull) files(ctx context.Context) []bare.FileChange {
	p.look(ctx)
	return p.filesKnown
}

// look reads commits and files anew when base or head have moved.
func (p *pull) look(ctx context.Context) {
	if p.looked == p.baseSHA+p.headSHA {
		return
	}
	commits, err := p.repo.git.Between(ctx, p.baseSHA, p.headSHA)
	if err != nil {
		return // a lost object shows as an empty pull, and is asked for again
	}
	files, err := p.repo.git.Diff(ctx, p.fork(ctx), p.headSHA, false)
	if err != nil {
		return
	}
	p.commitsKnown, p.filesKnown, p.looked = commits, files, p.baseSHA+p.headSHA
}

// fork is where the head left the base.
func (p *pull) fork(ctx context.Context) string {
	return cmpOr(p.repo.git.MergeBase(ctx, p.baseSHA, p.headSHA), p.baseSHA)
}

// patches are the changed files with their patches.
func (p *pull) patches(ctx context.Context) []bare.FileChange {
	list, err := p.repo.git.Diff(ctx, p.fork(ctx), p.headSHA, true)
	if err != nil {
		return nil
	}
	return list
}

// computeMergeable tries the merge, and keeps refs/pull/N/merge as GitHub does.
// ok is false while the answer is not known yet.
func (s *Server) computeMergeable(ctx context.Context, p *pull) (mergeable, ok bool) {
	if p.closed {
		return false, false
	}
	key := p.repo.branch(p.baseRef) + p.headSHA
	if p.mergeKnown == key {
		return p.mergeable, true
	}
	if s.opt.LazyMergeable && p.mergeAsked != key {
		p.mergeAsked = key
		return false, false
	}
	base := p.repo.branch(p.baseRef)
	who := bare.Person{Name: "GitHub", Email: s.webFlow.email(), When: p.updated}
	sha, err := p.repo.git.Merge(ctx, base, p.headSHA, fmt.Sprintf("Merge %s into %s", p.headSHA, base), who, who)
	p.mergeable, p.mergeKnown = err == nil, key
	if err == nil {
		if !p.merged {
			p.mergeSHA = sha
		}
		s.setRef(ctx, p.repo, fmt.Sprintf("refs/pull/%d/merge", p.number), sha) //nolint:errcheck // the ref is a convenience
	}
	return p.mergeable, true
}

// setRef moves a ref on the server's own account.
func (s *Server) setRef(ctx context.Context, r *repo, ref, sha string) error {
	if err := r.git.SetRef(ctx, ref, sha, ""); err != nil {
		return err
	}
	if sha == "" {
		delete(r.refs, ref)
		return nil
	}
	r.refs[ref] = sha
	return nil
}

// pullFull is the answer of GET /pulls/{pull_number} and of pull events.
func (s *Server) pullFull(ctx context.Context, p *pull) obj {
	mergeable, known := s.computeMergeable(ctx, p)
	o := s.pullSimple(p)
	o["mergeable"], o["rebaseable"], o["mergeable_state"] = nil, nil, "unknown"
	if known {
		o["mergeable"], o["rebaseable"] = mergeable, mergeable
		o["mergeable_state"] = s.mergeState(ctx, p, mergeable)
	}
	add, del := 0, 0
	files := p.files(ctx)
	for _, f := range files {
		add, del = add+f.Additions, del+f.Deletions
	}
	maps.Copy(o, obj{
		"merged": p.merged, "merged_by": s.userJSON(p.mergedBy), "comments": len(p.commentList()), "review_comments": 0,
		"maintainer_can_modify": p.maintainable, "commits": len(p.commits(ctx)), "additions": add, "deletions": del,
		"changed_files": len(files),
	})
	return o
}

// mergeState is GitHub's mergeable_state.
func (s *Server) mergeState(ctx context.Context, p *pull, mergeable bool) string {
	rules := p.repo.protection[p.baseRef]
	switch {
	case !mergeable:
		return "dirty"
	case p.draft:
		return "draft"
	case len(s.missing(ctx, p, rules)) > 0:
		return "blocked"
	case rules.Strict && p.repo.git.Behind(ctx, p.headSHA, p.repo.branch(p.baseRef)) > 0:
		return "behind"
	}
	for _, state := range s.checkStates(p.repo, p.headSHA) {
		if state != "success" {
			return "unstable"
		}
	}
	return "clean"
}

// missing lists what the base's rules still demand, in GitHub's words.
func (s *Server) missing(ctx context.Context, p *pull, rules Protection) []string {
	var list []string
	if want := rules.Reviews; want > 0 {
		approved, denied := 0, false
		for _, v := range s.latestReviews(p) {
			if !atLeast(s.permission(p.repo, v.author), "write") {
				continue
			}
			denied = denied || v.state == "CHANGES_REQUESTED"
			if v.state == "APPROVED" {
				approved++
			}
		}
		if denied {
			list = append(list, "Changes have been requested.")
		} else if approved < want {
			list = append(list, fmt.Sprintf("At least %d approving review is required by reviewers with write access.", want))
		}
	}
	states := s.checkStates(p.repo, p.headSHA)
	for _, name := range rules.Checks {
		if got, there := states[name]; !there {
			list = append(list, fmt.Sprintf("Required status check %q is expected.", name))
		} else if got != "success" {
			list = append(list, fmt.Sprintf("Required status check %q is %s.", name, got))
		}
	}
	if rules.Signatures && s.unsigned(ctx, p) {
		list = append(list, "Commits must have verified signatures.")
	}
	return list
}

func (s *Server) unsigned(ctx context.Context, p *pull) bool {
	return slices.ContainsFunc(p.commits(ctx), func(c bare.Commit) bool { return !p.repo.webSigned[c.SHA] })
}

// checkStates is the latest state per check run and status context:
// success, pending or failure.
func (s *Server) checkStates(r *repo, sha string) map[string]string {
	states := map[string]string{}
	for _, t := range r.statuses {
		if t.sha == sha {
			states[t.context] = t.state
			if t.state == "error" {
				states[t.context] = "failure"
			}
		}
	}
	for _, k := range latestChecks(r, sha) {
		switch {
		case k.status != "completed":
			states[k.name] = "pending"
		case k.conclusion == "success" || k.conclusion == "neutral" || k.conclusion == "skipped":
			states[k.name] = "success"
		default:
			states[k.name] = "failure"
		}
	}
	return states
}

// latestReviews keeps each reviewer's last opinion; comments are none.
func (s *Server) latestReviews(p *pull) []*review {
	last := map[*account]*review{}
	for _, v := range p.reviews {
		if v.state == "APPROVED" || v.state == "CHANGES_REQUESTED" || v.state == "DISMISSED" {
			last[v.author] = v
		}
	}
	list := slices.Collect(maps.Values(last))
	slices.SortFunc(list, func(a, b *review) int { return int(a.id - b.id) })
	return list
}

// decision is GraphQL's reviewDecision, "" when no review is required.
func (s *Server) decision(p *pull) string {
	want, approved := p.repo.protection[p.baseRef].Reviews, 0
	for _, v := range s.latestReviews(p) {
		if !atLeast(s.permission(p.repo, v.author), "write") {
			continue
		}
		if v.state == "CHANGES_REQUESTED" {
			return "CHANGES_REQUESTED"
		}
		if v.state == "APPROVED" {
			approved++
		}
	}
	switch {
	case want == 0:
		return ""
	case approved >= want:
		return "APPROVED"
	}
	return "REVIEW_REQUIRED"
}

// merge does the merge with git and moves the base.
func (s *Server) merge(ctx context.Context, p *pull, by *account, method, title, message string) error {
	at := s.tick()
	r, base := p.repo, p.repo.branch(p.baseRef)
	author := bare.Person{Name: by.login, Email: by.email(), When: at}
	web := bare.Person{Name: "GitHub", Email: s.webFlow.email(), When: at}
	var sha string
	var err error
	switch method {
	case "merge":
		if title == "" {
			title = fmt.Sprintf("Merge pull request #%d from %s/%s", p.number, p.headOwner.login, p.headRef)
			message = cmpOr(message, p.title)
		}
		sha, err = r.git.Merge(ctx, base, p.headSHA, title+"\n\n"+message, author, web)
	case "squash":
		author = bare.Person{Name: p.author.login, Email: p.author.email(), When: at}
		title = cmpOr(title, fmt.Sprintf("%s (#%d)", p.title, p.number))
		sha, err = r.git.Squash(ctx, base, p.headSHA, strings.TrimSpace(title+"\n\n"+message), author, web)
	case "rebase":
		web = bare.Person{Name: by.login, Email: by.email(), When: at}
		sha, err = r.git.Rebase(ctx, base, p.headSHA, web)
	}
	if err != nil {
		return err
	}
	r.webSigned[sha] = method != "rebase"
	if err := s.setRef(ctx, r, "refs/heads/"+p.baseRef, sha); err != nil {
		return err
	}
	p.merged, p.closed, p.closedAt, p.updated, p.mergedBy, p.mergeSHA, p.closedBy = true, true, at, at, by, sha, by
	s.act(r, "pr_merge", "refs/heads/"+p.baseRef, base, sha, by)
	s.emitPull(ctx, p, "closed", by, nil)
	s.emitPush(ctx, r, "refs/heads/"+p.baseRef, base, sha, by)
	s.baseMoved(ctx, r, p.baseRef, by)
	return nil
}

func cmpOr(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

func (s *Server) act(r *repo, kind, ref, before, after string, by *account) {
	r.activity = append(r.activity, activity{id: s.nextID(), kind: kind, ref: ref, before: before, after: after, actor: by, at: s.last})
	r.pushed = s.last
}

// baseMoved closes pulls whose head is now part of their base.
func (s *Server) baseMoved(ctx context.Context, r *repo, branch string, by *account) {
	tip := r.branch(branch)
	for _, p := range r.sortedPulls() {
		if p.closed || p.baseRef != branch || !r.git.IsAncestor(ctx, p.headSHA, tip) {
			continue
		}
		at := s.tick()
		p.closed, p.closedAt, p.updated, p.merged, p.mergedBy, p.mergeSHA = true, at, at, true, by, tip
		s.emitPull(ctx, p, "closed", by, nil)
	}
}

// headMoved follows a head branch: synchronize, or close when it was deleted.
func (s *Server) headMoved(ctx context.Context, r *repo, branch, before, after string, by *account) {
	for _, base := range s.sortedRepos() {
		for _, p := range base.sortedPulls() {
			if p.closed || p.headRepo != r || p.headRef != branch {
				continue
			}
			at := s.tick()
			p.updated = at
			if after == zeroSHA {
				p.closed, p.closedAt, p.closedBy = true, at, by
				s.emitPull(ctx, p, "closed", by, nil)
				continue
			}
			s.setHead(ctx, p, after)
			s.dropStale(p)
			s.emitPull(ctx, p, "synchronize", by, obj{"before": before, "after": after})
			if base.git.IsAncestor(ctx, after, base.branch(p.baseRef)) {
				p.closed, p.closedAt, p.closedBy = true, at, by
				s.emitPull(ctx, p, "closed", by, nil)
			}
		}
	}
}

func (s *Server) setHead(ctx context.Context, p *pull, sha string) {
	if p.headRepo != p.repo {
		if err := p.repo.git.Fetch(ctx, p.headRepo.git, sha, p.headRefName()); err != nil {
			return
		}
	}
	p.headSHA = sha
	p.baseSHA = p.repo.branch(p.baseRef)
	s.setRef(ctx, p.repo, p.headRefName(), sha) //nolint:errcheck // the commit was just found to exist
}

func (s *Server) dropStale(p *pull) {
	if !p.repo.protection[p.baseRef].DismissStale {
		return
	}
	for _, v := range p.reviews {
		if v.state == "APPROVED" {
			v.state = "DISMISSED"
		}
	}
}

// refsMoved compares what the repository holds with what was known and makes
// of every difference what GitHub makes of a push.
func (s *Server) refsMoved(ctx context.Context, r *repo, by *account) error {
	now, err := r.git.Refs(ctx)
	if err != nil {
		return err
	}
	names := map[string]bool{}
	for _, refs := range []map[string]string{r.refs, now} {
		for name := range refs {
			names[name] = !strings.HasPrefix(name, "refs/pull/")
		}
	}
	before := r.refs
	r.refs = now
	for _, ref := range slices.Sorted(maps.Keys(names)) {
		if !names[ref] || before[ref] == now[ref] {
			continue
		}
		s.refMoved(ctx, r, ref, cmpOr(before[ref], zeroSHA), cmpOr(now[ref], zeroSHA), by)
	}
	return nil
}

func (s *Server) refMoved(ctx context.Context, r *repo, ref, before, after string, by *account) {
	s.tick()
	kind := "push"
	switch {
	case before == zeroSHA:
		kind = "branch_creation"
	case after == zeroSHA:
		kind = "branch_deletion"
	case !r.git.IsAncestor(ctx, before, after):
		kind = "force_push"
	}
	branch, isBranch := strings.CutPrefix(ref, "refs/heads/")
	s.emitPush(ctx, r, ref, before, after, by)
	if !isBranch {
		return
	}
	s.act(r, kind, ref, before, after, by)
	s.headMoved(ctx, r, branch, before, after, by)
	if after != zeroSHA {
		s.baseMoved(ctx, r, branch, by)
	}
}
