package gitlab

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"lockkeeper/forge"
)

const transition = `{"message":"Cannot transition status via :enqueue from :pending (Reason(s): Status cannot transition via \"enqueue\")"}`

// GitLab lets no status begin to wait that waits already.
func TestACheckThatWaitsGoesOnWaiting(t *testing.T) {
	var states []string
	status := "" // what stands
	f := driver(t, answers{
		"POST /projects/7/statuses/" + shaHead: func(w http.ResponseWriter, r *http.Request) {
			got := sent(r)
			state := got["state"].(string)
			states = append(states, state)
			if n := len([]rune(got["description"].(string))); n > 255 || got["name"] != "lockkeeper" {
				t.Errorf("%d characters, %v", n, got)
			}
			if _, has := got["target_url"]; has {
				t.Error("a link is given that GitLab does not take")
			}
			if status == "running" && state != "success" && state != "failed" || status == "pending" && state == "pending" {
				say(400, transition)(w, r)
				return
			}
			status = state
			say(201, fmt.Sprintf(`{"id":%d,"status":%q}`, len(states), state))(w, r)
		},
		"GET /projects/7/repository/commits/" + shaHead + "/statuses": ok(`[{"id":31,"name":"lockkeeper","author":{"id":5},"status":"pending"},{"id":30,"name":"lockkeeper","author":{"id":99},"status":"running"}]`),
	})
	set := func(s forge.CheckState) int64 {
		t.Helper()
		id, err := f.SetCheck(t.Context(), shop, forge.Check{Name: "lockkeeper", SHA: shaHead, State: s, Title: strings.Repeat("ü", 300), DetailsURL: "https://example.com/" + strings.Repeat("x", 300)})
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	ids := []int64{set(forge.Pending), set(forge.Pending), set(forge.Pending), set(forge.ActionRequired), set(forge.Pending), set(forge.Success), set(forge.Failure)}
	if want := []int64{1, 3, 30, 6, 7, 8, 9}; !slices.Equal(ids, want) {
		t.Errorf("statuses %v, want %v", ids, want)
	}
	if want := "pending pending running pending running failed pending success failed"; strings.Join(states, " ") != want {
		t.Errorf("written: %v, want %s", states, want)
	}
}

func TestOtherRefusalsOfAStatusAreErrors(t *testing.T) {
	path := "POST /projects/7/statuses/" + shaHead
	check := forge.Check{Name: "lockkeeper", SHA: shaHead, State: forge.Pending, Title: "x"}
	f := driver(t, answers{path: say(400, `{"message":{"name":["is too long"]}}`)})
	_, err := f.SetCheck(t.Context(), shop, check)
	wantCode(t, "bad name", err, forge.Invalid)
	f = driver(t, answers{path: say(400, transition), "GET /projects/7/repository/commits/" + shaHead + "/statuses": ok(`[{"id":31,"name":"lockkeeper","author":{"id":5}}]`)})
	_, err = f.SetCheck(t.Context(), shop, check)
	wantCode(t, "neither taken nor shown", err, forge.Conflict)
	check.SHA = "main"
	_, err = f.SetCheck(t.Context(), shop, check)
	wantCode(t, "a branch's name", err, forge.Invalid)
}

// The commits of forks are in no branch of the project.
func TestAForksCommitGetsItsStatusAtThePull(t *testing.T) {
	var refs []any
	found := `[` + strings.Replace(mr("opened", "mergeable", ""), `"source_project_id":7`, `"source_project_id":9`, 1) + `]`
	a := answers{
		"POST /projects/7/statuses/" + shaHead: func(w http.ResponseWriter, r *http.Request) {
			ref := sent(r)["ref"]
			refs = append(refs, ref)
			if ref == nil {
				say(404, `{"message":"404 References for commit Not Found"}`)(w, r)
				return
			}
			say(201, `{"id":5}`)(w, r)
		},
		"GET /projects/7/repository/commits/" + shaHead + "/merge_requests": func(w http.ResponseWriter, r *http.Request) { ok(found)(w, r) },
		"GET /projects/7/repository/branches/main":                          ok(mainAtBase),
	}
	f := driver(t, a)
	check := forge.Check{Name: "lockkeeper", SHA: shaHead, State: forge.Success, Title: "x"}
	if id, err := f.SetCheck(t.Context(), shop, check); err != nil || id != 5 || len(refs) != 2 || refs[1] != "refs/merge-requests/3/head" {
		t.Errorf("%d, %v, %v", id, err, refs)
	}
	found = `[]`
	_, err := f.SetCheck(t.Context(), shop, check)
	wantCode(t, "a commit of no pull", err, forge.NotFound)
}

// Threat 25: of each name and writer the newest counts, and no word that is not
// known is a success.
func TestResultsOfACommit(t *testing.T) {
	status := func(id int, name, state string, by int, more string) string {
		return fmt.Sprintf(`{"id":%d,"name":%q,"status":%q,"author":{"id":%d,"username":"user%d"}%s}`, id, name, state, by, by, more)
	}
	list := []string{
		status(10, "build", "failed", 2, ""), status(14, "build", "success", 2, `,"target_url":"https://ci/14"`), status(12, "build", "failed", 95, ""),
		status(11, "a", "running", 2, ""), status(15, "b", "created", 2, ""), status(16, "c", "manual", 2, ""), status(17, "d", "manual", 2, `,"allow_failure":true`),
		status(18, "e", "skipped", 2, ""), status(19, "f", "canceled", 2, ""), status(20, "g", "failed", 2, `,"allow_failure":true`), status(21, "h", "splendid", 2, ""),
	}
	f := driver(t, answers{"GET /projects/7/repository/commits/" + shaHead + "/statuses": ok(`[` + strings.Join(list, ",") + `]`)})
	got, err := f.Checks(t.Context(), shop, shaHead)
	if err != nil || len(got) != 10 {
		t.Fatalf("%+v, %v", got, err)
	}
	if got[0] != (forge.CheckResult{Name: "build", State: forge.Success, By: user(2, "user2"), URL: "https://ci/14"}) || got[1].By.Type != forge.Bot || got[1].State != forge.Failure {
		t.Errorf("builds: %+v", got[:2])
	}
	want := map[string]forge.CheckState{"a": forge.Pending, "b": forge.Pending, "c": forge.Pending, "d": forge.Skipped, "e": forge.Skipped, "f": forge.Failure, "g": forge.Failure, "h": forge.Failure}
	for _, r := range got[2:] {
		if r.State != want[r.Name] {
			t.Errorf("%s: %s, want %s", r.Name, r.State, want[r.Name])
		}
	}
}
