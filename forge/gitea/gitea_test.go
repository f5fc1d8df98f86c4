package gitea

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "code.gitea.io/sdk/gitea"

	"lockkeeper/forge"
)

// Threat 8: the token is in no error, log or printed configuration.
func TestConfigurationHidesTheToken(t *testing.T) {
	c := Config{URL: "https://git.example.com/git/", Token: "very-secret"}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "config", c)
	if out := fmt.Sprintf("%v %+v %#v %s", c, c, c, &log); strings.Contains(out, "very-secret") || !strings.Contains(out, "git.example.com") {
		t.Error(out)
	}
}

func TestUnsafeConfigurationIsRefused(t *testing.T) {
	for what, c := range map[string]Config{
		"no URL":          {Token: "x"},
		"no host":         {URL: "https:///git", Token: "x"},
		"plain http":      {URL: "http://git.example.com", Token: "x"},
		"credentials":     {URL: "https://me:pw-secret@git.example.com", Token: "x"},
		"query":           {URL: "https://git.example.com?a=1", Token: "x"},
		"no token":        {URL: "https://git.example.com"},
		"token of a file": {URL: "https://git.example.com", Token: "abc\n"},
	} {
		_, err := New(t.Context(), c)
		if err == nil || strings.Contains(err.Error(), "pw-secret") || strings.Contains(err.Error(), "abc") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// fake answers the API's paths as recorded; what it does not know is 404.
type fake struct {
	*Forge
	mu    sync.Mutex
	paths map[string]string
	auths []string
	now   time.Time
}

func newFake(t *testing.T, root string, paths map[string]string) *fake {
	t.Helper()
	f := &fake{paths: paths, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.auths = append(f.auths, r.Header.Get("Authorization"))
		path := strings.TrimPrefix(r.URL.Path, root+"/api/v1")
		if body, ok := f.paths[path+"?"+r.URL.RawQuery]; ok {
			fmt.Fprint(w, body)
			return
		}
		body, ok := f.paths[path]
		if !ok || !strings.HasPrefix(r.URL.Path, root+"/api/v1") {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"message":"not there"}`)
			return
		}
		fmt.Fprint(w, body)
	}))
	t.Cleanup(srv.Close)
	var err error
	f.Forge, err = New(t.Context(), Config{URL: srv.URL + root + "/", Token: "one", Now: func() time.Time { return f.now }})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

const shopRepo = `{"id":5,"name":"shop","owner":{"id":3,"login":"acme"},"default_branch":"main","html_url":"https://elsewhere.example.com/acme/shop","clone_url":"https://elsewhere.example.com/acme/shop.git"}`

// A server below a path; and threat 8: the credential for Git goes to the host of
// the configuration, whatever the server calls itself.
func TestServerBelowAPath(t *testing.T) {
	f := newFake(t, "/git", map[string]string{"/repositories/5": shopRepo, "/user": `{"id":2,"login":"bot"}`})
	r, err := f.Repo(t.Context(), forge.RepoRef{ID: 5})
	if err != nil || r.String() != "acme/shop" || r.CloneURL != f.root+"/acme/shop.git" || !strings.HasSuffix(f.root, "/git") {
		t.Errorf("%+v, %v", r, err)
	}
	if me, err := f.Self(t.Context()); err != nil || me != (forge.User{ID: 2, Login: "bot", Type: forge.Person}) {
		t.Errorf("%+v, %v", me, err)
	}
}

func TestTokenCanBeReplaced(t *testing.T) {
	f := newFake(t, "", map[string]string{"/repositories/5": shopRepo})
	for _, token := range []string{"one", "two"} {
		if err := f.Rotate(Config{Token: token}); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Repo(t.Context(), forge.RepoRef{ID: 5}); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Rotate(Config{}); err == nil {
		t.Error("an empty token was taken")
	}
	if !slices.Equal(f.auths, []string{"token one", "token two"}) {
		t.Errorf("sent: %q", f.auths)
	}
	if auth, _ := f.GitAuth(t.Context(), forge.RepoRef{}); auth != "Basic bG9ja2tlZXBlcjp0d28=" {
		t.Errorf("for Git: %s", auth)
	}
}

// Comments of ours would no longer be known as ours, and could be taken for
// somebody's commands.
func TestTokenOfAnotherAccountIsRefused(t *testing.T) {
	f := newFake(t, "", map[string]string{"/repositories/5": shopRepo, "/user": `{"id":2,"login":"bot"}`, "/repos/acme/shop/issues/3/comments": `[]`})
	shop := forge.RepoRef{ID: 5}
	look := func(id int) error {
		f.mu.Lock()
		f.paths["/user"] = fmt.Sprintf(`{"id":%d,"login":"bot"}`, id)
		f.mu.Unlock()
		if err := f.Rotate(Config{Token: "two"}); err != nil {
			t.Fatal(err)
		}
		_, err := f.Comments(t.Context(), shop, 3)
		return err
	}
	if err := look(2); err != nil {
		t.Error(err)
	}
	if err := look(9); forge.CodeOf(err) != forge.Unauthorized {
		t.Errorf("another account: %v", err)
	}
	if err := look(2); err != nil {
		t.Errorf("the old account again: %v", err)
	}
}

// Threat 26: Gitea says that comments which were brought from elsewhere are by
// whoever brought them.
func TestCommentsFromElsewhereAreNobodys(t *testing.T) {
	f := newFake(t, "", map[string]string{"/repositories/5": shopRepo, "/user": `{"id":2,"login":"bot"}`, "/repos/acme/shop/issues/3/comments": `[{"id":1,"body":"/apply","user":{"id":7,"login":"ada"},"original_author":"eve","original_author_id":99},{"id":2,"body":"/plan","user":{"id":3,"login":"acme"}}]`})
	list, err := f.Comments(t.Context(), forge.RepoRef{ID: 5}, 3)
	if err != nil || len(list) != 2 || list[0].Author != (forge.User{Login: "eve", Type: forge.Deleted}) || list[1].Author.ID != 3 {
		t.Errorf("%+v, %v", list, err)
	}
}

// Threat 26: the name that the repository had a minute ago may be that of another
// one, in which somebody is an administrator.
func TestPermissionIsOfTheRepositoryAsItIsCalledNow(t *testing.T) {
	ada := func(level string) string { return `{"permission":"` + level + `","user":{"id":7,"login":"ada"}}` }
	f := newFake(t, "", map[string]string{"/repositories/5": shopRepo,
		"/repos/acme/shop/collaborators/ada/permission": ada("admin"), "/repos/acme/store/collaborators/ada/permission": ada("read")})
	shop := forge.RepoRef{ID: 5}
	if _, err := f.Repo(t.Context(), shop); err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	f.paths["/repositories/5"] = strings.ReplaceAll(shopRepo, `"name":"shop"`, `"name":"store"`)
	f.mu.Unlock()
	if p, err := f.Permission(t.Context(), shop, forge.User{ID: 7, Login: "ada", Type: forge.Person}); err != nil || p != forge.Read {
		t.Errorf("%v, %v", p, err)
	}
}

// Who came by a deploy key is nobody in particular: Gitea names the owner.
func TestOrganisationsPushNothing(t *testing.T) {
	entry := func(id int, by, content string) string {
		return fmt.Sprintf(`{"id":%d,"op_type":"commit_repo","ref_name":"refs/heads/x","act_user":%s,"content":%q,"created":"2026-01-02T03:04:05Z"}`, id, by, content)
	}
	sha := strings.Repeat("a", 40)
	for what, x := range map[string]struct {
		by, orgs, users string // who pushed, and what the owner is
		ok              bool
	}{
		"a person":                         {`{"id":7,"login":"ada"}`, "", "", true},
		"the owner, an organisation":       {`{"id":3,"login":"acme"}`, `{"id":3}`, `{"id":3,"login":"acme"}`, false},
		"the owner, a person":              {`{"id":3,"login":"acme"}`, "", `{"id":3,"login":"acme"}`, true},
		"the owner, who hides from us":     {`{"id":3,"login":"acme"}`, "", "", false},
		"an organisation of another spell": {`{"id":3,"login":"Acme"}`, `{"id":3}`, "", false},
	} {
		f := newFake(t, "", map[string]string{"/repositories/5": shopRepo, "/repos/acme/shop/activities/feeds?limit=50&page=2": `[]`,
			"/repos/acme/shop/activities/feeds": "[" + entry(2, x.by, `{"HeadCommit":{"Sha1":"`+sha+`"}}`) + "," + entry(1, x.by, "") + "]"})
		for path, body := range map[string]string{"/orgs/acme": x.orgs, "/users/acme": x.users} {
			if body != "" {
				f.paths[path] = body
			}
		}
		p := forge.Pull{Number: 3, Head: forge.Branch{Name: "x", SHA: sha, RepoID: 5}, Base: forge.Branch{RepoID: 5}}
		if pushes, ok, err := f.Pushes(t.Context(), forge.RepoRef{ID: 5}, p); err != nil || ok != x.ok || len(pushes) != 1 {
			t.Errorf("%s: %+v, %v, %v", what, pushes, ok, err)
		}
	}
}

// Threat 26: a name is believed for a minute only.
func TestNamesAreLookedUpAgain(t *testing.T) {
	f := newFake(t, "", map[string]string{"/user": `{"id":2,"login":"bot"}`, "/repositories/5": shopRepo, "/repos/acme/shop/issues/7/comments": `[]`,
		"/repos/acme/store/issues/7/comments": `[{"id":1,"user":{"id":9,"login":"acme"}}]`})
	ref := forge.RepoRef{ID: 5, Owner: "old", Name: "name"}
	if list, err := f.Comments(t.Context(), ref, 7); err != nil || len(list) != 0 {
		t.Fatalf("%v, %v", list, err)
	}
	f.mu.Lock()
	f.paths["/repositories/5"] = strings.Replace(shopRepo, `"name":"shop"`, `"name":"store"`, 1)
	f.mu.Unlock()
	f.now = f.now.Add(fresh)
	if list, err := f.Comments(t.Context(), ref, 7); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
}

func TestHostileNamesReachNoOtherPath(t *testing.T) {
	f := newFake(t, "", map[string]string{"/repositories/5": strings.Replace(shopRepo, `"shop"`, `"../admin"`, 1)})
	for _, ref := range []forge.RepoRef{{Owner: "..", Name: "x"}, {Owner: "a/b", Name: "x"}, {Owner: "a", Name: "x?y"}, {Owner: "a", Name: ""}, {ID: 5}} {
		if _, err := f.Repo(t.Context(), ref); forge.CodeOf(err) != forge.Invalid {
			t.Errorf("%+v: %v", ref, err)
		}
	}
}

// Threat 26: a login says nothing; the account that has it now is compared.
func TestPermissionIsThatOfTheAccount(t *testing.T) {
	f := newFake(t, "", map[string]string{"/repositories/5": shopRepo})
	ref := forge.RepoRef{ID: 5}
	alice := forge.User{ID: 9, Login: "alice"}
	for word, want := range map[string]forge.Permission{"none": forge.None, "read": forge.Read, "write": forge.Write, "admin": forge.Admin, "owner": forge.Admin, "": forge.None, "root": forge.None} {
		f.paths["/repos/acme/shop/collaborators/alice/permission"] = fmt.Sprintf(`{"permission":%q,"user":{"id":9,"login":"alice"}}`, word)
		f.now = f.now.Add(fresh)
		if got, err := f.Permission(t.Context(), ref, alice); err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", word, got, err, want)
		}
		if got, err := f.Permission(t.Context(), ref, forge.User{ID: 8, Login: "alice"}); err != nil || got != forge.None {
			t.Errorf("%q of another account: %v, %v", word, got, err)
		}
	}
	if got, err := f.Permission(t.Context(), ref, forge.User{ID: 7, Login: "gone"}); err != nil || got != forge.None {
		t.Errorf("a login that is gone: %v, %v", got, err)
	}
}

func TestTitlesOfDrafts(t *testing.T) {
	for title, want := range map[string]string{"WIP: a": "a", "wip:a": "a", "[WIP] a": "a", "WIP:": "WIP:", "Entwurf: a": "Entwurf: a", "a": "a"} {
		if got := undraft(title); got != want {
			t.Errorf("%q: %q, want %q", title, got, want)
		}
	}
}

func activity(id int64, op, branch, content string) *sdk.Activity {
	return &sdk.Activity{ID: id, OpType: op, RefName: "refs/heads/" + branch, Content: content, Created: time.Unix(id, 0), ActUser: &sdk.User{ID: 9, UserName: "alice"}}
}

func moved(from, to string) string {
	return fmt.Sprintf(`{"Commits":[],"HeadCommit":{"Sha1":%q},"CompareURL":"acme/shop/compare/%s...%s","Len":1}`, to, from, to)
}

// A gap in the feed, as people leave who hide what they do, ends the line.
func TestPushesAreALineWithoutGaps(t *testing.T) {
	a, b, c, d := strings.Repeat("a", 40), strings.Repeat("b", 40), strings.Repeat("c", 40), strings.Repeat("d", 40)
	for what, x := range map[string]struct {
		list []*sdk.Activity
		want []string
	}{
		"made and pushed to":       {[]*sdk.Activity{activity(1, "commit_repo", "x", ""), activity(2, "commit_repo", "x", moved(a, b)), activity(3, "commit_repo", "x", moved(b, c))}, []string{"branch_creation >b", " b>c"}},
		"another branch":           {[]*sdk.Activity{activity(1, "commit_repo", "x", moved(a, b)), activity(2, "commit_repo", "y", moved(a, c)), activity(3, "commit_repo", "x", moved(b, d))}, []string{" a>b", " b>d"}},
		"a hidden push":            {[]*sdk.Activity{activity(1, "commit_repo", "x", moved(a, b)), activity(2, "commit_repo", "x", moved(c, d))}, []string{" c>d"}},
		"deleted and made":         {[]*sdk.Activity{activity(1, "commit_repo", "x", moved(a, b)), activity(2, "delete_branch", "x", ""), activity(3, "commit_repo", "x", ""), activity(4, "commit_repo", "x", moved(a, c))}, []string{" a>b", "branch_deletion b>", "branch_creation >c"}},
		"made, deletion hidden":    {[]*sdk.Activity{activity(1, "commit_repo", "x", moved(a, b)), activity(3, "commit_repo", "x", ""), activity(4, "commit_repo", "x", moved(a, c))}, []string{"branch_creation >c"}},
		"too long to be kept":      {[]*sdk.Activity{activity(1, "commit_repo", "x", moved(a, b)), activity(2, "commit_repo", "x", "{}")}, nil},
		"no JSON":                  {[]*sdk.Activity{activity(1, "commit_repo", "x", moved(a, b)), activity(2, "commit_repo", "x", "{")}, nil},
		"tags and pulls":           {[]*sdk.Activity{activity(1, "push_tag", "x", moved(a, b)), activity(2, "merge_pull_request", "", "7|x")}, nil},
		"a mirror's, by nobody":    {[]*sdk.Activity{activity(1, "mirror_sync_push", "x", moved(a, b)), activity(2, "commit_repo", "x", moved(b, c))}, []string{" b>c"}},
		"compared with a branch":   {[]*sdk.Activity{activity(1, "commit_repo", "x", moved("main", b))}, nil},
		"after what nobody can be": {[]*sdk.Activity{activity(1, "commit_repo", "x", "{}"), activity(2, "commit_repo", "x", moved(a, b))}, []string{" a>b"}},
	} {
		fd := &feed{}
		for _, one := range slices.Backward(x.list) {
			if m := toMove(one); m != nil {
				fd.moves = append(fd.moves, m)
			}
		}
		var got []string
		short := func(s string) string { return s[:min(1, len(s))] }
		for _, s := range line(fd.of("x")) {
			got = append(got, fmt.Sprintf("%s %s>%s", s.Kind, short(s.Before), short(s.After)))
		}
		if !slices.Equal(got, x.want) {
			t.Errorf("%s: %q, want %q", what, got, x.want)
		}
	}
}

// A server may give shorter pages than asked for, and leave entries out of them.
func TestListsAreReadToTheirEnd(t *testing.T) {
	for what, x := range map[string]struct {
		sizes []int
		total int
		calls int
		want  int
	}{
		"one page":              {[]int{3}, 3, 1, 3},
		"empty":                 {[]int{0}, 0, 1, 0},
		"full pages":            {[]int{50, 50, 4}, 104, 3, 104},
		"short pages":           {[]int{20, 20, 5}, 45, 3, 45},
		"some hidden":           {[]int{49, 4, 0}, 54, 3, 53},
		"a page hidden":         {[]int{0, 4}, 54, 14, 4},
		"a short page hidden":   {[]int{10, 0, 5}, 25, 4, 15},
		"length not told":       {[]int{50, 3, 0}, -1, 3, 53},
		"length not told, none": {[]int{0}, -1, 1, 0},
	} {
		calls := 0
		list, err := pages(func(n int) ([]int, int, error) {
			calls++
			if n > len(x.sizes) {
				return nil, x.total, nil
			}
			return make([]int, x.sizes[n-1]), x.total, nil
		})
		if err != nil || len(list) != x.want || calls != x.calls {
			t.Errorf("%s: %d entries in %d calls, %v; want %d in %d", what, len(list), calls, err, x.want, x.calls)
		}
	}
}

func TestDeliveriesAreNotTold(t *testing.T) {
	f := newFake(t, "", nil)
	if _, ok, err := f.FailedDeliveries(t.Context(), time.Time{}); ok || err != nil {
		t.Errorf("ok=%v, %v", ok, err)
	}
	if err := f.Redeliver(t.Context(), 1); forge.CodeOf(err) != forge.Invalid {
		t.Error(err)
	}
}

// After an apply a merge must not fail because Gitea is finding out, for all pulls
// into a branch that moved, whether they can be merged.
func TestMergeIsAskedForAgain(t *testing.T) {
	head := strings.Repeat("a", 40)
	for what, c := range map[string]struct {
		refusals  int
		message   string
		mergeable bool
		asked     int
		want      forge.Code
	}{
		"at once":            {0, "", true, 1, ""},
		"the second time":    {1, "Please try again later", true, 2, ""},
		"refused for good":   {9, "Does not have enough approvals", true, 1, forge.Conflict},
		"closed by somebody": {9, "Please try again later (closed)", true, 1, forge.Conflict},
	} {
		asked := 0
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			state := "open"
			switch {
			case r.URL.Path == "/api/v1/repositories/5":
				fmt.Fprint(w, shopRepo)
			case r.Method == http.MethodPost:
				if asked++; asked <= c.refusals {
					w.WriteHeader(http.StatusMethodNotAllowed)
					fmt.Fprintf(w, `{"message":%q}`, c.message)
				}
			default:
				merged := asked > c.refusals
				if merged || strings.Contains(c.message, "closed") {
					state = "closed"
				}
				fmt.Fprintf(w, `{"number":7,"state":%q,"merged":%v,"merge_commit_sha":%q,"mergeable":%v,"base":{"repo_id":5},"head":{"repo_id":5,"sha":%q}}`, state, merged, head, c.mergeable, head)
			}
		}))
		f, err := New(t.Context(), Config{URL: srv.URL, Token: "x"})
		if err != nil {
			t.Fatal(err)
		}
		sha, err := f.Merge(t.Context(), forge.RepoRef{ID: 5}, 7, head, forge.MethodMerge)
		if forge.CodeOf(err) != c.want || asked != c.asked || err == nil && sha != head {
			t.Errorf("%s: %q, %v, asked %d times; want %q after %d", what, sha, err, asked, c.want, c.asked)
		}
		srv.Close()
	}
}

// A merge whose commit could not be read is not taken for refused.
func TestMergeWithoutItsCommitIsNotRefused(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/api/v1/repositories/5":
			fmt.Fprint(w, shopRepo)
		case r.Method == http.MethodPost:
		default:
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	defer srv.Close()
	f, err := New(t.Context(), Config{URL: srv.URL, Token: "x"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Merge(t.Context(), forge.RepoRef{ID: 5}, 7, strings.Repeat("a", 40), forge.MethodMerge)
	var fe *forge.Error
	if !errors.As(err, &fe) || fe.Code != forge.Unavailable || fe.Unsent {
		t.Errorf("%#v", err)
	}
}
