// Package commits reads and writes the commits of a repository on GitHub.
package commits

import (
	"context"
	"fmt"
	"strings"

	gh "github.com/google/go-github/v60/github"

	"lockkeeper/forge"
	"lockkeeper/forge/github/internal/sdk"
	"lockkeeper/forge/internal/wire"
)

// Repo is a repository, and the way to it.
type Repo struct {
	Client *gh.Client
	Wire   *wire.Wire
	Ref    forge.RepoRef
}

// List lists p.Base.SHA..p.Head.SHA with the accounts GitHub attributes them
// to: one comparison per 100 commits, and one GraphQL query per 100 commits that
// name co-authors. A pull's own list of commits is not used: it stops at 250 and
// goes by the base of the last push. Callers that know a newer base put it into
// p.Base.SHA.
func (r Repo) List(ctx context.Context, p forge.Pull) ([]forge.Commit, error) {
	raw, err := r.Compare(ctx, p.Base.SHA, p.Head.SHA)
	if err != nil {
		return nil, err
	}
	commits := make([]forge.Commit, len(raw))
	shared := map[string]*forge.Commit{} // with co-authors, by node id
	for i, c := range raw {
		commits[i] = toCommit(c)
		if strings.Contains(strings.ToLower(c.GetCommit().GetMessage()), "co-authored-by") {
			shared[c.GetNodeID()] = &commits[i]
		}
	}
	if err := r.coAuthors(ctx, shared); err != nil {
		return nil, err
	}
	return commits, nil
}

// Compare reads all pages of base...head and fails when GitHub gave fewer
// commits than it says there are: a contributor must not go unseen (threat 20).
func (r Repo) Compare(ctx context.Context, base, head string) ([]*gh.RepositoryCommit, error) {
	if !wire.IsSHA(base) || !wire.IsSHA(head) {
		return nil, &forge.Error{Code: forge.Invalid, Unsent: true, Message: fmt.Sprintf("cannot compare %q with %q; both must be full SHAs", base, head)}
	}
	total := 0
	all, err := sdk.Pages(func(o gh.ListOptions) ([]*gh.RepositoryCommit, *gh.Response, error) {
		cmp, resp, err := r.Client.Repositories.CompareCommits(ctx, r.Ref.Owner, r.Ref.Name, base, head, &o)
		if err != nil {
			return nil, resp, err
		}
		total = cmp.GetTotalCommits()
		return cmp.Commits, resp, nil
	})
	if err != nil {
		return nil, err
	}
	if len(all) != total || total > 0 && all[total-1].GetSHA() != head {
		return nil, &forge.Error{Code: forge.Unavailable,
			Message: fmt.Sprintf("the forge listed %d of %d commits between %s and %s", len(all), total, base, head)}
	}
	return all, nil
}

func toCommit(r *gh.RepositoryCommit) forge.Commit {
	subject, _, _ := strings.Cut(r.GetCommit().GetMessage(), "\n")
	out := forge.Commit{
		SHA:         r.GetSHA(),
		Subject:     subject,
		Author:      sdk.User(r.Author),
		Committer:   sdk.User(r.Committer),
		AuthorEmail: r.GetCommit().GetAuthor().GetEmail(),
		Verified:    r.GetCommit().GetVerification().GetVerified(),
	}
	for _, p := range r.Parents {
		out.Parents = append(out.Parents, p.GetSHA())
	}
	return out
}

const coAuthorsQuery = `query($ids:[ID!]!){nodes(ids:$ids){... on Commit{oid authors(first:100){totalCount nodes{email user{databaseId login}}}}}}`

type coAuthorsAnswer struct {
	Nodes []struct {
		OID     string `json:"oid"`
		Authors struct {
			TotalCount int `json:"totalCount"`
			Nodes      []struct {
				Email string `json:"email"`
				User  *struct {
					DatabaseID int64  `json:"databaseId"`
					Login      string `json:"login"`
				} `json:"user"`
			} `json:"nodes"`
		} `json:"authors"`
	} `json:"nodes"`
}

// coAuthors fills in the accounts of co-authors. One that GitHub cannot name
// gets ID 0, with the e-mail address in Login for explanations.
func (r Repo) coAuthors(ctx context.Context, byNode map[string]*forge.Commit) error {
	var ids []string
	bySHA := map[string]*forge.Commit{}
	for id, commit := range byNode {
		ids = append(ids, id)
		bySHA[commit.SHA] = commit
	}
	for len(ids) > 0 {
		n := min(len(ids), sdk.PerPage)
		var a coAuthorsAnswer
		if err := sdk.Query(ctx, r.Wire, r.Client, coAuthorsQuery, map[string]any{"ids": ids[:n]}, &a); err != nil {
			return err
		}
		ids = ids[n:]
		for _, node := range a.Nodes {
			commit := bySHA[node.OID]
			if commit == nil || node.Authors.TotalCount != len(node.Authors.Nodes) {
				return &forge.Error{Code: forge.Unavailable, Message: fmt.Sprintf("the forge did not list all co-authors of commit %s", node.OID)}
			}
			delete(bySHA, node.OID)
			for i, who := range node.Authors.Nodes {
				if i == 0 { // the author comes first
					continue
				}
				u := forge.User{Login: who.Email, Type: forge.Person}
				if who.User != nil {
					u = sdk.User(&gh.User{ID: &who.User.DatabaseID, Login: &who.User.Login})
				}
				commit.CoAuthors = append(commit.CoAuthors, u)
			}
		}
	}
	for sha := range bySHA {
		return &forge.Error{Code: forge.Unavailable, Message: "the forge did not tell the co-authors of commit " + sha}
	}
	return nil
}
