package gitea_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lockkeeper/forge"
	"lockkeeper/forge/contract"
	"lockkeeper/forge/gitea"
)

// do asks the server as somebody for what no suite needs.
func (w *world) do(t *testing.T, login, method, path string, body any) {
	t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, w.people.URL()+"/api/v1"+path, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(login, w.people.Server.Password)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		text, _ := io.ReadAll(resp.Body)
		t.Fatalf("%s %s: %s: %s", method, path, resp.Status, text)
	}
}

// writer is somebody who may write.
func (w *world) writer(t *testing.T, ref forge.RepoRef, login string) forge.User {
	t.Helper()
	u := w.Person(t, login)
	w.Grant(t, ref, u, forge.Write)
	return u
}

// one is a push of one file.
func one(branch, from string, by forge.User, file, text string) contract.Push {
	return contract.Push{Branch: branch, From: from, Commits: []contract.Commit{{Author: by.Login, Message: "Change " + file, Files: map[string]string{file: text}}}}
}

// settled reads a pull once it is known whether it can be merged.
func settled(t *testing.T, f forge.Forge, ref forge.RepoRef, number int) forge.Pull {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		p, err := f.Pull(ctx, ref, number)
		if err != nil {
			t.Fatal(err)
		}
		if p.Mergeable != nil {
			return p
		}
		select {
		case <-ctx.Done():
			t.Fatal("it is never told whether the pull can be merged")
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Threats 27 and 34: every commit of a pull is the pull's, whatever way it was
// merged, and what was pushed past everybody is nobody's.
func TestCommitsBelowAMergeAreThePulls(t *testing.T) {
	w := newWorld(t)
	f, ref := w.Driver(t, nil), w.Repo(t, "shop")
	alice := w.writer(t, ref, "alice")
	numbers := func(sha string) []int {
		t.Helper()
		list, err := f.CommitPulls(t.Context(), ref, sha)
		if err != nil {
			t.Fatal(err)
		}
		var out []int
		for _, p := range list {
			out = append(out, p.Number)
		}
		return out
	}
	for _, m := range []forge.MergeMethod{forge.MethodMerge, forge.MethodRebase} {
		direct := w.Push(t, ref, alice, one("main", "", alice, string(m)+"-direct", "1\n"))
		branch := "by-" + string(m)
		w.Push(t, ref, alice, one(branch, "main", alice, string(m)+"-a", "1\n"))
		w.Push(t, ref, alice, one(branch, "", alice, string(m)+"-b", "1\n"))
		n := w.OpenPull(t, ref, alice, contract.NewPull{Title: "x", Head: branch, Base: "main"})
		p := settled(t, f, ref, n)
		list, err := f.Commits(t.Context(), ref, p)
		if err != nil || len(list) != 2 {
			t.Fatalf("%+v, %v", list, err)
		}
		// The lower commit is in an open pull, and not in main.
		if got := numbers(list[0].SHA); !slices.Equal(got, []int{n}) {
			t.Errorf("%s: a commit of an open pull: %v", m, got)
		}
		// A commit on main under the branch: the rebase makes new commits.
		w.Push(t, ref, alice, one("main", "", alice, string(m)+"-moved", "1\n"))
		merged := w.MergePull(t, ref, n, alice, m)
		lower := list[0].SHA
		if m == forge.MethodRebase {
			lower = w.parent(t, ref, merged)
			if lower == list[0].SHA {
				t.Fatal("the rebase made no new commit")
			}
		}
		if got := numbers(lower); !slices.Equal(got, []int{n}) {
			t.Errorf("%s: the lower commit: %v, want %d", m, got, n)
		}
		if got := numbers(direct); len(got) != 0 {
			t.Errorf("%s: a direct push is of %v", m, got)
		}
	}
}

// parent is a commit's first parent.
func (w *world) parent(t *testing.T, ref forge.RepoRef, sha string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.people.URL()+"/api/v1/repos/"+ref.String()+"/git/commits/"+sha, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("alice", w.people.Server.Password)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var c struct{ Parents []struct{ SHA string } }
	if err := json.NewDecoder(resp.Body).Decode(&c); err != nil || len(c.Parents) == 0 {
		t.Fatalf("%+v, %v", c, err)
	}
	return c.Parents[0].SHA
}

// What people hide is not made up.
func TestHiddenActivityMakesPushesUnknown(t *testing.T) {
	w := newWorld(t)
	f, ref := w.Driver(t, nil), w.Repo(t, "shop")
	alice, shy := w.writer(t, ref, "alice"), w.writer(t, ref, "shy")
	w.do(t, "shy", http.MethodPatch, "/user/settings", map[string]any{"hide_activity": true})
	w.Push(t, ref, alice, one("x", "main", alice, "a", "1\n"))
	n := w.OpenPull(t, ref, alice, contract.NewPull{Title: "x", Head: "x", Base: "main"})
	told := func(want bool) {
		t.Helper()
		pushes, ok, err := f.Pushes(t.Context(), ref, settled(t, f, ref, n))
		if err != nil || ok != want {
			t.Errorf("pushes: %+v, %v, %v; want %v", pushes, ok, err, want)
		}
		pushes, ok, err = f.BranchPushes(t.Context(), ref, "x", time.Time{})
		if err != nil || ok != want {
			t.Errorf("pushes to the branch: %+v, %v, %v; want %v", pushes, ok, err, want)
		}
	}
	told(true)
	w.Push(t, ref, shy, one("x", "", shy, "b", "1\n"))
	told(false)
	w.Push(t, ref, alice, one("x", "", alice, "c", "1\n"))
	told(false)
	w.do(t, "shy", http.MethodPatch, "/user/settings", map[string]any{"hide_activity": false})
	told(true)
}

func TestRulesOfABranchBlock(t *testing.T) {
	w := newWorld(t)
	f, ref := w.Driver(t, nil), w.Repo(t, "shop")
	alice, bob := w.writer(t, ref, "alice"), w.writer(t, ref, "bob")
	head := w.Push(t, ref, alice, one("x", "main", alice, "Secret/key", "1\n"))
	n := w.OpenPull(t, ref, alice, contract.NewPull{Title: "x", Head: "x", Base: "main"})
	w.do(t, w.people.Access().Login, http.MethodPost, "/repos/"+ref.String()+"/branch_protections", map[string]any{
		"rule_name": "ma*", "enable_status_check": true, "status_check_contexts": []string{"ci/*", "lock*"}, "required_approvals": 1,
		"ignore_stale_approvals": true, "block_on_outdated_branch": true, "protected_file_patterns": "secret/**; other", "block_on_official_review_requests": true,
		"enable_push": true,
	})
	blocked := func(want ...string) {
		t.Helper()
		got, err := f.MergeBlockers(t.Context(), ref, settled(t, f, ref, n), "lockkeeper")
		slices.Sort(want)
		slices.Sort(got)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("blockers: %q, %v\nwant %q", got, err, want)
		}
	}
	file := "the rule of the branch main protects Secret/key, which can only be pushed"
	review := "1 of 1 required approving reviews are missing"
	blocked(file, review, `the required check "ci/*" has not run`)
	w.Status(t, ref, head, "ci/test", false)
	w.Status(t, ref, head, "ci/lint", true)
	if err := f.RequestReview(t.Context(), ref, n, []forge.User{bob}, nil); err != nil {
		t.Fatal(err)
	}
	blocked(file, review, `the required check "ci/test" failed`, "bob was asked for a review and has not given one")
	w.Status(t, ref, head, "ci/test", true)
	w.Review(t, ref, n, bob, forge.Approved, "yes")
	w.Push(t, ref, bob, one("main", "", bob, "b", "1\n"))
	blocked(file, "the branch is behind main and has to be brought up to date first")
	head = w.Push(t, ref, alice, contract.Push{Branch: "x", Commits: []contract.Commit{{Author: "alice", Message: "Catch up", Merge: "main", Files: map[string]string{"Secret/key": "2\n"}}}})
	for _, name := range []string{"ci/test", "ci/lint"} {
		w.Status(t, ref, head, name, true)
	}
	blocked(file, review) // the approval is stale
}

func TestConflictIsTold(t *testing.T) {
	w := newWorld(t)
	f, ref := w.Driver(t, nil), w.Repo(t, "shop")
	alice := w.writer(t, ref, "alice")
	head := w.Push(t, ref, alice, one("x", "main", alice, "README.md", "one\n"))
	n := w.OpenPull(t, ref, alice, contract.NewPull{Title: "x", Head: "x", Base: "main"})
	if p := settled(t, f, ref, n); !*p.Mergeable {
		t.Errorf("at first: %+v", p)
	}
	w.Push(t, ref, alice, one("main", "", alice, "README.md", "two\n"))
	p := settled(t, f, ref, n)
	if *p.Mergeable || p.MergeState != "conflict" {
		t.Errorf("in conflict: %+v", p)
	}
	if got, err := f.MergeBlockers(t.Context(), ref, p, "lockkeeper"); err != nil || len(got) != 1 || !strings.Contains(got[0], "conflicts with main") {
		t.Errorf("blockers: %q, %v", got, err)
	}
	if _, err := f.Merge(t.Context(), ref, n, head, forge.MethodMerge); forge.CodeOf(err) != forge.Conflict {
		t.Errorf("merge: %v", err)
	}
}

// Gitea looks at every pull into a branch anew when the branch moves, and merges
// none until it knows; after an apply that must not be the end.
func TestMergeWaitsWhileTheServerThinks(t *testing.T) {
	w := newWorld(t)
	f, ref := w.Driver(t, nil), w.Repo(t, "shop")
	alice := w.writer(t, ref, "alice")
	var numbers []int
	var heads []string
	for _, branch := range []string{"a", "b", "c", "d"} {
		heads = append(heads, w.Push(t, ref, alice, one(branch, "main", alice, branch, "1\n")))
		numbers = append(numbers, w.OpenPull(t, ref, alice, contract.NewPull{Title: branch, Head: branch, Base: "main"}))
	}
	for i, n := range numbers {
		sha, err := f.Merge(t.Context(), ref, n, heads[i], forge.MethodMerge)
		if err != nil || sha == "" {
			t.Errorf("merge of #%d right after another: %q, %v", n, sha, err)
		}
	}
}

// Nobody is guessed: co-authors whom the pull does not show are accounts without
// an ID, which policy counts as somebody unknown.
func TestCoAuthorsAreThoseOfThePull(t *testing.T) {
	w := newWorld(t)
	f, ref := w.Driver(t, nil), w.Repo(t, "shop")
	alice, bob := w.writer(t, ref, "alice"), w.writer(t, ref, "bob")
	w.Person(t, "carol")
	w.Push(t, ref, alice, contract.Push{Branch: "x", From: "main", Commits: []contract.Commit{
		{Author: "alice", Message: "One\n\nCo-authored-by: Bob <" + strings.ToUpper(contract.Email("bob")) + ">\nCo-authored-by: Carol <" + contract.Email("carol") + ">", Files: map[string]string{"a": "1\n"}},
		{Author: "bob", Message: "Two", Files: map[string]string{"a": "2\n"}},
	}})
	n := w.OpenPull(t, ref, alice, contract.NewPull{Title: "x", Head: "x", Base: "main"})
	list, err := f.Commits(t.Context(), ref, settled(t, f, ref, n))
	if err != nil || len(list) != 2 || !slices.Equal(list[0].CoAuthors, []forge.User{bob, {Login: contract.Email("carol"), Type: forge.Deleted}}) || list[0].Author != alice || list[1].Author != bob {
		t.Errorf("%+v, %v", list, err)
	}
}

// What the server sends is what the driver reads.
func TestDeliveriesOfTheServer(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	seen := map[string]forge.Event{}
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = gitea.Verify(r.Header, body, [][]byte{[]byte("old"), []byte("secret")})
		}
		if err == nil {
			err = gitea.Verify(r.Header, append(body, ' '), [][]byte{[]byte("secret")})
			if err == nil {
				t.Error("another body fits the signature")
			}
			err = nil
		}
		var ev forge.Event
		if err == nil {
			ev, err = gitea.ParseEvent(r.Header, body)
		}
		if err != nil {
			t.Errorf("%v: %v", r.Header, err)
		}
		mu.Lock()
		defer mu.Unlock()
		ev.Delivery = ""
		seen[ev.Type] = ev
	}))
	defer srv.Close()
	if err := w.people.Hook(t.Context(), srv.URL, "secret"); err != nil {
		t.Fatal(err)
	}
	f, ref := w.Driver(t, nil), w.Repo(t, "shop")
	alice, bob := w.writer(t, ref, "alice"), w.writer(t, ref, "bob")
	w.Push(t, ref, alice, one("x", "main", alice, "a", "1\n"))
	n := w.OpenPull(t, ref, alice, contract.NewPull{Title: "x", Head: "x", Base: "main"})
	head := w.Push(t, ref, alice, one("x", "", alice, "a", "2\n"))
	w.Comment(t, ref, n, bob, "/plan")
	w.Review(t, ref, n, bob, forge.ChangesRequested, "no")
	w.Review(t, ref, n, bob, forge.Commented, "hm")
	w.Review(t, ref, n, bob, forge.Approved, "yes")
	w.Status(t, ref, head, "ci", true)
	if err := f.RequestReview(t.Context(), ref, n, []forge.User{bob}, nil); err != nil {
		t.Fatal(err)
	}
	w.do(t, "alice", http.MethodPost, "/repos/"+ref.String()+"/issues", map[string]any{"title": "x"})
	if err := w.people.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	me, err := f.Self(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for kind, want := range map[string]forge.Event{
		"push":                         {Branch: "x", Sender: alice.ID},
		"pull_request":                 {Pull: n, Sender: alice.ID},
		"pull_request_sync":            {Pull: n, Sender: alice.ID},
		"pull_request_comment":         {Pull: n, Sender: bob.ID},
		"pull_request_review_rejected": {Pull: n, Sender: bob.ID},
		"pull_request_review_comment":  {Pull: n, Sender: bob.ID},
		"pull_request_review_approved": {Pull: n, Sender: bob.ID},
		"pull_request_review_request":  {Pull: n, Sender: me.ID},
		"status":                       {Commit: head, Sender: alice.ID},
	} {
		want.Type, want.Repo = kind, ref
		got := seen[kind]
		if kind == "status" {
			want.Sender = got.Sender // whoever the suite has write statuses
		}
		if got != want {
			t.Errorf("%s: %+v, want %+v", kind, got, want)
		}
	}
	if _, ok := seen["issues"]; ok {
		t.Error("a webhook came that nobody asked for")
	}
}
