package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"lockkeeper/bot/config"
	"lockkeeper/cluster/manifest/discover"
)

func initCommand(_ context.Context, c *call) error {
	dir := c.flags.String("repo", ".", "the repository, a `DIR`ectory")
	clusterName := c.flags.String("cluster", "", "the cluster's `NAME` for every target; default: the environment's name")
	force := c.flags.Bool("force", false, "overwrite a file that is there")
	if err := c.parse(); err != nil {
		return err
	}
	path := filepath.Join(*dir, config.RepoFile)
	if _, err := os.Stat(path); err == nil && !*force {
		return fmt.Errorf("init: %s is there already; --force overwrites it", path)
	}
	root, err := os.OpenRoot(*dir)
	if err != nil {
		return fmt.Errorf("init: %w", err)
	}
	defer root.Close()
	found, err := discover.Targets(root.FS())
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return errors.New("init: found no Kubernetes manifests here, plain or Kustomize")
	}
	text := repoFileText(found, *clusterName)
	if _, err := config.ParseFile(config.RepoFile, []byte(text)); err != nil {
		return fmt.Errorf("init: what was found makes no valid file: %w", err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	fmt.Fprintf(c.stdout, "wrote %s with %d targets; check the clusters and environments, then commit it\n", path, len(found))
	for _, f := range found {
		if f.Note != "" {
			fmt.Fprintf(c.stdout, "note: %s: %s\n", f.Path, f.Note)
		}
	}
	return nil
}

// repoFileText is .lockkeeper.yaml for what was found. A directory whose path
// names no environment goes to production, which asks for the most.
func repoFileText(found []discover.Found, clusterName string) string {
	var b strings.Builder
	b.WriteString("# What lockkeeper renders and applies; see `lockkeeper check`.\ntargets:\n")
	var environments []string
	seen := map[string]bool{}
	for _, f := range found {
		env := f.Environment
		if env == "" {
			env = "production"
		}
		if !seen[env] {
			seen[env] = true
			environments = append(environments, env)
		}
		cl := clusterName
		if cl == "" {
			cl = env
		}
		fmt.Fprintf(&b, "  - name: %s\n    path: %s\n    cluster: %s\n    environment: %s\n", f.Name, yamlString(f.Path), cl, env)
	}
	b.WriteString("\n# How many people who did not contribute have to approve.\nenvironments:\n")
	for _, env := range environments {
		fmt.Fprintf(&b, "  %s:\n    approvals:\n      required: 1\n", env)
	}
	return b.String()
}

// yamlString quotes a path where YAML would read it as something else.
func yamlString(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-/", r))
	}) || s == "." {
		return fmt.Sprintf("%q", s)
	}
	return s
}
