package drift

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/names"
	"lockkeeper/bot/store"
	"lockkeeper/cluster"
	"lockkeeper/forge"
)

// look is one look at a cluster.
type look struct {
	*Watcher
	name    string
	cluster cluster.Cluster
	known   store.Watch
	census  *cluster.Census
	full    bool
	applied map[cluster.Owner]cluster.AppliedTarget
	bases   map[int64][]base // by repository
	// skipped are those that were not examined: somebody held them, or something
	// failed. unseen is what else than the census' cannot be looked at.
	skipped map[cluster.Owner]bool
	unseen  []cluster.Unknown
}

// Look finds out what on a cluster is no longer as it was applied, and does
// about it what is to be done. full compares everything by value; otherwise
// that is done once a day, and what metadata proves clean is not asked for.
func (w *Watcher) Look(ctx context.Context, clusterName string, full bool) error {
	c, ok := w.Clusters[clusterName]
	if !ok {
		return nil // no longer in the server file
	}
	l := &look{Watcher: w, name: clusterName, cluster: c, bases: map[int64][]base{}, skipped: map[cluster.Owner]bool{}}
	var err error
	if l.known, err = w.Store.Watch(ctx, clusterName); err != nil {
		return err
	}
	if l.census, err = c.Census(ctx); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return errors.Join(l.unknown(ctx, append(l.blindBefore(), cluster.Unknown{Since: w.Now(), Reason: err.Error()})), l.again(ctx, comeBack))
	}
	if err := l.unknown(ctx, append(l.blindBefore(), l.census.Unknown...)); err != nil {
		return err
	}
	l.full = full || w.Now().Sub(l.known.Full) >= fullEvery
	err = l.targets(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if l.full {
		if l.known.Full = w.Now(); err != nil {
			l.known.Full = w.Now().Add(fullAgain - fullEvery)
		}
	}
	return errors.Join(err, l.unknown(ctx, append(l.unseen, l.census.Unknown...)), l.again(ctx, time.Duration(w.Server.Load().Sweep)))
}

// blindKind begins the names of targets among what cannot be looked at; no kind
// of objects has a space.
const blindKind = "target "

// Concerns reports whether what cannot be looked at may concern a repository:
// kinds of objects do, targets only their own.
func Concerns(u cluster.Unknown, repo int64) bool {
	return !strings.HasPrefix(u.Kind, blindKind) || strings.HasSuffix(u.Kind, fmt.Sprintf(" of repository %d", repo))
}

// blind notes that it is not known whether a target drifted.
func (l *look) blind(o cluster.Owner, reason string) {
	u := cluster.Unknown{Kind: fmt.Sprintf("%s%s of repository %d", blindKind, o.Target, o.RepoID), Since: l.Now(), Reason: reason}
	if !slices.ContainsFunc(l.unseen, func(o cluster.Unknown) bool { return o.Kind == u.Kind }) {
		l.unseen = append(l.unseen, u)
	}
}

// blindOwner is the target that blind spoke of.
func blindOwner(u cluster.Unknown) (o cluster.Owner) {
	name, id, _ := strings.Cut(strings.TrimPrefix(u.Kind, blindKind), " of repository ")
	o.Target = name
	o.RepoID, _ = strconv.ParseInt(id, 10, 64) // 0 is no repository
	return o
}

// blindBefore are the targets that could not be told of at the last look: they
// are not known until they are examined again.
func (l *look) blindBefore() []cluster.Unknown {
	return slices.DeleteFunc(slices.Clone(l.known.Unknown), func(u cluster.Unknown) bool { return !strings.HasPrefix(u.Kind, blindKind) })
}

// again has the cluster looked at after a while, news or not.
func (l *look) again(ctx context.Context, after time.Duration) error {
	return l.Store.WantAt(context.WithoutCancel(ctx), Key(l.name), l.Now().Add(after))
}

func (l *look) save(ctx context.Context) error {
	l.known.Looked = l.Now()
	return l.Store.SaveWatch(context.WithoutCancel(ctx), l.known)
}

// unknown notes what cannot be looked at, since when, and records when that
// begins and ends. It is never taken for clean.
func (l *look) unknown(ctx context.Context, now []cluster.Unknown) error {
	before := l.known.Unknown
	l.known.Unknown = slices.Clone(now)
	for i, u := range now {
		at := slices.IndexFunc(before, func(o cluster.Unknown) bool { return o.Kind == u.Kind })
		if at >= 0 {
			if before[at].Since.Before(u.Since) {
				l.known.Unknown[i].Since = before[at].Since
			}
			continue
		}
		if err := l.recordUnknown(ctx, u, "unknown"); err != nil {
			return err
		}
	}
	for _, u := range before {
		if !slices.ContainsFunc(now, func(o cluster.Unknown) bool { return o.Kind == u.Kind }) {
			if err := l.recordUnknown(ctx, u, "known again"); err != nil {
				return err
			}
		}
	}
	return l.save(ctx)
}

func (l *look) recordUnknown(ctx context.Context, u cluster.Unknown, outcome string) error {
	what := cmp.Or(u.Kind, "everything") + " on cluster " + l.name
	doc, err := json.Marshal(map[string]string{"cluster": l.name, "kind": u.Kind})
	if err != nil {
		return err
	}
	l.Log.WarnContext(ctx, "a kind cannot be looked at for drift: its objects count as unknown until it can", "cluster", l.name, "kind", u.Kind, "outcome", outcome, "reason", u.Reason)
	return l.Record(ctx, forge.User{}, audit.Record{
		Type: audit.Drift, Outcome: outcome, Reason: what + " cannot be looked at since " + u.Since.UTC().Format(time.RFC3339), Facts: doc,
	})
}

// targets examines every target that may have drifted, and then settles what
// was found: whether so much changed at once that something else happened to
// the cluster is only known when all are examined.
func (l *look) targets(ctx context.Context) error {
	rows, err := l.Store.Drifts(ctx, l.name)
	if err != nil {
		return err
	}
	var all []*target
	var failed []error
	for _, o := range l.owners(rows) {
		t, err := l.examine(ctx, o, rows)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			l.skipped[o] = true
			l.blind(o, err.Error())
			failed = append(failed, fmt.Errorf("target %s of repository %d on %s: %w", o.Target, o.RepoID, l.name, err))
		case t != nil:
			all = append(all, t)
		}
	}
	vanished, err := l.vanished(ctx)
	if err != nil {
		return errors.Join(append(failed, err)...)
	}
	if err := l.mass(ctx, all, append(l.rest(rows), vanished...)); err != nil {
		return errors.Join(append(failed, err)...)
	}
	for _, t := range all {
		if err := l.settle(ctx, t); err != nil {
			failed = append(failed, fmt.Errorf("target %s of %s on %s: %w", t.target.Name, t.op.Name, l.name, err))
		}
	}
	return errors.Join(failed...)
}

// owners are those that have something to examine, sorted.
func (l *look) owners(rows []store.Drift) []cluster.Owner {
	found := map[cluster.Owner]bool{}
	for o := range l.census.Suspects {
		found[o] = true
	}
	for _, d := range rows {
		found[cluster.Owner{RepoID: d.RepoID, Target: d.Target}] = true
	}
	for _, u := range l.blindBefore() {
		if o := blindOwner(u); l.census.Owners[o] > 0 {
			found[o] = true // until it is known again
		}
	}
	if l.full {
		for o := range l.census.Owners {
			found[o] = true
		}
	}
	return slices.SortedFunc(maps.Keys(found), func(a, b cluster.Owner) int {
		return cmp.Or(cmp.Compare(a.RepoID, b.RepoID), cmp.Compare(a.Target, b.Target))
	})
}

// held reports whether somebody holds the target: what happens there now is
// theirs. It is looked at when they let go, at the latest after a while.
func (l *look) held(ctx context.Context, o cluster.Owner) (bool, error) {
	key := names.TargetKey(cluster.Target{RepoID: o.RepoID, Name: o.Target, Cluster: l.name})
	l.leave(key, true) // before it is asked, or else its end may be missed
	_, err := l.Store.Lease(ctx, key)
	if err == nil {
		return true, l.again(ctx, comeBack)
	}
	l.leave(key, false)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return false, err
}
