package clustertest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// buildFlags make one stripped, static binary a program, the same wherever the
// repository lies.
var buildFlags = []string{"build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w"}

var binaries = []string{"controlplane", "kwok"}

// Require names the first of the programs that is not installed.
func Require(programs ...string) error {
	hints := map[string]string{
		"go":  "install Go 1.26 or later from https://go.dev/doc/install",
		"git": "install Git 2.38 or later from https://git-scm.com/downloads",
	}
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			hint := hints[program]
			if hint == "" {
				hint = "install it with the system's package manager"
			}
			return fmt.Errorf("%s is needed but was not found in PATH: %s", program, hint)
		}
	}
	return nil
}

// Binaries returns the directory that holds the control plane's programs
// (bin/ of the repository around the working directory) and builds them when
// they are missing or older than their sources, saying so on progress. It is
// safe to call from several processes at once: one builds, the others wait.
func Binaries(ctx context.Context, progress io.Writer) (string, error) {
	root, err := repository()
	if err != nil {
		return "", err
	}
	module, bin := filepath.Join(root, "testdata", "controlplane"), filepath.Join(root, "bin")
	stamp, err := sourceStamp(module)
	if err != nil {
		return "", err
	}
	if isBuilt(bin, stamp) {
		return bin, nil
	}
	unlock, err := lock(ctx, bin, progress)
	if err != nil {
		return "", err
	}
	defer unlock()
	if isBuilt(bin, stamp) {
		return bin, nil
	}
	if err := build(ctx, module, bin, progress); err != nil {
		return "", err
	}
	return bin, os.WriteFile(stampFile(bin), []byte(stamp), 0o644)
}

func repository() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "testdata", "controlplane", "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("%s is not inside a clone of the lockkeeper repository (no testdata/controlplane/go.mod above it): run this from the clone", start)
		}
	}
}

// sourceStamp changes with everything that the programs are made from.
func sourceStamp(module string) (string, error) {
	sum := sha256.New()
	fmt.Fprintln(sum, runtime.Version(), runtime.GOOS, runtime.GOARCH, buildFlags)
	err := filepath.WalkDir(module, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		name, _ := filepath.Rel(module, path)
		fmt.Fprintf(sum, "%s %d\n%s\n", filepath.ToSlash(name), len(content), content)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("read the control plane's sources: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

func stampFile(bin string) string { return filepath.Join(bin, "controlplane.stamp") }

func isBuilt(bin, stamp string) bool {
	have, err := os.ReadFile(stampFile(bin))
	if err != nil || string(have) != stamp {
		return false
	}
	for _, name := range binaries {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			return false
		}
	}
	return true
}

// lock takes the build lock. The kernel drops it when its holder dies.
func lock(ctx context.Context, bin string, progress io.Writer) (unlock func(), err error) {
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(bin, "controlplane.lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for told := false; ; told = true {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			_ = file.Close()
			return nil, fmt.Errorf("lock %s: %w", file.Name(), err)
		}
		if !told {
			fmt.Fprintln(progress, "waiting for another process to build the control plane")
		}
		select {
		case <-ctx.Done():
			_ = file.Close()
			return nil, fmt.Errorf("wait for another process to build the control plane: %w", context.Cause(ctx))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// build compiles beside the old binaries and swaps them at the end, so that
// running control planes and interrupted builds do no harm.
func build(ctx context.Context, module, bin string, progress io.Writer) error {
	if err := Require("go"); err != nil {
		return fmt.Errorf("build the control plane: %w", err)
	}
	fmt.Fprintln(progress, "building the control plane (first time: ~6 minutes)")
	fresh := filepath.Join(bin, "controlplane.new")
	if err := errors.Join(os.RemoveAll(fresh), os.RemoveAll(stampFile(bin)), os.MkdirAll(fresh, 0o755)); err != nil {
		return err
	}
	defer os.RemoveAll(fresh)
	args := append(buildFlags[:len(buildFlags):len(buildFlags)], "-o", fresh+string(filepath.Separator), ".", "./kwok")
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-mod=readonly", "PWD="+module)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fmt.Errorf("build the control plane in testdata/controlplane: %w\n%s", err, lastLines(output.String(), 20))
	}
	for _, name := range binaries {
		if err := os.Rename(filepath.Join(fresh, name), filepath.Join(bin, name)); err != nil {
			return err
		}
	}
	return linkKubectl(bin)
}

// linkKubectl puts bin/kubectl there for people; the binary goes by its name.
func linkKubectl(bin string) error {
	link := filepath.Join(bin, "kubectl")
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Symlink("controlplane", link)
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
