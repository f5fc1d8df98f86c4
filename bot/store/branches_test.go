package store

import (
	"errors"
	"slices"
	"testing"
	"time"

	"lockkeeper/forge"
)

var ann = forge.User{ID: 11, Login: "ann", Type: forge.Person}

func testBranches(t *testing.T, open opener) {
	c := newClock()
	s := open(t, Options{Now: c.Now})
	if _, err := s.Branch(t.Context(), 1, "main"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a branch never looked at: %v, want ErrNotFound", err)
	}
	main := func(sha string) Branch { return Branch{RepoID: 1, Name: "main", SHA: sha} }
	ok(t, s.SetBranch(t.Context(), main("a"), "", nil))
	if err := s.SetBranch(t.Context(), main("b"), "", nil); !errors.Is(err, ErrStale) {
		t.Errorf("noted as new twice: %v, want ErrStale", err)
	}
	c.Advance(time.Minute)
	found := []Bypass{
		{SHA: "c", Kind: "direct-push", By: ann, Subject: "quick fix", Files: []string{"deploy/a.yaml"}, Targets: []string{"a", "b"}, Since: c.Now().Add(-time.Minute)},
		{SHA: "b", Kind: "direct-push", Lost: "a", Files: []string{".lockkeeper.yaml"}},
	}
	if err := s.SetBranch(t.Context(), main("c"), "z", found); !errors.Is(err, ErrStale) {
		t.Errorf("noted over another commit: %v, want ErrStale", err)
	}
	if left := must[[]Bypass](t)(s.Bypasses(t.Context(), 1, "main")); len(left) != 0 {
		t.Errorf("what was found on the way of a refused note is stored: %+v", left)
	}
	ok(t, s.SetBranch(t.Context(), main("c"), "a", found))
	if b := must[Branch](t)(s.Branch(t.Context(), 1, "main")); b.SHA != "c" || !b.Looked.Equal(c.Now()) {
		t.Errorf("looked at %+v", b)
	}
	all := must[[]Bypass](t)(s.Bypasses(t.Context(), 1, "main"))
	if len(all) != 2 || all[0].SHA != "c" || all[0].By != ann || !slices.Equal(all[0].Files, found[0].Files) || !slices.Equal(all[0].Targets, found[0].Targets) || all[0].Subject != "quick fix" ||
		!all[0].Since.Equal(found[0].Since) || !all[0].Found.Equal(c.Now()) || all[1].Lost != "a" || all[1].By.ID != 0 {
		t.Errorf("found: %+v", all)
	}
	if other := must[[]Bypass](t)(s.Bypasses(t.Context(), 1, "release")); len(other) != 0 {
		t.Errorf("on another branch: %+v", other)
	}
}

func testBypassSettled(t *testing.T, open opener) {
	s := open(t, Options{})
	main := func(sha string) Branch { return Branch{RepoID: 1, Name: "main", SHA: sha} }
	ok(t, s.SetBranch(t.Context(), main("a"), "", nil))
	ok(t, s.SetBranch(t.Context(), main("b"), "a", []Bypass{{SHA: "b", Kind: "direct-push"}}))
	ok(t, s.SetBypassActor(t.Context(), 1, "main", "b", ann))
	ok(t, s.SetBypassIssue(t.Context(), 1, "main", "b", 4))
	ok(t, s.SetBypassTargets(t.Context(), 1, "main", "b", []string{"shop"}))
	if all := must[[]Bypass](t)(s.Bypasses(t.Context(), 1, "main")); len(all) != 1 || all[0].By != ann || all[0].Issue != 4 || !slices.Equal(all[0].Targets, []string{"shop"}) {
		t.Errorf("found: %+v", all)
	}
	ok(t, s.SettleBypass(t.Context(), 1, "main", "b", "applied with #7"))
	if all := must[[]Bypass](t)(s.Bypasses(t.Context(), 1, "main")); len(all) != 0 {
		t.Errorf("open after it was settled: %+v", all)
	}
	for name, err := range map[string]error{
		"settled twice":     s.SettleBypass(t.Context(), 1, "main", "b", "again"),
		"named too late":    s.SetBypassActor(t.Context(), 1, "main", "b", ann),
		"reported too late": s.SetBypassIssue(t.Context(), 1, "main", "b", 5),
	} {
		if !errors.Is(err, ErrFinished) {
			t.Errorf("%s: %v, want ErrFinished", name, err)
		}
	}
	if err := s.SettleBypass(t.Context(), 1, "main", "x", ""); !errors.Is(err, ErrNotFound) {
		t.Errorf("settled what never was: %v, want ErrNotFound", err)
	}
	// The branch is set back, and forth again.
	ok(t, s.SetBranch(t.Context(), main("a"), "b", nil))
	ok(t, s.SetBranch(t.Context(), main("b"), "a", []Bypass{{SHA: "b", Kind: "direct-push"}}))
	if all := must[[]Bypass](t)(s.Bypasses(t.Context(), 1, "main")); len(all) != 1 || all[0].By.ID != 0 || all[0].Issue != 0 || all[0].How != "" {
		t.Errorf("found again: %+v", all)
	}
}

func testDuties(t *testing.T, open opener) {
	c := newClock()
	s := open(t, Options{Now: c.Now})
	duty := Duty{ID: "1/7/99/production", RepoID: 1, Environment: "production", Number: 7, By: ann, Reason: "the shop is down",
		CommentID: 99, Due: c.Now().Add(48 * time.Hour)}
	ok(t, s.OpenDuty(t.Context(), duty))
	c.Advance(time.Hour)
	again := duty
	again.Reason, again.Due = "later", c.Now()
	ok(t, s.OpenDuty(t.Context(), again))
	ok(t, s.OpenDuty(t.Context(), Duty{ID: "other", RepoID: 2}))
	all := must[[]Duty](t)(s.Duties(t.Context(), 1))
	if len(all) != 1 || all[0].Reason != duty.Reason || !all[0].Due.Equal(duty.Due) || !all[0].Opened.Equal(c.Now().Add(-time.Hour)) ||
		all[0].By != ann || all[0].CommentID != 99 || all[0].Environment != "production" || all[0].Number != 7 {
		t.Errorf("owed: %+v", all)
	}
	bob := forge.User{ID: 12, Login: "bob", Type: forge.Person}
	ok(t, s.CloseDuty(t.Context(), duty.ID, bob))
	if err := s.CloseDuty(t.Context(), duty.ID, ann); !errors.Is(err, ErrFinished) {
		t.Errorf("closed twice: %v, want ErrFinished", err)
	}
	if err := s.CloseDuty(t.Context(), "none", ann); !errors.Is(err, ErrNotFound) {
		t.Errorf("closed what never was: %v, want ErrNotFound", err)
	}
	ok(t, s.OpenDuty(t.Context(), duty))
	if all := must[[]Duty](t)(s.Duties(t.Context(), 1)); len(all) != 0 {
		t.Errorf("owed after it was closed: %+v", all)
	}
	if d := must[Duty](t)(s.Duty(t.Context(), duty.ID)); d.ClosedBy != bob || !d.Closed.Equal(c.Now()) {
		t.Errorf("closed: %+v", d)
	}
	if _, err := s.Duty(t.Context(), "none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a duty that never was: %v, want ErrNotFound", err)
	}
}
