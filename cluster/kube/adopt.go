package kube

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"

	"lockkeeper/cluster"
)

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

// hands are managers behind which a person sits: what they add is drift.
var hands = []string{"kubectl*", "k9s", "lens*", "node-fetch", "mozilla*", "rancher", "headlamp*", "dashboard*"}

func matches(manager string, patterns []string) bool {
	m := strings.ToLower(manager)
	return slices.ContainsFunc(patterns, func(p string) bool {
		if prefix, ok := strings.CutSuffix(p, "*"); ok {
			return strings.HasPrefix(m, prefix)
		}
		return m == p
	})
}

// fieldsOf decodes the fields of one entry; entries the server wrote decode.
func fieldsOf(e metav1.ManagedFieldsEntry) *fieldpath.Set {
	s := &fieldpath.Set{}
	if e.FieldsV1 == nil || s.FromJSON(e.FieldsV1.GetRawReader()) != nil {
		return &fieldpath.Set{}
	}
	return s
}

func isOurs(e metav1.ManagedFieldsEntry) bool {
	return e.Manager == Manager && e.Operation == metav1.ManagedFieldsOperationApply && e.Subresource == ""
}

// ourFields are the fields that we own on an object, none for nil.
func ourFields(u *unstructured.Unstructured) *fieldpath.Set {
	if u != nil {
		for _, e := range u.GetManagedFields() {
			if isOurs(e) {
				return fieldsOf(e)
			}
		}
	}
	return &fieldpath.Set{}
}

// allFields are the fields of every manager, for list keys.
func allFields(objs ...*unstructured.Unstructured) []*fieldpath.Set {
	var out []*fieldpath.Set
	for _, u := range objs {
		if u == nil {
			continue
		}
		for _, e := range u.GetManagedFields() {
			out = append(out, fieldsOf(e))
		}
	}
	return out
}

// migration is how the ownership of a live object's fields moves to us.
type migration struct {
	managers []string // whose ownership moves
	fields   *fieldpath.Set
	entries  []metav1.ManagedFieldsEntry // managedFields afterwards
}

// planMigration decides whose ownership an adoption takes: of known deployers
// everything they own, of others (except controllers) the fields that Git sets
// or set before. It returns nil when there is nothing to take. What client-go's
// csaupgrade does for one client-side manager, this does for all of them.
func planMigration(live *unstructured.Unstructured, git *fieldpath.Set, apiVersion string) *migration {
	m := &migration{fields: &fieldpath.Set{}}
	var rest []metav1.ManagedFieldsEntry
	for _, e := range live.GetManagedFields() {
		fields := fieldsOf(e)
		switch {
		case isOurs(e):
			m.fields = m.fields.Union(fields)
			rest = append(rest, e)
		case e.Subresource != "" || matches(e.Manager, controllers):
			rest = append(rest, e)
		case matches(e.Manager, deployers):
			m.take(e, fields, apiVersion)
		default:
			shared := fields.Intersection(git.Leaves())
			if shared.Empty() || e.APIVersion != apiVersion {
				rest = append(rest, e)
				continue
			}
			m.take(e, shared, apiVersion)
			left := fields.Difference(shared)
			if e.FieldsV1 = encodeFields(left); !left.Empty() {
				rest = append(rest, e)
			}
		}
	}
	if len(m.managers) == 0 {
		return nil
	}
	slices.Sort(m.managers)
	m.managers = slices.Compact(m.managers)
	m.entries = m.setOurs(rest, apiVersion)
	return m
}

// take moves fields to us. Fields named in another API version are released
// instead: their paths mean nothing in ours (csaupgrade does the same).
func (m *migration) take(e metav1.ManagedFieldsEntry, fields *fieldpath.Set, apiVersion string) {
	m.managers = append(m.managers, e.Manager)
	if e.APIVersion == apiVersion {
		m.fields = m.fields.Union(fields)
	}
}

// setOurs makes our entry own exactly the migrated fields.
func (m *migration) setOurs(entries []metav1.ManagedFieldsEntry, apiVersion string) []metav1.ManagedFieldsEntry {
	ours := metav1.ManagedFieldsEntry{
		Manager: Manager, Operation: metav1.ManagedFieldsOperationApply, APIVersion: apiVersion,
		FieldsType: "FieldsV1", FieldsV1: encodeFields(m.fields),
	}
	out := slices.DeleteFunc(slices.Clone(entries), func(e metav1.ManagedFieldsEntry) bool {
		if isOurs(e) && e.Time != nil {
			ours.Time = e.Time
		}
		return isOurs(e)
	})
	if m.fields.Empty() {
		return out
	}
	return append(out, ours)
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

// patch is the JSON patch that carries the migration out, refused by the
// server with 409 if the object changed since it was read.
func (m *migration) patch(live *unstructured.Unstructured) ([]byte, error) {
	entries := m.entries
	if len(entries) == 0 {
		// An empty list would be filled again by the server's own guess.
		entries = []metav1.ManagedFieldsEntry{{}}
	}
	var b bytes.Buffer
	err := json.NewEncoder(&b).Encode([]map[string]any{
		{"op": "replace", "path": "/metadata/managedFields", "value": entries},
		{"op": "replace", "path": "/metadata/resourceVersion", "value": live.GetResourceVersion()},
	})
	if err != nil {
		return nil, fmt.Errorf("migrating field ownership of %s: %w", live.GetName(), err)
	}
	return b.Bytes(), nil
}

// identity are fields that every apply sets and managedFields leaves out.
var identity = fieldpath.NewSet(
	fieldpath.MakePathOrDie("apiVersion"), fieldpath.MakePathOrDie("kind"),
	fieldpath.MakePathOrDie("metadata", "name"), fieldpath.MakePathOrDie("metadata", "namespace"),
)

// withoutAbandoned is what a server-side apply makes of an object after the
// migration: result is the forced dry-run made before it, from which the fields
// go that we own by then, do not set, and nobody else owns.
func (m *migration) withoutAbandoned(result, desired *unstructured.Unstructured) *unstructured.Unstructured {
	kept := ourFields(result).Union(identity)
	for _, e := range m.entries {
		if !isOurs(e) {
			kept = kept.Union(fieldsOf(e))
		}
	}
	out := result.DeepCopy()
	prune(out.Object, m.fields, kept, desired.Object)
	return out
}

// prune removes from v the nodes that gone has and kept has not, as
// structured-merge-diff does: a node is there if it or anything below it is in
// the set, and goes with all below it. Empty lists that are given stay: where
// lists are merged item by item, one without items is in no set of whoever
// applies it.
func prune(v any, gone, kept *fieldpath.Set, given any) any {
	switch x := v.(type) {
	case map[string]any:
		fields, _ := given.(map[string]any)
		for k, val := range x {
			pe := fieldpath.FieldNameElement(k)
			if !contains(gone, pe, true) {
				continue
			}
			if !contains(kept, pe, true) && !givesEmptyList(fields[k]) {
				delete(x, k)
				continue
			}
			x[k] = prune(val, below(gone, pe), below(kept, pe), fields[k])
		}
		return x
	case []any:
		return pruneList(x, gone, kept, given)
	}
	return v
}

func pruneList(list []any, gone, kept *fieldpath.Set, given any) []any {
	items, _ := given.([]any)
	out := list[:0]
	for _, item := range list {
		pe, ok := elementOf(item, gone)
		if ok && contains(gone, pe, false) && !contains(kept, pe, true) {
			continue
		}
		if ok {
			var own any
			if i := slices.IndexFunc(items, func(g any) bool { return names(pe, g) }); i >= 0 {
				own = items[i]
			}
			item = prune(item, below(gone, pe), below(kept, pe), own)
		}
		out = append(out, item)
	}
	return out
}

// givesEmptyList reports whether a value is an empty list, or has one in it.
func givesEmptyList(v any) bool {
	switch x := v.(type) {
	case []any:
		return len(x) == 0
	case map[string]any:
		for _, sub := range x {
			if givesEmptyList(sub) {
				return true
			}
		}
	}
	return false
}

// contains reports whether a set has an element; with deep also if only as
// the parent of others.
func contains(s *fieldpath.Set, pe fieldpath.PathElement, deep bool) bool {
	if s.Members.Has(pe) {
		return true
	}
	_, ok := s.Children.Get(pe)
	return ok && deep
}

func below(s *fieldpath.Set, pe fieldpath.PathElement) *fieldpath.Set {
	if child, ok := s.Children.Get(pe); ok {
		return child
	}
	return &fieldpath.Set{}
}

// elementOf finds the element of a set that names a list item.
func elementOf(item any, s *fieldpath.Set) (fieldpath.PathElement, bool) {
	for _, all := range []func(func(fieldpath.PathElement) bool){s.Members.All(), s.Children.All()} {
		for pe := range all {
			if names(pe, item) {
				return pe, true
			}
		}
	}
	return fieldpath.PathElement{}, false
}

func names(pe fieldpath.PathElement, item any) bool {
	switch {
	case pe.Value != nil:
		return equalJSON((*pe.Value).Unstructured(), item)
	case pe.Key != nil:
		m, ok := item.(map[string]any)
		return ok && !slices.ContainsFunc(*pe.Key, func(f value.Field) bool {
			v, ok := m[f.Name]
			if !ok {
				v = keyDefaults[f.Name]
			}
			return !equalJSON(v, f.Value.Unstructured())
		})
	}
	return false
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

// staying lists fields that Git gave up but that others keep: in before, not
// in now, still there in the prediction.
func staying(before, now *fieldpath.Set, predicted *unstructured.Unstructured, owners []metav1.ManagedFieldsEntry) []cluster.Ownership {
	var out []cluster.Ownership
	for p := range before.Difference(now).Leaves().All() {
		if now.Has(p) || !present(predicted.Object, p) {
			continue
		}
		for _, e := range owners {
			if !isOurs(e) && fieldsOf(e).Has(p) {
				out = append(out, cluster.Ownership{Path: pathOf(p), Manager: e.Manager})
			}
		}
	}
	return sortedOwnership(out)
}

func sortedOwnership(xs []cluster.Ownership) []cluster.Ownership {
	slices.SortFunc(xs, func(a, b cluster.Ownership) int {
		return strings.Compare(a.Path+"\x00"+a.Manager, b.Path+"\x00"+b.Manager)
	})
	return slices.Compact(xs)
}

// managersOf names who wrote an object, without subresources.
func managersOf(live *unstructured.Unstructured) []string {
	var out []string
	for _, e := range live.GetManagedFields() {
		if e.Subresource == "" && !isOurs(e) && !matches(e.Manager, controllers) {
			out = append(out, e.Manager)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
