package kube

import (
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"lockkeeper/cluster"
)

func TestDependenciesComeFirst(t *testing.T) {
	kinds := []cluster.Ref{
		{Kind: "Namespace"},
		{Kind: "ServiceAccount"},
		{Group: "rbac.authorization.k8s.io", Kind: "RoleBinding"},
		{Kind: "Service"},
		{Group: "apps", Kind: "Deployment"},
		{Group: "example.org", Kind: "Widget"},
		{Group: "policy", Kind: "PodDisruptionBudget"},
		{Group: "admissionregistration.k8s.io", Kind: "ValidatingWebhookConfiguration"},
	}
	for i := 1; i < len(kinds); i++ {
		if a, b := stageOf(kinds[i-1]), stageOf(kinds[i]); a >= b {
			t.Errorf("%s is in stage %d, %s in stage %d: want an earlier one for the first", kinds[i-1].GroupKind(), a, kinds[i].GroupKind(), b)
		}
	}
	if stageOf(cluster.Ref{Group: "snapshot.storage.k8s.io", Kind: "Other"}) != workloads {
		t.Error("a kind of Kubernetes that is not named should be among the workloads")
	}
}

func TestWaveIsReadAndChecked(t *testing.T) {
	ref := cluster.Ref{Group: "apps", Kind: "Deployment", Namespace: "a", Name: "b"}
	obj := &unstructured.Unstructured{Object: map[string]any{}}
	obj.SetAnnotations(map[string]string{annWave: "-3"})
	if p, err := placeOf(ref, obj); err != nil || p != (place{workloads, -3}) {
		t.Errorf("got %v, %v", p, err)
	}
	for _, bad := range []string{"", "first", "1.5", "99999999999999999999"} {
		obj.SetAnnotations(map[string]string{annWave: bad})
		if _, err := placeOf(ref, obj); err == nil {
			t.Errorf("wave %q was taken", bad)
		}
	}
}

func TestGroupsAndWaits(t *testing.T) {
	groups := inOrder(map[int]place{
		0: {interception, 0}, 1: {workloads, 1}, 2: {workloads, 0}, 3: {foundations, 0},
		4: {settings, 0}, 5: {workloads, 0}, 6: {traffic, 0},
	})
	var members [][]int
	var waits []bool
	for i, g := range groups {
		members = append(members, g.members)
		waits = append(waits, waitAfter(groups, i))
	}
	if want := [][]int{{3}, {4}, {2, 5}, {1}, {6}, {0}}; !slices.EqualFunc(members, want, slices.Equal) {
		t.Errorf("groups %v, want %v", members, want)
	}
	if want := []bool{true, false, true, false, true, true}; !slices.Equal(waits, want) {
		t.Errorf("waits %v, want %v", waits, want)
	}
}
