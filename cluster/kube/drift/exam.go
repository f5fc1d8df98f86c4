package drift

import (
	"context"
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/ask"
	"lockkeeper/cluster/kube/fields"
	"lockkeeper/cluster/kube/inventory"
	"lockkeeper/cluster/kube/kinds"
	"lockkeeper/cluster/kube/proof"
)

// exam looks at one object.
type exam struct {
	*Check
	entry   inventory.Entry
	object  *cluster.Object // what was applied; nil for an orphan
	kind    kinds.Kind
	desired *unstructured.Unstructured // object, as it is sent
	live    *unstructured.Unstructured
	// applied is what the server would make of live if desired were applied to
	// it again, by force.
	applied *unstructured.Unstructured
	// untouched says that, by its metadata, nothing that was applied can have
	// changed.
	untouched bool
}

// errMoved says that an object was written between two questions about it.
var errMoved = errors.New("it changed again and again while it was being looked at: it will be checked again when it has come to rest")

func (x *exam) look(ctx context.Context) (verdict, error) {
	if trouble := x.find(); trouble != nil {
		return *trouble, nil
	}
	var err error
	x.live, err = x.api.Get(ctx, x.kind.GVR, x.entry.Ref.Namespace, x.entry.Ref.Name)
	switch {
	case ask.KindGone(err):
		x.forget()
		return *x.unserved(), nil
	case apierrors.IsNotFound(err):
		x.live = nil
	case err != nil:
		return verdict{}, err
	}
	v := verdict{looked: true}
	switch {
	case x.live == nil && x.object == nil:
		return v, nil // an orphan that is gone: the next apply forgets it
	case x.live == nil:
		v.findings = x.kept(x.whole(cluster.Gone, nil, time.Time{}))
		return v, nil
	case x.live.GetDeletionTimestamp() != nil:
		return x.problem(x.entry, "is being deleted%s: what is to become of it shows when that is done", ask.WaitsFor(x.live)), nil
	case x.live.GetUID() != x.entry.UID && x.object == nil:
		return v, nil // somebody else's now
	case x.live.GetUID() != x.entry.UID:
		v.findings = x.kept(x.whole(cluster.Remade, fields.Managers(x.live), x.live.GetCreationTimestamp().Time))
		return v, nil
	case x.object == nil:
		v.findings = x.kept(x.whole(cluster.Orphan, nil, time.Time{}))
		return v, nil
	}
	x.scrub.Learn(x.entry.Ref, x.live.Object)
	v.findings, err = x.differences(ctx)
	return v, err
}

// find learns how the object's kind is served.
func (x *exam) find() *verdict {
	var ok bool
	if x.object == nil {
		x.kind, _, ok = x.served.Any(x.entry.Ref, x.entry.APIVersion)
	} else {
		x.kind, ok = x.served.Get(x.entry.Ref, x.entry.APIVersion)
	}
	if ok {
		return nil
	}
	return x.unserved()
}

// unserved is the verdict on an object whose kind the cluster does not serve: it
// is neither there nor deleted, but not known.
func (x *exam) unserved() *verdict {
	gv, _ := schema.ParseGroupVersion(x.entry.APIVersion) // that of an object that was applied
	v := x.problem(x.entry, "the cluster %s does not serve %s in %s (any more): install its CRD again, or take the object out of Git", x.api.Name, x.entry.Ref.Kind, x.entry.APIVersion)
	if err, broken := x.served.Broken[gv]; broken {
		v = x.problem(x.entry, "the API service of %s does not answer: %s", gv, x.scrub.Text(x.entry.Ref, err.Error()))
	}
	return &v
}

// differences compares the live object with what was applied, and learns the
// baseline where nothing is to be found.
func (x *exam) differences(ctx context.Context) ([]cluster.Finding, error) {
	base := x.book.Baseline(x.entry)
	if x.request.Only == nil {
		base = proof.OfEntry(x.entry) // what was learnt depends on what was ignored then
	}
	now := proof.Look(x.inv.MAC, x.entry.Ref, x.live)
	if base.Doubt(now, false) == "" {
		return nil, nil // nobody wrote it at all
	}
	x.untouched = base.Doubt(now, x.generations(x.live.GroupVersionKind())) == ""
	x.desired = ask.Desired(x.object)
	if err := x.applyAgain(ctx); err != nil {
		return nil, err
	}
	found := x.kept(x.findings()...)
	if len(found) == 0 {
		x.book.Learn(x.entry, proof.Of(x.inv.MAC, x.entry.Ref, x.live, x.desired))
	}
	return found, nil
}

// applyAgain asks what applying would make of the live object.
func (x *exam) applyAgain(ctx context.Context) (err error) {
	x.applied, err = ask.DryApply(ctx, x.api, x.kind, x.desired, true)
	if apierrors.IsInvalid(err) {
		err = x.compose(ctx, err)
	}
	switch {
	case apierrors.IsNotFound(err) || apierrors.IsConflict(err):
		return errMoved
	case err == nil && (x.applied.GetResourceVersion() != x.live.GetResourceVersion() || x.applied.GetUID() != x.live.GetUID()):
		return errMoved
	}
	return err
}

// compose is for an object with which what was applied is not valid any more,
// such as maxUnavailable beside minAvailable. If people added what is in the way,
// the server is asked without it. Else the files are put over what is live, and
// the comparison is with that; the server's refusal remains if it shows nothing.
func (x *exam) compose(ctx context.Context, refusal error) (err error) {
	over := fields.Overlaid(x.live, x.desired)
	if back := fields.PlanTakeback(x.live, fields.Ours(over), x.entry.APIVersion, x.request.Humans); back != nil {
		x.applied, err = ask.DryUpdate(ctx, x.api, x.kind, back.WithoutAbandoned(over, x.desired))
		if !apierrors.IsInvalid(err) {
			return err
		}
	}
	x.applied = over
	if len(x.findings()) == 0 {
		return refusal
	}
	return nil
}
