// Command soak lets people use lockkeeper for a while, all at once and at
// random, while everything around it breaks at random: two replicas of the real
// `lockkeeper serve` on PostgreSQL, the look-alike of the forge and a real
// control plane, over roads that are slow, cut or damaged, with processes that
// are killed, stopped and replaced, and webhooks that are lost, doubled and
// late. At the end everything is mended, the people finish their pulls, and
// what has to hold in any case is checked. See `make soak`.
//
// All that is drawn comes from the printed seed. The processes themselves keep
// their own time, so that a seed brings the same acts and faults in the same
// order, and not the same interleaving.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"lockkeeper/cmd/internal/program"
)

// atOnce is how many things may be broken at a time.
const atOnce uint64 = 2

// convergence bounds the time that mending and finishing may take.
const convergence = 10 * time.Minute

func main() { program.Main("soak", run) }

type options struct {
	minutes  float64
	seed     uint64
	replicas int
	sqlite   bool
	faults   bool
	verbose  bool
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	flags.Float64Var(&o.minutes, "minutes", 2, "how many `MINUTES` things break; starting and finishing come on top")
	flags.Uint64Var(&o.seed, "seed", 0, "what everything is drawn from; 0 draws one")
	flags.IntVar(&o.replicas, "replicas", 2, "how many replicas share the database")
	flags.BoolVar(&o.sqlite, "sqlite", false, "one replica, on SQLite")
	flags.BoolVar(&o.faults, "faults", true, "break things")
	flags.BoolVar(&o.verbose, "v", false, "tell of every act")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if o.seed == 0 {
		o.seed = rand.Uint64N(1_000_000) + 1
	}
	if o.sqlite {
		o.replicas = 1
	}
	if o.minutes <= 0 || o.replicas < 1 || flags.NArg() > 0 {
		return o, errors.New("want -minutes above 0, -replicas of 1 or more, and nothing else")
	}
	return o, nil
}

func run(ctx context.Context, args []string, stdout io.Writer) (err error) {
	o, err := parse(args)
	if err != nil {
		return err
	}
	diary := &diary{out: stdout, begin: time.Now(), verbose: o.verbose}
	defer diary.close()
	diary.tell("seed %d: %g minutes, %d replicas", o.seed, o.minutes, o.replicas)
	w, err := build(ctx, o, diary)
	defer func() {
		if ctx.Err() != nil { // nothing is wrong, and nothing proven
			err = errors.Join(errors.New("interrupted"), w.close(false), os.RemoveAll(w.dir))
			return
		}
		err = errors.Join(err, w.close(err == nil))
	}()
	if err != nil {
		return err
	}
	people := newPeople(w, rand.New(rand.NewPCG(o.seed, 1)))
	if err := people.begin(ctx); err != nil {
		return fmt.Errorf("before anything broke: %w\n%s", err, w.advice(o))
	}
	if err := w.trouble(ctx, o, people); err != nil {
		return err
	}
	if err := w.judge(ctx, people); err != nil {
		return fmt.Errorf("%w\n%s", err, w.advice(o))
	}
	diary.tell("%s; every invariant holds", people.summary())
	return nil
}

// judge has the people finish, and tells what does not hold then.
func (w *world) judge(ctx context.Context, p *people) error {
	ctx, cancel := context.WithTimeoutCause(ctx, convergence, fmt.Errorf("not done %s after everything was mended", convergence))
	defer cancel()
	if err := p.finish(ctx); err != nil {
		return fmt.Errorf("after everything was mended: %w", err)
	}
	broken, err := w.inspect(ctx, p)
	if err != nil {
		return err
	}
	for _, b := range broken {
		w.diary.tell("BROKEN: %s", b)
	}
	if len(broken) > 0 {
		return fmt.Errorf("%d invariants are broken", len(broken))
	}
	return nil
}

// trouble lets people act and things break for the time given, then mends all.
func (w *world) trouble(ctx context.Context, o options, p *people) error {
	ends, cancel := context.WithTimeout(ctx, time.Duration(o.minutes*float64(time.Minute)))
	defer cancel()
	g, gctx := errgroup.WithContext(ends)
	g.Go(func() error { return p.live(gctx) })
	if o.faults {
		for i := range atOnce {
			f := &faults{world: w, rng: rand.New(rand.NewPCG(o.seed, 2+i))}
			g.Go(func() error { return f.live(gctx) })
		}
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("%w\n%s", err, w.advice(o))
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	w.diary.tell("everything is mended, and the people finish what they began")
	return w.mend(ctx)
}

// diary tells what happens, with the seconds since the start.
type diary struct {
	mu      sync.Mutex
	out     io.Writer
	begin   time.Time
	verbose bool
	file    *os.File // all of it, beside the logs; nil before there is a place
}

func (d *diary) keep(dir string) (err error) {
	d.file, err = os.Create(filepath.Join(dir, "diary.log"))
	return err
}

func (d *diary) close() {
	if d.file != nil {
		d.file.Close() //nolint:errcheck // it is for reading along
	}
}

// tell tells of what matters.
func (d *diary) tell(format string, args ...any) { d.write(true, format, args...) }

// whisper tells of acts, of which there are many.
func (d *diary) whisper(format string, args ...any) { d.write(d.verbose, format, args...) }

func (d *diary) write(aloud bool, format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	line := fmt.Sprintf("%6.1f  %s\n", now.Sub(d.begin).Seconds(), fmt.Sprintf(format, args...))
	if aloud {
		fmt.Fprint(d.out, line)
	}
	if d.file != nil {
		fmt.Fprint(d.file, now.UTC().Format("15:04:05.000 "), line)
	}
}
