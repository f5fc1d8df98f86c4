package bypass

import (
	"slices"
	"testing"

	"lockkeeper/forge"
)

func TestCommitsAreExplainedByMergedPullsOfTheBranch(t *testing.T) {
	merged := func(number int, sha string) forge.Pull {
		return forge.Pull{Number: number, Merged: true, MergeSHA: sha, Base: forge.Branch{Name: "main", RepoID: 1}}
	}
	elsewhere, foreign, open := merged(7, "c"), merged(7, "c"), merged(7, "c")
	elsewhere.Base.Name, foreign.Base.RepoID, open.Merged = "release", 2, false
	step := func(sha string, pulls ...forge.Pull) Step { return Step{sha, pulls} }
	for name, c := range map[string]struct {
		steps []Step
		want  []int
	}{
		"a merge":                             {[]Step{step("c", merged(7, "c"))}, []int{7}},
		"nobody's":                            {[]Step{step("c")}, []int{0}},
		"a rebase":                            {[]Step{step("a", merged(7, "c")), step("b", merged(7, "c")), step("c", merged(7, "c"))}, []int{7, 7, 7}},
		"beneath a rebase":                    {[]Step{step("a"), step("b", merged(7, "c")), step("c", merged(7, "c"))}, []int{0, 7, 7}},
		"in between a rebase":                 {[]Step{step("a", merged(7, "c")), step("b"), step("c", merged(7, "c"))}, []int{0, 0, 7}},
		"a commit of a pull that merged else": {[]Step{step("x", merged(7, "c"))}, []int{0}},
		"of an open pull":                     {[]Step{step("c", open)}, []int{0}},
		"of a pull of another branch":         {[]Step{step("c", elsewhere)}, []int{0}},
		"of a pull of a fork":                 {[]Step{step("c", foreign)}, []int{0}},
		"two merges in a row":                 {[]Step{step("b", merged(6, "b"), merged(7, "c")), step("c", merged(7, "c"))}, []int{6, 7}},
	} {
		if got := Explained(1, "main", c.steps); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestPusherIsWhoBroughtTheCommit(t *testing.T) {
	ann, bob := forge.User{ID: 1, Login: "ann"}, forge.User{ID: 2, Login: "bob"}
	push := func(before, after string, by forge.User) forge.BranchPush {
		return forge.BranchPush{Before: before, After: after, By: by, Kind: forge.PlainPush}
	}
	merge := push("a", "c", bob)
	merge.Kind = forge.PullMerge
	line := []string{"a", "b", "c"}
	for name, c := range map[string]struct {
		at     int
		pushes []forge.BranchPush // newest first
		want   int64
	}{
		"it ended there":                   {0, []forge.BranchPush{push("0", "a", ann)}, 1},
		"it ended beyond":                  {0, []forge.BranchPush{push("0", "c", ann)}, 1},
		"one after the other":              {1, []forge.BranchPush{push("b", "c", bob), push("a", "b", ann)}, 1},
		"the forge does not list it":       {0, nil, 0},
		"only a later one is listed":       {0, []forge.BranchPush{push("b", "c", bob)}, 0},
		"only the one right after":         {0, []forge.BranchPush{push("a", "b", bob)}, 0},
		"a merge above it":                 {1, []forge.BranchPush{merge}, 0},
		"a merge that no pull explains":    {2, []forge.BranchPush{merge}, 2},
		"set back and forth, by the later": {0, []forge.BranchPush{push("x", "a", bob), push("a", "x", bob), push("0", "a", ann)}, 2},
	} {
		if got := Pusher(line, c.at, c.pushes); got.ID != c.want {
			t.Errorf("%s: %+v, want %d", name, got, c.want)
		}
	}
}
