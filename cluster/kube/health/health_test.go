package health

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"lockkeeper/cluster"
)

func TestHealthOfKinds(t *testing.T) {
	for _, tc := range []struct {
		name, object string
		state        cluster.StepState
		message      string
	}{
		{"ConfigMap", `{apiVersion: v1, kind: ConfigMap}`, cluster.Healthy, ""},
		{"custom resource without status", `{apiVersion: example.org/v1, kind: Widget, metadata: {generation: 1}}`, cluster.Healthy, ""},
		{"custom resource not ready", `{apiVersion: example.org/v1, kind: Widget, status: {conditions: [{type: Ready, status: "False", reason: Broken, message: wheel missing}]}}`, "", "wheel missing"},
		{"custom resource behind", `{apiVersion: example.org/v1, kind: Widget, metadata: {generation: 2}, status: {observedGeneration: 1}}`, "", "observed generation is 1"},
		{"custom resource whose status is no object", `{apiVersion: example.org/v1, kind: Widget, status: fine}`, cluster.Healthy, ""},
		{"fresh Deployment", `{apiVersion: apps/v1, kind: Deployment, metadata: {generation: 1}, spec: {replicas: 2, progressDeadlineSeconds: 600}}`, "", "Replicas: 0/2"},
		{"stuck Deployment", `{apiVersion: apps/v1, kind: Deployment, spec: {replicas: 1}, status: {conditions: [{type: Progressing, status: "False", reason: ProgressDeadlineExceeded}]}}`, cluster.Unhealthy, "Progress deadline exceeded"},
		{"paused Deployment", `{apiVersion: apps/v1, kind: Deployment, spec: {replicas: 1, paused: true}}`, cluster.Healthy, "paused"},
		{"running Job", `{apiVersion: batch/v1, kind: Job, status: {active: 2, startTime: "2026-01-01T00:00:00Z"}}`, "", "2 pods active"},
		{"complete Job", `{apiVersion: batch/v1, kind: Job, status: {conditions: [{type: Complete, status: "True"}]}}`, cluster.Healthy, ""},
		{"failed Job", `{apiVersion: batch/v1, kind: Job, status: {conditions: [{type: Failed, status: "True", message: backoff limit}]}}`, cluster.Unhealthy, "backoff limit"},
		{"suspended Job", `{apiVersion: batch/v1, kind: Job, spec: {suspend: true}}`, cluster.Healthy, "suspended"},
		{"claim that waits for its first pod", `{apiVersion: v1, kind: PersistentVolumeClaim, status: {phase: Pending}}`, cluster.Healthy, ""},
		{"lost claim", `{apiVersion: v1, kind: PersistentVolumeClaim, status: {phase: Lost}}`, cluster.Unhealthy, "lost"},
		{"APIService", `{apiVersion: apiregistration.k8s.io/v1, kind: APIService, status: {conditions: [{type: Available, status: "False", message: no endpoints}]}}`, "", "no endpoints"},
		{"on its way out", `{apiVersion: batch/v1, kind: Job, metadata: {deletionTimestamp: "2026-01-01T00:00:00Z"}}`, cluster.Unhealthy, "deleted by somebody"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			obj := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte(tc.object), obj); err != nil {
				t.Fatal(err)
			}
			v := Of(obj)
			if v.State != tc.state || !strings.Contains(v.Message, tc.message) {
				t.Errorf("got %q %q, want %q %q", v.State, v.Message, tc.state, tc.message)
			}
		})
	}
}

func TestDeletionTellsWhatItWaitsFor(t *testing.T) {
	for _, tc := range []struct{ object, want string }{
		{`{apiVersion: v1, kind: ConfigMap, metadata: {finalizers: [example.org/keep]}}`, "finalizer example.org/keep"},
		{`{apiVersion: v1, kind: Namespace, status: {conditions: [{type: NamespaceContentRemaining, status: "True", message: "pods. has 3 resource instances"}]}}`, "pods. has 3"},
		{`{apiVersion: v1, kind: Pod}`, "still being deleted"},
	} {
		obj := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(tc.object), obj); err != nil {
			t.Fatal(err)
		}
		if got := whyNotGone(obj); !strings.Contains(got, tc.want) {
			t.Errorf("got %q, want %q in it", got, tc.want)
		}
	}
}

func TestStuckContainersAreNamed(t *testing.T) {
	waiting := func(reason string) corev1.ContainerState {
		return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}
	}
	pods := []corev1.Pod{{
		ObjectMeta: metav1.ObjectMeta{Name: "web-1"},
		Status: corev1.PodStatus{
			InitContainerStatuses: []corev1.ContainerStatus{{Name: "prepare", State: waiting("PodInitializing")}},
			ContainerStatuses: []corev1.ContainerStatus{
				{Name: "app", State: waiting("ImagePullBackOff")},
				{Name: "side", State: waiting("CrashLoopBackOff"), LastTerminationState: corev1.ContainerState{
					Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}}},
				{Name: "fine", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
			},
		},
	}}
	got := strings.Join(stuckContainers(pods), "\n")
	want := "container app of Pod web-1: ImagePullBackOff\ncontainer side of Pod web-1: CrashLoopBackOff, last exit code 137 (OOMKilled)"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestInertKindsHaveNoStatus(t *testing.T) {
	for _, tc := range []struct {
		apiVersion, kind string
		want             bool
	}{
		{"v1", "ConfigMap", true}, {"v1", "Secret", true}, {"v1", "ServiceAccount", true},
		{"rbac.authorization.k8s.io/v1", "ClusterRole", true}, {"networking.k8s.io/v1", "NetworkPolicy", true},
		{"apps/v1", "Deployment", false}, {"v1", "Service", false}, {"v1", "Namespace", false}, {"batch/v1", "Job", false},
		{"example.org/v1", "Widget", false}, {"apiextensions.k8s.io/v1", "CustomResourceDefinition", false},
		{"apiregistration.k8s.io/v1", "APIService", false},
	} {
		if got := isInert(schema.FromAPIVersionAndKind(tc.apiVersion, tc.kind)); got != tc.want {
			t.Errorf("%s %s: inert is %t", tc.apiVersion, tc.kind, got)
		}
	}
}

// A survey skips the judgement of inert objects: it must not be able to find
// anything.
func TestInertObjectsAreJudgedHealthy(t *testing.T) {
	for gvk := range scheme.Scheme.AllKnownTypes() {
		obj := &unstructured.Unstructured{}
		obj.SetGroupVersionKind(gvk)
		if v := Of(obj); isInert(gvk) && v.State != cluster.Healthy {
			t.Errorf("%s is judged %q %q", gvk, v.State, v.Message)
		}
	}
}
