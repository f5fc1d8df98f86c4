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

// mass keeps the issues about many changes at once in step: one in each
// repository whose targets drift.
func (l *look) mass(ctx context.Context, all []*target) error {
	gone, fresh := tally(all)
	now := massive(gone, l.census.Objects, fresh)
	if !now && l.known.Mass.IsZero() {
		return nil
	}
	reason := fmt.Sprintf("%d of %d objects on cluster %s are gone or were made again, and %d targets drift that nobody was told of", gone, l.census.Objects, l.name, fresh)
	if now && l.known.Mass.IsZero() {
		l.known.Mass, l.known.Issues = l.Now(), map[int64]int{}
		if err := l.recordMass(ctx, "many changes", reason); err != nil {
			return err
		}
	}
	for _, op := range l.Server.Repositories {
		affected := slices.DeleteFunc(slices.Clone(all), func(t *target) bool { return t.op.ID != op.ID || len(loud(t.row.Findings)) == 0 })
		if len(affected) == 0 && l.known.Issues[op.ID] == 0 {
			continue
		}
		if err := l.tellMass(ctx, op, affected, now, gone); err != nil {
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
func (l *look) tellMass(ctx context.Context, op config.Repository, affected []*target, now bool, gone int) error {
	v := report.MassDrift{
		Key: fmt.Sprintf("mass/%d/%s", op.ID, l.name), Cluster: l.name, Since: l.known.Mass, Over: !now, Objects: l.census.Objects, Gone: gone,
	}
	for _, t := range affected {
		v.Targets = append(v.Targets, report.MassTarget{Name: t.target.Name, Environment: t.target.Environment, Objects: objects(t.row.Findings), By: managers(t.row.Findings)})
	}
	body, err := v.Body(l.Forge.Limits().Comment)
	if err != nil {
		return err
	}
	open, err := l.issue(ctx, op, v.Key)
	if unwelcome(err) {
		l.Log.WarnContext(ctx, "cannot tell of many changes in an issue", "repository", op.Name, "cluster", l.name, "error", err)
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
