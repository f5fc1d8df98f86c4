package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"lockkeeper/bot/store/internal/database"
)

// Lease is the right of one holder to act on a key, such as a target. Token
// rises with every Acquire of the key and never goes back, so that an action
// begun under an older lease can be told apart.
type Lease struct {
	Key      string
	Holder   string
	Purpose  string
	Token    int64
	Acquired time.Time // when this holder got it first
	Expires  time.Time // zero: held until released
}

// Acquire takes the lease on key for holder. With a ttl it expires by itself
// (technical leases, to be renewed); with ttl 0 it is held until released (a
// pull's hold on a target until it is merged or restored). The current holder
// gets it again with a new token, and what it holds until release stays so.
// ok is false when somebody else holds it; current says who.
func (s *Store) Acquire(ctx context.Context, key, holder, purpose string, ttl time.Duration) (lease Lease, ok bool, current Lease, err error) {
	if key == "" || holder == "" {
		return Lease{}, false, Lease{}, errors.New("store: acquire a lease: it needs a key and a holder")
	}
	err = s.tx(ctx, "acquire the lease on "+key, "lease/"+key, func(tx *database.Tx) error {
		lease, ok, current = Lease{}, false, Lease{}
		held, token, err := readLease(ctx, tx, key, s.now())
		if err != nil {
			return err
		}
		if held.Holder != "" && held.Holder != holder {
			current = held
			return nil
		}
		lease = Lease{Key: key, Holder: holder, Purpose: purpose, Token: token + 1, Acquired: held.Acquired}
		if held.Holder == "" {
			lease.Acquired = database.FromMicros(database.Micros(s.now()))
		}
		if sticky := held.Holder != "" && held.Expires.IsZero(); ttl > 0 && !sticky {
			lease.Expires = database.FromMicros(database.Micros(s.now().Add(ttl)))
		}
		ok, current = true, lease
		_, err = tx.ExecContext(ctx, `INSERT INTO leases (key, holder, purpose, token, acquired, expires) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT (key) DO UPDATE SET holder = excluded.holder, purpose = excluded.purpose, token = excluded.token,
			acquired = excluded.acquired, expires = excluded.expires`,
			key, holder, purpose, lease.Token, database.Micros(lease.Acquired), database.Micros(lease.Expires))
		return err
	})
	if err != nil {
		return Lease{}, false, Lease{}, err
	}
	return lease, ok, current, nil
}

// readLease returns the lease if it is held now, and the key's last token.
func readLease(ctx context.Context, tx *database.Tx, key string, now time.Time) (Lease, int64, error) {
	l, err := scanLease(tx.QueryRowContext(ctx, "SELECT "+leaseColumns+" FROM leases WHERE key = ?", key))
	if errors.Is(err, sql.ErrNoRows) {
		return Lease{}, 0, nil
	}
	if err != nil || !l.heldAt(now) {
		return Lease{}, l.Token, err
	}
	return l, l.Token, nil
}

const leaseColumns = "key, holder, purpose, token, acquired, expires"

func scanLease(r database.Scanner) (Lease, error) {
	var l Lease
	var acquired, expires int64
	err := r.Scan(&l.Key, &l.Holder, &l.Purpose, &l.Token, &acquired, &expires)
	l.Acquired, l.Expires = database.FromMicros(acquired), database.FromMicros(expires)
	return l, err
}

func (l Lease) heldAt(now time.Time) bool {
	return l.Holder != "" && (l.Expires.IsZero() || l.Expires.After(now))
}

// Renew moves the expiry of a technical lease to ttl from now; one held until
// released stays as it is. ErrLeaseLost when it expired or went on since.
func (s *Store) Renew(ctx context.Context, lease Lease, ttl time.Duration) (Lease, error) {
	var renewed Lease
	err := s.tx(ctx, "renew the lease on "+lease.Key, "lease/"+lease.Key, func(tx *database.Tx) error {
		held, token, err := readLease(ctx, tx, lease.Key, s.now())
		if err != nil {
			return err
		}
		if held.Holder == "" || token != lease.Token {
			return ErrLeaseLost
		}
		if renewed = held; held.Expires.IsZero() {
			return nil
		}
		renewed.Expires = database.FromMicros(database.Micros(s.now().Add(ttl)))
		_, err = tx.ExecContext(ctx, "UPDATE leases SET expires = ? WHERE key = ?", database.Micros(renewed.Expires), lease.Key)
		return err
	})
	if err != nil {
		return Lease{}, err
	}
	return renewed, nil
}

// Release gives up a lease, or takes away one that Lease returned. It is
// ErrLeaseLost when the key's lease is another by now.
func (s *Store) Release(ctx context.Context, lease Lease) error {
	n, err := s.db.Exec(ctx, "UPDATE leases SET holder = '', purpose = '', expires = 0 WHERE key = ? AND token = ? AND holder <> ''",
		lease.Key, lease.Token)
	if err == nil && n == 0 {
		err = ErrLeaseLost
	}
	if err != nil {
		return fmt.Errorf("store: release the lease on %s: %w", lease.Key, err)
	}
	s.leaseReleased(ctx)
	return nil
}

// Lease returns who holds key now, or ErrNotFound when nobody does.
func (s *Store) Lease(ctx context.Context, key string) (Lease, error) {
	l, err := scanLease(s.db.QueryRowContext(ctx, "SELECT "+leaseColumns+" FROM leases WHERE key = ?", key))
	if errors.Is(err, sql.ErrNoRows) || err == nil && !l.heldAt(s.now()) {
		err = ErrNotFound
	}
	if err != nil {
		return Lease{}, fmt.Errorf("store: lease on %s: %w", key, err)
	}
	return l, nil
}

// Leases lists the leases held now, by key.
func (s *Store) Leases(ctx context.Context) ([]Lease, error) {
	return database.List(ctx, s.db.DB, "list leases", scanLease,
		"SELECT "+leaseColumns+" FROM leases WHERE holder <> '' AND (expires = 0 OR expires > ?) ORDER BY key", database.Micros(s.now()))
}
