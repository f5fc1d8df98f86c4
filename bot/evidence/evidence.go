// Package evidence reads what the policy judges beside a pull's plan: who had a
// part in the commits, what they change, who may say what about it, and what is
// owed.
package evidence

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"lockkeeper/bot/bypass"
	"lockkeeper/bot/config"
	"lockkeeper/bot/drift"
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

// Reader reads it, from the forge, Git, the clusters and the store. Its zero
// fields are not ready; it is safe for concurrent use.
type Reader struct {
	Server  *config.Live
	Forge   forge.Forge
	Store   *store.Store
	Bypass  *bypass.Watcher
	Cluster func(name string) (cluster.Cluster, error)

	merges history.Merges
}

// Policy compiles the policy of the base branch, and lists the targets of both
// trees. A broken file blocks: the policy that somebody meant is not known.
func (r *Reader) Policy(s *reconcile.State, t *history.Trees) []cluster.Target {
	file, before, err := plan.Load(t.Rules, &s.Operator)
	var problems config.Problems
	if err != nil && (file == nil || !errors.As(err, &problems)) {
		s.Blocked = append(s.Blocked, fmt.Sprintf(
			"%s of the base branch cannot be used: %v; nothing is applied until it is corrected there, and whoever may merge without this check merges the correction, because nobody knows by which policy it should be judged",
			config.RepoFile, err))
	}
	s.Policy = config.Compile(file, r.Server.Load())
	if t.Merge == nil || s.Kind != reconcile.PlanPull && s.Kind != reconcile.PlanMerged {
		return before
	}
	after, targets, err := plan.Load(t.Merge, &s.Operator)
	if err != nil && !errors.As(err, &problems) {
		return before // the plan has the problem
	}
	s.PolicyChange = slices.Concat(config.DiffTargets(file, after), lint.Diff(s.Policy, config.Compile(after, r.Server.Load())))
	return append(before, targets...)
}

// Read reads what the commits are and change, and what is owed. Pushes are those
// to the head.
func (r *Reader) Read(ctx context.Context, s *reconcile.State, t *history.Trees, pushes []forge.BranchPush) error {
	if err := r.merges.Find(ctx, t, s); err != nil {
		return err
	}
	s.Pushers = history.Pushers(s, pushes)
	if err := r.files(ctx, s, t); err != nil {
		return err
	}
	if err := r.soaks(ctx, s); err != nil {
		return err
	}
	var err error
	if s.Extra, err = t.Extra(ctx, s); err != nil {
		return err
	}
	return r.owed(ctx, s)
}

// files are what the pull changes, and who owns them by the base branch's
// CODEOWNERS. A change of CODEOWNERS is one of the policy.
func (r *Reader) files(ctx context.Context, s *reconcile.State, t *history.Trees) error {
	s.Files, s.OwnersError = nil, ""
	if t.Merge == nil || s.Kind != reconcile.PlanPull && s.Kind != reconcile.PlanMerged {
		return nil
	}
	paths, err := t.Repo.ChangedFiles(ctx, t.Base.(*git.Tree).SHA(), t.Tree)
	if err != nil {
		return err
	}
	who, err := config.ReadOwners(t.Rules, owners.Dialect(r.Forge.Kind()))
	if err != nil {
		s.OwnersError = err.Error()
	}
	if errors.Is(err, fs.ErrNotExist) {
		s.OwnersError = "the base branch has no CODEOWNERS"
	}
	for _, path := range paths {
		f := policy.File{Path: path}
		if who != nil {
			f.Owners = who.Of(path)
		}
		s.Files = append(s.Files, f)
		if owners.Is(path) {
			s.PolicyChange = append(s.PolicyChange, path+" changes: who owns which files")
		}
	}
	return nil
}

// owed are the reviews that overrides owe, and what came past the gate.
func (r *Reader) owed(ctx context.Context, s *reconcile.State) error {
	duties, err := r.Store.Duties(ctx, s.Operator.ID)
	if err != nil {
		return err
	}
	s.Duties = nil
	for _, d := range duties {
		s.Duties = append(s.Duties, policy.Duty{ID: d.ID, Environment: d.Environment, Pull: d.Number, By: d.By, Opened: d.Opened, Due: d.Due})
	}
	s.Bypass, err = r.Bypass.Open(ctx, s.Operator, s.Pull.Base.Name, s.BaseSHA)
	return err
}

// soaks looks whether what the pull applied, and has to soak, is healthy now. A
// cluster that does not answer has nothing that is known to be.
func (r *Reader) soaks(ctx context.Context, s *reconcile.State) error {
	if s.Pull.State != forge.Open && s.Kind != reconcile.PlanMerged || !slices.ContainsFunc(s.Policy.Environments, func(e policy.Environment) bool { return e.Soak != nil }) {
		return nil
	}
	for i := range s.Memory.Applies {
		a := &s.Memory.Applies[i]
		if a.Head != s.Pull.Head.SHA {
			continue
		}
		c, err := r.Cluster(a.Cluster)
		if err != nil {
			a.Healthy = false
			continue
		}
		problems, err := c.Health(ctx, cluster.Owner{RepoID: s.Operator.ID, Target: a.Target})
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		well := err == nil && len(problems) == 0
		if well && !a.Healthy {
			a.At = s.Now // the time begins anew
		}
		a.Healthy = well
	}
	return nil
}

// People finds out who may write, who is in the teams that the policy names,
// and which checks it asks for. People are asked about only when somebody said
// something that matters.
func (r *Reader) People(ctx context.Context, s *reconcile.State, targets []cluster.Target) error {
	speakers := map[int64]forge.User{}
	votes := 0
	for _, v := range s.Votes() {
		speakers[v.User.ID] = v.User
		votes++
	}
	for _, o := range s.Overrides() {
		speakers[o.By.ID] = o.By
		votes++
	}
	for _, c := range s.Commands {
		speakers[c.Comment.Author.ID] = c.Comment.Author
	}
	delete(speakers, 0)
	s.Writers, s.Admins = map[int64]bool{}, map[int64]bool{}
	for id, u := range speakers {
		p, err := r.Forge.Permission(ctx, s.Operator.Ref(), u)
		if err != nil && forge.CodeOf(err) != forge.NotFound {
			return err
		}
		s.Writers[id], s.Admins[id] = p >= forge.Write, p >= forge.Admin
	}
	for i, c := range s.Commands {
		s.Commands[i].Writer = s.Writers[c.Comment.Author.ID]
		votes++
	}
	s.Teams = map[string][]int64{}
	if err := r.checks(ctx, s); err != nil {
		return err
	}
	if err := r.unseen(ctx, s, targets); err != nil {
		return err
	}
	asking := s.Pull.State == forge.Open && !s.Pull.Draft && len(s.Memory.Reviewers) == 0 // for a review
	if votes == 0 && !asking {
		return nil
	}
	return r.teams(ctx, s, targets)
}

// unseen finds out what cannot be looked at on the clusters of the targets, so
// that nobody takes the lack of drift there for proof that nothing changed.
func (r *Reader) unseen(ctx context.Context, s *reconcile.State, targets []cluster.Target) error {
	s.Unseen = map[string][]cluster.Unknown{}
	for _, t := range targets {
		if _, known := s.Unseen[t.Cluster]; known {
			continue
		}
		w, err := r.Store.Watch(ctx, t.Cluster)
		if err != nil {
			return err
		}
		s.Unseen[t.Cluster] = slices.DeleteFunc(w.Unknown, func(u cluster.Unknown) bool { return !drift.Concerns(u, s.Operator.ID) })
	}
	return nil
}

// Eligible reports whether an account's approval could count for all that an
// environment asks for of a pull.
func (r *Reader) Eligible(ctx context.Context, s *reconcile.State, targets []cluster.Target, environment string, who forge.User) (bool, error) {
	p, err := r.Forge.Permission(ctx, s.Operator.Ref(), who)
	if err != nil && forge.CodeOf(err) != forge.NotFound {
		return false, err
	}
	s.Writers[who.ID], s.Admins[who.ID] = p >= forge.Write, p >= forge.Admin
	if err := r.teams(ctx, s, targets); err != nil {
		return false, err
	}
	return policy.Eligible(s.Policy, s.Facts(nil, nil), environment, who), nil
}

// teams reads the members of all teams that can matter to this pull.
func (r *Reader) teams(ctx context.Context, s *reconcile.State, targets []cluster.Target) error {
	teams := append(s.Policy.Teams(environments(targets)), policy.OwnerTeams(s.Files)...)
	for _, t := range teams {
		if _, known := s.Teams[t.String()]; known {
			continue
		}
		members, err := r.Forge.TeamMembers(ctx, s.Operator.Ref(), t)
		if forge.CodeOf(err) == forge.NotFound {
			s.NoTeams = append(s.NoTeams, t.String()) // has no members: fails closed
			continue
		}
		if err != nil {
			return err
		}
		s.Teams[t.String()] = []int64{}
		for _, u := range members {
			s.Teams[t.String()] = append(s.Teams[t.String()], u.ID)
		}
		slices.Sort(s.Teams[t.String()])
	}
	return nil
}

// environments are all that these targets of both trees are in: what the policy
// may ask about this pull. The plan is not made yet.
func environments(targets []cluster.Target) []string {
	out := make([]string, len(targets))
	for i, t := range targets {
		out[i] = t.Environment
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// checks reads those of the head, if the policy asks for any.
func (r *Reader) checks(ctx context.Context, s *reconcile.State) error {
	s.Checks = nil
	s.Memory.Checks = slices.ContainsFunc(s.Policy.Environments, func(e policy.Environment) bool { return len(e.Checks) > 0 })
	if !s.Memory.Checks {
		return nil
	}
	found, err := r.Forge.Checks(ctx, s.Operator.Ref(), s.Pull.Head.SHA)
	if err != nil {
		return err
	}
	for _, c := range found {
		s.Checks = append(s.Checks, policy.Check{Name: c.Name, App: c.AppID, AppSlug: c.AppSlug, By: c.By.ID, ByLogin: c.By.Login, State: string(c.State)})
	}
	return nil
}
