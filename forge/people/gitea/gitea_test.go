package gitea

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lockkeeper/forge"
	"lockkeeper/forge/people"
)

// world is a Gitea of the test's own bot, with a repository of its own, called
// after it.
func world(t *testing.T) (f *Forge, repo string) {
	t.Helper()
	s, err := Shared()
	if err != nil {
		t.Fatal(err)
	}
	if f, err = On(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.Log())
		}
	})
	for _, login := range []string{"alice", "bob"} {
		must[forge.User](t)(f.AddPerson(t.Context(), login))
	}
	org := strings.ToLower(t.Name())
	done(t, f.AddOrg(t.Context(), org, "alice"))
	ref := must[forge.RepoRef](t)(f.AddRepo(t.Context(), people.NewRepo{
		Owner: org, Name: "shop", Private: true, Files: map[string]string{"README.md": "hello\n", "a/b.txt": "b\n"},
	}))
	if ref.ID == 0 {
		t.Errorf("made: %+v", ref)
	}
	done(t, f.Grant(t.Context(), ref.String(), "bob", forge.Write))
	return f, ref.String()
}

func done(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		done(t, err)
		return v
	}
}

func wantCode(t *testing.T, what string, err error, code forge.Code) {
	t.Helper()
	if forge.CodeOf(err) != code {
		t.Errorf("%s: %v, want %s", what, err, code)
	}
}

func change(message string) people.Commit {
	return people.Commit{Message: message, Files: map[string]string{message + ".txt": message + "\n"}}
}

// TestPullIsReviewedAndMerged is one pull from its push to its merge.
func TestPullIsReviewedAndMerged(t *testing.T) {
	f, repo := world(t)
	ctx, alice, bob := t.Context(), f.As("alice"), f.As("bob")
	done(t, f.Protect(ctx, repo, "main", people.Protection{Checks: []string{"lockkeeper"}, Reviews: 1}))

	head := must[string](t)(alice.Push(ctx, repo, "x", "main", change("one"), people.Commit{
		Message: "two", Files: map[string]string{"a/b.txt": "", `odd "name`: "ünïcode\n"}, Author: "bob@example.com",
	}))
	n := must[int](t)(alice.OpenDraft(ctx, repo, "main", "x", "Add x", "why"))
	done(t, alice.EditPull(ctx, repo, n, "Add y", "because"))
	if p := must[people.Pull](t)(bob.Pull(ctx, repo, n)); p.Title != draft+"Add y" || p.HeadSHA != head || p.Author != "alice" || p.Body != "because" || p.Base != "main" {
		t.Errorf("the draft: %+v", p)
	}
	done(t, alice.MarkReady(ctx, repo, n))
	_, err := bob.Merge(ctx, repo, n, "merge")
	wantCode(t, "a merge without check and review", err, forge.Conflict)
	review := must[int64](t)(bob.Review(ctx, repo, n, forge.ChangesRequested, "no"))
	wantCode(t, "a dismissal by who may not", f.As("bob").Dismiss(ctx, repo, n, review+1000), forge.NotFound)
	done(t, alice.Dismiss(ctx, repo, n, review))
	must[int64](t)(bob.Review(ctx, repo, n, forge.Approved, ""))
	done(t, bob.Status(ctx, repo, head, "lockkeeper", forge.Failure))
	done(t, bob.Status(ctx, repo, head, "lockkeeper", forge.Success))
	if shown := must[[]people.Shown](t)(alice.Checks(ctx, repo, head)); len(shown) != 1 || shown[0].State != forge.Success || shown[0].Name != "lockkeeper" {
		t.Errorf("checks: %+v", shown)
	}
	sha := must[string](t)(bob.Merge(ctx, repo, n, "squash"))
	if at := must[string](t)(f.Head(ctx, repo, "main")); at != sha || sha == "" {
		t.Errorf("main is at %q after the merge, want %q", at, sha)
	}
	if list := must[[]people.Pull](t)(bob.Pulls(ctx, repo)); len(list) != 1 || !list[0].Merged || list[0].State != forge.Closed || list[0].MergeSHA != sha {
		t.Errorf("pulls: %+v", list)
	}
	_, err = alice.Push(ctx, repo, "main", "main", change("direct"))
	wantCode(t, "a push to a protected branch", err, forge.Forbidden)
}

func TestPeopleTalk(t *testing.T) {
	f, repo := world(t)
	ctx, alice, bob := t.Context(), f.As("alice"), f.As("bob")
	must[string](t)(alice.Push(ctx, repo, "x", "main", change("one")))
	n := must[int](t)(alice.OpenPull(ctx, repo, "main", "x", "Add x", ""))
	id := must[int64](t)(bob.Comment(ctx, repo, n, "first"))
	gone := must[int64](t)(bob.Comment(ctx, repo, n, "gone"))
	must[int64](t)(alice.Comment(ctx, repo, n, "second"))
	done(t, bob.DeleteComment(ctx, repo, n, gone))
	done(t, bob.EditComment(ctx, repo, n, id, "first, edited"))
	var times struct {
		Created time.Time `json:"created_at"`
		Updated time.Time `json:"updated_at"`
	}
	done(t, f.admin().get(ctx, commentPath(repo, id), &times))
	if !times.Updated.After(times.Created) {
		t.Errorf("edited at %s, made at %s: the edit does not show", times.Updated, times.Created)
	}
	list := must[[]people.Comment](t)(alice.Comments(ctx, repo, n))
	if len(list) != 2 || list[0] != (people.Comment{ID: id, Author: "bob", Body: "first, edited"}) || list[1].Author != "alice" {
		t.Errorf("comments: %+v", list)
	}
	done(t, f.as("alice").post(ctx, commentPath(repo, id)+"/reactions", obj{"content": "eyes"}, nil))
	if got := must[map[forge.Reaction][]string](t)(bob.Reactions(ctx, repo, n, id)); !slices.Equal(got[forge.Eyes], []string{"alice"}) {
		t.Errorf("reactions: %v", got)
	}
	issue := must[int](t)(alice.OpenIssue(ctx, repo, "Broken"))
	done(t, alice.CloseIssue(ctx, repo, issue))
	if list := must[[]people.Issue](t)(alice.Issues(ctx, repo)); len(list) != 1 || list[0].State != forge.Closed || list[0].Title != "Broken" {
		t.Errorf("issues: %+v", list)
	}
}

func TestBranchesAreMadeRewrittenAndDeleted(t *testing.T) {
	f, repo := world(t)
	ctx, alice, bob := t.Context(), f.As("alice"), f.As("bob")
	done(t, alice.CreateBranch(ctx, repo, "some/where", "main"))
	must[string](t)(alice.Push(ctx, repo, "some/where", "", change("one"), change("two")))
	again := must[string](t)(alice.ForcePush(ctx, repo, "some/where", "main", change("three")))
	if at := must[string](t)(f.Head(ctx, repo, "some/where")); at != again {
		t.Errorf("after the forced push the branch is at %s, want %s", at, again)
	}
	n := must[int](t)(alice.OpenPull(ctx, repo, "main", "some/where", "x", ""))
	done(t, alice.CreateBranch(ctx, repo, "next", "main"))
	done(t, alice.Retarget(ctx, repo, n, "next"))
	done(t, alice.Close(ctx, repo, n))
	done(t, alice.Reopen(ctx, repo, n))
	if p := must[people.Pull](t)(alice.Pull(ctx, repo, n)); p.Base != "next" || p.State != forge.Open {
		t.Errorf("retargeted and reopened: %+v", p)
	}
	fork := must[forge.RepoRef](t)(bob.Fork(ctx, repo))
	must[string](t)(bob.Push(ctx, fork.String(), "theirs", "main", change("four")))
	must[int](t)(bob.OpenPull(ctx, repo, "main", "bob:theirs", "From a fork", ""))
	done(t, alice.DeleteBranch(ctx, repo, "some/where"))
	if at := must[string](t)(f.Head(ctx, repo, "some/where")); at != "" {
		t.Errorf("a deleted branch is at %s", at)
	}
}

func TestPeopleComeAndGo(t *testing.T) {
	f, repo := world(t)
	ctx, org := t.Context(), strings.ToLower(t.Name())
	carol := must[forge.User](t)(f.AddPerson(ctx, "carol", "carol@example.com", "c@example.org"))
	if again := must[forge.User](t)(f.AddPerson(ctx, "carol")); again != carol || carol.ID == 0 {
		t.Errorf("carol is %+v and %+v", carol, again)
	}
	_, err := f.As("carol").OpenIssue(ctx, repo, "I cannot see you")
	wantCode(t, "an issue by who may not read", err, forge.NotFound)
	done(t, f.AddMember(ctx, org, "carol"))
	done(t, f.AddTeam(ctx, org, "ops", "", "carol"))
	done(t, f.RenameTeam(ctx, org, "ops", "operators"))
	wantCode(t, "a team that was renamed", f.GrantTeam(ctx, repo, "ops"), forge.NotFound)
	done(t, f.GrantTeam(ctx, repo, "operators"))
	must[string](t)(f.As("carol").Push(ctx, repo, "by-carol", "main", change("one")))
	wantCode(t, "a team below another", f.AddTeam(ctx, org, "small", "operators"), forge.Invalid)
	done(t, f.MoveRepo(ctx, repo, "alice/"+org))
	if at := must[string](t)(f.Head(ctx, "alice/"+org, "main")); at == "" {
		t.Error("the repository that moved is empty")
	}
	done(t, f.Grant(ctx, "alice/"+org, "bob", forge.None))
	_, err = f.As("bob").Push(ctx, "alice/"+org, "late", "main", change("two"))
	wantCode(t, "a push by somebody who was a collaborator", err, forge.NotFound)
	done(t, f.DeletePerson(ctx, "carol"))
	if anew := must[forge.User](t)(f.AddPerson(ctx, "carol")); anew.ID == carol.ID {
		t.Errorf("the login was registered anew for the same account: %+v", anew)
	}
}

// door is where webhooks go.
type door struct {
	mu     sync.Mutex
	events []string
	bad    []string
}

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	mac := hmac.New(sha256.New, []byte("secret"))
	mac.Write(body)
	var said struct{ Action string }
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil || json.Unmarshal(body, &said) != nil || r.Header.Get("X-Gitea-Signature") != hex.EncodeToString(mac.Sum(nil)) {
		d.bad = append(d.bad, fmt.Sprint(r.Header))
	}
	d.events = append(d.events, r.Header.Get("X-Gitea-Event")+" "+said.Action)
	w.WriteHeader(http.StatusAccepted)
}

// TestSettledMeansDelivered is what stories rely on: after Settle, whatever was
// done before has reached the door, though Gitea answers first and works later.
func TestSettledMeansDelivered(t *testing.T) {
	f, repo := world(t)
	d := &door{}
	s := httptest.NewServer(d)
	t.Cleanup(s.Close)
	ctx, alice := t.Context(), f.As("alice")
	done(t, f.Admit(ctx, repo))
	done(t, f.Hook(ctx, "http://127.0.0.1:1/nobody", "other"))
	done(t, f.Hook(ctx, s.URL, "secret"))
	must[string](t)(alice.Push(ctx, repo, "x", "main", change("one")))
	n := must[int](t)(alice.OpenPull(ctx, repo, "main", "x", "Add x", ""))
	done(t, f.Settle(ctx))
	before := f.Delivered()
	for round := range 5 {
		d.mu.Lock()
		d.events = nil
		d.mu.Unlock()
		head := must[string](t)(alice.Push(ctx, repo, "x", "", change(fmt.Sprint(round))))
		must[int64](t)(alice.Comment(ctx, repo, n, "hello"))
		done(t, f.Settle(ctx))
		d.mu.Lock()
		got := slices.Sorted(slices.Values(d.events))
		d.mu.Unlock()
		if want := []string{"issue_comment created", "pull_request synchronized", "push "}; !slices.Equal(got, want) {
			t.Fatalf("round %d: delivered %q, want %q", round, got, want)
		}
		if p := must[people.Pull](t)(alice.Pull(ctx, repo, n)); p.HeadSHA != head {
			t.Fatalf("round %d: the pull is at %s, want %s", round, p.HeadSHA, head)
		}
	}
	if got := f.Delivered() - before; got != 15 || len(d.bad) != 0 {
		t.Errorf("delivered %d webhooks, want 15; not signed by the secret: %v", got, d.bad)
	}
}
