package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/store/internal/database"
	"lockkeeper/forge"
)

// replicaEnv makes the test binary a replica on the database that it names.
const replicaEnv = "LOCKKEEPER_STORE_REPLICA"

// How soon the replicas of these tests take each other for dead: soon enough
// for a test, and late enough for a busy machine.
const (
	testHeartbeat = 200 * time.Millisecond
	testDead      = 4 * time.Second
)

// TestReplica is a process that shares a PostgreSQL. It prints what happens to
// it, and does what it is told on standard input.
func TestReplica(t *testing.T) {
	url := os.Getenv(replicaEnv)
	if url == "" {
		t.Skip("is run by the tests of replicas only")
	}
	ctx, stop := signal.NotifyContext(t.Context(), syscall.SIGTERM)
	defer stop()
	s, err := Open(ctx, url, Options{Replica: os.Getenv("NAME"), Heartbeat: testHeartbeat, Dead: testDead, Drain: time.Millisecond})
	ok(t, err)
	say("open")
	told := make(chan string, 1)
	go func() {
		for scan := bufio.NewScanner(os.Stdin); scan.Scan(); {
			switch verb, what, _ := strings.Cut(scan.Text(), " "); verb {
			case "go":
				told <- what
			case "keep":
				go keepAndTell(ctx, s, what)
			}
		}
		os.Exit(0) // whoever started it is gone
	}()
	ok(t, s.Run(ctx, 3, func(ctx context.Context, key string) error { return replicaRuns(ctx, s, key, told) }))
	say("left")
}

func say(what ...any) { fmt.Println(what...) } // one write each

// replicaRuns is the handler: "hold/..." goes on until it is told to, or its
// context ends, and then tries to write.
func replicaRuns(ctx context.Context, s *Store, key string, told <-chan string) error {
	if _, err := s.db.ExecContext(ctx, "INSERT INTO under_way (key) VALUES (?)", key); err != nil {
		say("overlap", key, err)
	}
	say("begin", key, Cause(ctx))
	news := s.News(ctx)
	for hold := strings.HasPrefix(key, "hold/"); hold; {
		select {
		case <-news:
			say("news", key)
		case <-told:
			hold = false
		case <-ctx.Done():
			say("cancelled", key, errors.Is(context.Cause(ctx), ErrTaken))
			hold = false
		}
	}
	write := context.WithoutCancel(ctx)
	_, err := s.AppendRecord(write, audit.Record{Type: audit.ApplyEnd})
	say("wrote", key, err)
	if errors.Is(err, ErrTaken) {
		return err
	}
	if _, err := s.db.ExecContext(write, "DELETE FROM under_way WHERE key = ?", key); err != nil {
		say("error", err)
	}
	return ctx.Err()
}

func keepAndTell(ctx context.Context, s *Store, key string) {
	err := s.Keep(ctx, key, "watch", func(ctx context.Context) error {
		say("keeps", key)
		<-ctx.Done()
		say("keeps", key, "no more")
		return ctx.Err()
	})
	say("kept", err)
}

// replica is such a process, seen from outside.
type replica struct {
	t     *testing.T
	name  string
	cmd   *exec.Cmd
	in    io.Writer
	lines chan string
	// unread are lines that nobody expected yet.
	unread []string
}

func startReplica(t *testing.T, url, name string) *replica {
	t.Helper()
	r := &replica{t: t, name: name, lines: make(chan string, 10_000)}
	r.cmd = exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestReplica$", "-test.timeout=5m")
	r.cmd.Env = append(os.Environ(), replicaEnv+"="+url, "NAME="+name)
	r.cmd.Stderr = os.Stderr
	in, err := r.cmd.StdinPipe()
	ok(t, err)
	out, err := r.cmd.StdoutPipe()
	ok(t, err)
	r.in = in
	ok(t, r.cmd.Start())
	var read sync.WaitGroup
	read.Go(func() {
		defer close(r.lines)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			r.lines <- scan.Text()
		}
	})
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		read.Wait()
		_ = r.cmd.Wait()
	})
	r.expect("open")
	return r
}

// expect waits until the replica said so, in whatever order with other things,
// and returns the rest of that line.
func (r *replica) expect(prefix string) string {
	r.t.Helper()
	for i, line := range r.unread {
		if rest, found := strings.CutPrefix(line, prefix); found {
			r.unread = slices.Delete(r.unread, i, i+1)
			return strings.TrimSpace(rest)
		}
	}
	deadline := time.After(60 * time.Second)
	for {
		select {
		case line, more := <-r.lines:
			if !more {
				r.t.Fatalf("replica %s ended before it said %q", r.name, prefix)
			}
			if strings.HasPrefix(line, "overlap") || strings.HasPrefix(line, "error") {
				r.t.Errorf("replica %s: %s", r.name, line)
			}
			if rest, found := strings.CutPrefix(line, prefix); found {
				return strings.TrimSpace(rest)
			}
			r.unread = append(r.unread, line)
		case <-deadline:
			r.t.Fatalf("replica %s does not say %q, but %q", r.name, prefix, r.unread)
		}
	}
}

func (r *replica) tell(line string) {
	r.t.Helper()
	_, err := fmt.Fprintln(r.in, line)
	ok(r.t, err)
}

func (r *replica) signal(sig syscall.Signal) {
	r.t.Helper()
	ok(r.t, r.cmd.Process.Signal(sig))
}

// sharedStore opens a new PostgreSQL database with the table in which replicas
// note what they have under way, so that two of them meet there.
func sharedStore(t *testing.T) (*Store, string) {
	t.Helper()
	url := postgresURL(t)
	s, err := Open(t.Context(), url, Options{Heartbeat: testHeartbeat, Dead: testDead})
	ok(t, err)
	t.Cleanup(func() { ok(t, s.Close()) })
	_, err = s.db.ExecContext(t.Context(), "CREATE TABLE under_way (key TEXT PRIMARY KEY)")
	ok(t, err)
	return s, url
}

func TestReplicasShareTheWork(t *testing.T) {
	t.Parallel()
	s, url := sharedStore(t)
	replicas := []*replica{startReplica(t, url, "a"), startReplica(t, url, "b"), startReplica(t, url, "c")}
	for i := range 120 { // each key three times, in no order
		key := fmt.Sprint("pull/1/", i*7%40)
		must[bool](t)(s.AddDelivery(t.Context(), Delivery{ID: fmt.Sprint("d-", i), Forge: "github"}, []string{key}))
	}
	// A schedule that all replicas know runs once.
	ok(t, s.WantAt(t.Context(), "schedule/1", s.now().Add(500*time.Millisecond)))
	for field(t, s, "schedule/1", "done") == 0 {
		time.Sleep(20 * time.Millisecond) // other processes do it
	}
	idle(t, s)
	if listed := must[[]Replica](t)(s.Replicas(t.Context())); len(listed) != 3 || !strings.HasPrefix(listed[0].Name, "a-") {
		t.Errorf("replicas listed: %+v", listed)
	}
	runs, busy := map[string]int{}, 0
	for _, r := range replicas {
		r.signal(syscall.SIGTERM)
		before := len(runs)
		for line := range r.lines {
			switch verb, rest, _ := strings.Cut(line, " "); verb {
			case "begin":
				key, cause, _ := strings.Cut(rest, " ")
				runs[key]++
				if key != "schedule/1" && !strings.HasPrefix(cause, "d-") {
					t.Errorf("%s ran because of %q", key, cause)
				}
			case "overlap", "error":
				t.Errorf("replica %s: %s", r.name, line)
			}
		}
		if len(runs) > before {
			busy++
		}
	}
	if len(runs) != 41 || runs["schedule/1"] != 1 {
		t.Errorf("%d keys ran, the schedule %d times; want 41 and once", len(runs), runs["schedule/1"])
	}
	if busy < 2 {
		t.Errorf("%d of 3 replicas did all the work", busy)
	}
	if left := must[[]Replica](t)(s.Replicas(t.Context())); len(left) != 0 {
		t.Errorf("replicas that have gone are listed: %v", left)
	}
}

// A replica that is killed loses its work to another. One that is stopped does
// too, and when it goes on it can write nothing of it.
func TestReplicasTakeOver(t *testing.T) {
	t.Parallel()
	s, url := sharedStore(t)
	forget := func() {
		_, err := s.db.ExecContext(t.Context(), "DELETE FROM under_way")
		ok(t, err)
	}
	a := startReplica(t, url, "a")
	a.tell("keep watch/main")
	a.expect("keeps watch/main")
	must[bool](t)(s.AddDelivery(t.Context(), Delivery{ID: "first", Forge: "github", Repo: forge.RepoRef{ID: 1}}, []string{"hold/1"}))
	if cause := a.expect("begin hold/1"); cause != "first" {
		t.Errorf("the run's cause is %q", cause)
	}
	ok(t, s.Want(t.Context(), "hold/1"))
	a.expect("news hold/1") // from another process

	b := startReplica(t, url, "b")
	b.tell("keep watch/main")
	a.signal(syscall.SIGSTOP)
	began := time.Now()
	forget() // b is right to begin it now
	b.expect("begin hold/1")
	b.expect("keeps watch/main")
	t.Logf("taken over %s after the stop", time.Since(began).Round(time.Millisecond))
	a.signal(syscall.SIGCONT)
	a.expect("cancelled hold/1 true")
	a.expect("keeps watch/main no more")
	if wrote := a.expect("wrote hold/1"); !strings.Contains(wrote, ErrTaken.Error()) {
		t.Errorf("the one that was stopped could write: %s", wrote)
	}
	b.tell("go on")
	if wrote := b.expect("wrote hold/1"); wrote != "<nil>" {
		t.Errorf("the one that took over could not write: %s", wrote)
	}
	idle(t, s)
	if head := must[audit.Head](t)(s.AuditHead(t.Context())); head.Seq != 1 {
		t.Errorf("%d records were written, want the one of the second replica", head.Seq)
	}

	// a is alive again, and takes over from b when that is killed.
	ok(t, s.Want(t.Context(), "hold/2"))
	ok(t, s.Want(t.Context(), "hold/3"))
	ok(t, s.Want(t.Context(), "hold/4"))
	waitRunning(t, s, 3)
	ok(t, b.cmd.Process.Kill())
	forget()
	a.expect("keeps watch/main")
	for range 3 {
		a.expect("begin hold/")
		a.tell("go on")
		a.expect("wrote hold/")
	}
	idle(t, s)
}

// waitRunning waits until so many jobs run.
func waitRunning(t *testing.T, s *Store, want int) {
	t.Helper()
	for n := 0; n != want; time.Sleep(20 * time.Millisecond) { // other processes do it
		ok(t, s.db.QueryRowContext(t.Context(), "SELECT count(*) FROM under_way").Scan(&n))
		if t.Context().Err() != nil {
			t.Fatal("the test ended")
		}
	}
}

// A replica that leaves hands its work over at once, not when it is missed.
func TestLeavingReplicaHandsOver(t *testing.T) {
	t.Parallel()
	s, url := sharedStore(t)
	a := startReplica(t, url, "a")
	a.tell("keep watch/main")
	a.expect("keeps watch/main")
	ok(t, s.Want(t.Context(), "hold/1"))
	a.expect("begin hold/1")
	b := startReplica(t, url, "b")
	b.tell("keep watch/main")
	began := time.Now()
	a.signal(syscall.SIGTERM)
	a.expect("cancelled hold/1 false")
	b.expect("begin hold/1")
	b.expect("keeps watch/main")
	if took := time.Since(began); took > testDead/2 {
		t.Errorf("the work was handed over after %s", took)
	}
	a.expect("left")
	b.tell("go on")
	b.expect("wrote hold/1 <nil>")
	idle(t, s)
}

// A process that is stopped in the midst of a transaction keeps its locks; the
// server ends it.
func TestStoppedTransactionDoesNotBlockOthers(t *testing.T) {
	t.Parallel()
	s, _ := sharedStore(t)
	locked, proceed, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- s.db.Tx(t.Context(), "audit", func(tx *database.Tx) error {
			close(locked)
			<-proceed
			_, err := tx.ExecContext(t.Context(), "SELECT 1")
			return err
		})
	}()
	<-locked
	began := time.Now()
	must[audit.Record](t)(s.AppendRecord(t.Context(), audit.Record{Type: audit.ApplyEnd}))
	t.Logf("written after %s", time.Since(began).Round(time.Millisecond))
	close(proceed)
	if err := <-ended; err == nil {
		t.Error("the transaction that was ended believes that it committed")
	}
}

// All connections are cut, as when the server restarts: work goes on.
func TestCutConnectionsAreReplaced(t *testing.T) {
	t.Parallel()
	s, _ := sharedStore(t)
	cut := func() {
		_, err := s.db.ExecContext(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
		ok(t, err)
	}
	ran := make(chan string, 100)
	start(t, s, 2, func(_ context.Context, key string) error { ran <- key; return nil })
	for i := range 3 {
		key := fmt.Sprint("pull/1/", i)
		ok(t, s.Want(t.Context(), key))
		if got := receive(t, ran, "the run"); got != key {
			t.Errorf("%s ran, want %s", got, key)
		}
		cut()
	}
	idle(t, s)
}

// Migrations are raced by processes that open a new database at once.
func TestReplicasMayOpenANewDatabase(t *testing.T) {
	t.Parallel()
	url := postgresURL(t)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() { startReplica(t, url, fmt.Sprint("new-", i)) })
	}
	wg.Wait()
}

// Deadlocks are resolved by running the loser again.
func TestWritersOfManyKeysDoNotFail(t *testing.T) {
	t.Parallel()
	s, _ := sharedStore(t)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 10 {
				keys := []string{"a", "b", "c", "d"}
				if w%2 == 1 {
					keys = []string{"d", "c", "b", "a"}
				}
				if _, err := s.AddDelivery(t.Context(), Delivery{ID: fmt.Sprint(w, "-", i), Forge: "github"}, keys); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := field(t, s, "a", "wanted"); n != 80 {
		t.Errorf("wanted %d times, want 80", n)
	}
}
