package bot

import (
	"fmt"
	"slices"
	"strings"

	"lockkeeper/bot/command"
	"lockkeeper/bot/policy"
	"lockkeeper/bot/report"
	"lockkeeper/forge"
)

// answer carries out one command and replies to it. What a command needs to
// know is fresh and published by now.
func answer(s *State, c Command) []Action {
	switch {
	case s.Memory.Last != nil && s.Memory.Last.ID == operationID(c):
		return ended(s, c)
	case c.Parsed.Err != nil:
		return reply(s, c, report.Reply{Kind: report.ReplyInvalid, Text: c.Parsed.Err.Error()})
	case c.Late:
		return reply(s, c, report.Reply{Kind: report.ReplyLate})
	}
	if why := allowed(s, c); why != "" {
		return reply(s, c, report.Reply{Kind: report.ReplyRefused, Items: []string{why}})
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
		return append([]Action{SetHold{h, c.Comment.Author}}, reply(s, c, report.Reply{Kind: report.ReplyHeld, Text: c.Parsed.Text})...)
	case command.Unhold:
		return append([]Action{SetHold{nil, c.Comment.Author}}, reply(s, c, report.Reply{Kind: report.ReplyUnheld})...)
	case command.Unlock:
		return answerUnlock(s, c)
	case command.Apply:
		return answerApply(s, c)
	case command.Sync:
		return answerSync(s, c)
	case command.Status, command.Explain:
		v := s.Verdict()
		kind := report.ReplyStatus
		if c.Parsed.Name == command.Explain {
			kind = report.ReplyExplain
		}
		return reply(s, c, report.Reply{Kind: kind, Text: statusLine(s), Verdict: &v})
	case command.Help:
		return reply(s, c, report.Reply{Kind: report.ReplyHelp, Table: command.Markdown()})
	}
	return reply(s, c, report.Reply{Kind: report.ReplyInvalid, Text: "this command is not known here; `/help` lists them"})
}

// reply completes an answer with what every one carries.
func reply(s *State, c Command, r report.Reply) []Action {
	r.Key = fmt.Sprintf("reply/%d/%d", c.Comment.ID, c.Index)
	r.To, r.Command, r.Head = c.Comment.Author.Login, c.Parsed.Line, s.Pull.Head.SHA
	if len(s.Memory.Sticky) > 0 {
		r.StickyURL = s.Memory.Sticky[0].URL
	}
	return []Action{Answer{Command: c, Reply: r}}
}

func refuse(s *State, c Command, why ...string) []Action {
	return reply(s, c, report.Reply{Kind: report.ReplyRefused, Items: why})
}

func answerPlan(s *State, c Command) []Action {
	sha := c.Parsed.SHA
	switch {
	case s.Pull.State == forge.Closed && !s.Pull.Merged:
		return refuse(s, c, "the pull is closed; reopen it, or open another one")
	case s.history():
		return refuse(s, c, s.pastTense())
	case sha != "" && !strings.HasPrefix(s.Pull.Head.SHA, sha):
		return refuse(s, c, fmt.Sprintf("the head is %s, not %s; look at what was pushed and name that commit", short(s.Pull.Head.SHA), short(sha)))
	case !s.Admitted():
		return refuse(s, c, fmt.Sprintf("the head comes from a fork: look at it, then admit exactly this commit with `/plan %s`", short(s.Pull.Head.SHA)))
	case s.PlanKey == "":
		return refuse(s, c, s.Blocked...)
	case sha != "" && s.Pull.Fork():
		return reply(s, c, report.Reply{Kind: report.ReplyAdmitted, Text: statusLine(s)})
	}
	return reply(s, c, report.Reply{Kind: report.ReplyPlanned, Text: statusLine(s)})
}

// answerApprove binds the approval to what was published before the comment.
func answerApprove(s *State, c Command) []Action {
	pub, ok := s.Memory.seenAt(c.Comment.CreatedAt)
	switch {
	case !ok:
		return refuse(s, c, "no plan was published before your comment; look at the plan and approve again")
	case pub.Head != s.Pull.Head.SHA:
		return refuse(s, c, fmt.Sprintf("what you saw was planned for %s, and the head is now %s; look at the new plan and approve again", short(pub.Head), short(s.Pull.Head.SHA)))
	case c.Parsed.SHA != "" && !strings.HasPrefix(pub.Digest, c.Parsed.SHA):
		return refuse(s, c, fmt.Sprintf("the plan published before your comment has the digest %s, not %s", short(pub.Digest), short(c.Parsed.SHA)))
	case s.Fresh() && len(planProblems(s.Plan)) > 0:
		return refuse(s, c, append([]string{"a plan with problems cannot be applied, so that there is nothing to approve yet"}, planProblems(s.Plan)...)...)
	}
	vote := policy.Vote{
		User: c.Comment.Author, Kind: policy.Approve, Via: "command", ID: c.Comment.ID, URL: c.Comment.URL, At: c.Comment.CreatedAt,
		Head: pub.Head, Digests: pub.Digests, PolicyRevision: pub.PolicyRevision,
	}
	next := *s
	memory := *s.Memory
	memory.Votes = append(slices.Clone(memory.Votes), vote)
	next.Memory = &memory
	v := next.Verdict()
	return append([]Action{AddVote{vote}}, reply(s, c, report.Reply{Kind: report.ReplyApproved, Text: statusLine(&next), Verdict: &v})...)
}

func answerUnapprove(s *State, c Command) []Action {
	had := slices.ContainsFunc(s.votes(), func(v policy.Vote) bool {
		return v.User.ID == c.Comment.Author.ID && v.Kind == policy.Approve
	})
	if !had {
		return refuse(s, c, "you have not approved this pull")
	}
	vote := policy.Vote{
		User: c.Comment.Author, Kind: policy.Withdraw, Via: "command", ID: c.Comment.ID, URL: c.Comment.URL,
		At: c.Comment.CreatedAt, Head: s.Pull.Head.SHA,
	}
	return append([]Action{AddVote{vote}}, reply(s, c, report.Reply{Kind: report.ReplyUnapproved})...)
}

// ended replies to a command whose operation came to its end, and the process
// before the reply.
func ended(s *State, c Command) []Action {
	kind := report.ReplyApplied
	if !s.Memory.Last.done() {
		kind = report.ReplyFailed
	}
	return reply(s, c, report.Reply{Kind: kind, Text: s.Memory.Last.says()})
}

func (s *State) pastTense() string {
	return fmt.Sprintf("this pull is merged, and nothing of it is left to apply; `/sync TARGET` plans what %s says now", s.Pull.Base.Name)
}

func answerApply(s *State, c Command) []Action {
	switch {
	case s.history():
		return refuse(s, c, s.pastTense())
	case c.Parsed.SHA != "" && !strings.HasPrefix(s.Pull.Head.SHA, c.Parsed.SHA):
		return refuse(s, c, fmt.Sprintf("the head is %s, not %s; look at the new plan first", short(s.Pull.Head.SHA), short(c.Parsed.SHA)))
	case s.Kind == PlanRestore && len(s.Memory.Leases) == 0:
		return refuse(s, c, "the pull is closed; reopen it, or open another one")
	case !s.Fresh() || !s.Wanted():
		return refuse(s, c, append(s.whyNoPlan(), s.Verdict().AllMissing()...)...)
	case len(s.Plan.Targets) == 0 && len(s.Blocked)+len(s.Plan.Problems) > 0:
		// Without a file that can be read, nobody knows what is affected.
		return refuse(s, c, s.Verdict().AllMissing()...)
	case len(s.Plan.Targets) == 0:
		return refuse(s, c, "this pull affects no target: there is nothing to apply, merge it as usual")
	}
	for _, name := range c.Parsed.Targets {
		if !slices.ContainsFunc(s.planTargets(), named(name)) {
			return refuse(s, c, fmt.Sprintf("the plan has no target %q; it has %s", name, targetNames(s)))
		}
	}
	return []Action{Apply{Command: &c, Targets: c.Parsed.Targets, Actor: c.Comment.Author, ID: operationID(c)}}
}

func (s *State) whyNoPlan() []string {
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
	for _, t := range s.planTargets() {
		names = append(names, "`"+t.Name+"`")
	}
	return strings.Join(names, ", ")
}

func answerUnlock(s *State, c Command) []Action {
	if len(s.Memory.Leases) == 0 && s.Memory.PendingMerge == "" {
		return refuse(s, c, "this pull holds no target")
	}
	switch c.Parsed.Choice {
	case "keep":
		return append([]Action{Unlock{By: c.Comment.Author}},
			reply(s, c, report.Reply{Kind: report.ReplyUnlocked, Text: "The clusters stay as they are, which is not what " + s.Pull.Base.Name + " says; the next plan of these targets shows the difference."})...)
	case "restore":
		if s.Pull.Merged {
			return refuse(s, c, "the pull is merged: `/apply` goes on with it, a pull that reverts it undoes it, and `/unlock keep` leaves the clusters as they are")
		}
		if s.Kind != PlanRestore {
			return refuse(s, c, "the pull is open: close it first, then its restore is planned and `/unlock restore` applies that")
		}
		return answerApply(s, c)
	}
	return refuse(s, c, "say what is to become of what was applied: `/unlock restore` puts "+s.Pull.Base.Name+" back, `/unlock keep` leaves the clusters as they are")
}

func answerSync(s *State, c Command) []Action {
	switch {
	case s.Pull.State == forge.Closed && !s.Pull.Merged:
		return refuse(s, c, "the pull is closed; reopen it, or open another one")
	case s.Memory.Sync != c.Parsed.Targets[0] || !s.Fresh():
		return refuse(s, c, append(s.Verdict().AllMissing(), "the sync is not planned; please repeat the command")...)
	case len(planProblems(s.Plan)) > 0:
		return refuse(s, c, planProblems(s.Plan)...)
	}
	return reply(s, c, report.Reply{Kind: report.ReplySync, Text: statusLine(s)})
}

// statusLine says in one sentence where the pull stands.
func statusLine(s *State) string {
	return report.Headline(s.View())
}
