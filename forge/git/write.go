package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"lockkeeper/forge"
	"lockkeeper/forge/git/internal/check"
)

// Edit is the new content of one file, or its deletion.
type Edit struct {
	Content []byte
	Delete  bool
}

// WriteTree applies edits, by path, to a tree and returns the new tree. A
// file that exists keeps its mode; deleting one that does not exist is
// fs.ErrNotExist. Paths through or at a link are refused: name the file itself.
func (r *Repo) WriteTree(ctx context.Context, base string, edits map[string]Edit) (string, error) {
	tree, err := r.Tree(ctx, base)
	if err != nil {
		return "", err
	}
	var lines bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(edits)) {
		line, err := r.indexLine(ctx, tree, name, edits[name])
		if err != nil {
			return "", fmt.Errorf("edit %s: %w", name, err)
		}
		lines.WriteString(line)
	}
	x, err := r.index(ctx, base)
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(x.dir)
	if _, err := x.run(lines.Bytes(), "update-index", "--replace", "-z", "--index-info"); err != nil {
		return "", err
	}
	out, err := x.run(nil, "write-tree")
	if err != nil {
		return "", err
	}
	sha := strings.TrimSpace(string(out))
	return sha, r.edited(ctx, sha, edits)
}

// edited checks that a tree holds what was asked for: git skips names that it
// finds unsafe, such as .git/config, without failing.
func (r *Repo) edited(ctx context.Context, sha string, edits map[string]Edit) error {
	tree, err := r.Tree(ctx, sha)
	if err != nil {
		return err
	}
	for name, e := range edits {
		if _, err := tree.find("edit", name, false); errors.Is(err, fs.ErrNotExist) != e.Delete {
			return fmt.Errorf("edit %s: git does not accept this name", name)
		}
	}
	return nil
}

// indexLine stores an edit's content and says so in the form of
// `git update-index --index-info`.
func (r *Repo) indexLine(ctx context.Context, tree *Tree, name string, e Edit) (string, error) {
	if !fs.ValidPath(name) || name == "." {
		return "", fs.ErrInvalid
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if old, err := tree.find("edit", dir, false); err == nil && old.kind() != typeDir {
			return "", fmt.Errorf("%s is not a directory", dir)
		}
	}
	old, err := tree.find("edit", name, false)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !e.Delete:
		old = entry{mode: 0o100644}
	case err != nil:
		return "", err
	case old.kind() == typeDir || old.kind() == typeLink || old.kind() == typeGitlink:
		return "", errors.New("is not a regular file")
	}
	if e.Delete {
		return fmt.Sprintf("0 %s\t%s\x00", old.sha, name), nil
	}
	out, err := r.git.run(ctx, call{gitDir: r.dir, stdin: bytes.NewReader(e.Content), args: []string{"hash-object", "-w", "--stdin", "--no-filters"}})
	return fmt.Sprintf("%o %s\t%s\x00", old.mode, strings.TrimSpace(string(out)), name), err
}

// WriteCommit makes a commit object and returns its hash; the same input
// gives the same hash. No ref is moved. Only Tree, Parents, Author,
// Committer and Message count, both signatures with their time.
func (r *Repo) WriteCommit(ctx context.Context, c Commit) (string, error) {
	if err := check.SHAs(append(c.Parents, c.Tree)...); err != nil {
		return "", err
	}
	args := []string{"commit-tree", "--no-gpg-sign"}
	for _, p := range c.Parents {
		args = append(args, "-p", p)
	}
	author, err := signatureEnv("AUTHOR", c.Author)
	if err != nil {
		return "", err
	}
	committer, err := signatureEnv("COMMITTER", c.Committer)
	if err != nil {
		return "", err
	}
	out, err := r.git.run(ctx, call{
		gitDir: r.dir, args: append(args, "-F", "-", c.Tree), env: append(author, committer...),
		stdin: strings.NewReader(c.Message),
	})
	if err != nil {
		return "", fmt.Errorf("write commit: %w", r.unknown(err))
	}
	return strings.TrimSpace(string(out)), nil
}

func signatureEnv(role string, s Signature) ([]string, error) {
	if s.Name == "" || s.When.IsZero() || strings.ContainsAny(s.Name+s.Email, "<>\n\x00") {
		return nil, fmt.Errorf("write commit: %s %q <%s> at %s is not a usable signature", strings.ToLower(role), s.Name, s.Email, s.When.Format(time.RFC3339))
	}
	return []string{
		"GIT_" + role + "_NAME=" + s.Name,
		"GIT_" + role + "_EMAIL=" + s.Email,
		fmt.Sprintf("GIT_%s_DATE=@%d +0000", role, s.When.Unix()),
	}, nil
}

// Push sets ref (a full name) of the remote to the commit sha, provided that
// it stands at expectedOld ("": does not exist); otherwise ErrStale. An empty
// sha deletes the ref. auth is as for Fetch.
func (r *Repo) Push(ctx context.Context, url, auth, sha, ref, expectedOld string) error {
	for _, s := range []string{sha, expectedOld} {
		if s != "" && check.SHA(s) != nil {
			return check.SHA(s)
		}
	}
	if err := errors.Join(check.URL(url, r.opts.AllowFile), check.Auth(auth), check.Ref(ref)); err != nil {
		return err
	}
	op := fmt.Sprintf("push %s to %s", ref, url)
	var config []string
	if r.partial {
		config = []string{"pack.window", "0"} // what deltas would be made against may not be here
	}
	_, err := r.git.run(ctx, call{gitDir: r.dir, auth: auth, config: config, files: r.opts.AllowFile, args: []string{
		"push", "--no-verify", "--no-signed", "--force-with-lease=" + ref + ":" + expectedOld, url, sha + ":" + ref}})
	var f *failure
	if !errors.As(err, &f) {
		return err
	}
	return pushError(op, f)
}

// pushError tells a lost race from a refusal from a remote that fails.
func pushError(op string, f *failure) error {
	for _, words := range []string{"stale info", "fetch first", "non-fast-forward", "cannot lock ref", "failed to update ref",
		"shallow update not allowed"} { // no branch leads to the parent any more
		if strings.Contains(f.stderr, words) {
			return fmt.Errorf("%s: %w", op, ErrStale)
		}
	}
	for _, words := range []string{"[remote rejected]", "pre-receive hook declined", "protected branch"} {
		if strings.Contains(f.stderr, words) {
			return &forge.Error{Op: op, Code: forge.Forbidden, Unsent: true, Message: f.stderr, Err: f}
		}
	}
	return remoteError(op, f)
}
