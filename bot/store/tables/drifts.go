package tables

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"lockkeeper/bot/store/internal/database"
	"lockkeeper/cluster"
	"lockkeeper/forge"
)

// Drift is a target whose live objects are not as they were applied last, and
// what became of telling people so. RepoID, Cluster and Target identify it.
type Drift struct {
	RepoID          int64  `json:"-"`
	Cluster, Target string `json:"-"`
	// Number is of the pull that proposes what is live, 0 for none.
	Number int `json:"-"`
	// Since is when lockkeeper first found that the target drifted.
	Since time.Time `json:"-"`

	Environment string `json:"environment"`
	Base        string `json:"base"` // branch that the target is of
	// Findings are what differs; values of Secrets are masked.
	Findings []DriftFinding `json:"findings"`
	// Digest is of the findings: another one is another drift.
	Digest string `json:"digest"`
	// Branch is the pull's, and Tip the last commit that we made there.
	Branch string `json:"branch,omitempty"`
	Tip    string `json:"tip,omitempty"`
	// Foreign are the commits on Branch that are not ours.
	Foreign []string `json:"foreign,omitempty"`
	Issue   int      `json:"issue,omitempty"` // where no pull can tell, 0 for none
	// Told is the digest that pull or issue tell of.
	Told string `json:"told,omitempty"`
	// Quiet keeps from telling again; the zero value keeps from nothing.
	Quiet Quiet `json:"quiet,omitzero"`
	// Refused are the reasons for which the last heal was not begun.
	Refused []string `json:"refused,omitempty"`
	// Fight says who undoes what heals, "" while nobody does.
	Fight string `json:"fight,omitempty"`
}

// DriftFinding is a difference, and when lockkeeper first found it.
type DriftFinding struct {
	cluster.Finding
	Since time.Time `json:"since"`
}

// Quiet is the wish of somebody not to be told of a drift, as it was, until a
// time.
type Quiet struct {
	Digest string     `json:"digest"`
	Until  time.Time  `json:"until"`
	By     forge.User `json:"by"`
	Closed int        `json:"closed,omitempty"` // the pull that was closed
}

// SaveDrift stores a drift over what was known of it.
func (s *Tables) SaveDrift(ctx context.Context, d Drift) error {
	doc, err := json.Marshal(d)
	if err == nil {
		_, err = s.db.Exec(ctx, `INSERT INTO drifts (repo_id, cluster, target, number, since, doc) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT (repo_id, cluster, target) DO UPDATE SET number = excluded.number, since = excluded.since, doc = excluded.doc`,
			d.RepoID, d.Cluster, d.Target, d.Number, database.Micros(d.Since), string(doc))
	}
	if err != nil {
		return fmt.Errorf("store: save the drift of %s on %s: %w", d.Target, d.Cluster, err)
	}
	return nil
}

// DropDrift forgets a drift that is over; one that is not there is no error.
func (s *Tables) DropDrift(ctx context.Context, repoID int64, clusterName, target string) error {
	_, err := s.db.Exec(ctx, "DELETE FROM drifts WHERE repo_id = ? AND cluster = ? AND target = ?", repoID, clusterName, target)
	if err != nil {
		return fmt.Errorf("store: forget the drift of %s on %s: %w", target, clusterName, err)
	}
	return nil
}

const driftColumns = "repo_id, cluster, target, number, since, doc"

// Drifts lists what drifts on a cluster, by repository and target.
func (s *Tables) Drifts(ctx context.Context, clusterName string) ([]Drift, error) {
	return database.List(ctx, s.db.DB, "list the drifts of cluster "+clusterName, scanDrift,
		"SELECT "+driftColumns+" FROM drifts WHERE cluster = ? ORDER BY repo_id, target", clusterName)
}

// DriftOfPull returns the drift that a pull proposes, or ErrNotFound.
func (s *Tables) DriftOfPull(ctx context.Context, repoID int64, number int) (Drift, error) {
	d, err := scanDrift(s.db.QueryRowContext(ctx, "SELECT "+driftColumns+" FROM drifts WHERE repo_id = ? AND number = ? AND number > 0", repoID, number))
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	if err != nil {
		return Drift{}, fmt.Errorf("store: drift of pull %d of repository %d: %w", number, repoID, err)
	}
	return d, nil
}

func scanDrift(r database.Scanner) (Drift, error) {
	var d Drift
	var since int64
	var doc string
	if err := r.Scan(&d.RepoID, &d.Cluster, &d.Target, &d.Number, &since, &doc); err != nil {
		return d, err
	}
	d.Since = database.FromMicros(since)
	return d, json.Unmarshal([]byte(doc), &d)
}

// Heal is one time that a target was put back by itself.
type Heal struct {
	RepoID          int64
	Cluster, Target string
	At              time.Time
	Outcome         string   // the caller's word
	Fields          []string // the caller's names of what was put back
}

// healAge is how long heals are remembered.
const healAge = 24 * time.Hour

// AddHeal notes a heal, and forgets those that are more than a day older.
func (s *Tables) AddHeal(ctx context.Context, h Heal) error {
	fields, err := json.Marshal(h.Fields)
	if err != nil {
		return fmt.Errorf("store: note a heal of %s: %w", h.Target, err)
	}
	return s.tx(ctx, "note a heal of "+h.Target, "heals", func(tx *database.Tx) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM heals WHERE at < ?", database.Micros(h.At.Add(-healAge))); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO heals (repo_id, cluster, target, at, outcome, fields) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT (repo_id, cluster, target, at) DO UPDATE SET outcome = excluded.outcome, fields = excluded.fields`,
			h.RepoID, h.Cluster, h.Target, database.Micros(h.At), h.Outcome, string(fields))
		return err
	})
}

// Heals lists the heals of a target that are remembered, oldest first.
func (s *Tables) Heals(ctx context.Context, repoID int64, clusterName, target string) ([]Heal, error) {
	return database.List(ctx, s.db.DB, "list the heals of "+target, scanHeal, `SELECT repo_id, cluster, target, at, outcome, fields FROM heals
		WHERE repo_id = ? AND cluster = ? AND target = ? ORDER BY at`, repoID, clusterName, target)
}

func scanHeal(r database.Scanner) (Heal, error) {
	var h Heal
	var at int64
	var fields string
	if err := r.Scan(&h.RepoID, &h.Cluster, &h.Target, &at, &h.Outcome, &fields); err != nil {
		return h, err
	}
	h.At = database.FromMicros(at)
	return h, json.Unmarshal([]byte(fields), &h.Fields)
}

// Watch is what is known of a cluster as a whole.
type Watch struct {
	Cluster string
	Full    time.Time // when everything was checked last
	Looked  time.Time // when it was looked at last
	// Unknown is what could not be looked at then.
	Unknown []cluster.Unknown
	// Mass is when so much changed at once that single targets are not told of,
	// zero while that is not so; Issues tell of it, by repository.
	Mass   time.Time
	Issues map[int64]int
}

// Watch returns what is known of a cluster: a zero Watch of one that never was
// looked at.
func (s *Tables) Watch(ctx context.Context, clusterName string) (Watch, error) {
	w := Watch{Cluster: clusterName}
	var full, looked, mass int64
	var unknown, issues string
	err := s.db.QueryRowContext(ctx, "SELECT checked, looked, unknown, mass, issues FROM watches WHERE cluster = ?", clusterName).
		Scan(&full, &looked, &unknown, &mass, &issues)
	if errors.Is(err, sql.ErrNoRows) {
		return w, nil
	}
	if err == nil {
		w.Full, w.Looked, w.Mass = database.FromMicros(full), database.FromMicros(looked), database.FromMicros(mass)
		err = errors.Join(json.Unmarshal([]byte(unknown), &w.Unknown), json.Unmarshal([]byte(issues), &w.Issues))
	}
	if err != nil {
		return Watch{}, fmt.Errorf("store: read what is known of cluster %s: %w", clusterName, err)
	}
	return w, nil
}

// SaveWatch stores what is known of a cluster over what was.
func (s *Tables) SaveWatch(ctx context.Context, w Watch) error {
	unknown, err := json.Marshal(w.Unknown)
	if err != nil {
		return fmt.Errorf("store: note what is known of cluster %s: %w", w.Cluster, err)
	}
	issues, err := json.Marshal(w.Issues)
	if err == nil {
		_, err = s.db.Exec(ctx, `INSERT INTO watches (cluster, checked, looked, unknown, mass, issues) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT (cluster) DO UPDATE SET checked = excluded.checked, looked = excluded.looked, unknown = excluded.unknown,
			mass = excluded.mass, issues = excluded.issues`,
			w.Cluster, database.Micros(w.Full), database.Micros(w.Looked), string(unknown), database.Micros(w.Mass), string(issues))
	}
	if err != nil {
		return fmt.Errorf("store: note what is known of cluster %s: %w", w.Cluster, err)
	}
	return nil
}
