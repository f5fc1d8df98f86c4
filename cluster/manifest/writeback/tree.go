package writeback

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"lockkeeper/cluster/manifest/closure"
)

// Edit is the new content of one file, or its deletion.
type Edit struct {
	Content []byte
	Delete  bool
}

// edited is a tree with edits. A directory without files is not there, as in
// Git.
type edited struct {
	base  fs.FS
	ask   *closure.Tree // of base
	edits map[string]Edit
}

func newEdited(base fs.FS) *edited {
	return &edited{base: base, ask: closure.NewTree(base), edits: map[string]Edit{}}
}

// with is the tree with more edits. Those that change nothing are left out.
func (t *edited) with(edits map[string]Edit) *edited {
	out := &edited{base: t.base, ask: t.ask, edits: maps.Clone(t.edits)}
	for name, e := range edits {
		was, err := fs.ReadFile(t.base, name)
		if !e.Delete && err == nil && bytes.Equal(was, e.Content) {
			delete(out.edits, name)
			continue
		}
		if e.Delete && err != nil {
			delete(out.edits, name)
			continue
		}
		out.edits[name] = e
	}
	return out
}

// real is where a path leads when links are followed.
func (t *edited) real(op, name string) (string, error) {
	if !fs.ValidPath(name) {
		return "", &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	a, err := t.ask.Ask(closure.Real, name)
	return a.Real, err
}

// find is the edit of a path, if there is one.
func (t *edited) find(op, name string) (string, *Edit, error) {
	real, err := t.real(op, name)
	if err != nil {
		return "", nil, err
	}
	if e, is := t.edits[real]; is {
		if e.Delete {
			return real, nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
		}
		return real, &e, nil
	}
	return real, nil, nil
}

// ReadFile reads a file.
func (t *edited) ReadFile(name string) ([]byte, error) {
	real, e, err := t.find("read", name)
	switch {
	case err != nil:
		return nil, err
	case e != nil:
		return bytes.Clone(e.Content), nil
	}
	return fs.ReadFile(t.base, real)
}

// ReadDir lists a directory.
func (t *edited) ReadDir(name string) ([]fs.DirEntry, error) {
	real, err := t.real("readdir", name)
	if err != nil {
		return nil, err
	}
	found, err := fs.ReadDir(t.base, real)
	if err != nil {
		return nil, err
	}
	if !t.touches(real) {
		return found, nil
	}
	out := make([]fs.DirEntry, 0, len(found))
	for _, e := range found {
		at := path.Join(real, e.Name())
		edit, is := t.edits[at]
		if is || e.IsDir() && t.touches(at) && t.empty(at) {
			if !is || edit.Delete {
				continue
			}
		}
		out = append(out, e)
	}
	for at, e := range t.edits {
		is := func(f fs.DirEntry) bool { return f.Name() == path.Base(at) }
		if path.Dir(at) == real && !e.Delete && !slices.ContainsFunc(found, is) {
			out = append(out, fs.FileInfoToDirEntry(fileInfo{at, e}))
		}
	}
	slices.SortFunc(out, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return out, nil
}

func (t *edited) empty(dir string) bool {
	left, err := t.ReadDir(dir)
	return err == nil && len(left) == 0
}

// touches reports whether an edit is at the path or below it.
func (t *edited) touches(at string) bool {
	for name := range t.edits {
		if at == "." || name == at || strings.HasPrefix(name, at+"/") {
			return true
		}
	}
	return false
}

// Stat follows links.
func (t *edited) Stat(name string) (fs.FileInfo, error) {
	real, e, err := t.find("stat", name)
	switch {
	case err != nil:
		return nil, err
	case e != nil:
		return fileInfo{name, *e}, nil
	}
	return t.stat(real, fs.Stat)
}

func (t *edited) stat(name string, stat func(fs.FS, string) (fs.FileInfo, error)) (fs.FileInfo, error) {
	info, err := stat(t.base, name)
	if err == nil && info.IsDir() && t.touches(name) && t.empty(name) {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	return info, err
}

// Lstat does not follow a link at the end of the path.
func (t *edited) Lstat(name string) (fs.FileInfo, error) {
	if e, is := t.edits[name]; is {
		if e.Delete {
			return nil, &fs.PathError{Op: "lstat", Path: name, Err: fs.ErrNotExist}
		}
		return fileInfo{name, e}, nil
	}
	return t.stat(name, fs.Lstat)
}

// ReadLink reads a link.
func (t *edited) ReadLink(name string) (string, error) { return fs.ReadLink(t.base, name) }

// Open opens what is read in other ways by all who render.
func (t *edited) Open(name string) (fs.File, error) {
	real, e, err := t.find("open", name)
	switch {
	case err != nil:
		return nil, err
	case e != nil:
		return &file{fileInfo{name, *e}, bytes.NewReader(e.Content)}, nil
	}
	return t.base.Open(real)
}

// Hash is the hash of the Git object behind a path, where the base knows it
// and no edit changes it.
func (t *edited) Hash(name string) (string, bool) {
	h, ok := t.base.(interface{ Hash(string) (string, bool) })
	if !ok {
		return "", false
	}
	real, err := t.real("hash", name)
	if err != nil || t.touches(real) || t.touches(name) {
		return "", false
	}
	return h.Hash(name)
}

type fileInfo struct {
	path string
	edit Edit
}

func (i fileInfo) Name() string       { return path.Base(i.path) }
func (i fileInfo) Size() int64        { return int64(len(i.edit.Content)) }
func (i fileInfo) Mode() fs.FileMode  { return 0o644 }
func (i fileInfo) ModTime() time.Time { return time.Time{} }
func (i fileInfo) IsDir() bool        { return false }
func (i fileInfo) Sys() any           { return nil }

type file struct {
	info fileInfo
	io.Reader
}

func (f *file) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *file) Close() error               { return nil }

// ReadFiles reads several files, in one go where the base can.
func (t *edited) ReadFiles(names []string) ([][]byte, error) {
	many, ok := t.base.(interface {
		ReadFiles(names []string) ([][]byte, error)
	})
	if !ok {
		return nil, fmt.Errorf("read %d files in one go: %w", len(names), fs.ErrInvalid)
	}
	for _, name := range names {
		if real, err := t.real("read", name); err != nil || t.touches(real) {
			return nil, fmt.Errorf("read %d files in one go: %w", len(names), fs.ErrInvalid)
		}
	}
	return many.ReadFiles(names)
}
