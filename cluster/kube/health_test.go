package kube

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/client"
)

// unwell are the problems of a target's health by name, without an error.
func unwell(t testing.TB, c *Cluster, o cluster.Owner) map[string]string {
	t.Helper()
	problems, err := c.Health(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, p := range problems {
		if p.Ref == nil || !strings.HasPrefix(p.Message, p.Ref.String()+" ") {
			t.Errorf("%+v does not name its object", p)
			continue
		}
		out[p.Ref.Kind+" "+p.Ref.Name] = p.Message
	}
	return out
}

// eventually asks for the health until it is as wanted.
func eventually(t testing.TB, c *Cluster, o cluster.Owner, want func(map[string]string) bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) { // each round asks the cluster
		got := unwell(t, c, o)
		if want(got) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the health stays %q", got)
		}
	}
}

func TestHealthyTargetHasNoProblemsAtFewRequests(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	docs := []string{service, deployment, credentials, `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
`}
	for i := range 60 {
		docs = append(docs, changed(configMap, "name: settings", fmt.Sprintf("name: settings-%d", i)))
	}
	target := targetIn(ns)
	synced(t, c, target, nil, objects(t, ns, docs...))
	ctx, counts := client.Counted(t.Context())
	problems, err := connectedTo(t, shared.Get(t).Access).Health(ctx, target.Owner())
	if err != nil || len(problems) != 0 {
		t.Errorf("got %+v, %v", problems, err)
	}
	// The inventory, discovery (2 or 3), Service, Deployment, and a LIST each of
	// Secrets, Roles and ConfigMaps.
	if n := counts.Stats().Requests; n > 9 {
		t.Errorf("%d requests for the health of 64 objects", n)
	}
}

func TestHealthOfAStuckDeploymentSaysWhyUntilItRecovers(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	target := targetIn(ns)
	target.Timeout = time.Second
	r, err := c.Apply(t.Context(), planned(t, c, target, nil, objects(t, ns, configMap, stuckDeployment)), nil)
	if err != nil || r.OK() {
		t.Fatalf("%v %+v", err, r)
	}
	eventually(t, c, target.Owner(), func(got map[string]string) bool {
		why := got["Deployment stuck"]
		return len(got) == 1 && strings.Contains(why, "is not healthy: Available: 0/1") && strings.Contains(why, "FailedScheduling")
	})
	edit(t, c, "deployments.v1.apps", ns, "stuck", `{"spec":{"template":{"spec":{"nodeSelector":null}}}}`)
	eventually(t, c, target.Owner(), func(got map[string]string) bool { return len(got) == 0 })
}

func TestHealthFindsWhatWasDeletedOrMadeAgain(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	named := func(name string) string { return changed(configMap, "name: settings", "name: "+name) }
	target := targetIn(ns)
	synced(t, c, target, nil, objects(t, ns, deployment, service, named("stays"), named("goes"), named("again"), named("leaving")))
	kubectl(t, "", "delete", "-n", ns, "deployment/web", "service/web", "configmap/goes", "configmap/again")
	kubectl(t, service, "apply", "-n", ns, "-f", "-")
	kubectl(t, named("again"), "apply", "-n", ns, "-f", "-")
	edit(t, c, "configmaps.v1", ns, "leaving", `{"metadata":{"finalizers":["example.org/hold"]}}`)
	kubectl(t, "", "delete", "-n", ns, "--wait=false", "configmap/leaving")
	got := unwell(t, c, target.Owner())
	edit(t, c, "configmaps.v1", ns, "leaving", `{"metadata":{"finalizers":null}}`)
	for object, want := range map[string]string{
		"Deployment web": "is gone", "ConfigMap goes": "is gone", "Service web": "made again by somebody",
		"ConfigMap again": "made again by somebody", "ConfigMap leaving": "is being deleted by somebody",
	} {
		if !strings.Contains(got[object], want) {
			t.Errorf("%s: got %q, want %q", object, got[object], want)
		}
		delete(got, object)
	}
	if len(got) != 0 {
		t.Errorf("also unwell: %q", got)
	}
}

// Secret values that the cluster quotes are kept out, as everywhere.
func TestHealthOfCustomResources(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	target := targetIn(ns)
	synced(t, c, target, nil, objects(t, ns, `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gadgets.%NS%.example.org}
spec:
  group: %NS%.example.org
  names: {kind: Gadget, plural: gadgets, singular: gadget, listKind: GadgetList}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
---
apiVersion: %NS%.example.org/v1
kind: Gadget
metadata: {name: dial}
---
apiVersion: v1
kind: Secret
metadata: {name: pass}
stringData: {word: wheelbarrow-42}
`))
	if got := unwell(t, c, target.Owner()); len(got) != 0 {
		t.Errorf("got %q", got)
	}
	edit(t, c, "gadgets.v1."+ns+".example.org", ns, "dial",
		`{"status":{"conditions":[{"type":"Ready","status":"False","reason":"Refused","message":"wheelbarrow-42 was refused"}]}}`)
	if got := unwell(t, c, target.Owner()); len(got) != 1 || !strings.Contains(got["Gadget dial"], "is not healthy: (secret) was refused") {
		t.Errorf("got %q", got)
	}
	kubectl(t, "", "delete", "crd", "gadgets."+ns+".example.org")
	c.kinds.Forget()
	got := unwell(t, c, target.Owner())
	if len(got) != 2 || !strings.Contains(got["Gadget dial"], "no longer serves its kind") || !strings.Contains(got["CustomResourceDefinition gadgets."+ns+".example.org"], "is gone") {
		t.Errorf("got %q", got)
	}
}

func TestNothingAppliedIsNotHealthy(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	target := targetIn(ns)
	refused := func(o cluster.Owner) {
		t.Helper()
		problems, err := c.Health(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), "holds no objects of target "+o.Target) {
			t.Errorf("got %+v, %v", problems, err)
		}
	}
	refused(target.Owner())
	base := objects(t, ns, configMap)
	synced(t, c, target, nil, base)
	refused(cluster.Owner{RepoID: target.RepoID + 1, Target: target.Name})
	synced(t, c, target, base, nil)
	refused(target.Owner())
}

// cutAt breaks the connection of requests for one path.
type cutAt struct {
	next http.RoundTripper
	path string
}

func (r *cutAt) RoundTrip(q *http.Request) (*http.Response, error) {
	if strings.Contains(q.URL.Path, r.path) {
		return nil, errors.New("connection reset by a test")
	}
	return r.next.RoundTrip(q)
}

func TestClusterThatDoesNotAnswerIsNotHealthy(t *testing.T) {
	ns := shared.Get(t).Namespace(t)
	target := targetIn(ns)
	synced(t, connected(t), target, nil, objects(t, ns, configMap, deployment))
	for _, path := range []string{"/secrets", "/apis", "/configmaps", "/deployments/web"} {
		cfg := shared.Get(t).RESTConfig()
		cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return &cutAt{next, path} })
		c, err := New(Config{Name: "staging", REST: cfg})
		if err != nil {
			t.Fatal(err)
		}
		problems, err := c.Health(t.Context(), target.Owner())
		if err == nil || problems != nil || !strings.Contains(err.Error(), "staging cannot be reached") {
			t.Errorf("without %s: got %+v, %v", path, problems, err)
		}
	}
	c, err := New(Config{Name: "staging", REST: &rest.Config{Host: "https://127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	if problems, err := c.Health(t.Context(), target.Owner()); err == nil || problems != nil {
		t.Errorf("got %+v, %v", problems, err)
	}
}

func TestHealthThatMayNotBeReadIsAProblem(t *testing.T) {
	ns := shared.Get(t).Namespace(t)
	target := targetIn(ns)
	synced(t, connected(t), target, nil, objects(t, ns, configMap, deployment))
	rc := shared.Get(t).RESTConfig()
	rc.Impersonate = rest.ImpersonationConfig{UserName: "librarian"} // of the inventory only
	kubectl(t, "", "create", "role", ns, "-n", cluster.SystemNamespace, "--verb=list", "--resource=secrets")
	kubectl(t, "", "create", "rolebinding", ns, "-n", cluster.SystemNamespace, "--role="+ns, "--user=librarian")
	c, err := New(Config{Name: "test", REST: rc})
	if err != nil {
		t.Fatal(err)
	}
	got := unwell(t, c, target.Owner())
	for object, want := range map[string]string{"ConfigMap settings": `cannot list resource "configmaps"`, "Deployment web": `cannot get resource "deployments"`} {
		if !strings.Contains(got[object], "could not be looked at") || !strings.Contains(got[object], want) {
			t.Errorf("%s: got %q", object, got[object])
		}
	}
}
