package gitea

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	sdk "code.gitea.io/sdk/gitea"

	"lockkeeper/forge"
	"lockkeeper/forge/git"
	"lockkeeper/forge/internal/pushed"
	"lockkeeper/forge/internal/wire"
)

// coAuthorLine finds the addresses of co-authors in a message.
var coAuthorLine = regexp.MustCompile(`(?im)^[ \t]*co-authored-by[ \t]*:.*<([^<>\n]*)>[^>\n]*$`)

// PullsOf lists all pulls of a branch of the repository, newest first. Gitea has
// no such question: it lists all pulls of the repository, fifty in a call.
func (f *Forge) PullsOf(ctx context.Context, ref forge.RepoRef, branch string) ([]forge.Pull, error) {
	op := fmt.Sprintf("list pulls of the branch %s of %s", branch, ref)
	ref, err := f.repo(ctx, ref)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	list, err := f.pulls(ctx, ref, sdk.StateAll)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	var out []forge.Pull
	for _, p := range list {
		if p.Head.Name == branch && p.Head.RepoID == p.Base.RepoID {
			out = append(out, p)
		}
	}
	return out, nil
}

// tooLong refuses texts beyond our limit.
func tooLong(text string) error {
	if n := utf8.RuneCountInString(text); n > maxText {
		return invalid("the text has %d characters, and %d are the most", n, maxText)
	}
	return nil
}

// CreatePull opens a pull. A draft is one by its title.
func (f *Forge) CreatePull(ctx context.Context, ref forge.RepoRef, n forge.NewPull) (forge.Pull, error) {
	op := fmt.Sprintf("open a pull of %s into %s of %s", n.Head, n.Base, ref)
	if err := tooLong(n.Body); err != nil {
		return forge.Pull{}, wire.Fail(op, err)
	}
	if strings.TrimSpace(n.Title) == "" {
		return forge.Pull{}, wire.Fail(op, invalid("a pull needs a title"))
	}
	ref, err := f.repo(ctx, ref)
	if err != nil {
		return forge.Pull{}, wire.Fail(op, err)
	}
	if err := f.differ(ctx, ref, n.Base, n.Head); err != nil {
		return forge.Pull{}, wire.Fail(op, err)
	}
	title := n.Title
	if n.Draft {
		title = drafts[0] + " " + title
	}
	p, _, err := f.client(ctx).CreatePullRequest(ref.Owner, ref.Name, sdk.CreatePullRequestOption{Head: n.Head, Base: n.Base, Title: title, Body: n.Body})
	if err != nil {
		return forge.Pull{}, wire.Fail(op, err)
	}
	out, err := f.whole(ref, p)
	if err != nil {
		return forge.Pull{}, wire.Fail(op, err)
	}
	return out, nil
}

// differ refuses branches that are not there or have nothing to merge, which
// Gitea would open a pull of.
func (f *Forge) differ(ctx context.Context, ref forge.RepoRef, base, head string) error {
	tips := map[string]string{}
	for _, name := range []string{base, head} {
		b, err := f.branch(ctx, ref, name)
		if code(err) == forge.NotFound {
			return invalid("there is no branch %s", name)
		}
		if err != nil {
			return err
		}
		tips[name] = b.Commit.ID
	}
	none, err := f.holds(ctx, ref, tips[base], tips[head])
	if err == nil && none {
		return invalid("nothing on %s differs from %s", head, base)
	}
	return err
}

// branch reads a branch with its tip.
func (f *Forge) branch(ctx context.Context, ref forge.RepoRef, name string) (*sdk.Branch, error) {
	if git.CheckBranch(name) != nil {
		return nil, &forge.Error{Code: forge.NotFound, Unsent: true, Message: fmt.Sprintf("%q cannot be the name of a branch", name)}
	}
	b, _, err := f.client(ctx).GetRepoBranch(ref.Owner, ref.Name, name)
	if err == nil && (b.Commit == nil || !wire.IsSHA(b.Commit.ID)) {
		err = &forge.Error{Code: forge.Unavailable, Message: "the forge did not tell where the branch " + name + " is"}
	}
	return b, err
}

// UpdatePull edits, closes or reopens a pull. A draft stays one under a new title.
func (f *Forge) UpdatePull(ctx context.Context, ref forge.RepoRef, number int, e forge.PullEdit) (forge.Pull, error) {
	op := fmt.Sprintf("update pull %s#%d", ref, number)
	ref, err := f.repo(ctx, ref)
	if err != nil {
		return forge.Pull{}, wire.Fail(op, err)
	}
	before, err := f.pull(ctx, ref, number)
	if err != nil {
		return forge.Pull{}, wire.Fail(op, err)
	}
	in, err := edit(before, e)
	if err != nil {
		return forge.Pull{}, wire.Fail(op, err)
	}
	if in.State != nil && *in.State == sdk.StateOpen {
		if _, err := f.branch(ctx, ref, before.Head.Name); code(err) == forge.NotFound && !before.Fork() {
			return forge.Pull{}, wire.Fail(op, invalid("the branch %s is gone", before.Head.Name))
		}
	}
	p, _, err := f.client(ctx).EditPullRequest(ref.Owner, ref.Name, int64(number), in)
	if err != nil {
		return forge.Pull{}, wire.Fail(op, err)
	}
	out, err := f.whole(ref, p)
	if err != nil {
		return forge.Pull{}, wire.Fail(op, err)
	}
	return out, nil
}

func edit(before forge.Pull, e forge.PullEdit) (sdk.EditPullRequestOption, error) {
	in := sdk.EditPullRequestOption{Body: e.Body}
	if e.Body != nil {
		if err := tooLong(*e.Body); err != nil {
			return in, err
		}
	}
	if e.Title != nil {
		if in.Title = *e.Title; strings.TrimSpace(in.Title) == "" {
			return in, invalid("a pull needs a title")
		}
		if before.Draft {
			in.Title = drafts[0] + " " + in.Title
		}
	}
	if e.State != nil && *e.State != before.State {
		if before.Merged {
			return in, invalid("the pull was merged")
		}
		state := sdk.StateType(*e.State) // by the same words
		in.State = &state
	}
	return in, nil
}

// remote is a repository as Git reaches it.
func (f *Forge) remote(ctx context.Context, ref forge.RepoRef) (pushed.Remote, error) {
	ref, err := f.repo(ctx, ref)
	if err != nil {
		return pushed.Remote{}, err
	}
	auth, err := f.GitAuth(ctx, ref)
	return pushed.Remote{URL: fmt.Sprintf("%s/%s/%s.git", f.root, ref.Owner, ref.Name), Auth: auth, Git: git.Options{CAFile: f.cfg.CAFile}}, err
}

// Commit pushes a commit in the name of our account, and at the address by which
// Gitea knows it.
func (f *Forge) Commit(ctx context.Context, ref forge.RepoRef, n forge.NewCommit) (string, error) {
	op := fmt.Sprintf("commit to the branch %s of %s", n.Branch, ref)
	me, err := f.me(ctx)
	if err != nil {
		return "", wire.Fail(op, err)
	}
	to, err := f.remote(ctx, ref)
	if err != nil {
		return "", wire.Fail(op, err)
	}
	sha, err := pushed.Commit(ctx, to, n, git.Signature{Name: me.name, Email: me.email, When: f.cfg.Now()})
	if err != nil {
		return "", wire.Fail(op, err)
	}
	return sha, nil
}

// DeleteBranch deletes a branch that is at sha.
func (f *Forge) DeleteBranch(ctx context.Context, ref forge.RepoRef, branch, sha string) error {
	op := fmt.Sprintf("delete the branch %s of %s", branch, ref)
	to, err := f.remote(ctx, ref)
	if err != nil {
		return wire.Fail(op, err)
	}
	if err := pushed.Delete(ctx, to, branch, sha); err != nil {
		return wire.Fail(op, err)
	}
	return nil
}
