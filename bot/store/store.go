// Package store keeps what neither Git, nor the cluster, nor the forge can
// tell: deliveries seen, work wanted, the bot's own state of each pull, plans,
// commands acted on, leases, operations, drifts and the audit trail. It hides SQL and
// the job queue (River) behind a small set of methods.
//
// Every method is one transaction. Once a method returned without an error,
// its effect survives a crash of the process and of the machine. Queries are
// written in the SQL that SQLite and PostgreSQL share; what is special to
// SQLite is in sqlite.go and migrations/sqlite.
//
// No secret value belongs in the store. It keeps no webhook bodies and no
// error texts.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/riverqueue/river"
)

// The errors that callers tell apart.
var (
	// ErrNotFound: there is no such row.
	ErrNotFound = errors.New("not found")
	// ErrStale: somebody else saved the document since it was loaded.
	ErrStale = errors.New("changed since it was loaded; load it again")
	// ErrLeaseLost: the lease was released, expired and taken, or taken over.
	ErrLeaseLost = errors.New("the lease is no longer ours")
	// ErrExists: the id is taken.
	ErrExists = errors.New("already exists")
	// ErrFinished: the command or operation has its outcome already.
	ErrFinished = errors.New("already finished")
	// ErrNewer: a later lockkeeper has changed the database's schema.
	ErrNewer = errors.New("the database was written by a newer lockkeeper; run that version, or restore a backup made before the upgrade")
	// ErrInUse: another process runs jobs on this database.
	ErrInUse = errors.New("another lockkeeper is running on this database; stop it first")
)

// Options are what a Store takes from outside. The zero value is ready for use.
type Options struct {
	// Now is the clock, time.Now if nil.
	Now func() time.Time
	// Logger receives what goes wrong in the background; nothing if nil.
	Logger *slog.Logger
	// MustExist refuses to create a database, for commands that only look.
	MustExist bool
	// Drain is how long Run lets running jobs finish when it is told to stop,
	// before it cancels their contexts; 30 seconds if 0.
	Drain time.Duration
}

// Store is an open database. It is safe for concurrent use.
type Store struct {
	db   *sql.DB
	path string
	now  func() time.Time
	log  *slog.Logger
	// drain is Options.Drain.
	drain time.Duration
	// jobs inserts jobs; Run has a client of its own that works them.
	jobs *river.Client[*sql.Tx]
	// queued tells Run's client that a job was committed, planned that a
	// time to wake up at was.
	queued, planned chan struct{}

	mu      sync.Mutex
	changed chan struct{} // closed and replaced when work changes
}

// Open opens the database at url (a path or "sqlite://" and a path), creates
// it with mode 0600 if it is missing, and brings its schema up to date. A
// database of a newer lockkeeper is refused with ErrNewer and left alone.
func Open(ctx context.Context, url string, opts Options) (*Store, error) {
	scheme, path, found := strings.Cut(url, "://")
	switch {
	case !found:
		path = url
	case scheme == "postgres" || scheme == "postgresql":
		return nil, errors.New("open store: PostgreSQL comes later and is not supported by this build; use a file path or sqlite://PATH")
	case scheme != "sqlite":
		return nil, fmt.Errorf("open store: unknown scheme %q; use a file path or sqlite://PATH", scheme)
	}
	if path == "" {
		return nil, errors.New("open store: no path given; use a file path or sqlite://PATH")
	}
	s := &Store{
		path: path, now: opts.Now, log: opts.Logger, drain: opts.Drain,
		queued: make(chan struct{}, 1), planned: make(chan struct{}, 1), changed: make(chan struct{}),
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.drain == 0 {
		s.drain = 30 * time.Second
	}
	if err := s.open(ctx, opts.MustExist); err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, mustExist bool) error {
	db, err := openSQLite(ctx, s.path, mustExist)
	if err != nil {
		return err
	}
	s.db = db
	if err := s.migrate(ctx); err != nil {
		return errors.Join(err, db.Close())
	}
	s.jobs, err = river.NewClient(s.driver(), &river.Config{Logger: s.riverLog()})
	if err != nil {
		return errors.Join(err, db.Close())
	}
	return nil
}

func (s *Store) riverLog() *slog.Logger { return slog.New(quiet{s.log.Handler()}) }

// Close closes the database. Run must have returned before.
func (s *Store) Close() error {
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close store %s: %w", s.path, err)
	}
	return nil
}

// Ping tells whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	var one int
	if err := s.db.QueryRowContext(ctx, "SELECT 1").Scan(&one); err != nil {
		return fmt.Errorf("store %s does not answer: %w", s.path, err)
	}
	return nil
}

// tx runs fn in a transaction that has the write lock from its start, so that
// what fn reads stays true until it commits. fn must use tx only: the
// transaction holds the one connection.
func (s *Store) tx(ctx context.Context, what string, fn func(tx *sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("store: %s: %w", what, err)
	}
	if err := fn(tx); err != nil {
		if undo := tx.Rollback(); undo != nil && !errors.Is(undo, sql.ErrTxDone) {
			err = errors.Join(err, undo)
		}
		return fmt.Errorf("store: %s: %w", what, err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("store: %s: %w", what, err)
	}
	return nil
}

// row is what *sql.Row and *sql.Rows have in common.
type row interface{ Scan(dest ...any) error }

// querier is what *sql.DB and *sql.Tx have in common.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// collect reads all rows of a query and closes it before returning, since an
// open cursor would hold the one connection.
func collect[T any](ctx context.Context, q querier, scan func(row) (T, error), query string, args ...any) ([]T, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

// list is collect outside a transaction, with the name of what is read.
func list[T any](ctx context.Context, s *Store, what string, scan func(row) (T, error), query string, args ...any) ([]T, error) {
	all, err := collect(ctx, s.db, scan, query, args...)
	if err != nil {
		return nil, fmt.Errorf("store: %s: %w", what, err)
	}
	return all, nil
}

// micros is how times are stored: UTC, microseconds, 0 for the zero time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// nudge wakes whoever waits on a channel of capacity 1.
func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
