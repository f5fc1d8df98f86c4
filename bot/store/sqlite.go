package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"syscall"

	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	_ "modernc.org/sqlite" // the database/sql driver "sqlite"
)

//go:embed migrations/sqlite/*.sql
var sqliteMigrations embed.FS

// openSQLite opens one connection: SQLite has one writer, and waiting for it
// in Go is fair where SQLite's own busy handler is not. busy_timeout covers
// other processes, such as `lockkeeper audit list`. synchronous=FULL makes
// every commit survive a power cut, which a write-ahead record has to.
func openSQLite(ctx context.Context, path string, mustExist bool) (*sql.DB, error) {
	flags := os.O_RDWR | os.O_CREATE
	if mustExist {
		flags = os.O_RDWR
	}
	file, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, err
	}
	// An older file may be readable by others. SQLite gives its side files
	// (-wal, -shm) the mode of the database.
	if err := errors.Join(file.Chmod(0o600), file.Close()); err != nil {
		return nil, err
	}
	dsn := url.URL{Scheme: "file", Opaque: url.PathEscape(path), RawQuery: url.Values{
		"_txlock": {"immediate"},
		"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "trusted_schema(0)"},
	}.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	if err := db.PingContext(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// lockForRun makes this process the only one that runs jobs on the database.
// The kernel drops the lock when the process ends, however it ends.
func (s *Store) lockForRun() (unlock func() error, err error) {
	file, err := os.OpenFile(s.path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the store for running jobs: %w", err)
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrInUse
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", file.Name(), err), file.Close())
	}
	return file.Close, nil
}

// rescue makes every wanted key due again that has no time of its own. The
// jobs found are those of a process that is gone, because lockForRun holds;
// the work table knows all that they knew.
func (s *Store) rescue(ctx context.Context) error {
	return s.tx(ctx, "rescue the jobs of the last run", func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM river_job WHERE finalized_at IS NULL"); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "UPDATE work SET due = ? WHERE wanted > done AND due = 0", micros(s.now()))
		return err
	})
}

func (s *Store) migrations() (fs.FS, error) { return fs.Sub(sqliteMigrations, "migrations/sqlite") }

// migrateJobs does River's own migrations. Its table exists when ours does.
// SQLite can take all of them in our transaction, and then two processes that
// open a new database at the same time do not meet half-way.
func migrateJobs(ctx context.Context, jobs *rivermigrate.Migrator[*sql.Tx], tx *sql.Tx, exists bool) error {
	all := jobs.AllVersions()
	last := all[len(all)-1].Version
	if exists {
		var have int
		if err := tx.QueryRowContext(ctx, "SELECT coalesce(max(version), 0) FROM river_migration").Scan(&have); err != nil {
			return fmt.Errorf("job queue migrations: %w", err)
		}
		if have > last {
			return fmt.Errorf("job queue schema version is %d, this lockkeeper knows %d: %w", have, last, ErrNewer)
		}
		if have == last {
			return nil
		}
	}
	//lint:ignore SA1019 only PostgreSQL has migrations that cannot share a transaction
	if _, err := jobs.MigrateTx(ctx, tx, rivermigrate.DirectionUp, nil); err != nil {
		return fmt.Errorf("job queue migrations: %w", err)
	}
	return nil
}

func (s *Store) driver() *driver { return &driver{riversqlite.New(s.db), s.queued} }

// driver is River's SQLite driver with notifications that stay in the
// process. The original polls a table for them every 50 ms and writes a row
// for each; with one process, a channel says it at once.
type driver struct {
	*riversqlite.Driver
	queued <-chan struct{}
}

// SupportsListenNotify is false so that River does not write notifications;
// the Store tells the listener after it committed.
func (d *driver) SupportsListenNotify() bool { return false }

// GetListener returns the in-process listener.
func (d *driver) GetListener(*riverdriver.GetListenenerParams) riverdriver.Listener {
	return &listener{queued: d.queued}
}

// listener turns the Store's word that a job was queued into River's
// notification of an insert.
type listener struct{ queued <-chan struct{} }

func (l *listener) Close(context.Context) error            { return nil }
func (l *listener) Connect(context.Context) error          { return nil }
func (l *listener) Listen(context.Context, string) error   { return nil }
func (l *listener) Ping(context.Context) error             { return nil }
func (l *listener) Schema() string                         { return "" }
func (l *listener) SetAfterConnectExec(string)             {}
func (l *listener) Unlisten(context.Context, string) error { return nil }

// WaitForNotification waits for the next committed job.
func (l *listener) WaitForNotification(ctx context.Context) (*riverdriver.Notification, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-l.queued:
		return &riverdriver.Notification{Topic: "river_insert", Payload: `{"queue": "default"}`}, nil
	}
}
