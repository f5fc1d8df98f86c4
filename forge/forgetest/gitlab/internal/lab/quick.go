package lab

import (
	"context"
	"regexp"
	"slices"
	"strings"
)

// command is one quick action of a text.
type command struct{ name, arg string }

// quickActions are the words that GitLab takes for itself, as its
// lib/gitlab/quick_actions has them, aliases included. Which of them do something
// here is up to actions; the others only disappear from the text.
var quickActions = func() map[string]bool {
	words := map[string]bool{}
	for _, w := range strings.Fields(`add_child add_contacts add_email approve assign assign_reviewer award blocked_by blocks board_move cc_all
		checkin_reminder child clear_health_status clear_parent clear_weight clone close confidential convert_to_ticket copy_metadata
		copy_metadata_from create_merge_request done draft due due_date duplicate epic estimate estimate_time health_status iteration
		label labels link lock mark_as_done merge milestone move page parent promote promote_to promote_to_incident publish q react
		ready reassign reassign_reviewer rebase relabel relate remove_child remove_contacts remove_due_date remove_email remove_epic
		remove_estimate remove_iteration remove_label remove_milestone remove_parent remove_reviewer remove_time_estimate
		remove_time_spent remove_zoom reopen request_changes request_review reviewer severity spend spend_time spent ship
		submit_review subscribe tag target_branch timeline title todo to_do type unapprove unassign unassign_reviewer unlabel unlink
		unlock unsubscribe weight work_in_progress zoom`) {
		words[w] = true
	}
	return words
}()

// QuickActions are the words, sorted.
func QuickActions() []string {
	var list []string
	for w := range quickActions {
		list = append(list, w)
	}
	slices.Sort(list)
	return list
}

var (
	commandLine = regexp.MustCompile(`^/([a-zA-Z_]+)(?: (.*))?$`)
	fence       = regexp.MustCompile("^ {0,3}(`{3,}|~{3,})([^`]*)$")
)

// extract takes the quick actions out of a text: lines that start with a slash and
// one of GitLab's words, outside of fenced code. In doubt a line counts as one: of
// what GitLab's versions disagree on (HTML blocks, quoted blocks), nothing
// protects.
func extract(text string) (string, []command) {
	var kept []string
	var found []command
	open := ""
	for line := range strings.SplitSeq(strings.ReplaceAll(text, "\r", ""), "\n") {
		if f := fence.FindStringSubmatch(line); f != nil {
			switch {
			case open == "":
				open = f[1]
			case f[1][0] == open[0] && len(f[1]) >= len(open) && strings.TrimSpace(f[2]) == "":
				open = ""
			}
		} else if c := commandLine.FindStringSubmatch(strings.TrimRight(line, " \t")); c != nil && open == "" && quickActions[strings.ToLower(c[1])] {
			found = append(found, command{strings.ToLower(c[1]), strings.TrimSpace(c[2])})
			continue
		}
		kept = append(kept, line)
	}
	if len(found) == 0 {
		return text, nil
	}
	return strings.TrimSpace(strings.Join(kept, "\n")), found
}

// run executes quick actions in the name of the note's author, and says what they
// changed and what GitLab tells its author about it.
func (s *Lab) run(ctx context.Context, n *Remark, commands []command, head string) (obj, []string) {
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

func (s *Lab) onIssue(n *Remark, c command, changes obj) string {
	if !s.May(n.Author, n.Project, Reporter) && n.Author != n.Issue.Author {
		return ""
	}
	switch c.name {
	case "close", "reopen":
		s.setIssue(n.Issue, n.Author, c.name)
		changes["state_event"] = c.name
		return strings.ToUpper(c.name[:1]) + c.name[1:] + "d this issue."
	case "title":
		n.Issue.Title = c.arg
		changes["title"] = c.arg
		return `Changed the title to "` + c.arg + `".`
	}
	return ""
}

// onMR executes one quick action under a merge request; "" is one that did not
// apply.
func (s *Lab) onMR(ctx context.Context, n *Remark, c command, head string, changes obj) string {
	m, by := n.MR, n.Author
	switch c.name {
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

func (s *Lab) editByAction(ctx context.Context, m *MR, by *User, c command, changes obj) string {
	plain := draftTitle.ReplaceAllString(m.Title, "")
	edit, said := MREdit{}, ""
	switch c.name {
	case "close", "reopen":
		edit.StateEvent, said = &c.name, strings.ToUpper(c.name[:1])+c.name[1:]+"d this merge request."
		changes["state_event"] = c.name
	case "draft":
		draft := "Draft: " + plain
		edit.Title, said = &draft, "Marked this merge request as a draft."
	case "ready":
		edit.Title, said = &plain, "Marked this merge request as ready."
	case "title":
		edit.Title, said = &c.arg, `Changed the title to "`+c.arg+`".`
		changes["title"] = c.arg
	case "target_branch":
		edit.TargetBranch, said = &c.arg, "Set target branch to "+c.arg+"."
		changes["target_branch"] = c.arg
	default:
		return ""
	}
	if s.UpdateMR(ctx, m, by, edit) != nil {
		return ""
	}
	return said
}

func (s *Lab) actOnReviewers(m *MR, by *User, c command, changes obj) string {
	if !s.May(by, m.Project, Developer) {
		return ""
	}
	remove := strings.HasPrefix(c.name, "un") || strings.HasPrefix(c.name, "remove")
	var named []int64
	for word := range strings.FieldsSeq(strings.ReplaceAll(c.arg, "@", " ")) {
		if word == "me" {
			named = append(named, by.ID)
		} else if u := s.User(word); u != nil {
			named = append(named, u.ID)
		}
	}
	if len(named) == 0 && !(remove && c.arg == "") {
		return ""
	}
	var ids []int64
	for _, r := range m.Reviewers {
		if !remove || c.arg != "" && !slices.Contains(named, r.User.ID) {
			ids = append(ids, r.User.ID)
		}
	}
	if !remove {
		ids = append(ids, named...)
	}
	s.SetReviewers(m, by, ids)
	changes["reviewer_ids"] = ids
	return map[bool]string{false: "Assigned " + c.arg + " as reviewer.", true: "Removed reviewer " + c.arg + "."}[remove]
}
