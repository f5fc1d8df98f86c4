package contract

import (
	"io"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"lockkeeper/forge"
)

// files reads what is on a branch, as "mode path content".
func (e *env) files(t *testing.T, branch string) (tip, tree string, lines []string) {
	t.Helper()
	auth := must[string](t)(e.f.GitAuth(t.Context(), e.ref))
	url := must[forge.Repo](t)(e.f.Repo(t.Context(), e.ref)).CloneURL
	dir := t.TempDir()
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir, cmd.Env = dir, gitEnv(auth)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("git %v: %v", args, err)
		}
		return string(out)
	}
	run("init", "-q", "--bare")
	run("fetch", "-q", url, "refs/heads/"+branch)
	for line := range strings.SplitSeq(strings.TrimSuffix(run("ls-tree", "-r", "-z", "FETCH_HEAD"), "\x00"), "\x00") {
		meta, path, _ := strings.Cut(line, "\t")
		f := strings.Fields(meta)
		lines = append(lines, f[0]+" "+path+" "+run("cat-file", "blob", f[2]))
	}
	return strings.TrimSpace(run("rev-parse", "FETCH_HEAD")), strings.TrimSpace(run("rev-parse", "FETCH_HEAD^{tree}")), lines
}

func (e *env) wantFiles(t *testing.T, branch, tip string, want ...string) (tree string) {
	t.Helper()
	at, tree, got := e.files(t, branch)
	if at != tip || !slices.Equal(got, want) {
		t.Errorf("%s is at %s with %q, want %s with %q", branch, at, got, tip, want)
	}
	return tree
}

// text is an edit that writes a file.
func text(s string) forge.FileEdit { return forge.FileEdit{Content: []byte(s)} }

const readme = "100644 README.md hello\n"

func commitEdits(t *testing.T, e *env) {
	alice, ctx := e.person(t, "alice"), t.Context()
	main, _, _ := e.files(t, "main")
	first := must[string](t)(e.f.Commit(ctx, e.ref, forge.NewCommit{Branch: "bot/größe", Base: main, Message: unicode + "\n\nWhy.\nAnd more.\n",
		Edits: map[string]forge.FileEdit{"a/b": text("1\r\n"), "raw": {Content: []byte{0xff, 0, 1}}, "empty": text(""), "größe/🚢 x": text("1\n")}}))
	e.wantFiles(t, "bot/größe", first, readme, "100644 a/b 1\r\n", "100644 empty ", "100644 größe/🚢 x 1\n", "100644 raw \xff\x00\x01")
	second := must[string](t)(e.f.Commit(ctx, e.ref, forge.NewCommit{Branch: "bot/größe", Parent: first, Message: "Two",
		Edits: map[string]forge.FileEdit{"a/b": {Delete: true}, "a": text("file now"), "raw": {Delete: true}, "größe/🚢 x": {Delete: true}}}))
	e.wantFiles(t, "bot/größe", second, readme, "100644 a file now", "100644 empty ")
	e.wantOurs(t, alice, "bot/größe", first, second)

	for what, n := range map[string]forge.NewCommit{
		"no edit":      {Branch: "x", Base: main, Message: "x"},
		"no message":   {Branch: "x", Base: main, Edits: map[string]forge.FileEdit{"a": text("1")}},
		"branch names": {Branch: "x", Base: "main", Message: "x", Edits: map[string]forge.FileEdit{"a": text("1")}},
		"unknown mode": {Branch: "x", Base: main, Message: "x", Edits: map[string]forge.FileEdit{"a": {Mode: "160000"}}},
		"bad name":     {Branch: "x..y", Base: main, Message: "x", Edits: map[string]forge.FileEdit{"a": text("1")}},
		"a path out":   {Branch: "bot/größe", Parent: second, Message: "x", Edits: map[string]forge.FileEdit{"../a": text("1")}},
		"Git's own":    {Branch: "bot/größe", Parent: second, Message: "x", Edits: map[string]forge.FileEdit{"a/.git/config": {Content: []byte("1"), Mode: forge.Executable}}},
		"not there":    {Branch: "bot/größe", Parent: second, Message: "x", Edits: map[string]forge.FileEdit{"gone": {Delete: true}}},
	} {
		_, err := e.f.Commit(ctx, e.ref, n)
		wantCode(t, what, err, forge.Invalid)
	}
}

// wantOurs checks that the commits of a branch are our account's, and signed
// where the forge signs.
func (e *env) wantOurs(t *testing.T, reader forge.User, branch string, shas ...string) {
	t.Helper()
	me := must[forge.User](t)(e.f.Self(t.Context()))
	n := e.OpenPull(t, e.ref, reader, NewPull{Title: "x", Head: branch, Base: "main"})
	list := must[[]forge.Commit](t)(e.f.Commits(t.Context(), e.ref, e.read(t, n)))
	if len(list) != len(shas) {
		t.Fatalf("%d commits, want %d", len(list), len(shas))
	}
	for i, c := range list {
		if c.SHA != shas[i] || c.Author != me || c.Verified != e.Traits.Signs || len(c.Parents) != 1 {
			t.Errorf("commit %d: %+v, want %s by %+v", i, c, shas[i], me)
		}
	}
	if !strings.HasPrefix(list[0].Subject, unicode) {
		t.Errorf("subject %q", list[0].Subject)
	}
}

// Modes that a forge's plain way of committing does not know.
func commitModes(t *testing.T, e *env) {
	ctx := t.Context()
	main, _, _ := e.files(t, "main")
	put := func(parent, base, message string, edits map[string]forge.FileEdit) string {
		t.Helper()
		return must[string](t)(e.f.Commit(ctx, e.ref, forge.NewCommit{Branch: "bot", Parent: parent, Base: base, Message: message, Edits: edits}))
	}
	run := forge.FileEdit{Content: []byte("#!/bin/sh\n"), Mode: forge.Executable}
	first := put("", main, "One", map[string]forge.FileEdit{"run": run, "link": {Content: []byte("run"), Mode: forge.SymbolicLink}, "raw": {Content: []byte{0xff}}})
	e.wantFiles(t, "bot", first, readme, "120000 link run", "100644 raw \xff", "100755 run #!/bin/sh\n")
	second := put(first, "", "Two", map[string]forge.FileEdit{"run": {Content: []byte("changed"), Mode: forge.Executable}, "link": {Delete: true}})
	e.wantFiles(t, "bot", second, readme, "100644 raw \xff", "100755 run changed")
	_, err := e.f.Commit(ctx, e.ref, forge.NewCommit{Branch: "bot", Parent: first, Message: "Late", Edits: map[string]forge.FileEdit{"run": run}})
	wantCode(t, "a branch that moved", err, forge.Conflict)
	_, err = e.f.Commit(ctx, e.ref, forge.NewCommit{Branch: "bot", Base: main, Message: "Again", Edits: map[string]forge.FileEdit{"run": run}})
	wantCode(t, "a branch that exists", err, forge.Conflict)
	_, err = e.f.Commit(ctx, e.ref, forge.NewCommit{Branch: "nowhere", Parent: main, Message: "x", Edits: map[string]forge.FileEdit{"run": run}})
	wantCode(t, "an unknown branch", err, forge.NotFound)
	plain := put(second, "", "Three", map[string]forge.FileEdit{"run": text("plain")})
	e.wantFiles(t, "bot", plain, readme, "100644 raw \xff", "100644 run plain")
}

// Two that write the same branch never lose each other's work (threat 16).
func commitRaces(t *testing.T, e *env) {
	alice, ctx := e.person(t, "alice"), t.Context()
	main, _, _ := e.files(t, "main")
	edit := map[string]forge.FileEdit{"a": text("1\n")}
	first := must[string](t)(e.f.Commit(ctx, e.ref, forge.NewCommit{Branch: "bot", Base: main, Message: "One", Edits: edit}))
	hers := e.Push(t, e.ref, alice, Push{Branch: "bot", Commits: []Commit{{Author: "alice", Message: "Mine", Files: map[string]string{"b": "1\n"}}}})
	for what, n := range map[string]forge.NewCommit{
		"grown":  {Branch: "bot", Parent: first, Message: "Two", Edits: edit},
		"exists": {Branch: "bot", Base: main, Message: "One", Edits: edit},
	} {
		_, err := e.f.Commit(ctx, e.ref, n)
		wantCode(t, what, err, forge.Conflict)
	}
	wantCode(t, "deletion of a branch that moved", e.f.DeleteBranch(ctx, e.ref, "bot", first), forge.Conflict)
	if at, _, _ := e.files(t, "bot"); at != hers {
		t.Errorf("the branch is at %s, want %s", at, hers)
	}
	_, err := e.f.Commit(ctx, e.ref, forge.NewCommit{Branch: "nowhere", Parent: first, Message: "x", Edits: edit})
	wantCode(t, "unknown branch", err, forge.NotFound)
	_, err = e.f.Commit(ctx, e.ref, forge.NewCommit{Branch: "x", Base: strings.Repeat("1", 40), Message: "x", Edits: edit})
	wantCode(t, "unknown base", err, forge.Invalid)
	for range 2 { // gone already is as good
		if err := e.f.DeleteBranch(ctx, e.ref, "bot", hers); err != nil {
			t.Fatal(err)
		}
	}
	again := must[string](t)(e.f.Commit(ctx, e.ref, forge.NewCommit{Branch: "bot", Base: main, Message: "Anew", Edits: edit}))
	e.wantFiles(t, "bot", again, readme, "100644 a 1\n")
	wantCode(t, "deletion of no commit", e.f.DeleteBranch(ctx, e.ref, "bot", ""), forge.Invalid)
}

// A commit whose answer was lost is recognised by its tree, and made where only
// the branch was.
func commitAnswerLost(t *testing.T, e *env) {
	ctx := t.Context()
	main, _, _ := e.files(t, "main")
	for what, mode := range map[string]forge.FileMode{"plain": forge.RegularFile, "run": forge.Executable} {
		n := forge.NewCommit{Branch: "bot/" + what, Base: main, Message: "One\n\nWhy.", Edits: map[string]forge.FileEdit{"a": {Content: []byte("1\n"), Mode: mode}}}
		sha := must[string](t)(e.f.Commit(ctx, e.ref, n))
		_, err := e.f.Commit(ctx, e.ref, n)
		wantCode(t, what+" again, tree unknown", err, forge.Conflict)
		n.Tree = e.wantFiles(t, n.Branch, sha, readme, string(mode)+" a 1\n")
		if again := must[string](t)(e.f.Commit(ctx, e.ref, n)); again != sha {
			t.Errorf("%s: the second call returns %s, want %s", what, again, sha)
		}
		n.Message = "Another reason"
		_, err = e.f.Commit(ctx, e.ref, n)
		wantCode(t, what+" with another message", err, forge.Conflict)
	}

	// Every write but the first is lost: the branch is left behind.
	var writes atomic.Int32
	f := e.Driver(t, func(next http.RoundTripper) http.RoundTripper {
		return rounds(func(r *http.Request) (*http.Response, error) {
			if strings.Contains(r.URL.Path, "access_tokens") || r.Method == http.MethodGet || writes.Add(1) == 1 {
				return next.RoundTrip(r)
			}
			r.Body.Close()
			return nil, io.ErrUnexpectedEOF
		})
	})
	n := forge.NewCommit{Branch: "left", Base: main, Message: "One", Edits: map[string]forge.FileEdit{"a": text("1\n")}}
	sha, err := f.Commit(ctx, e.ref, n)
	if err != nil { // else the branch comes with its commit, by Git
		wantCode(t, "the commit was cut", err, forge.Unavailable)
		sha = must[string](t)(e.f.Commit(ctx, e.ref, n))
	}
	e.wantFiles(t, "left", sha, readme, "100644 a 1\n")
}

// branch makes one with a commit of ours.
func (e *env) branch(t *testing.T, name string) string {
	t.Helper()
	main, _, _ := e.files(t, "main")
	return must[string](t)(e.f.Commit(t.Context(), e.ref, forge.NewCommit{Branch: name, Base: main, Message: "Add " + name, Edits: map[string]forge.FileEdit{name: text("1\n")}}))
}

func ourPulls(t *testing.T, e *env) {
	ctx, me := t.Context(), must[forge.User](t)(e.f.Self(t.Context()))
	alice := e.person(t, "alice")
	tip := e.branch(t, "bot")
	body := "<!-- marker -->\n" + unicode
	p := must[forge.Pull](t)(e.f.CreatePull(ctx, e.ref, forge.NewPull{Title: unicode, Body: body, Head: "bot", Base: "main", Draft: true}))
	if p.Number == 0 || p.Title != unicode || p.Body != body || !p.Draft || p.State != forge.Open || p.Author != me || p.WebURL == "" ||
		p.Head != (forge.Branch{Name: "bot", SHA: tip, RepoID: e.ref.ID}) || p.Base.Name != "main" {
		t.Errorf("opened: %+v", p)
	}
	if got := e.read(t, p.Number); got.Number != p.Number || got.Author != me || got.Body != body {
		t.Errorf("read: %+v", got)
	}
	_, err := e.f.CreatePull(ctx, e.ref, forge.NewPull{Title: "Again", Head: "bot", Base: "main"})
	wantCode(t, "a second pull of the same branch", err, forge.Conflict)
	e.Push(t, e.ref, alice, Push{Branch: "same", From: "main"})
	for what, n := range map[string]forge.NewPull{
		"no difference": {Title: "x", Head: "same", Base: "main"},
		"unknown head":  {Title: "x", Head: "nowhere", Base: "main"},
		"unknown base":  {Title: "x", Head: "bot", Base: "nowhere"},
		"no title":      {Head: "bot", Base: "main"},
		"too long":      {Title: "x", Head: "bot", Base: "same", Body: strings.Repeat("ü", e.f.Limits().Comment+1)},
	} {
		_, err := e.f.CreatePull(ctx, e.ref, n)
		wantCode(t, what, err, forge.Invalid)
	}

	title, text := "Better", "Longer"
	if p = must[forge.Pull](t)(e.f.UpdatePull(ctx, e.ref, p.Number, forge.PullEdit{Title: &title})); p.Title != title || p.Body != body {
		t.Errorf("new title: %+v", p)
	}
	if p = must[forge.Pull](t)(e.f.UpdatePull(ctx, e.ref, p.Number, forge.PullEdit{Body: &text})); p.Title != title || p.Body != text || p.State != forge.Open {
		t.Errorf("new body: %+v", p)
	}
	_, err = e.f.UpdatePull(ctx, e.ref, p.Number+1000, forge.PullEdit{Title: &title})
	wantCode(t, "an unknown pull", err, forge.NotFound)
}

func closedPulls(t *testing.T, e *env) {
	alice, ctx := e.person(t, "alice"), t.Context()
	me := must[forge.User](t)(e.f.Self(ctx))
	tip := e.branch(t, "bot")
	p := must[forge.Pull](t)(e.f.CreatePull(ctx, e.ref, forge.NewPull{Title: "x", Head: "bot", Base: "main"}))
	state := func(s forge.PullState) (forge.Pull, error) {
		return e.f.UpdatePull(ctx, e.ref, p.Number, forge.PullEdit{State: &s})
	}
	for range 2 { // closing twice is harmless
		if got := must[forge.Pull](t)(state(forge.Closed)); got.State != forge.Closed || got.Merged {
			t.Errorf("closed: %+v", got)
		}
	}
	if got := e.read(t, p.Number); got.ClosedBy != me {
		t.Errorf("closed by %+v, want us", got.ClosedBy)
	}
	if got := must[forge.Pull](t)(state(forge.Open)); got.State != forge.Open {
		t.Errorf("reopened: %+v", got)
	}
	if got := e.read(t, p.Number); got.ClosedBy.ID != 0 {
		t.Errorf("an open pull was closed by %+v", got.ClosedBy)
	}
	e.EditPull(t, e.ref, p.Number, alice, PullEdit{State: forge.Closed})
	if got := e.read(t, p.Number); got.ClosedBy != alice {
		t.Errorf("closed by %+v, want alice", got.ClosedBy)
	}
	text := "edited after it was closed"
	if got := must[forge.Pull](t)(e.f.UpdatePull(ctx, e.ref, p.Number, forge.PullEdit{Body: &text})); got.Body != text || got.State != forge.Closed {
		t.Errorf("edited: %+v", got)
	}
	if err := e.f.DeleteBranch(ctx, e.ref, "bot", tip); err != nil {
		t.Fatal(err)
	}
	_, err := state(forge.Open)
	wantCode(t, "reopening without a branch", err, forge.Invalid)

	merged := e.pull(t, alice, "x")
	e.MergePull(t, e.ref, merged, alice, forge.MethodMerge)
	if got := e.read(t, merged); got.ClosedBy.ID != 0 || !got.Merged {
		t.Errorf("merged: %+v", got)
	}
	open := forge.Open
	_, err = e.f.UpdatePull(ctx, e.ref, merged, forge.PullEdit{State: &open})
	wantCode(t, "reopening a merged pull", err, forge.Invalid)
}

func pullsOfBranch(t *testing.T, e *env) {
	alice, eve, ctx := e.person(t, "alice"), e.Person(t, "eve"), t.Context()
	if list := must[[]forge.Pull](t)(e.f.PullsOf(ctx, e.ref, "bot")); len(list) != 0 {
		t.Errorf("pulls of a branch that is not there: %+v", list)
	}
	e.branch(t, "bot")
	e.pull(t, alice, "other")
	e.Push(t, e.ref, alice, Push{Branch: "release", From: "main"})
	var want []int
	closed := forge.Closed
	for _, base := range []string{"main", "main", "release"} {
		p := must[forge.Pull](t)(e.f.CreatePull(ctx, e.ref, forge.NewPull{Title: "x", Head: "bot", Base: base}))
		want = append([]int{p.Number}, want...)
		if len(want) == 1 {
			must[forge.Pull](t)(e.f.UpdatePull(ctx, e.ref, p.Number, forge.PullEdit{State: &closed}))
		}
	}
	e.Grant(t, e.ref, eve, forge.Read)
	f := e.Fork(t, e.ref, eve)
	e.Push(t, f, eve, Push{Branch: "bot", Commits: []Commit{{Author: "eve", Message: "Not ours", Files: map[string]string{"a": "1\n"}}}})
	e.OpenPull(t, e.ref, eve, NewPull{Title: "x", Head: "bot", Base: "main", HeadRepo: f})
	var got []int
	list := must[[]forge.Pull](t)(e.f.PullsOf(ctx, e.ref, "bot"))
	for _, p := range list {
		got = append(got, p.Number)
	}
	if !slices.Equal(got, want) || list[2].State != forge.Closed || list[0].State != forge.Open || list[0].Base.Name != "release" {
		t.Errorf("pulls of the branch: %v, want %v, newest first", got, want)
	}
}

// The rules of a branch hold for us as well.
func commitRefused(t *testing.T, e *env) {
	main, _, _ := e.files(t, "main")
	e.Protect(t, e.ref, "main", []string{"build"}, 1)
	for _, mode := range []forge.FileMode{forge.RegularFile, forge.Executable} {
		_, err := e.f.Commit(t.Context(), e.ref, forge.NewCommit{Branch: "main", Parent: main, Message: "x", Edits: map[string]forge.FileEdit{"a": {Content: []byte("1"), Mode: mode}}})
		if code := forge.CodeOf(err); code != forge.Invalid && code != forge.Forbidden {
			t.Errorf("a commit to a protected branch: %v", err)
		}
	}
	if err := e.f.DeleteBranch(t.Context(), e.ref, "main", main); err == nil {
		t.Error("a protected branch was deleted")
	}
	if at, _, _ := e.files(t, "main"); at != main {
		t.Errorf("main moved to %s", at)
	}
}
