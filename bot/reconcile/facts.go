package reconcile

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"lockkeeper/bot/bypass/brought"
	"lockkeeper/bot/config"
	"lockkeeper/bot/names"
	"lockkeeper/bot/policy"
	"lockkeeper/cluster"
	"lockkeeper/forge"
)

// Facts are what the policy judges: the plan, the people and what they said.
func (s *State) Facts(changes []policy.Change, blocked []string) policy.Facts {
	f := policy.Facts{
		At: s.Now,
		Pull: policy.Pull{
			Repo: s.Operator.Ref(), Number: s.Pull.Number, Author: s.Pull.Author,
			Base: s.Pull.Base, Head: s.Pull.Head, Sign: s.Limits.PullSign,
		},
		Commits: s.commits(), EquivalentHeads: s.EquivalentHeads,
		Pushers: s.Pushers, PushersKnown: s.PushersKnown,
		Votes: s.Votes(), Hold: s.Memory.Hold, Teams: s.Teams,
		Writers: ids(s.Writers), Admins: ids(s.Admins), Outside: s.outside(),
		Changes: changes, Waiting: s.waiting(changes), Files: s.Files, OwnersError: s.OwnersError,
		Checks: s.Checks, Published: s.Memory.shownSince(), Applied: s.applied(), Ticket: s.ticket(),
		Overrides: s.Overrides(), Duties: s.Duties, Bypass: s.bypass(changes), PolicyChange: slices.Concat(s.PolicyChange, s.policyBypassed(changes)),
		Blocked: append(slices.Clone(s.Blocked), blocked...), PolicyRevision: s.Policy.Revision(),
	}
	f.UnknownContributor, f.Rollback, f.Heal = s.unknownContributor(), s.Rollback, s.Heal
	switch {
	case s.Memory.Sync != "" && s.Memory.SyncBy.ID != 0:
		f.AskedBy = &s.Memory.SyncBy
	case s.Rollback != nil && s.Memory.AskedBy.ID != 0:
		f.AskedBy = &s.Memory.AskedBy
	}
	if !s.Admitted() {
		f.Blocked = append(f.Blocked, "the head comes from a fork and nobody with write access has admitted it (`/plan "+names.Short(s.Pull.Head.SHA)+"`)")
	}
	return f
}

// ids are those that are set, sorted.
func ids(set map[int64]bool) []int64 {
	var out []int64
	for id, ok := range set {
		if ok {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

func (s *State) commits() []policy.Commit {
	var out []policy.Commit
	for _, c := range s.Commits {
		if s.Drift != nil && s.Drift.Tip == c.SHA && c.Author.ID == 0 {
			c.Author, c.Committer = s.Self, s.Self // we made it, whatever the forge makes of its address
		}
		out = append(out, policy.Commit{
			SHA: c.SHA, Author: c.Author, Committer: c.Committer, CoAuthors: c.CoAuthors, Verified: c.Verified, Merge: s.CleanMerges[c.SHA],
			// The web page's committer and a co-author: that is how forges take over
			// a suggestion, whose author the co-author is.
			Suggested: len(c.CoAuthors) > 0 && slices.Contains(s.Policy.ServiceAccounts, c.Committer.ID),
		})
	}
	return out
}

// outside are the outside collaborators among those who said something.
func (s *State) outside() []int64 {
	found := map[int64]bool{}
	for _, c := range s.Comments {
		if c.Outside {
			found[c.Author.ID] = true
		}
	}
	for _, r := range s.Reviews {
		if r.Outside {
			found[r.Author.ID] = true
		}
	}
	return ids(found)
}

// waiting are the targets of the current plan with changes that are not among
// those asked about, and those that an earlier head was applied to: that the
// plan has nothing left there does not mean that this head was tried there.
func (s *State) waiting(changes []policy.Change) []policy.Waiting {
	found := map[policy.Waiting]bool{}
	for _, c := range s.Changes() {
		if !slices.ContainsFunc(changes, func(o policy.Change) bool { return o.Target == c.Target }) {
			found[policy.Waiting{Target: c.Target, Environment: c.Environment}] = true
		}
	}
	for _, a := range s.Memory.Applies {
		if a.Head != s.Pull.Head.SHA && slices.ContainsFunc(s.Targets(), func(t cluster.Target) bool { return t.Name == a.Target }) {
			found[policy.Waiting{Target: a.Target, Environment: a.Environment}] = true
		}
	}
	return slices.SortedFunc(maps.Keys(found), func(a, b policy.Waiting) int {
		return cmp.Or(strings.Compare(a.Target, b.Target), strings.Compare(a.Environment, b.Environment))
	})
}

// applied are the applies of the present head.
func (s *State) applied() []policy.Applied {
	var out []policy.Applied
	for _, a := range s.Memory.Applies {
		if a.Head == s.Pull.Head.SHA {
			out = append(out, a.Applied)
		}
	}
	return out
}

// ticket is the one that was given last, unless its comment was changed since.
func (s *State) ticket() *policy.Ticket {
	t := s.Memory.Ticket
	if t == nil || s.meddled(t.Comment, "gave the ticket") != "" {
		return nil
	}
	return &t.Ticket
}

// Overrides are void if their comment was edited or deleted (threat 11).
func (s *State) Overrides() []policy.Override {
	out := slices.Clone(s.Memory.Overrides)
	for i, o := range out {
		by, why := s.speaker(o.ID, o.By, "overrode")
		out[i].By, out[i].Void = by, cmp.Or(o.Void, why)
	}
	return out
}

// bypass is what came past the gate and is in the plan.
func (s *State) bypass(changes []policy.Change) []policy.Bypass {
	out := brought.Concerning(s.Bypass, changes)
	if s.Memory.Bypass != nil && s.Kind == PlanMerged {
		out = append(out, *s.Memory.Bypass)
	}
	return out
}

// policyBypassed are changes of the policy that came past the gate: they too
// need its owners, or else pushing them would take less than a pull does.
func (s *State) policyBypassed(changes []policy.Change) []string {
	var out []string
	for _, b := range s.Bypass {
		if len(changes) > 0 && slices.Contains(b.Targets, config.RepoFile) {
			out = append(out, b.Told(s.Limits.PullSign)+" past the gate: it changes targets, policy or CODEOWNERS")
		}
	}
	return out
}

// Votes are the reviews, bound to what was published before each, and the
// commands, void if their comment was edited or deleted since (threat 11).
func (s *State) Votes() []policy.Vote {
	var out []policy.Vote
	for _, r := range s.Reviews {
		v := policy.Vote{User: r.Author, Via: "review", ID: r.ID, URL: r.URL, At: r.SubmittedAt, Head: r.CommitSHA}
		switch r.State {
		case forge.Approved:
			v.Kind = policy.Approve
			s.bind(&v)
		case forge.ChangesRequested:
			v.Kind = policy.RequestChanges
		case forge.Dismissed:
			v.Kind = policy.Withdraw
		default:
			continue
		}
		out = append(out, v)
	}
	for _, v := range s.Memory.Votes {
		by, why := s.speaker(v.ID, v.User, "approved")
		v.User, v.Void = by, cmp.Or(v.Void, why)
		out = append(out, v)
	}
	return out
}

// bind ties an approving review to what had been published before it.
func (s *State) bind(v *policy.Vote) {
	p, ok := s.Memory.seenAt(v.At)
	switch {
	case !ok || p.Head != v.Head:
	case p.Retargeted != "":
		v.Void = "given while the pull was for " + p.Retargeted
	default:
		v.Digests, v.PolicyRevision, v.Ticket, v.Base = p.Digests, p.PolicyRevision, p.Ticket, s.Pull.Base.Name
	}
}

// speaker is who gave a command, by the login that the account has now, and why
// the command is void, or "". An account that is deleted takes along what it
// said, whoever has its login next (threat 26).
func (s *State) speaker(id int64, u forge.User, did string) (by forge.User, void string) {
	if void = s.meddled(id, did); void != "" {
		return u, void
	}
	now := s.Comments[slices.IndexFunc(s.Comments, func(c forge.Comment) bool { return c.ID == id })].Author
	if now.ID != u.ID {
		return u, "the account that " + did + " is gone"
	}
	return now, ""
}

// meddled says that the comment that did something is not what it was, or "".
func (s *State) meddled(id int64, did string) string {
	i := slices.IndexFunc(s.Comments, func(c forge.Comment) bool { return c.ID == id })
	switch {
	case i < 0:
		return "the comment that " + did + " was deleted"
	case s.Comments[i].Edited():
		return "the comment that " + did + " was edited"
	}
	return ""
}
