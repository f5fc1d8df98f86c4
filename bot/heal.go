package bot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/bypass"
	"lockkeeper/bot/drift"
	"lockkeeper/bot/history"
	"lockkeeper/bot/names"
	"lockkeeper/bot/outcome"
	"lockkeeper/bot/plan"
	"lockkeeper/bot/policy"
	"lockkeeper/bot/reconcile"
	"lockkeeper/bot/store"
	"lockkeeper/bot/trail"
	"lockkeeper/cluster"
	"lockkeeper/forge"
)

// healHolder is what the holder of a heal's lease begins with; the operation's
// id follows.
const healHolder = "heal/"

// healing is an operation that puts back what drifted of one target.
type healing struct {
	drift.HealRequest
	id string // of the operation
}

// refs are the objects that drifted.
func (h *healing) refs() []cluster.Ref {
	var out []cluster.Ref
	for _, f := range h.Findings {
		if !slices.Contains(out, f.Ref) {
			out = append(out, f.Ref)
		}
	}
	return out
}

// heal puts back what drifted, through the gate, by the steps of any operation:
// lease, everything read anew, gate, record, apply, record. No pull is concerned,
// so that nobody is told here.
func (b *Bot) heal(ctx context.Context, r drift.HealRequest) (drift.HealResult, error) {
	h := &healing{r, names.Hash("heal", names.TargetKey(r.Target), b.now().UTC().String())}
	ctx = trail.With(ctx, slog.String(trail.Operation, h.id), slog.String(trail.Repo, r.Repository.Name))
	g := &gathered{key: names.PullKey{Repo: r.Repository.ID}, heal: h, State: &reconcile.State{
		Now: b.now(), Self: b.self, Operator: r.Repository, CheckName: b.checkName, Limits: b.forge.Limits(),
		Heal: true, Kind: reconcile.PlanHeal, Memory: &reconcile.Memory{},
	}}
	held, reasons, err := b.lease(ctx, g, []cluster.Target{r.Target}, "heal of "+r.Target.Name)
	if err != nil || len(reasons) > 0 {
		return drift.HealResult{Refused: reasons}, err
	}
	out, err := b.healHeld(ctx, g)
	freed := b.free(ctx, g.holder(), held)
	// A pull that was to be applied meanwhile was told that the target is held.
	others := b.store.Want(context.WithoutCancel(ctx), bypass.Key(r.Repository.ID, r.Base))
	return out, errors.Join(err, freed, others)
}

// healHeld is heal with the lease held.
func (b *Bot) healHeld(ctx context.Context, g *gathered) (out drift.HealResult, err error) {
	if err := b.gatherHeal(ctx, g); err != nil {
		return out, err
	}
	if err := b.bootstrap(ctx, g.heal.Target.Cluster); err != nil {
		return drift.HealResult{Refused: []string{err.Error()}}, nil
	}
	a := reconcile.Apply{ID: g.heal.id, Actor: b.self}
	p, no, err := b.gate(ctx, g, a)
	if err != nil {
		return out, err
	}
	if no != nil {
		return drift.HealResult{Refused: no.reasons}, nil
	}
	if err := b.intend(ctx, g, a, p); err != nil {
		return out, err
	}
	results, failure := b.carryOut(ctx, g, p, func([]cluster.Result) {})
	g.Results = results
	word, says := outcome.Of(results, failure)
	if ctx.Err() != nil {
		word, says = "interrupted", "The process was stopped in the middle; what is left is found again."
	}
	return drift.HealResult{Outcome: word}, b.end(ctx, g, a, word, says)
}

// gatherHeal reads what the gate looks at: the base branch with its policy, what
// was applied last, and what is in the way.
func (b *Bot) gatherHeal(ctx context.Context, g *gathered) error {
	h := g.heal
	repo, err := b.repos.Get(ctx, h.Repository)
	if err != nil {
		return err
	}
	mirror := b.mirrors.Mirror(ctx, strconv.FormatInt(h.Repository.ID, 10))
	auth, err := b.forge.GitAuth(ctx, h.Repository.Ref())
	if err != nil {
		return err
	}
	shas, err := mirror.Fetch(ctx, repo.CloneURL, auth, "refs/heads/"+h.Base)
	if err != nil {
		return err
	}
	c, err := b.cluster(h.Target.Cluster)
	if err != nil {
		return err
	}
	all, err := c.Applied(ctx)
	if err != nil {
		return err
	}
	applied := all[h.Target.Owner()].Revision
	g.BaseSHA, g.src = shas[0], &history.Trees{Repo: mirror}
	g.Pull = forge.Pull{
		State: forge.Open,
		Base:  forge.Branch{Name: h.Base, SHA: shas[0], RepoID: h.Repository.ID}, Head: forge.Branch{Name: h.Base, SHA: applied, RepoID: h.Repository.ID},
	}
	if err := g.src.Find(ctx, g.State); err != nil {
		return err
	}
	g.src.Revision = applied
	g.targets = b.evidence.Policy(g.State, g.src)
	i := slices.IndexFunc(g.targets, func(t cluster.Target) bool { return t.Owner() == h.Target.Owner() && t.Cluster == h.Target.Cluster })
	if i < 0 {
		g.Blocked = append(g.Blocked, fmt.Sprintf("%s has no target %s on %s any more", h.Base, h.Target.Name, h.Target.Cluster))
	} else {
		h.Target = g.targets[i]
	}
	if err := b.evidence.Read(ctx, g.State, g.src, nil); err != nil {
		return err
	}
	return b.healHold(ctx, g)
}

// healHold finds the hold of the target's drift pull, which keeps from healing
// too.
func (b *Bot) healHold(ctx context.Context, g *gathered) error {
	drifts, err := b.store.Drifts(ctx, g.heal.Target.Cluster)
	if err != nil {
		return err
	}
	for _, d := range drifts {
		if d.RepoID != g.key.Repo || d.Target != g.heal.Target.Name || d.Number == 0 {
			continue
		}
		doc, _, err := b.store.LoadPull(ctx, d.RepoID, d.Number)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		m, err := reconcile.DecodeMemory(doc)
		if err != nil {
			return err
		}
		g.Memory.Hold = m.Hold
	}
	return nil
}

// beyondHealing says what of a plan is more than putting fields and objects back:
// a heal deletes and replaces nothing, whatever else is allowed (threats 23, 24),
// and leaves alone what the policy says is no drift, which an apply would take
// along.
func beyondHealing(out *plan.Output, ignored []cluster.IgnoreRule) []string {
	var why []string
	for _, t := range out.Targets {
		for _, c := range t.Plan.Changes {
			for _, f := range c.Fields {
				if c.Action == cluster.Update && !f.Server && slices.ContainsFunc(ignored, func(r cluster.IgnoreRule) bool { return r.Meets(c.Ref, f.Path) }) {
					why = append(why, fmt.Sprintf("%s: it would change %s of %s too, which the policy says is no drift; `/restore` on its drift pull asks people", t.Plan.Target.Name, f.Path, c.Ref))
				}
			}
			if c.Action != cluster.Create && c.Action != cluster.Update {
				why = append(why, fmt.Sprintf("%s: %s of %s is more than a heal may do; `/restore` on its drift pull asks people", t.Plan.Target.Name, c.Action, c.Ref))
			}
		}
	}
	return why
}

// endHeals ends the heals on a cluster that a stop of their process cut short, and
// gives up what they hold: whatever is left of the drift is found again. It is
// called by the one run that works on the cluster's drift, so that none of them
// is under way.
func (b *Bot) endHeals(ctx context.Context, clusterName string) error {
	leases, err := b.store.Leases(ctx)
	if err != nil {
		return err
	}
	for _, l := range leases {
		id, isHeal := strings.CutPrefix(l.Holder, healHolder)
		if !isHeal || !strings.HasPrefix(l.Key, names.TargetKeys(clusterName)) {
			continue
		}
		if err := b.endHeal(ctx, id); err != nil {
			return err
		}
		if err := b.free(ctx, l.Holder, []string{l.Key}); err != nil {
			return err
		}
	}
	return nil
}

func (b *Bot) endHeal(ctx context.Context, id string) error {
	running, err := b.store.RunningOperations(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(running, func(op store.Operation) bool { return op.ID == id })
	if i < 0 {
		return nil
	}
	op := running[i]
	err = b.store.FinishOperation(ctx, op.ID, "interrupted", nil)
	if errors.Is(err, store.ErrFinished) {
		return nil
	}
	if err != nil {
		return err
	}
	repo, _ := b.server.Load().Repository(op.RepoID)
	return b.write(ctx, audit.Record{
		Type: audit.ApplyEnd, Actor: b.actor(op.Actor), Repo: repo.Ref(), Head: op.Head, Operation: op.ID, PlanDigest: op.PlanDigest,
		Target: strings.Join(op.Targets, ","), Outcome: "interrupted", Reason: "The process was stopped in the middle; what is left is found again.",
	})
}

// recallDrift finds what a pull of the bot's own proposes of what is live.
func (b *Bot) recallDrift(ctx context.Context, g *gathered) error {
	g.Drift = nil
	if !reconcile.OwnPull(g.Self, g.Pull, reconcile.DriftBranch) {
		return nil
	}
	d, err := b.store.DriftOfPull(ctx, g.key.Repo, g.key.Number)
	if errors.Is(err, store.ErrNotFound) {
		g.Drift = &reconcile.DriftPull{}
		return nil
	}
	g.Drift = &reconcile.DriftPull{Known: true, Drift: d}
	return err
}

// healReason is what a record says of a heal that the gate let pass.
func healReason(facts policy.Facts) string {
	if !facts.Heal {
		return ""
	}
	return "healed without being asked for, by the approvals of " + names.Short(facts.Pull.Head.SHA)
}
