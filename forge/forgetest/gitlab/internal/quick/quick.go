// Package quick finds quick actions in a text: GitLab's commands, which start with a
// slash.
package quick

import (
	"regexp"
	"strings"
)

// Command is one quick action of a text.
type Command struct{ Name, Arg string }

// words are the words that GitLab takes for itself, as its
// lib/gitlab/quick_actions has them, aliases included. Which of them do something
// here is up to actions; the others only disappear from the text.
var words = func() map[string]bool {
	known := map[string]bool{}
	for _, w := range strings.Fields(`add_child add_contacts add_email approve assign assign_reviewer award blocked_by blocks board_move cc_all
		checkin_reminder child clear_health_status clear_parent clear_weight clone close confidential convert_to_ticket copy_metadata
		copy_metadata_from create_merge_request done draft due due_date duplicate epic estimate estimate_time health_status iteration
		label labels link lock mark_as_done merge milestone move page parent promote promote_to promote_to_incident publish q react
		ready reassign reassign_reviewer rebase relabel relate remove_child remove_contacts remove_due_date remove_email remove_epic
		remove_estimate remove_iteration remove_label remove_milestone remove_parent remove_reviewer remove_time_estimate
		remove_time_spent remove_zoom reopen request_changes request_review reviewer severity spend spend_time spent ship
		submit_review subscribe tag target_branch timeline title todo to_do type unapprove unassign unassign_reviewer unlabel unlink
		unlock unsubscribe weight work_in_progress zoom`) {
		known[w] = true
	}
	return known
}()

var (
	commandLine = regexp.MustCompile(`^/([a-zA-Z_]+)(?: (.*))?$`)
	fence       = regexp.MustCompile("^ {0,3}(`{3,}|~{3,})([^`]*)$")
)

// Extract takes the quick actions out of a text: lines that start with a slash and
// one of GitLab's words, outside of fenced code. In doubt a line counts as one: of
// what GitLab's versions disagree on (HTML blocks, quoted blocks), nothing
// protects.
func Extract(text string) (string, []Command) {
	var kept []string
	var found []Command
	open := ""
	for line := range strings.SplitSeq(strings.ReplaceAll(text, "\r", ""), "\n") {
		if f := fence.FindStringSubmatch(line); f != nil {
			switch {
			case open == "":
				open = f[1]
			case f[1][0] == open[0] && len(f[1]) >= len(open) && strings.TrimSpace(f[2]) == "":
				open = ""
			}
		} else if c := commandLine.FindStringSubmatch(strings.TrimRight(line, " \t")); c != nil && open == "" && words[strings.ToLower(c[1])] {
			found = append(found, Command{strings.ToLower(c[1]), strings.TrimSpace(c[2])})
			continue
		}
		kept = append(kept, line)
	}
	if len(found) == 0 {
		return text, nil
	}
	return strings.TrimSpace(strings.Join(kept, "\n")), found
}
