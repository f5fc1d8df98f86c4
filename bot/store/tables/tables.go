// Package tables is what the store keeps row by row: the bot's own state of each
// pull, plans, commands, operations, branches, duties, drifts and the audit trail.
// It is used through package store, which opens the database.
package tables

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"lockkeeper/bot/store/internal/database"
)

// The errors that callers tell apart.
var (
	// ErrNotFound: there is no such row.
	ErrNotFound = errors.New("not found")
	// ErrStale: somebody else saved the document since it was loaded.
	ErrStale = errors.New("changed since it was loaded; load it again")
	// ErrExists: the id is taken.
	ErrExists = errors.New("already exists")
	// ErrFinished: the command or operation has its outcome already.
	ErrFinished = errors.New("already finished")
)

// Tables are the store's tables. It is safe for concurrent use.
type Tables struct {
	db  *database.Fenced
	now func() time.Time
	log *slog.Logger
}

// New returns the tables of a database whose schema is up to date.
func New(db *database.Fenced, now func() time.Time, log *slog.Logger) *Tables {
	return &Tables{db, now, log}
}

func (s *Tables) tx(ctx context.Context, what, lock string, fn func(tx *database.Tx) error) error {
	return s.db.Named(ctx, what, lock, fn)
}
