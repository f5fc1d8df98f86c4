package fact

import (
	"cmp"
	"slices"

	"lockkeeper/forge"
)

// Opinion is what one account's votes amount to.
type Opinion struct {
	User forge.User
	// Approvals are those that nothing took back, newest first: the last one
	// need not be the one that counts.
	Approvals []Vote
	// Gone says why there is no approval any more: the last word took it back.
	Gone string
	// Objects is set while the account requests changes.
	Objects bool
}

// Opinions reads each account's votes in the order of the forge's clock, and
// lists the accounts in the order of their ids.
//
// A withdrawal, a request for changes and an approval that became void (its
// comment was edited or deleted, threat 11) take back all approvals before
// them. A request for changes stands until the same account approves, or until
// the forge says that a review was dismissed; taking back an approval does not
// lift it.
func Opinions(votes []Vote) []Opinion {
	sorted := slices.Clone(votes)
	slices.SortFunc(sorted, compareVotes)
	var out []Opinion
	for _, v := range sorted {
		if n := len(out); n == 0 || out[n-1].User.ID != v.User.ID {
			out = append(out, Opinion{})
		}
		out[len(out)-1].hear(v)
	}
	return out
}

func (o *Opinion) hear(v Vote) {
	o.User, o.Gone = v.User, ""
	switch {
	case v.Kind == Approve && v.Void == "":
		o.Approvals = slices.Insert(o.Approvals, 0, v)
		o.Objects = false
	case v.Kind == Approve:
		o.Approvals, o.Gone = nil, v.Void
	case v.Kind == RequestChanges:
		o.Approvals, o.Objects = nil, true
	case v.Via == "review":
		o.Approvals, o.Gone = nil, "the review was dismissed"
		o.Objects = false
	default:
		o.Approvals, o.Gone = nil, "took the approval back"
	}
}

// compareVotes orders votes by account and time. The forge's clock counts in
// seconds: among votes of the same second the denying one comes last.
func compareVotes(a, b Vote) int {
	return cmp.Or(
		cmp.Compare(a.User.ID, b.User.ID), a.At.Compare(b.At), cmp.Compare(severity(a), severity(b)),
		cmp.Compare(a.ID, b.ID), cmp.Compare(a.Via, b.Via), cmp.Compare(a.Head, b.Head),
		cmp.Compare(a.User.Login, b.User.Login), cmp.Compare(a.URL, b.URL), slices.Compare(a.Digests, b.Digests),
		cmp.Compare(a.PolicyRevision, b.PolicyRevision), cmp.Compare(a.Void, b.Void), cmp.Compare(a.Base, b.Base),
		cmp.Compare(a.Digest, b.Digest), cmp.Compare(a.Ticket, b.Ticket), slices.Compare(a.Teams, b.Teams),
	)
}

func severity(v Vote) int {
	switch {
	case v.Kind == Approve && v.Void == "":
		return 0
	case v.Kind == RequestChanges:
		return 2
	}
	return 1
}
