package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"
	"syscall"

	"lockkeeper/cluster/manifest/document"
)

// Op is a kind of question that rendering asks about a tree.
type Op string

// The questions: what is in a file, what is in a directory, what is at a path,
// and where a path leads when links are followed.
const (
	Read Op = "read"
	List Op = "list"
	Stat Op = "stat"
	Real Op = "real"
)

// kind is what is found at a path.
type kind string

const (
	missing kind = ""
	file    kind = "file"
	folder  kind = "dir"
	link    kind = "link"  // only in listings: everything else follows links
	large   kind = "large" // only when read: more than document.MaxFile
	other   kind = "other" // a submodule, a device
)

// entry is one name in a listing.
type entry struct {
	Name string `json:"name"`
	Kind kind   `json:"kind"`
}

// answer is what a tree says to a question.
type answer struct {
	Kind    kind    `json:"kind"`
	Entries []entry `json:"entries,omitempty"` // List
	Real    string  `json:"real,omitempty"`    // Real
	data    []byte  // Read
}

// digest is equal for equal answers to the same question.
func (a answer) digest() string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\x00%s\x00", a.Kind, a.Real)
	for _, e := range a.Entries {
		fmt.Fprintf(h, "%s\x00%s\x00", e.Name, e.Kind)
	}
	h.Write(a.data)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// source answers questions about a tree: the tree itself, or the parent's end
// of the pipe.
type source interface {
	ask(op Op, path string) (answer, error)
}

// question is one question about a tree.
type question struct {
	op   Op
	path string
}

// hasher is implemented by trees that know the Git object behind a path, links
// followed: equal hashes mean equal content all the way down.
type hasher interface {
	Hash(path string) (string, bool)
}

// memo remembers what one tree answered. Trees with the same root hash share it.
type memo struct {
	mu      sync.Mutex
	hashes  map[string]string
	answers map[question]string
}

func newMemo() *memo {
	return &memo{hashes: map[string]string{}, answers: map[question]string{}}
}

// tree asks a file system, and remembers the digests of its answers.
type tree struct {
	fsys fs.FS
	hash hasher // nil if the file system knows no hashes
	memo *memo
}

func newTree(fsys fs.FS) *tree {
	h, _ := fsys.(hasher)
	return &tree{fsys: fsys, hash: h, memo: newMemo()}
}

// root is the hash of the whole tree, or "".
func (t *tree) root() string { return t.object(".") }

// object is the hash of the Git object behind a path, or "".
func (t *tree) object(p string) string {
	if t.hash == nil {
		return ""
	}
	t.memo.mu.Lock()
	sum, known := t.memo.hashes[p]
	t.memo.mu.Unlock()
	if known {
		return sum
	}
	sum, ok := t.hash.Hash(p)
	if !ok {
		sum = ""
	}
	t.memo.mu.Lock()
	t.memo.hashes[p] = sum
	t.memo.mu.Unlock()
	return sum
}

// digest is the digest of the tree's answer.
func (t *tree) digest(q question) (string, error) {
	t.memo.mu.Lock()
	sum, known := t.memo.answers[q]
	t.memo.mu.Unlock()
	if known {
		return sum, nil
	}
	a, err := t.ask(q.op, q.path)
	if err != nil {
		return "", err
	}
	return t.remember(q, a), nil
}

func (t *tree) remember(q question, a answer) string {
	sum := a.digest()
	t.memo.mu.Lock()
	t.memo.answers[q] = sum
	t.memo.mu.Unlock()
	return sum
}

func (t *tree) ask(op Op, p string) (answer, error) {
	if !fs.ValidPath(p) {
		return answer{}, fmt.Errorf("%q is not a path in the tree", p)
	}
	switch op {
	case Read:
		return t.read(p)
	case List:
		return t.list(p)
	case Real:
		real, err := t.real(p)
		return answer{Real: real}, err
	default:
		k, err := t.stat(p)
		return answer{Kind: k}, err
	}
}

func (t *tree) stat(p string) (kind, error) {
	info, err := fs.Stat(t.fsys, p)
	switch {
	case isMissing(err):
		return missing, nil
	case err != nil:
		return "", err
	}
	return kindOf(info.Mode()), nil
}

func kindOf(m fs.FileMode) kind {
	switch {
	case m.IsDir():
		return folder
	case m.IsRegular():
		return file
	case m&fs.ModeSymlink != 0:
		return link
	}
	return other
}

// isMissing reports whether nothing is at a path; a path below a file is such.
func isMissing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

func (t *tree) read(p string) (answer, error) {
	data, err := fs.ReadFile(t.fsys, p)
	if err == nil {
		return fileAnswer(data), nil
	}
	// Kustomize tries to read every base as a file first.
	k, statErr := t.stat(p)
	if statErr == nil && k != file {
		return answer{Kind: k}, nil
	}
	return answer{}, err
}

// readAll reads several files, in one go where the tree can.
func (t *tree) readAll(paths []string) ([]answer, error) {
	out := make([]answer, len(paths))
	if many, ok := t.fsys.(interface {
		ReadFiles(names []string) ([][]byte, error)
	}); ok {
		if contents, err := many.ReadFiles(paths); err == nil {
			for i, data := range contents {
				out[i] = fileAnswer(data)
			}
			return out, nil
		}
		// One by one, to say which it is.
	}
	for i, p := range paths {
		a, err := t.ask(Read, p)
		if err != nil {
			return nil, err
		}
		out[i] = a
	}
	return out, nil
}

func fileAnswer(data []byte) answer {
	if len(data) > document.MaxFile {
		return answer{Kind: large}
	}
	return answer{Kind: file, data: data}
}

func (t *tree) list(p string) (answer, error) {
	found, err := fs.ReadDir(t.fsys, p)
	if err != nil {
		k, statErr := t.stat(p)
		if statErr == nil && k != folder {
			return answer{Kind: k}, nil
		}
		return answer{}, err
	}
	a := answer{Kind: folder, Entries: make([]entry, 0, len(found))}
	for _, e := range found {
		a.Entries = append(a.Entries, entry{e.Name(), kindOf(e.Type())})
	}
	return a, nil
}

// real follows the links in p's directories and in p itself. Where p leads to
// nothing, or the file system has no links, it is p.
func (t *tree) real(p string) (string, error) {
	links, ok := t.fsys.(fs.ReadLinkFS)
	if !ok {
		return p, nil
	}
	done, todo := ".", strings.Split(p, "/")
	for followed := 0; len(todo) > 0; {
		next := path.Join(done, todo[0])
		todo = todo[1:]
		if next == ".." {
			return "", &fs.PathError{Op: "resolve", Path: p, Err: errOutside}
		}
		info, err := links.Lstat(next)
		switch {
		case isMissing(err):
			return p, nil
		case err != nil:
			return "", err
		case info.Mode()&fs.ModeSymlink == 0:
			done = next
			continue
		}
		if followed++; followed > 40 {
			return "", &fs.PathError{Op: "resolve", Path: p, Err: errors.New("too many links")}
		}
		target, err := links.ReadLink(next)
		if err != nil {
			return "", err
		}
		if path.IsAbs(target) {
			return "", &fs.PathError{Op: "resolve", Path: p, Err: errOutside}
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	return done, nil
}

// errOutside says that a link or a reference leaves the tree.
var errOutside = errors.New("points outside the tree")
