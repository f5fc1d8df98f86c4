package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"lockkeeper/cluster"
	"lockkeeper/cluster/clustertest"
	"lockkeeper/cluster/kube"
)

// kubectl runs kubectl with stdin; it returns what was printed, and whether it
// succeeded.
func kubectl(t *testing.T, as *clustertest.Access, stdin string, args ...string) (string, bool) {
	t.Helper()
	cmd := as.Kubectl(t.Context(), args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

func mustKubectl(t *testing.T, as *clustertest.Access, stdin string, args ...string) string {
	t.Helper()
	out, ok := kubectl(t, as, stdin, args...)
	if !ok {
		t.Fatalf("kubectl %s: %s", strings.Join(args, " "), out)
	}
	return strings.TrimSpace(out)
}

func TestDeployIsAcceptedByTheServer(t *testing.T) {
	cp := controlPlane(t)
	for _, dir := range []string{"base", "replicas"} {
		out := mustKubectl(t, cp.Access, "", "apply", "--validate=strict", "-k", "../../deploy/"+dir)
		if strings.Contains(out, "would violate PodSecurity") {
			t.Errorf("%s: the pod is not as restricted as its namespace asks: %s", dir, out)
		}
	}
	volumes := mustKubectl(t, cp.Access, "", "-n", "lockkeeper", "get", "deployment", "lockkeeper", "-o", "jsonpath={.spec.replicas} {.spec.strategy.type} {.spec.template.spec.volumes[*].name}")
	if volumes != "2 RollingUpdate config secrets cache tmp" {
		t.Errorf("replicas that share a PostgreSQL: %s", volumes)
	}
}

// loggedIn installs the RBAC of deploy/ and logs in as one of its accounts,
// which may work in namespace ns.
func loggedIn(t *testing.T, cp *clustertest.ControlPlane, account, ns string) *clustertest.Access {
	t.Helper()
	mustKubectl(t, cp.Access, "", "apply", "--validate=strict", "-k", "../../deploy/rbac")
	for _, file := range []string{"planner.yaml", "dry-run-only.yaml"} {
		mustKubectl(t, cp.Access, "", "apply", "--validate=strict", "-f", "../../deploy/rbac/"+file)
	}
	example, err := os.ReadFile("../../deploy/rbac/example-namespace.yaml")
	if err != nil {
		t.Fatal(err)
	}
	binding := strings.NewReplacer("name: lockkeeper-applier\n  namespace: shop", "name: "+account+"\n  namespace: "+ns, "name: lockkeeper\n", "name: "+account+"\n").Replace(string(example))
	mustKubectl(t, cp.Access, binding, "apply", "-f", "-")
	token := mustKubectl(t, cp.Access, "", "create", "token", account, "-n", "lockkeeper-system")
	access, err := cp.Login(account, token)
	if err != nil {
		t.Fatal(err)
	}
	return access
}

func request(ns string) cluster.Request {
	object := func(kind, name string, more map[string]any) cluster.Object {
		content := map[string]any{"apiVersion": "v1", "kind": kind, "metadata": map[string]any{"name": name, "namespace": ns}}
		for k, v := range more {
			content[k] = v
		}
		return cluster.Object{Ref: cluster.Ref{Kind: kind, Namespace: ns, Name: name}, APIVersion: "v1", Content: content, Source: "a.yaml:1"}
	}
	return cluster.Request{
		Target: cluster.Target{RepoID: 1, Name: ns, Path: "a", Cluster: "main", Environment: "e", Timeout: time.Minute,
			Fence: cluster.Fence{Namespaces: []string{"*"}}},
		Revision: "rev",
		Merge: []cluster.Object{
			object("ConfigMap", "settings", map[string]any{"data": map[string]any{"key": "value"}}),
			object("Secret", "pass", map[string]any{"stringData": map[string]any{"password": "hunter2"}}),
		},
	}
}

func TestPermissionsOfDeploySufficeToApplyAndPrune(t *testing.T) {
	cp := controlPlane(t)
	ns := cp.Namespace(t)
	c, err := kube.New(kube.Config{Name: "main", REST: loggedIn(t, cp, "lockkeeper", ns).RESTConfig()})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	req := request(ns)
	for _, step := range []string{"create", "prune"} {
		p, err := c.Plan(t.Context(), req)
		if err != nil || len(p.Problems) > 0 || len(p.Changes) == 0 {
			t.Fatalf("%s: %v %+v", step, err, p)
		}
		r, err := c.Apply(t.Context(), p, nil)
		if err != nil || !r.OK() {
			t.Fatalf("%s: %v %+v", step, err, r)
		}
		req.Base, req.Merge = req.Merge, req.Merge[:1]
	}
	if out, ok := kubectl(t, cp.Access, "", "get", "secret", "pass", "-n", ns); ok {
		t.Errorf("the secret was not pruned: %s", out)
	}

	// Outside the namespaces it is bound in, the account can do nothing.
	p, err := c.Plan(t.Context(), request(cp.Namespace(t)))
	if err == nil && len(p.Problems) == 0 {
		t.Errorf("it may plan in a namespace that nobody gave it: %+v", p.Changes)
	}
}

func TestPlannerMayOnlyDryRun(t *testing.T) {
	cp := controlPlane(t)
	ns := cp.Namespace(t)
	planner := loggedIn(t, cp, "lockkeeper-planner", ns)
	// The server takes up a new admission policy a moment later.
	deadline := time.Now().Add(time.Minute)
	for i := 0; ; i++ {
		out, ok := kubectl(t, planner, "", "create", "configmap", fmt.Sprint("probe-", i), "-n", ns)
		if !ok && strings.Contains(out, "may only dry-run") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the planner writes: %s", out)
		}
	}
	c, err := kube.New(kube.Config{Name: "main", REST: planner.RESTConfig()})
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Plan(t.Context(), request(ns))
	if err != nil || len(p.Problems) > 0 || len(p.Changes) != 2 {
		t.Fatalf("it cannot plan: %v %+v", err, p)
	}
	if r, err := c.Apply(t.Context(), p, nil); err == nil && r.OK() {
		t.Error("it applied")
	}
}
