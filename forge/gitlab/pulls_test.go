package gitlab

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"lockkeeper/forge"
)

// mr is a merge request as REST shows it.
func mr(state, word, more string) string {
	return `{"iid":3,"target_project_id":7,"source_project_id":7,"source_branch":"x","target_branch":"main","state":"` + state + `","sha":"` + shaHead + `",
		"title":"Add x","description":"why","detailed_merge_status":"` + word + `","author":{"id":2,"username":"user2"},
		"diff_refs":{"base_sha":"` + shaBase + `","start_sha":"` + shaOld + `","head_sha":"` + shaHead + `"}` + more + `}`
}

const mainAtBase = `{"name":"main","commit":{"id":"` + shaBase + `"}}`

func read(t *testing.T, body string) forge.Pull {
	t.Helper()
	f := driver(t, answers{"GET /projects/7/merge_requests/3": ok(body), "GET /projects/7/repository/branches/main": ok(mainAtBase),
		"GET /projects/7/merge_requests/3/reviewers": ok(`[{"user":{"id":4,"username":"user4"},"state":"unreviewed"},{"user":{"id":5,"username":"user5"},"state":"approved"},{"user":{"id":6,"username":"user6"},"state":"review_started"}]`)})
	p, err := f.Pull(t.Context(), shop, 3)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestGitLabsWordsForWhetherItCanBeMerged(t *testing.T) {
	for word, want := range map[string]string{
		"mergeable": "yes", "not_approved": "yes", "ci_must_pass": "yes", "ci_still_running": "yes", "discussions_not_resolved": "yes", "draft_status": "yes",
		"requested_changes": "yes", "need_rebase": "yes", "status_checks_must_pass": "yes", "a_word_to_come": "yes",
		"conflict": "no", "broken_status": "no", "commits_status": "no",
		"checking": "unknown", "unchecked": "unknown", "preparing": "unknown", "approvals_syncing": "unknown", "": "unknown",
	} {
		p := read(t, mr("opened", word, ""))
		got := "unknown"
		if p.Mergeable != nil {
			got = map[bool]string{true: "yes", false: "no"}[*p.Mergeable]
		}
		if got != want || p.MergeState != word {
			t.Errorf("%q: %s, want %s", word, got, want)
		}
	}
	if p := read(t, mr("opened", "not_approved", `,"has_conflicts":true`)); p.Mergeable == nil || *p.Mergeable {
		t.Error("conflicts hide behind another word")
	}
	if p := read(t, mr("locked", "mergeable", "")); p.Mergeable != nil || p.State != forge.Open {
		t.Error("a pull that is being merged can be merged")
	}
}

func TestWhatAPullIs(t *testing.T) {
	p := read(t, mr("opened", "mergeable", `,"reviewers":[{"id":4},{"id":5},{"id":6}],"web_url":"https://x/-/merge_requests/3","updated_at":"2026-05-04T10:00:00Z"`))
	if p.Number != 3 || p.Base != (forge.Branch{Name: "main", SHA: shaBase, RepoID: 7}) || p.Head != (forge.Branch{Name: "x", SHA: shaHead, RepoID: 7}) ||
		p.Author != user(2, "user2") || p.Fork() || p.Body != "why" || p.UpdatedAt != at("10:00:00") {
		t.Errorf("%+v", p)
	}
	if r := p.Requested.Users; len(r) != 2 || r[0] != user(4, "user4") || r[1] != user(6, "user6") {
		t.Errorf("requested: %+v", r)
	}
	if p = read(t, strings.Replace(mr("opened", "mergeable", ""), `"source_project_id":7`, `"source_project_id":null`, 1)); !p.Fork() || p.Head.RepoID != 0 {
		t.Errorf("the fork is gone: %+v", p)
	}
	closed := read(t, mr("closed", "not_open", `,"closed_by":{"id":8,"username":"user8"},"merge_user":{"id":9,"username":"user9"},"merge_commit_sha":"`+shaOld+`"`))
	if closed.State != forge.Closed || closed.Merged || closed.ClosedBy != user(8, "user8") || closed.MergedBy.ID != 0 || closed.MergeSHA != "" || closed.Base.SHA != shaOld {
		t.Errorf("closed: %+v", closed)
	}
	if p = read(t, mr("opened", "mergeable", `,"closed_by":{"id":8,"username":"user8"},"merge_user":{"id":9,"username":"user9"}`)); p.ClosedBy.ID != 0 || p.MergedBy.ID != 0 {
		t.Errorf("open, and to be merged by itself: %+v", p)
	}
}

func TestWhichCommitAMergeMade(t *testing.T) {
	for fields, want := range map[string]string{
		`"merge_commit_sha":"` + shaOld + `","squash_commit_sha":"` + shaBase + `"`: shaOld,
		`"merge_commit_sha":null,"squash_commit_sha":"` + shaBase + `"`:             shaBase,
		`"merge_commit_sha":null,"squash_commit_sha":null`:                          shaHead, // fast-forward
	} {
		p := read(t, mr("merged", "not_open", `,"merge_user":{"id":9,"username":"user9"},`+fields))
		if !p.Merged || p.MergeSHA != want || p.MergedBy != user(9, "user9") || p.Base.SHA != shaOld {
			t.Errorf("%s: %+v", fields, p)
		}
	}
}

func TestDraftTitlesAreShownWithoutTheirMark(t *testing.T) {
	for title, want := range map[string]string{
		"Draft: Add x": "Add x", "draft:Add x": "Add x", "[Draft] Add x": "Add x", "(DRAFT) Add x": "Add x", "Draft: Draft: Add x": "Add x",
		"Draft:": "", "Add Draft: x": "Add Draft: x",
	} {
		if got := bare(title); got != want {
			t.Errorf("%q: %q", title, got)
		}
	}
	if p := read(t, strings.Replace(mr("opened", "mergeable", `,"draft":false`), "Add x", "Drafty: x", 1)); p.Title != "Drafty: x" {
		t.Errorf("no draft: %q", p.Title)
	}
}

// A project's listing may hold what other projects' merge requests are.
func TestPullsOfForksAndOtherProjectsAreNotOurs(t *testing.T) {
	other := strings.Replace(mr("opened", "mergeable", ""), `"target_project_id":7`, `"target_project_id":8`, 1)
	fork := strings.Replace(strings.Replace(mr("opened", "mergeable", ""), `"source_project_id":7`, `"source_project_id":9`, 1), `"iid":3`, `"iid":4`, 1)
	f := driver(t, answers{
		"GET /projects/7/merge_requests":           ok(`[` + mr("opened", "mergeable", "") + `,` + other + `,` + fork + `,` + mr("opened", "mergeable", "") + `]`),
		"GET /projects/7/repository/branches/main": ok(mainAtBase),
	})
	list, err := f.PullsOf(t.Context(), shop, "x")
	if err != nil || len(list) != 1 || list[0].Number != 3 {
		t.Errorf("%+v, %v", list, err)
	}
	if list, err = f.OpenPulls(t.Context(), shop); err != nil || len(list) != 2 || list[1].Head.RepoID != 9 || list[1].Base.SHA != shaBase {
		t.Errorf("%+v, %v", list, err)
	}
	if n := f.Calls()["GET /projects/{name}/repository/branches/{name}"]; n != 2 {
		t.Errorf("the base was read %d times for two lists", n)
	}
}

// sent decodes what was written.
func sent(r *http.Request) map[string]any {
	b, _ := io.ReadAll(r.Body)
	out := map[string]any{}
	_ = json.Unmarshal(b, &out)
	return out
}

func TestADraftStaysOneUnderANewTitle(t *testing.T) {
	var got map[string]any
	a := answers{
		"GET /projects/7/merge_requests/3":         ok(mr("opened", "draft_status", `,"draft":true`)),
		"GET /projects/7/repository/branches/main": ok(mainAtBase),
		"PUT /projects/7/merge_requests/3": func(w http.ResponseWriter, r *http.Request) {
			got = sent(r)
			ok(mr("opened", "draft_status", `,"draft":true`))(w, r)
		},
	}
	f := driver(t, a)
	title, body := "Better", "/merge\nnot"
	if _, err := f.UpdatePull(t.Context(), shop, 3, forge.PullEdit{Title: &title, Body: &body}); err != nil || got["title"] != "Draft: Better" || got["description"] != "\\/merge\nnot" || len(got) != 2 {
		t.Errorf("%v, %v", got, err)
	}
	got = nil
	closed, open := forge.Closed, forge.Open
	if _, err := f.UpdatePull(t.Context(), shop, 3, forge.PullEdit{State: &open}); err != nil || got != nil {
		t.Errorf("open already: %v, %v", got, err)
	}
	if _, err := f.UpdatePull(t.Context(), shop, 3, forge.PullEdit{State: &closed}); err != nil || got["state_event"] != "close" {
		t.Errorf("close: %v, %v", got, err)
	}
	for _, state := range []string{"merged", "closed"} { // of the latter the branch is gone
		a["GET /projects/7/merge_requests/3"] = ok(mr(state, "not_open", ""))
		_, err := f.UpdatePull(t.Context(), shop, 3, forge.PullEdit{State: &open})
		wantCode(t, "reopening what is "+state, err, forge.Invalid)
	}
}

func TestAPullThatChangesNothingIsRefused(t *testing.T) {
	wrote := false
	a := answers{
		"GET /projects/7":                          ok(`{"id":7,"path_with_namespace":"acme/shop"}`),
		"GET /projects/7/repository/branches/main": ok(mainAtBase),
		"GET /projects/7/repository/branches/x":    ok(`{"name":"x","commit":{"id":"` + shaHead + `"}}`),
		"GET /projects/7/repository/commits":       ok(`[]`),
		"POST /projects/7/merge_requests": func(w http.ResponseWriter, r *http.Request) {
			wrote = true
			if got := sent(r); got["title"] != "Draft: X" || got["source_branch"] != "x" || got["target_branch"] != "main" {
				t.Errorf("%v", got)
			}
			say(201, mr("opened", "checking", ""))(w, r)
		},
	}
	f := driver(t, a)
	open := func(title, head, base, body string) error {
		_, err := f.CreatePull(t.Context(), shop, forge.NewPull{Title: title, Head: head, Base: base, Body: body, Draft: true})
		return err
	}
	wantCode(t, "nothing new", open("X", "x", "main", ""), forge.Invalid)
	a["GET /projects/7/repository/commits"] = ok(`[{"id":"` + shaHead + `"}]`)
	wantCode(t, "no head", open("X", "y", "main", ""), forge.Invalid)
	wantCode(t, "no base", open("X", "x", "gone", ""), forge.Invalid)
	wantCode(t, "no title", open(" ", "x", "main", ""), forge.Invalid)
	wantCode(t, "too long", open("X", "x", "main", strings.Repeat("ü", 1_000_001)), forge.Invalid)
	if wrote {
		t.Error("written all the same")
	}
	if err := open("X", "x", "main", ""); err != nil || !wrote {
		t.Error(err)
	}
	a["POST /projects/7/merge_requests"] = say(409, `{"message":["Another open merge request already exists for this source branch: !5"]}`)
	if err := open("X", "x", "main", ""); forge.CodeOf(err) != forge.Conflict || !strings.Contains(err.Error(), "!5") {
		t.Errorf("a second one: %v", err)
	}
}

// Pages go on by key where GitLab offers that, and by number elsewhere; a page
// may be shorter than the others, or empty.
func TestListsAreReadToTheirEnd(t *testing.T) {
	byKey := func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("cursor") {
		case "":
			w.Header().Set("Link", fmt.Sprintf(`<http://%s%s?cursor=b&per_page=100>; rel="next", <http://%s%s>; rel="first"`, r.Host, r.URL.Path, r.Host, r.URL.Path))
			ok(`[{"id":1,"username":"user1","state":"active","access_level":30}]`)(w, r)
		case "b":
			w.Header().Set("Link", fmt.Sprintf(`<http://%s%s?cursor=c&per_page=100>; rel="next"`, r.Host, r.URL.Path))
			ok(`[]`)(w, r)
		default:
			ok(`[{"id":2,"username":"user2","state":"active","access_level":30}]`)(w, r)
		}
	}
	byNumber := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("page") == "1" {
			w.Header().Set("X-Next-Page", "2")
			ok(`[]`)(w, r)
			return
		}
		w.Header().Set("X-Next-Page", "")
		ok(`[{"id":21}]`)(w, r)
	}
	f := driver(t, answers{"GET /groups/acme/ops": ok(`{"id":20}`), "GET /groups/20/members": byKey, "GET /groups/21/members": byKey, "GET /groups/20/descendant_groups": byNumber})
	got, err := f.TeamMembers(t.Context(), shop, forge.Team{Org: "acme", Slug: "ops"})
	if err != nil || len(got) != 2 || f.Calls()["GET /groups/{name}/members"] != 6 {
		t.Errorf("%+v, %v, %v", got, err, f.Calls())
	}
	circles := driver(t, answers{"GET /projects/7/issues": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Next-Page", "2")
		ok(`[]`)(w, r)
	}})
	_, err = circles.Issues(t.Context(), shop)
	wantCode(t, "pages in circles", err, forge.Unavailable)
}
