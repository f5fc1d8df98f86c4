package git

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"lockkeeper/forge"
	"lockkeeper/forge/git/internal/check"
	"lockkeeper/forge/git/internal/said"
	"lockkeeper/forge/git/internal/shelf"
)

// shortHash makes any string a file or ref name.
func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:20])
}

// Mirror is a bare repository that holds what was fetched from one remote:
// the bases and open heads that were asked for, whole, and no tags. Its refs
// are its own, named by hash, so that no remote name can clash with another.
type Mirror struct {
	*Repo
	cache *Cache
	name  string        // of its directory in the cache
	turn  chan struct{} // held by the one fetch at a time
}

// Fetch makes every wanted revision present and returns the commits they
// stand for, in the same order. A want is a full ref of the remote
// (refs/heads/main, refs/pull/7/head), which is always asked for, or a full
// commit hash, which is fetched only if it is missing. auth is the value of
// an Authorization header or "".
//
// Failures of the remote are *forge.Error. A mirror found damaged is thrown
// away and fetched again; for one that has no room on the disk, mirrors that are
// not in use are thrown away.
func (m *Mirror) Fetch(ctx context.Context, url, auth string, wants ...string) ([]string, error) {
	if err := checkFetch(url, auth, m.opts.AllowFile, wants); err != nil {
		return nil, err
	}
	release := m.cache.shelf.Hold(m.name)
	defer release()
	if shas, ok := m.present(ctx, wants); ok {
		return shas, nil
	}
	select {
	case m.turn <- struct{}{}:
		defer func() { <-m.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("fetch %s: %w", url, context.Cause(ctx))
	}
	if shas, ok := m.present(ctx, wants); ok {
		return shas, nil
	}
	err := m.fetchWhole(ctx, url, auth, wants)
	if errors.Is(err, ErrNoRoom) && m.cache.makeRoom() {
		err = m.fetchWhole(ctx, url, auth, wants)
	}
	if err != nil {
		return nil, err
	}
	if err := m.cache.grown(m.name); err != nil {
		return nil, fmt.Errorf("fetch %s: %w", url, err)
	}
	return m.tips(ctx, wants)
}

// fetchWhole fetches into a mirror that is whole before and after.
func (m *Mirror) fetchWhole(ctx context.Context, url, auth string, wants []string) error {
	if err := m.ready(ctx); err != nil {
		return fmt.Errorf("fetch %s: %w", url, onDisk(err))
	}
	err := m.fetch(ctx, url, auth, wants)
	if errors.Is(err, ErrNoRoom) || errors.Is(err, ErrReadOnly) {
		return err
	}
	if err != nil && ctx.Err() == nil && forge.CodeOf(err) == "" && !m.healthy(ctx) {
		if err := m.reset(ctx); err != nil {
			return fmt.Errorf("fetch %s: %w", url, onDisk(err))
		}
		err = m.fetch(ctx, url, auth, wants)
	}
	if err != nil {
		return err
	}
	if err := m.tidy(ctx); err != nil {
		return fmt.Errorf("fetch %s: %w", url, onDisk(err))
	}
	return nil
}

func checkFetch(url, auth string, files bool, wants []string) error {
	if err := check.URL(url, files); err != nil {
		return err
	}
	if err := check.Auth(auth); err != nil {
		return err
	}
	for _, want := range wants {
		if check.SHA(want) != nil && check.Ref(want) != nil {
			return fmt.Errorf("fetch %s: %q is neither a full ref name nor a full commit hash", url, want)
		}
	}
	return nil
}

// present tells whether the network can be spared: only hashes are wanted,
// and all of them are here in a mirror that never disappointed.
func (m *Mirror) present(ctx context.Context, wants []string) ([]string, bool) {
	if m.damaged.Load() {
		return nil, false
	}
	for _, want := range wants {
		if check.SHA(want) != nil {
			return nil, false
		}
	}
	if _, err := os.Stat(filepath.Join(m.dir, "HEAD")); err != nil {
		return nil, false
	}
	for _, want := range wants {
		if _, err := m.hashed(ctx, want); err != nil {
			return nil, false
		}
	}
	return wants, true
}

// ready makes the mirror exist and sound enough to be fetched into.
func (m *Mirror) ready(ctx context.Context) error {
	_, err := os.Stat(filepath.Join(m.dir, "HEAD"))
	if m.damaged.Load() || errors.Is(err, fs.ErrNotExist) {
		return m.reset(ctx)
	}
	if err != nil {
		return err
	}
	// What a killed fetch has left behind.
	left, err := filepath.Glob(filepath.Join(m.dir, "objects", "pack", "tmp_*"))
	if err != nil {
		return err
	}
	for _, name := range left {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// reset replaces the mirror by an empty one.
func (m *Mirror) reset(ctx context.Context) error {
	old, err := os.MkdirTemp(filepath.Dir(m.dir), shelf.Gone)
	if err != nil {
		return err
	}
	defer os.RemoveAll(old)
	if err := os.Rename(m.dir, filepath.Join(old, "repo")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	fresh := filepath.Join(old, "fresh")
	if err := initBare(ctx, m.git, fresh, "sha1"); err != nil {
		return err
	}
	if err := os.Rename(fresh, m.dir); err != nil {
		return err
	}
	m.objects.close()
	m.damaged.Store(false)
	return nil
}

// healthy checks every object and looks for locks that nobody holds any more.
func (m *Mirror) healthy(ctx context.Context) bool {
	locked := false
	err := filepath.WalkDir(m.dir, func(name string, _ fs.DirEntry, err error) error {
		locked = locked || strings.HasSuffix(name, ".lock")
		return err
	})
	if err != nil || locked {
		return false
	}
	_, err = m.run(ctx, "fsck", "--full", "--no-dangling", "--no-progress")
	return err == nil || ctx.Err() != nil
}

// private is the mirror's own ref for something wanted.
func private(want string) string { return "refs/lockkeeper/" + shortHash(want) }

// fetch asks the remote for all wants at once.
func (m *Mirror) fetch(ctx context.Context, url, auth string, wants []string) error {
	args := []string{"fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--stdin", url}
	var specs strings.Builder
	for _, want := range wants {
		fmt.Fprintf(&specs, "+%s:%s\n", want, private(want))
	}
	_, err := m.git.run(ctx, call{
		gitDir: m.dir, args: args, stdin: strings.NewReader(specs.String()), auth: auth, files: m.opts.AllowFile,
	})
	if err != nil {
		return remoteError("fetch "+url, err)
	}
	return nil
}

// tips returns the commits that the wants stand for after a fetch.
func (m *Mirror) tips(ctx context.Context, wants []string) ([]string, error) {
	args := []string{"for-each-ref", "--format=%(refname) %(objectname) %(*objectname)"}
	for _, want := range wants {
		args = append(args, private(want))
	}
	out, err := m.run(ctx, args...)
	if err != nil {
		return nil, err
	}
	tip := map[string]string{}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		tip[fields[0]] = fields[len(fields)-1] // what a tag points to, if it is one
	}
	shas := make([]string, len(wants))
	for i, want := range wants {
		if shas[i] = tip[private(want)]; shas[i] == "" {
			return nil, fmt.Errorf("%w: %s was fetched but is not here", ErrCorrupt, want)
		}
	}
	return shas, nil
}

// ResolveCommit returns the commit that a full hash, or a ref fetched before,
// stands for here. An unknown one is ErrNoRevision.
func (m *Mirror) ResolveCommit(ctx context.Context, rev string) (string, error) {
	if _, err := os.Stat(filepath.Join(m.dir, "HEAD")); err != nil {
		return "", fmt.Errorf("%w: %s (nothing was fetched yet)", ErrNoRevision, rev)
	}
	if check.SHA(rev) == nil {
		return m.hashed(ctx, rev)
	}
	if err := check.Ref(rev); err != nil {
		return "", err
	}
	return m.revParse(ctx, m.dir, private(rev), rev)
}

// maxPacks is how many packs, each the result of one fetch, may gather.
const maxPacks = 50

// tidy joins packs when there are many. It keeps unreachable objects: an
// operation under way may still need a head that was force-pushed away.
func (m *Mirror) tidy(ctx context.Context) error {
	packs, err := filepath.Glob(filepath.Join(m.dir, "objects", "pack", "*.pack"))
	if err != nil || len(packs) <= maxPacks {
		return err
	}
	if _, err := m.run(ctx, "repack", "-a", "-d", "-k", "-q"); err != nil {
		return err
	}
	_, err = m.run(ctx, "pack-refs", "--all")
	return err
}

// remoteError makes a failure that the remote caused a *forge.Error.
func remoteError(op string, err error) error {
	var f *failure
	if errors.As(err, &f) && !errors.Is(err, ErrNoRoom) && !errors.Is(err, ErrReadOnly) {
		if code, status, known := said.OfRemote(f.stderr); known {
			return &forge.Error{Op: op, Code: code, Status: status, Message: f.stderr, Err: err}
		}
	}
	return fmt.Errorf("%s: %w", op, err)
}
