package bot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/names"
	"lockkeeper/bot/outcome"
	"lockkeeper/bot/plan"
	"lockkeeper/bot/policy"
	"lockkeeper/bot/reconcile"
	"lockkeeper/bot/store"
	"lockkeeper/cluster"
	"lockkeeper/forge"
)

// permit is the gate's word that a plan may be carried out. Only gate makes
// one, and only carryOut, which needs it, reaches a cluster's Apply.
type permit struct {
	out     *plan.Output
	verdict policy.Verdict
	facts   policy.Facts
}

// refusal is a gate's no, with its reasons.
type refusal struct{ reasons []string }

// gate is the one way to a cluster. It is asked with the leases held and with
// everything read anew. A pull passes only if its plan and its approvals are
// still what people saw: every change that is left was published for this head,
// and every rule of the policy holds for it (invariants 1 and 2). A heal passes
// only if it puts back what drifted, and the policy lets it.
func (b *Bot) gate(ctx context.Context, g *gathered, a reconcile.Apply) (*permit, *refusal, error) {
	defer b.step(ctx, g.work(), "gate")()
	if !g.Heal {
		if reasons, err := b.standing(ctx, g, a); err != nil || len(reasons) > 0 {
			return nil, &refusal{reasons}, err
		}
	}
	out, err := b.plan(ctx, g, a.Targets)
	if err != nil {
		return nil, nil, err
	}
	if reasons, err := b.unleased(ctx, g, out); err != nil || len(reasons) > 0 {
		return nil, &refusal{reasons}, err
	}
	if err := b.wayBack(ctx, g, out); err != nil {
		return nil, nil, err
	}
	facts := g.Facts(g.PlanChanges(out), g.PlanProblems(out))
	if g.Heal {
		facts.Blocked = append(facts.Blocked, beyondHealing(out, g.Policy.Watching.Ignore)...)
	} else {
		facts.Applier = &a.Actor
		facts.Blocked = append(facts.Blocked, unseen(g, out)...)
	}
	if g.Kind == reconcile.PlanRestore {
		facts.AskedBy = &a.Actor
	}
	p := &permit{out: out, facts: facts, verdict: policy.Evaluate(g.Policy, facts)}
	if err := b.recordGate(ctx, g, a, p); err != nil {
		return nil, nil, err
	}
	if !p.verdict.OK {
		return nil, &refusal{whyNot(p.verdict)}, nil
	}
	return p, nil, b.reviewDuties(ctx, g, a.ID, p.verdict.Overrides)
}

// standing says why a pull is not one to apply now, whatever its policy says.
func (b *Bot) standing(ctx context.Context, g *gathered, a reconcile.Apply) ([]string, error) {
	if g.PlanKey == "" || !g.Wanted() || !g.Plannable() {
		return append(g.WhyNoPlan(), g.Verdict().AllMissing()...), nil
	}
	if !g.Fresh() && a.Resume {
		// The base may have moved while the process was down; what counts is
		// that nothing is done that people did not see, which unseen checks.
		out, err := b.plan(ctx, g, nil)
		if err != nil {
			return nil, err
		}
		if err := b.notePlan(ctx, g, out); err != nil {
			return nil, err
		}
	}
	if !g.Fresh() {
		return []string{"the pull or its base changed in the meantime; look at the new plan"}, nil
	}
	if reasons, err := b.evidence.Mergeable(ctx, g.State); err != nil || len(reasons) > 0 {
		return reasons, err
	}
	return b.evidence.Earlier(ctx, g.State, g.src)
}

// whyNot is what a denial lacks, and which approvals it does not count and
// why, each once: who pushed after an approval should read that it is void.
func whyNot(v policy.Verdict) []string {
	out := v.AllMissing()
	for _, d := range v.AllNotCounted() {
		out = append(out, "not counted: "+d)
	}
	return once(out)
}

// once drops repetitions and keeps the order.
func once(all []string) []string {
	var out []string
	for _, s := range all {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// unseen lists the changes that the last publication for this head did not
// show. A change that was shown and is no longer planned needs no mention: its
// object was examined again and stands as predicted.
func unseen(g *gathered, out *plan.Output) []string {
	shown, ok := g.Memory.Shown(g.Pull.Head.SHA)
	if !ok {
		return []string{"no plan of this head was published yet"}
	}
	var news []string
	for _, c := range g.PlanChanges(out) {
		if !slices.Contains(shown, c.Digest) {
			news = append(news, fmt.Sprintf("%s: what would be done to %s is no longer what the plan showed; look at the new plan", c.Target, c.Ref))
		}
	}
	return news
}

// unleased lists the targets that are about to be touched and are not this
// pull's: what is planned may have grown since the leases were taken.
func (b *Bot) unleased(ctx context.Context, g *gathered, out *plan.Output) ([]string, error) {
	var reasons []string
	for _, t := range out.Targets {
		l, err := b.store.Lease(ctx, names.TargetKey(t.Plan.Target))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		if err != nil || l.Holder != g.holder() {
			reasons = append(reasons, t.Plan.Target.Name+" is in the plan only since a moment; look at it and apply again")
		}
	}
	return reasons, nil
}

func (b *Bot) recordGate(ctx context.Context, g *gathered, a reconcile.Apply, p *permit) error {
	r := audit.Record{
		Type: audit.Gate, Actor: b.actor(a.Actor), Operation: a.ID, Outcome: "deny",
		PlanDigest: g.PlanDigest(p.out), Reason: strings.Join(whyNot(p.verdict), "; "),
		Facts: facts(struct {
			Facts   policy.Facts   `json:"facts"`
			Verdict policy.Verdict `json:"verdict"`
			Policy  policy.Policy  `json:"policy"`
		}{p.facts, p.verdict, g.Policy}),
	}
	if a.Command != nil {
		r.CommentID = a.Command.Comment.ID
	}
	if p.verdict.OK {
		r.Outcome, r.Reason = "allow", ""
		r.Reason = sentence([]string{listed("approved by ", p.verdict.Approvers()), overridden(p.verdict), healReason(p.facts)})
	}
	return b.record(ctx, g.State, r)
}

// listed names people after a word, or is "".
func listed(word string, who []forge.User) string {
	names := make([]string, len(who))
	for i, u := range who {
		names[i] = "@" + u.Login
	}
	if len(names) == 0 {
		return ""
	}
	return word + strings.Join(names, ", ")
}

// overridden says which overrides a verdict rests on, or "".
func overridden(v policy.Verdict) string {
	var out []string
	for _, u := range v.Overrides {
		out = append(out, fmt.Sprintf("%s overridden by @%s (%s)", u.Environment, u.By.Login, u.Reason))
	}
	return strings.Join(once(out), "; ")
}

// carryOut applies a permitted plan, target after target; a failure keeps the
// following ones from being touched, as does the end of ctx, and another replica
// that took this run over.
func (b *Bot) carryOut(ctx context.Context, g *gathered, p *permit, progress func([]cluster.Result)) ([]cluster.Result, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var done []cluster.Result
	for _, t := range p.out.Targets {
		switch {
		case ctx.Err() != nil:
			done = append(done, outcome.Skipped(t.Plan, context.Cause(ctx).Error()))
			continue
		case len(done) > 0 && !done[len(done)-1].OK():
			done = append(done, outcome.Skipped(t.Plan, "a target before it failed"))
			continue
		}
		c, err := b.cluster(t.Plan.Target.Cluster)
		if err != nil {
			return done, err
		}
		current := outcome.Pending(t.Plan)
		done = append(done, current)
		progress(done)
		objects := b.following(ctx, g.work())
		res, err := c.Apply(ctx, t.Plan, func(s cluster.Step) {
			objects(s)
			if err := b.store.Check(ctx); errors.Is(err, store.ErrTaken) {
				stop(err)
			}
			outcome.Mark(&done[len(done)-1], s)
			progress(done)
		})
		if res != nil {
			done[len(done)-1] = *res
		}
		if err != nil {
			return done, fmt.Errorf("apply %s: %w", t.Plan.Target.Name, err)
		}
		progress(done)
	}
	return done, nil
}

// merge merges an applied pull with its head pinned (threat 16).
func (b *Bot) merge(ctx context.Context, g *gathered, a reconcile.Apply) (string, error) {
	defer b.step(ctx, g.work(), "merge")()
	sha, err := b.forge.Merge(ctx, g.Operator.Ref(), g.key.Number, g.Pull.Head.SHA, g.Operator.Merge)
	if err != nil { // the merge may have happened, and only its answer be lost
		p, lost := b.forge.Pull(ctx, g.Operator.Ref(), g.key.Number)
		if lost == nil && p.Merged && p.Head.SHA == g.Pull.Head.SHA {
			sha, err = p.MergeSHA, nil
		}
	}
	r := audit.Record{Type: audit.Merge, Actor: b.actor(a.Actor), Operation: a.ID, Outcome: "merged", Reason: "as " + sha}
	if err != nil {
		r.Outcome, r.Reason = "failed", string(forge.CodeOf(err))
	}
	b.note(g, r)
	return sha, err
}
