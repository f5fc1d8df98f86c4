// Package schema holds answers and webhook payloads against the schemas that
// GitHub publishes: its OpenAPI description and its webhook schemas, which come
// from npm packages pinned by testdata/npm/package-lock.json.
package schema

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
)

// Install makes sure the packages of testdata/npm are there, with `npm ci`
// once under a file lock, and returns the folder of the @octokit packages.
func Install() (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, "testdata", "npm")
	lock, err := os.OpenFile(filepath.Join(dir, "package-lock.json"), os.O_RDONLY, 0)
	if err != nil {
		return "", err
	}
	defer lock.Close() // gives the lock back
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	octokit, stamp := filepath.Join(dir, "node_modules", "@octokit"), filepath.Join(dir, "node_modules", ".installed")
	want, err := os.ReadFile(lock.Name())
	if err != nil {
		return "", err
	}
	if have, err := os.ReadFile(stamp); err == nil && string(have) == string(want) {
		return octokit, nil
	}
	cmd := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("install GitHub's schemas: npm ci in testdata/npm: %w\n%s", err, out)
	}
	return octokit, os.WriteFile(stamp, want, 0o644)
}

// moduleRoot finds the folder of go.mod above this source file, or above the
// working directory when sources were moved (-trimpath).
func moduleRoot() (string, error) {
	_, file, _, _ := runtime.Caller(0)
	wd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for _, dir := range []string{filepath.Dir(file), wd} {
		for ; filepath.IsAbs(dir) && dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
			if _, err := os.Stat(filepath.Join(dir, "testdata", "npm", "package.json")); err == nil {
				return dir, nil
			}
		}
	}
	return "", errors.New("find testdata/npm: run inside lockkeeper's source tree")
}
