// Package drift follows what becomes of live objects after they were applied.
// Where they differ from it, people are told by a pull that would make Git say
// what is live, or by an issue where no such edit can be proven; or else what
// was applied is put back, where the environment says so. What is different is
// found by the clusters (cluster.Census, cluster.Drift), what is to be done
// about it by decide, which is pure; what is known is in bot/store.
package drift

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/config"
	"lockkeeper/bot/names"
	"lockkeeper/bot/plan"
	"lockkeeper/bot/store"
	"lockkeeper/cluster"
	"lockkeeper/cluster/manifest/writeback"
	"lockkeeper/forge"
	"lockkeeper/forge/git"
)

const (
	// fullEvery is how often everything is compared by value, whatever the
	// metadata says.
	fullEvery = 24 * time.Hour
	// fullAgain is how soon after one of which something failed.
	fullAgain = time.Hour
	// comeBack is when a target is looked at again that somebody acts on now, and
	// a cluster that could not be asked.
	comeBack = 5 * time.Minute
	// watchAgain is how soon a watch that ended begins anew; it doubles up to
	// watchMost while it ends at once.
	watchAgain = time.Second
	watchMost  = time.Minute
)

// Watcher looks at clusters. All exported fields are required unless they say
// otherwise. It is safe for concurrent use; one cluster is looked at once at a
// time, as work under Key is.
type Watcher struct {
	Server   *config.Live
	Forge    forge.Forge
	Store    *store.Store
	Mirrors  *git.Cache
	Renderer plan.Renderer
	Writer   *writeback.Writer
	// Clusters by the names of the server file.
	Clusters map[string]cluster.Cluster
	Log      *slog.Logger
	// Now is the clock.
	Now func() time.Time
	// Self is the account that we act as.
	Self forge.User
	// Repository reads a repository from the forge.
	Repository func(context.Context, config.Repository) (forge.Repo, error)
	// Record appends to the audit trail. It fills in who acted (nobody, if the
	// account has no ID), when, and which lockkeeper wrote it.
	Record func(ctx context.Context, by forge.User, r audit.Record) error
	// Approver reports whether an account's approval could count for a pull in an
	// environment.
	Approver func(ctx context.Context, repo int64, number int, environment string, who forge.User) (bool, error)
	// Heal puts back what was applied last, through the gate. Nil heals nothing.
	Heal func(ctx context.Context, r HealRequest) (HealResult, error)

	// Step is told the name of each step before it is taken, and calls what it
	// gets after it.
	Step func(ctx context.Context, key, name string) (done func())

	mu sync.Mutex
	// left are the leases for which targets were left alone. It is in memory:
	// after a restart every cluster is looked at anyway.
	left map[string]bool
}

// HealRequest asks for what was applied last to be put back.
type HealRequest struct {
	Repository config.Repository
	Base       string // branch
	BaseSHA    string
	Target     cluster.Target
	Findings   []cluster.Finding
}

// HealResult is what came of it: reasons for which it was not begun, or the
// outcome of an operation in a word, which is "succeeded" if all went well.
type HealResult struct {
	Refused []string
	Outcome string
}

// The outcomes of heals that matter here.
const (
	healSucceeded = "succeeded"
	healRefused   = "refused"
	healFailed    = "failed"
)

// keyPrefix begins the work keys of clusters.
const keyPrefix = "drift/"

// Key is the key of the work queue under which a cluster is looked at.
func Key(clusterName string) string { return keyPrefix + clusterName }

// Cluster is the name in such a key, "" of any other.
func Cluster(key string) string {
	name, ok := strings.CutPrefix(key, keyPrefix)
	if !ok {
		return ""
	}
	return name
}

// Watch follows all clusters until ctx ends, and has each looked at when its
// objects may have changed: at once, too, in case they did before. Of several
// replicas one follows a cluster, and another when that one is gone; any of them
// may be the one that looks.
func (w *Watcher) Watch(ctx context.Context) error {
	all, ctx := errgroup.WithContext(ctx)
	for name, c := range w.Clusters {
		all.Go(func() error {
			err := w.Store.Keep(ctx, "watch/"+name, "watching the cluster", func(ctx context.Context) error {
				w.follow(ctx, name, c)
				return nil
			})
			if ctx.Err() != nil {
				return nil
			}
			return err
		})
	}
	return all.Wait()
}

// follow watches one cluster, again when a watch ends.
func (w *Watcher) follow(ctx context.Context, name string, c cluster.Cluster) {
	news := func() {
		if err := w.Store.Want(ctx, Key(name)); err != nil && ctx.Err() == nil {
			w.Log.ErrorContext(ctx, "a change on the cluster is looked at later", "cluster", name, "error", err)
		}
	}
	pause := watchAgain
	for ctx.Err() == nil {
		news()
		began := time.Now()
		err := c.Watch(ctx, news)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > watchMost {
			pause = watchAgain
		}
		w.Log.WarnContext(ctx, "the watch of the cluster ended, and begins anew", "cluster", name, "error", err, "in", pause)
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
		pause = min(2*pause, watchMost)
	}
}

// Released has the clusters looked at of whose targets a lease was given up,
// where that matters: they were left alone meanwhile, or drifted before. keys
// are those of the leases (names.TargetKey).
func (w *Watcher) Released(ctx context.Context, keys ...string) error {
	for name := range w.Clusters {
		matters, err := w.matters(ctx, name, keys)
		if err != nil {
			return err
		}
		if !matters {
			continue
		}
		if err := w.Store.Want(ctx, Key(name)); err != nil {
			return err
		}
	}
	return nil
}

func (w *Watcher) matters(ctx context.Context, name string, keys []string) (bool, error) {
	keys = slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return !strings.HasPrefix(k, names.TargetKeys(name)) })
	if len(keys) == 0 {
		return false, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range keys {
		if w.left[k] {
			return true, nil
		}
	}
	known, err := w.Store.Drifts(ctx, name)
	return slices.ContainsFunc(known, func(d store.Drift) bool {
		return slices.Contains(keys, names.TargetKey(cluster.Target{RepoID: d.RepoID, Name: d.Target, Cluster: d.Cluster}))
	}), err
}

// leave notes whether a target is left alone.
func (w *Watcher) leave(key string, alone bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.left == nil {
		w.left = map[string]bool{}
	}
	if alone {
		w.left[key] = true
	} else {
		delete(w.left, key)
	}
}

// Seen has a cluster looked at if a pull is one of ours about drift and not as
// we left it: somebody closed it, opened it again or pushed to it.
func (w *Watcher) Seen(ctx context.Context, repo int64, p forge.Pull) error {
	d, err := w.Store.DriftOfPull(ctx, repo, p.Number)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	closed := d.Quiet.Closed == p.Number
	asLeft := p.State == forge.Closed
	if p.State == forge.Open {
		asLeft, closed = p.Head.SHA == d.Tip || slices.Contains(d.Foreign, p.Head.SHA), !closed
	}
	if p.Merged || asLeft && closed {
		return nil
	}
	return w.Store.Want(ctx, Key(d.Cluster))
}

// Standing is what is known of a cluster.
type Standing struct {
	Cluster  string
	Drifting int       // targets that people are told of
	Looked   time.Time // when it was looked at last; zero for never
	Unknown  time.Time // since when something cannot be looked at; zero if all can
}

// Standing tells what is known of every cluster, by name.
func (w *Watcher) Standing(ctx context.Context) ([]Standing, error) {
	var out []Standing
	for _, name := range slices.Sorted(maps.Keys(w.Clusters)) {
		known, err := w.Store.Watch(ctx, name)
		if err != nil {
			return nil, err
		}
		rows, err := w.Store.Drifts(ctx, name)
		if err != nil {
			return nil, err
		}
		s := Standing{Cluster: name, Looked: known.Looked}
		for _, u := range known.Unknown {
			if s.Unknown.IsZero() || u.Since.Before(s.Unknown) {
				s.Unknown = u.Since
			}
		}
		for _, d := range rows {
			if len(loud(d.Findings)) > 0 {
				s.Drifting++
			}
		}
		out = append(out, s)
	}
	return out, nil
}
