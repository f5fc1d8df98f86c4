// Package store keeps what neither Git, nor the cluster, nor the forge can
// tell: deliveries seen, work wanted, the bot's own state of each pull, plans,
// commands acted on, leases, operations, drifts and the audit trail. It hides SQL and
// the job queue (River) behind a small set of methods.
//
// Every method is one transaction. Once a method returned without an error,
// its effect survives a crash of the process and of the machine. Queries are
// written in the SQL that SQLite and PostgreSQL share; what is special to one
// is in internal/database.
//
// # Replicas
//
// On SQLite one process runs jobs, and others get ErrInUse. On PostgreSQL any
// number do, and share the work. Three things keep them from each other's way:
//
//   - A key has at most one job, and a job one replica. Each replica writes every
//     few seconds that it is alive (Options.Heartbeat); the jobs of one that was
//     silent for longer (Options.Dead), or that has gone, are put back by whoever
//     notices. A replica that cannot write it cancels its own runs before.
//   - Each run of a key has a number, in the handler's context. Once a later run
//     began, or the job was put back, everything that the older one wants to write
//     is refused with ErrTaken: a process that was stopped in the midst of a run
//     and wakes up does no harm here. (To clusters its writes carry preconditions.)
//   - Keep holds a lease for work that lasts, such as watching a cluster.
//
// All replicas go by the database's clock. They tell each other what they
// stored by NOTIFY, which may get lost: within a second they find it by looking.
//
// No secret value belongs in the store. It keeps no webhook bodies and no
// error texts.
package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/riverqueue/river"

	"lockkeeper/bot/store/internal/database"
	"lockkeeper/bot/store/tables"
	"lockkeeper/bot/trail"
)

// The errors that callers tell apart.
var (
	// ErrNotFound: there is no such row.
	ErrNotFound = tables.ErrNotFound
	// ErrStale: somebody else saved the document since it was loaded.
	ErrStale = tables.ErrStale
	// ErrLeaseLost: the lease was released, expired and taken, or taken over.
	ErrLeaseLost = errors.New("the lease is no longer ours")
	// ErrExists: the id is taken.
	ErrExists = tables.ErrExists
	// ErrFinished: the command or operation has its outcome already.
	ErrFinished = tables.ErrFinished
	// ErrElsewhere: the database is another forge's.
	ErrElsewhere = tables.ErrElsewhere
	// ErrTaken: this run's replica was taken for dead, and its work is another's.
	ErrTaken = errors.New("this run was taken over by another replica")
	// ErrNewer: a later lockkeeper has changed the database's schema.
	ErrNewer = database.ErrNewer
	// ErrInUse: another process runs jobs on this SQLite database.
	ErrInUse = database.ErrInUse
)

// What the tables keep: see there.
type (
	Tables       = tables.Tables
	Branch       = tables.Branch
	Bypass       = tables.Bypass
	Command      = tables.Command
	Drift        = tables.Drift
	DriftFinding = tables.DriftFinding
	Quiet        = tables.Quiet
	Heal         = tables.Heal
	Watch        = tables.Watch
	Duty         = tables.Duty
	Operation    = tables.Operation
	PlanRow      = tables.PlanRow
	Filter       = tables.Filter
	Render       = tables.Render
)

// Running is the state of an operation that has no outcome yet.
const Running = tables.Running

// Options are what a Store takes from outside. The zero value is ready for use.
type Options struct {
	// Now is the clock. If nil it is time.Now, corrected on PostgreSQL by how
	// far the database's clock is from it.
	Now func() time.Time
	// Logger receives what goes wrong in the background; nothing if nil.
	Logger *slog.Logger
	// MustExist refuses to create a database, for commands that only look.
	MustExist bool
	// Drain is how long Run lets running jobs finish when it is told to stop,
	// before it cancels their contexts; 30 seconds if 0.
	Drain time.Duration
	// Replica names this process among those that share the database; the
	// host's name if "". A random part is added, so that no two are the same.
	Replica string
	// Heartbeat is how often a replica says that it is alive, 5 seconds if 0,
	// and Dead after what silence it is not, 30 seconds if 0.
	Heartbeat, Dead time.Duration
}

// Store is an open database. It is safe for concurrent use.
type Store struct {
	*Tables
	db   *database.Fenced
	opts Options // with defaults in place
	log  *slog.Logger
	// offset is from this machine's clock to the database's, in nanoseconds.
	offset atomic.Int64
	// jobs inserts jobs; Run has a client of its own that works them.
	jobs *river.Client[*database.Tx]
	// queued tells Run's client that a job was committed, planned that a
	// time to wake up at was.
	queued, planned chan struct{}
	beat            atomic.Int64 // see Beat
	mouth           mouth

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced when work changes
	released chan struct{} // closed and replaced when a lease is released
	runs     map[*run]bool // that this process has under way
}

// Open opens the database at url, creates it with mode 0600 if it is a SQLite
// file that is missing, and brings its schema up to date. url is a path,
// "sqlite://" and a path, or a "postgres://" URL as libpq reads it, of a
// database that exists; its role has to own the schema. A database of a newer
// lockkeeper is refused with ErrNewer and left alone.
func Open(ctx context.Context, url string, opts Options) (*Store, error) {
	s := &Store{
		log:    opts.Logger,
		queued: make(chan struct{}, 1), planned: make(chan struct{}, 1),
		changed: make(chan struct{}), released: make(chan struct{}), runs: map[*run]bool{},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if opts.Drain == 0 {
		opts.Drain = 30 * time.Second
	}
	if opts.Heartbeat == 0 {
		opts.Heartbeat = 5 * time.Second
	}
	if opts.Dead == 0 {
		opts.Dead = 30 * time.Second
	}
	if opts.Replica == "" {
		opts.Replica, _ = os.Hostname()
	}
	opts.Replica += "-" + rand.Text()[:8]
	s.log = s.log.With(trail.Replica, opts.Replica)
	s.opts = opts
	db, err := database.Open(ctx, url, opts.MustExist)
	if err != nil {
		return nil, err
	}
	s.db = &database.Fenced{DB: db, Fence: fence}
	s.Tables = tables.New(s.db, s.now, s.log)
	if err := s.prepare(ctx); err != nil {
		return nil, fmt.Errorf("open store %s: %w", db.Name(), errors.Join(err, db.Close()))
	}
	return s, nil
}

func (s *Store) prepare(ctx context.Context) error {
	if err := s.setClock(ctx); err != nil {
		return err
	}
	if err := s.db.Migrate(ctx, s.now, s.riverLog()); err != nil {
		return err
	}
	var err error
	s.jobs, err = river.NewClient(s.db.Queue(s.queued), &river.Config{Logger: s.riverLog()})
	return err
}

// setClock reads how far the database's clock is from ours.
func (s *Store) setClock(ctx context.Context) error {
	offset, err := s.db.Offset(ctx)
	if err != nil {
		return fmt.Errorf("read the database's clock: %w", err)
	}
	s.offset.Store(int64(offset))
	return nil
}

// Now is the clock that all replicas go by: what is given to WantAt is compared
// with it.
func (s *Store) Now() time.Time { return s.now() }

func (s *Store) now() time.Time {
	if s.opts.Now != nil {
		return s.opts.Now()
	}
	return time.Now().Add(time.Duration(s.offset.Load()))
}

// Replica is this process's name among those that share the database.
func (s *Store) Replica() string { return s.opts.Replica }

func (s *Store) riverLog() *slog.Logger { return slog.New(quiet{s.log.Handler()}) }

// Close closes the database. Run must have returned before.
func (s *Store) Close() error {
	s.mouth.spoken.Wait()
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close store %s: %w", s.db.Name(), err)
	}
	return nil
}

// Ping tells whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	var one int
	if err := s.db.QueryRowContext(ctx, "SELECT 1").Scan(&one); err != nil {
		return fmt.Errorf("store %s does not answer: %w", s.db.Name(), err)
	}
	return nil
}

// tx runs fn in a transaction that is about what lock names (see database.Tx),
// unless ctx is of a run that was taken over. fn must use tx only, and may be
// run more than once.
func (s *Store) tx(ctx context.Context, what, lock string, fn func(tx *database.Tx) error) error {
	return s.db.Named(ctx, what, lock, fn)
}

// nudge wakes whoever waits on a channel of capacity 1.
func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
