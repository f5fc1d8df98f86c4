package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/store/internal/database"
)

// road is a TCP proxy to PostgreSQL's socket that can fall silent: what is open
// stays open, and nothing is carried any more.
type road struct {
	l      net.Listener
	mu     sync.Mutex
	silent chan struct{} // closed when connections of this time are silent
	quiet  bool
}

func newRoad(t *testing.T, to string) (*road, string) {
	t.Helper()
	u := must[*url.URL](t)(url.Parse(to))
	host := u.Query().Get("host")
	l := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	r := &road{l: l, silent: make(chan struct{})}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.mu.Lock()
			quiet, silent := r.quiet, r.silent
			r.mu.Unlock()
			if quiet {
				continue // never answered
			}
			up, err := net.Dial("unix", host+"/.s.PGSQL.5432")
			if err != nil {
				_ = c.Close()
				continue
			}
			copyTo := func(dst, src net.Conn) {
				buf := make([]byte, 32<<10)
				for {
					n, err := src.Read(buf)
					select {
					case <-silent:
						select {} // for ever
					default:
					}
					if n > 0 {
						if _, err := dst.Write(buf[:n]); err != nil {
							break
						}
					}
					if err != nil {
						break
					}
				}
				_ = dst.Close()
				_ = src.Close()
			}
			go copyTo(up, c)
			go copyTo(c, up)
		}
	}()
	t.Cleanup(func() { _ = l.Close() })
	q := u.Query()
	q.Del("host")
	u.Host = l.Addr().String()
	u.RawQuery = q.Encode() + "&sslmode=disable"
	return r, u.String()
}

func (r *road) fallSilent() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.silent)
	r.quiet = true
}

func (r *road) heal() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.silent, r.quiet = make(chan struct{}), false
}

// The road to the database falls silent, as when its machine is gone: a replica
// that cannot say that it is alive cancels its runs before others take them.
// When there is a database again, work goes on.
func TestReplicaWithoutItsDatabaseLetsGo(t *testing.T) {
	direct := postgresURL(t)
	r, over := newRoad(t, direct)
	t.Parallel()
	s, err := Open(t.Context(), over, Options{Heartbeat: 200 * time.Millisecond, Dead: 3 * time.Second, Drain: time.Millisecond})
	ok(t, err)
	cancelled, began := make(chan error, 10), make(chan string, 10)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() {
		done <- s.Run(ctx, 2, func(ctx context.Context, key string) error {
			began <- key
			if key != "hold" {
				return nil
			}
			<-ctx.Done()
			cancelled <- context.Cause(ctx)
			return ctx.Err()
		})
	}()
	ok(t, s.Want(t.Context(), "hold"))
	receive(t, began, "the run")
	r.fallSilent()
	at := time.Now()
	select {
	case err := <-cancelled:
		t.Logf("cancelled after %s: %v", time.Since(at), err)
		if !errors.Is(err, ErrTaken) || time.Since(at) > 3*time.Second {
			t.Errorf("cancelled too late or for another reason")
		}
	case <-time.After(8 * time.Second):
		t.Errorf("the run was not cancelled within 8 s; others take it after 3 s")
	}
	r.heal()
	at = time.Now()
	other, err := Open(t.Context(), direct, Options{Heartbeat: 200 * time.Millisecond, Dead: 3 * time.Second})
	ok(t, err)
	defer func() { ok(t, other.Close()) }()
	ok(t, other.Want(t.Context(), "after"))
	deadline := time.After(45 * time.Second)
	for got := ""; got != "after"; {
		select {
		case got = <-began:
			t.Logf("%s began %s after the road healed", got, time.Since(at))
		case <-deadline:
			t.Fatalf("work does not go on within 45 s after the road healed")
		}
	}
	stop()
	select {
	case err := <-done:
		t.Logf("Run: %v", err)
	case <-time.After(40 * time.Second):
		t.Errorf("Run does not end")
	}
	ok(t, s.Close())
}

// A lease that was lost to another while the transaction had to be run again is
// not ours.
func TestTransactionRunAgainForgetsItsFirstTry(t *testing.T) {
	s, _ := sharedStore(t)
	began, goOn := make(chan context.Context, 1), make(chan struct{})
	start(t, s, 1, func(ctx context.Context, _ string) error { began <- ctx; <-goOn; return nil })
	defer close(goOn)
	ok(t, s.Want(t.Context(), "pull/1/1"))
	ctx := receive(t, began, "the run")
	_, _, _, err := s.Acquire(t.Context(), "target/a", "somebody", "", time.Microsecond) // expired at once
	ok(t, err)
	locked, waits := make(chan struct{}), make(chan struct{})
	other := make(chan error, 1)
	go func() {
		other <- s.db.Tx(t.Context(), "", func(tx *database.Tx) error {
			if _, err := tx.ExecContext(t.Context(), "SET LOCAL deadlock_timeout = '60s'"); err != nil {
				return err
			}
			if _, err := tx.ExecContext(t.Context(), "UPDATE leases SET holder = 'other', expires = 0 WHERE key = 'target/a'"); err != nil {
				return err
			}
			close(locked)
			<-waits
			_, err := tx.ExecContext(t.Context(), "SELECT 1 FROM work WHERE key = 'pull/1/1' FOR UPDATE")
			return err
		})
	}()
	<-locked
	go func() {
		for n := 0; n == 0; time.Sleep(5 * time.Millisecond) {
			_ = s.db.QueryRowContext(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()").Scan(&n)
		}
		close(waits)
	}()
	lease, got, current, err := s.Acquire(ctx, "target/a", "pull/1/1", "apply", 0)
	ok(t, err)
	ok(t, <-other)
	if got || current.Holder != "other" {
		t.Errorf("the lease of %s was given to %s (%v)", current.Holder, lease.Holder, got)
	}
}

// Text that PostgreSQL cannot store.
func TestTextOfAnyBytesIsStored(t *testing.T) {
	for name, open := range map[string]func(*testing.T) opener{"sqlite": sqliteOpener, "postgres": postgresOpener} {
		t.Run(name, func(t *testing.T) {
			s := open(t)(t, Options{})
			for _, odd := range []string{"a\x00b", "caf\xe9"} {
				b := Bypass{SHA: fmt.Sprintf("%x", odd), Kind: "push", Subject: odd}
				if err := s.SetBranch(t.Context(), Branch{RepoID: 1, Name: "main" + b.SHA, SHA: "a"}, "", []Bypass{b}); err != nil {
					t.Errorf("%q: %v", odd, err)
				}
				if err := s.OpenDuty(t.Context(), Duty{ID: b.SHA, Reason: odd}); err != nil {
					t.Errorf("%q: %v", odd, err)
				}
			}
		})
	}
}

// Contexts end in the midst of transactions: each has happened or has not, and
// its connection goes to nobody before it is clean.
func TestTransactionsThatAreCutShort(t *testing.T) {
	t.Parallel()
	s, _ := sharedStore(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 30 {
				ctx, cancel := context.WithTimeout(t.Context(), rand.N(8*time.Millisecond))
				_, _ = s.AppendRecord(ctx, audit.Record{Type: audit.ApplyEnd}) // most fail
				_, _ = s.beatOnce(ctx)
				_, _ = s.Waiting(ctx)
				cancel()
			}
		})
	}
	wg.Wait()
	last := must[audit.Record](t)(s.AppendRecord(t.Context(), audit.Record{Type: audit.ApplyEnd}))
	records := must[[]audit.Record](t)(s.Records(t.Context(), Filter{}))
	if _, err := audit.Verify(audit.Genesis, records); err != nil || int64(len(records)) != last.Seq {
		t.Errorf("%d records up to number %d: %v", len(records), last.Seq, err)
	}
}
