package drift

import (
	"testing"

	"lockkeeper/cluster"
)

// Threat 31: no two targets share a branch, or else one would adopt what is the
// other's.
func TestEveryTargetHasABranchOfItsOwn(t *testing.T) {
	seen := map[string]string{}
	for _, c := range []struct {
		name, cluster string
		first         bool
	}{
		{"shop", "main", true}, {"shop", "edge", false}, {"shop", "main", false}, {"a/b", "main", true}, {"a.b", "main", true}, {"a-b", "main", true},
		{"a/b/c", "main", true}, {"a", "main", true}, {".lock", "main", true}, {"x.lock", "main", true}, {"x..y", "main", true}, {"-x", "main", true},
	} {
		got := branchOf(cluster.Target{Name: c.name, Cluster: c.cluster}, c.first)
		what := c.name + " on " + c.cluster
		if other, ok := seen[got]; ok {
			t.Errorf("%s and %s share the branch %s", what, other, got)
		}
		seen[got] = what
	}
	if got := branchOf(cluster.Target{Name: "shop", Cluster: "main"}, true); got != "lockkeeper/drift/shop" {
		t.Errorf("the branch of a plain name is %s", got)
	}
}
