// Package program is what cmd/bench, cmd/replay and cmd/soak have in common as
// programs: how they begin, are interrupted, and end.
package program

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"lockkeeper/cluster/manifest"
)

// Main runs a program and ends the process: with 1 after an error, which is
// printed with the program's name. Ctrl-C and SIGTERM end the context. Asking for
// help is no error.
//
// Rendering happens in a process of its own, which is this program again: then
// Main does that instead.
func Main(name string, run func(ctx context.Context, args []string, stdout io.Writer) error) {
	manifest.Child()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}
