package forge

import "testing"

func TestTeamsNest(t *testing.T) {
	for name, want := range map[string]Team{
		"acme/ops": {Org: "acme", Slug: "ops"}, "acme/platform/ops": {Org: "acme/platform", Slug: "ops"},
	} {
		if got, ok := ParseTeam(name); !ok || got != want || got.String() != name {
			t.Errorf("%s is %+v, %v", name, got, ok)
		}
	}
	for _, name := range []string{"", "ops", "/ops", "acme/", "acme//ops", "/acme/ops", "/"} {
		if got, ok := ParseTeam(name); ok {
			t.Errorf("%q is %+v", name, got)
		}
	}
}
