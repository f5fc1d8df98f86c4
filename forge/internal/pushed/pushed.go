// Package pushed puts a commit of the bot's own on a branch by Git push, for
// forges whose APIs cannot: they take no file modes, or do not compare where the
// branch is. Every push is pinned to where the branch was seen, so that nobody's
// work is overwritten (threat 16).
package pushed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"lockkeeper/forge"
	"lockkeeper/forge/git"
)

// Remote is a repository as Git reaches it.
type Remote struct {
	URL  string // HTTP(S), without credentials
	Auth string // value of the Authorization header
	Git  git.Options
}

var shaRE = regexp.MustCompile(`^[0-9a-f]{40}$`)

// Commit puts a commit on a branch, as forge.Forge promises, in the name of who.
// It fetches the commit that it follows, without history.
func Commit(ctx context.Context, to Remote, n forge.NewCommit, who git.Signature) (string, error) {
	if err := check(n); err != nil {
		return "", err
	}
	r, err := git.Scratch(ctx, to.Git)
	if err != nil {
		return "", err
	}
	defer r.Close()
	b := branch{Remote: to, repo: r, name: n.Branch}
	tip, err := b.tip(ctx)
	if err != nil {
		return "", err
	}
	if n.Parent != "" && tip == "" {
		return "", &forge.Error{Code: forge.NotFound, Unsent: true, Message: fmt.Sprintf("there is no branch %s", n.Branch)}
	}
	if tip != "" && tip != from(n) {
		return b.instead(ctx, n, tip)
	}
	made, err := b.write(ctx, n, who)
	if err != nil {
		return "", err
	}
	err = r.Push(ctx, to.URL, to.Auth, made, b.ref(), tip)
	if !errors.Is(err, git.ErrStale) {
		return made, err
	}
	// Somebody was faster, or our own push came through and its answer did not.
	tip, lookErr := b.tip(ctx)
	if lookErr != nil {
		return "", lookErr
	}
	return b.instead(ctx, n, tip)
}

// Delete deletes a branch that is at sha; one that is gone is no error.
func Delete(ctx context.Context, to Remote, name, sha string) error {
	if !shaRE.MatchString(sha) {
		return invalid("%q is not a full SHA", sha)
	}
	r, err := git.Scratch(ctx, to.Git)
	if err != nil {
		return err
	}
	defer r.Close()
	b := branch{Remote: to, repo: r, name: name}
	for range 2 {
		tip, err := b.tip(ctx)
		switch {
		case err != nil || tip == "":
			return err
		case tip != sha:
			return b.elsewhere(tip, sha)
		}
		if err := r.Push(ctx, to.URL, to.Auth, "", b.ref(), sha); !errors.Is(err, git.ErrStale) {
			return err
		}
	}
	return &forge.Error{Code: forge.Conflict, Unsent: true, Message: fmt.Sprintf("the forge does not let go of the branch %s at %s", name, sha)}
}

func invalid(format string, args ...any) error {
	return &forge.Error{Code: forge.Invalid, Unsent: true, Message: fmt.Sprintf(format, args...)}
}

// from is the commit that a new one follows.
func from(n forge.NewCommit) string { return cmp.Or(n.Parent, n.Base) }

func check(n forge.NewCommit) error {
	switch {
	case n.Branch == "" || strings.TrimSpace(n.Message) == "" || len(n.Edits) == 0:
		return invalid("a commit needs a branch, a message and an edit at least")
	case !shaRE.MatchString(from(n)):
		return invalid("%q, which the commit is to follow, is not a full SHA", from(n))
	case git.CheckBranch(n.Branch) != nil:
		return invalid("%q cannot be the name of a branch", n.Branch)
	}
	for path, e := range n.Edits {
		switch e.Mode {
		case "", forge.RegularFile, forge.Executable, forge.SymbolicLink:
		default:
			return invalid("%s cannot get the mode %q", path, e.Mode)
		}
	}
	return nil
}

// branch is a branch of a remote, and the repository to work in.
type branch struct {
	Remote
	repo *git.Repo
	name string
}

func (b branch) ref() string { return "refs/heads/" + b.name }

func (b branch) tip(ctx context.Context) (string, error) {
	return b.repo.RemoteTip(ctx, b.URL, b.Auth, b.ref())
}

func (b branch) elsewhere(tip, want string) error {
	at := "at " + tip
	if tip == "" {
		at = "gone"
	}
	return &forge.Error{Code: forge.Conflict, Unsent: true, Message: fmt.Sprintf("the branch %s is %s, not at %s", b.name, at, want)}
}

// write makes the commit, which nobody sees yet.
func (b branch) write(ctx context.Context, n forge.NewCommit, who git.Signature) (string, error) {
	parent := from(n)
	err := b.repo.FetchTip(ctx, b.URL, b.Auth, parent)
	if forge.CodeOf(err) == forge.NotFound {
		return "", &forge.Error{Code: forge.Invalid, Unsent: true, Message: fmt.Sprintf("the repository has no commit %s", parent), Err: err}
	}
	if err != nil {
		return "", err
	}
	tree, err := b.repo.WriteFiles(ctx, parent, n.Edits)
	if errors.Is(err, git.ErrEdit) {
		return "", &forge.Error{Code: forge.Invalid, Unsent: true, Message: err.Error(), Err: err}
	}
	if err != nil {
		return "", err
	}
	return b.repo.WriteCommit(ctx, git.Commit{Tree: tree, Parents: []string{parent}, Author: who, Committer: who, Message: n.Message})
}

// instead is the answer where the branch is not where the commit was to go: it
// may be at that commit already, made by a call whose answer was lost.
func (b branch) instead(ctx context.Context, n forge.NewCommit, tip string) (string, error) {
	if n.Tree == "" || tip == "" {
		return "", b.elsewhere(tip, from(n))
	}
	if err := b.repo.FetchTip(ctx, b.URL, b.Auth, tip); err != nil {
		return "", err
	}
	c, err := b.repo.ReadCommit(ctx, tip)
	if err != nil {
		return "", err
	}
	same := len(c.Parents) == 1 && c.Parents[0] == from(n) && c.Tree == n.Tree &&
		strings.TrimSpace(c.Message) == strings.TrimSpace(n.Message)
	if !same {
		return "", b.elsewhere(tip, from(n))
	}
	return tip, nil
}
