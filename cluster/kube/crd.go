package kube

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/kinds"
)

// unserved plans an object whose kind the server does not have (or not in this
// shape): possible only where its CRD is in the same plan.
func (l *look) unserved(ctx context.Context) (outcome, error) {
	gv, err := schema.ParseGroupVersion(l.w.merge.APIVersion)
	if err != nil {
		return l.problem("%s: apiVersion %q is not of the form group/version", l.w.ref, l.w.merge.APIVersion), nil
	}
	if broken, ok := l.p.kinds.Broken[gv]; ok {
		out := l.problem("%s: the API service of %s does not answer: %s", l.w.ref, gv, l.p.scrub.Text(l.w.ref, broken.Error()))
		out.problem.Passing = true
		return out, nil
	}
	crd := l.p.planned.CRDs[schema.GroupKind{Group: l.w.ref.Group, Kind: l.w.ref.Kind}]
	if crd == nil {
		return l.problem("%s", l.c.unknown(l.w.ref, l.w.merge.APIVersion)), nil
	}
	if err := kinds.Fits(ctx, l.desired, crd, gv.Version); err != nil {
		return l.problem("%s does not fit its CRD (%s): %s", l.w.ref, crd.Source, l.p.scrub.Text(l.w.ref, err.Error())), nil
	}
	return l.unverified("its CRD is in the same pull")
}

// unknown says that a kind is not served (any more).
func (c *Cluster) unknown(ref cluster.Ref, apiVersion string) string {
	return fmt.Sprintf("unknown kind %s in %s: the cluster %s does not serve it; install its CRD first or add it to this target", ref.Kind, apiVersion, c.api.Name)
}

// unverified is a change that the server could not verify.
func (l *look) unverified(why string) (outcome, error) {
	action := cluster.Create
	if l.live != nil {
		action = l.action()
	}
	change := l.change(action)
	change.Unverified = why
	change.Fields = l.gitFields()
	return l.finish(change, nil)
}
