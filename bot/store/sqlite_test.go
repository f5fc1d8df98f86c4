package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/store/internal/database"
)

func TestDatabaseIsForItsOwnerOnly(t *testing.T) {
	for _, name := range []string{"lockkeeper.db", "odd name ?&#%41.db"} {
		path := filepath.Join(t.TempDir(), name)
		ok(t, os.WriteFile(path, nil, 0o644)) // left by somebody careless
		s, err := Open(t.Context(), "sqlite://"+path, Options{})
		ok(t, err)
		ok(t, s.Want(t.Context(), "pull/1/1"))
		files, err := os.ReadDir(filepath.Dir(path))
		ok(t, err)
		if len(files) != 3 {
			t.Errorf("%d files for %q, want the database and its two side files", len(files), name)
		}
		for _, f := range files {
			info, err := f.Info()
			ok(t, err)
			if info.Mode().Perm() != 0o600 || !strings.HasPrefix(f.Name(), name) {
				t.Errorf("%s has mode %o, want 600", f.Name(), info.Mode().Perm())
			}
		}
		ok(t, s.Close())
	}
}

func TestOpenExplainsWhatItCannotOpen(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	ok(t, os.WriteFile(text, []byte(strings.Repeat("this is no database ", 100)), 0o600))
	for url, want := range map[string]string{
		"postgres://u:hidden@127.0.0.1:1/db": "127.0.0.1:1",
		"postgres://u:hidden@host:many/db":   "cannot be read",
		"mysql://host/db":                    `unknown scheme "mysql"`,
		"":                                   "no path",
		"sqlite://":                          "no path",
		text:                                 "not a database",
		filepath.Join(dir, "missing", "x"):   "no such file or directory",
		dir:                                  "is a directory",
	} {
		s, err := Open(t.Context(), url, Options{})
		if err == nil {
			t.Errorf("opened %q: %v", url, s.Close())
			continue
		}
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("Open(%q): %v, want %q", url, err, want)
		}
	}
	path := filepath.Join(dir, "none.db")
	if _, err := Open(t.Context(), path, Options{MustExist: true}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("MustExist: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Error("MustExist created a database")
	}
}

func TestNewerDatabaseIsRefusedAndLeftAlone(t *testing.T) {
	for table, insert := range map[string]string{
		"schema":    "INSERT INTO schema_version (version, applied) VALUES (99, 0)",
		"job queue": "INSERT INTO river_migration (line, version) VALUES ('main', 99)",
	} {
		for _, url := range []string{filepath.Join(t.TempDir(), "new.db"), postgresURL(t)} {
			s, err := Open(t.Context(), url, Options{})
			ok(t, err)
			if _, err := s.db.ExecContext(t.Context(), insert); err != nil {
				t.Fatal(err)
			}
			again, err := Open(t.Context(), url, Options{})
			if !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "99") || !strings.Contains(err.Error(), table) {
				t.Fatalf("opened a newer database: %v, %v", again, err)
			}
			ok(t, s.Close())
		}
	}
}

func TestMigrationsRunOnceAndInOrder(t *testing.T) {
	c := newClock()
	path := filepath.Join(t.TempDir(), "new.db")
	open := func() *Store {
		s, err := Open(t.Context(), path, Options{Now: c.Now})
		ok(t, err)
		t.Cleanup(func() { ok(t, s.Close()) })
		return s
	}
	s := open()
	ok(t, s.Want(t.Context(), "pull/1/1"))
	c.Advance(time.Hour)
	second := open()
	if n := must[int](t)(second.Waiting(t.Context())); n != 1 {
		t.Error("opening again lost what was stored")
	}
	var applied, last int
	var latest int64
	ok(t, s.db.QueryRowContext(t.Context(), "SELECT count(*), max(version), max(applied) FROM schema_version").Scan(&applied, &last, &latest))
	if applied < 5 || last != applied || database.FromMicros(latest).Equal(c.Now()) {
		t.Errorf("%d migrations applied up to %d at %s, want each once", applied, last, database.FromMicros(latest))
	}
}

func TestManyProcessesMayOpenANewDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new.db")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			s, err := Open(t.Context(), path, Options{})
			if err != nil {
				t.Error(err)
				return
			}
			if err := errors.Join(s.Want(t.Context(), "pull/1/1"), s.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestCommitsSurviveAPowerCut(t *testing.T) {
	s := sqliteOpener(t)(t, Options{})
	var mode string
	var synchronous int
	ok(t, s.db.QueryRowContext(t.Context(), "PRAGMA journal_mode").Scan(&mode))
	ok(t, s.db.QueryRowContext(t.Context(), "PRAGMA synchronous").Scan(&synchronous))
	if mode != "wal" || synchronous != 2 {
		t.Errorf("journal_mode %s, synchronous %d; want wal and 2 (FULL)", mode, synchronous)
	}
}

// childEnv makes the test binary the victim of TestKilledProcessLosesNothing.
const childEnv = "LOCKKEEPER_STORE_CHILD"

// TestChild is that victim: it prints every effect after the store has
// confirmed it, until it is killed.
func TestChild(t *testing.T) {
	path := os.Getenv(childEnv)
	if path == "" {
		t.Skip("is run by TestKilledProcessLosesNothing only")
	}
	s, err := Open(t.Context(), path, Options{})
	ok(t, err)
	go func() {
		// Never finishes a run: the kill hits all of them half-way.
		if err := s.Run(t.Context(), 2, func(ctx context.Context, key string) error {
			fmt.Println("running", key)
			<-ctx.Done()
			return ctx.Err()
		}); err != nil {
			fmt.Println("error", err)
		}
	}()
	for i := os.Getpid() * 1000; ; i++ {
		key := fmt.Sprint("pull/1/", i)
		must[bool](t)(s.AddDelivery(t.Context(), Delivery{ID: fmt.Sprint(i), Forge: "github"}, []string{key}))
		fmt.Println("delivered", key)
		ok(t, s.StartOperation(t.Context(), Operation{ID: fmt.Sprint("op-", i), Kind: "apply"}))
		fmt.Println("started", fmt.Sprint("op-", i))
		r := must[audit.Record](t)(s.AppendRecord(t.Context(), audit.Record{Type: audit.ApplyStart}))
		fmt.Println("recorded", r.Hash)
	}
}

// kill -9 in the midst: whatever the store confirmed is there afterwards, the
// trail is whole, and the next process takes up all work.
func TestKilledProcessLosesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lockkeeper.db")
	confirmed := map[string]map[string]bool{"delivered": {}, "started": {}, "recorded": {}, "running": {}}
	for range 3 {
		killAfter(t, path, 25, confirmed)
	}
	s, err := Open(t.Context(), path, Options{})
	ok(t, err)
	defer func() { ok(t, s.Close()) }()
	var check string
	ok(t, s.db.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&check))
	if check != "ok" {
		t.Errorf("integrity check: %s", check)
	}
	records := must[[]audit.Record](t)(s.Records(t.Context(), Filter{}))
	if _, err := audit.Verify(audit.Genesis, records); err != nil {
		t.Error(err)
	}
	for _, r := range records {
		delete(confirmed["recorded"], r.Hash)
	}
	for _, op := range must[[]Operation](t)(s.RunningOperations(t.Context())) {
		delete(confirmed["started"], op.ID)
	}
	if len(confirmed["recorded"])+len(confirmed["started"]) != 0 {
		t.Errorf("lost: %v", confirmed)
	}
	if len(confirmed["running"]) == 0 {
		t.Error("no run was under way at the kill")
	}
	ran := make(chan string, 1000)
	start(t, s, 4, func(_ context.Context, key string) error { ran <- key; return nil })
	idle(t, s)
	close(ran)
	for key := range ran {
		delete(confirmed["delivered"], key)
	}
	if len(confirmed["delivered"]) != 0 {
		t.Errorf("deliveries confirmed and not worked: %v", confirmed["delivered"])
	}
}

// killAfter runs TestChild on path and kills it after so many lines.
func killAfter(t *testing.T, path string, lines int, confirmed map[string]map[string]bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChild$")
	cmd.Env = append(os.Environ(), childEnv+"="+path)
	out, err := cmd.StdoutPipe()
	ok(t, err)
	ok(t, cmd.Start())
	scan := bufio.NewScanner(out)
	for n := 0; scan.Scan(); n++ {
		verb, what, _ := strings.Cut(scan.Text(), " ")
		if confirmed[verb] == nil {
			t.Fatalf("the child says: %s", scan.Text())
		}
		confirmed[verb][what] = true
		if n == lines {
			ok(t, cmd.Process.Kill()) // what it said before is read to the end
		}
	}
	ok(t, scan.Err())
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != -1 {
		t.Fatalf("the child was not killed: %v", err)
	}
}
