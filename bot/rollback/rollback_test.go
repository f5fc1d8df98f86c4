package rollback_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"lockkeeper/bot/config"
	"lockkeeper/bot/report"
	"lockkeeper/bot/rollback"
	"lockkeeper/forge"
	"lockkeeper/forge/forgetest"
	"lockkeeper/forge/git"
	"lockkeeper/forge/github"
)

const shop = "acme/shop"

// house is a forge with the repository acme/shop, and a Maker that acts as the
// App lockkeeper there.
type house struct {
	*forgetest.Server
	t     *testing.T
	app   *forgetest.App
	forge *github.Forge
	maker *rollback.Maker
	op    config.Repository
}

func newHouse(t *testing.T) *house {
	t.Helper()
	s, err := forgetest.New(forgetest.Options{Validate: func(violation string) { t.Errorf("against GitHub's schema: %s", violation) }})
	if err != nil {
		t.Fatal(err)
	}
	h := &house{Server: s, t: t}
	for _, login := range []string{"owner", "ann", "bob"} {
		s.AddUser(login)
	}
	s.AddOrg("acme", "owner")
	id, err := s.AddRepo(t.Context(), forgetest.NewRepo{Owner: "acme", Name: "shop", Private: true, Files: map[string]string{"a.yaml": lines(nil), "README.md": "hi\n"}})
	h.must(err)
	s.Grant(shop, "ann", "write")
	s.Grant(shop, "bob", "write")
	h.app, err = s.AddApp("acme", "lockkeeper", map[string]string{"contents": "write", "pull_requests": "write", "issues": "write", "metadata": "read"})
	h.must(err)
	s.Install(h.app, "acme")
	h.forge, err = github.New(t.Context(), github.Config{APIURL: s.URL + "/api/v3", AppID: h.app.ID, PrivateKey: []byte(h.app.Key)})
	h.must(err)
	mirrors, err := git.OpenCache(t.Context(), t.TempDir(), git.Options{})
	h.must(err)
	t.Cleanup(func() {
		h.must(mirrors.Close())
		h.must(s.Close())
	})
	h.op = config.Repository{ID: id, Name: shop, Apply: config.ApplyOnComment}
	h.maker = &rollback.Maker{Forge: h.forge, Mirrors: mirrors, Repository: func(ctx context.Context, r config.Repository) (forge.Repo, error) {
		return h.forge.Repo(ctx, r.Ref())
	}}
	return h
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// lines is a file of twenty lines, of which some say something else.
func lines(other map[int]string) string {
	var b strings.Builder
	for i := 1; i <= 20; i++ {
		if text, changed := other[i]; changed {
			fmt.Fprintln(&b, text)
			continue
		}
		fmt.Fprintln(&b, "line", i)
	}
	return b.String()
}

type files = map[string]string

// land opens a pull of ann's with a commit for each change, and merges it.
func (h *house) land(how string, changes ...files) forge.Pull {
	h.t.Helper()
	branch := fmt.Sprintf("topic-%d", len(h.Calls()))
	var commits []forgetest.Commit
	for i, c := range changes {
		commits = append(commits, forgetest.Commit{Message: fmt.Sprintf("%s %d", branch, i), Files: forgetest.Text(c)})
	}
	_, err := h.As("ann").Push(h.t.Context(), shop, branch, "main", commits...)
	h.must(err)
	n, err := h.As("ann").OpenPull(h.t.Context(), shop, "main", branch, "Change "+branch, "")
	h.must(err)
	_, err = h.As("bob").Merge(h.t.Context(), shop, n, how)
	h.must(err)
	return h.read(n)
}

func (h *house) read(n int) forge.Pull {
	h.t.Helper()
	p, err := h.forge.Pull(h.t.Context(), h.op.Ref(), n)
	h.must(err)
	return p
}

func (h *house) request(p forge.Pull) rollback.Request {
	return rollback.Request{Repo: h.op, Pull: p, By: forge.User{ID: h.UserID("bob"), Login: "bob"}, Command: "/rollback"}
}

// open asks, and expects a new pull.
func (h *house) open(r rollback.Request) forge.Pull {
	h.t.Helper()
	out, err := h.maker.Open(h.t.Context(), r)
	h.must(err)
	if out.Refused != "" || out.Found || out.Pull.Number == 0 || out.Pull.State != forge.Open {
		h.t.Fatalf("%+v", out)
	}
	return out.Pull
}

// refused asks, and expects a refusal that says all of these.
func (h *house) refused(r rollback.Request, want ...string) {
	h.t.Helper()
	out, err := h.maker.Open(h.t.Context(), r)
	h.must(err)
	if out.Refused == "" || out.Pull.Number != 0 {
		h.t.Fatalf("not refused: %+v", out)
	}
	said := out.Refused + "\n" + strings.Join(out.Reasons, "\n")
	for _, w := range want {
		if !strings.Contains(said, w) {
			h.t.Errorf("%q is not in %q", w, said)
		}
	}
}

// at is a file on a branch, "" if there is none.
func (h *house) at(branch, name string) string {
	h.t.Helper()
	tree := h.tree(h.Head(shop, branch))
	data, _ := tree.ReadFile(name)
	return string(data)
}

func (h *house) tree(commit string) *git.Tree {
	h.t.Helper()
	r, err := git.Open(h.t.Context(), h.Dir(shop), git.Options{})
	h.must(err)
	h.t.Cleanup(func() { h.must(r.Close()) })
	sha, err := r.TreeOf(h.t.Context(), commit)
	h.must(err)
	tree, err := r.Tree(h.t.Context(), sha)
	h.must(err)
	return tree
}

// calls are the writes and reads by which the App reached the API since reset.
func (h *house) calls() []string {
	var out []string
	for _, c := range h.Calls(h.app.BotLogin()) {
		out = append(out, c.Method+" "+c.Route)
	}
	return out
}

func TestRollbackUndoesOnePullHoweverItWasMerged(t *testing.T) {
	for _, how := range []string{"merge", "squash", "rebase"} {
		t.Run(how, func(t *testing.T) {
			h := newHouse(t)
			h.land("merge", files{"before": "stays\n"})
			bad := h.land(how, files{"a.yaml": lines(map[int]string{2: "bad"})}, files{"new": "bad\n", "README.md": ""})
			h.land("squash", files{"a.yaml": lines(map[int]string{2: "bad", 18: "later"})})

			p := h.open(h.request(bad))
			branch := fmt.Sprintf("lockkeeper/rollback/%d", bad.Number)
			if p.Head.Name != branch || p.Base.Name != "main" || p.Author.Login != h.app.BotLogin() || p.Draft {
				t.Errorf("%+v", p)
			}
			if p.Title != fmt.Sprintf("Rollback: #%d %s", bad.Number, bad.Title) || !strings.HasPrefix(p.Body, report.Marker(fmt.Sprintf("rollback/%d/%d", h.op.ID, bad.Number), 1)) {
				t.Errorf("title %q, body\n%s", p.Title, p.Body)
			}
			for _, want := range []string{fmt.Sprintf("undoes #%d", bad.Number), "bob", "`/rollback`", bad.MergeSHA, "`README.md`, `a.yaml`, `new`", "1 commit that came"} {
				if !strings.Contains(p.Body, want) {
					t.Errorf("%q is not in\n%s", want, p.Body)
				}
			}
			if h.at(branch, "a.yaml") != lines(map[int]string{18: "later"}) || h.at(branch, "new") != "" || h.at(branch, "README.md") != "hi\n" || h.at(branch, "before") == "" {
				t.Errorf("on the branch: %q", h.at(branch, "a.yaml"))
			}
			list, err := h.forge.Commits(t.Context(), h.op.Ref(), h.read(p.Number))
			h.must(err)
			if len(list) != 1 || !list[0].Verified || list[0].Author.Login != h.app.BotLogin() || list[0].Parents[0] != h.Head(shop, "main") {
				t.Errorf("commits: %+v", list)
			}
		})
	}
}

func TestRollbackGoesBackToACommitOrAPull(t *testing.T) {
	h := newHouse(t)
	good := h.land("merge", files{"a.yaml": lines(map[int]string{1: "good"})})
	bad := h.land("squash", files{"a.yaml": lines(map[int]string{1: "good", 2: "bad"})})
	_, err := h.As("owner").Push(t.Context(), shop, "main", "", forgetest.Commit{Message: "Past everybody", Files: forgetest.Text(files{"direct": "x\n"})})
	h.must(err)
	worse := h.land("rebase", files{"a.yaml": lines(map[int]string{1: "good", 2: "worse"})}, files{"b": "b\n"})

	r := h.request(worse)
	r.ToPull, r.Command = good.Number, fmt.Sprintf("/rollback to #%d", good.Number)
	p := h.open(r)
	branch := p.Head.Name
	if got := h.tree(h.Head(shop, branch)).SHA(); got != h.tree(good.MergeSHA).SHA() {
		t.Errorf("the tree is %s, not that of #%d", got, good.Number)
	}
	for _, want := range []string{
		good.MergeSHA + fmt.Sprintf(", when #%d had been merged", good.Number), "everything that came after",
		fmt.Sprintf("| #%d |\n", bad.Number), "| Past everybody | – |", fmt.Sprintf("| #%d |\n", worse.Number),
	} {
		if !strings.Contains(p.Body, want) {
			t.Errorf("%q is not in\n%s", want, p.Body)
		}
	}
	if strings.Count(p.Body, fmt.Sprintf("| #%d |\n", worse.Number)) != 2 || strings.Contains(p.Body, "afterwards") {
		t.Errorf("a rebase of two commits, and nothing stays:\n%s", p.Body)
	}

	// The same by a commit, on another pull.
	r = h.request(bad)
	r.ToSHA = strings.ToUpper(good.MergeSHA[:9])
	if p = h.open(r); h.tree(h.Head(shop, p.Head.Name)).SHA() != h.tree(good.MergeSHA).SHA() {
		t.Errorf("not the tree of %s", good.MergeSHA)
	}
}

func TestRollbackIsRefusedWithReasons(t *testing.T) {
	h := newHouse(t)
	first := h.land("squash", files{"a.yaml": lines(map[int]string{1: "one"})})
	second := h.land("merge", files{"a.yaml": lines(map[int]string{1: "two"})})
	_, err := h.As("ann").Push(t.Context(), shop, "open", "main", forgetest.Commit{Message: "x", Files: forgetest.Text(files{"x": "x"})})
	h.must(err)
	n, err := h.As("ann").OpenPull(t.Context(), shop, "main", "open", "Open", "")
	h.must(err)

	h.refused(h.request(h.read(n)), fmt.Sprintf("#%d is not merged", n))
	h.refused(h.request(first), "later changes on main", "in conflict: `a.yaml`", "git revert --no-edit", first.MergeSHA+"`", "/rollback to ", "git switch -c rollback-1 origin/main", "open a pull")
	for _, c := range []struct {
		sha  string
		pull int
		want string
	}{
		{pull: 999, want: "there is no pull #999"},
		{pull: n, want: fmt.Sprintf("#%d was not merged into main", n)},
		{pull: second.Number, want: "already; name something earlier"},
		{sha: second.MergeSHA, want: "already; name something earlier"},
		{sha: second.Head.SHA, want: "is not on main itself"}, // the other parent of a merge
		{sha: "0000000", want: "is not on main itself"},
	} {
		r := h.request(second)
		r.ToSHA, r.ToPull = c.sha, c.pull
		h.refused(r, c.want)
	}
	gone := second
	gone.MergeSHA = second.Head.SHA
	h.refused(h.request(gone), "main was rewritten")
	if calls := h.calls(); slices.ContainsFunc(calls, func(c string) bool { return strings.HasPrefix(c, "POST") && !strings.Contains(c, "access_tokens") }) {
		t.Errorf("a refusal wrote: %v", calls)
	}
}

func TestRollbackOfWhatIsUndoneAlreadyIsRefused(t *testing.T) {
	h := newHouse(t)
	bad := h.land("squash", files{"a.yaml": lines(map[int]string{1: "bad"})})
	p := h.open(h.request(bad))
	_, err := h.As("bob").Merge(t.Context(), shop, p.Number, "squash")
	h.must(err)
	h.refused(h.request(bad), fmt.Sprintf("nothing to undo: #%d did", p.Number))
	// The rollback is a pull like any other: it can be rolled back itself.
	again := h.open(h.request(h.read(p.Number)))
	if h.at(again.Head.Name, "a.yaml") != lines(map[int]string{1: "bad"}) || again.Head.Name != rollback.Branch(p.Number) {
		t.Errorf("%+v", again)
	}
}

func TestSecondRollbackFindsTheFirst(t *testing.T) {
	h := newHouse(t)
	bad := h.land("squash", files{"a.yaml": lines(map[int]string{1: "bad"})})
	p := h.open(h.request(bad))
	h.ForgetCalls()
	r := h.request(bad)
	r.ToSHA = bad.Base.SHA
	out, err := h.maker.Open(t.Context(), r)
	if err != nil || !out.Found || out.Pull.Number != p.Number {
		t.Errorf("%+v, %v", out, err)
	}
	if calls := h.calls(); len(calls) != 2 { // the pulls of the branch, and where to clone
		t.Errorf("%v", calls)
	}
}

// Closed by a person and asked for again: the branch is made anew, from where
// main is now.
func TestRollbackAfterTheFirstWasClosed(t *testing.T) {
	h := newHouse(t)
	bad := h.land("squash", files{"a.yaml": lines(map[int]string{1: "bad"})})
	first := h.open(h.request(bad))
	_, err := h.As("ann").Push(t.Context(), shop, first.Head.Name, "", forgetest.Commit{Message: "Ann's", Files: forgetest.Text(files{"ann": "x\n"})})
	h.must(err)
	h.must(h.As("ann").Close(t.Context(), shop, first.Number))
	h.land("squash", files{"c": "c\n"})
	second := h.open(h.request(bad))
	if second.Number == first.Number || h.at(second.Head.Name, "ann") != "" || h.at(second.Head.Name, "c") == "" {
		t.Errorf("%+v", second)
	}
}

func TestBranchLeftBehindByACrashIsUsedAgain(t *testing.T) {
	for _, moved := range []bool{false, true} {
		for what, cut := range map[string]func(*http.Request) bool{
			"after the branch": func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/graphql") },
			"after the commit": func(r *http.Request) bool { return r.Method == "POST" && strings.HasSuffix(r.URL.Path, "/pulls") },
		} {
			t.Run(fmt.Sprintf("%s, moved %v", what, moved), func(t *testing.T) {
				h := newHouse(t)
				bad := h.land("squash", files{"a.yaml": lines(map[int]string{1: "bad"})})
				h.Fail(func(r *http.Request) *forgetest.Fault {
					if cut(r) {
						return &forgetest.Fault{Cut: true}
					}
					return nil
				})
				if _, err := h.maker.Open(t.Context(), h.request(bad)); forge.CodeOf(err) != forge.Unavailable {
					t.Fatalf("cut: %v", err)
				}
				h.Fail(nil)
				if moved {
					h.land("squash", files{"c": "c\n"})
				}
				p := h.open(h.request(bad))
				list, err := h.forge.Commits(t.Context(), h.op.Ref(), h.read(p.Number))
				if err != nil || len(list) != 1 || list[0].Parents[0] != h.Head(shop, "main") || h.at(p.Head.Name, "a.yaml") != lines(nil) {
					t.Errorf("%+v, %v", list, err)
				}
			})
		}
	}
}

// Threat 16: what was done before an answer got lost is found, not done twice.
func TestLostAnswersOpenOnePull(t *testing.T) {
	for _, path := range []string{"/git/refs", "/graphql", "/pulls"} {
		t.Run(path, func(t *testing.T) {
			h := newHouse(t)
			bad := h.land("squash", files{"a.yaml": lines(map[int]string{1: "bad"})})
			h.Fail(func(r *http.Request) *forgetest.Fault {
				if r.Method == "POST" && strings.HasSuffix(r.URL.Path, path) {
					return &forgetest.Fault{Cut: true, After: true}
				}
				return nil
			})
			if _, err := h.maker.Open(t.Context(), h.request(bad)); forge.CodeOf(err) != forge.Unavailable {
				t.Fatalf("cut: %v", err)
			}
			h.Fail(nil)
			out, err := h.maker.Open(t.Context(), h.request(bad))
			if err != nil || out.Pull.Number == 0 || out.Found != (path == "/pulls") {
				t.Fatalf("%+v, %v", out, err)
			}
			all, err := h.forge.PullsOf(t.Context(), h.op.Ref(), rollback.Branch(bad.Number))
			if err != nil || len(all) != 1 {
				t.Errorf("%d pulls, %v", len(all), err)
			}
			list, err := h.forge.Commits(t.Context(), h.op.Ref(), h.read(out.Pull.Number))
			if err != nil || len(list) != 1 {
				t.Errorf("%d commits, %v", len(list), err)
			}
		})
	}
}

// answering is a transport made of a function.
type answering func(*http.Request) (*http.Response, error)

func (f answering) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// GitHub may know a branch that it made a moment ago in one place and not yet
// in another.
func TestBranchThatTheForgeSeesLateIsKept(t *testing.T) {
	h := newHouse(t)
	bad := h.land("squash", files{"a.yaml": lines(map[int]string{1: "bad"})})
	late := 1
	over := answering(func(r *http.Request) (*http.Response, error) {
		if late == 0 || !strings.HasSuffix(r.URL.Path, "/graphql") {
			return http.DefaultTransport.RoundTrip(r)
		}
		late--
		w := httptest.NewRecorder()
		fmt.Fprint(w, `{"data":{"createCommitOnBranch":null},"errors":[{"type":"STALE_DATA","message":"Expected branch to point to x but it did not."}]}`)
		return w.Result(), nil
	})
	f, err := github.New(t.Context(), github.Config{APIURL: h.URL + "/api/v3", AppID: h.app.ID, PrivateKey: []byte(h.app.Key), HTTPClient: &http.Client{Transport: over}})
	h.must(err)
	h.maker.Forge = f
	if p := h.open(h.request(bad)); h.at(p.Head.Name, "a.yaml") != lines(nil) {
		t.Errorf("%+v", p)
	}
	if late != 0 {
		t.Error("nothing was late")
	}
}

func TestSomebodyElsesBranchIsLeftAlone(t *testing.T) {
	h := newHouse(t)
	bad := h.land("squash", files{"a.yaml": lines(map[int]string{1: "bad"})})
	branch := rollback.Branch(bad.Number)
	tip, err := h.As("ann").Push(t.Context(), shop, branch, "main", forgetest.Commit{Message: "Mine", Files: forgetest.Text(files{"ann": "x\n"})})
	h.must(err)
	h.refused(h.request(bad), "`"+branch+"` holds commits of somebody else")
	n, err := h.As("ann").OpenPull(t.Context(), shop, "main", branch, "Mine", report.Marker(fmt.Sprintf("rollback/%d/%d", h.op.ID, bad.Number), 1))
	h.must(err)
	h.refused(h.request(bad), fmt.Sprintf("#%d, which is not lockkeeper's", n))
	if h.Head(shop, branch) != tip {
		t.Error("the branch moved")
	}
}

// What the forge keeps from us is said, and how to do it by hand.
func TestForgeThatRefusesTheCommitIsExplained(t *testing.T) {
	h := newHouse(t)
	bad := h.land("merge", files{"a.yaml": lines(map[int]string{1: "bad"})})
	h.Fail(func(r *http.Request) *forgetest.Fault {
		if r.Method == "POST" && strings.HasSuffix(r.URL.Path, "/git/refs") {
			return &forgetest.Fault{Status: 403, Message: "Resource not accessible by integration"}
		}
		return nil
	})
	h.refused(h.request(bad), "not accessible by integration", "git revert --no-edit -m 1 "+bad.MergeSHA)
}

// Apps may not touch workflows without a permission that lockkeeper does not
// ask for; the branch that was made for it goes again.
func TestRollbackOfAWorkflowIsLeftToPeople(t *testing.T) {
	h := newHouse(t)
	h.land("squash", files{".github/workflows/ci.yml": "on: push\n"})
	bad := h.land("squash", files{".github/workflows/ci.yml": "on: pull_request_target\n"})
	h.refused(h.request(bad), "without `workflows` permission", "git revert --no-edit")
	if sha := h.Head(shop, rollback.Branch(bad.Number)); sha != "" {
		t.Errorf("the branch is left behind at %s", sha)
	}
}

func TestWhatCannotBeCommittedIsRefused(t *testing.T) {
	h := newHouse(t)
	many := files{}
	for i := range 1001 {
		many[fmt.Sprintf("many/%d", i)] = "x\n"
	}
	h.refused(h.request(h.land("squash", many)), "1001 files would change", "git revert --no-edit")

	c, dir := h.As("ann"), t.TempDir()
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull,
			"GIT_AUTHOR_NAME=ann", "GIT_AUTHOR_EMAIL=ann@example.com", "GIT_COMMITTER_NAME=ann", "GIT_COMMITTER_EMAIL=ann@example.com")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	run("clone", "-q", h.Dir(shop), ".")
	run("switch", "-qc", "sub")
	run("update-index", "--add", "--cacheinfo", "160000,"+h.Head(shop, "main")+",sub")
	run("commit", "-qm", "A submodule")
	h.must(c.PushFrom(t.Context(), dir, shop, "sub"))
	n, err := c.OpenPull(t.Context(), shop, "main", "sub", "Submodule", "")
	h.must(err)
	_, err = c.Merge(t.Context(), shop, n, "squash")
	h.must(err)
	h.refused(h.request(h.read(n)), "submodule", "git revert --no-edit")
	r := h.request(h.read(n))
	r.ToSHA = h.read(1).Base.SHA
	h.refused(r, "would change", "git read-tree -u --reset "+r.ToSHA, "git commit -m")
}

func TestModesComeBack(t *testing.T) {
	h := newHouse(t)
	ref, ctx := h.op.Ref(), t.Context()
	run := forge.FileEdit{Content: []byte("#!/bin/sh\n"), Mode: forge.Executable}
	link := forge.FileEdit{Content: []byte("run"), Mode: forge.SymbolicLink}
	_, err := h.forge.Commit(ctx, ref, forge.NewCommit{Branch: "main", Parent: h.Head(shop, "main"), Message: "Tools", Edits: map[string]forge.FileEdit{"run": run, "link": link}})
	h.must(err)
	good := h.tree(h.Head(shop, "main")).SHA()
	bad := h.land("squash", files{"run": "", "link": ""})
	p := h.open(h.request(bad))
	if got := h.tree(h.Head(shop, p.Head.Name)).SHA(); got != good {
		t.Errorf("tree %s, want %s", got, good)
	}
}

// Few calls: the pulls of the branch, the repository, the commits of the pull,
// the branch, the commit, the pull.
func TestRollbackTakesSixCalls(t *testing.T) {
	h := newHouse(t)
	bad := h.land("squash", files{"a.yaml": lines(map[int]string{1: "bad"})})
	_, err := h.forge.Self(t.Context())
	h.must(err)
	h.ForgetCalls()
	h.open(h.request(bad))
	if calls := h.calls(); len(calls) != 6 {
		t.Errorf("%d calls: %v", len(calls), calls)
	}
}

func TestBranchesOfRollbacks(t *testing.T) {
	for name, want := range map[string]int{
		"lockkeeper/rollback/7": 7, "lockkeeper/rollback/07": 0, "lockkeeper/rollback/-7": 0, "lockkeeper/rollback/": 0, "lockkeeper/rollback/0": 0,
		"lockkeeper/rollback/7/x": 0, "x/lockkeeper/rollback/7": 0, "lockkeeper/drift/7": 0,
	} {
		if n, ok := rollback.Of(name); ok != (want != 0) || ok && n != want {
			t.Errorf("Of(%q) = %d, %v", name, n, ok)
		}
	}
}
