package gitlab

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"lockkeeper/forge"
)

func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339, "2026-05-04T"+s+"Z")
	if err != nil {
		panic(err)
	}
	return t
}

// Threats 16 and 17: an approval counts for the version that was there when it
// was given. Both times are GitLab's own; what is too close to tell counts for
// the older version.
func TestApprovalsBelongToTheVersionOfTheirTime(t *testing.T) {
	three := []version{{shaBase, at("10:00:00.5")}, {shaOld, at("11:00:00")}, {shaHead, at("12:00:00.25")}}
	for name, c := range map[string]struct {
		versions []version
		at       time.Time
		want     string
	}{
		"no version":                       {nil, at("10:00:00"), ""},
		"no time":                          {three, time.Time{}, ""},
		"before the first one":             {three, at("09:00:00"), shaBase},
		"with the first one":               {three, at("10:00:00.5"), shaBase},
		"first one":                        {three, at("10:30:00"), shaBase},
		"a moment before the second":       {three, at("10:59:59.999"), shaBase},
		"with the second":                  {three, at("11:00:00"), shaBase},
		"within the second's first second": {three, at("11:00:00.999"), shaBase},
		"a second after the second":        {three, at("11:00:01"), shaOld},
		"second":                           {three, at("11:30:00"), shaOld},
		"within the third's first second":  {three, at("12:00:01"), shaOld},
		"third":                            {three, at("12:00:01.25"), shaHead},
		"two at once": {[]version{{shaBase, at("10:00:00")}, {shaOld, at("11:00:00")}, {shaHead, at("11:00:00")}},
			at("11:00:00.5"), shaBase},
		"two at once, later": {[]version{{shaBase, at("10:00:00")}, {shaOld, at("11:00:00")}, {shaHead, at("11:00:00")}},
			at("11:00:02"), shaHead},
		"one without a time": {[]version{{shaBase, at("10:00:00")}, {shaHead, time.Time{}}}, at("12:00:00"), shaBase},
		"clock set back":     {[]version{{shaBase, at("10:00:00")}, {shaOld, at("12:00:00")}, {shaHead, at("11:00:00")}}, at("11:30:00"), shaBase},
	} {
		if got := headAt(c.versions, c.at); got != c.want {
			t.Errorf("%s: %.7s, want %.7s", name, got, c.want)
		}
	}
}

const threeVersions = `[{"id":12,"head_commit_sha":"` + shaHead + `","created_at":"2026-05-04T12:00:00.000Z"},
	{"id":11,"head_commit_sha":"` + shaOld + `","created_at":"2026-05-04T11:00:00.000Z"},
	{"id":10,"head_commit_sha":"` + shaBase + `","created_at":"2026-05-04T10:00:00.000Z"}]`

func remark(id, author, body, at string, system bool) string {
	s := "false"
	if system {
		s = "true"
	}
	return `{"id":` + id + `,"body":"` + body + `","author":{"id":` + author + `,"username":"user` + author + `"},"system":` + s + `,"created_at":"2026-05-04T` + at + `Z"}`
}

func reviewed(t *testing.T, approvedBy, reviewers string, remarks ...string) []forge.Review {
	t.Helper()
	f := driver(t, answers{
		"GET /projects/7/merge_requests/3/approvals": ok(`{"approved_by":[` + approvedBy + `]}`),
		"GET /projects/7/merge_requests/3/reviewers": ok(`[` + reviewers + `]`),
		"GET /projects/7/merge_requests/3/versions":  ok(threeVersions),
		"GET /projects/7/merge_requests/3/notes": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("activity_filter") != "only_activity" {
				t.Errorf("asked for all notes: %s", r.URL.RawQuery)
			}
			ok(`[`+strings.Join(remarks, ",")+`]`)(w, r)
		},
	})
	list, err := f.Reviews(t.Context(), shop, 3)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

const approver2, approver3, approver95 = `{"user":{"id":2,"username":"user2"}}`, `{"user":{"id":3,"username":"user3"}}`, `{"user":{"id":95,"username":"user95"}}`

func TestReviewsAreBoundToCommits(t *testing.T) {
	list := reviewed(t, approver2+","+approver3+","+approver95, `{"user":{"id":4,"username":"user4"},"state":"requested_changes"},{"user":{"id":5,"username":"user5"},"state":"reviewed"}`,
		remark("100", "2", "approved this merge request", "10:30:00.000", true),
		remark("101", "2", "unapproved this merge request", "10:40:00.000", true),
		remark("102", "2", "approved this merge request", "11:30:00.000", true),
		remark("103", "3", "approved this merge request", "12:30:00.000", true),
		remark("104", "4", "requested changes", "12:40:00.000", true),
		remark("105", "95", "approved this merge request", "12:50:00.000", true))
	want := []forge.Review{
		{ID: 102, Author: user(2, "user2"), State: forge.Approved, CommitSHA: shaOld, SubmittedAt: at("11:29:50")},
		{ID: 103, Author: user(3, "user3"), State: forge.Approved, CommitSHA: shaHead, SubmittedAt: at("12:29:50")},
		{ID: 104, Author: user(4, "user4"), State: forge.ChangesRequested, CommitSHA: shaHead, SubmittedAt: at("12:40:00")},
		{ID: 105, Author: forge.User{ID: 95, Login: "user95", Type: forge.Bot}, State: forge.Approved, CommitSHA: shaHead, SubmittedAt: at("12:49:50")},
	}
	if len(list) != len(want) {
		t.Fatalf("%+v", list)
	}
	for i, got := range list {
		if !strings.HasSuffix(got.URL, "/git/lab/acme/web/shop/-/merge_requests/3#note_"+[]string{"102", "103", "104", "105"}[i]) {
			t.Errorf("URL %s", got.URL)
		}
		got.URL = ""
		if got != want[i] {
			t.Errorf("review %d: %+v\nwant %+v", i, got, want[i])
		}
	}
}

// Threat 10: whoever writes GitLab's words makes no remark of GitLab's, and so
// cannot move an old approval to a new head.
func TestApprovalWithoutRemarkBelongsToNoCommit(t *testing.T) {
	list := reviewed(t, approver2, "", remark("100", "2", "approved this merge request", "12:30:00.000", false),
		remark("101", "3", "approved this merge request", "12:30:00.000", true),
		remark("102", "2", "requested changes", "12:30:00.000", true))
	if len(list) != 1 || list[0].CommitSHA != "" || !list[0].SubmittedAt.IsZero() {
		t.Errorf("%+v", list)
	}
}

// Threats 16 and 17: GitLab remarks approvals in the background, so that a push
// right after one comes before its remark.
func TestApprovalIsOfTheHeadOfItsTimeThoughItWasRemarkedLater(t *testing.T) {
	told := `{"user":{"id":2,"username":"user2"},"approved_at":"2026-05-04T11:59:58.000Z"}`
	late := remark("100", "2", "approved this merge request", "12:00:05.000", true)
	for name, by := range map[string]string{"told": told, "remarked only": approver2} {
		list := reviewed(t, by, "", late)
		if len(list) != 1 || list[0].CommitSHA != shaOld || !list[0].SubmittedAt.Before(at("12:00:00")) || list[0].ID != 100 {
			t.Errorf("%s: %+v", name, list)
		}
	}
	if list := reviewed(t, told, ""); len(list) != 1 || list[0].CommitSHA != shaOld || list[0].ID != 2 {
		t.Errorf("not remarked yet: %+v", list)
	}
}

// Whoever may edit a pull can take a reviewer off its list, and the reviewer's
// demand for changes goes with that: what they had approved before stays taken
// back.
func TestApprovalBeforeADemandForChangesDoesNotComeBack(t *testing.T) {
	told := `{"user":{"id":2,"username":"user2"},"approved_at":"2026-05-04T12:30:00.000Z"}`
	for name, by := range map[string]string{"told": told, "remarked only": approver2} {
		list := reviewed(t, by, "", remark("100", "2", "approved this merge request", "12:30:01.000", true),
			remark("101", "2", "requested changes", "12:40:00.000", true))
		if len(list) != 1 || list[0].CommitSHA != "" || !list[0].SubmittedAt.IsZero() {
			t.Errorf("%s: %+v", name, list)
		}
		list = reviewed(t, strings.ReplaceAll(by, "12:30", "12:50"), "", remark("101", "2", "requested changes", "12:40:00.000", true),
			remark("102", "2", "approved this merge request", "12:50:01.000", true))
		if len(list) != 1 || list[0].CommitSHA != shaHead {
			t.Errorf("%s, approved again: %+v", name, list)
		}
	}
}

func TestDemandForChangesWithoutRemarkStandsAgainstTheHead(t *testing.T) {
	list := reviewed(t, approver2, `{"user":{"id":2,"username":"user2"},"state":"requested_changes"}`)
	if len(list) != 1 || list[0].State != forge.ChangesRequested || list[0].CommitSHA != shaHead {
		t.Errorf("%+v", list)
	}
}

func TestNobodyReviewed(t *testing.T) {
	if list := reviewed(t, "", `{"user":{"id":5,"username":"user5"},"state":"unreviewed"}`); len(list) != 0 {
		t.Errorf("%+v", list)
	}
}

func TestReviewersThatGitLabPassesOverAreRefused(t *testing.T) {
	member := func(id string) http.HandlerFunc {
		return ok(`{"id":` + id + `,"username":"user` + id + `","state":"active","access_level":20}`)
	}
	asked := ""
	base := answers{
		"GET /projects/7":                            ok(`{"id":7,"path_with_namespace":"acme/web/shop","visibility":"private"}`),
		"GET /projects/7/merge_requests/3":           ok(`{"iid":3,"target_project_id":7,"state":"opened","author":{"id":1,"username":"user1"}}`),
		"GET /projects/7/merge_requests/3/reviewers": ok(`[{"user":{"id":2,"username":"user2"},"state":"unreviewed"},{"user":{"id":4,"username":"user4"},"state":"approved"}]`),
		"GET /projects/7/members/all/3":              member("3"),
		"GET /projects/7/members/all/5":              member("5"),
		"GET /users": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("username") == "USER3" {
				ok(`[{"id":3,"username":"user3"}]`)(w, r)
				return
			}
			ok(`[]`)(w, r)
		},
		"PUT /projects/7/merge_requests/3": func(w http.ResponseWriter, r *http.Request) {
			b := make([]byte, r.ContentLength)
			_, _ = r.Body.Read(b)
			asked = string(b)
			ok(`{"iid":3,"target_project_id":7,"state":"opened","reviewers":[{"id":2},{"id":3},{"id":4}]}`)(w, r)
		},
		"QUERY mergeRequestReviewerRereview": ok(`{"data":{"mergeRequestReviewerRereview":{"errors":[]}}}`),
	}
	f := driver(t, base)
	ask := func(users ...forge.User) error { return f.RequestReview(t.Context(), shop, 3, users, nil) }
	wantCode(t, "the author", ask(user(1, "user1")), forge.Invalid)
	wantCode(t, "a stranger", ask(user(3, "user3"), user(6, "user6")), forge.Invalid)
	wantCode(t, "a team", f.RequestReview(t.Context(), shop, 3, nil, []forge.Team{{Org: "acme", Slug: "ops"}}), forge.Invalid)
	if err := ask(user(2, "user2")); err != nil || asked != "" {
		t.Errorf("somebody who was asked already: %v, %s", err, asked)
	}
	for _, login := range []string{"nobody", "", "a b"} {
		wantCode(t, "an unknown login", ask(user(2, "user2"), forge.User{Login: login}), forge.Invalid)
	}
	if err := ask(forge.User{Login: "USER3"}); err != nil || asked != `{"reviewer_ids":[2,4,3]}` {
		t.Errorf("by login alone: %v, %s", err, asked)
	}
	asked = ""
	if err := ask(user(3, "user3"), user(4, "user4")); err != nil || asked != `{"reviewer_ids":[2,4,3]}` || f.Calls()["POST /api/graphql"] == 0 {
		t.Errorf("one new, one once more: %v, %s, %v", err, asked, f.Calls())
	}
	wantCode(t, "one that GitLab Free does not take", ask(user(5, "user5")), forge.Invalid)
}
