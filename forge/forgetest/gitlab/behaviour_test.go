package gitlab_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"lockkeeper/forge"
	server "lockkeeper/forge/forgetest/gitlab"
	"lockkeeper/forge/people"
)

// expect sends a request and checks the status and that the answer says something.
func (w *world) expect(status int, says, login, method, path string, in any) any {
	w.t.Helper()
	got, _, answer := w.ask(login, method, path, in)
	if got != status || !strings.Contains(fmt.Sprint(answer), says) {
		w.t.Errorf("%s %s %s: HTTP %d %v, want %d and %q", login, method, path, got, answer, status, says)
	}
	return answer
}

func (w *world) pull(n int) people.Pull {
	w.t.Helper()
	p, err := w.As("carol").Pull(w.ctx, shop, n)
	w.must(err)
	return p
}

// Threat 35: what starts with a slash and one of GitLab's words is executed, with
// the rights of whoever wrote it, in notes, edits and descriptions.
func TestQuickActionsAreExecutedAndLeaveTheText(t *testing.T) {
	w := newWorld(t, server.Options{})
	n := w.open("ann", "x")
	mr := server.MRPath(shop, n)
	answer := w.expect(http.StatusAccepted, "Closed this merge request.", "bob", "POST", mr+"/notes", obj{"body": "/close"})
	if answer.(map[string]any)["id"] != nil || w.pull(n).State != forge.Closed {
		t.Errorf("a note of quick actions only: %v, the merge request is %s", answer, w.pull(n).State)
	}
	made := w.expect(http.StatusCreated, "", "lockkeeper", "POST", mr+"/notes", obj{"body": "Done.\n/reopen\n\n/plan prod\n  /close\n```\n/close\n```\nbye"}).(map[string]any)
	if want := "Done.\n\n/plan prod\n  /close\n```\n/close\n```\nbye"; made["body"] != want || w.pull(n).State != forge.Open {
		t.Errorf("the text that is left: %q, want %q; %s", made["body"], want, w.pull(n).State)
	}
	edited := w.expect(http.StatusOK, "", "lockkeeper", "PUT", fmt.Sprintf("%s/notes/%.0f", mr, made["id"]), obj{"body": "x\n/title Mine now"}).(map[string]any)
	if edited["body"] != "x" || w.pull(n).Title != "Mine now" {
		t.Errorf("edited to %q, titled %q", edited["body"], w.pull(n).Title)
	}
	w.expect(http.StatusOK, "", "ann", "PUT", mr, obj{"description": "why\n/close"})
	if p := w.pull(n); p.State != forge.Closed || p.Body != "why" {
		t.Errorf("a description: %+v", p)
	}
	w.expect(http.StatusCreated, "", "ann", "POST", server.ProjectPath(shop)+"/issues", obj{"title": "x", "description": "/close\nbug"})
	if list, err := w.As("ann").Issues(w.ctx, shop); err != nil || list[0].State != forge.Closed || list[0].Body != "bug" {
		t.Errorf("an issue: %+v, %v", list, err)
	}
	w.Server.Grant(shop, "eve", 20)
	w.expect(http.StatusBadRequest, "Commands did not apply", "eve", "POST", mr+"/notes", obj{"body": "/reopen"})
}

// A merge by quick action needs the commit that it was meant for.
func TestMergeByQuickActionNeedsItsCommit(t *testing.T) {
	w := newWorld(t, server.Options{})
	n := w.open("ann", "x")
	notes := server.MRPath(shop, n) + "/notes"
	w.expect(http.StatusAccepted, "", "bob", "POST", notes, obj{"body": "/merge"})
	if w.pull(n).Merged {
		t.Fatal("merged without its commit")
	}
	w.expect(http.StatusAccepted, "", "bob", "POST", notes, obj{"body": "/merge", "merge_request_diff_head_sha": w.pull(n).HeadSHA})
	if !w.pull(n).Merged {
		t.Error("not merged")
	}
}

func TestMergesAreRefusedAsGitLabRefusesThem(t *testing.T) {
	w := newWorld(t, server.Options{})
	w.Server.Grant(shop, "eve", 20)
	n := w.open("ann", "x")
	mr := server.MRPath(shop, n)
	merge := func(status int, says, login string, in obj) {
		t.Helper()
		w.expect(status, says, login, "PUT", mr+"/merge", in)
	}
	merge(http.StatusUnauthorized, "401 Unauthorized", "eve", obj{})
	merge(http.StatusConflict, "SHA does not match HEAD of source branch", "bob", obj{"sha": strings.Repeat("1", 40)})
	w.expect(http.StatusOK, "draft_status", "ann", "PUT", mr, obj{"title": "Draft: x"}) // unchecked, then known
	merge(http.StatusMethodNotAllowed, "405 Method Not Allowed", "bob", obj{})
	w.must(w.As("ann").MarkReady(w.ctx, shop, n))
	w.Server.Protect(shop, "main", server.Rules{Merge: 30, PipelinesMustSucceed: true})
	merge(http.StatusMethodNotAllowed, "405", "bob", obj{})
	w.must(w.As("bob").Status(w.ctx, shop, w.pull(n).HeadSHA, "build", "failure"))
	merge(http.StatusMethodNotAllowed, "405", "bob", obj{})
	w.must(w.As("bob").Status(w.ctx, shop, w.pull(n).HeadSHA, "build", "success"))
	merge(http.StatusOK, "merged", "bob", obj{"sha": w.pull(n).HeadSHA})
	merge(http.StatusMethodNotAllowed, "405", "bob", obj{})

	w.Server.Protect(shop, "main", server.Rules{Push: 30, Merge: 30})
	left, right := w.set("left"), w.set("right")
	_, err := w.As("bob").Merge(w.ctx, shop, left, "merge")
	w.must(err)
	w.expect(http.StatusUnprocessableEntity, "Branch cannot be merged", "bob", "PUT", server.MRPath(shop, right)+"/merge", obj{})
}

// set opens a merge request that changes README.md.
func (w *world) set(branch string) int {
	w.t.Helper()
	_, err := w.As("ann").Push(w.ctx, shop, branch, "main", people.Commit{Files: map[string]string{"README.md": branch + "\n"}})
	w.must(err)
	n, err := w.As("ann").OpenPull(w.ctx, shop, "main", branch, branch, "")
	w.must(err)
	return n
}

func TestMergeabilityIsKnownLater(t *testing.T) {
	w := newWorld(t, server.Options{})
	n := w.open("ann", "x")
	mr := server.MRPath(shop, n)
	list := server.ProjectPath(shop) + "/merge_requests"
	w.Server.Protect(shop, "main", server.Rules{Push: 30, Merge: 30, Approvals: 1}) // the answer to opening has begun to look
	for _, step := range []struct{ path, says string }{
		{list, "checking"}, {mr, "detailed_merge_status:not_approved"}, {list, "can_be_merged"},
	} {
		w.expect(http.StatusOK, step.says, "ann", "GET", step.path, nil)
	}
	_, err := w.As("ann").Push(w.ctx, shop, "main", "", people.Commit{Files: map[string]string{"z": "1\n"}})
	w.must(err)
	for _, step := range []struct{ path, says string }{
		{list, "detailed_merge_status:unchecked"}, {list, "unchecked"}, {mr, "detailed_merge_status:checking"}, {mr, "not_approved"},
	} {
		w.expect(http.StatusOK, step.says, "ann", "GET", step.path, nil)
	}
}

func TestApprovalsEndWithAPushWhereTheProjectSaysSo(t *testing.T) {
	w := newWorld(t, server.Options{})
	for _, reset := range []bool{false, true} {
		w.Server.Protect(shop, "main", server.Rules{Push: 30, Merge: 30, Approvals: 1, ResetOnPush: reset})
		branch := fmt.Sprint("x-", reset)
		n := w.open("ann", branch)
		mr := server.MRPath(shop, n)
		w.expect(http.StatusUnauthorized, "", "ann", "POST", mr+"/approve", obj{}) // nobody approves their own
		w.expect(http.StatusConflict, "SHA does not match", "bob", "POST", mr+"/approve", obj{"sha": "1"})
		w.expect(http.StatusCreated, "approvals_left:0", "bob", "POST", mr+"/approve", obj{})
		w.expect(http.StatusUnauthorized, "", "bob", "POST", mr+"/approve", obj{})
		_, err := w.As("ann").Push(w.ctx, shop, branch, "", people.Commit{Files: map[string]string{"b": "1\n"}})
		w.must(err)
		w.expect(http.StatusOK, fmt.Sprintf("approvals_left:%d", map[bool]int{true: 1}[reset]), "bob", "GET", mr+"/approvals", nil)
		_, _, versions := w.ask("bob", "GET", mr+"/versions", nil)
		if len(versions.([]any)) != 2 {
			t.Errorf("%d versions after a push", len(versions.([]any)))
		}
	}
}

func TestListsComeInPages(t *testing.T) {
	w := newWorld(t, server.Options{})
	n := w.open("ann", "x")
	for i := range 25 {
		_, err := w.As("ann").Comment(w.ctx, shop, n, fmt.Sprint(i))
		w.must(err)
	}
	path := server.MRPath(shop, n) + "/notes?sort=asc&per_page=10&page="
	_, h, second := w.ask("ann", "GET", path+"2", nil)
	for key, want := range map[string]string{"X-Page": "2", "X-Next-Page": "3", "X-Prev-Page": "1", "X-Total": "25", "X-Total-Pages": "3", "X-Per-Page": "10"} {
		if h.Get(key) != want {
			t.Errorf("%s is %q, want %q", key, h.Get(key), want)
		}
	}
	if !strings.Contains(h.Get("Link"), `rel="next"`) || !strings.Contains(h.Get("Link"), w.URL()+"/api/v4/projects/") || second.([]any)[0].(map[string]any)["body"] != "10" {
		t.Errorf("Link %q, first %v", h.Get("Link"), second.([]any)[0])
	}
	_, h, last := w.ask("ann", "GET", path+"3", nil)
	if h.Get("X-Next-Page") != "" || len(last.([]any)) != 5 {
		t.Errorf("last page: next %q, %d notes", h.Get("X-Next-Page"), len(last.([]any)))
	}
	_, h, _ = w.ask("ann", "GET", server.ProjectPath(shop)+"/repository/commits", nil)
	if h.Get("X-Total") != "" {
		t.Error("commits are counted, which GitLab does not do")
	}
	w.expect(http.StatusMethodNotAllowed, "Keyset pagination is not yet available", "ann", "GET", path+"1&pagination=keyset", nil)
	_, h, _ = w.ask("ann", "GET", "/users?pagination=keyset&per_page=2", nil)
	next, _, _ := strings.Cut(strings.TrimPrefix(h.Get("Link"), "<"+w.URL()+"/api/v4"), ">")
	_, h2, more := w.ask("ann", "GET", next, nil)
	if h.Get("X-Page") != "" || !strings.Contains(next, "cursor=") || len(more.([]any)) != 2 || h2.Get("Link") == h.Get("Link") {
		t.Errorf("by key: %q leads to %v", h.Get("Link"), more)
	}
}

func TestWhatOneMayNotSeeIsNotThere(t *testing.T) {
	w := newWorld(t, server.Options{})
	n := w.open("ann", "x")
	project, mr := server.ProjectPath(shop), server.MRPath(shop, n)
	w.expect(http.StatusNotFound, "404 Project Not Found", "eve", "GET", project, nil)
	w.expect(http.StatusNotFound, "404 Project Not Found", "eve", "POST", mr+"/notes", obj{"body": "hi"})
	w.expect(http.StatusNotFound, "404 Group Not Found", "eve", "GET", "/groups/acme", nil)
	w.expect(http.StatusUnauthorized, "401", "", "GET", project, nil)
	w.Server.Grant(shop, "eve", 10) // a guest knows of the project, and reads no code
	w.expect(http.StatusOK, "shop", "eve", "GET", project, nil)
	w.expect(http.StatusNotFound, "404", "eve", "GET", mr, nil)
	w.expect(http.StatusForbidden, "403", "eve", "GET", project+"/repository/branches", nil)
	w.Server.Grant(shop, "eve", 20)
	w.expect(http.StatusForbidden, "403", "eve", "PUT", mr, obj{"title": "mine"})
	w.expect(http.StatusNotFound, "404", "eve", "GET", project+"/merge_requests/999", nil)
	w.Server.Block("eve")
	w.expect(http.StatusForbidden, "blocked", "eve", "GET", "/user", nil)
}

func TestTokensOpenWhatTheyAreFor(t *testing.T) {
	w := newWorld(t, server.Options{})
	w.open("ann", "x")
	try := func(token, method, path string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(w.ctx, method, w.URL()+"/api/v4"+path, nil)
		w.must(err)
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := http.DefaultClient.Do(req)
		w.must(err)
		res.Body.Close()
		return res.StatusCode
	}
	reads := w.Server.NewToken("ann", "read_api")
	if got := try(reads, "GET", "/user"); got != http.StatusOK {
		t.Errorf("reading with read_api: %d", got)
	}
	if got := try(reads, "POST", server.ProjectPath(shop)+"/issues"); got != http.StatusForbidden {
		t.Errorf("writing with read_api: %d", got)
	}
	if got := try("glpat-unknown", "GET", "/version"); got != http.StatusUnauthorized {
		t.Errorf("an unknown token: %d", got)
	}
	w.Server.Revoke(reads)
	if got := try(reads, "GET", "/user"); got != http.StatusUnauthorized {
		t.Errorf("a revoked token: %d", got)
	}
}

func TestRequestsAreLimited(t *testing.T) {
	w := newWorld(t, server.Options{RateLimit: 3})
	for range 3 {
		w.expect(http.StatusOK, "", "ann", "GET", "/user", nil)
	}
	status, h, body := w.ask("ann", "GET", "/user", nil)
	if status != http.StatusTooManyRequests || h.Get("Retry-After") == "" || h.Get("RateLimit-Remaining") != "0" || body != "Retry later\n" {
		t.Errorf("HTTP %d, %v, %q", status, h, body)
	}
}

// A reaction moves updated_at, so that only GraphQL tells an edit.
func TestAReactionIsNoEdit(t *testing.T) {
	w := newWorld(t, server.Options{})
	n := w.open("ann", "x")
	id, err := w.As("ann").Comment(w.ctx, shop, n, "/plan")
	w.must(err)
	path := fmt.Sprintf("%s/notes/%d", server.MRPath(shop, n), id)
	w.expect(http.StatusCreated, "eyes", "bob", "POST", path+"/award_emoji", obj{"name": "eyes"})
	w.expect(http.StatusNotFound, "already been taken", "bob", "POST", path+"/award_emoji", obj{"name": "eyes"})
	w.expect(http.StatusNotFound, "", "bob", "POST", path+"/award_emoji", obj{"name": "no-such-emoji"})
	note := w.expect(http.StatusOK, "", "ann", "GET", path, nil).(map[string]any)
	if note["updated_at"] == note["created_at"] {
		t.Error("a reaction left updated_at alone")
	}
	edited := func() string {
		t.Helper()
		var out any
		query := fmt.Sprintf(`{project(fullPath:%q){mergeRequest(iid:"%d"){notes{nodes{id lastEditedAt}}}}}`, shop, n)
		w.must(w.graphql("ann", query, &out))
		return fmt.Sprint(out)
	}
	if got := edited(); !strings.Contains(got, "lastEditedAt:<nil>") || !strings.Contains(got, fmt.Sprintf("gid://gitlab/Note/%d", id)) {
		t.Errorf("after a reaction: %s", got)
	}
	w.must(w.As("ann").EditComment(w.ctx, shop, n, id, "/apply"))
	if got := edited(); strings.Contains(got, "lastEditedAt:<nil>") {
		t.Errorf("after an edit: %s", got)
	}
}

func (w *world) graphql(login, query string, out *any) error {
	req, err := http.NewRequestWithContext(w.ctx, "POST", w.URL()+"/api/graphql", strings.NewReader(fmt.Sprintf(`{"query":%q}`, query)))
	if err != nil {
		return err
	}
	req.Header.Set("Private-Token", w.Server.Token(login))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	*out = parsed(w.t, data)
	return err
}

func TestAStatusMovesOnOrTakesThePlaceOfTheOlder(t *testing.T) {
	w := newWorld(t, server.Options{})
	n := w.open("ann", "x")
	sha := w.pull(n).HeadSHA
	set := func(status int, login, state string) {
		t.Helper()
		w.expect(status, "", login, "POST", server.ProjectPath(shop)+"/statuses/"+sha, obj{"state": state, "name": "lockkeeper"})
	}
	shown := func(want ...people.Shown) {
		t.Helper()
		got, err := w.As("ann").Checks(w.ctx, shop, sha)
		if w.must(err); !slices.Equal(got, want) {
			t.Errorf("shown %+v, want %+v", got, want)
		}
	}
	set(http.StatusCreated, "ann", "pending")
	set(http.StatusBadRequest, "ann", "pending") // Cannot transition status via :enqueue from :pending
	set(http.StatusCreated, "ann", "failed")
	shown(people.Shown{Name: "lockkeeper", State: forge.Failure})
	set(http.StatusCreated, "ann", "failed")
	set(http.StatusCreated, "bob", "success") // threat 25: the name is anybody's
	shown(people.Shown{Name: "lockkeeper", State: forge.Success})
	set(http.StatusBadRequest, "ann", "error")
	set(http.StatusNotFound, "eve", "success")

	w.Server.Grant(shop, "eve", 20)
	_, err := w.As("eve").Fork(w.ctx, shop)
	w.must(err)
	sha, err = w.As("eve").Push(w.ctx, "eve/shop", "y", "main", people.Commit{Files: map[string]string{"y": "1\n"}})
	w.must(err)
	_, err = w.As("eve").OpenPull(w.ctx, shop, "main", "eve:y", "y", "")
	w.must(err)
	set(http.StatusNotFound, "ann", "success") // References for commit: no branch of the project has it
}

func TestPushesLeaveEvents(t *testing.T) {
	w := newWorld(t, server.Options{})
	ann := w.As("ann")
	first, err := ann.Push(w.ctx, shop, "x", "main", people.Commit{Message: "One", Files: map[string]string{"a": "1\n"}})
	w.must(err)
	second, err := ann.Push(w.ctx, shop, "x", "", people.Commit{Message: "Two", Files: map[string]string{"a": "2\n"}})
	w.must(err)
	w.must(ann.DeleteBranch(w.ctx, shop, "x"))
	_, _, list := w.ask("bob", "GET", server.ProjectPath(shop)+"/events?action=pushed", nil)
	var got []string
	for _, e := range list.([]any) {
		e := e.(map[string]any)
		d := e["push_data"].(map[string]any)
		got = append(got, fmt.Sprint(e["action_name"], " ", d["action"], " ", d["ref"], " ", d["commit_from"], " ", d["commit_to"]))
	}
	want := []string{"deleted removed x " + second + " <nil>", "pushed to pushed x " + first + " " + second, "pushed new created x <nil> " + first}
	if !slices.Equal(got, want) {
		t.Errorf("events %q\nwant %q", got, want)
	}
}

func TestProtectedBranchesRefusePushes(t *testing.T) {
	w := newWorld(t, server.Options{})
	w.must(w.Protect(w.ctx, shop, "main", people.Protection{Checks: []string{"build"}}))
	_, err := w.As("ann").Push(w.ctx, shop, "main", "", people.Commit{Files: map[string]string{"a": "1\n"}})
	if forge.CodeOf(err) != forge.Forbidden || !strings.Contains(err.Error(), "GitLab: You are not allowed to push code to protected branches") {
		t.Errorf("a push: %v", err)
	}
	if err := w.As("ann").DeleteBranch(w.ctx, shop, "main"); forge.CodeOf(err) != forge.Forbidden {
		t.Errorf("its deletion: %v", err)
	}
}

func TestMergeRequestsNeedTheirBranches(t *testing.T) {
	w := newWorld(t, server.Options{})
	n := w.open("ann", "x")
	path := server.ProjectPath(shop) + "/merge_requests"
	w.expect(http.StatusBadRequest, "title is missing", "ann", "POST", path, obj{"source_branch": "x", "target_branch": "main"})
	w.expect(http.StatusBadRequest, "source_branch:[does not exist]", "ann", "POST", path, obj{"title": "y", "source_branch": "nowhere", "target_branch": "main"})
	w.expect(http.StatusConflict, fmt.Sprintf("already exists for this source branch: !%d", n), "ann", "POST", path, obj{"title": "y", "source_branch": "x", "target_branch": "main"})
	w.expect(http.StatusUnprocessableEntity, "same project/branch", "ann", "POST", path, obj{"title": "y", "source_branch": "main", "target_branch": "main"})
	w.must(w.As("ann").CreateBranch(w.ctx, shop, "same", "main"))
	w.expect(http.StatusCreated, "", "ann", "POST", path, obj{"title": "nothing", "source_branch": "same", "target_branch": "main"}) // GitLab lets it
	w.must(w.As("ann").DeleteBranch(w.ctx, shop, "x"))
	if p := w.pull(n); p.State != forge.Closed {
		t.Errorf("without its branch: %+v", p)
	}
}

func TestAProjectIsFoundUnderItsFormerPath(t *testing.T) {
	w := newWorld(t, server.Options{})
	w.must(w.MoveRepo(w.ctx, shop, "acme/store"))
	w.expect(http.StatusOK, "acme/store", "ann", "GET", server.ProjectPath(shop), nil) // redirected
	w.expect(http.StatusMethodNotAllowed, "Non GET methods", "carol", "PUT", server.ProjectPath(shop), obj{"merge_method": "ff"})
}

func TestFaultsAreAnsweredAsAskedFor(t *testing.T) {
	w := newWorld(t, server.Options{Root: "/sub/gitlab"})
	n := w.open("ann", "x")
	notes := server.MRPath(shop, n) + "/notes"
	var fault server.Fault
	w.Server.Fail(func(r *http.Request) *server.Fault {
		if !strings.HasPrefix(r.URL.Path, "/api/v4/") {
			return nil
		}
		return &fault
	})
	fault = server.Fault{Status: http.StatusBadGateway}
	w.expect(http.StatusBadGateway, "502 Bad Gateway", "ann", "GET", notes, nil)
	fault = server.Fault{Cut: true, After: true}
	err := w.Server.As("ann").Do(w.ctx, "POST", notes, obj{"body": "hello"}, nil)
	var refused *server.StatusError
	if err == nil || errors.As(err, &refused) {
		t.Errorf("a cut answer: %v", err)
	}
	w.Server.Fail(nil)
	if list, err := w.As("ann").Comments(w.ctx, shop, n); err != nil || len(list) != 1 {
		t.Errorf("the note whose answer was lost: %+v, %v", list, err)
	}
}

// Everything lives below the root, and nothing beside it.
func TestPagesLiveBelowTheRoot(t *testing.T) {
	w := newWorld(t, server.Options{Root: "/sub/gitlab"})
	n := w.open("ann", "x")
	_, err := w.As("bob").Comment(w.ctx, shop, n, "**hello**")
	w.must(err)
	read := func(url string) (int, string) {
		t.Helper()
		res, err := http.Get(url) //nolint:noctx // the server ends with the test
		w.must(err)
		defer res.Body.Close()
		data, err := io.ReadAll(res.Body)
		w.must(err)
		return res.StatusCode, string(data)
	}
	status, text := read(fmt.Sprintf("%s/%s/-/merge_requests/%d", w.URL(), shop, n))
	for _, want := range []string{"<strong>hello</strong>", `href="/sub/gitlab/assets/style.css"`, `action="/sub/gitlab/acme/tools/shop/-/merge_requests/1"`, "look-alike of GitLab", "!1"} {
		if status != http.StatusOK || !strings.Contains(text, want) {
			t.Errorf("HTTP %d, no %s in the conversation", status, want)
		}
	}
	for _, path := range []string{"/", "/" + shop + "/-/merge_requests", "/assets/style.css"} {
		if status, _ := read(w.URL() + path); status != http.StatusOK {
			t.Errorf("%s: HTTP %d", path, status)
		}
	}
	if status, _ := read(strings.TrimSuffix(w.URL(), "/sub/gitlab") + "/api/v4/version"); status != http.StatusNotFound {
		t.Errorf("beside the root: HTTP %d", status)
	}
	if err := w.Server.As("bob").Press(w.ctx, shop, n, "merge", "fine"); err != nil || !w.pull(n).Merged {
		t.Errorf("merged by a button: %v", err)
	}
}
