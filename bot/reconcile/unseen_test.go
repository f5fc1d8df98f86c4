package reconcile

import (
	"strings"
	"testing"
	"time"

	"lockkeeper/bot/plan"
	"lockkeeper/cluster"
)

// What cannot be looked at is said, with since when, and never passes for clean
// (invariant 9).
func TestWhatCannotBeLookedAtIsSaid(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	s := &State{Memory: &Memory{}, Unseen: map[string][]cluster.Unknown{
		"main": {{Kind: "Widget.example.com", Since: at}, {Kind: "A.x", Since: at.Add(-time.Hour)}, {Kind: "B.x", Since: at}, {Kind: "C.x", Since: at}},
		"edge": {{Since: at}},
		"idle": {{Since: at}}, // of no target of the plan
	}}
	on := func(name, where string) plan.Target {
		return plan.Target{Plan: &cluster.Plan{Target: cluster.Target{Name: name, Cluster: where}}}
	}
	s.Plan = &plan.Output{Targets: []plan.Target{on("a", "main"), on("b", "main"), on("c", "edge"), on("d", "well")}}
	want := []string{
		"Whether anything drifted on cluster edge is unknown since 2026-11-23 12:00 UTC: everything cannot be looked at there.",
		"Whether anything drifted on cluster main is unknown since 2026-11-23 11:00 UTC: Widget.example.com, A.x, B.x and 1 more kinds cannot be looked at there.",
	}
	if got := s.notices(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("notices:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
