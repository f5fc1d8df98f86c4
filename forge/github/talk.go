package github

import (
	"context"
	"fmt"
	"strings"

	gh "github.com/google/go-github/v60/github"

	"lockkeeper/forge"
	"lockkeeper/forge/github/internal/sdk"
)

// Comments lists the conversation of a pull, oldest first.
func (f *Forge) Comments(ctx context.Context, ref forge.RepoRef, number int) ([]forge.Comment, error) {
	op := fmt.Sprintf("list comments of pull %s#%d", ref, number)
	c, ref, err := f.repo(ctx, ref)
	if err != nil {
		return nil, sdk.Fail(op, err)
	}
	list, err := sdk.Pages(func(o gh.ListOptions) ([]*gh.IssueComment, *gh.Response, error) {
		return c.Issues.ListComments(ctx, ref.Owner, ref.Name, number, &gh.IssueListCommentsOptions{ListOptions: o})
	})
	if err != nil {
		return nil, sdk.Fail(op, err)
	}
	out := make([]forge.Comment, len(list))
	for i, r := range list {
		out[i] = toComment(r)
		if out[i].Outside, err = f.outside(ctx, c, ref, r.GetAuthorAssociation()); err != nil {
			return nil, sdk.Fail(op, err)
		}
	}
	return out, nil
}

func toComment(r *gh.IssueComment) forge.Comment {
	return forge.Comment{
		ID:        r.GetID(),
		Author:    sdk.User(r.User),
		Body:      r.GetBody(),
		URL:       r.GetHTMLURL(),
		CreatedAt: r.GetCreatedAt().Time,
		UpdatedAt: r.GetUpdatedAt().Time,
	}
}

// CreateComment writes to the conversation of a pull.
func (f *Forge) CreateComment(ctx context.Context, ref forge.RepoRef, number int, body string) (forge.Comment, error) {
	op := fmt.Sprintf("comment on pull %s#%d", ref, number)
	c, ref, err := f.repo(ctx, ref)
	if err != nil {
		return forge.Comment{}, sdk.Fail(op, err)
	}
	r, _, err := c.Issues.CreateComment(ctx, ref.Owner, ref.Name, number, &gh.IssueComment{Body: &body})
	if err != nil {
		return forge.Comment{}, sdk.Fail(op, err)
	}
	return toComment(r), nil
}

// UpdateComment replaces the body of a comment; nobody is notified.
func (f *Forge) UpdateComment(ctx context.Context, ref forge.RepoRef, _ int, id int64, body string) (forge.Comment, error) {
	op := fmt.Sprintf("update comment %d in %s", id, ref)
	c, ref, err := f.repo(ctx, ref)
	if err != nil {
		return forge.Comment{}, sdk.Fail(op, err)
	}
	r, _, err := c.Issues.EditComment(ctx, ref.Owner, ref.Name, id, &gh.IssueComment{Body: &body})
	if err != nil {
		return forge.Comment{}, sdk.Fail(op, err)
	}
	return toComment(r), nil
}

// DeleteComment removes a comment.
func (f *Forge) DeleteComment(ctx context.Context, ref forge.RepoRef, _ int, id int64) error {
	op := fmt.Sprintf("delete comment %d in %s", id, ref)
	c, ref, err := f.repo(ctx, ref)
	if err != nil {
		return sdk.Fail(op, err)
	}
	if _, err := c.Issues.DeleteComment(ctx, ref.Owner, ref.Name, id); err != nil {
		return sdk.Fail(op, err)
	}
	return nil
}

// React marks a comment; doing it twice leaves one mark.
func (f *Forge) React(ctx context.Context, ref forge.RepoRef, _ int, commentID int64, r forge.Reaction) error {
	op := fmt.Sprintf("react to comment %d in %s", commentID, ref)
	c, ref, err := f.repo(ctx, ref)
	if err != nil {
		return sdk.Fail(op, err)
	}
	// forge.Reaction uses GitHub's own words.
	if _, _, err := c.Reactions.CreateIssueCommentReaction(ctx, ref.Owner, ref.Name, commentID, string(r)); err != nil {
		return sdk.Fail(op, err)
	}
	return nil
}

// Reviews lists submitted reviews, oldest first. Drafts of reviews, which
// GitHub shows to their author only, are left out.
func (f *Forge) Reviews(ctx context.Context, ref forge.RepoRef, number int) ([]forge.Review, error) {
	op := fmt.Sprintf("list reviews of pull %s#%d", ref, number)
	c, ref, err := f.repo(ctx, ref)
	if err != nil {
		return nil, sdk.Fail(op, err)
	}
	list, err := sdk.Pages(func(o gh.ListOptions) ([]*gh.PullRequestReview, *gh.Response, error) {
		return c.PullRequests.ListReviews(ctx, ref.Owner, ref.Name, number, &o)
	})
	if err != nil {
		return nil, sdk.Fail(op, err)
	}
	var out []forge.Review
	for _, r := range list {
		state := forge.ReviewState(strings.ToLower(r.GetState()))
		switch state {
		case "pending":
			continue
		case forge.Approved, forge.ChangesRequested, forge.Commented, forge.Dismissed:
		default:
			return nil, sdk.Fail(op, &forge.Error{Code: forge.Unavailable, Message: fmt.Sprintf("review %d has the unknown state %q", r.GetID(), r.GetState())})
		}
		outside, err := f.outside(ctx, c, ref, r.GetAuthorAssociation())
		if err != nil {
			return nil, sdk.Fail(op, err)
		}
		out = append(out, forge.Review{
			ID:          r.GetID(),
			Author:      sdk.User(r.User),
			State:       state,
			Body:        r.GetBody(),
			CommitSHA:   r.GetCommitID(),
			URL:         r.GetHTMLURL(),
			SubmittedAt: r.GetSubmittedAt().Time,
			Outside:     outside,
		})
	}
	return out, nil
}

// RequestReview asks for reviews. GitHub takes people by login and teams of
// the repository's own organisation by slug, and refuses a whole request over
// one name, a team without access included.
func (f *Forge) RequestReview(ctx context.Context, ref forge.RepoRef, number int, users []forge.User, teams []forge.Team) error {
	op := fmt.Sprintf("request reviews of pull %s#%d", ref, number)
	var in gh.ReviewersRequest
	for _, u := range users {
		in.Reviewers = append(in.Reviewers, u.Login)
	}
	for _, t := range teams {
		if !strings.EqualFold(t.Org, ref.Owner) {
			return sdk.Fail(op, &forge.Error{Code: forge.Invalid, Unsent: true, Message: fmt.Sprintf("team %s is not of %s; GitHub takes no other's", t, ref.Owner)})
		}
		in.TeamReviewers = append(in.TeamReviewers, t.Slug)
	}
	if len(users)+len(teams) == 0 {
		return nil
	}
	c, ref, err := f.repo(ctx, ref)
	if err != nil {
		return sdk.Fail(op, err)
	}
	if _, _, err := c.PullRequests.RequestReviewers(ctx, ref.Owner, ref.Name, number, in); err != nil {
		return sdk.Fail(op, err)
	}
	return nil
}

// Permission of an account. GitHub is asked by login; an answer about another
// account means that the login was given up and taken (threat 26).
func (f *Forge) Permission(ctx context.Context, ref forge.RepoRef, u forge.User) (forge.Permission, error) {
	op := fmt.Sprintf("read the permission of %s in %s", u.Login, ref)
	login := strings.TrimSuffix(u.Login, "[bot]")
	if u.ID == 0 || !nameRE.MatchString(login) {
		return forge.None, nil
	}
	c, ref, err := f.repo(ctx, ref)
	if err != nil {
		return forge.None, sdk.Fail(op, err)
	}
	level, _, err := c.Repositories.GetPermissionLevel(ctx, ref.Owner, ref.Name, u.Login)
	if err != nil {
		err = sdk.Fail(op, err)
		if forge.CodeOf(err) == forge.NotFound {
			return forge.None, nil // no account of that name any more
		}
		return forge.None, err
	}
	if level.GetUser().GetID() != u.ID {
		return forge.None, nil
	}
	// GitHub folds "maintain" into write and "triage" into read here.
	switch level.GetPermission() {
	case "admin":
		return forge.Admin, nil
	case "write", "maintain":
		return forge.Write, nil
	case "read", "triage":
		return forge.Read, nil
	}
	return forge.None, nil
}

// TeamMembers lists a team's members; GitHub counts those of child teams in.
func (f *Forge) TeamMembers(ctx context.Context, ref forge.RepoRef, t forge.Team) ([]forge.User, error) {
	op := "list members of team " + t.String()
	if err := checkName(forge.RepoRef{Owner: t.Org, Name: t.Slug}); err != nil {
		return nil, sdk.Fail(op, err)
	}
	c, _, err := f.repo(ctx, ref)
	if err != nil {
		return nil, sdk.Fail(op, err)
	}
	list, err := sdk.Pages(func(o gh.ListOptions) ([]*gh.User, *gh.Response, error) {
		return c.Teams.ListTeamMembersBySlug(ctx, t.Org, t.Slug, &gh.TeamListTeamMembersOptions{ListOptions: o})
	})
	if err != nil {
		return nil, sdk.Fail(op, err)
	}
	out := make([]forge.User, len(list))
	for i, u := range list {
		out[i] = sdk.User(u)
	}
	return out, nil
}
