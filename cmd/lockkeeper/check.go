package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"lockkeeper/bot/config"
	"lockkeeper/bot/policy"
	"lockkeeper/bot/policy/lint"
	"lockkeeper/bot/policy/match"
	"lockkeeper/cluster"
	"lockkeeper/cluster/manifest"
)

func check(ctx context.Context, c *call) error {
	repo := c.flags.String("repo", "", "check .lockkeeper.yaml of this `DIR`ectory and render its targets; default: the current one unless --config is given")
	server := c.flags.String("config", "", "check this operator's `FILE`, and the repository against it")
	name := c.flags.String("name", "", "which `OWNER/NAME` of the operator's file this repository is; default: the only one")
	schema := c.flags.String("schema", "", "print the JSON Schema of a file instead: `repository|server`")
	if err := c.parse(); err != nil {
		return err
	}
	if *schema != "" {
		b, err := config.Schema(*schema)
		if err == nil {
			_, err = c.stdout.Write(b)
		}
		return err
	}
	if *repo == "" && *server == "" {
		*repo = "."
	}
	k := checked{}
	if *server != "" {
		s, err := readServer(*server)
		k.problems = append(k.problems, lines(err)...)
		if err == nil {
			k.server = s
		}
		if err == nil && *repo != "" {
			if k.operator, err = operatorEntry(s, *server, *name); err != nil {
				return fmt.Errorf("check: %w", err)
			}
		}
	}
	if *repo != "" {
		if err := k.repository(ctx, *repo); err != nil {
			return err
		}
	}
	for _, p := range k.problems {
		fmt.Fprintln(c.stdout, p)
	}
	if n := len(k.problems); n > 0 {
		return exitError{1, "lockkeeper: " + countProblems(n)}
	}
	k.policy(c.stdout)
	fmt.Fprintln(c.stdout, "ok")
	return nil
}

// checked is what was read, and what is wrong with it.
type checked struct {
	server   *config.Server
	operator *config.Repository
	file     *config.File
	targets  []cluster.Target
	problems []string
}

func countProblems(n int) string {
	if n == 1 {
		return "1 problem"
	}
	return fmt.Sprintf("%d problems", n)
}

// repository validates the file and renders every target: all problems, with
// file and line.
func (k *checked) repository(ctx context.Context, dir string) error {
	f, err := repositoryFile(dir)
	if err != nil {
		k.problems = append(k.problems, lines(err)...)
		return nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("check %s: %w", dir, err)
	}
	defer root.Close()
	tree := root.FS()
	targets, found := f.Resolve(tree, k.operator)
	if len(found) > 0 {
		k.problems = append(k.problems, lines(found)...)
	}
	renderer := manifest.New(manifest.Limits{})
	defer renderer.Close()
	for _, t := range targets {
		if _, err := renderer.Render(ctx, tree, t.Path); err != nil {
			k.problems = append(k.problems, lines(err)...)
		}
	}
	k.file, k.targets = f, targets
	return ctx.Err()
}

// policy prints what holds for which targets, and what in it can hardly be
// meant.
func (k *checked) policy(w io.Writer) {
	if k.file == nil && (k.server == nil || k.server.Floors.Empty()) {
		return
	}
	p := config.Compile(k.file, k.server)
	var known lint.Known
	byLines := map[string][]string{} // targets, by what holds for them
	for _, t := range k.targets {
		known.Environments = append(known.Environments, t.Environment)
		known.Targets = append(known.Targets, t.Name)
		known.Clusters = append(known.Clusters, t.Cluster)
		holds := effective(p, t)
		byLines[holds] = append(byLines[holds], t.Name)
	}
	for _, holds := range slices.SortedFunc(maps.Keys(byLines), func(a, b string) int { return slices.Compare(byLines[a], byLines[b]) }) {
		fmt.Fprintf(w, "%s %s", strings.Join(byLines[holds], ", "), holds)
	}
	for _, list := range []*[]string{&known.Environments, &known.Targets, &known.Clusters} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	// Floors are for all repositories, and may name what this one does not have.
	warnings := lint.Warnings(config.Compile(k.file, nil), known)
	if k.server != nil {
		warnings = append(warnings, lint.Warnings(config.Compile(nil, k.server), lint.Known{})...)
	}
	for _, warning := range warnings {
		fmt.Fprintf(w, "warning: %s\n", visible(warning.String()))
	}
}

// effective says what holds for a target.
func effective(p policy.Policy, t cluster.Target) string {
	var b strings.Builder
	fmt.Fprintf(&b, "(environment %s):\n", visible(t.Environment))
	for _, line := range lint.Describe(rulesFor(p, t), t.Environment) {
		fmt.Fprintf(&b, "  %s\n", visible(strings.TrimPrefix(line, t.Environment+": ")))
	}
	return b.String()
}

// rulesFor leaves the rules that can select changes of a target.
func rulesFor(p policy.Policy, t cluster.Target) policy.Policy {
	p.Rules = slices.DeleteFunc(slices.Clone(p.Rules), func(r policy.Rule) bool {
		return len(r.When.Targets) > 0 && !match.Globs(r.When.Targets, t.Name) ||
			len(r.When.Clusters) > 0 && !match.Globs(r.When.Clusters, t.Cluster)
	})
	return p
}

// lines are the problems in an error, a line each.
func lines(err error) []string {
	var ps config.Problems
	var es *manifest.Errors
	switch {
	case err == nil:
		return nil
	case errors.As(err, &ps):
		out := make([]string, len(ps))
		for i, p := range ps {
			out[i] = p.String()
		}
		return out
	case errors.As(err, &es):
		out := make([]string, len(es.Problems))
		for i, p := range es.Problems {
			out[i] = p.String()
		}
		return out
	}
	return []string{err.Error()}
}
