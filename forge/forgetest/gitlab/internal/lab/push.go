package lab

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"lockkeeper/forge/forgetest/bare"
	"lockkeeper/forge/forgetest/gitlab/internal/refuse"
)

// Zero is how Git and GitLab write that there is no commit.
const Zero = "0000000000000000000000000000000000000000"

// bulk is how many refs of one push have events of their own.
const bulk = 3

// RefsMoved looks at what a push by somebody, or the look-alike itself, has changed,
// and does what follows from it.
func (s *Lab) RefsMoved(ctx context.Context, p *Project, by *User) error {
	refs, err := p.Git.Refs(ctx)
	if err != nil {
		return err
	}
	before := p.Refs
	p.Refs = refs
	var moved []string
	for ref := range union(before, refs) {
		if before[ref] != refs[ref] && !strings.HasPrefix(ref, "refs/merge-requests/") {
			moved = append(moved, ref)
		}
	}
	slices.Sort(moved)
	if len(moved) > 0 {
		s.Tick()
	}
	for _, ref := range moved {
		if err := s.refMoved(ctx, p, by, ref, before[ref], refs[ref], len(moved) <= bulk); err != nil {
			return err
		}
	}
	if len(moved) > bulk {
		s.event(p, &Event{Action: "pushed to", Author: by, Push: &PushData{Action: "pushed", RefType: "branch", Refs: len(moved)}})
	}
	return nil
}

func union(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, b)
	return out
}

func (s *Lab) refMoved(ctx context.Context, p *Project, by *User, ref, before, after string, single bool) error {
	kind, name := "tag", strings.TrimPrefix(ref, "refs/tags/")
	if branch, ok := strings.CutPrefix(ref, "refs/heads/"); ok {
		kind, name = "branch", branch
	}
	fresh := s.pushed(ctx, p, before, after)
	if single {
		s.event(p, pushEvent(by, kind, name, before, after, fresh))
	}
	s.TellPush(p, by, ref, before, after, fresh)
	if kind != "branch" {
		return nil
	}
	for _, m := range s.affected(p, name) {
		if err := s.branchMoved(ctx, m, p, name, by, before, after); err != nil {
			return err
		}
	}
	return nil
}

// pushed are the commits that a push brought, oldest first.
func (s *Lab) pushed(ctx context.Context, p *Project, before, after string) []bare.Commit {
	from := before
	if before == "" {
		from = p.Branch(p.DefaultBranch)
	}
	if after == "" || from == "" {
		return nil
	}
	list, err := p.Git.Between(ctx, from, after)
	if err != nil {
		return nil // the commit before was of another history, and is gone
	}
	return list
}

func pushEvent(by *User, kind, name, before, after string, fresh []bare.Commit) *Event {
	d := &PushData{Count: len(fresh), Action: "pushed", RefType: kind, From: before, To: after, Ref: name}
	e := &Event{Action: "pushed to", Author: by, Push: d}
	switch {
	case before == "":
		e.Action, d.Action = "pushed new", "created"
	case after == "":
		e.Action, d.Action = "deleted", "removed"
	}
	if len(fresh) > 0 {
		d.Title, _, _ = strings.Cut(fresh[len(fresh)-1].Message, "\n")
	}
	return e
}

// affected are the open merge requests, of any project, whose source or target the
// branch is.
func (s *Lab) affected(p *Project, branch string) []*MR {
	var list []*MR
	for _, in := range s.Projects {
		for _, m := range in.OpenMRs() {
			if m.Source == p && m.SourceBranch == branch || in == p && m.TargetBranch == branch {
				list = append(list, m)
			}
		}
	}
	return list
}

// branchMoved makes a new version of a merge request whose source was pushed to,
// and merges one whose commits reached the target in another way.
func (s *Lab) branchMoved(ctx context.Context, m *MR, p *Project, name string, by *User, before, after string) error {
	if m.Source != p || m.SourceBranch != name {
		if after != "" && m.Head() != m.Latest().Base && p.Git.IsAncestor(ctx, m.Head(), after) {
			m.State, m.MergeUser, m.MergedAt, m.Updated = Merged, by, s.Clock(), s.Clock()
			s.TellMR(m, "merge", by, nil)
		}
		return nil
	}
	switch {
	case after == "":
		s.system(m, by, fmt.Sprintf("deleted source branch `%s`", name))
		s.closeMR(m, by)
		return nil
	case before == "":
		s.system(m, by, fmt.Sprintf("restored source branch `%s`", name))
	default:
		s.system(m, by, fmt.Sprintf("added %d commit%s\n\n<ul><li>%s...%s</li></ul>", len(s.pushed(ctx, p, before, after)), "s", before[:8], after[:8]))
	}
	if err := s.newVersion(ctx, m); err != nil {
		return err
	}
	m.Updated = s.Clock()
	s.resetApprovals(m, by)
	s.TellMR(m, "update", by, obj{"oldrev": before})
	return nil
}

// CreateBranch makes a branch where a commit or another branch is.
func (s *Lab) CreateBranch(ctx context.Context, p *Project, by *User, name, from string) error {
	if !s.May(by, p, Developer) {
		return refuse.Forbidden()
	}
	sha := p.Branch(from)
	if sha == "" {
		var err error
		if sha, err = p.Git.Resolve(ctx, from); err != nil {
			return refuse.With(http.StatusBadRequest, "Invalid reference name: "+from)
		}
	}
	if p.Branch(name) != "" {
		return refuse.With(http.StatusBadRequest, "Branch already exists")
	}
	if err := p.Git.SetRef(ctx, "refs/heads/"+name, sha, ""); err != nil {
		return refuse.With(http.StatusBadRequest, "Branch name is invalid")
	}
	return s.RefsMoved(ctx, p, by)
}

// DeleteBranch removes a branch.
func (s *Lab) DeleteBranch(ctx context.Context, p *Project, by *User, name string) error {
	switch {
	case p.Branch(name) == "":
		return refuse.NotFound("Branch")
	case !s.May(by, p, Developer):
		return refuse.Forbidden()
	case p.Protected[name] != nil || name == p.DefaultBranch:
		return refuse.With(http.StatusForbidden, "403 Forbidden - The protected or default branch cannot be deleted")
	}
	if err := p.Git.SetRef(ctx, "refs/heads/"+name, "", ""); err != nil {
		return err
	}
	return s.RefsMoved(ctx, p, by)
}
