package kube

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"lockkeeper/cluster"
	"lockkeeper/cluster/clustertest/exact"
	"lockkeeper/cluster/kube/ask"
	"lockkeeper/cluster/kube/fields"
)

var (
	driftSeed   = flag.Uint64("drift.seed", 20261123, "seed of the differential test of drift")
	driftRounds = flag.Int("drift.rounds", 8, "rounds of the differential test of drift")
)

// Whatever is done to live objects, by whomever and by whatever kind of write:
// where a census takes one for clean it is as it was right after the apply, and
// applying again would change nothing; and where something is otherwise, the
// exact check finds it, and finds nothing else. A reset then brings all back.
func TestCensusAndExactCheckAgreeWithAFullDryRun(t *testing.T) {
	t.Logf("seed %d: go test -run %s -drift.seed %d", *driftSeed, t.Name(), *driftSeed)
	d := newDifferential(t)
	d.apply(true)
	for round := range *driftRounds {
		began := time.Now()
		d.mutate(round)
		mutated := time.Since(began)
		d.compare(round)
		compared := time.Since(began)
		if round%2 == 1 {
			d.apply(false)
		}
		t.Logf("round %d: %s to mutate, %s to compare, %s to reset", round, mutated, compared-mutated, time.Since(began)-compared)
		if t.Failed() {
			return
		}
	}
	t.Logf("%d mutations; of %d looks, %d found drift, %d were proven clean by the census", d.mutations.Load(), d.looks, d.drifted, d.clean)
	if want := int64(*driftRounds * 200); d.mutations.Load() < want {
		t.Errorf("%d mutations, want at least %d", d.mutations.Load(), want)
	}
	if d.drifted < d.looks/4 || d.clean < d.looks/20 || d.looks-d.drifted-d.clean < d.looks/20 {
		t.Error("the mutations are lopsided: the test lost its teeth")
	}
}

// differential is the test's world: what was applied, and how it looked then.
type differential struct {
	t        *testing.T
	c        *Cluster
	target   cluster.Target
	group    string
	objs     []cluster.Object
	snapshot map[cluster.Ref]m

	mutations             atomic.Int64
	mu                    sync.Mutex
	log                   map[cluster.Ref][]string
	looks, drifted, clean int
}

func newDifferential(t *testing.T) *differential {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	kubectl(t, strings.ReplaceAll(widgets, "%NS%", ns), "apply", "-f", "-")
	kubectl(t, "", "wait", "--for=condition=Established", "crd/widgets."+ns+".example.org")
	rewriting(t, c, ns)
	w := &world{r: rand.New(rand.NewPCG(*driftSeed, 2)), namespaces: []string{ns}, group: ns + ".example.org"}
	for i := range 8 {
		for _, s := range allSpecies {
			o := w.born(s)
			if s.kind == "Deployment" || s.kind == "StatefulSet" {
				at(o, "spec")["replicas"] = int64(0) // pods take time, and none are needed
			}
			if i%2 == 0 {
				s.edits[w.r.IntN(len(s.edits))](w, o)
			}
			w.objects = append(w.objects, o)
		}
	}
	return &differential{t: t, c: c, target: targetIn(ns), group: w.group, objs: w.rendered(), log: map[cluster.Ref][]string{}}
}

// apply makes all be as Git has it, the first time or by a reset, and looks
// whether it is: nothing drifted, nothing is suspicious, and applying again
// changes nothing.
func (d *differential) apply(first bool) {
	d.t.Helper()
	r := cluster.Request{Target: d.target, Merge: d.objs, Revision: "r"}
	if !first {
		r.Base, r.Reset = d.objs, true
	}
	for attempt := 1; !d.carriedOut(r, attempt); attempt++ {
	}
	for _, f := range drifted(d.t, d.c, cluster.DriftRequest{Target: d.target, Objects: d.objs}).Findings {
		d.t.Errorf("after a reset: %+v\n%s", f, d.history(f.Ref))
	}
	for _, ref := range suspectsOf(d.t, d.c, d.target) {
		d.t.Errorf("a census suspects %s after a reset\n%s", ref, d.history(ref))
	}
	d.snapshot = (&exactness{t: d.t, c: d.c}).snapshot(d.objs)
	d.each(func(o cluster.Object) {
		if why := d.unlike(o, nil, d.snapshot[o.Ref]); why != "" {
			d.t.Errorf("after a reset: %s: %s\n%s", o.Ref, why, d.history(o.Ref))
		}
	})
	clear(d.log)
}

// carriedOut plans and applies; controllers that write in between may make it
// necessary to do so again.
func (d *differential) carriedOut(r cluster.Request, attempt int) bool {
	d.t.Helper()
	p, err := d.c.Plan(d.t.Context(), r)
	if err != nil {
		d.t.Fatal(err)
	}
	for _, problem := range p.Problems {
		d.t.Fatalf("reset: %s\n%s", problem.Message, d.history(*problem.Ref))
	}
	result, err := d.c.Apply(d.t.Context(), p, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	for _, s := range result.Steps {
		switch {
		case strings.Contains(s.Message, "than it predicted"):
			d.t.Errorf("%s %s: %s\n%s", s.Action, s.Ref, s.Message, d.history(s.Ref))
		case s.State == cluster.Failed && (attempt > 3 || !strings.HasSuffix(s.Message, "plan again")):
			d.t.Fatalf("%s %s: %s\n%s", s.Action, s.Ref, s.Message, d.history(s.Ref))
		}
	}
	return result.OK()
}

// each does something with every object, several at a time.
func (d *differential) each(do func(cluster.Object)) {
	var g errgroup.Group
	g.SetLimit(8)
	for _, o := range d.objs {
		g.Go(func() error { do(o); return nil })
	}
	_ = g.Wait() // it fails the test itself
}

func (d *differential) history(ref cluster.Ref) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.log[ref], "\n")
}

// unlike says why an object is not as it was applied, by a full dry-run and by
// value: the oracle. before nil means that what it looked like is not known.
func (d *differential) unlike(o cluster.Object, before, now m) string {
	if now == nil || before != nil && at(before, "metadata")["uid"] != at(now, "metadata")["uid"] {
		return "deleted, or made again"
	}
	live := &unstructured.Unstructured{Object: now}
	again, err := d.dryRun(o)
	switch {
	case apierrors.IsInvalid(err):
		return fmt.Sprintf("what was applied is not valid any more: %v", err)
	case err != nil:
		d.t.Errorf("dry-run of %s: %v", o.Ref, err)
		return ""
	}
	if before != nil && exact.Difference("", exact.Content(before), exact.Content(now)) == "" {
		return d.handAdded(live, again)
	}
	if why := exact.Difference("", exact.Content(again.Object), exact.Content(now)); why != "" {
		return why
	}
	return d.handAdded(live, again)
}

func (d *differential) dryRun(o cluster.Object) (*unstructured.Unstructured, error) {
	known, err := d.c.kinds.For(d.t.Context(), nil)
	if err != nil {
		return nil, err
	}
	k, _ := known.Get(o.Ref, o.APIVersion)
	body, err := json.Marshal(ask.Desired(&o).Object)
	if err != nil {
		return nil, err
	}
	return d.c.api.Resource(k.GVR, o.Ref.Namespace).Patch(d.t.Context(), o.Ref.Name, types.ApplyPatchType, body,
		metav1.PatchOptions{FieldManager: Manager, Force: new(true), DryRun: []string{metav1.DryRunAll}})
}

// handAdded names a field that only a person owns.
func (d *differential) handAdded(live, again *unstructured.Unstructured) string {
	others, theirs := map[string]bool{}, map[string]bool{}
	there := fields.Flatten(live.Object, fields.KeysOf(fields.All(live)...))
	note := func(in map[string]bool, set *fieldpath.Set) {
		set.Iterate(func(p fieldpath.Path) {
			// A webhook may have removed what its owner still is said to own.
			if _, ok := there[strings.Replace(fields.PathOf(p), "stringData", "data", 1)]; ok {
				in[strings.Replace(p.String(), ".stringData.", ".data.", 1)] = true
			}
		})
	}
	note(others, fields.Ours(again))
	for _, e := range live.GetManagedFields() {
		switch person := strings.HasPrefix(e.Manager, "kubectl") || e.Manager == "k9s"; {
		case fields.IsOurs(e):
		case person && e.Subresource == "":
			note(theirs, fields.Of(e).Leaves())
		default:
			note(others, fields.Of(e))
		}
	}
	for s := range theirs {
		held := false // what only surrounds fields of others is theirs
		for o := range others {
			held = held || o == s || strings.HasPrefix(o, s+".") || strings.HasPrefix(o, s+"[")
		}
		if !held && !strings.HasSuffix(s, "last-applied-configuration") && s != ".metadata.annotations" {
			return "added by hand: " + s
		}
	}
	return ""
}

// compare holds census and exact check against the oracle.
func (d *differential) compare(round int) {
	suspects := suspectsOf(d.t, d.c, d.target)
	report := drifted(d.t, d.c, cluster.DriftRequest{Target: d.target, Objects: d.objs})
	for _, p := range report.Problems {
		d.t.Errorf("round %d: problem: %s\n%s", round, p.Message, d.history(*p.Ref))
	}
	now := (&exactness{t: d.t, c: d.c}).snapshot(d.objs)
	found := map[cluster.Ref][]cluster.Finding{}
	for _, f := range report.Findings {
		found[f.Ref] = append(found[f.Ref], f)
		d.standsAs(f, now[f.Ref])
	}
	d.each(func(o cluster.Object) {
		why := d.unlike(o, d.snapshot[o.Ref], now[o.Ref])
		real := slices.ContainsFunc(found[o.Ref], func(f cluster.Finding) bool { return f.Kind != cluster.Disowned })
		suspect := slices.Contains(suspects, o.Ref)
		say := func(what string) {
			d.t.Errorf("seed %d, round %d: %s %s\noracle: %s\nfound: %+v\n%s", *driftSeed, round, o.Ref, what, why, found[o.Ref], d.history(o.Ref))
		}
		switch {
		case why != "" && !suspect:
			say("is taken for clean by the census")
		case why != "" && !real:
			say("is taken for clean by the exact check")
		case why == "" && real:
			say("did not drift, but the exact check says so")
		case len(found[o.Ref]) > 0 && !suspect:
			say("has findings, and is taken for clean by the census")
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.looks++
		if why != "" {
			d.drifted++
		} else if !suspect {
			d.clean++
		}
	})
	for _, ref := range suspectsOf(d.t, d.c, d.target) {
		if len(found[ref]) == 0 {
			d.t.Errorf("round %d: %s is still suspicious after an exact check that found nothing\n%s", round, ref, d.history(ref))
		}
	}
}

// standsAs looks whether a finding tells the live value.
func (d *differential) standsAs(f cluster.Finding, now m) {
	if f.Field.Path == "" || f.Field.Masked || now == nil {
		return
	}
	live := &unstructured.Unstructured{Object: now}
	v, there := fields.Flatten(fields.Shown(now), fields.KeysOf(fields.All(live)...))[f.Field.Path]
	if f.Field.Op == cluster.Remove && strings.HasSuffix(f.Field.Path, "]") {
		return // items without names are counted in the list as it was
	}
	list, _ := f.Field.After.([]any)
	order := len(list) > 0 && strings.HasPrefix(fmt.Sprint(list[0]), "[") // the order of items, by their names
	if there != (f.Field.Op != cluster.Remove) || there && !order && !fields.Equal(v, f.Field.After) &&
		(f.Ref.Kind != "Service" || exact.Missing("", f.Field.After, v) != "") { // less the node ports that the server assigned
		d.t.Errorf("%s: the finding says %s is %s, live it is %s\n%s", f.Ref, f.Field.Path, pretty(f.Field.After), pretty(v), d.history(f.Ref))
	}
}
