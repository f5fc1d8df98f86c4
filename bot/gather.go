package bot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/command"
	"lockkeeper/bot/config"
	"lockkeeper/bot/drift"
	"lockkeeper/bot/history"
	"lockkeeper/bot/names"
	"lockkeeper/bot/plan"
	"lockkeeper/bot/policy"
	"lockkeeper/bot/reconcile"
	"lockkeeper/bot/store"
	"lockkeeper/cluster"
	"lockkeeper/forge"
	"lockkeeper/forge/git"
)

// lateCommand is the age at which a command that was never taken up, for
// example during an outage, is answered with "please repeat" instead of run.
const lateCommand = 2 * time.Hour

// gathered is a State with what only the runner needs.
type gathered struct {
	*reconcile.State
	key     names.PullKey
	version int64          // of the stored memory
	notes   []audit.Record // of what the memory tells since it was stored
	src     *history.Trees
	pushes  []forge.BranchPush // to the head
	targets []cluster.Target   // of both trees
	heal    *healing           // for a heal, which is of no pull
}

// holder is who holds the leases.
func (g *gathered) holder() string {
	if g.heal != nil {
		return healHolder + g.heal.id
	}
	return g.key.String()
}

// work is the key of the queue under which this is worked on.
func (g *gathered) work() string {
	if g.heal != nil {
		return drift.Key(g.heal.Target.Cluster)
	}
	return g.key.String()
}

// gather reads everything about a pull. It returns nil when the pull is not
// ours to handle.
func (b *Bot) gather(ctx context.Context, key names.PullKey) (*gathered, error) {
	op, ok := b.server.Load().Repository(key.Repo)
	if !ok {
		return nil, nil
	}
	repo, err := b.repos.Get(ctx, op)
	if err != nil {
		return nil, err
	}
	pull, err := b.forge.Pull(ctx, op.Ref(), key.Number)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(op.Watched(repo), pull.Base.Name) {
		return nil, b.leftBase(ctx, key, pull.Base.Name)
	}
	g := &gathered{key: key, State: &reconcile.State{
		Now: b.now(), Self: b.self, Operator: op, CheckName: b.checkName, Limits: b.forge.Limits(), Pull: pull,
	}}
	if err := b.recall(ctx, g); err != nil {
		return nil, err
	}
	if err := b.listen(ctx, g); err != nil {
		return nil, err
	}
	if err := b.look(ctx, g, repo); err != nil {
		return nil, err
	}
	return g, b.evidence.People(ctx, g.State, g.targets)
}

// leftBase notes that a pull that is known aims at a branch that is not ours to
// handle: what was said before is void when it comes back (threat 29).
func (b *Bot) leftBase(ctx context.Context, key names.PullKey, base string) error {
	doc, version, err := b.store.LoadPull(ctx, key.Repo, key.Number)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	m, err := reconcile.DecodeMemory(doc)
	if err != nil || m.Base == base {
		return err
	}
	m.Retarget(base)
	if doc, err = json.Marshal(m); err != nil {
		return fmt.Errorf("save what is known of %s: %w", key, err)
	}
	_, err = b.store.SavePull(ctx, key.Repo, key.Number, doc, version)
	return err
}

// recall loads what the bot knows itself.
func (b *Bot) recall(ctx context.Context, g *gathered) error {
	doc, version, err := b.store.LoadPull(ctx, g.key.Repo, g.key.Number)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if g.Memory, err = reconcile.DecodeMemory(doc); err != nil {
		return err
	}
	g.version = version
	g.Memory.Retarget(g.Pull.Base.Name)
	g.Memory.Closed = g.Pull.State == forge.Closed
	if err := b.recallDrift(ctx, g); err != nil {
		return err
	}
	if g.Memory.Met.IsZero() {
		g.Memory.Met = g.Now
	}
	if g.Memory.Plan != nil {
		if g.Plan, err = b.loadPlan(ctx, g.Memory.Plan.ID); err != nil {
			return err
		}
	}
	return b.recallOperation(ctx, g)
}

func (b *Bot) loadPlan(ctx context.Context, id string) (*plan.Output, error) {
	row, err := b.store.Plan(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out plan.Output
	if err := json.Unmarshal(row.Body, &out); err != nil {
		return nil, fmt.Errorf("read stored plan %s: %w", id, err)
	}
	return &out, nil
}

// recallOperation finds the running or last operation. The store decides: it
// was told before the memory of the pull was saved.
func (b *Bot) recallOperation(ctx context.Context, g *gathered) error {
	ops, err := b.store.Operations(ctx, g.key.Repo, g.key.Number)
	if err != nil {
		return err
	}
	for _, op := range ops {
		last := g.Memory.Last
		if op.Finished.IsZero() {
			g.Operation = &op
			if last == nil || last.ID != op.ID {
				last = &reconcile.Operation{ID: op.ID, Kind: reconcile.PlanKind(op.Kind), Actor: op.Actor.Login, Head: op.Head, Outcome: "running"}
				g.Memory.Last = last
			}
		}
		if last == nil || last.ID != op.ID {
			continue
		}
		if !op.Finished.IsZero() && last.Outcome == "running" {
			last.Outcome = op.State
		}
		if len(op.Detail) > 0 {
			if err := json.Unmarshal(op.Detail, &g.Results); err != nil {
				return fmt.Errorf("read operation %s: %w", op.ID, err)
			}
		}
	}
	return nil
}

// listen reads what people said.
func (b *Bot) listen(ctx context.Context, g *gathered) error {
	ref, n := g.Operator.Ref(), g.Pull.Number
	eg, ectx := errgroup.WithContext(ctx)
	eg.Go(func() (err error) { g.Comments, err = b.forge.Comments(ectx, ref, n); return })
	eg.Go(func() (err error) { g.Reviews, err = b.forge.Reviews(ectx, ref, n); return })
	eg.Go(func() (err error) { g.Commits, err = b.forge.Commits(ectx, ref, g.Pull); return })
	eg.Go(func() (err error) { g.pushes, g.PushersKnown, err = b.forge.Pushes(ectx, ref, g.Pull); return })
	if err := eg.Wait(); err != nil {
		return err
	}
	g.Memory.Reread(g.Comments)
	return b.commands(ctx, g)
}

// commands finds the chat commands without an outcome.
func (b *Bot) commands(ctx context.Context, g *gathered) error {
	known, err := b.store.Commands(ctx, g.key.Repo, g.key.Number)
	if err != nil {
		return err
	}
	type place struct {
		comment int64
		index   int
	}
	done, begun := map[place]bool{}, map[place]bool{}
	for _, c := range known {
		at := place{c.CommentID, c.Index}
		done[at], begun[at] = !c.Finished.IsZero(), true
	}
	for _, c := range g.Comments {
		// Bots, and our own text, are never commands (threat 22); nor is what
		// somebody edited into an old comment (threat 11).
		if c.Author.ID == g.Self.ID || c.Author.Type != forge.Person || c.Edited() {
			continue
		}
		// Nor is what was said long before the bot came: to another bot, maybe.
		if c.CreatedAt.Before(g.Memory.Met.Add(-lateCommand)) {
			continue
		}
		for i, p := range command.Parse(c.Body, g.Limits.Reserved...) {
			at := place{c.ID, i}
			if done[at] {
				continue
			}
			said := reconcile.Command{Comment: c, Index: i, Parsed: p, Late: !begun[at] && g.Now.Sub(c.CreatedAt) > lateCommand}
			said.Begun = begun[at] && g.Memory.IsPrepared(said)
			g.Commands = append(g.Commands, said)
		}
	}
	return nil
}

// look brings the Git objects here and works out what a plan would compare.
func (b *Bot) look(ctx context.Context, g *gathered, repo forge.Repo) error {
	mirror := b.mirrors.Mirror(ctx, strconv.FormatInt(g.key.Repo, 10))
	auth, err := b.forge.GitAuth(ctx, g.Operator.Ref())
	if err != nil {
		return err
	}
	wants := []string{"refs/heads/" + g.Pull.Base.Name, g.Pull.Head.SHA}
	if g.Pull.Merged {
		wants = append(wants, g.Pull.MergeSHA)
	}
	shas, err := mirror.Fetch(ctx, repo.CloneURL, auth, wants...)
	if err != nil {
		return err
	}
	g.BaseSHA, g.src = shas[0], &history.Trees{Repo: mirror}
	if g.Pull.Merged && g.Pull.MergeSHA == g.Pull.Head.SHA { // fast-forward, or so says a forge that does not tell
		if g.Pull.MergeSHA, err = history.Brought(ctx, mirror, g.Pull.MergeSHA, g.BaseSHA); err != nil {
			return err
		}
	}
	if g.version == 0 && g.Pull.Merged && g.Pull.MergeSHA != g.BaseSHA {
		if err := b.meetMerged(ctx, g); err != nil {
			return err
		}
	}
	if err := b.watchBase(ctx, g); err != nil {
		return err
	}
	g.Kind = g.WantedKind()
	if err := g.src.Find(ctx, g.State); err != nil {
		return err
	}
	g.targets = b.evidence.Policy(g.State, g.src)
	if err := b.evidence.Read(ctx, g.State, g.src, g.pushes); err != nil {
		return err
	}
	if g.src.Merge != nil {
		g.PlanKey = names.Hash(string(g.Kind), g.Memory.Sync, g.Pull.Head.SHA, g.src.BaseSHA, g.src.Tree, b.operatorDigest(g.Operator), g.Drift.Key())
	}
	if err := b.wayBack(ctx, g, g.Plan); err != nil {
		return err
	}
	return b.holders(ctx, g)
}

// watchBase notices that the base branch of an open pull lost commits.
func (b *Bot) watchBase(ctx context.Context, g *gathered) error {
	old := g.Memory.BaseSHA
	if old != "" && old != g.BaseSHA && g.Pull.State == forge.Open {
		grown, err := g.src.Repo.IsAncestor(ctx, old, g.BaseSHA)
		if err != nil && !errors.Is(err, git.ErrNoRevision) {
			return err
		}
		if !grown {
			g.Rewritten = old
			return nil
		}
	}
	g.Memory.BaseSHA = g.BaseSHA
	return nil
}

// operatorDigest makes plans stale when the operator changes what is allowed.
func (b *Bot) operatorDigest(op config.Repository) string {
	doc, err := json.Marshal(op)
	if err != nil { // plain data cannot fail to marshal
		return ""
	}
	return names.Hash(string(doc), fmt.Sprint(b.server.Load().MaxDeletes))
}

// holders finds out who holds which target.
func (b *Bot) holders(ctx context.Context, g *gathered) error {
	g.Holders, g.Stray = map[string]store.Lease{}, nil
	leases, err := b.store.Leases(ctx)
	if err != nil {
		return err
	}
	for _, l := range leases {
		switch {
		case l.Holder != g.holder():
			g.Holders[l.Key] = l
		case !slices.Contains(g.Memory.Leases, l.Key):
			g.Stray = append(g.Stray, l.Key)
		}
	}
	return nil
}

// meetMerged makes a pull history that was merged before the bot looked at it,
// and built upon since. If that was after the bot began to watch the branch,
// nobody knows whether the policy had allowed it (threat 27).
func (b *Bot) meetMerged(ctx context.Context, g *gathered) error {
	g.Memory.Settled, g.Memory.MergedSeen, g.Memory.Judged = true, true, true
	branch, err := b.store.Branch(ctx, g.key.Repo, g.Pull.Base.Name)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	before, err := g.src.Repo.IsAncestor(ctx, g.Pull.MergeSHA, branch.First)
	if err != nil && !errors.Is(err, git.ErrNoRevision) {
		return err
	}
	if before {
		return nil
	}
	g.Memory.Bypass = &policy.Bypass{SHA: g.Pull.MergeSHA, Kind: policy.UnapprovedMerge, By: g.Pull.MergedBy, Pull: g.Pull.Number}
	b.note(g, audit.Record{
		Type: audit.Bypass, Actor: b.actor(g.Pull.MergedBy), Outcome: "merged unseen",
		Reason: "as " + g.Pull.MergeSHA + ", before lockkeeper looked at it", Facts: facts(g.Memory.Bypass),
	})
	return nil
}
