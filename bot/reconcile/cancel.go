package reconcile

import (
	"lockkeeper/bot/command"
	"lockkeeper/bot/outcome"
	"lockkeeper/bot/report"
)

// Cancelling finds the command that cancels a running operation: the first
// without an outcome, of somebody who may, that was not given before the
// operation was asked for. Commands are answered in their order, so that one
// before it in the same comment has its outcome.
func (s *State) Cancelling(a Apply) *Command {
	for i, c := range s.Commands {
		before := a.Command != nil && c.Comment.ID < a.Command.Comment.ID
		if c.Parsed.Name == command.Cancel && c.Parsed.Err == nil && !c.Late && !before && allowed(s, c) == "" {
			return &s.Commands[i]
		}
	}
	return nil
}

// answerCancel answers a /cancel that found nothing to stop.
func answerCancel(s *State, c Command) []Action {
	last := s.Memory.Last
	switch {
	case last == nil:
		return s.Refuse(c, "nothing of this pull is being applied")
	case last.Done() && (last.Kind == PlanPull || last.Kind == PlanMerged):
		return s.Refuse(c, "nothing of this pull is being applied any more. "+last.Says()+" `/rollback` undoes it.")
	}
	return s.Refuse(c, "nothing of this pull is being applied any more. "+last.Says())
}

// CancelReply takes up the command that cancelled the last operation, if it has
// no outcome yet, and answers it.
func (s *State) CancelReply() []Action {
	for _, c := range s.Commands {
		if s.Memory.Last != nil && s.Memory.Last.Cancelled == c.ID() {
			return append([]Action{Take{c}}, s.Ended(c)...)
		}
	}
	return nil
}

// Ended answers a command whose operation came to its end, or that ended it.
func (s *State) Ended(c Command) []Action {
	last := s.Memory.Last
	kind := report.ReplyFailed
	switch {
	case last.Done():
		kind = report.ReplyApplied
	case last.Outcome == outcome.Cancelled:
		kind = report.ReplyCancelled
	}
	return s.Reply(c, report.Reply{Kind: kind, Text: last.Says(), Items: outcome.Failures(s.Results)})
}
