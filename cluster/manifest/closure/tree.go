package closure

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

// Kind is what is found at a path.
type Kind string

// The kinds.
const (
	Missing Kind = ""
	File    Kind = "file"
	Folder  Kind = "dir"
	Link    Kind = "link"  // only in listings: everything else follows links
	Large   Kind = "large" // only when read: more than document.MaxFile
	Other   Kind = "other" // a submodule, a device
)

// Entry is one name in a listing.
type Entry struct {
	Name string `json:"name"`
	Kind Kind   `json:"kind"`
}

// Answer is what a tree says to a question.
type Answer struct {
	Kind    Kind    `json:"kind"`
	Entries []Entry `json:"entries,omitempty"` // List
	Real    string  `json:"real,omitempty"`    // Real
	Data    []byte  `json:"-"`                 // Read; it travels beside the JSON
}

// digest is equal for equal answers to the same question.
func (a Answer) digest() string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\x00%s\x00", a.Kind, a.Real)
	for _, e := range a.Entries {
		fmt.Fprintf(h, "%s\x00%s\x00", e.Name, e.Kind)
	}
	h.Write(a.Data)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Source answers questions about a tree: the tree itself, or the parent's end
// of the pipe.
type Source interface {
	// Ask is the answer to a question about a path of the tree. An error says that
	// there is none.
	Ask(op Op, path string) (Answer, error)
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

// Memo remembers what one tree answered. Trees with the same root hash share it.
type Memo struct {
	mu      sync.Mutex
	hashes  map[string]string
	answers map[question]string
}

func newMemo() *Memo {
	return &Memo{hashes: map[string]string{}, answers: map[question]string{}}
}

// Tree asks a file system, and remembers the digests of its answers.
type Tree struct {
	fsys fs.FS
	hash hasher // nil if the file system knows no hashes
	// Memo may be replaced by that of a tree with the same root, before anybody
	// else asks the tree.
	Memo *Memo
}

// NewTree asks a file system, and remembers nothing yet.
func NewTree(fsys fs.FS) *Tree {
	h, _ := fsys.(hasher)
	return &Tree{fsys: fsys, hash: h, Memo: newMemo()}
}

// Root is the hash of the whole tree, or "".
func (t *Tree) Root() string { return t.Object(".") }

// Object is the hash of the Git object behind a path, or "".
func (t *Tree) Object(p string) string {
	if t.hash == nil {
		return ""
	}
	t.Memo.mu.Lock()
	sum, known := t.Memo.hashes[p]
	t.Memo.mu.Unlock()
	if known {
		return sum
	}
	sum, ok := t.hash.Hash(p)
	if !ok {
		sum = ""
	}
	t.Memo.mu.Lock()
	t.Memo.hashes[p] = sum
	t.Memo.mu.Unlock()
	return sum
}

// digest is the digest of the tree's answer.
func (t *Tree) digest(q question) (string, error) {
	t.Memo.mu.Lock()
	sum, known := t.Memo.answers[q]
	t.Memo.mu.Unlock()
	if known {
		return sum, nil
	}
	a, err := t.Ask(q.op, q.path)
	if err != nil {
		return "", err
	}
	return t.Remember(q.op, q.path, a), nil
}

// Remember takes down what the tree answered to a question, and returns the
// answer's digest.
func (t *Tree) Remember(op Op, path string, a Answer) string {
	sum := a.digest()
	t.Memo.mu.Lock()
	t.Memo.answers[question{op, path}] = sum
	t.Memo.mu.Unlock()
	return sum
}

// Ask is the tree's answer to a question. The path is one of the tree, as of an
// fs.FS. An error says that the tree could not answer: nothing at a path is an
// answer.
func (t *Tree) Ask(op Op, p string) (Answer, error) {
	if !fs.ValidPath(p) {
		return Answer{}, fmt.Errorf("%q is not a path in the tree", p)
	}
	switch op {
	case Read:
		return t.read(p)
	case List:
		return t.list(p)
	case Real:
		real, err := t.real(p)
		return Answer{Real: real}, err
	default:
		k, err := t.stat(p)
		return Answer{Kind: k}, err
	}
}

func (t *Tree) stat(p string) (Kind, error) {
	info, err := fs.Stat(t.fsys, p)
	switch {
	case isMissing(err):
		return Missing, nil
	case err != nil:
		return "", err
	}
	return kindOf(info.Mode()), nil
}

func kindOf(m fs.FileMode) Kind {
	switch {
	case m.IsDir():
		return Folder
	case m.IsRegular():
		return File
	case m&fs.ModeSymlink != 0:
		return Link
	}
	return Other
}

// isMissing reports whether nothing is at a path; a path below a file is such.
func isMissing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

func (t *Tree) read(p string) (Answer, error) {
	data, err := fs.ReadFile(t.fsys, p)
	if err == nil {
		return fileAnswer(data), nil
	}
	// Kustomize tries to read every base as a file first.
	k, statErr := t.stat(p)
	if statErr == nil && k != File {
		return Answer{Kind: k}, nil
	}
	return Answer{}, err
}

// ReadAll reads several files, in one go where the tree can.
func (t *Tree) ReadAll(paths []string) ([]Answer, error) {
	out := make([]Answer, len(paths))
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
		a, err := t.Ask(Read, p)
		if err != nil {
			return nil, err
		}
		out[i] = a
	}
	return out, nil
}

func fileAnswer(data []byte) Answer {
	if len(data) > document.MaxFile {
		return Answer{Kind: Large}
	}
	return Answer{Kind: File, Data: data}
}

func (t *Tree) list(p string) (Answer, error) {
	found, err := fs.ReadDir(t.fsys, p)
	if err != nil {
		k, statErr := t.stat(p)
		if statErr == nil && k != Folder {
			return Answer{Kind: k}, nil
		}
		return Answer{}, err
	}
	a := Answer{Kind: Folder, Entries: make([]Entry, 0, len(found))}
	for _, e := range found {
		a.Entries = append(a.Entries, Entry{e.Name(), kindOf(e.Type())})
	}
	return a, nil
}

// real follows the links in p's directories and in p itself. Where p leads to
// nothing, or the file system has no links, it is p.
func (t *Tree) real(p string) (string, error) {
	links, ok := t.fsys.(fs.ReadLinkFS)
	if !ok {
		return p, nil
	}
	done, todo := ".", strings.Split(p, "/")
	for followed := 0; len(todo) > 0; {
		next := path.Join(done, todo[0])
		todo = todo[1:]
		if next == ".." {
			return "", &fs.PathError{Op: "resolve", Path: p, Err: ErrOutside}
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
			return "", &fs.PathError{Op: "resolve", Path: p, Err: ErrOutside}
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	return done, nil
}

// ErrOutside says that a link or a reference leaves the tree.
var ErrOutside = errors.New("points outside the tree")
