// Package brought tells what commits that came past the gate would bring to a
// cluster with a plan.
package brought

import (
	"slices"

	"lockkeeper/bot/config"
	"lockkeeper/bot/policy"
	"lockkeeper/cluster"
)

// Commit is a commit that came past the gate, and what it touched that was
// not settled since: targets, or policy, which config.RepoFile stands for.
type Commit struct {
	policy.Bypass
	Targets []string
}

// Concerning picks what a plan with these changes would bring to a cluster:
// what touched a target that the plan changes, even another object of it,
// because a plan also brings what earlier merges left; and what touched the
// policy by which all plans are judged. A transfer may bring anything along.
func Concerning(all []Commit, changes []policy.Change) []policy.Bypass {
	var out []policy.Bypass
	for _, b := range all {
		if len(changes) > 0 && slices.Contains(b.Targets, config.RepoFile) || slices.ContainsFunc(changes, func(c policy.Change) bool {
			return c.Action == cluster.Transfer || slices.Contains(b.Targets, c.Target)
		}) {
			out = append(out, b.Bypass)
		}
	}
	return out
}
