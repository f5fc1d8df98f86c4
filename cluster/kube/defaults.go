package kube

import (
	"fmt"
	"strings"

	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"lockkeeper/cluster"
)

// newDefaults warns of custom resources that will read differently although
// nothing is written to them: the server fills in what the schema of their CRD
// has by default whenever it reads one, and the plan changes the CRD. No
// dry-run can show it, because the CRD has to be there first.
func newDefaults(base, merge []cluster.Object, planned plannedKinds) []string {
	was := byRef(base)
	var out []string
	for i := range merge {
		o := &merge[i]
		crd := planned.crds[schema.GroupKind{Group: o.Ref.Group, Kind: o.Ref.Kind}]
		if crd == nil || was[crd.Ref] == nil || was[o.Ref] == nil {
			continue
		}
		before, after := defaulted(o, was[crd.Ref]), defaulted(o, crd)
		if before == nil || after == nil {
			continue // what is wrong with a schema is the CRD's own problem
		}
		var fields []string
		for _, f := range diffObjects(before, after, keysOf()) {
			fields = append(fields, f.Path)
		}
		if len(fields) > 0 {
			out = append(out, fmt.Sprintf("%s will read differently although nothing is written to it: its CRD is given other defaults in the same pull, for %s",
				o.Ref, strings.Join(fields, ", ")))
		}
	}
	return out
}

// defaulted is an object with the defaults of a CRD, nil if that has no usable
// schema for its version.
func defaulted(o, crd *cluster.Object) map[string]any {
	gv, err := schema.ParseGroupVersion(o.APIVersion)
	if err != nil {
		return nil
	}
	props, err := schemaOf(crd, gv.Version)
	if err != nil {
		return nil
	}
	s, err := structural.NewStructural(props)
	if err != nil {
		return nil
	}
	content := (&unstructured.Unstructured{Object: o.Content}).DeepCopy().Object
	defaulting.Default(content, s)
	return content
}
