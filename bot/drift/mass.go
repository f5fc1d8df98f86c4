package drift

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/config"
	"lockkeeper/bot/report"
	"lockkeeper/bot/store"
	"lockkeeper/bot/trail"
	"lockkeeper/cluster"
	"lockkeeper/forge"
)

// So much at once is no drift of targets but something that happened to the
// cluster, which a pull for each would bury: it was rebuilt, or somebody works
// on it.
const (
	massGone    = 10 // objects deleted or made again, and at least
	massShare   = 30 // percent of the cluster's
	massTargets = 10 // more than so many targets drift and have no pull or issue yet
)

// massive reports whether so much changed at once.
func massive(gone, objects, fresh int) bool {
	return gone >= massGone && gone*100 >= massShare*objects || fresh > massTargets
}

// tally counts what massive looks at.
func tally(all []*target) (gone, fresh int) {
	for _, t := range all {
		if t.vanished {
			gone += len(t.objects)
		}
		for _, f := range t.row.Findings {
			if f.Kind == cluster.Gone || f.Kind == cluster.Remade {
				gone++
			}
		}
		if len(loud(t.row.Findings)) > 0 && t.row.Number == 0 && t.row.Issue == 0 {
			fresh++
		}
	}
	return gone, fresh
}

// rest are the targets that were not examined, as far as they are known to
// drift: that nobody could look does not end what happened to the cluster.
func (l *look) rest(rows []store.Drift) []*target {
	var out []*target
	for _, d := range rows {
		op, ok := l.Server.Load().Repository(d.RepoID)
		if ok && l.skipped[cluster.Owner{RepoID: d.RepoID, Target: d.Target}] {
			out = append(out, &target{op: op, row: d, known: true, target: cluster.Target{RepoID: d.RepoID, Name: d.Target, Cluster: d.Cluster, Environment: d.Environment}})
		}
	}
	return out
}

// vanished are the targets that were applied, that Git has, and of which the
// inventory knows nothing: the cluster was made anew. While the inventory knows
// others, and nothing is wrong, they are looked for now and then only.
func (l *look) vanished(ctx context.Context) ([]*target, error) {
	away := slices.ContainsFunc(l.census.Unknown, func(u cluster.Unknown) bool { return u.Kind == "" })
	if away || l.census.Objects > 0 && !l.full && l.known.Mass.IsZero() && len(l.blindBefore()) == 0 {
		return nil, nil
	}
	applied, err := l.Store.AppliedTo(ctx, l.name)
	if err != nil {
		return nil, err
	}
	var out []*target
	for _, o := range applied {
		op, ok := l.Server.Load().Repository(o.RepoID)
		if !ok || l.census.Owners[o] > 0 || l.skipped[o] {
			continue
		}
		t, err := l.missing(ctx, op, o)
		if err != nil {
			return nil, fmt.Errorf("target %s of %s on %s: %w", o.Target, op.Name, l.name, err)
		}
		if t != nil {
			out = append(out, t)
		}
	}
	return out, nil
}

// missing is a target of which the inventory has nothing, nil if that is as it
// should be: Git has nothing of it either, or it is being applied.
func (l *look) missing(ctx context.Context, op config.Repository, o cluster.Owner) (*target, error) {
	if held, err := l.held(ctx, o); err != nil || held {
		return nil, err
	}
	t, err := l.find(ctx, op, store.Drift{RepoID: o.RepoID, Cluster: l.name, Target: o.Target})
	if err != nil || t == nil {
		return nil, err
	}
	rendering, err := l.Renderer.Render(ctx, t.base.tree, t.target.Path)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil || len(rendering.Objects) == 0 {
		return nil, nil // what does not render is told where it was merged
	}
	t.vanished, t.objects = true, rendering.Objects
	l.blind(o, "the inventory of the cluster holds nothing of it, although it was applied: the cluster was rebuilt or restored, or somebody deleted the inventory; /sync the target")
	return t, nil
}

// mass keeps the issues about many changes at once in step: one in each
// repository whose targets drift. others were not examined, but are known to
// drift, or vanished.
func (l *look) mass(ctx context.Context, all, others []*target) error {
	all = append(slices.Clone(all), others...)
	gone, fresh := tally(all)
	total, lost := l.census.Objects, false
	for _, t := range others {
		if t.vanished {
			total, lost = total+len(t.objects), true
		}
	}
	now := massive(gone, total, fresh) || lost && (l.census.Objects == 0 || !l.known.Mass.IsZero())
	if !now && l.known.Mass.IsZero() {
		return nil
	}
	reason := fmt.Sprintf("%d of %d objects on cluster %s are gone or were made again, and %d targets drift that nobody was told of", gone, total, l.name, fresh)
	if now && l.known.Mass.IsZero() {
		l.known.Mass, l.known.Issues = l.Now(), map[int64]int{}
		if err := l.recordMass(ctx, "many changes", reason); err != nil {
			return err
		}
	}
	for _, op := range l.Server.Load().Repositories {
		affected := slices.DeleteFunc(slices.Clone(all), func(t *target) bool { return t.op.ID != op.ID || len(loud(t.row.Findings)) == 0 && !t.vanished })
		if len(affected) == 0 && l.known.Issues[op.ID] == 0 {
			continue
		}
		if err := l.tellMass(ctx, op, affected, now, gone, total); err != nil {
			return err
		}
	}
	if !now {
		l.known.Mass, l.known.Issues = time.Time{}, nil
		if err := l.recordMass(ctx, "many changes are over", reason); err != nil {
			return err
		}
	}
	return l.save(ctx)
}

func (l *look) recordMass(ctx context.Context, outcome, reason string) error {
	return l.Record(ctx, forge.User{}, audit.Record{Type: audit.Drift, Outcome: outcome, Reason: reason})
}

// tellMass writes the issue of one repository. One that somebody closed stays
// closed until it is over.
func (l *look) tellMass(ctx context.Context, op config.Repository, affected []*target, now bool, gone, total int) error {
	v := report.MassDrift{
		Key: fmt.Sprintf("mass/%d/%s", op.ID, l.name), Cluster: l.name, Since: l.known.Mass, Over: !now, Objects: total, Gone: gone,
	}
	for _, t := range affected {
		n := objects(t.row.Findings)
		if t.vanished {
			n = len(t.objects)
		}
		v.Targets = append(v.Targets, report.MassTarget{Name: t.target.Name, Environment: t.target.Environment, Objects: n, By: managers(t.row.Findings)})
	}
	body, err := v.Body(l.Forge.Limits().Comment)
	if err != nil {
		return err
	}
	open, err := l.issue(ctx, op, v.Key)
	if unwelcome(err) {
		l.Log.WarnContext(ctx, "cannot tell of many changes in an issue", trail.Repo, op.Name, "cluster", l.name, "error", err)
		return nil
	}
	switch {
	case err != nil:
		return err
	case open == nil && (!now || l.known.Issues[op.ID] != 0):
		return nil
	case open == nil:
		made, err := l.Forge.CreateIssue(ctx, op.Ref(), v.Title(), body)
		if err == nil {
			l.known.Issues[op.ID] = made.Number
		}
		return err
	}
	if now {
		l.known.Issues[op.ID] = open.Number
	}
	if !same(open.Body, body) || !now {
		_, err = l.Forge.UpdateIssue(ctx, op.Ref(), open.Number, forge.IssueEdit{Body: &body, Close: !now})
	}
	return err
}

// issue finds our open issue with a key, nil if there is none.
func (l *look) issue(ctx context.Context, op config.Repository, key string) (*forge.Issue, error) {
	all, err := l.Forge.Issues(ctx, op.Ref())
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(i forge.Issue) bool { return strings.HasPrefix(i.Body, report.Marker(key, 1)) })
	if i < 0 {
		return nil, nil
	}
	return &all[i], nil
}

// unwelcome reports that a repository has no issues for us.
func unwelcome(err error) bool {
	return err != nil && (forge.CodeOf(err) == forge.NotFound || forge.CodeOf(err) == forge.Forbidden)
}

// same compares texts as forges keep them.
func same(a, b string) bool {
	plain := func(s string) string { return strings.TrimSpace(strings.ReplaceAll(s, "\r\n", "\n")) }
	return plain(a) == plain(b)
}
