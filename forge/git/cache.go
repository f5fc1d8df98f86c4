package git

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"lockkeeper/forge/git/internal/shelf"
)

// What keeps a mirror from being written. Both last until somebody does
// something about them, and nothing else needs to be done then.
var (
	// ErrNoRoom means that the disk is full.
	ErrNoRoom = errors.New("the disk with the Git mirrors is full: make room on it, or lower cacheLimit in the server file")
	// ErrReadOnly means that the disk must not be written to.
	ErrReadOnly = errors.New("the disk with the Git mirrors is read-only: mount it so that lockkeeper may write to the directory that the server file calls cache")
)

// Cache holds the mirrors of one bot in one directory. Everything in it can
// be deleted while the bot is down: it is fetched again. One process uses a
// directory at a time.
type Cache struct {
	git   binary
	dir   string
	opts  Options
	shelf *shelf.Shelf

	mu      sync.Mutex
	mirrors map[string]*Mirror // by the names of their directories
}

// suffix ends the names of mirrors' directories.
const suffix = ".git"

// OpenCache prepares dir, making it if necessary. A directory that another
// process has is refused.
func OpenCache(ctx context.Context, dir string, opts Options) (*Cache, error) {
	b, err := find(ctx, opts)
	if err != nil {
		return nil, err
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("mirror cache: %w", err)
	}
	s, err := shelf.Open(abs, suffix, opts.Limit)
	if err != nil {
		return nil, fmt.Errorf("mirror cache %s: %w", dir, onDisk(err))
	}
	return &Cache{git: b, dir: abs, opts: opts, shelf: s, mirrors: map[string]*Mirror{}}, nil
}

// Mirror returns the mirror of the repository that key identifies for good,
// such as forge and repository id; it does no work yet. With a context of Hold
// the mirror stays until that is released; without, it may have to be fetched
// again whenever another one is fetched.
func (c *Cache) Mirror(ctx context.Context, key string) *Mirror {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := shortHash(key) + suffix
	if h, ok := ctx.Value(holdKey{}).(*hold); ok {
		h.add(name, c.shelf)
	}
	if m := c.mirrors[name]; m != nil {
		return m
	}
	dir := filepath.Join(c.dir, name)
	m := &Mirror{
		Repo:  &Repo{git: c.git, dir: dir, opts: c.opts, objects: newReaders(c.git, dir, c.opts.maxBlob())},
		cache: c, name: name, turn: make(chan struct{}, 1),
	}
	c.mirrors[name] = m
	return m
}

type holdKey struct{}

// hold is what one piece of work uses.
type hold struct {
	mu      sync.Mutex
	release map[string]func()
}

func (h *hold) add(name string, s *shelf.Shelf) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.release[name] == nil {
		h.release[name] = s.Hold(name)
	}
}

// Hold returns a context for a piece of work: the mirrors that are asked for
// with it, or with one made from it, are in use until release is called.
func Hold(ctx context.Context) (held context.Context, release func()) {
	h := &hold{release: map[string]func(){}}
	return context.WithValue(ctx, holdKey{}, h), func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		for name, release := range h.release {
			release()
			delete(h.release, name)
		}
	}
}

// forget ends the processes that read a mirror which is about to go. What they
// would have said of its objects is no longer true.
func (c *Cache) forget(name string) {
	c.mu.Lock()
	m := c.mirrors[name]
	c.mu.Unlock()
	if m != nil {
		m.objects.close()
		m.damaged.Store(false)
	}
}

// grown keeps to the limit after a mirror was written to.
func (c *Cache) grown(name string) error { return c.shelf.Grown(name, c.forget) }

// makeRoom throws away what is not in use, and tells whether that was anything.
func (c *Cache) makeRoom() bool {
	some, err := c.shelf.Clear(c.forget)
	return some && err == nil
}

// Close ends the processes behind all mirrors and gives the directory up.
func (c *Cache) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.mirrors {
		_ = m.Close()
	}
	return c.shelf.Close()
}

// onDisk adds what is to be done about an error that is about the disk.
func onDisk(err error) error {
	var f *failure
	var ours []string
	if errors.As(err, &f) {
		ours = slices.DeleteFunc(strings.Split(f.stderr, "; "), func(line string) bool { return strings.HasPrefix(line, "remote:") })
	}
	says := func(no syscall.Errno, text string) bool {
		return errors.Is(err, no) || slices.ContainsFunc(ours, func(line string) bool { return strings.Contains(line, text) })
	}
	switch {
	case err == nil, errors.Is(err, ErrNoRoom), errors.Is(err, ErrReadOnly):
		return err
	case says(syscall.ENOSPC, "No space left on device"), says(syscall.EDQUOT, "Disk quota exceeded"), says(syscall.EFBIG, "File too large"):
		return fmt.Errorf("%w: %w", ErrNoRoom, err)
	case says(syscall.EROFS, "Read-only file system"):
		return fmt.Errorf("%w: %w", ErrReadOnly, err)
	}
	return err
}
