package hub

import (
	"context"
	"slices"

	"lockkeeper/forge/forgetest/bare"
)

// PullsOf are the pulls of a commit as GitHub finds them: for a commit in the
// default branch the merged ones that brought it there, for any other the open
// and merged ones that hold it.
func (s *Hub) PullsOf(ctx context.Context, r *Repo, sha string) []*Pull {
	landed := r.Git.IsAncestor(ctx, sha, r.Branch(r.DefaultBranch))
	return slices.DeleteFunc(r.SortedPulls(), func(p *Pull) bool {
		if landed {
			return !p.Merged || !p.brought(ctx, sha)
		}
		holds := slices.ContainsFunc(p.Commits(ctx), func(c bare.Commit) bool { return c.SHA == sha })
		return p.Closed && !p.Merged || !holds && !(p.Merged && p.brought(ctx, sha))
	})
}

// brought tells whether a merged pull brought a commit to its base, as it is
// there now: squashed and rebased commits are others than those of the head.
func (p *Pull) brought(ctx context.Context, sha string) bool {
	list, err := p.Repo.Git.Between(ctx, p.mergedFrom, p.MergeSHA)
	return err == nil && slices.ContainsFunc(list, func(c bare.Commit) bool { return c.SHA == sha })
}

// AskForReview adds people and teams to those who owe a review, and tells.
func (s *Hub) AskForReview(ctx context.Context, p *Pull, by *Account, people []*Account, teams []*Team) {
	p.Updated = s.Tick()
	for _, a := range people {
		if !slices.Contains(p.Requested, a) {
			p.Requested = append(p.Requested, a)
			s.EmitPull(ctx, p, "review_requested", by, obj{"requested_reviewer": s.UserJSON(a)})
		}
	}
	for _, t := range teams {
		if !slices.Contains(p.RequestedTeams, t) {
			p.RequestedTeams = append(p.RequestedTeams, t)
			s.EmitPull(ctx, p, "review_requested", by, obj{"requested_team": s.teamEvent(t)})
		}
	}
}

// Reviewed settles what a reviewer and their teams owed.
func (s *Hub) Reviewed(p *Pull, by *Account) {
	p.Requested = slices.DeleteFunc(p.Requested, func(a *Account) bool { return a == by })
	p.RequestedTeams = slices.DeleteFunc(p.RequestedTeams, func(t *Team) bool { return slices.Contains(s.TeamMembers(t), by) })
}

// TeamHasAccess tells whether a team was given a role in a repository.
func (r *Repo) TeamHasAccess(t *Team) bool { return r.teamGrants[t] != "" }

// Invited tells whether an account reaches a repository by more than its being
// public.
func (r *Repo) Invited(s *Hub, a *Account) bool {
	return AtLeast(s.Permission(r, a), "read") && (r.private || s.association(r, a) != "NONE" && s.association(r, a) != "CONTRIBUTOR")
}
