// Package report turns what the bot knows into what people read: the sticky
// comment, replies, check summaries and the text of `lockkeeper plan`. The
// words live in templates/; this package holds the view models, the size
// limits, and the escaping that keeps foreign text from breaking out (threat 9).
package report

import (
	"lockkeeper/bot/policy"
	"lockkeeper/cluster"
)

// Phase is where a pull stands; it chooses the headline.
type Phase string

// The phases of a pull.
const (
	Untouched Phase = "untouched" // no target is affected
	Waiting   Phase = "waiting"   // a draft, or a fork that nobody admitted
	Broken    Phase = "broken"    // the plan has problems and cannot be applied
	Denied    Phase = "denied"    // planned, something is missing
	Ready     Phase = "ready"     // planned, may be applied
	Unchanged Phase = "unchanged" // targets affected, but nothing would change
	Applying  Phase = "applying"
	Failed    Phase = "failed"    // the last apply ended half-way
	Cancelled Phase = "cancelled" // somebody stopped the last apply
	Applied   Phase = "applied"   // applied, not merged: an alarm when it lasts
	Merged    Phase = "merged"    // applied and merged
	Pending   Phase = "pending"   // merged, not yet applied
	Closed    Phase = "closed"    // closed without merging
	Restoring Phase = "restoring" // closed after being applied: base wants restoring
	Planned   Phase = "planned"   // on a clone, where no policy is known
)

// View is all that the sticky comment and the check say.
type View struct {
	// Key goes into the hidden marker: "pull/<repository id>/<number>".
	Key     string
	Phase   Phase
	Head    string // SHA the plan is for
	Base    string // branch
	BaseSHA string
	Targets []Target
	// Problems concern the pull as a whole: merge conflicts, a broken config.
	Problems []string
	// PolicyChange is what the pull changes about targets and policy, by the line.
	PolicyChange []string
	// Notices are worth knowing and block nothing.
	Notices []string
	Verdict policy.Verdict
	// Next are the exact commands that would help now, most useful first.
	Next []string
	// Operation is the running or last operation, if any.
	Operation *Operation
	// MergeMode is set where the pull is applied after the merge.
	MergeMode bool
	// Digest is what `/approve <digest>` names, over all that the plan shows.
	Digest string
	// MergeSHA is the commit on base, once merged.
	MergeSHA string
}

// Target is one planned target.
type Target struct {
	Plan *cluster.Plan
	// Note says what happens to the target itself: "added", "removed",
	// "renamed from old", "moved to cluster x", or "".
	Note string
	// Status is the policy state in a few words: "ready", "needs 1 approval",
	// "problems", "applied".
	Status string
}

// Operation is a run of apply, restore, sync or reset as people see it.
type Operation struct {
	Kind    string // apply, restore, sync, reset
	Actor   string // login
	Outcome string // running, succeeded, failed, interrupted, refused
	Message string
	Results []cluster.Result
}

// ReplyKind chooses the words of a reply.
type ReplyKind string

// The kinds of replies.
const (
	ReplyPlanned    ReplyKind = "planned"    // a plan was made
	ReplyAdmitted   ReplyKind = "admitted"   // a fork's head was let in and planned
	ReplyApproved   ReplyKind = "approved"   // an approval was recorded
	ReplyUnapproved ReplyKind = "unapproved" // an approval was taken back
	ReplyHeld       ReplyKind = "held"
	ReplyUnheld     ReplyKind = "unheld"
	ReplyTicket     ReplyKind = "ticket"     // a change ticket was named
	ReplyOverridden ReplyKind = "overridden" // somebody broke the glass
	ReplyReviewed   ReplyKind = "reviewed"   // an override was reviewed
	ReplyApplied    ReplyKind = "applied"    // an operation succeeded
	ReplyFailed     ReplyKind = "failed"     // an operation ended half-way
	ReplyCancelled  ReplyKind = "cancelled"  // somebody stopped an operation
	ReplyRefused    ReplyKind = "refused"    // not allowed, or not possible; Items says why
	ReplyInvalid    ReplyKind = "invalid"    // the command could not be understood
	ReplyUnlocked   ReplyKind = "unlocked"   // targets were given up
	ReplySync       ReplyKind = "sync"       // a sync was planned
	ReplyRestore    ReplyKind = "restore"    // a restore was planned
	ReplyRollback   ReplyKind = "rollback"   // a way back was opened
	ReplyStatus     ReplyKind = "status"
	ReplyExplain    ReplyKind = "explain"
	ReplyHelp       ReplyKind = "help"
	ReplyLate       ReplyKind = "late" // too old to be run; please repeat
)

// Reply is the one short answer to a command.
type Reply struct {
	Kind ReplyKind
	// Key goes into the hidden marker: "reply/<comment id>/<index>".
	Key string
	// To is the login of who is answered; Command is what they typed.
	To, Command string
	// Text is the sentence that matters; Items are its reasons, a line each.
	Text  string
	Items []string
	// StickyURL links the report.
	StickyURL string
	// Pull is what another pull is called, which Text goes on about; "" for none.
	Pull string
	// Head is the SHA that is spoken of.
	Head string
	// Verdict is explained by ReplyExplain and ReplyStatus.
	Verdict *policy.Verdict
	// Table is the commands' table for ReplyHelp, in Markdown.
	Table string
}

// OK reports whether the reply says that what was asked for happened.
func (r Reply) OK() bool {
	switch r.Kind {
	case ReplyRefused, ReplyInvalid, ReplyFailed, ReplyLate:
		return false
	}
	return true
}
