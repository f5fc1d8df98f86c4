package drift

import (
	"testing"
	"time"

	"lockkeeper/bot/store"
	"lockkeeper/cluster"
)

// Invariant 9: a drift is not gone because what was applied cannot be told any
// more; and what is merged, and not applied, is no drift.
func TestWhatCannotBeComparedKeepsItsFindings(t *testing.T) {
	at := func(name string) cluster.Ref {
		return cluster.Ref{Kind: "ConfigMap", Namespace: "shop", Name: name}
	}
	known := []store.DriftFinding{{Finding: cluster.Finding{Kind: cluster.Changed, Ref: at("known")}, Since: now}}
	report := &cluster.DriftReport{Pending: []cluster.Ref{at("known"), at("suspect"), at("new")}}
	report.Problems = undecided(report, known, []cluster.Ref{at("suspect")})
	if len(report.Problems) != 2 || *report.Problems[0].Ref != at("known") || *report.Problems[1].Ref != at("suspect") {
		t.Errorf("problems: %+v", report.Problems)
	}
	if got := found(known, report, now.Add(month)); len(got) != 1 || got[0].Ref != at("known") || !got[0].Since.Equal(now) {
		t.Errorf("findings: %+v", got)
	}
}

// Reports of one repository do not name the targets of another.
func TestWhatCannotBeLookedAtConcernsItsRepository(t *testing.T) {
	for u, want := range map[string][2]bool{"": {true, true}, "Deployment.apps": {true, true}, "target shop of repository 12": {false, true}} {
		if got := [2]bool{Concerns(cluster.Unknown{Kind: u}, 2), Concerns(cluster.Unknown{Kind: u}, 12)}; got != want {
			t.Errorf("%q: %v, want %v", u, got, want)
		}
	}
	l := &look{Watcher: &Watcher{Now: time.Now}}
	o := cluster.Owner{RepoID: 12, Target: "shop"}
	l.blind(o, "why")
	l.blind(o, "why else")
	if len(l.unseen) != 1 || blindOwner(l.unseen[0]) != o || !Concerns(l.unseen[0], 12) {
		t.Errorf("%+v", l.unseen)
	}
}
