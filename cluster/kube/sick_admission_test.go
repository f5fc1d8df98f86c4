package kube

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"lockkeeper/cluster"
)

// webhook is an admission webhook of the test's own that judges the ConfigMaps
// of a namespace, as it is told to.
type webhook struct {
	answer atomic.Value // func(w, r, uid)
	asked  atomic.Int64
}

type admission func(w http.ResponseWriter, r *http.Request, uid string)

func verdict(allowed bool, message string) admission {
	return func(w http.ResponseWriter, _ *http.Request, uid string) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":%q,"allowed":%t,"status":{"message":%q}}}`, uid, allowed, message)
	}
}

func (h *webhook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.asked.Add(1)
	var review struct{ Request struct{ UID string } }
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	h.answer.Load().(admission)(w, r, review.Request.UID)
}

// newWebhook registers one that allows everything, and waits until it is asked.
func newWebhook(t *testing.T, c *Cluster, ns string) *webhook {
	t.Helper()
	h := &webhook{}
	h.answer.Store(verdict(true, ""))
	server := httptest.NewTLSServer(h)
	t.Cleanup(server.Close)
	bundle := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	kubectl(t, fmt.Sprintf(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: %[1]s}
webhooks:
- name: checks.%[1]s.example.org
  clientConfig: {url: %[2]q, caBundle: %[3]s}
  rules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE, UPDATE, DELETE], resources: [configmaps]}]
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %[1]s}}
  sideEffects: None
  admissionReviewVersions: [v1]
  failurePolicy: Fail
  timeoutSeconds: 1
`, ns, server.URL+"/judge", bundle), "apply", "-f", "-")
	for h.asked.Load() == 0 { // it takes a moment to be in force; each round is a request
		planned(t, c, targetIn(ns), nil, objects(t, ns, configMap))
	}
	return h
}

// A webhook that fails, hangs or talks nonsense is named, by plan and apply; its
// refusal is told in its own words. What it has nothing to do with is applied.
func TestAdmissionWebhooksThatFailOrHang(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	h, target := newWebhook(t, c, ns), targetIn(ns)
	base, merge := objects(t, ns, configMap), objects(t, ns, changed(configMap, "red", "blue"), service)
	synced(t, c, target, nil, base)
	hang := admission(func(_ http.ResponseWriter, r *http.Request, _ string) { <-r.Context().Done() })
	fail := admission(func(w http.ResponseWriter, _ *http.Request, _ string) { http.Error(w, "out of memory", 500) })
	nonsense := admission(func(w http.ResponseWriter, _ *http.Request, _ string) { fmt.Fprint(w, "hello") })
	name := `"checks.` + ns + `.example.org"`
	for _, tc := range []struct {
		name    string
		answer  admission
		want    []string
		passing bool
	}{
		{"fails", fail, []string{name, "does not answer as it should", "look at the program behind it"}, true},
		{"talks nonsense", nonsense, []string{name, "does not answer as it should"}, true},
		{"refuses", verdict(false, "blue is for Sundays"), []string{name, "blue is for Sundays"}, false},
		{"hangs", hang, []string{name, "does not answer as it should", "deadline"}, true},
	} {
		h.answer.Store(tc.answer)
		begun := time.Now()
		p, err := c.Plan(t.Context(), cluster.Request{Target: target, Base: base, Merge: merge})
		if err != nil || len(p.Problems) != 1 || p.Problems[0].Passing != tc.passing {
			t.Fatalf("%s: %v %+v", tc.name, err, p.Problems)
		}
		for _, w := range append(tc.want, "ConfigMap "+ns+"/settings") {
			if !strings.Contains(p.Problems[0].Message, w) {
				t.Errorf("%s: the plan says %q, not %q", tc.name, p.Problems[0].Message, w)
			}
		}
		h.answer.Store(verdict(true, ""))
		good := planned(t, c, target, base, merge)
		h.answer.Store(tc.answer)
		r, err := c.Apply(t.Context(), good, nil)
		if err != nil {
			t.Fatal(err)
		}
		s := stepOf(t, r, "ConfigMap", "settings")
		for _, w := range tc.want {
			if s.State != cluster.Failed || !strings.Contains(s.Message, w) {
				t.Errorf("%s: the apply says %s %q, not %q", tc.name, s.State, s.Message, w)
			}
		}
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("%s: it took %s", tc.name, took)
		}
	}
	h.answer.Store(verdict(true, ""))
	synced(t, c, target, base, merge)
	settled(t, c, target, merge)
}

// A quota that does not leave room fails the objects that are over it, and says
// what to do; with more room, the rest follows.
func TestQuotaExceeded(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	quota := "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: small, namespace: " + ns + "}\nspec: {hard: {count/services: '1'}}\n"
	kubectl(t, quota, "apply", "-f", "-")
	kubectl(t, "", "wait", "-n", ns, "resourcequota/small", "--for=jsonpath={.status.used.count/services}=0")
	target, merge := targetIn(ns), objects(t, ns, service, inFile(service, "web", "web2"), configMap)
	r, err := c.Apply(t.Context(), planned(t, c, target, nil, merge), nil) // each fits alone
	if err != nil {
		t.Fatal(err)
	}
	var failed []string
	for _, s := range r.Steps {
		if s.State == cluster.Failed {
			failed = append(failed, s.Message)
		}
	}
	if len(failed) != 1 || !strings.Contains(failed[0], "exceeded quota: small") || !strings.Contains(failed[0], "raise the ResourceQuota") {
		t.Errorf("failed: %q", failed)
	}
	p, err := c.Plan(t.Context(), cluster.Request{Target: target, Merge: merge})
	if err != nil || len(p.Problems) != 1 || !strings.Contains(p.Problems[0].Message, "raise the ResourceQuota") || !strings.Contains(p.Problems[0].Message, "Service "+ns+"/web") {
		t.Errorf("%v %+v", err, p)
	}
	kubectl(t, strings.Replace(quota, "'1'", "'2'", 1), "apply", "-f", "-")
	for len(p.Problems) > 0 { // the server takes a moment to see it; each round is a request
		if p, err = c.Plan(t.Context(), cluster.Request{Target: target, Merge: merge}); err != nil {
			t.Fatal(err)
		}
	}
	synced(t, c, target, nil, merge)
	settled(t, c, target, merge)
}

// An API server whose priority and fairness gives lockkeeper's account one seat,
// and refuses what comes beside, is asked in its own time: the plan is whole.
func TestAPIPriorityThatLeavesLittleRoom(t *testing.T) {
	ns := shared.Get(t).Namespace(t)
	connected(t)
	kubectl(t, "", "create", "clusterrolebinding", ns, "--clusterrole=cluster-admin", "--user="+ns)
	kubectl(t, strings.ReplaceAll(`
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: PriorityLevelConfiguration
metadata: {name: %NS%}
spec: {type: Limited, limited: {nominalConcurrencyShares: 0, lendablePercent: 0, borrowingLimitPercent: 0, limitResponse: {type: Reject}}}
---
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: FlowSchema
metadata: {name: %NS%}
spec:
  matchingPrecedence: 2
  priorityLevelConfiguration: {name: %NS%}
  rules:
  - subjects: [{kind: User, user: {name: %NS%}}]
    resourceRules: [{apiGroups: ['*'], resources: ['*'], verbs: ['*'], namespaces: ['*'], clusterScope: true}]
    nonResourceRules: [{nonResourceURLs: ['*'], verbs: ['*']}]
`, "%NS%", ns), "apply", "-f", "-")
	rc := shared.Get(t).RESTConfig()
	rc.Impersonate = rest.ImpersonationConfig{UserName: ns}
	c, err := New(Config{Name: "test", REST: rc})
	if err != nil {
		t.Fatal(err)
	}
	var docs []string
	for i := range 4 {
		docs = append(docs, inFile(configMap, "settings", fmt.Sprint("c-", i)))
	}
	rejected := `apiserver_flowcontrol_rejected_requests_total{flow_schema="` + ns + `"`
	for deadline := time.Now().Add(time.Minute); ; { // until it is in force
		p := planned(t, c, targetIn(ns), nil, objects(t, ns, docs...))
		if len(p.Changes) != len(docs) {
			t.Fatalf("%d changes", len(p.Changes))
		}
		if strings.Contains(kubectl(t, "", "get", "--raw", "/metrics"), rejected) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("no request was refused")
		}
	}
}

const gadgets = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gadgets.%NS%.example.org}
spec:
  group: %NS%.example.org
  names: {kind: Gadget, plural: gadgets, singular: gadget, listKind: GadgetList}
  scope: Namespaced
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
`

// A CRD that somebody deletes between plan and apply takes its objects along:
// that is said of each of them, and not that they are well, or unchanged. When
// instead nobody answers for its group, nothing is known of them.
func TestCRDDeletedUnderUs(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	target := targetIn(ns)
	gadget := func(name, speed string) string {
		return "apiVersion: %NS%.example.org/v1\nkind: Gadget\nmetadata: {name: " + name + "}\nspec: {speed: " + speed + "}\n"
	}
	kubectl(t, strings.ReplaceAll(gadgets, "%NS%", ns), "apply", "-f", "-")
	kubectl(t, "", "wait", "--for=condition=Established", "crd/gadgets."+ns+".example.org")
	base := objects(t, ns, gadget("kept", "one"), gadget("old", "one"), configMap)
	synced(t, c, target, nil, base)
	merge := objects(t, ns, gadget("kept", "two"), gadget("new", "one"), changed(configMap, "red", "blue"))
	p := planned(t, c, target, base, merge)
	kubectl(t, "", "delete", "crd", "gadgets."+ns+".example.org")
	r, err := c.Apply(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"kept", "new"} {
		if s := stepOf(t, r, "Gadget", name); s.State != cluster.Failed || !strings.Contains(s.Message, "the cluster test does not serve it; install its CRD first") {
			t.Errorf("got %+v", s)
		}
	}
	p, err = c.Plan(t.Context(), cluster.Request{Target: target, Base: base, Merge: merge})
	if err != nil || len(p.Problems) != 2 || !strings.Contains(p.Problems[0].Message, "install its CRD first") {
		t.Errorf("%v %+v", err, p)
	}
	service := "v1." + ns + ".example.org"
	kubectl(t, fmt.Sprintf("apiVersion: apiregistration.k8s.io/v1\nkind: APIService\nmetadata: {name: %[1]s}\nspec: {group: %[2]s.example.org, version: v1, groupPriorityMinimum: 1, versionPriority: 1, insecureSkipTLSVerify: true, service: {name: nowhere, namespace: %[2]s}}\n", service, ns), "apply", "-f", "-")
	defer kubectl(t, "", "delete", "apiservice", service)
	for deadline := time.Now().Add(time.Minute); ; {
		c.kinds.Forget()
		p, err = c.Plan(t.Context(), cluster.Request{Target: target, Base: base, Merge: objects(t, ns, configMap)})
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Warnings) > 0 { // discovery knows
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the API service is not told to be broken")
		}
	}
	for _, problem := range p.Problems {
		if !strings.Contains(problem.Message, "does not answer") || !problem.Passing {
			t.Errorf("got %+v", problem)
		}
	}
	if len(p.Problems) < 2 || len(p.Changes) != 1 || p.Changes[0].Ref.Kind != "ConfigMap" || len(p.Prepared.(*prepared).drop) > 0 {
		t.Errorf("%+v %+v, want a problem for each Gadget that is to go", p.Problems, p.Changes)
	}
}

// Certificates that expire, of the client or of the server, are told apart, and
// named; neither is "no change".
func TestExpiredCertificates(t *testing.T) {
	ns := shared.Get(t).Namespace(t)
	connected(t)
	target, docs := targetIn(ns), objects(t, ns, configMap)
	access, err := shared.Get(t).Certificate("short", 3*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(Config{Name: "production", REST: access.RESTConfig()})
	if err != nil {
		t.Fatal(err)
	}
	planned(t, c, target, nil, docs)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) { // until it has expired
		_, err := c.Plan(t.Context(), cluster.Request{Target: target, Merge: docs})
		if err != nil {
			if !strings.Contains(err.Error(), "production refused lockkeeper's credentials") || !strings.Contains(err.Error(), "expired") {
				t.Errorf("got %v", err)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("an expired certificate is accepted")
		}
	}
	c, road := sickRoad(t, 0)
	if err := road.Expire(); err != nil {
		t.Fatal(err)
	}
	_, err = c.Plan(t.Context(), cluster.Request{Target: target, Merge: docs})
	if err == nil || !strings.Contains(err.Error(), "certificate of the cluster test at https://127.0.0.1:") || !strings.Contains(err.Error(), "renew it on its API server") {
		t.Errorf("got %v", err)
	}
}
