package contract

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"lockkeeper/forge"
)

func comments(t *testing.T, e *env) {
	alice := e.person(t, "alice")
	n := e.pull(t, alice, "x")
	ctx := t.Context()
	hers := e.Comment(t, e.ref, n, alice, "/plan\r\n"+unicode)
	mine := must[forge.Comment](t)(e.f.CreateComment(ctx, e.ref, n, "<!-- marker -->\n"+unicode))
	if mine.ID == 0 || mine.URL == "" || mine.CreatedAt.IsZero() || mine.Edited() {
		t.Errorf("created: %+v", mine)
	}
	list := must[[]forge.Comment](t)(e.f.Comments(ctx, e.ref, n))
	if len(list) != 2 || list[0].ID != hers || list[1].ID != mine.ID {
		t.Fatalf("want hers, then mine: %+v", list)
	}
	if list[0].Author != alice || !strings.Contains(list[0].Body, unicode) || list[0].Edited() || list[1].Body != mine.Body || list[1].Author != mine.Author {
		t.Errorf("listed: %+v", list)
	}

	e.EditComment(t, e.ref, n, hers, alice, "/apply")
	changed := must[forge.Comment](t)(e.f.UpdateComment(ctx, e.ref, n, mine.ID, "new body"))
	if changed.ID != mine.ID || changed.Body != "new body" {
		t.Errorf("updated: %+v", changed)
	}
	list = must[[]forge.Comment](t)(e.f.Comments(ctx, e.ref, n))
	if len(list) != 2 || list[0].Body != "/apply" || !list[0].Edited() || list[1].Body != "new body" {
		t.Errorf("after the edits: %+v", list)
	}

	if err := e.f.DeleteComment(ctx, e.ref, n, mine.ID); err != nil {
		t.Fatal(err)
	}
	if list = must[[]forge.Comment](t)(e.f.Comments(ctx, e.ref, n)); len(list) != 1 || list[0].ID != hers {
		t.Errorf("after the deletion: %+v", list)
	}
	_, err := e.f.UpdateComment(ctx, e.ref, n, mine.ID, "again")
	wantCode(t, "update of a deleted comment", err, forge.NotFound)
	_, err = e.f.CreateComment(ctx, e.ref, n+1000, "hello")
	wantCode(t, "comment on an unknown pull", err, forge.NotFound)
}

func commentPages(t *testing.T, e *env) {
	alice := e.person(t, "alice")
	n := e.pull(t, alice, "x")
	many := e.past(2)
	for i := range many {
		e.Comment(t, e.ref, n, alice, fmt.Sprintf("comment %d", i))
	}
	list := must[[]forge.Comment](t)(e.f.Comments(t.Context(), e.ref, n))
	if len(list) != many {
		t.Fatalf("%d comments, want %d", len(list), many)
	}
	for i, c := range list {
		if c.Body != fmt.Sprintf("comment %d", i) {
			t.Fatalf("comment %d is %q", i, c.Body)
		}
	}
	// Read again, as a cache may now answer, after a change on the last page.
	e.EditComment(t, e.ref, n, list[many-1].ID, alice, "edited")
	if list = must[[]forge.Comment](t)(e.f.Comments(t.Context(), e.ref, n)); len(list) != many || list[many-1].Body != "edited" {
		t.Errorf("%d comments after an edit, the last %q", len(list), list[len(list)-1].Body)
	}
}

func commentLimit(t *testing.T, e *env) {
	n := e.pull(t, e.person(t, "alice"), "x")
	limit := e.f.Limits().Comment
	// Characters, not bytes.
	full := strings.Repeat("ü", limit)
	c := must[forge.Comment](t)(e.f.CreateComment(t.Context(), e.ref, n, full))
	if c.Body != full {
		t.Errorf("%d characters came back as %d", limit, len([]rune(c.Body)))
	}
	_, err := e.f.CreateComment(t.Context(), e.ref, n, full+"x")
	wantCode(t, "one character too many", err, forge.Invalid)
	var fe *forge.Error
	if errors.As(err, &fe) && !fe.Unsent {
		t.Error("a refused comment is not marked as without effect")
	}
}

func reactions(t *testing.T, e *env) {
	alice := e.person(t, "alice")
	n := e.pull(t, alice, "x")
	id := e.Comment(t, e.ref, n, alice, "/plan")
	for _, r := range []forge.Reaction{forge.Eyes, forge.Rocket, forge.Confused, forge.Eyes} {
		if err := e.f.React(t.Context(), e.ref, n, id, r); err != nil {
			t.Fatalf("%s: %v", r, err)
		}
	}
	got := e.Reactions(t, e.ref, n, id)
	for _, r := range []forge.Reaction{forge.Eyes, forge.Rocket, forge.Confused} {
		if got[r] != 1 {
			t.Errorf("%d of %s: %v", got[r], r, got)
		}
	}
	wantCode(t, "reaction to an unknown comment", e.f.React(t.Context(), e.ref, n, id+100000, forge.Eyes), forge.NotFound)
}

func reviews(t *testing.T, e *env) {
	alice, bob, carol := e.person(t, "alice"), e.person(t, "bob"), e.person(t, "carol")
	n := e.pull(t, alice, "x")
	head := e.read(t, n).Head.SHA
	want := []forge.Review{
		{Author: bob, State: forge.Approved, Body: unicode, CommitSHA: head},
		{Author: carol, State: forge.ChangesRequested, Body: "no", CommitSHA: head},
		{Author: carol, State: forge.Commented, Body: "hm", CommitSHA: head},
	}
	if !e.Traits.ReviewNotes {
		want = want[:2]
	}
	for i, r := range want {
		want[i].ID = e.Review(t, e.ref, n, r.Author, r.State, r.Body)
	}
	e.wantReviews(t, n, want)
	// Taken back, a review no longer says what it said.
	e.Dismiss(t, e.ref, n, want[1].ID, carol)
	for _, r := range must[[]forge.Review](t)(e.f.Reviews(t.Context(), e.ref, n)) {
		if r.ID == want[1].ID && r.State != forge.Dismissed || r.State == forge.ChangesRequested {
			t.Errorf("a dismissed review: %+v", r)
		}
	}
}

// wantReviews compares what the driver reads, oldest first.
func (e *env) wantReviews(t *testing.T, number int, want []forge.Review) {
	t.Helper()
	list := must[[]forge.Review](t)(e.f.Reviews(t.Context(), e.ref, number))
	if len(list) != len(want) {
		t.Fatalf("%d reviews, want %d: %+v", len(list), len(want), list)
	}
	var last time.Time
	for i, w := range want {
		got := list[i]
		if got.SubmittedAt.Before(last) || got.SubmittedAt.IsZero() || got.URL == "" {
			t.Errorf("review %d: %+v", i, got)
		}
		last = got.SubmittedAt
		got.SubmittedAt, got.URL, got.Outside = time.Time{}, "", false
		if !e.Traits.ReviewNotes {
			w.Body = ""
		}
		if got != w {
			t.Errorf("review %d is\n%+v, want\n%+v", i, got, w)
		}
	}
}

// Threat 1: an approval is of the head that was there, not of what came later.
func reviewsAtHeads(t *testing.T, e *env) {
	alice, bob, carol := e.person(t, "alice"), e.person(t, "bob"), e.person(t, "carol")
	n := e.pull(t, alice, "x")
	first := e.read(t, n).Head.SHA
	old := e.Review(t, e.ref, n, bob, forge.Approved, "")
	second := e.Push(t, e.ref, alice, Push{Branch: "x", Commits: []Commit{{Author: "alice", Message: "More", Files: map[string]string{"b": "1\n"}}}})
	hers := e.Review(t, e.ref, n, carol, forge.Approved, "")
	third := e.Push(t, e.ref, alice, Push{Branch: "x", From: "main", Force: true, Commits: []Commit{{Author: "alice", Message: "Anew", Files: map[string]string{"c": "1\n"}}}})
	if got := e.read(t, n).Head.SHA; got != third {
		t.Fatalf("the head is %s, want %s", got, third)
	}
	want := []forge.Review{{ID: old, Author: bob, State: forge.Approved, CommitSHA: first}, {ID: hers, Author: carol, State: forge.Approved, CommitSHA: second}}
	e.wantReviews(t, n, want)
}

func reviewPages(t *testing.T, e *env) {
	bob := e.person(t, "bob")
	n := e.pull(t, e.person(t, "alice"), "x")
	want := e.past(1)
	if e.Traits.ReviewNotes {
		for i := range want - 1 {
			e.Review(t, e.ref, n, bob, forge.Commented, fmt.Sprint(i))
		}
	} else {
		want = 1
		for range 51 { // each leaves two remarks
			e.Dismiss(t, e.ref, n, e.Review(t, e.ref, n, bob, forge.Approved, ""), bob)
		}
	}
	e.Review(t, e.ref, n, bob, forge.Approved, "finally")
	list := must[[]forge.Review](t)(e.f.Reviews(t.Context(), e.ref, n))
	if len(list) != want || list[want-1].State != forge.Approved {
		t.Errorf("%d reviews", len(list))
	}
}
