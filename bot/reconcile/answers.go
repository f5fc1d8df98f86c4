package reconcile

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"lockkeeper/bot/command"
	"lockkeeper/bot/names"
	"lockkeeper/bot/policy"
	"lockkeeper/bot/report"
	"lockkeeper/cluster"
	"lockkeeper/forge"
)

// answer carries out one command and replies to it. What a command needs to
// know is fresh and published by now.
func answer(s *State, c Command) []Action {
	if left := s.resolved(c); left != nil {
		return left
	}
	switch {
	case s.Memory.Last != nil && (s.Memory.Last.ID == c.ID() || s.Memory.Last.Cancelled == c.ID()):
		return s.Ended(c)
	case c.Parsed.Err != nil:
		return s.Reply(c, report.Reply{Kind: report.ReplyInvalid, Text: c.Parsed.Err.Error()})
	case c.Late:
		return s.Reply(c, report.Reply{Kind: report.ReplyLate})
	}
	if why := allowed(s, c); why != "" {
		return s.Reply(c, report.Reply{Kind: report.ReplyRefused, Items: []string{why}})
	}
	switch c.Parsed.Name {
	case command.Plan:
		return answerPlan(s, c)
	case command.Approve:
		return answerApprove(s, c)
	case command.Unapprove:
		return answerUnapprove(s, c)
	case command.Hold:
		h := &policy.Hold{By: c.Comment.Author, Reason: c.Parsed.Text}
		return append([]Action{SetHold{h, c.Comment.Author}}, s.Reply(c, report.Reply{Kind: report.ReplyHeld, Text: c.Parsed.Text})...)
	case command.Unhold:
		return append([]Action{SetHold{nil, c.Comment.Author}}, s.Reply(c, report.Reply{Kind: report.ReplyUnheld})...)
	case command.Unlock:
		return answerUnlock(s, c)
	case command.Ticket:
		return answerTicket(s, c)
	case command.Override:
		return answerOverride(s, c)
	case command.Reviewed:
		return answerReviewed(s, c)
	case command.Cancel:
		return answerCancel(s, c)
	case command.Apply:
		return answerApply(s, c)
	case command.Sync:
		return answerSync(s, c)
	case command.Restore:
		return answerRestore(s, c)
	case command.Rollback:
		return answerRollback(s, c)
	case command.Status, command.Explain:
		v := s.Verdict()
		kind := report.ReplyStatus
		if c.Parsed.Name == command.Explain {
			kind = report.ReplyExplain
		}
		return s.Reply(c, report.Reply{Kind: kind, Text: statusLine(s), Verdict: &v})
	case command.Help:
		return s.Reply(c, report.Reply{Kind: report.ReplyHelp, Table: command.Markdown(s.Limits.Reserved...)})
	}
	return s.Reply(c, report.Reply{Kind: report.ReplyInvalid, Text: "this command is not known here; `/help` lists them"})
}

// Reply answers a command: it completes the reply with what every one carries.
func (s *State) Reply(c Command, r report.Reply) []Action {
	r.Key = fmt.Sprintf("reply/%d/%d", c.Comment.ID, c.Index)
	r.To, r.Command, r.Head = c.Comment.Author.Login, c.Parsed.Line, s.Pull.Head.SHA
	if len(s.Memory.Sticky) > 0 {
		r.StickyURL = s.Memory.Sticky[0].URL
	}
	return []Action{Answer{Command: c, Reply: r}}
}

// Refuse answers a command with a no and its reasons.
func (s *State) Refuse(c Command, why ...string) []Action {
	return s.Reply(c, report.Reply{Kind: report.ReplyRefused, Items: why})
}

func answerPlan(s *State, c Command) []Action {
	sha := c.Parsed.SHA
	switch {
	case s.Pull.State == forge.Closed && !s.Pull.Merged:
		return s.Refuse(c, "the pull is closed; reopen it, or open another one")
	case s.history():
		return s.Refuse(c, s.pastTense())
	case sha != "" && !strings.HasPrefix(s.Pull.Head.SHA, sha):
		return s.Refuse(c, fmt.Sprintf("the head is %s, not %s; look at what was pushed and name that commit", names.Short(s.Pull.Head.SHA), names.Short(sha)))
	case !s.Admitted():
		return s.Refuse(c, fmt.Sprintf("the head comes from a fork: look at it, then admit exactly this commit with `/plan %s`", names.Short(s.Pull.Head.SHA)))
	case s.PlanKey == "":
		return s.Refuse(c, s.Blocked...)
	case sha != "" && s.Pull.Fork():
		return s.Reply(c, report.Reply{Kind: report.ReplyAdmitted, Text: statusLine(s)})
	}
	return s.Reply(c, report.Reply{Kind: report.ReplyPlanned, Text: statusLine(s)})
}

// answerApprove binds the approval to what was published before the comment.
func answerApprove(s *State, c Command) []Action {
	pub, why := s.sawPlan(c)
	if len(why) > 0 {
		return s.Refuse(c, why...)
	}
	if c.Parsed.SHA != "" && !strings.HasPrefix(pub.Digest, c.Parsed.SHA) {
		return s.Refuse(c, fmt.Sprintf("the plan published before your comment has the digest %s, not %s", names.Short(pub.Digest), names.Short(c.Parsed.SHA)))
	}
	vote := policy.Vote{
		User: c.Comment.Author, Kind: policy.Approve, Via: "command", ID: c.Comment.ID, URL: c.Comment.URL, At: c.Comment.CreatedAt,
		Head: pub.Head, Digests: pub.Digests, PolicyRevision: pub.PolicyRevision, Base: s.Pull.Base.Name, Ticket: pub.Ticket,
		Teams: s.teamsOf(c.Comment.Author),
	}
	if c.Parsed.SHA != "" {
		vote.Digest = pub.Digest
	}
	next := s.with(func(m *Memory) { m.Voted(vote) })
	v := next.Verdict()
	return append([]Action{AddVote{vote}}, s.Reply(c, report.Reply{Kind: report.ReplyApproved, Text: statusLine(next), Verdict: &v})...)
}

// sawPlan finds what was published before a command that is about it, or says
// why there is nothing that it could be about.
func (s *State) sawPlan(c Command) (pub Publication, why []string) {
	pub, ok := s.Memory.seenAt(c.Comment.CreatedAt)
	switch {
	case !ok || pub.Retargeted != "":
		return pub, []string{"no plan was published before your comment; look at the plan and say it again"}
	case pub.Head != s.Pull.Head.SHA:
		return pub, []string{fmt.Sprintf("what you saw was planned for %s, and the head is now %s; look at the new plan and say it again", names.Short(pub.Head), names.Short(s.Pull.Head.SHA))}
	case s.Fresh() && len(s.PlanProblems(s.Plan)) > 0:
		return pub, append([]string{"a plan with problems cannot be applied, so that there is nothing to agree to yet"}, s.PlanProblems(s.Plan)...)
	}
	return pub, nil
}

// teamsOf are the teams of the policy that an account is in.
func (s *State) teamsOf(u forge.User) []string {
	var out []string
	for team, members := range s.Teams {
		if slices.Contains(members, u.ID) {
			out = append(out, team)
		}
	}
	slices.Sort(out)
	return out
}

// with judges the state as it is after a change of the memory.
func (s *State) with(change func(*Memory)) *State {
	next, memory := *s, *s.Memory
	memory.Votes, memory.Overrides = slices.Clone(memory.Votes), slices.Clone(memory.Overrides)
	change(&memory)
	next.Memory = &memory
	return &next
}

func answerTicket(s *State, c Command) []Action {
	t := Ticket{Comment: c.Comment.ID, Ticket: policy.Ticket{ID: c.Parsed.Text, From: c.Parsed.From, To: c.Parsed.To, By: c.Comment.Author}}
	next := s.with(func(m *Memory) { m.Ticket = &t })
	v := next.Verdict()
	return append([]Action{SetTicket{t}}, s.Reply(c, report.Reply{Kind: report.ReplyTicket, Text: t.Key(), Verdict: &v})...)
}

// answerOverride binds the override to what was published before the comment.
func answerOverride(s *State, c Command) []Action {
	pub, why := s.sawPlan(c)
	if len(why) > 0 {
		return s.Refuse(c, why...)
	}
	o := policy.Override{
		By: c.Comment.Author, Reason: c.Parsed.Text, At: c.Comment.CreatedAt, Head: pub.Head, Digests: pub.Digests, ID: c.Comment.ID,
	}
	next := s.with(func(m *Memory) { m.Overrode(o) })
	v := next.Verdict()
	return append([]Action{AddOverride{o}}, s.Reply(c, report.Reply{Kind: report.ReplyOverridden, Text: c.Parsed.Text, Verdict: &v})...)
}

// answerReviewed closes what this pull owes, as far as the author may.
func answerReviewed(s *State, c Command) []Action {
	var out []Action
	var closed, why []string
	for _, d := range s.Duties {
		if d.Pull != s.Pull.Number {
			continue
		}
		if c.Comment.CreatedAt.Before(d.Opened.Truncate(time.Second)) {
			why = append(why, d.Environment+": you said that before the override was used; look at what it did, and say it again")
			continue
		}
		if reason := policy.MayReview(s.Policy, s.Facts(s.Changes(), nil), d, c.Comment.Author); reason != "" {
			why = append(why, d.Environment+": "+reason)
			continue
		}
		out = append(out, CloseDuty{Duty: d, By: c.Comment.Author, Remark: c.Parsed.Text, Comment: c.Comment.ID})
		closed = append(closed, fmt.Sprintf("%s: @%s's override", d.Environment, d.By.Login))
	}
	switch {
	case len(closed)+len(why) == 0:
		return s.Refuse(c, "this pull owes no review")
	case len(closed) == 0:
		return s.Refuse(c, why...)
	}
	return append(out, s.Reply(c, report.Reply{Kind: report.ReplyReviewed, Items: append(closed, why...)})...)
}

func answerUnapprove(s *State, c Command) []Action {
	had := slices.ContainsFunc(s.Votes(), func(v policy.Vote) bool {
		return v.User.ID == c.Comment.Author.ID && v.Kind == policy.Approve
	})
	if !had {
		return s.Refuse(c, "you have not approved this pull")
	}
	vote := policy.Vote{
		User: c.Comment.Author, Kind: policy.Withdraw, Via: "command", ID: c.Comment.ID, URL: c.Comment.URL,
		At: c.Comment.CreatedAt, Head: s.Pull.Head.SHA,
	}
	return append([]Action{AddVote{vote}}, s.Reply(c, report.Reply{Kind: report.ReplyUnapproved})...)
}

func (s *State) pastTense() string {
	return fmt.Sprintf("this pull is merged, and nothing of it is left to apply; `/sync TARGET` plans what %s says now", s.Pull.Base.Name)
}

func answerApply(s *State, c Command) []Action {
	switch {
	case s.history():
		return s.Refuse(c, s.pastTense())
	case c.Parsed.SHA != "" && !strings.HasPrefix(s.Pull.Head.SHA, c.Parsed.SHA):
		return s.Refuse(c, fmt.Sprintf("the head is %s, not %s; look at the new plan first", names.Short(s.Pull.Head.SHA), names.Short(c.Parsed.SHA)))
	case s.Kind == PlanRestore && len(s.Memory.Leases) == 0:
		return s.Refuse(c, "the pull is closed; reopen it, or open another one")
	case !s.Fresh() || !s.Wanted():
		return s.Refuse(c, append(s.WhyNoPlan(), s.Verdict().AllMissing()...)...)
	case len(s.Plan.Targets) == 0 && len(s.Blocked)+len(s.Plan.Problems) > 0:
		// Without a file that can be read, nobody knows what is affected.
		return s.Refuse(c, s.Verdict().AllMissing()...)
	case len(s.Plan.Targets) == 0:
		return s.Refuse(c, "this pull affects no target: there is nothing to apply, merge it as usual")
	}
	for _, name := range c.Parsed.Targets {
		if !slices.ContainsFunc(s.Targets(), func(t cluster.Target) bool { return t.Name == name }) {
			return s.Refuse(c, fmt.Sprintf("the plan has no target %q; it has %s", name, targetNames(s)))
		}
	}
	return []Action{Apply{Command: &c, Targets: c.Parsed.Targets, Actor: c.Comment.Author, ID: c.ID()}}
}

// WhyNoPlan says why there is no fresh plan to apply, where the verdict does
// not say it already.
func (s *State) WhyNoPlan() []string {
	switch {
	case s.Pull.Draft && s.Pull.State == "open":
		return []string{"the pull is a draft: mark it ready, or have it planned with `/plan`"}
	case len(s.Blocked) == 0 && s.Admitted():
		return []string{"there is no plan of what is there now; `/plan` makes one"}
	}
	return nil
}

func targetNames(s *State) string {
	var names []string
	for _, t := range s.Targets() {
		names = append(names, "`"+t.Name+"`")
	}
	return strings.Join(names, ", ")
}

func answerUnlock(s *State, c Command) []Action {
	if len(s.Memory.Leases) == 0 && s.Memory.PendingMerge == "" {
		return s.Refuse(c, "this pull holds no target")
	}
	switch c.Parsed.Choice {
	case "keep":
		return append([]Action{Unlock{By: c.Comment.Author}},
			s.Reply(c, report.Reply{Kind: report.ReplyUnlocked, Text: "The clusters stay as they are, which is not what " + s.Pull.Base.Name + " says; the next plan of these targets shows the difference."})...)
	case "restore":
		if s.Pull.Merged {
			return s.Refuse(c, "the pull is merged: `/apply` goes on with it, a pull that reverts it undoes it, and `"+s.Spell("/unlock keep")+"` leaves the clusters as they are")
		}
		if s.Kind != PlanRestore {
			return s.Refuse(c, "the pull is open: close it first, then its restore is planned and `"+s.Spell("/unlock restore")+"` applies that")
		}
		return answerApply(s, c)
	}
	return s.Refuse(c, fmt.Sprintf("say what is to become of what was applied: `%s` puts %s back, `%s` leaves the clusters as they are", s.Spell("/unlock restore"), s.Pull.Base.Name, s.Spell("/unlock keep")))
}

func answerSync(s *State, c Command) []Action {
	switch {
	case s.Pull.State == forge.Closed && !s.Pull.Merged:
		return s.Refuse(c, "the pull is closed; reopen it, or open another one")
	case s.Memory.Sync != c.Parsed.Targets[0] || s.Memory.Reset || !s.Fresh():
		return s.Refuse(c, append(s.Verdict().AllMissing(), "the sync is not planned; please repeat the command")...)
	case len(s.PlanProblems(s.Plan)) > 0:
		return s.Refuse(c, s.PlanProblems(s.Plan)...)
	}
	return s.Reply(c, report.Reply{Kind: report.ReplySync, Text: statusLine(s)})
}

// statusLine says in one sentence where the pull stands.
func statusLine(s *State) string {
	return report.Headline(s.View())
}
