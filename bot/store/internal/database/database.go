// Package database opens SQLite and PostgreSQL behind one set of methods, so
// that the store above writes each query once, in the SQL that both share and
// with '?' for arguments. It brings the schema up to date, gives the job queue
// (River) a driver on the same transactions, and carries short messages between
// the processes that share a PostgreSQL.
//
// Whoever reads and then writes names in Tx what the transaction is about. On
// SQLite that changes nothing, since there is one writer. On PostgreSQL
// transactions about one thing follow each other, under READ COMMITTED.
package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

var (
	// ErrNewer: a later lockkeeper has changed the schema.
	ErrNewer = errors.New("the database was written by a newer lockkeeper; run that version, or restore a backup made before the upgrade")
	// ErrInUse: another process runs jobs on this SQLite database.
	ErrInUse = errors.New("another lockkeeper is running on this database; stop it first")
)

const (
	// undoTimeout bounds rolling back when the caller's context has ended.
	undoTimeout = 5 * time.Second
	// callTimeout bounds a query, or a transaction with all that it waits for, on
	// PostgreSQL: when its machine is gone, nobody says so. It is longer than what
	// a process that was stopped can keep others waiting (idleInTransaction).
	callTimeout = 20 * time.Second
)

// DB is an open database, safe for concurrent use.
type DB struct {
	sql  *sql.DB
	pool *pgxpool.Pool // nil on SQLite
	path string        // "" on PostgreSQL
	name string
}

// Open opens the database at url: a path, "sqlite://" and a path, or a
// "postgres://" URL as libpq reads it. A SQLite file that is missing is created
// with mode 0600 unless mustExist; a PostgreSQL database has to exist.
func Open(ctx context.Context, url string, mustExist bool) (*DB, error) {
	scheme, path, found := strings.Cut(url, "://")
	switch {
	case !found:
		path = url
	case scheme == "postgres" || scheme == "postgresql":
		return openPostgres(ctx, url)
	case scheme != "sqlite":
		return nil, fmt.Errorf("open store: unknown scheme %q; use a file path, sqlite://PATH or postgres://USER@HOST/DATABASE", scheme)
	}
	if path == "" {
		return nil, errors.New("open store: no path given; use a file path, sqlite://PATH or postgres://USER@HOST/DATABASE")
	}
	db, err := openSQLite(ctx, path, mustExist)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	return &DB{sql: db, path: path, name: path}, nil
}

// Name says which database it is, without a password.
func (d *DB) Name() string { return d.name }

// Shared reports whether other processes may run jobs on it too: it is
// PostgreSQL.
func (d *DB) Shared() bool { return d.pool != nil }

// Close closes the database.
func (d *DB) Close() error {
	err := d.sql.Close()
	if d.pool != nil {
		d.pool.Close()
	}
	return err
}

// Limit bounds what is asked of the database with a context.
func (d *DB) Limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if d.pool == nil {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, callTimeout)
}

// ExecContext runs a statement of its own transaction.
func (d *DB) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	ctx, cancel := d.Limit(ctx)
	defer cancel()
	return d.sql.ExecContext(ctx, d.bind(query), plain(args)...)
}

// QueryContext runs a query of its own transaction. The caller bounds it by
// Limit.
func (d *DB) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return d.sql.QueryContext(ctx, d.bind(query), plain(args)...)
}

// QueryRowContext runs a query for one row, which must be scanned.
func (d *DB) QueryRowContext(ctx context.Context, query string, args ...any) *Row {
	ctx, cancel := d.Limit(ctx)
	return &Row{d.sql.QueryRowContext(ctx, d.bind(query), plain(args)...), cancel}
}

// Row is the answer to a query for one row.
type Row struct {
	row  *sql.Row
	done context.CancelFunc
}

// Scan reads the row, as that of *sql.Row does.
func (r *Row) Scan(dest ...any) error {
	defer r.done()
	return r.row.Scan(dest...)
}

// plain makes text storable: a subject of a commit, for one, may have any bytes,
// and PostgreSQL takes neither zeros nor what is no UTF-8.
func plain(args []any) []any {
	for i, a := range args {
		if text, ok := a.(string); ok && (!utf8.ValidString(text) || strings.Contains(text, "\x00")) {
			args[i] = strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", "\ufffd"), "\ufffd")
		}
	}
	return args
}

// bind turns '?' into $1, $2 and so on for PostgreSQL. No query has a '?' that
// is not an argument.
func (d *DB) bind(query string) string {
	if d.pool == nil || !strings.Contains(query, "?") {
		return query
	}
	parts := strings.Split(query, "?")
	var b strings.Builder
	b.Grow(len(query) + 2*len(parts))
	b.WriteString(parts[0])
	for i, part := range parts[1:] {
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(i + 1))
		b.WriteString(part)
	}
	return b.String()
}

// execer is what *sql.Tx and *sql.Conn have in common.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Tx is a transaction, for our queries and for the job queue's.
type Tx struct {
	db *DB
	on execer
	// One of them is set.
	lite *sql.Tx
	pg   pgx.Tx
}

// ExecContext runs a statement.
func (t *Tx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return t.on.ExecContext(ctx, t.db.bind(query), plain(args)...)
}

// QueryContext runs a query.
func (t *Tx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return t.on.QueryContext(ctx, t.db.bind(query), plain(args)...)
}

// QueryRowContext runs a query for one row.
func (t *Tx) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return t.on.QueryRowContext(ctx, t.db.bind(query), plain(args)...)
}

// ForUpdate is put behind a SELECT to keep others from changing its rows until
// the transaction ends, where they could.
func (t *Tx) ForUpdate() string { return t.onShared(" FOR UPDATE") }

// ForKeyShare is put behind a SELECT to keep out those who take its rows
// ForUpdate, and nobody else.
func (t *Tx) ForKeyShare() string { return t.onShared(" FOR KEY SHARE") }

// Lock makes the transaction one about name too, until it ends. Whoever locks
// more than one thing does so in one order.
func (t *Tx) Lock(ctx context.Context, name string) error {
	if t.pg == nil {
		return nil
	}
	_, err := t.ExecContext(ctx, "SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", name)
	return err
}

func (t *Tx) onShared(clause string) string {
	if t.pg == nil {
		return ""
	}
	return clause
}

// Tx runs fn in a transaction that is about what lock names ("" if it needs no
// order): transactions about the same follow each other, so that what fn reads
// of it stays true until it commits. On SQLite all do. fn must use its Tx only,
// and is run again when the database gave it up in favour of another
// transaction.
func (d *DB) Tx(ctx context.Context, lock string, fn func(*Tx) error) error {
	ctx, cancel := d.Limit(ctx)
	defer cancel()
	return d.longTx(ctx, lock, fn)
}

// longTx is Tx for as long as it takes.
func (d *DB) longTx(ctx context.Context, lock string, fn func(*Tx) error) error {
	if d.pool != nil {
		return d.postgresTx(ctx, lock, fn)
	}
	tx, err := d.sql.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := fn(&Tx{db: d, on: tx, lite: tx}); err != nil {
		if undo := tx.Rollback(); undo != nil && !errors.Is(undo, sql.ErrTxDone) {
			err = errors.Join(err, undo)
		}
		return err
	}
	return tx.Commit()
}
