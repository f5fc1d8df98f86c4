package health

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/client"
)

// Waiting is by watches. Where a watch ends or is refused, the objects are read
// again after a pause, which doubles from client.FirstPause to lastPause.
const lastPause = 10 * time.Second

// watchSeconds is how long one watch lasts, so that one from which nothing can
// come any more is not believed for ever.
const watchSeconds = 60

// Awaited is an object that was written and is not known to be well yet.
type Awaited struct {
	// Index is the caller's name for it.
	Index int
	GVR   schema.GroupVersionResource
	UID   types.UID
	// Object is its state as last seen; Wrote as the write left it, nil for a
	// delete.
	Object, Wrote *unstructured.Unstructured
	// Gone says that it was deleted, and is well when it is gone.
	Gone bool
	Verdict
}

// Look judges a newer state of the object; nil means that it is not there.
func (w *Awaited) Look(obj *unstructured.Unstructured) {
	there := obj != nil && obj.GetUID() == w.UID
	if there {
		w.Object = obj
	}
	switch {
	case w.Gone && !there:
		w.Verdict = Verdict{cluster.Healthy, ""}
	case w.Gone:
		w.Verdict = Verdict{"", whyNotGone(obj)}
	case obj == nil:
		w.Verdict = Verdict{cluster.Unhealthy, "was deleted by somebody while lockkeeper waited for it"}
	case !there:
		w.Verdict = Verdict{cluster.Unhealthy, "was deleted and made again by somebody while lockkeeper waited for it"}
	default:
		w.Verdict = Of(obj)
	}
}

// place is where objects are asked for at once.
type place struct {
	gvr       schema.GroupVersionResource
	namespace string
}

// Await follows the objects until each is judged or ctx ends. settled hears of
// every judged object, from several goroutines.
func Await(ctx context.Context, api *client.Client, list []*Awaited, settled func(*Awaited)) {
	places := map[place][]*Awaited{}
	for _, w := range list {
		if w.State != "" {
			settled(w)
			continue
		}
		p := place{w.GVR, w.Object.GetNamespace()}
		places[p] = append(places[p], w)
	}
	var all sync.WaitGroup
	for _, open := range places {
		all.Go(func() { awaitPlace(ctx, api, open, settled) })
	}
	all.Wait()
}

// awaitPlace follows objects of one kind in one namespace.
func awaitPlace(ctx context.Context, api *client.Client, open []*Awaited, settled func(*Awaited)) {
	done := func(w *Awaited) bool {
		if w.State != "" {
			settled(w)
		}
		return w.State != ""
	}
	for pause := client.FirstPause; ; pause = min(2*pause, lastPause) {
		if open = follow(ctx, api, open, done); len(open) == 0 {
			return
		}
		if !client.Pause(ctx, pause) {
			return
		}
		open = slices.DeleteFunc(open, func(w *Awaited) bool {
			obj, err := api.Get(ctx, w.GVR, w.Object.GetNamespace(), w.Object.GetName())
			if err == nil || apierrors.IsNotFound(err) {
				w.Look(obj)
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
func follow(ctx context.Context, api *client.Client, open []*Awaited, done func(*Awaited) bool) []*Awaited {
	opts := metav1.ListOptions{ResourceVersion: oldest(open), AllowWatchBookmarks: true, TimeoutSeconds: new(int64(watchSeconds))}
	if len(open) == 1 {
		opts.FieldSelector = fields.OneTermEqualSelector("metadata.name", open[0].Object.GetName()).String()
	}
	w, err := api.Resource(open[0].GVR, open[0].Object.GetNamespace()).Watch(ctx, opts)
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
			open = slices.DeleteFunc(open, func(w *Awaited) bool {
				if w.Object.GetName() != obj.GetName() || !newer(obj, w.Object) {
					return false
				}
				if event.Type == watch.Deleted {
					if obj.GetUID() != w.UID {
						return false // somebody else's, between ours and the next
					}
					w.Look(nil)
				} else {
					w.Look(obj)
				}
				return done(w)
			})
		}
	}
	return open
}

// oldest is the resourceVersion from which a watch misses nothing about the
// objects; "" (begin with the present state) where one is not a number.
func oldest(list []*Awaited) string {
	low := uint64(0)
	for _, w := range list {
		n, err := strconv.ParseUint(w.Object.GetResourceVersion(), 10, 64)
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
