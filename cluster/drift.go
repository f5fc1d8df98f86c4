package cluster

import "time"

// FindingKind is the way in which a live object differs from what was applied
// to it last.
type FindingKind string

// The kinds of findings. Gone, Remade and Orphan are of a whole object, the
// others of one field.
const (
	Gone      FindingKind = "deleted"    // it is not there any more
	Remade    FindingKind = "remade"     // deleted and made again by something else
	Changed   FindingKind = "changed"    // a field that Git sets has another value
	Removed   FindingKind = "removed"    // a field that Git sets is no longer there
	HandAdded FindingKind = "hand-added" // a person added a field beside those of Git
	Disowned  FindingKind = "ownership"  // the value stands, but it is another manager's now
	Orphan    FindingKind = "orphan"     // ours, and neither Git nor what was applied last has it
)

// Finding is one difference between live and last applied.
type Finding struct {
	Kind       FindingKind `json:"kind"`
	Ref        Ref         `json:"ref"`
	APIVersion string      `json:"apiVersion"`
	// Source is where Git has the object: "deploy/base/web.yaml:12".
	Source string `json:"source,omitempty"`
	// Field is the difference: Before is what was applied, After what is live.
	// It is zero for a finding of a whole object.
	Field FieldChange `json:"field,omitzero"`
	// Seal tells secret values apart that Field masks: a hash under the cluster's
	// key.
	Seal string `json:"seal,omitempty"`
	// Managers are who made the difference, and At is when, as managedFields
	// tells; none and zero where it does not.
	Managers []string  `json:"managers,omitempty"`
	At       time.Time `json:"at,omitzero"`
}

// IgnoreRule drops the findings that match all of its lists that are not
// empty. Entries are globs, but for Fields, which are paths such as
// spec.template.spec.containers[*].image; a path covers what is below it.
type IgnoreRule struct {
	Kinds      []string `json:"kinds,omitempty"` // as Deployment.apps
	Namespaces []string `json:"namespaces,omitempty"`
	Names      []string `json:"names,omitempty"`
	Fields     []string `json:"fields,omitempty"`
}

// DriftRequest asks how the live objects of one target differ from what was
// applied to them last.
type DriftRequest struct {
	Target Target
	// Objects is what the base branch renders to, Applied what the revision
	// renders to that was applied last; nil if the caller does not have it. An
	// object that is in neither as it was applied is pending, not drifted. One
	// that neither has at all is an orphan if Applied is given, else pending.
	Objects, Applied []Object
	// Only limits the check to these objects; nil checks all.
	Only   []Ref
	Ignore []IgnoreRule
	// Humans are field managers, beside the known ones, behind which people
	// are: the fields that they add are findings. A trailing "*" matches any rest.
	Humans []string
}

// DriftReport is the outcome of an exact check.
type DriftReport struct {
	Target   Target    `json:"target"`
	Findings []Finding `json:"findings"`
	// Pending are objects that the base branch has otherwise than they were
	// applied: merged, not applied yet.
	Pending []Ref `json:"pending,omitempty"`
	// Problems are why objects could not be checked: those are neither clean
	// nor drifted.
	Problems []Problem `json:"problems,omitempty"`
	// Checked counts the objects that were looked at.
	Checked int   `json:"checked"`
	Stats   Stats `json:"stats"`
}

// Census is what metadata alone tells of the objects in a cluster's inventory.
type Census struct {
	At      time.Time `json:"at"`
	Objects int       `json:"objects"`
	// Owners counts the objects of each owner.
	Owners map[Owner]int `json:"-"`
	// Suspects are the objects, sorted, that are not proven to be as applied.
	Suspects map[Owner][]Ref `json:"-"`
	// Unknown is what could not be looked at: it is neither clean nor drifted.
	Unknown []Unknown `json:"unknown,omitempty"`
	Stats   Stats     `json:"stats"`
}

// Unknown is a part of a cluster that cannot be looked at.
type Unknown struct {
	// Kind is as Deployment.apps; "" means the whole cluster.
	Kind   string    `json:"kind,omitempty"`
	Since  time.Time `json:"since"`
	Reason string    `json:"reason"`
}
