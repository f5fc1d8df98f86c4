package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/ask"
	"lockkeeper/cluster/kube/client"
	"lockkeeper/cluster/kube/fields"
	"lockkeeper/cluster/kube/health"
	"lockkeeper/cluster/kube/inventory"
	"lockkeeper/cluster/kube/kinds"
	"lockkeeper/cluster/kube/proof"
)

// absent as the resourceVersion of a server-side apply makes it a create that
// must not find anything: the server ignores it when it creates, and answers
// 409 when an object exists, none of which can have been written at 1. (0 would
// mean any version.) A test holds the server to it.
const absent = "1"

// planAgain bounds how often a moving object is planned again, and lostAgain how
// often one is whose write got no answer, after pauses that double.
const (
	planAgain = 5
	lostAgain = 4
)

// told is an error that is in people's words already.
type told string

func (t told) Error() string { return string(t) }

// errAsPlanned says that an object stands as the plan wanted it: somebody else
// did the very same.
const errAsPlanned told = "it stands as planned already"

// applyObject carries out one create, update, replace, adopt or transfer.
func (a *applying) applyObject(ctx context.Context, i int) *health.Awaited {
	it := a.pr.items[i]
	a.step(i, cluster.Applying, "")
	if it.gvr.Empty() {
		a.step(i, cluster.Failed, fmt.Sprintf("the cluster does not serve %s %s, though its CRD was applied: look at the CRD's status", it.change.APIVersion, it.change.Ref.Kind))
		return nil
	}
	obj, err := a.carryOut(ctx, &it, a.apply)
	switch {
	case errors.Is(err, errAsPlanned):
		return a.found(i, &it)
	case err != nil:
		a.step(i, cluster.Failed, err.Error())
		return nil
	}
	a.keep(a.entryOf(&it, obj))
	if it.change.Ref.GroupKind() == kinds.CRD {
		a.c.kinds.Forget()
	}
	w := &health.Awaited{Index: i, GVR: it.gvr, UID: obj.GetUID(), Object: obj, Wrote: obj, Verdict: health.Of(obj)}
	note := surprise(&it, obj)
	if w.State == cluster.Healthy {
		a.step(i, cluster.Healthy, strings.TrimSpace(w.Message+" "+note))
		return nil
	}
	a.step(i, cluster.Applied, strings.TrimSpace(w.Message+" "+note))
	return w
}

// found goes on with an object that stands as planned, by our write whose answer
// was lost or by somebody else's.
func (a *applying) found(i int, it *item) *health.Awaited {
	if it.stands == nil {
		a.step(i, cluster.Healthy, errAsPlanned.Error())
		return nil
	}
	obj := it.stands.live
	w := &health.Awaited{Index: i, GVR: it.stands.gvr, UID: obj.GetUID(), Object: obj, Wrote: obj, Verdict: health.Of(obj)}
	if w.State == "" || w.State == cluster.Unhealthy { // which may be over by now
		w.State = ""
		a.step(i, cluster.Applied, string(errAsPlanned)+". "+w.Message)
		return w
	}
	a.step(i, cluster.Healthy, errAsPlanned.Error())
	return nil
}

// carryOut writes with do, planning again when the object moved, or when the
// answer was lost: what is there then tells what became of the write.
func (a *applying) carryOut(ctx context.Context, it *item, do func(context.Context, *item) (*unstructured.Unstructured, error)) (*unstructured.Unstructured, error) {
	for attempt, lost := 1, 0; ; attempt++ {
		obj, err := do(ctx, it)
		var final told
		switch {
		case err == nil:
			return obj, nil
		case errors.As(err, &final):
			return nil, final
		case isFieldConflict(err):
			return nil, fmt.Errorf("changed since the plan: %s; plan again", fieldConflict(err))
		case unanswered(err):
			if lost++; !a.resolved(ctx, it, lost, &err) {
				return nil, err
			}
			continue
		case ask.KindGone(err) && it.change.Action != cluster.Delete:
			a.c.kinds.Forget()
			return nil, errors.New(a.c.unknown(it.change.Ref, it.change.APIVersion))
		case !isStale(err, it):
			return nil, a.c.api.Explain(err)
		case attempt == planAgain:
			return nil, fmt.Errorf("the object was written by somebody else %d times in a row while lockkeeper tried (%w); plan again", attempt, err)
		}
		if err := a.refresh(ctx, it); err != nil {
			return nil, err
		}
	}
}

// resolved finds out what became of a write whose answer was lost, once the
// cluster answers again. If it was not carried out, it is true, and the write may
// be tried again; else err says what is known.
func (a *applying) resolved(ctx context.Context, it *item, lost int, err *error) bool {
	unknown := fmt.Errorf("%w; whether it was carried out is not known: plan again to see", a.c.api.Explain(*err))
	if lost > lostAgain {
		*err = unknown
		return false
	}
	for pause := client.FirstPause << lost; client.Pause(ctx, pause); pause *= 2 {
		now := a.refresh(ctx, it)
		var u unreached
		switch {
		case now == nil:
			return true
		case !errors.As(now, &u):
			*err = now
			return false
		case errors.Is(now, context.DeadlineExceeded) || pause > lostLongest:
			a.outOfReach()
			*err = unknown
			return false
		}
	}
	*err = unknown
	return false
}

// lostLongest is the longest pause before a cluster that does not answer is
// asked again what became of a write.
const lostLongest = 4 * time.Second

// unreached says that an object cannot be planned again now.
type unreached struct{ error }

func (u unreached) Unwrap() error { return u.error }

// refresh plans an object again after it moved, and puts the new item in the
// place of the old one if it would change the very same.
func (a *applying) refresh(ctx context.Context, it *item) error {
	now, err := a.c.planObject(ctx, a.pr, it.want)
	switch {
	case err != nil:
		return unreached{fmt.Errorf("what is there now cannot be looked at: %w", err)}
	case now.problem != nil && now.problem.Passing:
		return unreached{fmt.Errorf("what is there now cannot be looked at: %s", now.problem.Message)}
	case now.problem != nil:
		return fmt.Errorf("changed since the plan: %s", now.problem.Message)
	case now.item == nil:
		if now.track != nil {
			a.keep(*now.track)
		}
		it.stands = now.stands
		return errAsPlanned
	case now.item.change.Digest != it.change.Digest:
		return fmt.Errorf("changed since the plan: %s; plan again", whatMoved(it, now.item))
	}
	*it = *now.item
	return nil
}

// isStale reports whether a write failed because the object is not as the plan
// saw it.
func isStale(err error, it *item) bool {
	return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) ||
		apierrors.IsNotFound(err) && it.change.Action != cluster.Create
}

// unanswered reports whether a write may have happened all the same: there was no
// answer, or one of a server in trouble.
func unanswered(err error) bool {
	var answer apierrors.APIStatus
	if errors.As(err, new(*client.RestingError)) || client.ByWebhook(err) {
		return false // it was not tried
	}
	return err != nil && (!errors.As(err, &answer) || client.Passing(err) && !apierrors.IsTooManyRequests(err))
}

func isFieldConflict(err error) bool {
	return apierrors.HasStatusCause(err, metav1.CauseTypeFieldManagerConflict)
}

// fieldConflict names the fields and who owns them, as the server does: each
// cause is `conflict with "kubectl-edit" using v1` and a field.
func fieldConflict(err error) string {
	var s apierrors.APIStatus
	if !errors.As(err, &s) || s.Status().Details == nil {
		return err.Error()
	}
	var parts []string
	for _, c := range s.Status().Details.Causes {
		parts = append(parts, strings.TrimPrefix(c.Field, ".")+" ("+c.Message+")")
	}
	return strings.Join(parts, ", ")
}

// whatMoved names the fields in which two plans of one object differ, without
// their values, and who wrote the object last.
func whatMoved(was, now *item) string {
	if was.change.Action != now.change.Action {
		return fmt.Sprintf("it would be %s now, not %s%s", now.change.Action, was.change.Action, lastWriter(now.live))
	}
	var paths []string
	for _, pair := range [][2][]cluster.FieldChange{{was.change.Fields, now.change.Fields}, {now.change.Fields, was.change.Fields}} {
		for _, f := range pair[0] {
			same := func(o cluster.FieldChange) bool {
				return o.Path == f.Path && o.Op == f.Op && !f.Masked && fields.Equal(o.Before, f.Before) && fields.Equal(o.After, f.After)
			}
			if !f.Server && !slices.Contains(paths, f.Path) && !slices.ContainsFunc(pair[1], same) {
				paths = append(paths, f.Path)
			}
		}
	}
	if len(paths) == 0 {
		return "who owns its fields" + lastWriter(now.live)
	}
	return listSome(paths) + lastWriter(now.live)
}

// listSome joins up to five paths.
func listSome(paths []string) string {
	const most = 5
	if len(paths) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(paths[:most], ", "), len(paths)-most)
	}
	return strings.Join(paths, ", ")
}

// lastWriter says who wrote an object last, status aside.
func lastWriter(obj *unstructured.Unstructured) string {
	if obj == nil {
		return ""
	}
	who, when := "", time.Time{}
	for _, m := range obj.GetManagedFields() {
		if m.Subresource == "" && m.Time != nil && !m.Time.Time.Before(when) {
			who, when = m.Manager, m.Time.Time
		}
	}
	if who == "" {
		return ""
	}
	return fmt.Sprintf(" (last written by %s at %s)", who, when.UTC().Format(time.RFC3339))
}

// apply writes one object once.
func (a *applying) apply(ctx context.Context, it *item) (*unstructured.Unstructured, error) {
	if it.change.Action == cluster.Replace {
		return a.replace(ctx, it)
	}
	if it.live == nil {
		return a.send(ctx, it, "", absent)
	}
	uid, version := it.live.GetUID(), it.live.GetResourceVersion()
	if len(it.migrate) > 0 {
		var moved *unstructured.Unstructured
		err := a.c.api.Request(ctx, func(ctx context.Context) (err error) {
			moved, err = a.c.api.Resource(it.gvr, it.change.Ref.Namespace).Patch(ctx, it.change.Ref.Name, types.JSONPatchType, it.migrate,
				metav1.PatchOptions{FieldManager: Manager})
			return err
		})
		if err != nil {
			return nil, err
		}
		if moved.GetUID() != uid {
			return nil, told("changed since the plan: it was deleted and made again by somebody; plan again")
		}
		version = moved.GetResourceVersion()
	}
	return a.send(ctx, it, uid, version)
}

// send is the server-side apply, bound to a uid and resourceVersion.
func (a *applying) send(ctx context.Context, it *item, uid types.UID, version string) (*unstructured.Unstructured, error) {
	body := it.desired.DeepCopy()
	body.SetUID(uid)
	body.SetResourceVersion(version)
	data, err := json.Marshal(body.Object)
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", it.change.Ref, err)
	}
	var got *unstructured.Unstructured
	err = a.c.api.Request(ctx, func(ctx context.Context) (err error) {
		got, err = a.c.api.Resource(it.gvr, it.change.Ref.Namespace).Patch(ctx, it.change.Ref.Name, types.ApplyPatchType, data,
			metav1.PatchOptions{FieldManager: Manager, Force: &it.force, FieldValidation: metav1.FieldValidationStrict})
		return err
	})
	return got, err
}

// replace deletes the object, waits until it is gone, and creates it. From the
// delete on there is no way back, so later errors say what stands now.
func (a *applying) replace(ctx context.Context, it *item) (*unstructured.Unstructured, error) {
	w, err := a.remove(ctx, it)
	if unanswered(err) {
		if obj, there := a.ask(ctx, it); there && (obj == nil || obj.GetUID() != it.live.GetUID() || obj.GetDeletionTimestamp() != nil) {
			w, err = leaving(it), nil
			w.Look(obj)
		}
	}
	if err != nil {
		return nil, err
	}
	// Whatever happens now, the next plan must look at this object.
	a.keep(inventory.Entry{Owner: a.owner, Ref: it.change.Ref, APIVersion: it.change.APIVersion, Revision: a.pr.request.Revision})
	bounded, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	health.Await(bounded, a.c.api, []*health.Awaited{w}, func(*health.Awaited) {})
	if w.State != cluster.Healthy {
		return nil, told(fmt.Sprintf("to be replaced it was deleted, which is not done after %s: it %s; when it is gone, plan and apply again to create it", a.timeout, w.Message))
	}
	got, err := a.send(ctx, it, "", absent)
	for lost := 1; unanswered(err) && lost <= lostAgain; lost++ {
		obj, there := a.ask(ctx, it)
		switch {
		case !there:
			return nil, told(fmt.Sprintf("it was deleted to be replaced, and whether creating it again was carried out is not known (%v): plan again to see", a.c.api.Explain(err)))
		case obj != nil && !fields.Ours(obj).Empty():
			return obj, nil
		}
		got, err = a.send(ctx, it, "", absent)
	}
	switch {
	case apierrors.IsConflict(err):
		return nil, told("it was deleted to be replaced, and somebody else made it again in between: plan again")
	case err != nil:
		return nil, told(fmt.Sprintf("it was deleted to be replaced, and creating it again failed, so that it does NOT EXIST now: %v; plan and apply again to create it", a.c.api.Explain(err)))
	}
	return got, nil
}

// ask reads the object of a write whose answer was lost, nil if there is none,
// waiting a while for the cluster to answer again; ok is false if it does not.
func (a *applying) ask(ctx context.Context, it *item) (obj *unstructured.Unstructured, ok bool) {
	for pause := client.FirstPause; client.Pause(ctx, pause); pause *= 2 {
		obj, err := a.c.api.Get(ctx, it.gvr, it.change.Ref.Namespace, it.change.Ref.Name)
		switch {
		case err == nil || apierrors.IsNotFound(err):
			return obj, true
		case pause > lostLongest || !client.Passing(err) || errors.Is(err, context.DeadlineExceeded):
			return nil, false
		}
	}
	return nil, false
}

// entryOf is the inventory's entry for an object just written.
func (a *applying) entryOf(it *item, obj *unstructured.Unstructured) inventory.Entry {
	e := inventory.Entry{Owner: a.owner, Ref: it.change.Ref, APIVersion: it.change.APIVersion, Digest: it.digest, Revision: a.pr.request.Revision}
	return based(e, a.pr.baseline(e.Ref, obj, it.desired))
}

// baseline is that of an object that stands as desired. What people added by
// hand beside Git is drift all the same: with that, nothing proves it clean.
func (p *prepared) baseline(ref cluster.Ref, live, desired *unstructured.Unstructured) proof.Baseline {
	b := proof.Of(p.inv.MAC, ref, live, desired)
	if fields.WithoutHandAdded(live, fields.Ours(live), p.request.Humans) != live {
		b.Meta = ""
	}
	return b
}

// based gives an entry the baseline of its object.
func based(e inventory.Entry, b proof.Baseline) inventory.Entry {
	e.UID, e.Generation, e.ResourceVersion, e.Meta = b.UID, b.Generation, b.ResourceVersion, b.Meta
	return e
}

// surprise names the fields in which the server's answer differs from what it
// predicted: an admission webhook that does not answer the same twice.
func surprise(it *item, got *unstructured.Unstructured) string {
	if it.predicted == nil || it.change.Unverified != "" {
		return ""
	}
	var paths []string
	for _, d := range fields.Diff(it.predicted.Object, got.Object, fields.KeysOf(fields.All(it.live, it.predicted, got)...)) {
		assigned := slices.ContainsFunc(it.change.Fields, func(f cluster.FieldChange) bool {
			return f.Server && (fields.Within(f.Path, d.Path) || fields.Within(d.Path, f.Path))
		})
		if !assigned {
			paths = append(paths, d.Path)
		}
	}
	if len(paths) == 0 {
		return ""
	}
	return "The server made something else of it than it predicted: " + listSome(paths) + "."
}
