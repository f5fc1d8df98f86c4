package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"lockkeeper/cluster"
	"lockkeeper/cluster/clustertest"
	"lockkeeper/cluster/kube"
)

// clusterAs is a cluster as one of the accounts of deploy/ sees it.
func clusterAs(t *testing.T, as *clustertest.Access) *kube.Cluster {
	t.Helper()
	c, err := kube.New(kube.Config{Name: "main", REST: as.RESTConfig()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func applyAs(t *testing.T, c *kube.Cluster, req cluster.Request) {
	t.Helper()
	p, err := c.Plan(t.Context(), req)
	if err != nil || len(p.Problems) > 0 || len(p.Changes) == 0 {
		t.Fatalf("plan: %v %+v", err, p)
	}
	if r, err := c.Apply(t.Context(), p, nil); err != nil || !r.OK() {
		t.Fatalf("apply: %v %+v", err, r)
	}
}

// suspectsOf takes a census, in which nothing may be unknown.
func suspectsOf(t *testing.T, c *kube.Cluster) []cluster.Ref {
	t.Helper()
	got, err := c.Census(t.Context())
	if err != nil || len(got.Unknown) > 0 || got.Objects != 2 {
		t.Fatalf("the census says %+v, %v", got, err)
	}
	var all []cluster.Ref
	for _, refs := range got.Suspects {
		all = append(all, refs...)
	}
	return all
}

// driftOf checks the suspects, and tells what was found.
func driftOf(t *testing.T, c *kube.Cluster, req cluster.Request) string {
	t.Helper()
	only := suspectsOf(t, c)
	r, err := c.Drift(t.Context(), cluster.DriftRequest{Target: req.Target, Objects: req.Merge, Only: only})
	if err != nil || len(r.Problems) > 0 || r.Checked != len(only) {
		t.Fatalf("drift: %v %+v", err, r)
	}
	var found []string
	for _, f := range r.Findings {
		found = append(found, fmt.Sprintf("%s %s %s %s", f.Ref.Kind, f.Ref.Name, f.Kind, f.Field.Path))
	}
	return strings.Join(found, ", ")
}

// The accounts of deploy/ find drift with rights in namespaces alone: what was
// applied is proven clean, a live change is found, and set back. The planner
// does the same (here with the policy that lets it dry-run only), but for the
// last. What is in other namespaces is none of its business, and unknown.
func TestPermissionsOfDeploySufficeToFindDrift(t *testing.T) {
	cp := clustertest.New(t, clustertest.Options{}) // of its own: a census is of the whole inventory
	ns := cp.Namespace(t)
	account := loggedIn(t, cp, "lockkeeper", ns)
	bot, planner := clusterAs(t, account), clusterAs(t, loggedIn(t, cp, "lockkeeper-planner", ns))
	if err := bot.Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	req := request(ns)
	applyAs(t, bot, req)
	if out, ok := kubectl(t, account, "", "get", "apiservices"); !ok {
		t.Errorf("the generations of custom resources cannot be trusted: %s", out)
	}
	for name, c := range map[string]*kube.Cluster{"bot": bot, "planner": planner} {
		if found := suspectsOf(t, c); len(found) > 0 {
			t.Errorf("for the %s the suspects of what was just applied are %v", name, found)
		}
	}
	mustKubectl(t, cp.Access, "", "patch", "configmap", "settings", "-n", ns, "-p", `{"data":{"key":"by hand","more":"by hand"}}`)
	for name, c := range map[string]*kube.Cluster{"bot": bot, "planner": planner} {
		if got := driftOf(t, c, req); got != "ConfigMap settings changed data.key, ConfigMap settings hand-added data.more" {
			t.Errorf("the %s finds %q", name, got)
		}
	}

	back := req
	back.Base, back.Reset = req.Merge, true
	applyAs(t, bot, back)
	if found := suspectsOf(t, bot); len(found) > 0 {
		t.Errorf("after they were set back the suspects are %v", found)
	}
	if data := mustKubectl(t, cp.Access, "", "get", "configmap", "settings", "-n", ns, "-o", "jsonpath={.data}"); data != `{"key":"value"}` {
		t.Errorf("the data is %s", data)
	}

	admin, other := clusterAs(t, cp.Access), cp.Namespace(t)
	applyAs(t, admin, request(other))
	got, err := planner.Census(t.Context())
	if err != nil || len(got.Unknown) != 2 || !strings.Contains(got.Unknown[0].Reason, "in namespace "+other) || len(got.Suspects) > 0 {
		t.Errorf("with another namespace the census says %+v, %v", got, err)
	}
}

// The bot's account hears of changes while it watches. For kinds that are in no
// namespace it needs the rights of example-cluster-kinds.yaml.
func TestPermissionsOfDeploySufficeToWatch(t *testing.T) {
	cp := clustertest.New(t, clustertest.Options{})
	ns := cp.Namespace(t)
	bot, admin := clusterAs(t, loggedIn(t, cp, "lockkeeper", ns)), clusterAs(t, cp.Access)
	if err := bot.Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	applyAs(t, bot, request(ns))
	until := watchOf(t, bot)
	clean := func(c *cluster.Census) bool { return len(c.Suspects) == 0 && len(c.Unknown) == 0 }
	until("what was applied is clean", clean)
	mustKubectl(t, cp.Access, "", "delete", "secret", "pass", "-n", ns)
	until("a Secret was deleted", func(c *cluster.Census) bool { return len(c.Suspects) == 1 && len(c.Unknown) == 0 })
	again := request(ns)
	again.Base, again.Everything = again.Merge, true
	applyAs(t, bot, again)
	until("it was applied again", clean)

	team := cluster.Request{Target: again.Target, Revision: "rev", Merge: []cluster.Object{{
		Ref: cluster.Ref{Kind: "Namespace", Name: "team"}, APIVersion: "v1", Source: "a.yaml:1",
		Content: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": "team"}},
	}}}
	team.Target.Name, team.Target.Fence.ClusterKinds = "team", []string{"Namespace"}
	applyAs(t, admin, team)
	until("Namespaces may not be looked at", func(c *cluster.Census) bool {
		return len(c.Suspects) == 0 && len(c.Unknown) == 1 && c.Unknown[0].Kind == "Namespace" && strings.Contains(c.Unknown[0].Reason, "forbids")
	})
	mustKubectl(t, cp.Access, "", "apply", "--validate=strict", "-f", "../../deploy/rbac/example-cluster-kinds.yaml")
	until("Namespaces may be looked at", clean)
	mustKubectl(t, cp.Access, "", "label", "namespace", "team", "a=b")
	until("a Namespace changed", func(c *cluster.Census) bool { return len(c.Suspects[team.Target.Owner()]) == 1 })
}

// watchOf watches until the test ends. What it returns takes a census at each
// piece of news, out of memory, until one is as wanted.
func watchOf(t *testing.T, c *kube.Cluster) func(what string, wanted func(*cluster.Census) bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	news, done := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		done <- c.Watch(ctx, func() {
			select {
			case news <- struct{}{}:
			default:
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return func(what string, wanted func(*cluster.Census) bool) {
		t.Helper()
		late := time.After(time.Minute)
		for {
			select {
			case <-news:
			case <-late:
				got, err := c.Census(t.Context())
				t.Fatalf("no news that %s; the census says %+v, %v", what, got, err)
			}
			if got, err := c.Census(t.Context()); err != nil {
				t.Fatal(err)
			} else if got.Stats.Requests == 0 && wanted(got) {
				return
			}
		}
	}
}
