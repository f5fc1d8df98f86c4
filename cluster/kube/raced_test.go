package kube

import (
	"testing"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/drift"
)

// What an apply writes between a check's look at the inventory and its look at
// the objects is no drift, nor is what it prunes.
func TestWhatIsAppliedDuringACheckIsNoDrift(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	was, target := objects(t, ns, configMap, service), targetIn(ns)
	synced(t, c, target, nil, was)
	by(t, c, "kubectl-edit", "services.v1", ns, "web", `{"metadata":{"labels":{"touched":"yes"}}}`)
	check, err := drift.New(t.Context(), c.api, c.kinds, &c.book, cluster.DriftRequest{Target: target, Objects: was})
	if err != nil {
		t.Fatal(err)
	}
	now := objects(t, ns, changed(configMap, "red", "blue"))
	synced(t, c, target, was, now)
	report, err := check.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Findings) > 0 {
		t.Errorf("findings:\n%s", findingsOf(report))
	}
	if len(report.Problems) != 1 || report.Problems[0].Ref.Name != "settings" {
		t.Errorf("problems: %+v", report.Problems)
	}
	if got := findingsOf(drifted(t, c, cluster.DriftRequest{Target: target, Objects: now})); got != "" {
		t.Errorf("looked at again: %s", got)
	}
}
