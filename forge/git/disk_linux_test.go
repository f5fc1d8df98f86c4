package git

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A disk of 2 MiB where this may mount one; else files of the process and of its
// children cannot grow beyond 200 KiB, which git meets in the same places.
func TestFullDiskIsToldAndRecoveredFrom(t *testing.T) {
	if os.Getenv("LOCKKEEPER_TEST_FULL") != "" {
		fullByLimit(t)
		return
	}
	t.Run("no file may grow", func(t *testing.T) {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+strings.Split(t.Name(), "/")[0]+"$", "-test.v")
		cmd.Env = append(os.Environ(), "LOCKKEEPER_TEST_FULL=1")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Fatalf("%v\n%s", err, out)
		}
	})
	t.Run("a small disk", func(t *testing.T) {
		dir := smallDisk(t, "size=2m")
		r := newRemote(t)
		small, big := commitNoise(t, r, 200<<10), commitNoise(t, r, 900<<10)
		c, ctx := newCache(t, dir, 0), t.Context()
		fill := filepath.Join(dir, "fill")
		if _, err := c.Mirror(ctx, "other").Fetch(ctx, r.url, secret, small); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(fill, []byte(noise(t, 800<<10)), 0o600); err != nil {
			t.Fatal(err)
		}
		// There is room once the other mirror has gone.
		m := c.Mirror(ctx, "this")
		if _, err := m.Fetch(ctx, r.url, secret, big); err != nil {
			t.Fatalf("a mirror that nobody uses is in the way: %v", err)
		}
		if there(c.Mirror(ctx, "other")) {
			t.Error("there was room without throwing anything away: this test tests nothing")
		}
		// And none at all while everything is in use.
		held, release := Hold(ctx)
		defer release()
		m = c.Mirror(held, "this")
		next := commitNoise(t, r, 900<<10)
		_, err := m.Fetch(held, r.url, secret, next)
		if !errors.Is(err, ErrNoRoom) {
			t.Fatalf("got %v, want %v", err, ErrNoRoom)
		}
		checkTree(t, m, big) // what is there can be read
		if err := os.Remove(fill); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=4m"); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Fetch(held, r.url, secret, next); err != nil {
			t.Fatalf("there is room again: %v", err)
		}
		checkTree(t, m, next)
	})
}

func fullByLimit(t *testing.T) {
	signal.Ignore(syscall.SIGXFSZ) // a full disk sends no signal
	r := newRemote(t)
	one := commitNoise(t, r, 10<<10)
	m, ctx := newMirror(t), t.Context()
	if _, err := m.Fetch(ctx, r.url, secret, one); err != nil {
		t.Fatal(err)
	}
	two := commitNoise(t, r, 900<<10)
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 200 << 10, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	_, err := m.Fetch(ctx, r.url, secret, two)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, ErrNoRoom) || strings.Contains(err.Error(), secret) {
		t.Fatalf("got %v, want %v", err, ErrNoRoom)
	}
	checkTree(t, m, one)
	if _, err := m.Fetch(ctx, r.url, secret, two); err != nil {
		t.Fatal(err)
	}
	checkTree(t, m, two)
}

func TestReadOnlyDiskIsToldAndRecoveredFrom(t *testing.T) {
	dir := smallDisk(t, "size=4m")
	r := newRemote(t)
	one := commitNoise(t, r, 10<<10)
	m, ctx := newCache(t, dir, 0).Mirror(t.Context(), "1"), t.Context()
	if _, err := m.Fetch(ctx, r.url, secret, one); err != nil {
		t.Fatal(err)
	}
	remount := func(flags uintptr) {
		t.Helper()
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	two := commitNoise(t, r, 10<<10)
	// A file system on which something is open for writing cannot become
	// read-only, and the cache's lock is.
	if err := m.cache.shelf.Close(); err != nil {
		t.Fatal(err)
	}
	remount(syscall.MS_RDONLY)
	_, err := m.Fetch(ctx, r.url, secret, two)
	checkTree(t, m, one)
	remount(0)
	if !errors.Is(err, ErrReadOnly) {
		t.Fatalf("got %v, want %v", err, ErrReadOnly)
	}
	if _, err := m.Fetch(ctx, r.url, secret, two); err != nil {
		t.Fatal(err)
	}
	checkTree(t, m, two)
}

// smallDisk mounts a file system of its own.
func smallDisk(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("mounting a small file system needs to be root with CAP_SYS_ADMIN: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}
