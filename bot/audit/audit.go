// Package audit is the trail of every decision and act: what a record holds,
// its canonical encoding, the hash chain that ties each record to the one
// before it, and the check of that chain. It is pure; bot/store keeps the
// records, in the order of one sequence per database.
//
// A record carries digests, identities and outcomes, never a secret value and
// never a manifest's content. The chain proves that the records are the ones
// that were written, in that order; it does not prove that the forge told the
// truth, nor does it show that the newest records were cut off, unless
// somebody kept the Head they had.
package audit

import (
	"encoding/json"
	"time"

	"lockkeeper/forge"
)

// Type says what a record is about.
type Type string

// The types of record. A decision is written when it is made, an act before
// and after it touches something.
const (
	Plan       Type = "plan"        // a plan was made and published
	Approval   Type = "approval"    // somebody approved or took it back
	Command    Type = "command"     // a chat command was accepted, refused or answered
	Gate       Type = "gate"        // policy was evaluated
	ApplyStart Type = "apply-start" // the intent, written before the cluster is touched
	Step       Type = "step"        // one object was applied, pruned or waited for
	ApplyEnd   Type = "apply-end"   // the outcome of an operation
	Merge      Type = "merge"       // a pull was merged, or the forge refused
	Hold       Type = "hold"        // a pull was held or released
	Override   Type = "override"    // somebody broke the glass
	Review     Type = "review"      // an override was reviewed by somebody else
	Unlock     Type = "unlock"      // a lease was taken from its holder
	Bypass     Type = "bypass"      // something reached a base branch or a cluster without the gate
	Drift      Type = "drift"       // live objects differ from what was applied, or no longer do
	Refusal    Type = "refusal"     // something was asked and not done
	Forge      Type = "forge"       // something seen on the forge, such as a rewritten base
	System     Type = "system"      // lockkeeper itself: start, recovery
)

// Actor is who acted. Accounts count by ID; Login is for people's eyes and
// may have been given to somebody else since (threat 26). The zero Actor is
// lockkeeper itself.
type Actor struct {
	Forge string `json:"forge,omitempty"` // the forge's kind
	ID    int64  `json:"id,omitempty"`
	Login string `json:"login,omitempty"`
}

// Record is one entry. Seq, Prev and Hash are set by Seal; every other field
// is the writer's. Time has microseconds and is UTC.
type Record struct {
	Seq  int64     `json:"seq"`  // 1, 2, 3, ... without gaps
	Prev string    `json:"prev"` // Hash of the record before, GenesisHash for the first
	Hash string    `json:"hash"` // SHA-256, hex, over the canonical form of all other fields
	Time time.Time `json:"time"`
	Type Type      `json:"type"`

	Repo  forge.RepoRef `json:"repo"`
	Pull  int           `json:"pull,omitempty"`
	Actor Actor         `json:"actor"`
	// CommentID and DeliveryID say what asked for it, where something did.
	CommentID  int64  `json:"commentId,omitempty"`
	DeliveryID string `json:"deliveryId,omitempty"`

	Head           string `json:"head,omitempty"`
	Base           string `json:"base,omitempty"`
	PlanDigest     string `json:"planDigest,omitempty"`
	PolicyRevision string `json:"policyRevision,omitempty"`
	Target         string `json:"target,omitempty"`
	Operation      string `json:"operation,omitempty"`

	// Outcome is one word (allow, deny, done, failed, ...); Reason is the
	// sentence that explains it.
	Outcome string `json:"outcome,omitempty"`
	Reason  string `json:"reason,omitempty"`
	// Facts is what the decision was made from, as JSON: the verdict tree,
	// counts, digests. Never a secret value.
	Facts json.RawMessage `json:"facts,omitempty"`
	// Tool is the version of lockkeeper that wrote the record.
	Tool string `json:"tool,omitempty"`
}
