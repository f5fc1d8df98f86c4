package kube

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"lockkeeper/cluster"
	"lockkeeper/cluster/clustertest"
)

// shared is the control plane of this package's tests: API server, controllers
// and two nodes. Tests keep to namespaces of their own.
var shared = clustertest.Shared{Options: clustertest.Options{Nodes: 2}}

func TestMain(m *testing.M) { shared.Main(m) }

// connected is a client of the shared cluster, bootstrapped.
func connected(t testing.TB) *Cluster {
	t.Helper()
	return connectedTo(t, shared.Get(t).Access)
}

func connectedTo(t testing.TB, access *clustertest.Access) *Cluster {
	t.Helper()
	c, err := New(Config{Name: "test", REST: access.RESTConfig()})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// objects reads YAML documents; %NS% stands for ns.
func objects(t testing.TB, ns string, docs ...string) []cluster.Object {
	t.Helper()
	var out []cluster.Object
	for i, d := range strings.Split(strings.Join(docs, "\n---\n"), "\n---\n") {
		if strings.TrimSpace(d) == "" {
			continue
		}
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(strings.ReplaceAll(d, "%NS%", ns)), u); err != nil {
			t.Fatalf("document %d: %v\n%s", i, err, d)
		}
		out = append(out, objectOf(u, fmt.Sprintf("test.yaml:%d", i+1)))
	}
	return out
}

func objectOf(u *unstructured.Unstructured, source string) cluster.Object {
	return cluster.Object{
		Ref: cluster.Ref{
			Group: u.GroupVersionKind().Group, Kind: u.GetKind(),
			Namespace: u.GetNamespace(), Name: u.GetName(),
		},
		APIVersion: u.GetAPIVersion(), Content: u.Object, Source: source,
	}
}

// targetIn is a target that may touch everything and defaults to namespace ns.
func targetIn(ns string) cluster.Target {
	return cluster.Target{
		RepoID: 7, Name: "target-of-" + ns, Path: "deploy", Cluster: "test", Environment: "staging", Namespace: ns,
		Fence:   cluster.Fence{Namespaces: []string{"*"}, ClusterKinds: []string{"*"}},
		Timeout: 2 * time.Minute,
	}
}

// planned plans and fails on errors and problems.
func planned(t testing.TB, c *Cluster, target cluster.Target, base, merge []cluster.Object) *cluster.Plan {
	t.Helper()
	p, err := c.Plan(t.Context(), cluster.Request{Target: target, Base: base, Merge: merge, Revision: "revision-of-" + target.Name})
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range p.Problems {
		t.Errorf("problem: %v %s", problem.Ref, problem.Message)
	}
	if len(p.Problems) > 0 {
		t.FailNow()
	}
	return p
}

// applied applies a plan and fails unless every step ended well.
func applied(t testing.TB, c *Cluster, p *cluster.Plan) *cluster.Result {
	t.Helper()
	r, err := c.Apply(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range r.Steps {
		if s.State != cluster.Healthy {
			t.Errorf("%s %s: %s: %s %q", s.Action, s.Ref, s.State, s.Message, s.Events)
		}
	}
	if !r.OK() {
		t.FailNow()
	}
	return r
}

// synced brings a target from base to merge.
func synced(t testing.TB, c *Cluster, target cluster.Target, base, merge []cluster.Object) *cluster.Result {
	t.Helper()
	return applied(t, c, planned(t, c, target, base, merge))
}

func stepOf(t testing.TB, r *cluster.Result, kind, name string) cluster.Step {
	t.Helper()
	for _, s := range r.Steps {
		if s.Ref.Kind == kind && s.Ref.Name == name {
			return s
		}
	}
	t.Fatalf("no step for %s %s in %+v", kind, name, r.Steps)
	return cluster.Step{}
}

// liveOf reads an object; nil when it is not there.
func liveOf(t testing.TB, c *Cluster, resource, namespace, name string) *unstructured.Unstructured {
	t.Helper()
	obj, err := c.api.Get(context.WithoutCancel(t.Context()), gvrOf(resource), namespace, name)
	if err != nil {
		return nil
	}
	return obj
}

// gvrOf reads "deployments.v1.apps" or "configmaps.v1".
func gvrOf(s string) schema.GroupVersionResource {
	parts := strings.SplitN(s, ".", 3)
	gvr := schema.GroupVersionResource{Resource: parts[0], Version: parts[1]}
	if len(parts) == 3 {
		gvr.Group = parts[2]
	}
	return gvr
}

// kubectl runs kubectl on the shared cluster, stdin being YAML.
func kubectl(t testing.TB, stdin string, args ...string) string {
	t.Helper()
	cmd := shared.Get(t).Kubectl(t.Context(), args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
