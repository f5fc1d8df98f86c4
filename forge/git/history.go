package git

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"lockkeeper/forge/git/internal/check"
)

// Signature is who a commit names, and when; nothing of it is verified.
type Signature struct {
	Name, Email string
	When        time.Time // zero where the commit does not tell
}

// Commit is a commit object.
type Commit struct {
	SHA       string
	Tree      string
	Parents   []string
	Author    Signature
	Committer Signature
	// CoAuthors are all "Co-authored-by:" lines of the message, wherever they
	// stand: one too many only asks for one approver more.
	CoAuthors []Signature
	Message   string
}

// Subject is the first line of the message.
func (c Commit) Subject() string {
	line, _, _ := strings.Cut(c.Message, "\n")
	return strings.TrimSpace(line)
}

// ReadCommit reads one commit.
func (r *Repo) ReadCommit(ctx context.Context, sha string) (Commit, error) {
	obj, err := r.objects.contents(ctx, sha)
	if errors.Is(err, errMissing) {
		return Commit{}, fmt.Errorf("%w: %s", ErrNoRevision, sha)
	}
	if err != nil {
		return Commit{}, fmt.Errorf("commit %s: %w", sha, r.noted(err))
	}
	if obj.kind != "commit" {
		return Commit{}, fmt.Errorf("%w: %s is a %s, not a commit", ErrNoRevision, sha, obj.kind)
	}
	c, err := parseCommit(obj.data)
	if err != nil {
		return Commit{}, fmt.Errorf("commit %s: %w", sha, err)
	}
	c.SHA = sha
	return c, nil
}

// parseCommit reads the header lines up to the empty one, and the message.
func parseCommit(data []byte) (Commit, error) {
	var c Commit
	header, message, _ := strings.Cut(strings.ToValidUTF8(string(data), "\ufffd"), "\n\n")
	for line := range strings.Lines(header) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch key {
		case "tree":
			c.Tree = value
		case "parent":
			c.Parents = append(c.Parents, value)
		case "author":
			c.Author = parseSignature(value)
		case "committer":
			c.Committer = parseSignature(value)
		}
	}
	if err := check.SHAs(append(c.Parents, c.Tree)...); err != nil {
		return Commit{}, fmt.Errorf("%w: malformed commit: %w", ErrCorrupt, err)
	}
	c.Message = message
	c.CoAuthors = coAuthors(message)
	return c, nil
}

// parseSignature reads "Name <email> 1700000000 +0100", tolerating what old
// and broken tools have written.
func parseSignature(s string) Signature {
	var sig Signature
	open, end := strings.IndexByte(s, '<'), strings.LastIndexByte(s, '>')
	if open < 0 || end < open {
		return Signature{Name: strings.TrimSpace(s)}
	}
	sig.Name = strings.TrimSpace(s[:open])
	sig.Email = strings.TrimSpace(s[open+1 : end])
	if fields := strings.Fields(s[end+1:]); len(fields) > 0 {
		if unix, err := strconv.ParseInt(fields[0], 10, 64); err == nil {
			sig.When = time.Unix(unix, 0).UTC()
		}
	}
	return sig
}

var coAuthorLine = regexp.MustCompile(`(?im)^[ \t]*co-authored-by[ \t]*:[ \t]*(.+?)[ \t\r]*$`)

func coAuthors(message string) []Signature {
	var out []Signature
	for _, m := range coAuthorLine.FindAllStringSubmatch(message, -1) {
		out = append(out, parseSignature(m[1]))
	}
	return out
}

// Commits lists the commits that head has and base has not, side branches
// included, parents before children.
func (r *Repo) Commits(ctx context.Context, base, head string) ([]Commit, error) {
	if err := check.SHAs(base, head); err != nil {
		return nil, err
	}
	shas, err := r.revList(ctx, "--topo-order", "--reverse", head, "^"+base)
	if err != nil {
		return nil, fmt.Errorf("commits of %s..%s: %w", base, head, err)
	}
	return r.readCommits(ctx, shas)
}

// FirstParents lists the commits after from up to and including to along
// first parents, oldest first: what happened to a branch, merge by merge. A
// commit that from has already, by whichever parent, is not listed.
func (r *Repo) FirstParents(ctx context.Context, from, to string) ([]Commit, error) {
	if err := check.SHAs(from, to); err != nil {
		return nil, err
	}
	shas, err := r.revList(ctx, "--first-parent", "--reverse", to, "^"+from)
	if err != nil {
		return nil, fmt.Errorf("first parents of %s..%s: %w", from, to, err)
	}
	return r.readCommits(ctx, shas)
}

func (r *Repo) readCommits(ctx context.Context, shas []string) ([]Commit, error) {
	out := make([]Commit, 0, len(shas))
	for _, sha := range shas {
		c, err := r.ReadCommit(ctx, sha)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

func (r *Repo) revList(ctx context.Context, args ...string) ([]string, error) {
	out, err := r.run(ctx, append([]string{"rev-list"}, args...)...)
	if err != nil {
		return nil, r.unknown(err)
	}
	return strings.Fields(string(out)), nil
}

// unknown turns git's words for a hash that is not here into ErrNoRevision.
func (r *Repo) unknown(err error) error {
	var f *failure
	if errors.As(err, &f) {
		for _, words := range []string{"bad object", "not a valid commit name", "bad revision", "not something we can merge", "Not a valid object name"} {
			if strings.Contains(f.stderr, words) {
				return fmt.Errorf("%w: %w", ErrNoRevision, err)
			}
		}
	}
	return err
}

// IsAncestor reports whether commit a is b or one of its ancestors.
func (r *Repo) IsAncestor(ctx context.Context, a, b string) (bool, error) {
	if err := check.SHAs(a, b); err != nil {
		return false, err
	}
	_, err := r.run(ctx, "merge-base", "--is-ancestor", a, b)
	if exitCode(err) == 1 {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("is %s an ancestor of %s: %w", a, b, r.unknown(err))
	}
	return true, nil
}

// MergeBase returns the best common ancestor of two commits; ErrUnrelated
// tells that there is none.
func (r *Repo) MergeBase(ctx context.Context, a, b string) (string, error) {
	if err := check.SHAs(a, b); err != nil {
		return "", err
	}
	out, err := r.run(ctx, "merge-base", a, b)
	if exitCode(err) == 1 {
		return "", fmt.Errorf("%w: %s and %s", ErrUnrelated, a, b)
	}
	if err != nil {
		return "", fmt.Errorf("merge base of %s and %s: %w", a, b, r.unknown(err))
	}
	return strings.TrimSpace(string(out)), nil
}

// MergeTree merges head into base without a checkout and returns the tree
// that the merge commit would have. With conflicts it returns the paths in
// conflict, sorted, and no tree. ErrUnrelated tells that nothing can be merged.
func (r *Repo) MergeTree(ctx context.Context, base, head string) (tree string, conflicts []string, err error) {
	if err := check.SHAs(base, head); err != nil {
		return "", nil, err
	}
	out, err := r.run(ctx, "merge-tree", "--write-tree", "-z", "--name-only", "--no-messages", base, head)
	if err != nil && exitCode(err) != 1 {
		if strings.Contains(err.Error(), "unrelated histories") {
			return "", nil, fmt.Errorf("%w: %s and %s", ErrUnrelated, base, head)
		}
		return "", nil, fmt.Errorf("merge %s into %s: %w", head, base, r.unknown(err))
	}
	fields := nulEnded(out)
	if len(fields) == 0 || check.SHA(fields[0]) != nil {
		if err == nil {
			err = fmt.Errorf("unexpected answer %.100q", out)
		}
		return "", nil, fmt.Errorf("merge %s into %s: %w", head, base, r.unknown(err))
	}
	if err == nil {
		return fields[0], nil, nil
	}
	conflicts = slices.DeleteFunc(fields[1:], func(s string) bool { return s == "" })
	slices.Sort(conflicts)
	return "", slices.Compact(conflicts), nil
}

// IsCleanMerge reports whether commit is a merge of two parents whose tree is
// exactly what merging them gives, so that the merge itself added nothing. A
// merge of three or more cannot be checked this way and is not clean.
func (r *Repo) IsCleanMerge(ctx context.Context, commit string) (bool, error) {
	c, err := r.ReadCommit(ctx, commit)
	if err != nil || len(c.Parents) != 2 {
		return false, err
	}
	tree, _, err := r.MergeTree(ctx, c.Parents[0], c.Parents[1])
	if errors.Is(err, ErrUnrelated) {
		return false, nil
	}
	return tree == c.Tree, err
}

// ChangedFiles lists the paths whose content or mode differs between two
// trees (or commits), sorted. A renamed file is listed under both names.
func (r *Repo) ChangedFiles(ctx context.Context, a, b string) ([]string, error) {
	if err := check.SHAs(a, b); err != nil {
		return nil, err
	}
	out, err := r.run(ctx, "diff-tree", "-r", "-z", "--name-only", "--no-renames", "--no-ext-diff", "--no-textconv", a, b)
	if err != nil {
		return nil, fmt.Errorf("changes between %s and %s: %w", a, b, r.unknown(err))
	}
	return nulEnded(out), nil
}

// nulEnded splits the output of -z.
func nulEnded(out []byte) []string {
	if len(out) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
}
