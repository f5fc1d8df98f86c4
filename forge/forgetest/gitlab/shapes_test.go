package gitlab_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"

	server "lockkeeper/forge/forgetest/gitlab"
	"lockkeeper/forge/forgetest/gitlab/internal/rest"
	"lockkeeper/forge/people"
	"lockkeeper/forge/people/gitlab"
)

const shop = "acme/tools/shop"

// world is a look-alike with a project in a subgroup: ann and bob write, carol owns.
type world struct {
	*gitlab.Forge
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	received []received
}

type received struct {
	header http.Header
	body   []byte
}

func newWorld(t *testing.T, opt server.Options) *world {
	t.Helper()
	f, err := gitlab.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Forge: f, t: t, ctx: t.Context()}
	t.Cleanup(func() { w.must(f.Close()) })
	for _, login := range []string{"carol", "ann", "bob", "eve"} {
		_, err := f.AddPerson(w.ctx, login, login+"@example.com")
		w.must(err)
	}
	f.Server.AddGroup("acme", "carol")
	f.Server.AddGroup("acme/tools", "carol")
	_, err = f.AddRepo(w.ctx, people.NewRepo{Owner: "acme/tools", Name: "shop", Private: true, Files: map[string]string{"README.md": "# Shop\n"}})
	w.must(err)
	f.Server.Grant(shop, "carol", 40)
	f.Server.Grant(shop, "ann", 30)
	f.Server.Grant(shop, "bob", 30)
	w.must(f.Admit(w.ctx, shop))
	return w
}

// listen has webhooks arrive here.
func (w *world) listen(status func(n int) int) {
	w.t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.mu.Lock()
		w.received = append(w.received, received{r.Header, body})
		n := len(w.received)
		w.mu.Unlock()
		rw.WriteHeader(status(n))
	}))
	w.t.Cleanup(s.Close)
	w.must(w.Hook(w.ctx, s.URL, "hook secret"))
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// open pushes a change to a branch and opens a merge request as somebody.
func (w *world) open(login, branch string) int {
	w.t.Helper()
	p := w.As(login)
	_, err := p.Push(w.ctx, shop, branch, "main", people.Commit{Message: "Change " + branch, Files: map[string]string{branch + ".txt": "hello\n"}})
	w.must(err)
	n, err := p.OpenPull(w.ctx, shop, "main", branch, "Change "+branch, "why")
	w.must(err)
	return n
}

// ask sends a request as somebody and gives what came back, whatever it was.
func (w *world) ask(login, method, path string, in any) (int, http.Header, any) {
	w.t.Helper()
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		w.must(err)
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(w.ctx, method, w.URL()+"/api/v4"+path, body)
	w.must(err)
	if login != "" {
		req.Header.Set("Private-Token", w.Server.Token(login))
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	w.must(err)
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	w.must(err)
	if len(data) == 0 {
		return res.StatusCode, res.Header, nil
	}
	var out any
	if json.Unmarshal(data, &out) != nil {
		out = string(data)
	}
	return res.StatusCode, res.Header, out
}

// wants is what is expected of one operation.
type wants struct {
	route  string
	login  string // carol where it is ""
	in     any
	typ    reflect.Type
	like   string   // the documented example
	unlike []string // what the example has and this answer need not have
}

func of[T any]() reflect.Type { return reflect.TypeFor[T]() }

// filled has something of everything.
func filled(t *testing.T) (*world, *strings.Replacer) {
	w := newWorld(t, server.Options{})
	s := w.Server
	s.AddGroup("acme/tools/night", "carol")
	s.Share(shop, "acme/tools/night", 30)
	s.Protect(shop, "main", server.Rules{Merge: 30, PipelinesMustSucceed: true, Approvals: 1})
	n := w.open("ann", "x")
	bob := w.As("bob")
	_, err := bob.Comment(w.ctx, shop, n, "hello")
	w.must(err)
	note, err := w.As("ann").Comment(w.ctx, shop, n, "a note to look at")
	w.must(err)
	mr := server.MRPath(shop, n)
	w.must(s.As("ann").Do(w.ctx, "PUT", mr, map[string]any{"reviewer_ids": []int64{s.AddUser("bob"), s.AddUser("carol")}, "assignee_ids": []int64{s.AddUser("ann")}}, nil))
	_, err = bob.Review(w.ctx, shop, n, "approved", "")
	w.must(err)
	head, err := w.Head(w.ctx, shop, "x")
	w.must(err)
	w.must(bob.Status(w.ctx, shop, head, "build", "success"))
	w.must(s.As("carol").Do(w.ctx, "POST", mr+fmt.Sprintf("/notes/%d/award_emoji", note), map[string]any{"name": "eyes"}, nil))
	issue, err := bob.OpenIssue(w.ctx, shop, "A bug")
	w.must(err)
	var commented struct{ ID int64 }
	w.must(s.As("bob").Do(w.ctx, "POST", fmt.Sprintf("%s/issues/%d/notes", server.ProjectPath(shop), issue), map[string]any{"body": "me too"}, &commented))
	var pipelines []struct{ ID int64 }
	w.must(s.As("ann").Do(w.ctx, "GET", server.ProjectPath(shop)+"/pipelines", nil, &pipelines))
	return w, strings.NewReplacer("/groups/{id}", "/groups/acme%2Ftools", "{id}", url.PathEscape(shop), "{mr}", fmt.Sprint(n), "{sha}", head, "{branch}", "main",
		"/merge_requests/{mr}/notes/{note}", fmt.Sprintf("/merge_requests/%d/notes/%d", n, note), "/issues/{issue}/notes/{note}", fmt.Sprintf("/issues/%d/notes/%d", issue, commented.ID),
		"{issue}", fmt.Sprint(issue), "{user}", fmt.Sprint(s.AddUser("carol")), "{pipeline}", fmt.Sprint(pipelines[0].ID))
}

// Every answer is held to GitLab's own client and documentation: no key that the
// client does not know, no value that its types cannot hold, and no key missing
// that the documented example has.
func TestAnswersAreShapedAsDocumented(t *testing.T) {
	w, place := filled(t)
	seen := map[string]bool{}
	for _, c := range readings() {
		seen[strings.SplitN(c.route, "?", 2)[0]] = true
		t.Run(c.route, func(t *testing.T) {
			login := c.login
			if login == "" {
				login = "carol"
			}
			method, path, _ := strings.Cut(c.route, " ")
			status, _, answer := w.ask(login, method, place.Replace(path), c.in)
			if status < 200 || status >= 300 {
				t.Fatalf("HTTP %d: %v", status, answer)
			}
			if list, isList := answer.([]any); isList && len(list) == 0 {
				t.Fatal("nothing in the list to look at")
			}
			if c.typ != nil {
				fits(answer, c.typ, "answer", func(problem string) { t.Error(problem) })
			}
			if c.like != "" {
				like(answer, example(t, c.like), c.unlike, func(problem string) { t.Errorf("%s (%s)", problem, c.like) })
			}
		})
	}
	for _, route := range rest.Routes() {
		if !seen[route] && !strings.HasPrefix(route, "DELETE ") {
			t.Errorf("no case for %s", route)
		}
	}
}
