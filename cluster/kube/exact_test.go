package kube

import (
	"encoding/json"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"

	"lockkeeper/cluster"
	"lockkeeper/cluster/clustertest/exact"
	"lockkeeper/cluster/kube/ask"
	"lockkeeper/cluster/kube/fields"
)

var (
	exactSeed   = flag.Uint64("exact.seed", 20261122, "seed of the exactness test")
	exactRounds = flag.Int("exact.rounds", 12, "plans that the exactness test applies")
	exactEdits  = flag.Int("exact.edits", 25, "random edits a plan")
)

// What a plan says will change is what changes: over hundreds of random edits,
// the predicted field changes, put into the live object from before, give the
// live object from after, in everything but server-owned metadata, status and
// what the plan labels as the server's or unverified. Nothing else moves.
func TestPredictedIsObserved(t *testing.T) {
	testExactness(t, "exact", func(*Cluster, cluster.Target, *world) {})
}

// The same, beginning with objects that kubectl apply made on the client side.
func TestPredictedIsObservedOnAdoptedObjects(t *testing.T) {
	testExactness(t, "exact-adopted", func(c *Cluster, _ cluster.Target, w *world) {
		for _, o := range w.objects {
			doc, err := json.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			kubectl(t, string(doc), "apply", "-f", "-")
		}
	})
}

func testExactness(t *testing.T, name string, begin func(*Cluster, cluster.Target, *world)) {
	t.Logf("seed %d: go test -run %s -exact.seed %d", *exactSeed, t.Name(), *exactSeed)
	c := connected(t)
	one, two := shared.Get(t).Namespace(t), shared.Get(t).Namespace(t)
	kubectl(t, strings.ReplaceAll(widgets, "%NS%", one), "apply", "-f", "-")
	kubectl(t, "", "wait", "--for=condition=Established", "crd/widgets."+one+".example.org")
	target := targetIn(one)
	w := newWorld(*exactSeed, one+".example.org", one, two)
	begin(c, target, w)
	base := w.rendered()
	e := exactness{t: t, c: c, target: target}
	if name == "exact" {
		e.round("the first state", nil, base)
	}
	for i := range *exactRounds {
		edits := w.edited(*exactEdits)
		merge := w.rendered()
		if !e.round(fmt.Sprintf("seed %d, round %d (%s)", *exactSeed, i, strings.Join(edits, ", ")), base, merge) {
			return
		}
		base = merge
	}
	// Whatever no edit touched is adopted now, as a sync would.
	e.everything = true
	e.round("everything", base, base)
	e.round("nothing", base, base)
	t.Logf("%d changes with %d fields predicted and observed", e.changes, e.fields)
	if want := *exactRounds * *exactEdits / 3; e.changes < want {
		t.Errorf("only %d changes, want at least %d: the test lost its teeth", e.changes, want)
	}
}

type exactness struct {
	t               *testing.T
	c               *Cluster
	target          cluster.Target
	everything      bool
	changes, fields int
}

// round plans, applies, and compares. It reports whether all was exact.
func (e *exactness) round(what string, base, merge []cluster.Object) bool {
	e.t.Helper()
	p, err := e.c.Plan(e.t.Context(), cluster.Request{Target: e.target, Base: base, Merge: merge, Revision: what, Everything: e.everything})
	if err != nil {
		e.t.Fatalf("%s: %v", what, err)
	}
	for _, problem := range p.Problems {
		e.t.Errorf("%s: problem: %s\n%s", what, problem.Message, sourceOf(merge, problem.Source))
	}
	if what == "nothing" && len(p.Changes) > 0 {
		e.t.Errorf("left over after all: %+v", p.Changes)
	}
	if e.t.Failed() {
		return false
	}
	before := e.snapshot(base, merge)
	for _, s := range applied(e.t, e.c, p).Steps {
		if strings.Contains(s.Message, "than it predicted") {
			e.t.Errorf("%s: %s %s: %s", what, s.Action, s.Ref, s.Message)
		}
	}
	after := e.snapshot(base, merge)
	changed := map[cluster.Ref]bool{}
	for _, ch := range p.Changes {
		changed[ch.Ref] = true
		e.changes++
		e.fields += len(ch.Fields)
		if why := exact.Unlike(ch, before[ch.Ref], after[ch.Ref]); why != "" {
			e.t.Errorf("%s: %s %s %s: %s\nplanned %s", what, ch.Action, ch.Ref, ch.Unverified, why, pretty(ch.Fields))
		}
	}
	for ref, b := range before {
		if !changed[ref] && !fields.Equal(exact.Content(b), exact.Content(after[ref])) {
			e.t.Errorf("%s: %s changed without being in the plan: %s", what, ref, exact.Difference("", exact.Content(b), exact.Content(after[ref])))
		}
	}
	for _, o := range merge {
		// Git is what is live, whatever the plan said.
		if live := after[o.Ref]; !e.everything && !changed[o.Ref] {
			continue
		} else if why := exact.Missing("", ask.Desired(&o).Object, live); why != "" {
			e.t.Errorf("%s: %s is not live as it is in Git: %s", what, o.Ref, why)
		}
	}
	if !e.everything && base != nil {
		again, err := e.c.Plan(e.t.Context(), cluster.Request{Target: e.target, Base: base, Merge: merge, Revision: what})
		if err != nil || len(again.Changes)+len(again.Problems)+len(again.Drift) > 0 {
			e.t.Errorf("%s: left over: %v %+v", what, err, again)
		}
	}
	return !e.t.Failed()
}

func sourceOf(objs []cluster.Object, source string) string {
	for _, o := range objs {
		if o.Source == source {
			return pretty(o.Content)
		}
	}
	return ""
}

// snapshot reads all objects of both sides; those that are not there are nil.
func (e *exactness) snapshot(sides ...[]cluster.Object) map[cluster.Ref]m {
	e.t.Helper()
	known, err := e.c.kinds.For(e.t.Context(), nil)
	if err != nil {
		e.t.Fatal(err)
	}
	out := map[cluster.Ref]m{}
	for _, o := range slices.Concat(sides...) {
		if _, ok := out[o.Ref]; ok {
			continue
		}
		k, ok := known.Get(o.Ref, o.APIVersion)
		if !ok {
			e.t.Fatalf("%s is not served", o.Ref)
		}
		out[o.Ref] = nil
		if live, err := e.c.api.Get(e.t.Context(), k.GVR, o.Ref.Namespace, o.Ref.Name); err == nil {
			out[o.Ref] = live.Object
		}
	}
	return out
}

func pretty(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
