package bot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"lockkeeper/bot/config"
	"lockkeeper/bot/history"
	"lockkeeper/bot/plan"
	"lockkeeper/bot/policy"
	"lockkeeper/bot/policy/lint"
	"lockkeeper/bot/policy/owners"
	"lockkeeper/bot/reconcile"
	"lockkeeper/bot/store"
	"lockkeeper/cluster"
	"lockkeeper/forge"
	"lockkeeper/forge/git"
)

// What the policy judges beside the plan: who had a part in the commits, what
// they change, and who may say what about it.

// policy compiles the policy of the base branch. A broken file blocks: the
// policy that somebody meant is not known.
func (b *Bot) policy(g *gathered) {
	file, targets, err := plan.Load(g.src.Rules, &g.Operator)
	var problems config.Problems
	if err != nil && (file == nil || !errors.As(err, &problems)) {
		g.Blocked = append(g.Blocked, fmt.Sprintf(
			"%s of the base branch cannot be used: %v; nothing is applied until it is corrected there, and whoever may merge without this check merges the correction, because nobody knows by which policy it should be judged",
			config.RepoFile, err))
	}
	g.Policy = config.Compile(file, b.server)
	g.targets = targets
	if g.src.Merge == nil || g.Kind != reconcile.PlanPull && g.Kind != reconcile.PlanMerged {
		return
	}
	after, targets, err := plan.Load(g.src.Merge, &g.Operator)
	if err != nil && !errors.As(err, &problems) {
		return // the plan has the problem
	}
	g.targets = append(g.targets, targets...)
	g.PolicyChange = slices.Concat(config.DiffTargets(file, after), lint.Diff(g.Policy, config.Compile(after, b.server)))
}

// evidence reads from Git what the commits are and change.
func (b *Bot) evidence(ctx context.Context, g *gathered) error {
	if err := b.merges.Find(ctx, g.src, g.State); err != nil {
		return err
	}
	g.Pushers = history.Pushers(g.State, g.pushes)
	if err := b.files(ctx, g); err != nil {
		return err
	}
	if err := b.soaks(ctx, g); err != nil {
		return err
	}
	var err error
	if g.Extra, err = g.src.Extra(ctx, g.State); err != nil {
		return err
	}
	return b.owed(ctx, g)
}

// files are what the pull changes, and who owns them by the base branch's
// CODEOWNERS. A change of CODEOWNERS is one of the policy.
func (b *Bot) files(ctx context.Context, g *gathered) error {
	g.Files, g.OwnersError = nil, ""
	if g.src.Merge == nil || g.Kind != reconcile.PlanPull && g.Kind != reconcile.PlanMerged {
		return nil
	}
	paths, err := g.src.Repo.ChangedFiles(ctx, g.src.Base.(*git.Tree).SHA(), g.src.Tree)
	if err != nil {
		return err
	}
	who, err := config.ReadOwners(g.src.Rules, owners.GitHub)
	if err != nil {
		g.OwnersError = err.Error()
	}
	if errors.Is(err, fs.ErrNotExist) {
		g.OwnersError = "the base branch has no CODEOWNERS"
	}
	for _, path := range paths {
		f := policy.File{Path: path}
		if who != nil {
			f.Owners = who.Of(path)
		}
		g.Files = append(g.Files, f)
		if owners.Is(path) {
			g.PolicyChange = append(g.PolicyChange, path+" changes: who owns which files")
		}
	}
	return nil
}

// owed are the reviews that overrides owe, and what came past the gate.
func (b *Bot) owed(ctx context.Context, g *gathered) error {
	duties, err := b.store.Duties(ctx, g.key.Repo)
	if err != nil {
		return err
	}
	g.Duties = nil
	for _, d := range duties {
		g.Duties = append(g.Duties, policy.Duty{ID: d.ID, Environment: d.Environment, Pull: d.Number, By: d.By, Opened: d.Opened, Due: d.Due})
	}
	g.Bypass, err = b.bypass.Open(ctx, g.Operator, g.Pull.Base.Name, g.BaseSHA)
	return err
}

// soaks looks whether what the pull applied, and has to soak, is healthy now. A
// cluster that does not answer has nothing that is known to be.
func (b *Bot) soaks(ctx context.Context, g *gathered) error {
	if g.Pull.State != forge.Open && g.Kind != reconcile.PlanMerged || !slices.ContainsFunc(g.Policy.Environments, func(e policy.Environment) bool { return e.Soak != nil }) {
		return nil
	}
	for i := range g.Memory.Applies {
		a := &g.Memory.Applies[i]
		if a.Head != g.Pull.Head.SHA {
			continue
		}
		c, err := b.cluster(a.Cluster)
		if err != nil {
			a.Healthy = false
			continue
		}
		problems, err := c.Health(ctx, cluster.Owner{RepoID: g.key.Repo, Target: a.Target})
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		well := err == nil && len(problems) == 0
		if well && !a.Healthy {
			a.At = g.Now // the time begins anew
		}
		a.Healthy = well
	}
	return nil
}

// people finds out who may write, who is in the teams that the policy names,
// and which checks it asks for. People are asked about only when somebody said
// something that matters.
func (b *Bot) people(ctx context.Context, g *gathered) error {
	speakers := map[int64]forge.User{}
	votes := 0
	for _, v := range g.Votes() {
		speakers[v.User.ID] = v.User
		votes++
	}
	for _, o := range g.Overrides() {
		speakers[o.By.ID] = o.By
		votes++
	}
	for _, c := range g.Commands {
		speakers[c.Comment.Author.ID] = c.Comment.Author
	}
	delete(speakers, 0)
	g.Writers, g.Admins = map[int64]bool{}, map[int64]bool{}
	for id, u := range speakers {
		p, err := b.forge.Permission(ctx, g.Operator.Ref(), u)
		if err != nil && forge.CodeOf(err) != forge.NotFound {
			return err
		}
		g.Writers[id], g.Admins[id] = p >= forge.Write, p >= forge.Admin
	}
	for i, c := range g.Commands {
		g.Commands[i].Writer = g.Writers[c.Comment.Author.ID]
		votes++
	}
	g.Teams = map[string][]int64{}
	if err := b.checks(ctx, g); err != nil {
		return err
	}
	asking := g.Pull.State == forge.Open && !g.Pull.Draft && len(g.Memory.Reviewers) == 0 // for a review
	if votes == 0 && !asking {
		return nil
	}
	return b.teams(ctx, g)
}

// teams reads the members of all teams that can matter to this pull.
func (b *Bot) teams(ctx context.Context, g *gathered) error {
	teams := append(g.Policy.Teams(g.environments()), policy.OwnerTeams(g.Files)...)
	for _, t := range teams {
		if _, known := g.Teams[t.String()]; known {
			continue
		}
		members, err := b.forge.TeamMembers(ctx, g.Operator.Ref(), t)
		if forge.CodeOf(err) == forge.NotFound {
			g.NoTeams = append(g.NoTeams, t.String()) // has no members: fails closed
			continue
		}
		if err != nil {
			return err
		}
		g.Teams[t.String()] = []int64{}
		for _, u := range members {
			g.Teams[t.String()] = append(g.Teams[t.String()], u.ID)
		}
		slices.Sort(g.Teams[t.String()])
	}
	return nil
}

// environments are all that the targets of both trees are in: what the policy
// may ask about this pull. The plan is not made yet.
func (g *gathered) environments() []string {
	out := make([]string, len(g.targets))
	for i, t := range g.targets {
		out[i] = t.Environment
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// checks reads those of the head, if the policy asks for any.
func (b *Bot) checks(ctx context.Context, g *gathered) error {
	g.Checks = nil
	g.Memory.Checks = slices.ContainsFunc(g.Policy.Environments, func(e policy.Environment) bool { return len(e.Checks) > 0 })
	if !g.Memory.Checks {
		return nil
	}
	found, err := b.forge.Checks(ctx, g.Operator.Ref(), g.Pull.Head.SHA)
	if err != nil {
		return err
	}
	for _, c := range found {
		g.Checks = append(g.Checks, policy.Check{Name: c.Name, App: c.AppID, AppSlug: c.AppSlug, State: string(c.State)})
	}
	return nil
}

// reviewDuties opens the reviews that applying by a verdict owes. That is
// stored before anything is touched. Each operation owes its own, or else one
// that follows a review could use the same override unseen; an operation that
// is resumed owes what it did before.
func (b *Bot) reviewDuties(ctx context.Context, g *gathered, operation string, uses []policy.Use) error {
	for _, u := range uses {
		d := store.Duty{
			ID: reconcile.Hash("duty", operation, u.Environment, fmt.Sprint(u.ID)), RepoID: g.key.Repo, Number: g.key.Number,
			Environment: u.Environment, By: u.By, Reason: u.Reason, CommentID: u.ID, Opened: b.now(), Due: u.Due,
		}
		if err := b.store.OpenDuty(ctx, d); err != nil {
			return err
		}
	}
	return nil
}
