// Package shelf keeps a directory of things that can be made again, such as
// mirrors, within a limit: those that were not used for the longest time go, and
// never one that is in use. One process at a time has the directory.
package shelf

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// ErrInUse means that another process has the directory.
var ErrInUse = errors.New("another process uses the directory; every replica needs one of its own")

// Gone begins the names of directories that are being removed, or are there for a
// moment: Open removes them.
const Gone = "old-"

// Shelf is such a directory. It is safe for concurrent use.
type Shelf struct {
	dir   string
	limit int64
	lock  *os.File

	mu    sync.Mutex
	items map[string]*item
}

type item struct {
	size  int64
	used  time.Time
	holds int
}

// Open takes a directory, making it if necessary, and looks at what is there:
// directories with one of the suffixes, of so many bytes at most. A limit of 0
// is none. What a killed process was about to remove is removed.
func Open(dir, suffix string, limit int64) (*Shelf, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s := &Shelf{dir: dir, limit: limit, items: map[string]*item{}}
	var err error
	if s.lock, err = lock(filepath.Join(dir, "lock")); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	for _, e := range entries {
		switch {
		case strings.HasPrefix(e.Name(), Gone):
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		case e.IsDir() && strings.HasSuffix(e.Name(), suffix):
			i := &item{used: lastUse(filepath.Join(dir, e.Name()))}
			i.size, err = sizeOf(filepath.Join(dir, e.Name()))
			s.items[e.Name()] = i
		}
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

// lock is held until the file is closed, or the process ends, however it ends.
func lock(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrInUse
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), file.Close())
	}
	return file, nil
}

// Close gives the directory up.
func (s *Shelf) Close() error { return s.lock.Close() }

// Hold keeps an item from being removed until release is called, whether it is
// there already or not.
func (s *Shelf) Hold(name string) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.items[name]
	if i == nil {
		i = &item{}
		s.items[name] = i
	}
	i.holds++
	s.touch(name, i)
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		i.holds--
		s.touch(name, i)
	})
}

// touch notes that an item is used now, on the disk as well for the next
// process. A disk that cannot note it costs that process an order, no more.
func (s *Shelf) touch(name string, i *item) {
	i.used = time.Now()
	_ = os.Chtimes(filepath.Join(s.dir, name), i.used, i.used)
}

func lastUse(path string) time.Time {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// Grown measures an item that was written to, and removes others while all of
// them together are over the limit. before is called for each item that goes,
// when nobody can hold it any more.
func (s *Shelf) Grown(name string, before func(name string)) error {
	size, err := sizeOf(filepath.Join(s.dir, name))
	if err != nil {
		return err
	}
	s.mu.Lock()
	if i := s.items[name]; i != nil {
		i.size = size
	}
	s.mu.Unlock()
	if s.limit == 0 {
		return nil
	}
	_, err = s.shrink(s.limit, before)
	return err
}

// Clear removes everything that is not in use, for a disk that is full, and
// tells whether that was anything.
func (s *Shelf) Clear(before func(name string)) (bool, error) { return s.shrink(0, before) }

func (s *Shelf) shrink(limit int64, before func(name string)) (bool, error) {
	moved, err := s.takeOff(limit, before)
	for _, dir := range moved {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return len(moved) > 0, err
}

// takeOff renames what is to go, so that it is out of everybody's way at once.
func (s *Shelf) takeOff(limit int64, before func(name string)) (moved []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var total int64
	var free []string
	for name, i := range s.items {
		total += i.size
		if i.holds == 0 {
			free = append(free, name)
		}
	}
	slices.SortFunc(free, func(a, b string) int {
		return cmp.Or(s.items[a].used.Compare(s.items[b].used), strings.Compare(a, b))
	})
	for _, name := range free {
		if total <= limit {
			break
		}
		to := filepath.Join(s.dir, fmt.Sprintf("%s%d-%s", Gone, time.Now().UnixNano(), name))
		before(name)
		err := os.Rename(filepath.Join(s.dir, name), to)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return moved, err
		}
		if err == nil {
			moved = append(moved, to)
		}
		total -= s.items[name].size
		delete(s.items, name)
	}
	return moved, nil
}

// sizeOf is what a directory takes up on the disk. Files may come and go
// meanwhile.
func sizeOf(dir string) (int64, error) {
	var total int64
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil {
			var info fs.FileInfo
			if info, err = e.Info(); err == nil {
				total += onDisk(info)
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return total, err
}

// onDisk counts blocks, because thousands of small files take up more than they
// hold.
func onDisk(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return info.Size()
}
