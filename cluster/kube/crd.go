package kube

import (
	"k8s.io/apimachinery/pkg/runtime/schema"

	"lockkeeper/cluster"
)

// plannedKinds are what the merge result brings along: kinds by its CRDs, and
// namespaces. Objects that need them cannot be dry-run before they exist.
type plannedKinds struct {
	crds       map[schema.GroupKind]*cluster.Object
	namespaces map[string]bool
}
