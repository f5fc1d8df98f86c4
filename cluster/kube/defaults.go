package kube

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/fields"
	"lockkeeper/cluster/kube/kinds"
)

// newDefaults warns of custom resources that will read differently although
// nothing is written to them: the server fills in what the schema of their CRD
// has by default whenever it reads one, and the plan changes the CRD. No
// dry-run can show it, because the CRD has to be there first.
func newDefaults(base, merge []cluster.Object, planned kinds.Planned) []string {
	was := byRef(base)
	var out []string
	for i := range merge {
		o := &merge[i]
		crd := planned.CRDs[schema.GroupKind{Group: o.Ref.Group, Kind: o.Ref.Kind}]
		if crd == nil || was[crd.Ref] == nil || was[o.Ref] == nil {
			continue
		}
		before, after := kinds.Defaulted(o, was[crd.Ref]), kinds.Defaulted(o, crd)
		if before == nil || after == nil {
			continue // what is wrong with a schema is the CRD's own problem
		}
		var paths []string
		for _, f := range fields.Diff(before, after, fields.KeysOf()) {
			paths = append(paths, f.Path)
		}
		if len(paths) > 0 {
			out = append(out, fmt.Sprintf("%s will read differently although nothing is written to it: its CRD is given other defaults in the same pull, for %s",
				o.Ref, strings.Join(paths, ", ")))
		}
	}
	return out
}
