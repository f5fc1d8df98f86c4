package gitlab

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	gl "gitlab.com/gitlab-org/api/client-go"

	"lockkeeper/forge"
	"lockkeeper/forge/gitlab/internal/api"
	"lockkeeper/forge/gitlab/internal/quick"
	"lockkeeper/forge/internal/wire"
)

// OpenPulls lists open pulls, newest first: one call per 100 of them, and one
// per branch that they are to be merged into. Requested is only in what Pull
// reads.
func (f *Forge) OpenPulls(ctx context.Context, ref forge.RepoRef) ([]forge.Pull, error) {
	out, err := f.listPulls(ctx, ref, url.Values{"state": {"opened"}})
	if err != nil {
		return nil, wire.Fail("list open pulls of "+ref.String(), err)
	}
	return out, nil
}

// PullsOf lists all pulls of a branch of the repository, newest first.
func (f *Forge) PullsOf(ctx context.Context, ref forge.RepoRef, branch string) ([]forge.Pull, error) {
	all, err := f.listPulls(ctx, ref, url.Values{"state": {"all"}, "source_branch": {branch}})
	if err != nil {
		return nil, wire.Fail(fmt.Sprintf("list pulls of the branch %s of %s", branch, ref), err)
	}
	var out []forge.Pull
	for _, p := range all {
		if !p.Fork() && p.Head.Name == branch { // forks have branches of that name too
			out = append(out, p)
		}
	}
	return out, nil
}

func (f *Forge) listPulls(ctx context.Context, ref forge.RepoRef, q url.Values) ([]forge.Pull, error) {
	id, err := f.id(ctx, ref)
	if err != nil {
		return nil, err
	}
	q.Set("scope", "all")
	q.Set("order_by", "created_at")
	q.Set("sort", "desc")
	found, err := api.List[gl.BasicMergeRequest](ctx, f.api, fmt.Sprintf("projects/%d/merge_requests", id), q)
	if err != nil {
		return nil, err
	}
	return f.toPulls(ctx, id, found)
}

// toPulls makes pulls of what lists hold: each once, as one that is opened
// between two pages moves the last of the first page onto the second.
func (f *Forge) toPulls(ctx context.Context, project int64, found []gl.BasicMergeRequest) ([]forge.Pull, error) {
	tips, seen := map[string]string{}, map[int64]bool{}
	var out []forge.Pull
	for i := range found {
		m := &found[i]
		if seen[m.IID] || m.TargetProjectID != project {
			continue
		}
		seen[m.IID] = true
		p := toPull(m)
		if p.State == forge.Open {
			tip, known := tips[p.Base.Name]
			if !known {
				var err error
				if tip, err = f.api.Tip(ctx, project, p.Base.Name); err != nil {
					return nil, err
				}
				tips[p.Base.Name] = tip
			}
			p.Base.SHA = tip
		}
		out = append(out, p)
	}
	var who []*forge.User
	for i := range out {
		if err := f.ours(ctx, &out[i]); err != nil {
			return nil, err
		}
		who = append(who, &out[i].Author, &out[i].MergedBy, &out[i].ClosedBy)
	}
	return out, f.api.Typed(ctx, who...)
}

// Pull reads one pull: its base's tip is a second call, who was asked for a
// review a third one, where somebody was.
func (f *Forge) Pull(ctx context.Context, ref forge.RepoRef, number int) (forge.Pull, error) {
	p, err := f.pull(ctx, ref, number)
	if err != nil {
		return forge.Pull{}, wire.Fail(fmt.Sprintf("read pull %s#%d", ref, number), err)
	}
	return p, nil
}

func (f *Forge) pull(ctx context.Context, ref forge.RepoRef, number int) (forge.Pull, error) {
	id, err := f.id(ctx, ref)
	if err != nil {
		return forge.Pull{}, err
	}
	m, _, err := f.api.SDK.MergeRequests.GetMergeRequest(id, int64(number), nil, gl.WithContext(ctx))
	if err != nil {
		return forge.Pull{}, err
	}
	return f.whole(ctx, id, m)
}

// whole reads what a pull alone does not tell.
func (f *Forge) whole(ctx context.Context, project int64, m *gl.MergeRequest) (forge.Pull, error) {
	if m.IID == 0 || m.TargetProjectID != project {
		return forge.Pull{}, &forge.Error{Code: forge.Unavailable, Message: fmt.Sprintf("the forge answered with pull %d of project %d, not of %d", m.IID, m.TargetProjectID, project)}
	}
	p := toPull(&m.BasicMergeRequest)
	if p.State == forge.Open {
		tip, err := f.api.Tip(ctx, project, p.Base.Name)
		if err != nil {
			return forge.Pull{}, err
		}
		p.Base.SHA = tip
	} else {
		p.Base.SHA = m.DiffRefs.StartSha // where the branch was when the pull was last pushed to
	}
	if len(m.Reviewers) > 0 && p.State == forge.Open {
		asked, err := f.api.Reviewers(ctx, project, p.Number)
		if err != nil {
			return forge.Pull{}, err
		}
		for _, r := range asked {
			if r.Waited() {
				p.Requested.Users = append(p.Requested.Users, api.Basic(r.User))
			}
		}
	}
	if err := f.ours(ctx, &p); err != nil {
		return forge.Pull{}, err
	}
	who := append(api.Pointers(p.Requested.Users), &p.Author, &p.MergedBy, &p.ClosedBy)
	return p, f.api.Typed(ctx, who...)
}

// ours gives the text of a pull that we opened as we gave it.
func (f *Forge) ours(ctx context.Context, p *forge.Pull) error {
	me, err := f.me(ctx)
	if err == nil && p.Author.ID == me.user.ID {
		p.Body = quick.Original(p.Body)
	}
	return err
}

// draftRE is what makes a title that of a draft.
//
// Source: https://docs.gitlab.com/user/project/merge_requests/drafts/
var draftRE = regexp.MustCompile(`(?i)^\s*(?:\[draft\]|\(draft\)|draft:)\s*`)

const draftPrefix = "Draft: "

// bare is a draft's title without what makes it one.
func bare(title string) string {
	for {
		loc := draftRE.FindStringIndex(title)
		if loc == nil || loc[1] == 0 {
			return title
		}
		title = title[loc[1]:]
	}
}

func toPull(m *gl.BasicMergeRequest) forge.Pull {
	p := forge.Pull{
		Number:     int(m.IID),
		Title:      m.Title,
		Body:       m.Description,
		WebURL:     m.WebURL,
		State:      forge.Closed,
		Draft:      m.Draft,
		Merged:     m.State == "merged",
		Author:     api.Basic(m.Author),
		Base:       forge.Branch{Name: m.TargetBranch, RepoID: m.TargetProjectID},
		Head:       forge.Branch{Name: m.SourceBranch, SHA: m.SHA, RepoID: m.SourceProjectID},
		MergeState: m.DetailedMergeStatus,
		UpdatedAt:  api.Moment(m.UpdatedAt),
		MergedBy:   forge.User{Type: forge.Deleted},
	}
	if p.Draft {
		p.Title = bare(p.Title)
	}
	switch m.State {
	case "opened", "locked": // locked: it is being merged
		p.State = forge.Open
		p.Mergeable = mergeable(m)
	case "merged":
		// Made by a merge commit, else by a squash, else fast-forward to the head.
		p.MergeSHA = cmp.Or(m.MergeCommitSHA, m.SquashCommitSHA, m.SHA)
		p.MergedBy = api.Basic(m.MergeUser)
	case "closed":
		p.ClosedBy = api.Basic(m.ClosedBy)
	}
	return p
}

// The words of detailed_merge_status for which GitLab is still at work. Whether
// there are conflicts is known in all other ones.
//
// Source: https://docs.gitlab.com/api/merge_requests/#merge-status
func computing(word string) bool {
	switch word {
	case "", "checking", "unchecked", "preparing", "approvals_syncing", "cannot_be_merged_recheck", "cannot_be_merged_rechecking":
		return true
	}
	return false
}

func mergeable(m *gl.BasicMergeRequest) *bool {
	if m.State == "locked" || computing(m.DetailedMergeStatus) {
		return nil
	}
	word := m.DetailedMergeStatus
	can := !m.HasConflicts && word != "conflict" && word != "broken_status" && word != "commits_status"
	return &can
}

// CreatePull opens a pull. GitLab would take one without any difference.
func (f *Forge) CreatePull(ctx context.Context, ref forge.RepoRef, n forge.NewPull) (forge.Pull, error) {
	op := fmt.Sprintf("open a pull of %s into %s of %s", n.Head, n.Base, ref)
	id, err := f.id(ctx, ref)
	if err != nil {
		return forge.Pull{}, wire.Fail(op, err)
	}
	body, err := quick.Plain(n.Body)
	if err == nil {
		err = f.differs(ctx, id, n)
	}
	if err != nil {
		return forge.Pull{}, wire.Fail(op, err)
	}
	title := clip(n.Title, maxTitle)
	if n.Draft {
		title = clip(draftPrefix+n.Title, maxTitle)
	}
	m, _, err := f.api.SDK.MergeRequests.CreateMergeRequest(id, &gl.CreateMergeRequestOptions{
		Title: &title, Description: &body, SourceBranch: &n.Head, TargetBranch: &n.Base,
	}, gl.WithContext(ctx))
	if err != nil {
		return forge.Pull{}, wire.Fail(op, err)
	}
	return f.done(ctx, op, id, m)
}

// differs refuses a pull that names no branch, one that is not there, or one that
// holds nothing that the other lacks.
func (f *Forge) differs(ctx context.Context, project int64, n forge.NewPull) error {
	bad := func(format string, args ...any) error {
		return &forge.Error{Code: forge.Invalid, Unsent: true, Message: fmt.Sprintf(format, args...)}
	}
	if strings.TrimSpace(n.Title) == "" || n.Head == "" || n.Base == "" {
		return bad("a pull needs a title and two branches")
	}
	var at [2]string
	for i, branch := range []string{n.Base, n.Head} {
		tip, err := f.api.Tip(ctx, project, branch)
		if err != nil {
			return err
		}
		if tip == "" {
			if _, err := f.project(ctx, forge.RepoRef{ID: project}); err != nil {
				return err
			}
			return bad("there is no branch %s", branch)
		}
		at[i] = tip
	}
	one := url.Values{"ref_name": {at[0] + ".." + at[1]}, "per_page": {"1"}}
	var new []struct{}
	if err := f.api.Get(ctx, fmt.Sprintf("projects/%d/repository/commits", project), one, &new); err != nil {
		return err
	}
	if len(new) == 0 {
		return bad("%s holds no commit that %s lacks", n.Head, n.Base)
	}
	return nil
}

// UpdatePull edits, closes or reopens a pull. A draft stays one whatever its new
// title is.
func (f *Forge) UpdatePull(ctx context.Context, ref forge.RepoRef, number int, e forge.PullEdit) (forge.Pull, error) {
	op := fmt.Sprintf("update pull %s#%d", ref, number)
	id, err := f.id(ctx, ref)
	if err != nil {
		return forge.Pull{}, wire.Fail(op, err)
	}
	m, _, err := f.api.SDK.MergeRequests.GetMergeRequest(id, int64(number), nil, gl.WithContext(ctx))
	if err != nil {
		return forge.Pull{}, wire.Fail(op, err)
	}
	in, err := f.edit(ctx, m, e)
	if err != nil {
		return forge.Pull{}, wire.Fail(op, err)
	}
	if in != nil {
		if m, _, err = f.api.SDK.MergeRequests.UpdateMergeRequest(id, int64(number), in, gl.WithContext(ctx)); err != nil {
			return forge.Pull{}, wire.Fail(op, err)
		}
	}
	if e.State != nil && *e.State == forge.Open && m.State != "opened" {
		return forge.Pull{}, wire.Fail(op, &forge.Error{Code: forge.Invalid, Message: "it cannot be reopened: the forge keeps it " + m.State})
	}
	return f.done(ctx, op, id, m)
}

// edit is the change that e asks for, nil where it asks for none.
func (f *Forge) edit(ctx context.Context, m *gl.MergeRequest, e forge.PullEdit) (*gl.UpdateMergeRequestOptions, error) {
	in := &gl.UpdateMergeRequestOptions{}
	if e.Title != nil {
		title := clip(*e.Title, maxTitle)
		if m.Draft {
			title = clip(draftPrefix+*e.Title, maxTitle)
		}
		in.Title = &title
	}
	if e.Body != nil {
		body, err := quick.Plain(*e.Body)
		if err != nil {
			return nil, err
		}
		in.Description = &body
	}
	switch {
	case e.State == nil:
	case *e.State == forge.Closed && m.State == "opened":
		in.StateEvent = gl.Ptr("close")
	case *e.State == forge.Open && m.State == "closed":
		tip, err := f.api.Tip(ctx, m.SourceProjectID, m.SourceBranch)
		if err != nil {
			return nil, err
		}
		if tip == "" {
			return nil, &forge.Error{Code: forge.Invalid, Unsent: true, Message: fmt.Sprintf("it cannot be reopened: its branch %s is gone", m.SourceBranch)}
		}
		in.StateEvent = gl.Ptr("reopen")
	}
	if in.Title == nil && in.Description == nil && in.StateEvent == nil {
		return nil, nil
	}
	return in, nil
}

// done is a pull that was written to.
func (f *Forge) done(ctx context.Context, op string, project int64, m *gl.MergeRequest) (forge.Pull, error) {
	p, err := f.whole(ctx, project, m)
	if err != nil {
		return forge.Pull{}, wire.Fail(op, err)
	}
	return p, nil
}

// maxTitle is the longest title of a pull or issue, in characters.
const maxTitle = 255

// clip shortens s to n characters.
func clip(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}
