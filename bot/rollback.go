package bot

import (
	"context"
	"errors"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/names"
	"lockkeeper/bot/outcome"
	"lockkeeper/bot/plan"
	"lockkeeper/bot/reconcile"
	"lockkeeper/bot/report"
	"lockkeeper/bot/rollback"
	"lockkeeper/bot/store"
	"lockkeeper/forge"
)

// wayBack judges a pull by which the bot goes back, by a plan of it: whether all
// that it leads to was applied with approval before, and healthy.
func (b *Bot) wayBack(ctx context.Context, g *gathered, out *plan.Output) error {
	g.Rollback = nil
	if !reconcile.OwnPull(g.Self, g.Pull, reconcile.RollbackBranch) {
		return nil
	}
	known := reconcile.Returning{}
	if out != nil {
		for _, t := range out.Targets {
			at, err := b.store.Rendered(ctx, g.key.Repo, t.Plan.Target.Cluster, t.Plan.Target.Name, approvedAs(t))
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			known[t.Plan.Target.Name] = at.Revision
		}
	}
	g.Rollback = g.JudgeRollback(known)
	return nil
}

// approvedAs names what a target was approved as: what it renders to, in its
// environment. What staging's rules let pass was not approved for production.
func approvedAs(t plan.Target) string {
	if t.Render == "" || len(t.Also) > 0 {
		return ""
	}
	return names.Hash(t.Render, t.Plan.Target.Environment)
}

// noteRenders remembers what a permitted plan left its targets as, if somebody
// approved that and nobody overrode, all of it was applied, and it is healthy: a
// rollback to it may need fewer approvals.
func (b *Bot) noteRenders(ctx context.Context, g *gathered, p *permit, failure error) error {
	if word, _ := outcome.Of(g.Results, failure); word != "succeeded" || len(p.verdict.Overrides) > 0 || len(p.verdict.Approvers()) == 0 {
		return nil
	}
	for _, t := range p.out.Targets {
		if approvedAs(t) == "" || t.Plan.Unadopted > 0 {
			continue
		}
		r := store.Render{
			RepoID: g.key.Repo, Cluster: t.Plan.Target.Cluster, Target: t.Plan.Target.Name, Digest: approvedAs(t), Revision: t.Plan.Revision, At: b.now(),
		}
		if err := b.store.NoteRender(context.WithoutCancel(ctx), r); err != nil {
			return err
		}
	}
	return nil
}

// rollBack opens the pull that undoes this one, and answers who asked for it.
func (b *Bot) rollBack(ctx context.Context, g *gathered, c reconcile.Command) error {
	made, err := b.rollbacks.Open(ctx, rollback.Request{
		Repo: g.Operator, Pull: g.Pull, ToSHA: c.Parsed.SHA, ToPull: c.Parsed.Pull, By: c.Comment.Author, Command: c.Parsed.Line,
	})
	if err != nil {
		return err
	}
	if made.Refused != "" {
		return b.runAll(ctx, g, g.Refuse(c, append([]string{made.Refused}, made.Reasons...)...))
	}
	if err := b.askedFor(ctx, names.PullKey{Repo: g.key.Repo, Number: made.Pull.Number}, c.Comment.Author); err != nil {
		return err
	}
	text := "undoes it, and is planned, judged and applied like any other pull."
	if made.Found {
		text = "is open already, and undoes it."
	}
	b.note(g, audit.Record{
		Type: audit.Command, Actor: b.actor(c.Comment.Author), CommentID: c.Comment.ID, Outcome: "rollback", Reason: "as " + g.Limits.PullName(made.Pull.Number),
	})
	return b.runAll(ctx, g, g.Reply(c, report.Reply{Kind: report.ReplyRollback, Pull: g.Limits.PullName(made.Pull.Number), Text: text}))
}

// askedFor notes who asked for a rollback, and so may not approve it. The new
// pull may be looked at by now.
func (b *Bot) askedFor(ctx context.Context, key names.PullKey, by forge.User) error {
	for {
		doc, version, err := b.store.LoadPull(ctx, key.Repo, key.Number)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		m, err := reconcile.DecodeMemory(doc)
		if err != nil || m.AskedBy.ID != 0 {
			return err
		}
		m.AskedBy = by
		_, err = b.store.SavePull(ctx, key.Repo, key.Number, facts(m), version)
		if err == nil {
			return b.store.Want(ctx, key.String())
		}
		if !errors.Is(err, store.ErrStale) || ctx.Err() != nil {
			return err
		}
	}
}

// closePull closes an open pull that was applied: what it holds is planned back.
func (b *Bot) closePull(ctx context.Context, g *gathered, a reconcile.ClosePull) (*gathered, error) {
	closed := forge.Closed
	if _, err := b.forge.UpdatePull(ctx, g.Operator.Ref(), g.key.Number, forge.PullEdit{State: &closed}); err != nil {
		return g, err
	}
	b.note(g, audit.Record{Type: audit.Command, Actor: b.actor(a.By), Outcome: "closed", Reason: "to go back from what was applied of it"})
	return b.again(ctx, g)
}
