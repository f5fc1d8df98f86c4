package gitlab

import (
	"context"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	gl "gitlab.com/gitlab-org/api/client-go"

	"lockkeeper/forge"
	"lockkeeper/forge/git"
	"lockkeeper/forge/gitlab/internal/api"
	"lockkeeper/forge/internal/pushed"
	"lockkeeper/forge/internal/wire"
)

const authorsQuery = `query($ids:[ID!],$iid:String!,$after:String){projects(ids:$ids){nodes{mergeRequest(iid:$iid){commits(first:100,after:$after){nodes{sha authorEmail author{id username name bot}}pageInfo{hasNextPage endCursor}}}}}}`

// Commits lists p.Base.SHA..p.Head.SHA with the accounts that GitLab attributes
// them to, by the address of the author. It tells no account of committers and
// co-authors: one is named where its address is that of an author in the same
// pull, and has ID 0 else. The same holds for commits that the pull no longer
// has.
func (f *Forge) Commits(ctx context.Context, ref forge.RepoRef, p forge.Pull) ([]forge.Commit, error) {
	op := fmt.Sprintf("list commits of pull %s#%d", ref, p.Number)
	ref, err := f.at(ctx, ref)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	found, err := f.between(ctx, ref, p.Base.SHA, p.Head.SHA)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	if len(found) == 0 {
		return nil, nil
	}
	attributed, err := api.Connected(ctx, f.api, ref, p.Number, authorsQuery, func(m *api.MergeRequest) api.Connection[api.Commit] { return m.Commits })
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	return attribute(found, attributed), nil
}

// between lists base..head, oldest first.
func (f *Forge) between(ctx context.Context, ref forge.RepoRef, base, head string) ([]*gl.Commit, error) {
	for _, sha := range []string{base, head} {
		if !wire.IsSHA(sha) {
			return nil, api.NotSHA(sha)
		}
	}
	found, err := api.List[*gl.Commit](ctx, f.api, fmt.Sprintf("projects/%d/repository/commits", ref.ID), url.Values{"ref_name": {base + ".." + head}, "order": {"topo"}})
	if err != nil {
		return nil, err
	}
	if len(found) > 0 && (found[0] == nil || found[0].ID != head) {
		return nil, &forge.Error{Code: forge.Unavailable, Message: "the forge's list of commits does not begin with the head"}
	}
	slices.Reverse(found)
	return found, nil
}

var coAuthorRE = regexp.MustCompile(`(?im)^co-authored-by:[^<\n]*<([^>\n]+)>[ \t]*\r?$`)

// attribute puts accounts to commits: never by name, and by address only where
// GitLab itself took that address for an account.
func attribute(found []*gl.Commit, attributed []api.Commit) []forge.Commit {
	authors, owners := map[string]forge.User{}, map[string]forge.User{}
	for _, c := range attributed {
		if c.Author == nil {
			continue
		}
		u := c.Author.User()
		authors[c.SHA] = u
		if c.Email != "" && u.ID != 0 {
			owners[c.Email] = u
		}
	}
	nobody := forge.User{Type: forge.Deleted}
	of := func(m map[string]forge.User, key string) forge.User {
		if u, ok := m[key]; ok {
			return u
		}
		return nobody
	}
	out := make([]forge.Commit, len(found))
	for i, c := range found {
		out[i] = forge.Commit{
			SHA: c.ID, Parents: c.ParentIDs, Subject: c.Title, AuthorEmail: c.AuthorEmail,
			Author: of(authors, c.ID), Committer: of(owners, c.CommitterEmail),
		}
		if c.Message != "" {
			out[i].Subject, _, _ = strings.Cut(c.Message, "\n") // the title is cut after 80 characters
		}
		for _, m := range coAuthorRE.FindAllStringSubmatch(c.Message, -1) {
			u := of(owners, m[1])
			if u.ID == 0 {
				u.Login = m[1] // by its address a tool is known
			}
			out[i].CoAuthors = append(out[i].CoAuthors, u)
		}
	}
	return out
}

// CommitPulls lists the pulls of a commit: those that were merged with it, by
// their merge or squash commit too; for a commit of no merged pull, those that
// hold it.
func (f *Forge) CommitPulls(ctx context.Context, ref forge.RepoRef, sha string) ([]forge.Pull, error) {
	op := fmt.Sprintf("list pulls of commit %s@%s", ref, sha)
	if !wire.IsSHA(sha) {
		return nil, wire.Fail(op, api.NotSHA(sha))
	}
	ref, err := f.at(ctx, ref)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	out, err := f.commitPulls(ctx, ref.ID, sha)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	return out, nil
}

func (f *Forge) commitPulls(ctx context.Context, project int64, sha string) ([]forge.Pull, error) {
	found, err := api.List[gl.BasicMergeRequest](ctx, f.api, fmt.Sprintf("projects/%d/repository/commits/%s/merge_requests", project, sha), nil)
	if err != nil {
		return nil, err
	}
	all, err := f.toPulls(ctx, project, found)
	if err != nil {
		return nil, err
	}
	var merged []forge.Pull
	for _, p := range all {
		if p.Merged {
			merged = append(merged, p)
		}
	}
	if len(merged) > 0 {
		return merged, nil
	}
	return all, nil
}

// Commit puts a commit on a branch by Git push, in the name and with the address
// of our own account, so that GitLab attributes it: its API knows no file modes
// but one, and does not compare where the branch is. GitLab signs no pushes.
func (f *Forge) Commit(ctx context.Context, ref forge.RepoRef, n forge.NewCommit) (string, error) {
	op := fmt.Sprintf("commit to the branch %s of %s", n.Branch, ref)
	to, err := f.remote(ctx, ref)
	if err != nil {
		return "", wire.Fail(op, err)
	}
	me, err := f.me(ctx)
	if err != nil {
		return "", wire.Fail(op, err)
	}
	if me.email == "" {
		return "", wire.Fail(op, &forge.Error{Code: forge.Invalid, Unsent: true, Message: "our account has no e-mail address, without which GitLab would not know whose the commit is"})
	}
	sha, err := pushed.Commit(ctx, to, n, git.Signature{Name: me.name, Email: me.email, When: f.wire.Now()})
	if err != nil {
		return "", wire.Fail(op, err)
	}
	return sha, nil
}

// DeleteBranch deletes a branch if it is at sha.
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

func (f *Forge) remote(ctx context.Context, ref forge.RepoRef) (pushed.Remote, error) {
	p, err := f.project(ctx, ref)
	if err != nil {
		return pushed.Remote{}, err
	}
	auth, err := f.GitAuth(ctx, ref)
	return pushed.Remote{URL: f.cloneURL(p), Auth: auth, Git: git.Options{CAFile: f.cfg.CAFile}}, err
}
