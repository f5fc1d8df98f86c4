package drift

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"lockkeeper/bot/store"
	"lockkeeper/forge"
)

const (
	// briefSilence is how long a drift that somebody other than an approver
	// closed is left alone: long enough not to quarrel, too short to hide it.
	briefSilence = 24 * time.Hour
	// healFirst is how long after a heal the next one waits at least; it doubles
	// with each up to healMost.
	healFirst = time.Minute
	healMost  = time.Hour
	// Two parties fight over a field that was healed fightHeals times within
	// fightTime and drifted again.
	fightHeals = 3
	fightTime  = time.Hour
)

// closer is who closed a pull.
type closer int

const (
	byUs closer = iota
	byApprover
	byOther
)

// world is what there is to see of one target, beside what is known of it.
type world struct {
	Now time.Time
	// Digest is of what drifts now and people are told of, "" for nothing.
	Digest string
	// Unknown is set where something could not be looked at.
	Unknown bool
	// Lost is set if Git has the target no more.
	Lost bool
	// Mass is set while so much changed on the cluster that single targets are
	// not told of.
	Mass bool
	// Silence is how long an approver's closing keeps the bot quiet.
	Silence time.Duration
	// AutoHeal puts back without asking; Heals are the earlier ones, oldest
	// first, and Fields what drifts now, in their words.
	AutoHeal bool
	Heals    []store.Heal
	Fields   []string
	Healed   bool // in this look, whatever came of it
	// Pull is the one that the row names, or that stands open on its branch.
	Pull *sight
	// IssueOpen is set while the issue that the row names is open.
	IssueOpen bool
	// Offer is what can be proposed; nil until somebody asked.
	Offer *offer

	issue    forge.Issue // that is open
	noIssues bool        // the repository has none for us
	merged   []string    // heads of ours on its branch that were merged
}

// sight is what the forge says of a drift pull.
type sight struct {
	Number int
	Open   bool
	Merged bool
	// Taken is set if the base branch that was read has the merge.
	Taken    bool
	ClosedBy closer
	Who      forge.User // who closed it
	// Current is set if the branch holds what is proposed, Told if title and body
	// say what there is to say. Both are looked at with the offer.
	Current, Told bool
	Foreign       bool // commits that are not ours are on the branch
	Astray        bool // it is open against another branch than the target's

	title, body, tip string
}

// offer is what lockkeeper can propose for a drift.
type offer struct {
	Edits   bool // there is something that a pull can hold
	Refused bool // there is something that none can
	// IssueTold is set if the open issue says what there is to say.
	IssueTold bool
}

// A step is one thing to do about a target's drift.
type step interface{ name() string }

type (
	// think works out what can be proposed.
	think struct{}
	// adopt takes up an open pull that the row does not name.
	adopt struct{ Number int }
	// openPull makes branch, commit and pull; update brings an open one up to
	// date, with a commit unless others have some on its branch.
	openPull   struct{}
	updatePull struct{ Push bool }
	// closePull closes with a remark.
	closePull  struct{ Remark string }
	tellIssue  struct{}
	closeIssue struct {
		Remark string
		Pull   int // to see instead, 0 for none
	}
	// hush notes that somebody closed the pull, or the issue; unhush, that the
	// pull is open again.
	hush struct {
		Quiet store.Quiet
		Issue bool
	}
	unhush struct{}
	heal   struct{}
	// alarm notes that two parties fight over fields.
	alarm struct{ Fields []string }
	// wait has the target looked at again then.
	wait struct{ Until time.Time }
	// forget ends it: nothing drifts any more that people are told of.
	forget struct{}
)

// Steps names every step that a look at a cluster may take about a target, in no
// order.
func Steps() []string {
	var out []string
	for _, s := range steps() {
		out = append(out, "drift/"+s.name())
	}
	return out
}

func steps() []step {
	return []step{
		think{}, adopt{}, openPull{}, updatePull{}, closePull{}, tellIssue{}, closeIssue{}, hush{}, unhush{}, heal{}, alarm{}, wait{}, forget{},
	}
}

func (think) name() string      { return "think" }
func (adopt) name() string      { return "adopt" }
func (openPull) name() string   { return "open-pull" }
func (updatePull) name() string { return "update-pull" }
func (closePull) name() string  { return "close-pull" }
func (tellIssue) name() string  { return "tell-issue" }
func (closeIssue) name() string { return "close-issue" }
func (hush) name() string       { return "hush" }
func (unhush) name() string     { return "unhush" }
func (heal) name() string       { return "heal" }
func (alarm) name() string      { return "alarm" }
func (wait) name() string       { return "wait" }
func (forget) name() string     { return "forget" }

// decide says what to do next about a target that drifts, or did. It is asked
// again after each step, until all that is left is to wait; what is done
// already it does not ask for again.
func decide(d store.Drift, w world) step {
	if w.Digest == "" {
		return over(d, w)
	}
	if p := w.Pull; p != nil && p.Open && p.Astray {
		return closePull{"It is against another branch than the one that the target is applied from: another pull takes its place."}
	}
	if p := w.Pull; p != nil && p.Open && p.Number != d.Number {
		return adopt{p.Number}
	}
	if w.Mass {
		return wait{}
	}
	if s := healing(d, w); s != nil {
		return s
	}
	if s := silent(d, w); s != nil {
		return s
	}
	if w.Offer == nil {
		return think{}
	}
	switch {
	case w.Offer.Edits:
		return propose(w)
	case w.Offer.Refused:
		return tell(w)
	}
	return wait{} // Git says already what is live: it is merged, and not applied
}

// over ends what was begun for a drift that is gone. What could not be looked
// at is not gone.
func over(d store.Drift, w world) step {
	why := "What was applied last is live again: the drift is gone."
	if w.Lost {
		why = "Git has this target on this cluster no more, so that there is nothing to compare with what is live."
	}
	switch {
	case w.Unknown:
		return wait{}
	case w.Pull != nil && w.Pull.Open:
		return closePull{why + " Nothing is left to decide."}
	case w.IssueOpen:
		return closeIssue{Remark: why}
	case len(w.Fields) > 0 && d.Told == "" && d.Number == 0:
		return wait{} // only who owns fields is not as it was
	}
	return forget{}
}

// healing is what is to be done where drift is put back without asking.
func healing(d store.Drift, w world) step {
	if !w.AutoHeal || d.Fight != "" {
		return nil
	}
	if fields := fought(w); len(fields) > 0 {
		return alarm{fields}
	}
	if w.Healed {
		return nil
	}
	if next := nextHeal(w.Heals); w.Now.Before(next) {
		return wait{next}
	}
	return heal{}
}

// fought are the fields that drift although they were healed again and again.
func fought(w world) []string {
	count := map[string]int{}
	for _, h := range w.Heals {
		if h.Outcome == healSucceeded && w.Now.Sub(h.At) <= fightTime {
			for _, f := range h.Fields {
				count[f]++
			}
		}
	}
	var out []string
	for _, f := range w.Fields {
		if count[f] >= fightHeals {
			out = append(out, f)
		}
	}
	return out
}

// nextHeal is when a target may be healed again: those that came close on each
// other count.
func nextHeal(heals []store.Heal) time.Time {
	if len(heals) == 0 {
		return time.Time{}
	}
	wait, last := healFirst, heals[len(heals)-1].At
	at := last
	for _, h := range slices.Backward(heals[:len(heals)-1]) {
		if at.Sub(h.At) > 2*healMost {
			break
		}
		at = h.At
		wait = min(2*wait, healMost)
	}
	return last.Add(wait)
}

// silent is what follows from somebody's having closed or merged the pull, or
// closed the issue, nil if nothing does.
func silent(d store.Drift, w world) step {
	p := w.Pull
	switch {
	case p != nil && p.Open:
		if d.Quiet.Digest != "" {
			return unhush{}
		}
		return nil
	case p != nil && p.Merged:
		// Applying it is all that is left to do, unless it changed again since, or
		// the base branch does not say so any more.
		if d.Told == w.Digest && !p.Taken {
			return wait{}
		}
		return nil
	case p != nil && p.ClosedBy != byUs && d.Quiet.Closed != p.Number:
		until := w.Now.Add(briefSilence)
		if p.ClosedBy == byApprover {
			until = w.Now.Add(w.Silence)
		}
		return hush{Quiet: store.Quiet{Digest: d.Told, Until: until, By: p.Who, Closed: p.Number}}
	case d.Quiet.Digest == w.Digest && w.Now.Before(d.Quiet.Until):
		return wait{d.Quiet.Until}
	case d.Issue != 0 && !w.IssueOpen && !w.noIssues:
		// Forges do not say who closed an issue.
		return hush{Quiet: store.Quiet{Digest: d.Told, Until: w.Now.Add(briefSilence), Closed: d.Quiet.Closed}, Issue: true}
	}
	return nil
}

// propose keeps the one pull of the target in step.
func propose(w world) step {
	p := w.Pull
	switch {
	case p == nil || !p.Open:
		return openPull{}
	case !p.Current && !p.Foreign:
		return updatePull{Push: true}
	case !p.Told:
		return updatePull{}
	case w.IssueOpen:
		return closeIssue{Remark: "An edit that makes Git say what is live can be proven now", Pull: p.Number}
	}
	return wait{}
}

// tell keeps the one issue of the target in step, where no edit can be proven.
func tell(w world) step {
	switch {
	case !w.IssueOpen || !w.Offer.IssueTold:
		return tellIssue{}
	case w.Pull != nil && w.Pull.Open:
		return closePull{"What is live now cannot be written to Git by lockkeeper any more; an issue says why, and tells of the drift from now on."}
	}
	return wait{}
}

// fightText says which fields two parties fight over, and who the other is.
func fightText(fields, by []string) string {
	who := "somebody whom the cluster does not name"
	if len(by) > 0 {
		who = strings.Join(by, ", ")
	}
	return fmt.Sprintf("%s: put back %d times within %s, and changed again each time by %s", strings.Join(fields, ", "), fightHeals, fightTime, who)
}
