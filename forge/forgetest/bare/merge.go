package bare

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// MergeTree merges two commits and returns the tree; ErrConflict if it cannot.
func (r *Repo) MergeTree(ctx context.Context, ours, theirs string) (string, error) {
	out, err := r.Git(ctx, nil, "", "merge-tree", "--write-tree", "--no-messages", ours, theirs)
	tree, _, _ := strings.Cut(out, "\n")
	if err != nil {
		if len(tree) == 40 { // exit status 1 with a tree: conflicts inside
			return "", ErrConflict
		}
		return "", err
	}
	return tree, nil
}

// CommitTree writes a commit and returns its SHA.
func (r *Repo) CommitTree(ctx context.Context, c Commit) (string, error) {
	args := []string{"commit-tree", c.Tree}
	for _, p := range c.Parents {
		args = append(args, "-p", p)
	}
	out, err := r.Git(ctx, Identity(c.Author, c.Committer), c.Message, args...)
	return strings.TrimSpace(out), err
}

// Identity is the environment that makes git write these people down.
func Identity(author, committer Person) []string {
	return []string{
		"GIT_AUTHOR_NAME=" + author.Name, "GIT_AUTHOR_EMAIL=" + author.Email,
		fmt.Sprintf("GIT_AUTHOR_DATE=%d +0000", author.When.Unix()),
		"GIT_COMMITTER_NAME=" + committer.Name, "GIT_COMMITTER_EMAIL=" + committer.Email,
		fmt.Sprintf("GIT_COMMITTER_DATE=%d +0000", committer.When.Unix()),
	}
}

// Merge writes a merge commit of head into base.
func (r *Repo) Merge(ctx context.Context, base, head, message string, author, committer Person) (string, error) {
	tree, err := r.MergeTree(ctx, base, head)
	if err != nil {
		return "", err
	}
	return r.CommitTree(ctx, Commit{Tree: tree, Parents: []string{base, head}, Author: author, Committer: committer, Message: message})
}

// Squash writes one commit on base with all that head would bring.
func (r *Repo) Squash(ctx context.Context, base, head, message string, author, committer Person) (string, error) {
	tree, err := r.MergeTree(ctx, base, head)
	if err != nil {
		return "", err
	}
	return r.CommitTree(ctx, Commit{Tree: tree, Parents: []string{base}, Author: author, Committer: committer, Message: message})
}

// Rebase writes the commits of base..head, merges left out, on top of base.
func (r *Repo) Rebase(ctx context.Context, base, head string, committer Person) (string, error) {
	commits, err := r.Between(ctx, base, head)
	if err != nil {
		return "", err
	}
	tip := base
	for _, c := range commits {
		if len(c.Parents) != 1 {
			continue
		}
		tree, err := r.pick(ctx, tip, c)
		if err != nil {
			return "", err
		}
		tip, err = r.CommitTree(ctx, Commit{Tree: tree, Parents: []string{tip}, Author: c.Author, Committer: committer, Message: c.Message})
		if err != nil {
			return "", err
		}
	}
	return tip, nil
}

// pick gives the tree of commit c on top of tip. It frames the three trees as
// commits of their own, because merge-tree takes an explicit merge base only
// from git 2.40 on.
func (r *Repo) pick(ctx context.Context, tip string, c Commit) (string, error) {
	at := Person{Name: "x", Email: "x", When: c.Committer.When}
	frame := func(rev string, parents ...string) (string, error) {
		return r.CommitTree(ctx, Commit{Tree: rev + "^{tree}", Parents: parents, Author: at, Committer: at, Message: "x"})
	}
	base, err := frame(c.Parents[0])
	if err != nil {
		return "", err
	}
	ours, err := frame(tip, base)
	if err != nil {
		return "", err
	}
	theirs, err := frame(c.SHA, base)
	if err != nil {
		return "", err
	}
	return r.MergeTree(ctx, ours, theirs)
}

// File is the wanted content of a path; a nil Content removes it.
type File struct {
	Path    string
	Content []byte
	Mode    string // "" is a plain file: 100644
}

// WriteTree applies files to the tree of parent ("" is empty) and returns the
// new tree. Paths are written with an index of their own, outside any work tree.
func (r *Repo) WriteTree(ctx context.Context, parent, index string, files []File) (string, error) {
	env := []string{"GIT_INDEX_FILE=" + index}
	read := []string{"read-tree", "--empty"}
	if parent != "" {
		read = []string{"read-tree", parent}
	}
	if _, err := r.Git(ctx, env, "", read...); err != nil {
		return "", err
	}
	var info strings.Builder
	for _, f := range files {
		if !fs.ValidPath(f.Path) || slices.Contains(strings.Split(strings.ToLower(f.Path), "/"), ".git") {
			return "", fmt.Errorf("malformed path %q", f.Path) // git itself skips it and succeeds
		}
		if f.Content == nil {
			fmt.Fprintf(&info, "0 %040d\t%s\x00", 0, f.Path)
			continue
		}
		blob, err := r.Git(ctx, nil, string(f.Content), "hash-object", "-w", "--stdin")
		if err != nil {
			return "", err
		}
		mode := f.Mode
		if mode == "" {
			mode = "100644"
		}
		fmt.Fprintf(&info, "%s %s\t%s\x00", mode, strings.TrimSpace(blob), f.Path)
	}
	if _, err := r.Git(ctx, env, info.String(), "update-index", "-z", "--index-info"); err != nil {
		return "", err
	}
	out, err := r.Git(ctx, env, "", "write-tree")
	return strings.TrimSpace(out), err
}
