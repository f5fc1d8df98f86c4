package kube

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"lockkeeper/cluster"
)

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
