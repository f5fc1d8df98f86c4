package contract

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"lockkeeper/forge"
)

// named are the results of one name.
func named(list []forge.CheckResult, name string) []forge.CheckResult {
	return slices.DeleteFunc(slices.Clone(list), func(r forge.CheckResult) bool { return r.Name != name })
}

// Threat 25: a name alone says nothing, so each result names who wrote it.
func checkResults(t *testing.T, e *env) {
	alice := e.person(t, "alice")
	p := e.read(t, e.pull(t, alice, "x"))
	read := func() []forge.CheckResult {
		t.Helper()
		return must[[]forge.CheckResult](t)(e.f.Checks(t.Context(), e.ref, p.Head.SHA))
	}
	if list := read(); len(list) != 0 {
		t.Errorf("before any check: %+v", list)
	}
	must[int64](t)(e.f.SetCheck(t.Context(), e.ref, forge.Check{Name: Own, SHA: p.Head.SHA, State: forge.Pending, Title: "waiting"}))
	if list := named(read(), Own); len(list) != 1 || list[0].State != forge.Pending {
		t.Fatalf("our check: %+v", list)
	}
	must[int64](t)(e.f.SetCheck(t.Context(), e.ref, forge.Check{Name: Own, SHA: p.Head.SHA, State: forge.Failure, Title: "no"}))
	e.Status(t, e.ref, p.Head.SHA, "ci/test", false)
	e.Status(t, e.ref, p.Head.SHA, "ci/test", true)
	if list := named(read(), "ci/test"); len(list) != 1 || list[0].State != forge.Success || list[0].AppID != 0 || list[0].By.ID == 0 {
		t.Errorf("a status written twice: %+v", list)
	}
	for _, bad := range []string{"", "main", "HEAD", strings.Repeat("g", 40)} {
		_, err := e.f.Checks(t.Context(), e.ref, bad)
		wantCode(t, "checks of "+bad, err, forge.Invalid)
	}
	if !e.Traits.Apps {
		return
	}
	forger := e.AppCheck(t, e.ref, p.Head.SHA, Own, true)
	list := named(read(), Own)
	if len(list) != 2 {
		t.Fatalf("our check and one forged under its name: %+v", list)
	}
	for _, r := range list {
		if (r.AppID == forger) != (r.State == forge.Success) || r.AppID == forger && r.AppSlug == "" {
			t.Errorf("%+v; the App %d forged a success", r, forger)
		}
	}
}

func checkPages(t *testing.T, e *env) {
	p := e.read(t, e.pull(t, e.person(t, "alice"), "x"))
	many := e.past(1)
	for i := range many {
		e.Status(t, e.ref, p.Head.SHA, fmt.Sprintf("ci/%d", i), i > 0)
		must[int64](t)(e.f.SetCheck(t.Context(), e.ref, forge.Check{Name: fmt.Sprintf("run %d", i), SHA: p.Head.SHA, State: forge.Success, Title: "x"}))
	}
	list := must[[]forge.CheckResult](t)(e.f.Checks(t.Context(), e.ref, p.Head.SHA))
	if len(list) != 2*many {
		t.Fatalf("%d results, want %d", len(list), 2*many)
	}
	for _, r := range list {
		if want := r.Name != "ci/0"; (r.State == forge.Success) != want {
			t.Errorf("%+v", r)
		}
	}
}

func outside(t *testing.T, e *env) {
	if !e.Traits.Outside {
		t.Skip("this forge does not tell outside collaborators from members")
	}
	member, guest, reader := e.person(t, "member"), e.person(t, "guest"), e.Person(t, "reader")
	e.Member(t, e.ref, member)
	e.Member(t, e.ref, reader)
	e.Grant(t, e.ref, reader, forge.Read) // membership alone is no access everywhere
	n := e.pull(t, member, "x")
	for _, u := range []forge.User{member, guest, reader} {
		e.Comment(t, e.ref, n, u, "hello")
	}
	e.Review(t, e.ref, n, guest, forge.Approved, "")
	e.Review(t, e.ref, n, reader, forge.Approved, "")
	for _, c := range must[[]forge.Comment](t)(e.f.Comments(t.Context(), e.ref, n)) {
		if c.Outside != (c.Author == guest) {
			t.Errorf("comment of %s: outside=%v", c.Author.Login, c.Outside)
		}
	}
	for _, r := range must[[]forge.Review](t)(e.f.Reviews(t.Context(), e.ref, n)) {
		if r.Outside != (r.Author == guest) {
			t.Errorf("review of %s: outside=%v", r.Author.Login, r.Outside)
		}
	}
}

func commitPulls(t *testing.T, e *env) {
	alice := e.person(t, "alice")
	pulls := func(sha string) []forge.Pull {
		t.Helper()
		return must[[]forge.Pull](t)(e.f.CommitPulls(t.Context(), e.ref, sha))
	}
	for i, m := range e.Traits.Methods {
		n := e.pull(t, alice, fmt.Sprintf("x%d", i))
		head := e.read(t, n).Head.SHA
		if list := pulls(head); len(list) != 1 || list[0].Number != n || list[0].Merged || list[0].State != forge.Open {
			t.Errorf("%s: pulls of an open head: %+v", m, list)
		}
		sha := e.MergePull(t, e.ref, n, alice, m)
		list := pulls(sha)
		if len(list) != 1 || list[0].Number != n || !list[0].Merged || list[0].MergeSHA != sha || list[0].Base.Name != "main" || list[0].Head.SHA != head {
			t.Errorf("%s: pulls of the commit on main: %+v", m, list)
		}
	}
	direct := e.Push(t, e.ref, alice, Push{Branch: "main", Commits: []Commit{{Author: "alice", Message: "Past everybody", Files: map[string]string{"z": "1\n"}}}})
	if list := pulls(direct); len(list) != 0 {
		t.Errorf("pulls of a direct push: %+v", list)
	}
	_, err := e.f.CommitPulls(t.Context(), e.ref, strings.Repeat("1", 40))
	if err == nil {
		t.Error("an unknown commit has pulls")
	}
	_, err = e.f.CommitPulls(t.Context(), e.ref, "main")
	wantCode(t, "pulls of a branch's name", err, forge.Invalid)
}

// Threats 27 and 34: what reaches a base branch past the pulls is seen.
func branchPushes(t *testing.T, e *env) {
	if !e.Traits.Pushers {
		t.Skip("this forge does not tell who pushed")
	}
	alice, bob := e.person(t, "alice"), e.person(t, "bob")
	e.Push(t, e.ref, alice, Push{Branch: "side", From: "main"})
	n := e.pull(t, alice, "x")
	start := e.read(t, n).Base.SHA
	merged := e.MergePull(t, e.ref, n, bob, forge.MethodMerge)
	pushed := e.Push(t, e.ref, alice, Push{Branch: "main", Commits: []Commit{{Author: "bob", Message: "Past everybody", Files: map[string]string{"z": "1\n"}}}})
	forced := e.Push(t, e.ref, bob, Push{Branch: "main", From: start, Force: true, Commits: []Commit{{Author: "bob", Message: "Another history", Files: map[string]string{"y": "1\n"}}}})
	list, ok, err := e.f.BranchPushes(t.Context(), e.ref, "main", time.Time{})
	if err != nil || !ok {
		t.Fatalf("ok=%v, %v", ok, err)
	}
	want := []forge.BranchPush{
		{Before: pushed, After: forced, By: bob, Kind: forge.ForcePush},
		{Before: merged, After: pushed, By: alice, Kind: forge.PlainPush},
		{Before: start, After: merged, By: bob, Kind: forge.PullMerge},
	}
	if len(list) < len(want) {
		t.Fatalf("pushes to main: %+v", list)
	}
	var last time.Time
	for i, w := range want {
		got := list[i]
		if got.At.IsZero() || i > 0 && got.At.After(last) {
			t.Errorf("push %d is not older than the one before: %+v", i, got)
		}
		last, got.At = got.At, time.Time{}
		if got != w {
			t.Errorf("push %d is %+v, want %+v", i, got, w)
		}
	}
	since, ok, err := e.f.BranchPushes(t.Context(), e.ref, "main", list[1].At)
	// Forges that tell whole seconds may have put more than two into that one.
	young := slices.DeleteFunc(slices.Clone(list), func(p forge.BranchPush) bool { return p.At.Before(list[1].At) })
	if err != nil || !ok || len(since) != len(young) {
		t.Errorf("pushes since the second: %+v, %v, %v", since, ok, err)
	}
	side, ok, err := e.f.BranchPushes(t.Context(), e.ref, "side", time.Time{})
	if err != nil || !ok || len(side) != 1 || side[0].Kind != forge.BranchCreation || side[0].Before != "" || side[0].After != start {
		t.Errorf("a new branch: %+v, %v, %v", side, ok, err)
	}
}
