package kube

import (
	"fmt"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/kinds"
)

// checkPure finds what can be refused without asking anybody: objects outside
// the fence, objects given twice, objects that another target wants too.
func checkPure(r cluster.Request, merge []cluster.Object, scope kinds.Scoper) []cluster.Problem {
	var out []cluster.Problem
	seen := map[cluster.Ref]string{}
	for i := range merge {
		o := &merge[i]
		if o.Ref.Name == "" {
			out = append(out, problem(o, "an object of kind %s has no metadata.name: give it one (generateName makes a new object at every apply)", o.Ref.Kind))
			continue
		}
		if why := fenced(r.Target, o, scope); why != "" {
			out = append(out, problem(o, "%s", why))
		}
		if other, ok := seen[o.Ref]; ok {
			out = append(out, problem(o, "%s is given twice, at %s and at %s: remove one of them", o.Ref, other, o.Source))
		}
		seen[o.Ref] = o.Source
		if other, ok := r.Claims[o.Ref]; ok {
			out = append(out, problem(o, "%s is also rendered by target %s: one object belongs to one target, remove it from one of them", o.Ref, other))
		}
	}
	return out
}

// fenced says why an object is outside the fence. Before discovery the scope
// of a custom kind may be unknown: then it must be allowed one way at least,
// and is checked again when the scope is known.
func fenced(t cluster.Target, o *cluster.Object, scope kinds.Scoper) string {
	s := scope(o.Ref, o.APIVersion)
	if s == cluster.ClusterScoped || s == cluster.Namespaced || o.Ref.Namespace != "" {
		return t.Fence.Check(o.Ref, s)
	}
	why := t.Fence.Check(o.Ref, s)
	if why == "" || t.Namespace == "" {
		return why
	}
	inNamespace := o.Ref
	inNamespace.Namespace = t.Namespace
	if t.Fence.Check(inNamespace, cluster.Namespaced) == "" {
		return ""
	}
	return why
}

func problem(o *cluster.Object, format string, args ...any) cluster.Problem {
	ref := o.Ref
	return cluster.Problem{Ref: &ref, Source: o.Source, Message: fmt.Sprintf(format, args...)}
}
