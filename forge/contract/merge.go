package contract

import (
	"strings"
	"testing"

	"lockkeeper/forge"
)

func check(t *testing.T, e *env) {
	sha := e.read(t, e.pull(t, e.person(t, "alice"), "x")).Head.SHA
	fold := map[forge.CheckState]forge.CheckState{
		forge.Pending: forge.Pending, forge.Success: forge.Success, forge.Failure: forge.Failure, forge.ActionRequired: forge.Failure}
	var id int64
	for i, state := range []forge.CheckState{forge.Pending, forge.ActionRequired, forge.Failure, forge.Pending, forge.Success} {
		c := forge.Check{Name: Own, SHA: sha, State: state, Title: "1 to create " + unicode, Summary: "**one**", DetailsURL: "https://example.com/x"}
		if i%2 == 1 {
			c.ID = id // written before; without it, it is found by name and SHA
		}
		id = must[int64](t)(e.f.SetCheck(t.Context(), e.ref, c))
		shown := e.Checks(t, e.ref, sha, Own)
		if id == 0 || len(shown) != 1 || shown[0].State != fold[state] || !strings.HasPrefix(shown[0].Title, "1 to create") {
			t.Errorf("after %s: id %d, shown %+v", state, id, shown)
		}
	}
	must[int64](t)(e.f.SetCheck(t.Context(), e.ref, forge.Check{Name: Own, SHA: sha, State: forge.Success, Title: strings.Repeat("ü", 300)}))
	_, err := e.f.SetCheck(t.Context(), e.ref, forge.Check{Name: Own, SHA: strings.Repeat("0", 40), State: forge.Success, Title: "x"})
	if err == nil {
		t.Error("a check on a commit that is not there was accepted")
	}
}

// blockers asks what keeps the pull from being merged now.
func (e *env) blockers(t *testing.T, number int) []string {
	t.Helper()
	list, err := e.f.MergeBlockers(t.Context(), e.ref, e.read(t, number), Own)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func (e *env) wantBlocked(t *testing.T, number int, by string) {
	t.Helper()
	if got := strings.Join(e.blockers(t, number), "; "); !strings.Contains(got, by) {
		t.Errorf("blockers %q do not mention %q", got, by)
	}
}

func (e *env) wantFree(t *testing.T, number int) {
	t.Helper()
	if got := e.blockers(t, number); len(got) != 0 {
		t.Errorf("blocked by %q", got)
	}
}

func merge(t *testing.T, e *env) {
	n := e.pull(t, e.person(t, "alice"), "x")
	p := e.read(t, n)
	if p.Mergeable == nil || !*p.Mergeable || p.MergeState == "" {
		t.Errorf("before: %+v", p)
	}
	e.wantFree(t, n)
	sha := must[string](t)(e.f.Merge(t.Context(), e.ref, n, p.Head.SHA, forge.MethodMerge))
	after := e.read(t, n)
	me := must[forge.User](t)(e.f.Self(t.Context()))
	if !after.Merged || after.State != forge.Closed || after.MergeSHA != sha || after.MergedBy != me || after.Head.SHA != p.Head.SHA || len(sha) != 40 {
		t.Errorf("merged as %s: %+v", sha, after)
	}
	// Whose pull it was is still to be judged after the merge.
	if list := must[[]forge.Commit](t)(e.f.Commits(t.Context(), e.ref, p)); len(list) != 1 {
		t.Errorf("%d commits after the merge", len(list))
	}
	e.wantBlocked(t, n, "merged already")
	_, err := e.f.Merge(t.Context(), e.ref, n, p.Head.SHA, forge.MethodMerge)
	wantCode(t, "second merge", err, forge.Conflict)
}

func mergeMethods(t *testing.T, e *env) {
	alice := e.person(t, "alice")
	for _, m := range e.Traits.Methods {
		n := e.pull(t, alice, "by-"+string(m))
		sha := must[string](t)(e.f.Merge(t.Context(), e.ref, n, e.read(t, n).Head.SHA, m))
		if p := e.read(t, n); !p.Merged || p.MergeSHA != sha {
			t.Errorf("%s: %+v", m, p)
		}
	}
}

func mergeRefused(t *testing.T, e *env) {
	alice := e.person(t, "alice")
	put := func(branch, text string) {
		e.Push(t, e.ref, alice, Push{Branch: branch, From: "main", Commits: []Commit{{Author: "alice", Message: "Set", Files: map[string]string{"README.md": text}}}})
	}
	// Threat 16: the head moved between the decision and the merge.
	n := e.pull(t, alice, "moved")
	old := e.read(t, n).Head.SHA
	e.Push(t, e.ref, alice, Push{Branch: "moved", Commits: []Commit{{Author: "alice", Message: "Sneak", Files: map[string]string{"b": "1\n"}}}})
	_, err := e.f.Merge(t.Context(), e.ref, n, old, forge.MethodMerge)
	wantCode(t, "moved head", err, forge.Conflict)
	_, err = e.f.Merge(t.Context(), e.ref, n, "", forge.MethodMerge)
	wantCode(t, "no head given", err, forge.Invalid)
	if e.read(t, n).Merged {
		t.Fatal("merged anyway")
	}

	put("left", "left\n")
	put("right", "right\n")
	first := e.OpenPull(t, e.ref, alice, NewPull{Title: "left", Head: "left", Base: "main"})
	second := e.OpenPull(t, e.ref, alice, NewPull{Title: "right", Head: "right", Base: "main"})
	must[string](t)(e.f.Merge(t.Context(), e.ref, first, e.read(t, first).Head.SHA, forge.MethodMerge))
	p := e.read(t, second)
	if *p.Mergeable {
		t.Errorf("conflicting pull: %+v", p)
	}
	e.wantBlocked(t, second, "conflicts with main")
	_, err = e.f.Merge(t.Context(), e.ref, second, p.Head.SHA, forge.MethodMerge)
	wantCode(t, "conflict", err, forge.Conflict)

	e.Push(t, e.ref, alice, Push{Branch: "draft", From: "main", Commits: []Commit{{Author: "alice", Message: "D", Files: map[string]string{"d": "1\n"}}}})
	draft := e.OpenPull(t, e.ref, alice, NewPull{Title: "draft", Head: "draft", Base: "main", Draft: true})
	e.wantBlocked(t, draft, "draft")
	e.EditPull(t, e.ref, draft, alice, PullEdit{State: forge.Closed})
	e.wantBlocked(t, draft, "closed")
}

func blockedByChecks(t *testing.T, e *env) {
	n := e.pull(t, e.person(t, "alice"), "x")
	sha := e.read(t, n).Head.SHA
	e.Protect(t, e.ref, "main", []string{Own, "build"}, 0)
	refused := func(what string) {
		t.Helper()
		_, err := e.f.Merge(t.Context(), e.ref, n, sha, forge.MethodMerge)
		wantCode(t, what, err, forge.Conflict)
	}
	if e.Traits.NamedChecks {
		e.wantBlocked(t, n, `"build"`)
		refused("merge against protection")
	}
	e.Status(t, e.ref, sha, "build", false)
	e.wantBlocked(t, n, `"build"`)
	refused("merge after a failure")
	e.Status(t, e.ref, sha, "build", true)
	if !e.Traits.NamedChecks {
		must[int64](t)(e.f.SetCheck(t.Context(), e.ref, forge.Check{Name: Own, SHA: sha, State: forge.ActionRequired, Title: "wait"}))
	}
	e.wantFree(t, n) // but for our own check
	refused("merge without our check")

	must[int64](t)(e.f.SetCheck(t.Context(), e.ref, forge.Check{Name: Own, SHA: sha, State: forge.Success, Title: "fine"}))
	e.wantFree(t, n)
	must[string](t)(e.f.Merge(t.Context(), e.ref, n, sha, forge.MethodMerge))
}

func blockedByReviews(t *testing.T, e *env) {
	if !e.Traits.RequiredReviews {
		t.Skip("this forge cannot demand reviews in every edition")
	}
	bob := e.person(t, "bob")
	n := e.pull(t, e.person(t, "alice"), "x")
	e.Protect(t, e.ref, "main", []string{Own}, 1)
	e.wantBlocked(t, n, "approving review")
	e.Review(t, e.ref, n, bob, forge.ChangesRequested, "no")
	if e.Traits.BlockingReviews {
		e.wantBlocked(t, n, "requests changes")
	}
	e.Review(t, e.ref, n, bob, forge.Approved, "yes")
	e.wantFree(t, n)
}
