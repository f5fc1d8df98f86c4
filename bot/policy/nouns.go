package policy

import (
	"lockkeeper/bot/policy/fact"
	"lockkeeper/bot/policy/rule"
)

// The facts have a room of their own, and are called here as rules speak of
// them.
type (
	Facts    = fact.Facts
	Pull     = fact.Pull
	Commit   = fact.Commit
	Vote     = fact.Vote
	VoteKind = fact.VoteKind
	Hold     = fact.Hold
	Change   = fact.Change
	Waiting  = fact.Waiting
	File     = fact.File
	OwnerSet = fact.OwnerSet
	Check    = fact.Check
	Applied  = fact.Applied
	Ticket   = fact.Ticket
	Override = fact.Override
	Duty     = fact.Duty
	Rollback = fact.Rollback
	Bypass   = fact.Bypass
	Role     = fact.Role
)

// The kinds of votes.
const (
	Approve        = fact.Approve
	Withdraw       = fact.Withdraw
	RequestChanges = fact.RequestChanges
)

// The kinds of Bypass.
const (
	DirectPush      = fact.DirectPush
	UnapprovedMerge = fact.UnapprovedMerge
)

// The roles of contributors.
const (
	Opener    = fact.Opener
	Author    = fact.Author
	Committer = fact.Committer
	CoAuthor  = fact.CoAuthor
	Pusher    = fact.Pusher
	Suggester = fact.Suggester
)

// What policies say has a room of its own as well.
type (
	Policy        = rule.Policy
	Group         = rule.Group
	Owners        = rule.Owners
	People        = rule.People
	Requirement   = rule.Requirement
	Rule          = rule.Rule
	Selector      = rule.Selector
	Environment   = rule.Environment
	RequiredCheck = rule.RequiredCheck
	Soak          = rule.Soak
	TicketRule    = rule.TicketRule
	BreakGlass    = rule.BreakGlass
	Separation    = rule.Separation
	Drift         = rule.Drift
	Watching      = rule.Watching
	Restrictions  = rule.Restrictions
)
