package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// crashEnv is set in a process that is to be `lockkeeper serve` and to die: it
// names the directory with the files below.
const crashEnv = "LOCKKEEPER_CRASH"

const (
	actFile = "act" // what people are doing, and the steps at which to die, a line each; none is all
	metFile = "met" // points at which somebody died, with the act
)

// crashing is the program as it is, but for its log: that is read on its way out,
// and at the first record of each step that it tells of the process kills itself,
// as a power cut would. It returns in every other process.
func crashing() {
	dir := os.Getenv(crashEnv)
	if dir == "" {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, &mortal{dir: dir, out: os.Stderr})
	stop()
	os.Exit(code)
}

// mortal is the log of a process that is to die.
type mortal struct {
	dir string
	out io.Writer
	mu  sync.Mutex
}

// Write passes a record on, and may not return.
func (m *mortal) Write(record []byte) (int, error) {
	n, err := m.out.Write(record)
	var r struct {
		Msg, Step string
		Done      bool
	}
	if bytes.Contains(record, []byte(`"msg":"step"`)) && json.Unmarshal(record, &r) == nil {
		m.reached(r.Step, r.Done)
	}
	return n, err
}

// pointOf names a moment: just before a step, or just after.
func pointOf(step string, done bool) string {
	if done {
		return "after " + step
	}
	return "before " + step
}

// reached kills the process at a point of the act where none died yet.
func (m *mortal) reached(step string, done bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	act := linesOf(m.dir, actFile)
	if len(act) == 0 || len(act) > 1 && !slices.Contains(act[1:], step) {
		return
	}
	here := act[0] + ": " + pointOf(step, done)
	if slices.Contains(linesOf(m.dir, metFile), here) {
		return
	}
	if err := appendLine(m.dir, metFile, here); err != nil {
		panic(err)
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // there is nobody to tell
	select {}
}

func linesOf(dir, file string) []string {
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return nil // not there yet
	}
	return strings.FieldsFunc(string(text), func(c rune) bool { return c == '\n' })
}

func appendLine(dir, file, line string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, line)
	if closing := f.Close(); err == nil {
		err = closing
	}
	return err
}
