package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/riverqueue/river"

	"lockkeeper/bot/store/internal/database"
)

// run is one call of the handler for a key. The handler's context carries it.
type run struct {
	key    string // "" for one of Keep
	job    int64
	cancel context.CancelCauseFunc

	// Written once, by begin, under Store.mu.
	number int64
	taken  int64 // what wanted was
	cause  string

	// Guarded by Store.mu.
	latest int64 // what wanted was when it was last looked at
	heard  bool  // this process wanted the key since
	news   []chan struct{}
}

type runKey struct{}

func runOf(ctx context.Context) *run {
	r, _ := ctx.Value(runKey{}).(*run)
	return r
}

type unaskedKey struct{}

// Unasked is ctx for wishes that follow from what a handler does, and that nobody
// waits for: they do not count as the delivery's that the handler works for.
func Unasked(ctx context.Context) context.Context {
	return context.WithValue(ctx, unaskedKey{}, true)
}

// Cause is the id of the delivery that wanted the key of a handler's context
// last before the run began, "" if it was no delivery's.
func Cause(ctx context.Context) string {
	if r := runOf(ctx); r != nil && ctx.Value(unaskedKey{}) == nil {
		return r.cause
	}
	return ""
}

// News tells a handler that its key was wanted again since the run began: at
// once if this process wanted it, within a second if another did. The channel
// has one value for any number of times, and may have one that turns out to be
// old. It is never closed, and nil for a context that is not a handler's.
func (s *Store) News(ctx context.Context) <-chan struct{} {
	r := runOf(ctx)
	if r == nil {
		return nil
	}
	news := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	r.news = append(r.news, news)
	if r.heard || r.latest > r.taken {
		nudge(news)
	}
	return news
}

// fence refuses a write of a run that is not its key's latest. Nothing can
// begin a later one until the transaction ends.
func fence(ctx context.Context, tx *database.Tx) error {
	r := runOf(ctx)
	if r == nil {
		return nil
	}
	var number int64
	err := tx.QueryRowContext(ctx, "SELECT run FROM work WHERE key = ?"+tx.ForKeyShare(), r.key).Scan(&number)
	if err != nil {
		return fmt.Errorf("read the run of %s: %w", r.key, err)
	}
	if number != r.number {
		return fmt.Errorf("run %d of %s, which is at %d: %w", r.number, r.key, number, ErrTaken)
	}
	return nil
}

// Check is ErrTaken for the context of a run that was taken over, as any write
// with it would be: for the moment before something is written elsewhere, where
// nothing holds an older run off. It is nil for a context that is no handler's.
func (s *Store) Check(ctx context.Context) error {
	if runOf(ctx) == nil {
		return nil
	}
	return s.tx(ctx, "look whether the run goes on", "", func(*database.Tx) error { return nil })
}

// begin numbers a run. ErrTaken when the job was put back meanwhile.
func (s *Store) begin(ctx context.Context, job *river.Job[jobArgs], r *run) error {
	var wanted, number int64
	var cause string
	err := s.tx(ctx, "begin a run of "+r.key, "", func(tx *database.Tx) error {
		err := tx.QueryRowContext(ctx, "SELECT wanted, run, cause FROM work WHERE key = ?"+tx.ForUpdate(), r.key).
			Scan(&wanted, &number, &cause)
		if err != nil {
			return err
		}
		var state string
		err = tx.QueryRowContext(ctx, "SELECT state FROM river_job WHERE id = ?", job.ID).Scan(&state)
		if errors.Is(err, sql.ErrNoRows) || err == nil && state != string(job.State) {
			return ErrTaken
		}
		if err != nil {
			return err
		}
		number++
		_, err = tx.ExecContext(ctx, "UPDATE work SET run = ? WHERE key = ?", number, r.key)
		return err
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	r.number, r.taken, r.cause = number, wanted, cause
	return err
}

// enter notes that a run is under way, before it begins, so that it misses no
// news.
func (s *Store) enter(r *run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs[r] = true
}

func (s *Store) leave(r *run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.runs, r)
}

// cancelRuns ends all runs of this process: their work is, or soon will be,
// another replica's.
func (s *Store) cancelRuns() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for r := range s.runs {
		r.cancel(ErrTaken)
	}
}

// tellRuns gives news to the runs of keys that were wanted.
func (s *Store) tellRuns(keys []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for r := range s.runs {
		if slices.Contains(keys, r.key) {
			r.heard = true
			r.tell()
		}
	}
}

func (r *run) tell() {
	for _, c := range r.news {
		nudge(c)
	}
}

// lookForNews finds what other processes wanted of the keys that run here.
func (s *Store) lookForNews(ctx context.Context) error {
	s.mu.Lock()
	keys := make([]any, 0, len(s.runs))
	for r := range s.runs {
		if r.number > 0 {
			keys = append(keys, r.key)
		}
	}
	s.mu.Unlock()
	if len(keys) == 0 || !s.db.Shared() {
		return nil
	}
	type wish struct {
		key    string
		wanted int64
	}
	wishes, err := database.List(ctx, s.db.DB, "look for news", func(r database.Scanner) (w wish, err error) { return w, r.Scan(&w.key, &w.wanted) },
		"SELECT key, wanted FROM work WHERE key IN (?"+strings.Repeat(", ?", len(keys)-1)+")", keys...)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for r := range s.runs {
		for _, w := range wishes {
			// A run of number 0 has not begun, and reads wanted when it does.
			if w.key == r.key && r.number > 0 && w.wanted > max(r.latest, r.taken) {
				r.latest = w.wanted
				r.tell()
			}
		}
	}
	return nil
}
