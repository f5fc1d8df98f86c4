// Package plan works out what a change of trees means for clusters: which
// targets there are before and after, which of them a change affects, what
// each renders to, and what their clusters predict. It needs Git trees and
// clusters, but no forge: the bot and `lockkeeper plan` share it.
package plan

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"

	"lockkeeper/bot/config"
	"lockkeeper/cluster"
	"lockkeeper/cluster/manifest"
)

// Renderer turns a directory of a tree into objects.
type Renderer interface {
	Render(ctx context.Context, tree fs.FS, path string) (*manifest.Rendering, error)
}

// Planner plans. Clusters finds a cluster by its configured name.
type Planner struct {
	Renderer Renderer
	Clusters func(name string) (cluster.Cluster, error)
	// MaxDeletes is how many objects of one target a plan may delete.
	MaxDeletes int
	// Ahead connects to the clusters before it is known whether they are needed:
	// for programs that make one plan and end.
	Ahead bool
}

// Input is what to compare: two trees and the operator's word on the
// repository (nil: everything is allowed, for offline use).
type Input struct {
	Base, Merge   fs.FS
	MergeRevision string
	Repository    *config.Repository
	// Only limits planning to these targets; empty means all that are affected.
	Only []string
	// Held picks targets that are planned though the change leaves them as they
	// are: an earlier head was applied to them. Nil picks none.
	Held func(cluster.Target) bool
	// Everything plans the targets in Only even if unaffected, and examines all
	// of their objects.
	Everything bool
	// Reset also takes away what people added by hand.
	Reset bool
	// Humans are field managers, beside the known ones, behind which people are.
	Humans []string
	// Drifted plans the targets in Only even if unaffected, and nothing of them
	// but to put these objects back.
	Drifted []cluster.Ref
}

// Target is one affected target and its plan.
type Target struct {
	Plan *cluster.Plan `json:"plan"`
	// Note says what happens to the target itself: added, removed, moved.
	Note string `json:"note,omitempty"`
	// Unasked is set when the cluster could not be asked, about some object at
	// least: the same plan may turn out otherwise once it answers again.
	Unasked bool `json:"unasked,omitempty"`
	// Also are environments, beside the target's own, whose policy has a say: a
	// pull must not get around the rules of production by calling it staging,
	// or by moving its objects to a target of staging.
	Also []string `json:"also,omitempty"`
	// Render is the digest of what the target renders to after the merge, and of
	// the namespace that it gives to objects without one; "" if it goes away or
	// cannot be rendered.
	Render string `json:"render,omitempty"`
}

// Output is the outcome.
type Output struct {
	Targets []Target `json:"targets"`
	// Problems concern no single target; they keep the pull from being applied.
	Problems []string `json:"problems,omitempty"`
	// Unaffected counts targets that the change leaves as they are.
	Unaffected int `json:"unaffected"`
}

// side is one target as one of the trees has it.
type side struct {
	target  cluster.Target
	exists  bool
	objects []cluster.Object
	digest  string
	problem error
}

// pair is a target before and after, on one cluster.
type pair struct {
	key         string
	base, merge side
}

// affected reports whether the change touches the target: it renders to
// something else, or is configured otherwise.
func (p pair) affected() bool {
	if p.base.exists != p.merge.exists || p.merge.problem != nil || p.base.digest != p.merge.digest {
		return true
	}
	b, m := p.base.target, p.merge.target
	// The fence and the timeout say what may happen, not what should.
	b.Fence, b.Timeout, m.Fence, m.Timeout = cluster.Fence{}, 0, cluster.Fence{}, 0
	return b.Namespace != m.Namespace || b.Environment != m.Environment
}

// render names what the side is applied as.
func (s side) render() string {
	if !s.exists || s.problem != nil {
		return ""
	}
	sum := sha256.Sum256([]byte(s.digest + "\n" + s.target.Namespace))
	return hex.EncodeToString(sum[:])
}

// Load reads and resolves the targets of a tree. A tree without a file has no
// targets.
func Load(tree fs.FS, r *config.Repository) (*config.File, []cluster.Target, error) {
	f, err := config.ReadFile(tree)
	if f == nil || err != nil {
		return nil, nil, err
	}
	targets, problems := f.Resolve(tree, r)
	if len(problems) > 0 {
		return f, targets, problems
	}
	return f, targets, nil
}

// Run plans. An error means that nothing useful could be found out; what is
// wrong with the input is in Output.Problems and in the plans' own problems.
func (p *Planner) Run(ctx context.Context, in Input) (*Output, error) {
	out := &Output{}
	_, before, err := Load(in.Base, in.Repository)
	if err != nil && !isProblem(err) {
		return nil, fmt.Errorf("base: %w", err)
	}
	_, after, err := Load(in.Merge, in.Repository)
	if err != nil && !isProblem(err) {
		return nil, fmt.Errorf("merge result: %w", err)
	}
	pairs := match(before, after)
	if err != nil {
		out.Problems = append(out.Problems, problemLines(err)...)
		// What is not understood is not therefore removed.
		pairs = slices.DeleteFunc(pairs, func(x *pair) bool { return !x.merge.exists })
	}
	if p.Ahead {
		p.warm(ctx, pairs)
	}
	if err := p.render(ctx, in, pairs); err != nil {
		return nil, err
	}
	out.Problems = append(out.Problems, unknownTargets(in.Only, pairs)...)
	chosen := slices.DeleteFunc(slices.Clone(pairs), func(x *pair) bool { return !wanted(in, x) })
	out.Unaffected = len(pairs) - len(chosen)
	out.Targets = make([]Target, len(chosen))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for i, x := range chosen {
		g.Go(func() error {
			plan, unasked, err := p.one(ctx, in, x, pairs)
			if err == nil {
				out.Targets[i] = Target{Plan: plan, Note: note(x), Unasked: unasked, Also: also(x, plan, pairs), Render: x.merge.render()}
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return out, nil
}

func wanted(in Input, x *pair) bool {
	name := x.target().Name
	if len(in.Only) > 0 && !slices.Contains(in.Only, name) {
		return false
	}
	return x.affected() || in.Everything || in.Drifted != nil || in.Held != nil && in.Held(x.target())
}

func unknownTargets(only []string, pairs []*pair) []string {
	var out []string
	for _, name := range only {
		if !slices.ContainsFunc(pairs, func(x *pair) bool { return x.target().Name == name }) {
			out = append(out, fmt.Sprintf("there is no target %q", name))
		}
	}
	return out
}

func isProblem(err error) bool {
	var ps config.Problems
	return errors.As(err, &ps)
}

func problemLines(err error) []string {
	var ps config.Problems
	errors.As(err, &ps)
	out := make([]string, len(ps))
	for i, p := range ps {
		out[i] = p.String()
	}
	return out
}

// match pairs the targets of both sides by name and cluster: a target that
// moves to another cluster is removed there and added here.
func match(before, after []cluster.Target) []*pair {
	byKey := map[string]*pair{}
	at := func(t cluster.Target) *pair {
		key := t.Name + "\x00" + t.Cluster
		if byKey[key] == nil {
			byKey[key] = &pair{key: key}
		}
		return byKey[key]
	}
	for _, t := range before {
		at(t).base = side{target: t, exists: true}
	}
	for _, t := range after {
		at(t).merge = side{target: t, exists: true}
	}
	out := make([]*pair, 0, len(byKey))
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		out = append(out, byKey[key])
	}
	return out
}

// target is the configuration that counts: after the merge, or the last one of
// a target that goes away.
func (p *pair) target() cluster.Target {
	if p.merge.exists {
		return p.merge.target
	}
	return p.base.target
}

func note(p *pair) string {
	switch {
	case !p.base.exists:
		return "added"
	case !p.merge.exists:
		return "removed"
	case p.base.target.Path != p.merge.target.Path:
		return "moved from " + p.base.target.Path
	case p.base.target.Environment != p.merge.target.Environment:
		return "was " + p.base.target.Environment + ", becomes " + p.merge.target.Environment
	}
	return ""
}

// also lists the environments, beside the target's own, that the base branch
// has for the target and for those whose objects move to it.
func also(x *pair, plan *cluster.Plan, all []*pair) []string {
	own, found := x.target(), map[string]bool{}
	if x.base.exists {
		found[x.base.target.Environment] = true
	}
	for _, c := range plan.Changes {
		for _, o := range all {
			if b := o.base.target; c.From != "" && o.base.exists && b.Name == c.From && b.Cluster == own.Cluster {
				found[b.Environment] = true
			}
		}
	}
	delete(found, own.Environment)
	return slices.Sorted(maps.Keys(found))
}

// warm connects to the clusters of all targets, in the background.
func (p *Planner) warm(ctx context.Context, pairs []*pair) {
	asked := map[string]bool{}
	for _, x := range pairs {
		name := x.target().Cluster
		if asked[name] {
			continue
		}
		asked[name] = true
		if c, err := p.Clusters(name); err == nil {
			go c.Warm(ctx)
		}
	}
}

func (p *Planner) render(ctx context.Context, in Input, pairs []*pair) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for _, x := range pairs {
		g.Go(func() error { return p.renderSide(ctx, in.Base, &x.base) })
		g.Go(func() error { return p.renderSide(ctx, in.Merge, &x.merge) })
	}
	return g.Wait()
}

// renderSide keeps what is wrong with the manifests in the side; only a
// cancelled context is an error.
func (p *Planner) renderSide(ctx context.Context, tree fs.FS, s *side) error {
	if !s.exists {
		return nil
	}
	r, err := p.Renderer.Render(ctx, tree, s.target.Path)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		s.problem = err
		return nil
	}
	s.objects, s.digest = r.Objects, r.Digest
	return nil
}

// one plans one target on its cluster.
func (p *Planner) one(ctx context.Context, in Input, x *pair, all []*pair) (plan *cluster.Plan, unasked bool, err error) {
	t := x.target()
	if x.merge.problem != nil {
		plan, err = broken(t, in, renderProblems(x.merge.problem))
		return plan, false, err
	}
	c, err := p.Clusters(t.Cluster)
	if err != nil {
		plan, err = broken(t, in, []cluster.Problem{{Message: err.Error()}})
		return plan, false, err
	}
	req := cluster.Request{
		Target: t, Base: x.base.objects, Merge: x.merge.objects,
		Revision: in.MergeRevision, Everything: in.Everything, Reset: in.Reset, Only: in.Drifted, Humans: in.Humans,
	}
	req.Claims, req.Releases = others(x, all)
	plan, err = c.Plan(ctx, req)
	if ctx.Err() != nil {
		return nil, false, context.Cause(ctx)
	}
	if err != nil {
		plan, err = broken(t, in, []cluster.Problem{{Message: err.Error()}})
		return plan, true, err
	}
	p.capDeletes(plan)
	passing := slices.ContainsFunc(plan.Problems, func(p cluster.Problem) bool { return p.Passing })
	return plan, passing, nil
}

// broken is the plan of a target that could not be planned: never "no change".
func broken(t cluster.Target, in Input, problems []cluster.Problem) (*cluster.Plan, error) {
	plan := &cluster.Plan{Target: t, Revision: in.MergeRevision, Problems: problems}
	var err error
	plan.Digest, err = cluster.DigestPlan(plan)
	return plan, err
}

func renderProblems(err error) []cluster.Problem {
	var all *manifest.Errors
	if !errors.As(err, &all) {
		return []cluster.Problem{{Message: err.Error()}}
	}
	out := make([]cluster.Problem, len(all.Problems))
	for i, e := range all.Problems {
		source := e.Path
		if e.Line > 0 {
			source = fmt.Sprintf("%s:%d", e.Path, e.Line)
		}
		out[i] = cluster.Problem{Source: source, Message: e.Message}
	}
	return out
}

// capDeletes refuses mass deletion (threat 23): an emptied directory must not
// take everything with it.
func (p *Planner) capDeletes(plan *cluster.Plan) {
	n := 0
	for _, c := range plan.Changes {
		if c.Action == cluster.Delete {
			n++
		}
	}
	if p.MaxDeletes > 0 && n > p.MaxDeletes {
		plan.Problems = append(plan.Problems, cluster.Problem{Message: fmt.Sprintf(
			"this would delete %d objects, more than the %d that the operator allows at once; split the pull, or raise maxDeletes in the server file", n, p.MaxDeletes)})
	}
}

// others collects what the other targets on the same cluster claim after the
// merge, and what they had and want no longer.
func others(x *pair, all []*pair) (claims, releases map[cluster.Ref]string) {
	claims, releases = map[cluster.Ref]string{}, map[cluster.Ref]string{}
	clusterName := x.target().Cluster
	for _, o := range all {
		if o.key == x.key || o.target().Cluster != clusterName {
			continue
		}
		after := map[cluster.Ref]bool{}
		for _, ref := range refs(o.merge) {
			after[ref] = true
			claims[ref] = o.merge.target.Name
		}
		for _, ref := range refs(o.base) {
			switch {
			case after[ref]:
			case o.merge.problem != nil: // unknown, so it still has a claim
				claims[ref] = o.base.target.Name
			default:
				releases[ref] = o.base.target.Name
			}
		}
	}
	return claims, releases
}

// refs lists a side's refs; an object that names no namespace is listed both
// without one and with the target's, because only the cluster knows its scope.
func refs(s side) []cluster.Ref {
	out := make([]cluster.Ref, 0, len(s.objects))
	for _, o := range s.objects {
		out = append(out, o.Ref)
		if o.Ref.Namespace == "" && s.target.Namespace != "" {
			in := o.Ref
			in.Namespace = s.target.Namespace
			out = append(out, in)
		}
	}
	return out
}
