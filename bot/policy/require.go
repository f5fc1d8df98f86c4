package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"lockkeeper/bot/policy/fact"
	"lockkeeper/bot/policy/match"
	"lockkeeper/bot/policy/rule"
)

// ballot is an approval with what about it is the same for all rules.
type ballot struct {
	Vote
	stale string // why it counts nowhere, or ""
	// merged is set if only merges of the base came after it.
	merged bool
	// uncovered are the changes that it was not given for.
	uncovered match.Set
}

// cast looks at an account's approvals.
func (e *evaluation) cast(o fact.Opinion) []ballot {
	out := make([]ballot, 0, len(o.Approvals))
	for _, v := range o.Approvals {
		b := ballot{Vote: v, uncovered: match.NewSet(len(e.f.Changes))}
		b.merged = v.Head != e.f.Pull.Head.SHA && slices.Contains(e.f.EquivalentHeads, v.Head)
		switch {
		case v.Base != "" && v.Base != e.f.Pull.Base.Name:
			b.stale = fmt.Sprintf("approved while the pull aimed at %s", v.Base)
		case v.Head != e.f.Pull.Head.SHA && !b.merged:
			b.stale = fmt.Sprintf("approved %s, the head is now %s", fact.Short(v.Head), fact.Short(e.f.Pull.Head.SHA))
		case len(v.Digests) == 0 && len(e.f.Changes) > 0:
			b.stale = "approved before a plan was published"
		case v.PolicyRevision != e.g.revision:
			b.stale = "approved under a policy that has changed since"
		}
		shown := map[string]bool{"": false} // nobody was shown a change without a digest
		for _, d := range v.Digests {
			shown[d] = d != ""
		}
		for i, c := range e.f.Changes {
			if !shown[c.Digest] {
				b.uncovered.Add(i)
			}
		}
		out = append(out, b)
	}
	return out
}

// counted finds an account's approval that counts. If it has something to say
// and nothing counts, it says why the newest does not.
func (e *evaluation) counted(a *ask, l leaf, i int) (*ballot, string) {
	if e.opinions[i].Gone != "" {
		return nil, e.opinions[i].Gone
	}
	why := ""
	for n := range e.ballots[i] {
		b := &e.ballots[i][n]
		reason := e.discount(a, l, b)
		if reason == "" {
			return b, ""
		}
		if n == 0 {
			why = reason
		}
	}
	return nil, why
}

// discount says why an approval does not count, or "".
func (e *evaluation) discount(a *ask, l leaf, b *ballot) string {
	if why := e.barred(b.User, a.apart); why != "" {
		return why
	}
	if e.applies(b.User.ID, a.apart) {
		return "asks for the apply, and approver and applier have to be different people"
	}
	switch {
	case b.stale != "":
		return b.stale
	case b.merged && a.apart.DropOnMerge:
		return fmt.Sprintf("approved %s, and the base branch was merged in since", fact.Short(b.Head))
	case b.uncovered.Meets(a.changes):
		return "the plan has changed since that approval"
	case a.apart.Digest && b.Digest == "":
		return "approved without naming the plan's digest"
	case a.ticket != "" && b.Ticket != e.f.Ticket.Key():
		return "approved for another ticket or window"
	}
	why := e.ineligible(l.from, l.owners, b.User, a.apart)
	if team := e.left(l.from, b.Vote); why != "" && team != "" {
		return "left " + team + " since that approval"
	}
	return why
}

// leaf is one count of different people.
type leaf struct {
	need   int
	from   people
	owners []string // of the files at hand
	of     string   // names these files, or ""
	// hint says why nobody may be left to ask, or "".
	hint string
}

// leaves are the counts that a requirement makes by itself: one, or with code
// owners one for each of those who own some of the touched files.
func (e *evaluation) leaves(a *ask, q requirement) []leaf {
	if q.approvals == 0 {
		return nil
	}
	need := q.approvals + q.extra
	if !q.from.codeOwners {
		return []leaf{{need: need, from: q.from}}
	}
	shares := e.shares(a)
	switch {
	case e.f.OwnersError != "":
		// Nobody is a code owner; whoever else is named may still approve.
		return []leaf{{need: need, from: q.from,
			hint: "; there are no code owners, because CODEOWNERS of the base branch cannot be used: " + e.f.OwnersError}}
	case len(shares) == 0:
		return []leaf{{need: need, from: q.from, hint: "; there are no code owners, because no file was touched"}}
	}
	var out []leaf
	for _, s := range shares {
		l := leaf{need: max(q.approvals, s.Required) + q.extra, from: q.from, owners: s.Owners, of: " for " + some(s.paths)}
		l.from.who = strings.Join(append(s.names(), withoutOwners(q.from.who)...), " or ")
		if len(s.Owners) == 0 {
			l.hint = "; CODEOWNERS of the base branch names no owner"
			if l.from.who == "" {
				l.from.who = "a code owner"
			}
		} else if !slices.ContainsFunc(s.Owners, func(o string) bool { return strings.HasPrefix(o, "@") }) {
			l.hint = "; CODEOWNERS gives e-mail addresses, and nobody can tell whose accounts those are"
		}
		out = append(out, l)
	}
	return out
}

// require judges a requirement. The node's title begins with a.where.
func (e *evaluation) require(a *ask, q requirement) Node {
	var parts []Node
	for _, l := range e.leaves(a, q) {
		parts = append(parts, e.approvals(a, l))
	}
	for _, part := range q.all {
		parts = append(parts, e.require(a, part))
	}
	if len(q.any) > 0 {
		parts = append(parts, e.oneOf(a, q.any))
	}
	switch len(parts) {
	case 0:
		return Node{OK: true, Title: a.where + ": no approval needed"}
	case 1:
		return parts[0]
	}
	return Node{OK: allOK(parts), Title: a.where + ": all of", Children: parts}
}

// oneOf judges alternatives; what is missing is said in one line, because no
// single one of them is.
func (e *evaluation) oneOf(a *ask, options []requirement) Node {
	n := Node{Title: a.where + ": one of"}
	var ways []string
	for _, o := range options {
		c := e.require(a, o)
		n.OK = n.OK || c.OK
		n.Children = append(n.Children, c)
		var lack []string
		for _, m := range collect(c, nil) {
			lack = append(lack, strings.TrimPrefix(m, a.where+": "))
		}
		ways = append(ways, strings.Join(lack, " and "))
	}
	if !n.OK {
		n.Missing = []string{a.where + ": either " + strings.Join(ways, ", or ")}
	}
	return n
}

// approvals judges one count of different people.
func (e *evaluation) approvals(a *ask, l leaf) Node {
	n := Node{Title: fmt.Sprintf("%s: %s from %s%s", a.where, count(l.need, "approval", true), l.from.who, l.of)}
	for i, o := range e.opinions {
		b, why := e.counted(a, l, i)
		if why != "" {
			n.NotCounted = append(n.NotCounted, "@"+o.User.Login+": "+why)
		} else if b != nil {
			n.Met = append(n.Met, fmt.Sprintf("@%s (%s)", b.User.Login, b.Via))
			n.ApprovedBy = append(n.ApprovedBy, b.User)
		}
	}
	n.OK = len(n.Met) >= l.need
	if lack := l.need - len(n.Met); lack > 0 {
		n.Missing = []string{fmt.Sprintf("%s: %s from %s%s%s%s", a.where, count(lack, "more approval", len(n.Met) == 0),
			l.from.who, l.of, e.enough(l, a.apart), l.hint+because(a.because))}
		for _, g := range l.from.unknown {
			n.Missing[0] += "; the policy has no group " + g
		}
	}
	return n
}

// share are the touched files that the same people own.
type share struct {
	OwnerSet
	paths []string
}

func withoutOwners(who string) []string {
	names := strings.Split(who, " or ")
	return slices.DeleteFunc(names, func(s string) bool { return s == rule.CodeOwners })
}

// names are the owners as sentences call them.
func (s share) names() []string {
	var out []string
	for _, o := range s.Owners {
		if name := strings.TrimPrefix(o, "@"); name != o && strings.Contains(name, "/") {
			o = name
		}
		out = append(out, o)
	}
	return out
}

// shares are those of a rule; most rules look at all files.
func (e *evaluation) shares(a *ask) []share {
	if len(a.files) != len(e.f.Files) {
		return shares(a.files)
	}
	if e.shared == nil {
		e.shared = shares(a.files)
	}
	return e.shared
}

// shares groups the touched files by who owns them. Each section of a file asks
// for itself. Optional sections ask for nothing beside others; a file that has
// no other asks their owners.
func shares(files []File) []share {
	byKey := map[string]*share{}
	add := func(path string, s OwnerSet) {
		if !slices.IsSorted(s.Owners) {
			s.Owners = slices.Sorted(slices.Values(s.Owners))
		}
		key := strconv.Itoa(s.Required) + " " + strings.Join(s.Owners, " ")
		if byKey[key] == nil {
			byKey[key] = &share{OwnerSet: s}
		}
		byKey[key].paths = append(byKey[key].paths, path)
	}
	for _, f := range files {
		var optional OwnerSet
		asked := false
		for _, s := range f.Owners {
			if s.Optional {
				optional.Owners = append(slices.Clip(optional.Owners), s.Owners...)
				continue
			}
			asked = true
			add(f.Path, s)
		}
		if !asked {
			add(f.Path, optional)
		}
	}
	var out []share
	for _, s := range byKey {
		slices.Sort(s.paths)
		s.paths = slices.Compact(s.paths)
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b share) int {
		return cmp.Or(slices.Compare(a.paths, b.paths), slices.Compare(a.Owners, b.Owners), cmp.Compare(a.Required, b.Required))
	})
	return out
}

// some names the first of several files.
func some(paths []string) string {
	if len(paths) == 1 {
		return paths[0]
	}
	return fmt.Sprintf("%s and %d more", paths[0], len(paths)-1)
}
