package tables

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"lockkeeper/bot/store/internal/database"
	"lockkeeper/forge"
)

// Branch is how far a base branch was looked at.
type Branch struct {
	RepoID int64
	Name   string
	SHA    string    // the last commit looked at
	First  string    // the first one; set by SetBranch
	Looked time.Time // when; set by SetBranch
}

// Bypass is a commit of a base branch that came without the gate. RepoID,
// Branch and SHA identify it.
type Bypass struct {
	RepoID int64
	Branch string
	SHA    string
	Kind   string     // the caller's word
	By     forge.User // who brought it there; ID 0 while nobody knows
	Number int        // of the merged pull, 0 for none
	// Lost is the tip that was thrown away, if the commit came by a rewrite.
	Lost    string
	Subject string // first line of its message
	// Files are what it changes of targets and of policy. Targets are those
	// it still has to be settled for.
	Files, Targets []string
	// Since is when the branch was last looked at before: nothing that was
	// found after it is older.
	Since   time.Time
	Found   time.Time // the Store's clock if zero
	Issue   int       // that reports it, 0 for none
	Settled time.Time // zero while it is open
	How     string    // it was settled
}

// Branch returns how far a branch was looked at, or ErrNotFound for one that
// never was.
func (s *Tables) Branch(ctx context.Context, repoID int64, name string) (Branch, error) {
	b := Branch{RepoID: repoID, Name: name}
	var looked int64
	err := s.db.QueryRowContext(ctx, "SELECT sha, first, looked FROM branches WHERE repo_id = ? AND branch = ?", repoID, name).
		Scan(&b.SHA, &b.First, &looked)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	if err != nil {
		return Branch{}, fmt.Errorf("store: branch %s of repository %d: %w", name, repoID, err)
	}
	b.Looked = database.FromMicros(looked)
	return b, nil
}

// SetBranch moves the last commit looked at from old ("" for a branch that
// never was) to b.SHA and stores what was found on the way, all or nothing. It
// is ErrStale when somebody else moved it since. What is found again, because
// the branch was set back and forth, is open again.
func (s *Tables) SetBranch(ctx context.Context, b Branch, old string, found []Bypass) error {
	return s.tx(ctx, fmt.Sprintf("note %s of branch %s", b.SHA, b.Name), branchLock(b.RepoID, b.Name), func(tx *database.Tx) error {
		query, args := "UPDATE branches SET sha = ?, looked = ? WHERE repo_id = ? AND branch = ? AND sha = ?",
			[]any{b.SHA, database.Micros(s.now()), b.RepoID, b.Name, old}
		if old == "" {
			query, args = `INSERT INTO branches (sha, looked, repo_id, branch, first) VALUES (?, ?, ?, ?, ?)
				ON CONFLICT (repo_id, branch) DO NOTHING`, append(args[:4], b.SHA)
		}
		res, err := tx.ExecContext(ctx, query, args...)
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if err != nil {
			return err
		}
		if n == 0 {
			return ErrStale
		}
		for i, f := range found {
			f.RepoID, f.Branch = b.RepoID, b.Name
			if err := s.addBypass(ctx, tx, f, i); err != nil {
				return err
			}
		}
		return nil
	})
}

func branchLock(repoID int64, name string) string { return fmt.Sprintf("branch/%d/%s", repoID, name) }

func (s *Tables) addBypass(ctx context.Context, tx *database.Tx, b Bypass, place int) error {
	if b.Found.IsZero() {
		b.Found = s.now()
	}
	by, err := json.Marshal(b.By)
	if err != nil {
		return err
	}
	files, err := json.Marshal(b.Files)
	if err != nil {
		return err
	}
	targets, err := json.Marshal(b.Targets)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO bypasses (repo_id, branch, sha, kind, actor, number, lost, subject, files, targets, since, found, place)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (repo_id, branch, sha) DO UPDATE SET kind = excluded.kind,
		actor = excluded.actor, number = excluded.number, lost = excluded.lost, files = excluded.files, targets = excluded.targets,
		since = excluded.since, found = excluded.found, place = excluded.place, issue = 0, settled = 0, how = ''`,
		b.RepoID, b.Branch, b.SHA, b.Kind, string(by), b.Number, b.Lost, b.Subject, string(files), string(targets),
		database.Micros(b.Since), database.Micros(b.Found), place)
	return err
}

// Bypasses lists the open ones of a branch in the order they were found.
func (s *Tables) Bypasses(ctx context.Context, repoID int64, branch string) ([]Bypass, error) {
	return database.List(ctx, s.db.DB, fmt.Sprintf("list what bypassed branch %s of repository %d", branch, repoID), scanBypass,
		`SELECT repo_id, branch, sha, kind, actor, number, lost, subject, files, targets, since, found, issue, settled, how
		FROM bypasses WHERE repo_id = ? AND branch = ? AND settled = 0 ORDER BY found, place`, repoID, branch)
}

func scanBypass(r database.Scanner) (Bypass, error) {
	var b Bypass
	var by, files, targets string
	var since, found, settled int64
	err := r.Scan(&b.RepoID, &b.Branch, &b.SHA, &b.Kind, &by, &b.Number, &b.Lost, &b.Subject, &files, &targets, &since, &found, &b.Issue, &settled, &b.How)
	if err != nil {
		return b, err
	}
	b.Since, b.Found, b.Settled = database.FromMicros(since), database.FromMicros(found), database.FromMicros(settled)
	return b, errors.Join(json.Unmarshal([]byte(by), &b.By), json.Unmarshal([]byte(files), &b.Files), json.Unmarshal([]byte(targets), &b.Targets))
}

// SetBypassActor stores who brought a commit, which forges may tell late.
func (s *Tables) SetBypassActor(ctx context.Context, repoID int64, branch, sha string, by forge.User) error {
	who, err := json.Marshal(by)
	if err != nil {
		return fmt.Errorf("store: name who brought %s: %w", sha, err)
	}
	return s.setBypass(ctx, "name who brought", repoID, branch, sha, "actor = ?", string(who))
}

// SetBypassIssue stores which issue reports a commit.
func (s *Tables) SetBypassIssue(ctx context.Context, repoID int64, branch, sha string, issue int) error {
	return s.setBypass(ctx, "note the issue about", repoID, branch, sha, "issue = ?", issue)
}

// SetBypassTargets stores for which targets a commit still has to be settled.
func (s *Tables) SetBypassTargets(ctx context.Context, repoID int64, branch, sha string, targets []string) error {
	left, err := json.Marshal(targets)
	if err != nil {
		return fmt.Errorf("store: note what is left of %s: %w", sha, err)
	}
	return s.setBypass(ctx, "note what is left of", repoID, branch, sha, "targets = ?", string(left))
}

// SettleBypass closes a commit with the sentence that says why.
func (s *Tables) SettleBypass(ctx context.Context, repoID int64, branch, sha, how string) error {
	return s.setBypass(ctx, "settle", repoID, branch, sha, "settled = ?, how = ?", database.Micros(s.now()), how)
}

// setBypass changes an open commit: ErrFinished when it is settled, ErrNotFound
// when it never was found.
func (s *Tables) setBypass(ctx context.Context, verb string, repoID int64, branch, sha, set string, args ...any) error {
	return s.tx(ctx, verb+" "+sha, branchLock(repoID, branch), func(tx *database.Tx) error {
		var settled int64
		err := tx.QueryRowContext(ctx, "SELECT settled FROM bypasses WHERE repo_id = ? AND branch = ? AND sha = ?", repoID, branch, sha).
			Scan(&settled)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return ErrNotFound
		case err != nil:
			return err
		case settled != 0:
			return ErrFinished
		}
		_, err = tx.ExecContext(ctx, "UPDATE bypasses SET "+set+" WHERE repo_id = ? AND branch = ? AND sha = ?",
			append(args, repoID, branch, sha)...)
		return err
	})
}
