package github

import (
	"context"
	"strings"

	gh "github.com/google/go-github/v60/github"

	"lockkeeper/forge"
)

// outside tells whether an author_association means an outside collaborator in
// the repository. GitHub documents COLLABORATOR as "has been invited to
// collaborate on the repository" and MEMBER as "is a member of the
// organization that owns the repository" (CommentAuthorAssociation in its
// GraphQL reference) and shows the strongest that holds, so that COLLABORATOR
// on an organisation's repository is somebody invited from outside. On a
// person's own repository everybody invited is one, and nobody is outside.
//
// Two limits. The association is today's, not that of the moment of writing.
// And GitHub counts only memberships that the reader may see: with the
// permission members:read an App sees all of them, while a personal token from
// outside the organisation may take a concealed member for an outsider, which
// errs on the side of asking for one approver more.
func (f *Forge) outside(ctx context.Context, c *gh.Client, ref forge.RepoRef, association string) (bool, error) {
	if association != "COLLABORATOR" {
		return false, nil
	}
	if org, known := f.owners.Load(strings.ToLower(ref.Owner)); known {
		return org == true, nil
	}
	r, _, err := c.Repositories.Get(ctx, ref.Owner, ref.Name)
	if err != nil {
		return false, err
	}
	return f.learnOwner(r.GetOwner()), nil
}

// learnOwner remembers whether an owner of repositories is an organisation.
// Every reading of a repository or pull refreshes it.
func (f *Forge) learnOwner(u *gh.User) bool {
	org := u.GetType() == "Organization"
	if u.GetLogin() != "" {
		f.owners.Store(strings.ToLower(u.GetLogin()), org)
	}
	return org
}
