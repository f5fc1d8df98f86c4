package manifest

import (
	"fmt"
	"testing"
)

// fleet is a repository of n targets that share a base.
func fleet(n int) map[string]string {
	in := files(shop)
	for i := range n {
		in[fmt.Sprintf("targets/t%d/kustomization.yaml", i)] = fmt.Sprintf("resources: [../../base]\nnamePrefix: t%d-\npatches: [{path: patch.yaml}]\n", i)
		in[fmt.Sprintf("targets/t%d/patch.yaml", i)] = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 2}\n"
	}
	return in
}

// BenchmarkColdRender renders one Kustomize target that nothing is known of, in
// a child that is running.
func BenchmarkColdRender(b *testing.B) {
	r := newRenderer(b, Limits{})
	tree := newHashedQuiet(fleet(1))
	mustRender(b, r, tree, "targets/t0")
	for b.Loop() {
		r.cache = newCache()
		mustRender(b, r, tree, "targets/t0")
	}
}

// BenchmarkStartChild is what the first rendering waits for.
func BenchmarkStartChild(b *testing.B) {
	for b.Loop() {
		c, err := start(b.Context(), New(Limits{}).limits)
		if err != nil {
			b.Fatal(err)
		}
		c.kill()
	}
}

// BenchmarkAffectedOfThousand finds, among 1,000 rendered targets, those that a
// merge result affects: one of them is changed.
func BenchmarkAffectedOfThousand(b *testing.B) {
	const n = 1000
	r := newRenderer(b, Limits{})
	in := fleet(n)
	base := newHashedQuiet(in)
	before := make([]*Rendering, n)
	for i := range n {
		before[i] = mustRender(b, r, base, fmt.Sprintf("targets/t%d", i))
	}
	round := 0
	for b.Loop() {
		round++
		b.StopTimer()
		merge := newHashedQuiet(with(in, "targets/t500/patch.yaml", fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: %d}\n", round+2)))
		b.StartTimer()
		affected := 0
		for i := range n {
			if mustRender(b, r, merge, fmt.Sprintf("targets/t%d", i)).Digest != before[i].Digest {
				affected++
			}
		}
		if affected != 1 {
			b.Fatalf("%d affected, want 1", affected)
		}
	}
}
