package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"lockkeeper/bot/config"
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
	var problems []string
	var operator *config.Repository
	if *server != "" {
		s, err := readServer(*server)
		problems = append(problems, lines(err)...)
		if err == nil && *repo != "" {
			if operator, err = operatorEntry(s, *server, *name); err != nil {
				return fmt.Errorf("check: %w", err)
			}
		}
	}
	if *repo != "" {
		found, err := checkRepository(ctx, *repo, operator)
		if err != nil {
			return err
		}
		problems = append(problems, found...)
	}
	for _, p := range problems {
		fmt.Fprintln(c.stdout, p)
	}
	if n := len(problems); n > 0 {
		return exitError{1, "lockkeeper: " + countProblems(n)}
	}
	fmt.Fprintln(c.stdout, "ok")
	return nil
}

func countProblems(n int) string {
	if n == 1 {
		return "1 problem"
	}
	return fmt.Sprintf("%d problems", n)
}

// checkRepository validates the file and renders every target: all problems,
// with file and line.
func checkRepository(ctx context.Context, dir string, operator *config.Repository) ([]string, error) {
	f, err := repositoryFile(dir)
	if err != nil {
		return lines(err), nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("check %s: %w", dir, err)
	}
	defer root.Close()
	tree := root.FS()
	targets, found := f.Resolve(tree, operator)
	var problems []string
	if len(found) > 0 {
		problems = lines(found)
	}
	renderer := manifest.New(manifest.Limits{})
	defer renderer.Close()
	for _, t := range targets {
		if _, err := renderer.Render(ctx, tree, t.Path); err != nil {
			problems = append(problems, lines(err)...)
		}
	}
	return problems, ctx.Err()
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
