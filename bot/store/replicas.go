package store

import (
	"context"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"time"

	"lockkeeper/bot/store/internal/database"
)

// strayAfter is after what time a job is astray that is noted as running here
// and does not: longer than it takes to begin one, and to record its end.
const strayAfter = 2 * finishTimeout

// attend keeps this process known as alive, and looks after what others left,
// until ctx ends.
func (s *Store) attend(ctx context.Context) {
	seen, strays := time.Now(), map[int64]time.Time{} // takeUp said that it is alive
	for ctx.Err() == nil {
		if s.db.Shared() && time.Since(seen) >= s.opts.Heartbeat {
			seen = s.heartbeat(ctx, seen)
		}
		limit, cancel := context.WithTimeout(ctx, s.opts.Heartbeat)
		err := s.lookForNews(limit)
		if err == nil {
			err = s.putBackStrays(limit, strays)
		}
		cancel()
		if err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "cannot look after the work of this replica; trying again", "error", err)
		}
		pause(ctx, min(pollInterval, s.opts.Heartbeat))
	}
}

// putBackStrays makes the jobs due again that are this replica's by the
// database, and that it has not had under way for strayAfter: the end of their
// runs could not be recorded while the database was away, and River has given
// up. strays has when each was first found so.
func (s *Store) putBackStrays(ctx context.Context, strays map[int64]time.Time) error {
	type job struct {
		id  int64
		key string
	}
	query, args := "SELECT id, args->>'key' FROM river_job WHERE state = 'running'", []any(nil)
	if s.db.Shared() {
		query, args = query+" AND attempted_by[array_upper(attempted_by, 1)] = ?", []any{s.Replica()}
	}
	jobs, err := database.List(ctx, s.db.DB, "look for jobs gone astray", func(r database.Scanner) (j job, err error) { return j, r.Scan(&j.id, &j.key) }, query, args...)
	if err != nil {
		return err
	}
	mine := map[int64]bool{}
	s.mu.Lock()
	for r := range s.runs {
		mine[r.job] = true
	}
	s.mu.Unlock()
	maps.DeleteFunc(strays, func(id int64, _ time.Time) bool {
		return mine[id] || !slices.ContainsFunc(jobs, func(j job) bool { return j.id == id })
	})
	for _, j := range jobs {
		first, known := strays[j.id]
		switch {
		case mine[j.id]:
		case !known:
			strays[j.id] = time.Now()
		case time.Since(first) > strayAfter:
			err := s.tx(ctx, "put back a run of "+j.key, "", func(tx *database.Tx) error {
				_, err := s.putBackJobs(ctx, tx, []string{j.key}, "FROM river_job WHERE state = 'running' AND id = ?", j.id)
				return err
			})
			if err != nil {
				return err
			}
			s.announce(ctx)
		}
	}
	return nil
}

// heartbeat says that this replica is alive, and returns when it last could.
// Before others may take it for dead it cancels its runs, and after as well:
// then it was stopped, and learns it now.
func (s *Store) heartbeat(ctx context.Context, seen time.Time) time.Time {
	began := time.Now()
	if began.Sub(seen) > s.opts.Dead {
		s.cancelRuns()
	}
	limit, cancel := context.WithTimeout(ctx, s.opts.Heartbeat)
	defer cancel()
	known, err := s.beatOnce(limit)
	if err != nil {
		if ctx.Err() == nil {
			s.log.WarnContext(ctx, "cannot tell the other replicas that this one is alive; trying again", "error", err)
		}
		// The next try may take a while, too.
		if time.Since(seen) > s.opts.Dead-3*s.opts.Heartbeat {
			s.cancelRuns()
		}
		return seen
	}
	if !known {
		s.log.WarnContext(ctx, "this replica was taken for dead, and its work by others; it goes on anew")
		s.cancelRuns()
	}
	if err := s.setClock(limit); err != nil && ctx.Err() == nil {
		s.log.WarnContext(ctx, "cannot compare clocks with the database; trying again", "error", err)
	}
	return began
}

// replicasLock is what transactions about the table of replicas are about.
const replicasLock = "replicas"

// serverNow is the database's clock even where Options.Now is set: it says how
// long a process was silent, not what its work is about.
const serverNow = "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"

// beatOnce writes that this replica is alive, and puts back the jobs of those
// that are not. known is false when it was taken for dead itself.
func (s *Store) beatOnce(ctx context.Context) (known bool, err error) {
	var dead, again []string
	err = s.tx(ctx, "say that replica "+s.Replica()+" is alive", replicasLock, func(tx *database.Tx) error {
		known, again = false, nil
		res, err := tx.ExecContext(ctx, "UPDATE replicas SET seen = "+serverNow+" WHERE name = ?", s.Replica())
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if err != nil {
			return err
		}
		if known = n > 0; !known {
			if err := s.register(ctx, tx); err != nil {
				return err
			}
		}
		if dead, err = keys(ctx, tx, "DELETE FROM replicas WHERE seen < "+serverNow+" - ? RETURNING name", s.opts.Dead.Microseconds()); err != nil {
			return err
		}
		for _, name := range dead {
			_, err := tx.ExecContext(ctx, "UPDATE leases SET holder = '', purpose = '', expires = 0 WHERE holder = ?", keeper(name))
			if err != nil {
				return err
			}
		}
		again, err = s.putBack(ctx, tx)
		return err
	})
	if err != nil {
		return false, err
	}
	if len(dead)+len(again) > 0 {
		s.log.WarnContext(ctx, "work of replicas that are gone is put back", "dead", dead, "keys", again)
		s.announce(ctx)
		s.leaseReleased(ctx)
	}
	return known, nil
}

func (s *Store) register(ctx context.Context, tx *database.Tx) error {
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		version = info.Main.Version
	}
	_, err := tx.ExecContext(ctx, "INSERT INTO replicas (name, started, seen, version) VALUES (?, "+serverNow+", "+serverNow+", ?)", s.Replica(), version)
	return err
}

// unregister says that this replica is gone, so that nobody waits until it is
// taken for dead.
func (s *Store) unregister(ctx context.Context) error {
	err := s.tx(ctx, "sign off replica "+s.Replica(), replicasLock, func(tx *database.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM replicas WHERE name = ?", s.Replica())
		return err
	})
	s.announce(ctx)
	return err
}

// orphans are the jobs that run at no replica that is known.
const orphans = `FROM river_job WHERE state = 'running'
	AND NOT EXISTS (SELECT 1 FROM replicas WHERE name = attempted_by[array_upper(attempted_by, 1)])`

// putBack takes away the jobs of replicas that are gone and makes their keys
// due. A process that still works one is fenced off from then on.
func (s *Store) putBack(ctx context.Context, tx *database.Tx) ([]string, error) {
	left, err := keys(ctx, tx, "SELECT args->>'key' "+orphans)
	if err != nil || len(left) == 0 {
		return nil, err
	}
	slices.Sort(left)
	return s.putBackJobs(ctx, tx, left, orphans)
}

// putBackJobs does so with the jobs that a query finds, which are of some keys
// or fewer of them.
func (s *Store) putBackJobs(ctx context.Context, tx *database.Tx, left []string, query string, args ...any) ([]string, error) {
	for _, key := range left {
		// A run's end that is being recorded is waited for, and then is no orphan.
		if _, err := keys(ctx, tx, "SELECT key FROM work WHERE key = ?"+tx.ForUpdate(), key); err != nil {
			return nil, err
		}
	}
	gone, err := keys(ctx, tx, "DELETE "+query+" RETURNING args->>'key'", args...)
	if err != nil {
		return nil, err
	}
	for _, key := range gone {
		_, err := tx.ExecContext(ctx, "UPDATE work SET run = run + 1, due = ? WHERE key = ?", database.Micros(s.now()), key)
		if err != nil {
			return nil, err
		}
	}
	return gone, nil
}

// Replica is a process that runs jobs on a shared database.
type Replica struct {
	Name          string
	Started, Seen time.Time // by the database's clock
	Version       string
}

// Replicas lists the processes that run jobs on a PostgreSQL, by name: those
// that were alive when that was looked at last.
func (s *Store) Replicas(ctx context.Context) ([]Replica, error) {
	return database.List(ctx, s.db.DB, "list replicas", func(r database.Scanner) (Replica, error) {
		var p Replica
		var started, seen int64
		err := r.Scan(&p.Name, &started, &seen, &p.Version)
		p.Started, p.Seen = database.FromMicros(started), database.FromMicros(seen)
		return p, err
	}, "SELECT name, started, seen, version FROM replicas ORDER BY name")
}

// takeUp makes this process the one, or one of those, that run jobs, and takes
// up what a dead one left. release ends that.
func (s *Store) takeUp(ctx context.Context) error {
	if s.db.Shared() {
		if _, err := s.beatOnce(ctx); err != nil {
			return err
		}
		return nil
	}
	return s.tx(ctx, "rescue the jobs of the last run", "", func(tx *database.Tx) error {
		// Nobody else runs jobs: all that is found is of a process that is gone.
		// The work table knows all that the jobs knew.
		if _, err := tx.ExecContext(ctx, "DELETE FROM river_job WHERE finalized_at IS NULL"); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE work SET due = ? WHERE wanted > done AND due = 0", database.Micros(s.now())); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "UPDATE leases SET holder = '', purpose = '', expires = 0 WHERE holder LIKE 'replica/%' AND holder <> ?", keeper(s.Replica()))
		if err != nil {
			return fmt.Errorf("free the leases of the last run: %w", err)
		}
		return nil
	})
}
