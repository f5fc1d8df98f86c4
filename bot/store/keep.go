package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// keepTTL is how long a lease of Keep lasts that is not renewed, which it is
// three times in that time. keepPoll is how often one who waits for it looks,
// for whom nobody told.
const (
	keepTTL  = 30 * time.Second
	keepPoll = 5 * time.Second
)

// Keep runs fn while this process holds the lease on key, and nobody else does:
// for work that lasts, such as watching a cluster. It waits while another holds
// it. When the lease is lost, which a process that was stopped finds out when it
// goes on, fn's context ends with the cause ErrLeaseLost or ErrTaken, and Keep
// waits again once fn returned. It returns when ctx ends, or when fn does by
// itself; the lease is released then. There must be one Keep of a key in a
// process.
func (s *Store) Keep(ctx context.Context, key, purpose string, fn func(ctx context.Context) error) error {
	for {
		lease, err := s.await(ctx, key, purpose)
		if err != nil {
			return fmt.Errorf("store: keep %s: %w", key, err)
		}
		if lost, err := s.hold(ctx, lease, fn); !lost {
			return err
		}
		s.log.WarnContext(ctx, "the lease was lost and is waited for again", "lease", key)
	}
}

// keeper is what Keep's leases of a replica have as their holder.
func keeper(replica string) string { return "replica/" + replica }

// await returns the lease once it is this process's.
func (s *Store) await(ctx context.Context, key, purpose string) (Lease, error) {
	for {
		s.mu.Lock()
		released := s.released
		s.mu.Unlock()
		lease, ok, current, err := s.Acquire(ctx, key, keeper(s.Replica()), purpose, keepTTL)
		if ok || ctx.Err() != nil {
			return lease, ctx.Err()
		}
		wait := keepPoll
		switch {
		case err != nil:
			s.log.WarnContext(ctx, "cannot ask for a lease; trying again", "lease", key, "error", err)
		case !current.Expires.IsZero():
			wait = max(time.Millisecond, min(wait, current.Expires.Sub(s.now())))
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-released:
		}
		timer.Stop()
	}
}

// hold runs fn under a lease. lost reports that it ended because of the lease.
func (s *Store) hold(ctx context.Context, lease Lease, fn func(ctx context.Context) error) (lost bool, err error) {
	held, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := &run{cancel: cancel} // it ends with the runs when this replica was taken for dead
	s.enter(r)
	defer s.leave(r)
	done := make(chan error, 1)
	go func() { done <- fn(held) }()
	renewed := time.Now()
	tick := time.NewTicker(keepTTL / 3)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			s.letGo(ctx, lease)
			return ctx.Err() == nil && held.Err() != nil, err
		case <-tick.C:
			if held.Err() != nil {
				continue // fn is on its way out
			}
			next, err := s.extend(ctx, lease)
			switch {
			case err == nil:
				lease, renewed = next, time.Now()
			case errors.Is(err, ErrLeaseLost) || time.Since(renewed) > keepTTL-keepTTL/3:
				cancel(ErrLeaseLost)
			case ctx.Err() == nil:
				s.log.WarnContext(ctx, "cannot renew a lease; trying again", "lease", lease.Key, "error", err)
			}
		}
	}
}

// extend renews a lease, also one that expired and that nobody else has had.
func (s *Store) extend(ctx context.Context, lease Lease) (Lease, error) {
	next, ok, _, err := s.Acquire(ctx, lease.Key, lease.Holder, lease.Purpose, keepTTL)
	switch {
	case err != nil:
		return Lease{}, err
	case !ok:
		return Lease{}, ErrLeaseLost
	case next.Token != lease.Token+1:
		s.letGo(ctx, next)
		return Lease{}, ErrLeaseLost
	}
	return next, nil
}

// letGo releases a lease, also when ctx has ended. It expires if that fails.
func (s *Store) letGo(ctx context.Context, lease Lease) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTimeout)
	defer cancel()
	if err := s.Release(ctx, lease); err != nil && !errors.Is(err, ErrLeaseLost) {
		s.log.WarnContext(ctx, "cannot release a lease; it expires", "lease", lease.Key, "error", err)
	}
}
