package reconcile

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"lockkeeper/bot/lossless"
	"lockkeeper/bot/names"
	"lockkeeper/bot/outcome"
	"lockkeeper/bot/policy"
	"lockkeeper/forge"
)

// Memory is what the bot itself knows of a pull and nobody else could tell it
// again: what it published, who voted by command, what it posted where.
type Memory struct {
	// Base is the base branch that everything below was said about; when a
	// pull is retargeted, all of it is void (threat 29).
	Base string `json:"base,omitempty"`
	// Sticky are the comments that carry the report, the first one in front.
	Sticky []Posted `json:"sticky,omitempty"`
	Check  Posted   `json:"check,omitzero"`
	// Plan is the current plan; nil before the first.
	Plan *Planned `json:"plan,omitempty"`
	// Publications say what the report showed, and since when.
	Publications []Publication `json:"publications,omitempty"`
	// Votes were given by command; reviews are read from the forge each time.
	Votes []policy.Vote `json:"votes,omitempty"`
	Hold  *policy.Hold  `json:"hold,omitempty"`
	// Ticket is the change ticket as last given.
	Ticket *Ticket `json:"ticket,omitempty"`
	// Overrides were given by command.
	Overrides []policy.Override `json:"overrides,omitempty"`
	// Reviewers were asked for a review, once: "@login" and "org/team".
	Reviewers []string `json:"reviewers,omitempty"`
	// Applies are the last applies of the open pull's targets, for what has to
	// soak.
	Applies []Applied `json:"applies,omitempty"`
	// Judged is set once it is known whether the policy had allowed what was
	// merged. Bypass is set if it had not: an administrator can (threat 27).
	Judged bool           `json:"judged,omitempty"`
	Bypass *policy.Bypass `json:"bypass,omitempty"`
	// Checks is set where the policy asks for checks of the head: then news of
	// them are news of the pull.
	Checks bool `json:"checks,omitempty"`
	// LiveChanges tells the changes behind Git's back apart that were recorded.
	LiveChanges string `json:"liveChanges,omitempty"`
	// Admitted are the heads of a fork that somebody with write access let in.
	Admitted []string `json:"admitted,omitempty"`
	// Asked is the head of a draft whose plan somebody asked for.
	Asked string `json:"asked,omitempty"`
	// Prepared are the commands without a reply whose preparations are remembered
	// here. Answering is the reply that is about to be given.
	Prepared  []string   `json:"prepared,omitempty"`
	Answering *Answering `json:"answering,omitempty"`
	// Last is the running or last operation.
	Last *Operation `json:"last,omitempty"`
	// Leases are the targets this pull keeps from others: applied, not merged.
	Leases []string `json:"leases,omitempty"`
	// Applied is the tree that the last apply of the open pull brought to the
	// clusters: what a restore undoes, whatever was pushed since.
	Applied string `json:"applied,omitempty"`
	// Sync is the target whose sync is planned, "" otherwise; SyncBy asked for
	// it, and so may not approve it.
	Sync   string     `json:"sync,omitempty"`
	SyncBy forge.User `json:"syncBy,omitzero"`
	// Reset is set if that is to put back what was applied last, and to take
	// away what people added by hand (/restore).
	Reset bool `json:"reset,omitempty"`
	// AskedBy asked for the rollback that this pull is.
	AskedBy forge.User `json:"askedBy,omitzero"`
	// PendingMerge is the merge commit of a merged pull that still has changes
	// to apply, PendingTargets the lease keys of their targets.
	PendingMerge   string   `json:"pendingMerge,omitempty"`
	PendingTargets []string `json:"pendingTargets,omitempty"`
	// MergedSeen is set once the merge was recorded.
	MergedSeen bool `json:"mergedSeen,omitempty"`
	// Settled is set once a merged pull is history: what it merged stands in
	// the clusters, or was given up, or is older than the bot. It is not planned
	// again, because that would undo what came after it.
	Settled bool `json:"settled,omitempty"`
	// Closed tells that the pull was closed when it was last looked at.
	Closed bool `json:"closed,omitempty"`
	// Met is when the bot first looked at the pull.
	Met time.Time `json:"met,omitzero"`
	// BaseSHA is the tip of the base branch when it was last looked at.
	BaseSHA string `json:"baseSHA,omitempty"`

	rest lossless.Rest // see UnmarshalJSON
}

// Posted is something the bot wrote on the forge. Hash is of its text, so that
// the same text is not written twice.
type Posted struct {
	ID   int64  `json:"id,omitempty"`
	Hash string `json:"hash,omitempty"`
	SHA  string `json:"sha,omitempty"` // for a check: the commit it is on
	URL  string `json:"url,omitempty"`
	// Stands is the hash of a comment as the forge showed it after it was
	// written, "" while that is not known. Doctored is set when it shows another
	// text since: whoever may edit comments can lie in ours (threat 10).
	Stands   string `json:"stands,omitempty"`
	Doctored bool   `json:"doctored,omitempty"`
}

// Ticket is a change ticket and the comment that gave it.
type Ticket struct {
	policy.Ticket
	Comment int64 `json:"comment"`
}

// Applied is an apply of one target at one head. At is when it ended, or when
// the target was found well again after it was not.
type Applied struct {
	policy.Applied
	Cluster string `json:"cluster"`
	Head    string `json:"head"`
}

// PlanKind says what a plan compares.
type PlanKind string

// The kinds of plans.
const (
	PlanPull    PlanKind = "pull"    // base branch to merge result
	PlanMerged  PlanKind = "merged"  // before the merge to the merge commit
	PlanRestore PlanKind = "restore" // merge result back to base, after a close
	PlanSync    PlanKind = "sync"    // base itself, all objects of one target
	PlanReset   PlanKind = "reset"   // that, and nothing added by hand (/restore)
	PlanHeal    PlanKind = "heal"    // what drifted, without a pull
)

// Planned identifies a plan. Key is a digest of everything the plan was made
// from; a plan whose key is no longer what gathering yields is stale.
type Planned struct {
	ID     string    `json:"id"`
	Key    string    `json:"key"`
	Kind   PlanKind  `json:"kind"`
	Head   string    `json:"head"`
	Base   string    `json:"base"` // commit
	At     time.Time `json:"at"`
	Digest string    `json:"digest"`
	// Tree is the tree that would be, or is, on the base branch.
	Tree string `json:"tree,omitempty"`
	// Again is when a plan for which a cluster could not be asked is made anew,
	// zero otherwise; Tries counts such plans in a row.
	Again time.Time `json:"again,omitzero"`
	Tries int       `json:"tries,omitempty"`
}

// How long a plan for which a cluster could not be asked stands, doubling from
// the first to the most.
const (
	againFirst = time.Minute
	againMost  = 30 * time.Minute
)

// Remake sets when a plan that could not be made is tried again.
func (p *Planned) Remake(before *Planned) {
	if before != nil && before.Key == p.Key {
		p.Tries = before.Tries
	}
	p.Again = p.At.Add(min(againFirst<<min(p.Tries, 10), againMost))
	p.Tries++
}

// Publication is what people could see from At on (the forge's clock).
type Publication struct {
	At             time.Time `json:"at"`
	Head           string    `json:"head"`
	Digest         string    `json:"digest"` // over Digests
	Digests        []string  `json:"digests"`
	PolicyRevision string    `json:"policyRevision"`
	// Ticket is the key of the change ticket that the report named.
	Ticket string `json:"ticket,omitempty"`
	// Retargeted is the base that the pull had then, if it has another now.
	Retargeted string `json:"retargeted,omitempty"`
}

// Operation is a summary of the last operation, for the report.
type Operation struct {
	ID      string   `json:"id"`
	Kind    PlanKind `json:"kind"`
	Actor   string   `json:"actor"`
	Head    string   `json:"head"`
	Outcome string   `json:"outcome"` // running, succeeded, failed, interrupted, cancelled
	Message string   `json:"message,omitempty"`
	// Plan is the digest of the plan that was applied.
	Plan string `json:"plan,omitempty"`
	// Cancelled is the ID of the command that cancelled it.
	Cancelled string `json:"cancelled,omitempty"`
	// Merged is set when the merge that belongs to the operation happened,
	// Unmerged says why the forge refused it.
	Merged   bool   `json:"merged,omitempty"`
	Unmerged string `json:"unmerged,omitempty"`
}

// Says is the outcome in sentences. "Applied and not merged" is an alarm.
func (o *Operation) Says() string {
	if o.Unmerged == "" {
		return o.Message
	}
	return fmt.Sprintf("%s It is applied and NOT merged: %s. Its targets stay locked until it is merged, or closed and restored; the next plan shows what a push since then would change.", o.Message, o.Unmerged)
}

// Halfway reports whether it failed or was cancelled.
func (o *Operation) Halfway() bool { return o.Outcome == "failed" || o.Outcome == outcome.Cancelled }

// Done reports whether all of the operation went well.
func (o *Operation) Done() bool { return o.Outcome == "succeeded" && o.Unmerged == "" }

// keepPublications bounds the history; older approvals were for older heads.
const keepPublications = 50

// Published remembers a publication unless it repeats the last one.
func (m *Memory) Published(p Publication) {
	if last, ok := m.shown(); ok && last.same(p) && slices.Equal(last.Digests, p.Digests) {
		return
	}
	m.Publications = append(m.Publications, p)
	if n := len(m.Publications); n > keepPublications {
		m.Publications = slices.Delete(m.Publications, 0, n-keepPublications)
	}
}

// same reports whether two publications showed the same, whenever they did.
func (p Publication) same(o Publication) bool {
	return p.Head == o.Head && p.Digest == o.Digest && p.PolicyRevision == o.PolicyRevision && p.Ticket == o.Ticket
}

// shown is the last publication for the present base, if there is one.
func (m *Memory) shown() (Publication, bool) {
	if n := len(m.Publications); n > 0 && m.Publications[n-1].Retargeted == "" {
		return m.Publications[n-1], true
	}
	return Publication{}, false
}

// Shown are the digests of the changes that were last published for a head and
// the present base; ok is false if nothing was.
func (m *Memory) Shown(head string) (digests []string, ok bool) {
	p, ok := m.shown()
	return p.Digests, ok && p.Head == head
}

// shownSince is when the plan that stands now was first shown, under whatever
// policy and ticket.
func (m *Memory) shownSince() time.Time {
	now, ok := m.shown()
	since := now.At
	for _, p := range slices.Backward(m.Publications) {
		if !ok || p.Head != now.Head || p.Digest != now.Digest || p.Retargeted != "" {
			break
		}
		since = p.At
	}
	return since
}

// seenAt returns the publication that stood before a moment. A publication of
// the same second does not count: the forge's clock has no finer grain, and
// nobody reads a plan in less (threat 32).
func (m *Memory) seenAt(t time.Time) (Publication, bool) {
	for _, p := range slices.Backward(m.Publications) {
		if p.At.Before(t) {
			return p, true
		}
	}
	return Publication{}, false
}

// Retarget voids what was said about another base, for good: going back to it
// brings no approval back (threat 29).
func (m *Memory) Retarget(base string) {
	if m.Base != "" && m.Base != base {
		why := fmt.Sprintf("given before the pull was retargeted from %s to %s", m.Base, base)
		for i := range m.Publications {
			m.Publications[i].Retargeted = cmp.Or(m.Publications[i].Retargeted, m.Base)
		}
		for i := range m.Votes {
			m.Votes[i].Void = cmp.Or(m.Votes[i].Void, why)
		}
		for i := range m.Overrides {
			m.Overrides[i].Void = cmp.Or(m.Overrides[i].Void, why)
		}
		m.Plan, m.Admitted, m.Asked = nil, nil, ""
		m.Sync, m.Reset, m.BaseSHA, m.Ticket, m.Applies = "", false, "", nil, nil
	}
	m.Base = base
}

// Reread compares the report with the comments that are there: one that
// somebody deleted or edited is written again.
func (m *Memory) Reread(comments []forge.Comment) {
	texts := map[int64]string{}
	for _, c := range comments {
		texts[c.ID] = names.Hash(c.Body)
	}
	m.Sticky = slices.DeleteFunc(m.Sticky, func(p Posted) bool { return texts[p.ID] == "" })
	for i, p := range m.Sticky {
		if p.Stands != "" && p.Stands != texts[p.ID] {
			m.Sticky[i].Hash, m.Sticky[i].Doctored = "", true
		}
	}
}

// Voted remembers a vote once, however often its command is carried out.
func (m *Memory) Voted(v policy.Vote) {
	if !slices.ContainsFunc(m.Votes, func(o policy.Vote) bool { return o.ID == v.ID && o.Kind == v.Kind }) {
		m.Votes = append(m.Votes, v)
	}
}

// Overrode remembers an override once.
func (m *Memory) Overrode(o policy.Override) {
	if !slices.ContainsFunc(m.Overrides, func(old policy.Override) bool { return old.ID == o.ID }) {
		m.Overrides = append(m.Overrides, o)
	}
}

// NoteApplied remembers the last apply of a target, in place of what was
// remembered of it.
func (m *Memory) NoteApplied(a Applied) {
	m.Applies = slices.DeleteFunc(m.Applies, func(o Applied) bool { return o.Target == a.Target && o.Environment == a.Environment })
	m.Applies = append(m.Applies, a)
}

// DecodeMemory reads what was stored of a pull; nothing makes an empty memory.
func DecodeMemory(doc []byte) (*Memory, error) {
	m := &Memory{}
	if len(doc) == 0 {
		return m, nil
	}
	if err := json.Unmarshal(doc, m); err != nil {
		return nil, fmt.Errorf("read what is known of the pull: %w", err)
	}
	return m, nil
}

// stored is a Memory without its methods.
type stored Memory

// UnmarshalJSON keeps what a later release wrote beside what this one knows:
// both work on one database while they are exchanged.
func (m *Memory) UnmarshalJSON(doc []byte) (err error) {
	m.rest, err = lossless.Unmarshal(doc, (*stored)(m))
	return err
}

// MarshalJSON writes it back as it was.
func (m *Memory) MarshalJSON() ([]byte, error) { return lossless.Marshal((*stored)(m), m.rest) }
