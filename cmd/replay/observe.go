package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"lockkeeper/bot/plan"
	"lockkeeper/cluster"
	"lockkeeper/cluster/clustertest/exact"
)

// observer reads what is live, apart from lockkeeper's own code.
type observer struct {
	dyn   dynamic.Interface
	disco *discovery.DiscoveryClient
}

func newObserver(rc *rest.Config) (*observer, error) {
	dyn, err := dynamic.NewForConfig(rc)
	if err != nil {
		return nil, err
	}
	disco, err := discovery.NewDiscoveryClientForConfig(rc)
	return &observer{dyn, disco}, err
}

// snapshot is all live objects of some kinds.
type snapshot map[cluster.Ref]map[string]any

// snapshot lists all objects, whoever made them, of the kinds of the states,
// in the versions in which those name them. A kind that is not served has no
// objects.
func (o *observer) snapshot(ctx context.Context, states ...*state) (snapshot, error) {
	kinds := map[schema.GroupKind]string{}
	for _, s := range states {
		for _, obj := range s.objects {
			gv, err := schema.ParseGroupVersion(obj.APIVersion)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", obj.Source, err)
			}
			kinds[schema.GroupKind{Group: gv.Group, Kind: obj.Ref.Kind}] = gv.Version
		}
	}
	out := snapshot{}
	resources := map[schema.GroupVersion]*metav1.APIResourceList{}
	for gk, version := range kinds {
		gv := schema.GroupVersion{Group: gk.Group, Version: version}
		if resources[gv] == nil {
			list, err := o.disco.ServerResourcesForGroupVersion(gv.String())
			if apierrors.IsNotFound(err) {
				list, err = &metav1.APIResourceList{}, nil
			}
			if err != nil {
				return nil, fmt.Errorf("discover %s: %w", gv, err)
			}
			resources[gv] = list
		}
		i := slices.IndexFunc(resources[gv].APIResources, func(r metav1.APIResource) bool {
			return r.Kind == gk.Kind && !strings.Contains(r.Name, "/")
		})
		if i < 0 {
			continue
		}
		if err := o.list(ctx, gv.WithResource(resources[gv].APIResources[i].Name), gk, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (o *observer) list(ctx context.Context, gvr schema.GroupVersionResource, gk schema.GroupKind, out snapshot) error {
	list, err := o.dyn.Resource(gvr).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list %s: %w", gvr.Resource, err)
	}
	for _, item := range list.Items {
		ref := cluster.Ref{Group: gk.Group, Kind: gk.Kind, Namespace: item.GetNamespace(), Name: item.GetName()}
		if ref.Namespace != cluster.SystemNamespace {
			out[ref] = item.Object
		}
	}
	return nil
}

// compare lists how what happened differs from what was planned: changes that
// came out otherwise, and whatever changed without being in the plan or one of
// its warnings.
func compare(out *plan.Output, before, after snapshot) []string {
	var wrong []string
	changes := changesOf(out)
	planned := map[cluster.Ref]bool{}
	for _, ch := range changes {
		planned[ch.Ref] = true
		if why := exact.Unlike(ch, before[ch.Ref], after[ch.Ref]); why != "" {
			wrong = append(wrong, fmt.Sprintf("%s of %s: %s", ch.Action, ch.Ref, why))
		}
	}
	for ref := range after {
		if before[ref] == nil && !planned[ref] && !derived(ref, after[ref]) {
			wrong = append(wrong, fmt.Sprintf("%s appeared without being in the plan", ref))
		}
	}
	for ref, b := range before {
		a := after[ref]
		if planned[ref] || a != nil && exact.Difference("", exact.Content(b), exact.Content(a)) == "" {
			continue
		}
		if a == nil {
			wrong = append(wrong, fmt.Sprintf("%s is gone without being in the plan", ref))
			continue
		}
		if why := exact.Difference("", exact.Content(b), exact.Content(a)); !derived(ref, a) && !warned(out, ref, why) {
			wrong = append(wrong, fmt.Sprintf("%s changed without being in the plan: %s", ref, why))
		}
	}
	slices.Sort(wrong)
	return wrong
}

// warned reports whether the plan said of an object, outside its changes, that
// the field of a difference (".spec.x: ...") will be another one.
func warned(out *plan.Output, ref cluster.Ref, difference string) bool {
	path, _, _ := strings.Cut(strings.TrimPrefix(difference, "."), ": ")
	for _, t := range out.Targets {
		for _, w := range t.Plan.Warnings {
			if fields, ok := strings.CutPrefix(w, ref.String()+" will read differently"); ok && strings.Contains(fields, " "+path) {
				return true
			}
		}
	}
	return false
}

// derived reports whether the cluster's own controllers write an object: they
// fill ClusterRoles that aggregate others, and make API services for custom
// kinds, and a CA bundle and a service account in every namespace.
func derived(ref cluster.Ref, live map[string]any) bool {
	switch ref.GroupKind() {
	case "ClusterRole.rbac.authorization.k8s.io":
		_, aggregates := live["aggregationRule"]
		return aggregates
	case "APIService.apiregistration.k8s.io":
		labels, _ := live["metadata"].(map[string]any)["labels"].(map[string]any)
		_, automanaged := labels["kube-aggregator.kubernetes.io/automanaged"]
		return automanaged
	case "ConfigMap":
		return ref.Name == "kube-root-ca.crt"
	case "ServiceAccount":
		return ref.Name == "default"
	}
	return false
}

// leftOver lists what Git has and is not live, and what Git had in an earlier
// state and is still live. That values are as Git says is the second plan's
// matter, because only the server knows that 0.5 is 500m.
func leftOver(s *state, earlier map[cluster.Ref]bool, live snapshot) []string {
	var wrong []string
	desired := map[cluster.Ref]bool{}
	for _, o := range s.objects {
		desired[o.Ref] = true
		if live[o.Ref] == nil {
			wrong = append(wrong, fmt.Sprintf("%s is not live", o.Ref))
		}
	}
	for ref := range earlier {
		if !desired[ref] && live[ref] != nil {
			wrong = append(wrong, fmt.Sprintf("%s is left over: Git has it no more", ref))
		}
	}
	slices.Sort(wrong)
	return wrong
}
