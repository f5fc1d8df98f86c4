package policy

import (
	"cmp"
	"slices"

	"lockkeeper/forge"
)

// opinion is what one account's votes amount to.
type opinion struct {
	user forge.User
	// approvals are those that nothing took back, newest first: the last one
	// need not be the one that counts.
	approvals []Vote
	// gone says why there is no approval any more: the last word took it back.
	gone string
	// objects is set while the account requests changes.
	objects bool
}

// opinions reads each account's votes in the order of the forge's clock, and
// lists the accounts in the order of their ids.
//
// A withdrawal, a request for changes and an approval that became void (its
// comment was edited or deleted, threat 11) take back all approvals before
// them. A request for changes stands until the same account approves, or until
// the forge says that a review was dismissed; taking back an approval does not
// lift it.
func opinions(votes []Vote) []opinion {
	sorted := slices.Clone(votes)
	slices.SortFunc(sorted, compareVotes)
	var out []opinion
	for _, v := range sorted {
		if n := len(out); n == 0 || out[n-1].user.ID != v.User.ID {
			out = append(out, opinion{})
		}
		out[len(out)-1].hear(v)
	}
	return out
}

func (o *opinion) hear(v Vote) {
	o.user, o.gone = v.User, ""
	switch {
	case v.Kind == Approve && v.Void == "":
		o.approvals = slices.Insert(o.approvals, 0, v)
		o.objects = false
	case v.Kind == Approve:
		o.approvals, o.gone = nil, v.Void
	case v.Kind == RequestChanges:
		o.approvals, o.objects = nil, true
	case v.Via == "review":
		o.approvals, o.gone = nil, "the review was dismissed"
		o.objects = false
	default:
		o.approvals, o.gone = nil, "took the approval back"
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
