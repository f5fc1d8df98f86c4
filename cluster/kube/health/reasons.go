package health

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"lockkeeper/cluster/kube/client"
)

// The most that a step tells: events, and lines about containers.
const (
	maxEvents     = 5
	maxContainers = 3
)

// Reasons are what the cluster says about an object that is not healthy.
type Reasons struct {
	Events     []string // warnings, newest first
	Containers []string // why containers of its pods do not run
}

// Examine looks for the reasons why an object is not healthy: the warnings on
// it and on what it owns, down to its pods. It is called for objects that
// failed only, and reports what it can read: an error here must not hide the
// failure that is being explained.
func Examine(ctx context.Context, api *client.Client, obj *unstructured.Unstructured) Reasons {
	if obj.GetNamespace() == "" {
		return Reasons{Events: warnings(ctx, api, "default", map[types.UID]string{obj.GetUID(): ""})}
	}
	family := map[types.UID]string{obj.GetUID(): ""}
	pods := podsOf(ctx, api, obj, family)
	for _, p := range pods {
		family[p.UID] = "Pod " + p.Name + ": "
	}
	return Reasons{
		Events:     warnings(ctx, api, obj.GetNamespace(), family),
		Containers: stuckContainers(pods),
	}
}

// podsOf follows owner references from a workload to its pods, by way of its
// ReplicaSets (or a CronJob's Jobs are left out: they are no part of its
// health). What lies between is added to family.
func podsOf(ctx context.Context, api *client.Client, obj *unstructured.Unstructured, family map[types.UID]string) []corev1.Pod {
	selector, ok := selectorOf(obj)
	if !ok {
		return nil
	}
	opts := metav1.ListOptions{LabelSelector: selector}
	if obj.GetKind() == "Deployment" {
		sets, err := listOwned(ctx, api, schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "replicasets"}, obj.GetNamespace(), opts)
		if err != nil {
			return nil
		}
		for _, s := range sets {
			if owned(s.OwnerReferences, family) {
				family[s.UID] = "ReplicaSet " + s.Name + ": "
			}
		}
	}
	var list *corev1.PodList
	err := api.Ask(ctx, func(ctx context.Context) (err error) {
		list, err = api.Core.Pods(obj.GetNamespace()).List(ctx, opts)
		return err
	})
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return !owned(p.OwnerReferences, family) })
}

func listOwned(ctx context.Context, api *client.Client, gvr schema.GroupVersionResource, namespace string, opts metav1.ListOptions) ([]metav1.PartialObjectMetadata, error) {
	var list *metav1.PartialObjectMetadataList
	err := api.Ask(ctx, func(ctx context.Context) (err error) {
		list, err = api.Metadata.Resource(gvr).Namespace(namespace).List(ctx, opts)
		return err
	})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

func owned(refs []metav1.OwnerReference, family map[types.UID]string) bool {
	return slices.ContainsFunc(refs, func(r metav1.OwnerReference) bool {
		_, ok := family[r.UID]
		return ok
	})
}

// selectorOf is the label selector of a workload's pods.
func selectorOf(obj *unstructured.Unstructured) (string, bool) {
	m, ok, err := unstructured.NestedMap(obj.Object, "spec", "selector")
	if !ok || err != nil {
		return "", false
	}
	var ls metav1.LabelSelector
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(m, &ls); err != nil {
		return "", false
	}
	s, err := metav1.LabelSelectorAsSelector(&ls)
	if err != nil || s.Empty() || s.String() == labels.Nothing().String() {
		return "", false
	}
	return s.String(), true
}

// warnings lists the last warning events on the members of a family; its
// values are what to write before the event.
func warnings(ctx context.Context, api *client.Client, namespace string, family map[types.UID]string) []string {
	var list *corev1.EventList
	err := api.Ask(ctx, func(ctx context.Context) (err error) {
		list, err = api.Core.Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "type=" + corev1.EventTypeWarning, Limit: 500})
		return err
	})
	if err != nil {
		return nil
	}
	found := slices.DeleteFunc(list.Items, func(e corev1.Event) bool {
		_, ok := family[e.InvolvedObject.UID]
		return !ok
	})
	slices.SortStableFunc(found, func(a, b corev1.Event) int { return eventTime(b).Compare(eventTime(a)) })
	var out []string
	for _, e := range found {
		line := family[e.InvolvedObject.UID] + e.Reason + ": " + e.Message
		if !slices.Contains(out, line) && len(out) < maxEvents {
			out = append(out, line)
		}
	}
	return out
}

// eventTime is when an event last happened: old and new recorders fill
// different fields.
func eventTime(e corev1.Event) time.Time {
	last := e.LastTimestamp.Time
	if e.Series != nil {
		last = e.Series.LastObservedTime.Time
	}
	return cmp.Or(last, e.EventTime.Time, e.CreationTimestamp.Time)
}

// stuckContainers says why containers wait or died: CrashLoopBackOff,
// ImagePullBackOff, an exit code.
func stuckContainers(pods []corev1.Pod) []string {
	var out []string
	for _, p := range pods {
		for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
			why := ""
			switch w, last := s.State.Waiting, s.LastTerminationState.Terminated; {
			case s.State.Terminated != nil && s.State.Terminated.ExitCode != 0:
				why = fmt.Sprintf("exited with code %d (%s)", s.State.Terminated.ExitCode, s.State.Terminated.Reason)
			case w == nil || w.Reason == "ContainerCreating" || w.Reason == "PodInitializing":
			case w.Reason == "CrashLoopBackOff" && last != nil:
				why = fmt.Sprintf("%s, last exit code %d (%s)", w.Reason, last.ExitCode, last.Reason)
			default:
				why = w.Reason
			}
			line := fmt.Sprintf("container %s of Pod %s: %s", s.Name, p.Name, why)
			if why != "" && len(out) < maxContainers {
				out = append(out, line)
			}
		}
	}
	return out
}
