package cluster

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// SystemNamespace is lockkeeper's own: it holds the inventory and the digest
// key and is outside every fence.
const SystemNamespace = "lockkeeper-system"

// Fence is what the operator lets a target touch. The zero Fence allows
// nothing.
type Fence struct {
	// Namespaces are globs (path.Match) of the namespaces whose contents, and
	// whose Namespace object if ClusterKinds has "Namespace", may be touched.
	// Kubernetes' own namespaces (kube-*) match only globs that begin with
	// "kube-", so that "*" does not open kube-system by accident.
	Namespaces []string `json:"namespaces,omitempty"`
	// ClusterKinds are cluster-scoped kinds as "ClusterRole.rbac.authorization.k8s.io",
	// or "*" for all of them.
	ClusterKinds []string `json:"clusterKinds,omitempty"`
}

// Scope is whether a kind lives in namespaces.
type Scope int

// The scopes. UnknownScope is a custom kind before discovery was asked.
const (
	UnknownScope Scope = iota
	Namespaced
	ClusterScoped
)

// Check returns why the ref is outside the fence, or "".
func (f Fence) Check(r Ref, s Scope) string {
	if r.Namespace == SystemNamespace || (r.Kind == "Namespace" && r.Group == "" && r.Name == SystemNamespace) {
		return fmt.Sprintf("%s belongs to lockkeeper itself: no target may touch the namespace %s", r, SystemNamespace)
	}
	if r.Namespace != "" {
		return f.checkNamespaced(r)
	}
	if s == Namespaced {
		return fmt.Sprintf("%s has no namespace: set metadata.namespace, or `namespace` of the target in .lockkeeper.yaml", r)
	}
	return f.checkCluster(r)
}

func (f Fence) checkNamespaced(r Ref) string {
	if f.allowsNamespace(r.Namespace) {
		return ""
	}
	return fmt.Sprintf("%s is outside the target's fence: the operator allows the namespaces %s", r, list(f.Namespaces))
}

func (f Fence) checkCluster(r Ref) string {
	if !slices.Contains(f.ClusterKinds, "*") && !slices.Contains(f.ClusterKinds, r.GroupKind()) {
		return fmt.Sprintf("%s is cluster-scoped and outside the target's fence: the operator allows the cluster-scoped kinds %s", r, list(f.ClusterKinds))
	}
	if r.Kind == "Namespace" && r.Group == "" && !f.allowsNamespace(r.Name) {
		return fmt.Sprintf("%s is outside the target's fence: the operator allows the namespaces %s", r, list(f.Namespaces))
	}
	return ""
}

func (f Fence) allowsNamespace(ns string) bool {
	return slices.ContainsFunc(f.Namespaces, func(g string) bool {
		if strings.HasPrefix(ns, "kube-") && !strings.HasPrefix(g, "kube-") {
			return false
		}
		ok, err := path.Match(g, ns)
		return err == nil && ok
	})
}

func list(xs []string) string {
	if len(xs) == 0 {
		return "(none)"
	}
	return strings.Join(xs, ", ")
}
