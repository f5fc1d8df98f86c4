package git

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"lockkeeper/forge/git/internal/check"
)

// entry is one line of a tree object.
type entry struct {
	name string
	mode uint32 // Git's, e.g. 0o100644
	sha  string
}

// Git's object modes, of which the upper four bits tell the type.
const (
	typeMask    = 0o170000
	typeDir     = 0o040000
	typeLink    = 0o120000
	typeGitlink = 0o160000
)

func (e entry) kind() uint32 { return e.mode & typeMask }

// fileMode translates Git's mode. A submodule is irregular: neither a file
// nor a directory that could be read.
func (e entry) fileMode() fs.FileMode {
	switch e.kind() {
	case typeDir:
		return fs.ModeDir | 0o755
	case typeLink:
		return fs.ModeSymlink | 0o777
	case typeGitlink:
		return fs.ModeIrregular
	}
	if e.mode&0o100 != 0 {
		return 0o755
	}
	return 0o644
}

// directory is a parsed tree object.
type directory struct {
	entries []entry // sorted by name
	byName  map[string]entry
}

// parseTree reads "mode SP name NUL hash" until the end and refuses names
// that no checkout would accept (threat 4).
func parseTree(data []byte, hashSize int) (*directory, error) {
	d := &directory{byName: map[string]entry{}}
	for len(data) > 0 {
		head, rest, ok := bytes.Cut(data, []byte{0})
		if !ok || len(rest) < hashSize {
			return nil, fmt.Errorf("%w: malformed tree object", ErrCorrupt)
		}
		octal, name, _ := strings.Cut(string(head), " ")
		mode, err := strconv.ParseUint(octal, 8, 32)
		if err != nil {
			return nil, fmt.Errorf("%w: malformed mode %q in tree object", ErrCorrupt, octal)
		}
		if name == "" || name == "." || name == ".." || strings.Contains(name, "/") {
			return nil, fmt.Errorf("tree object holds the forbidden name %q", name)
		}
		if _, twice := d.byName[name]; twice {
			return nil, fmt.Errorf("tree object holds the name %q twice", name)
		}
		e := entry{name: name, mode: uint32(mode), sha: hex.EncodeToString(rest[:hashSize])}
		d.byName[name] = e
		d.entries = append(d.entries, e)
		data = rest[hashSize:]
	}
	slices.SortFunc(d.entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return d, nil
}

// Tree is the content of a commit, a merge result or any other tree object,
// as a file system. Symbolic links are followed inside the tree; one that
// leaves it is an error (ErrOutsideTree). A missing path is fs.ErrNotExist,
// a file over the size limit ErrTooLarge, a submodule ErrSubmodule.
//
// It implements fs.ReadFileFS, fs.ReadDirFS, fs.StatFS and fs.ReadLinkFS, and
// is safe for concurrent use.
type Tree struct {
	ctx  context.Context
	repo *Repo
	root entry
}

// Tree returns the tree object of that hash as a file system. Reads from it
// stop when ctx ends.
func (r *Repo) Tree(ctx context.Context, sha string) (*Tree, error) {
	if err := check.SHA(sha); err != nil {
		return nil, err
	}
	if _, err := r.directory(ctx, sha); err != nil {
		return nil, err
	}
	return &Tree{ctx: ctx, repo: r, root: entry{name: ".", mode: typeDir, sha: sha}}, nil
}

// SHA is the hash of the tree object.
func (t *Tree) SHA() string { return t.root.sha }

// Hash returns the hash of the object that name leads to, links followed.
// Files with the same hash have the same content; directories with the same
// hash have the same entries throughout. ok is false where nothing can be read.
func (t *Tree) Hash(name string) (sha string, ok bool) {
	e, err := t.find("hash", name, true)
	if err != nil || e.kind() == typeGitlink {
		return "", false
	}
	return e.sha, true
}

// ReadFile returns the content of a file.
func (t *Tree) ReadFile(name string) ([]byte, error) {
	e, err := t.find("read", name, true)
	if err != nil {
		return nil, err
	}
	data, err := t.blob(e)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return data, nil
}

// maxAtOnce is how many files are asked for at once: few enough for the
// questions to fit into the smallest pipe.
const maxAtOnce = 48

// ReadFiles returns the contents of several files, faster than ReadFile one
// after the other. An error is about any of them: ReadFile tells which.
func (t *Tree) ReadFiles(names []string) ([][]byte, error) {
	out := make([][]byte, 0, len(names))
	for some := range slices.Chunk(names, maxAtOnce) {
		shas := make([]string, len(some))
		for i, name := range some {
			e, err := t.find("read", name, true)
			if err != nil {
				return nil, err
			}
			if e.kind() == typeDir || e.kind() == typeGitlink {
				return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrInvalid}
			}
			shas[i] = e.sha
		}
		objs, err := t.repo.objects.all(t.ctx, shas)
		if err != nil {
			return nil, fmt.Errorf("read files: %w", err)
		}
		for i, obj := range objs {
			if obj.kind != "blob" {
				return nil, &fs.PathError{Op: "read", Path: some[i], Err: fs.ErrInvalid}
			}
			out = append(out, obj.data)
		}
	}
	return out, nil
}

// blob reads a regular file's content.
func (t *Tree) blob(e entry) ([]byte, error) {
	switch e.kind() {
	case typeDir:
		return nil, errors.New("is a directory")
	case typeGitlink:
		return nil, ErrSubmodule
	}
	obj, err := t.repo.must(t.ctx, e.sha, "blob")
	return obj.data, err
}

// ReadDir lists a directory, sorted by name. Links are listed as links.
func (t *Tree) ReadDir(name string) ([]fs.DirEntry, error) {
	e, err := t.find("readdir", name, true)
	if err != nil {
		return nil, err
	}
	list, err := t.list(e)
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	return list, nil
}

func (t *Tree) list(e entry) ([]fs.DirEntry, error) {
	switch e.kind() {
	case typeGitlink:
		return nil, ErrSubmodule
	case typeDir:
	default:
		return nil, errors.New("not a directory")
	}
	d, err := t.repo.directory(t.ctx, e.sha)
	if err != nil {
		return nil, err
	}
	list := make([]fs.DirEntry, len(d.entries))
	for i, e := range d.entries {
		list[i] = dirEntry{t, e}
	}
	return list, nil
}

// Stat describes what name leads to, links followed.
func (t *Tree) Stat(name string) (fs.FileInfo, error) { return t.stat("stat", name, true) }

// Lstat describes name itself, which may be a link.
func (t *Tree) Lstat(name string) (fs.FileInfo, error) { return t.stat("lstat", name, false) }

func (t *Tree) stat(op, name string, follow bool) (fs.FileInfo, error) {
	e, err := t.find(op, name, follow)
	if err != nil {
		return nil, err
	}
	e.name = path.Base(name)
	info, err := t.info(e)
	if err != nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: err}
	}
	return info, nil
}

// ReadLink returns where a symbolic link points, as written in it.
func (t *Tree) ReadLink(name string) (string, error) {
	e, err := t.find("readlink", name, false)
	if err != nil {
		return "", err
	}
	if e.kind() != typeLink {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	target, err := t.target(e)
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: err}
	}
	return target, nil
}

// Open opens a file or directory.
func (t *Tree) Open(name string) (fs.File, error) {
	e, err := t.find("open", name, true)
	if err != nil {
		return nil, err
	}
	f := &file{tree: t, entry: e, name: name}
	f.entry.name = path.Base(name)
	if e.kind() == typeDir {
		f.list, err = t.list(e)
	} else {
		var data []byte
		data, err = t.blob(e)
		f.content = bytes.NewReader(data)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return f, nil
}

// maxLinks is how many links one path may lead through, as on Linux.
const maxLinks = 40

// step is one element of a path still to be walked, and the link it came
// from, if any.
type step struct{ name, link, target string }

// find walks to name, through links. Without follow, a link at its very end
// is returned itself.
func (t *Tree) find(op, name string, follow bool) (entry, error) {
	fail := func(err error) (entry, error) {
		return entry{}, &fs.PathError{Op: op, Path: name, Err: err}
	}
	if !fs.ValidPath(name) {
		return fail(fs.ErrInvalid)
	}
	todo := steps(name, "", "")
	at := []entry{t.root} // the directories from the root to here
	for links := 0; len(todo) > 0; {
		s := todo[0]
		todo = todo[1:]
		if s.name == ".." {
			if len(at) == 1 {
				return fail(fmt.Errorf("%w: %q points to %q", ErrOutsideTree, s.link, s.target))
			}
			at = at[:len(at)-1]
			continue
		}
		e, err := t.child(at[len(at)-1], s.name)
		if err != nil {
			return fail(err)
		}
		switch {
		case e.kind() == typeDir:
			at = append(at, e)
		case e.kind() == typeLink && (follow || len(todo) > 0):
			if links++; links > maxLinks {
				return fail(fmt.Errorf("%w: at %q", ErrLinkCycle, join(at, e)))
			}
			more, err := t.through(at, e)
			if err != nil {
				return fail(err)
			}
			todo = append(more, todo...)
		case len(todo) == 0:
			return e, nil
		case e.kind() == typeGitlink:
			return fail(ErrSubmodule)
		default:
			return fail(fs.ErrNotExist) // nothing is below a file
		}
	}
	return at[len(at)-1], nil
}

// steps splits a path, dropping what leads nowhere.
func steps(p, link, target string) []step {
	var out []step
	for name := range strings.SplitSeq(p, "/") {
		if name != "" && name != "." {
			out = append(out, step{name, link, target})
		}
	}
	return out
}

func (t *Tree) child(dir entry, name string) (entry, error) {
	d, err := t.repo.directory(t.ctx, dir.sha)
	if err != nil {
		return entry{}, err
	}
	e, ok := d.byName[name]
	if !ok {
		return entry{}, fs.ErrNotExist
	}
	return e, nil
}

// through returns the steps that a link stands for.
func (t *Tree) through(at []entry, e entry) ([]step, error) {
	link := join(at, e)
	target, err := t.target(e)
	if err != nil {
		return nil, fmt.Errorf("link %q: %w", link, err)
	}
	if path.IsAbs(target) {
		return nil, fmt.Errorf("%w: %q points to %q", ErrOutsideTree, link, target)
	}
	return steps(target, link, target), nil
}

// join names an entry by its real path, for messages.
func join(at []entry, e entry) string {
	names := make([]string, 0, len(at))
	for _, dir := range at[1:] {
		names = append(names, dir.name)
	}
	return strings.Join(append(names, e.name), "/")
}

// maxTarget is the longest link target, as on Linux.
const maxTarget = 4096

func (t *Tree) target(e entry) (string, error) {
	obj, err := t.repo.must(t.ctx, e.sha, "blob")
	if err != nil {
		return "", err
	}
	if len(obj.data) == 0 || len(obj.data) > maxTarget || bytes.IndexByte(obj.data, 0) >= 0 {
		return "", fmt.Errorf("its target is not a path (%d bytes)", len(obj.data))
	}
	return string(obj.data), nil
}

// Object is what FileInfo.Sys returns: the Git object behind a path.
type Object struct {
	SHA  string
	Mode uint32 // Git's, e.g. 0o100644
}

// info describes an entry; only files and links have a size.
func (t *Tree) info(e entry) (fs.FileInfo, error) {
	i := fileInfo{entry: e}
	if e.kind() == typeDir || e.kind() == typeGitlink {
		return i, nil
	}
	obj, err := t.repo.objects.info(t.ctx, e.sha)
	if errors.Is(err, errMissing) {
		err = t.repo.noted(fmt.Errorf("%w: blob %s is missing", ErrCorrupt, e.sha))
	}
	i.size = obj.size
	return i, err
}

type fileInfo struct {
	entry entry
	size  int64
}

func (i fileInfo) Name() string       { return i.entry.name }
func (i fileInfo) Size() int64        { return i.size }
func (i fileInfo) Mode() fs.FileMode  { return i.entry.fileMode() }
func (i fileInfo) ModTime() time.Time { return time.Time{} } // trees have no times
func (i fileInfo) IsDir() bool        { return i.Mode().IsDir() }
func (i fileInfo) Sys() any           { return Object{SHA: i.entry.sha, Mode: i.entry.mode} }

type dirEntry struct {
	tree  *Tree
	entry entry
}

func (d dirEntry) Name() string               { return d.entry.name }
func (d dirEntry) IsDir() bool                { return d.entry.kind() == typeDir }
func (d dirEntry) Type() fs.FileMode          { return d.entry.fileMode().Type() }
func (d dirEntry) Info() (fs.FileInfo, error) { return d.tree.info(d.entry) }
func (d dirEntry) String() string             { return fs.FormatDirEntry(d) }

// file is an open file (with content) or directory (with a list).
type file struct {
	tree    *Tree
	entry   entry
	name    string
	content *bytes.Reader
	list    []fs.DirEntry
}

func (f *file) Stat() (fs.FileInfo, error) { return f.tree.info(f.entry) }
func (f *file) Close() error               { return nil }

func (f *file) Read(p []byte) (int, error) {
	if f.content == nil {
		return 0, &fs.PathError{Op: "read", Path: f.name, Err: errors.New("is a directory")}
	}
	return f.content.Read(p)
}

// ReadDir returns the next n entries, or all that are left when n <= 0.
func (f *file) ReadDir(n int) ([]fs.DirEntry, error) {
	if f.content != nil {
		return nil, &fs.PathError{Op: "readdir", Path: f.name, Err: errors.New("not a directory")}
	}
	if n > 0 && len(f.list) == 0 {
		return nil, io.EOF
	}
	if n <= 0 || n > len(f.list) {
		n = len(f.list)
	}
	out := f.list[:n]
	f.list = f.list[n:]
	return slices.Clone(out), nil
}
