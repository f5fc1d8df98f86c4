// Command replay lets lockkeeper live through a real history: it takes a Git
// bundle in which each commit is a state of a directory of Kubernetes
// manifests, brings the first state to a fresh control plane, and makes every
// next commit a pull request on the local GitHub look-alike. The real
// `lockkeeper serve` plans it, one person approves it, another says /apply, and
// it is merged. After each step, what changed on the cluster is held to what
// the plan said, object by object and field by field, and nothing may be left
// over. See `make replay`.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"lockkeeper/cluster/clustertest"
	"lockkeeper/cluster/kube"
	"lockkeeper/cmd/internal/child"
	"lockkeeper/cmd/internal/house"
	"lockkeeper/cmd/internal/program"
	"lockkeeper/forge/forgetest"
)

func main() { program.Main("replay", run) }

// options are what replay is asked.
type options struct {
	bundle, branch, path, first, table string
	from, limit, nodes                 int
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("replay", flag.ContinueOnError)
	flags.StringVar(&o.bundle, "bundle", "", "a Git bundle, a `FILE`; each commit is a state")
	flags.StringVar(&o.branch, "branch", "corpus", "the `BRANCH` in the bundle")
	flags.StringVar(&o.path, "path", "manifests", "the `DIR`ectory of the manifests")
	flags.StringVar(&o.first, "first", byLockkeeper, "who makes the first state: lockkeeper, or kubectl so that it is adopted")
	flags.IntVar(&o.from, "from", 1, "which state comes first")
	flags.IntVar(&o.limit, "limit", 0, "how many states to replay; 0 means all")
	flags.IntVar(&o.nodes, "nodes", 2, "how many fake nodes the cluster has")
	flags.StringVar(&o.table, "table", "", "also write the table to this `FILE`")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if o.bundle == "" {
		return o, errors.New("-bundle is missing: make replay BUNDLE=path")
	}
	if o.first != byLockkeeper && o.first != byKubectl {
		return o, fmt.Errorf("-first %s: want %s or %s", o.first, byLockkeeper, byKubectl)
	}
	return o, nil
}

func run(ctx context.Context, args []string, stdout io.Writer) (err error) {
	o, err := parse(args)
	if err != nil {
		return err
	}
	t, err := newTable(stdout, o.table)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	r, err := open(ctx, o, t)
	defer func() { err = errors.Join(err, r.close()) }()
	if err != nil {
		return err
	}
	return r.play(ctx)
}

// open starts everything. The replay it returns is to be closed even when
// there is an error.
func open(ctx context.Context, o options, t *table) (*replay, error) {
	r := &replay{options: o, table: t}
	bin, err := clustertest.Binaries(ctx, os.Stderr)
	if err != nil {
		return r, err
	}
	if r.binary, err = child.Build(ctx, bin); err != nil {
		return r, err
	}
	if r.history, err = openHistory(ctx, o.bundle, o.branch, o.path); err != nil {
		return r, err
	}
	r.history.from = o.from
	if r.history.states, err = chosen(r.history.states, o); err != nil {
		return r, err
	}
	if r.backend, err = startBackend(); err != nil {
		return r, err
	}
	r.plane, err = clustertest.Start(ctx, clustertest.Options{Nodes: o.nodes, Context: house.Cluster, APIServerFlags: r.backend.flags()})
	if err != nil {
		return r, err
	}
	if r.cluster, err = kube.New(kube.Config{Name: house.Cluster, REST: r.plane.RESTConfig()}); err != nil {
		return r, err
	}
	if r.observer, err = newObserver(r.plane.RESTConfig()); err != nil {
		return r, err
	}
	first, err := r.history.state(ctx, 0)
	if err != nil {
		return r, err
	}
	if err := r.history.branch(ctx, first, "first", "", house.Opener+"@example.com"); err != nil {
		return r, err
	}
	r.now = first
	r.house, err = house.Start(ctx, house.Options{
		Binary: r.binary, Plane: r.plane, MaxDeletes: 1000,
		Repo: forgetest.NewRepo{Owner: "acme", Name: "manifests", From: r.history.git.Dir, FromRef: "refs/heads/first"},
	})
	return r, err
}

func chosen[T any](states []T, o options) ([]T, error) {
	if o.from < 1 || o.from > len(states) {
		return nil, fmt.Errorf("-from %d: there are the states 1 to %d", o.from, len(states))
	}
	states = states[o.from-1:]
	if o.limit > 0 {
		states = states[:min(o.limit, len(states))]
	}
	return states, nil
}

// close ends everything in order.
func (r *replay) close() error {
	var errs []error
	if r.house != nil {
		errs = append(errs, r.house.Close())
	}
	if r.plane != nil {
		errs = append(errs, r.plane.Stop())
	}
	if r.backend != nil {
		errs = append(errs, r.backend.close())
	}
	if r.history != nil {
		errs = append(errs, r.history.close())
	}
	return errors.Join(errs...)
}
