package tables

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"lockkeeper/bot/store/internal/database"
	"lockkeeper/cluster"
)

// Render is a state of a target that was applied with approval, and that was
// healthy then. Digest is of its rendered objects and the environment that it was
// approved for, Revision the commit that brought it last.
type Render struct {
	RepoID          int64
	Cluster, Target string
	Digest          string
	Revision        string
	At              time.Time
}

// keptRenders is how many states of a target are remembered.
const keptRenders = 200

// NoteRender remembers a state that stands now, and forgets the oldest ones of
// the target.
func (s *Tables) NoteRender(ctx context.Context, r Render) error {
	return s.tx(ctx, "note what "+r.Target+" was applied as", fmt.Sprintf("renders/%d/%s/%s", r.RepoID, r.Cluster, r.Target), func(tx *database.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO applied_renders (repo_id, cluster, target, render, revision, at) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT (repo_id, cluster, target, render) DO UPDATE SET revision = excluded.revision, at = excluded.at`,
			r.RepoID, r.Cluster, r.Target, r.Digest, r.Revision, database.Micros(r.At))
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM applied_renders WHERE repo_id = ? AND cluster = ? AND target = ? AND render NOT IN
			(SELECT render FROM applied_renders WHERE repo_id = ? AND cluster = ? AND target = ? ORDER BY at DESC, render LIMIT ?)`,
			r.RepoID, r.Cluster, r.Target, r.RepoID, r.Cluster, r.Target, keptRenders)
		return err
	})
}

// AppliedTo lists the targets that were ever applied to a cluster, with approval
// and well.
func (s *Tables) AppliedTo(ctx context.Context, clusterName string) ([]cluster.Owner, error) {
	scan := func(r database.Scanner) (o cluster.Owner, err error) { return o, r.Scan(&o.RepoID, &o.Target) }
	return database.List(ctx, s.db.DB, "list the targets applied to cluster "+clusterName, scan,
		"SELECT DISTINCT repo_id, target FROM applied_renders WHERE cluster = ? ORDER BY repo_id, target", clusterName)
}

// Rendered returns when a target was last applied as a digest says, or
// ErrNotFound if it never was, with approval and well.
func (s *Tables) Rendered(ctx context.Context, repoID int64, clusterName, target, digest string) (Render, error) {
	r := Render{RepoID: repoID, Cluster: clusterName, Target: target, Digest: digest}
	var at int64
	err := s.db.QueryRowContext(ctx, "SELECT revision, at FROM applied_renders WHERE repo_id = ? AND cluster = ? AND target = ? AND render = ?",
		repoID, clusterName, target, digest).Scan(&r.Revision, &at)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	if err != nil {
		return Render{}, fmt.Errorf("store: what %s was applied as: %w", target, err)
	}
	r.At = database.FromMicros(at)
	return r, nil
}
