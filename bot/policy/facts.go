// Package policy decides whether changes may be applied: a compiled policy and
// recorded facts go in, a verdict tree comes out. It does no I/O, knows no
// clock, and evaluates the same facts to the same verdict for ever, so that a
// past decision can be replayed from its record.
package policy

import (
	"slices"
	"time"

	"lockkeeper/cluster"
	"lockkeeper/forge"
)

// Facts are everything a verdict depends on. Their JSON form is what records
// store: it reads back without loss, and evaluates to the same verdict under
// the policy that PolicyRevision names.
type Facts struct {
	Pull    Pull     `json:"pull"`
	Commits []Commit `json:"commits"`
	// Pushers are accounts that pushed to the head, as far as the forge told.
	Pushers []forge.User `json:"pushers,omitempty"`
	// AskedBy is set for what somebody asked for with a command rather than
	// with commits (a sync, a restore); that person is a contributor.
	AskedBy *forge.User `json:"askedBy,omitempty"`
	// Votes are approvals, withdrawals and requests for changes, in any order.
	Votes []Vote `json:"votes,omitempty"`
	// Hold is set while somebody holds the pull.
	Hold *Hold `json:"hold,omitempty"`
	// Teams lists the members, by account id, of every team the policy names,
	// as read for this decision.
	Teams map[string][]int64 `json:"teams,omitempty"`
	// Writers are the voters who have write access to the repository.
	Writers []int64 `json:"writers,omitempty"`
	// Changes are what the current plan would do.
	Changes []Change `json:"changes"`
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
}

// Commit is one commit of base..head and the accounts behind it.
type Commit struct {
	SHA       string       `json:"sha"`
	Author    forge.User   `json:"author"`
	Committer forge.User   `json:"committer"`
	CoAuthors []forge.User `json:"coAuthors,omitempty"`
}

// VoteKind is what a vote says.
type VoteKind string

// The kinds of votes.
const (
	Approve        VoteKind = "approve"
	Withdraw       VoteKind = "withdraw"
	RequestChanges VoteKind = "request-changes"
)

// Vote is one act of one person; see opinions for what several amount to.
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
	Also     []string       `json:"also,omitempty"`
	Cluster  string         `json:"cluster"`
	Ref      cluster.Ref    `json:"ref"`
	Action   cluster.Action `json:"action"`
	Fields   []string       `json:"fields,omitempty"`
	Takeover bool           `json:"takeover,omitempty"`
	Digest   string         `json:"digest"`
}

// in reports whether the rules of an environment concern the change.
func (c Change) in(environment string) bool {
	return c.Environment == environment || slices.Contains(c.Also, environment)
}

// Node is one part of a verdict, with its reasons below it.
type Node struct {
	OK bool `json:"ok"`
	// Title says what is asked: "production: 2 approvals from acme/platform".
	Title string `json:"title"`
	// Met and Missing say by whom it is met, and what would satisfy it.
	Met     []string `json:"met,omitempty"`
	Missing []string `json:"missing,omitempty"`
	// NotCounted says who tried and why it does not count.
	NotCounted []string `json:"notCounted,omitempty"`
	Children   []Node   `json:"children,omitempty"`
}

// Verdict is the outcome of an evaluation; a denial always has a Missing.
type Verdict struct {
	Node
}

// AllMissing lists, over the whole tree, what would turn a denial into a pass.
// What two rules ask for alike, such as a repository's and the operator's
// floor, is said once.
func (v Verdict) AllMissing() []string { return collect(v.Node, nil) }

func collect(n Node, out []string) []string {
	if n.OK {
		return out
	}
	for _, m := range n.Missing {
		if !slices.Contains(out, m) {
			out = append(out, m)
		}
	}
	for _, c := range n.Children {
		out = collect(c, out)
	}
	return out
}
