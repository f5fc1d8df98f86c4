package kube

import (
	"fmt"
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

// scoper tells the scope of a kind.
type scoper func(ref cluster.Ref, apiVersion string) cluster.Scope

// builtinScope knows the kinds of Kubernetes without asking a server.
func builtinScope(ref cluster.Ref, apiVersion string) cluster.Scope {
	if clusterKinds[schema.GroupKind{Group: ref.Group, Kind: ref.Kind}] {
		return cluster.ClusterScoped
	}
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err == nil && scheme.Scheme.Recognizes(gv.WithKind(ref.Kind)) {
		return cluster.Namespaced
	}
	return cluster.UnknownScope
}

// offlineScope adds the kinds that CRDs among the objects define.
func offlineScope(objs ...[]cluster.Object) scoper {
	defined := map[schema.GroupKind]cluster.Scope{}
	for _, o := range slices.Concat(objs...) {
		if o.Ref.Kind != "CustomResourceDefinition" || o.Ref.Group != "apiextensions.k8s.io" {
			continue
		}
		group, _, _ := unstructured.NestedString(o.Content, "spec", "group")
		name, _, _ := unstructured.NestedString(o.Content, "spec", "names", "kind")
		scope := cluster.Namespaced
		if s, _, _ := unstructured.NestedString(o.Content, "spec", "scope"); s == "Cluster" {
			scope = cluster.ClusterScoped
		}
		defined[schema.GroupKind{Group: group, Kind: name}] = scope
	}
	return func(ref cluster.Ref, apiVersion string) cluster.Scope {
		if s := builtinScope(ref, apiVersion); s != cluster.UnknownScope {
			return s
		}
		return defined[schema.GroupKind{Group: ref.Group, Kind: ref.Kind}]
	}
}

// onlineScope prefers what the server says.
func onlineScope(k *kinds, offline scoper) scoper {
	return func(ref cluster.Ref, apiVersion string) cluster.Scope {
		switch got, ok := k.get(ref, apiVersion); {
		case !ok:
			return offline(ref, apiVersion)
		case got.namespaced:
			return cluster.Namespaced
		}
		return cluster.ClusterScoped
	}
}

// resolve gives namespaced objects the target's namespace where they name
// none, and takes away the namespace of cluster-scoped ones (as kubectl does).
func resolve(t cluster.Target, objs []cluster.Object, scope scoper) []cluster.Object {
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

// checkPure finds what can be refused without asking anybody: objects outside
// the fence, objects given twice, objects that another target wants too.
func checkPure(r cluster.Request, merge []cluster.Object, scope scoper) []cluster.Problem {
	var out []cluster.Problem
	seen := map[cluster.Ref]string{}
	for i := range merge {
		o := &merge[i]
		if o.Ref.Name == "" {
			out = append(out, problem(o, "an object of kind %s has no metadata.name: give it one (generateName makes a new object at every apply)", o.Ref.Kind))
			continue
		}
		if why := fenced(r.Target, o, scope); why != "" {
			out = append(out, problem(o, "%s", why))
		}
		if other, ok := seen[o.Ref]; ok {
			out = append(out, problem(o, "%s is given twice, at %s and at %s: remove one of them", o.Ref, other, o.Source))
		}
		seen[o.Ref] = o.Source
		if other, ok := r.Claims[o.Ref]; ok {
			out = append(out, problem(o, "%s is also rendered by target %s: one object belongs to one target, remove it from one of them", o.Ref, other))
		}
	}
	return out
}

// fenced says why an object is outside the fence. Before discovery the scope
// of a custom kind may be unknown: then it must be allowed one way at least,
// and is checked again when the scope is known.
func fenced(t cluster.Target, o *cluster.Object, scope scoper) string {
	s := scope(o.Ref, o.APIVersion)
	if s == cluster.ClusterScoped || s == cluster.Namespaced || o.Ref.Namespace != "" {
		return t.Fence.Check(o.Ref, s)
	}
	why := t.Fence.Check(o.Ref, s)
	if why == "" || t.Namespace == "" {
		return why
	}
	inNamespace := o.Ref
	inNamespace.Namespace = t.Namespace
	if t.Fence.Check(inNamespace, cluster.Namespaced) == "" {
		return ""
	}
	return why
}

func problem(o *cluster.Object, format string, args ...any) cluster.Problem {
	ref := o.Ref
	return cluster.Problem{Ref: &ref, Source: o.Source, Message: fmt.Sprintf(format, args...)}
}

// desiredOf is the object to apply: Git's content with its namespace, without
// what a client must not send, and stringData folded into data (as the server
// does, but so that fields can be removed again).
func desiredOf(o *cluster.Object) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: (&unstructured.Unstructured{Object: o.Content}).DeepCopy().Object}
	u.SetAPIVersion(o.APIVersion)
	u.SetNamespace(o.Ref.Namespace)
	for _, f := range []string{"managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink"} {
		unstructured.RemoveNestedField(u.Object, "metadata", f)
	}
	delete(u.Object, "status")
	foldStringData(o.Ref, u.Object)
	return u
}
