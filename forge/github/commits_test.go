package github

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"lockkeeper/forge"
)

const compareURL = "GET /repos/acme/shop/compare/" + shaBase + "..." + shaHead

var pullOf3 = forge.Pull{Number: 3, Base: forge.Branch{Name: "main", SHA: shaBase, RepoID: 7}, Head: forge.Branch{Name: "x", SHA: shaHead, RepoID: 7}}

func commitJSON(sha, message string) string {
	return fmt.Sprintf(`{"sha":%q,"node_id":"C_%s","commit":{"message":%q,"author":{"email":"a@example.com"}},"author":{"id":1,"login":"alice","type":"User"},"committer":null}`, sha, sha, message)
}

// Threat 20: what the forge does not list must not pass as not there.
func TestIncompleteCommitListFails(t *testing.T) {
	one := commitJSON(shaHead, "x")
	for name, body := range map[string]string{
		"fewer than announced": `{"total_commits":2,"commits":[` + one + `]}`,
		"more than announced":  `{"total_commits":1,"commits":[` + one + `,` + one + `]}`,
		"head not the last":    `{"total_commits":1,"commits":[` + commitJSON(shaBase, "x") + `]}`,
	} {
		list, err := withToken(t, answers{compareURL: say(200, body)}).Commits(t.Context(), shop, pullOf3)
		if forge.CodeOf(err) != forge.Unavailable {
			t.Errorf("%s: %d commits, error %v", name, len(list), err)
		}
	}
	p := pullOf3
	p.Base.SHA = "main"
	if _, err := withToken(t, answers{}).Commits(t.Context(), shop, p); forge.CodeOf(err) != forge.Invalid {
		t.Errorf("a branch name, which a tag can shadow, was accepted as base: %v", err)
	}
}

func TestCommitsAlreadyInBaseAreNone(t *testing.T) {
	list, err := withToken(t, answers{compareURL: say(200, `{"total_commits":0,"commits":[]}`)}).Commits(t.Context(), shop, pullOf3)
	if err != nil || len(list) != 0 {
		t.Error(list, err)
	}
}

func TestIncompleteCoAuthorsFail(t *testing.T) {
	authors := func(total int, nodes ...string) string {
		return fmt.Sprintf(`{"data":{"nodes":[{"oid":%q,"authors":{"totalCount":%d,"nodes":[%s]}}]}}`, shaHead, total, strings.Join(nodes, ","))
	}
	alice, bob := `{"email":"a@example.com","user":{"databaseId":1,"login":"alice"}}`, `{"email":"b@example.com","user":null}`
	for name, c := range map[string]struct {
		answer string
		code   forge.Code
	}{
		"complete":        {authors(2, alice, bob), ""},
		"truncated":       {authors(3, alice, bob), forge.Unavailable},
		"commit unknown":  {`{"data":{"nodes":[null]}}`, forge.Unavailable},
		"nothing at all":  {`{"data":{"nodes":[]}}`, forge.Unavailable},
		"GraphQL error":   {`{"data":null,"errors":[{"message":"Something went wrong"}]}`, forge.Unavailable},
		"error with data": {`{"data":{"nodes":[]},"errors":[{"type":"NOT_FOUND","message":"no"}]}`, forge.NotFound},
		"GraphQL limit":   {`{"errors":[{"type":"RATE_LIMITED","message":"API rate limit exceeded"}]}`, forge.RateLimited},
	} {
		f := withToken(t, answers{
			compareURL:      say(200, `{"total_commits":1,"commits":[`+commitJSON(shaHead, "x\n\nCO-AUTHORED-BY: Bob <b@example.com>")+`]}`),
			"POST /graphql": say(200, c.answer),
		})
		list, err := f.Commits(t.Context(), shop, pullOf3)
		if forge.CodeOf(err) != c.code {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err == nil && (len(list[0].CoAuthors) != 1 || list[0].CoAuthors[0] != forge.User{Login: "b@example.com", Type: forge.Person}) {
			t.Errorf("%s: %+v", name, list[0].CoAuthors)
		}
	}
}

func TestPushesGoBackToTheBranchsCreation(t *testing.T) {
	entry := func(kind, after string, id int) string {
		return fmt.Sprintf(`{"activity_type":%q,"after":%q,"actor":{"id":%d,"login":"u%d","type":"User"}}`, kind, after, id, id)
	}
	newest := `[` + entry("push", shaHead, 1) + `,` + entry("force_push", shaBase, 2) + `]`
	oldest := `[` + entry("branch_creation", shaBase, 3) + `,` + entry("branch_deletion", shaBase, 4) + `]`
	f := withToken(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("ref") != "refs/heads/x" {
			say(422, `{}`)(w, r)
			return
		}
		if r.URL.Query().Get("after") == "cursor==" {
			say(200, oldest)(w, r)
			return
		}
		w.Header().Set("Link", `<http://`+r.Host+r.URL.Path+`?ref=refs%2Fheads%2Fx&after=cursor%3D%3D>; rel="next"`)
		say(200, newest)(w, r)
	}))
	pushes, ok, err := f.Pushes(t.Context(), shop, pullOf3)
	if err != nil || !ok || len(pushes) != 3 || pushes[0].By.ID != 1 || pushes[1].By.ID != 2 || pushes[2].By.ID != 3 {
		t.Errorf("%+v, ok=%v, %v", pushes, ok, err)
	}
}

func TestPushesAreUnknownWhereTheForgeDoesNotTell(t *testing.T) {
	fork := pullOf3
	fork.Head.RepoID = 8
	for name, c := range map[string]struct {
		pull forge.Pull
		srv  answers
		code forge.Code
	}{
		"no listing":          {pullOf3, answers{}, ""},
		"forbidden":           {pullOf3, answers{"GET /repos/acme/shop/activity": say(403, `{"message":"no"}`)}, ""},
		"head not in listing": {pullOf3, answers{"GET /repos/acme/shop/activity": say(200, `[]`)}, ""},
		"hidden fork":         {fork, answers{}, ""},
		"broken":              {pullOf3, answers{"GET /repos/acme/shop/activity": say(500, `{}`)}, forge.Unavailable},
		"broken fork":         {fork, answers{"GET /repositories/8": say(500, `{}`)}, forge.Unavailable},
	} {
		_, ok, err := withToken(t, c.srv).Pushes(t.Context(), shop, c.pull)
		if ok || forge.CodeOf(err) != c.code {
			t.Errorf("%s: ok=%v, %v", name, ok, err)
		}
	}
}

func TestReviewsInDraftAreLeftOutAndUnknownOnesFail(t *testing.T) {
	const url = "GET /repos/acme/shop/pulls/3/reviews"
	list, err := withToken(t, answers{url: say(200, `[{"id":1,"state":"PENDING"},{"id":2,"state":"APPROVED","user":null,"commit_id":null}]`)}).Reviews(t.Context(), shop, 3)
	if err != nil || len(list) != 1 || list[0].ID != 2 || list[0].Author.ID != 0 || list[0].Author.Type != forge.Deleted {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := withToken(t, answers{url: say(200, `[{"id":1,"state":"VETOED"}]`)}).Reviews(t.Context(), shop, 3); err == nil {
		t.Error("an unknown state was read as no objection")
	}
}

// A merge whose answer cannot be read may have happened.
func TestCutMergeAnswerIsNotARefusal(t *testing.T) {
	f := withToken(t, answers{"PUT /repos/acme/shop/pulls/3/merge": say(200, `{"merged":tr`)})
	if _, err := f.Merge(t.Context(), shop, 3, shaHead, forge.MethodMerge); forge.CodeOf(err) != forge.Unavailable {
		t.Error(err)
	}
	f = withToken(t, answers{"PUT /repos/acme/shop/pulls/3/merge": say(200, `{"merged":false,"message":"no"}`)})
	if _, err := f.Merge(t.Context(), shop, 3, shaHead, forge.MethodMerge); forge.CodeOf(err) != forge.Conflict {
		t.Error(err)
	}
}
