package proof

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/inventory"
)

// MAC is a keyed hash: inventory.Inventory.MAC. With a key, Meta does not let
// readers of the inventory guess what annotations hold.
type MAC func(parts ...[]byte) []byte

// noisy are the annotations, by group and kind, that controllers of Kubernetes
// write on objects that people make, and that tell nothing about what Git set.
// Only kinds whose generation is trusted belong here: elsewhere such a write
// moves the resourceVersion all the same. (On a Deployment it moves the
// generation too, but before the apply that causes it sees it healthy.)
var noisy = map[string][]string{
	"Deployment.apps": {"deployment.kubernetes.io/revision"},
}

// Noisy are the annotations on objects of a kind (as Deployment.apps) that say
// nothing about what Git set.
func Noisy(groupKind string) []string { return noisy[groupKind] }

// Baseline is the metadata of an object at a moment when it was known to be as
// applied.
type Baseline struct {
	UID             types.UID
	Generation      int64 // 0 for kinds that keep none
	ResourceVersion string
	// Meta is a keyed hash (see Of); "" proves nothing.
	Meta string
}

// Seen is the metadata of a live object now.
type Seen struct {
	Baseline
	Deleting bool
}

// OfEntry is the baseline that the inventory holds.
func OfEntry(e inventory.Entry) Baseline {
	return Baseline{UID: e.UID, Generation: e.Generation, ResourceVersion: e.ResourceVersion, Meta: e.Meta}
}

// Of is the baseline that a live object gives that is exactly as Git has it:
// the server's answer to our write, or what an exact check read. Where Git
// itself sets an annotation that is otherwise noise, Meta stays empty: such an
// object is never proven clean by metadata. git may be nil.
func Of(mac MAC, ref cluster.Ref, live, git metav1.Object) Baseline {
	now := Look(mac, ref, live).Baseline
	if git != nil {
		for _, key := range noisy[ref.GroupKind()] {
			if _, ok := git.GetAnnotations()[key]; ok {
				now.Meta = ""
			}
		}
	}
	return now
}

// Look reduces an object to what proofs need.
func Look(mac MAC, ref cluster.Ref, live metav1.Object) Seen {
	return Seen{
		Baseline: Baseline{
			UID: live.GetUID(), Generation: live.GetGeneration(), ResourceVersion: live.GetResourceVersion(),
			Meta: meta(mac, ref, live),
		},
		Deleting: live.GetDeletionTimestamp() != nil,
	}
}

// Doubt says why the metadata does not prove that an object is as it was at its
// baseline; "" is proof. generations tells whether the kind keeps a generation
// that can be trusted.
func (b Baseline) Doubt(now Seen, generations bool) string {
	switch {
	case b.UID == "" || b.Meta == "":
		return "no baseline is known"
	case now.UID != b.UID:
		return "it was deleted and made again"
	case now.Deleting:
		return "it is being deleted"
	case now.Meta != b.Meta:
		return "its labels, annotations, finalizers, owners or our ownership of fields changed"
	case now.ResourceVersion == b.ResourceVersion && b.ResourceVersion != "":
		return ""
	case !generations || b.Generation == 0:
		return "it was written since"
	case now.Generation != b.Generation:
		return fmt.Sprintf("its generation is %d, not %d", now.Generation, b.Generation)
	}
	return ""
}
