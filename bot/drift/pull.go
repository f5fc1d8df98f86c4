package drift

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"lockkeeper/bot/report"
	"lockkeeper/bot/trail"
	"lockkeeper/cluster"
	"lockkeeper/forge"
	"lockkeeper/forge/git"
)

// BranchPrefix begins the names of the bot's branches.
const BranchPrefix = "lockkeeper/drift/"

// clockSkew is by how much the forge's clock may be behind ours.
const clockSkew = 5 * time.Minute

// branchOf is the branch of a target's pull: named after it, where no other
// target's could be named so. Names that have to be changed for Git, and those
// of further base branches, which may have a target of the same name elsewhere,
// end with a hash behind a sign that no target's name has.
func branchOf(t cluster.Target, firstBase bool) string {
	slug := strings.Map(func(r rune) rune {
		if r == '/' || r == '.' {
			return '-'
		}
		return r
	}, t.Name)
	if slug == t.Name && firstBase {
		return BranchPrefix + slug
	}
	sum := sha256.Sum256([]byte(t.Name + "\x00" + t.Cluster))
	return BranchPrefix + slug + "@" + hex.EncodeToString(sum[:5])
}

// lookAtPull finds the target's pull: one that stands open on its branch, or
// else the one that the row names.
func (l *look) lookAtPull(ctx context.Context, t *target, w *world) error {
	all, err := l.Forge.PullsOf(ctx, t.op.Ref(), t.row.Branch)
	if err != nil {
		return err
	}
	ours := func(p forge.Pull) bool { return p.Author.ID == l.Self.ID }
	open := func(p forge.Pull) bool { return ours(p) && p.State == forge.Open }
	for _, p := range all {
		if ours(p) && p.Merged {
			w.merged = append(w.merged, p.Head.SHA)
		}
	}
	at := slices.IndexFunc(all, func(p forge.Pull) bool { return open(p) && p.Base.Name == t.base.name })
	if at < 0 {
		at = slices.IndexFunc(all, open)
	}
	if at < 0 {
		at = slices.IndexFunc(all, func(p forge.Pull) bool { return ours(p) && p.Number == t.row.Number })
	}
	if at < 0 {
		return nil
	}
	p, err := l.Forge.Pull(ctx, t.op.Ref(), all[at].Number)
	if err != nil {
		return err
	}
	w.Pull = &sight{Number: p.Number, Open: p.State == forge.Open, Merged: p.Merged, Who: p.ClosedBy, title: p.Title, body: p.Body, tip: p.Head.SHA}
	if w.Pull.Astray = w.Pull.Open && p.Base.Name != t.base.name; w.Pull.Astray {
		return nil
	}
	if w.Pull.Open {
		return l.lookAtBranch(ctx, t, w)
	}
	if p.Merged {
		// A base that was read before the merge does not have it yet.
		w.Pull.Taken, err = t.mirror.IsAncestor(ctx, p.MergeSHA, t.base.sha)
		if errors.Is(err, git.ErrNoRevision) {
			return nil
		}
		return err
	}
	if p.ClosedBy.ID != l.Self.ID {
		w.Pull.ClosedBy = byOther
		approver, err := l.Approver(ctx, t.op.ID, p.Number, t.target.Environment, p.ClosedBy)
		if err != nil {
			return err
		}
		if approver {
			w.Pull.ClosedBy = byApprover
		}
	}
	return nil
}

// lookAtBranch brings the pull's head here, and finds out whether others have
// commits on it.
func (l *look) lookAtBranch(ctx context.Context, t *target, w *world) error {
	if _, err := l.fetch(ctx, t, w.Pull.tip); err != nil {
		return err
	}
	foreign, err := l.foreign(ctx, t, w.Pull.tip)
	if err != nil {
		return err
	}
	if w.Pull.Foreign = len(foreign) > 0; !w.Pull.Foreign {
		t.row.Tip = w.Pull.tip
	}
	if !slices.Equal(foreign, t.row.Foreign) {
		t.row.Foreign = foreign
		if w.Pull.Foreign {
			return l.record(ctx, t, forge.User{}, "foreign commits", "commits on "+t.row.Branch+" are not lockkeeper's, which leaves it alone: "+strings.Join(foreign, ", "))
		}
	}
	return nil
}

// foreign lists what others pushed to the branch since the last commit that we
// know to be ours. Whom nobody names is another.
func (l *look) foreign(ctx context.Context, t *target, tip string) ([]string, error) {
	if tip == t.row.Tip {
		return nil, nil
	}
	since := time.Time{}
	if t.row.Tip != "" {
		since = t.row.Since.Add(-clockSkew)
	}
	pushes, ok, err := l.Forge.BranchPushes(ctx, t.op.Ref(), t.row.Branch, since)
	if err != nil {
		return nil, err
	}
	if !ok || len(pushes) == 0 || pushes[0].After != tip {
		return []string{tip}, nil
	}
	var out []string
	for _, p := range pushes {
		if p.After == t.row.Tip {
			break
		}
		if p.By.ID != l.Self.ID && p.After != "" {
			out = append(out, p.After)
		}
		if p.Kind == forge.BranchCreation {
			break
		}
	}
	return out, nil
}

// taken reports whether the branch of a pull that is yet to be opened is there
// with commits of others. One with nothing but ours is deleted, unless it holds
// what is proposed, and so is one that was merged as it is.
func (l *look) taken(ctx context.Context, t *target, w *world) (bool, error) {
	auth, err := l.Forge.GitAuth(ctx, t.op.Ref())
	if err != nil {
		return false, err
	}
	shas, err := t.mirror.Fetch(ctx, t.repo.CloneURL, auth, "refs/heads/"+t.row.Branch)
	if forge.CodeOf(err) == forge.NotFound {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	tip := shas[0]
	if tip == t.base.sha {
		return false, nil // left behind by a call that failed
	}
	if !slices.Contains(w.merged, tip) { // else nothing of anybody's is only there
		foreign, err := l.foreign(ctx, t, tip)
		if err != nil || len(foreign) > 0 {
			return len(foreign) > 0, err
		}
		tree, err := t.mirror.TreeOf(ctx, tip)
		if err != nil || tree == t.offer.tree {
			t.row.Tip = tip
			return false, err
		}
	}
	t.row.Tip = ""
	return false, l.Forge.DeleteBranch(ctx, t.op.Ref(), t.row.Branch, tip)
}

// openPull makes branch and commit, unless they are there, and opens the pull.
func (l *look) openPull(ctx context.Context, t *target, w *world) error {
	tip, err := l.commit(ctx, t, "", t.base.sha, t.offer.tree)
	if err != nil {
		return l.barred(ctx, t, w, err)
	}
	t.row.Tip, t.row.Foreign = tip, nil
	if err := l.keep(ctx, t); err != nil {
		return err
	}
	p, err := l.Forge.CreatePull(ctx, t.op.Ref(), forge.NewPull{Title: t.offer.title, Body: t.offer.body, Head: t.row.Branch, Base: t.base.name})
	if err != nil {
		return l.barred(ctx, t, w, err)
	}
	t.row.Number, t.row.Told = p.Number, w.Digest
	w.Pull = &sight{Number: p.Number, Open: true, Current: true, Told: true, title: p.Title, body: p.Body, tip: tip}
	if err := l.record(ctx, t, forge.User{}, "proposed", "as "+t.row.Branch); err != nil {
		return err
	}
	return errors.Join(l.keep(ctx, t), l.judge(ctx, t))
}

// barred has an issue tell what a pull would, where the forge does not let us
// write to the repository. Any other failure is returned.
func (l *look) barred(ctx context.Context, t *target, w *world, err error) error {
	if forge.CodeOf(err) != forge.Forbidden {
		return err
	}
	l.Log.WarnContext(ctx, "cannot propose what is live", trail.Repo, t.op.Name, "target", t.target.Name, "error", err)
	t.offer.edits = nil
	t.offer.refused = append(t.offer.refused, report.Refusal{
		Reason: "the forge does not let lockkeeper write here; grant it to write contents and pull requests, also to branches " + BranchPrefix + "*",
	})
	w.Offer = &offer{Refused: true}
	return l.sights(ctx, t, w)
}

// commit puts what differs between a commit and a tree on the branch.
func (l *look) commit(ctx context.Context, t *target, parent, from, tree string) (string, error) {
	edits, err := t.mirror.Edits(ctx, from, tree)
	if err != nil {
		return "", err
	}
	c := forge.NewCommit{Branch: t.row.Branch, Parent: parent, Base: t.base.sha, Message: message(t), Edits: edits, Tree: tree}
	return l.Forge.Commit(ctx, t.op.Ref(), c)
}

// message is of the bot's commits.
func message(t *target) string {
	return fmt.Sprintf("Adopt what is live of %s\n\nMakes Git say what cluster %s has of it since it was changed there.\n", t.target.Name, t.target.Cluster)
}

// updatePull brings the pull in step. Its branch only grows, so that reviews
// keep their place; where that cannot lead to what is proposed, because the base
// branch moved too far, the pull is closed, and the next step opens another.
func (l *look) updatePull(ctx context.Context, t *target, w *world, push bool) error {
	if push {
		tree, err := l.grown(ctx, t, w.Pull.tip)
		if err != nil {
			return err
		}
		if tree == "" {
			return l.replace(ctx, t, w)
		}
		tip, err := l.commit(ctx, t, w.Pull.tip, w.Pull.tip, tree)
		if err != nil {
			return err
		}
		t.row.Tip, w.Pull.tip = tip, tip
		if err := l.keep(ctx, t); err != nil {
			return err
		}
	}
	p, err := l.Forge.UpdatePull(ctx, t.op.Ref(), w.Pull.Number, forge.PullEdit{Title: &t.offer.title, Body: &t.offer.body})
	if err != nil {
		return err
	}
	t.row.Told = w.Digest
	w.Pull.Current, w.Pull.Told, w.Pull.title, w.Pull.body = w.Pull.Current || push, true, p.Title, p.Body
	return errors.Join(l.keep(ctx, t), l.judge(ctx, t))
}

// grown is the tree of a commit on top of tip which, merged, makes of the base
// branch what is proposed; "" if there is none.
func (l *look) grown(ctx context.Context, t *target, tip string) (string, error) {
	fork, err := t.mirror.MergeBase(ctx, t.base.sha, tip)
	if err != nil {
		return "", err
	}
	paths, err := t.mirror.ChangedFiles(ctx, fork, tip)
	if err != nil {
		return "", err
	}
	for p := range t.offer.edits {
		if !slices.Contains(paths, p) {
			paths = append(paths, p)
		}
	}
	at, err := treeOf(ctx, t.mirror, tip)
	if err != nil {
		return "", err
	}
	want, err := t.mirror.Tree(ctx, t.offer.tree)
	if err != nil {
		return "", err
	}
	edits := map[string]git.Edit{}
	for _, p := range paths {
		is, here := at.Hash(p)
		should, there := want.Hash(p)
		switch {
		case !there && here:
			edits[p] = git.Edit{Delete: true}
		case there && (!here || is != should):
			content, err := want.ReadFile(p)
			if err != nil {
				return "", err
			}
			edits[p] = git.Edit{Content: content}
		}
	}
	if len(edits) == 0 {
		return "", nil
	}
	tree, err := t.mirror.WriteTree(ctx, at.SHA(), edits)
	if err != nil {
		return "", err
	}
	return l.leads(ctx, t, tip, tree)
}

// leads returns the tree if a commit of it, merged, gives what is proposed.
func (l *look) leads(ctx context.Context, t *target, parent, tree string) (string, error) {
	who := git.Signature{Name: "lockkeeper", Email: "lockkeeper@localhost", When: l.Now()}
	c, err := t.mirror.WriteCommit(ctx, git.Commit{Tree: tree, Parents: []string{parent}, Author: who, Committer: who, Message: message(t)})
	if err != nil {
		return "", err
	}
	merged, conflicts, err := t.mirror.MergeTree(ctx, t.base.sha, c)
	if err != nil || len(conflicts) > 0 || merged != t.offer.tree {
		return "", err
	}
	return tree, nil
}

// replace closes a pull whose branch cannot be brought in step.
func (l *look) replace(ctx context.Context, t *target, w *world) error {
	tip := w.Pull.tip
	if err := l.closePull(ctx, t, w, t.base.name+" moved so far that this branch cannot follow: another pull takes its place."); err != nil {
		return err
	}
	t.row.Tip = ""
	return l.Forge.DeleteBranch(ctx, t.op.Ref(), t.row.Branch, tip)
}

// closePull closes the pull, with a remark that is not made twice.
func (l *look) closePull(ctx context.Context, t *target, w *world, remark string) error {
	if err := l.remark(ctx, t, w.Pull.Number, remark); err != nil {
		return err
	}
	closed := forge.Closed
	if _, err := l.Forge.UpdatePull(ctx, t.op.Ref(), w.Pull.Number, forge.PullEdit{State: &closed}); err != nil {
		return err
	}
	w.Pull.Open, w.Pull.ClosedBy, w.Pull.Who = false, byUs, l.Self
	return l.judge(ctx, t)
}

// remark comments, unless the last comment is ours and says so already: a crash
// came between saying and doing.
func (l *look) remark(ctx context.Context, t *target, number int, text string) error {
	body := report.Marker("remark/"+t.key(), 1) + "\n" + text + "\n"
	all, err := l.Forge.Comments(ctx, t.op.Ref(), number)
	if err != nil {
		return err
	}
	if n := len(all); n > 0 && all[n-1].Author.ID == l.Self.ID && same(all[n-1].Body, body) {
		return nil
	}
	_, err = l.Forge.CreateComment(ctx, t.op.Ref(), number, body)
	return err
}

// tellIssue opens or edits the target's issue.
func (l *look) tellIssue(ctx context.Context, t *target, w *world) error {
	if w.noIssues {
		l.Log.WarnContext(ctx, "cannot tell of drift in an issue", trail.Repo, t.op.Name, "target", t.target.Name)
		return nil
	}
	var err error
	if w.IssueOpen {
		w.issue, err = l.Forge.UpdateIssue(ctx, t.op.Ref(), w.issue.Number, forge.IssueEdit{Body: &t.offer.body})
	} else {
		w.issue, err = l.Forge.CreateIssue(ctx, t.op.Ref(), t.offer.title, t.offer.body)
	}
	if err != nil {
		return err
	}
	w.IssueOpen, w.Offer.IssueTold = true, true
	t.row.Issue, t.row.Told = w.issue.Number, w.Digest
	return l.keep(ctx, t)
}

func (l *look) closeIssue(ctx context.Context, t *target, w *world, remark string) error {
	if err := l.remark(ctx, t, w.issue.Number, remark); err != nil {
		return err
	}
	if _, err := l.Forge.UpdateIssue(ctx, t.op.Ref(), w.issue.Number, forge.IssueEdit{Close: true}); err != nil {
		return err
	}
	w.IssueOpen, t.row.Issue = false, 0
	return l.keep(ctx, t)
}
