package reconcile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"lockkeeper/bot/command"
	"lockkeeper/bot/config"
	"lockkeeper/bot/names"
	"lockkeeper/bot/outcome"
	"lockkeeper/bot/policy"
	"lockkeeper/bot/report"
	"lockkeeper/cluster"
	"lockkeeper/forge"
)

// View is what the report says of the state.
func (s *State) View() report.View {
	v := report.View{
		Key:  names.PullKey{Repo: s.Operator.ID, Number: s.Pull.Number}.String(),
		Head: s.Pull.Head.SHA, Base: s.Pull.Base.Name, BaseSHA: s.BaseSHA,
		Problems: slices.Clone(s.Blocked), MergeMode: s.Operator.Apply == config.ApplyOnMerge,
		Verdict: s.Verdict(), MergeSHA: s.Pull.MergeSHA, PolicyChange: s.PolicyChange,
	}
	if s.Plan != nil && s.Fresh() {
		v.Problems = slices.Concat(v.Problems, s.Plan.Problems, s.moved(s.Plan))
	}
	v.Phase = s.phase(v.Verdict)
	if s.Plan != nil && s.Fresh() {
		for _, t := range s.Plan.Targets {
			v.Targets = append(v.Targets, report.Target{Plan: t.Plan, Note: t.Note, Status: s.targetStatus(t.Plan)})
		}
	}
	v.Notices = s.notices()
	v.Next = s.next(v.Phase, v.Verdict)
	v.Digest = s.digest()
	if last := s.Memory.Last; last != nil {
		v.Operation = &report.Operation{
			Kind: string(last.Kind), Actor: last.Actor, Outcome: last.Outcome, Message: last.Says(), Results: s.Results,
		}
	}
	return v
}

// digest is what `/approve <digest>` names: over everything published.
func (s *State) digest() string {
	if !s.Fresh() || len(s.Plan.Targets) == 0 {
		return ""
	}
	return s.Memory.Plan.Digest
}

// phase decides where the pull stands.
func (s *State) phase(v policy.Verdict) report.Phase {
	last := s.Memory.Last
	if last != nil && last.Outcome == "running" {
		return report.Applying
	}
	if p := s.closedPhase(); p != "" {
		return p
	}
	switch {
	case !s.Wanted() && len(s.Blocked) == 0:
		return report.Waiting
	case len(s.Blocked) > 0 || s.Plan == nil || len(s.PlanProblems(s.Plan)) > 0:
		return report.Broken
	case last != nil && last.Kind == PlanPull && last.Outcome == "succeeded" && last.Head == s.Pull.Head.SHA && !last.Merged && len(s.Changes()) == 0 &&
		(v.OK || len(s.PolicyChange) == 0): // a policy that nobody agreed to must not turn the check green
		return report.Applied
	case last != nil && last.Halfway() && last.Head == s.Pull.Head.SHA && last.Kind == s.Kind:
		if last.Outcome == outcome.Cancelled {
			return report.Cancelled
		}
		return report.Failed
	case len(s.Changes()) == 0 && !v.OK && s.judgedByFiles():
		return report.Denied
	case len(s.Plan.Targets) == 0:
		return report.Untouched
	case len(s.Changes()) == 0:
		return report.Unchanged
	case v.OK:
		return report.Ready
	}
	return report.Denied
}

// judgedByFiles reports whether the policy has a say though no object changes:
// because the policy itself does, or files that a rule names.
func (s *State) judgedByFiles() bool {
	return len(s.PolicyChange) > 0 || slices.ContainsFunc(s.Policy.Rules, func(r policy.Rule) bool { return len(r.When.Files) > 0 })
}

// closedPhase is the phase of a pull that is no longer open, or "".
func (s *State) closedPhase() report.Phase {
	switch {
	case s.Pull.State == forge.Open || s.Pull.Merged && s.Memory.Sync != "":
		return ""
	case s.Pull.Merged && s.Plan != nil && (len(s.Changes()) > 0 || len(s.PlanProblems(s.Plan)) > 0):
		return report.Pending
	case s.Pull.Merged:
		return report.Merged
	case len(s.Memory.Leases) > 0:
		return report.Restoring
	}
	return report.Closed
}

func (s *State) targetStatus(p *cluster.Plan) string {
	switch {
	case len(p.Problems) > 0:
		return "problems"
	case !slices.ContainsFunc(s.Changes(), func(c policy.Change) bool { return c.Target == p.Target.Name }):
		return "no change"
	}
	if l, ok := s.Holders[names.TargetKey(p.Target)]; ok {
		return "held by " + names.HolderName(l.Holder, s.Limits)
	}
	f := s.Facts(nil, nil)
	f.Changes = slices.DeleteFunc(s.Changes(), func(c policy.Change) bool { return c.Target != p.Target.Name })
	if v := policy.Evaluate(s.Policy, f); !v.OK {
		return fmt.Sprintf("needs %d more", len(v.AllMissing()))
	}
	return "ready"
}

func (s *State) notices() []string {
	var out []string
	switch {
	case s.Memory.Sync != "" && s.Memory.Reset:
		out = append(out, fmt.Sprintf("This is the plan of `/restore`: %s as the base branch has it, in place of what was changed live. `/plan` goes back to adopting that.", s.Memory.Sync))
	case s.Memory.Sync != "":
		out = append(out, fmt.Sprintf("This is the plan of `/sync %s`: %s as the base branch has it. `/plan` goes back to the pull's own plan.", s.Memory.Sync, s.Memory.Sync))
	}
	if s.Pull.Merged && s.Operator.Apply == config.ApplyOnComment && s.Memory.Last == nil && len(s.Changes()) > 0 {
		out = append(out, "This was merged without `/apply`: nothing of it has been applied yet.")
	}
	if b := s.Memory.Bypass; b != nil && s.history() && s.Plan == nil {
		out = append(out, fmt.Sprintf("@%s merged this before lockkeeper had looked at it, and %s has moved on since: nobody knows whether the policy had allowed it. That is recorded. Nothing of it is applied by itself; `/sync TARGET` plans what %s says now.", b.By.Login, s.Pull.Base.Name, s.Pull.Base.Name))
	}
	if b := s.Memory.Bypass; b != nil && s.Kind == PlanMerged && (len(s.Changes()) > 0 || len(s.PolicyChange) > 0) {
		out = append(out, fmt.Sprintf("@%s merged this although the policy had not allowed it. That is recorded, and somebody who did not contribute has to approve what is left to apply.", b.By.Login))
	}
	if t := s.ticket(); t != nil {
		out = append(out, "Change ticket "+ticketWindow(t)+", given by @"+t.By.Login+".")
	}
	for _, d := range s.Duties {
		if d.Pull == s.Pull.Number {
			out = append(out, fmt.Sprintf("@%s overrode the policy of %s here. Somebody else who may approve there owes a review, with `/reviewed`, by %s.", d.By.Login, d.Environment, moment(d.Due)))
		}
	}
	for _, t := range s.NoTeams {
		out = append(out, fmt.Sprintf("The policy asks for the team %s, which the forge does not know or does not show to lockkeeper: nobody can approve for it. Correct its name, or let lockkeeper read the organisation's members.", t))
	}
	if s.history() && len(s.Changes()) > 0 {
		out = append(out, fmt.Sprintf("What is left of it was given up with `%s`; `/sync TARGET` plans what %s says now.", s.Spell("/unlock keep"), s.Pull.Base.Name))
	}
	out = append(out, s.unseen()...)
	for _, l := range s.Holders {
		for _, t := range s.Targets() {
			if names.TargetKey(t) == l.Key {
				out = append(out, fmt.Sprintf("%s is held by %s since %s (%s).", t.Name, names.HolderName(l.Holder, s.Limits), moment(l.Acquired), l.Purpose))
			}
		}
	}
	slices.Sort(out)
	return out
}

// ticketWindow is a ticket with its window.
func ticketWindow(t *policy.Ticket) string {
	switch {
	case t.From.IsZero() && t.To.IsZero():
		return t.ID
	case t.To.IsZero():
		return t.ID + ", from " + moment(t.From)
	case t.From.IsZero():
		return t.ID + ", until " + moment(t.To)
	}
	return t.ID + ", from " + moment(t.From) + " to " + moment(t.To)
}

func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

// Targets are those of the current plan.
func (s *State) Targets() []cluster.Target {
	if s.Plan == nil {
		return nil
	}
	out := make([]cluster.Target, len(s.Plan.Targets))
	for i, t := range s.Plan.Targets {
		out[i] = t.Plan.Target
	}
	return out
}

// next are the commands that would move the pull on.
func (s *State) next(p report.Phase, v policy.Verdict) []string {
	switch p {
	case report.Waiting:
		return []string{"/plan " + names.Short(s.Pull.Head.SHA)}
	case report.Restoring:
		return []string{s.Spell("/unlock restore"), s.Spell("/unlock keep")}
	case report.Broken:
		return s.restorable()
	case report.Ready, report.Pending, report.Failed, report.Cancelled, report.Applied, report.Denied:
	default:
		return nil
	}
	switch {
	case s.history():
		return nil
	case s.Memory.Hold != nil:
		return []string{"/unhold"}
	}
	out := s.approve()
	byMerge := s.Operator.Apply == config.ApplyOnMerge && s.Kind == PlanPull
	if !byMerge && (v.OK || p == report.Denied && len(out) > 0 && len(s.Changes()) > 0) {
		out = append(out, "/apply")
	}
	out = append(out, s.restorable()...)
	if s.undoable() {
		out = append(out, "/rollback")
	}
	return out
}

// Spell is a command as people have to write it on this forge.
func (s *State) Spell(line string) string { return command.Spell(line, s.Limits.Reserved) }

// approve is the command that gives the approvals that are missing, if any are:
// with the digest where only that counts.
func (s *State) approve() []string {
	switch missing, byDigest := policy.Approving(s.Policy, s.Facts(s.Changes(), nil)); {
	case missing && byDigest && s.digest() != "":
		return []string{s.Spell("/approve " + names.Short(s.digest()))}
	case missing:
		return []string{s.Spell("/approve")}
	}
	return nil
}

// check is the check that the head should carry.
func (s *State) check(v report.View) (forge.CheckState, bool) {
	merge := s.Operator.Apply == config.ApplyOnMerge
	switch v.Phase {
	case report.Untouched, report.Unchanged, report.Merged, report.Applied:
		return forge.Success, true
	case report.Ready:
		if merge {
			return forge.Success, true
		}
		return forge.ActionRequired, true
	case report.Denied, report.Waiting, report.Pending, report.Cancelled:
		return forge.ActionRequired, true
	case report.Broken, report.Failed:
		return forge.Failure, true
	case report.Applying:
		return forge.Pending, true
	}
	return "", false
}

// unseen says on which clusters of the plan's targets drift cannot be looked
// for, and since when.
func (s *State) unseen() []string {
	var out []string
	said := map[string]bool{}
	for _, t := range s.Targets() {
		all := s.Unseen[t.Cluster]
		if len(all) == 0 || said[t.Cluster] {
			continue
		}
		said[t.Cluster] = true
		since, kinds := all[0].Since, []string{}
		for _, u := range all {
			if u.Since.Before(since) {
				since = u.Since
			}
			kinds = append(kinds, cmp.Or(u.Kind, "everything"))
		}
		more := ""
		if len(kinds) > 3 {
			kinds, more = kinds[:3], fmt.Sprintf(" and %d more kinds", len(kinds)-3)
		}
		out = append(out, fmt.Sprintf("Whether anything drifted on cluster %s is unknown since %s: %s%s cannot be looked at there.", t.Cluster, moment(since), strings.Join(kinds, ", "), more))
	}
	return out
}
