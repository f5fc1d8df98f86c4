package kube

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/client"
	"lockkeeper/cluster/kube/inventory"
	"lockkeeper/cluster/kube/kinds"
	"lockkeeper/cluster/kube/secret"
)

// Plan predicts what applying the merge result changes. What breaks a rule by
// itself (fences, doubles, claims) is refused before any request.
func (c *Cluster) Plan(ctx context.Context, r cluster.Request) (*cluster.Plan, error) {
	ctx, t := client.Counted(ctx)
	t.Add(c.takeWarmth())
	plan := &cluster.Plan{Target: r.Target, Revision: r.Revision, Objects: len(r.Merge), Changes: []cluster.Change{}}
	offline := kinds.Offline(r.Base, r.Merge)
	if plan.Problems = checkPure(r, kinds.Resolve(r.Target, r.Merge, offline), offline); len(plan.Problems) > 0 {
		return plan, finishPlan(plan)
	}
	p, err := c.prepare(ctx, r)
	if err != nil {
		return nil, err
	}
	scope := kinds.Online(p.kinds, offline)
	merge, base := kinds.Resolve(r.Target, r.Merge, scope), kinds.Resolve(r.Target, r.Base, scope)
	if plan.Problems = checkPure(r, merge, scope); len(plan.Problems) > 0 {
		plan.Stats = t.Stats()
		return plan, finishPlan(plan)
	}
	s := &selection{p: p, plan: plan, scope: scope}
	if err := s.choose(base, merge); err != nil {
		return nil, err
	}
	p.planned = kinds.PlannedIn(merge, func(ref cluster.Ref) bool {
		return slices.ContainsFunc(s.wanted, func(w wanted) bool { return w.ref == ref })
	})
	plan.Warnings = append(plan.Warnings, newDefaults(base, merge, p.planned)...)
	outcomes, err := c.planAll(ctx, p, s.wanted)
	if err != nil {
		return nil, err
	}
	collect(p, plan, s.wanted, outcomes)
	plan.Warnings = warnings(p, plan, t)
	plan.Stats = t.Stats()
	plan.Prepared = p
	return plan, finishPlan(plan)
}

// prepare reads what every plan needs: discovery and the inventory.
func (c *Cluster) prepare(ctx context.Context, r cluster.Request) (*prepared, error) {
	p := &prepared{request: r, scrub: secret.NewScrubber(r.Base, r.Merge)}
	var need []schema.GroupVersionKind
	for _, o := range r.Merge {
		if gv, err := schema.ParseGroupVersion(o.APIVersion); err == nil {
			need = append(need, gv.WithKind(o.Ref.Kind))
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { p.kinds, err = c.kinds.For(ctx, need); return err })
	g.Go(func() (err error) { p.inv, err = inventory.Read(ctx, c.api); return err })
	return p, g.Wait()
}

// selection decides which objects a plan asks about.
type selection struct {
	p      *prepared
	plan   *cluster.Plan
	scope  kinds.Scoper
	wanted []wanted
}

func (s *selection) choose(base, merge []cluster.Object) error {
	was := byRef(base)
	will := byRef(merge)
	for i := range merge {
		o := &merge[i]
		if err := s.chooseObject(was[o.Ref], o); err != nil {
			return err
		}
	}
	if s.p.request.Only == nil { // else what drifted is put back, and nothing goes away
		s.chooseDeletes(base, will)
	}
	slices.SortFunc(s.wanted, func(a, b wanted) int { return a.ref.Compare(b.ref) })
	return nil
}

// chooseDeletes decides about what the base or the inventory has and the merge
// result has not.
func (s *selection) chooseDeletes(base []cluster.Object, will map[cluster.Ref]*cluster.Object) {
	owner := s.p.request.Target.Owner()
	seen := map[cluster.Ref]bool{}
	for i := range base {
		o := &base[i]
		if owned, ok := s.p.inv.Of(o.Ref); will[o.Ref] == nil && (!ok || owned.Owner == owner) && !seen[o.Ref] {
			s.chooseDelete(wanted{ref: o.Ref, base: o}, o.APIVersion)
		}
		seen[o.Ref] = true
	}
	for _, e := range s.p.inv.OwnedBy(owner) {
		if will[e.Ref] == nil && !seen[e.Ref] {
			s.chooseDelete(wanted{ref: e.Ref, pending: true}, e.APIVersion)
		}
	}
}

// chooseObject decides about an object of the merge result.
func (s *selection) chooseObject(base, o *cluster.Object) error {
	w := wanted{ref: o.Ref, base: base, merge: o}
	owner := s.p.request.Target.Owner()
	e, owned := s.p.inv.Of(o.Ref)
	if only := s.p.request.Only; only != nil && (!owned || e.Owner != owner || !slices.Contains(only, o.Ref)) {
		return nil
	}
	if owned && e.Owner != owner {
		if to, ok := s.p.request.Releases[o.Ref]; !ok || to != e.Owner.Target || e.Owner.RepoID != owner.RepoID {
			s.plan.Problems = append(s.plan.Problems, problem(o,
				"%s belongs to target %s of repository %d on this cluster: one object belongs to one target; remove it there first, or in the same pull", o.Ref, e.Owner.Target, e.Owner.RepoID))
			return nil
		}
		w.from = e.Owner.Target
	}
	if owned {
		w.owned = &e
	}
	same, err := sameRender(base, o)
	if err != nil {
		return err
	}
	digest, err := s.p.inv.Digest(o)
	if err != nil {
		return err
	}
	applied := owned && e.Digest == digest && e.APIVersion == o.APIVersion && w.from == ""
	switch {
	case s.p.request.Only != nil:
		if applied {
			s.wanted = append(s.wanted, w)
		}
	case s.p.request.Everything, s.p.request.Reset, !same, owned && !applied:
		w.pending = same && owned && !applied && w.from == ""
		s.wanted = append(s.wanted, w)
	case !owned:
		s.plan.Unadopted++
	}
	return nil
}

// chooseDelete decides about an object that the merge result has no more.
func (s *selection) chooseDelete(w wanted, apiVersion string) {
	if _, claimed := s.p.request.Claims[w.ref]; claimed {
		return // transferred: the other target's plan shows it
	}
	if e, ok := s.p.inv.Of(w.ref); ok {
		w.owned = &e
	}
	gone := cluster.Object{Ref: w.ref, APIVersion: apiVersion}
	if why := fenced(s.p.request.Target, &gone, s.scope); why != "" {
		s.plan.Warnings = append(s.plan.Warnings, fmt.Sprintf("%s is no longer in Git but is left alone: %s", w.ref, why))
		s.p.drop = append(s.p.drop, w.ref)
		return
	}
	s.wanted = append(s.wanted, w)
}

func byRef(objs []cluster.Object) map[cluster.Ref]*cluster.Object {
	m := make(map[cluster.Ref]*cluster.Object, len(objs))
	for i := range objs {
		m[objs[i].Ref] = &objs[i]
	}
	return m
}

func sameRender(a, b *cluster.Object) (bool, error) {
	if a == nil || a.APIVersion != b.APIVersion {
		return false, nil
	}
	if reflect.ValueOf(a.Content).Pointer() == reflect.ValueOf(b.Content).Pointer() {
		return true, nil // rendered once, for both sides
	}
	x, err := inventory.Canonical(a)
	if err != nil {
		return false, err
	}
	y, err := inventory.Canonical(b)
	return bytes.Equal(x, y), err
}

// planAll looks at all objects at once, within the cluster's bound.
func (c *Cluster) planAll(ctx context.Context, p *prepared, todo []wanted) ([]outcome, error) {
	out := make([]outcome, len(todo))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(c.api.Concurrency())
	for i, w := range todo {
		g.Go(func() (err error) {
			out[i], err = c.planObject(ctx, p, w)
			return err
		})
	}
	return out, g.Wait()
}

func collect(p *prepared, plan *cluster.Plan, todo []wanted, outcomes []outcome) {
	for i, o := range outcomes {
		switch {
		case o.problem != nil:
			plan.Problems = append(plan.Problems, *o.problem)
		case o.item != nil:
			plan.Changes = append(plan.Changes, o.item.change)
			p.items = append(p.items, *o.item)
		case o.track != nil:
			p.track = append(p.track, *o.track)
		case o.drop && todo[i].owned != nil:
			p.drop = append(p.drop, todo[i].ref)
		}
		if o.stands != nil {
			p.standing = append(p.standing, *o.stands)
		}
		if o.drift != nil {
			plan.Drift = append(plan.Drift, *o.drift)
		}
	}
}

func warnings(p *prepared, plan *cluster.Plan, t *client.Tally) []string {
	out := append(plan.Warnings, p.kinds.Warnings()...)
	if p.inv.Ephemeral {
		out = append(out, "this cluster has no digest key yet (the first apply makes it): digests of secret values will differ next time")
	}
	for _, w := range t.Warnings() {
		out = append(out, p.scrub.Text(cluster.Ref{}, w))
	}
	return out
}

// finishPlan sorts problems and computes the plan's digest.
func finishPlan(plan *cluster.Plan) error {
	slices.SortStableFunc(plan.Problems, func(a, b cluster.Problem) int {
		return strings.Compare(a.Source+a.Message, b.Source+b.Message)
	})
	var err error
	plan.Digest, err = cluster.DigestPlan(plan)
	return err
}
