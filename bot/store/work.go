package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"lockkeeper/bot/store/internal/database"
)

// How long a key waits after its handler failed: doubling from retryFirst up
// to retryMost, for ever. A new event may cut the wait short, though not below
// retryHaste, or else a handler whose failure causes events would spin.
const (
	retryFirst = time.Second
	retryMost  = 5 * time.Minute
	retryHaste = 10 * time.Second
	// idlePoll is how often Idle looks what other processes have done.
	idlePoll = 250 * time.Millisecond
)

// Want says that there is work on a key, such as "pull/7/12": a handler will
// start after this moment. Any number of Wants before that start, and any
// number during one run, are one run.
func (s *Store) Want(ctx context.Context, key string) error {
	return s.wantTx(ctx, "want "+key, Cause(ctx), func(*database.Tx) ([]string, error) { return []string{key}, nil })
}

// WantAt is Want at a later time. The earliest of several times counts; a time
// in the past is now.
func (s *Store) WantAt(ctx context.Context, key string, at time.Time) error {
	if !at.After(s.now()) {
		return s.Want(ctx, key)
	}
	err := s.tx(ctx, "want "+key+" later", "", func(tx *database.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO work (key, again) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET
			again = CASE WHEN work.again = 0 OR excluded.again < work.again THEN excluded.again ELSE work.again END`,
			key, database.Micros(at))
		return err
	})
	if err == nil {
		s.announce(ctx)
	}
	return err
}

// Waiting counts the keys that have work not yet done, running ones included.
func (s *Store) Waiting(ctx context.Context) (int, error) {
	var n int
	if err := s.db.QueryRowContext(ctx, "SELECT count(*) FROM work WHERE wanted > done").Scan(&n); err != nil {
		return 0, fmt.Errorf("store: count waiting work: %w", err)
	}
	return n, nil
}

// Idle returns when no key has work: nothing queued, running or waiting for a
// retry. Work that WantAt put into the future does not count until then. It
// sees at once what this process does, and soon what others do.
func (s *Store) Idle(ctx context.Context) error {
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		n, err := s.Waiting(ctx)
		if err != nil || n == 0 {
			return err
		}
		var elsewhere <-chan time.Time
		if s.db.Shared() {
			elsewhere = time.After(idlePoll)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("store: %d keys still have work: %w", n, ctx.Err())
		case <-changed:
		case <-elsewhere:
		}
	}
}

// wantTx runs fn in a transaction and wants the keys it returns, because of
// cause, then tells the ones who wait for jobs.
func (s *Store) wantTx(ctx context.Context, what, cause string, fn func(tx *database.Tx) ([]string, error)) error {
	var wanted []string
	err := s.tx(ctx, what, "", func(tx *database.Tx) error {
		keys, err := fn(tx)
		if err != nil {
			return err
		}
		// Whoever locks the work of several keys does it in their order.
		wanted = slices.Compact(slices.Sorted(slices.Values(keys)))
		for _, key := range wanted {
			if err := s.want(ctx, tx, key, cause); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		s.announce(ctx, wanted...)
	}
	return err
}

// want counts a wish. The row is locked from then on, so that what is read of
// it is true.
func (s *Store) want(ctx context.Context, tx *database.Tx, key, cause string) error {
	if key == "" {
		return errors.New("the key is empty")
	}
	now := database.Micros(s.now())
	var wanted, done, notBefore, due int64
	err := tx.QueryRowContext(ctx, `INSERT INTO work (key, wanted, cause) VALUES (?, 1, ?)
		ON CONFLICT (key) DO UPDATE SET wanted = work.wanted + 1,
		cause = CASE WHEN excluded.cause <> '' OR work.wanted = work.done THEN excluded.cause ELSE work.cause END
		RETURNING wanted, done, not_before, due`, key, cause).Scan(&wanted, &done, &notBefore, &due)
	if err != nil {
		return err
	}
	switch {
	case wanted-1 > done && due == 0:
		return nil // a job is queued or running: else there was nothing to wait for, or a time
	case notBefore <= now:
		return s.enqueue(ctx, tx, key)
	case due == 0 || notBefore < due:
		_, err = tx.ExecContext(ctx, "UPDATE work SET due = ? WHERE key = ?", notBefore, key)
	}
	return err
}

// enqueue makes sure that a job for the key is queued or running. A key has at
// most one, so at most one run at a time; when the job runs already, finish
// sees that wanted has moved.
func (s *Store) enqueue(ctx context.Context, tx *database.Tx, key string) error {
	if _, err := tx.ExecContext(ctx, "UPDATE work SET due = 0 WHERE key = ?", key); err != nil {
		return err
	}
	_, err := s.jobs.InsertTx(ctx, tx, jobArgs{Key: key}, &river.InsertOpts{
		MaxAttempts: maxAttempts,
		UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: []rivertype.JobState{
			rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRunning,
			rivertype.JobStateRetryable, rivertype.JobStateScheduled,
		}},
	})
	if err != nil {
		return fmt.Errorf("queue a job for %s: %w", key, err)
	}
	return nil
}

// LaterError makes a run wait: see Later.
type LaterError struct {
	At  time.Time
	Err error
	// UnlessWanted is whether a wish ends the wait.
	UnlessWanted bool
}

// Error is the cause and the time of the next try.
func (e *LaterError) Error() string {
	return fmt.Sprintf("%v (tried again at %s)", e.Err, e.At.UTC().Format(time.RFC3339))
}

// Unwrap gives the cause.
func (e *LaterError) Unwrap() error { return e.Err }

// Later wraps a handler's error so that its key rests until a time, new events
// or not: the forge asked to be left alone, for example.
func Later(err error, at time.Time) error { return &LaterError{At: at, Err: err} }

// LaterUnlessWanted is Later for what may be done sooner if somebody asks for it:
// the key rests until a time, or until it is wanted again.
func LaterUnlessWanted(err error, at time.Time) error {
	return &LaterError{At: at, Err: err, UnlessWanted: true}
}

// finish records how a run ended and completes its job, in one transaction.
// taken is what wanted was when the run began.
func (s *Store) finish(ctx context.Context, job *river.Job[jobArgs], taken int64, outcome error) error {
	key := job.Args.Key
	err := s.tx(ctx, "record the end of a run of "+key, "", func(tx *database.Tx) error {
		wanted := taken
		var err error
		if outcome != nil {
			err = s.postpone(ctx, tx, key, taken, outcome)
		} else {
			err = tx.QueryRowContext(ctx, `UPDATE work SET done = ?, failures = 0, not_before = 0 WHERE key = ?
				RETURNING wanted`, taken, key).Scan(&wanted)
		}
		if err != nil {
			return err
		}
		// The work's row comes before the job's, as in want.
		if _, err := river.JobCompleteTx[database.Queue](ctx, tx, job); err != nil {
			return err
		}
		if wanted == taken {
			return nil
		}
		return s.enqueue(ctx, tx, key)
	})
	if err == nil {
		s.announce(ctx)
	}
	return err
}

// postpone sets when a key whose run failed is tried again. taken is what wanted
// was when the run began.
func (s *Store) postpone(ctx context.Context, tx *database.Tx, key string, taken int64, outcome error) error {
	now := s.now()
	var later *LaterError
	switch {
	case errors.Is(outcome, errStopped):
		_, err := tx.ExecContext(ctx, "UPDATE work SET due = ? WHERE key = ?", database.Micros(now), key)
		return err
	case errors.As(outcome, &later) && later.At.After(now):
		notBefore, dueIfWanted := database.Micros(later.At), database.Micros(later.At)
		if later.UnlessWanted {
			notBefore, dueIfWanted = 0, database.Micros(now)
		}
		_, err := tx.ExecContext(ctx, `UPDATE work SET failures = 0, not_before = ?,
			due = CASE WHEN wanted > ? THEN CAST(? AS BIGINT) ELSE CAST(? AS BIGINT) END WHERE key = ?`, notBefore, taken, dueIfWanted, database.Micros(later.At), key)
		return err
	}
	var failures int
	if err := tx.QueryRowContext(ctx, "SELECT failures FROM work WHERE key = ?", key).Scan(&failures); err != nil {
		return err
	}
	wait := backoff(failures + 1)
	_, err := tx.ExecContext(ctx, "UPDATE work SET failures = failures + 1, not_before = ?, due = ? WHERE key = ?",
		database.Micros(now.Add(min(wait, retryHaste))), database.Micros(now.Add(wait)), key)
	return err
}

// backoff is how long to wait after the n-th failure in a row.
func backoff(n int) time.Duration {
	wait := retryFirst
	for ; n > 1 && wait < retryMost; n-- {
		wait *= 2
	}
	return min(wait, retryMost)
}
