package kube

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/health"
)

const (
	configMap = `
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: red, size: "3"}
`
	service = `
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80}]
`
	deployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: example.org/web:1
`
	// stuckDeployment asks for a node that does not exist.
	stuckDeployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: stuck}
spec:
  replicas: 1
  selector: {matchLabels: {app: stuck}}
  template:
    metadata: {labels: {app: stuck}}
    spec:
      nodeSelector: {kubernetes.io/hostname: nowhere}
      containers:
      - name: web
        image: example.org/web:1
`
)

// settled fails unless the plan of the same state is empty now.
func settled(t testing.TB, c *Cluster, target cluster.Target, merge []cluster.Object) {
	t.Helper()
	p, err := c.Plan(t.Context(), cluster.Request{Target: target, Base: merge, Merge: merge, Revision: "revision-of-" + target.Name, Everything: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, ch := range p.Changes {
		t.Errorf("left over: %s %s %+v adopts %v, takes %v", ch.Action, ch.Ref, ch.Fields, ch.Managers, ch.Takeovers)
	}
	for _, d := range p.Drift {
		t.Errorf("drift right after apply: %s %+v", d.Ref, d.Fields)
	}
	for _, problem := range p.Problems {
		t.Errorf("problem: %s", problem.Message)
	}
}

// inFile renames the object called old.
func inFile(doc, old, name string) string {
	return strings.ReplaceAll(doc, "name: "+old+"}", "name: "+name+"}")
}

func TestAppliedObjectsAreHealthyRecordedAndSettled(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	target := targetIn(ns)
	merge := objects(t, ns, configMap, service, deployment, `
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: once, image: example.org/once:1}]
`)
	var mu sync.Mutex
	var seen []cluster.Step
	p := planned(t, c, target, nil, merge)
	r, err := c.Apply(t.Context(), p, func(s cluster.Step) {
		if !mu.TryLock() {
			t.Error("progress was called twice at the same time")
			return
		}
		defer mu.Unlock()
		seen = append(seen, s)
	})
	if err != nil || !r.OK() {
		t.Fatalf("%v %+v", err, r)
	}
	var states []cluster.StepState
	for _, s := range seen {
		if s.Ref.Kind == "Deployment" {
			states = append(states, s.State)
		}
	}
	if want := []cluster.StepState{cluster.Waiting, cluster.Applying, cluster.Applied, cluster.Healthy}; !slices.Equal(states, want) {
		t.Errorf("the Deployment's states were %v, want %v", states, want)
	}
	if live := liveOf(t, c, "deployments.v1.apps", ns, "web"); health.Of(live).State != cluster.Healthy {
		t.Errorf("the Deployment is not available: %v", live.Object["status"])
	}
	at, err := c.Applied(t.Context())
	if got := at[target.Owner()]; err != nil || got.Revision != "revision-of-"+target.Name || got.Objects != 4 {
		t.Errorf("the inventory says %+v, %v", got, err)
	}
	if r.Stats.Requests < 5 || r.Stats.Requests > 25 || r.Stats.Bytes == 0 {
		t.Errorf("stats %+v", r.Stats)
	}
	settled(t, c, target, merge)
}

// recorder keeps the order in which objects were written.
type recorder struct {
	next http.RoundTripper
	mu   sync.Mutex
	log  []string
}

func (r *recorder) RoundTrip(q *http.Request) (*http.Response, error) {
	if (q.Method == http.MethodPatch || q.Method == http.MethodDelete) && q.URL.Query().Get("dryRun") == "" {
		r.mu.Lock()
		r.log = append(r.log, q.Method+" "+q.URL.Path[strings.LastIndex(strings.TrimSuffix(q.URL.Path, "/"), "/")+1:])
		r.mu.Unlock()
	}
	return r.next.RoundTrip(q)
}

func recorded(t *testing.T) (*Cluster, *recorder) {
	t.Helper()
	cfg, rec := shared.Get(t).RESTConfig(), &recorder{}
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper {
		rec.next = next
		return rec
	})
	c, err := New(Config{Name: "test", REST: cfg})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c, rec
}

const everyStage = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: x8-%NS%}
webhooks:
- name: never.example.org
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Ignore
  namespaceSelector: {matchLabels: {no: namespace-has-this}}
  clientConfig: {service: {namespace: default, name: none}}
  rules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: x7, namespace: %NS%}
spec:
  defaultBackend: {service: {name: x4, port: {number: 80}}}
---
apiVersion: %NS%.example.org/v1
kind: Widget
metadata: {name: x6, namespace: %NS%}
spec: {wheels: 4}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: x5, namespace: %NS%}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      serviceAccountName: x2
      containers: [{name: web, image: "example.org/web:1"}]
---
apiVersion: v1
kind: Service
metadata: {name: x4, namespace: %NS%}
spec: {ports: [{port: 80}]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: x3, namespace: %NS%}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: ServiceAccount, name: x2, namespace: %NS%}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: x2, namespace: %NS%}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.%NS%.example.org}
spec:
  group: %NS%.example.org
  names: {kind: Widget, plural: widgets, singular: widget, listKind: WidgetList}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, properties: {wheels: {type: integer}}}
---
apiVersion: v1
kind: Namespace
metadata: {name: %NS%}
`

// A namespace with its contents, a CRD with a custom resource and everything
// that depends on something else come and go in one plan each.
func TestEverythingComesInOrderAndGoesInReverse(t *testing.T) {
	c, rec := recorded(t)
	ns := "every-stage"
	target := targetIn(ns)
	merge := objects(t, ns, everyStage)
	synced(t, c, target, nil, merge)
	come := []string{
		"PATCH every-stage", "PATCH widgets.every-stage.example.org", "PATCH x2", "PATCH x3", "PATCH x4", "PATCH x5",
		"PATCH x6", "PATCH x7", "PATCH x8-every-stage",
	}
	got := slices.Clone(rec.log)
	slices.Sort(got[:2]) // one stage, so in any order
	if !slices.Equal(got, come) {
		t.Errorf("written in the order\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(come, "\n"))
	}
	settled(t, c, target, merge)

	rec.log = nil
	synced(t, c, target, merge, nil)
	slices.Reverse(come)
	slices.Sort(rec.log[len(rec.log)-2:])
	slices.Sort(come[len(come)-2:])
	if want := strings.ReplaceAll(strings.Join(come, "\n"), "PATCH", "DELETE"); strings.Join(rec.log, "\n") != want {
		t.Errorf("deleted in the order\n%s\nwant\n%s", strings.Join(rec.log, "\n"), want)
	}
	if liveOf(t, c, "namespaces.v1", "", ns) != nil {
		t.Error("the namespace is still there")
	}
	// And once more: what discovery said of the kind before holds no longer.
	synced(t, c, target, nil, merge)
	settled(t, c, target, merge)
}

func TestWaveWaitsForTheWaveBefore(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	wave := func(name, n string) string {
		doc := strings.ReplaceAll(deployment, "app: web", "app: "+name)
		return strings.Replace(doc, "metadata: {name: web}", fmt.Sprintf("metadata: {name: %s, annotations: {lockkeeper.dev/wave: %q}}", name, n), 1)
	}
	var order []string
	p := planned(t, c, targetIn(ns), nil, objects(t, ns, wave("b", "1"), wave("a", "-1")))
	r, err := c.Apply(t.Context(), p, func(s cluster.Step) {
		if s.State != cluster.Waiting {
			order = append(order, s.Ref.Name+" "+string(s.State))
		}
	})
	if err != nil || !r.OK() {
		t.Fatalf("%v %+v", err, r)
	}
	want := []string{"a applying", "a applied", "a healthy", "b applying", "b applied", "b healthy"}
	if !slices.Equal(order, want) {
		t.Errorf("got %v, want %v", order, want)
	}
}

func TestUnhealthyDeploymentIsExplainedAndStopsThePrune(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	target := targetIn(ns)
	base := objects(t, ns, configMap)
	synced(t, c, target, nil, base)
	target.Timeout = 8 * time.Second
	merge := objects(t, ns, stuckDeployment, `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: later-%NS%}
spec:
  matchConstraints: {resourceRules: [{apiGroups: [no.example.org], apiVersions: [v1], operations: [CREATE], resources: [nothing]}]}
  validations: [{expression: "true"}]
`)
	p := planned(t, c, target, base, merge)
	p.Target.Timeout, p.Revision = target.Timeout, "second"
	r, err := c.Apply(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	stuck := stepOf(t, r, "Deployment", "stuck")
	if stuck.State != cluster.Unhealthy || !strings.Contains(stuck.Message, "not healthy after 8s: Available: 0/1") {
		t.Errorf("got %+v", stuck)
	}
	if len(stuck.Events) == 0 || !strings.Contains(strings.Join(stuck.Events, "\n"), "FailedScheduling") {
		t.Errorf("events %q, want the scheduler's warning about the pod", stuck.Events)
	}
	for kind, name := range map[string]string{"ValidatingAdmissionPolicy": "later-" + ns, "ConfigMap": "settings"} {
		if s := stepOf(t, r, kind, name); s.State != cluster.Skipped || !strings.Contains(s.Message, "before it failed") {
			t.Errorf("got %+v", s)
		}
	}
	if liveOf(t, c, "configmaps.v1", ns, "settings") == nil {
		t.Error("the prune ran though something failed")
	}
	at, err := c.Applied(t.Context())
	if got := at[target.Owner()]; err != nil || got.Revision != "revision-of-"+target.Name || got.Objects != 2 {
		t.Errorf("the inventory says %+v, %v: want the old revision, and the new object in it", got, err)
	}
}

// What a plan cannot see, because each object alone would be fine: a quota.
func TestRefusalsAreReportedPerObject(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	kubectl(t, "", "create", "quota", "few", "-n", ns, "--hard=count/secrets=2")
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) { // until the controller counted
		if used, _ := liveOf(t, c, "resourcequotas.v1", ns, "few").Object["status"].(map[string]any); used["used"] != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the quota was never counted")
		}
	}
	var docs []string
	for i := range 5 {
		docs = append(docs, fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: s%d}\n", i))
	}
	merge := objects(t, ns, append(docs, configMap, deployment)...)
	r, err := c.Apply(t.Context(), planned(t, c, targetIn(ns), nil, merge), nil)
	if err != nil {
		t.Fatal(err)
	}
	count := map[cluster.StepState]int{}
	for _, s := range r.Steps {
		count[s.State]++
		if s.State == cluster.Failed && (s.Ref.Kind != "Secret" || !strings.Contains(s.Message, "exceeded quota")) {
			t.Errorf("got %+v", s)
		}
	}
	if count[cluster.Failed] != 3 || count[cluster.Healthy] != 3 || count[cluster.Skipped] != 1 {
		t.Errorf("got %v, want all three failures, the rest of the stage done, and the Deployment skipped", count)
	}
	kubectl(t, "", "delete", "quota", "few", "-n", ns)
	target := targetIn(ns)
	synced(t, c, target, nil, merge)
	settled(t, c, target, merge)
}

func TestBlockedDeleteNamesTheFinalizerAndStops(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	target := targetIn(ns)
	base := objects(t, ns, configMap, service)
	synced(t, c, target, nil, base)
	edit(t, c, "services.v1", ns, "web", `{"metadata":{"finalizers":["example.org/hold"]}}`)
	target.Timeout = time.Second
	r, err := c.Apply(t.Context(), planned(t, c, target, base, nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	s := stepOf(t, r, "Service", "web")
	if s.State != cluster.Unhealthy || !strings.Contains(s.Message, "waits for the finalizer example.org/hold") {
		t.Errorf("got %+v", s)
	}
	if s := stepOf(t, r, "ConfigMap", "settings"); s.State != cluster.Skipped {
		t.Errorf("got %+v: want what the Service may need left alone", s)
	}
	at, err := c.Applied(t.Context())
	if got := at[target.Owner()]; err != nil || got.Objects != 2 {
		t.Errorf("the inventory says %+v, %v: want both, for both are there", got, err)
	}
	edit(t, c, "services.v1", ns, "web", `{"metadata":{"finalizers":null}}`)
	target.Timeout = time.Minute
	synced(t, c, target, base, nil)
}

func TestAdoptedFromKubectlThenPruned(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	target := targetIn(ns)
	kubectl(t, configMap+"---"+service+"---"+deployment, "apply", "-n", ns, "-f", "-")
	base := objects(t, ns, configMap, service, deployment)
	p, err := c.Plan(t.Context(), cluster.Request{Target: target, Base: base, Merge: base, Revision: "1", Everything: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, ch := range p.Changes {
		if ch.Action != cluster.Adopt || !slices.Contains(ch.Managers, "kubectl-client-side-apply") {
			t.Errorf("got %s %s from %v, want it adopted from kubectl", ch.Action, ch.Ref, ch.Managers)
		}
	}
	if len(p.Changes) != 3 {
		t.Fatalf("%d changes, want 3: %+v", len(p.Changes), p.Problems)
	}
	applied(t, c, p)
	settled(t, c, target, base)

	merge := objects(t, ns, strings.Replace(configMap, `colour: red, `, "", 1), deployment)
	synced(t, c, target, base, merge)
	if live := liveOf(t, c, "configmaps.v1", ns, "settings"); fmt.Sprint(live.Object["data"]) != "map[size:3]" {
		t.Errorf("the field removed in Git stays: %v", live.Object["data"])
	}
	if liveOf(t, c, "services.v1", ns, "web") != nil {
		t.Error("the object removed in Git stays")
	}
	settled(t, c, target, merge)
}

// The server draws a node port at random, for the port that is there and as
// part of the one that Git adds: it is no part of what is approved, or the plan
// that apply makes would never be the one that was approved.
func TestServerAssignedPartOfAnAddedItemIsOutsideTheDigest(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	target := targetIn(ns)
	base := objects(t, ns, service)
	merge := objects(t, ns, strings.Replace(service, "port: 80}]", "port: 80}, {name: https, port: 443}]\n  type: NodePort", 1))
	synced(t, c, target, nil, base)
	digests := map[string]bool{}
	var p *cluster.Plan
	for range 3 {
		p = planned(t, c, target, base, merge)
		digests[p.Digest] = true
	}
	if len(digests) != 1 {
		t.Errorf("three plans of the same had %d digests", len(digests))
	}
	server := 0
	for _, f := range p.Changes[0].Fields {
		if f.Server {
			server++
		} else if strings.Contains(fmt.Sprint(f), "nodePort") {
			t.Errorf("a node port that the server will not give is shown as predicted: %+v", f)
		}
	}
	if server != 2 {
		t.Errorf("%d fields are labelled as the server's, want both node ports: %+v", server, p.Changes[0].Fields)
	}
	applied(t, c, p)
	settled(t, c, target, merge)
}

func TestTransferMovesTheOwnerOnly(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	from, to := targetIn(ns), targetIn(ns)
	to.Name = "new-" + from.Name
	base := objects(t, ns, configMap)
	synced(t, c, from, nil, base)
	uid := liveOf(t, c, "configmaps.v1", ns, "settings").GetUID()
	p, err := c.Plan(t.Context(), cluster.Request{
		Target: to, Merge: base, Revision: "2", Releases: map[cluster.Ref]string{withNamespace(base[0].Ref, ns): from.Name},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Changes) != 1 || p.Changes[0].Action != cluster.Transfer || p.Changes[0].From != from.Name {
		t.Fatalf("want one transfer, got %+v %+v", p.Changes, p.Problems)
	}
	applied(t, c, p)
	at, err := c.Applied(t.Context())
	if err != nil || at[from.Owner()].Objects != 0 || at[to.Owner()].Objects != 1 {
		t.Errorf("the inventory says %+v, %v", at, err)
	}
	synced(t, c, from, base, nil)
	if live := liveOf(t, c, "configmaps.v1", ns, "settings"); live == nil || live.GetUID() != uid {
		t.Error("the transferred object was deleted with its old target")
	}
}

func withNamespace(r cluster.Ref, ns string) cluster.Ref {
	r.Namespace = ns
	return r
}

func TestBadWaveFailsItsObjectAndNothingIsWritten(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	bad := strings.Replace(configMap, "{name: settings}", "{name: settings, annotations: {lockkeeper.dev/wave: first}}", 1)
	p, err := c.Plan(t.Context(), cluster.Request{Target: targetIn(ns), Merge: objects(t, ns, bad, service), Revision: "1"})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Problems) != 1 || !strings.Contains(p.Problems[0].Message, `"first" is not a whole number`) {
		t.Errorf("got %+v, want the wave refused by the plan", p.Problems)
	}
}
