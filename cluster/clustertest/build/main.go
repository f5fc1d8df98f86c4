// Command build makes the control plane's programs in bin/, as the tests and
// the demo would on first use. It does nothing when they are up to date.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"lockkeeper/cluster/clustertest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if _, err := clustertest.Binaries(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
