package kube

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/health"
	"lockkeeper/cluster/kube/inventory"
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

func edit(t *testing.T, c *Cluster, resource, ns, name, patch string) {
	t.Helper()
	_, err := c.api.Resource(gvrOf(resource), ns).Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "kubectl-edit"})
	if err != nil {
		t.Fatal(err)
	}
}

// Threat: the cluster moves between approval and write. What was approved is
// what is applied, or nothing.
func TestObjectThatMovedSinceThePlan(t *testing.T) {
	c := connected(t)
	changed := strings.Replace(configMap, "red", "blue", 1)
	for _, tc := range []struct{ name, edit, refused string }{
		{"elsewhere", `{"data":{"other":"x"}}`, ""},
		{"in the field that changes", `{"data":{"colour":"green"}}`, "data.colour (conflict with \"kubectl-edit\""},
		{"to what the plan wants", `{"data":{"colour":"blue"}}`, "data.colour"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ns := shared.Get(t).Namespace(t)
			target := targetIn(ns)
			base, merge := objects(t, ns, configMap), objects(t, ns, changed)
			synced(t, c, target, nil, base)
			p := planned(t, c, target, base, merge)
			edit(t, c, "configmaps.v1", ns, "settings", tc.edit)
			r, err := c.Apply(t.Context(), p, nil)
			if err != nil {
				t.Fatal(err)
			}
			s := stepOf(t, r, "ConfigMap", "settings")
			if tc.refused == "" && s.State != cluster.Healthy {
				t.Errorf("got %+v, want it to go on: the change is the same", s)
			}
			if tc.refused != "" && (s.State != cluster.Failed || !strings.Contains(s.Message, "changed since the plan: ") || !strings.Contains(s.Message, tc.refused)) {
				t.Errorf("got %+v, want it refused, naming %s", s, tc.refused)
			}
		})
	}
}

func TestSecretThatMovedIsRefusedWithoutItsValue(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	target := targetIn(ns)
	secret := func(v string) []cluster.Object {
		return objects(t, ns, "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: "+v+"}\n")
	}
	synced(t, c, target, nil, secret("first-value"))
	p := planned(t, c, target, secret("first-value"), secret("second-value"))
	edit(t, c, "secrets.v1", ns, "s", `{"stringData":{"password":"third-value"}}`)
	r, err := c.Apply(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := stepOf(t, r, "Secret", "s")
	if s.State != cluster.Failed || !strings.Contains(s.Message, "data.password") || strings.Contains(s.Message, "-value") {
		t.Errorf("got %+v", s)
	}
}

func TestCreateNeverTouchesWhatSomebodyElseMade(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	p := planned(t, c, targetIn(ns), nil, objects(t, ns, configMap, service))
	kubectl(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {mine: all}\n", "create", "-n", ns, "-f", "-")
	r, err := c.Apply(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	if s := stepOf(t, r, "ConfigMap", "settings"); s.State != cluster.Failed || !strings.Contains(s.Message, "not create") {
		t.Errorf("got %+v", s)
	}
	if live := liveOf(t, c, "configmaps.v1", ns, "settings"); fmt.Sprint(live.Object["data"]) != "map[mine:all]" {
		t.Errorf("the object of somebody else was changed: %v", live.Object["data"])
	}
	if s := stepOf(t, r, "Service", "web"); s.State != cluster.Skipped {
		t.Errorf("a later stage was tried: %+v", s)
	}
}

func TestDeleteIsBoundToTheObjectThatWasPlanned(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	target := targetIn(ns)
	base := objects(t, ns, configMap, inFile(configMap, "settings", "other"))
	synced(t, c, target, nil, base)
	p := planned(t, c, target, base, nil)
	kubectl(t, "", "delete", "configmap", "-n", ns, "settings")
	kubectl(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {mine: all}\n", "create", "-n", ns, "-f", "-")
	r, err := c.Apply(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	if live := liveOf(t, c, "configmaps.v1", ns, "settings"); live == nil {
		t.Errorf("an object that somebody else made in between was deleted: %+v", stepOf(t, r, "ConfigMap", "settings"))
	}
	if s := stepOf(t, r, "ConfigMap", "other"); s.State != cluster.Healthy {
		t.Errorf("got %+v", s)
	}
}

func TestObjectDeletedByHandNeedsNoDelete(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	target := targetIn(ns)
	base := objects(t, ns, configMap)
	synced(t, c, target, nil, base)
	p := planned(t, c, target, base, nil)
	kubectl(t, "", "delete", "configmap", "-n", ns, "settings")
	r := applied(t, c, p)
	if s := stepOf(t, r, "ConfigMap", "settings"); !strings.Contains(s.Message, "gone already") {
		t.Errorf("got %+v", s)
	}
	at, err := c.Applied(t.Context())
	if got := at[target.Owner()]; err != nil || got.Objects != 0 {
		t.Errorf("the inventory says %+v, %v", got, err)
	}
}

func TestReplace(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	target := targetIn(ns)
	base := objects(t, ns, deployment)
	merge := objects(t, ns, strings.ReplaceAll(deployment, "app: web", "app: shop"))
	synced(t, c, target, nil, base)
	before := liveOf(t, c, "deployments.v1.apps", ns, "web").GetUID()
	p := planned(t, c, target, base, merge)
	if len(p.Changes) != 1 || p.Changes[0].Action != cluster.Replace {
		t.Fatalf("want one replace, got %+v", p.Changes)
	}
	applied(t, c, p)
	if liveOf(t, c, "deployments.v1.apps", ns, "web").GetUID() == before {
		t.Error("the object was not replaced")
	}
	settled(t, c, target, merge)
}

const immutableConfig = `
apiVersion: v1
kind: ConfigMap
metadata: {name: fixed, annotations: {held: "%HELD%"}}
immutable: true
data: {colour: red}
`

func TestReplaceThatCannotFinishSaysWhatStands(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	target := targetIn(ns)
	base, merge := objects(t, ns, immutableConfig), objects(t, ns, strings.Replace(immutableConfig, "red", "blue", 1))
	synced(t, c, target, nil, base)
	edit(t, c, "configmaps.v1", ns, "fixed", `{"metadata":{"finalizers":["example.org/hold"]}}`)
	target.Timeout = time.Second
	p := planned(t, c, target, base, merge)
	r, err := c.Apply(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := stepOf(t, r, "ConfigMap", "fixed")
	if s.State != cluster.Failed || !strings.Contains(s.Message, "finalizer example.org/hold") || !strings.Contains(s.Message, "it was deleted") {
		t.Errorf("got %+v", s)
	}
	edit(t, c, "configmaps.v1", ns, "fixed", `{"metadata":{"finalizers":null}}`)
	target.Timeout = time.Minute
	// The pull is still open: the same base and merge result.
	synced(t, c, target, base, merge)
	settled(t, c, target, merge)
}

// forbidden makes the API server refuse to create ConfigMaps with the label
// forbidden in the namespace, and returns when it does.
func forbidden(t *testing.T, c *Cluster, ns string) {
	t.Helper()
	kubectl(t, strings.ReplaceAll(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: forbid-%NS%}
spec:
  failurePolicy: Fail
  matchConstraints: {resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]}
  validations: [{expression: "!has(object.data) || !('forbidden' in object.data)", message: house rule 7}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: forbid-%NS%}
spec:
  policyName: forbid-%NS%
  validationActions: [Deny]
  matchResources: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %NS%}}}
`, "%NS%", ns), "apply", "-f", "-")
	body := []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"probe"},"data":{"forbidden":"x"}}`)
	for deadline := time.Now().Add(time.Minute); ; {
		_, err := c.api.Resource(gvrOf("configmaps.v1"), ns).Patch(t.Context(), "probe", types.ApplyPatchType, body,
			metav1.PatchOptions{FieldManager: "probe", DryRun: []string{metav1.DryRunAll}})
		if err != nil && strings.Contains(err.Error(), "house rule 7") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the policy did not become active: %v", err)
		}
		time.Sleep(50 * time.Millisecond) // the server gives no other sign
	}
}

func TestReplaceWhoseCreateIsRefusedSaysThatNothingExists(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	target := targetIn(ns)
	base := objects(t, ns, immutableConfig)
	merge := objects(t, ns, strings.Replace(immutableConfig, "colour: red", "forbidden: x", 1))
	synced(t, c, target, nil, base)
	p := planned(t, c, target, base, merge)
	forbidden(t, c, ns)
	r, err := c.Apply(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := stepOf(t, r, "ConfigMap", "fixed")
	if s.State != cluster.Failed || !strings.Contains(s.Message, "NOT EXIST") || !strings.Contains(s.Message, "house rule 7") {
		t.Errorf("got %+v", s)
	}
	// Whatever the pull does next, the loss is seen: here it is withdrawn, and
	// base is planned as it stands.
	p = planned(t, c, target, base, base)
	if len(p.Changes) != 1 || p.Changes[0].Action != cluster.Create {
		t.Fatalf("want the object created again, got %+v", p.Changes)
	}
	applied(t, c, p)
	settled(t, c, target, base)
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

// Interrupted at any point, an apply reports truthfully, and the next one
// finishes the work.
func TestInterruptedApplyIsContinued(t *testing.T) {
	c := connected(t)
	for _, after := range []int{0, 1, 3, 7, 12, 20} {
		t.Run(fmt.Sprint("after step ", after), func(t *testing.T) {
			ns := shared.Get(t).Namespace(t)
			target := targetIn(ns)
			base := objects(t, ns, configMap, inFile(configMap, "settings", "old"))
			synced(t, c, target, nil, base)
			merge := objects(t, ns, strings.Replace(configMap, "red", "blue", 1), service, deployment, inFile(service, "web", "web2"))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			begun := 0
			r, err := c.Apply(ctx, planned(t, c, target, base, merge), func(s cluster.Step) {
				if s.State == cluster.Waiting {
					return
				}
				if begun++; begun > after {
					cancel()
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			assertTruth(t, c, ns, r)
			synced(t, c, target, base, merge)
			settled(t, c, target, merge)
		})
	}
}

// assertTruth compares what the steps claim with what is there.
func assertTruth(t *testing.T, c *Cluster, ns string, r *cluster.Result) {
	t.Helper()
	resources := map[string]string{"ConfigMap": "configmaps.v1", "Service": "services.v1", "Deployment": "deployments.v1.apps"}
	for _, s := range r.Steps {
		live := liveOf(t, c, resources[s.Ref.Kind], ns, s.Ref.Name)
		done := s.State == cluster.Healthy || s.State == cluster.Applied
		switch {
		case !done && s.State != cluster.Skipped:
			t.Errorf("%s %s ended as %s: %s", s.Action, s.Ref, s.State, s.Message)
		case s.Action == cluster.Create && done != (live != nil), s.Action == cluster.Delete && done != (live == nil):
			t.Errorf("%s %s is said to be %s, but live is %v", s.Action, s.Ref, s.State, live != nil)
		case s.Action == cluster.Update && done != strings.Contains(fmt.Sprint(live.Object["data"]), "blue"):
			t.Errorf("%s %s is said to be %s, but live is %v", s.Action, s.Ref, s.State, live.Object["data"])
		}
	}
}

func TestWaitingOutlivesALostConnection(t *testing.T) {
	cp := shared.Get(t)
	link, err := cp.Delay(0)
	if err != nil {
		t.Fatal(err)
	}
	defer link.Close()
	c, direct, ns := connectedTo(t, link.Access), connected(t), cp.Namespace(t)
	p := planned(t, c, targetIn(ns), nil, objects(t, ns, stuckDeployment))
	r, err := c.Apply(t.Context(), p, func(s cluster.Step) {
		if s.State != cluster.Applied {
			return
		}
		go func() {
			_ = link.Cut()
			// While nobody watches, the Deployment becomes able to run.
			_, err := direct.api.Resource(gvrOf("deployments.v1.apps"), ns).Patch(context.WithoutCancel(t.Context()), "stuck", types.MergePatchType,
				[]byte(`{"spec":{"template":{"spec":{"nodeSelector":null}}}}`), metav1.PatchOptions{FieldManager: "kubectl-edit"})
			if err != nil {
				t.Error(err)
			}
			if err := link.Restore(); err != nil {
				t.Error(err)
			}
		}()
	})
	if err != nil || !r.OK() {
		t.Errorf("%v %+v", err, r)
	}
}

func TestPlanFromElsewhereIsRefused(t *testing.T) {
	c := connected(t)
	for _, p := range []*cluster.Plan{
		{}, {Prepared: 1}, {Prepared: (*prepared)(nil)}, {Prepared: &prepared{}, Changes: make([]cluster.Change, 1)},
		{Prepared: &prepared{inv: &inventory.Inventory{}}, Problems: []cluster.Problem{{Message: "no"}}},
		{Prepared: &prepared{inv: &inventory.Inventory{Ephemeral: true}}},
	} {
		if r, err := c.Apply(t.Context(), p, nil); err == nil || r != nil {
			t.Errorf("applied %+v", p)
		}
	}
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

// A broken connection during a write leaves its outcome open; it must not be
// told as success, and the inventory must be written for what is known.
func TestWriteWithoutAnswerIsNotSuccess(t *testing.T) {
	cfg, ns := shared.Get(t).RESTConfig(), shared.Get(t).Namespace(t)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return forgetful{next} })
	c, err := New(Config{Name: "test", REST: cfg})
	if err != nil {
		t.Fatal(err)
	}
	target := targetIn(ns)
	merge := objects(t, ns, inFile(configMap, "settings", "unheard"), inFile(configMap, "settings", "heard"))
	r, err := c.Apply(t.Context(), planned(t, c, target, nil, merge), nil)
	if err != nil {
		t.Fatal(err)
	}
	if s := stepOf(t, r, "ConfigMap", "unheard"); s.State != cluster.Failed || !strings.Contains(s.Message, "whether it was carried out is not known") {
		t.Errorf("got %+v", s)
	}
	if s := stepOf(t, r, "ConfigMap", "heard"); s.State != cluster.Healthy {
		t.Errorf("got %+v", s)
	}
	// The next apply finds out what happened and finishes.
	good := connected(t)
	synced(t, good, target, nil, merge)
	settled(t, good, target, merge)
}

// forgetful carries writes to the object "unheard" out and loses the answer.
type forgetful struct{ next http.RoundTripper }

func (f forgetful) RoundTrip(q *http.Request) (*http.Response, error) {
	resp, err := f.next.RoundTrip(q)
	if err == nil && q.Method == http.MethodPatch && strings.HasSuffix(q.URL.Path, "/unheard") && q.URL.Query().Get("dryRun") == "" {
		var lost bytes.Buffer
		_, _ = io.Copy(&lost, resp.Body)
		resp.Body.Close()
		return nil, fmt.Errorf("connection reset after %d bytes", lost.Len())
	}
	return resp, err
}
