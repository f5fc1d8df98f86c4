// Package owners reads CODEOWNERS as GitHub, GitLab and Gitea write it, and says
// who owns a file.
//
// Where a forge skips a line that it cannot read, and so leaves files without
// an owner, this is an error: then nobody knows whose approval is missing.
package owners

import (
	"slices"

	"lockkeeper/bot/policy"
)

// Dialect is whose syntax a file is written in: a forge's kind.
type Dialect string

// The dialects.
const (
	GitHub Dialect = "github"
	GitLab Dialect = "gitlab"
	Gitea  Dialect = "gitea" // and Forgejo
)

// Paths are where a forge looks for the file; the first that exists counts.
func Paths(d Dialect) []string {
	switch d {
	case GitLab:
		return []string{"CODEOWNERS", "docs/CODEOWNERS", ".gitlab/CODEOWNERS"}
	case Gitea:
		return []string{"CODEOWNERS", "docs/CODEOWNERS", ".gitea/CODEOWNERS", ".forgejo/CODEOWNERS"}
	}
	return []string{".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS"}
}

// Is reports whether any forge would look for CODEOWNERS at a path.
func Is(path string) bool {
	return slices.ContainsFunc([]Dialect{GitHub, GitLab, Gitea}, func(d Dialect) bool { return slices.Contains(Paths(d), path) })
}

// File is a CODEOWNERS file that was read in full.
type File struct {
	// Path is where it is in the repository.
	Path     string
	dialect  Dialect
	sections []*section
}

// section is a part of the file that asks on its own; GitHub has only one, and on
// Gitea every line is one.
type section struct {
	name     string
	required int
	optional bool
	entries  []entry
}

// entry is one line: who owns what the pattern matches.
type entry struct {
	pattern pattern
	owners  []string
	exclude bool
}

// Of returns who owns a file, by section. A file that nobody owns has none.
func (f *File) Of(path string) []policy.OwnerSet {
	var out []policy.OwnerSet
	for _, s := range f.sections {
		if owners := s.of(path); len(owners) > 0 {
			out = append(out, policy.OwnerSet{
				Section: s.name, Owners: slices.Clone(owners), Required: s.required, Optional: s.optional,
			})
		}
	}
	return out
}

// of returns the owners by the last entry that matches, unless a file was
// excluded, which no later entry of the section takes back.
func (s *section) of(path string) []string {
	var owners []string
	found := false
	for i := len(s.entries) - 1; i >= 0; i-- {
		e := &s.entries[i]
		if found && !e.exclude || !e.pattern.match(path) {
			continue
		}
		if e.exclude {
			return nil
		}
		owners, found = e.owners, true
	}
	return owners
}
