package tables

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/store/internal/database"
	"lockkeeper/forge"
)

// Duty is the review that an override owes.
type Duty struct {
	ID          string // the caller's, and the same each time it opens this one
	RepoID      int64
	Environment string
	Number      int        // of the pull that was overridden
	By          forge.User // who gave the override
	Reason      string
	CommentID   int64     // of the override
	Opened      time.Time // the Store's clock if zero
	Due         time.Time
	Closed      time.Time  // zero while it is owed
	ClosedBy    forge.User // who reviewed
}

// OpenDuty stores a duty. Opening an ID again, as after a crash, changes
// nothing, and does not reopen a closed one.
func (s *Tables) OpenDuty(ctx context.Context, d Duty) error {
	by, err := json.Marshal(d.By)
	if err != nil {
		return fmt.Errorf("store: open duty %s: %w", d.ID, err)
	}
	if d.Opened.IsZero() {
		d.Opened = s.now()
	}
	_, err = s.db.Exec(ctx, `INSERT INTO duties (id, repo_id, environment, number, actor, reason, comment_id, opened, due)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`,
		d.ID, d.RepoID, d.Environment, d.Number, string(by), d.Reason, d.CommentID, database.Micros(d.Opened), database.Micros(d.Due))
	if err != nil {
		return fmt.Errorf("store: open duty %s: %w", d.ID, err)
	}
	return nil
}

// CloseDuty records who closed a duty, once: ErrFinished when somebody did
// before, ErrNotFound when there is no such duty. The records of it are appended
// with it.
func (s *Tables) CloseDuty(ctx context.Context, id string, by forge.User, records ...audit.Record) error {
	return s.tx(ctx, "close duty "+id, "duty/"+id, func(tx *database.Tx) error {
		var closed int64
		err := tx.QueryRowContext(ctx, "SELECT closed FROM duties WHERE id = ?", id).Scan(&closed)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return ErrNotFound
		case err != nil:
			return err
		case closed != 0:
			return ErrFinished
		}
		who, err := json.Marshal(by)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "UPDATE duties SET closed = ?, closed_by = ? WHERE id = ?", database.Micros(s.now()), string(who), id)
		if err != nil {
			return err
		}
		return s.appendRecords(ctx, tx, records)
	})
}

const dutyColumns = "id, repo_id, environment, number, actor, reason, comment_id, opened, due, closed, closed_by"

// Duties lists what is owed in a repository, oldest first.
func (s *Tables) Duties(ctx context.Context, repoID int64) ([]Duty, error) {
	return database.List(ctx, s.db.DB, fmt.Sprintf("list duties of repository %d", repoID), scanDuty,
		"SELECT "+dutyColumns+" FROM duties WHERE repo_id = ? AND closed = 0 ORDER BY opened, id", repoID)
}

// Duty returns a duty, closed or not, or ErrNotFound.
func (s *Tables) Duty(ctx context.Context, id string) (Duty, error) {
	d, err := scanDuty(s.db.QueryRowContext(ctx, "SELECT "+dutyColumns+" FROM duties WHERE id = ?", id))
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	if err != nil {
		return Duty{}, fmt.Errorf("store: duty %s: %w", id, err)
	}
	return d, nil
}

func scanDuty(r database.Scanner) (Duty, error) {
	var d Duty
	var by, closedBy string
	var opened, due, closed int64
	err := r.Scan(&d.ID, &d.RepoID, &d.Environment, &d.Number, &by, &d.Reason, &d.CommentID, &opened, &due, &closed, &closedBy)
	if err != nil {
		return d, err
	}
	d.Opened, d.Due, d.Closed = database.FromMicros(opened), database.FromMicros(due), database.FromMicros(closed)
	if closedBy != "" {
		err = json.Unmarshal([]byte(closedBy), &d.ClosedBy)
	}
	return d, errors.Join(err, json.Unmarshal([]byte(by), &d.By))
}
