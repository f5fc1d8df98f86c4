package bare

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Person is an author or a committer as Git writes it down.
type Person struct {
	Name, Email string
	When        time.Time
}

// Commit is one commit as Git stores it.
type Commit struct {
	SHA, Tree         string
	Parents           []string
	Author, Committer Person
	Message           string
}

const format = "%x1e%H%x1f%T%x1f%P%x1f%an%x1f%ae%x1f%at%x1f%cn%x1f%ce%x1f%ct%x1f%B"

// Log lists the commits of a revision range, newest first, at most limit of
// them (0: all).
func (r *Repo) Log(ctx context.Context, limit int, revs ...string) ([]Commit, error) {
	args := []string{"log", "--topo-order", "--format=" + format}
	if limit > 0 {
		args = append(args, "-n", strconv.Itoa(limit))
	}
	args = append(args, "--end-of-options")
	out, err := r.ask(ctx, revs, append(append(args, revs...), "--")...)
	if err != nil {
		return nil, err
	}
	var commits []Commit
	for _, rec := range strings.Split(out, "\x1e")[1:] {
		f := strings.SplitN(rec, "\x1f", 10)
		if len(f) != 10 {
			return nil, fmt.Errorf("git log: unexpected record %q", rec)
		}
		commits = append(commits, Commit{
			SHA: f[0], Tree: f[1], Parents: strings.Fields(f[2]),
			Author: person(f[3:6]), Committer: person(f[6:9]),
			Message: strings.TrimRight(f[9], "\n"),
		})
	}
	return commits, nil
}

func person(f []string) Person {
	unix, _ := strconv.ParseInt(f[2], 10, 64)
	return Person{Name: f[0], Email: f[1], When: time.Unix(unix, 0).UTC()}
}

// Commit reads one commit.
func (r *Repo) Commit(ctx context.Context, sha string) (Commit, error) {
	list, err := r.Log(ctx, 1, sha)
	if err != nil || len(list) == 0 {
		return Commit{}, fmt.Errorf("%w: %s", ErrNoCommit, sha)
	}
	return list[0], nil
}

// Between lists the commits of base..head, oldest first.
func (r *Repo) Between(ctx context.Context, base, head string) ([]Commit, error) {
	list, err := r.Log(ctx, 0, base+".."+head)
	if err != nil {
		return nil, err
	}
	for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
		list[i], list[j] = list[j], list[i]
	}
	return list, nil
}

// Behind counts the commits of other that head lacks.
func (r *Repo) Behind(ctx context.Context, head, other string) int {
	out, err := r.ask(ctx, []string{head, other}, "rev-list", "--count", head+".."+other)
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(out))
	return n
}

// FileChange is one changed file between two trees.
type FileChange struct {
	Path, OldPath        string
	Status               string // added, removed, modified, renamed
	SHA                  string // blob, new side; old side when removed
	Additions, Deletions int
	Patch                string
}

var statusNames = map[byte]string{'A': "added", 'D': "removed", 'M': "modified", 'R': "renamed", 'T': "changed", 'C': "copied"}

// Diff lists the files that differ between two commits or trees.
func (r *Repo) Diff(ctx context.Context, a, b string, patch bool) ([]FileChange, error) {
	out, err := r.ask(ctx, []string{a, b}, "diff", "--raw", "--numstat", "-z", "-M", "--no-abbrev", a, b, "--")
	if err != nil {
		return nil, err
	}
	changes := parseDiff(strings.Split(strings.TrimSuffix(out, "\x00"), "\x00"))
	if !patch {
		return changes, nil
	}
	for i, c := range changes {
		args := []string{"diff", "-M", a, b, "--", c.Path}
		if c.OldPath != "" {
			args = append(args, c.OldPath)
		}
		text, err := r.ask(ctx, []string{a, b}, args...)
		if err != nil {
			return nil, err
		}
		if at := strings.Index(text, "\n@@"); at >= 0 {
			changes[i].Patch = strings.TrimSuffix(text[at+1:], "\n")
		}
	}
	return changes, nil
}

// parseDiff reads NUL-separated --raw records followed by --numstat records.
func parseDiff(f []string) []FileChange {
	var changes []FileChange
	at := map[string]int{}
	for i := 0; i < len(f); i++ {
		switch {
		case strings.HasPrefix(f[i], ":"):
			w := strings.Fields(f[i])
			c := FileChange{Status: statusNames[w[4][0]], SHA: w[3], Path: f[i+1]}
			if c.Status == "removed" {
				c.SHA = w[2]
			}
			i++
			if c.Status == "renamed" || c.Status == "copied" {
				c.OldPath, c.Path = c.Path, f[i+1]
				i++
			}
			at[c.Path] = len(changes)
			changes = append(changes, c)
		case f[i] != "":
			w := strings.SplitN(f[i], "\t", 3)
			path := w[2]
			if path == "" { // rename: old and new follow
				path = f[i+2]
				i += 2
			}
			changes[at[path]].Additions, _ = strconv.Atoi(w[0])
			changes[at[path]].Deletions, _ = strconv.Atoi(w[1])
		}
	}
	return changes
}
