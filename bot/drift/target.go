package drift

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/config"
	"lockkeeper/bot/plan"
	"lockkeeper/bot/policy"
	"lockkeeper/bot/store"
	"lockkeeper/bot/trail"
	"lockkeeper/cluster"
	"lockkeeper/forge"
	"lockkeeper/forge/git"
)

// base is a base branch as it is now.
type base struct {
	name    string
	sha     string
	tree    *git.Tree
	targets []cluster.Target
	policy  policy.Policy
	// sound is set if its configuration could be read: what it does not name then
	// is not there.
	sound bool
}

// target is what a look finds out about one target.
type target struct {
	op     config.Repository
	repo   forge.Repo
	mirror *git.Mirror
	base   base
	first  bool // base is the first of the repository's
	target cluster.Target
	row    store.Drift
	known  bool // the row was there before
	lost   bool // no base branch has it any more
	// vanished is set if the inventory has nothing of it, although it was applied.
	vanished bool
	// unknown is set where something could not be looked at; problems say why.
	unknown  bool
	problems []cluster.Problem
	objects  []cluster.Object // that the base branch renders to
	offer    *proposal        // once it was asked for
}

// examine finds out how the live objects of a target differ from what was
// applied, and stores it. It returns nil where there is nothing to tell: the
// target is not ours to handle, somebody works on it, or it is clean and was.
func (l *look) examine(ctx context.Context, o cluster.Owner, rows []store.Drift) (*target, error) {
	op, ok := l.Server.Load().Repository(o.RepoID)
	if !ok {
		l.Log.DebugContext(ctx, "objects of a repository that the server file does not name", "cluster", l.name, trail.Repo, o.RepoID, "target", o.Target)
		return nil, nil
	}
	if held, err := l.held(ctx, o); err != nil || held {
		l.skipped[o] = true
		return nil, err
	}
	row := store.Drift{RepoID: o.RepoID, Cluster: l.name, Target: o.Target}
	i := slices.IndexFunc(rows, func(d store.Drift) bool { return d.RepoID == o.RepoID && d.Target == o.Target })
	if i >= 0 {
		row = rows[i]
	}
	t, err := l.find(ctx, op, row)
	if err != nil || t == nil {
		return nil, err
	}
	if t.row, t.known = row, i >= 0; t.lost {
		t.row.Findings, t.row.Digest = nil, ""
		return t, nil
	}
	if held, err := l.compare(ctx, t, o); err != nil || held {
		l.skipped[o] = true
		return nil, err
	}
	if t.unknown {
		l.blind(o, t.problems[0].Message)
	}
	if t.row.Digest == "" && !t.known {
		return nil, nil
	}
	return t, nil
}

// find finds a target in the first base branch that has it on this cluster, nil
// where none has: what is left of it then is for the pull that removed it, and
// told as not known until that is applied. One
// that is known to drift is lost if it is known that none has.
func (l *look) find(ctx context.Context, op config.Repository, row store.Drift) (*target, error) {
	repo, err := l.Repository(ctx, op)
	if err != nil {
		return nil, err
	}
	if repo.Archived {
		o := cluster.Owner{RepoID: op.ID, Target: row.Target}
		l.blind(o, "its repository "+repo.String()+" is archived: nothing can be proposed there, and nothing is healed")
		l.skipped[o] = true
		return nil, nil
	}
	mirror := l.Mirrors.Mirror(ctx, strconv.FormatInt(op.ID, 10))
	if _, ok := l.bases[op.ID]; !ok {
		if l.bases[op.ID], err = l.readBases(ctx, op, repo, mirror); err != nil {
			return nil, err
		}
	}
	lost := &target{op: op, repo: repo, mirror: mirror, lost: row.Digest != "", target: cluster.Target{RepoID: op.ID, Name: row.Target, Cluster: l.name}}
	for i, b := range l.bases[op.ID] {
		at := slices.IndexFunc(b.targets, func(t cluster.Target) bool { return t.Name == row.Target && t.Cluster == l.name })
		if at >= 0 {
			return &target{op: op, repo: repo, mirror: mirror, base: b, first: i == 0, target: b.targets[at]}, nil
		}
		if !b.sound {
			o := cluster.Owner{RepoID: op.ID, Target: row.Target}
			l.blind(o, "whether "+b.name+" has it is not known: its "+config.RepoFile+" is not valid")
			l.skipped[o] = true
			return nil, nil
		}
		if b.name == row.Base {
			lost.base = b
		}
	}
	l.Log.DebugContext(ctx, "objects of a target that no base branch has", "cluster", l.name, trail.Repo, op.Name, "target", row.Target)
	if o := (cluster.Owner{RepoID: op.ID, Target: row.Target}); l.census.Owners[o] > 0 {
		l.blind(o, fmt.Sprintf("no base branch has it on this cluster any more, and %d objects of it are left there: apply the pull that removed it, or bring it back", l.census.Owners[o]))
	}
	if !lost.lost || lost.base.name == "" {
		return nil, nil
	}
	return lost, nil
}

// readBases brings the base branches here. A target that is configured wrongly
// is missing among its targets; the pull that did that is told.
func (l *look) readBases(ctx context.Context, op config.Repository, repo forge.Repo, mirror *git.Mirror) ([]base, error) {
	names := op.Bases
	if len(names) == 0 {
		names = []string{repo.DefaultBranch}
	}
	auth, err := l.Forge.GitAuth(ctx, op.Ref())
	if err != nil {
		return nil, err
	}
	wants := make([]string, len(names))
	for i, n := range names {
		wants[i] = "refs/heads/" + n
	}
	shas, err := mirror.Fetch(ctx, repo.CloneURL, auth, wants...)
	if err != nil {
		return nil, err
	}
	var out []base
	for i, n := range names {
		b := base{name: n, sha: shas[i]}
		if b.tree, err = treeOf(ctx, mirror, shas[i]); err != nil {
			return nil, err
		}
		var problems config.Problems
		file, targets, err := plan.Load(b.tree, &op)
		if err != nil && !errors.As(err, &problems) {
			return nil, fmt.Errorf("branch %s: %w", n, err)
		}
		b.targets, b.policy, b.sound = targets, config.Compile(file, l.Server.Load()), err == nil
		out = append(out, b)
	}
	return out, nil
}

func treeOf(ctx context.Context, mirror *git.Mirror, commit string) (*git.Tree, error) {
	sha, err := mirror.TreeOf(ctx, commit)
	if err != nil {
		return nil, err
	}
	return mirror.Tree(ctx, sha)
}

// compare asks the cluster, by value, for the objects that may differ, and
// stores what it says; unless somebody took the target meanwhile, whose writes
// are no drift.
func (l *look) compare(ctx context.Context, t *target, o cluster.Owner) (held bool, err error) {
	report, err := l.report(ctx, t, o)
	if err != nil {
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		report = &cluster.DriftReport{Problems: []cluster.Problem{{Message: err.Error()}}}
	}
	if held, err := l.held(ctx, o); err != nil || held {
		return held, err
	}
	report.Problems = append(report.Problems, undecided(report, t.row.Findings, l.census.Suspects[o])...)
	t.problems = report.Problems
	t.unknown = len(report.Problems) > 0
	for _, p := range report.Problems {
		l.Log.WarnContext(ctx, "cannot tell whether an object drifted", "cluster", l.name, "target", t.target.Name, "problem", p.Message, "ref", p.Ref)
	}
	return false, l.note(ctx, t, report)
}

func (l *look) report(ctx context.Context, t *target, o cluster.Owner) (*cluster.DriftReport, error) {
	rendering, err := l.Renderer.Render(ctx, t.base.tree, t.target.Path)
	if err != nil {
		return nil, fmt.Errorf("%s of %s cannot be rendered: %w", t.target.Path, t.base.name, err)
	}
	t.objects = rendering.Objects
	r := cluster.DriftRequest{
		Target: t.target, Objects: t.objects, Ignore: t.base.policy.Watching.Ignore, Humans: t.base.policy.Watching.Humans,
	}
	if r.Applied, err = l.wasApplied(ctx, t, o); err != nil {
		return nil, err
	}
	if !l.full {
		r.Only = append(refs(t.row.Findings), l.census.Suspects[o]...)
		slices.SortFunc(r.Only, cluster.Ref.Compare)
		r.Only = slices.Compact(r.Only)
	}
	return l.cluster.Drift(ctx, r)
}

// wasApplied renders the revision that was applied last, nil where Git has it
// no more: a head that was thrown away.
func (l *look) wasApplied(ctx context.Context, t *target, o cluster.Owner) ([]cluster.Object, error) {
	if l.applied == nil {
		var err error
		if l.applied, err = l.cluster.Applied(ctx); err != nil {
			return nil, err
		}
	}
	revision := l.applied[o].Revision
	if revision == "" || revision == t.base.sha {
		return t.objects, nil
	}
	tree, err := treeOf(ctx, t.mirror, revision)
	if errors.Is(err, git.ErrNoRevision) {
		tree, err = l.fetch(ctx, t, revision)
	}
	if err != nil {
		return nil, ctx.Err()
	}
	_, targets, err := plan.Load(tree, &t.op)
	var problems config.Problems
	if err != nil && !errors.As(err, &problems) {
		return nil, ctx.Err()
	}
	i := slices.IndexFunc(targets, func(x cluster.Target) bool { return x.Name == t.target.Name && x.Cluster == l.name })
	if i < 0 {
		return nil, ctx.Err()
	}
	rendering, err := l.Renderer.Render(ctx, tree, targets[i].Path)
	if err != nil {
		return nil, ctx.Err()
	}
	return rendering.Objects, nil
}

// fetch brings a commit here, and returns its tree.
func (l *look) fetch(ctx context.Context, t *target, commit string) (*git.Tree, error) {
	auth, err := l.Forge.GitAuth(ctx, t.op.Ref())
	if err != nil {
		return nil, err
	}
	if _, err := t.mirror.Fetch(ctx, t.repo.CloneURL, auth, commit); err != nil {
		return nil, err
	}
	return treeOf(ctx, t.mirror, commit)
}

// note stores and records what was found.
func (l *look) note(ctx context.Context, t *target, report *cluster.DriftReport) error {
	before := t.row
	t.row.Findings = found(before.Findings, report, l.Now())
	var err error
	if t.row.Digest, err = digestOf(t.row.Findings); err != nil {
		return err
	}
	if t.row.Digest == "" {
		return nil // the row is dropped once nothing tells of it any more
	}
	if !t.known {
		t.row.Since = l.Now()
	}
	t.row.Base, t.row.Environment = t.base.name, t.target.Environment
	if err := l.news(ctx, t, before); err != nil {
		return err
	}
	if err := l.Store.SaveDrift(ctx, t.row); err != nil || before.Digest == t.row.Digest || t.row.Number == 0 {
		return err
	}
	return l.judge(ctx, t) // a plan of other findings is not to be applied
}

// news records what is not as it was the last time. That a drift is gone is
// recorded when it is settled.
func (l *look) news(ctx context.Context, t *target, before store.Drift) error {
	is, was := len(loud(t.row.Findings)) > 0, len(loud(before.Findings)) > 0
	outcome := "changed"
	switch {
	case before.Digest == t.row.Digest || was && !is:
		return nil
	case !is:
		outcome = "ownership"
	case !was:
		outcome = "found"
	}
	// Recorded before it is stored: a crash in between records it twice rather
	// than never.
	return l.record(ctx, t, forge.User{}, outcome, fmt.Sprintf("objects on cluster %s that are not as they were applied: %d", l.name, objects(t.row.Findings)))
}

// difference is a finding as it is recorded: never with values, which may be
// secret.
type difference struct {
	Kind     cluster.FindingKind `json:"kind"`
	Ref      cluster.Ref         `json:"ref"`
	Field    string              `json:"field,omitempty"`
	Managers []string            `json:"managers,omitempty"`
}

// record writes to the audit trail what became of a target's drift.
func (l *look) record(ctx context.Context, t *target, by forge.User, outcome, reason string) error {
	var all []difference
	for _, f := range t.row.Findings {
		all = append(all, difference{f.Kind, f.Ref, f.Field.Path, f.Managers})
	}
	doc, err := json.Marshal(struct {
		Cluster     string       `json:"cluster"`
		Environment string       `json:"environment"`
		Differences []difference `json:"differences,omitempty"`
	}{l.name, t.target.Environment, all})
	if err != nil {
		return fmt.Errorf("record the drift of %s: %w", t.target.Name, err)
	}
	return l.Record(ctx, by, audit.Record{
		Type: audit.Drift, Repo: t.op.Ref(), Pull: t.row.Number, Base: t.base.sha, Target: t.target.Name,
		Outcome: outcome, Reason: reason, Facts: doc, PolicyRevision: t.base.policy.Revision(),
	})
}
