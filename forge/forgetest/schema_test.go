package forgetest_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"lockkeeper/forge/forgetest"
	"lockkeeper/forge/forgetest/schema"
)

// tour calls operations and keeps the first error.
type tour struct {
	*world
	ann, bob, carol, bot, jwt *forgetest.Client
	pull                      string // "/repos/acme/shop/pulls/N"
	issue                     string
	head                      string
}

// call does "METHOD /path" with {repo}, {pull} and {issue} filled in.
func (x *tour) call(c *forgetest.Client, line string, in any) map[string]any {
	x.t.Helper()
	method, path, _ := strings.Cut(line, " ")
	path = strings.NewReplacer("{repo}", "/repos/"+shop, "{pull}", x.pull, "{issue}", x.issue, "{head}", x.head).Replace(path)
	var out any
	if err := c.Do(x.ctx, method, path, in, &out); err != nil {
		x.t.Errorf("%s: %v", line, err)
	}
	object, _ := out.(map[string]any)
	return object
}

type fields = map[string]any

func id(o map[string]any) int64 {
	n, _ := o["id"].(float64)
	return int64(n)
}

// Every operation is called with success once, and newWorld fails the test on
// any answer or payload that GitHub's published schemas would not allow.
func TestEveryOperationAnswersAsGitHubDescribes(t *testing.T) {
	w := newWorld(t, forgetest.Options{})
	w.Protect(shop, "main", forgetest.Protection{Reviews: 1, Checks: []string{"ci"}, Strict: true, Signatures: true})
	w.Protect(shop, "ruled", forgetest.Protection{Reviews: 1, Checks: []string{"ci"}, Ruleset: true, MergeQueue: true, Signatures: true})
	n := w.pull("ann", "feature", map[string]string{"app/config.yaml": "replicas: 2\n", "old": "x"})
	x := &tour{
		world: w, ann: w.As("ann"), bob: w.As("bob"), carol: w.As("carol"), bot: w.bot(), jwt: w.with(w.jwt()), head: w.Head(shop, "feature"),
		pull: fmt.Sprintf("/repos/%s/pulls/%d", shop, n), issue: fmt.Sprintf("/repos/%s/issues/%d", shop, n),
	}
	for _, part := range []func(*tour){tourReads, tourConversation, tourChecks, tourAccounts, tourApps, tourData, tourMerge} {
		part(x)
	}
	queued := x.mergeable()
	_, err := x.carol.Push(x.ctx, shop, "main", "", forgetest.Commit{Message: "Past the rules", Files: forgetest.Text(map[string]string{"z": "z"})})
	w.must(err)
	_, err = x.ann.UpdateBranch(x.ctx, shop, queued)
	w.must(err)
	_, err = x.Enqueue(x.ctx, shop, queued)
	w.must(err)
	_, err = x.MergeQueued(x.ctx, shop, queued)
	w.must(err)
	w.Suspend(w.install, true)
	w.Suspend(w.install, false)
	w.must(w.Flush(w.ctx))
	called := map[string]bool{}
	for _, c := range w.Calls() {
		if c.Status < 300 {
			called[c.Method+" "+c.Route] = true
		}
	}
	for _, rt := range forgetest.Routes() {
		if !called[rt] {
			t.Errorf("%s was not called with success", rt)
		}
	}
}

func (x *tour) mergeable() int {
	return x.world.pull("ann", "queued", map[string]string{"q": "q"})
}

func tourReads(x *tour) {
	for _, line := range []string{
		"GET {repo}", "GET {repo}/pulls?state=all", "GET {pull}", "GET {pull}/commits", "GET {pull}/files", "GET {repo}/branches",
		"GET {repo}/branches/main", "GET {repo}/rules/branches/ruled", "GET {repo}/rules/branches/main", "GET {repo}/commits", "GET {repo}/commits/main", "GET {repo}/commits/{head}/pulls", "GET {repo}/compare/main...feature",
		"GET {repo}/contents/app/config.yaml", "GET {repo}/activity", "GET {repo}/issues?state=all", "GET {issue}", "GET {pull}/comments",
		"GET {repo}/git/ref/heads/main", "GET {repo}/git/commits/{head}", "GET {repo}/collaborators/bob/permission",
		fmt.Sprintf("GET /repositories/%d", x.RepoID(shop)),
	} {
		x.call(x.ann, line, nil)
	}
	x.call(x.carol, "GET {repo}/branches/main/protection", nil)
	x.call(x.ann, "PATCH {pull}", fields{"title": "Better", "body": "Longer"})
}

func tourConversation(x *tour) {
	c := id(x.call(x.ann, "POST {issue}/comments", fields{"body": "hello"}))
	one := fmt.Sprintf("{repo}/issues/comments/%d", c)
	x.call(x.ann, "GET {issue}/comments", nil)
	x.call(x.bob, "GET "+one, nil)
	x.call(x.bob, "PATCH "+one, fields{"body": "changed"})
	r := id(x.call(x.bob, "POST "+one+"/reactions", fields{"content": "eyes"}))
	x.call(x.bob, "POST "+one+"/reactions", fields{"content": "eyes"})
	x.call(x.bob, "GET "+one+"/reactions", nil)
	x.call(x.bob, fmt.Sprintf("DELETE %s/reactions/%d", one, r), nil)
	x.call(x.ann, "DELETE "+one, nil)
	x.call(x.ann, "POST {issue}/labels", fields{"labels": []string{"drift"}})
	x.call(x.ann, "DELETE {issue}/labels/drift", nil)
	x.call(x.ann, "PATCH {issue}", fields{"title": "Again"})
	i := x.call(x.ann, "POST {repo}/issues", fields{"title": "An issue", "body": "b", "labels": []string{"l"}})
	x.call(x.ann, fmt.Sprintf("PATCH {repo}/issues/%v", i["number"]), fields{"state": "closed"})
	v := id(x.call(x.bob, "POST {pull}/reviews", fields{"body": "later"}))
	review := fmt.Sprintf("{pull}/reviews/%d", v)
	x.call(x.bob, "GET "+review, nil)
	x.call(x.bob, "POST "+review+"/events", fields{"event": "REQUEST_CHANGES", "body": "no"})
	x.call(x.carol, "PUT "+review+"/dismissals", fields{"message": "settled"})
	x.call(x.bob, "POST {pull}/reviews", fields{"event": "APPROVE"})
	x.call(x.ann, "GET {pull}/reviews", nil)
	x.GrantTeam(shop, "platform", "write")
	asked := fields{"reviewers": []string{"carol"}, "team_reviewers": []string{"platform"}}
	x.call(x.ann, "POST {pull}/requested_reviewers", asked)
	x.call(x.ann, "GET {pull}/requested_reviewers", nil)
	x.call(x.ann, "GET {pull}", nil)
	x.call(x.ann, "DELETE {pull}/requested_reviewers", asked)
	x.must(x.ann.ConvertToDraft(x.ctx, shop, 1))
	x.must(x.ann.MarkReady(x.ctx, shop, 1))
}

func tourChecks(x *tour) {
	k := id(x.call(x.bot, "POST {repo}/check-runs", fields{"name": "lockkeeper", "head_sha": x.head, "status": "in_progress"}))
	one := fmt.Sprintf("{repo}/check-runs/%d", k)
	x.call(x.bot, "PATCH "+one, fields{"conclusion": "action_required", "output": fields{"title": "t", "summary": "s"}})
	x.call(x.bot, "GET "+one, nil)
	x.call(x.bot, "GET {repo}/commits/feature/check-runs?check_name=lockkeeper", nil)
	x.call(x.bob, "POST {repo}/statuses/{head}", fields{"state": "success", "context": "ci", "description": "fine", "target_url": "http://127.0.0.1/ci"})
	x.call(x.bob, "GET {repo}/commits/{head}/statuses", nil)
	x.call(x.bob, "GET {repo}/commits/feature/status", nil)
}

func tourAccounts(x *tour) {
	for _, line := range []string{
		"GET /user", fmt.Sprintf("GET /user/%d", x.UserID("bob")), "GET /users/bob", "GET /rate_limit", "GET /users/lockkeeper%5Bbot%5D",
	} {
		x.call(x.ann, line, nil)
	}
	for _, line := range []string{
		"GET /orgs/acme/teams", "GET /orgs/acme/teams/sre", "GET /orgs/acme/teams/platform/members",
		"GET /orgs/acme/teams/platform/memberships/carol", // carol is in the team below it
	} {
		x.call(x.bot, line, nil)
	}
}

func tourApps(x *tour) {
	for _, line := range []string{
		"GET /app", "GET /apps/lockkeeper", "GET /app/installations", fmt.Sprintf("GET /app/installations/%d", x.install), "GET {repo}/installation",
		"GET /orgs/acme/installation", "GET /app/hook/config", "GET /app/hook/deliveries",
	} {
		x.call(x.jwt, line, nil)
	}
	x.must(x.Flush(x.ctx))
	d := x.Deliveries()[0]
	x.call(x.jwt, fmt.Sprintf("GET /app/hook/deliveries/%d", d.ID), nil)
	x.call(x.jwt, fmt.Sprintf("POST /app/hook/deliveries/%d/attempts", d.ID), nil)
	x.call(x.jwt, "PATCH /app/hook/config", fields{"url": d.URL})
	x.call(x.bot, "GET /installation/repositories", nil)
	x.Install(x.app, "bob")
	x.call(x.jwt, "GET /users/bob/installation", nil)
	x.call(x.carol, "POST {repo}/hooks", fields{"events": []string{"push"}, "config": fields{"url": d.URL, "content_type": "json", "secret": "s"}})
	h := id(x.hooks()[0])
	x.must(x.Flush(x.ctx))
	all := x.Deliveries()
	ping := all[len(all)-1]
	x.call(x.carol, fmt.Sprintf("GET {repo}/hooks/%d/deliveries", h), nil)
	x.call(x.carol, fmt.Sprintf("POST {repo}/hooks/%d/deliveries/%d/attempts", h, ping.ID), nil)
	convert(x)
}

func (x *tour) hooks() []map[string]any {
	var list []map[string]any
	x.must(x.carol.Do(x.ctx, "GET", "/repos/"+shop+"/hooks", nil, &list))
	return list
}

// convert goes through the App manifest flow as a browser does.
func convert(x *tour) {
	form := url.Values{"manifest": {`{"name":"My Keeper","url":"http://127.0.0.1","redirect_url":"http://127.0.0.1/done",
		"hook_attributes":{"url":"http://127.0.0.1/hook"},"default_permissions":{"checks":"write"},"default_events":["push"]}`}}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.PostForm(x.URL+"/organizations/acme/settings/apps/new?state=abc", form)
	x.must(err)
	x.must(res.Body.Close())
	to, err := url.Parse(res.Header.Get("Location"))
	x.must(err)
	if to.Query().Get("state") != "abc" {
		x.t.Errorf("redirected to %s, want the state back", to)
	}
	made := x.call(x.with(""), "POST /app-manifests/"+to.Query().Get("code")+"/conversions", nil)
	if pem, _ := made["pem"].(string); !strings.Contains(pem, "PRIVATE KEY") || made["webhook_secret"] == "" {
		x.t.Errorf("the conversion lacks credentials: %v", slices.Sorted(mapKeys(made)))
	}
	err = x.with("").Do(x.ctx, "POST", "/app-manifests/"+to.Query().Get("code")+"/conversions", nil, nil)
	if got := status(x.t, err); got != 404 {
		x.t.Errorf("a code used twice: HTTP %d, want 404", got)
	}
}

func mapKeys(m map[string]any) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func tourData(x *tour) {
	blob := x.call(x.bot, "POST {repo}/git/blobs", fields{"content": "aGk=", "encoding": "base64"})
	tree := x.call(x.bot, "POST {repo}/git/trees", fields{"base_tree": x.head, "tree": []fields{
		{"path": "new.txt", "mode": "100644", "type": "blob", "sha": blob["sha"]}, {"path": "old", "mode": "100644", "type": "blob", "sha": nil}}})
	commit := x.call(x.bot, "POST {repo}/git/commits", fields{"message": "By the bot", "tree": tree["sha"], "parents": []string{x.head}})
	if v, _ := commit["verification"].(map[string]any); v["verified"] != true {
		x.t.Errorf("an App's commit through the API is not signed: %v", commit["verification"])
	}
	x.call(x.bot, "POST {repo}/git/refs", fields{"ref": "refs/heads/bot", "sha": x.head})
	x.call(x.bot, "PATCH {repo}/git/refs/heads/bot", fields{"sha": commit["sha"]})
	x.call(x.bot, "DELETE {repo}/git/refs/heads/bot", nil)
	x.call(x.with(x.Token("eve")), "POST {repo}/forks", nil)
	x.call(x.ann, "POST /graphql", fields{"query": "{viewer{login}}"})
}

func tourMerge(x *tour) {
	x.call(x.carol, "PUT {pull}/merge", fields{"merge_method": "squash"})
	x.call(x.ann, "GET {pull}/merge", nil)
}

// The checker itself must be able to fail.
func TestWrongShapesAreFound(t *testing.T) {
	set, err := schema.Load()
	if err != nil {
		t.Fatal(err)
	}
	if err := set.Response("GET", "/repos/{owner}/{repo}", 200, []byte(`{"id":"7"}`)); err == nil {
		t.Error("a repository without fields passed")
	}
	if err := set.Event("pull_request", "opened", []byte(`{"action":"opened"}`)); err == nil {
		t.Error("an event without a pull passed")
	}
	if err := set.Response("DELETE", "/repos/{owner}/{repo}/issues/comments/{comment_id}", 204, []byte("{}")); err == nil {
		t.Error("a body where none is described passed")
	}
	examples, err := schema.Examples()
	if err != nil {
		t.Fatal(err)
	}
	// Some examples are years older than the schemas; the newer ones pass.
	for event, action := range map[string]string{"issue_comment": "created", "pull_request_review": "submitted", "check_run": "completed", "push": ""} {
		var first error
		passed := false
		for _, payload := range examples[event] {
			err := set.Event(event, action, payload)
			passed = passed || err == nil
			if first == nil {
				first = err
			}
		}
		if !passed {
			t.Errorf("none of GitHub's own examples of %s %s passes: %v", event, action, first)
		}
	}
}

func get(t *testing.T, url, token string, header http.Header) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		req.Header = header
	}
	if token != "" {
		req.Header.Set("Authorization", "token "+token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}
