// Package lifeline ends a server when the process that started it ends.
package lifeline

import (
	"io"
	"os"
	"time"
)

// Env, when set to "1", says that standard input is a pipe held open by the
// parent. The kernel closes it however the parent ends, SIGKILL included, so
// no server outlives its test. (Linux's parent-death signal would be tied to
// the thread that started the child, which the Go runtime may end at will.)
const Env = "CONTROLPLANE_LIFELINE"

// RemoveEnv names a directory to be removed when the lifeline breaks: the
// parent, who would have done it, is gone.
const RemoveEnv = "CONTROLPLANE_REMOVE"

// Hold starts watching standard input and ends the process at its end of file.
func Hold() {
	if os.Getenv(Env) != "1" {
		return
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		if dir := os.Getenv(RemoveEnv); dir != "" {
			remove(dir)
		}
		os.Exit(1)
	}()
}

// remove tries more than once, since the other children and our own goroutines
// may write a last file while it goes through the directory.
func remove(dir string) {
	for range 50 {
		if os.RemoveAll(dir) == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}
