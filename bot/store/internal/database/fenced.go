package database

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Fenced is a database on which every write asks Fence first, in its
// transaction, whether whoever does it still may.
type Fenced struct {
	*DB
	Fence func(ctx context.Context, tx *Tx) error
}

// Write runs fn in a transaction that is about what lock names (see DB.Tx),
// unless the fence refuses it. fn must use tx only, and may be run more than
// once.
func (f *Fenced) Write(ctx context.Context, lock string, fn func(tx *Tx) error) error {
	return f.Tx(ctx, lock, func(tx *Tx) error {
		if err := f.Fence(ctx, tx); err != nil {
			return err
		}
		return fn(tx)
	})
}

// Named is Write with the name of what is done.
func (f *Fenced) Named(ctx context.Context, what, lock string, fn func(tx *Tx) error) error {
	if err := f.Write(ctx, lock, fn); err != nil {
		return fmt.Errorf("store: %s: %w", what, err)
	}
	return nil
}

// Exec is one statement in a transaction of its own. It returns how many rows
// it touched.
func (f *Fenced) Exec(ctx context.Context, query string, args ...any) (n int64, err error) {
	err = f.Write(ctx, "", func(tx *Tx) error {
		res, err := tx.ExecContext(ctx, query, args...)
		if err != nil {
			return err
		}
		n, err = res.RowsAffected()
		return err
	})
	return n, err
}

// Scanner is what *sql.Row, *sql.Rows and Row have in common.
type Scanner interface{ Scan(dest ...any) error }

// querier is what a database and its transactions have in common.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// Collect reads all rows of a query and closes it before returning, since an
// open cursor would hold the one connection.
func Collect[T any](ctx context.Context, q querier, scan func(Scanner) (T, error), query string, args ...any) ([]T, error) {
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

// List is Collect outside a transaction, with the name of what is read.
func List[T any](ctx context.Context, d *DB, what string, scan func(Scanner) (T, error), query string, args ...any) ([]T, error) {
	ctx, cancel := d.Limit(ctx)
	defer cancel()
	all, err := Collect(ctx, d, scan, query, args...)
	if err != nil {
		return nil, fmt.Errorf("store: %s: %w", what, err)
	}
	return all, nil
}

// Micros is how times are stored: UTC, microseconds, 0 for the zero time.
func Micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// FromMicros is the way back.
func FromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
