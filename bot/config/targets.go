package config

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	"lockkeeper/cluster"
)

// Resolve works out the file's targets against a tree: globs become one target
// a directory, and each gets the fence of the allowance that permits it. What
// the operator does not allow, and directories that are not there, are
// problems; the other targets are returned all the same.
//
// r is the operator's entry; a nil r (offline use without a server file)
// permits everything but lockkeeper's own namespace.
func (f *File) Resolve(tree fs.FS, r *Repository) ([]cluster.Target, Problems) {
	var out []cluster.Target
	var problems Problems
	taken := map[string]bool{}
	for i, t := range f.Targets {
		dirs, err := t.directories(tree)
		if err != nil {
			problems = append(problems, f.problem(i, err))
		}
		for _, dir := range dirs {
			eff, err := t.effective(dir, r)
			if err == nil && taken[eff.Name] {
				err = fmt.Errorf("two targets are named %q", eff.Name)
			}
			if err != nil {
				problems = append(problems, f.problem(i, err))
				continue
			}
			taken[eff.Name] = true
			out = append(out, eff)
		}
	}
	slices.SortFunc(out, func(a, b cluster.Target) int { return strings.Compare(a.Name, b.Name) })
	return out, problems
}

// problem is what is wrong with one target, at its line.
func (f *File) problem(i int, err error) Problem {
	p := Problem{File: RepoFile, Message: fmt.Sprintf("targets[%d]: %v", i, err)}
	if i < len(f.lines) {
		p.Line = f.lines[i]
	}
	return p
}

func (t Target) directories(tree fs.FS) ([]string, error) {
	if !IsGlob(t.Path) {
		info, err := fs.Stat(tree, t.Path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("the directory %s does not exist", t.Path)
		case err != nil:
			return nil, err
		case !info.IsDir():
			return nil, fmt.Errorf("%s is a file; want a directory", t.Path)
		}
		return []string{t.Path}, nil
	}
	found, err := doublestar.Glob(tree, t.Path, doublestar.WithNoFollow())
	if err != nil {
		return nil, fmt.Errorf("the glob %s: %w", t.Path, err)
	}
	var dirs []string
	for _, p := range found {
		if info, err := fs.Stat(tree, p); err == nil && info.IsDir() {
			dirs = append(dirs, p)
		}
	}
	if len(dirs) == 0 {
		return nil, fmt.Errorf("no directory matches %s", t.Path)
	}
	return dirs, nil
}

func (t Target) effective(dir string, r *Repository) (cluster.Target, error) {
	eff := cluster.Target{
		Name: t.Name, Path: dir, Cluster: t.Cluster, Environment: t.Environment,
		Namespace: t.Namespace, Timeout: time.Duration(t.Timeout),
	}
	if eff.Name == "" {
		eff.Name = dir
	}
	if !validName(eff.Name) {
		return eff, fmt.Errorf("the directory %q makes no usable name (letters, digits, '.', '_', '-', '/'); give it a target with a name of its own", dir)
	}
	if r == nil {
		eff.Fence = cluster.Fence{Namespaces: []string{"*", "kube-*"}, ClusterKinds: []string{"*"}}
		return eff, nil
	}
	eff.RepoID = r.ID
	for _, a := range r.Allow {
		if a.permits(dir, t.Cluster, t.Environment) {
			eff.Fence = a.Fence()
			return eff, nil
		}
	}
	return eff, fmt.Errorf("the operator does not allow %s to use cluster %q as environment %q; ask for it in the server file (repositories[%s].allow)", dir, t.Cluster, t.Environment, r.Name)
}
