package gitlab

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	gl "gitlab.com/gitlab-org/api/client-go"

	"lockkeeper/forge"
	"lockkeeper/forge/gitlab/internal/api"
	"lockkeeper/forge/internal/wire"
)

// What GitLab remarks below a pull when somebody judges it.
const (
	approvedNote = "approved this merge request"
	changesNote  = "requested changes"
)

// margin is how long before an approval a version has to have been there to be
// what was approved: nobody reads a version within its first second, and GitLab's
// button approves whatever is there by then.
const margin = time.Second

// lag is how long GitLab may take to remark an approval, which it does in the
// background: what is remarked may have been done this long before.
const lag = 10 * time.Second

// version is what a pull's head was from a moment on.
type version struct {
	head string
	at   time.Time
}

// headAt is the head that somebody who judged the pull at a moment had before
// them: that of the newest version by then, the older one where two are too close
// to the moment. The first version was always there. versions are oldest first.
func headAt(versions []version, at time.Time) string {
	if len(versions) == 0 || at.IsZero() {
		return ""
	}
	head := versions[0].head
	for _, v := range versions[1:] {
		if v.at.IsZero() || at.Sub(v.at) < margin {
			break
		}
		head = v.head
	}
	return head
}

// Reviews lists who approves a pull and who wants changes, oldest first. GitLab
// keeps one judgement of each person, without a text and without the commit that
// it was about: when it was given is told with it by newer releases and by a
// remark of GitLab's below the pull, and what the head was then by the pull's
// versions. The number of a review is the remark's, or the person's where there is
// none. One of which no time is told has no commit. What was
// taken back or reset is not listed.
func (f *Forge) Reviews(ctx context.Context, ref forge.RepoRef, number int) ([]forge.Review, error) {
	op := fmt.Sprintf("list reviews of pull %s#%d", ref, number)
	ref, err := f.at(ctx, ref)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	out, err := f.judgements(ctx, ref, number)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	if len(out) == 0 {
		return nil, nil
	}
	if err := f.bind(ctx, ref, number, out); err != nil {
		return nil, wire.Fail(op, err)
	}
	who := make([]*forge.User, len(out))
	for i := range out {
		who[i] = &out[i].Author
	}
	if err := f.api.Typed(ctx, who...); err != nil {
		return nil, wire.Fail(op, err)
	}
	slices.SortStableFunc(out, func(a, b forge.Review) int {
		return cmp.Or(a.SubmittedAt.Compare(b.SubmittedAt), cmp.Compare(a.ID, b.ID))
	})
	return out, nil
}

// approvals are those that stand, and since when by GitLab's word; releases that
// are older do not tell.
type approvals struct {
	By []struct {
		User *gl.BasicUser `json:"user"`
		At   *time.Time    `json:"approved_at"`
	} `json:"approved_by"`
}

// judgements are the approvals and demands for changes that stand. Who demands
// changes after an approval has taken that back, whatever is still listed.
func (f *Forge) judgements(ctx context.Context, ref forge.RepoRef, number int) ([]forge.Review, error) {
	asked, err := f.api.Reviewers(ctx, ref.ID, number)
	if err != nil {
		return nil, err
	}
	var given approvals
	if err := f.api.Get(ctx, fmt.Sprintf("projects/%d/merge_requests/%d/approvals", ref.ID, number), nil, &given); err != nil {
		return nil, err
	}
	var out []forge.Review
	against := map[int64]bool{}
	for _, r := range asked {
		if r.State == "requested_changes" && r.User != nil {
			against[r.User.ID] = true
			out = append(out, forge.Review{ID: r.User.ID, Author: api.Basic(r.User), State: forge.ChangesRequested})
		}
	}
	for _, a := range given.By {
		if a.User != nil && !against[a.User.ID] {
			out = append(out, forge.Review{ID: a.User.ID, Author: api.Basic(a.User), State: forge.Approved, SubmittedAt: api.Moment(a.At)})
		}
	}
	return out, nil
}

// bind finds out when each judgement was given, and about which head.
func (f *Forge) bind(ctx context.Context, ref forge.RepoRef, number int, reviews []forge.Review) error {
	remarks, err := f.notes(ctx, ref, number, url.Values{"activity_filter": {"only_activity"}})
	if err != nil {
		return err
	}
	versions, err := f.versions(ctx, ref.ID, number)
	if err != nil {
		return err
	}
	for i := range reviews {
		r := &reviews[i]
		approved, against := last(remarks, r.Author.ID, approvedNote), last(remarks, r.Author.ID, changesNote)
		if r.State == forge.ChangesRequested {
			r.SubmittedAt, r.ID = made(against), cmp.Or(against.ID, r.ID)
		} else {
			r.SubmittedAt, r.ID = approvedAt(r.SubmittedAt, made(approved), made(against)), cmp.Or(approved.ID, r.ID)
		}
		r.CommitSHA = headAt(versions, r.SubmittedAt)
		r.URL = f.noteURL(ref, number, r.ID)
		if r.State == forge.ChangesRequested && r.CommitSHA == "" && len(versions) > 0 {
			r.CommitSHA = versions[len(versions)-1].head // it stands until it is taken back
		}
	}
	return nil
}

// last is the last remark of what somebody did, the zero one if there is none.
// Anybody can write these words; only GitLab makes them a remark.
func last(remarks []*gl.Note, who int64, says string) gl.Note {
	for _, n := range slices.Backward(remarks) {
		if n.System && n.Author.ID == who && strings.HasPrefix(n.Body, says) {
			return *n
		}
	}
	return gl.Note{}
}

func made(n gl.Note) time.Time { return api.Moment(n.CreatedAt) }

// approvedAt is when an approval was given: by GitLab's word where it tells, else
// as long before its remark as that may have taken, as the head may have moved on
// meanwhile. Zero if the person demanded changes since: that took the approval
// back, even where somebody took them off the list of reviewers, and the demand
// with it.
func approvedAt(told, remarked, against time.Time) time.Time {
	switch {
	case against.After(told) && against.After(remarked):
		return time.Time{}
	case told.IsZero() && !remarked.IsZero():
		return remarked.Add(-lag)
	}
	return told
}

// versions lists what the head of a pull was, oldest first.
func (f *Forge) versions(ctx context.Context, project int64, number int) ([]version, error) {
	found, err := api.List[*gl.MergeRequestDiffVersion](ctx, f.api, fmt.Sprintf("projects/%d/merge_requests/%d/versions", project, number), nil)
	if err != nil {
		return nil, err
	}
	seen := map[int64]bool{}
	found = slices.DeleteFunc(found, func(v *gl.MergeRequestDiffVersion) bool {
		again := v == nil || seen[v.ID]
		if !again {
			seen[v.ID] = true
		}
		return again
	})
	// Numbers rise with time, which is not always exact to tell by.
	slices.SortFunc(found, func(a, b *gl.MergeRequestDiffVersion) int { return cmp.Compare(a.ID, b.ID) })
	out := make([]version, len(found))
	for i, v := range found {
		out[i] = version{head: v.HeadCommitSHA, at: api.Moment(v.CreatedAt)}
	}
	return out, nil
}

const again = `mutation($path:ID!,$iid:String!,$user:UserID!){mergeRequestReviewerRereview(input:{projectPath:$path,iid:$iid,userId:$user}){errors}}`

// RequestReview asks people for reviews; GitLab asks no groups. It would take the
// author, and pass over in silence who cannot read the repository, and all but
// one person where it is free of charge: all of these are refused here.
func (f *Forge) RequestReview(ctx context.Context, ref forge.RepoRef, number int, users []forge.User, teams []forge.Team) error {
	op := fmt.Sprintf("request reviews of pull %s#%d", ref, number)
	if len(teams) > 0 {
		return wire.Fail(op, &forge.Error{Code: forge.Invalid, Unsent: true, Message: fmt.Sprintf("GitLab asks people for reviews, not groups such as %s", teams[0])})
	}
	if len(users) == 0 {
		return nil
	}
	ref, err := f.at(ctx, ref)
	if err == nil {
		err = f.ask(ctx, ref, number, users)
	}
	if err != nil {
		return wire.Fail(op, err)
	}
	return nil
}

func (f *Forge) ask(ctx context.Context, ref forge.RepoRef, number int, users []forge.User) error {
	users, err := f.named(ctx, users)
	if err != nil {
		return err
	}
	m, _, err := f.api.SDK.MergeRequests.GetMergeRequest(ref.ID, int64(number), nil, gl.WithContext(ctx))
	if err != nil {
		return err
	}
	before, err := f.api.Reviewers(ctx, ref.ID, number)
	if err != nil {
		return err
	}
	ids := make([]int64, 0, len(before)+len(users))
	known := map[int64]api.Reviewer{}
	for _, r := range before {
		if r.User != nil {
			ids = append(ids, r.User.ID)
			known[r.User.ID] = r
		}
	}
	var reviewed []forge.User
	for _, u := range users {
		if m.Author != nil && m.Author.ID == u.ID {
			return &forge.Error{Code: forge.Invalid, Unsent: true, Message: u.Login + " is the author"}
		}
		r, asked := known[u.ID]
		if asked && !r.Waited() {
			reviewed = append(reviewed, u)
		}
		if asked {
			continue
		}
		p, err := f.Permission(ctx, ref, u)
		if err != nil {
			return err
		}
		if p < forge.Read {
			return &forge.Error{Code: forge.Invalid, Unsent: true, Message: u.Login + " cannot read the repository"}
		}
		ids = append(ids, u.ID)
	}
	if len(ids) > len(known) {
		if err := f.setReviewers(ctx, ref, number, ids, users); err != nil {
			return err
		}
	}
	return f.askAgain(ctx, ref, number, reviewed)
}

// named finds the numbers of those who are known by login only: policies and
// code owners name people so.
func (f *Forge) named(ctx context.Context, users []forge.User) ([]forge.User, error) {
	out := slices.Clone(users)
	for i := range out {
		u := &out[i]
		if u.ID > 0 {
			continue
		}
		var found []gl.BasicUser
		if loginRE.MatchString(u.Login) {
			if err := f.api.Get(ctx, "users", url.Values{"username": {u.Login}}, &found); err != nil {
				return nil, err
			}
		}
		if len(found) != 1 || found[0].ID <= 0 || !strings.EqualFold(found[0].Username, u.Login) {
			return nil, &forge.Error{Code: forge.Invalid, Unsent: true, Message: fmt.Sprintf("there is no account %q", u.Login)}
		}
		*u = api.Basic(&found[0])
	}
	return out, nil
}

// setReviewers names all reviewers, and looks whether GitLab took those wanted.
func (f *Forge) setReviewers(ctx context.Context, ref forge.RepoRef, number int, ids []int64, wanted []forge.User) error {
	m, _, err := f.api.SDK.MergeRequests.UpdateMergeRequest(ref.ID, int64(number), &gl.UpdateMergeRequestOptions{ReviewerIDs: &ids}, gl.WithContext(ctx))
	if err != nil {
		return err
	}
	for _, u := range wanted {
		if !slices.ContainsFunc(m.Reviewers, func(r *gl.BasicUser) bool { return r != nil && r.ID == u.ID }) {
			return &forge.Error{Code: forge.Invalid, Message: fmt.Sprintf("the forge did not take %s as a reviewer (GitLab Free has one for each pull)", u.Login)}
		}
	}
	return nil
}

// askAgain asks people who have given a review.
func (f *Forge) askAgain(ctx context.Context, ref forge.RepoRef, number int, users []forge.User) error {
	if len(users) == 0 {
		return nil
	}
	p, err := f.project(ctx, ref)
	if err != nil {
		return err
	}
	for _, u := range users {
		var a struct {
			Again struct {
				Errors []string `json:"errors"`
			} `json:"mergeRequestReviewerRereview"`
		}
		vars := map[string]any{"path": p.PathWithNamespace, "iid": fmt.Sprint(number), "user": api.GID("User", u.ID)}
		if err := f.api.Query(ctx, again, vars, &a); err != nil {
			return err
		}
		if len(a.Again.Errors) > 0 {
			return &forge.Error{Code: forge.Invalid, Message: a.Again.Errors[0]}
		}
	}
	return nil
}
