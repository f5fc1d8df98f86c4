package github

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"lockkeeper/forge"
)

const (
	branchRef = "GET /repos/acme/shop/git/ref/heads/bot"
	newRef    = "POST /repos/acme/shop/git/refs"
)

var edit = map[string]forge.FileEdit{"a": {Content: []byte("1")}}

func at(sha string) http.HandlerFunc {
	return say(200, fmt.Sprintf(`{"ref":"refs/heads/bot","object":{"type":"commit","sha":%q}}`, sha))
}

func refusal(kind string) http.HandlerFunc {
	return say(200, fmt.Sprintf(`{"data":{"createCommitOnBranch":null,"updateRefs":null},"errors":[{"type":%q,"path":["x"],"message":"GitHub's words"}]}`, kind))
}

func TestRefusedCommitsAreToldApart(t *testing.T) {
	for name, c := range map[string]struct {
		srv    answers
		code   forge.Code
		unsent bool
	}{
		"stale":                          {answers{"POST /graphql": refusal("STALE_DATA")}, forge.Conflict, true},
		"not allowed":                    {answers{"POST /graphql": refusal("FORBIDDEN")}, forge.Forbidden, true},
		"a path that is not there":       {answers{"POST /graphql": refusal("UNPROCESSABLE"), branchRef: at(shaHead)}, forge.Invalid, true},
		"rules of the branch":            {answers{"POST /graphql": refusal("BRANCH_PROTECTION_RULE_VIOLATION"), branchRef: at(shaHead)}, forge.Invalid, true},
		"stale, in other words":          {answers{"POST /graphql": refusal("UNPROCESSABLE"), branchRef: at(shaBase)}, forge.Conflict, true},
		"a file that Apps may not touch": {answers{"POST /graphql": say(200, `{"data":null,"errors":[{"message":"refusing to allow a GitHub App to create or update workflow"}]}`)}, forge.Forbidden, true},
		"branch gone":                    {answers{"POST /graphql": refusal("NOT_FOUND"), branchRef: say(404, `{"message":"Not Found"}`)}, forge.NotFound, true},
		"no answer, in GitHub's way":     {answers{"POST /graphql": say(200, `{"data":null,"errors":[{"message":"Something went wrong while executing your query."}]}`)}, forge.Unavailable, false},
		"an answer without a commit":     {answers{"POST /graphql": say(200, `{"data":{"createCommitOnBranch":{"commit":null}}}`)}, forge.Unavailable, false},
		"502":                            {answers{"POST /graphql": say(502, `{}`)}, forge.Unavailable, false},
	} {
		sha, err := withToken(t, c.srv).Commit(t.Context(), shop, forge.NewCommit{Branch: "bot", Parent: shaHead, Message: "x", Edits: edit})
		var fe *forge.Error
		if !errors.As(err, &fe) || fe.Code != c.code || fe.Unsent != c.unsent || fe.Op == "" || sha != "" {
			t.Errorf("%s: %q, %v, unsent %v", name, sha, err, fe != nil && fe.Unsent)
		}
	}
}

func TestBranchThatExistsIsWelcomeWhereItBelongs(t *testing.T) {
	exists := say(422, `{"message":"Reference already exists"}`)
	made := say(200, fmt.Sprintf(`{"data":{"createCommitOnBranch":{"commit":{"oid":%q}}}}`, shaHead))
	for name, c := range map[string]struct {
		srv  answers
		code forge.Code
	}{
		"at the base":    {answers{newRef: exists, branchRef: at(shaBase), "POST /graphql": made}, ""},
		"elsewhere":      {answers{newRef: exists, branchRef: at(shaHead), "POST /graphql": made}, forge.Conflict},
		"no such commit": {answers{newRef: say(422, `{"message":"Object does not exist"}`), "POST /graphql": made}, forge.Invalid},
		"not allowed":    {answers{newRef: say(403, `{"message":"Resource not accessible by integration"}`), "POST /graphql": made}, forge.Forbidden},
		"renamed meanwhile": {answers{newRef: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/repositories/7/git/refs")
			w.WriteHeader(http.StatusTemporaryRedirect)
		}, "POST /graphql": made}, forge.Unavailable},
	} {
		_, err := withToken(t, c.srv).Commit(t.Context(), shop, forge.NewCommit{Branch: "bot", Base: shaBase, Message: "x", Edits: edit})
		if forge.CodeOf(err) != c.code {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A push of somebody else's with the same content is no commit of ours.
func TestOnlyTheSameCommitIsTakenForDone(t *testing.T) {
	const tree = "3333333333333333333333333333333333333333"
	commit := func(parents, tree, message string) http.HandlerFunc {
		return say(200, fmt.Sprintf(`{"sha":%q,"parents":[%s],"tree":{"sha":%q},"message":%q}`, shaHead, parents, tree, message))
	}
	parent := fmt.Sprintf(`{"sha":%q}`, shaBase)
	for name, c := range map[string]struct {
		commit http.HandlerFunc
		done   bool
	}{
		"the same":        {commit(parent, tree, "x\n\nwhy"), true},
		"another parent":  {commit(fmt.Sprintf(`{"sha":%q}`, tree), tree, "x\n\nwhy"), false},
		"a merge":         {commit(parent+","+parent, tree, "x\n\nwhy"), false},
		"another tree":    {commit(parent, shaBase, "x\n\nwhy"), false},
		"another message": {commit(parent, tree, "y"), false},
	} {
		f := withToken(t, answers{"POST /graphql": refusal("STALE_DATA"), branchRef: at(shaHead), "GET /repos/acme/shop/git/commits/" + shaHead: c.commit})
		sha, err := f.Commit(t.Context(), shop, forge.NewCommit{Branch: "bot", Parent: shaBase, Message: "x\n\nwhy\n", Edits: edit, Tree: tree})
		if c.done && (err != nil || sha != shaHead) || !c.done && forge.CodeOf(err) != forge.Conflict {
			t.Errorf("%s: %q, %v", name, sha, err)
		}
	}
}

// Threat 26: the name was given up, and another repository has it now.
func TestBranchOfAnotherRepositoryIsNotDeleted(t *testing.T) {
	asked := 0
	repo := func(id int64, ref string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			asked++
			say(200, fmt.Sprintf(`{"data":{"repository":{"id":"R_1","databaseId":%d,"ref":%s},"updateRefs":{}}}`, id, ref))(w, r)
		}
	}
	here := fmt.Sprintf(`{"target":{"oid":%q}}`, shaHead)
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		code   forge.Code
		calls  int
	}{
		"ours":                       {repo(7, here), "", 2},
		"another":                    {repo(8, here), forge.NotFound, 1},
		"gone already":               {repo(7, "null"), "", 1},
		"moved":                      {repo(7, fmt.Sprintf(`{"target":{"oid":%q}}`, shaBase)), forge.Conflict, 1},
		"the repository is not seen": {say(200, `{"data":{"repository":null},"errors":[{"type":"NOT_FOUND","message":"no"}]}`), forge.NotFound, 0},
	} {
		asked = 0
		err := withToken(t, answers{"POST /graphql": c.answer}).DeleteBranch(t.Context(), shop, "bot", shaHead)
		if forge.CodeOf(err) != c.code || asked != c.calls {
			t.Errorf("%s: %v after %d calls", name, err, asked)
		}
	}
}

func TestPullsOfLeavesOutForksOfTheSameOwner(t *testing.T) {
	pull := func(number int, branch string, head string) string {
		return fmt.Sprintf(`{"number":%d,"state":"open","head":{"ref":%q,"repo":%s},"base":{"ref":"main","repo":{"id":7}}}`, number, branch, head)
	}
	list := strings.Join([]string{pull(5, "bot", `{"id":7}`), pull(4, "bot", `{"id":8}`), pull(3, "bot", "null"), pull(2, "other", `{"id":7}`), pull(5, "bot", `{"id":7}`)}, ",")
	got, err := withToken(t, answers{"GET /repos/acme/shop/pulls": say(200, "["+list+"]")}).PullsOf(t.Context(), shop, "bot")
	if err != nil || len(got) != 1 || got[0].Number != 5 {
		t.Errorf("%+v, %v", got, err)
	}
}

// Who closed a pull decides how long the bot stays silent: unread is not nobody.
func TestClosedPullWithoutItsCloserFails(t *testing.T) {
	closed := say(200, `{"number":3,"state":"closed","base":{"repo":{"id":7}}}`)
	for name, c := range map[string]struct {
		issue http.HandlerFunc
		code  forge.Code
		by    int64
	}{
		"read":     {say(200, `{"number":3,"closed_by":{"id":5,"login":"ann","type":"User"}}`), "", 5},
		"nobody":   {say(200, `{"number":3,"closed_by":null}`), "", 0},
		"not read": {say(500, `{}`), forge.Unavailable, 0},
	} {
		p, err := withToken(t, answers{"GET /repos/acme/shop/pulls/3": closed, "GET /repos/acme/shop/issues/3": c.issue}).Pull(t.Context(), shop, 3)
		if forge.CodeOf(err) != c.code || p.ClosedBy.ID != c.by {
			t.Errorf("%s: closed by %+v, %v", name, p.ClosedBy, err)
		}
	}
}

func TestCommittingTakesFewCalls(t *testing.T) {
	l := newLookalike(t, true)
	ref := l.Repo(t, "shop")
	f := l.Driver(t, nil).(*Forge)
	if _, err := f.GitAuth(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	main := l.world.Server.Head(ref.String(), "main")
	took := func(what string, want int, do func() (string, error)) string {
		t.Helper()
		before := calls(f)
		sha, err := do()
		if got := calls(f) - before; err != nil || got != want {
			t.Errorf("%s took %d calls, want %d: %v", what, got, want, err)
		}
		return sha
	}
	sha := took("a new branch", 2, func() (string, error) {
		return f.Commit(t.Context(), ref, forge.NewCommit{Branch: "bot", Base: main, Message: "x", Edits: edit})
	})
	sha = took("another commit", 1, func() (string, error) {
		return f.Commit(t.Context(), ref, forge.NewCommit{Branch: "bot", Parent: sha, Message: "y", Edits: map[string]forge.FileEdit{"a": {Delete: true}}})
	})
	took("a deletion", 2, func() (string, error) { return "", f.DeleteBranch(t.Context(), ref, "bot", sha) })
	run := map[string]forge.FileEdit{"a": {Content: []byte("1"), Mode: forge.Executable}, "b": {Content: []byte("2")}}
	took("an executable on a new branch", 4, func() (string, error) {
		return f.Commit(t.Context(), ref, forge.NewCommit{Branch: "bot", Base: main, Message: "x", Edits: run})
	})
}
