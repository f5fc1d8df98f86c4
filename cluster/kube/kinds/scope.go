package kinds

import (
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"

	"lockkeeper/cluster"
)

// clusterKinds are the cluster-scoped kinds of Kubernetes itself (all others it
// has are namespaced); a test compares them with a server's discovery.
var clusterKinds = map[schema.GroupKind]bool{
	{Kind: "Namespace"}: true, {Kind: "Node"}: true, {Kind: "PersistentVolume"}: true, {Kind: "ComponentStatus"}: true,
	{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole"}:        true,
	{Group: "rbac.authorization.k8s.io", Kind: "ClusterRoleBinding"}: true,

	{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}: true,
	{Group: "apiregistration.k8s.io", Kind: "APIService"}:             true,

	{Group: "admissionregistration.k8s.io", Kind: "MutatingWebhookConfiguration"}:     true,
	{Group: "admissionregistration.k8s.io", Kind: "ValidatingWebhookConfiguration"}:   true,
	{Group: "admissionregistration.k8s.io", Kind: "ValidatingAdmissionPolicy"}:        true,
	{Group: "admissionregistration.k8s.io", Kind: "ValidatingAdmissionPolicyBinding"}: true,
	{Group: "admissionregistration.k8s.io", Kind: "MutatingAdmissionPolicy"}:          true,
	{Group: "admissionregistration.k8s.io", Kind: "MutatingAdmissionPolicyBinding"}:   true,

	{Group: "storage.k8s.io", Kind: "StorageClass"}:          true,
	{Group: "storage.k8s.io", Kind: "CSIDriver"}:             true,
	{Group: "storage.k8s.io", Kind: "CSINode"}:               true,
	{Group: "storage.k8s.io", Kind: "VolumeAttachment"}:      true,
	{Group: "storage.k8s.io", Kind: "VolumeAttributesClass"}: true,

	{Group: "scheduling.k8s.io", Kind: "PriorityClass"}:                         true,
	{Group: "node.k8s.io", Kind: "RuntimeClass"}:                                true,
	{Group: "networking.k8s.io", Kind: "IngressClass"}:                          true,
	{Group: "networking.k8s.io", Kind: "ServiceCIDR"}:                           true,
	{Group: "networking.k8s.io", Kind: "IPAddress"}:                             true,
	{Group: "flowcontrol.apiserver.k8s.io", Kind: "FlowSchema"}:                 true,
	{Group: "flowcontrol.apiserver.k8s.io", Kind: "PriorityLevelConfiguration"}: true,
	{Group: "certificates.k8s.io", Kind: "CertificateSigningRequest"}:           true,
	{Group: "certificates.k8s.io", Kind: "ClusterTrustBundle"}:                  true,
	{Group: "resource.k8s.io", Kind: "DeviceClass"}:                             true,
	{Group: "resource.k8s.io", Kind: "ResourceSlice"}:                           true,
	{Group: "resource.k8s.io", Kind: "DeviceTaintRule"}:                         true,
	{Group: "storagemigration.k8s.io", Kind: "StorageVersionMigration"}:         true,
	{Group: "internal.apiserver.k8s.io", Kind: "StorageVersion"}:                true,
	{Group: "authentication.k8s.io", Kind: "TokenReview"}:                       true,
	{Group: "authentication.k8s.io", Kind: "SelfSubjectReview"}:                 true,
	{Group: "authorization.k8s.io", Kind: "SubjectAccessReview"}:                true,
	{Group: "authorization.k8s.io", Kind: "SelfSubjectAccessReview"}:            true,
	{Group: "authorization.k8s.io", Kind: "SelfSubjectRulesReview"}:             true,
}

// Scoper tells the scope of a kind.
type Scoper func(ref cluster.Ref, apiVersion string) cluster.Scope

// builtin knows the kinds of Kubernetes without asking a server.
func builtin(ref cluster.Ref, apiVersion string) cluster.Scope {
	if clusterKinds[schema.GroupKind{Group: ref.Group, Kind: ref.Kind}] {
		return cluster.ClusterScoped
	}
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err == nil && scheme.Scheme.Recognizes(gv.WithKind(ref.Kind)) {
		return cluster.Namespaced
	}
	return cluster.UnknownScope
}

// Offline knows, without asking a server, the kinds of Kubernetes and those that
// CRDs among the objects define.
func Offline(objs ...[]cluster.Object) Scoper {
	defined := map[schema.GroupKind]cluster.Scope{}
	for _, o := range slices.Concat(objs...) {
		if o.Ref.GroupKind() != CRD {
			continue
		}
		scope := cluster.Namespaced
		if s, _, _ := unstructured.NestedString(o.Content, "spec", "scope"); s == "Cluster" {
			scope = cluster.ClusterScoped
		}
		defined[Defined(o.Content)] = scope
	}
	return func(ref cluster.Ref, apiVersion string) cluster.Scope {
		if s := builtin(ref, apiVersion); s != cluster.UnknownScope {
			return s
		}
		return defined[schema.GroupKind{Group: ref.Group, Kind: ref.Kind}]
	}
}

// Online prefers what the server says, and falls back on offline.
func Online(k *Served, offline Scoper) Scoper {
	return func(ref cluster.Ref, apiVersion string) cluster.Scope {
		switch got, ok := k.Get(ref, apiVersion); {
		case !ok:
			return offline(ref, apiVersion)
		case got.Namespaced:
			return cluster.Namespaced
		}
		return cluster.ClusterScoped
	}
}

// Resolve gives namespaced objects the target's namespace where they name
// none, and takes away the namespace of cluster-scoped ones (as kubectl does).
func Resolve(t cluster.Target, objs []cluster.Object, scope Scoper) []cluster.Object {
	out := make([]cluster.Object, len(objs))
	for i, o := range objs {
		switch s := scope(o.Ref, o.APIVersion); {
		case s == cluster.Namespaced && o.Ref.Namespace == "":
			o.Ref.Namespace = t.Namespace
		case s == cluster.ClusterScoped:
			o.Ref.Namespace = ""
		}
		out[i] = o
	}
	return out
}
