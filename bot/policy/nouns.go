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
