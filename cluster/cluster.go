// Package cluster names what lockkeeper knows about Kubernetes: objects, the
// changes a plan predicts for them, and the interface that plans and applies.
// It holds nouns and pure rules (fences, digests); cluster/kube speaks to API
// servers and cluster/manifest turns files into objects.
//
// Nothing in this package or below it knows about forges or pull requests.
package cluster

import (
	"context"
	"strings"
	"time"
)

// Ref identifies an object independently of its API version. Group is "" for
// the core group, Namespace is "" for cluster-scoped objects.
type Ref struct {
	Group     string `json:"group,omitempty"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// GroupKind is "Deployment.apps", or "Service" for the core group.
func (r Ref) GroupKind() string {
	if r.Group == "" {
		return r.Kind
	}
	return r.Kind + "." + r.Group
}

// String is "Deployment.apps shop/web", or "Namespace shop" without namespace.
func (r Ref) String() string {
	if r.Namespace == "" {
		return r.GroupKind() + " " + r.Name
	}
	return r.GroupKind() + " " + r.Namespace + "/" + r.Name
}

// Compare orders refs by namespace, group, kind and name.
func (r Ref) Compare(o Ref) int {
	for _, c := range []int{
		strings.Compare(r.Namespace, o.Namespace), strings.Compare(r.Group, o.Group),
		strings.Compare(r.Kind, o.Kind), strings.Compare(r.Name, o.Name),
	} {
		if c != 0 {
			return c
		}
	}
	return 0
}

// Object is one desired object as rendered from Git.
type Object struct {
	Ref        Ref
	APIVersion string // "apps/v1"
	// Content is the whole object in JSON types: map[string]any, []any,
	// string, bool, int64, float64, nil.
	Content map[string]any
	// Source is where it came from: "deploy/base/web.yaml:12".
	Source string
}

// Target is the effective configuration of one target: what the repository
// asked for, within what the operator allows.
type Target struct {
	// RepoID is the forge's number of the repository; with Name it is the
	// owner recorded in the inventory.
	RepoID      int64  `json:"repoId"`
	Name        string `json:"name"`
	Path        string `json:"path"` // directory in the repository
	Cluster     string `json:"cluster"`
	Environment string `json:"environment"`
	// Namespace is given to namespaced objects that name none; "" makes such
	// an object an error.
	Namespace string `json:"namespace,omitempty"`
	Fence     Fence  `json:"fence"`
	// Timeout is how long apply waits for health; 0 means the default of 5 minutes.
	Timeout time.Duration `json:"timeout,omitempty"`
}

// Owner is how the inventory names the target: unique on a cluster.
type Owner struct {
	RepoID int64  `json:"repo"`
	Target string `json:"target"`
}

// Owner returns the target's name in inventories.
func (t Target) Owner() Owner { return Owner{t.RepoID, t.Name} }

// Action is what a change does to its object.
type Action string

// The actions. Adopt changes who owns an object that something else made (and
// may change fields with it); Transfer moves one between targets (likewise).
const (
	Create   Action = "create"
	Update   Action = "update"
	Replace  Action = "replace" // delete and create: an immutable field changed
	Delete   Action = "delete"
	Adopt    Action = "adopt"
	Transfer Action = "transfer"
)

// Op tells how one field changes.
type Op string

// The field operations.
const (
	Add    Op = "add"
	Remove Op = "remove"
	Set    Op = "set"
)

// FieldChange is one field that differs. Path uses the keys of Kubernetes
// lists: spec.template.spec.containers[name=web].image; keys with dots are
// quoted: metadata.labels["app.kubernetes.io/name"].
type FieldChange struct {
	Path   string `json:"path"`
	Op     Op     `json:"op"`
	Before any    `json:"before,omitempty"`
	After  any    `json:"after,omitempty"`
	// Masked is set where Before and After are placeholders for secret values.
	Masked bool `json:"masked,omitempty"`
	// Server is set for values that the API server assigns; they are shown but
	// stand outside the digest.
	Server bool `json:"server,omitempty"`
}

// Ownership says that a field manager owns a field.
type Ownership struct {
	Path    string `json:"path"`
	Manager string `json:"manager"`
}

// Change is what applying would do to one object.
type Change struct {
	Ref        Ref           `json:"ref"`
	APIVersion string        `json:"apiVersion"`
	Source     string        `json:"source,omitempty"`
	Action     Action        `json:"action"`
	Fields     []FieldChange `json:"fields,omitempty"`
	// Takeovers are fields whose value another manager set and applying forces.
	Takeovers []Ownership `json:"takeovers,omitempty"`
	// Managers are those whose ownership an adoption migrates to us.
	Managers []string `json:"managers,omitempty"`
	// Stays are fields removed in Git that stay because another manager owns them.
	Stays []Ownership `json:"stays,omitempty"`
	// From is the target that owned a transferred object before.
	From string `json:"from,omitempty"`
	// Pending is set for a change that an earlier merge left unapplied, rather
	// than this pull.
	Pending bool `json:"pending,omitempty"`
	// Unverified says why the server could not verify the prediction.
	Unverified string `json:"unverified,omitempty"`
	// Reason says why an object is replaced, or what else a delete takes with it.
	Reason string `json:"reason,omitempty"`
	// Digest is the SHA-256 of what an approval approves (see the design).
	Digest string `json:"digest"`
}

// Drift is a difference between live and last applied on an object that the
// plan touches.
type Drift struct {
	Ref     Ref           `json:"ref"`
	Deleted bool          `json:"deleted,omitempty"`
	Fields  []FieldChange `json:"fields,omitempty"`
	// Managers are who made the difference, as managedFields tells.
	Managers []string `json:"managers,omitempty"`
	// Effect says in words what applying does to it.
	Effect string `json:"effect"`
}

// Problem is something that keeps a target from being applied.
type Problem struct {
	Ref    *Ref   `json:"ref,omitempty"`
	Source string `json:"source,omitempty"`
	// Message says what is wrong and what to do about it.
	Message string `json:"message"`
	// Passing is set where it may go away without anybody changing anything in
	// Git: the cluster is in trouble of its own.
	Passing bool `json:"passing,omitempty"`
}

// Stats count what a plan or an apply cost. Bytes are of response bodies.
type Stats struct {
	Requests int   `json:"requests"`
	Bytes    int64 `json:"bytes"`
}

// Plan is what applying one target would do.
type Plan struct {
	Target   Target    `json:"target"`
	Revision string    `json:"revision"` // commit (or tree) the desired state came from
	Objects  int       `json:"objects"`  // desired objects, changed or not
	Changes  []Change  `json:"changes"`
	Drift    []Drift   `json:"drift,omitempty"`
	Warnings []string  `json:"warnings,omitempty"`
	Problems []Problem `json:"problems,omitempty"`
	// Unadopted counts desired objects that this pull leaves as they are and
	// that are not in the inventory yet; whether they are live is not asked.
	// Syncing the target creates or adopts them.
	Unadopted int `json:"unadopted,omitempty"`
	// Digest is over the target and its changes' digests.
	Digest string `json:"digest"`
	Stats  Stats  `json:"stats"`
	// Prepared is the driver's own: what Apply needs, never stored. A plan
	// without it (read back from a store) cannot be applied.
	Prepared any `json:"-"`
}

// Request asks for the plan of one target.
type Request struct {
	Target Target
	// Base and Merge are the rendered objects of the base branch and of the
	// merge result.
	Base, Merge []Object
	Revision    string
	// Claims and Releases speak of the other targets of the same repository on
	// this cluster: refs that they want after the merge, and refs that they had
	// before it and want no longer. The value is the other target's name.
	Claims, Releases map[Ref]string
	// Everything examines all objects, not only those that differ between base
	// and merge result or from what the inventory says was applied.
	Everything bool
	// Reset also takes away what people added by hand to objects of ours: who
	// owns it migrates to us, and the apply removes it. For plans of Base as a
	// whole.
	Reset bool
	// Humans are field managers, beside the known ones, behind which people are
	// (see DriftRequest.Humans).
	Humans []string
	// Only limits the plan to these objects, of them to those that the inventory
	// says were applied as Merge has them: what drifted is put back, and nothing
	// else is created, changed, adopted or deleted. Nil limits nothing.
	Only []Ref
}

// StepState is how far an apply got with one object.
type StepState string

// The states of a step, in the order they happen.
const (
	Waiting   StepState = "waiting"
	Applying  StepState = "applying"
	Applied   StepState = "applied"   // accepted by the server, not yet healthy
	Healthy   StepState = "healthy"   // done (for a delete: gone)
	Unhealthy StepState = "unhealthy" // accepted, but not healthy before the deadline
	Failed    StepState = "failed"    // refused
	Skipped   StepState = "skipped"   // not tried because something before it failed
)

// Step is the progress of one change.
type Step struct {
	Ref     Ref       `json:"ref"`
	Action  Action    `json:"action"`
	State   StepState `json:"state"`
	Message string    `json:"message,omitempty"`
	// Events are the object's (and its pods') last warnings, newest first.
	Events []string `json:"events,omitempty"`
}

// Result is what an apply did.
type Result struct {
	Target Target `json:"target"`
	Steps  []Step `json:"steps"`
	Stats  Stats  `json:"stats"`
}

// OK reports whether every step ended well.
func (r Result) OK() bool {
	for _, s := range r.Steps {
		if s.State != Healthy {
			return false
		}
	}
	return true
}

// Cluster plans and applies targets on one Kubernetes cluster. Errors that
// concern single objects are in Plan.Problems and Step.Message; an error return
// means that nothing useful could be said.
type Cluster interface {
	// Bootstrap makes lockkeeper's namespace and digest key if they are not
	// there. It is the only write outside Apply, and never called by a plan.
	Bootstrap(ctx context.Context) error
	// Warm connects, so that a plan made soon need not wait for that. What goes
	// wrong is left for the plan to tell, and what it costs is the plan's.
	Warm(ctx context.Context)
	// Plan predicts; it writes nothing.
	Plan(ctx context.Context, r Request) (*Plan, error)
	// Apply carries out a plan made by this Cluster's Plan moments ago. It
	// writes exactly the plan's changes, each with the uid and resourceVersion
	// the plan saw, and reports every step through progress (which may be nil
	// and must not block). When ctx ends it stops between objects, and the steps
	// that were not tried name its cause. What became of a write whose answer was
	// lost is read from the cluster.
	Apply(ctx context.Context, p *Plan, progress func(Step)) (*Result, error)
	// Applied says which revision of each target the inventory holds.
	Applied(ctx context.Context) (map[Owner]AppliedTarget, error)
	// Health looks once, now, at every object that the inventory holds of a
	// target, by the rules of the wait after an apply. It returns one problem,
	// with its Ref, for each object that is not there, is not the one that was
	// applied, is not healthy or could not be looked at. None and no error mean
	// that all is well. A target of which the inventory holds nothing is an
	// error, as is a cluster that does not answer: no error speaks of health.
	Health(ctx context.Context, o Owner) ([]Problem, error)
	// Census tells which objects of the inventory metadata alone does not prove
	// to be as they were applied: from memory while Watch is in sync (no
	// request), else with one metadata-only list per kind. What cannot be looked
	// at is in Census.Unknown; an error says that ctx ended.
	Census(ctx context.Context) (*Census, error)
	// Watch follows, by metadata, the inventory and all kinds in it until ctx
	// ends, through restarts and absences of the cluster. It calls news, never
	// twice at once, when a Census may say something new (that a part became
	// unknown, or known again, is new too): 250 ms after the last change of a
	// burst, at most 2 s after its first. An error says that the cluster is being
	// watched already.
	Watch(ctx context.Context, news func()) error
	// Drift is the exact check: it compares the live objects of one target with
	// what was applied to them last, and writes nothing. Objects that it finds to
	// be as applied are no longer suspects of a Census. Troubles with single
	// objects are DriftReport.Problems; an error means that the cluster could not
	// be asked, and nothing was found out.
	Drift(ctx context.Context, r DriftRequest) (*DriftReport, error)
}

// AppliedTarget is what the inventory says of a target.
type AppliedTarget struct {
	Revision string    `json:"revision"`
	Objects  int       `json:"objects"`
	At       time.Time `json:"at"`
}
