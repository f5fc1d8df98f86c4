package lab

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"lockkeeper/forge/forgetest/bare"
	"lockkeeper/forge/forgetest/gitlab/internal/refuse"
)

// The words of merge_status.
const (
	Unchecked    = "unchecked"
	checking     = "checking"
	canMerge     = "can_be_merged"
	CannotMerge  = "cannot_be_merged"
	isMergeable  = "mergeable"
	mustRebase   = "need_rebase"
	hasConflicts = "conflict"
)

// MergeStatus is merge_status. GitLab computes it in the background: asking for a
// merge request whose commits have changed starts that (recheck), and the answer
// comes with a later request.
func (s *Lab) MergeStatus(ctx context.Context, m *MR, recheck bool) string {
	if m.State != Opened {
		return m.StatusOr(canMerge)
	}
	if key := m.Project.Branch(m.TargetBranch) + m.Head(); m.statusFor != key {
		m.Status, m.statusFor = Unchecked, key
	}
	switch {
	case m.Status == Unchecked && recheck:
		m.Status = checking
	case m.Status == checking && recheck:
		s.tryMerge(ctx, m)
	}
	return m.Status
}

func (m *MR) StatusOr(otherwise string) string {
	if m.Status == canMerge || m.Status == CannotMerge {
		return m.Status
	}
	return otherwise
}

// tryMerge finds out whether it could be merged, at once.
func (s *Lab) tryMerge(ctx context.Context, m *MR) {
	m.statusFor = m.Project.Branch(m.TargetBranch) + m.Head()
	m.Status = canMerge
	if !m.sourceThere() {
		m.Status = CannotMerge
	} else if _, err := m.Project.Git.MergeTree(ctx, m.Project.Branch(m.TargetBranch), m.Head()); err != nil {
		m.Status = CannotMerge
	}
}

func (m *MR) sourceThere() bool {
	return m.Source != nil && m.Source.Branch(m.SourceBranch) != "" && m.Project.Branch(m.TargetBranch) != ""
}

// DetailedStatus is detailed_merge_status: the first reason why it cannot be
// merged, in GitLab's words and order.
func (s *Lab) DetailedStatus(ctx context.Context, m *MR, recheck bool) string {
	switch status := s.MergeStatus(ctx, m, recheck); {
	case m.State != Opened:
		return "not_open"
	case status == Unchecked || status == checking:
		return status
	}
	if why := s.stateCheck(m); why != "" {
		return why
	}
	if why := s.gitCheck(ctx, m); why != "" {
		return why
	}
	return s.ciCheck(m)
}

// stateCheck is what the merge request itself and its reviews say.
func (s *Lab) stateCheck(m *MR) string {
	switch {
	case m.State != Opened:
		return "not_open"
	case m.Draft():
		return "draft_status"
	case !m.sourceThere() || m.Head() == m.Latest().Base:
		return "commits_status"
	case slices.ContainsFunc(m.Reviewers, func(r *Reviewer) bool { return r.State == "requested_changes" }):
		return "requested_changes"
	case s.ApprovalsLeft(m) > 0:
		return "not_approved"
	}
	return ""
}

func (s *Lab) gitCheck(ctx context.Context, m *MR) string {
	switch {
	case m.Status == CannotMerge:
		return hasConflicts
	case m.Project.MergeMethod == "ff" && !m.Project.Git.IsAncestor(ctx, m.Project.Branch(m.TargetBranch), m.Head()):
		return mustRebase
	}
	return ""
}

// ciCheck is what the pipeline of the head says, where it must succeed.
func (s *Lab) ciCheck(m *MR) string {
	if !m.Project.PipelinesMustSucceed {
		return isMergeable
	}
	switch p := m.HeadPipeline(); {
	case p == nil:
		return "ci_must_pass"
	case p.Status() == "success":
		return isMergeable
	case p.Status() == "pending" || p.Status() == "running" || p.Status() == "created":
		return "ci_still_running"
	}
	return "ci_must_pass"
}

// MergeOrder is how a merge was asked for.
type MergeOrder struct {
	SHA                    string
	Squash                 *bool
	Message, SquashMessage string
	RemoveSource           bool
}

// Merge merges as somebody, or says why not as GitLab does: 401 for people who may
// not, 405 for a merge request that is not ready, 422 for conflicts, 409 for a head
// that is elsewhere.
func (s *Lab) Merge(ctx context.Context, m *MR, by *User, o MergeOrder) error {
	if !s.MayMerge(by, m.Project, m.TargetBranch) {
		return refuse.With(http.StatusUnauthorized, "401 Unauthorized")
	}
	if s.stateCheck(m) != "" || s.ciCheck(m) != isMergeable {
		return refuse.With(http.StatusMethodNotAllowed, "405 Method Not Allowed")
	}
	s.tryMerge(ctx, m)
	if s.gitCheck(ctx, m) != "" {
		return refuse.With(http.StatusUnprocessableEntity, "Branch cannot be merged")
	}
	if o.SHA != "" && o.SHA != m.Head() {
		return refuse.With(http.StatusConflict, "SHA does not match HEAD of source branch: "+m.Head())
	}
	if o.Squash != nil {
		m.Squash = *o.Squash
	}
	before := m.Project.Branch(m.TargetBranch)
	tip, err := s.mergeCommits(ctx, m, by, o)
	if errors.Is(err, bare.ErrConflict) {
		return refuse.With(http.StatusUnprocessableEntity, "Branch cannot be merged")
	} else if err != nil {
		return err
	}
	if err := m.Project.Git.SetRef(ctx, "refs/heads/"+m.TargetBranch, tip, before); err != nil {
		return refuse.With(http.StatusUnprocessableEntity, "Branch cannot be merged")
	}
	m.State, m.MergeUser, m.MergedAt, m.Updated = Merged, by, s.Clock(), s.Clock()
	s.event(m.Project, &Event{Action: "accepted", Author: by, Target: "MergeRequest", TID: m.ID, TIID: m.IID, TTitle: m.Title})
	if err := s.RefsMoved(ctx, m.Project, by); err != nil {
		return err
	}
	s.TellMR(m, "merge", by, nil)
	if (o.RemoveSource || m.RemoveSource) && m.sourceThere() && m.Source.Protected[m.SourceBranch] == nil && m.SourceBranch != m.Source.DefaultBranch {
		if err := m.Source.Git.SetRef(ctx, "refs/heads/"+m.SourceBranch, "", ""); err != nil {
			return err
		}
		return s.RefsMoved(ctx, m.Source, by)
	}
	return nil
}

// mergeCommits writes what the project's merge method says, and returns the
// target's new tip.
func (s *Lab) mergeCommits(ctx context.Context, m *MR, by *User, o MergeOrder) (string, error) {
	who := person(by, s.Tick())
	git, base, head := m.Project.Git, m.Project.Branch(m.TargetBranch), m.Head()
	if m.Squash || m.Project.Squash == "always" {
		message := o.SquashMessage
		if message == "" {
			message = m.Title
		}
		sha, err := git.Squash(ctx, base, head, message, person(m.Author, who.When), who)
		if err != nil {
			return "", err
		}
		m.SquashSHA, head = sha, sha
	}
	if m.Project.MergeMethod == "ff" {
		return head, nil
	}
	message := o.Message
	if message == "" {
		message = fmt.Sprintf("Merge branch '%s' into '%s'\n\n%s\n\nSee merge request %s!%d", m.SourceBranch, m.TargetBranch, m.Title, m.Project.Full(), m.IID)
	}
	sha, err := git.Merge(ctx, base, head, message, who, who)
	m.MergeSHA = sha
	return sha, err
}

// SetReviewers asks these people for a review, and nobody else. People who may not
// read the project are left out without a word, as GitLab does.
func (s *Lab) SetReviewers(m *MR, by *User, ids []int64) {
	var list []*Reviewer
	var asked, dropped []string
	for _, id := range ids {
		u := s.UserByID(id)
		if u == nil || !s.Reads(u, m.Project) || slices.ContainsFunc(list, func(r *Reviewer) bool { return r.User == u }) {
			continue
		}
		r := m.reviewer(u)
		if r == nil {
			r = &Reviewer{User: u, State: "unreviewed", Since: s.Clock()}
			asked = append(asked, "@"+u.Login)
		}
		list = append(list, r)
	}
	for _, r := range m.Reviewers {
		if !slices.Contains(list, r) {
			dropped = append(dropped, "@"+r.User.Login)
		}
	}
	m.Reviewers = list
	if len(asked) > 0 {
		s.system(m, by, "requested review from "+strings.Join(asked, " and "))
	}
	if len(dropped) > 0 {
		s.system(m, by, "removed review request for "+strings.Join(dropped, " and "))
	}
}

// Approve approves as somebody. Authors do not approve their own, as GitLab's
// default settings have it.
func (s *Lab) Approve(m *MR, by *User, sha string) error {
	if !s.MayApprove(m, by) {
		return refuse.With(http.StatusUnauthorized, "401 Unauthorized")
	}
	if sha != "" && sha != m.Head() {
		return refuse.With(http.StatusConflict, "SHA does not match HEAD of source branch: "+m.Head())
	}
	m.Approvals = append(m.Approvals, &Approval{User: by, At: s.Tick()})
	s.reviewed(m, by, "approved")
	s.system(m, by, "approved this merge request")
	s.event(m.Project, &Event{Action: "approved", Author: by, Target: "MergeRequest", TID: m.ID, TIID: m.IID, TTitle: m.Title})
	action := "approved"
	if s.ApprovalsLeft(m) > 0 {
		action = "approval"
	}
	s.TellMR(m, action, by, nil)
	return nil
}

func (s *Lab) MayApprove(m *MR, u *User) bool {
	return m.State != Merged && u != m.Author && s.May(u, m.Project, Developer) && !m.ApprovedBy(u)
}

// ApprovedBy reports whether somebody's approval stands.
func (m *MR) ApprovedBy(u *User) bool {
	return slices.ContainsFunc(m.Approvals, func(a *Approval) bool { return a.User == u })
}

// ApprovalsLeft is how many approvals its project still demands.
func (s *Lab) ApprovalsLeft(m *MR) int {
	count := 0
	for _, a := range m.Approvals {
		if s.May(a.User, m.Project, Developer) {
			count++
		}
	}
	return max(0, m.Project.Approvals-count)
}

// Unapprove takes somebody's approval back.
func (s *Lab) Unapprove(m *MR, by *User) error {
	if !m.ApprovedBy(by) || m.State == Merged {
		return refuse.NotFound("")
	}
	m.Approvals = slices.DeleteFunc(m.Approvals, func(a *Approval) bool { return a.User == by })
	s.Tick()
	s.reviewed(m, by, "unapproved")
	s.system(m, by, "unapproved this merge request")
	s.TellMR(m, "unapproved", by, nil)
	return nil
}

// reviewed notes what a reviewer did; who was not asked does not become one.
func (s *Lab) reviewed(m *MR, by *User, state string) {
	if r := m.reviewer(by); r != nil {
		r.State = state
	}
	m.Updated = s.Clock()
}

// RequestChanges is what a reviewer says who does not approve.
func (s *Lab) RequestChanges(m *MR, by *User) bool {
	if m.reviewer(by) == nil {
		return false
	}
	s.Tick()
	m.Approvals = slices.DeleteFunc(m.Approvals, func(a *Approval) bool { return a.User == by })
	s.reviewed(m, by, "requested_changes")
	s.system(m, by, "requested changes")
	s.TellMR(m, "update", by, obj{"reviewers": obj{"previous": []any{}, "current": s.hookUsers(m.ReviewerUsers())}})
	return true
}

// resetApprovals forgets the approvals of an earlier version, where the project
// says so.
func (s *Lab) resetApprovals(m *MR, by *User) {
	if !m.Project.ResetOnPush || len(m.Approvals) == 0 {
		return
	}
	var names []string
	for _, a := range m.Approvals {
		names = append(names, "@"+a.User.Login)
		if r := m.reviewer(a.User); r != nil && r.State == "approved" {
			r.State = "unapproved"
		}
	}
	m.Approvals = nil
	s.system(m, by, "reset approvals from "+strings.Join(names, " and ")+" by pushing to the branch")
}

// Check is one of the things that a merge depends on: SUCCESS, FAILED, CHECKING, or
// INACTIVE where the project does not ask for it.
type Check struct{ Name, Status string }

// Checks are all of them, as mergeabilityChecks of GraphQL has them.
func (s *Lab) Checks(ctx context.Context, m *MR) []Check {
	status := s.MergeStatus(ctx, m, true)
	of := func(name string, active, good bool) Check {
		switch {
		case !active:
			return Check{name, "INACTIVE"}
		case good:
			return Check{name, "SUCCESS"}
		}
		return Check{name, "FAILED"}
	}
	ci := of("ci_must_pass", m.Project.PipelinesMustSucceed, s.ciCheck(m) == isMergeable)
	if s.ciCheck(m) == "ci_still_running" {
		ci.Status = "CHECKING"
	}
	conflict, rebase := of(hasConflicts, true, status == canMerge), of(mustRebase, m.Project.MergeMethod == "ff", true)
	if status == checking || status == Unchecked {
		conflict.Status = "CHECKING"
	} else if s.gitCheck(ctx, m) == mustRebase {
		rebase.Status = "FAILED"
	}
	asked := slices.ContainsFunc(m.Reviewers, func(r *Reviewer) bool { return r.State == "requested_changes" })
	return []Check{
		of("not_open", true, m.State == Opened), of("draft_status", true, !m.Draft()), of("commits_status", true, m.sourceThere() && m.Head() != m.Latest().Base),
		of("discussions_not_resolved", false, true), of("requested_changes", true, !asked), of("not_approved", true, s.ApprovalsLeft(m) == 0), conflict, rebase, ci,
	}
}

// Rereview asks somebody once more who was a reviewer already.
func (s *Lab) Rereview(m *MR, by, whom *User) bool {
	r := m.reviewer(whom)
	if r == nil {
		return false
	}
	s.Tick()
	m.Approvals = slices.DeleteFunc(m.Approvals, func(a *Approval) bool { return a.User == whom })
	r.State = "unreviewed"
	s.system(m, by, "requested review from @"+whom.Login)
	return true
}
