package lab

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"lockkeeper/forge/forgetest/bare"
	"lockkeeper/forge/forgetest/gitlab/internal/quick"
	"lockkeeper/forge/forgetest/gitlab/internal/refuse"
)

// The states of a merge request.
const (
	Opened = "opened"
	Closed = "closed"
	Merged = "merged"
)

// MR is a merge request.
type MR struct {
	ID                         int64
	IID                        int
	Project                    *Project
	Source                     *Project // nil when the fork was deleted
	SourceBranch, TargetBranch string
	Title, Description         string
	Author                     *User
	State                      string
	MergeSHA, SquashSHA        string
	MergeUser, ClosedBy        *User
	MergedAt, ClosedAt         time.Time
	Squash, RemoveSource       bool
	Labels                     []string
	Assignees                  []*User
	Reviewers                  []*Reviewer
	Approvals                  []*Approval
	Versions                   []*Version // oldest first
	Created, Updated           time.Time

	Status    string // merge_status
	statusFor string // for which commits
}

// Version is what a merge request was between two pushes.
type Version struct {
	ID                int64
	Head, Base, Start string
	At                time.Time
}

// Reviewer is somebody who was asked, and what they did since.
type Reviewer struct {
	User  *User
	State string // unreviewed, reviewed, requested_changes, approved, unapproved
	Since time.Time
}

// Approval is somebody's approval. It names no commit: GitLab's do not.
type Approval struct {
	User *User
	At   time.Time
}

// Head is the commit that it would bring.
func (m *MR) Head() string { return m.Versions[len(m.Versions)-1].Head }

// Latest is its newest version.
func (m *MR) Latest() *Version { return m.Versions[len(m.Versions)-1] }

var draftTitle = regexp.MustCompile(`(?i)^\s*(\[draft\]|draft:|\(draft\))\s*`)

// Draft reports whether its title says so.
func (m *MR) Draft() bool { return draftTitle.MatchString(m.Title) }

// headRef is where the project keeps the head, also of a fork's branch.
func (m *MR) headRef() string { return fmt.Sprintf("refs/merge-requests/%d/head", m.IID) }

// NewMR is a merge request to open.
type NewMR struct {
	Target                                   *Project // nil: the source
	Title, Description                       string
	SourceBranch, TargetBranch               string
	Reviewers, Assignees                     []int64
	Labels                                   []string
	Squash, RemoveSource, AllowCollaboration bool
}

// maxDescription is in bytes: Issuable::DESCRIPTION_LENGTH_MAX.
const maxDescription = 1 << 20

func checkTexts(title, description string) error {
	switch {
	case strings.TrimSpace(title) == "":
		return refuse.Invalid("title", "can't be blank")
	case len([]rune(title)) > 255:
		return refuse.Invalid("title", "is too long (maximum is 255 characters)")
	case len(description) > maxDescription:
		return refuse.Invalid("description", fmt.Sprintf("is too long (%d B). The maximum size is 1 MiB.", len(description)))
	}
	return nil
}

// CreateMR opens a merge request from a branch of a project.
func (s *Lab) CreateMR(ctx context.Context, source *Project, by *User, in NewMR) (*MR, error) {
	target := in.Target
	if target == nil {
		target = source
	}
	if !s.May(by, source, Developer) || !s.Reads(by, target) || target.Archived {
		return nil, refuse.Forbidden()
	}
	if err := s.checkBranches(source, target, in); err != nil {
		return nil, err
	}
	if err := checkTexts(in.Title, in.Description); err != nil {
		return nil, err
	}
	at := s.Tick()
	m := &MR{ID: s.NextID(), IID: target.lastMR + 1, Project: target, Source: source, SourceBranch: in.SourceBranch, TargetBranch: in.TargetBranch,
		Title: in.Title, Author: by, State: Opened, Labels: in.Labels, Squash: in.Squash, RemoveSource: in.RemoveSource, Created: at, Updated: at}
	if err := s.newVersion(ctx, m); err != nil {
		return nil, err
	}
	target.lastMR++
	target.MRs[m.IID] = m
	s.assign(m, in.Assignees)
	s.SetReviewers(m, by, in.Reviewers)
	text, commands := quick.Extract(in.Description)
	m.Description = text
	s.event(target, &Event{Action: "opened", Author: by, Target: "MergeRequest", TID: m.ID, TIID: m.IID, TTitle: m.Title})
	s.TellMR(m, "open", by, nil)
	s.run(ctx, &Remark{MR: m, Author: by, Project: target}, commands, "")
	return m, nil
}

func (s *Lab) checkBranches(source, target *Project, in NewMR) error {
	switch {
	case source == target && in.SourceBranch == in.TargetBranch:
		return refuse.With(http.StatusUnprocessableEntity, []string{"You can't use same project/branch for source and target"})
	case source.Branch(in.SourceBranch) == "":
		return refuse.Invalid("source_branch", "does not exist")
	case target.Branch(in.TargetBranch) == "":
		return refuse.Invalid("target_branch", "does not exist")
	}
	return s.soleMR(source, target, in.SourceBranch, in.TargetBranch)
}

// soleMR refuses a second open merge request of the same branches.
func (s *Lab) soleMR(source, target *Project, from, into string) error {
	for _, m := range target.OpenMRs() {
		if m.Source == source && m.SourceBranch == from && m.TargetBranch == into {
			return refuse.With(http.StatusConflict, []string{fmt.Sprintf("Another open merge request already exists for this source branch: !%d", m.IID)})
		}
	}
	return nil
}

// newVersion notes where head and target stand now, and keeps the head.
func (s *Lab) newVersion(ctx context.Context, m *MR) error {
	head, start := m.Source.Branch(m.SourceBranch), m.Project.Branch(m.TargetBranch)
	var err error
	if m.Source == m.Project {
		err = m.Project.Git.SetRef(ctx, m.headRef(), head, "")
	} else {
		err = m.Project.Git.Fetch(ctx, m.Source.Git, head, m.headRef())
	}
	if err != nil {
		return err
	}
	m.Project.Refs[m.headRef()] = head
	m.Versions = append(m.Versions, &Version{ID: s.NextID(), Head: head, Start: start, At: s.Clock(),
		Base: cmp.Or(m.Project.Git.MergeBase(ctx, start, head), start)})
	return nil
}

// MREdit changes what is not nil.
type MREdit struct {
	Title, Description, TargetBranch, StateEvent *string
	Reviewers, Assignees                         *[]int64
	Squash, RemoveSource                         *bool
	Labels                                       *[]string
}

// UpdateMR edits a merge request as somebody.
func (s *Lab) UpdateMR(ctx context.Context, m *MR, by *User, e MREdit) error {
	if !s.May(by, m.Project, Developer) && by != m.Author {
		return refuse.Forbidden()
	}
	title, description := m.Title, m.Description
	if e.Title != nil {
		title = *e.Title
	}
	if e.Description != nil {
		description = *e.Description
	}
	if err := checkTexts(title, description); err != nil {
		return err
	}
	if e.TargetBranch != nil && *e.TargetBranch != m.TargetBranch {
		if err := s.retarget(ctx, m, by, *e.TargetBranch); err != nil {
			return err
		}
	}
	if e.StateEvent != nil {
		if err := s.changeState(m, by, *e.StateEvent); err != nil {
			return err
		}
	}
	changes := obj{}
	s.retitle(m, by, title, changes)
	text, commands := quick.Extract(description)
	if text != m.Description {
		changes["description"] = obj{"previous": m.Description, "current": text}
		m.Description = text
	}
	s.options(m, by, e, changes)
	m.Updated = s.Tick()
	if len(changes) > 0 {
		s.TellMR(m, "update", by, changes)
	}
	if e.Description != nil {
		s.run(ctx, &Remark{MR: m, Author: by, Project: m.Project}, commands, "")
	}
	return nil
}

func (s *Lab) options(m *MR, by *User, e MREdit, changes obj) {
	if e.Reviewers != nil {
		before := m.ReviewerUsers()
		s.SetReviewers(m, by, *e.Reviewers)
		changes["reviewers"] = obj{"previous": s.hookUsers(before), "current": s.hookUsers(m.ReviewerUsers())}
	}
	if e.Assignees != nil {
		s.assign(m, *e.Assignees)
	}
	if e.Squash != nil {
		m.Squash = *e.Squash
	}
	if e.RemoveSource != nil {
		m.RemoveSource = *e.RemoveSource
	}
	if e.Labels != nil {
		m.Labels = *e.Labels
	}
}

func (s *Lab) retitle(m *MR, by *User, title string, changes obj) {
	if title == m.Title {
		return
	}
	was, draft := m.Title, m.Draft()
	m.Title = title
	changes["title"] = obj{"previous": was, "current": title}
	switch {
	case draft && !m.Draft():
		s.system(m, by, "marked this merge request as **ready**")
	case !draft && m.Draft():
		s.system(m, by, "marked this merge request as **draft**")
	}
	if draftTitle.ReplaceAllString(was, "") != draftTitle.ReplaceAllString(title, "") {
		s.system(m, by, fmt.Sprintf("changed title from **%s** to **%s**", was, title))
	}
	if draft != m.Draft() {
		changes["draft"] = obj{"previous": draft, "current": m.Draft()}
	}
}

func (s *Lab) retarget(ctx context.Context, m *MR, by *User, branch string) error {
	if m.Project.Branch(branch) == "" {
		return refuse.Invalid("target_branch", "does not exist")
	}
	if m.State == Opened {
		if err := s.soleMR(m.Source, m.Project, m.SourceBranch, branch); err != nil {
			return err
		}
	}
	was := m.TargetBranch
	m.TargetBranch = branch
	s.system(m, by, fmt.Sprintf("changed target branch from `%s` to `%s`", was, branch))
	if m.Source != nil && m.Source.Branch(m.SourceBranch) != "" {
		if err := s.newVersion(ctx, m); err != nil {
			return err
		}
	}
	s.TellMR(m, "update", by, obj{"target_branch": obj{"previous": was, "current": branch}})
	return nil
}

// changeState closes or reopens; what is so already stays so.
func (s *Lab) changeState(m *MR, by *User, event string) error {
	switch {
	case event == "close" && m.State == Opened:
		s.closeMR(m, by)
	case event == "reopen" && m.State == Closed:
		if m.Source == nil || m.Source.Branch(m.SourceBranch) == "" {
			return nil // GitLab answers 200 and leaves it closed: reopening needs the source branch
		}
		if err := s.soleMR(m.Source, m.Project, m.SourceBranch, m.TargetBranch); err != nil {
			return err
		}
		m.State, m.ClosedBy, m.ClosedAt = Opened, nil, time.Time{}
		s.event(m.Project, &Event{Action: "reopened", Author: by, Target: "MergeRequest", TID: m.ID, TIID: m.IID, TTitle: m.Title})
		s.TellMR(m, "reopen", by, nil)
	case event != "close" && event != "reopen":
		return refuse.With(http.StatusBadRequest, "state_event does not have a valid value")
	}
	return nil
}

func (s *Lab) closeMR(m *MR, by *User) {
	m.State, m.ClosedBy, m.ClosedAt, m.Updated = Closed, by, s.Tick(), s.Clock()
	s.event(m.Project, &Event{Action: "closed", Author: by, Target: "MergeRequest", TID: m.ID, TIID: m.IID, TTitle: m.Title})
	s.TellMR(m, "close", by, nil)
}

// Commits are those of target..head, oldest first.
func (m *MR) Commits(ctx context.Context) []bare.Commit {
	v := m.Latest()
	list, err := m.Project.Git.Between(ctx, v.Base, v.Head)
	if err != nil {
		return nil // a lost object shows as an empty merge request
	}
	return list
}

// Patches are the changed files.
func (m *MR) Patches(ctx context.Context, patch bool) []bare.FileChange {
	v := m.Latest()
	list, err := m.Project.Git.Diff(ctx, v.Base, v.Head, patch)
	if err != nil {
		return nil
	}
	return list
}

func (s *Lab) assign(m *MR, ids []int64) {
	m.Assignees = nil
	for _, id := range ids {
		if u := s.UserByID(id); u != nil && s.Reads(u, m.Project) {
			m.Assignees = append(m.Assignees, u)
		}
	}
}

// ReviewerUsers are the people who were asked for a review.
func (m *MR) ReviewerUsers() []*User {
	var list []*User
	for _, r := range m.Reviewers {
		list = append(list, r.User)
	}
	return list
}

func (m *MR) reviewer(u *User) *Reviewer {
	i := slices.IndexFunc(m.Reviewers, func(r *Reviewer) bool { return r.User == u })
	if i < 0 {
		return nil
	}
	return m.Reviewers[i]
}
