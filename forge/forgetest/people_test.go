package forgetest_test

import (
	"fmt"
	"slices"
	"testing"

	"lockkeeper/forge/forgetest"
)

type author struct {
	Login string
	ID    int64
	Type  string
}

type said struct {
	User        author
	Association string `json:"author_association"`
}

// comments are what everybody reads under a pull.
func (w *world) comments(n int) []said {
	w.t.Helper()
	var list []said
	w.must(w.As("carol").Do(w.ctx, "GET", fmt.Sprintf("/repos/%s/issues/%d/comments", shop, n), nil, &list))
	return list
}

func (w *world) say(n int, logins ...string) {
	w.t.Helper()
	for _, login := range logins {
		_, err := w.As(login).Comment(w.ctx, shop, n, "hello")
		w.must(err)
	}
}

// Threat 26: the number stays, the login goes to whoever takes it.
func TestAccountsKeepTheirNumberAndLoseTheirLogin(t *testing.T) {
	w := newWorld(t, forgetest.Options{})
	n := w.pull("ann", "feature", map[string]string{"a": "a"})
	before, token := w.UserID("bob"), w.As("bob")
	w.say(n, "bob", "ann")
	w.RenameUser("bob", "robert")
	taker := w.AddUser("bob")
	w.say(n, "bob")
	_, err := token.Comment(w.ctx, shop, n, "still me")
	w.must(err)
	w.DeleteUser("ann")
	var got []author
	for _, c := range w.comments(n) {
		got = append(got, c.User)
	}
	want := []author{{"robert", before, "User"}, {"ghost", 10137, "User"}, {"bob", taker, "User"}, {"robert", before, "User"}}
	if !slices.Equal(got, want) || taker == before {
		t.Errorf("authors %+v, want %+v", got, want)
	}
	var level struct{ Permission string }
	w.must(w.As("carol").Do(w.ctx, "GET", "/repos/"+shop+"/collaborators/bob/permission", nil, &level))
	if level.Permission != "read" { // the repository is public
		t.Errorf("the login's new owner has inherited the permission %q", level.Permission)
	}
}

func TestWhoLeavesTheOrganisationIsOutside(t *testing.T) {
	w := newWorld(t, forgetest.Options{})
	n := w.pull("ann", "feature", map[string]string{"a": "a"})
	w.say(n, "ann", "bob", "carol", "eve")
	words := func() []string {
		var list []string
		for _, c := range w.comments(n) {
			list = append(list, c.Association)
		}
		return list
	}
	if got, want := words(), []string{"COLLABORATOR", "MEMBER", "MEMBER", "NONE"}; !slices.Equal(got, want) {
		t.Errorf("associations %v, want %v", got, want)
	}
	w.AddMember("acme", "ann")
	w.RemoveMember("acme", "bob")
	if got, want := words(), []string{"MEMBER", "COLLABORATOR", "MEMBER", "NONE"}; !slices.Equal(got, want) {
		t.Errorf("associations afterwards %v, want %v", got, want)
	}
	var members []author
	w.must(w.As("ann").Do(w.ctx, "GET", "/orgs/acme/teams/platform/members", nil, &members))
	if slices.ContainsFunc(members, func(a author) bool { return a.Login == "bob" }) {
		t.Error("who left the organisation is still in its team")
	}
}

func TestSignaturesAreWhatTheForgeFinds(t *testing.T) {
	w := newWorld(t, forgetest.Options{})
	var want []string
	for _, reason := range []string{"valid", "unknown_key", ""} {
		_, err := w.As("ann").Push(w.ctx, shop, "signed", "main", forgetest.Commit{
			Message: "m", Signature: reason, Files: forgetest.Text(map[string]string{"a": reason + "x"})})
		w.must(err)
		if reason == "" {
			reason = "unsigned"
		}
		want = append(want, fmt.Sprint(reason, reason == "valid"))
	}
	var cmp struct {
		Commits []struct {
			Commit struct {
				Verification struct {
					Verified bool
					Reason   string
				}
			}
		}
	}
	w.must(w.As("ann").Do(w.ctx, "GET", "/repos/"+shop+"/compare/main...signed", nil, &cmp))
	var got []string
	for _, c := range cmp.Commits {
		got = append(got, fmt.Sprint(c.Commit.Verification.Reason, c.Commit.Verification.Verified))
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// activity is "type by" of what moved a branch, newest first.
func (w *world) activity(branch string) []string {
	w.t.Helper()
	var list []struct {
		Type  string `json:"activity_type"`
		Actor author
	}
	w.must(w.As("ann").Do(w.ctx, "GET", "/repos/"+shop+"/activity?ref="+branch, nil, &list))
	var out []string
	for _, a := range list {
		out = append(out, a.Type+" "+a.Actor.Login)
	}
	return out
}

// Threat 27: administrators get past the rules unless these bind them too.
func TestAdministratorsPassTheRulesAndAreSeen(t *testing.T) {
	w := newWorld(t, forgetest.Options{})
	rules := forgetest.Protection{Checks: []string{"lockkeeper"}, Reviews: 1}
	w.Protect(shop, "main", rules)
	n := w.pull("ann", "feature", map[string]string{"a": "a"})
	if _, err := w.As("ann").Merge(w.ctx, shop, n, "merge"); err == nil {
		t.Error("a writer merged past the rules")
	}
	_, err := w.As("carol").Merge(w.ctx, shop, n, "merge")
	w.must(err)
	direct := forgetest.Commit{Message: "Direct", Files: forgetest.Text(map[string]string{"b": "b"})}
	_, err = w.As("carol").Push(w.ctx, shop, "main", "", direct)
	w.must(err)
	if got, want := w.activity("main"), []string{"push carol", "pr_merge carol"}; !slices.Equal(got, want) {
		t.Errorf("activity %v, want %v", got, want)
	}
	rules.EnforceAdmins = true
	w.Protect(shop, "main", rules)
	if _, err = w.As("carol").Push(w.ctx, shop, "main", "", direct); err == nil {
		t.Error("an administrator pushed past rules that bind administrators")
	}
}

func TestUpdateBranchMergesTheBaseIntoTheHead(t *testing.T) {
	w := newWorld(t, forgetest.Options{})
	n := w.pull("ann", "feature", map[string]string{"a": "a"})
	if _, err := w.As("ann").UpdateBranch(w.ctx, shop, n); err == nil {
		t.Error("a branch that is up to date was updated")
	}
	_, err := w.As("bob").Push(w.ctx, shop, "main", "", forgetest.Commit{Message: "b", Files: forgetest.Text(map[string]string{"b": "b"})})
	w.must(err)
	old := w.Head(shop, "feature")
	sha, err := w.As("bob").UpdateBranch(w.ctx, shop, n)
	w.must(err)
	var commit struct {
		Author, Committer author
		Parents           []struct{ SHA string }
	}
	w.must(w.As("ann").Do(w.ctx, "GET", "/repos/"+shop+"/commits/"+sha, nil, &commit))
	if commit.Author.Login != "bob" || commit.Committer.ID != 19864447 || len(commit.Parents) != 2 ||
		commit.Parents[0].SHA != old || commit.Parents[1].SHA != w.Head(shop, "main") || w.Head(shop, "feature") != sha {
		t.Errorf("%+v at %s", commit, w.Head(shop, "feature"))
	}

	_, err = w.ForkRepo(w.ctx, shop, "eve")
	w.must(err)
	_, err = w.As("eve").Push(w.ctx, "eve/shop", "theirs", "main", forgetest.Commit{Message: "c", Files: forgetest.Text(map[string]string{"c": "c"})})
	w.must(err)
	n, err = w.As("eve").OpenPull(w.ctx, shop, "main", "eve:theirs", "Theirs", "")
	w.must(err)
	_, err = w.As("bob").Push(w.ctx, shop, "main", "", forgetest.Commit{Message: "d", Files: forgetest.Text(map[string]string{"d": "d"})})
	w.must(err)
	sha, err = w.As("eve").UpdateBranch(w.ctx, shop, n)
	w.must(err)
	if w.Head("eve/shop", "theirs") != sha {
		t.Errorf("the fork's branch is at %s, the pull at %s", w.Head("eve/shop", "theirs"), sha)
	}
}

func TestTheQueueMergesUnderItsOwnAccount(t *testing.T) {
	w := newWorld(t, forgetest.Options{})
	n := w.pull("ann", "feature", map[string]string{"a": "a"})
	if _, err := w.MergeQueued(w.ctx, shop, n); err == nil {
		t.Error("a pull that is not in the queue was merged")
	}
	group, err := w.Enqueue(w.ctx, shop, n)
	w.must(err)
	sha, err := w.MergeQueued(w.ctx, shop, n)
	w.must(err)
	if sha != group || w.Head(shop, "main") != group {
		t.Errorf("main is at %s, merged %s, the group was %s", w.Head(shop, "main"), sha, group)
	}
	if got := w.activity("main"); len(got) == 0 || got[0] != "merge_queue_merge github-merge-queue[bot]" {
		t.Errorf("activity %v", got)
	}
	var p struct {
		Merged bool
		SHA    string `json:"merge_commit_sha"`
	}
	w.must(w.As("ann").Do(w.ctx, "GET", fmt.Sprintf("/repos/%s/pulls/%d", shop, n), nil, &p))
	if !p.Merged || p.SHA != group {
		t.Errorf("%+v", p)
	}
}

// Threat 25: a name is free for all.
func TestAnotherAppWritesACheckUnderAnyName(t *testing.T) {
	w := newWorld(t, forgetest.Options{})
	w.pull("ann", "feature", map[string]string{"a": "a"})
	head := w.Head(shop, "feature")
	forger, err := w.AddApp("eve", "forger", map[string]string{"checks": "write", "statuses": "write"})
	w.must(err)
	w.Install(forger, "acme")
	_, err = w.AsApp(w.app, shop).Check(w.ctx, shop, head, "lockkeeper", "failure")
	w.must(err)
	_, err = w.AsApp(forger, shop).Check(w.ctx, shop, head, "lockkeeper", "success")
	w.must(err)
	w.must(w.AsApp(forger, shop).Status(w.ctx, shop, head, "lockkeeper", "success"))
	var list struct {
		Runs []struct {
			Conclusion string
			App        struct{ Slug string }
		} `json:"check_runs"`
	}
	w.must(w.As("ann").Do(w.ctx, "GET", "/repos/"+shop+"/commits/"+head+"/check-runs", nil, &list))
	if len(list.Runs) != 2 || list.Runs[0].App.Slug != "lockkeeper" || list.Runs[0].Conclusion != "failure" || list.Runs[1].App.Slug != "forger" {
		t.Errorf("%+v", list)
	}
}
