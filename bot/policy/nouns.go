package policy

import "lockkeeper/bot/policy/fact"

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
	Bypass   = fact.Bypass
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
