package bypass

import (
	"slices"

	"lockkeeper/forge"
)

// Step is one commit of a base branch along first parents, with the pulls
// that the forge says it belongs to.
type Step struct {
	SHA   string
	Pulls []forge.Pull
}

// Explained finds, for steps from old to new, the number of the merged pull
// that each belongs to: it is the merge (or the squash), or lies right beneath
// it, as what a rebase put there does. 0 stands for none: a commit that only
// lies on the branch of a pull came otherwise.
func Explained(repo int64, branch string, steps []Step) []int {
	out := make([]int, len(steps))
	above := 0
	for i, s := range slices.Backward(steps) {
		found := 0
		for _, p := range s.Pulls {
			if !p.Merged || p.Base.Name != branch || p.Base.RepoID != repo {
				continue
			}
			if p.MergeSHA == s.SHA || p.Number == above && found == 0 {
				found = p.Number
			}
		}
		out[i], above = found, found
	}
	return out
}

// Pusher finds who brought the commit at a place of a branch's first-parent
// line there, from old to new: the push that ended at it, or first beyond it.
// pushes are newest first. Nobody is found (ID 0) where the forge does not list
// that push (yet).
func Pusher(line []string, at int, pushes []forge.BranchPush) forge.User {
	for j := at; j < len(line); j++ {
		i := slices.IndexFunc(pushes, func(p forge.BranchPush) bool { return p.After == line[j] })
		if i < 0 {
			continue
		}
		p := pushes[i]
		if j > at && (p.Kind == forge.PullMerge || p.Kind == forge.MergeQueueMerge || slices.Index(line, p.Before) >= at) {
			return forge.User{} // it began above the commit, which came by another one
		}
		return p.By
	}
	return forge.User{}
}
