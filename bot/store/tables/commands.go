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

// Command is one chat command and what came of it. Source, CommentID and Index
// identify it.
type Command struct {
	// Source says what numbers CommentID: the forge's kind, such as "github",
	// with "/review" behind it for the bodies of reviews, which some forges
	// number apart from comments.
	Source    string
	CommentID int64
	Index     int // which command of the comment, from 0
	RepoID    int64
	Number    int
	Name      string // without the slash
	Args      []string
	Actor     forge.User
	Head      string    // the pull's head when the command was seen (threat 16)
	Claimed   time.Time // set by ClaimCommand
	Finished  time.Time // zero while it has no outcome
	Outcome   string
	Detail    json.RawMessage // the caller's, nil if none
}

// ClaimCommand stores a command before it is acted on. fresh is false when it
// was claimed before, by this process or one that died: then nothing may be
// done for it anew, and a command that has no outcome has to be established
// from the operation it began.
func (s *Tables) ClaimCommand(ctx context.Context, c Command) (fresh bool, err error) {
	args, err := json.Marshal(c.Args)
	if err != nil {
		return false, fmt.Errorf("store: claim command: %w", err)
	}
	actor, err := json.Marshal(c.Actor)
	if err != nil {
		return false, fmt.Errorf("store: claim command: %w", err)
	}
	err = s.change(ctx, `INSERT INTO commands (source, comment_id, idx, repo_id, number, name, args, actor, head, claimed)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (source, comment_id, idx) DO NOTHING`,
		[]any{c.Source, c.CommentID, c.Index, c.RepoID, c.Number, c.Name, string(args), string(actor), c.Head, database.Micros(s.now())},
		errClaimed)
	switch {
	case errors.Is(err, errClaimed):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("store: claim command %d of comment %d: %w", c.Index, c.CommentID, err)
	}
	return true, nil
}

var errClaimed = errors.New("claimed before")

// FinishCommand records the outcome of a claimed command, once: ErrFinished
// when it has one, ErrNotFound when it was never claimed. The records of it are
// appended with it.
func (s *Tables) FinishCommand(ctx context.Context, source string, commentID int64, index int, outcome string, detail json.RawMessage, records ...audit.Record) error {
	return s.tx(ctx, fmt.Sprintf("finish command %d of comment %d", index, commentID), fmt.Sprintf("comment/%s/%d", source, commentID), func(tx *database.Tx) error {
		var finished int64
		err := tx.QueryRowContext(ctx, "SELECT finished FROM commands WHERE source = ? AND comment_id = ? AND idx = ?",
			source, commentID, index).Scan(&finished)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return ErrNotFound
		case err != nil:
			return err
		case finished != 0:
			return ErrFinished
		}
		_, err = tx.ExecContext(ctx, `UPDATE commands SET finished = ?, outcome = ?, detail = ?
			WHERE source = ? AND comment_id = ? AND idx = ?`, database.Micros(s.now()), outcome, string(detail), source, commentID, index)
		if err != nil {
			return err
		}
		return s.appendRecords(ctx, tx, records)
	})
}

// Commands lists the commands of a pull in the order they were claimed.
func (s *Tables) Commands(ctx context.Context, repoID int64, number int) ([]Command, error) {
	return database.List(ctx, s.db.DB, fmt.Sprintf("list commands of pull %d of repository %d", number, repoID), scanCommand,
		`SELECT source, comment_id, idx, repo_id, number, name, args, actor, head, claimed, finished, outcome, detail
		FROM commands WHERE repo_id = ? AND number = ? ORDER BY claimed, comment_id, idx`, repoID, number)
}

func scanCommand(r database.Scanner) (Command, error) {
	var c Command
	var args, actor, detail string
	var claimed, finished int64
	err := r.Scan(&c.Source, &c.CommentID, &c.Index, &c.RepoID, &c.Number, &c.Name, &args, &actor, &c.Head,
		&claimed, &finished, &c.Outcome, &detail)
	if err != nil {
		return c, err
	}
	c.Claimed, c.Finished, c.Detail = database.FromMicros(claimed), database.FromMicros(finished), rawJSON(detail)
	return c, errors.Join(json.Unmarshal([]byte(args), &c.Args), json.Unmarshal([]byte(actor), &c.Actor))
}

func rawJSON(text string) json.RawMessage {
	if text == "" {
		return nil
	}
	return json.RawMessage(text)
}
