// Package drift is the exact check: it tells, field by field, how live objects
// differ from what was applied to them last, by whom and since when. check.go
// chooses what to look at, exam.go looks at one object, findings.go tells the
// kinds of differences apart, and ignore.go drops what nobody wants to hear of.
//
// An object is read once. Unless its resourceVersion proves that nobody wrote it
// since its baseline, a forced dry-run of what was applied says what it should
// be: no comparison with the files alone is sound, because defaults and
// admission webhooks make something else of them.
package drift

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/ask"
	"lockkeeper/cluster/kube/client"
	"lockkeeper/cluster/kube/inventory"
	"lockkeeper/cluster/kube/kinds"
	"lockkeeper/cluster/kube/proof"
	"lockkeeper/cluster/kube/secret"
)

// Check is one exact check of a target's objects.
type Check struct {
	api         *client.Client
	book        *proof.Book
	inv         *inventory.Inventory
	served      *kinds.Served
	generations func(schema.GroupVersionKind) bool
	forget      func() // makes the next check ask anew which kinds are served
	scope       kinds.Scoper
	request     cluster.DriftRequest
	renders     map[cluster.Ref][]*cluster.Object // those of the base branch first
	scrub       *secret.Scrubber
}

// New reads the inventory, and which kinds are served. What the check finds to
// be as applied is learnt into the book.
func New(ctx context.Context, api *client.Client, discovery *kinds.Discovery, book *proof.Book, r cluster.DriftRequest) (*Check, error) {
	inv, err := inventory.Read(ctx, api)
	if err != nil {
		return nil, err
	}
	c := &Check{
		api: api, book: book, inv: inv, request: r, forget: discovery.Forget,
		renders: map[cluster.Ref][]*cluster.Object{}, scrub: secret.NewScrubber(r.Objects, r.Applied),
	}
	var need []schema.GroupVersionKind
	for _, e := range inv.OwnedBy(r.Target.Owner()) {
		need = append(need, schema.FromAPIVersionAndKind(e.APIVersion, e.Ref.Kind))
	}
	if c.served, err = discovery.For(ctx, need); err != nil {
		return nil, err
	}
	c.generations = discovery.Generations(ctx, need)
	c.scope = kinds.Online(c.served, kinds.Offline(r.Objects, r.Applied))
	for _, side := range [][]cluster.Object{r.Objects, r.Applied} {
		resolved := kinds.Resolve(r.Target, side, c.scope)
		for i := range resolved {
			c.renders[resolved[i].Ref] = append(c.renders[resolved[i].Ref], &resolved[i])
		}
	}
	return c, nil
}

// Run checks. Troubles with single objects are problems of the report; an error
// means that the cluster cannot be asked.
func (c *Check) Run(ctx context.Context) (*cluster.DriftReport, error) {
	report := &cluster.DriftReport{Target: c.request.Target, Pending: c.unapplied()}
	entries := slices.DeleteFunc(c.inv.OwnedBy(c.request.Target.Owner()), func(e inventory.Entry) bool { return !c.asked(e.Ref) })
	verdicts := make([]verdict, len(entries))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(c.api.Concurrency())
	for i, e := range entries {
		g.Go(func() (err error) {
			verdicts[i], err = c.entry(gctx, e)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("checking target %s for drift: %w", c.request.Target.Name, err)
	}
	if err := c.again(ctx, entries, verdicts); err != nil {
		return nil, fmt.Errorf("checking target %s for drift: %w", c.request.Target.Name, err)
	}
	for i, v := range verdicts {
		if v.pending {
			report.Pending = append(report.Pending, entries[i].Ref)
		}
		if v.problem != nil {
			report.Problems = append(report.Problems, *v.problem)
		}
		if v.looked {
			report.Checked++
		}
		report.Findings = append(report.Findings, v.findings...)
	}
	slices.SortFunc(report.Pending, cluster.Ref.Compare)
	slices.SortStableFunc(report.Findings, func(a, b cluster.Finding) int {
		return cmp.Or(a.Ref.Compare(b.Ref), cmp.Compare(a.Field.Path, b.Field.Path))
	})
	return report, nil
}

// again takes findings back about objects that were applied anew, or pruned,
// since the inventory was read: they are not as they were applied then.
func (c *Check) again(ctx context.Context, entries []inventory.Entry, verdicts []verdict) error {
	if !slices.ContainsFunc(verdicts, func(v verdict) bool { return len(v.findings) > 0 }) {
		return nil
	}
	inv, err := inventory.Read(ctx, c.api)
	if err != nil {
		return err
	}
	for i, e := range entries {
		now, ok := inv.Of(e.Ref)
		switch {
		case len(verdicts[i].findings) == 0 || ok && now == e:
		case !ok || now.Owner != e.Owner:
			verdicts[i] = verdict{looked: true} // no longer the target's
		default:
			verdicts[i] = c.problem(e, "it was applied while it was being looked at, and will be looked at again")
		}
	}
	return nil
}

func (c *Check) asked(ref cluster.Ref) bool {
	return c.request.Only == nil || slices.Contains(c.request.Only, ref)
}

// unapplied are objects of the base branch that this target never applied.
func (c *Check) unapplied() []cluster.Ref {
	var out []cluster.Ref
	owner := c.request.Target.Owner()
	for _, o := range kinds.Resolve(c.request.Target, c.request.Objects, c.scope) {
		if e, ok := c.inv.Of(o.Ref); (!ok || e.Owner != owner) && c.asked(o.Ref) {
			out = append(out, o.Ref)
		}
	}
	return out
}

// verdict is what was found out about one object.
type verdict struct {
	findings []cluster.Finding
	problem  *cluster.Problem
	pending  bool
	looked   bool
}

// applied is the render of an object that was applied last, nil if neither
// render is that.
func (c *Check) applied(e inventory.Entry) (*cluster.Object, error) {
	for _, o := range c.renders[e.Ref] {
		digest, err := c.inv.Digest(o)
		if err != nil {
			return nil, err
		}
		if digest == e.Digest && o.APIVersion == e.APIVersion {
			return o, nil
		}
	}
	return nil, nil
}

// entry checks one object of the inventory.
func (c *Check) entry(ctx context.Context, e inventory.Entry) (verdict, error) {
	object, err := c.applied(e)
	if err != nil {
		return verdict{}, err
	}
	orphan := len(c.renders[e.Ref]) == 0 && c.request.Applied != nil
	if object == nil && !orphan {
		return verdict{pending: true}, nil
	}
	if why := c.request.Target.Fence.Check(e.Ref, c.scope(e.Ref, e.APIVersion)); why != "" {
		// Nothing outside the fence is read, or the report would tell of it.
		return c.problem(e, "it is not looked at: %s", why), nil
	}
	const attempts = 8
	for attempt := 1; ; attempt++ {
		x := &exam{Check: c, entry: e, object: object}
		v, err := x.look(ctx)
		switch {
		case ask.Hopeless(err):
			return verdict{}, c.api.Explain(err)
		case errors.Is(err, errMoved) && attempt < attempts:
			continue
		case err != nil:
			return c.problem(e, "%s", c.scrub.Text(e.Ref, ask.Refusal(c.api, err))), nil
		}
		return v, nil
	}
}

func (c *Check) problem(e inventory.Entry, format string, args ...any) verdict {
	p := cluster.Problem{Ref: &e.Ref, Message: fmt.Sprintf("%s: %s", e.Ref, fmt.Sprintf(format, args...))}
	for _, o := range c.renders[e.Ref] {
		p.Source = cmp.Or(p.Source, o.Source)
	}
	return verdict{problem: &p}
}
