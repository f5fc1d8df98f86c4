package tables

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/store/internal/database"
)

// AppendRecord seals a record as the next of the chain and stores it. A zero
// Time is the Store's clock. The record returned has its number and hash.
func (s *Tables) AppendRecord(ctx context.Context, r audit.Record) (audit.Record, error) {
	if r.Time.IsZero() {
		r.Time = s.now()
	}
	var sealed audit.Record
	err := s.tx(ctx, "append an audit record", "", func(tx *database.Tx) (err error) {
		sealed, err = s.appendRecord(ctx, tx, r)
		return err
	})
	if err != nil {
		return audit.Record{}, err
	}
	return sealed, nil
}

// appendRecord also tells the log. A transaction that then fails is told there
// as well, by whoever began it, and one that is repeated is told twice.
func (s *Tables) appendRecord(ctx context.Context, tx *database.Tx, r audit.Record) (audit.Record, error) {
	if err := tx.Lock(ctx, "audit"); err != nil {
		return audit.Record{}, err
	}
	head, err := auditHead(tx.QueryRowContext(ctx, headQuery))
	if err != nil {
		return audit.Record{}, err
	}
	sealed, err := audit.Seal(head, r)
	if err != nil {
		return audit.Record{}, err
	}
	body, err := audit.Encode(sealed)
	if err != nil {
		return audit.Record{}, err
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO records (seq, hash, time, repo_id, number, body) VALUES (?, ?, ?, ?, ?, ?)",
		sealed.Seq, sealed.Hash, database.Micros(sealed.Time), sealed.Repo.ID, sealed.Pull, string(body))
	if err != nil {
		return audit.Record{}, err
	}
	s.log.InfoContext(ctx, "recorded", "record", r.Type, "outcome", r.Outcome, "by", r.Actor.Login, "reason", r.Reason)
	return sealed, nil
}

// appendRecords appends what belongs to another write, in its transaction: a
// process that dies loses neither of them, and doubles neither. A zero Time is
// the Store's clock.
func (s *Tables) appendRecords(ctx context.Context, tx *database.Tx, records []audit.Record) error {
	for _, r := range records {
		if r.Time.IsZero() {
			r.Time = s.now()
		}
		if _, err := s.appendRecord(ctx, tx, r); err != nil {
			return fmt.Errorf("append an audit record: %w", err)
		}
	}
	return nil
}

const headQuery = "SELECT seq, hash FROM records ORDER BY seq DESC LIMIT 1"

func auditHead(r database.Scanner) (audit.Head, error) {
	var head audit.Head
	err := r.Scan(&head.Seq, &head.Hash)
	if errors.Is(err, sql.ErrNoRows) {
		return audit.Genesis, nil
	}
	return head, err
}

// AuditHead returns the number and hash of the newest record.
func (s *Tables) AuditHead(ctx context.Context) (audit.Head, error) {
	head, err := auditHead(s.db.QueryRowContext(ctx, headQuery))
	if err != nil {
		return audit.Head{}, fmt.Errorf("store: newest audit record: %w", err)
	}
	return head, nil
}

// Filter selects audit records; zero fields select all.
type Filter struct {
	RepoID int64
	Number int
	Since  time.Time // records from this time on
	After  int64     // records with a greater Seq, for reading in pages
	Limit  int       // at most so many, the oldest first; 0 for no limit
}

// Records lists audit records in the order they were written. Only an
// unfiltered list is a chain that audit.Verify can follow.
func (s *Tables) Records(ctx context.Context, f Filter) ([]audit.Record, error) {
	query, args := "SELECT body FROM records WHERE seq > ?", []any{f.After}
	if f.RepoID != 0 {
		query, args = query+" AND repo_id = ?", append(args, f.RepoID)
	}
	if f.Number != 0 {
		query, args = query+" AND number = ?", append(args, f.Number)
	}
	if !f.Since.IsZero() {
		query, args = query+" AND time >= ?", append(args, database.Micros(f.Since))
	}
	query += " ORDER BY seq"
	if f.Limit > 0 {
		query, args = query+" LIMIT ?", append(args, f.Limit)
	}
	return database.List(ctx, s.db.DB, "list audit records", func(r database.Scanner) (audit.Record, error) {
		var body string
		if err := r.Scan(&body); err != nil {
			return audit.Record{}, err
		}
		return audit.Decode([]byte(body))
	}, query, args...)
}
