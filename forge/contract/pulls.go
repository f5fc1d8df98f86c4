package contract

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"lockkeeper/forge"
)

// unicode has what breaks careless code: emoji beyond 16 bits, a combining
// mark, right-to-left text with an override, and a CR LF.
const unicode = "🚢 lock ä e\u0301 \u202eשלום\u202c 水門"

func pullLife(t *testing.T, e *env) {
	alice := e.person(t, "alice")
	tip := e.Push(t, e.ref, alice, Push{Branch: "feature/größe", From: "main", Commits: []Commit{
		{Author: "alice", Message: "One", Files: map[string]string{"a": "1\n"}}}})
	e.Push(t, e.ref, alice, Push{Branch: "release", From: "main"})
	n := e.OpenPull(t, e.ref, alice, NewPull{Title: unicode, Body: unicode + "\r\n\r\nmore", Head: "feature/größe", Base: "main", Draft: true})

	p := e.read(t, n)
	if p.Number != n || p.Title != unicode || !strings.HasPrefix(p.Body, unicode) || p.State != forge.Open || !p.Draft || p.Merged {
		t.Errorf("opened: %+v", p)
	}
	if p.Author != alice || p.WebURL == "" || p.UpdatedAt.IsZero() || p.Fork() {
		t.Errorf("opened: %+v", p)
	}
	if want := (forge.Branch{Name: "feature/größe", SHA: tip, RepoID: e.ref.ID}); p.Head != want {
		t.Errorf("head %+v, want %+v", p.Head, want)
	}
	if p.Base.Name != "main" || p.Base.RepoID != e.ref.ID || len(p.Base.SHA) != 40 {
		t.Errorf("base %+v", p.Base)
	}

	tip = e.Push(t, e.ref, alice, Push{Branch: "feature/größe", Commits: []Commit{
		{Author: "alice", Message: "Two", Files: map[string]string{"a": "2\n"}}}})
	e.EditPull(t, e.ref, n, alice, PullEdit{Title: "Plain", Ready: true})
	if p = e.read(t, n); p.Head.SHA != tip || p.Draft || p.Title != "Plain" {
		t.Errorf("pushed and made ready: %+v", p)
	}
	e.EditPull(t, e.ref, n, alice, PullEdit{Base: "release"})
	if p = e.read(t, n); p.Base.Name != "release" {
		t.Errorf("retargeted: %+v", p)
	}
	e.EditPull(t, e.ref, n, alice, PullEdit{State: forge.Closed})
	if p = e.read(t, n); p.State != forge.Closed || p.Merged || p.MergeSHA != "" {
		t.Errorf("closed: %+v", p)
	}
	if list := must[[]forge.Pull](t)(e.f.OpenPulls(t.Context(), e.ref)); len(list) != 0 {
		t.Errorf("a closed pull is listed as open: %+v", list)
	}
	e.EditPull(t, e.ref, n, alice, PullEdit{State: forge.Open})
	if p = e.read(t, n); p.State != forge.Open {
		t.Errorf("reopened: %+v", p)
	}
	_, err := e.f.Pull(t.Context(), e.ref, n+1000)
	wantCode(t, "unknown pull", err, forge.NotFound)
}

func openPulls(t *testing.T, e *env) {
	alice := e.person(t, "alice")
	var branches []string
	for i := range e.past(1) {
		branches = append(branches, fmt.Sprintf("b%03d", i))
	}
	tip := e.Push(t, e.ref, alice, Push{Branch: "first", Also: branches, From: "main", Commits: []Commit{
		{Author: "alice", Message: "One", Files: map[string]string{"a": "1\n"}}}})
	var want []int
	for _, b := range branches {
		want = append(want, e.OpenPull(t, e.ref, alice, NewPull{Title: b, Head: b, Base: "main"}))
	}
	slices.Reverse(want)
	var got []int
	for _, p := range must[[]forge.Pull](t)(e.f.OpenPulls(t.Context(), e.ref)) {
		got = append(got, p.Number)
		if p.Head.SHA != tip || p.State != forge.Open || p.Author != alice || p.Head.RepoID != e.ref.ID {
			t.Errorf("listed: %+v", p)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("listed %d pulls %v\nwant %d, newest first: %v", len(got), got, len(want), want)
	}
}

func commits(t *testing.T, e *env) {
	alice, bob := e.person(t, "alice"), e.person(t, "bob")
	e.Push(t, e.ref, bob, Push{Branch: "side", From: "main", Commits: []Commit{
		{Author: "bob", Message: "On the side", Files: map[string]string{"side": "1\n"}}}})
	tip := e.Push(t, e.ref, alice, Push{Branch: "x", From: "main", Commits: []Commit{
		{Author: "alice", Message: "First " + unicode + "\n\nBody.", Files: map[string]string{"a": "1\n"}},
		{Author: "bob", Committer: "alice", Message: "Second", Files: map[string]string{"a": "2\n"}},
		{Author: "stranger", Message: "Third", Files: map[string]string{"a": "3\n"}},
		{Author: "alice", Message: "Merge side", Merge: "side"},
	}})
	p := e.read(t, e.OpenPull(t, e.ref, alice, NewPull{Title: "x", Head: "x", Base: "main"}))
	list := must[[]forge.Commit](t)(e.f.Commits(t.Context(), e.ref, p))
	bySubject := map[string]forge.Commit{}
	for _, c := range list {
		bySubject[c.Subject] = c
		if len(c.SHA) != 40 || len(c.Parents) == 0 || c.AuthorEmail == "" || len(c.CoAuthors) != 0 || c.Verified {
			t.Errorf("%+v", c)
		}
	}
	if len(list) != 5 || list[4].SHA != tip || len(list[4].Parents) != 2 {
		t.Fatalf("%d commits of base..head, second parents included; want 5 with the head last: %+v", len(list), list)
	}
	for subject, want := range map[string][2]forge.User{
		"First " + unicode: {alice, alice}, "Second": {bob, alice}, "On the side": {bob, bob}, "Merge side": {alice, alice},
	} {
		c := bySubject[subject]
		if !e.Traits.Committers && c.Committer.ID == 0 {
			c.Committer = want[1]
		}
		if c.Author != want[0] || c.Committer != want[1] {
			t.Errorf("%q: author %+v, committer %+v; want %+v", subject, c.Author, c.Committer, want)
		}
	}
	if c := bySubject["Third"]; c.Author.ID != 0 || c.Committer.ID != 0 || c.AuthorEmail != Email("stranger") {
		t.Errorf("a stranger's commit: %+v", c)
	}
}

func coAuthors(t *testing.T, e *env) {
	if !e.Traits.CoAuthors {
		t.Skip("this forge does not name co-authors")
	}
	alice, bob, carol := e.person(t, "alice"), e.person(t, "bob"), e.person(t, "carol")
	trailer := func(key, login string) string { return fmt.Sprintf("%s: %s <%s>\n", key, login, Email(login)) }
	e.Push(t, e.ref, alice, Push{Branch: "x", From: "main", Commits: []Commit{
		{Author: "alice", Message: "Pair\n\n" + trailer("Co-authored-by", "bob") + trailer("co-authored-by", "carol"), Files: map[string]string{"a": "1\n"}},
		{Author: "alice", Message: "Alone", Files: map[string]string{"a": "2\n"}},
		{Author: "bob", Message: "Stranger\n\n" + trailer("Co-authored-by", "stranger"), Files: map[string]string{"a": "3\n"}},
	}})
	p := e.read(t, e.OpenPull(t, e.ref, alice, NewPull{Title: "x", Head: "x", Base: "main"}))
	list := must[[]forge.Commit](t)(e.f.Commits(t.Context(), e.ref, p))
	if len(list) != 3 {
		t.Fatalf("%d commits", len(list))
	}
	if got := list[0].CoAuthors; !sameUsers(got, []forge.User{bob, carol}) {
		t.Errorf("co-authors of a pair: %+v", got)
	}
	if got := list[1].CoAuthors; len(got) != 0 {
		t.Errorf("co-authors of a lone commit: %+v", got)
	}
	if got := list[2].CoAuthors; len(got) != 1 || got[0].ID != 0 {
		t.Errorf("a co-author without account: %+v", got)
	}
}

// Threat 20: forges stop listing a pull's commits somewhere; we do not.
func manyCommits(t *testing.T, e *env) {
	alice, bob := e.person(t, "alice"), e.person(t, "bob")
	var list []Commit
	for i := range 263 {
		list = append(list, Commit{Author: "alice", Message: fmt.Sprintf("Step %d", i), Files: map[string]string{"n": fmt.Sprintln(i)}})
	}
	list[0].Author = "bob" // the oldest is the first to fall off a list
	if e.Traits.CoAuthors {
		list[1].Message += "\n\nCo-authored-by: bob <" + Email("bob") + ">\n"
	}
	e.Push(t, e.ref, alice, Push{Branch: "x", From: "main", Commits: list})
	p := e.read(t, e.OpenPull(t, e.ref, alice, NewPull{Title: "x", Head: "x", Base: "main"}))
	got := must[[]forge.Commit](t)(e.f.Commits(t.Context(), e.ref, p))
	if len(got) != len(list) {
		t.Fatalf("%d commits, want %d", len(got), len(list))
	}
	for i, c := range got {
		if c.Subject != fmt.Sprintf("Step %d", i) || (c.Author == bob) != (i == 0) || c.Author.ID == 0 {
			t.Fatalf("commit %d: %+v", i, c)
		}
	}
	if e.Traits.CoAuthors && !sameUsers(got[1].CoAuthors, []forge.User{bob}) {
		t.Errorf("co-authors: %+v", got[1].CoAuthors)
	}
}

// Who pushed may be none of the authors.
func pushers(t *testing.T, e *env) {
	alice, bob, carol := e.person(t, "alice"), e.person(t, "bob"), e.person(t, "carol")
	n := e.pull(t, alice, "x")
	e.pull(t, carol, "other")
	e.Push(t, e.ref, bob, Push{Branch: "x", Commits: []Commit{{Author: "alice", Message: "As alice", Files: map[string]string{"a": "2\n"}}}})
	pushes, ok, err := e.f.Pushes(t.Context(), e.ref, e.read(t, n))
	if err != nil || ok != e.Traits.Pushers {
		t.Fatalf("ok=%v, error %v", ok, err)
	}
	if got := by(pushes); ok && !sameUsers(got, []forge.User{alice, bob}) {
		t.Errorf("pushers: %v", logins(got))
	}
	if ok && (pushes[0].By != bob || pushes[0].After != e.read(t, n).Head.SHA || pushes[0].Kind != forge.PlainPush) {
		t.Errorf("the newest push: %+v", pushes[0])
	}
}

// by are the people behind pushes, each once.
func by(pushes []forge.BranchPush) []forge.User {
	var out []forge.User
	for _, p := range pushes {
		if !slices.Contains(out, p.By) {
			out = append(out, p.By)
		}
	}
	return out
}

func fork(t *testing.T, e *env) {
	eve := e.Person(t, "eve")
	e.Grant(t, e.ref, eve, forge.Read)
	f := e.Fork(t, e.ref, eve)
	tip := e.Push(t, f, eve, Push{Branch: "x", From: "main", Commits: []Commit{{Author: "eve", Message: "From outside", Files: map[string]string{"a": "1\n"}}}})
	n := e.OpenPull(t, e.ref, eve, NewPull{Title: "x", Head: "x", Base: "main", HeadRepo: f})
	p := e.read(t, n)
	if !p.Fork() || p.Head.RepoID != f.ID || p.Base.RepoID != e.ref.ID || p.Head.SHA != tip || p.Head.Name != "x" {
		t.Errorf("%+v", p)
	}
	list := must[[]forge.Commit](t)(e.f.Commits(t.Context(), e.ref, p))
	if len(list) != 1 || list[0].Author != eve {
		t.Errorf("commits: %+v", list)
	}
	if pushes, ok, err := e.f.Pushes(t.Context(), e.ref, p); err != nil || ok && !sameUsers(by(pushes), []forge.User{eve}) {
		t.Errorf("pushes %v, ok=%v, error %v", pushes, ok, err)
	}
	p.Head.RepoID = 0 // the fork is gone
	if _, ok, err := e.f.Pushes(t.Context(), e.ref, p); ok || err != nil {
		t.Errorf("pushes to a deleted fork: ok=%v, error %v", ok, err)
	}
}

// A fork's branch is its owner's to move; the pull follows.
func forkMoves(t *testing.T, e *env) {
	eve := e.Person(t, "eve")
	e.Grant(t, e.ref, eve, forge.Read)
	f := e.Fork(t, e.ref, eve)
	push := func(p Push) string { t.Helper(); return e.Push(t, f, eve, p) }
	push(Push{Branch: "x", From: "main", Commits: []Commit{{Author: "eve", Message: "One", Files: map[string]string{"a": "1\n"}}}})
	n := e.OpenPull(t, e.ref, eve, NewPull{Title: "x", Head: "x", Base: "main", HeadRepo: f})
	for i, p := range []Push{
		{Branch: "x", Commits: []Commit{{Author: "eve", Message: "Two", Files: map[string]string{"a": "2\n"}}}},
		{Branch: "x", From: "main", Force: true, Commits: []Commit{{Author: "eve", Message: "Anew", Files: map[string]string{"b": "1\n"}}}},
	} {
		tip := push(p)
		got := e.read(t, n)
		list := must[[]forge.Commit](t)(e.f.Commits(t.Context(), e.ref, got))
		if got.Head.SHA != tip || got.Head.RepoID != f.ID || len(list) != 2-i || list[len(list)-1].SHA != tip {
			t.Errorf("after push %d of %s: %+v, commits %+v", i, tip, got.Head, list)
		}
	}
}
