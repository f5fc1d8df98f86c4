package kube

import (
	"slices"
	"testing"

	"lockkeeper/cluster"
)

// TestAPlanOfWhatDriftedTouchesNothingElse: what is not in Git any more, was
// never applied, or is pending is left alone (threats 23 and 31).
func TestAPlanOfWhatDriftedTouchesNothingElse(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	synced(t, c, targetIn(ns), nil, objects(t, ns, web, configMap))
	kubectl(t, "", "-n", ns, "set", "image", "deployment/web", "web=example.org/web:hotfix")
	kubectl(t, "", "-n", ns, "delete", "configmap", "settings")
	dep := cluster.Ref{Group: "apps", Kind: "Deployment", Namespace: ns, Name: "web"}
	settings := cluster.Ref{Kind: "ConfigMap", Namespace: ns, Name: "settings"}
	plan := func(merge []cluster.Object, only ...cluster.Ref) *cluster.Plan {
		t.Helper()
		p, err := c.Plan(t.Context(), cluster.Request{Target: targetIn(ns), Base: merge, Merge: merge, Revision: "r", Reset: true, Only: only})
		if err != nil || len(p.Problems) > 0 {
			t.Fatalf("%v, %+v", err, p)
		}
		return p
	}
	if p := plan(objects(t, ns, changed(web, "web:1", "web:2"), configMap), dep); len(p.Changes) != 0 {
		t.Errorf("what is merged and not applied is planned:\n%s", shape(p))
	}
	if p := plan(objects(t, ns, web), dep); len(p.Changes) != 1 || p.Changes[0].Ref != dep {
		t.Errorf("not in Git any more, or not asked for, and planned:\n%s", shape(p))
	}
	p := plan(objects(t, ns, web, configMap), dep, settings)
	if len(p.Changes) != 2 || changeOf(t, p, "ConfigMap", "settings").Action != cluster.Create ||
		!slices.ContainsFunc(changeOf(t, p, "Deployment", "web").Takeovers, func(o cluster.Ownership) bool { return o.Manager == "kubectl-set" }) {
		t.Errorf("got\n%s", shape(p))
	}
	applied(t, c, p)
	if p := plan(objects(t, ns, web, configMap), dep, settings); len(p.Changes) != 0 {
		t.Errorf("put back, and left is\n%s", shape(p))
	}
}
