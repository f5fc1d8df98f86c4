package lab

import (
	"context"
	"slices"
	"strings"

	"lockkeeper/forge/forgetest/gitlab/internal/quick"
)

// run executes quick actions in the name of the note's author, and says what they
// changed and what GitLab tells its author about it.
func (s *Lab) run(ctx context.Context, n *Remark, commands []quick.Command, head string) (obj, []string) {
	changes := obj{}
	var summary []string
	for _, c := range commands {
		var said string
		if n.MR != nil {
			said = s.onMR(ctx, n, c, head, changes)
		} else if n.Issue != nil {
			said = s.onIssue(n, c, changes)
		}
		if said != "" {
			summary = append(summary, said)
		}
	}
	return changes, summary
}

func (s *Lab) onIssue(n *Remark, c quick.Command, changes obj) string {
	if !s.May(n.Author, n.Project, Reporter) && n.Author != n.Issue.Author {
		return ""
	}
	switch c.Name {
	case "close", "reopen":
		s.setIssue(n.Issue, n.Author, c.Name)
		changes["state_event"] = c.Name
		return strings.ToUpper(c.Name[:1]) + c.Name[1:] + "d this issue."
	case "title":
		n.Issue.Title = c.Arg
		changes["title"] = c.Arg
		return `Changed the title to "` + c.Arg + `".`
	}
	return ""
}

// onMR executes one quick action under a merge request; "" is one that did not
// apply.
func (s *Lab) onMR(ctx context.Context, n *Remark, c quick.Command, head string, changes obj) string {
	m, by := n.MR, n.Author
	switch c.Name {
	case "approve":
		if s.Approve(m, by, "") == nil {
			return "Approved the current merge request."
		}
	case "unapprove":
		if s.Unapprove(m, by) == nil {
			return "Unapproved the current merge request."
		}
	case "request_changes":
		if s.RequestChanges(m, by) {
			return "Changes requested to the current merge request."
		}
	case "merge":
		if head == m.Head() && s.Merge(ctx, m, by, MergeOrder{SHA: head}) == nil {
			changes["merge"] = head
		}
		return "Merged this merge request."
	case "reviewer", "assign_reviewer", "request_review", "unassign_reviewer", "remove_reviewer":
		return s.actOnReviewers(m, by, c, changes)
	}
	if !s.May(by, m.Project, Developer) && by != m.Author {
		return ""
	}
	return s.editByAction(ctx, m, by, c, changes)
}

func (s *Lab) editByAction(ctx context.Context, m *MR, by *User, c quick.Command, changes obj) string {
	plain := draftTitle.ReplaceAllString(m.Title, "")
	edit, said := MREdit{}, ""
	switch c.Name {
	case "close", "reopen":
		edit.StateEvent, said = &c.Name, strings.ToUpper(c.Name[:1])+c.Name[1:]+"d this merge request."
		changes["state_event"] = c.Name
	case "draft":
		draft := "Draft: " + plain
		edit.Title, said = &draft, "Marked this merge request as a draft."
	case "ready":
		edit.Title, said = &plain, "Marked this merge request as ready."
	case "title":
		edit.Title, said = &c.Arg, `Changed the title to "`+c.Arg+`".`
		changes["title"] = c.Arg
	case "target_branch":
		edit.TargetBranch, said = &c.Arg, "Set target branch to "+c.Arg+"."
		changes["target_branch"] = c.Arg
	default:
		return ""
	}
	if s.UpdateMR(ctx, m, by, edit) != nil {
		return ""
	}
	return said
}

func (s *Lab) actOnReviewers(m *MR, by *User, c quick.Command, changes obj) string {
	if !s.May(by, m.Project, Developer) {
		return ""
	}
	remove := strings.HasPrefix(c.Name, "un") || strings.HasPrefix(c.Name, "remove")
	var named []int64
	for word := range strings.FieldsSeq(strings.ReplaceAll(c.Arg, "@", " ")) {
		if word == "me" {
			named = append(named, by.ID)
		} else if u := s.User(word); u != nil {
			named = append(named, u.ID)
		}
	}
	if len(named) == 0 && !(remove && c.Arg == "") {
		return ""
	}
	var ids []int64
	for _, r := range m.Reviewers {
		if !remove || c.Arg != "" && !slices.Contains(named, r.User.ID) {
			ids = append(ids, r.User.ID)
		}
	}
	if !remove {
		ids = append(ids, named...)
	}
	s.SetReviewers(m, by, ids)
	changes["reviewer_ids"] = ids
	return map[bool]string{false: "Assigned " + c.Arg + " as reviewer.", true: "Removed reviewer " + c.Arg + "."}[remove]
}
