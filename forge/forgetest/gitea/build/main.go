// Command build makes the Gitea server in bin/, as the tests and the demo would
// on first use. It does nothing when it is up to date.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"lockkeeper/forge/forgetest/gitea"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if _, err := gitea.Binary(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
