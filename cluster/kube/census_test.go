package kube

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"lockkeeper/cluster"
	"lockkeeper/cluster/clustertest"
)

// plane is a control plane for one test that breaks it, or that must be alone in
// its inventory.
func plane(t testing.TB, nodes int) *clustertest.ControlPlane {
	t.Helper()
	return clustertest.New(t, clustertest.Options{Nodes: nodes})
}

// watched runs Watch until the test ends.
func watched(t testing.TB, c *Cluster) *watching {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &watching{c: c, news: make(chan struct{}, 1), done: make(chan error, 1)}
	go func() {
		w.done <- c.Watch(ctx, func() {
			select {
			case w.news <- struct{}{}:
			default:
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-w.done; err != nil {
			t.Error(err)
		}
	})
	return w
}

// watching is a Watch in a test.
type watching struct {
	c    *Cluster
	news chan struct{}
	done chan error
}

// until takes a census at each piece of news until one is as wanted. It fails
// when the news do not come.
func (w *watching) until(t testing.TB, what string, wanted func(*cluster.Census) bool) *cluster.Census {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		select {
		case <-w.news:
		case <-deadline:
			c, err := w.c.Census(t.Context())
			t.Fatalf("no news that %s; the census says %+v, %v", what, c, err)
		}
		if c := censusOf(t, w.c); c.Stats.Requests == 0 && wanted(c) {
			return c
		}
	}
}

func censusOf(t testing.TB, c *Cluster) *cluster.Census {
	t.Helper()
	got, err := c.Census(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// suspects are the names of the suspects of a target, or of all.
func suspects(c *cluster.Census, owners ...cluster.Owner) string {
	var out []string
	for owner, refs := range c.Suspects {
		if len(owners) > 0 && !slices.Contains(owners, owner) {
			continue
		}
		for _, ref := range refs {
			out = append(out, ref.Kind+" "+ref.Name)
		}
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func isClean(c *cluster.Census) bool { return suspects(c) == "" && len(c.Unknown) == 0 }

func suspectsAre(want string) func(*cluster.Census) bool {
	return func(c *cluster.Census) bool { return suspects(c) == want && len(c.Unknown) == 0 }
}

const censusRole = `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
`

// What was just applied is clean, by metadata, for whoever looks: the health of
// the Deployment and the controller's annotation on it are not drift. Whatever
// is written afterwards is found, by kinds that keep a generation and by those
// that keep none; status is not.
func TestCensusProvesCleanAndFindsWhatWasWritten(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	target := targetIn(ns)
	synced(t, c, target, nil, objects(t, ns, configMap, service, deployment, censusRole))
	owner := target.Owner()
	cold := connected(t) // another process, without any memory
	got := censusOf(t, cold)
	if s := suspects(got, owner); s != "" || got.Owners[owner] != 4 || len(got.Unknown) > 0 {
		t.Fatalf("suspects %q of %d objects, unknown %v: want none of 4", s, got.Owners[owner], got.Unknown)
	}
	for _, step := range []struct {
		what  string
		do    func()
		after string
	}{
		{"a status was written", func() {
			kubectl(t, "", "patch", "deployment", "web", "-n", ns, "--subresource=status", "--type=merge", "-p", `{"status":{"conditions":[{"type":"Odd","status":"True"}]}}`)
		}, ""},
		{"the Deployment was scaled", func() { kubectl(t, "", "scale", "deployment", "web", "-n", ns, "--replicas=0") }, "Deployment web"},
		{"data changed", func() { edit(t, c, "configmaps.v1", ns, "settings", `{"data":{"size":"4"}}`) }, "ConfigMap settings, Deployment web"},
		{"somebody labelled the Service", func() { kubectl(t, "", "label", "service", "web", "-n", ns, "who=me") }, "ConfigMap settings, Deployment web, Service web"},
		{"the Role was deleted", func() { kubectl(t, "", "delete", "role", "reader", "-n", ns) }, "ConfigMap settings, Deployment web, Role reader, Service web"},
	} {
		step.do()
		if s := suspects(censusOf(t, cold), owner); s != step.after {
			t.Errorf("after %s the suspects are %q, want %q", step.what, s, step.after)
		}
	}
}

// A whole story of a watch: it tells what changed, follows what is applied
// (here by another process), keeps only what is ours, and asks nothing for a
// census. Threats 28 and 30: foreign objects are not looked at.
func TestWatchFollowsTheClusterAndTheInventory(t *testing.T) {
	cp := plane(t, 0)
	c, other, ns := connectedTo(t, cp.Access), connectedTo(t, cp.Access), cp.Namespace(t)
	target := targetIn(ns)
	base := objects(t, ns, configMap, service)
	synced(t, other, target, nil, base)
	w := watched(t, c)
	w.until(t, "all is clean", func(c *cluster.Census) bool { return isClean(c) && c.Objects == 2 })

	edit(t, other, "configmaps.v1", ns, "settings", `{"data":{"size":"4"}}`)
	w.until(t, "the ConfigMap changed", suspectsAre("ConfigMap settings"))
	merge := append(base, objects(t, ns, censusRole, strings.ReplaceAll(configMap, "settings", "more"))...)
	p, err := other.Plan(t.Context(), cluster.Request{Target: target, Base: base, Merge: merge, Revision: "2", Everything: true})
	if err != nil {
		t.Fatal(err)
	}
	applied(t, other, p)
	w.until(t, "another process applied it again, and a new kind", func(c *cluster.Census) bool { return isClean(c) && c.Objects == 4 })

	kubectlOn(t, cp, "delete", "role", "reader", "-n", ns)
	kubectlOn(t, cp, "create", "configmap", "foreign", "-n", ns)
	w.until(t, "the Role is gone", suspectsAre("Role reader"))
	kubectlOn(t, cp, "create", "role", "reader", "-n", ns, "--verb=get", "--resource=pods")
	w.until(t, "the Role was made again by somebody else", func(cen *cluster.Census) bool {
		return liveOf(t, c, "roles.v1.rbac.authorization.k8s.io", ns, "reader") != nil && suspects(cen) == "Role reader"
	})
	p, err = other.Plan(t.Context(), cluster.Request{Target: target, Base: merge, Merge: base, Revision: "3"})
	if err != nil {
		t.Fatal(err)
	}
	applied(t, other, p)
	w.until(t, "what was pruned is not followed", func(c *cluster.Census) bool { return isClean(c) && c.Objects == 2 })
}

func kubectlOn(t testing.TB, cp *clustertest.ControlPlane, args ...string) {
	t.Helper()
	if out, err := cp.Kubectl(t.Context(), args...).CombinedOutput(); err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
