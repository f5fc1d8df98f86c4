package database

import (
	"context"
	"database/sql"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/riverdriver/riversqlite"
)

// Queue is River's driver on our transactions.
type Queue = riverdriver.Driver[*Tx]

// Queue returns a driver whose client looks for jobs when told so by queued.
//
// River would write a row (SQLite) or a NOTIFY (PostgreSQL) into each
// transaction that adds a job, and poll the rows every 50 ms. NOTIFY takes a
// lock that lets one such transaction commit at a time. The store says it after
// the commit instead: in the process at once, to others by Notify.
func (d *DB) Queue(queued <-chan struct{}) Queue {
	if d.pool == nil {
		return &sqliteQueue{riversqlite.New(d.sql), d, queued}
	}
	return &postgresQueue{riverpgxv5.New(d.pool), d, queued}
}

type sqliteQueue struct {
	riverdriver.Driver[*sql.Tx]
	db     *DB
	queued <-chan struct{}
}

// GetListener returns the in-process listener.
func (q *sqliteQueue) GetListener(*riverdriver.GetListenenerParams) riverdriver.Listener {
	return &listener{queued: q.queued}
}

// SupportsListener is true for the in-process listener.
func (q *sqliteQueue) SupportsListener() bool { return true }

// SupportsListenNotify is false so that River does not write notifications.
func (q *sqliteQueue) SupportsListenNotify() bool { return false }

// UnwrapExecutor lets River take part in a transaction.
func (q *sqliteQueue) UnwrapExecutor(tx *Tx) riverdriver.ExecutorTx {
	return q.Driver.UnwrapExecutor(tx.lite)
}

// UnwrapTx is the way back.
func (q *sqliteQueue) UnwrapTx(exec riverdriver.ExecutorTx) *Tx {
	tx := q.Driver.UnwrapTx(exec)
	return &Tx{db: q.db, on: tx, lite: tx}
}

type postgresQueue struct {
	riverdriver.Driver[pgx.Tx]
	db     *DB
	queued <-chan struct{}
}

// GetListener returns the in-process listener.
func (q *postgresQueue) GetListener(*riverdriver.GetListenenerParams) riverdriver.Listener {
	return &listener{queued: q.queued}
}

// SupportsListener is true for the in-process listener.
func (q *postgresQueue) SupportsListener() bool { return true }

// SupportsListenNotify is false so that River does not write notifications.
func (q *postgresQueue) SupportsListenNotify() bool { return false }

// UnwrapExecutor lets River take part in a transaction.
func (q *postgresQueue) UnwrapExecutor(tx *Tx) riverdriver.ExecutorTx {
	return q.Driver.UnwrapExecutor(tx.pg)
}

// UnwrapTx is the way back, for River's own queries only.
func (q *postgresQueue) UnwrapTx(exec riverdriver.ExecutorTx) *Tx {
	return &Tx{db: q.db, pg: q.Driver.UnwrapTx(exec)}
}

// listener turns the store's word that a job was queued into River's
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
