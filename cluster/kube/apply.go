package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/client"
	"lockkeeper/cluster/kube/fields"
	"lockkeeper/cluster/kube/health"
	"lockkeeper/cluster/kube/inventory"
	"lockkeeper/cluster/kube/kinds"
	"lockkeeper/cluster/kube/proof"
)

const (
	// defaultTimeout is Target.Timeout where it is 0. It bounds each wait: for
	// foundations, a wave, everything applied, and each stage of a prune.
	defaultTimeout = 5 * time.Minute
	// writeConcurrency bounds how many objects are under way at once.
	writeConcurrency = 16
	// saveTimeout bounds writing the inventory after ctx has ended.
	saveTimeout = 30 * time.Second
	// kindTimeout is how long a new kind may take to be served after its CRD
	// is established.
	kindTimeout = 30 * time.Second
)

// applying is one run of Apply.
type applying struct {
	c       *Cluster
	p       *cluster.Plan
	pr      *prepared
	owner   cluster.Owner
	timeout time.Duration
	tell    func(cluster.Step)

	mu     sync.Mutex
	steps  []cluster.Step
	put    map[cluster.Ref]inventory.Entry // for the inventory, not saved yet
	drop   map[cluster.Ref]bool            // likewise
	failed bool                            // nothing new is begun
	away   bool                            // nor in the same stage: the cluster does not answer
}

// Apply carries out a plan: foundations first, each stage concurrently, waiting
// for health where later stages need it (see order.go), then the deletes in
// reverse order. Every write is bound to the state the plan saw; where that
// moved, the object is planned again and written only if its change has the
// same digest. Once something failed, the objects of the same stage are still
// tried, so that all errors are told at once; later stages and deletes are not.
//
// When ctx ends, the writes under way are finished and the rest is skipped. The
// inventory is written after each stage; the target's revision in it moves only
// when every step ended well. An error beside a Result says that the inventory
// could not be written: the steps are true, and planning again repairs it.
func (c *Cluster) Apply(ctx context.Context, p *cluster.Plan, progress func(cluster.Step)) (*cluster.Result, error) {
	pr, ok := p.Prepared.(*prepared)
	switch {
	case !ok || pr == nil || len(pr.items) != len(p.Changes):
		return nil, fmt.Errorf("apply of target %s: this plan was not made by this program just now: plan again", p.Target.Name)
	case len(p.Problems) > 0:
		return nil, fmt.Errorf("apply of target %s: its plan has %d problems, the first: %s", p.Target.Name, len(p.Problems), p.Problems[0].Message)
	case pr.inv.Ephemeral:
		return nil, fmt.Errorf("apply of target %s: cluster %s has no digest key yet: Bootstrap it, then plan again", p.Target.Name, c.api.Name)
	}
	ctx, counts := client.Counted(ctx)
	a := &applying{
		c: c, p: p, pr: pr, owner: p.Target.Owner(), tell: progress,
		timeout: cmp.Or(p.Target.Timeout, defaultTimeout),
		put:     map[cluster.Ref]inventory.Entry{}, drop: map[cluster.Ref]bool{},
	}
	err := a.run(ctx)
	return &cluster.Result{Target: p.Target, Steps: a.steps, Stats: counts.Stats()}, err
}

func (a *applying) run(ctx context.Context) error {
	for _, ch := range a.p.Changes {
		a.steps = append(a.steps, cluster.Step{Ref: ch.Ref, Action: ch.Action})
	}
	for i := range a.steps {
		a.step(i, cluster.Waiting, "")
	}
	for _, e := range a.pr.track {
		a.put[e.Ref] = e
	}
	for _, r := range a.pr.drop {
		a.drop[r] = true
	}
	applies, deletes := a.order()
	err := a.write(ctx, applies)
	if err == nil && !a.stopped(ctx) {
		a.waitStanding(ctx)
	}
	if err == nil {
		err = a.prune(ctx, deletes)
	}
	a.skipRest(ctx)
	return errors.Join(err, a.save(ctx, true))
}

// order sorts the changes into groups: applies first to last, deletes last to
// first.
func (a *applying) order() (applies, deletes []group) {
	up, down := map[int]place{}, map[int]place{}
	for i, it := range a.pr.items {
		if it.change.Action == cluster.Delete {
			// A live object's wave is what it was applied with, so it is a number.
			down[i], _ = placeOf(it.change.Ref, it.live)
			continue
		}
		where, err := placeOf(it.change.Ref, it.desired)
		if err != nil {
			a.step(i, cluster.Failed, err.Error())
			continue
		}
		up[i] = where
	}
	applies, deletes = inOrder(up), inOrder(down)
	slices.Reverse(deletes)
	return applies, deletes
}

// write applies the groups in order. The error is the inventory's.
func (a *applying) write(ctx context.Context, groups []group) error {
	var open []*health.Awaited
	for n, g := range groups {
		if a.stopped(ctx) {
			break
		}
		a.learnKinds(ctx, g)
		open = append(open, a.each(ctx, g, a.applyObject)...)
		if err := a.save(ctx, false); err != nil {
			return err
		}
		if waitAfter(groups, n) && !a.stopped(ctx) {
			a.wait(ctx, open)
			open = nil
		}
	}
	for _, w := range open {
		a.step(w.Index, cluster.Applied, "applied; lockkeeper did not wait for its health, because the apply stopped early. "+w.Message)
	}
	return nil
}

// each runs do on the members of a group and collects what has to be awaited.
func (a *applying) each(ctx context.Context, g group, do func(context.Context, int) *health.Awaited) []*health.Awaited {
	var workers errgroup.Group
	workers.SetLimit(writeConcurrency)
	found := make([]*health.Awaited, len(g.members))
	for n, i := range g.members {
		workers.Go(func() error {
			if ctx.Err() == nil && !a.isAway() && a.pending(i) {
				// What is begun is finished, so that its outcome is known.
				found[n] = do(context.WithoutCancel(ctx), i)
			}
			return nil
		})
	}
	_ = workers.Wait() // the workers report by steps
	return slices.DeleteFunc(found, func(w *health.Awaited) bool { return w == nil })
}

// wait waits until the objects are well or the deadline is over.
func (a *applying) wait(ctx context.Context, list []*health.Awaited) {
	bounded, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	health.Await(bounded, a.c.api, list, func(w *health.Awaited) { a.settle(ctx, w) })
	var overdue errgroup.Group
	overdue.SetLimit(writeConcurrency)
	for _, w := range list {
		switch {
		case w.State != "":
		case ctx.Err() != nil:
			a.step(w.Index, cluster.Applied, "accepted by the cluster; the apply was stopped before it was done. "+w.Message)
		default:
			overdue.Go(func() error {
				late := "not healthy after %s: %s"
				if w.Gone {
					late = "the deletion was accepted, but is not done after %s: it %s"
				}
				w.Verdict = health.Verdict{State: cluster.Unhealthy, Message: fmt.Sprintf(late, a.timeout, w.Message)}
				a.settle(ctx, w)
				return nil
			})
		}
	}
	_ = overdue.Wait() // they report by steps
}

// waitStanding waits for the objects that needed no write and are not well, as
// an apply that failed before leaves them. They get steps behind the changes'.
func (a *applying) waitStanding(ctx context.Context) {
	var list []*health.Awaited
	for _, s := range a.pr.standing {
		now := health.Of(s.live)
		if now.State == cluster.Healthy {
			continue
		}
		a.mu.Lock()
		a.steps = append(a.steps, cluster.Step{Ref: s.ref, Action: cluster.Update})
		i := len(a.steps) - 1
		a.mu.Unlock()
		a.step(i, cluster.Applied, "stands as planned already. "+now.Message)
		// What failed may have recovered since: it is looked at anew.
		list = append(list, &health.Awaited{Index: i, GVR: s.gvr, UID: s.live.GetUID(), Object: s.live, Wrote: s.live})
	}
	a.reread(ctx, list)
	a.wait(ctx, list)
}

// reread judges objects by their state now, as far as that is told in time.
func (a *applying) reread(ctx context.Context, list []*health.Awaited) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	var reading errgroup.Group
	reading.SetLimit(writeConcurrency)
	for _, w := range list {
		reading.Go(func() error {
			if obj, err := a.c.api.Get(ctx, w.GVR, w.Object.GetNamespace(), w.Object.GetName()); err == nil {
				w.Look(obj)
			}
			return nil
		})
	}
	_ = reading.Wait() // who was not read keeps the state at hand
}

// settle reports an object that was judged.
func (a *applying) settle(ctx context.Context, w *health.Awaited) {
	switch {
	case w.State != cluster.Healthy && w.Gone:
		a.step(w.Index, w.State, w.Message)
	case w.State != cluster.Healthy:
		why := health.Examine(ctx, a.c.api, w.Object)
		a.step(w.Index, w.State, strings.Join(append([]string{w.Message}, why.Containers...), "; "), why.Events...)
	case w.Gone:
		a.forget(w.Index)
		a.step(w.Index, cluster.Healthy, w.Message)
	default:
		a.rebase(w)
		a.step(w.Index, cluster.Healthy, w.Message)
	}
}

// rebase moves the baseline of an object that did not change while we waited,
// but for its status: else the next look at it would need an exact check.
func (a *applying) rebase(w *health.Awaited) {
	ref := a.steps[w.Index].Ref
	e, ok := a.pr.inv.Of(ref)
	if !ok || !unmoved(ref, w.Wrote, w.Object) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if unsaved, ok := a.put[ref]; ok {
		e = unsaved
	}
	if e.UID == w.Object.GetUID() && e.ResourceVersion != w.Object.GetResourceVersion() {
		now := proof.Of(a.pr.inv.MAC, ref, w.Object, nil)
		if e.Meta == "" {
			now.Meta = "" // it has none because it cannot have one
		}
		a.put[ref] = based(e, now)
	}
}

// unmoved compares all but status, the server's bookkeeping and what
// controllers note on the object.
func unmoved(ref cluster.Ref, x, y *unstructured.Unstructured) bool {
	moved := fields.Diff(x.Object, y.Object, fields.Keys{})
	for _, key := range proof.Noisy(ref.GroupKind()) {
		path := fields.Join("metadata.annotations", key)
		moved = slices.DeleteFunc(moved, func(f cluster.FieldChange) bool { return f.Path == path })
	}
	return len(moved) == 0 && fields.Ours(x).Equals(fields.Ours(y))
}

// step records and tells a transition. It is serial, and scrubs texts.
func (a *applying) step(i int, state cluster.StepState, message string, events ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := &a.steps[i]
	s.State, s.Message, s.Events = state, strings.TrimSpace(a.pr.scrub.Text(s.Ref, message)), nil
	for _, e := range events {
		s.Events = append(s.Events, a.pr.scrub.Text(s.Ref, e))
	}
	a.failed = a.failed || state == cluster.Failed || state == cluster.Unhealthy
	if a.tell != nil {
		a.tell(*s)
	}
}

func (a *applying) stopped(ctx context.Context) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.failed || ctx.Err() != nil
}

// pending reports whether nothing was tried with a change yet.
func (a *applying) pending(i int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.steps[i].State == cluster.Waiting
}

// outOfReach keeps what was not begun from being tried.
func (a *applying) outOfReach() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.away = true
}

func (a *applying) isAway() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.away
}

// stop says why ctx ended, where somebody said so.
func stop(ctx context.Context) string {
	if why := context.Cause(ctx); why != nil && !errors.Is(why, context.Canceled) {
		return why.Error()
	}
	return "the apply was stopped"
}

// skipRest says of all that was not tried why.
func (a *applying) skipRest(ctx context.Context) {
	why := "not tried: something before it failed"
	switch {
	case ctx.Err() != nil:
		why = "not tried: " + stop(ctx)
	case a.isAway():
		why = "not tried: the cluster does not answer"
	}
	for i := range a.steps {
		if a.pending(i) {
			a.step(i, cluster.Skipped, why)
		}
	}
}

// keep records an applied object for the inventory.
func (a *applying) keep(e inventory.Entry) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.put[e.Ref] = e
	delete(a.drop, e.Ref)
}

// forget records that an object is gone.
func (a *applying) forget(i int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	ref := a.steps[i].Ref
	delete(a.put, ref)
	a.drop[ref] = true
}

// save writes what was done since the last save to the inventory, even when
// ctx has ended. The target's revision moves only at the end of an apply that
// went well.
func (a *applying) save(ctx context.Context, last bool) error {
	a.mu.Lock()
	put, drop := slices.Collect(maps.Values(a.put)), slices.Collect(maps.Keys(a.drop))
	done := last && !slices.ContainsFunc(a.steps, func(s cluster.Step) bool { return s.State != cluster.Healthy })
	a.mu.Unlock()
	revision := a.pr.inv.Revision(a.owner)
	if len(put)+len(drop) == 0 && (!done || revision == a.pr.request.Revision) {
		return nil
	}
	if done {
		revision = a.pr.request.Revision
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	// A connection that breaks just now must not make lockkeeper forget.
	for pause := client.FirstPause; ; pause *= 2 {
		err := a.pr.inv.Write(ctx, a.owner, revision, put, drop)
		if err == nil {
			break
		}
		if !unanswered(err) || !client.Pause(ctx, pause) {
			return err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.put)
	clear(a.drop)
	return nil
}

// learnKinds finds how the server serves kinds whose CRDs this apply made.
func (a *applying) learnKinds(ctx context.Context, g group) {
	var need []schema.GroupVersionKind
	for _, i := range g.members {
		if it := &a.pr.items[i]; it.gvr.Empty() {
			need = append(need, it.desired.GroupVersionKind())
		}
	}
	if len(need) == 0 {
		return
	}
	bounded, cancel := context.WithTimeout(ctx, kindTimeout)
	defer cancel()
	for pause := client.FirstPause; ; pause *= 2 {
		served, err := a.c.kinds.For(bounded, need)
		missing := slices.ContainsFunc(need, func(k schema.GroupVersionKind) bool { return err != nil || served.ByGVK[k].GVR.Empty() })
		if err == nil {
			a.pr.kinds = served // for objects that must be planned again
			a.setKinds(g, served)
		}
		if !missing {
			return
		}
		if !client.Pause(bounded, pause) {
			return // the objects left without a kind say so one by one
		}
	}
}

func (a *applying) setKinds(g group, served *kinds.Served) {
	for _, i := range g.members {
		it := &a.pr.items[i]
		if k, ok := served.ByGVK[gvkOf(it)]; ok && it.gvr.Empty() {
			it.gvr = k.GVR
		}
	}
}

func gvkOf(it *item) schema.GroupVersionKind {
	if it.desired == nil {
		return it.live.GroupVersionKind()
	}
	return it.desired.GroupVersionKind()
}
