// Command demo shows lockkeeper at work on this machine: two real Kubernetes
// control planes (staging and production), a forge with the shop of
// testdata/shop (a local look-alike of GitHub or of GitLab, or a real Gitea), and
// the real `lockkeeper serve` between them. It plays a tour as the people of a small company would, over HTTP and Git, and
// holds every step to what the forge and the clusters then really say. Then it
// stays, so that you can go on as any of them. See `make demo`.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/mattn/go-isatty"

	"lockkeeper/cluster/clustertest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, out *os.File) int {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	name := flags.String("forge", venues[0].kind, "where to play: github, gitlab or gitea")
	once := flags.Bool("once", false, "end after the tour, with an error if a step was not as it should be")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	v, err := venueOf(*name)
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		return 2
	}
	t := terminal{w: out, colour: isatty.IsTerminal(out.Fd()) && os.Getenv("NO_COLOR") == ""}
	err = demo(ctx, t, v, *once)
	switch {
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		t.printf("\nstopped\n")
		return 130
	case err != nil:
		first, _, _ := strings.Cut(err.Error(), "\n") // the step has shown all of it
		t.printf("\n%s %s\n", t.style(red, "demo:"), first)
		return 1
	}
	return 0
}

// demo builds the world, plays the tour and, unless once, stays until ctx
// ends. Everything it started ends with it.
func demo(ctx context.Context, t terminal, v venue, once bool) (err error) {
	if err := clustertest.Require("go", "git", "npm"); err != nil {
		return err
	}
	started := time.Now()
	w, err := newWorld(ctx, t, v)
	if w != nil {
		defer func() { err = errors.Join(err, w.stop()) }()
	}
	if err != nil {
		return err
	}
	tour := &tour{world: w, terminal: t, started: started}
	failed := tour.play(ctx)
	tour.summary()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if failed != nil {
		w.tail(t.w)
	}
	if once || failed != nil && !t.colour {
		return failed
	}
	return errors.Join(failed, tour.stay(ctx))
}

// tail prints the end of the bot's log, for the reader of a failure.
func (w *world) tail(out io.Writer) {
	lines := w.serve.LastLines(15)
	fmt.Fprintf(out, "\nthe end of the bot's log:\n%s\n", lines)
}
