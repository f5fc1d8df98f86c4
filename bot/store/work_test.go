package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/store/internal/database"
	"lockkeeper/forge"
)

// An event that arrives while its key's run has already read the state must
// cause another run (River's uniqueness alone would drop it).
func testEventDuringRun(t *testing.T, open opener) {
	s := open(t, Options{})
	began, proceed := make(chan struct{}, 9), make(chan struct{})
	var runs atomic.Int32
	start(t, s, 2, func(context.Context, string) error {
		runs.Add(1)
		began <- struct{}{}
		<-proceed
		return nil
	})
	ok(t, s.Want(t.Context(), "pull/1/1"))
	receive(t, began, "the first run")
	for range 3 {
		ok(t, s.Want(t.Context(), "pull/1/1"))
	}
	proceed <- struct{}{}
	receive(t, began, "the run for the events during the first")
	close(proceed)
	idle(t, s)
	if n := runs.Load(); n != 2 {
		t.Errorf("ran %d times, want 2", n)
	}
}

func testCoalescing(t *testing.T, open opener) {
	s := open(t, Options{})
	for range 20 {
		ok(t, s.Want(t.Context(), "pull/1/1"))
	}
	if n := must[int](t)(s.Waiting(t.Context())); n != 1 {
		t.Errorf("%d keys wait, want 1", n)
	}
	var runs atomic.Int32
	start(t, s, 4, func(context.Context, string) error { runs.Add(1); return nil })
	idle(t, s)
	if n := runs.Load(); n != 1 {
		t.Errorf("ran %d times, want 1", n)
	}
}

func testOneRunPerKey(t *testing.T, open opener) {
	s := open(t, Options{})
	var mu sync.Mutex
	running, seen := map[string]bool{}, map[string]int{}
	start(t, s, 8, func(_ context.Context, key string) error {
		mu.Lock()
		if running[key] {
			t.Errorf("%s runs twice at a time", key)
		}
		running[key] = true
		seen[key]++
		mu.Unlock()
		// Wanting from inside is the hardest case: the job still runs.
		var err error
		if mu.Lock(); seen[key] < 3 {
			mu.Unlock()
			err = s.Want(t.Context(), key)
			mu.Lock()
		}
		running[key] = false
		mu.Unlock()
		return err
	})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 5 {
				if err := s.Want(t.Context(), fmt.Sprintf("pull/%d/%d", i, j)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	idle(t, s)
	mu.Lock()
	defer mu.Unlock()
	if len(seen) != 20 {
		t.Errorf("%d keys ran, want 20", len(seen))
	}
	for key, n := range seen {
		if n < 3 {
			t.Errorf("%s ran %d times, want 3 at least", key, n)
		}
	}
}

// Threat 12: a replayed delivery does nothing.
func testDoubledDelivery(t *testing.T, open opener) {
	s := open(t, Options{})
	d := Delivery{ID: "d-1", Forge: "github", Event: "pull_request", Repo: forge.RepoRef{ID: 1, Owner: "acme", Name: "shop"}, Pull: 7}
	var fresh atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			f, err := s.AddDelivery(t.Context(), d, []string{"pull/1/7", "sweep/1"})
			if err != nil {
				t.Error(err)
			}
			if f {
				fresh.Add(1)
			}
		})
	}
	wg.Wait()
	if fresh.Load() != 1 {
		t.Errorf("%d of 8 equal deliveries were fresh, want 1", fresh.Load())
	}
	d.Forge = "gitlab"
	if !must[bool](t)(s.AddDelivery(t.Context(), d, nil)) {
		t.Error("the same id from another forge was taken for a double")
	}
	var keys []string
	var mu sync.Mutex
	start(t, s, 1, func(_ context.Context, key string) error {
		mu.Lock()
		defer mu.Unlock()
		keys = append(keys, key)
		return nil
	})
	idle(t, s)
	mu.Lock()
	defer mu.Unlock()
	if slices.Sort(keys); !slices.Equal(keys, []string{"pull/1/7", "sweep/1"}) {
		t.Errorf("ran %q", keys)
	}
	if _, err := s.AddDelivery(t.Context(), Delivery{Forge: "github"}, nil); err == nil {
		t.Error("a delivery without an id was stored")
	}
}

func testPrunedDeliveries(t *testing.T, open opener) {
	c := newClock()
	s := open(t, Options{Now: c.Now})
	add := func(id string) bool {
		return must[bool](t)(s.AddDelivery(t.Context(), Delivery{ID: id, Forge: "github"}, nil))
	}
	add("old")
	c.Advance(deliveryAge)
	add("new")
	if n := must[int64](t)(s.PruneDeliveries(t.Context(), c.Now())); n != 1 {
		t.Errorf("forgot %d deliveries, want 1", n)
	}
	if add("new") || !add("old") {
		t.Error("the wrong delivery was forgotten")
	}
}

func testRetry(t *testing.T, open opener) {
	c := newClock()
	s := open(t, Options{Now: c.Now})
	failed := make(chan struct{}, 9)
	var runs atomic.Int32
	start(t, s, 1, func(context.Context, string) error {
		if runs.Add(1) < 4 {
			failed <- struct{}{}
			return errors.New("forge is down")
		}
		return nil
	})
	ok(t, s.Want(t.Context(), "pull/1/1"))
	for n := 1; n < 4; n++ {
		receive(t, failed, "a failing run")
		if waiting := must[int](t)(s.Waiting(t.Context())); waiting != 1 {
			t.Fatalf("after failure %d, %d keys wait, want 1", n, waiting)
		}
		waitFor(t, s, func() bool { return field(t, s, "pull/1/1", "failures") == int64(n) })
		if due := database.FromMicros(field(t, s, "pull/1/1", "due")); !due.Equal(c.Now().Add(backoff(n))) {
			t.Errorf("after failure %d the next try is at %s, want %s from now", n, due, backoff(n))
		}
		c.Advance(backoff(n))
		nudge(s.planned)
	}
	idle(t, s)
	if runs.Load() != 4 || field(t, s, "pull/1/1", "failures") != 0 {
		t.Errorf("ran %d times with %d failures left, want 4 and 0", runs.Load(), field(t, s, "pull/1/1", "failures"))
	}
}

// field reads a column of a key's work.
func field(t *testing.T, s *Store, key, column string) (v int64) {
	t.Helper()
	ok(t, s.db.QueryRowContext(t.Context(), "SELECT "+column+" FROM work WHERE key = ?", key).Scan(&v))
	return v
}

// waitFor waits until cond holds, looking again whenever work changes.
func waitFor(t *testing.T, s *Store, cond func() bool) {
	t.Helper()
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		if cond() {
			return
		}
		receive(t, changed, "a change of work")
	}
}

func TestBackoffDoublesUpToItsCap(t *testing.T) {
	want := []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300}
	for i, w := range want {
		if got := backoff(i + 1); got != w*time.Second {
			t.Errorf("after %d failures wait %s, want %s", i+1, got, w*time.Second)
		}
	}
	if got := backoff(1 << 40); got != retryMost {
		t.Errorf("after very many failures wait %s", got)
	}
}

func testPanic(t *testing.T, open opener) {
	c := newClock()
	s := open(t, Options{Now: c.Now})
	var runs atomic.Int32
	start(t, s, 1, func(context.Context, string) error {
		if runs.Add(1) == 1 {
			panic("secret-token")
		}
		return nil
	})
	ok(t, s.Want(t.Context(), "pull/1/1"))
	waitFor(t, s, func() bool { return field(t, s, "pull/1/1", "failures") == 1 })
	// Neither the text of a panic nor of an error is stored (invariant 6).
	var stored int
	ok(t, s.db.QueryRowContext(t.Context(), "SELECT count(*) FROM river_job WHERE CAST(errors AS TEXT) LIKE '%panic%' OR CAST(errors AS TEXT) LIKE '%secret%'").Scan(&stored))
	if stored != 0 {
		t.Error("the queue stored the panic")
	}
	c.Advance(retryFirst)
	nudge(s.planned)
	idle(t, s)
}

// A handler whose failure itself causes events must not run in a tight loop.
func testFailingKeyRests(t *testing.T, open opener) {
	c := newClock()
	s := open(t, Options{Now: c.Now})
	var runs atomic.Int32
	start(t, s, 1, func(ctx context.Context, key string) error {
		runs.Add(1)
		return errors.Join(errors.New("always"), s.Want(ctx, key))
	})
	ok(t, s.Want(t.Context(), "pull/1/1"))
	const failures = 6 // a wait of 32 s, longer than retryHaste
	for n := int64(1); n <= failures; n++ {
		waitFor(t, s, func() bool { return field(t, s, "pull/1/1", "failures") == n })
		if n < failures {
			c.Advance(backoff(int(n)))
			nudge(s.planned)
		}
	}
	ok(t, s.Want(t.Context(), "pull/1/1"))
	if n := runs.Load(); n != failures {
		t.Errorf("ran %d times, want %d", n, failures)
	}
	if due := database.FromMicros(field(t, s, "pull/1/1", "due")); !due.Equal(c.Now().Add(retryHaste)) {
		t.Errorf("a new event moved the next try to %s, want %s from now", due.Sub(c.Now()), retryHaste)
	}
}

func testLater(t *testing.T, open opener) {
	c := newClock()
	s := open(t, Options{Now: c.Now})
	at := c.Now().Add(time.Hour)
	limited := errors.New("rate limited")
	if err := Later(limited, at); !errors.Is(err, limited) {
		t.Error("Later hides its cause")
	}
	ran := make(chan time.Time, 9)
	start(t, s, 1, func(context.Context, string) error {
		now := c.Now()
		ran <- now
		if now.Before(at) {
			return fmt.Errorf("reconcile: %w", Later(limited, at))
		}
		return nil
	})
	ok(t, s.Want(t.Context(), "pull/1/1"))
	receive(t, ran, "the limited run")
	waitFor(t, s, func() bool { return field(t, s, "pull/1/1", "due") == database.Micros(at) })
	ok(t, s.Want(t.Context(), "pull/1/1")) // an event does not wake it
	if due := field(t, s, "pull/1/1", "due"); due != database.Micros(at) {
		t.Errorf("an event moved the next try to %s", database.FromMicros(due))
	}
	c.Advance(time.Hour)
	nudge(s.planned)
	if now := receive(t, ran, "the run after the rest"); now.Before(at) {
		t.Errorf("ran at %s, before %s", now, at)
	}
	idle(t, s)
	if len(ran) != 0 {
		t.Error("ran more often than needed")
	}
}

// What nobody waited for rests until a time, and begins at once for whoever asks,
// also if that was while it was found out that there is no time for it now.
func testLaterUnlessWanted(t *testing.T, open opener) {
	c := newClock()
	s := open(t, Options{Now: c.Now})
	ran, end := make(chan string, 9), make(chan bool)
	start(t, s, 1, func(ctx context.Context, key string) error {
		ran <- Cause(ctx)
		<-end
		if Cause(ctx) == "" {
			return LaterUnlessWanted(errors.New("kept for people"), c.Now().Add(time.Hour))
		}
		if key == "pull/1/1" {
			return s.Want(Unasked(ctx), "pull/1/2") // what follows from it is nobody's wish
		}
		return nil
	})
	deliver := func(id, key string) {
		t.Helper()
		_, err := s.AddDelivery(t.Context(), Delivery{ID: id, Forge: "github"}, []string{key})
		ok(t, err)
	}
	run := func(want string) {
		t.Helper()
		if cause := receive(t, ran, "a run"); cause != want {
			t.Errorf("a run because of %q, want %q", cause, want)
		}
	}
	ok(t, s.Want(t.Context(), "pull/1/1"))
	run("")
	end <- true
	rests := func(key string) func() bool {
		return func() bool { return field(t, s, key, "due") == database.Micros(c.Now().Add(time.Hour)) }
	}
	waitFor(t, s, rests("pull/1/1"))
	deliver("said", "pull/1/1")
	run("said")
	end <- true
	run("") // of the other pull
	end <- true
	waitFor(t, s, rests("pull/1/2"))
	ok(t, s.Want(t.Context(), "pull/1/2"))
	run("")
	deliver("meanwhile", "pull/1/2")
	end <- true
	run("meanwhile")
	end <- true
	idle(t, s)
}

func testWantAt(t *testing.T, open opener) {
	c := newClock()
	s := open(t, Options{Now: c.Now})
	ran := make(chan string, 9)
	start(t, s, 1, func(_ context.Context, key string) error { ran <- key; return nil })
	ok(t, s.WantAt(t.Context(), "sweep/1", c.Now().Add(2*time.Hour)))
	ok(t, s.WantAt(t.Context(), "sweep/1", c.Now().Add(time.Hour)))
	ok(t, s.WantAt(t.Context(), "sweep/1", c.Now().Add(3*time.Hour)))
	idle(t, s) // what is planned for later is not waited for
	ok(t, s.WantAt(t.Context(), "sweep/2", c.Now()))
	if key := receive(t, ran, "the run that is due now"); key != "sweep/2" {
		t.Fatalf("%s ran before its time", key)
	}
	c.Advance(time.Hour)
	nudge(s.planned)
	if key := receive(t, ran, "the planned run"); key != "sweep/1" {
		t.Errorf("%s ran", key)
	}
	idle(t, s)
	if again := field(t, s, "sweep/1", "again"); again != 0 {
		t.Errorf("is planned again at %s", database.FromMicros(again))
	}
}

func testRestart(t *testing.T, open opener) {
	first := open(t, Options{})
	ok(t, first.Want(t.Context(), "pull/1/1"))
	if _, err := first.db.ExecContext(t.Context(), "UPDATE river_job SET state = 'running', attempt = 1, attempted_at = CURRENT_TIMESTAMP"); err != nil {
		t.Fatal(err) // as a process leaves it that dies during the run
	}
	second := open(t, Options{})
	ran := make(chan string, 1)
	begin := time.Now()
	start(t, second, 1, func(_ context.Context, key string) error { ran <- key; return nil })
	receive(t, ran, "the rescued run")
	t.Logf("rescued after %s", time.Since(begin))
	idle(t, second)
}

func testHardStop(t *testing.T, open opener) {
	s := open(t, Options{Drain: time.Nanosecond})
	began := make(chan struct{}, 1)
	stop := start(t, s, 1, func(ctx context.Context, _ string) error {
		began <- struct{}{}
		<-ctx.Done()
		return errors.New("interrupted (9)") // as SQLite says it
	})
	ok(t, s.Want(t.Context(), "pull/1/1"))
	receive(t, began, "the run")
	stop()
	if n := must[int](t)(s.Waiting(t.Context())); n != 1 {
		t.Fatalf("%d keys wait after the stop, want 1", n)
	}
	if field(t, s, "pull/1/1", "failures") != 0 {
		t.Error("being stopped counts as a failure")
	}
	ran := make(chan string, 1)
	start(t, s, 1, func(_ context.Context, key string) error { ran <- key; return nil })
	receive(t, ran, "the run after the restart")
	idle(t, s)
}

func testSoftStop(t *testing.T, open opener) {
	s := open(t, Options{})
	began, proceed := make(chan struct{}, 1), make(chan struct{})
	stop := start(t, s, 1, func(ctx context.Context, _ string) error {
		began <- struct{}{}
		<-proceed
		return ctx.Err()
	})
	ok(t, s.Want(t.Context(), "pull/1/1"))
	receive(t, began, "the run")
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	close(proceed)
	receive(t, stopped, "the stop")
	if n := must[int](t)(s.Waiting(t.Context())); n != 0 {
		t.Errorf("%d keys wait: the run's end was not recorded", n)
	}
}

func testSecondRun(t *testing.T, open opener) {
	s, other := open(t, Options{}), open(t, Options{})
	began := make(chan struct{}, 1)
	start(t, s, 1, func(context.Context, string) error { began <- struct{}{}; return nil })
	ok(t, s.Want(t.Context(), "pull/1/1"))
	receive(t, began, "the first Run to be at work")
	if err := other.Run(t.Context(), 1, nil); !errors.Is(err, ErrInUse) {
		t.Errorf("a second Run: %v, want ErrInUse", err)
	}
}

func testIdleContext(t *testing.T, open opener) {
	s := open(t, Options{})
	ok(t, s.Want(t.Context(), "pull/1/1"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Idle(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Idle: %v, want the context's error", err)
	}
}

func testLatency(t *testing.T, open opener) {
	s := open(t, Options{})
	ran := make(chan time.Time, 1)
	start(t, s, 2, func(context.Context, string) error { ran <- time.Now(); return nil })
	ok(t, s.Want(t.Context(), "warm/up"))
	receive(t, ran, "the first run")
	idle(t, s)
	var stored, took []time.Duration
	for i := range 20 {
		begin := time.Now()
		must[bool](t)(s.AddDelivery(t.Context(), Delivery{ID: fmt.Sprint(i), Forge: "github"}, []string{"pull/1/1"}))
		stored = append(stored, time.Since(begin))
		took = append(took, receive(t, ran, "the run").Sub(begin))
		idle(t, s)
	}
	slices.Sort(stored)
	slices.Sort(took)
	t.Logf("delivery stored in %s (median), %s (worst); job begun after %s (median), %s (worst)",
		stored[10], stored[19], took[10], took[19])
	// Without the in-process listener every job waits for the next poll, a
	// whole pollInterval after the one before.
	if took[0] > pollInterval/2 {
		t.Errorf("no job began sooner than %s after its delivery", took[0])
	}
}

// A job that the database believes to run here, and that does not.
func testStray(t *testing.T, open opener) {
	s := open(t, Options{})
	ok(t, s.Want(t.Context(), "pull/1/1"))
	by := `["` + s.Replica() + `"]`
	if s.db.Shared() {
		by = "{" + s.Replica() + "}"
	}
	_, err := s.db.ExecContext(t.Context(), "UPDATE river_job SET state = 'running', attempt = 1, attempted_at = CURRENT_TIMESTAMP, attempted_by = '"+by+"'")
	ok(t, err)
	strays := map[int64]time.Time{}
	ok(t, s.putBackStrays(t.Context(), strays))
	if len(strays) != 1 || field(t, s, "pull/1/1", "due") != 0 {
		t.Fatalf("%d strays are noted, due %d; want 1, which is given time", len(strays), field(t, s, "pull/1/1", "due"))
	}
	for id := range strays {
		strays[id] = time.Now().Add(-strayAfter - time.Second)
	}
	ok(t, s.putBackStrays(t.Context(), strays))
	ran := make(chan string, 1)
	start(t, s, 1, func(_ context.Context, key string) error { ran <- key; return nil })
	receive(t, ran, "the run that was put back")
	idle(t, s)
}

func testNews(t *testing.T, open opener) {
	s := open(t, Options{})
	if s.News(t.Context()) != nil || Cause(t.Context()) != "" {
		t.Error("a context that is no handler's has news, or a cause")
	}
	began, wanted := make(chan string, 9), make(chan struct{})
	start(t, s, 2, func(ctx context.Context, key string) error {
		began <- key + " " + Cause(ctx)
		if key != "pull/1/1" || runOf(ctx).number > 1 {
			return nil
		}
		news := s.News(ctx)
		select {
		case <-news:
			t.Error("there was news before there was any")
		default:
		}
		wanted <- struct{}{}
		receive(t, news, "the news")
		receive(t, s.News(ctx), "the news, for one who asks late")
		select {
		case <-news:
			t.Error("one wish is news twice")
		default:
		}
		return s.Want(ctx, "pull/1/2")
	})
	must[bool](t)(s.AddDelivery(t.Context(), Delivery{ID: "d-1", Forge: "github"}, []string{"pull/1/1"}))
	<-wanted
	ok(t, s.WantAt(t.Context(), "pull/1/1", s.now().Add(time.Hour))) // no news until then
	must[bool](t)(s.AddDelivery(t.Context(), Delivery{ID: "d-2", Forge: "github"}, []string{"pull/1/1"}))
	idle(t, s)
	close(began)
	var all []string
	for b := range began {
		all = append(all, b)
	}
	slices.Sort(all)
	// What a run wants, it wants because of its own cause.
	if want := []string{"pull/1/1 d-1", "pull/1/1 d-2", "pull/1/2 d-1"}; !slices.Equal(all, want) {
		t.Errorf("began %q, want %q", all, want)
	}
}

// What a run writes is refused once a later run of its key began, whatever it
// writes; reading is not.
func testFence(t *testing.T, open opener) {
	s := open(t, Options{})
	var old context.Context
	start(t, s, 1, func(ctx context.Context, _ string) error {
		if old == nil {
			old = context.WithoutCancel(ctx)
			return s.Want(ctx, "pull/1/1")
		}
		return nil
	})
	ok(t, s.Want(t.Context(), "pull/1/1"))
	idle(t, s)
	writes := map[string]func() error{
		"AddDelivery":     func() error { _, err := s.AddDelivery(old, Delivery{ID: "x"}, nil); return err },
		"Want":            func() error { return s.Want(old, "pull/1/2") },
		"WantAt":          func() error { return s.WantAt(old, "pull/1/2", s.now().Add(time.Hour)) },
		"SavePull":        func() error { _, err := s.SavePull(old, 1, 1, []byte("{}"), 0); return err },
		"SavePlan":        func() error { return s.SavePlan(old, PlanRow{ID: "p"}) },
		"ClaimCommand":    func() error { _, err := s.ClaimCommand(old, Command{Source: "github", CommentID: 1}); return err },
		"FinishCommand":   func() error { return s.FinishCommand(old, "github", 1, 0, "done", nil) },
		"Acquire":         func() error { _, _, _, err := s.Acquire(old, "target/a", "pull/1/1", "apply", 0); return err },
		"Renew":           func() error { _, err := s.Renew(old, Lease{Key: "target/a"}, time.Minute); return err },
		"Release":         func() error { return s.Release(old, Lease{Key: "target/a"}) },
		"StartOperation":  func() error { return s.StartOperation(old, Operation{ID: "o"}) },
		"UpdateOperation": func() error { return s.UpdateOperation(old, "o", nil) },
		"FinishOperation": func() error { return s.FinishOperation(old, "o", "done", nil) },
		"SetBranch":       func() error { return s.SetBranch(old, Branch{RepoID: 1, Name: "main", SHA: "a"}, "", nil) },
		"SetBypassIssue":  func() error { return s.SetBypassIssue(old, 1, "main", "a", 1) },
		"SettleBypass":    func() error { return s.SettleBypass(old, 1, "main", "a", "how") },
		"OpenDuty":        func() error { return s.OpenDuty(old, Duty{ID: "d"}) },
		"CloseDuty":       func() error { return s.CloseDuty(old, "d", forge.User{}) },
		"SaveDrift":       func() error { return s.SaveDrift(old, Drift{Target: "a"}) },
		"DropDrift":       func() error { return s.DropDrift(old, 1, "main", "a") },
		"AddHeal":         func() error { return s.AddHeal(old, Heal{Target: "a"}) },
		"SaveWatch":       func() error { return s.SaveWatch(old, Watch{Cluster: "main"}) },
		"NoteRender":      func() error { return s.NoteRender(old, Render{Target: "a"}) },
		"AppendRecord":    func() error { _, err := s.AppendRecord(old, audit.Record{Type: audit.ApplyEnd}); return err },
		"PruneDeliveries": func() error { _, err := s.PruneDeliveries(old, time.Now()); return err },
	}
	for name, write := range writes {
		if err := write(); !errors.Is(err, ErrTaken) {
			t.Errorf("%s: %v, want ErrTaken", name, err)
		}
	}
	must[[]int](t)(s.ListPulls(old, 1))
}

func testKeep(t *testing.T, open opener) {
	s := open(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	kept, ended := make(chan context.Context, 9), make(chan error, 1)
	go func() {
		ended <- s.Keep(ctx, "watch/main", "watch", func(ctx context.Context) error {
			kept <- ctx
			<-ctx.Done()
			return ctx.Err()
		})
	}()
	held := receive(t, kept, "the lease")
	lease := must[Lease](t)(s.Lease(t.Context(), "watch/main"))
	if lease.Purpose != "watch" || lease.Expires.IsZero() {
		t.Errorf("the lease is %+v", lease)
	}
	s.cancelRuns() // as when it was taken for dead
	receive(t, held.Done(), "the end of what was kept")
	if err := context.Cause(held); !errors.Is(err, ErrTaken) {
		t.Errorf("the cause is %v", err)
	}
	receive(t, kept, "the lease once more")
	cancel()
	if err := receive(t, ended, "the end"); !errors.Is(err, context.Canceled) {
		t.Errorf("Keep: %v", err)
	}
	if _, err := s.Lease(t.Context(), "watch/main"); !errors.Is(err, ErrNotFound) {
		t.Errorf("the lease is still held: %v", err)
	}
	if err := s.Keep(t.Context(), "watch/main", "watch", func(context.Context) error { return io.EOF }); !errors.Is(err, io.EOF) {
		t.Errorf("Keep of what ends by itself: %v", err)
	}
	// Another one's lease is waited for; it is taken when it is released.
	other, _, _, err := s.Acquire(t.Context(), "watch/main", "somebody", "watch", time.Hour)
	ok(t, err)
	go func() {
		ended <- s.Keep(t.Context(), "watch/main", "watch", func(context.Context) error { return nil })
	}()
	select {
	case err := <-ended:
		t.Fatalf("kept what another held: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	ok(t, s.Release(t.Context(), other))
	ok(t, receive(t, ended, "the lease that was released"))
}
