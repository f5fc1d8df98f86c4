package reconcile

import (
	"fmt"
	"maps"
	"slices"

	"lockkeeper/bot/names"
	"lockkeeper/bot/policy"
	"lockkeeper/bot/report"
	"lockkeeper/forge"
)

// RollbackBranch is what the names of branches begin with by which the bot goes
// back.
const RollbackBranch = "lockkeeper/rollback/"

// Returning is what is known of a plan's targets for a rollback: the revision at
// which each was applied as the plan has it, with approval, and was healthy; ""
// for one that never was. Nil where there is no plan.
type Returning map[string]string

// JudgeRollback says of a pull by which the bot goes back whether it does that
// and nothing else; nil for every other pull.
func (s *State) JudgeRollback(r Returning) *policy.Rollback {
	if !OwnPull(s.Self, s.Pull, RollbackBranch) || s.Kind != PlanPull && s.Kind != PlanMerged {
		return nil
	}
	out := &policy.Rollback{Why: s.addedByPeople()}
	for _, target := range slices.Sorted(maps.Keys(r)) {
		switch {
		case r[target] == "" && out.Why == "":
			out.Why = "what it makes of " + target + " was never applied with approval and found healthy"
		case r[target] != "":
			out.To = r[target]
		}
	}
	if len(r) == 0 && out.Why == "" {
		out.Why = "it is not planned, or changes no target"
	}
	out.Pure = out.Why == ""
	return out
}

// addedByPeople says what of the pull the bot did not make, or "".
func (s *State) addedByPeople() string {
	for _, c := range s.Commits {
		if c.Author.ID != s.Self.ID && !s.CleanMerges[c.SHA] {
			return "@" + c.Author.Login + " committed " + names.Short(c.SHA) + " to it"
		}
		// Anybody may write our name into a commit, and sign it as its committer.
		signed := c.Verified && (c.Committer.ID == s.Self.ID || slices.Contains(s.Policy.ServiceAccounts, c.Committer.ID))
		if !s.PushersKnown && !signed && !s.CleanMerges[c.SHA] {
			return "the forge does not tell who pushed, and " + names.Short(c.SHA) + " is not signed by it"
		}
	}
	for _, u := range s.Pushers {
		if u.ID != s.Self.ID {
			return "@" + u.Login + " pushed to it"
		}
	}
	return ""
}

// answerRollback undoes a merge with a pull of its own; what is applied and not
// merged is given up by closing it, which plans its restore.
func answerRollback(s *State, c Command) []Action {
	open, closed := s.Pull.State == forge.Open, s.Pull.State == forge.Closed && !s.Pull.Merged
	planned := fmt.Sprintf("The pull is closed, and the plan above puts %s back on what was applied of it: have it approved, then `%s` (or `/apply`) carries it out.", s.Pull.Base.Name, s.Spell("/unlock restore"))
	switch {
	case c.Parsed.SHA != "" || c.Parsed.Pull != 0 || s.Pull.Merged:
		return []Action{Rollback{c}}
	case closed && len(s.Memory.Leases) > 0:
		return s.Reply(c, report.Reply{Kind: report.ReplyRollback, Text: planned})
	case open && len(s.Memory.Leases) > 0:
		return append([]Action{ClosePull{By: c.Comment.Author}}, s.Reply(c, report.Reply{Kind: report.ReplyRollback, Text: planned})...)
	case open:
		return s.Refuse(c, "nothing of this pull is applied: close it to give it up, or say what to go back to: `/rollback to #PULL`, `/rollback to SHA`")
	}
	return s.Refuse(c, "the pull was closed and nothing of it is applied: say what to go back to: `/rollback to #PULL`, `/rollback to SHA`")
}

// undoable reports whether the last operation left something that a rollback
// undoes.
func (s *State) undoable() bool {
	last := s.Memory.Last
	return last != nil && last.Halfway() && (last.Kind == PlanPull || last.Kind == PlanMerged) &&
		(len(s.Memory.Leases) > 0 || s.Pull.Merged)
}
