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

// planAgain bounds how often a moving object is planned again.
const planAgain = 5

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
		a.step(i, cluster.Healthy, err.Error())
		return nil
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

// carryOut writes with do, planning again when the object moved.
func (a *applying) carryOut(ctx context.Context, it *item, do func(context.Context, *item) (*unstructured.Unstructured, error)) (*unstructured.Unstructured, error) {
	for attempt := 1; ; attempt++ {
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
			return nil, fmt.Errorf("%w; whether it was carried out is not known: plan again to see", a.c.api.Explain(err))
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

// refresh plans an object again after it moved, and puts the new item in the
// place of the old one if it would change the very same.
func (a *applying) refresh(ctx context.Context, it *item) error {
	now, err := a.c.planObject(ctx, a.pr, it.want)
	switch {
	case err != nil:
		return fmt.Errorf("changed since the plan, and planning it again failed: %w", err)
	case now.problem != nil:
		return fmt.Errorf("changed since the plan: %s", now.problem.Message)
	case now.item == nil:
		if now.track != nil {
			a.keep(*now.track)
		}
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

// unanswered reports whether a write may have happened all the same.
func unanswered(err error) bool {
	var answer apierrors.APIStatus
	return !errors.As(err, &answer) || apierrors.IsTimeout(err) || apierrors.IsServerTimeout(err)
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
	switch {
	case apierrors.IsConflict(err):
		return nil, told("it was deleted to be replaced, and somebody else made it again in between: plan again")
	case err != nil:
		return nil, told(fmt.Sprintf("it was deleted to be replaced, and creating it again failed, so that it does NOT EXIST now: %v; plan and apply again to create it", a.c.api.Explain(err)))
	}
	return got, nil
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
