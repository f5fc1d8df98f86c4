package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/ask"
	"lockkeeper/cluster/kube/client"
	"lockkeeper/cluster/kube/fields"
	"lockkeeper/cluster/kube/inventory"
	"lockkeeper/cluster/kube/kinds"
	"lockkeeper/cluster/kube/secret"
)

// look is the work on one object while it is being planned.
type look struct {
	c       *Cluster
	p       *prepared
	w       wanted
	k       kinds.Kind
	desired *unstructured.Unstructured
	live    *unstructured.Unstructured // nil: not there
	result  *unstructured.Unstructured // forced dry-run of desired
	// base is the forced dry-run of the base render, nil when not asked for.
	base      *unstructured.Unstructured
	conflicts []metav1.StatusCause
	// before is why desired is not valid before an adoption migrated ownership;
	// result is composed then.
	before    error
	migration *fields.Migration
	// without is what the migration makes of result, nil where that is the same.
	without *unstructured.Unstructured
	digest  string
}

// errMoved says that an object changed while it was looked at.
var errMoved = errors.New("it changed again and again while it was being looked at: plan again when it has come to rest")

// planObject predicts what applying does to one object. Troubles with the
// object alone are the outcome's problem; an error return means that the
// cluster cannot be asked at all.
func (c *Cluster) planObject(ctx context.Context, p *prepared, w wanted) (outcome, error) {
	if w.merge == nil {
		return c.planDelete(ctx, p, w)
	}
	const attempts = 8
	for attempt := 1; ; attempt++ {
		l, out, err := c.lookAt(ctx, p, w)
		switch {
		case !errors.Is(err, errMoved):
			return out, err
		case attempt == attempts:
			return l.problem("%s: %s", w.ref, err), nil
		}
	}
}

// lookAt plans one object from one state of it; errMoved says that the answers
// of the server were about different states.
func (c *Cluster) lookAt(ctx context.Context, p *prepared, w wanted) (*look, outcome, error) {
	digest, err := p.inv.Digest(w.merge)
	if err != nil {
		return nil, outcome{}, err
	}
	l := &look{c: c, p: p, w: w, desired: ask.Desired(w.merge), digest: digest}
	out, err := l.plan(ctx)
	return l, out, err
}

func (l *look) plan(ctx context.Context) (outcome, error) {
	if _, err := placeOf(l.w.ref, l.desired); err != nil {
		return l.trouble(err)
	}
	var ok bool
	if l.k, ok = l.p.kinds.Get(l.w.ref, l.w.merge.APIVersion); !ok {
		return l.unserved(ctx)
	}
	var err error
	if l.live, err = ask.Find(ctx, l.c.api, l.k, l.w.ref); err != nil {
		return l.trouble(err)
	}
	if l.live == nil {
		return l.create(ctx)
	}
	l.p.scrub.Learn(l.w.ref, l.live.Object)
	if l.live.GetDeletionTimestamp() != nil {
		return l.problem("%s is being deleted%s: wait until it is gone, then plan again", l.w.ref, ask.WaitsFor(l.live)), nil
	}
	return l.update(ctx)
}

func (l *look) create(ctx context.Context) (outcome, error) {
	var err error
	l.result, err = ask.DryApply(ctx, l.c.api, l.k, l.desired, true)
	switch {
	case ask.MissingNamespace(err) && l.p.planned.Namespaces[l.w.ref.Namespace]:
		if err := kinds.DecodesStrictly(l.desired); err != nil {
			return l.problem("%s: %s", l.w.ref, l.p.scrub.Text(l.w.ref, err.Error())), nil
		}
		return l.unverified("its namespace is created in the same pull")
	case ask.MissingNamespace(err):
		return l.problem("%s: the namespace %s does not exist: add it to the target, or create it first", l.w.ref, l.w.ref.Namespace), nil
	case err != nil:
		return l.trouble(err)
	}
	change := l.change(cluster.Create)
	change.Fields = l.createFields(l.result)
	out, err := l.finish(change, l.result)
	if l.w.owned != nil {
		out.drift = &cluster.Drift{Ref: l.w.ref, Deleted: true, Effect: "it was deleted behind lockkeeper's back: applying creates it again"}
	}
	return out, err
}

// createFields are the fields that Git sets, with the values the server makes
// of them, and the known fields that the server will assign.
func (l *look) createFields(result *unstructured.Unstructured) []cluster.FieldChange {
	lk := fields.KeysOf(fields.All(result)...)
	got, given := l.shown(result), l.shown(l.desired)
	out := fields.Diff(nil, fields.Project(got, given, lk).(map[string]any), lk)
	mine := fields.Flatten(given, lk)
	for path := range fields.Flatten(got, lk) {
		if _, ok := mine[path]; !ok && ask.ServerAssigned(l.w.ref, path) {
			out = append(out, cluster.FieldChange{Path: path, Op: cluster.Add, After: "(assigned by the server)", Server: true})
		}
	}
	return fields.Sorted(out)
}

func (l *look) update(ctx context.Context) (outcome, error) {
	if err := l.predict(ctx); err != nil {
		return l.refused(ctx, err)
	}
	if err := l.predictBase(ctx); err != nil {
		return l.trouble(err)
	}
	predicted, err := l.migrate(ctx)
	if apierrors.IsConflict(err) {
		return outcome{}, errMoved
	}
	if err != nil {
		return l.refused(ctx, err)
	}
	change := l.change(l.action())
	if change.Fields, err = l.fields(ctx, predicted); err != nil {
		return l.trouble(err)
	}
	l.ownership(&change, predicted)
	out := l.tracked()
	if !l.stands(&change) {
		out, err = l.finish(change, predicted)
	}
	out.drift = l.drift(predicted)
	return out, err
}

// refused handles what the server has against the prediction.
func (l *look) refused(ctx context.Context, err error) (outcome, error) {
	switch {
	case ask.Immutable(err) != nil:
		return l.replace(ask.Immutable(err))
	case l.p.planned.Defines(l.w.ref) && (apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || ask.Undeclared(err)):
		return l.unserved(ctx)
	}
	return l.trouble(err)
}

// predict dry-runs the apply: unforced first, which lists conflicts, and
// forced if there are any.
func (l *look) predict(ctx context.Context) (err error) {
	l.result, err = ask.DryApply(ctx, l.c.api, l.k, l.desired, false)
	if l.conflicts = ask.ConflictsOf(err); len(l.conflicts) > 0 {
		l.result, err = ask.DryApply(ctx, l.c.api, l.k, l.desired, true)
	}
	if apierrors.IsInvalid(err) && ask.Immutable(err) == nil && (l.adopts() || l.p.request.Reset) {
		l.before, l.result, err = err, fields.Overlaid(l.live, l.desired), nil
	}
	if err == nil && l.moved(l.result) {
		return errMoved
	}
	return err
}

// moved reports whether the server answered about another state than we read.
func (l *look) moved(answer *unstructured.Unstructured) bool {
	return answer.GetResourceVersion() != l.live.GetResourceVersion()
}

// predictBase asks what the base render would give, where that tells what
// drifted (it is what was applied last) or what Git set before an adoption.
func (l *look) predictBase(ctx context.Context) error {
	if l.w.base == nil {
		return nil
	}
	digest, err := l.p.inv.Digest(l.w.base)
	if err != nil || !l.adopts() && l.w.owned.Digest != digest {
		return err
	}
	if digest == l.digest && l.w.base.APIVersion == l.w.merge.APIVersion {
		l.base = l.result
		return nil
	}
	k, ok := l.p.kinds.Get(l.w.ref, l.w.base.APIVersion)
	if !ok {
		return nil // an API version that is no longer served cannot have drifted in its own terms
	}
	l.base, err = ask.DryApply(ctx, l.c.api, k, ask.Desired(l.w.base), true)
	if ask.Hopeless(err) {
		return err
	}
	if err == nil && l.moved(l.base) {
		return errMoved
	}
	if err != nil && !l.adopts() {
		return fmt.Errorf("what the base branch says of it is no longer accepted, so its drift cannot be told: %w", err)
	}
	return nil
}

// adopts reports whether the live object is not the one that lockkeeper made.
func (l *look) adopts() bool {
	return l.w.owned == nil || l.w.owned.UID != l.live.GetUID()
}

func (l *look) action() cluster.Action {
	switch {
	case l.w.from != "":
		return cluster.Transfer
	case l.adopts():
		return cluster.Adopt
	}
	return cluster.Update
}

// migrate plans the move of field ownership that an adoption or a reset needs,
// and asks the server what the object then becomes.
func (l *look) migrate(ctx context.Context) (*unstructured.Unstructured, error) {
	if l.adopts() {
		git := fields.Ours(l.result).Union(fields.Ours(l.base))
		l.migration = fields.PlanMigration(l.live, git, l.w.merge.APIVersion)
	}
	if l.p.request.Reset {
		l.migration = l.migration.Then(l.live, func(live *unstructured.Unstructured) *fields.Migration {
			return fields.PlanTakeback(live, fields.Ours(l.result), l.w.merge.APIVersion, l.p.request.Humans)
		})
	}
	if l.migration == nil {
		return l.result, l.before
	}
	without := l.migration.WithoutAbandoned(l.result, l.desired)
	if fields.Equal(without.Object, l.result.Object) {
		return l.result, l.before
	}
	l.without = without
	return ask.DryUpdate(ctx, l.c.api, l.k, without)
}

// fields lists what changes. What the server assigns is told apart, even where
// it is part of an item that Git adds: the known fields, and those that differ
// when the server is asked once more.
func (l *look) fields(ctx context.Context, predicted *unstructured.Unstructured) ([]cluster.FieldChange, error) {
	lk := fields.KeysOf(fields.All(l.live, l.result)...)
	live, pred := l.shown(l.live), l.shown(predicted)
	was, will := fields.Flatten(live, lk), fields.Flatten(pred, lk)
	assigned, err := l.assigned(ctx, was, will, lk)
	if err != nil || len(assigned) == 0 {
		return fields.Diff(live, pred, lk), err
	}
	out := fields.Diff(fields.Without(live, lk, assigned), fields.Without(pred, lk, assigned), lk)
	for path := range assigned {
		change := cluster.FieldChange{Path: path, Op: cluster.Add, After: will[path], Server: true}
		if before, ok := was[path]; ok {
			change.Op, change.Before = cluster.Set, before
		}
		out = append(out, change)
	}
	return fields.Sorted(out), nil
}

// assigned are the paths of values that change, that Git does not set, and
// that the server will not give as it predicts them.
func (l *look) assigned(ctx context.Context, was, will map[string]any, lk fields.Keys) (map[string]bool, error) {
	given := fields.Flatten(l.shown(l.desired), lk)
	foreign := map[string]any{}
	for path, v := range will {
		before, had := was[path]
		if _, ok := given[path]; !ok && !fields.IsContainer(v) && (!had || !fields.Equal(before, v)) {
			foreign[path] = v
		}
	}
	if len(foreign) == 0 {
		return nil, nil
	}
	second := will
	again, err := l.again(ctx)
	switch {
	case err != nil:
		return nil, err
	case l.moved(again):
		return nil, errMoved
	default:
		second = fields.Flatten(l.shown(again), lk)
	}
	out := map[string]bool{}
	for path, v := range foreign {
		if got, ok := second[path]; ask.ServerAssigned(l.w.ref, path) || !ok || !fields.Equal(got, v) {
			out[path] = true
		}
	}
	return out, nil
}

// again asks for the prediction a second time.
func (l *look) again(ctx context.Context) (*unstructured.Unstructured, error) {
	if l.without != nil {
		return ask.DryUpdate(ctx, l.c.api, l.k, l.without)
	}
	return ask.DryApply(ctx, l.c.api, l.k, l.desired, true)
}

// ownership fills in who else has a say in the object's fields.
func (l *look) ownership(change *cluster.Change, predicted *unstructured.Unstructured) {
	names := ask.PathNames(l.live)
	before, owners := fields.Ours(l.live).Union(fields.Ours(l.base)), l.result.GetManagedFields()
	if l.migration != nil {
		change.Managers = l.migration.Managers
		before, owners = before.Union(l.migration.Fields), l.migration.Entries
	}
	for _, cause := range l.conflicts {
		manager := ask.ManagerOf(cause)
		if l.adopts() && slices.Contains(change.Managers, manager) {
			continue
		}
		path, ok := names[cause.Field]
		if !ok {
			path = strings.TrimPrefix(cause.Field, ".")
		}
		change.Takeovers = append(change.Takeovers, cluster.Ownership{Path: path, Manager: manager})
	}
	change.Takeovers = fields.SortedOwnership(change.Takeovers)
	change.Stays = fields.Staying(before, fields.Ours(l.result), predicted, owners)
	ours := fields.Ours(l.live)
	if change.Action == cluster.Update && len(change.Fields) == 0 && !ours.Equals(fields.Ours(l.result)) {
		change.Reason = "no value changes, only who owns the fields"
	}
}

// stands reports whether there is nothing to do but to remember the object.
func (l *look) stands(change *cluster.Change) bool {
	if len(change.Fields)+len(change.Stays) > 0 || l.w.from != "" || l.migration != nil {
		return false
	}
	return fields.Ours(l.live).Equals(fields.Ours(l.result))
}

func (l *look) tracked() outcome {
	stands := &standing{ref: l.w.ref, gvr: l.k.GVR, live: l.live}
	if o := l.w.owned; o != nil && o.Digest == l.digest && o.UID == l.live.GetUID() {
		return outcome{stands: stands}
	}
	e := based(inventory.Entry{
		Owner: l.p.request.Target.Owner(), Ref: l.w.ref, APIVersion: l.w.merge.APIVersion,
		Digest: l.digest, Revision: l.p.request.Revision,
	}, l.p.baseline(l.w.ref, l.live, l.desired))
	return outcome{stands: stands, track: &e}
}

func (l *look) change(a cluster.Action) cluster.Change {
	return cluster.Change{
		Ref: l.w.ref, APIVersion: l.w.merge.APIVersion, Source: l.w.merge.Source,
		Action: a, From: l.w.from, Pending: l.w.pending,
	}
}

// finish masks, digests and packs a change.
func (l *look) finish(change cluster.Change, predicted *unstructured.Unstructured) (outcome, error) {
	it := &item{
		want: l.w, gvr: l.k.GVR, desired: l.desired,
		live: l.live, predicted: predicted, force: len(l.conflicts) > 0, digest: l.digest,
	}
	if l.migration != nil {
		var err error
		if it.migrate, err = l.migration.Patch(l.live); err != nil {
			return outcome{}, err
		}
	}
	return seal(l.p, it, change)
}

// seal masks and digests a change.
func seal(p *prepared, it *item, change cluster.Change) (outcome, error) {
	change.Fields = fields.Sorted(change.Fields)
	secrets := secret.Unmask(change.Fields)
	var err error
	change.Digest, err = cluster.DigestChange(p.request.Target, change, func(path string) string { return secrets[path] })
	if err != nil {
		return outcome{}, err
	}
	it.change = change
	return outcome{item: it}, nil
}

// shown is the masked content of an object.
func (l *look) shown(u *unstructured.Unstructured) map[string]any {
	return fields.Shown(secret.Masked(l.w.ref, u.Object, l.p.inv.MAC))
}

func (l *look) problem(format string, args ...any) outcome {
	pr := problem(l.w.merge, format, args...)
	return outcome{problem: &pr}
}

// trouble turns an error about one object into a problem in people's words,
// and passes on errors that concern the whole cluster.
func (l *look) trouble(err error) (outcome, error) {
	if errors.Is(err, errMoved) {
		return outcome{}, err
	}
	if ask.Hopeless(err) {
		return outcome{}, fmt.Errorf("%s: %w", l.w.ref, l.c.api.Explain(err))
	}
	if ask.KindGone(err) {
		l.c.kinds.Forget()
		return l.problem("%s: %s", l.w.ref, l.c.unknown(l.w.ref, l.w.merge.APIVersion)), nil
	}
	out := l.problem("%s: %s", l.w.ref, l.p.scrub.Text(l.w.ref, ask.Refusal(l.c.api, err)))
	out.problem.Passing = client.Passing(err)
	return out, nil
}
