package reconcile

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"lockkeeper/bot/names"
	"lockkeeper/bot/plan"
	"lockkeeper/bot/policy"
	"lockkeeper/bot/report"
	"lockkeeper/bot/store"
	"lockkeeper/cluster"
	"lockkeeper/forge"
)

// DriftBranch is what the names of branches begin with on which the bot
// proposes what is live.
const DriftBranch = "lockkeeper/drift/"

// DriftPull is what is known of a pull by which the bot proposes what is live.
type DriftPull struct {
	// Known is false where the store tells nothing of the drift (any more): it is
	// over, or the database was lost and the cluster not looked at since.
	Known bool
	store.Drift
}

// OwnPull reports whether the bot opened a pull, from a branch of this
// repository whose name begins with a prefix.
func OwnPull(self forge.User, p forge.Pull, prefix string) bool {
	return p.Author.ID == self.ID && !p.Fork() && strings.HasPrefix(p.Head.Name, prefix)
}

// unknownContributor says who had a part in the pull and cannot be named.
func (s *State) unknownContributor() string {
	switch {
	case s.Heal || s.Kind != PlanPull && s.Kind != PlanMerged:
		return ""
	case s.Rollback != nil && s.Memory.AskedBy.ID == 0:
		return "whoever asked for this rollback"
	case s.Rollback != nil && (s.Rollback.Pure || s.PushersKnown && s.addedByPeople() == ""):
		return "" // once others push there, a commit of ours may be of another pull
	case s.Drift != nil:
		return "whoever changed " + s.Drift.what() + " live"
	}
	// The bot's commits under another pull still hold what somebody else did.
	for _, c := range s.Commits {
		if c.Author.ID == s.Self.ID && len(c.Parents) < 2 {
			return "whoever is behind " + names.Short(c.SHA) + ", which lockkeeper committed,"
		}
	}
	return ""
}

// what names the objects that changed.
func (d *DriftPull) what() string {
	refs := d.refs()
	switch {
	case len(refs) == 1:
		return refs[0].String()
	case len(refs) > 1:
		return fmt.Sprintf("%s and %d more of %s", refs[0], len(refs)-1, d.Target)
	case d.Target != "":
		return d.Target
	}
	return "its objects"
}

func (d *DriftPull) refs() []cluster.Ref {
	var out []cluster.Ref
	for _, f := range d.Findings {
		if !slices.Contains(out, f.Ref) {
			out = append(out, f.Ref)
		}
	}
	slices.SortFunc(out, cluster.Ref.Compare)
	return out
}

// adopted are what a drift pull makes Git's: what somebody changed live, which a
// plan does not list, because live it stands already. The policy judges it as
// if the pull did it.
func (s *State) adopted(out *plan.Output) []policy.Change {
	if s.Drift == nil || out == nil || s.Kind != PlanPull && s.Kind != PlanMerged || s.adoptionDone() {
		return nil
	}
	i := slices.IndexFunc(out.Targets, func(t plan.Target) bool { return s.Drift.of(t.Plan.Target) })
	if i < 0 {
		return nil
	}
	var changes []policy.Change
	for _, ref := range s.Drift.refs() {
		changes = append(changes, s.Drift.change(out.Targets[i], ref))
	}
	return changes
}

// agreed are what a pull says of objects that somebody changed live to just that:
// the cluster has nothing to change any more. The policy judges them as if it
// had, or else a live edit and a pull that says the same would need nobody's
// approval (threat 33).
func (s *State) agreed(t plan.Target) []policy.Change {
	if s.Kind != PlanPull && s.Kind != PlanMerged {
		return nil
	}
	if last := s.Memory.Last; last != nil && last.Head == s.Pull.Head.SHA && slices.Contains(s.Memory.Leases, names.TargetKey(t.Plan.Target)) {
		return nil // the gate let this head have the target: what is live may be its doing
	}
	var changes []policy.Change
	for _, d := range t.Plan.Drift {
		of := func(c cluster.Change) bool { return c.Ref == d.Ref }
		if slices.ContainsFunc(t.Plan.Changes, of) || s.Drift != nil && s.Drift.of(t.Plan.Target) && slices.Contains(s.Drift.refs(), d.Ref) {
			continue
		}
		c := policy.Change{
			Target: t.Plan.Target.Name, Environment: t.Plan.Target.Environment, Also: t.Also, Cluster: t.Plan.Target.Cluster,
			Ref: d.Ref, Action: cluster.Update, Fields: paths(d.Fields),
		}
		if d.Deleted {
			c.Action = cluster.Delete
		}
		doc, err := json.Marshal(d.Fields)
		if err != nil { // plain data cannot fail to marshal
			doc = []byte(err.Error())
		}
		c.Digest = names.Hash("agree", c.Cluster, c.Target, d.Ref.String(), string(c.Action), string(doc))
		changes = append(changes, c)
	}
	return changes
}

// adoptionDone reports whether the pull was applied as it is: then what was live
// is what was applied last.
func (s *State) adoptionDone() bool {
	last := s.Memory.Last
	return last != nil && last.Outcome == "succeeded" && last.Head == s.Pull.Head.SHA && (last.Kind == PlanPull || last.Kind == PlanMerged)
}

func (d *DriftPull) of(t cluster.Target) bool { return t.Name == d.Target && t.Cluster == d.Cluster }

// change is what the policy sees of one object that changed live. Its digest
// covers the values: an approval is for them.
func (d *DriftPull) change(t plan.Target, ref cluster.Ref) policy.Change {
	c := policy.Change{
		Target: d.Target, Environment: t.Plan.Target.Environment, Also: t.Also, Cluster: d.Cluster, Ref: ref, Action: cluster.Update,
	}
	type seen struct {
		Kind  cluster.FindingKind
		Field cluster.FieldChange
	}
	var found []seen
	for _, f := range d.Findings {
		if f.Ref != ref {
			continue
		}
		found = append(found, seen{f.Kind, f.Field})
		switch f.Kind {
		case cluster.Gone:
			c.Action = cluster.Delete
		case cluster.Remade:
			c.Action = cluster.Adopt
		}
		if f.Field.Path != "" {
			c.Fields = append(c.Fields, f.Field.Path)
		}
		if c.Files == nil {
			c.Files = sourceFiles(cluster.Change{Source: f.Source})
		}
	}
	doc, err := json.Marshal(found)
	if err != nil { // plain data cannot fail to marshal
		doc = []byte(err.Error())
	}
	c.Digest = names.Hash("adopt", d.Cluster, d.Target, ref.String(), string(doc))
	return c
}

// moved says why a drift pull cannot be applied: to adopt what is live changes
// nothing live, so that a plan that would is of something else than its findings.
// What people add to the branch is planned and shown like any pull's.
func (s *State) moved(out *plan.Output) []string {
	if s.Drift == nil || s.Kind != PlanPull && s.Kind != PlanMerged || s.adoptionDone() || len(s.Drift.Foreign) > 0 {
		return nil
	}
	if !s.Drift.Known && s.Kind != PlanMerged {
		return []string{"the drift that this pull was opened for is over, or was not looked at again yet: there is nothing to adopt"}
	}
	if s.Drift.Known && !slices.ContainsFunc(out.Targets, func(t plan.Target) bool { return s.Drift.of(t.Plan.Target) }) {
		return []string{fmt.Sprintf("%s: what this pull proposes is no longer a change of %s; it is updated when the cluster was looked at", s.Drift.Target, s.Pull.Base.Name)}
	}
	var why []string
	for _, t := range out.Targets {
		for _, c := range t.Plan.Changes {
			if !changesValues(c) {
				continue
			}
			reason := "live moved on since this pull was updated; it is updated again when the cluster was looked at"
			if !s.Drift.Known {
				reason = "what it was to adopt is no longer live; `/sync " + t.Plan.Target.Name + "` plans what " + s.Pull.Base.Name + " says now"
			}
			if c.Pending {
				reason = "an earlier merge left that to apply; apply it there first"
			}
			why = append(why, fmt.Sprintf("%s: adopting what is live must not change it, and this would %s %s: %s", t.Plan.Target.Name, c.Action, c.Ref, reason))
		}
	}
	return why
}

// changesValues reports whether a change does more than move ownership.
func changesValues(c cluster.Change) bool {
	return slices.Contains([]cluster.Action{cluster.Create, cluster.Replace, cluster.Delete}, c.Action) ||
		slices.ContainsFunc(c.Fields, func(f cluster.FieldChange) bool { return !f.Server })
}

// restorable is the command that puts back what was applied, on an open drift
// pull.
func (s *State) restorable() []string {
	if s.Drift == nil || s.Kind != PlanPull || s.Drift.Target == "" {
		return nil
	}
	return []string{"/restore"}
}

// before has a /restore planned: the last applied state of the pull's target.
func (d *DriftPull) before(c Command) []Action {
	if d == nil || d.Target == "" {
		return nil
	}
	return []Action{SetSync{Target: d.Target, By: c.Comment.Author, Reset: true}, Forget{}}
}

func answerRestore(s *State, c Command) []Action {
	switch {
	case s.Drift == nil:
		return s.Refuse(c, "this is no drift pull: `/sync TARGET` plans what "+s.Pull.Base.Name+" says of a target, and `/rollback` undoes a pull")
	case s.Pull.Merged:
		return s.Refuse(c, "what was live is adopted: "+s.Pull.Base.Name+" says so now, and `/rollback` undoes that")
	case s.Pull.State == forge.Closed:
		return s.Refuse(c, "the pull is closed; reopen it first")
	case s.Drift.Target == "":
		return s.Refuse(c, "lockkeeper does not know any more which target this was about; `/sync TARGET` plans what "+s.Pull.Base.Name+" says of it")
	case s.Memory.Sync != s.Drift.Target || !s.Memory.Reset || !s.Fresh():
		return s.Refuse(c, append(s.Verdict().AllMissing(), "the restore is not planned; please repeat the command")...)
	case len(s.PlanProblems(s.Plan)) > 0:
		return s.Refuse(c, s.PlanProblems(s.Plan)...)
	}
	return s.Reply(c, report.Reply{Kind: report.ReplyRestore, Text: statusLine(s)})
}

// Key names what is proposed, so that a plan made for other findings is stale;
// "" for nothing.
func (d *DriftPull) Key() string {
	if d == nil {
		return ""
	}
	return fmt.Sprint(d.Known, d.Digest, d.Foreign)
}
