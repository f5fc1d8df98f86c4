package drift

import (
	"context"
	"fmt"
	"slices"

	"lockkeeper/bot/report"
	"lockkeeper/bot/store"
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
	wants, refused := wanted(t)
	p := &proposal{refused: refused}
	t.offer = p
	if len(wants) > 0 {
		var others []string
		for _, o := range t.base.targets {
			if o.Path != t.target.Path && !slices.Contains(others, o.Path) {
				others = append(others, o.Path)
			}
		}
		made, err := l.Writer.Propose(ctx, t.base.tree, t.target.Path, others, wants)
		if err != nil {
			return fmt.Errorf("find an edit: %w", err)
		}
		p.edits = made.Edits
		for _, r := range made.Refused {
			p.refused = append(p.refused, report.Refusal{Ref: t.live(r.Ref), Path: r.Path, Reason: r.Reason, Patch: r.Patch})
		}
	}
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
	taken, err := l.taken(ctx, t)
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

// wanted is what Git would have to say, object by object, and what it never
// will.
func wanted(t *target) ([]writeback.Want, []report.Refusal) {
	var wants []writeback.Want
	var refused []report.Refusal
	for _, f := range t.row.Findings {
		if why := unwritable(f.Finding); why != "" {
			refused = append(refused, report.Refusal{Ref: f.Ref, Path: f.Field.Path, Reason: why})
			continue
		}
		ref := t.inGit(f.Ref)
		at := slices.IndexFunc(wants, func(x writeback.Want) bool { return x.Ref == ref })
		if at < 0 {
			at = len(wants)
			wants = append(wants, writeback.Want{Ref: ref})
		}
		if f.Kind == cluster.Gone {
			wants[at].Delete = true
		} else {
			wants[at].Fields = append(wants[at].Fields, f.Field)
		}
	}
	return wants, refused
}

// inGit is what rendering calls a live object: it may leave out the namespace
// that the target gives.
func (t *target) inGit(live cluster.Ref) cluster.Ref {
	for _, o := range t.objects {
		if t.live(o.Ref) == live {
			return o.Ref
		}
	}
	return live
}

// live is what the cluster calls a rendered object that drifted.
func (t *target) live(ref cluster.Ref) cluster.Ref {
	if ref.Namespace != "" || t.target.Namespace == "" {
		return ref
	}
	in := ref
	in.Namespace = t.target.Namespace
	if slices.ContainsFunc(t.row.Findings, func(f store.DriftFinding) bool { return f.Ref == in }) {
		return in
	}
	return ref
}

// unwritable says why a finding is reported only, "" if Git can say it.
func unwritable(f cluster.Finding) string {
	switch {
	case f.Kind == cluster.Gone:
		return ""
	case f.Kind == cluster.Remade:
		return "something else made it again: Git says already what it should be, and `/restore` or `/sync` makes it lockkeeper's"
	case f.Kind == cluster.Orphan:
		return "Git has it no more: `/restore` or `/sync` deletes it, and adding it to Git keeps it"
	case f.Kind == cluster.Disowned:
		return "the value is what Git says, but it is another manager's now: `/restore` or `/sync` takes it back"
	case f.Ref.Group == "" && f.Ref.Kind == "Secret":
		return "Secrets are never written to Git"
	case f.Field.Masked:
		return "a secret value is never written to Git"
	}
	return ""
}
