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
