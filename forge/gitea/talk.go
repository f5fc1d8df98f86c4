package gitea

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	sdk "code.gitea.io/sdk/gitea"

	"lockkeeper/forge"
	"lockkeeper/forge/internal/wire"
)

// Comments lists the conversation of a pull, oldest first: Gitea gives all of it
// in one answer. Its clock has whole seconds, so that an edit within the second in
// which a comment was made cannot be told.
func (f *Forge) Comments(ctx context.Context, ref forge.RepoRef, number int) ([]forge.Comment, error) {
	op := fmt.Sprintf("list comments of pull %s#%d", ref, number)
	ref, err := f.repo(ctx, ref)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	// Which comments are ours is known by the account that we are.
	if _, err := f.me(ctx); err != nil {
		return nil, wire.Fail(op, err)
	}
	var list []*sdk.Comment
	total, err := f.get(ctx, at(ref, "/issues/%d/comments", number), nil, &list)
	if err != nil {
		return nil, wire.Fail(op, f.unknown(ctx, ref, number, err))
	}
	if total >= 0 && len(list) != total {
		return nil, wire.Fail(op, &forge.Error{Code: forge.Unavailable, Message: fmt.Sprintf("the forge listed %d of %d comments", len(list), total)})
	}
	out := make([]forge.Comment, len(list))
	for i, r := range list {
		out[i] = toComment(r)
		if out[i].Outside, err = f.outside(ctx, ref, out[i].Author); err != nil {
			return nil, wire.Fail(op, err)
		}
	}
	return out, nil
}

// unknown makes of a failure without a cause, which is how Gitea answers for
// comments of a pull that is not there, what it means.
func (f *Forge) unknown(ctx context.Context, ref forge.RepoRef, number int, err error) error {
	var fe *forge.Error
	if !errors.As(err, &fe) || fe.Status != http.StatusInternalServerError {
		return err
	}
	if _, _, looked := f.client(ctx).GetIssue(ref.Owner, ref.Name, int64(number)); code(looked) == forge.NotFound {
		return looked
	}
	return err
}

// toComment reads a comment. One that came with a repository from elsewhere is
// said to be by whoever brought the repository, and is by nobody here.
func toComment(r *sdk.Comment) forge.Comment {
	c := forge.Comment{
		ID: r.ID, Author: toUser(r.Poster), Body: r.Body, URL: r.HTMLURL, CreatedAt: r.Created, UpdatedAt: r.Updated,
	}
	if r.OriginalAuthor != "" {
		c.Author = forge.User{Login: r.OriginalAuthor, Type: forge.Deleted}
	}
	return c
}

// CreateComment writes to the conversation of a pull.
func (f *Forge) CreateComment(ctx context.Context, ref forge.RepoRef, number int, body string) (forge.Comment, error) {
	op := fmt.Sprintf("comment on pull %s#%d", ref, number)
	if err := tooLong(body); err != nil {
		return forge.Comment{}, wire.Fail(op, err)
	}
	ref, err := f.repo(ctx, ref)
	if err != nil {
		return forge.Comment{}, wire.Fail(op, err)
	}
	r, _, err := f.client(ctx).CreateIssueComment(ref.Owner, ref.Name, int64(number), sdk.CreateIssueCommentOption{Body: body})
	if err != nil {
		return forge.Comment{}, wire.Fail(op, f.unknown(ctx, ref, number, err))
	}
	return toComment(r), nil
}

// UpdateComment replaces the body of a comment.
func (f *Forge) UpdateComment(ctx context.Context, ref forge.RepoRef, _ int, id int64, body string) (forge.Comment, error) {
	op := fmt.Sprintf("update comment %d in %s", id, ref)
	if err := tooLong(body); err != nil {
		return forge.Comment{}, wire.Fail(op, err)
	}
	ref, err := f.repo(ctx, ref)
	if err != nil {
		return forge.Comment{}, wire.Fail(op, err)
	}
	r, _, err := f.client(ctx).EditIssueComment(ref.Owner, ref.Name, id, sdk.EditIssueCommentOption{Body: body})
	if err != nil {
		return forge.Comment{}, wire.Fail(op, err)
	}
	return toComment(r), nil
}

// DeleteComment removes a comment.
func (f *Forge) DeleteComment(ctx context.Context, ref forge.RepoRef, _ int, id int64) error {
	op := fmt.Sprintf("delete comment %d in %s", id, ref)
	ref, err := f.repo(ctx, ref)
	if err != nil {
		return wire.Fail(op, err)
	}
	if _, err := f.client(ctx).DeleteIssueComment(ref.Owner, ref.Name, id); err != nil {
		return wire.Fail(op, err)
	}
	return nil
}

// React marks a comment; doing it twice leaves one mark. forge.Reaction uses
// Gitea's words.
func (f *Forge) React(ctx context.Context, ref forge.RepoRef, _ int, commentID int64, r forge.Reaction) error {
	op := fmt.Sprintf("react to comment %d in %s", commentID, ref)
	ref, err := f.repo(ctx, ref)
	if err != nil {
		return wire.Fail(op, err)
	}
	if _, _, err := f.client(ctx).PostIssueCommentReaction(ref.Owner, ref.Name, commentID, string(r)); err != nil {
		return wire.Fail(op, err)
	}
	return nil
}

// Reviews lists submitted reviews, oldest first. Drafts of reviews and requests
// for one, which Gitea lists among them, are left out.
func (f *Forge) Reviews(ctx context.Context, ref forge.RepoRef, number int) ([]forge.Review, error) {
	op := fmt.Sprintf("list reviews of pull %s#%d", ref, number)
	ref, err := f.repo(ctx, ref)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	list, err := f.reviews(ctx, ref, number)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	var out []forge.Review
	for _, r := range list {
		v := forge.Review{ID: r.ID, Author: toUser(r.Reviewer), Body: r.Body, CommitSHA: r.CommitID, URL: r.HTMLURL, SubmittedAt: r.Submitted}
		switch r.State {
		case sdk.ReviewStateApproved:
			v.State = forge.Approved
		case sdk.ReviewStateRequestChanges:
			v.State = forge.ChangesRequested
		case sdk.ReviewStateComment:
			v.State = forge.Commented
		default:
			continue
		}
		if r.Dismissed {
			v.State = forge.Dismissed
		}
		if v.Outside, err = f.outside(ctx, ref, v.Author); err != nil {
			return nil, wire.Fail(op, err)
		}
		out = append(out, v)
	}
	return out, nil
}

// reviews lists everything that Gitea keeps as a review.
func (f *Forge) reviews(ctx context.Context, ref forge.RepoRef, number int) ([]*sdk.PullReview, error) {
	return pages(func(n int) ([]*sdk.PullReview, int, error) {
		return listed(f.client(ctx).ListPullReviews(ref.Owner, ref.Name, int64(number), sdk.ListPullReviewsOptions{ListOptions: page(n)}))
	})
}

// RequestReview asks people and teams for a review. Gitea asks one after the other
// and stops at the first that it refuses, so everybody is looked at before.
func (f *Forge) RequestReview(ctx context.Context, ref forge.RepoRef, number int, users []forge.User, teams []forge.Team) error {
	op := fmt.Sprintf("ask for reviews of pull %s#%d", ref, number)
	if len(users)+len(teams) == 0 {
		return nil
	}
	ref, err := f.repo(ctx, ref)
	if err != nil {
		return wire.Fail(op, err)
	}
	p, err := f.pull(ctx, ref, number)
	if err != nil {
		return wire.Fail(op, err)
	}
	var in sdk.PullReviewRequestOptions
	for _, u := range users {
		if u.ID == 0 { // named by a policy; who is asked gets no say by that
			is, _, err := f.client(ctx).GetUserInfo(u.Login)
			if code(err) == forge.NotFound {
				return wire.Fail(op, invalid("there is no account %s", u.Login))
			}
			if err != nil {
				return wire.Fail(op, err)
			}
			u = toUser(is)
		}
		if err := f.reviewer(ctx, ref, p, u); err != nil {
			return wire.Fail(op, err)
		}
		if !slices.ContainsFunc(p.Requested.Users, func(is forge.User) bool { return is.ID == u.ID }) {
			in.Reviewers = append(in.Reviewers, u.Login)
		}
	}
	for _, t := range teams {
		if err := f.reviewTeam(ctx, ref, t); err != nil {
			return wire.Fail(op, err)
		}
		if !slices.Contains(p.Requested.Teams, t) {
			in.TeamReviewers = append(in.TeamReviewers, t.Slug)
		}
	}
	if len(in.Reviewers)+len(in.TeamReviewers) == 0 {
		return nil
	}
	if _, err := f.client(ctx).CreateReviewRequests(ref.Owner, ref.Name, int64(number), in); err != nil {
		return wire.Fail(op, err)
	}
	return nil
}

// reviewer refuses whom Gitea would refuse.
func (f *Forge) reviewer(ctx context.Context, ref forge.RepoRef, p forge.Pull, u forge.User) error {
	if u.ID == p.Author.ID {
		return invalid("%s opened the pull and cannot review it", u.Login)
	}
	may, err := f.Permission(ctx, ref, u)
	if err == nil && may < forge.Read {
		return invalid("%s cannot read the repository", u.Login)
	}
	return err
}

// reviewTeam refuses teams of other organisations and teams without access.
func (f *Forge) reviewTeam(ctx context.Context, ref forge.RepoRef, t forge.Team) error {
	if t.Org != ref.Owner {
		return invalid("only teams of %s can be asked, not %s", ref.Owner, t)
	}
	team, _, err := f.client(ctx).CheckRepoTeam(ref.Owner, ref.Name, t.Slug)
	if code(err) == forge.NotFound || err == nil && team == nil {
		return invalid("the team %s is not there, or has no access to %s", t, ref)
	}
	return err
}
