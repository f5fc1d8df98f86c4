package store

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"lockkeeper/cluster"
)

func testDrifts(t *testing.T, open opener) {
	c := newClock()
	s := open(t, Options{Now: c.Now})
	found := cluster.Finding{
		Kind: cluster.Changed, Ref: cluster.Ref{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"}, APIVersion: "apps/v1",
		Field:    cluster.FieldChange{Path: "spec.replicas", Op: cluster.Set, Before: float64(2), After: float64(5)},
		Managers: []string{"kubectl"}, At: c.Now().Add(-time.Minute),
	}
	d := Drift{
		RepoID: 1, Cluster: "main", Target: "shop", Environment: "production", Base: "main", Since: c.Now(), Digest: "d1",
		Findings: []DriftFinding{{Finding: found, Since: c.Now()}},
	}
	ok(t, s.SaveDrift(t.Context(), d))
	if _, err := s.DriftOfPull(t.Context(), 1, 0); !errors.Is(err, ErrNotFound) {
		t.Errorf("a drift without a pull is found by no pull: %v, want ErrNotFound", err)
	}
	d.Number, d.Branch, d.Tip, d.Told, d.Foreign = 7, "lockkeeper/drift/shop", "abc", "d1", []string{"def"}
	d.Issue, d.Quiet, d.Fight = 8, Quiet{Digest: "d1", Until: c.Now().Add(time.Hour), By: ann, Closed: 7}, "hpa"
	ok(t, s.SaveDrift(t.Context(), d))
	if got := must[Drift](t)(s.DriftOfPull(t.Context(), 1, 7)); !reflect.DeepEqual(got, d) {
		t.Errorf("of the pull: %+v, want %+v", got, d)
	}
	other := Drift{RepoID: 1, Cluster: "edge", Target: "shop", Since: c.Now(), Digest: "d2"}
	ok(t, s.SaveDrift(t.Context(), other))
	if all := must[[]Drift](t)(s.Drifts(t.Context(), "main")); len(all) != 1 || !reflect.DeepEqual(all[0], d) {
		t.Errorf("on main: %+v", all)
	}
	ok(t, s.DropDrift(t.Context(), 1, "main", "shop"))
	ok(t, s.DropDrift(t.Context(), 1, "main", "shop")) // as after a crash
	if _, err := s.DriftOfPull(t.Context(), 1, 7); !errors.Is(err, ErrNotFound) {
		t.Errorf("a drift that is over: %v, want ErrNotFound", err)
	}
	if all := must[[]Drift](t)(s.Drifts(t.Context(), "edge")); len(all) != 1 {
		t.Errorf("on edge: %+v", all)
	}
}

func testHeals(t *testing.T, open opener) {
	c := newClock()
	s := open(t, Options{Now: c.Now})
	heal := func(outcome string) Heal {
		return Heal{RepoID: 1, Cluster: "main", Target: "shop", At: c.Now(), Outcome: outcome, Fields: []string{"a", "b"}}
	}
	first := heal("begun")
	ok(t, s.AddHeal(t.Context(), first))
	first.Outcome = "succeeded"
	ok(t, s.AddHeal(t.Context(), first)) // the same one, when it ended
	ok(t, s.AddHeal(t.Context(), Heal{RepoID: 1, Cluster: "main", Target: "web", At: c.Now()}))
	c.Advance(time.Hour)
	second := heal("failed")
	ok(t, s.AddHeal(t.Context(), second))
	if all := must[[]Heal](t)(s.Heals(t.Context(), 1, "main", "shop")); !reflect.DeepEqual(all, []Heal{first, second}) {
		t.Errorf("heals: %+v", all)
	}
	c.Advance(24 * time.Hour)
	third := heal("succeeded")
	ok(t, s.AddHeal(t.Context(), third))
	if all := must[[]Heal](t)(s.Heals(t.Context(), 1, "main", "shop")); !reflect.DeepEqual(all, []Heal{second, third}) {
		t.Errorf("a day later: %+v", all)
	}
}

func testWatches(t *testing.T, open opener) {
	c := newClock()
	s := open(t, Options{Now: c.Now})
	if w := must[Watch](t)(s.Watch(t.Context(), "main")); !reflect.DeepEqual(w, Watch{Cluster: "main"}) {
		t.Errorf("a cluster never looked at: %+v", w)
	}
	w := Watch{
		Cluster: "main", Full: c.Now(), Looked: c.Now().Add(time.Minute), Mass: c.Now().Add(time.Second), Issues: map[int64]int{1: 7, 2: 9},
		Unknown: []cluster.Unknown{{Kind: "Widget.example.com", Since: c.Now(), Reason: "the kind is not there"}},
	}
	ok(t, s.SaveWatch(t.Context(), w))
	if got := must[Watch](t)(s.Watch(t.Context(), "main")); !reflect.DeepEqual(got, w) {
		t.Errorf("read %+v, want %+v", got, w)
	}
	over := Watch{Cluster: "main", Full: w.Full, Looked: w.Looked}
	ok(t, s.SaveWatch(t.Context(), over))
	if got := must[Watch](t)(s.Watch(t.Context(), "main")); !reflect.DeepEqual(got, over) {
		t.Errorf("read %+v, want %+v", got, over)
	}
}
