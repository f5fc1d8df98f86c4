package config

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"lockkeeper/bot/policy/owners"
)

// ReadOwners reads the CODEOWNERS that a forge would use of a tree: the first
// that exists. The error is fs.ErrNotExist if there is none, and names the lines
// of one that cannot be read.
func ReadOwners(tree fs.FS, d owners.Dialect) (*owners.File, error) {
	for _, path := range owners.Paths(d) {
		if err := direct(tree, path); err != nil {
			return nil, err
		}
		data, err := fs.ReadFile(tree, path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		return owners.Parse(path, data, d)
	}
	return nil, fmt.Errorf("there is no CODEOWNERS (looked for %s): %w", strings.Join(owners.Paths(d), ", "), fs.ErrNotExist)
}

// direct refuses a path that leads through a symbolic link: who changes what a
// link points to would change the file without touching it.
func direct(tree fs.FS, path string) error {
	links, ok := tree.(fs.ReadLinkFS)
	if !ok {
		return nil
	}
	for i := range len(path) + 1 {
		if i < len(path) && path[i] != '/' {
			continue
		}
		info, err := links.Lstat(path[:i])
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			return fmt.Errorf("%s is a symbolic link, which would hide changes of %s; put the file itself there", path[:i], path)
		}
	}
	return nil
}

// ReadFile reads `.lockkeeper.yaml` of a tree. A tree without one has none:
// both results are nil. What is wrong with it is Problems.
func ReadFile(tree fs.FS) (*File, error) {
	if err := direct(tree, RepoFile); err != nil {
		return nil, Problems{{File: RepoFile, Message: err.Error()}}
	}
	data, err := fs.ReadFile(tree, RepoFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", RepoFile, err)
	}
	return ParseFile(RepoFile, data)
}
