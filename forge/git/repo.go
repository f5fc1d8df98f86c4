package git

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"lockkeeper/forge/git/internal/check"
)

// Repo reads the objects of one repository. It is safe for concurrent use.
type Repo struct {
	git     binary
	dir     string // the Git directory that objects are read from and written to
	clone   string // the user's clone that revisions are looked up in; "" for a mirror
	alt     string // object directory of that clone
	scratch string // removed by Close; "" for a mirror
	partial bool   // contents of files are left out
	opts    Options
	objects *readers
	dirs    dirCache
	// damaged is set when an object that must exist could not be read.
	damaged atomic.Bool
}

// Open opens a clone on this machine (its work tree or its Git directory) for
// reading. The clone is not written to, and neither its configuration nor its
// hooks act: objects that lockkeeper makes (merge results) go to a temporary
// directory, which Close removes.
func Open(ctx context.Context, dir string, opts Options) (*Repo, error) {
	b, err := find(ctx, opts)
	if err != nil {
		return nil, err
	}
	at, err := locate(ctx, b, dir)
	if err != nil {
		return nil, err
	}
	scratch, err := os.MkdirTemp("", "lockkeeper-git-")
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	r := &Repo{git: b, dir: filepath.Join(scratch, "repo.git"), clone: at.dir, alt: at.objects, scratch: scratch, opts: opts}
	if err := r.prepare(ctx, at.format, at.shallow); err != nil {
		_ = os.RemoveAll(scratch)
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	r.objects = newReaders(b, r.dir, opts.maxBlob())
	return r, nil
}

// location is where a clone keeps what is read of it, and in which format.
type location struct{ dir, format, objects, shallow string }

// locate finds the Git directory of a work tree, a linked work tree, or a bare
// repository.
func locate(ctx context.Context, b binary, dir string) (location, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return location{}, err
	}
	if _, err := os.Stat(abs); err != nil {
		return location{}, fmt.Errorf("open repository: %w", err)
	}
	out, err := b.run(ctx, call{args: []string{
		"-C", abs, "rev-parse", "--path-format=absolute", "--absolute-git-dir", "--show-object-format", "--git-path", "objects", "--git-path", "shallow"}})
	if err != nil {
		return location{}, fmt.Errorf("%s is not a Git repository: %w", dir, err)
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(lines) != 4 {
		return location{}, fmt.Errorf("open %s: git described the repository in %d lines instead of 4; does its path hold a line break?", dir, len(lines))
	}
	return location{lines[0], lines[1], lines[2], lines[3]}, nil
}

// prepare makes the scratch repository, which borrows the clone's objects.
func (r *Repo) prepare(ctx context.Context, format, shallow string) error {
	if err := initBare(ctx, r.git, r.dir, format); err != nil {
		return err
	}
	// Quoted, because an unquoted path ends at its first line break and a
	// leading '#' or '"' would be read differently.
	quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(r.alt) + "\"\n"
	if err := os.WriteFile(filepath.Join(r.dir, "objects", "info", "alternates"), []byte(quoted), 0o600); err != nil {
		return err
	}
	grafts, err := os.ReadFile(shallow)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.dir, "shallow"), grafts, 0o600)
}

// initBare makes an empty repository without templates.
func initBare(ctx context.Context, b binary, dir, format string) error {
	_, err := b.run(ctx, call{args: []string{"init", "--quiet", "--bare", "--template=", "--object-format=" + format, dir}})
	if err != nil {
		return err
	}
	return os.MkdirAll(filepath.Join(dir, "objects", "info"), 0o700)
}

// Close ends the processes behind r and removes its temporary files.
func (r *Repo) Close() error {
	r.objects.close()
	if r.scratch == "" {
		return nil
	}
	return os.RemoveAll(r.scratch)
}

// run runs git on the repository.
func (r *Repo) run(ctx context.Context, args ...string) ([]byte, error) {
	return r.git.run(ctx, call{gitDir: r.dir, args: args})
}

// ResolveCommit returns the full hash of the commit that rev names: a full
// hash, or for a clone everything that git understands (HEAD, main, v1.2,
// 1a2b3c4, origin/main~2). An unknown one is ErrNoRevision.
func (r *Repo) ResolveCommit(ctx context.Context, rev string) (string, error) {
	if check.SHA(rev) == nil {
		return r.hashed(ctx, rev)
	}
	if err := check.Revision(rev); err != nil {
		return "", err
	}
	return r.revParse(ctx, r.clone, rev, rev)
}

// hashed checks that sha is a commit that is here; a tag is followed.
func (r *Repo) hashed(ctx context.Context, sha string) (string, error) {
	obj, err := r.objects.info(ctx, sha)
	switch {
	case errors.Is(err, errMissing):
		return "", fmt.Errorf("%w: %s", ErrNoRevision, sha)
	case err != nil:
		return "", fmt.Errorf("commit %s: %w", sha, r.noted(err))
	case obj.kind == "commit":
		return sha, nil
	case obj.kind == "tag":
		return r.revParse(ctx, r.dir, sha, sha)
	}
	return "", fmt.Errorf("%w: %s is a %s, not a commit", ErrNoRevision, sha, obj.kind)
}

// revParse asks git for the commit behind rev, which people know as name.
func (r *Repo) revParse(ctx context.Context, gitDir, rev, name string) (string, error) {
	out, err := r.git.run(ctx, call{gitDir: gitDir, args: []string{"rev-parse", "--verify", "--quiet", rev + "^{commit}"}})
	if code := exitCode(err); code == 1 || code == 128 {
		return "", fmt.Errorf("%w: %s", ErrNoRevision, name)
	}
	if err != nil {
		return "", fmt.Errorf("resolve %s: %w", name, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// TreeOf returns the hash of a commit's tree.
func (r *Repo) TreeOf(ctx context.Context, commit string) (string, error) {
	c, err := r.ReadCommit(ctx, commit)
	return c.Tree, err
}

// noted remembers that the repository turned out to be damaged.
func (r *Repo) noted(err error) error {
	if errors.Is(err, ErrCorrupt) {
		r.damaged.Store(true)
	}
	return err
}

// must reads an object that something we hold refers to, so that its absence
// is damage.
func (r *Repo) must(ctx context.Context, sha, kind string) (object, error) {
	obj, err := r.objects.contents(ctx, sha)
	if errors.Is(err, errMissing) {
		err = fmt.Errorf("%w: %s %s is missing", ErrCorrupt, kind, sha)
		if r.clone != "" {
			err = fmt.Errorf("%w; if it is a shallow or partial clone, fetch it in full (git fetch --unshallow, git fetch --refetch --no-filter)", err)
		}
	}
	if err != nil {
		return obj, r.noted(err)
	}
	if obj.kind != kind {
		// Somebody's crafted tree, which fetching again would not mend.
		return obj, fmt.Errorf("%w: %s is a %s, not a %s", ErrCorrupt, sha, obj.kind, kind)
	}
	return obj, nil
}

// dirCache keeps parsed tree objects by hash. They never change, and
// successive commits share most of them.
type dirCache struct {
	mu    sync.Mutex
	bySHA map[string]*directory
}

// maxDirs bounds the cache; a full one is emptied, which is rare and cheap.
const maxDirs = 20_000

func (c *dirCache) get(sha string) *directory {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bySHA[sha]
}

func (c *dirCache) put(sha string, d *directory) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bySHA == nil || len(c.bySHA) >= maxDirs {
		c.bySHA = map[string]*directory{}
	}
	c.bySHA[sha] = d
}

// directory returns the entries of a tree object.
func (r *Repo) directory(ctx context.Context, sha string) (*directory, error) {
	if d := r.dirs.get(sha); d != nil {
		return d, nil
	}
	obj, err := r.must(ctx, sha, "tree")
	if err != nil {
		return nil, err
	}
	d, err := parseTree(obj.data, len(sha)/2)
	if err != nil {
		return nil, fmt.Errorf("tree %s: %w", sha, err)
	}
	r.dirs.put(sha, d)
	return d, nil
}

// CheckBranch refuses what cannot be the name of a branch.
func CheckBranch(name string) error { return check.Ref("refs/heads/" + name) }
