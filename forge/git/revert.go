package git

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"lockkeeper/forge"
	"lockkeeper/forge/git/internal/check"
)

// Revert undoes on tip what the commits after from, up to and including to,
// have changed: the difference between the trees of the two. What came to tip
// besides stays. It returns the tree, which is that of tip where nothing is left
// to undo; with conflicts their paths, sorted, and no tree.
func (r *Repo) Revert(ctx context.Context, tip, from, to string) (tree string, conflicts []string, err error) {
	if err := check.SHAs(tip, from, to); err != nil {
		return "", nil, err
	}
	// A merge of from into tip as if both had grown out of to. merge-tree takes
	// an explicit merge base only from git 2.40 on, so the three trees are framed
	// as commits of such a history, which nothing refers to.
	base, err := r.frame(ctx, to)
	if err != nil {
		return "", nil, err
	}
	ours, err := r.frame(ctx, tip, base)
	if err != nil {
		return "", nil, err
	}
	theirs, err := r.frame(ctx, from, base)
	if err != nil {
		return "", nil, err
	}
	tree, conflicts, err = r.MergeTree(ctx, ours, theirs)
	if err != nil {
		return "", nil, fmt.Errorf("undo %s..%s on %s: %w", from, to, tip, err)
	}
	return tree, conflicts, nil
}

// frame makes a commit with the tree of another and with other parents, the
// same one every time.
func (r *Repo) frame(ctx context.Context, commit string, parents ...string) (string, error) {
	tree, err := r.TreeOf(ctx, commit)
	if err != nil {
		return "", err
	}
	who := Signature{Name: "lockkeeper", When: time.Unix(1, 0)}
	return r.WriteCommit(ctx, Commit{Tree: tree, Parents: parents, Author: who, Committer: who, Message: "frame\n"})
}

// Edits are what makes one tree (or commit) of another, as forge.Forge's Commit
// takes it. A submodule that differs is ErrSubmodule: no forge's API can move
// one; a file over the size limit is ErrTooLarge.
func (r *Repo) Edits(ctx context.Context, from, to string) (map[string]forge.FileEdit, error) {
	if err := check.SHAs(from, to); err != nil {
		return nil, err
	}
	out, err := r.run(ctx, "diff-tree", "-r", "-z", "--raw", "--no-abbrev", "--no-renames", "--no-ext-diff", "--no-textconv", from, to)
	if err != nil {
		return nil, fmt.Errorf("changes between %s and %s: %w", from, to, r.unknown(err))
	}
	edits := map[string]forge.FileEdit{}
	fields := nulEnded(out)
	for i := 0; i+1 < len(fields); i += 2 {
		path := fields[i+1]
		e, err := r.edit(ctx, fields[i])
		if err != nil {
			return nil, fmt.Errorf("change of %s between %s and %s: %w", path, from, to, err)
		}
		edits[path] = e
	}
	return edits, nil
}

// edit reads a line like ":100644 100755 <hash> <hash> M".
func (r *Repo) edit(ctx context.Context, raw string) (forge.FileEdit, error) {
	f := strings.Fields(strings.TrimPrefix(raw, ":"))
	if len(f) != 5 {
		return forge.FileEdit{}, fmt.Errorf("unexpected answer %.100q", raw)
	}
	const none, submodule = "000000", "160000"
	switch {
	case f[0] == submodule || f[1] == submodule:
		return forge.FileEdit{}, ErrSubmodule
	case f[1] == none:
		return forge.FileEdit{Delete: true}, nil
	}
	obj, err := r.must(ctx, f[3], "blob")
	return forge.FileEdit{Content: obj.data, Mode: forge.FileMode(f[1])}, err
}

// OnLine lists the commits on tip's line of first parents whose hash begins so,
// newest first.
func (r *Repo) OnLine(ctx context.Context, tip, beginning string) ([]string, error) {
	if err := check.SHA(tip); err != nil {
		return nil, err
	}
	line, err := r.revList(ctx, "--first-parent", tip)
	if err != nil {
		return nil, fmt.Errorf("first parents of %s: %w", tip, err)
	}
	return slices.DeleteFunc(line, func(sha string) bool { return !strings.HasPrefix(sha, beginning) }), nil
}
