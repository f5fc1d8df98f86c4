package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"lockkeeper/bot/store/internal/database"
)

const (
	// maxAttempts counts only failures of the store itself to record a run's
	// end, since a handler's failures complete their job. River's maximum.
	maxAttempts = 32767
	// finishTimeout bounds recording the end of a run.
	finishTimeout = 15 * time.Second
	// finishPause is how soon that is tried again, doubling.
	finishPause = 50 * time.Millisecond
	// hardStop is how long Run waits for handlers after cancelling them.
	hardStop = 10 * time.Second
	// pollInterval is how soon work queued by another process is noticed.
	pollInterval  = time.Second
	pruneInterval = time.Hour
	// roundTimeout bounds a round of the loop that queues work, so that a
	// database that is silent does not pass for a process that is stuck.
	roundTimeout = 30 * time.Second
)

// errStopped is the outcome of a run that was cut short by the end of Run.
var errStopped = errors.New("stopped")

// jobArgs is all that a job carries; the work table has the rest.
type jobArgs struct {
	Key string `json:"key"`
}

// Kind names the job in the queue.
func (jobArgs) Kind() string { return "reconcile" }

// Run works wanted keys with so many workers until ctx is cancelled, then
// waits for running handlers (Options.Drain, after which their contexts are
// cancelled) and returns. What a dead process left behind is taken up first.
//
// A handler that returns an error or panics is called again after a while,
// for as long as it takes; Later sets the time. The error is logged, never
// stored. One process at a time can Run: others get ErrInUse.
func (s *Store) Run(ctx context.Context, workers int, handler func(ctx context.Context, key string) error) error {
	unlock, err := s.db.Lock()
	if err != nil {
		return err
	}
	err = s.run(ctx, workers, handler)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = nil // told to stop before it had begun
	}
	return errors.Join(err, unlock())
}

func (s *Store) run(ctx context.Context, workers int, handler func(ctx context.Context, key string) error) error {
	if err := s.takeUp(ctx); err != nil {
		return err
	}
	registry := river.NewWorkers()
	river.AddWorker(registry, &worker{store: s, handler: handler})
	client, err := river.NewClient(s.db.Queue(s.queued), &river.Config{
		ID:      s.Replica(),
		Logger:  s.riverLog(),
		Workers: registry,
		Queues:  map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: workers}},
		// Only the time between two fetches; the listener starts one at once.
		FetchCooldown:     time.Millisecond,
		FetchPollInterval: pollInterval,
		// Handlers have deadlines of their own, and an apply may take long.
		JobTimeout:                  -1,
		RescueStuckJobsAfter:        365 * 24 * time.Hour, // takeUp and attend do it
		CompletedJobRetentionPeriod: time.Hour,
		RetryPolicy:                 retryPolicy{},
		SoftStopTimeout:             s.opts.Drain,
	})
	if err != nil {
		return fmt.Errorf("store: start jobs: %w", err)
	}
	// The client is stopped by Stop alone, so that ctx ending drains it.
	if err := client.Start(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("store: start jobs: %w", err)
	}
	leave := s.join(ctx)
	s.keepTime(ctx)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.Drain+hardStop)
	defer cancel()
	if err = client.Stop(stop); err != nil {
		err = fmt.Errorf("store: jobs did not end within %s of being cancelled: %w", hardStop, err)
	}
	return errors.Join(err, leave())
}

// join makes this process one of the replicas, until leave is called: also
// while it drains.
func (s *Store) join(ctx context.Context) (leave func() error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var all sync.WaitGroup
	all.Go(func() { s.attend(ctx) })
	all.Go(func() { s.listen(ctx) })
	return func() error {
		cancel()
		all.Wait()
		if !s.db.Shared() {
			return nil
		}
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTimeout)
		defer cancel()
		return s.unregister(end)
	}
}

// Beat is when the loop of Run that queues work last went round, by this
// machine's clock: every second, whether the database answers or not. It is the
// zero time before Run.
func (s *Store) Beat() time.Time {
	ns := s.beat.Load()
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

// keepTime queues what becomes due, and prunes, until ctx ends.
func (s *Store) keepTime(ctx context.Context) {
	var pruned time.Time
	for ctx.Err() == nil {
		s.beat.Store(time.Now().UnixNano())
		wait := pollInterval
		round, cancel := context.WithTimeout(ctx, roundTimeout)
		next, err := s.queueDue(round)
		switch {
		case err != nil:
			if ctx.Err() == nil {
				s.log.ErrorContext(ctx, "cannot queue due work; trying again", "error", err)
			}
		case !next.IsZero():
			wait = max(0, min(wait, next.Sub(s.now())))
		}
		if now := s.now(); now.Sub(pruned) >= pruneInterval {
			pruned = now
			if _, err := s.PruneDeliveries(round, now.Add(-deliveryAge)); err != nil && ctx.Err() == nil {
				s.log.ErrorContext(ctx, "cannot prune old deliveries; trying again in an hour", "error", err)
			}
		}
		cancel()
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-s.planned:
		}
		timer.Stop()
	}
}

// queueDue queues the keys whose time has come and returns when the next one's
// will, zero if there is none.
func (s *Store) queueDue(ctx context.Context) (time.Time, error) {
	now := database.Micros(s.now())
	next, err := s.nextDue(ctx)
	if err != nil || next == 0 || next > now {
		return database.FromMicros(next), err
	}
	err = s.wantTx(ctx, "queue due work", "due", func(tx *database.Tx) ([]string, error) {
		due, err := keys(ctx, tx, "UPDATE work SET due = 0 WHERE due > 0 AND due <= ? RETURNING key", now)
		if err != nil {
			return nil, err
		}
		for _, key := range due {
			if err := s.enqueue(ctx, tx, key); err != nil {
				return nil, err
			}
		}
		return keys(ctx, tx, "UPDATE work SET again = 0 WHERE again > 0 AND again <= ? RETURNING key", now)
	})
	if err != nil {
		return time.Time{}, err
	}
	next, err = s.nextDue(ctx)
	return database.FromMicros(next), err
}

func (s *Store) nextDue(ctx context.Context) (int64, error) {
	var next int64
	err := s.db.QueryRowContext(ctx, `SELECT coalesce(min(at), 0) FROM (
		SELECT min(due) AS at FROM work WHERE due > 0 UNION ALL SELECT min(again) FROM work WHERE again > 0) AS times`).Scan(&next)
	if err != nil {
		return 0, fmt.Errorf("store: read when work is due: %w", err)
	}
	return next, nil
}

func keys(ctx context.Context, tx *database.Tx, query string, args ...any) ([]string, error) {
	return database.Collect(ctx, tx, func(r database.Scanner) (key string, err error) { return key, r.Scan(&key) }, query, args...)
}

// worker runs the handler for one job.
type worker struct {
	river.WorkerDefaults[jobArgs]
	store   *Store
	handler func(ctx context.Context, key string) error
}

// Work begins a run, calls the handler and records the end. An error of Work
// itself means that the end could not be recorded; River tries again.
func (w *worker) Work(ctx context.Context, job *river.Job[jobArgs]) error {
	s, key := w.store, job.Args.Key
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := &run{key: key, job: job.ID, cancel: cancel}
	s.enter(r)
	defer s.leave(r)
	err := s.begin(ctx, job, r)
	if errors.Is(err, ErrTaken) {
		return nil
	}
	if err != nil {
		return err
	}
	ctx = context.WithValue(ctx, runKey{}, r)
	outcome := w.call(ctx, key)
	switch {
	case outcome == nil:
	case ctx.Err() != nil: // cancelled by the end of Run or a take-over; drivers name it in many ways
		outcome = errStopped
	default:
		s.log.DebugContext(ctx, "work failed and will be tried again", "key", key, "error", outcome)
	}
	// The end is recorded even when the run was cancelled.
	end, stop := context.WithTimeout(context.WithoutCancel(ctx), finishTimeout)
	defer stop()
	err = s.finishSurely(end, job, r.taken, outcome)
	if errors.Is(err, ErrTaken) {
		s.log.WarnContext(ctx, "a run ended whose work is another's by now", "key", key)
		return nil
	}
	return err
}

// finishSurely tries to record the end of a run until end ends: the connection
// may be cut in the midst of it, and then nobody knows whether it was recorded.
func (s *Store) finishSurely(end context.Context, job *river.Job[jobArgs], taken int64, outcome error) error {
	for wait := finishPause; ; wait *= 2 {
		err := s.finish(end, job, taken, outcome)
		switch {
		case errors.Is(err, rivertype.ErrNotFound):
			return nil // it was, or the job was put back
		case err == nil || errors.Is(err, ErrTaken) || end.Err() != nil:
			return err
		}
		s.log.WarnContext(end, "cannot record the end of a run; trying again", "key", job.Args.Key, "error", err)
		pause(end, wait)
	}
}

// call turns a panic into an error, so that it is logged through our handler,
// which hides secrets, and not stored by River.
func (w *worker) call(ctx context.Context, key string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
			w.store.log.LogAttrs(ctx, slog.LevelError, "handler panicked",
				slog.String("key", key), slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
		}
	}()
	return w.handler(ctx, key)
}

// retryPolicy spaces River's own retries.
type retryPolicy struct{}

// NextRetry is the time of the next try of a job whose end was not recorded.
func (retryPolicy) NextRetry(job *rivertype.JobRow) time.Time {
	return time.Now().Add(backoff(len(job.Errors) + 1))
}
