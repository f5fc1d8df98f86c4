package bot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/names"
	"lockkeeper/bot/plan"
	"lockkeeper/bot/policy"
	"lockkeeper/bot/reconcile"
	"lockkeeper/bot/store"
	"lockkeeper/bot/trail"
	"lockkeeper/cluster"
)

// run carries out one action and returns the state after it. Nothing is begun
// for a run that another replica has taken over.
func (b *Bot) run(ctx context.Context, g *gathered, a reconcile.Action) (*gathered, error) {
	if err := b.store.Check(ctx); err != nil {
		return g, err
	}
	switch a := a.(type) {
	case reconcile.Take:
		return g, b.take(ctx, g, a.Command)
	case reconcile.Admit:
		if !slices.Contains(g.Memory.Admitted, a.SHA) {
			g.Memory.Admitted = append(g.Memory.Admitted, a.SHA)
		}
		b.note(g, audit.Record{Type: audit.Command, Actor: b.actor(a.By), Head: a.SHA, Outcome: "admitted", Reason: "a fork's head may be planned"})
		return g, nil
	case reconcile.Ask:
		g.Memory.Asked = a.SHA
		return g, nil
	case reconcile.SetSync:
		g.Memory.Sync, g.Memory.SyncBy, g.Memory.Reset = a.Target, a.By, a.Reset
		return b.again(ctx, g)
	case reconcile.Forget:
		g.Memory.Plan, g.Plan = nil, nil
		return g, nil
	case reconcile.MakePlan:
		return b.makePlan(ctx, g)
	case reconcile.AddVote:
		g.Memory.Voted(a.Vote)
		b.note(g, audit.Record{
			Type: audit.Approval, Actor: b.actor(a.Vote.User), CommentID: a.Vote.ID, Outcome: string(a.Vote.Kind), Facts: facts(a.Vote),
		})
		return g, nil
	case reconcile.AddOverride:
		g.Memory.Overrode(a.Override)
		b.note(g, audit.Record{
			Type: audit.Override, Actor: b.actor(a.Override.By), CommentID: a.Override.ID, Outcome: "given", Reason: a.Override.Reason, Facts: facts(a.Override),
		})
		return g, nil
	case reconcile.SetTicket:
		g.Memory.Ticket = &a.Ticket
		b.note(g, audit.Record{
			Type: audit.Command, Actor: b.actor(a.Ticket.By), CommentID: a.Ticket.Comment, Outcome: "ticket", Reason: a.Ticket.Key(), Facts: facts(a.Ticket),
		})
		return g, nil
	case reconcile.CloseDuty:
		return g, b.closeDuty(ctx, g, a)
	case reconcile.RequestReview:
		return g, b.talk.RequestReview(ctx, g.State, a.Reviewers)
	case reconcile.SetHold:
		b.setHold(g, a)
		return g, nil
	case reconcile.Apply:
		return b.apply(trail.With(ctx, slog.String(trail.Operation, a.ID)), g, a)
	case reconcile.Cancel:
		return g, b.cancel(ctx, g, a)
	case reconcile.Unlock:
		return g, b.unlock(ctx, g, a)
	case reconcile.Rollback:
		return g, b.rollBack(ctx, g, a.Command)
	case reconcile.ClosePull:
		return b.closePull(ctx, g, a)
	case reconcile.NoteMerge:
		b.noteMerge(g)
		return g, nil
	case reconcile.JudgeMerge:
		b.judgeMerge(g, a)
		return g, nil
	case reconcile.Settle:
		return g, b.settle(ctx, g)
	case reconcile.Free:
		if err := b.free(ctx, g.holder(), a.Keys); err != nil {
			return g, err
		}
		g.Stray = nil
		return g, b.wantOthers(ctx, g)
	case reconcile.Freeze:
		b.freeze(g, a.Reason)
		return g, nil
	case reconcile.Publish:
		return g, b.talk.Publish(ctx, g.State, a)
	case reconcile.WriteCheck:
		return g, b.talk.WriteCheck(ctx, g.State, a.Check)
	case reconcile.Answer:
		return g, b.answer(ctx, g, a)
	}
	return g, fmt.Errorf("no way to carry out %T", a)
}

// again gathers anew and keeps what this run has learnt.
func (b *Bot) again(ctx context.Context, g *gathered) (*gathered, error) {
	if err := b.save(ctx, g); err != nil {
		return g, err
	}
	next, err := b.gather(ctx, g.key)
	if err != nil {
		return g, err
	}
	if next == nil {
		return g, fmt.Errorf("%s is no longer handled: its base branch or its entry in the server file changed", g.key)
	}
	return next, nil
}

func facts(v any) json.RawMessage {
	doc, err := json.Marshal(v)
	if err != nil { // plain data cannot fail to marshal
		return nil
	}
	return doc
}

// answer gives the reply on which was decided. That is stored before, with all
// that the reply says was done.
func (b *Bot) answer(ctx context.Context, g *gathered, a reconcile.Answer) error {
	g.Memory.Resolve([]reconcile.Action{a})
	if err := b.save(ctx, g); err != nil {
		return err
	}
	if err := b.talk.Answer(ctx, g.State, a); err != nil {
		return err
	}
	g.Memory.Answered(a.Command)
	return nil
}

// take claims a command. One that was claimed before it could be prepared is
// prepared again.
func (b *Bot) take(ctx context.Context, g *gathered, c reconcile.Command) error {
	fresh, err := b.store.ClaimCommand(ctx, store.Command{
		Source: b.forge.Kind(), CommentID: c.Comment.ID, Index: c.Index, RepoID: g.key.Repo, Number: g.key.Number,
		Name: string(c.Parsed.Name), Args: []string{c.Parsed.Line}, Actor: c.Comment.Author, Head: g.Pull.Head.SHA,
	})
	if err != nil {
		return err
	}
	for i := range g.Commands {
		if g.Commands[i].Comment.ID == c.Comment.ID && g.Commands[i].Index == c.Index {
			g.Commands[i].Begun = true
		}
	}
	g.Memory.Prepare(c)
	if !fresh {
		return nil
	}
	b.talk.Acknowledge(ctx, g.State, c)
	return nil
}

// makePlan plans what the pull wants now and stores the outcome. A newer push
// cuts it short: then the pull is read anew, and still has to be planned.
func (b *Bot) makePlan(ctx context.Context, g *gathered) (*gathered, error) {
	heeding, stop := b.heeding(ctx, b.moved(g))
	out, err := b.plan(heeding, g, nil)
	stop()
	if errors.Is(context.Cause(heeding), errMoved) && ctx.Err() == nil {
		return b.again(ctx, g)
	}
	if err != nil {
		return g, err
	}
	return g, b.notePlan(ctx, g, out)
}

// notePlan stores a plan, and records it.
func (b *Bot) notePlan(ctx context.Context, g *gathered, out *plan.Output) error {
	if err := b.keep(ctx, g, out); err != nil {
		return err
	}
	if err := b.holders(ctx, g); err != nil {
		return err
	}
	b.liveChanges(g, out)
	b.note(g, audit.Record{Type: audit.Plan, Outcome: "planned", Reason: countChanges(g, out), Facts: facts(g.ChangeDigests(out))})
	return nil
}

// liveChanges records what a plan found changed behind Git's back, once: nobody
// approved it, and the report shows it. No values, which may be secret.
func (b *Bot) liveChanges(g *gathered, out *plan.Output) {
	type change struct {
		Target   string      `json:"target"`
		Ref      cluster.Ref `json:"ref"`
		Deleted  bool        `json:"deleted,omitempty"`
		Fields   []string    `json:"fields,omitempty"`
		Managers []string    `json:"managers,omitempty"`
	}
	var found []change
	for _, t := range out.Targets {
		for _, d := range t.Plan.Drift {
			c := change{Target: t.Plan.Target.Name, Ref: d.Ref, Deleted: d.Deleted, Managers: d.Managers}
			for _, f := range d.Fields {
				c.Fields = append(c.Fields, f.Path)
			}
			found = append(found, c)
		}
	}
	doc := facts(found)
	sum := names.Hash(string(doc))
	if len(found) == 0 || sum == g.Memory.LiveChanges {
		return
	}
	g.Memory.LiveChanges = sum
	b.note(g, audit.Record{
		Type: audit.Bypass, Outcome: "changed live", Reason: fmt.Sprintf("objects changed without a record: %d", len(found)), Facts: doc,
	})
}

// plan asks the planner, for some targets or all that are affected.
func (b *Bot) plan(ctx context.Context, g *gathered, only []string) (*plan.Output, error) {
	in := plan.Input{
		Base: g.src.Base, Merge: g.src.Merge, MergeRevision: g.src.Revision, Repository: &g.Operator, Only: only,
		Humans: g.Policy.Watching.Humans,
		// What this pull applied and did not see merged is part of its plan,
		// even if a push since then left the target alone.
		Held: func(t cluster.Target) bool { return slices.Contains(g.Memory.Leases, names.TargetKey(t)) },
	}
	switch g.Kind {
	case reconcile.PlanSync, reconcile.PlanReset:
		in.Only, in.Everything, in.Reset = []string{g.Memory.Sync}, true, g.Kind == reconcile.PlanReset
	case reconcile.PlanHeal:
		in.Only, in.Drifted, in.Reset = []string{g.heal.Target.Name}, g.heal.refs(), true
	}
	out, err := b.planner.Run(ctx, in)
	if err != nil {
		return nil, fmt.Errorf("plan %s at %s: %w", g.key, names.Short(g.Pull.Head.SHA), err)
	}
	return out, nil
}

// keep makes a plan the current one.
func (b *Bot) keep(ctx context.Context, g *gathered, out *plan.Output) error {
	body, err := json.Marshal(out)
	if err != nil {
		return fmt.Errorf("store the plan of %s: %w", g.key, err)
	}
	p := &reconcile.Planned{
		Key: g.PlanKey, Kind: g.Kind, Head: g.Pull.Head.SHA, Base: g.src.BaseSHA, At: b.now(),
		Digest: g.PlanDigest(out), Tree: g.src.Tree,
	}
	if slices.ContainsFunc(out.Targets, func(t plan.Target) bool { return t.Unasked }) {
		p.Remake(g.Memory.Plan)
	}
	p.ID = names.Hash(g.key.String(), p.Key, p.Digest, p.At.String())
	row := store.PlanRow{ID: p.ID, RepoID: g.key.Repo, Number: g.key.Number, Head: p.Head, Digest: p.Digest, Body: body}
	if err := b.store.SavePlan(ctx, row); err != nil {
		return err
	}
	g.Memory.Plan, g.Plan = p, out
	if err := b.wayBack(ctx, g, out); err != nil {
		return err
	}
	if g.Kind == reconcile.PlanMerged && len(g.PlanChanges(out)) > 0 {
		g.Memory.PendingMerge, g.Memory.PendingTargets = g.Pull.MergeSHA, nil
		for _, t := range g.Targets() {
			g.Memory.PendingTargets = append(g.Memory.PendingTargets, names.TargetKey(t))
		}
	}
	return nil
}

func countChanges(g *gathered, out *plan.Output) string {
	return fmt.Sprintf("%d targets, %d changes, %d problems", len(out.Targets), len(g.ChangeDigests(out)), len(g.PlanProblems(out)))
}

// noteMerge records a merge once.
func (b *Bot) noteMerge(g *gathered) {
	g.Memory.MergedSeen = true
	if last := g.Memory.Last; last != nil && last.Merged && last.Head == g.Pull.Head.SHA {
		return // the operation that merged it recorded that
	}
	b.note(g, audit.Record{Type: audit.Merge, Actor: b.actor(g.Pull.MergedBy), Outcome: "merged", Reason: "as " + g.Pull.MergeSHA})
}

// judgeMerge records a merge that came past the policy.
func (b *Bot) judgeMerge(g *gathered, a reconcile.JudgeMerge) {
	g.Memory.Judged, g.Memory.Bypass = true, a.Bypass
	if a.Bypass == nil {
		return
	}
	b.note(g, audit.Record{
		Type: audit.Bypass, Actor: b.actor(g.Pull.MergedBy), Outcome: "merged without the gate",
		Reason: "as " + g.Pull.MergeSHA + "; missing: " + strings.Join(a.Why, "; "), Facts: facts(a.Bypass),
	})
}

// closeDuty notes who reviewed an override. Closing it again, after a crash, is
// no news.
func (b *Bot) closeDuty(ctx context.Context, g *gathered, a reconcile.CloseDuty) error {
	err := b.store.CloseDuty(ctx, a.Duty.ID, a.By, b.completed(g.State, audit.Record{
		Type: audit.Review, Actor: b.actor(a.By), CommentID: a.Comment, Outcome: "reviewed",
		Reason: sentence([]string{a.Duty.Environment + ": the override of @" + a.Duty.By.Login, a.Remark}), Facts: facts(a.Duty),
	}))
	if err != nil && !errors.Is(err, store.ErrFinished) {
		return err
	}
	g.Duties = slices.DeleteFunc(g.Duties, func(d policy.Duty) bool { return d.ID == a.Duty.ID })
	return nil
}

func (b *Bot) setHold(g *gathered, a reconcile.SetHold) {
	g.Memory.Hold = a.Hold
	r := audit.Record{Type: audit.Hold, Actor: b.actor(a.By), Outcome: "lifted"}
	if a.Hold != nil {
		r.Outcome, r.Reason = "held", a.Hold.Reason
	}
	b.note(g, r)
}

func (b *Bot) unlock(ctx context.Context, g *gathered, a reconcile.Unlock) error {
	b.note(g, audit.Record{Type: audit.Unlock, Actor: b.actor(a.By), Outcome: "kept", Reason: strings.Join(g.Memory.Leases, ", ")})
	return b.settle(ctx, g)
}

// settle gives up the targets that the pull holds and, if it is merged, makes
// it history. That is stored before the others are woken, which look for it.
func (b *Bot) settle(ctx context.Context, g *gathered) error {
	awaited := len(g.Memory.Leases) > 0 || g.Memory.PendingMerge != ""
	if err := b.free(ctx, g.holder(), g.Memory.Leases); err != nil {
		return err
	}
	g.Memory.Leases, g.Memory.Applied = nil, ""
	if g.Memory.Last != nil {
		g.Memory.Last.Unmerged = ""
	}
	if g.Pull.Merged {
		g.Memory.Settled, g.Memory.PendingMerge, g.Memory.PendingTargets = true, "", nil
	}
	if err := b.save(ctx, g); err != nil || !awaited {
		return err
	}
	return b.wantOthers(ctx, g)
}

// freeze holds a pull whose base branch was rewritten. It adds to a hold that
// stands already.
func (b *Bot) freeze(g *gathered, reason string) {
	h := policy.Hold{By: g.Self, Reason: reason}
	if old := g.Memory.Hold; old != nil {
		h = policy.Hold{By: old.By, Reason: strings.TrimPrefix(old.Reason+"; "+reason, "; ")}
	}
	g.Memory.BaseSHA, g.Rewritten = g.BaseSHA, ""
	b.setHold(g, reconcile.SetHold{Hold: &h, By: g.Self})
}

// sentence joins the parts of an answer that are there.
func sentence(parts []string) string {
	return strings.Join(slices.DeleteFunc(parts, func(p string) bool { return p == "" }), "; ")
}
