package main

import (
	"io"
	"os"
	"time"
)

// Of the environment: with lifelineEnv set to "1", standard input is a pipe that
// the parent holds open. The kernel closes it however the parent ends, SIGKILL
// included, so that no server outlives its test. removeEnv names the directory
// to remove then, since the parent, who would have done it, is gone.
const (
	lifelineEnv = "GITEA_LIFELINE"
	removeEnv   = "GITEA_REMOVE"
)

func holdLifeline() {
	if os.Getenv(lifelineEnv) != "1" {
		return
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		if dir := os.Getenv(removeEnv); dir != "" {
			remove(dir)
		}
		os.Exit(1)
	}()
}

// remove tries more than once, since our own goroutines and children of ours may
// write a last file while it goes through the directory.
func remove(dir string) {
	for range 50 {
		if os.RemoveAll(dir) == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}
