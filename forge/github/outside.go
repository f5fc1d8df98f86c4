package github

import (
	"context"
	"strings"

	gh "github.com/google/go-github/v60/github"

	"lockkeeper/forge"
)

// outsiders tells which author_association means an outside collaborator in
// the repository. GitHub documents COLLABORATOR as "has been invited to
// collaborate on the repository" and MEMBER as "is a member of the
// organization that owns the repository" (CommentAuthorAssociation in its
// GraphQL reference) and shows the strongest that holds, so that COLLABORATOR
// on an organisation's repository is somebody invited from outside.
//
// Two limits. The association is today's, not that of the moment of writing.
// And to a reader who does not see it, a concealed membership does not count:
// with the permission members:read an App sees all of them, while a personal
// token from outside the organisation may take a member for an outsider, which
// only asks for one approver more.
func (f *Forge) outsiders(ctx context.Context, c *gh.Client, ref forge.RepoRef) (func(association string) bool, error) {
	org, known := f.owners.Load(strings.ToLower(ref.Owner))
	if !known {
		r, _, err := c.Repositories.Get(ctx, ref.Owner, ref.Name)
		if err != nil {
			return nil, err
		}
		org = f.learnOwner(r.GetOwner())
	}
	return func(association string) bool { return org == true && association == "COLLABORATOR" }, nil
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
