package drift

import (
	"context"
	"fmt"

	"lockkeeper/bot/report"
	"lockkeeper/cluster"
	"lockkeeper/cluster/manifest/writeback"
	"lockkeeper/forge/git"
)

// proposal is what can be written to Git about a target's drift.
type proposal struct {
	edits   map[string]writeback.Edit
	refused []report.Refusal
	tree    string // SHA of the base branch's tree with the edits
	body    string // of pull or issue
	title   string
}

// think works out what can be proposed.
func (l *look) think(ctx context.Context, t *target, w *world) error {
	findings := make([]cluster.Finding, len(t.row.Findings))
	for i, f := range t.row.Findings {
		findings[i] = f.Finding
	}
	a, err := Adopt(ctx, l.Writer, Source{Tree: t.base.tree, Targets: t.base.targets, Objects: t.objects}, t.target, findings)
	if err != nil {
		return err
	}
	p := &proposal{edits: a.Edits, refused: a.Refused}
	t.offer = p
	if len(p.edits) > 0 {
		if err := l.edit(ctx, t, w); err != nil {
			return err
		}
	}
	w.Offer = &offer{Edits: len(p.edits) > 0, Refused: len(p.refused) > 0}
	return l.sights(ctx, t, w)
}

// edit makes the tree that is proposed, unless it may not be pushed.
func (l *look) edit(ctx context.Context, t *target, w *world) error {
	p := t.offer
	edits := map[string]git.Edit{}
	for path, e := range p.edits {
		edits[path] = git.Edit{Content: e.Content, Delete: e.Delete}
	}
	var err error
	if p.tree, err = t.mirror.WriteTree(ctx, t.base.tree.SHA(), edits); err != nil {
		return fmt.Errorf("make the proposed tree: %w", err)
	}
	if w.Pull != nil && w.Pull.Open {
		return nil
	}
	taken, err := l.taken(ctx, t, w)
	if err != nil || !taken {
		return err
	}
	p.edits = nil
	p.refused = append(p.refused, report.Refusal{Reason: fmt.Sprintf("the branch `%s` has commits that are not lockkeeper's; delete it", t.row.Branch)})
	return nil
}

// sights says whether pull and issue tell what there is to tell.
func (l *look) sights(ctx context.Context, t *target, w *world) error {
	v := l.view(t, w)
	var err error
	t.offer.title = v.Title()
	if t.offer.body, err = v.Body(l.Forge.Limits().Comment); err != nil {
		return err
	}
	if w.Pull != nil && w.Pull.Open {
		w.Pull.Told = w.Pull.title == t.offer.title && same(w.Pull.body, t.offer.body) && t.row.Told == w.Digest
		if w.Offer.Edits {
			merged, conflicts, err := t.mirror.MergeTree(ctx, t.base.sha, w.Pull.tip)
			if err != nil {
				return err
			}
			w.Pull.Current = len(conflicts) == 0 && merged == t.offer.tree
		}
	}
	if w.IssueOpen {
		w.Offer.IssueTold = same(w.issue.Body, t.offer.body) && t.row.Told == w.Digest
	}
	return nil
}
