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

// keepPlans is how many plans of a pull are kept; the newest stay.
const keepPlans = 20

// LoadPull returns the bot's document about a pull and its version. A pull
// never saved is a nil document of version 0, not an error.
func (s *Tables) LoadPull(ctx context.Context, repoID int64, number int) (doc []byte, version int64, err error) {
	var text string
	err = s.db.QueryRowContext(ctx, "SELECT doc, version FROM pulls WHERE repo_id = ? AND number = ?", repoID, number).
		Scan(&text, &version)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, 0, nil
	case err != nil:
		return nil, 0, fmt.Errorf("store: load pull %d of repository %d: %w", number, repoID, err)
	}
	return []byte(text), version, nil
}

// SavePull replaces the document if its version is still the given one (0: it
// does not exist yet) and returns the new version, else ErrStale. The records
// of what the document tells are appended with it.
func (s *Tables) SavePull(ctx context.Context, repoID int64, number int, doc []byte, version int64, records ...audit.Record) (int64, error) {
	now := database.Micros(s.now())
	query, args := `UPDATE pulls SET doc = ?, version = version + 1, updated = ? WHERE repo_id = ? AND number = ? AND version = ?`,
		[]any{string(doc), now, repoID, number, version}
	if version == 0 {
		query, args = `INSERT INTO pulls (doc, updated, repo_id, number, version) VALUES (?, ?, ?, ?, 1)
			ON CONFLICT (repo_id, number) DO NOTHING`, args[:4]
	}
	err := s.change(ctx, query, args, ErrStale, records...)
	if err != nil {
		return 0, fmt.Errorf("store: save pull %d of repository %d: %w", number, repoID, err)
	}
	return version + 1, nil
}

// change runs a statement that should touch one row; none is the error given.
// The records that belong to it are appended with it.
func (s *Tables) change(ctx context.Context, query string, args []any, none error, records ...audit.Record) error {
	return s.db.Write(ctx, "", func(tx *database.Tx) error {
		res, err := tx.ExecContext(ctx, query, args...)
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if err != nil {
			return err
		}
		if n == 0 {
			return none
		}
		return s.appendRecords(ctx, tx, records)
	})
}

// ListPulls returns the numbers of the pulls saved for a repository, rising.
func (s *Tables) ListPulls(ctx context.Context, repoID int64) ([]int, error) {
	return database.List(ctx, s.db.DB, fmt.Sprintf("list pulls of repository %d", repoID),
		func(r database.Scanner) (n int, err error) { return n, r.Scan(&n) },
		"SELECT number FROM pulls WHERE repo_id = ? ORDER BY number", repoID)
}

// ListPullsNaming returns the numbers of the pulls of a repository whose
// document has a text in it, rising: a few letters and digits, such as a
// commit's SHA.
func (s *Tables) ListPullsNaming(ctx context.Context, repoID int64, text string) ([]int, error) {
	return database.List(ctx, s.db.DB, fmt.Sprintf("list the pulls of repository %d that name %s", repoID, text),
		func(r database.Scanner) (n int, err error) { return n, r.Scan(&n) },
		"SELECT number FROM pulls WHERE repo_id = ? AND doc LIKE '%' || CAST(? AS TEXT) || '%' ORDER BY number", repoID, text)
}

// PlanRow is a stored plan. Body is the caller's encoding, free of secrets.
type PlanRow struct {
	ID      string
	RepoID  int64
	Number  int
	Head    string
	Digest  string
	Created time.Time // the Store's clock if zero
	Body    []byte
}

// SavePlan stores a plan and forgets all but the newest 20 of its pull. Saving
// an ID again replaces the plan and makes it the newest.
func (s *Tables) SavePlan(ctx context.Context, p PlanRow) error {
	if p.Created.IsZero() {
		p.Created = s.now()
	}
	if p.Body == nil {
		p.Body = []byte{}
	}
	return s.tx(ctx, "save plan "+p.ID, fmt.Sprintf("plans/%d/%d", p.RepoID, p.Number), func(tx *database.Tx) error {
		var saved int64
		err := tx.QueryRowContext(ctx, "SELECT coalesce(max(saved), 0) + 1 FROM plans WHERE repo_id = ? AND number = ?",
			p.RepoID, p.Number).Scan(&saved)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO plans (id, repo_id, number, head, digest, created, saved, body)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET repo_id = excluded.repo_id, number = excluded.number,
			head = excluded.head, digest = excluded.digest, created = excluded.created, saved = excluded.saved, body = excluded.body`,
			p.ID, p.RepoID, p.Number, p.Head, p.Digest, database.Micros(p.Created), saved, p.Body)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM plans WHERE repo_id = ? AND number = ? AND id NOT IN (
			SELECT id FROM plans WHERE repo_id = ? AND number = ? ORDER BY saved DESC LIMIT ?)`,
			p.RepoID, p.Number, p.RepoID, p.Number, keepPlans)
		return err
	})
}

// Plan returns a stored plan, or ErrNotFound when it never was or has made
// room for newer ones.
func (s *Tables) Plan(ctx context.Context, id string) (PlanRow, error) {
	var p PlanRow
	var created int64
	err := s.db.QueryRowContext(ctx, "SELECT id, repo_id, number, head, digest, created, body FROM plans WHERE id = ?", id).
		Scan(&p.ID, &p.RepoID, &p.Number, &p.Head, &p.Digest, &created, &p.Body)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	if err != nil {
		return PlanRow{}, fmt.Errorf("store: plan %s: %w", id, err)
	}
	p.Created = database.FromMicros(created)
	return p, nil
}
