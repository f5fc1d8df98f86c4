package github

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"lockkeeper/forge"
)

const (
	resultsURL  = "GET /repos/acme/shop/commits/" + shaHead + "/check-runs"
	statusesURL = "GET /repos/acme/shop/commits/" + shaHead + "/statuses"
)

// Threat 25: only what certainly succeeded is a success.
func TestOnlySuccessIsSuccess(t *testing.T) {
	for words, want := range map[string]forge.CheckState{
		`"completed","conclusion":"success"`:         forge.Success,
		`"completed","conclusion":"neutral"`:         forge.Neutral,
		`"completed","conclusion":"skipped"`:         forge.Skipped,
		`"completed","conclusion":"action_required"`: forge.ActionRequired,
		`"completed","conclusion":"failure"`:         forge.Failure,
		`"completed","conclusion":"cancelled"`:       forge.Failure,
		`"completed","conclusion":"timed_out"`:       forge.Failure,
		`"completed","conclusion":"stale"`:           forge.Failure,
		`"completed","conclusion":"startup_failure"`: forge.Failure,
		`"completed","conclusion":"splendid"`:        forge.Failure,
		`"completed","conclusion":"pending"`:         forge.Failure,
		`"completed","conclusion":null`:              forge.Failure,
		`"queued","conclusion":"success"`:            forge.Pending, // left over from a run before
		`"waiting","conclusion":null`:                forge.Pending,
	} {
		f := withToken(t, answers{
			resultsURL:  say(200, `{"total_count":1,"check_runs":[{"name":"ci","status":`+words+`,"app":{"id":9,"slug":"ci-app"}}]}`),
			statusesURL: say(200, `[]`),
		})
		list, err := f.Checks(t.Context(), shop, shaHead)
		if err != nil || len(list) != 1 || list[0].State != want || list[0].AppID != 9 || list[0].AppSlug != "ci-app" {
			t.Errorf("%s: %+v, %v; want %s", words, list, err, want)
		}
	}
	for state, want := range map[string]forge.CheckState{
		"success": forge.Success, "pending": forge.Pending, "failure": forge.Failure, "error": forge.Failure, "neutral": forge.Failure, "": forge.Failure,
	} {
		f := withToken(t, answers{
			resultsURL:  say(200, `{"total_count":0,"check_runs":[]}`),
			statusesURL: say(200, fmt.Sprintf(`[{"context":"ci","state":%q,"creator":{"id":5,"login":"jenkins","type":"User"}}]`, state)),
		})
		list, err := f.Checks(t.Context(), shop, shaHead)
		if err != nil || len(list) != 1 || list[0].State != want || list[0].AppID != 0 || list[0].By.ID != 5 {
			t.Errorf("status %q: %+v, %v; want %s", state, list, err, want)
		}
	}
}

func TestStatusesOfAppsNameTheApp(t *testing.T) {
	entry := func(context, state, login string, id int) string {
		return fmt.Sprintf(`{"context":%q,"state":%q,"creator":{"id":%d,"login":%q,"type":"Bot"}}`, context, state, id, login)
	}
	f := withToken(t, answers{
		resultsURL: say(200, `{"total_count":0,"check_runs":[]}`),
		statusesURL: say(200, "["+strings.Join([]string{
			entry("ci", "success", "forger[bot]", 8), // newest first
			entry("ci", "failure", "ci[bot]", 9), entry("ci", "success", "ci[bot]", 9),
			entry("lint", "success", "ci[bot]", 9), entry("x", "success", "../apps[bot]", 10),
		}, ",")+"]"),
		"GET /apps/ci": say(200, `{"id":77,"slug":"ci"}`), // forger is private: 404
	})
	list, err := f.Checks(t.Context(), shop, shaHead)
	if err != nil || len(list) != 4 {
		t.Fatalf("%+v, %v", list, err)
	}
	for i, want := range []forge.CheckResult{
		{Name: "ci", State: forge.Success, AppSlug: "forger", By: forge.User{ID: 8, Login: "forger[bot]", Type: forge.Bot}},
		{Name: "ci", State: forge.Failure, AppID: 77, AppSlug: "ci", By: forge.User{ID: 9, Login: "ci[bot]", Type: forge.Bot}},
		{Name: "lint", State: forge.Success, AppID: 77, AppSlug: "ci", By: forge.User{ID: 9, Login: "ci[bot]", Type: forge.Bot}},
		{Name: "x", State: forge.Success, AppSlug: "../apps", By: forge.User{ID: 10, Login: "../apps[bot]", Type: forge.Bot}},
	} {
		if list[i] != want {
			t.Errorf("%d is %+v, want %+v", i, list[i], want)
		}
	}
	if n := f.Calls()["GET /apps/{name}"]; n != 2 {
		t.Errorf("%d calls for two Apps", n)
	}
}

// Threat 20: a list that GitHub cut is an error, not a list.
func TestCheckRunsThatAreNotListedAreAnError(t *testing.T) {
	f := withToken(t, answers{resultsURL: say(200, `{"total_count":2,"check_runs":[{"name":"ci","status":"completed","conclusion":"success"}]}`), statusesURL: say(200, `[]`)})
	if _, err := f.Checks(t.Context(), shop, shaHead); forge.CodeOf(err) != forge.Unavailable {
		t.Error(err)
	}
	f = withToken(t, answers{
		resultsURL:     say(200, `{"total_count":0,"check_runs":[]}`),
		statusesURL:    say(200, `[{"context":"ci","state":"success","creator":{"id":9,"login":"ci[bot]","type":"Bot"}}]`),
		"GET /apps/ci": say(500, `{}`),
	})
	if _, err := f.Checks(t.Context(), shop, shaHead); forge.CodeOf(err) != forge.Unavailable {
		t.Errorf("an App that could not be asked for: %v", err)
	}
}

func TestOnlyAnOrganisationHasOutsiders(t *testing.T) {
	const url = "GET /repos/acme/shop/issues/3/comments"
	said := func(association string) string { return `[{"id":1,"author_association":"` + association + `"}]` }
	for _, c := range []struct {
		owner, association string
		want               bool
	}{
		{"Organization", "COLLABORATOR", true}, {"Organization", "MEMBER", false}, {"Organization", "OWNER", false},
		{"Organization", "CONTRIBUTOR", false}, {"Organization", "NONE", false}, {"User", "COLLABORATOR", false}, {"User", "OWNER", false},
	} {
		f := withToken(t, answers{
			url:                    say(200, said(c.association)),
			"GET /repos/acme/shop": say(200, `{"id":7,"name":"shop","owner":{"login":"acme","id":1,"type":"`+c.owner+`"}}`),
		})
		for range 2 {
			list, err := f.Comments(t.Context(), shop, 3)
			if err != nil || len(list) != 1 || list[0].Outside != c.want {
				t.Errorf("%s in a repository of a %s: %+v, %v", c.association, c.owner, list, err)
			}
		}
		if n := calls(f); n > 3 {
			t.Errorf("%s: %d calls; whose repository it is was asked for twice", c.association, n)
		}
	}
	// Not knowing whose repository it is is an error, not a member.
	f := withToken(t, answers{url: say(200, said("COLLABORATOR")), "GET /repos/acme/shop": say(500, `{}`)})
	if _, err := f.Comments(t.Context(), shop, 3); forge.CodeOf(err) != forge.Unavailable {
		t.Error(err)
	}
}

func TestPushesToABranchEndAtTheMomentAskedFor(t *testing.T) {
	entry := func(kind, before, after, at string) string {
		return fmt.Sprintf(`{"activity_type":%q,"before":%q,"after":%q,"timestamp":%q,"actor":null}`, kind, before, after, at)
	}
	list := "[" + strings.Join([]string{
		entry("branch_deletion", shaHead, strings.Repeat("0", 40), "2026-03-03T10:00:00Z"),
		entry("some_new_kind", shaBase, shaHead, "2026-03-02T10:00:00Z"),
		entry("push", shaHead, shaBase, "2026-03-01T10:00:00Z"),
	}, ",") + "]"
	f := withToken(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A next page that nobody may ask for.
		w.Header().Set("Link", `<http://`+r.Host+r.URL.Path+`?after=more>; rel="next"`)
		if r.URL.Query().Get("after") != "" {
			say(500, `{}`)(w, r)
			return
		}
		say(200, list)(w, r)
	}))
	got, ok, err := f.BranchPushes(t.Context(), shop, "main", time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC))
	if err != nil || !ok || len(got) != 2 {
		t.Fatalf("%+v, %v, %v", got, ok, err)
	}
	if got[0].After != "" || got[0].Before != shaHead || got[0].By.ID != 0 || got[1].Kind != "some_new_kind" {
		t.Errorf("%+v", got)
	}
	for status, want := range map[int]forge.Code{403: "", 404: "", 401: forge.Unauthorized, 500: forge.Unavailable} {
		f := withToken(t, answers{"GET /repos/acme/shop/activity": say(status, `{}`)})
		if _, ok, err := f.BranchPushes(t.Context(), shop, "main", time.Time{}); ok || forge.CodeOf(err) != want {
			t.Errorf("%d: ok=%v, %v", status, ok, err)
		}
	}
}

// Threat 26: the login filters, the number decides.
func TestIssuesOfAnAccountThatHadOurLoginAreNotOurs(t *testing.T) {
	issue := func(number, user int, more string) string {
		return fmt.Sprintf(`{"number":%d,"state":"open","user":{"id":%d,"login":"robot","type":"User"}%s}`, number, user, more)
	}
	f := withToken(t, answers{
		"GET /user": say(200, `{"id":5,"login":"robot","type":"User"}`),
		"GET /repos/acme/shop/issues": func(w http.ResponseWriter, r *http.Request) {
			if q := r.URL.Query(); q.Get("creator") != "robot" || q.Get("state") != "open" {
				t.Errorf("asked for %v", q)
			}
			say(200, "["+issue(4, 5, "")+","+issue(3, 6, "")+","+issue(2, 5, `,"pull_request":{"url":"x"}`)+"]")(w, r)
		},
	})
	list, err := f.Issues(t.Context(), shop)
	if err != nil || len(list) != 1 || list[0].Number != 4 {
		t.Errorf("%+v, %v", list, err)
	}
}
