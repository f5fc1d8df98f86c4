package plan

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"

	"golang.org/x/sync/errgroup"

	"lockkeeper/bot/config"
	"lockkeeper/cluster"
	"lockkeeper/cluster/manifest"
	"lockkeeper/cluster/manifest/closure"
)

// Sources are what the targets of one tree are made from.
type Sources struct {
	targets []source
	// known is false where not every target could be found out.
	known bool
}

// source is one target: the paths that rendering it read or listed, unless it
// could not be rendered.
type source struct {
	target       cluster.Target
	read, listed map[string]bool
	digest       string
	broken       bool
}

// Sources renders all targets of a tree to see what they are made from. What
// is wrong with the tree is no error: nobody knows then what its files make,
// and Touched names too many targets rather than too few.
func (p *Planner) Sources(ctx context.Context, tree fs.FS, r *config.Repository) (*Sources, error) {
	_, targets, err := Load(tree, r)
	if err != nil && !isProblem(err) {
		return nil, err
	}
	out := &Sources{known: err == nil, targets: make([]source, len(targets))}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for i, t := range targets {
		g.Go(func() error {
			rendering, err := p.Renderer.Render(ctx, tree, t.Path)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			out.targets[i] = sourceOf(t, rendering, err)
			return nil
		})
	}
	return out, g.Wait()
}

func sourceOf(t cluster.Target, r *manifest.Rendering, err error) source {
	s := source{target: t, broken: err != nil, read: map[string]bool{}, listed: map[string]bool{}}
	if err != nil {
		return s
	}
	s.digest = r.Digest
	for _, a := range r.Closure {
		if a.Op == closure.List {
			s.listed[a.Path] = true
		} else {
			s.read[a.Path] = true
		}
	}
	return s
}

// Touched lists, sorted, the targets that any of the files may be part of:
// rendering read it, or listed a directory above it. config.RepoFile stands for
// targets that nobody could find out.
func (s *Sources) Touched(files ...string) []string {
	var out []string
	for _, t := range s.targets {
		if slices.ContainsFunc(files, t.reads) {
			out = append(out, t.target.Name)
		}
	}
	if !s.known && len(files) > 0 {
		out = append(out, config.RepoFile)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (s source) reads(file string) bool {
	if s.broken || s.read[file] {
		return true
	}
	for dir := path.Dir(file); ; dir = path.Dir(dir) {
		if s.listed[dir] {
			return true
		}
		if dir == "." || dir == "/" {
			return false
		}
	}
}

// Names lists the targets.
func (s *Sources) Names() []string {
	var out []string
	for _, t := range s.targets {
		out = append(out, t.target.Name)
	}
	return out
}

// Same reports whether a target is the same in both: rendered to the same
// objects for the same place. A target that is in neither is; one that cannot
// be rendered never is.
func (s *Sources) Same(o *Sources, name string) bool {
	a, b := s.find(name), o.find(name)
	if a == nil || b == nil {
		return a == b && s.known && o.known
	}
	x := pair{
		base:  side{target: a.target, exists: true, digest: a.digest},
		merge: side{target: b.target, exists: true, digest: b.digest},
	}
	if a.broken || b.broken {
		x.merge.problem = errors.New("cannot be rendered")
	}
	return a.target.Cluster == b.target.Cluster && !x.affected()
}

func (s *Sources) find(name string) *source {
	if i := slices.IndexFunc(s.targets, func(t source) bool { return t.target.Name == name }); i >= 0 {
		return &s.targets[i]
	}
	return nil
}
