package bot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/bypass"
	"lockkeeper/bot/config"
	"lockkeeper/bot/names"
	"lockkeeper/bot/outcome"
	"lockkeeper/bot/policy"
	"lockkeeper/bot/reconcile"
	"lockkeeper/bot/report"
	"lockkeeper/bot/store"
	"lockkeeper/cluster"
	"lockkeeper/forge"
)

// apply takes the leases, asks the gate, and carries the plan out. What stops
// half-way because this process is told to stop stays a running operation, and
// is continued by the next one.
func (b *Bot) apply(ctx context.Context, g *gathered, a reconcile.Apply) (*gathered, error) {
	var targets []cluster.Target
	for _, t := range g.Targets() {
		if len(a.Targets) == 0 || slices.Contains(a.Targets, t.Name) {
			targets = append(targets, t)
		}
	}
	held, reasons, err := b.lease(ctx, g, targets, "apply of "+names.Short(g.Pull.Head.SHA))
	if err != nil {
		return g, err
	}
	if len(reasons) > 0 {
		return g, b.refuse(ctx, g, a, reasons)
	}
	next, err := b.again(ctx, g)
	if err != nil {
		return g, errors.Join(err, b.free(ctx, g.holder(), held))
	}
	g, next.Stray = next, nil
	for _, name := range clusterNames(g) {
		if err := b.bootstrap(ctx, name); err != nil {
			return g, b.refuseAndRelease(ctx, g, a, held, []string{err.Error()})
		}
	}
	p, refused, err := b.gate(ctx, g, a)
	if err != nil {
		return g, errors.Join(err, b.free(ctx, g.holder(), held))
	}
	if refused != nil {
		g.Memory.Plan, g.Plan = nil, nil // what the gate saw is planned and shown anew
		return g, b.refuseAndRelease(ctx, g, a, held, refused.reasons)
	}
	if err := b.start(ctx, g, a, p); err != nil {
		return g, err
	}
	progress, wait := b.follow(ctx, g, a)
	heeding, stop := b.heeding(ctx, b.cancelling(g, a))
	results, err := b.carryOut(heeding, g, p, progress)
	stop()
	wait()
	g.Results = results
	if ctx.Err() != nil {
		return g, errors.Join(b.interrupted(ctx, g, a), context.Cause(ctx))
	}
	if failed := b.settleBypasses(ctx, g, p, err); failed != nil {
		return g, failed
	}
	if failed := b.noteRenders(ctx, g, p, err); failed != nil {
		return g, failed
	}
	var no *cancelled
	errors.As(context.Cause(heeding), &no)
	return b.finish(ctx, g, a, no, err)
}

// settleBypasses settles what a permitted plan brought to clusters, if all of it
// was applied: the gate asked for somebody else's approval of it. A target is as
// the base branch says after a sync, and after a pull that left none of its
// objects out.
func (b *Bot) settleBypasses(ctx context.Context, g *gathered, p *permit, failure error) error {
	if word, _ := outcome.Of(g.Results, failure); word != "succeeded" || len(p.facts.Bypass) == 0 {
		return nil
	}
	brought := []string{config.RepoFile}
	for _, t := range p.out.Targets {
		if g.Kind == reconcile.PlanSync || g.Kind == reconcile.PlanReset || t.Plan.Unadopted == 0 {
			brought = append(brought, t.Plan.Target.Name)
		}
	}
	how := sentence([]string{"applied with " + g.Limits.PullName(g.key.Number), listed("approved by ", p.verdict.Approvers())})
	return b.bypass.Settle(ctx, g.Operator, g.Pull.Base.Name, p.facts.Bypass, brought, how)
}

func clusterNames(g *gathered) []string {
	var out []string
	for _, t := range g.Targets() {
		if !slices.Contains(out, t.Cluster) {
			out = append(out, t.Cluster)
		}
	}
	return out
}

// lease takes targets, all or none. The pull is the holder, so that a restarted
// process has them still.
func (b *Bot) lease(ctx context.Context, g *gathered, targets []cluster.Target, purpose string) (taken []string, reasons []string, err error) {
	defer b.step(ctx, g.work(), "lease")()
	for _, t := range targets {
		key := names.TargetKey(t)
		_, ok, current, err := b.store.Acquire(ctx, key, g.holder(), purpose, 0)
		if err != nil {
			return taken, nil, err
		}
		if !ok {
			reasons = append(reasons, fmt.Sprintf("%s is held by %s since %s (%s)", t.Name, names.HolderName(current.Holder, g.Limits),
				current.Acquired.UTC().Format("15:04 MST"), current.Purpose))
			continue
		}
		if !slices.Contains(g.Memory.Leases, key) {
			taken = append(taken, key)
		}
	}
	if len(reasons) > 0 {
		return nil, reasons, b.free(ctx, g.holder(), taken)
	}
	return taken, nil, nil
}

// free releases the leases of a holder and wakes no pulls: only what drifted
// meanwhile is looked at. What somebody else holds by now stays: a process that
// died after it released a lease, and before it noted that, releases it again.
func (b *Bot) free(ctx context.Context, holder string, keys []string) error {
	ctx = context.WithoutCancel(ctx)
	for _, key := range keys {
		l, err := b.store.Lease(ctx, key)
		if errors.Is(err, store.ErrNotFound) || err == nil && l.Holder != holder {
			continue
		}
		if err != nil {
			return err
		}
		if err := b.store.Release(ctx, l); err != nil && !errors.Is(err, store.ErrLeaseLost) {
			return err
		}
	}
	return b.drift.Released(ctx, keys...)
}

// release gives up every target that the pull holds, and has the other pulls
// looked at again: what they planned against may have changed.
func (b *Bot) release(ctx context.Context, g *gathered) error {
	if err := b.free(ctx, g.holder(), g.Memory.Leases); err != nil {
		return err
	}
	g.Memory.Leases, g.Memory.Applied = nil, ""
	return b.wantOthers(ctx, g)
}

// wantOthers has the other known pulls of the repository looked at again.
func (b *Bot) wantOthers(ctx context.Context, g *gathered) error {
	return b.store.Want(context.WithoutCancel(ctx), bypass.Key(g.key.Repo, g.Pull.Base.Name))
}

func (b *Bot) refuseAndRelease(ctx context.Context, g *gathered, a reconcile.Apply, taken, reasons []string) error {
	if err := b.free(ctx, g.holder(), taken); err != nil {
		return err
	}
	return b.refuse(ctx, g, a, reasons)
}

// refuse answers who asked, and ends an operation that a restart could not
// continue.
func (b *Bot) refuse(ctx context.Context, g *gathered, a reconcile.Apply, reasons []string) error {
	if a.Resume {
		return b.giveUp(ctx, g, a, reasons)
	}
	if a.Command == nil {
		// Asked by a merge: the report says what is missing, and the next event
		// asks again.
		g.Tried = true
		b.note(g, audit.Record{Type: audit.Refusal, Actor: b.actor(a.Actor), Operation: a.ID, Outcome: "refused", Reason: strings.Join(reasons, "; ")})
		return nil
	}
	return b.runAll(ctx, g, g.Refuse(*a.Command, reasons...))
}

// runAll carries out actions that change nothing but the conversation.
func (b *Bot) runAll(ctx context.Context, g *gathered, actions []reconcile.Action) error {
	for _, a := range actions {
		if _, err := b.run(ctx, g, a); err != nil {
			return err
		}
	}
	return nil
}

// giveUp ends an interrupted operation that may no longer go on, truthfully:
// the fresh plan shows what is left of it.
func (b *Bot) giveUp(ctx context.Context, g *gathered, a reconcile.Apply, reasons []string) error {
	msg := "The process was stopped in the middle, and going on is no longer allowed: " + strings.Join(reasons, "; ") + ". The plan above shows what is left to do."
	g.Memory.Last.Outcome, g.Memory.Last.Message = "interrupted", msg
	g.Memory.Plan, g.Operation, g.Results = nil, nil, nil // how far it got, the plan tells
	if err := b.end(ctx, g, a, "interrupted", msg); err != nil {
		return err
	}
	if a.Command == nil {
		return nil
	}
	return b.runAll(ctx, g, g.Reply(*a.Command, report.Reply{Kind: report.ReplyFailed, Text: msg, Items: reasons}))
}

// intend writes down what is about to be done, before anything is touched
// (invariant 7).
func (b *Bot) intend(ctx context.Context, g *gathered, a reconcile.Apply, p *permit) error {
	defer b.step(ctx, g.work(), "intent")()
	var targets []string
	for _, t := range p.out.Targets {
		targets = append(targets, t.Plan.Target.Name)
	}
	r := audit.Record{
		Type: audit.ApplyStart, Actor: b.actor(a.Actor), CommentID: commentID(a), Operation: a.ID,
		PlanDigest: g.PlanDigest(p.out), Target: strings.Join(targets, ","), Facts: facts(g.ChangeDigests(p.out)),
	}
	if a.Resume {
		r.Type, r.Outcome, r.Reason = audit.System, "resumed", "the process that had begun was stopped"
		return b.record(ctx, g.State, r)
	}
	return b.store.StartOperation(ctx, store.Operation{
		ID: a.ID, Kind: string(g.Kind), RepoID: g.key.Repo, Number: g.key.Number, Targets: targets,
		Head: g.Pull.Head.SHA, PlanDigest: g.PlanDigest(p.out), CommentID: commentID(a), Actor: a.Actor,
	}, b.completed(g.State, r))
}

// start notes an operation of a pull, and what the pull holds and shows from now
// on.
func (b *Bot) start(ctx context.Context, g *gathered, a reconcile.Apply, p *permit) error {
	if err := b.intend(ctx, g, a, p); err != nil {
		return err
	}
	for _, t := range p.out.Targets {
		if k := names.TargetKey(t.Plan.Target); !slices.Contains(g.Memory.Leases, k) {
			g.Memory.Leases = append(g.Memory.Leases, k)
		}
	}
	if g.Kind == reconcile.PlanPull {
		g.Memory.Applied = g.src.Tree
	}
	g.Memory.Last = &reconcile.Operation{ID: a.ID, Kind: g.Kind, Actor: a.Actor.Login, Head: g.Pull.Head.SHA, Plan: g.Memory.Plan.Digest, Outcome: "running"}
	g.Operation = nil
	if len(g.Memory.Sticky) > 0 { // it shows the progress from now on
		g.Memory.Sticky[0].Hash, g.Memory.Sticky[0].Stands = "", ""
	}
	return b.save(ctx, g)
}

func commentID(a reconcile.Apply) int64 {
	if a.Command == nil {
		return 0
	}
	return a.Command.Comment.ID
}

// follow returns the progress function of an operation: it notes the steps in
// the store and moves the report, no more often than b.progress. It never
// blocks; the last state is published by finish. wait returns when no edit is
// under way any more.
func (b *Bot) follow(ctx context.Context, g *gathered, a reconcile.Apply) (progress func([]cluster.Result), wait func()) {
	var edits sync.WaitGroup
	state := *g.State // the operation changes the original when it ends
	var mu sync.Mutex
	var last time.Time
	busy := false
	return func(results []cluster.Result) {
		mu.Lock()
		defer mu.Unlock()
		now := b.now()
		if busy || (!last.IsZero() && now.Sub(last) < b.progress) {
			return
		}
		busy, last = true, now
		snapshot := outcome.Clone(results)
		done := func() { mu.Lock(); busy = false; mu.Unlock() }
		edits.Go(func() {
			defer done()
			b.showProgress(ctx, state, a, snapshot)
		})
	}, edits.Wait
}

// showProgress edits the report in place, unless another replica has taken the
// apply over. A report that cannot be edited now is no reason to stop applying.
func (b *Bot) showProgress(ctx context.Context, state reconcile.State, a reconcile.Apply, results []cluster.Result) {
	key := names.PullKey{Repo: state.Operator.ID, Number: state.Pull.Number}.String()
	if err := b.store.UpdateOperation(ctx, a.ID, facts(results)); err != nil {
		b.log.WarnContext(ctx, "the progress of an operation could not be stored; its outcome will be", "key", key, "error", err)
		return
	}
	state.Results = results
	bodies, err := report.Sticky(state.View(), state.Limits)
	if err != nil || len(state.Memory.Sticky) == 0 {
		return
	}
	if _, err := b.forge.UpdateComment(ctx, state.Operator.Ref(), state.Pull.Number, state.Memory.Sticky[0].ID, bodies[0]); err != nil {
		b.log.WarnContext(ctx, "the progress of an operation could not be shown; its outcome will be", "key", key, "error", err)
	}
}

// interrupted notes how far an operation got when the process has to stop.
func (b *Bot) interrupted(ctx context.Context, g *gathered, a reconcile.Apply) error {
	ctx = context.WithoutCancel(ctx)
	if err := b.store.UpdateOperation(ctx, a.ID, facts(g.Results)); err != nil {
		return err
	}
	return b.save(ctx, g)
}

// finish ends an operation: the outcome is stored and recorded, the pull
// merged if that belongs to it, the targets released, and the asker answered.
func (b *Bot) finish(ctx context.Context, g *gathered, a reconcile.Apply, no *cancelled, failure error) (*gathered, error) {
	last := g.Memory.Last
	last.Outcome, last.Message = outcome.Of(g.Results, failure)
	if no != nil {
		last.Cancelled = no.command.ID()
		if failure == nil {
			last.Outcome, last.Message = outcome.Cancelled, outcome.OfCancelled(g.Results, no.command.Comment.Author.Login)
		}
	}
	sayRollback(g)
	b.noteApplied(g)
	// The merge comes before the end is noted: a process that dies in between
	// resumes the operation, and finds the merge done.
	var err error
	if last.Outcome == "succeeded" {
		err = b.succeeded(ctx, g, a)
	} else if outcome.Untouched(g.Results) {
		err = b.release(ctx, g)
	}
	if err != nil {
		return g, err
	}
	if err := b.end(ctx, g, a, last.Outcome, last.Says()); err != nil {
		return g, err
	}
	next, err := b.again(ctx, g)
	if err != nil {
		return g, err
	}
	next.Results = g.Results
	if err := b.letGo(ctx, next); err != nil {
		return next, err
	}
	return next, b.replyToEnd(ctx, next, a)
}

// noteApplied remembers what a pull brought to targets: what has to soak there
// begins to. One that is not well is remembered too, or else the pull would pass
// for one that changes nothing there.
func (b *Bot) noteApplied(g *gathered) {
	if kind := g.Memory.Last.Kind; kind != reconcile.PlanPull && kind != reconcile.PlanMerged {
		return
	}
	for _, r := range g.Results {
		if r.OK() || !outcome.Untouched([]cluster.Result{r}) {
			a := policy.Applied{Target: r.Target.Name, Environment: r.Target.Environment, At: b.now(), Healthy: r.OK()}
			g.Memory.NoteApplied(reconcile.Applied{Applied: a, Cluster: r.Target.Cluster, Head: g.Pull.Head.SHA})
		}
	}
}

// end closes the operation in the store and in the audit trail, with what was
// noted meanwhile. What is to be said of it is stored before: a process that takes
// over finds the operation running, and carries on, or ended, and answers.
func (b *Bot) end(ctx context.Context, g *gathered, a reconcile.Apply, word, message string) error {
	defer b.step(ctx, g.work(), "record")()
	notes := append(g.notes, b.completed(g.State, audit.Record{
		Type: audit.ApplyEnd, Actor: b.actor(a.Actor), CommentID: commentID(a), Operation: a.ID,
		Outcome: word, Reason: message, Facts: facts(outcome.StepsOnly(g.Results)),
	}))
	g.notes = nil // not before the end
	if !g.Heal {
		g.Memory.Plan, g.Plan = nil, nil // what is left is planned anew
		if err := b.save(ctx, g); err != nil {
			return err
		}
	}
	err := b.store.FinishOperation(context.WithoutCancel(ctx), a.ID, word, facts(g.Results), notes...)
	if errors.Is(err, store.ErrFinished) {
		return nil
	}
	return err
}

// succeeded merges after an apply on comment, and leaves sync mode.
func (b *Bot) succeeded(ctx context.Context, g *gathered, a reconcile.Apply) error {
	last := g.Memory.Last
	switch {
	case a.Resume && a.Began == reconcile.PlanPull && g.Pull.Merged:
		b.mergedBefore(g, a)
		return nil
	case last.Kind == reconcile.PlanSync, last.Kind == reconcile.PlanReset:
		g.Memory.Sync, g.Memory.Reset = "", false
		return b.release(ctx, g)
	case last.Kind == reconcile.PlanRestore:
		return b.release(ctx, g)
	case last.Kind != reconcile.PlanPull || g.Operator.Apply != config.ApplyOnComment || len(a.Targets) > 0 && !b.nothingLeft(ctx, g):
		return nil
	}
	if err := b.store.Check(ctx); err != nil {
		return err
	}
	if err := b.passCheck(ctx, g); err != nil {
		return err
	}
	sha, err := b.merge(ctx, g, a)
	if transient(err) {
		return err // the operation is not over: it is taken up again and merges
	}
	if err != nil {
		last.Unmerged = err.Error()
		return nil
	}
	last.Merged = true
	last.Message += " Merged as " + names.Short(sha) + "."
	return nil
}

// mergedBefore takes up the merge of an operation whose process was stopped right
// after it.
func (b *Bot) mergedBefore(g *gathered, a reconcile.Apply) {
	last := g.Memory.Last
	last.Message += " Merged as " + names.Short(g.Pull.MergeSHA) + "."
	if last.Merged = g.Pull.MergedBy.ID == g.Self.ID; last.Merged {
		b.note(g, audit.Record{Type: audit.Merge, Actor: b.actor(a.Actor), Operation: a.ID, Outcome: "merged", Reason: "as " + g.Pull.MergeSHA})
	}
}

// transient reports whether the same request may be answered otherwise later.
func transient(err error) bool {
	switch forge.CodeOf(err) {
	case forge.Unavailable, forge.RateLimited, forge.Unauthorized:
		return true
	}
	return false
}

// nothingLeft reports whether the targets that were not named have no change
// left, so that the pull may be merged.
func (b *Bot) nothingLeft(ctx context.Context, g *gathered) bool {
	out, err := b.plan(ctx, g, nil)
	return err == nil && len(g.PlanChanges(out)) == 0 && len(g.PlanProblems(out)) == 0
}

// passCheck makes our own check succeed, which a merge may require.
func (b *Bot) passCheck(ctx context.Context, g *gathered) error {
	c, err := g.AppliedCheck()
	if err != nil {
		return err
	}
	return b.talk.WriteCheck(ctx, g.State, c)
}

// letGo releases the targets of a pull that has nothing left to hold them for:
// it is merged and what was applied is what the merge made. Whether anything is
// left of it, its next plan tells.
func (b *Bot) letGo(ctx context.Context, g *gathered) error {
	last := g.Memory.Last
	if !g.Pull.Merged || last == nil || last.Outcome != "succeeded" {
		return nil
	}
	if last.Kind == reconcile.PlanPull && last.Merged || last.Kind == reconcile.PlanMerged {
		return b.release(ctx, g)
	}
	return nil
}
