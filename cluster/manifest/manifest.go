// Package manifest turns the files of a target into objects.
//
// A target is a directory of a tree (an fs.FS, usually a Git tree). If it holds
// a kustomization file it is built by Kustomize; otherwise every *.yaml, *.yml
// and *.json file in it and below it is read. Names that begin with a dot are
// skipped. A directory with a kustomization of its own inside a plain directory
// is an error, because guessing would either lose objects or apply them twice.
//
// Rendering runs in a child process: our own binary, started again, which can
// open no file, reach no network and start no program. Everything it reads it
// asks the parent for, and the parent writes down each question and the hash of
// its answer. That record, the Closure, is exactly what the result depends on.
package manifest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"lockkeeper/cluster"
	"lockkeeper/cluster/manifest/closure"
	"lockkeeper/cluster/manifest/document"
)

// Limits of one target, beside those of package document.
const (
	MaxObjects = 10_000  // objects of one target
	MaxBytes   = 1 << 28 // bytes of the files of one plain target
)

// Problem is one thing wrong with a target's files.
type Problem = document.Problem

// Errors are all problems found in the files of one target.
type Errors struct {
	Target   string // the target's directory
	Problems []Problem
}

// Error lists the problems, one a line.
func (e *Errors) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	if len(lines) == 1 {
		return lines[0]
	}
	return fmt.Sprintf("%s: %d problems\n%s", e.Target, len(lines), strings.Join(lines, "\n"))
}

// Rendering is the result of rendering one target. It is shared by all who ask
// for it: treat it as read-only.
type Rendering struct {
	Objects []cluster.Object
	Closure closure.Closure
	// Digest tells whether two renderings have equal objects, whatever their
	// order and sources. It covers secret values without a key: keep it in memory.
	Digest string
}

// Canonical is the object's canonical JSON: sorted keys, no white space. It
// holds secret values; hash it only under a key.
func Canonical(o cluster.Object) ([]byte, error) {
	b, err := json.Marshal(o.Content)
	if err != nil {
		return nil, fmt.Errorf("canonical form of %s (%s): %w", o.Ref, o.Source, err)
	}
	return b, nil
}

// sorted orders problems by file and line and drops repetitions.
func sorted(problems []Problem) []Problem {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		if c := strings.Compare(a.Path, b.Path); c != 0 {
			return c
		}
		return a.Line - b.Line
	})
	return slices.Compact(problems)
}
