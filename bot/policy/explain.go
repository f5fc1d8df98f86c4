package policy

import "slices"

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
