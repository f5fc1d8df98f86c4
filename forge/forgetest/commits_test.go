package forgetest_test

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"lockkeeper/forge/forgetest"
)

// graphQL runs a mutation and returns its data, or the type of its first error.
func (w *world) graphQL(c *forgetest.Client, name, inputType string, input fields, want string) (data fields, kind string) {
	w.t.Helper()
	var out struct {
		Data   map[string]fields
		Errors []struct{ Type, Message string }
	}
	query := fmt.Sprintf("mutation($input:%s!){%s(input:$input){%s}}", inputType, name, want)
	w.must(c.Do(w.ctx, "POST", "/graphql", fields{"query": query, "variables": fields{"input": input}}, &out))
	if len(out.Errors) > 0 {
		if out.Errors[0].Message == "" || out.Data[name] != nil {
			w.t.Errorf("%s: an error without words, or with data: %+v", name, out)
		}
		return nil, out.Errors[0].Type
	}
	return out.Data[name], ""
}

// commitAt commits one file to a branch through GraphQL.
func (w *world) commitAt(c *forgetest.Client, branch, head, path, content string) (sha, refused string) {
	w.t.Helper()
	data, refused := w.graphQL(c, "createCommitOnBranch", "CreateCommitOnBranchInput", fields{
		"branch": fields{"repositoryNameWithOwner": shop, "branchName": branch}, "expectedHeadOid": head,
		"message":     fields{"headline": "Change " + path, "body": "Why."},
		"fileChanges": fields{"additions": []fields{{"path": path, "contents": base64.StdEncoding.EncodeToString([]byte(content))}}},
	}, "commit{oid}ref{name target{oid}}")
	if refused != "" {
		return "", refused
	}
	sha = data["commit"].(fields)["oid"].(string)
	if ref := data["ref"].(fields); ref["name"] != branch || ref["target"].(fields)["oid"] != sha {
		w.t.Errorf("ref %v", ref)
	}
	return sha, ""
}

func (w *world) deleteRef(c *forgetest.Client, branch, at string) string {
	w.t.Helper()
	var repo struct {
		NodeID string `json:"node_id"`
	}
	w.must(c.Do(w.ctx, "GET", "/repos/"+shop, nil, &repo))
	_, refused := w.graphQL(c, "updateRefs", "UpdateRefsInput", fields{"repositoryId": repo.NodeID, "refUpdates": []fields{
		{"name": "refs/heads/" + branch, "beforeOid": at, "afterOid": strings.Repeat("0", 40), "force": true}}}, "clientMutationId")
	return refused
}

// What a bot does to its own branch and pull, and what GitHub tells of it; the
// payloads are held to the published schemas.
func TestLifeOfABotsPullIsDelivered(t *testing.T) {
	w := newWorld(t, forgetest.Options{})
	bot := w.bot()
	expect := func(what string, want ...string) {
		t.Helper()
		if got := w.events(); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	w.must(bot.CreateBranch(w.ctx, shop, "bot/one", "main"))
	expect("branch", "create", "push")
	first, _ := w.commitAt(bot, "bot/one", w.Head(shop, "main"), "app/config.yaml", "replicas: 2\n")
	expect("commit", "push")
	n, err := bot.OpenPull(w.ctx, shop, "main", "bot/one", "Drift", "body")
	w.must(err)
	expect("pull", "pull_request opened")
	second, _ := w.commitAt(bot, "bot/one", first, "app/more.yaml", "x: 1\n")
	expect("another commit", "push", "pull_request synchronize")
	w.must(bot.EditPull(w.ctx, shop, n, "Drift of two", "longer"))
	expect("edit", "pull_request edited")
	w.must(bot.Close(w.ctx, shop, n))
	expect("close", "pull_request closed")
	w.must(bot.Reopen(w.ctx, shop, n))
	expect("reopen", "pull_request reopened")
	if refused := w.deleteRef(bot, "bot/one", second); refused != "" {
		t.Errorf("deletion: %s", refused)
	}
	expect("deletion", "delete", "push", "pull_request closed")
	var i struct {
		State    string
		ClosedBy struct{ Login string } `json:"closed_by"`
	}
	w.must(bot.Do(w.ctx, "GET", fmt.Sprintf("/repos/%s/issues/%d", shop, n), nil, &i))
	if i.State != "closed" || i.ClosedBy.Login != "lockkeeper[bot]" {
		t.Errorf("%+v", i)
	}
}

// As GitHub does: the caller is the author, GitHub itself commits and signs.
func TestCommitsThroughTheAPIAreTheCallersAndSigned(t *testing.T) {
	w := newWorld(t, forgetest.Options{})
	w.must(w.As("ann").CreateBranch(w.ctx, shop, "b", "main"))
	head := w.Head(shop, "main")
	for login, c := range map[string]*forgetest.Client{"lockkeeper[bot]": w.bot(), "ann": w.As("ann")} {
		sha, refused := w.commitAt(c, "b", head, "of/"+login, "1\n")
		if refused != "" {
			t.Fatal(refused)
		}
		head = sha
		var got struct {
			Author, Committer struct{ Login string }
			Commit            struct {
				Message      string
				Author       struct{ Name string }
				Committer    struct{ Name, Email string }
				Verification struct{ Verified bool }
			}
		}
		w.must(c.Do(w.ctx, "GET", "/repos/"+shop+"/commits/"+sha, nil, &got))
		if got.Author.Login != login || got.Committer.Login != "web-flow" || got.Commit.Author.Name != login || got.Commit.Committer.Name != "GitHub" ||
			got.Commit.Committer.Email != "noreply@github.com" || !got.Commit.Verification.Verified || got.Commit.Message != "Change of/"+login+"\n\nWhy." {
			t.Errorf("%s: %+v", login, got)
		}
	}
}

func TestCommitsThroughTheAPIAreRefusedAsGitHubDoes(t *testing.T) {
	w := newWorld(t, forgetest.Options{})
	bot, head := w.bot(), w.Head(shop, "main")
	w.must(bot.CreateBranch(w.ctx, shop, "b", "main"))
	try := func(what, want string, c *forgetest.Client, branch, at, path string) {
		t.Helper()
		if _, got := w.commitAt(c, branch, at, path, "1"); got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	try("no branch", "NOT_FOUND", bot, "nowhere", head, "a")
	try("moved", "STALE_DATA", bot, "b", strings.Repeat("1", 40), "a")
	try("a reader", "FORBIDDEN", w.As("eve"), "b", head, "a")
	try("no such path", "UNPROCESSABLE", bot, "b", head, "../a")
	w.Protect(shop, "b", forgetest.Protection{Reviews: 1})
	try("a protected branch", "BRANCH_PROTECTION_RULE_VIOLATION", bot, "b", head, "a")
	if got := w.deleteRef(bot, "b", head); got != "BRANCH_PROTECTION_RULE_VIOLATION" {
		t.Errorf("deletion of a protected branch: %q", got)
	}
	w.Protect(shop, "b", forgetest.Protection{})
	if got := w.deleteRef(bot, "b", strings.Repeat("1", 40)); got != "UNPROCESSABLE" {
		t.Errorf("deletion of a branch that moved: %q", got)
	}
	if got := w.deleteRef(w.As("eve"), "b", head); got != "FORBIDDEN" {
		t.Errorf("deletion by a reader: %q", got)
	}
	if w.Head(shop, "b") != head {
		t.Error("the branch moved")
	}
	var out struct{ Errors []struct{ Message string } }
	w.must(bot.Do(w.ctx, "POST", "/graphql", fields{"query": "mutation($input:CreateCommitOnBranchInput!){createCommitOnBranch(input:$input){commit{oid}}}",
		"variables": fields{"input": fields{"message": fields{"headline": "x"}}}}, &out))
	if len(out.Errors) != 1 || !strings.Contains(out.Errors[0].Message, "branch") {
		t.Errorf("an input without what is demanded: %+v", out)
	}
}
