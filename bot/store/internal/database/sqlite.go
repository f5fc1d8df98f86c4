package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"syscall"
	"time"

	"modernc.org/sqlite" // also the database/sql driver "sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

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
		"_pragma": {"busy_timeout(30000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "trusted_schema(0)"},
	}.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	if err := connect(ctx, db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// connectWait is how long connect tries, as long as busy_timeout, and
// connectPause the time between two tries.
const (
	connectWait  = 30 * time.Second
	connectPause = 10 * time.Millisecond
)

// connect makes the connection. The first process that opens a new file turns it
// to write-ahead logging; others that come meanwhile are told at once that it is
// busy, whatever busy_timeout says.
func connect(ctx context.Context, db *sql.DB) error {
	began := time.Now()
	for {
		err := db.PingContext(ctx)
		var busy *sqlite.Error
		if !errors.As(err, &busy) || busy.Code()&0xff != sqlite3.SQLITE_BUSY || time.Since(began) > connectWait {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(connectPause):
		}
	}
}

// Lock makes this process the only one that runs jobs on a SQLite database, or
// fails with ErrInUse. The kernel drops the lock when the process ends, however
// it ends. On PostgreSQL it does nothing.
func (d *DB) Lock() (unlock func() error, err error) {
	if d.pool != nil {
		return func() error { return nil }, nil
	}
	file, err := os.OpenFile(d.path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
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
