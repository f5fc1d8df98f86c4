package reconcile

import (
	"fmt"
	"slices"
	"strings"

	"lockkeeper/bot/command"
	"lockkeeper/bot/config"
	"lockkeeper/bot/names"
	"lockkeeper/bot/policy"
	"lockkeeper/bot/report"
	"lockkeeper/forge"
)

// MaxRounds bounds how often Decide is asked in one go; a real pull needs a
// handful.
const MaxRounds = 30

// Decide says what to do next about a pull. It is pure: the same state gives
// the same actions. The runner carries them out and asks again until nothing
// is left to do, so each answer is only the next step: what was interrupted,
// what was said, what is stale, what is not published yet.
func Decide(s *State) []Action {
	if s.Operation != nil {
		a := resume(s)
		if c := s.Cancelling(a); c != nil {
			return []Action{Cancel{Apply: a, Command: *c}}
		}
		return []Action{a}
	}
	if len(s.Stray) > 0 {
		return []Action{Free{s.Stray}}
	}
	if s.Pull.Merged && !s.Memory.MergedSeen {
		return append(judgeMerge(s), NoteMerge{})
	}
	if s.Rewritten != "" {
		return []Action{Freeze{fmt.Sprintf("%s was rewritten: it no longer contains %s; find out what is gone", s.Pull.Base.Name, names.Short(s.Rewritten))}}
	}
	if acts := take(s); len(acts) > 0 {
		return acts
	}
	if s.Wanted() && s.Plannable() && !s.Fresh() {
		return []Action{pendingCheck(s), MakePlan{}}
	}
	if acts := judgeMerge(s); len(acts) > 0 {
		return acts
	}
	if acts := publish(s); len(acts) > 0 {
		return acts
	}
	if s.settled() {
		return []Action{Settle{}}
	}
	if r := s.reviewers(); len(r) > 0 {
		return []Action{RequestReview{r}}
	}
	for _, c := range s.Commands {
		return answer(s, c)
	}
	if s.applyAfterMerge() {
		by := s.Pull.MergedBy
		return []Action{Apply{Actor: by, ID: names.Hash("merge", s.Memory.Plan.ID)}}
	}
	return nil
}

// Plannable reports whether a plan would still mean something: not for a pull
// that was closed without having been applied, nor for one that is history.
func (s *State) Plannable() bool {
	if s.Pull.State == forge.Closed && !s.Pull.Merged {
		return len(s.Memory.Leases) > 0
	}
	return !s.history()
}

// history reports whether all that is left of a pull is its report.
func (s *State) history() bool {
	return s.Pull.Merged && s.Memory.Settled && s.Memory.Sync == ""
}

// settled reports whether a merged pull has come to its end: nothing of it is
// left to change, and no operation of it ended half-way.
func (s *State) settled() bool {
	m := s.Memory
	switch {
	case !s.Pull.Merged || m.Settled || s.Kind != PlanMerged || !s.Fresh() || len(s.Blocked) > 0:
		return false
	case len(s.Changes()) > 0 || len(s.PlanProblems(s.Plan)) > 0:
		return false
	}
	return len(m.Leases) == 0 || m.Last == nil || m.Last.Outcome == "succeeded"
}

// resume continues an operation whose process was stopped.
func resume(s *State) Apply {
	op := s.Operation
	a := Apply{ID: op.ID, Targets: op.Targets, Actor: op.Actor, Resume: true, Began: PlanKind(op.Kind)}
	for i, c := range s.Commands {
		if c.ID() == op.ID {
			a.Command = &s.Commands[i]
		}
	}
	return a
}

// take claims the commands that nobody took up yet, with what has to happen
// before a plan: admitting a fork, asking for a draft's plan, choosing a sync.
func take(s *State) []Action {
	var out []Action
	for _, c := range s.Commands {
		if c.Begun {
			continue
		}
		out = append(out, Take{c})
		if c.Parsed.Err == nil && !c.Late && allowed(s, c) == "" {
			out = append(out, before(s, c)...)
		}
	}
	return out
}

func before(s *State, c Command) []Action {
	if s.Pull.State == forge.Closed && !s.Pull.Merged {
		return nil
	}
	switch c.Parsed.Name {
	case command.Plan:
		if s.history() {
			return nil
		}
		var out []Action
		if c.Parsed.SHA != "" && !strings.HasPrefix(s.Pull.Head.SHA, c.Parsed.SHA) {
			return nil
		}
		if s.Pull.Fork() && c.Parsed.SHA != "" {
			out = append(out, Admit{SHA: s.Pull.Head.SHA, By: c.Comment.Author})
		}
		if s.Pull.Draft {
			out = append(out, Ask{SHA: s.Pull.Head.SHA})
		}
		if s.Memory.Sync != "" {
			out = append(out, SetSync{})
		}
		return append(out, Forget{})
	case command.Restore:
		if !s.Pull.Merged {
			return s.Drift.before(c)
		}
	case command.Sync:
		return []Action{SetSync{Target: c.Parsed.Targets[0], By: c.Comment.Author}, Forget{}}
	}
	return nil
}

// allowed says why the author may not give this command, or "".
func allowed(s *State, c Command) string {
	writer := "only somebody with write access to the repository may do that"
	switch c.Parsed.Name {
	case command.Help, command.Status, command.Explain, command.Unapprove, command.Reviewed:
		return "" // for /reviewed, the answer decides, duty by duty
	case command.Override:
		return policy.MayOverride(s.Policy, s.Facts(s.Changes(), nil), c.Comment.Author)
	case command.Approve, command.Unlock:
		if why := policy.MayApprove(s.Policy, s.Facts(s.Changes(), nil), c.Comment.Author); why != "" {
			return "an approval of yours does not count: " + why
		}
		if c.Parsed.Name == command.Unlock && !s.mayUnlock(c) {
			return "only somebody whose approval counts for the held targets may do that"
		}
		return ""
	case command.Plan:
		if c.Parsed.SHA == "" && !s.Pull.Fork() && c.Comment.Author.ID == s.Pull.Author.ID {
			return ""
		}
	}
	if !c.Writer {
		return writer
	}
	return ""
}

// mayUnlock asks for somebody who could approve in every environment that the
// pull touches.
func (s *State) mayUnlock(c Command) bool {
	f := s.Facts(s.Changes(), nil)
	for _, t := range s.Targets() {
		if !policy.Eligible(s.Policy, f, t.Environment, c.Comment.Author) {
			return false
		}
	}
	return c.Writer || len(s.Targets()) > 0
}

// judgeMerge looks, at a pull that somebody merged, whether the policy had
// allowed what it does (threat 27). The plan that people saw before decides; if
// there is none, the first one that is made after it, which nobody can have
// approved.
func judgeMerge(s *State) []Action {
	if !s.Pull.Merged || s.Memory.Judged || s.history() {
		return nil
	}
	if last := s.Memory.Last; last != nil && last.Merged && last.Head == s.Pull.Head.SHA {
		return []Action{JudgeMerge{}} // by our own operation
	}
	seen := s.Memory.Plan != nil && s.Plan != nil && s.Memory.Plan.Head == s.Pull.Head.SHA && s.Memory.Plan.Kind == PlanPull
	if !seen && !(s.Kind == PlanMerged && s.Fresh()) {
		return nil
	}
	by := &policy.Bypass{SHA: s.Pull.MergeSHA, Kind: policy.UnapprovedMerge, By: s.Pull.MergedBy, Pull: s.Pull.Number}
	if s.Extra {
		return []Action{JudgeMerge{Bypass: by, Why: []string{fmt.Sprintf("%s holds more than merging the pull gives", names.Short(s.Pull.MergeSHA))}}}
	}
	if len(s.Changes()) == 0 && !s.judgedByFiles() {
		return []Action{JudgeMerge{}}
	}
	v := s.Verdict()
	if v.OK {
		return []Action{JudgeMerge{}}
	}
	return []Action{JudgeMerge{Bypass: by, Why: v.AllMissing()}}
}

// reviewers are those whose review would help and who were not asked yet.
func (s *State) reviewers() []policy.Reviewer {
	if s.Pull.State != forge.Open || s.Pull.Draft || s.Kind != PlanPull || !s.Fresh() || len(s.Changes()) == 0 || len(s.Blocked) > 0 || len(s.PlanProblems(s.Plan)) > 0 {
		return nil
	}
	asked := slices.Concat(s.Memory.Reviewers, s.NoTeams)
	for _, u := range s.Pull.Requested.Users {
		asked = append(asked, "@"+u.Login)
	}
	for _, t := range s.Pull.Requested.Teams {
		asked = append(asked, t.String())
	}
	f := s.Facts(s.Changes(), nil)
	return slices.DeleteFunc(policy.Suggest(s.Policy, f), func(r policy.Reviewer) bool { return slices.Contains(asked, ReviewerName(r)) })
}

// ReviewerName is "@login" or "org/team".
func ReviewerName(r policy.Reviewer) string {
	if r.Team != "" {
		return r.Team
	}
	return "@" + r.Login
}

// pendingCheck shows at once that the head is being looked at.
func pendingCheck(s *State) Action {
	return WriteCheck{checkOf(s, forge.Pending, "Planning "+names.Short(s.Pull.Head.SHA),
		"The manifests are rendered and compared with the clusters.")}
}

func (m *Memory) checkID(sha string) int64 {
	if m.Check.SHA == sha {
		return m.Check.ID
	}
	return 0
}

// publish writes the report and the check where they differ from what stands.
func publish(s *State) []Action {
	if s.silent() {
		return nil
	}
	v := s.View()
	bodies, err := report.Sticky(v, s.Limits)
	unshown := false
	if err != nil {
		bodies, unshown = []string{fmt.Sprintf("<!-- lockkeeper:%s part=1 -->\nThe report cannot be shown: %v", v.Key, err)}, true
	}
	var out []Action
	if !s.posted(bodies) || !s.isPublished() {
		out = append(out, Publish{bodies, unshown})
	}
	if c, ok := s.wantedCheck(v); ok {
		out = append(out, WriteCheck{c})
	}
	return out
}

// silent pulls are not talked about: nothing was ever said, and there is
// nothing to say: closed pulls that the bot meets for the first time.
func (s *State) silent() bool {
	if s.Pull.Merged {
		quiet := s.history() || s.Operator.Apply == config.ApplyOnComment && len(s.Changes()) == 0
		return len(s.Memory.Sticky) == 0 && quiet && s.Memory.Bypass == nil
	}
	return len(s.Memory.Sticky) == 0 && s.Pull.State == forge.Closed && len(s.Memory.Leases) == 0
}

// posted reports whether the sticky comments already say this.
func (s *State) posted(bodies []string) bool {
	return slices.EqualFunc(s.Memory.Sticky, bodies, func(p Posted, body string) bool { return p.Hash == names.Hash(body) })
}

// isPublished reports whether the current plan is remembered as published.
func (s *State) isPublished() bool {
	if !s.Fresh() {
		return true
	}
	last, ok := s.Memory.shown()
	return ok && last.same(s.Publication())
}

// Publication is what publishing the current plan now would show.
func (s *State) Publication() Publication {
	return Publication{
		At: s.Now, Head: s.Pull.Head.SHA, Digest: s.Memory.Plan.Digest, Digests: s.ChangeDigests(s.Plan),
		PolicyRevision: s.Policy.Revision(), Ticket: s.ticket().Key(),
	}
}

func (s *State) wantedCheck(v report.View) (forge.Check, bool) {
	state, ok := s.check(v)
	if !ok {
		return forge.Check{}, false
	}
	title, summary, err := report.Check(v, s.Limits.Summary)
	if err != nil {
		title, summary = "The summary cannot be shown", err.Error()
	}
	c := checkOf(s, state, title, summary)
	return c, s.Memory.Check.SHA != c.SHA || s.Memory.Check.Hash != CheckHash(c)
}

func checkOf(s *State, state forge.CheckState, title, summary string) forge.Check {
	c := forge.Check{
		ID: s.Memory.checkID(s.Pull.Head.SHA), Name: s.CheckName, SHA: s.Pull.Head.SHA,
		State: state, Title: title, Summary: summary,
	}
	if len(s.Memory.Sticky) > 0 {
		c.DetailsURL = s.Memory.Sticky[0].URL
	}
	return c
}

// AppliedCheck is the check of a pull that was just applied, which its merge
// may require.
func (s *State) AppliedCheck() (forge.Check, error) {
	v := s.View()
	v.Phase = report.Applied
	title, summary, err := report.Check(v, s.Limits.Summary)
	if err != nil {
		return forge.Check{}, err
	}
	return checkOf(s, forge.Success, title, summary), nil
}

// CheckHash tells checks that say the same from those that do not.
func CheckHash(c forge.Check) string { return names.Hash(string(c.State), c.Title, c.Summary) }

// applyAfterMerge reports whether a merged pull should be applied by itself
// now: the plan is fresh and published, the gate would pass, and no apply of it
// ended half-way: that one is continued by `/apply`.
func (s *State) applyAfterMerge() bool {
	if s.Tried || !s.Pull.Merged || s.Memory.Settled || s.Operator.Apply != config.ApplyOnMerge || s.Memory.Sync != "" || !s.Fresh() || len(s.Changes()) == 0 {
		return false
	}
	last := s.Memory.Last
	if last != nil && last.Kind == PlanMerged && (last.Outcome != "succeeded" || last.Plan == s.Memory.Plan.Digest) {
		return false
	}
	return s.Verdict().OK && len(s.heldTargets()) == 0
}

// heldTargets are the plan's targets that another pull holds.
func (s *State) heldTargets() []string {
	var out []string
	for _, t := range s.Targets() {
		if l, ok := s.Holders[names.TargetKey(t)]; ok {
			out = append(out, fmt.Sprintf("%s is held by %s (%s)", t.Name, names.HolderName(l.Holder, s.Limits), l.Purpose))
		}
	}
	return out
}
