package kube

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/inventory"
	"lockkeeper/cluster/kube/kinds"
	"lockkeeper/cluster/kube/secret"
)

// wanted is one object a plan asks about: what Git said before and says now.
type wanted struct {
	ref   cluster.Ref
	base  *cluster.Object // nil: not in the base render
	merge *cluster.Object // nil: to be deleted
	// owned is the inventory's entry for it, nil when there is none.
	owned *inventory.Entry
	// from is the target that an object is transferred from, "" when it is not.
	from    string
	pending bool
}

// item is what apply needs to carry out one change.
type item struct {
	want    wanted
	change  cluster.Change
	gvr     schema.GroupVersionResource // empty when the CRD is in the same plan
	desired *unstructured.Unstructured  // to be applied; nil for deletes
	live    *unstructured.Unstructured  // as the plan saw it; nil for creates
	// predicted is what the server should hold afterwards; nil for deletes,
	// replaces and changes the server could not verify.
	predicted *unstructured.Unstructured
	// force is set when approved takeovers need it.
	force bool
	// migrate is a JSON patch that moves field ownership to us before the
	// apply, bound to the live resourceVersion; nil when none is needed.
	migrate []byte
	// digest is the inventory's digest of the desired content.
	digest string
	// stands is the object where, planned again, it needs no write any more.
	stands *standing
}

// prepared is what Plan hands to Apply in cluster.Plan.Prepared.
type prepared struct {
	request cluster.Request
	inv     *inventory.Inventory
	kinds   *kinds.Served
	items   []item // parallel to Plan.Changes
	// track are objects that stand as desired already: apply only records them.
	track []inventory.Entry
	// standing are the objects that were looked at and need no write: an apply
	// that was cut short may have left them unwell, so their health counts too.
	standing []standing
	// drop are entries of this owner whose objects are gone.
	drop []cluster.Ref
	// scrub removes secret values from texts of the server.
	scrub *secret.Scrubber
	// planned are the CRDs and namespaces of the merge result that the cluster
	// does not have yet.
	planned kinds.Planned
}

// standing is an object that is as desired.
type standing struct {
	ref  cluster.Ref
	gvr  schema.GroupVersionResource
	live *unstructured.Unstructured
}

// outcome is what planning one object found out.
type outcome struct {
	stands  *standing
	item    *item // nil when nothing changes
	drift   *cluster.Drift
	track   *inventory.Entry
	drop    bool // the object is gone: only its inventory entry goes
	problem *cluster.Problem
}
