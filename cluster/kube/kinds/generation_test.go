package kinds

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/client"
)

const podTemplate = `{metadata: {labels: {app: x}}, spec: {restartPolicy: %s, containers: [{name: c, image: "i:1"}]}}`

// specimen is an object of a kind, and merge patches of what is outside metadata
// and status: each has to move the generation of kinds that are in the table.
type specimen struct {
	object  string
	patches []string
	// scale is set for kinds with that subresource.
	scale bool
	// status is a merge patch that its status takes, if it has any.
	status string
}

var specimens = []specimen{
	{workload("apps/v1", "Deployment", "Always"), []string{`{"spec":{"paused":true}}`, `{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"i:2"}]}}}}`}, true, `{"status":{"replicas":3}}`},
	{workload("apps/v1", "DaemonSet", "Always"), []string{`{"spec":{"minReadySeconds":3}}`, `{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"i:2"}]}}}}`}, false, `{"status":{"numberAvailable":3}}`},
	{workload("apps/v1", "ReplicaSet", "Always"), []string{`{"spec":{"minReadySeconds":3}}`}, true, `{"status":{"replicas":3}}`},
	{workload("apps/v1", "StatefulSet", "Always"), []string{`{"spec":{"minReadySeconds":3}}`}, true, `{"status":{"replicas":3}}`},
	{`{apiVersion: v1, kind: ReplicationController, metadata: {name: x}, spec: {selector: {app: x}, template: ` + fmt.Sprintf(podTemplate, "Always") + `}}`,
		[]string{`{"spec":{"minReadySeconds":3}}`}, true, `{"status":{"replicas":3}}`},
	{`{apiVersion: batch/v1, kind: Job, metadata: {name: x}, spec: {suspend: true, template: ` + fmt.Sprintf(podTemplate, "Never") + `}}`,
		[]string{`{"spec":{"parallelism":2}}`, `{"spec":{"ttlSecondsAfterFinished":2}}`}, false, ``},
	{`{apiVersion: batch/v1, kind: CronJob, metadata: {name: x}, spec: {schedule: "1 1 1 1 1", jobTemplate: {spec: {template: ` + fmt.Sprintf(podTemplate, "Never") + `}}}}`,
		[]string{`{"spec":{"suspend":true}}`}, false, `{"status":{"lastScheduleTime":"2020-01-01T00:00:00Z"}}`},
	{`{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: x}, spec: {minAvailable: 1, selector: {matchLabels: {app: x}}}}`,
		[]string{`{"spec":{"minAvailable":2}}`}, false, `{"status":{"expectedPods":3}}`},
	{`{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: x}, spec: {defaultBackend: {service: {name: x, port: {number: 80}}}}}`,
		[]string{`{"spec":{"ingressClassName":"y"}}`}, false, `{"status":{"loadBalancer":{"ingress":[{"ip":"10.0.0.1"}]}}}`},
	{`{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: x}, spec: {controller: example.org/c}}`,
		[]string{`{"spec":{"parameters":{"kind":"A","name":"b","scope":"Cluster"}}}`}, false, ``},
	{`{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: x}, spec: {podSelector: {}}}`,
		[]string{`{"spec":{"policyTypes":["Egress"]}}`}, false, ``},
	{`{apiVersion: flowcontrol.apiserver.k8s.io/v1, kind: FlowSchema, metadata: {name: x}, spec: {priorityLevelConfiguration: {name: exempt}}}`,
		[]string{`{"spec":{"matchingPrecedence":77}}`}, false, `{"status":{"conditions":[{"type":"Dangling","status":"True","lastTransitionTime":"2020-01-01T00:00:00Z"}]}}`},
	{`{apiVersion: flowcontrol.apiserver.k8s.io/v1, kind: PriorityLevelConfiguration, metadata: {name: x}, spec: {type: Limited, limited: {nominalConcurrencyShares: 1, limitResponse: {type: Reject}}}}`,
		[]string{`{"spec":{"limited":{"nominalConcurrencyShares":2}}}`}, false, `{"status":{"conditions":[{"type":"Odd","status":"True","lastTransitionTime":"2020-01-01T00:00:00Z"}]}}`},
	{webhook("MutatingWebhookConfiguration"), []string{`{"webhooks":[{"name":"a.example.org","timeoutSeconds":3,"clientConfig":{"url":"https://a.example.org"},"sideEffects":"None","admissionReviewVersions":["v1"]}]}`}, false, ``},
	{webhook("ValidatingWebhookConfiguration"), []string{`{"webhooks":[]}`}, false, ``},
	{`{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicy, metadata: {name: x}, spec: {matchConstraints: {resourceRules: [{apiGroups: [no.example.org], apiVersions: [v1], operations: [CREATE], resources: [nothing]}]}, validations: [{expression: "true"}]}}`,
		[]string{`{"spec":{"failurePolicy":"Ignore"}}`}, false, `{"status":{"observedGeneration":1}}`},
	{`{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicyBinding, metadata: {name: x}, spec: {policyName: x, validationActions: [Warn]}}`,
		[]string{`{"spec":{"validationActions":["Audit"]}}`}, false, ``},
	{crdOf("proofs", "Proof", "status: {}"), []string{`{"spec":{"names":{"shortNames":["prf"]}}}`}, false, `{"status":{"conditions":[{"type":"Odd","status":"True","lastTransitionTime":"2020-01-01T00:00:00Z"}]}}`},
}

func workload(apiVersion, kind, restart string) string {
	name := ""
	if kind == "StatefulSet" {
		name = "serviceName: x, "
	}
	return fmt.Sprintf(`{apiVersion: %s, kind: %s, metadata: {name: x}, spec: {%sselector: {matchLabels: {app: x}}, template: %s}}`, apiVersion, kind, name, fmt.Sprintf(podTemplate, restart))
}

func webhook(kind string) string {
	return fmt.Sprintf(`{apiVersion: admissionregistration.k8s.io/v1, kind: %s, metadata: {name: x}, webhooks: [{name: a.example.org, clientConfig: {url: "https://a.example.org"}, sideEffects: None, admissionReviewVersions: [v1]}]}`, kind)
}

func crdOf(plural, kind, subresources string) string {
	return fmt.Sprintf(`{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: %s.example.org}, spec: {group: example.org, scope: Namespaced, names: {plural: %s, kind: %s},
  versions: [{name: v1, served: true, storage: true, subresources: {%s}, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]}}`, plural, plural, kind, subresources)
}

// The table of kinds with a trustworthy generation, proven on the server: what
// is outside metadata and status moves it, by whatever subresource, and status
// does not. (Labels and the like do not have to leave it alone, they are
// compared by value; on a Deployment, annotations do move it.)
func TestGenerationsMoveWithEveryChangeOutsideMetadataAndStatus(t *testing.T) {
	p := newProof(t)
	proven := map[string]bool{}
	for _, s := range specimens {
		kind := p.prove(t, s)
		if !generations[kind] {
			t.Errorf("%s keeps a generation that can be trusted, and is not in the table", kind)
		}
		proven[kind] = true
	}
	for kind := range generations {
		if !proven[kind] {
			t.Errorf("%s is in the table, and nothing proves it", kind)
		}
	}
	for gvk := range p.served.ByGVK {
		delete(proven, cluster.Ref{Group: gvk.Group, Kind: gvk.Kind}.GroupKind())
	}
	if len(proven) > 0 {
		t.Errorf("the server does not serve %v", proven)
	}
}

// Custom resources keep one in any case, with a status subresource (then status
// is left out) or without (then it counts).
func TestGenerationsOfCustomResourcesMove(t *testing.T) {
	p := newProof(t)
	for _, s := range []struct{ crd, kind, status string }{
		{crdOf("withs", "With", "status: {}"), "With", `{"status":{"a":"b"}}`},
		{crdOf("withouts", "Without", ""), "Without", ""},
	} {
		p.create(t, s.crd)
		p.served = p.until(t, schema.GroupVersionKind{Group: "example.org", Version: "v1", Kind: s.kind})
		p.prove(t, specimen{
			object:  fmt.Sprintf(`{apiVersion: example.org/v1, kind: %s, metadata: {name: x}, spec: {a: 1}, beside: 1}`, s.kind),
			patches: []string{`{"spec":{"a":2}}`, `{"beside":2}`}, status: s.status,
		})
		gvk := schema.GroupVersionKind{Group: "example.org", Version: "v1", Kind: s.kind}
		if !p.discovery.Generations(t.Context(), []schema.GroupVersionKind{gvk})(gvk) {
			t.Errorf("the generation of %s is not trusted", gvk)
		}
	}
}

// Of the kinds that an aggregated API server serves, nothing is known; and where
// the account may not ask who serves a kind, that is so for all custom kinds.
func TestGenerationsOfAggregatedKindsAreNotTrusted(t *testing.T) {
	p := newProof(t)
	p.create(t, `{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: v1.elsewhere.example.org}, spec: {group: elsewhere.example.org, version: v1, groupPriorityMinimum: 1, versionPriority: 1, insecureSkipTLSVerify: true, service: {name: x, namespace: default}}}`)
	gvk := schema.GroupVersionKind{Group: "elsewhere.example.org", Version: "v1", Kind: "Thing"}
	if p.discovery.Generations(t.Context(), []schema.GroupVersionKind{gvk})(gvk) {
		t.Error("the generation of an aggregated kind is trusted")
	}
	access, err := shared.Get(t).Login("nobody", "nobody's token")
	if err != nil {
		t.Fatal(err)
	}
	api, err := client.New(client.Config{Name: "test", REST: access.RESTConfig()})
	if err != nil {
		t.Fatal(err)
	}
	custom := schema.GroupVersionKind{Group: "example.org", Version: "v1", Kind: "With"}
	trusted := NewDiscovery(api).Generations(t.Context(), []schema.GroupVersionKind{custom})
	if trusted(custom) || !trusted(schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}) {
		t.Error("without the right to ask, custom kinds are trusted, or built-in ones are not")
	}
}

// proof writes specimens.
type proof struct {
	api       *client.Client
	discovery *Discovery
	served    *Served
	namespace string
}

func newProof(t *testing.T) *proof {
	api, err := client.New(client.Config{Name: "test", REST: shared.Get(t).RESTConfig()})
	if err != nil {
		t.Fatal(err)
	}
	p := &proof{api: api, discovery: NewDiscovery(api), namespace: shared.Get(t).Namespace(t)}
	if p.served, err = p.discovery.For(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	return p
}

// until waits for a kind whose CRD was just made.
func (p *proof) until(t *testing.T, gvk schema.GroupVersionKind) *Served {
	t.Helper()
	for {
		served, err := p.discovery.For(t.Context(), []schema.GroupVersionKind{gvk})
		if err != nil {
			t.Fatal(err)
		}
		own := p.discovery.ownVersions(t.Context())
		if _, ok := served.ByGVK[gvk]; ok && own[gvk.GroupVersion()] {
			return served
		}
		if !client.Pause(t.Context(), client.FirstPause) {
			t.Fatal("never served")
		}
	}
}

func (p *proof) create(t *testing.T, doc string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(doc), u); err != nil {
		t.Fatalf("%v\n%s", err, doc)
	}
	k, ok := p.served.Get(cluster.Ref{Kind: u.GetKind()}, u.GetAPIVersion())
	if !ok {
		t.Fatalf("%s is not served", u.GroupVersionKind())
	}
	made, err := p.api.Resource(k.GVR, p.in(k)).Create(t.Context(), u, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.api.Resource(k.GVR, p.in(k)).Delete(context.WithoutCancel(t.Context()), u.GetName(), metav1.DeleteOptions{})
	})
	return made
}

func (p *proof) in(k Kind) string {
	if k.Namespaced {
		return p.namespace
	}
	return ""
}

// prove makes a specimen, changes it in all ways, and returns its kind.
func (p *proof) prove(t *testing.T, s specimen) string {
	t.Helper()
	u := p.create(t, s.object)
	gvk := u.GroupVersionKind()
	kind := cluster.Ref{Group: gvk.Group, Kind: gvk.Kind}.GroupKind()
	k, _ := p.served.Get(cluster.Ref{Group: gvk.Group, Kind: gvk.Kind}, u.GetAPIVersion())
	at := u.GetGeneration()
	if at == 0 {
		t.Errorf("%s is made without a generation", kind)
	}
	change := func(patch string, moves bool, subresources ...string) {
		t.Helper()
		before := p.patch(t, k, u.GetName(), "{}")
		p.patch(t, k, u.GetName(), patch, subresources...)
		after := p.patch(t, k, u.GetName(), "{}")
		switch moved := after.GetGeneration() > before.GetGeneration(); {
		case after.GetResourceVersion() == before.GetResourceVersion():
			t.Errorf("%s: %s changes nothing, so that it proves nothing", kind, patch)
		case moved != moves:
			t.Errorf("%s: generation %d after %s %v, was %d", kind, after.GetGeneration(), patch, subresources, before.GetGeneration())
		}
	}
	for _, patch := range s.patches {
		change(patch, true)
	}
	if s.scale {
		change(`{"spec":{"replicas":7}}`, true, "scale")
	}
	change(`{"metadata":{"labels":{"new":"label"}}}`, false)
	if s.status != "" {
		change(s.status, false, "status")
	}
	return kind
}

func (p *proof) patch(t *testing.T, k Kind, name, patch string, subresources ...string) *unstructured.Unstructured {
	t.Helper()
	if !json.Valid([]byte(patch)) {
		t.Fatalf("not JSON: %s", patch)
	}
	got, err := p.api.Resource(k.GVR, p.in(k)).Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}, subresources...)
	if err != nil {
		t.Fatalf("%s %s: %v", k.GVR, patch, err)
	}
	return got
}
