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

// Running is the state of an operation that has no outcome yet. Other states
// are the caller's words.
const Running = "running"

// Operation is one run of apply, rollback, restore, heal or sync. It is stored
// before a cluster is touched; one that is still running after a restart died
// half-way, and its outcome has to be established from the cluster.
type Operation struct {
	ID         string
	Kind       string
	RepoID     int64
	Number     int
	Targets    []string
	Head       string
	PlanDigest string
	CommentID  int64 // 0 when no command asked for it
	Actor      forge.User
	State      string
	Started    time.Time       // the Store's clock if zero
	Updated    time.Time       // set by the Store
	Finished   time.Time       // zero while running
	Detail     json.RawMessage // the caller's progress and outcome, free of secrets
}

// StartOperation stores a running operation. When it returns nil, the
// operation survives a power cut, and so do its records. An ID that was used
// before is ErrExists.
func (s *Tables) StartOperation(ctx context.Context, op Operation, records ...audit.Record) error {
	targets, err := json.Marshal(op.Targets)
	if err != nil {
		return fmt.Errorf("store: start operation %s: %w", op.ID, err)
	}
	actor, err := json.Marshal(op.Actor)
	if err != nil {
		return fmt.Errorf("store: start operation %s: %w", op.ID, err)
	}
	now := s.now()
	if op.Started.IsZero() {
		op.Started = now
	}
	err = s.change(ctx, `INSERT INTO operations (id, kind, repo_id, number, targets, head, plan_digest, comment_id, actor,
		state, started, updated, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`,
		[]any{op.ID, op.Kind, op.RepoID, op.Number, string(targets), op.Head, op.PlanDigest, op.CommentID, string(actor),
			Running, database.Micros(op.Started), database.Micros(now), string(op.Detail)}, ErrExists, records...)
	if err != nil {
		return fmt.Errorf("store: start operation %s: %w", op.ID, err)
	}
	return nil
}

// UpdateOperation replaces the detail of a running operation; ErrFinished when
// it has its outcome.
func (s *Tables) UpdateOperation(ctx context.Context, id string, detail json.RawMessage) error {
	return s.setOperation(ctx, "update", id, Running, detail)
}

// FinishOperation records the outcome of a running operation, once: its state
// (any word but Running) and detail, nil keeping the last one. The records of it
// are appended with it.
func (s *Tables) FinishOperation(ctx context.Context, id, state string, detail json.RawMessage, records ...audit.Record) error {
	if state == Running || state == "" {
		return fmt.Errorf("store: finish operation %s: %q is not an outcome", id, state)
	}
	return s.setOperation(ctx, "finish", id, state, detail, records...)
}

func (s *Tables) setOperation(ctx context.Context, verb, id, state string, detail json.RawMessage, records ...audit.Record) error {
	return s.tx(ctx, verb+" operation "+id, "operation/"+id, func(tx *database.Tx) error {
		var was, old string
		err := tx.QueryRowContext(ctx, "SELECT state, detail FROM operations WHERE id = ?", id).Scan(&was, &old)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return ErrNotFound
		case err != nil:
			return err
		case was != Running:
			return fmt.Errorf("it is %s: %w", was, ErrFinished)
		}
		text := string(detail)
		if detail == nil {
			text = old
		}
		now := database.Micros(s.now())
		finished := now
		if state == Running {
			finished = 0
		}
		_, err = tx.ExecContext(ctx, "UPDATE operations SET state = ?, detail = ?, updated = ?, finished = ? WHERE id = ?",
			state, text, now, finished, id)
		if err != nil {
			return err
		}
		return s.appendRecords(ctx, tx, records)
	})
}

const operationColumns = "id, kind, repo_id, number, targets, head, plan_digest, comment_id, actor, state, started, updated, finished, detail"

// RunningOperations lists the operations without an outcome, oldest first.
func (s *Tables) RunningOperations(ctx context.Context) ([]Operation, error) {
	return database.List(ctx, s.db.DB, "list running operations", scanOperation,
		"SELECT "+operationColumns+" FROM operations WHERE state = 'running' ORDER BY started, id")
}

// Operations lists the operations of a pull, oldest first.
func (s *Tables) Operations(ctx context.Context, repoID int64, number int) ([]Operation, error) {
	return database.List(ctx, s.db.DB, fmt.Sprintf("list operations of pull %d of repository %d", number, repoID), scanOperation,
		"SELECT "+operationColumns+" FROM operations WHERE repo_id = ? AND number = ? ORDER BY started, id", repoID, number)
}

func scanOperation(r database.Scanner) (Operation, error) {
	var op Operation
	var targets, actor, detail string
	var started, updated, finished int64
	err := r.Scan(&op.ID, &op.Kind, &op.RepoID, &op.Number, &targets, &op.Head, &op.PlanDigest, &op.CommentID, &actor,
		&op.State, &started, &updated, &finished, &detail)
	if err != nil {
		return op, err
	}
	op.Started, op.Updated, op.Finished, op.Detail = database.FromMicros(started), database.FromMicros(updated), database.FromMicros(finished), rawJSON(detail)
	return op, errors.Join(json.Unmarshal([]byte(targets), &op.Targets), json.Unmarshal([]byte(actor), &op.Actor))
}
