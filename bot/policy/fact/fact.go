// Package fact holds the facts that approvals are judged by: who did what to
// a pull, what people said about it, what its plan would change, and what the
// bot knows besides. Records store them as JSON, of which testdata/facts.json is
// an example with every field; nothing here reads a clock or does I/O.
package fact

import (
	"fmt"
	"slices"
	"time"

	"lockkeeper/cluster"
	"lockkeeper/forge"
)

// Facts are everything a verdict depends on. Their JSON form is what records
// store, and is stable: fields are added, never renamed and never given another
// meaning. It reads back without loss, and evaluates to the same verdict under
// the policy that PolicyRevision names. The order within a list never matters.
type Facts struct {
	// At is the moment of the decision, the only clock that rules know.
	At   time.Time `json:"at,omitzero"`
	Pull Pull      `json:"pull"`
	// Commits are those of base..head, second parents included.
	Commits []Commit `json:"commits"`
	// EquivalentHeads are earlier heads of the pull between which and the
	// present head lie only merges of the base branch that a machine made
	// again with the same tree.
	EquivalentHeads []string `json:"equivalentHeads,omitempty"`
	// Pushers are accounts that pushed to the head, less those whose only push
	// was an update from the base branch (see Commit.Merge). PushersKnown is
	// false where the forge does not tell who pushed.
	Pushers      []forge.User `json:"pushers,omitempty"`
	PushersKnown bool         `json:"pushersKnown,omitempty"`
	// AskedBy is set for what somebody asked for with a command rather than
	// with commits (a sync, a restore); that person is a contributor.
	AskedBy *forge.User `json:"askedBy,omitempty"`
	// UnknownContributor says who had a part in the changes and cannot be named:
	// "whoever changed Deployment.apps shop/web live"; "" if all are known.
	UnknownContributor string `json:"unknownContributor,omitempty"`
	// Rollback is set for a pull that goes back to an earlier revision.
	Rollback *Rollback `json:"rollback,omitempty"`
	// Heal is set for no pull at all: drift is put back to what was applied last,
	// at Pull.Head.
	Heal bool `json:"heal,omitempty"`
	// Applier asks for the apply; nil while somebody is only looking.
	Applier *forge.User `json:"applier,omitempty"`
	// Votes are approvals, withdrawals and requests for changes, in any order.
	Votes []Vote `json:"votes,omitempty"`
	// Hold is set while somebody holds the pull.
	Hold *Hold `json:"hold,omitempty"`
	// Teams lists the members, by account id, of every team the policy names,
	// as read for this decision.
	Teams map[string][]int64 `json:"teams,omitempty"`
	// Writers, Admins and Outside are those who said something and have write
	// access to the repository, have admin access, and are outside
	// collaborators rather than members of the organisation.
	Writers []int64 `json:"writers,omitempty"`
	Admins  []int64 `json:"admins,omitempty"`
	Outside []int64 `json:"outside,omitempty"`
	// Changes are what the current plan would do.
	Changes []Change `json:"changes"`
	// Waiting are the targets of the pull that have changes too, and that this
	// decision is not about, because somebody asked for some targets only.
	Waiting []Waiting `json:"waiting,omitempty"`
	// Files are what differs between the base and the merge result.
	Files []File `json:"files,omitempty"`
	// OwnersError says why CODEOWNERS of the base branch cannot be used (it is
	// missing, or a line cannot be read): then nobody is a code owner.
	OwnersError string `json:"ownersError,omitempty"`
	// Checks are all check runs and commit statuses of the head.
	Checks []Check `json:"checks,omitempty"`
	// Published is when the current plan was first shown.
	Published time.Time `json:"published,omitzero"`
	// Applied is what the pull, at this head, already brought to clusters: the
	// last apply of each target.
	Applied []Applied `json:"applied,omitempty"`
	// Ticket is the external change ticket, as last given.
	Ticket    *Ticket    `json:"ticket,omitempty"`
	Overrides []Override `json:"overrides,omitempty"`
	// Duties are reviews still owed, by any pull of the repository.
	Duties []Duty `json:"duties,omitempty"`
	// Bypass are commits of the base branch that came without the gate, and
	// whose content this plan would apply.
	Bypass []Bypass `json:"bypass,omitempty"`
	// PolicyChange are the lines of what the pull changes about targets, policy
	// and CODEOWNERS; empty if it changes none of them. See lint.Diff.
	PolicyChange []string `json:"policyChange,omitempty"`
	// Blocked are reasons, outside the policy, that keep the pull from being
	// applied: problems of the plan, an unadmitted fork, a frozen base.
	Blocked []string `json:"blocked,omitempty"`
	// PolicyRevision is the digest of the policy in force.
	PolicyRevision string `json:"policyRevision"`
}

// Pull is the pull request that is judged.
type Pull struct {
	Repo   forge.RepoRef `json:"repo"`
	Number int           `json:"number"`
	Author forge.User    `json:"author"`
	Base   forge.Branch  `json:"base"`
	Head   forge.Branch  `json:"head"`
	// Sign stands before the number of a pull on its forge; "" is "#".
	Sign string `json:"sign,omitempty"`
}

// Called is what people call a pull of the same forge.
func (p Pull) Called(number int) string { return forge.Limits{PullSign: p.Sign}.PullName(number) }

// Rollback is a way back to a revision of the base branch.
type Rollback struct {
	To string `json:"to"` // the commit
	// Pure is set if the pull does nothing but that: the bot made it, nobody
	// pushed to it, and all that it leads to was applied with approval before,
	// and healthy. Why says what else there is if it is not.
	Pure bool   `json:"pure,omitempty"`
	Why  string `json:"why,omitempty"`
}

// Commit is one commit of base..head and the accounts behind it.
type Commit struct {
	SHA       string       `json:"sha"`
	Author    forge.User   `json:"author"`
	Committer forge.User   `json:"committer"`
	CoAuthors []forge.User `json:"coAuthors,omitempty"`
	// Verified is set if the forge verified the signature.
	Verified bool `json:"verified,omitempty"`
	// Merge is set for a merge whose tree is what merging its parents gives: it
	// adds nothing, so that whoever made it contributes nothing.
	Merge bool `json:"merge,omitempty"`
	// Suggested is set for a suggestion taken over in the forge's web page: the
	// co-authors are those who suggested it.
	Suggested bool `json:"suggested,omitempty"`
}

// VoteKind is what a vote says.
type VoteKind string

// The kinds of votes.
const (
	Approve        VoteKind = "approve"
	Withdraw       VoteKind = "withdraw"
	RequestChanges VoteKind = "request-changes"
)

// Vote is one act of one person; see Opinions for what several amount to.
type Vote struct {
	User forge.User `json:"user"`
	Kind VoteKind   `json:"kind"`
	// Via is "review" or "command"; ID and URL find it on the forge.
	Via string    `json:"via"`
	ID  int64     `json:"id"`
	URL string    `json:"url,omitempty"`
	At  time.Time `json:"at"` // the forge's clock
	// Head and Digests are what the person had before them: the head SHA, and
	// the digests of the changes that were published before the vote.
	Head           string   `json:"head"`
	Digests        []string `json:"digests,omitempty"`
	PolicyRevision string   `json:"policyRevision,omitempty"`
	// Base is the branch the pull aimed at; "" if that was not noted.
	Base string `json:"base,omitempty"`
	// Digest is the plan's digest that `/approve <digest>` named, and that the
	// bot compared with what it had published; "" for a review or a bare
	// `/approve`.
	Digest string `json:"digest,omitempty"`
	// Ticket is Ticket.Key of the ticket that was published before the vote.
	Ticket string `json:"ticket,omitempty"`
	// Teams are those of the policy that the person was in then, if that was
	// noted: it tells "left the team" from "never was in it".
	Teams []string `json:"teams,omitempty"`
	// Void says why the vote counts for nothing, for example that its comment
	// was edited; "" for a live one.
	Void string `json:"void,omitempty"`
}

// Hold keeps a pull from being applied until it is lifted.
type Hold struct {
	By     forge.User `json:"by"`
	Reason string     `json:"reason,omitempty"`
}

// Change is what the policy sees of one change of the plan.
type Change struct {
	Target      string `json:"target"`
	Environment string `json:"environment"`
	// Also are further environments whose rules have to hold: the one that the
	// target, or the one it takes the object from, has on the base branch.
	Also    []string       `json:"also,omitempty"`
	Cluster string         `json:"cluster"`
	Ref     cluster.Ref    `json:"ref"`
	Action  cluster.Action `json:"action"`
	// Fields are the paths that differ, in the notation of cluster.FieldChange.
	Fields []string `json:"fields,omitempty"`
	// Takeover is set if applying forces fields that another manager set.
	Takeover bool `json:"takeover,omitempty"`
	// Files are the source files of the object, where they are known.
	Files  []string `json:"files,omitempty"`
	Digest string   `json:"digest"`
}

// In reports whether the rules of an environment concern the change.
func (c Change) In(environment string) bool {
	return c.Environment == environment || slices.Contains(c.Also, environment)
}

// Takeover is the action of a change that forces fields which another manager
// set, beside its own action.
const Takeover = "takeover"

// Actions are those that the change is: its own, and maybe Takeover.
func (c Change) Actions() []string {
	if c.Takeover {
		return []string{string(c.Action), Takeover}
	}
	return []string{string(c.Action)}
}

// Waiting is a target of the pull with changes that are not decided about now.
type Waiting struct {
	Target      string `json:"target"`
	Environment string `json:"environment"`
}

// File is a changed file, and who owns it by CODEOWNERS of the base branch.
type File struct {
	Path   string     `json:"path"`
	Owners []OwnerSet `json:"owners,omitempty"`
}

// OwnerSet are the owners of a file by one section. GitHub has one section
// without a name; GitLab has any number.
type OwnerSet struct {
	Section string `json:"section,omitempty"`
	// Owners are "@login", "@org/team" or e-mail addresses. Nobody can tell
	// which account an e-mail address belongs to, so that those never match.
	Owners []string `json:"owners"`
	// Required is how many of them a section asks for; 0 means one. Of an
	// Optional section nobody has to approve.
	Required int  `json:"required,omitempty"`
	Optional bool `json:"optional,omitempty"`
}

// Check is a check run or commit status of the head. App is the forge's number
// of the app that wrote it, 0 for a status that no app wrote; By is that of the
// account, 0 where the forge does not tell.
type Check struct {
	Name    string `json:"name"`
	App     int64  `json:"app,omitempty"`
	AppSlug string `json:"appSlug,omitempty"`
	By      int64  `json:"by,omitempty"`
	ByLogin string `json:"byLogin,omitempty"`
	// State is "success", or the forge's word for anything else.
	State string `json:"state"`
}

// Account names whose account wrote the check.
func (c Check) Account() string {
	if c.By == 0 {
		return "an account that the forge does not name"
	}
	return fmt.Sprintf("@%s (account %d)", c.ByLogin, c.By)
}

// Writer names which app wrote the check.
func (c Check) Writer() string {
	switch {
	case c.App == 0:
		return "no app"
	case c.AppSlug == "":
		return fmt.Sprintf("app %d", c.App)
	}
	return fmt.Sprintf("app %d (%s)", c.App, c.AppSlug)
}

// Applied is the last apply of a target.
type Applied struct {
	Target      string `json:"target"`
	Environment string `json:"environment"`
	// At is when the apply ended; Healthy, whether all was well when the bot
	// last looked.
	At      time.Time `json:"at"`
	Healthy bool      `json:"healthy"`
}

// Ticket is an external change ticket and its window; a zero From or To leaves
// that side open.
type Ticket struct {
	ID   string     `json:"id"`
	From time.Time  `json:"from,omitzero"`
	To   time.Time  `json:"to,omitzero"`
	By   forge.User `json:"by"`
}

// Key names the ticket with its window, for Vote.Ticket: an approval for
// another window is an approval for another time. That of no ticket is "".
func (t *Ticket) Key() string {
	if t == nil {
		return ""
	}
	if t.From.IsZero() && t.To.IsZero() {
		return t.ID
	}
	return t.ID + " " + stamp(t.From) + "/" + stamp(t.To)
}

// Override is one use of `/override`: somebody takes the responsibility.
type Override struct {
	By     forge.User `json:"by"`
	Reason string     `json:"reason"`
	At     time.Time  `json:"at"`
	// Expires is what the person asked for, if less than the policy allows.
	Expires time.Time `json:"expires,omitzero"`
	// Head and Digests are what was published before.
	Head    string   `json:"head"`
	Digests []string `json:"digests,omitempty"`
	ID      int64    `json:"id"` // of the comment
	// Void says why it counts for nothing, "" for a live one.
	Void string `json:"void,omitempty"`
}

// Duty is the review that an override owes: somebody who could have approved,
// neither its author nor a contributor, closes it with `/reviewed`.
type Duty struct {
	ID          string     `json:"id"`
	Environment string     `json:"environment"`
	Pull        int        `json:"pull"`
	By          forge.User `json:"by"`
	Opened      time.Time  `json:"opened"`
	Due         time.Time  `json:"due"`
}

// The kinds of Bypass.
const (
	DirectPush      = "direct-push"
	UnapprovedMerge = "unapproved-merge"
)

// Bypass is a commit on the base branch that came without the gate. Pull is
// the merged pull it belongs to, 0 for a direct push.
type Bypass struct {
	SHA  string     `json:"sha"`
	Kind string     `json:"kind"`
	By   forge.User `json:"by"`
	Pull int        `json:"pull,omitempty"`
}

// Told is the commit and how it came, on a forge where this sign stands before
// the numbers of pulls.
func (b Bypass) Told(sign string) string {
	if b.Pull != 0 {
		return fmt.Sprintf("%s, %s merged by @%s", Short(b.SHA), Pull{Sign: sign}.Called(b.Pull), b.By.Login)
	}
	return fmt.Sprintf("%s pushed by @%s", Short(b.SHA), b.By.Login)
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
