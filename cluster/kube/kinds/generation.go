package kinds

import (
	"context"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"

	"lockkeeper/cluster"
)

// generations are the kinds of Kubernetes whose generation moves with every
// change outside metadata and status, whoever makes it and by whatever
// subresource; a test proves each on a real server. Kinds are here only if they
// have done so for as long as lockkeeper supports a Kubernetes version: others
// (Pod, HorizontalPodAutoscaler, CSIDriver, PriorityClass...) keep one only
// since lately, or for some of their fields.
var generations = map[string]bool{
	"Deployment.apps": true, "DaemonSet.apps": true, "StatefulSet.apps": true, "ReplicaSet.apps": true,
	"ReplicationController": true,
	"Job.batch":             true, "CronJob.batch": true,
	"PodDisruptionBudget.policy": true,

	"Ingress.networking.k8s.io": true, "IngressClass.networking.k8s.io": true, "NetworkPolicy.networking.k8s.io": true,

	"FlowSchema.flowcontrol.apiserver.k8s.io": true, "PriorityLevelConfiguration.flowcontrol.apiserver.k8s.io": true,

	"MutatingWebhookConfiguration.admissionregistration.k8s.io":     true,
	"ValidatingWebhookConfiguration.admissionregistration.k8s.io":   true,
	"ValidatingAdmissionPolicy.admissionregistration.k8s.io":        true,
	"ValidatingAdmissionPolicyBinding.admissionregistration.k8s.io": true,

	CRD: true,
}

// labelAutomanaged is on the APIServices that the API server makes itself: of
// the groups that it serves, among them those of all CRDs.
const labelAutomanaged = "kube-aggregator.kubernetes.io/automanaged"

// Generations tells which kinds keep a generation that can be trusted: those of
// the table, and all custom resources. Kinds of aggregated API servers do not,
// as nothing is known of those; which ones these are is asked only if custom
// kinds are among need, and where that may not be asked, none is trusted.
func (d *Discovery) Generations(ctx context.Context, need []schema.GroupVersionKind) func(schema.GroupVersionKind) bool {
	own := map[schema.GroupVersion]bool{}
	for _, gvk := range need {
		if !ofKubernetes(gvk.Group) {
			own = d.ownVersions(ctx)
			break
		}
	}
	return func(gvk schema.GroupVersionKind) bool {
		if ofKubernetes(gvk.Group) {
			return generations[cluster.Ref{Group: gvk.Group, Kind: gvk.Kind}.GroupKind()]
		}
		return own[gvk.GroupVersion()]
	}
}

// Guess tells how a kind of Kubernetes itself is served, without asking: its
// resource is its name in lower case and plural, which a test compares with a
// server. The server may not serve that version any more.
func Guess(gvk schema.GroupVersionKind) (schema.GroupVersionResource, bool) {
	if !scheme.Scheme.Recognizes(gvk) {
		return schema.GroupVersionResource{}, false
	}
	plural, _ := meta.UnsafeGuessKindToResource(gvk)
	return plural, true
}

// ofKubernetes reports whether a group is one of Kubernetes itself.
func ofKubernetes(group string) bool {
	return group == "apiextensions.k8s.io" || group == "apiregistration.k8s.io" || scheme.Scheme.IsGroupRegistered(group)
}

// ownVersions are the group versions that the API server serves itself; none
// when it does not say.
func (d *Discovery) ownVersions(ctx context.Context) map[schema.GroupVersion]bool {
	out := map[schema.GroupVersion]bool{}
	services := schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"}
	_ = d.api.EachMetadata(ctx, services, "", metav1.ListOptions{LabelSelector: labelAutomanaged}, func(s *metav1.PartialObjectMetadata) {
		// The name is <version>.<group>, and versions have no dots.
		if v, group, ok := strings.Cut(s.Name, "."); ok {
			out[schema.GroupVersion{Group: group, Version: v}] = true
		}
	}) // who may not list them trusts none
	return out
}
