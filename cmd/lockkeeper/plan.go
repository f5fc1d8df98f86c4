package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"lockkeeper/bot/config"
	"lockkeeper/bot/plan"
	"lockkeeper/bot/report"
	"lockkeeper/cluster"
	"lockkeeper/cluster/kube"
	"lockkeeper/cluster/manifest"
	"lockkeeper/forge/git"
)

// planFlags are what `lockkeeper plan` is asked.
type planFlags struct {
	repo, base, head, kubeconfig, context, config, name, format string
	targets                                                     names
	everything                                                  bool
}

// names is a flag that may be given more than once.
type names []string

// String is for the flag package.
func (n *names) String() string { return fmt.Sprint([]string(*n)) }

// Set adds one.
func (n *names) Set(s string) error { *n = append(*n, s); return nil }

func planCommand(ctx context.Context, c *call) error {
	var f planFlags
	c.flags.StringVar(&f.repo, "repo", ".", "the local clone, a `DIR`ectory; it is not written to")
	c.flags.StringVar(&f.base, "base", "", "the base branch or commit, a `REF`")
	c.flags.StringVar(&f.head, "head", "HEAD", "the head to plan, a `REF`")
	c.flags.Var(&f.targets, "target", "plan only this target, by `NAME`; may be repeated")
	c.flags.StringVar(&f.kubeconfig, "kubeconfig", os.Getenv("KUBECONFIG"), "the kubeconfig `FILE`")
	c.flags.StringVar(&f.context, "context", "", "the `CONTEXT` in the kubeconfig; default: the one a cluster is named after, else the current one")
	c.flags.StringVar(&f.config, "config", "", "the operator's `FILE`, for its fences and limits; default: none apply")
	c.flags.StringVar(&f.name, "name", "", "which `OWNER/NAME` of the operator's file this is; default: the only one")
	c.flags.BoolVar(&f.everything, "all", false, "examine all objects of the targets, changed or not")
	c.flags.StringVar(&f.format, "o", "text", "text, markdown or json")
	if err := c.parse(); err != nil {
		return err
	}
	if f.base == "" {
		return errors.New("plan: --base is missing; name the branch that the change is for, such as origin/main")
	}
	write, ok := map[string]func(io.Writer, *plan.Output) error{"text": report.Text, "markdown": report.Markdown, "json": planJSON}[f.format]
	if !ok {
		return fmt.Errorf("plan: -o %s: want text, markdown or json", f.format)
	}
	out, err := offlinePlan(ctx, f)
	if err != nil {
		return err
	}
	if err := write(c.stdout, out); err != nil {
		return fmt.Errorf("plan: write the plan: %w", err)
	}
	return planExit(out)
}

// planExit makes the exit code: 1 for problems, 2 for changes, 0 for none.
func planExit(out *plan.Output) error {
	problems, changes := len(out.Problems), 0
	for _, t := range out.Targets {
		problems += len(t.Plan.Problems)
		changes += len(t.Plan.Changes)
	}
	switch {
	case problems > 0:
		return exitError{1, "lockkeeper: not to be applied: " + countProblems(problems)}
	case changes > 0:
		return exitError{2, ""}
	}
	return nil
}

// planJSON writes the plan in the shape that the README documents: lists that
// always exist are never null.
func planJSON(w io.Writer, out *plan.Output) error {
	for _, t := range out.Targets {
		if t.Plan.Changes == nil {
			t.Plan.Changes = []cluster.Change{}
		}
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(out)
}

func offlinePlan(ctx context.Context, f planFlags) (*plan.Output, error) {
	// The process ends before its garbage would matter.
	debug.SetGCPercent(400)
	renderer := manifest.New(manifest.Limits{})
	defer renderer.Close()
	renderer.Warm(ctx)
	repo, err := git.Open(ctx, f.repo, git.Options{})
	if err != nil {
		return nil, err
	}
	defer repo.Close()
	in, err := planInput(ctx, repo, f)
	if err != nil {
		return nil, err
	}
	p := plan.Planner{Renderer: renderer, Clusters: clusterFinder(f), Ahead: true}
	if f.config != "" {
		server, err := readServer(f.config)
		if err != nil {
			return nil, err
		}
		p.MaxDeletes = server.MaxDeletes
		if in.Repository, err = operatorEntry(server, f.config, f.name); err != nil {
			return nil, fmt.Errorf("plan: %w", err)
		}
	}
	return p.Run(ctx, in)
}

// operatorEntry finds a repository in the operator's file by name, or the only one.
func operatorEntry(server *config.Server, file, name string) (*config.Repository, error) {
	if name == "" && len(server.Repositories) == 1 {
		return &server.Repositories[0], nil
	}
	var known []string
	for i, r := range server.Repositories {
		if strings.EqualFold(r.Name, name) {
			return &server.Repositories[i], nil
		}
		known = append(known, r.Name)
	}
	return nil, fmt.Errorf("%s does not say what this repository is allowed; give --name, one of %s", file, strings.Join(known, ", "))
}

// planInput resolves the refs, and merges them as the forge would.
func planInput(ctx context.Context, repo *git.Repo, f planFlags) (plan.Input, error) {
	in := plan.Input{Only: f.targets, Everything: f.everything}
	var base, head string
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { base, err = repo.ResolveCommit(gctx, f.base); return err })
	g.Go(func() (err error) { head, err = repo.ResolveCommit(gctx, f.head); return err })
	if err := g.Wait(); err != nil {
		return in, err
	}
	merge, conflicts, err := repo.MergeTree(ctx, base, head)
	if err != nil {
		return in, err
	}
	if len(conflicts) > 0 {
		return in, fmt.Errorf("plan: %s conflicts with %s in %v; merge or rebase first", f.head, f.base, conflicts)
	}
	baseTree, err := repo.TreeOf(ctx, base)
	if err != nil {
		return in, err
	}
	in.MergeRevision = head
	if in.Base, err = repo.Tree(ctx, baseTree); err != nil {
		return in, err
	}
	in.Merge, err = repo.Tree(ctx, merge)
	return in, err
}

// clusterFinder uses the context that has a cluster's name, or the one given.
func clusterFinder(f planFlags) func(string) (cluster.Cluster, error) {
	var mu sync.Mutex
	found := map[string]cluster.Cluster{}
	contexts := kube.Contexts(f.kubeconfig)
	return func(name string) (cluster.Cluster, error) {
		mu.Lock()
		defer mu.Unlock()
		use := f.context
		if use == "" && contexts[name] {
			use = name
		}
		if c, ok := found[use]; ok {
			return c, nil
		}
		c, err := kube.New(kube.Config{Name: name, Kubeconfig: f.kubeconfig, Context: use})
		if err != nil {
			return nil, err
		}
		found[use] = c
		return c, nil
	}
}

// repositoryFile reads .lockkeeper.yaml of a work tree.
func repositoryFile(dir string) (*config.File, error) {
	path := dir + "/" + config.RepoFile
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w (`lockkeeper init` writes one)", config.RepoFile, err)
	}
	return config.ParseFile(config.RepoFile, data)
}
