package kube

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/kinds"
)

// annWave orders objects of one stage by hand: a whole number, 0 where it is
// not set. Lower waves are applied first, and are healthy before the next wave
// begins; deletes go the other way round. It cannot move an object to another
// stage, so a wave never breaks a dependency that Kubernetes itself has.
const annWave = "lockkeeper.dev/wave"

// stage says when an object is applied; stages are named for what later ones
// need them for.
type stage int

const (
	foundations  stage = iota // namespaces and definitions of kinds
	settings                  // what workloads and bindings refer to
	bindings                  // what refers to settings: the server checks roles when they are bound
	services                  // before workloads, whose pods get their addresses
	workloads                 // and every built-in kind that is not named
	customs                   // custom resources: their controllers may be workloads of the same plan
	traffic                   // what leads to workloads, scales and protects them
	interception              // what the API server itself asks on every request
)

// stages of the built-in kinds; others are workloads, kinds of custom groups
// are customs.
var stages = map[string]stage{
	kinds.CRD:   foundations,
	"Namespace": foundations,

	"ServiceAccount": settings, "ConfigMap": settings, "Secret": settings,
	"ResourceQuota": settings, "LimitRange": settings, "PersistentVolume": settings,
	"Role.rbac.authorization.k8s.io": settings, "ClusterRole.rbac.authorization.k8s.io": settings,
	"PriorityClass.scheduling.k8s.io": settings, "RuntimeClass.node.k8s.io": settings,
	"StorageClass.storage.k8s.io": settings, "CSIDriver.storage.k8s.io": settings,
	"VolumeAttributesClass.storage.k8s.io": settings, "IngressClass.networking.k8s.io": settings,
	"NetworkPolicy.networking.k8s.io": settings,

	"RoleBinding.rbac.authorization.k8s.io": bindings, "ClusterRoleBinding.rbac.authorization.k8s.io": bindings,
	"PersistentVolumeClaim": bindings,

	"Service": services, "Endpoints": services, "EndpointSlice.discovery.k8s.io": services,

	"Ingress.networking.k8s.io": traffic, "HorizontalPodAutoscaler.autoscaling": traffic,
	"PodDisruptionBudget.policy": traffic,

	"MutatingWebhookConfiguration.admissionregistration.k8s.io":     interception,
	"ValidatingWebhookConfiguration.admissionregistration.k8s.io":   interception,
	"MutatingAdmissionPolicy.admissionregistration.k8s.io":          interception,
	"MutatingAdmissionPolicyBinding.admissionregistration.k8s.io":   interception,
	"ValidatingAdmissionPolicy.admissionregistration.k8s.io":        interception,
	"ValidatingAdmissionPolicyBinding.admissionregistration.k8s.io": interception,
	"APIService.apiregistration.k8s.io":                             interception,
}

func stageOf(r cluster.Ref) stage {
	if s, ok := stages[r.GroupKind()]; ok {
		return s
	}
	if strings.Contains(r.Group, ".") && !strings.HasSuffix(r.Group, ".k8s.io") {
		return customs
	}
	return workloads
}

// place is an object's place in the order.
type place struct {
	stage stage
	wave  int
}

func (p place) compare(o place) int {
	return cmp.Or(cmp.Compare(p.stage, o.stage), cmp.Compare(p.wave, o.wave))
}

// placeOf reads an object's place; obj is the desired object, or the live one
// for a delete, and may be nil.
func placeOf(r cluster.Ref, obj *unstructured.Unstructured) (place, error) {
	p := place{stage: stageOf(r)}
	if obj == nil {
		return p, nil
	}
	text, ok := obj.GetAnnotations()[annWave]
	if !ok {
		return p, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return p, fmt.Errorf("annotation %s: %q is not a whole number", annWave, text)
	}
	p.wave = n
	return p, nil
}

// group is what may be done at the same time: indexes into the plan's changes.
type group struct {
	place   place
	members []int
}

// inOrder groups items by place, first to last.
func inOrder(places map[int]place) []group {
	byPlace := map[place][]int{}
	for i, p := range places {
		byPlace[p] = append(byPlace[p], i)
	}
	groups := make([]group, 0, len(byPlace))
	for _, p := range slices.SortedFunc(maps.Keys(byPlace), place.compare) {
		members := byPlace[p]
		slices.Sort(members)
		groups = append(groups, group{p, members})
	}
	return groups
}

// waitAfter says whether what was applied up to groups[i] has to be healthy
// before the next group: foundations always, waves because they ask for it,
// everything before the API server is told to depend on it, and the last.
func waitAfter(groups []group, i int) bool {
	if i == len(groups)-1 {
		return true
	}
	this, next := groups[i].place.stage, groups[i+1].place.stage
	return this == foundations || this == next || next == interception
}
