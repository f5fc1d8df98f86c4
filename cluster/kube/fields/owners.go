package fields

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"lockkeeper/cluster"
)

// Manager is the field manager under which lockkeeper applies.
const Manager = "lockkeeper"

// deployers are field managers of tools (and people) that put manifests on
// clusters: an adoption takes over all they own, so that what Git does not have
// goes. They are compared in lower case; a trailing "*" matches any rest.
var deployers = []string{
	"kubectl*", "before-first-apply", "helm*", "argocd*", "argo-cd*", "kustomize-controller", "helm-controller",
	"flux*", "gotk*", "kluctl*", "kapp*", "terraform*", "pulumi*", "werf*", "nelm*", "skaffold*", "ansible*", "openapi-generator*",
}

// controllers are Kubernetes' own: they own what they manage and keep it.
var controllers = []string{
	"kube-controller-manager", "kube-scheduler", "kubelet", "kube-apiserver", "cloud-controller-manager",
	"cluster-autoscaler", "vpa*", "horizontal-pod-autoscaler", "k3s", "clusterrole-aggregation-controller",
}

func matches(manager string, patterns []string) bool {
	m := strings.ToLower(manager)
	return slices.ContainsFunc(patterns, func(p string) bool {
		p = strings.ToLower(p)
		if prefix, ok := strings.CutSuffix(p, "*"); ok {
			return strings.HasPrefix(m, prefix)
		}
		return m == p
	})
}

// Of decodes the fields of one entry; entries the server wrote decode.
func Of(e metav1.ManagedFieldsEntry) *fieldpath.Set {
	s := &fieldpath.Set{}
	if e.FieldsV1 == nil || s.FromJSON(e.FieldsV1.GetRawReader()) != nil {
		return &fieldpath.Set{}
	}
	return s
}

// IsOurs reports whether an entry of managedFields holds what we applied.
func IsOurs(e metav1.ManagedFieldsEntry) bool {
	return e.Manager == Manager && e.Operation == metav1.ManagedFieldsOperationApply && e.Subresource == ""
}

// Ours are the fields that we own on an object, none for nil.
func Ours(u *unstructured.Unstructured) *fieldpath.Set {
	if u != nil {
		for _, e := range u.GetManagedFields() {
			if IsOurs(e) {
				return Of(e)
			}
		}
	}
	return &fieldpath.Set{}
}

// All are the fields of every manager, for list keys.
func All(objs ...*unstructured.Unstructured) []*fieldpath.Set {
	var out []*fieldpath.Set
	for _, u := range objs {
		if u == nil {
			continue
		}
		for _, e := range u.GetManagedFields() {
			out = append(out, Of(e))
		}
	}
	return out
}

// Staying lists fields that Git gave up but that others keep: in before, not
// in now, still there in the prediction.
func Staying(before, now *fieldpath.Set, predicted *unstructured.Unstructured, owners []metav1.ManagedFieldsEntry) []cluster.Ownership {
	var out []cluster.Ownership
	for p := range before.Difference(now).Leaves().All() {
		if now.Has(p) || !present(predicted.Object, p) {
			continue
		}
		for _, e := range owners {
			if !IsOurs(e) && Of(e).Has(p) {
				out = append(out, cluster.Ownership{Path: PathOf(p), Manager: e.Manager})
			}
		}
	}
	return SortedOwnership(out)
}

// SortedOwnership sorts by path and manager, in place, and drops doubles.
func SortedOwnership(xs []cluster.Ownership) []cluster.Ownership {
	slices.SortFunc(xs, func(a, b cluster.Ownership) int {
		return strings.Compare(a.Path+"\x00"+a.Manager, b.Path+"\x00"+b.Manager)
	})
	return slices.Compact(xs)
}

// Managers names who wrote an object, without subresources.
func Managers(live *unstructured.Unstructured) []string {
	var out []string
	for _, e := range live.GetManagedFields() {
		if e.Subresource == "" && !IsOurs(e) && !matches(e.Manager, controllers) {
			out = append(out, e.Manager)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func encodeFields(s *fieldpath.Set) *metav1.FieldsV1 {
	b, err := s.ToJSON()
	if err != nil {
		b = []byte("{}") // a set that was decoded from JSON encodes
	}
	f := &metav1.FieldsV1{}
	f.SetRawBytes(b)
	return f
}

// present reports whether an object has the field that a path names.
func present(v any, p fieldpath.Path) bool {
	if len(p) == 0 {
		return true
	}
	switch x := v.(type) {
	case map[string]any:
		if p[0].FieldName == nil {
			return false
		}
		sub, ok := x[*p[0].FieldName]
		return ok && present(sub, p[1:])
	case []any:
		return slices.ContainsFunc(x, func(item any) bool { return names(p[0], item) && present(item, p[1:]) })
	}
	return false
}
