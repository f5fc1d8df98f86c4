package policy

import (
	"cmp"
	"slices"
	"time"

	"lockkeeper/forge"
)

// Node is one part of a verdict, with its reasons below it.
type Node struct {
	OK bool `json:"ok"`
	// Title says what is asked: "production: 2 approvals from acme/platform".
	Title string `json:"title"`
	// Met and Missing say by whom it is met, and what would satisfy it.
	Met     []string `json:"met,omitempty"`
	Missing []string `json:"missing,omitempty"`
	// ApprovedBy are the people whose approvals count.
	ApprovedBy []forge.User `json:"approvedBy,omitempty"`
	// NotCounted says who tried and why it does not count.
	NotCounted []string `json:"notCounted,omitempty"`
	Children   []Node   `json:"children,omitempty"`
}

// Verdict is the outcome of an evaluation; a denial always has a Missing.
type Verdict struct {
	Node
	// Overrides are those without which it would be a denial.
	Overrides []Use `json:"overrides,omitempty"`
	// Again is the next moment at which the same facts may get another verdict:
	// a freeze ends, an override expires. Zero: never.
	Again time.Time `json:"again,omitzero"`
}

// AllMissing lists, over the whole tree, what would turn a denial into a pass.
// What two rules ask for alike, such as a repository's and the operator's
// floor, is said once.
func (v Verdict) AllMissing() []string { return collect(v.Node, nil) }

// collect stops where a node speaks for those below it: one of several ways.
func collect(n Node, out []string) []string {
	if n.OK {
		return out
	}
	if len(n.Missing) > 0 {
		n.Children = nil
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

// AllNotCounted lists, over the whole tree, who tried and why it does not
// count, each once.
func (v Verdict) AllNotCounted() []string {
	var out []string
	v.walk(func(n Node) {
		for _, s := range n.NotCounted {
			if !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
	})
	return out
}

// Approvers are the people whose approvals count somewhere, by account id.
func (v Verdict) Approvers() []forge.User {
	var out []forge.User
	v.walk(func(n Node) { out = append(out, n.ApprovedBy...) })
	slices.SortFunc(out, func(a, b forge.User) int { return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Login, b.Login)) })
	return slices.CompactFunc(out, func(a, b forge.User) bool { return a.ID == b.ID })
}

func (n Node) walk(visit func(Node)) {
	visit(n)
	for _, c := range n.Children {
		c.walk(visit)
	}
}
