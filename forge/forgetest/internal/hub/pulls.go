package hub

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"lockkeeper/forge/forgetest/bare"
)

// SortedPulls are the pulls by number.
func (r *Repo) SortedPulls() []*Pull {
	list := slices.Collect(maps.Values(r.Pulls))
	slices.SortFunc(list, func(a, b *Pull) int { return a.Number - b.Number })
	return list
}

// CommentList is the conversation, oldest first.
func (p *Pull) CommentList() []*Comment {
	var list []*Comment
	for _, c := range p.Repo.Comments {
		if c.Pull == p {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b *Comment) int { return int(a.ID - b.ID) })
	return list
}

func (p *Pull) headRefName() string { return fmt.Sprintf("refs/pull/%d/head", p.Number) }

// Commits are base..head as GitHub counts them.
func (p *Pull) Commits(ctx context.Context) []bare.Commit {
	p.look(ctx)
	return p.commitsKnown
}

// files are the changed files, without their patches.
func (p *Pull) files(ctx context.Context) []bare.FileChange {
	p.look(ctx)
	return p.filesKnown
}

// look reads commits and files anew when base or head have moved.
func (p *Pull) look(ctx context.Context) {
	if p.looked == p.BaseSHA+p.HeadSHA {
		return
	}
	commits, err := p.Repo.Git.Between(ctx, p.BaseSHA, p.HeadSHA)
	if err != nil {
		return // a lost object shows as an empty pull, and is asked for again
	}
	files, err := p.Repo.Git.Diff(ctx, p.fork(ctx), p.HeadSHA, false)
	if err != nil {
		return
	}
	p.commitsKnown, p.filesKnown, p.looked = commits, files, p.BaseSHA+p.HeadSHA
}

// fork is where the head left the base.
func (p *Pull) fork(ctx context.Context) string {
	return cmp.Or(p.Repo.Git.MergeBase(ctx, p.BaseSHA, p.HeadSHA), p.BaseSHA)
}

// Patches are the changed files with their patches.
func (p *Pull) Patches(ctx context.Context) []bare.FileChange {
	list, err := p.Repo.Git.Diff(ctx, p.fork(ctx), p.HeadSHA, true)
	if err != nil {
		return nil
	}
	return list
}

// computeMergeable tries the merge, and keeps refs/pull/N/merge as GitHub does.
// ok is false while the answer is not known yet.
func (s *Hub) computeMergeable(ctx context.Context, p *Pull) (mergeable, ok bool) {
	if p.Closed {
		return false, false
	}
	key := p.Repo.Branch(p.BaseRef) + p.HeadSHA
	if p.mergeKnown == key {
		return p.mergeable, true
	}
	if s.Opt.LazyMergeable && p.mergeAsked != key {
		p.mergeAsked = key
		return false, false
	}
	base := p.Repo.Branch(p.BaseRef)
	who := bare.Person{Name: "GitHub", Email: s.WebFlow.Email(), When: p.Updated}
	sha, err := p.Repo.Git.Merge(ctx, base, p.HeadSHA, fmt.Sprintf("Merge %s into %s", p.HeadSHA, base), who, who)
	p.mergeable, p.mergeKnown = err == nil, key
	if err == nil {
		if !p.Merged {
			p.MergeSHA = sha
		}
		s.setRef(ctx, p.Repo, fmt.Sprintf("refs/pull/%d/merge", p.Number), sha) //nolint:errcheck // the ref is a convenience
	}
	return p.mergeable, true
}

// setRef moves a ref on the server's own account.
func (s *Hub) setRef(ctx context.Context, r *Repo, ref, sha string) error {
	if err := r.Git.SetRef(ctx, ref, sha, ""); err != nil {
		return err
	}
	if sha == "" {
		delete(r.Refs, ref)
		return nil
	}
	r.Refs[ref] = sha
	return nil
}

// PullFull is the answer of GET /pulls/{pull_number} and of pull events.
func (s *Hub) PullFull(ctx context.Context, p *Pull) obj {
	mergeable, known := s.computeMergeable(ctx, p)
	o := s.PullSimple(p)
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
		"merged": p.Merged, "merged_by": s.UserJSON(p.MergedBy), "comments": len(p.CommentList()), "review_comments": 0,
		"maintainer_can_modify": p.Maintainable, "commits": len(p.Commits(ctx)), "additions": add, "deletions": del,
		"changed_files": len(files),
	})
	return o
}

// mergeState is GitHub's mergeable_state.
func (s *Hub) mergeState(ctx context.Context, p *Pull, mergeable bool) string {
	rules := p.Repo.Protection[p.BaseRef]
	switch {
	case !mergeable:
		return "dirty"
	case p.Draft:
		return "draft"
	case len(s.Missing(ctx, p, rules)) > 0:
		return "blocked"
	case rules.Strict && p.Repo.Git.Behind(ctx, p.HeadSHA, p.Repo.Branch(p.BaseRef)) > 0:
		return "behind"
	}
	for _, state := range s.CheckStates(p.Repo, p.HeadSHA) {
		if state != "success" {
			return "unstable"
		}
	}
	return "clean"
}

// Missing lists what the base's rules still demand, in GitHub's words.
func (s *Hub) Missing(ctx context.Context, p *Pull, rules Protection) []string {
	var list []string
	if want := rules.Reviews; want > 0 {
		approved, denied := 0, false
		for _, v := range s.latestReviews(p) {
			if !AtLeast(s.Permission(p.Repo, v.Author), "write") {
				continue
			}
			denied = denied || v.State == "CHANGES_REQUESTED"
			if v.State == "APPROVED" {
				approved++
			}
		}
		if denied {
			list = append(list, "Changes have been requested.")
		} else if approved < want {
			list = append(list, fmt.Sprintf("At least %d approving review is required by reviewers with write access.", want))
		}
	}
	states := s.CheckStates(p.Repo, p.HeadSHA)
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

func (s *Hub) unsigned(ctx context.Context, p *Pull) bool {
	return slices.ContainsFunc(p.Commits(ctx), func(c bare.Commit) bool { return s.Signatures[c.SHA] != Signed })
}

// CheckStates is the latest state per check run and status context:
// success, pending or failure.
func (s *Hub) CheckStates(r *Repo, sha string) map[string]string {
	states := map[string]string{}
	for _, t := range r.Statuses {
		if t.SHA == sha {
			states[t.Context] = t.State
			if t.State == "error" {
				states[t.Context] = "failure"
			}
		}
	}
	for _, k := range LatestChecks(r, sha) {
		switch {
		case k.Status != "completed":
			states[k.Name] = "pending"
		case k.Conclusion == "success" || k.Conclusion == "neutral" || k.Conclusion == "skipped":
			states[k.Name] = "success"
		default:
			states[k.Name] = "failure"
		}
	}
	return states
}

// latestReviews keeps each reviewer's last opinion; comments are none.
func (s *Hub) latestReviews(p *Pull) []*Review {
	last := map[*Account]*Review{}
	for _, v := range p.Reviews {
		if v.State == "APPROVED" || v.State == "CHANGES_REQUESTED" || v.State == "DISMISSED" {
			last[v.Author] = v
		}
	}
	list := slices.Collect(maps.Values(last))
	slices.SortFunc(list, func(a, b *Review) int { return int(a.ID - b.ID) })
	return list
}

// Decision is GraphQL's reviewDecision, "" when no review is required.
func (s *Hub) Decision(p *Pull) string {
	want, approved := p.Repo.Protection[p.BaseRef].Reviews, 0
	for _, v := range s.latestReviews(p) {
		if !AtLeast(s.Permission(p.Repo, v.Author), "write") {
			continue
		}
		if v.State == "CHANGES_REQUESTED" {
			return "CHANGES_REQUESTED"
		}
		if v.State == "APPROVED" {
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

// Merge does the merge with git and moves the base.
func (s *Hub) Merge(ctx context.Context, p *Pull, by *Account, method, title, message string) error {
	at := s.Tick()
	r, base := p.Repo, p.Repo.Branch(p.BaseRef)
	author := bare.Person{Name: by.Login, Email: by.Email(), When: at}
	web := bare.Person{Name: "GitHub", Email: s.WebFlow.Email(), When: at}
	var sha string
	var err error
	switch method {
	case "merge":
		if title == "" {
			title = fmt.Sprintf("Merge pull request #%d from %s/%s", p.Number, p.HeadOwner.Login, p.HeadRef)
			message = cmp.Or(message, p.Title)
		}
		sha, err = r.Git.Merge(ctx, base, p.HeadSHA, title+"\n\n"+message, author, web)
	case "squash":
		author = bare.Person{Name: p.Author.Login, Email: p.Author.Email(), When: at}
		title = cmp.Or(title, fmt.Sprintf("%s (#%d)", p.Title, p.Number))
		sha, err = r.Git.Squash(ctx, base, p.HeadSHA, strings.TrimSpace(title+"\n\n"+message), author, web)
	case "rebase":
		web = bare.Person{Name: by.Login, Email: by.Email(), When: at}
		sha, err = r.Git.Rebase(ctx, base, p.HeadSHA, web)
	}
	if err != nil {
		return err
	}
	if method != "rebase" {
		s.Signatures[sha] = Signed
	}
	return s.land(ctx, p, by, sha, "pr_merge")
}

// land moves the base to a merge's commit, and closes the pull.
func (s *Hub) land(ctx context.Context, p *Pull, by *Account, sha, kind string) error {
	r, at, ref := p.Repo, s.Last, "refs/heads/"+p.BaseRef
	base := r.Branch(p.BaseRef)
	if err := s.setRef(ctx, r, ref, sha); err != nil {
		return err
	}
	p.mergedFrom = base
	p.Merged, p.Closed, p.ClosedAt, p.Updated, p.MergedBy, p.MergeSHA, p.ClosedBy = true, true, at, at, by, sha, by
	s.act(r, kind, ref, base, sha, by)
	s.EmitPull(ctx, p, "closed", by, nil)
	s.emitPush(ctx, r, ref, base, sha, by)
	s.baseMoved(ctx, r, p.BaseRef, by)
	return nil
}

func (s *Hub) act(r *Repo, kind, ref, before, after string, by *Account) {
	r.Activity = append(r.Activity, Activity{ID: s.NextID(), Kind: kind, Ref: ref, before: before, after: after, Actor: by, at: s.Last})
	r.pushed = s.Last
}

// baseMoved closes pulls whose head is now part of their base.
func (s *Hub) baseMoved(ctx context.Context, r *Repo, branch string, by *Account) {
	tip := r.Branch(branch)
	for _, p := range r.SortedPulls() {
		if p.Closed || p.BaseRef != branch || !r.Git.IsAncestor(ctx, p.HeadSHA, tip) {
			continue
		}
		at := s.Tick()
		p.Closed, p.ClosedAt, p.Updated, p.Merged, p.MergedBy, p.MergeSHA, p.mergedFrom = true, at, at, true, by, tip, p.BaseSHA
		s.EmitPull(ctx, p, "closed", by, nil)
	}
}

// headMoved follows a head branch: synchronize, or close when it was deleted.
func (s *Hub) headMoved(ctx context.Context, r *Repo, branch, before, after string, by *Account) {
	for _, base := range s.SortedRepos() {
		for _, p := range base.SortedPulls() {
			if p.Closed || p.HeadRepo != r || p.HeadRef != branch {
				continue
			}
			at := s.Tick()
			p.Updated = at
			if after == zeroSHA {
				p.Closed, p.ClosedAt, p.ClosedBy = true, at, by
				s.EmitPull(ctx, p, "closed", by, nil)
				continue
			}
			s.SetHead(ctx, p, after)
			s.dropStale(p)
			s.EmitPull(ctx, p, "synchronize", by, obj{"before": before, "after": after})
			if base.Git.IsAncestor(ctx, after, base.Branch(p.BaseRef)) {
				p.Closed, p.ClosedAt, p.ClosedBy = true, at, by
				s.EmitPull(ctx, p, "closed", by, nil)
			}
		}
	}
}

// SetHead makes a commit the head of a pull; it comes from the fork if there is one.
func (s *Hub) SetHead(ctx context.Context, p *Pull, sha string) {
	if p.HeadRepo != p.Repo {
		if err := p.Repo.Git.Fetch(ctx, p.HeadRepo.Git, sha, p.headRefName()); err != nil {
			return
		}
	}
	p.HeadSHA = sha
	p.BaseSHA = p.Repo.Branch(p.BaseRef)
	s.setRef(ctx, p.Repo, p.headRefName(), sha) //nolint:errcheck // the commit was just found to exist
}

func (s *Hub) dropStale(p *Pull) {
	if !p.Repo.Protection[p.BaseRef].DismissStale {
		return
	}
	for _, v := range p.Reviews {
		if v.State == "APPROVED" {
			v.State = "DISMISSED"
		}
	}
}

// RefsMoved compares what the repository holds with what was known and makes
// of every difference what GitHub makes of a push.
func (s *Hub) RefsMoved(ctx context.Context, r *Repo, by *Account) error {
	now, err := r.Git.Refs(ctx)
	if err != nil {
		return err
	}
	names := map[string]bool{}
	for _, refs := range []map[string]string{r.Refs, now} {
		for name := range refs {
			names[name] = !strings.HasPrefix(name, "refs/pull/")
		}
	}
	before := r.Refs
	r.Refs = now
	for _, ref := range slices.Sorted(maps.Keys(names)) {
		if !names[ref] || before[ref] == now[ref] {
			continue
		}
		s.refMoved(ctx, r, ref, cmp.Or(before[ref], zeroSHA), cmp.Or(now[ref], zeroSHA), by)
	}
	return nil
}

func (s *Hub) refMoved(ctx context.Context, r *Repo, ref, before, after string, by *Account) {
	s.Tick()
	kind := "push"
	switch {
	case before == zeroSHA:
		kind = "branch_creation"
	case after == zeroSHA:
		kind = "branch_deletion"
	case !r.Git.IsAncestor(ctx, before, after):
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

// NewPull numbers a new pull or issue; the caller files it.
func (s *Hub) NewPull(r *Repo, author *Account, title, body string) *Pull {
	at := s.Tick()
	r.LastNumber++
	return &Pull{ID: s.NextID(), issueID: s.NextID(), Number: r.LastNumber, Repo: r, Title: title, Body: body, Author: author, Created: at, Updated: at}
}

// LatestChecks are the last check runs of each name and App on a commit.
func LatestChecks(r *Repo, sha string) []*Check {
	last := map[string]*Check{}
	for _, k := range r.Checks {
		if k.SHA == sha {
			last[k.Name+"\x00"+k.App.Slug] = k
		}
	}
	var list []*Check
	for _, k := range r.Checks {
		if last[k.Name+"\x00"+k.App.Slug] == k {
			list = append(list, k)
		}
	}
	return list
}

// StatusesOf are a commit's statuses, newest first.
func (r *Repo) StatusesOf(sha string) []*Status {
	var list []*Status
	for _, t := range slices.Backward(r.Statuses) {
		if t.SHA == sha {
			list = append(list, t)
		}
	}
	return list
}

// Branches are the names of all branches.
func (r *Repo) Branches() []string {
	var names []string
	for ref := range r.Refs {
		if name, found := strings.CutPrefix(ref, "refs/heads/"); found {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Protected tells whether classic branch protection covers a branch.
func (r *Repo) Protected(branch string) bool {
	p, found := r.Protection[branch]
	return found && !p.Ruleset
}
