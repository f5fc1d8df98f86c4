package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"lockkeeper/forge"
	"lockkeeper/forge/git/internal/check"
	"lockkeeper/forge/git/internal/shelf"
)

// ErrEdit means that an edit cannot be made to a tree.
var ErrEdit = errors.New("the edit cannot be made")

// Scratch makes an empty repository in a temporary directory, which Close
// removes. It is for a commit on top of one that FetchTip brings.
func Scratch(ctx context.Context, opts Options) (*Repo, error) {
	b, err := find(ctx, opts)
	if err != nil {
		return nil, err
	}
	scratch, err := os.MkdirTemp("", "lockkeeper-git-")
	if err != nil {
		return nil, fmt.Errorf("make a temporary repository: %w", onDisk(err))
	}
	r := &Repo{git: b, dir: filepath.Join(scratch, "repo.git"), scratch: scratch, partial: true, opts: opts}
	if err := initBare(ctx, b, r.dir, "sha1"); err != nil {
		_ = os.RemoveAll(scratch)
		return nil, fmt.Errorf("make a temporary repository: %w", onDisk(err))
	}
	r.objects = newReaders(b, r.dir, opts.maxBlob())
	return r, nil
}

// FetchTip brings one commit of a remote with its directories, without history,
// and without the contents of files where the remote can leave them out. auth is
// as for Mirror.Fetch; failures of the remote are *forge.Error.
func (r *Repo) FetchTip(ctx context.Context, url, auth, sha string) error {
	if err := errors.Join(check.URL(url, r.opts.AllowFile), check.Auth(auth), check.SHA(sha)); err != nil {
		return err
	}
	_, err := r.git.run(ctx, call{gitDir: r.dir, auth: auth, files: r.opts.AllowFile, args: []string{
		"fetch", "--quiet", "--depth=1", "--filter=blob:none", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", url, sha}})
	if err != nil {
		return remoteError(fmt.Sprintf("fetch %s of %s", sha, url), err)
	}
	return nil
}

// RemoteTip is the commit that a ref (a full name) of the remote stands at, ""
// if there is no such ref.
func (r *Repo) RemoteTip(ctx context.Context, url, auth, ref string) (string, error) {
	if err := errors.Join(check.URL(url, r.opts.AllowFile), check.Auth(auth), check.Ref(ref)); err != nil {
		return "", err
	}
	out, err := r.git.run(ctx, call{gitDir: r.dir, auth: auth, files: r.opts.AllowFile, args: []string{"ls-remote", "--quiet", url, ref}})
	if err != nil {
		return "", remoteError(fmt.Sprintf("look up %s of %s", ref, url), err)
	}
	for line := range strings.Lines(string(out)) {
		// A name is matched at its end too: refs/x/refs/heads/main.
		if sha, name, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok && name == ref {
			return sha, check.SHA(sha)
		}
	}
	return "", nil
}

// WriteFiles applies edits, by path, to the tree of a commit and returns the new
// tree. Every file gets the mode that its edit says. What cannot be done, such
// as the deletion of a file that is not there, is ErrEdit.
func (r *Repo) WriteFiles(ctx context.Context, base string, edits map[string]forge.FileEdit) (string, error) {
	if err := check.SHA(base); err != nil {
		return "", err
	}
	x, err := r.index(ctx, base)
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(x.dir)
	if err := x.apply(edits); err != nil {
		return "", err
	}
	out, err := x.run(nil, "write-tree", "--missing-ok")
	return strings.TrimSpace(string(out)), err
}

// index is a list of a tree's files that is being changed.
type index struct {
	repo *Repo
	ctx  context.Context
	dir  string // of its own
}

// index lists the files of a tree. It stands beside the repository: what a killed
// process leaves of it in a cache, the next OpenCache removes.
func (r *Repo) index(ctx context.Context, tree string) (index, error) {
	dir, err := os.MkdirTemp(filepath.Dir(r.dir), shelf.Gone)
	if err != nil {
		return index{}, onDisk(err)
	}
	x := index{r, ctx, dir}
	if _, err = x.run(nil, "read-tree", tree); err != nil {
		_ = os.RemoveAll(dir)
	}
	return x, err
}

func (x index) run(stdin []byte, args ...string) ([]byte, error) {
	env := []string{"GIT_INDEX_FILE=" + filepath.Join(x.dir, "index")}
	return x.repo.git.run(x.ctx, call{gitDir: x.repo.dir, env: env, stdin: bytes.NewReader(stdin), args: args})
}

// apply makes the deletions first: a file may take the place of a directory.
func (x index) apply(edits map[string]forge.FileEdit) error {
	want, err := x.files()
	if err != nil {
		return err
	}
	var gone, written bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(edits)) {
		e := edits[name]
		switch {
		case !fs.ValidPath(name) || name == "." || strings.ContainsRune(name, 0):
			return fmt.Errorf("%w: %q is not the path of a file", ErrEdit, name)
		case e.Delete && !want[name]:
			return fmt.Errorf("%w: %s is to be deleted, and is not there", ErrEdit, name)
		case e.Delete:
			delete(want, name)
			fmt.Fprintf(&gone, "0 %s\t%s\x00", strings.Repeat("0", 40), name)
		default:
			want[name] = true
			out, err := x.run(e.Content, "hash-object", "-w", "--stdin", "--no-filters")
			if err != nil {
				return fmt.Errorf("store %s: %w", name, err)
			}
			mode := e.Mode
			if mode == "" {
				mode = forge.RegularFile
			}
			fmt.Fprintf(&written, "%s %s\t%s\x00", mode, strings.TrimSpace(string(out)), name)
		}
	}
	for _, lines := range [][]byte{gone.Bytes(), written.Bytes()} {
		if _, err := x.run(lines, "update-index", "-z", "--index-info"); errors.Is(err, ErrNoRoom) || errors.Is(err, ErrReadOnly) || exitCode(err) < 0 && err != nil {
			return err
		} else if err != nil {
			return fmt.Errorf("%w: %w", ErrEdit, err)
		}
	}
	return x.check(want)
}

// check sees that every edit took, and nothing else changed: git skips names that
// it finds unsafe, such as .git/config, and drops a file that is in the way of a
// directory, or the other way round, without a word.
func (x index) check(want map[string]bool) error {
	got, err := x.files()
	if err != nil {
		return err
	}
	for name := range want {
		if !got[name] {
			return fmt.Errorf("%w: git does not accept the path %s, or another path is in its way", ErrEdit, name)
		}
	}
	return nil
}

// files lists the paths.
func (x index) files() (map[string]bool, error) {
	out, err := x.run(nil, "ls-files", "--cached", "-z")
	if err != nil {
		return nil, err
	}
	there := map[string]bool{}
	for name := range strings.SplitSeq(string(out), "\x00") {
		there[name] = name != ""
	}
	delete(there, "")
	return there, nil
}
