package forgetest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lockkeeper/forge/forgetest"
	"lockkeeper/forge/forgetest/bare"
)

func TestListsArePagedWithLinks(t *testing.T) {
	w := newWorld(t, forgetest.Options{})
	n := w.pull("ann", "feature", map[string]string{"a": "a"})
	for i := range 5 {
		_, err := w.As("ann").Comment(w.ctx, shop, n, fmt.Sprintf("comment %d", i))
		w.must(err)
	}
	url := fmt.Sprintf("%s/repos/%s/issues/%d/comments?per_page=2", w.URL, shop, n)
	var pages, found int
	for url != "" {
		res, body := get(t, url, w.Token("ann"), nil)
		pages, found = pages+1, found+strings.Count(body, `"body":"comment`)
		url = ""
		for link := range strings.SplitSeq(res.Header.Get("Link"), ", ") {
			if target, isNext := strings.CutSuffix(link, `; rel="next"`); isNext {
				url = strings.Trim(target, "<>")
			}
		}
	}
	if pages != 3 || found != 5 {
		t.Errorf("%d pages with %d comments, want 3 with 5", pages, found)
	}
}

func TestCommitListOfPullStopsAt250AndCompareGoesOn(t *testing.T) {
	w := newWorld(t, forgetest.Options{})
	dir := t.TempDir()
	if out, err := git(t, dir, "clone", "-q", w.CloneURL(shop), "."); err != nil {
		t.Fatal(err, out)
	}
	var stream strings.Builder
	for i := range 255 {
		fmt.Fprintf(&stream, "commit refs/heads/long\ncommitter Ann <ann@example.com> %d +0000\ndata 1\nx\n", i)
		if i == 0 {
			fmt.Fprintf(&stream, "from %s\n", w.Head(shop, "main"))
		}
		fmt.Fprintf(&stream, "M 100644 inline n\ndata %d\n%d\n", len(fmt.Sprint(i)), i)
	}
	_, err := (&bare.Repo{Dir: dir}).Git(w.ctx, nil, stream.String(), "fast-import", "--quiet")
	w.must(err)
	w.must(w.As("ann").PushFrom(w.ctx, dir, shop, "long"))
	n, err := w.As("ann").OpenPull(w.ctx, shop, "main", "long", "Long", "")
	w.must(err)
	count := func(path string) int {
		res, body := get(t, w.URL+path, w.Token("ann"), nil)
		if res.StatusCode != 200 {
			t.Fatalf("%s: %s", path, res.Status)
		}
		return strings.Count(body, `"comment_count"`)
	}
	pull := fmt.Sprintf("/repos/%s/pulls/%d/commits?per_page=100&page=", shop, n)
	if got := count(pull+"1") + count(pull+"2") + count(pull+"3"); got != 250 {
		t.Errorf("the pull lists %d commits, want GitHub's 250", got)
	}
	// A comparison repeats its base and its merge base on every page.
	cmp := "/repos/" + shop + "/compare/main...long?per_page=100&page="
	if got := count(cmp+"1") + count(cmp+"2") + count(cmp+"3") - 6; got != 255 {
		t.Errorf("the comparison lists %d commits, want 255", got)
	}
}

func TestUnchangedAnswersAre304AndFree(t *testing.T) {
	w := newWorld(t, forgetest.Options{})
	url := w.URL + "/repos/" + shop
	res, _ := get(t, url, w.Token("ann"), nil)
	remaining := res.Header.Get("X-RateLimit-Remaining")
	res, body := get(t, url, w.Token("ann"), http.Header{"If-None-Match": {res.Header.Get("Etag")}})
	if res.StatusCode != http.StatusNotModified || body != "" || res.Header.Get("X-RateLimit-Remaining") != remaining {
		t.Errorf("second read: %s with %q, %s requests left; want a free 304 with %s left", res.Status, body, res.Header.Get("X-RateLimit-Remaining"), remaining)
	}
}

func TestRateLimitRunsOut(t *testing.T) {
	w := newWorld(t, forgetest.Options{RateLimit: 3})
	for range 3 {
		w.must(w.As("ann").Do(w.ctx, "GET", "/user", nil, nil))
	}
	res, body := get(t, w.URL+"/user", w.Token("ann"), nil)
	if res.StatusCode != 403 || res.Header.Get("X-RateLimit-Remaining") != "0" || !strings.Contains(body, "rate limit exceeded") {
		t.Errorf("fourth request: %s, %q", res.Status, body)
	}
}

func TestTokensReachWhatTheyMay(t *testing.T) {
	w := newWorld(t, forgetest.Options{})
	_, err := w.AddRepo(w.ctx, forgetest.NewRepo{Owner: "acme", Name: "vault", Private: true, Files: map[string]string{"s": "s"}})
	w.must(err)
	n := w.pull("ann", "feature", map[string]string{"a": "a"})
	check := fields{"name": "x", "head_sha": w.Head(shop, "feature")}
	merge := fmt.Sprintf("PUT /repos/%s/pulls/%d/merge", shop, n)
	for _, c := range []struct {
		name, line string
		as         *forgetest.Client
		in         any
		want       int
	}{
		{"a wrong token", "GET /user", w.with("ghp_wrong"), nil, 401},
		{"nobody writes", "POST /repos/acme/shop/issues/1/comments", w.with(""), fields{"body": "x"}, 401},
		{"an outsider and a private repository", "GET /repos/acme/vault", w.As("eve"), nil, 404},
		{"an installation and a repository that is not part of it", "GET /repos/acme/vault", w.bot(), nil, 404},
		{"the owner and a private repository", "GET /repos/acme/vault", w.As("carol"), nil, 0},
		{"an outsider merges", merge, w.As("eve"), nil, 403},
		{"a person writes check runs", "POST /repos/acme/shop/check-runs", w.As("carol"), check, 403},
		{"an App without administration", "GET /repos/acme/shop/branches/main/protection", w.bot(), nil, 403},
		{"an outsider and the teams", "GET /orgs/acme/teams/sre/members", w.As("eve"), nil, 404},
		{"a user's token for an App", "GET /app", w.As("carol"), nil, 401},
		{"a JWT for a repository", "GET /repos/acme/shop/pulls", w.with(w.jwt()), nil, 403},
		{"another's comment", "PATCH /repos/acme/shop/issues/comments/1", w.As("eve"), fields{"body": "x"}, 404},
	} {
		method, path, _ := strings.Cut(c.line, " ")
		if got := status(t, c.as.Do(w.ctx, method, path, c.in, nil)); got != c.want {
			t.Errorf("%s: HTTP %d, want %d", c.name, got, c.want)
		}
	}
	bot := w.bot()
	w.Revoke("lockkeeper[bot]")
	if got := status(t, bot.Do(w.ctx, "GET", "/repos/"+shop, nil, nil)); got != 401 {
		t.Errorf("a revoked installation token: HTTP %d, want 401", got)
	}
}

func TestNarrowedInstallationToken(t *testing.T) {
	w := newWorld(t, forgetest.Options{})
	path := fmt.Sprintf("/app/installations/%d/access_tokens", w.install)
	var out struct{ Token string }
	w.must(w.with(w.jwt()).Do(w.ctx, "POST", path, fields{"repositories": []string{"shop"}, "permissions": fields{"contents": "read"}}, &out))
	err := w.with(out.Token).Do(w.ctx, "POST", "/repos/"+shop+"/git/refs", fields{"ref": "refs/heads/x", "sha": w.Head(shop, "main")}, nil)
	if got := status(t, err); got != 403 {
		t.Errorf("writing with contents:read: HTTP %d, want 403", got)
	}
	for name, in := range map[string]fields{"unknown repository": {"repositories": []string{"other"}}, "more than granted": {"permissions": fields{"members": "write"}}} {
		if got := status(t, w.with(w.jwt()).Do(w.ctx, "POST", path, in, nil)); got != 422 {
			t.Errorf("%s: HTTP %d, want 422", name, got)
		}
	}
}

func TestBadInputIsRefusedInGitHubsWords(t *testing.T) {
	w := newWorld(t, forgetest.Options{})
	n := w.pull("ann", "feature", map[string]string{"a": "a"})
	comments := fmt.Sprintf("POST /repos/%s/issues/%d/comments", shop, n)
	for _, c := range []struct {
		line string
		in   any
		want int
	}{
		{comments, fields{"body": strings.Repeat("é", 65537)}, 422},
		{comments, fields{"body": strings.Repeat("é", 65536)}, 0},
		{comments, fields{"body": ""}, 422},
		{comments, fields{"body": 7}, 422},
		{"POST /repos/acme/shop/pulls", fields{"title": "again", "base": "main", "head": "feature"}, 422},
		{"POST /repos/acme/shop/pulls", fields{"title": "t", "base": "main", "head": "main"}, 422},
		{"POST /repos/acme/shop/pulls", fields{"title": "t", "base": "nowhere", "head": "feature"}, 422},
		{"GET /repos/acme/shop/pulls/99", nil, 404},
		{"GET /repos/acme/shop/nothing", nil, 404},
		{"POST /repos/acme/shop/statuses/0000", fields{"state": "success"}, 422},
	} {
		method, path, _ := strings.Cut(c.line, " ")
		if got := status(t, w.As("ann").Do(w.ctx, method, path, c.in, nil)); got != c.want {
			t.Errorf("%s %.40v: HTTP %d, want %d", c.line, c.in, got, c.want)
		}
	}
}

func TestFaultsAreReal(t *testing.T) {
	w := newWorld(t, forgetest.Options{})
	fail := func(fault forgetest.Fault) {
		w.Fail(func(r *http.Request) *forgetest.Fault {
			if r.URL.Path == "/user" {
				return &fault
			}
			return nil
		})
	}
	fail(forgetest.Fault{Status: 429, Message: "slow down", Header: http.Header{"Retry-After": {"7"}}})
	res, body := get(t, w.URL+"/user", w.Token("ann"), nil)
	if res.StatusCode != 429 || res.Header.Get("Retry-After") != "7" || !strings.Contains(body, "slow down") {
		t.Errorf("got %s %q", res.Status, body)
	}
	w.must(w.As("ann").Do(w.ctx, "GET", "/repos/"+shop, nil, nil))
	fail(forgetest.Fault{Cut: true})
	if err := w.As("ann").Do(w.ctx, "GET", "/user", nil, nil); err == nil || errors.As(err, new(*forgetest.StatusError)) {
		t.Errorf("a cut connection gave %v", err)
	}
	fail(forgetest.Fault{Hang: true})
	ctx, cancel := context.WithTimeout(w.ctx, 50*time.Millisecond)
	defer cancel()
	if err := w.As("ann").Do(ctx, "GET", "/user", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a hanging request gave %v", err)
	}
	n := w.pull("ann", "feature", map[string]string{"a": "a"})
	w.Fail(func(r *http.Request) *forgetest.Fault {
		if r.Method == "POST" && strings.HasSuffix(r.URL.Path, "/comments") {
			return &forgetest.Fault{Cut: true, After: true}
		}
		return nil
	})
	if _, err := w.As("ann").Comment(w.ctx, shop, n, "lost answer"); err == nil {
		t.Error("the answer was not lost")
	}
	w.Fail(nil)
	var list []fields
	w.must(w.As("ann").Do(w.ctx, "GET", fmt.Sprintf("/repos/%s/issues/%d/comments", shop, n), nil, &list))
	if len(list) != 1 {
		t.Errorf("%d comments, want the one whose answer was lost", len(list))
	}
}

func TestCallsAreCountedByActor(t *testing.T) {
	w := newWorld(t, forgetest.Options{})
	bot := w.bot()
	w.ForgetCalls()
	w.must(w.As("ann").Do(w.ctx, "GET", "/user", nil, nil))
	w.must(bot.Do(w.ctx, "GET", "/api/v3/repos/"+shop, nil, nil))
	calls := w.Calls("lockkeeper[bot]")
	if len(calls) != 1 || calls[0].Route != "/repos/{owner}/{repo}" || calls[0].Status != 200 {
		t.Errorf("the bot's calls: %v", calls)
	}
}

func TestRenamedRepositoryRedirects(t *testing.T) {
	w := newWorld(t, forgetest.Options{})
	w.RenameRepo(shop, "store")
	res, _ := get(t, w.URL+"/repos/acme/shop/branches/main", w.Token("ann"), nil)
	if res.StatusCode != 200 {
		t.Errorf("a sub-resource by the old name: %s", res.Status)
	}
	if got := w.As("ann").Do(w.ctx, "POST", "/repos/acme/shop/issues", fields{"title": "x"}, nil); status(t, got) != 307 && got != nil {
		t.Errorf("a write to the old name: %v", got)
	}
	res, body := get(t, w.URL+"/repos/acme/shop", w.Token("ann"), nil)
	if res.StatusCode != 200 || !strings.Contains(body, `"full_name":"acme/store"`) {
		t.Errorf("the old name: %s %.100s", res.Status, body)
	}
}

func git(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir, cmd.Env = dir, bare.Env()
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func TestGitClonesAndPushesOverHTTP(t *testing.T) {
	w := newWorld(t, forgetest.Options{})
	dir := t.TempDir()
	as := func(login string) string {
		return strings.Replace(w.CloneURL(shop), "://", "://"+login+":"+w.Token(login)+"@", 1)
	}
	if out, err := git(t, dir, "clone", "-q", as("ann"), "work"); err != nil {
		t.Fatal(err, out)
	}
	work := filepath.Join(dir, "work")
	for _, args := range [][]string{
		{"checkout", "-q", "-b", "topic"},
		{"-c", "user.name=Ann", "-c", "user.email=ann@example.com", "commit", "-q", "--allow-empty", "-m", "work"},
		{"push", "-q", "origin", "topic"},
	} {
		if out, err := git(t, work, args...); err != nil {
			t.Fatal(err, out)
		}
	}
	head, err := git(t, work, "rev-parse", "HEAD")
	w.must(err)
	if got := w.Head(shop, "topic"); got != head {
		t.Errorf("the server has %s, want %s", got, head)
	}
	n, err := w.As("ann").OpenPull(w.ctx, shop, "main", "topic", "T", "")
	w.must(err)
	if out, err := git(t, work, "fetch", "-q", "origin", fmt.Sprintf("refs/pull/%d/head", n)); err != nil {
		t.Errorf("fetching the pull's ref: %v %s", err, out)
	}
	if out, err := git(t, work, "push", "-q", as("eve"), "topic:x"); err == nil {
		t.Errorf("an outsider pushed: %s", out)
	}
	if out, err := git(t, work, "push", "-q", strings.Replace(as("ann"), w.Token("ann"), "wrong", 1), "topic:x"); err == nil {
		t.Errorf("a wrong token pushed: %s", out)
	}
	if out, err := git(t, work, "push", "-q", "origin", "topic:refs/pull/9/head"); err == nil {
		t.Errorf("a push to refs/pull went through: %s", out)
	}
	var acts []struct {
		Kind  string `json:"activity_type"`
		Actor struct{ Login string }
	}
	w.must(w.As("ann").Do(w.ctx, "GET", "/repos/"+shop+"/activity?ref=topic", nil, &acts))
	if len(acts) != 1 || acts[0].Kind != "branch_creation" || acts[0].Actor.Login != "ann" {
		t.Errorf("activity: %+v", acts)
	}
}

func TestGraphQLTellsAuthorsAndDecision(t *testing.T) {
	w := newWorld(t, forgetest.Options{})
	w.Protect(shop, "main", forgetest.Protection{Reviews: 1})
	_, err := w.As("ann").Push(w.ctx, shop, "feature", "main", forgetest.Commit{
		Message: "Pair\n\nCo-authored-by: Bob <bob@example.com>\nCo-authored-by: X <x@nowhere.example>", Files: forgetest.Text(map[string]string{"a": "a"})})
	w.must(err)
	n, err := w.As("ann").OpenPull(w.ctx, shop, "main", "feature", "T", "")
	w.must(err)
	ask := func(c *forgetest.Client, query string, vars fields) string {
		t.Helper()
		var out struct {
			Data   any
			Errors []struct{ Type, Message string }
		}
		w.must(c.Do(w.ctx, "POST", "/api/graphql", fields{"query": query, "variables": vars}, &out))
		return fmt.Sprint(out.Data, out.Errors)
	}
	var commits []struct {
		NodeID string `json:"node_id"`
	}
	w.must(w.As("ann").Do(w.ctx, "GET", fmt.Sprintf("/repos/%s/pulls/%d/commits", shop, n), nil, &commits))
	got := ask(w.bot(), `query($ids:[ID!]!){nodes(ids:$ids){... on Commit{authors(first:100){totalCount nodes{email user{login}}}}}}`, fields{"ids": []string{commits[0].NodeID}})
	for _, part := range []string{"totalCount:3", "login:ann", "login:bob", "email:x@nowhere.example user:<nil>"} {
		if !strings.Contains(got, part) {
			t.Errorf("authors: %s, want %s in it", got, part)
		}
	}
	decision := `query($n:Int!){repository(owner:"acme",name:"shop"){pullRequest(number:$n){reviewDecision baseRef{refUpdateRule{requiresSignatures}}}}}`
	for _, want := range []string{"reviewDecision:REVIEW_REQUIRED", "reviewDecision:APPROVED"} {
		if got := ask(w.bot(), decision, fields{"n": n}); !strings.Contains(got, want) {
			t.Errorf("decision: %s, want %s", got, want)
		}
		_, err = w.As("bob").Review(w.ctx, shop, n, "APPROVE", "")
		w.must(err)
	}
	if got := ask(w.bot(), decision, fields{"n": 99}); !strings.Contains(got, "NOT_FOUND") {
		t.Errorf("an unknown pull: %s", got)
	}
	if got := ask(w.bot(), `{repository(owner:"acme",name:"shop"){stargazerCount}}`, nil); !strings.Contains(got, "Cannot query field") {
		t.Errorf("a field that is not answered: %s", got)
	}
}

func TestDeletedAccountIsNotItsSuccessor(t *testing.T) {
	w := newWorld(t, forgetest.Options{})
	before := w.UserID("bob")
	w.DeleteUser("bob")
	if now := w.AddUser("bob"); now == before {
		t.Errorf("the new bob has the old id %d", now) // threat 26
	}
	if err := w.As("bob").Do(w.ctx, "POST", "/repos/"+shop+"/git/refs", fields{"ref": "refs/heads/x", "sha": w.Head(shop, "main")}, nil); status(t, err) != 403 {
		t.Errorf("the new bob kept the old one's rights: %v", err)
	}
}
