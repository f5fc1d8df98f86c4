package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"lockkeeper/bot/store/internal/database"
	"lockkeeper/forge"
)

// deliveryAge is how long a delivery's id is remembered. GitHub redelivers for
// 3 days; a replay after that costs one needless look at the forge.
const deliveryAge = 30 * 24 * time.Hour

// Delivery is one webhook call, without its body. Forge is the forge's kind.
type Delivery struct {
	ID       string
	Forge    string
	Event    string
	Repo     forge.RepoRef
	Pull     int       // 0 when it concerns none
	Received time.Time // the Store's clock if zero
}

// AddDelivery stores a delivery once by its forge and id, and in the same
// transaction wants the keys. fresh is false, and nothing is wanted, when the
// delivery was stored before (threat 12).
func (s *Store) AddDelivery(ctx context.Context, d Delivery, wants []string) (fresh bool, err error) {
	if d.ID == "" {
		return false, errors.New("store: add a delivery: it has no id")
	}
	if d.Received.IsZero() {
		d.Received = s.now()
	}
	err = s.wantTx(ctx, "add delivery "+d.ID, d.ID, func(tx *database.Tx) ([]string, error) {
		fresh = false
		res, err := tx.ExecContext(ctx, `INSERT INTO deliveries (forge, id, event, repo_id, repo, number, received)
			VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (forge, id) DO NOTHING`,
			d.Forge, d.ID, d.Event, d.Repo.ID, d.Repo.String(), d.Pull, database.Micros(d.Received))
		if err != nil {
			return nil, err
		}
		added, err := res.RowsAffected()
		if err != nil || added == 0 {
			return nil, err
		}
		fresh = true
		return wants, nil
	})
	if err != nil {
		return false, err
	}
	return fresh, nil
}

// PruneDeliveries forgets deliveries received before a time and returns how
// many they were. Run does it by itself.
func (s *Store) PruneDeliveries(ctx context.Context, before time.Time) (int64, error) {
	n, err := s.db.Exec(ctx, "DELETE FROM deliveries WHERE received < ?", database.Micros(before))
	if err != nil {
		return 0, fmt.Errorf("store: prune deliveries: %w", err)
	}
	return n, nil
}
