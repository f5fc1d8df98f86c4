// Command bench measures what lockkeeper promises about speed, on this
// machine: a plan and a check for drift against kubectl diff, the time from
// webhook to report, what a thousand targets and many watched objects cost, and
// how it bears a storm of webhooks. Only ratios, counts, the memory and the
// door's 99th percentile are held to a bound; other times are for the reader. It
// prints a table and appends one JSON line a figure to a file. See `make bench`.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"lockkeeper/cluster/clustertest"
	"lockkeeper/cmd/internal/child"
	"lockkeeper/cmd/internal/house"
	"lockkeeper/cmd/internal/program"
)

func main() { program.Main("bench", run) }

// bench is one run.
type bench struct {
	binary string // lockkeeper
	dir    string // temporary
	plane  *clustertest.ControlPlane
	report *report
}

func run(ctx context.Context, args []string, stdout io.Writer) (err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	out := flags.String("out", "", "the `FILE` that figures are appended to; default bin/bench.jsonl")
	objects := flags.Int("objects", 3000, "how many live objects the plan is made among")
	only := flags.String("only", "", "measure only one of pull, targets, storm, plan, drift")
	if err := flags.Parse(args); err != nil {
		return err
	}
	bin, err := clustertest.Binaries(ctx, os.Stderr)
	if err != nil {
		return err
	}
	if *out == "" {
		*out = filepath.Join(bin, "bench.jsonl")
	}
	b := &bench{report: &report{w: stdout}}
	if b.binary, err = child.Build(ctx, bin); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "lockkeeper-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if b.plane, err = clustertest.Start(ctx, clustertest.Options{Context: house.Cluster}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.plane.Stop()) }()
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"pull", b.pull},
		{"targets", b.targets},
		{"storm", b.storms},
		{"plan", func(ctx context.Context) error { return b.plan(ctx, *objects) }},
		{"drift", func(ctx context.Context) error { return b.drift(ctx, *objects) }},
	} {
		if *only != "" && *only != part.name {
			continue
		}
		if err := part.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return errors.Join(b.report.save(*out), b.report.failed())
}

// figure is one measured value.
type figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// Want is the bound it is held to, 0 for none: at least that, or at most
	// where AtMost is set.
	Want   float64   `json:"want,omitempty"`
	AtMost bool      `json:"atMost,omitempty"`
	At     time.Time `json:"at"`
}

func (f figure) missed() bool {
	return f.Want != 0 && (f.AtMost && f.Value > f.Want || !f.AtMost && f.Value < f.Want)
}

// report prints figures as they come and keeps them.
type report struct {
	w       io.Writer
	figures []figure
}

func (r *report) add(f figure) {
	if len(r.figures) == 0 {
		fmt.Fprintf(r.w, "%-86s %10s %-10s %s\n", "figure", "value", "unit", "wanted")
	}
	f.At = time.Now().UTC()
	r.figures = append(r.figures, f)
	want := ""
	if f.Want != 0 {
		sign, verdict := "≥", "ok"
		if f.AtMost {
			sign = "≤"
		}
		if f.missed() {
			verdict = "MISSED"
		}
		want = fmt.Sprintf("%s %g  %s", sign, f.Want, verdict)
	}
	fmt.Fprintf(r.w, "%-86s %10.4g %-10s %s\n", f.Name, f.Value, f.Unit, want)
}

// save appends one JSON line a figure.
func (r *report) save(path string) error {
	out, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(out)
	for _, f := range r.figures {
		if err := enc.Encode(f); err != nil {
			return errors.Join(err, out.Close())
		}
	}
	return out.Close()
}

func (r *report) failed() error {
	var errs []error
	for _, f := range r.figures {
		if f.missed() {
			errs = append(errs, fmt.Errorf("%s is %.4g %s, want %g", f.Name, f.Value, f.Unit, f.Want))
		}
	}
	return errors.Join(errs...)
}

// median of at least one duration, in seconds.
func median(ds []time.Duration) float64 {
	slices.Sort(ds)
	return ds[len(ds)/2].Seconds()
}
