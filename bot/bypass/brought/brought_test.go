package brought

import (
	"slices"
	"testing"

	"lockkeeper/bot/config"
	"lockkeeper/bot/policy"
	"lockkeeper/cluster"
)

func TestBypassConcernsPlansOfWhatItTouched(t *testing.T) {
	shop := Commit{policy.Bypass{SHA: "s"}, []string{"shop"}}
	rules := Commit{policy.Bypass{SHA: "r"}, []string{config.RepoFile}}
	all := []Commit{shop, rules}
	for name, c := range map[string]struct {
		changes []policy.Change
		want    []string
	}{
		"nothing":              {nil, nil},
		"its target":           {[]policy.Change{{Target: "shop"}}, []string{"s", "r"}},
		"another target":       {[]policy.Change{{Target: "db"}}, []string{"r"}},
		"objects that move in": {[]policy.Change{{Target: "db", Action: cluster.Transfer}}, []string{"s", "r"}},
	} {
		var got []string
		for _, b := range Concerning(all, c.changes) {
			got = append(got, b.SHA)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
