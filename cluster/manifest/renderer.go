package manifest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"lockkeeper/cluster"
	"lockkeeper/cluster/manifest/closure"
)

// Limits of one rendering. Zero values stand for the defaults.
type Limits struct {
	Timeout time.Duration // 30 s by default
	Memory  int64         // bytes that a child may use, 1 GiB by default
}

// Renderer renders targets in child processes, as many at a time as there are
// processors, and remembers results by their closure. It is safe for
// concurrent use. Programs that use it call Child first thing in main.
type Renderer struct {
	limits  Limits
	cache   *cache
	decoded decoded
	slots   chan struct{}

	mu     sync.Mutex
	idle   []*child
	coming []chan *child // those that Warm starts and nobody has used
	closed bool
}

// New returns a renderer. Close it to end its children.
func New(limits Limits) *Renderer {
	if limits.Timeout <= 0 {
		limits.Timeout = 30 * time.Second
	}
	if limits.Memory <= 0 {
		limits.Memory = 1 << 30
	}
	return &Renderer{limits: limits, cache: newCache(), slots: make(chan struct{}, runtime.GOMAXPROCS(0))}
}

// Warm starts children in the background, so that the first renderings need not
// wait for them. What goes wrong is for those to meet and to tell. It is for
// programs that render soon, and once.
func (r *Renderer) Warm(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for range cap(r.slots) {
		coming := make(chan *child, 1)
		r.coming = append(r.coming, coming)
		go func() {
			c, err := start(ctx, r.limits)
			if err != nil {
				c = nil
			}
			coming <- c
		}()
	}
}

// Close ends idle children. Renderings under way finish, and end theirs.
func (r *Renderer) Close() {
	r.mu.Lock()
	idle, coming := r.idle, r.coming
	r.idle, r.coming, r.closed = nil, nil, true
	r.mu.Unlock()
	for _, soon := range coming {
		if c := <-soon; c != nil {
			idle = append(idle, c)
		}
	}
	for _, c := range idle {
		c.kill()
	}
}

// Render renders the target in the directory dir of a tree. Where an earlier
// rendering of it depends on nothing that this tree answers differently, that
// is the result, and no child runs.
//
// Problems in the files are an *Errors. Other errors say that nothing is known
// about the target: ErrTimeout, ErrMemory, ErrContainment, what the tree
// returned, or ctx's.
func (r *Renderer) Render(ctx context.Context, fsys fs.FS, dir string) (*Rendering, error) {
	dir = path.Clean(dir)
	if !fs.ValidPath(dir) {
		return nil, fmt.Errorf("render %q: not a path in the repository", dir)
	}
	t := r.cache.tree(fsys)
	if hit := r.cache.find(t, dir); hit != nil {
		return hit.result()
	}
	kept, err := r.render(ctx, t, dir)
	if err != nil {
		return nil, fmt.Errorf("render %s: %w", dir, err)
	}
	r.cache.add(dir, kept)
	return kept.result()
}

// render renders the target at dir: with Kustomize if it has a kustomization
// file, else as plain files.
func (r *Renderer) render(ctx context.Context, t *closure.Tree, dir string) (*remembered, error) {
	rec := closure.NewRecorder(t)
	at, err := rec.Ask(closure.Stat, dir)
	if err != nil {
		return nil, err
	}
	switch at.Kind {
	case closure.Missing:
		return absent(rec, dir, "there is no such directory"), nil
	case closure.Folder:
	default:
		return absent(rec, dir, "is not a directory"), nil
	}
	list, err := rec.Ask(closure.List, dir)
	if err != nil {
		return nil, err
	}
	if KustomizationFile(list.Entries) != "" {
		return r.build(ctx, rec, dir)
	}
	return r.plain(ctx, rec, dir, list.Entries)
}

// absent is the rendering of a target that is not there.
func absent(rec *closure.Recorder, dir, why string) *remembered {
	return &remembered{problems: &Errors{dir, []Problem{{Path: dir, Message: why}}}, closure: rec.Closure()}
}

// build has a child build a kustomization.
func (r *Renderer) build(ctx context.Context, rec *closure.Recorder, dir string) (*remembered, error) {
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c, err := r.child(ctx)
	if err != nil {
		return nil, err
	}
	results, spent, err := c.work(ctx, rec, order{Path: dir}, nil, r.limits.Timeout, r.limits)
	if err == nil && len(results) != 1 {
		err = errDied
	}
	if err != nil {
		c.kill()
		if rec.Err != nil {
			return nil, rec.Err
		}
		return nil, err
	}
	r.release(c, spent)
	if rec.Err != nil {
		return nil, rec.Err
	}
	return finish(dir, results[0], rec.Closure()), nil
}

// maxRenderings is how often a child is used: what Kustomize keeps for good
// must not add up.
const maxRenderings = 500

func (r *Renderer) child(ctx context.Context) (*child, error) {
	r.mu.Lock()
	if n := len(r.idle); n > 0 {
		c := r.idle[n-1]
		r.idle = r.idle[:n-1]
		r.mu.Unlock()
		return c, nil
	}
	var soon chan *child
	if n := len(r.coming); n > 0 {
		soon = r.coming[0]
		r.coming = r.coming[1:]
	}
	r.mu.Unlock()
	if soon != nil {
		if c := <-soon; c != nil {
			return c, nil
		}
	}
	return start(ctx, r.limits)
}

func (r *Renderer) release(c *child, spent bool) {
	c.used++
	r.mu.Lock()
	keep := !spent && !r.closed && c.used < maxRenderings
	if keep {
		r.idle = append(r.idle, c)
	}
	r.mu.Unlock()
	if !keep {
		c.kill()
	}
}

// remembered is a finished rendering, good or bad, with what it depends on.
type remembered struct {
	rendering *Rendering
	problems  *Errors
	closure   closure.Closure
}

func (m *remembered) result() (*Rendering, error) {
	if m.problems != nil {
		return nil, m.problems
	}
	return m.rendering, nil
}

// finish makes a rendering of what was found in a target.
func finish(dir string, found result, from closure.Closure) *remembered {
	if len(found.problems) > 0 {
		return &remembered{problems: &Errors{dir, found.problems}, closure: from}
	}
	r := &Rendering{Objects: make([]cluster.Object, len(found.objects)), Closure: from}
	sums := make([]string, len(found.objects))
	for i, p := range found.objects {
		r.Objects[i], sums[i] = p.object, hex.EncodeToString(p.sum[:])
	}
	slices.Sort(sums)
	all := sha256.Sum256([]byte(strings.Join(sums, "\n")))
	r.Digest = hex.EncodeToString(all[:])
	return &remembered{rendering: r, closure: from}
}

// refOf reads the ref of an object that the child has checked.
func refOf(content map[string]any) cluster.Ref {
	meta, _ := content["metadata"].(map[string]any)
	var ref cluster.Ref
	ref.Kind, _ = content["kind"].(string)
	ref.Name, _ = meta["name"].(string)
	ref.Namespace, _ = meta["namespace"].(string)
	api, _ := content["apiVersion"].(string)
	if group, _, cut := strings.Cut(api, "/"); cut {
		ref.Group = group
	}
	return ref
}
