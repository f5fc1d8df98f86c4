package gitea

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	sdk "code.gitea.io/sdk/gitea"

	"lockkeeper/forge"
	"lockkeeper/forge/internal/wire"
)

// OpenPulls lists open pulls, newest first. Mergeable, MergeState and Requested
// are only in what Pull reads.
func (f *Forge) OpenPulls(ctx context.Context, ref forge.RepoRef) ([]forge.Pull, error) {
	op := "list open pulls of " + ref.String()
	ref, err := f.repo(ctx, ref)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	list, err := f.pulls(ctx, ref, sdk.StateOpen)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	return list, nil
}

// pulls lists pulls in a state, newest first.
func (f *Forge) pulls(ctx context.Context, ref forge.RepoRef, state sdk.StateType) ([]forge.Pull, error) {
	list, err := pages(func(n int) ([]*sdk.PullRequest, int, error) {
		return listed(f.client(ctx).ListRepoPullRequests(ref.Owner, ref.Name, sdk.ListPullRequestsOptions{ListOptions: page(n), State: state}))
	})
	if err != nil {
		return nil, err
	}
	var out []forge.Pull
	seen := map[int]bool{} // a pull opened between two pages shifts the rest
	for _, p := range list {
		if p == nil || p.Base == nil || p.Head == nil {
			return nil, &forge.Error{Code: forge.Unavailable, Message: "the forge could not put a pull of the list together"}
		}
		if n := int(p.Index); !seen[n] {
			seen[n] = true
			out = append(out, toPull(p))
		}
	}
	return out, nil
}

// Pull reads one pull, in a call more for one that was closed without a merge or
// that somebody was asked to review.
func (f *Forge) Pull(ctx context.Context, ref forge.RepoRef, number int) (forge.Pull, error) {
	op := fmt.Sprintf("read pull %s#%d", ref, number)
	ref, err := f.repo(ctx, ref)
	if err != nil {
		return forge.Pull{}, wire.Fail(op, err)
	}
	p, err := f.pull(ctx, ref, number)
	if err != nil {
		return forge.Pull{}, wire.Fail(op, err)
	}
	return p, nil
}

func (f *Forge) pull(ctx context.Context, ref forge.RepoRef, number int) (forge.Pull, error) {
	p, _, err := f.client(ctx).GetPullRequest(ref.Owner, ref.Name, int64(number))
	if err != nil {
		return forge.Pull{}, err
	}
	out, err := f.whole(ref, p)
	if err != nil {
		return forge.Pull{}, err
	}
	switch {
	case out.State == forge.Closed && !out.Merged && p.Closed != nil:
		out.ClosedBy, err = f.closer(ctx, ref, number, *p.Closed)
	case out.State == forge.Open && len(p.RequestedReviewers)+len(p.RequestedReviewersTeams) > 0:
		out.Requested, err = f.requested(ctx, ref, number)
	}
	return out, err
}

// requested is who was asked for a review and has not given one since. What Gitea
// calls requested reviewers of a pull includes those who gave one; among the
// reviews a request stands until then.
func (f *Forge) requested(ctx context.Context, ref forge.RepoRef, number int) (forge.Reviewers, error) {
	var out forge.Reviewers
	list, err := f.reviews(ctx, ref, number)
	for _, r := range list {
		switch {
		case r.State != sdk.ReviewStateRequestReview || r.Dismissed:
		case r.ReviewerTeam != nil:
			// Only teams of the organisation that owns the repository can be asked.
			out.Teams = append(out.Teams, forge.Team{Org: ref.Owner, Slug: r.ReviewerTeam.Name})
		case r.Reviewer != nil:
			out.Users = append(out.Users, toUser(r.Reviewer))
		}
	}
	return out, err
}

// whole reads a pull that was answered by itself.
func (f *Forge) whole(ref forge.RepoRef, p *sdk.PullRequest) (forge.Pull, error) {
	if p == nil || p.Index == 0 || p.Base == nil || p.Head == nil {
		return forge.Pull{}, &forge.Error{Code: forge.Unavailable, Message: "the forge could not put the pull together"}
	}
	if ref.ID != 0 && p.Base.RepoID != ref.ID {
		return forge.Pull{}, &forge.Error{Code: forge.NotFound,
			Message: fmt.Sprintf("%s is now another repository (id %d, not %d)", ref, p.Base.RepoID, ref.ID)} // threat 26
	}
	out := toPull(p)
	if out.State == forge.Open {
		out.Mergeable, out.MergeState = f.verdicts.Of(out, p.Mergeable, f.cfg.Now())
	}
	return out, nil
}

func toPull(p *sdk.PullRequest) forge.Pull {
	out := forge.Pull{
		Number: int(p.Index),
		Title:  p.Title,
		Body:   p.Body,
		WebURL: p.HTMLURL,
		State:  forge.Closed,
		Draft:  p.Draft,
		Merged: p.HasMerged,
		Author: toUser(p.Poster),
		Base:   toBranch(p.Base),
		Head:   toBranch(p.Head),
	}
	if p.State == sdk.StateOpen {
		out.State = forge.Open
	}
	if p.Updated != nil {
		out.UpdatedAt = *p.Updated
	}
	if p.Draft {
		out.Title = undraft(p.Title)
	}
	if p.HasMerged {
		out.MergedBy = toUser(p.MergedBy)
		if p.MergedCommitID != nil {
			out.MergeSHA = *p.MergedCommitID
		}
	}
	return out
}

func toBranch(b *sdk.PRBranchInfo) forge.Branch {
	return forge.Branch{Name: b.Name, SHA: b.Sha, RepoID: max(b.RepoID, 0)} // -1: the fork is gone
}

// A draft is a pull whose title begins so. A server may be set up with other
// words; then titles keep them.
var drafts = []string{"WIP:", "[WIP]"}

func undraft(title string) string {
	for _, word := range drafts {
		if len(title) > len(word) && strings.EqualFold(title[:len(word)], word) {
			return strings.TrimSpace(title[len(word):])
		}
	}
	return title
}

// closer is who closed a pull last, by what its timeline says at that time.
func (f *Forge) closer(ctx context.Context, ref forge.RepoRef, number int, closed time.Time) (forge.User, error) {
	var events []struct {
		Type string    `json:"type"`
		User *sdk.User `json:"user"`
	}
	q := pageQuery(1)
	q.Set("since", closed.Format(time.RFC3339))
	if _, err := f.get(ctx, at(ref, "/issues/%d/timeline", number), q, &events); err != nil {
		return forge.User{}, err
	}
	var by forge.User
	for _, e := range events {
		if e.Type == "close" {
			by = toUser(e.User)
		}
	}
	return by, nil
}

// Commits lists the commits of a pull, oldest first, with the accounts that Gitea
// attributes them to: those that have confirmed the commit's address. Co-authors
// are attributed where they are an author or committer in the pull as well; the
// others are accounts without an ID.
func (f *Forge) Commits(ctx context.Context, ref forge.RepoRef, p forge.Pull) ([]forge.Commit, error) {
	op := fmt.Sprintf("list commits of pull %s#%d", ref, p.Number)
	ref, err := f.repo(ctx, ref)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	list, err := f.pullCommits(ctx, ref, p.Number)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	if len(list) > 0 && list[0].SHA != p.Head.SHA {
		return nil, wire.Fail(op, &forge.Error{Code: forge.Unavailable,
			Message: fmt.Sprintf("the forge lists the commits of %s, and the head is %s", list[0].SHA, p.Head.SHA)})
	}
	known := map[string]forge.User{}
	for _, c := range list {
		known[strings.ToLower(c.RepoCommit.Author.Email)] = toUser(c.Author)
		known[strings.ToLower(c.RepoCommit.Committer.Email)] = toUser(c.Committer)
	}
	out := make([]forge.Commit, len(list))
	for i, c := range list { // newest first
		out[len(list)-1-i] = toCommit(c, known)
	}
	return out, nil
}

// pullCommits lists the commits of a pull, newest first.
func (f *Forge) pullCommits(ctx context.Context, ref forge.RepoRef, number int) ([]*sdk.Commit, error) {
	list, err := pages(func(n int) (some []*sdk.Commit, total int, err error) {
		q := pageQuery(n)
		q.Set("files", "false")
		total, err = f.get(ctx, at(ref, "/pulls/%d/commits", number), q, &some)
		return some, total, err
	})
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, c := range list {
		if c.CommitMeta == nil || c.RepoCommit == nil || c.RepoCommit.Author == nil || c.RepoCommit.Committer == nil || seen[c.SHA] {
			return nil, &forge.Error{Code: forge.Unavailable, Message: "the list of commits changed while it was read"}
		}
		seen[c.SHA] = true
	}
	return list, nil
}

func toCommit(c *sdk.Commit, known map[string]forge.User) forge.Commit {
	subject, _, _ := strings.Cut(c.RepoCommit.Message, "\n")
	out := forge.Commit{
		SHA: c.SHA, Subject: strings.TrimSpace(subject),
		Author: toUser(c.Author), Committer: toUser(c.Committer), AuthorEmail: c.RepoCommit.Author.Email,
		Verified: c.RepoCommit.Verification != nil && c.RepoCommit.Verification.Verified,
	}
	for _, p := range c.Parents {
		out.Parents = append(out.Parents, p.SHA)
	}
	for _, m := range coAuthorLine.FindAllStringSubmatch(c.RepoCommit.Message, -1) {
		u := known[strings.ToLower(m[1])]
		if u.ID == 0 {
			u = forge.User{Login: m[1], Type: forge.Deleted} // by its address a tool is known
		}
		out.CoAuthors = append(out.CoAuthors, u)
	}
	return out
}

// Merge merges the pull if its head is still headSHA.
func (f *Forge) Merge(ctx context.Context, ref forge.RepoRef, number int, headSHA string, m forge.MergeMethod) (string, error) {
	op := fmt.Sprintf("merge pull %s#%d at %s", ref, number, headSHA)
	if !wire.IsSHA(headSHA) {
		return "", wire.Fail(op, invalid("a merge needs the SHA of the head it is meant for"))
	}
	ref, err := f.repo(ctx, ref)
	if err != nil {
		return "", wire.Fail(op, err)
	}
	err = f.merge(ctx, ref, number, headSHA, m)
	if code(err) == forge.NotFound {
		err = f.closedNotGone(ctx, ref, number, err)
	}
	if err != nil {
		return "", wire.Fail(op, err)
	}
	p, err := f.pull(ctx, ref, number)
	if err == nil && p.Merged && p.MergeSHA != "" {
		return p.MergeSHA, nil
	}
	// Merged, but it could not be read to which commit: never to be taken for
	// refused.
	return "", wire.Fail(op, &forge.Error{Code: forge.Unavailable, Message: fmt.Sprintf("the merge was accepted, and its commit could not be read (%v)", err)})
}

// merge asks for a merge, and again where Gitea refuses only because it finds out
// anew whether the pull can be merged, as it does for all pulls into a branch that
// moved.
func (f *Forge) merge(ctx context.Context, ref forge.RepoRef, number int, headSHA string, m forge.MergeMethod) error {
	for wait := 250 * time.Millisecond; ; wait *= 2 {
		// Gitea's words for the methods are ours.
		_, _, err := f.client(ctx).MergePullRequest(ref.Owner, ref.Name, int64(number), sdk.MergePullRequestOption{Style: sdk.MergeStyle(m), HeadCommitId: headSHA})
		var fe *forge.Error
		if !errors.As(err, &fe) || !strings.Contains(fe.Message, "try again later") || wait > 4*time.Second {
			return err
		}
		if p, lookErr := f.pull(ctx, ref, number); lookErr != nil || p.State != forge.Open || p.Mergeable != nil && !*p.Mergeable {
			return err
		}
		if pause(ctx, wait) != nil {
			return err
		}
	}
}

// closedNotGone tells a pull that is closed, whose merge Gitea refuses as if
// there were none, from one that is not there.
func (f *Forge) closedNotGone(ctx context.Context, ref forge.RepoRef, number int, refusal error) error {
	p, err := f.pull(ctx, ref, number)
	if err != nil || p.State == forge.Open {
		return refusal
	}
	return &forge.Error{Code: forge.Conflict, Unsent: true, Message: "the pull request is closed"}
}

// holds tells whether a commit is among what leads to another one: nothing of it
// is missing there.
func (f *Forge) holds(ctx context.Context, ref forge.RepoRef, descendant, sha string) (bool, error) {
	n, err := f.missing(ctx, ref, descendant, sha)
	return n == 0 && err == nil, err
}

// missing counts the commits that lead to sha and not to from.
func (f *Forge) missing(ctx context.Context, ref forge.RepoRef, from, sha string) (int, error) {
	q := url.Values{"sha": {sha}, "not": {from}, "limit": {"1"}, "stat": {"false"}, "files": {"false"}, "verification": {"false"}}
	var some []*sdk.Commit
	total, err := f.get(ctx, at(ref, "/commits"), q, &some)
	if err == nil && total < 0 {
		total = len(some)
	}
	return total, err
}
