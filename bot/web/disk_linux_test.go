package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"lockkeeper/bot/store"
)

// A full disk: deliveries are answered with 503, so that the forge keeps them
// for a second time; what runs is not lost when its end cannot be recorded; and
// once there is room nothing needs to be done. On a disk of its own where this
// may mount one; in any case with files that must not grow, in a process of its
// own.
func TestFullDiskIsAnsweredAndRecoveredFrom(t *testing.T) {
	if os.Getenv("LOCKKEEPER_TEST_FULL") != "" {
		withoutGrowth(t)
		return
	}
	t.Run("no file may grow", func(t *testing.T) {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFullDiskIsAnsweredAndRecoveredFrom$", "-test.v")
		cmd.Env = append(os.Environ(), "LOCKKEEPER_TEST_FULL=1")
		if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS")) {
			t.Fatalf("%v\n%s", err, out)
		}
	})
	t.Run("a small disk", func(t *testing.T) {
		dir := t.TempDir()
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
			t.Skipf("mounting a small file system needs to be root with CAP_SYS_ADMIN: %v", err)
		}
		t.Cleanup(func() {
			if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
		fill := filepath.Join(dir, "fill")
		story{
			dir: dir,
			full: func() error {
				f, err := os.Create(fill)
				if err != nil {
					return err
				}
				for err == nil {
					_, err = f.Write(make([]byte, 4096))
				}
				if !errors.Is(err, syscall.ENOSPC) {
					return err
				}
				return f.Close()
			},
			room: func() error { return os.Remove(fill) },
		}.tell(t)
	})
}

// withoutGrowth meets SQLite with EFBIG where a full disk has ENOSPC.
func withoutGrowth(t *testing.T) {
	signal.Ignore(syscall.SIGXFSZ) // a full disk sends no signal
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	story{
		dir:  t.TempDir(),
		full: func() error { return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 4096, Max: was.Max}) },
		room: func() error { return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &was) },
	}.tell(t)
}

// story is the same on both kinds of full disk.
type story struct {
	dir        string
	full, room func() error
}

func (s story) tell(t *testing.T) {
	f := newFixtureIn(t, s.dir)
	h := f.handler(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	begun, end, ended := make(chan string, 1), make(chan struct{}), make(chan error, 1)
	var runs []string
	go func() {
		ended <- f.store.Run(ctx, 1, func(_ context.Context, key string) error {
			runs = append(runs, key)
			select {
			case begun <- key:
				<-end
			default:
			}
			return nil
		})
	}()
	push := func(id string, want int) {
		t.Helper()
		if w := do(h, delivery(id, pullBody, sign(pullBody, hookSecret))); w.Code != want {
			t.Fatalf("delivery %s: status %d, want %d: %s", id, w.Code, want, w.Body)
		}
	}
	push("before", http.StatusAccepted)
	<-begun // and it runs
	if err := s.full(); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for i := range 64 { // what is left of the database's own room
		w := do(h, delivery(fmt.Sprint("full-", i), pullBody, sign(pullBody, hookSecret)))
		if w.Code == http.StatusServiceUnavailable {
			refused++
			if !strings.Contains(w.Body.String(), "deliver it again later") || w.Header().Get("Retry-After") == "" {
				t.Fatalf("the answer does not say what to do: %s", w.Body)
			}
		}
	}
	if refused == 0 {
		t.Fatal("every delivery was stored: the disk is not full, and this test tests nothing")
	}
	close(end) // the run ends while that cannot be recorded
	push("still-full", http.StatusServiceUnavailable)
	if err := s.room(); err != nil {
		t.Fatal(err)
	}
	push("after", http.StatusAccepted)
	idle, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := f.store.Idle(idle); err != nil {
		t.Fatalf("work is left though there is room again: %v\n%s", err, f.log.String())
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if len(runs) < 2 {
		t.Errorf("the pull was looked at %d times: not after the last delivery", len(runs))
	}
	if log := f.log.String(); !strings.Contains(log, "disk") && !strings.Contains(log, "full") {
		t.Errorf("the log does not say that the disk is full:\n%s", log)
	}
}

// newFixtureIn is newFixture with its database in a directory of its own.
func newFixtureIn(t *testing.T, dir string) *fixture {
	t.Helper()
	s, err := store.Open(t.Context(), filepath.Join(dir, "db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return newFixtureOn(s)
}
