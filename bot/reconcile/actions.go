package reconcile

import (
	"lockkeeper/bot/policy"
	"lockkeeper/bot/report"
	"lockkeeper/forge"
)

// Action is one thing that Decide wants done. Every action can be carried out
// again after a crash without harm: it either finds its effect in place or
// repeats it to the same end.
type Action interface{ name() string }

// Name is what logs and errors call an action.
func Name(a Action) string { return a.name() }

// Take claims a command, so that it acts once, and acknowledges it with a
// reaction.
type Take struct{ Command Command }

// Admit lets a fork's head be planned.
type Admit struct {
	SHA string
	By  forge.User
}

// Ask has a draft's head planned.
type Ask struct{ SHA string }

// SetSync chooses the target whose base is planned as a whole; "" goes back to
// the pull's own plan. Reset also takes away what people added by hand.
type SetSync struct {
	Target string
	By     forge.User
	Reset  bool
}

// Forget drops the current plan, so that a new one is made.
type Forget struct{}

// MakePlan plans the pull and stores the outcome.
type MakePlan struct{}

// AddVote remembers an approval or its withdrawal.
type AddVote struct{ Vote policy.Vote }

// AddOverride remembers an override.
type AddOverride struct{ Override policy.Override }

// SetTicket remembers the change ticket.
type SetTicket struct{ Ticket Ticket }

// CloseDuty closes the review that an override owes.
type CloseDuty struct {
	Duty   policy.Duty
	By     forge.User
	Remark string
	// Comment is the one that said so.
	Comment int64
}

// RequestReview asks people for a review, once each.
type RequestReview struct{ Reviewers []policy.Reviewer }

// SetHold holds the pull, or lifts the hold with a nil Hold.
type SetHold struct {
	Hold *policy.Hold
	By   forge.User
}

// Apply asks the gate, and carries out the current plan if it passes.
type Apply struct {
	// Command asked for it; nil when a merge or a restart did.
	Command *Command
	Targets []string // empty: all of the plan
	Actor   forge.User
	// ID of the operation: the same command is the same operation.
	ID string
	// Resume continues an operation that a stop of the process cut short, and
	// which was of this kind.
	Resume bool
	Began  PlanKind
}

// Cancel ends an operation that a stop of the process cut short, because
// somebody no longer wants it. What it touched stays as it is.
type Cancel struct {
	Apply   Apply
	Command Command
}

// Unlock gives up the targets that the pull holds, leaving them as they are.
type Unlock struct{ By forge.User }

// Rollback opens a pull that undoes what the command asks for, and answers it.
type Rollback struct{ Command Command }

// ClosePull closes the pull, which plans the restore of what it applied.
type ClosePull struct{ By forge.User }

// NoteMerge records that the pull was merged, and by whom.
type NoteMerge struct{}

// JudgeMerge notes whether the policy had allowed what was merged: Bypass is nil
// if it had, and Why says what was missing if not.
type JudgeMerge struct {
	Bypass *policy.Bypass
	Why    []string
}

// Settle makes a merged pull history, and gives up what it holds.
type Settle struct{}

// Free gives up leases that were taken for an apply that never began.
type Free struct{ Keys []string }

// Freeze holds a pull whose base branch was rewritten (threat 34), until
// somebody has looked at it and lifts the hold.
type Freeze struct{ Reason string }

// Publish writes the report into the sticky comment. Unshown is set when the
// report could not be written: nobody saw the plan then.
type Publish struct {
	Bodies  []string
	Unshown bool
}

// WriteCheck writes the check on the head.
type WriteCheck struct{ Check forge.Check }

// Answer replies to a command and ends it.
type Answer struct {
	Command Command
	Reply   report.Reply
}

// Actions lists every action there is, each without content: what a process that
// dies can be cut short in.
func Actions() []Action {
	return []Action{
		Take{}, Admit{}, Ask{}, SetSync{}, Forget{}, MakePlan{}, AddVote{}, AddOverride{}, SetTicket{}, CloseDuty{}, RequestReview{},
		SetHold{}, Apply{}, Cancel{}, Unlock{}, Rollback{}, ClosePull{}, NoteMerge{}, JudgeMerge{}, Settle{}, Free{}, Freeze{}, Publish{},
		WriteCheck{}, Answer{},
	}
}

func (Take) name() string          { return "take" }
func (Admit) name() string         { return "admit" }
func (Ask) name() string           { return "ask" }
func (SetSync) name() string       { return "set-sync" }
func (Forget) name() string        { return "forget" }
func (MakePlan) name() string      { return "plan" }
func (AddVote) name() string       { return "vote" }
func (AddOverride) name() string   { return "override" }
func (SetTicket) name() string     { return "ticket" }
func (CloseDuty) name() string     { return "review" }
func (RequestReview) name() string { return "request-review" }
func (SetHold) name() string       { return "hold" }
func (Apply) name() string         { return "apply" }
func (Cancel) name() string        { return "cancel" }
func (Unlock) name() string        { return "unlock" }
func (Rollback) name() string      { return "rollback" }
func (ClosePull) name() string     { return "close" }
func (NoteMerge) name() string     { return "note-merge" }
func (JudgeMerge) name() string    { return "judge-merge" }
func (Settle) name() string        { return "settle" }
func (Free) name() string          { return "free" }
func (Freeze) name() string        { return "freeze" }
func (Publish) name() string       { return "publish" }
func (WriteCheck) name() string    { return "check" }
func (Answer) name() string        { return "answer" }
