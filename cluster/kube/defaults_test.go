package kube

import (
	"slices"
	"strings"
	"testing"
)

// The server fills a CRD's defaults in whenever it reads a custom resource, so
// that a pull with a CRD changes what objects read as that it does not touch.
func TestDefaultsThatACRDIsGivenAreAnnounced(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	crd := strings.ReplaceAll(widgets, "%NS%", ns)
	more := changed(crd, "ratio: {type: number}", "ratio: {type: number, default: 0.5}")
	widget := "apiVersion: " + ns + ".example.org/v1\nkind: Widget\nmetadata: {name: w}\nspec: {steps: [a]}\n"
	target := targetIn(ns)
	base := objects(t, ns, crd, widget)
	synced(t, c, target, nil, base)
	p := planned(t, c, target, base, objects(t, ns, more, widget))
	if len(p.Changes) != 1 || !slices.ContainsFunc(p.Warnings, func(w string) bool {
		return strings.HasPrefix(w, "Widget."+ns+".example.org "+ns+"/w will read differently") && strings.HasSuffix(w, "for spec.ratio")
	}) {
		t.Errorf("%s\n%v", shape(p), p.Warnings)
	}
	appliedExactly(t, c, p)
	after := objects(t, ns, more, widget)
	p = planned(t, c, target, after, objects(t, ns, more, changed(widget, "[a]", "[b]")))
	if slices.ContainsFunc(p.Warnings, func(w string) bool { return strings.Contains(w, "differently") }) {
		t.Errorf("the CRD is not in the plan: %v", p.Warnings)
	}
}
