package contract

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"lockkeeper/forge"
)

func requestedReviews(t *testing.T, e *env) {
	alice, bob, carol, eve := e.person(t, "alice"), e.person(t, "bob"), e.person(t, "carol"), e.Person(t, "eve")
	n := e.pull(t, alice, "x")
	ask := func(users []forge.User, teams ...forge.Team) error {
		return e.f.RequestReview(t.Context(), e.ref, n, users, teams)
	}
	if got := e.read(t, n).Requested; len(got.Users)+len(got.Teams) != 0 {
		t.Errorf("at first requested: %+v", got)
	}
	asked, left := []forge.User{bob, carol}, []forge.User{carol}
	if !e.Traits.ManyReviewers {
		asked, left = asked[:1], nil
	}
	ok(t, ask(asked))
	for i := range asked { // a second time changes nothing; policies name people by login
		ok(t, ask([]forge.User{{Login: asked[i].Login}}))
	}
	if got := e.read(t, n).Requested; !sameUsers(got.Users, asked) || len(got.Teams) != 0 {
		t.Errorf("requested: %+v", got)
	}
	e.Review(t, e.ref, n, bob, forge.Approved, "")
	if got := e.read(t, n).Requested; !sameUsers(got.Users, left) {
		t.Errorf("after the review of one: %+v", got)
	}
	wantCode(t, "request to the author", ask([]forge.User{alice}), forge.Invalid)
	wantCode(t, "request to a stranger among others", ask([]forge.User{bob, eve}), forge.Invalid)
	if got := e.read(t, n).Requested; !sameUsers(got.Users, left) {
		t.Errorf("after refused requests: %+v", got)
	}
	if err := ask(nil); err != nil {
		t.Errorf("asking nobody: %v", err)
	}
	if !e.Traits.RequestTeams {
		return
	}
	ops := e.Team(t, e.ref, "ops", "", bob)
	wantCode(t, "request to a team without access", ask(nil, ops), forge.Invalid)
	wantCode(t, "request to another organisation's team", ask(nil, forge.Team{Org: "elsewhere", Slug: ops.Slug}), forge.Invalid)
	e.GrantTeam(t, e.ref, ops)
	if err := ask(nil, ops); err != nil {
		t.Fatal(err)
	}
	if got := e.read(t, n).Requested; !slices.Equal(got.Teams, []forge.Team{ops}) || !sameUsers(got.Users, left) {
		t.Errorf("a team was asked: %+v", got)
	}
}

func issues(t *testing.T, e *env) {
	alice := e.person(t, "alice")
	ctx, me := t.Context(), must[forge.User](t)(e.f.Self(t.Context()))
	e.pull(t, alice, "x")
	e.OpenIssue(t, e.ref, alice, "Hers")
	body := "<!-- marker -->\n" + unicode
	made := must[forge.Issue](t)(e.f.CreateIssue(ctx, e.ref, unicode, body))
	if made.Number == 0 || made.Title != unicode || made.Body != body || made.State != forge.Open || made.Author != me || made.WebURL == "" || made.CreatedAt.IsZero() {
		t.Errorf("created: %+v", made)
	}
	other := must[forge.Issue](t)(e.f.CreateIssue(ctx, e.ref, "Second", "b"))
	list := must[[]forge.Issue](t)(e.f.Issues(ctx, e.ref))
	if len(list) != 2 || list[0].Number != other.Number || list[1].Number != made.Number || list[1].Body != body {
		t.Fatalf("our open issues, newest first: %+v", list)
	}
	text := "new body"
	changed := must[forge.Issue](t)(e.f.UpdateIssue(ctx, e.ref, made.Number, forge.IssueEdit{Body: &text}))
	if changed.Body != text || changed.State != forge.Open || changed.Title != unicode {
		t.Errorf("edited: %+v", changed)
	}
	closed := must[forge.Issue](t)(e.f.UpdateIssue(ctx, e.ref, made.Number, forge.IssueEdit{Close: true}))
	if closed.State != forge.Closed || closed.Body != text {
		t.Errorf("closed: %+v", closed)
	}
	if list = must[[]forge.Issue](t)(e.f.Issues(ctx, e.ref)); len(list) != 1 || list[0].Number != other.Number {
		t.Errorf("after closing one: %+v", list)
	}
	_, err := e.f.UpdateIssue(ctx, e.ref, made.Number+1000, forge.IssueEdit{Close: true})
	wantCode(t, "update of an unknown issue", err, forge.NotFound)
	_, err = e.f.CreateIssue(ctx, e.ref, "x", strings.Repeat("ü", e.f.Limits().Comment+1))
	wantCode(t, "an issue too long", err, forge.Invalid)
}

func issuePages(t *testing.T, e *env) {
	many := e.past(1)
	for i := range many {
		must[forge.Issue](t)(e.f.CreateIssue(t.Context(), e.ref, fmt.Sprint(i), "<!-- marker -->"))
	}
	list := must[[]forge.Issue](t)(e.f.Issues(t.Context(), e.ref))
	if len(list) != many || list[many-1].Title != "0" {
		t.Errorf("%d issues", len(list))
	}
}
