package reconcile

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"lockkeeper/bot/bypass/brought"
	"lockkeeper/bot/command"
	"lockkeeper/bot/config"
	"lockkeeper/bot/names"
	"lockkeeper/bot/plan"
	"lockkeeper/bot/policy"
	"lockkeeper/bot/store"
	"lockkeeper/cluster"
	"lockkeeper/forge"
)

// State is everything Decide looks at: what the forge, Git, the store and the
// operator say about one pull at one moment.
type State struct {
	Now       time.Time
	Self      forge.User
	Operator  config.Repository
	CheckName string
	Limits    forge.Limits

	Pull     forge.Pull
	Commits  []forge.Commit
	Comments []forge.Comment
	Reviews  []forge.Review
	// Pushers are who pushed to the head, less who only updated it from the base
	// branch; PushersKnown is false where the forge does not tell.
	Pushers      []forge.User
	PushersKnown bool
	// CleanMerges are the commits that are merges which add nothing to what they
	// merge; EquivalentHeads, earlier heads with only such merges of the base
	// branch since.
	CleanMerges     map[string]bool
	EquivalentHeads []string
	// Writers and Admins are the accounts with write and with admin access among
	// those who said something.
	Writers map[int64]bool
	Admins  map[int64]bool
	Teams   map[string][]int64
	// NoTeams are teams that the policy names and the forge does not know.
	NoTeams []string

	// Policy is compiled from the base branch and the operator's floors;
	// PolicyChange is what the pull changes about it.
	Policy       policy.Policy
	PolicyChange []string
	// Files are what differs between the base and the merge result, with the
	// owners that CODEOWNERS of the base branch gives them; OwnersError says why
	// it gives none.
	Files       []policy.File
	OwnersError string
	// Checks are those of the head, if the policy asks for any.
	Checks []policy.Check
	// Duties are the reviews that are owed in the repository, Bypass the commits
	// that came to the base branch past the gate.
	Duties []policy.Duty
	Bypass []brought.Commit
	// Extra is set for a merge that holds anything else than merging the pull
	// gives: somebody pushed it.
	Extra bool
	// Blocked are reasons from gathering: a broken policy file, a merge
	// conflict.
	Blocked []string
	// BaseSHA is the tip of the base branch, PlanKey what a plan made now would
	// be keyed with; "" when there is nothing to plan from.
	BaseSHA string
	PlanKey string
	// Kind is which plan the pull wants.
	Kind PlanKind

	Memory *Memory
	// Plan is the stored plan that Memory.Plan names.
	Plan *plan.Output
	// Commands are those without an outcome, oldest first.
	Commands []Command
	// Operation is one that was started and has no end: this process or an
	// earlier one was stopped in the middle of it.
	Operation *store.Operation
	// Holders are the pulls that hold this plan's targets, by lease key.
	Holders map[string]store.Lease
	// Stray are the leases that the store says this pull holds, and that its
	// memory knows nothing of: the process ended between taking and using them.
	Stray []string
	// Drift is set for a pull by which the bot proposes what is live, Rollback for
	// one by which it goes back.
	Drift    *DriftPull
	Rollback *policy.Rollback
	// Unseen is what cannot be looked at for drift, by cluster.
	Unseen map[string][]cluster.Unknown
	// Heal is set where no pull is looked at: what was applied last is put back.
	Heal bool
	// Rewritten is the commit that the base branch had and has no more, "" when
	// it only grew.
	Rewritten string
	// Tried is set once this reconcile asked the gate to apply after a merge.
	Tried bool
	// Results are what the running or last operation did so far.
	Results []cluster.Result
}

// Command is a chat command that waits for its outcome.
type Command struct {
	Comment forge.Comment
	Index   int
	Parsed  command.Parsed
	// Writer is set when its author has write access.
	Writer bool
	// Late is set when it was given so long ago that running it now would
	// surprise people.
	Late bool
	// Begun is set when an earlier run took it up and did not finish.
	Begun bool
}

// ID makes the same command the same operation, however often it is seen.
func (c Command) ID() string {
	return names.Hash("command", strconv.FormatInt(c.Comment.ID, 10), strconv.Itoa(c.Index))
}

// Fresh reports whether the plan at hand was made from what is there now.
func (s *State) Fresh() bool {
	p := s.Memory.Plan
	return p != nil && s.Plan != nil && p.Key == s.PlanKey && (p.Again.IsZero() || s.Now.Before(p.Again))
}

// Admitted reports whether the head may be planned: it lies in the repository
// itself, or somebody with write access let exactly this head in (threat 1), or
// merged it.
func (s *State) Admitted() bool {
	return !s.Pull.Fork() || s.Pull.Merged || slices.Contains(s.Memory.Admitted, s.Pull.Head.SHA)
}

// Wanted reports whether the pull should have a plan now.
func (s *State) Wanted() bool {
	switch {
	case s.PlanKey == "" || !s.Admitted():
		return false
	case s.Pull.Draft && s.Pull.State == forge.Open && s.Memory.Sync == "":
		return s.Memory.Asked == s.Pull.Head.SHA
	}
	return true
}

// WantedKind says which plan the pull wants.
func (s *State) WantedKind() PlanKind {
	switch {
	case s.Pull.Merged && s.Memory.Sync == "":
		return PlanMerged
	case s.Pull.State == forge.Closed && !s.Pull.Merged:
		return PlanRestore
	case s.Memory.Sync != "" && s.Memory.Reset:
		return PlanReset
	case s.Memory.Sync != "":
		return PlanSync
	}
	return PlanPull
}

// Changes lists the changes of the current plan, with their targets.
func (s *State) Changes() []policy.Change {
	if s.Plan == nil {
		return nil
	}
	return s.PlanChanges(s.Plan)
}

// PlanChanges lists the changes of a plan, with their targets, and what a pull
// makes Git's that is live already.
func (s *State) PlanChanges(out *plan.Output) []policy.Change {
	var changes []policy.Change
	for _, t := range out.Targets {
		for _, c := range t.Plan.Changes {
			fields := paths(c.Fields)
			for _, d := range t.Plan.Drift {
				if d.Ref == c.Ref { // what is live already, Git may have come to say
					fields = append(fields, paths(d.Fields)...)
				}
			}
			changes = append(changes, policy.Change{
				Target: t.Plan.Target.Name, Environment: t.Plan.Target.Environment, Also: t.Also, Cluster: t.Plan.Target.Cluster,
				Ref: c.Ref, Action: c.Action, Fields: fields, Takeover: len(c.Takeovers) > 0, Files: sourceFiles(c), Digest: c.Digest,
			})
		}
		changes = append(changes, s.agreed(t)...)
	}
	return append(changes, s.adopted(out)...)
}

func paths(all []cluster.FieldChange) []string {
	out := make([]string, len(all))
	for i, f := range all {
		out[i] = f.Path
	}
	return out
}

// sourceFiles is the file that an object comes from, without the line.
func sourceFiles(c cluster.Change) []string {
	if c.Source == "" {
		return nil
	}
	file := c.Source
	if i := strings.LastIndexByte(file, ':'); i >= 0 {
		if _, err := strconv.Atoi(file[i+1:]); err == nil {
			file = file[:i]
		}
	}
	return []string{file}
}

// PlanProblems are what keeps a plan from being applied, with their targets.
func (s *State) PlanProblems(out *plan.Output) []string {
	problems := slices.Clone(out.Problems)
	for _, t := range out.Targets {
		for _, p := range t.Plan.Problems {
			msg := t.Plan.Target.Name + ": "
			if p.Source != "" {
				msg += p.Source + ": "
			}
			if p.Ref != nil && !strings.Contains(p.Message, p.Ref.String()) {
				msg += p.Ref.String() + ": "
			}
			problems = append(problems, msg+p.Message)
		}
	}
	return append(problems, s.moved(out)...)
}

// PlanDigest is over the plan's targets and problems, and over what a drift pull
// makes Git's, so that it names all that is shown.
func (s *State) PlanDigest(out *plan.Output) string {
	parts := slices.Clone(out.Problems)
	for _, t := range out.Targets {
		parts = append(parts, t.Plan.Digest)
		for _, c := range s.agreed(t) {
			parts = append(parts, c.Digest)
		}
	}
	for _, c := range s.adopted(out) {
		parts = append(parts, c.Digest)
	}
	return names.Hash(parts...)
}

// ChangeDigests are the digests of all changes of a plan, sorted.
func (s *State) ChangeDigests(out *plan.Output) []string {
	digests := []string{}
	for _, c := range s.PlanChanges(out) {
		digests = append(digests, c.Digest)
	}
	slices.Sort(digests)
	return digests
}

// Verdict judges the current plan.
func (s *State) Verdict() policy.Verdict {
	var blocked []string
	if s.Plan != nil {
		blocked = s.PlanProblems(s.Plan)
	}
	return policy.Evaluate(s.Policy, s.Facts(s.Changes(), blocked))
}
