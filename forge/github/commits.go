package github

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	gh "github.com/google/go-github/v60/github"

	"lockkeeper/forge"
	"lockkeeper/forge/github/internal/wire"
)

// Commits lists p.Base.SHA..p.Head.SHA with the accounts GitHub attributes
// them to: one comparison per 100 commits, and one GraphQL query per 100
// commits that name co-authors. A pull's own list of commits is not used: it
// stops at 250 and goes by the base of the last push. Callers that know a
// newer base put it into p.Base.SHA.
func (f *Forge) Commits(ctx context.Context, ref forge.RepoRef, p forge.Pull) ([]forge.Commit, error) {
	op := fmt.Sprintf("list commits of pull %s#%d", ref, p.Number)
	c, err := f.repo(ctx, ref)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	raw, err := compare(ctx, c, ref, p.Base.SHA, p.Head.SHA)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	commits := make([]forge.Commit, len(raw))
	shared := map[string]*forge.Commit{} // with co-authors, by node id
	for i, r := range raw {
		commits[i] = toCommit(r)
		if strings.Contains(strings.ToLower(r.GetCommit().GetMessage()), "co-authored-by") {
			shared[r.GetNodeID()] = &commits[i]
		}
	}
	if err := f.coAuthors(ctx, c, shared); err != nil {
		return nil, wire.Fail(op, err)
	}
	return commits, nil
}

// compare reads all pages of base...head and fails when GitHub gave fewer
// commits than it says there are: a contributor must not go unseen (threat 20).
func compare(ctx context.Context, c *gh.Client, ref forge.RepoRef, base, head string) ([]*gh.RepositoryCommit, error) {
	if !shaRE.MatchString(base) || !shaRE.MatchString(head) {
		return nil, &forge.Error{Code: forge.Invalid, Unsent: true, Message: fmt.Sprintf("cannot compare %q with %q; both must be full SHAs", base, head)}
	}
	total := 0
	all, err := pages(func(o gh.ListOptions) ([]*gh.RepositoryCommit, *gh.Response, error) {
		cmp, resp, err := c.Repositories.CompareCommits(ctx, ref.Owner, ref.Name, base, head, &o)
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
		Author:      toUser(r.Author),
		Committer:   toUser(r.Committer),
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
func (f *Forge) coAuthors(ctx context.Context, c *gh.Client, byNode map[string]*forge.Commit) error {
	var ids []string
	bySHA := map[string]*forge.Commit{}
	for id, commit := range byNode {
		ids = append(ids, id)
		bySHA[commit.SHA] = commit
	}
	for len(ids) > 0 {
		n := min(len(ids), perPage)
		var a coAuthorsAnswer
		if err := f.query(ctx, c, coAuthorsQuery, map[string]any{"ids": ids[:n]}, &a); err != nil {
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
					u = toUser(&gh.User{ID: &who.User.DatabaseID, Login: &who.User.Login})
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

// query posts a GraphQL query. GraphQL answers 200 with errors inside; any
// error fails the whole query, because half an answer hides facts.
func (f *Forge) query(ctx context.Context, c *gh.Client, query string, vars map[string]any, into any) error {
	req, err := c.NewRequest(http.MethodPost, f.graphQL.String(), map[string]any{"query": query, "variables": vars})
	if err != nil {
		return err
	}
	answer := struct {
		Data   any `json:"data"`
		Errors []struct {
			Type    string `json:"type"`
			Message string `json:"message"`
		} `json:"errors"`
	}{Data: into}
	resp, err := c.Do(ctx, req, &answer)
	if err != nil || len(answer.Errors) == 0 {
		return err
	}
	first := answer.Errors[0]
	e := &forge.Error{Code: forge.Unavailable, Status: resp.StatusCode, Message: "GraphQL: " + first.Message, Unsent: true}
	switch first.Type {
	case "RATE_LIMITED":
		return wire.Limited("", resp.Response, first.Message, resp.Rate.Reset.Time)
	case "FORBIDDEN", "INSUFFICIENT_SCOPES":
		e.Code = forge.Forbidden
	case "NOT_FOUND":
		e.Code = forge.NotFound
	}
	return e
}
