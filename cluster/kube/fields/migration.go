package fields

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// Migration is how the ownership of a live object's fields moves to us.
type Migration struct {
	Managers []string                    // whose ownership moves
	Fields   *fieldpath.Set              // what we own then
	Entries  []metav1.ManagedFieldsEntry // managedFields afterwards
}

// PlanMigration decides whose ownership an adoption takes: of known deployers
// everything they own, of others (except controllers) the fields that Git sets
// or set before. It returns nil when there is nothing to take. What client-go's
// csaupgrade does for one client-side manager, this does for all of them.
func PlanMigration(live *unstructured.Unstructured, git *fieldpath.Set, apiVersion string) *Migration {
	m := &Migration{Fields: &fieldpath.Set{}}
	var rest []metav1.ManagedFieldsEntry
	for _, e := range live.GetManagedFields() {
		fields := Of(e)
		switch {
		case IsOurs(e):
			m.Fields = m.Fields.Union(fields)
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
	if len(m.Managers) == 0 {
		return nil
	}
	slices.Sort(m.Managers)
	m.Managers = slices.Compact(m.Managers)
	m.Entries = m.setOurs(rest, apiVersion)
	return m
}

// take moves fields to us. Fields named in another API version are released
// instead: their paths mean nothing in ours (csaupgrade does the same).
func (m *Migration) take(e metav1.ManagedFieldsEntry, fields *fieldpath.Set, apiVersion string) {
	m.Managers = append(m.Managers, e.Manager)
	if e.APIVersion == apiVersion {
		m.Fields = m.Fields.Union(fields)
	}
}

// setOurs makes our entry own exactly the migrated fields.
func (m *Migration) setOurs(entries []metav1.ManagedFieldsEntry, apiVersion string) []metav1.ManagedFieldsEntry {
	ours := metav1.ManagedFieldsEntry{
		Manager: Manager, Operation: metav1.ManagedFieldsOperationApply, APIVersion: apiVersion,
		FieldsType: "FieldsV1", FieldsV1: encodeFields(m.Fields),
	}
	out := slices.DeleteFunc(slices.Clone(entries), func(e metav1.ManagedFieldsEntry) bool {
		if IsOurs(e) && e.Time != nil {
			ours.Time = e.Time
		}
		return IsOurs(e)
	})
	if m.Fields.Empty() {
		return out
	}
	return append(out, ours)
}

// Patch is the JSON patch that carries the migration out, refused by the
// server with 409 if the object changed since it was read.
func (m *Migration) Patch(live *unstructured.Unstructured) ([]byte, error) {
	entries := m.Entries
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

// WithoutAbandoned is what a server-side apply of desired makes of an object
// after the migration: result is the forced dry-run made before it, from which
// the fields go that we own by then, do not set, and nobody else owns.
func (m *Migration) WithoutAbandoned(result, desired *unstructured.Unstructured) *unstructured.Unstructured {
	kept := Ours(result).Union(identity)
	for _, e := range m.Entries {
		if !IsOurs(e) {
			kept = kept.Union(Of(e))
		}
	}
	out := result.DeepCopy()
	prune(out.Object, m.Fields, kept, desired.Object)
	return out
}
