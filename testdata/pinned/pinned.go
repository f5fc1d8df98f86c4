// Package pinned builds the programs of the modules in testdata, which pin their
// versions, into bin/: the control plane and the forge that tests and the demo
// run. It lies beside these modules because the rooms that use it know nothing
// of each other.
package pinned

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"
)

// buildFlags make one stripped, static binary a program, the same wherever the
// repository lies.
var buildFlags = []string{"build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w"}

// Programs are what one module of testdata builds.
type Programs struct {
	// Module is its folder in testdata. Files in bin/ that concern all of its
	// programs go by this name.
	Module string
	// What they are, and what the first build Takes, for people: "the control
	// plane", "~6 minutes".
	What, Takes string
	// Packages are the commands, by the name of their program.
	Packages map[string]string
	// Links are further names in bin/, by the program that they mean.
	Links map[string]string
}

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

// Build returns the directory that holds the programs (bin/ of the repository
// around the working directory) and builds them when they are missing or older
// than their sources, saying so on progress. It is safe to call from several
// processes at once: one builds, the others wait.
func (p Programs) Build(ctx context.Context, progress io.Writer) (bin string, err error) {
	module, err := p.Dir()
	if err != nil {
		return "", err
	}
	bin = filepath.Join(filepath.Dir(filepath.Dir(module)), "bin")
	stamp, err := p.sourceStamp(module)
	if err != nil {
		return "", err
	}
	if p.isBuilt(bin, stamp) {
		return bin, nil
	}
	unlock, err := p.lock(ctx, bin, progress)
	if err != nil {
		return "", err
	}
	defer unlock()
	if p.isBuilt(bin, stamp) {
		return bin, nil
	}
	if err := p.build(ctx, module, bin, progress); err != nil {
		return "", err
	}
	return bin, os.WriteFile(p.stampFile(bin), []byte(stamp), 0o644)
}

// Dir is the module's folder, in the repository around the working directory.
func (p Programs) Dir() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		module := filepath.Join(dir, "testdata", p.Module)
		if _, err := os.Stat(filepath.Join(module, "go.mod")); err == nil {
			return module, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("%s is not inside a clone of the lockkeeper repository (no testdata/%s/go.mod above it): run this from the clone", start, p.Module)
		}
	}
}

// sourceStamp changes with everything that the programs are made from.
func (p Programs) sourceStamp(module string) (string, error) {
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
		return "", fmt.Errorf("read the sources of %s: %w", p.What, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

func (p Programs) stampFile(bin string) string { return filepath.Join(bin, p.Module+".stamp") }

func (p Programs) isBuilt(bin, stamp string) bool {
	have, err := os.ReadFile(p.stampFile(bin))
	if err != nil || string(have) != stamp {
		return false
	}
	for name := range p.Packages {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			return false
		}
	}
	return true
}

// lock takes the build lock. The kernel drops it when its holder dies.
func (p Programs) lock(ctx context.Context, bin string, progress io.Writer) (unlock func(), err error) {
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(bin, p.Module+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
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
			fmt.Fprintln(progress, "waiting for another process to build "+p.What)
		}
		select {
		case <-ctx.Done():
			_ = file.Close()
			return nil, fmt.Errorf("wait for another process to build %s: %w", p.What, context.Cause(ctx))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// build compiles beside the old binaries and swaps them at the end, so that
// running programs and interrupted builds do no harm.
func (p Programs) build(ctx context.Context, module, bin string, progress io.Writer) error {
	if err := Require("go"); err != nil {
		return fmt.Errorf("build %s: %w", p.What, err)
	}
	fmt.Fprintf(progress, "building %s (first time: %s)\n", p.What, p.Takes)
	fresh := filepath.Join(bin, p.Module+".new")
	if err := errors.Join(os.RemoveAll(fresh), os.RemoveAll(p.stampFile(bin)), os.MkdirAll(fresh, 0o755)); err != nil {
		return err
	}
	defer os.RemoveAll(fresh)
	args := append(buildFlags[:len(buildFlags):len(buildFlags)], "-o", fresh+string(filepath.Separator))
	cmd := exec.CommandContext(ctx, "go", append(args, slices.Sorted(maps.Values(p.Packages))...)...)
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-mod=readonly", "PWD="+module)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fmt.Errorf("build %s in testdata/%s: %w\n%s", p.What, p.Module, err, LastLines(output.String(), 20))
	}
	for name := range p.Packages {
		if err := os.Rename(filepath.Join(fresh, name), filepath.Join(bin, name)); err != nil {
			return err
		}
	}
	for name, program := range p.Links {
		if err := link(filepath.Join(bin, name), program); err != nil {
			return err
		}
	}
	return nil
}

func link(name, to string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Symlink(to, name)
}
