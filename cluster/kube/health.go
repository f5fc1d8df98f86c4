package kube

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"lockkeeper/cluster"
)

// Waiting is by watches. Where a watch ends or is refused, the objects are read
// again after a pause, which doubles from the first to the second of these.
const (
	pauseFirst = 250 * time.Millisecond
	pauseLast  = 10 * time.Second
)

// verdict is what an object's state says; state is "" while it is open.
type verdict struct {
	state   cluster.StepState
	message string
}

// awaited is an object that was written and is not known to be well yet.
type awaited struct {
	index int // of its change
	gvr   schema.GroupVersionResource
	uid   types.UID
	obj   *unstructured.Unstructured // as last seen
	wrote *unstructured.Unstructured // as the write left it; nil for a delete
	gone  bool                       // it was deleted, and is well when it is gone
	verdict
}

// look judges a newer state of the object; nil means that it is not there.
func (w *awaited) look(obj *unstructured.Unstructured) {
	there := obj != nil && obj.GetUID() == w.uid
	if there {
		w.obj = obj
	}
	switch {
	case w.gone && !there:
		w.verdict = verdict{cluster.Healthy, ""}
	case w.gone:
		w.verdict = verdict{"", whyNotGone(obj)}
	case obj == nil:
		w.verdict = verdict{cluster.Unhealthy, "was deleted by somebody while lockkeeper waited for it"}
	case !there:
		w.verdict = verdict{cluster.Unhealthy, "was deleted and made again by somebody while lockkeeper waited for it"}
	default:
		w.verdict = health(obj)
	}
}

// health judges an object that is to stay.
func health(obj *unstructured.Unstructured) verdict {
	if v, ok := healthOfKind(obj); ok && obj.GetDeletionTimestamp() == nil {
		return v
	}
	r, err := status.Compute(obj)
	if err != nil {
		// A status that cannot be read says nothing: custom kinds are free in
		// what they write there.
		return verdict{cluster.Healthy, ""}
	}
	switch r.Status {
	case status.CurrentStatus:
		return verdict{cluster.Healthy, ""}
	case status.FailedStatus:
		return verdict{cluster.Unhealthy, r.Message}
	case status.TerminatingStatus:
		return verdict{cluster.Unhealthy, "is being deleted by somebody"}
	}
	return verdict{"", r.Message}
}

// healthOfKind knows kinds for which kstatus means something else by
// "current": it is content with a Job that runs, wants volumes bound before
// anything uses them, and does not know the others.
func healthOfKind(obj *unstructured.Unstructured) (verdict, bool) {
	switch gk := obj.GroupVersionKind().GroupKind().String(); gk {
	case "Job.batch":
		if suspended, _, _ := unstructured.NestedBool(obj.Object, "spec", "suspend"); suspended {
			return verdict{cluster.Healthy, "suspended"}, true
		}
		if message, ok := condition(obj, "Failed", "True"); ok {
			return verdict{cluster.Unhealthy, "the Job failed: " + message}, true
		}
		if _, ok := condition(obj, "Complete", "True"); ok {
			return verdict{cluster.Healthy, ""}, true
		}
		active, _, _ := unstructured.NestedInt64(obj.Object, "status", "active")
		return verdict{"", fmt.Sprintf("the Job is not complete: %d pods active", active)}, true
	case "Deployment.apps":
		paused, _, _ := unstructured.NestedBool(obj.Object, "spec", "paused")
		return verdict{cluster.Healthy, "paused: the rollout waits for somebody to resume it"}, paused
	case "PersistentVolumeClaim":
		// With WaitForFirstConsumer a claim is bound when a pod uses it, so
		// that its workload's health covers it.
		phase, _, _ := unstructured.NestedString(obj.Object, "status", "phase")
		if phase == "Lost" {
			return verdict{cluster.Unhealthy, "the claim's volume is lost"}, true
		}
		return verdict{cluster.Healthy, ""}, true
	case "APIService.apiregistration.k8s.io":
		if _, ok := condition(obj, "Available", "True"); ok {
			return verdict{cluster.Healthy, ""}, true
		}
		message, _ := condition(obj, "Available", "False")
		return verdict{"", cmp.Or(message, "not available yet")}, true
	}
	return verdict{}, false
}

// condition returns the message of a condition if it has the given status.
func condition(obj *unstructured.Unstructured, kind, want string) (string, bool) {
	list, _, _ := unstructured.NestedSlice(obj.Object, "status", "conditions")
	for _, x := range list {
		if c, ok := x.(map[string]any); ok && c["type"] == kind && c["status"] == want {
			message, _ := c["message"].(string)
			return message, true
		}
	}
	return "", false
}

// whyNotGone says what keeps an object whose deletion was accepted.
func whyNotGone(obj *unstructured.Unstructured) string {
	if obj.GetKind() == "Namespace" && obj.GroupVersionKind().Group == "" {
		var why []string
		for _, kind := range []string{"NamespaceFinalizersRemaining", "NamespaceContentRemaining", "NamespaceDeletionContentFailure"} {
			if message, ok := condition(obj, kind, "True"); ok {
				why = append(why, message)
			}
		}
		if len(why) > 0 {
			return strings.Join(why, "; ")
		}
	}
	if f := obj.GetFinalizers(); len(f) > 0 {
		return "waits for the finalizer " + strings.Join(f, ", ") + " to be removed by its controller"
	}
	return "is still being deleted"
}

// await follows the objects until each is judged or ctx ends. settled hears of
// every judged object, from several goroutines.
func (c *Cluster) await(ctx context.Context, list []*awaited, settled func(*awaited)) {
	type place struct {
		gvr       schema.GroupVersionResource
		namespace string
	}
	places := map[place][]*awaited{}
	for _, w := range list {
		if w.state != "" {
			settled(w)
			continue
		}
		p := place{w.gvr, w.obj.GetNamespace()}
		places[p] = append(places[p], w)
	}
	var all sync.WaitGroup
	for _, open := range places {
		all.Go(func() { c.awaitPlace(ctx, open, settled) })
	}
	all.Wait()
}

// awaitPlace follows objects of one kind in one namespace.
func (c *Cluster) awaitPlace(ctx context.Context, open []*awaited, settled func(*awaited)) {
	done := func(w *awaited) bool {
		if w.state != "" {
			settled(w)
		}
		return w.state != ""
	}
	for pause := pauseFirst; ; pause = min(2*pause, pauseLast) {
		if open = c.follow(ctx, open, done); len(open) == 0 {
			return
		}
		if !paused(ctx, pause) {
			return
		}
		open = slices.DeleteFunc(open, func(w *awaited) bool {
			obj, err := c.read(ctx, w.gvr, w.obj.GetNamespace(), w.obj.GetName())
			if err == nil || apierrors.IsNotFound(err) {
				w.look(obj)
			}
			return done(w)
		})
		if len(open) == 0 {
			return
		}
	}
}

// follow watches from the oldest state at hand until all are judged or the
// watch ends, and returns those that are open.
func (c *Cluster) follow(ctx context.Context, open []*awaited, done func(*awaited) bool) []*awaited {
	opts := metav1.ListOptions{ResourceVersion: oldest(open), AllowWatchBookmarks: true}
	if len(open) == 1 {
		opts.FieldSelector = fields.OneTermEqualSelector("metadata.name", open[0].obj.GetName()).String()
	}
	w, err := c.resource(open[0].gvr, open[0].obj.GetNamespace()).Watch(ctx, opts)
	if err != nil {
		return open
	}
	defer w.Stop()
	for len(open) > 0 {
		select {
		case <-ctx.Done():
			return open
		case event, ok := <-w.ResultChan():
			if !ok || event.Type == watch.Error {
				return open
			}
			obj, ok := event.Object.(*unstructured.Unstructured)
			if !ok || event.Type == watch.Bookmark {
				continue
			}
			open = slices.DeleteFunc(open, func(w *awaited) bool {
				if w.obj.GetName() != obj.GetName() || !newer(obj, w.obj) {
					return false
				}
				if event.Type == watch.Deleted {
					if obj.GetUID() != w.uid {
						return false // somebody else's, between ours and the next
					}
					w.look(nil)
				} else {
					w.look(obj)
				}
				return done(w)
			})
		}
	}
	return open
}

// read reads one object; it is nil when there is an error.
func (c *Cluster) read(ctx context.Context, gvr schema.GroupVersionResource, namespace, name string) (obj *unstructured.Unstructured, err error) {
	err = c.request(ctx, func(ctx context.Context) (err error) {
		obj, err = c.resource(gvr, namespace).Get(ctx, name, metav1.GetOptions{})
		return err
	})
	if err != nil {
		return nil, err
	}
	return obj, nil
}

// oldest is the resourceVersion from which a watch misses nothing about the
// objects; "" (begin with the present state) where one is not a number.
func oldest(list []*awaited) string {
	low := uint64(0)
	for _, w := range list {
		n, err := strconv.ParseUint(w.obj.GetResourceVersion(), 10, 64)
		if err != nil {
			return ""
		}
		if low == 0 || n < low {
			low = n
		}
	}
	return strconv.FormatUint(low, 10)
}

// newer reports whether a was written after b; a watch that begins at another
// object's state may replay what was there before ours was written.
func newer(a, b *unstructured.Unstructured) bool {
	x, errX := strconv.ParseUint(a.GetResourceVersion(), 10, 64)
	y, errY := strconv.ParseUint(b.GetResourceVersion(), 10, 64)
	return errX != nil || errY != nil || x > y
}
