package gitlab

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"lockkeeper/forge"
)

const (
	shaBase = "1111111111111111111111111111111111111111"
	shaOld  = "2222222222222222222222222222222222222222"
	shaHead = "3333333333333333333333333333333333333333"
	secret  = "glpat-topsecretvalue"
)

var shop = forge.RepoRef{ID: 7, Owner: "acme/web", Name: "shop"}

// answers is a server that gives recorded shapes by "METHOD /path" below the
// API's root, and by a word of the query for GraphQL ("QUERY word").
type answers map[string]http.HandlerFunc

func say(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

func ok(body string) http.HandlerFunc { return say(200, body) }

func (a answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/git/lab/api/graphql" {
		a.graph(w, r)
		return
	}
	key := r.Method + " " + strings.TrimPrefix(r.URL.Path, "/git/lab/api/v4")
	if h := a[key]; h != nil {
		h(w, r)
		return
	}
	if key == "GET /user" {
		ok(`{"id":99,"username":"project_7_bot_1f","name":"lockkeeper","bot":true,"commit_email":"bot@example.com"}`)(w, r)
		return
	}
	say(404, fmt.Sprintf(`{"message":"404 nothing recorded for %s"}`, key))(w, r)
}

func (a answers) graph(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var q struct{ Query string }
	if err := json.Unmarshal(body, &q); err != nil {
		say(400, `{"message":"no JSON"}`)(w, r)
		return
	}
	for key, h := range a {
		if word, is := strings.CutPrefix(key, "QUERY "); is && strings.Contains(q.Query, word) {
			h(w, r)
			return
		}
	}
	if strings.Contains(q.Query, "users(") {
		ok(`{"data":{"users":{"nodes":[`+strings.Join(people(string(body)), ",")+`]}}}`)(w, r)
		return
	}
	ok(`{"errors":[{"message":"no answer recorded"}]}`)(w, r)
}

// people are accounts for the numbers that are asked for: 90 and above programs.
func people(body string) []string {
	var q struct{ Variables struct{ IDs []string } }
	if json.Unmarshal([]byte(body), &q) != nil {
		return nil
	}
	var out []string
	for _, id := range q.Variables.IDs {
		n := strings.TrimPrefix(id, "gid://gitlab/User/")
		out = append(out, fmt.Sprintf(`{"id":%q,"username":"user%s","bot":%v}`, id, n, len(n) == 2 && n >= "90"))
	}
	return out
}

// driver is one for a GitLab under a sub-path that gives recorded answers.
func driver(t *testing.T, h http.Handler) *Forge {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	f, err := New(t.Context(), Config{URL: s.URL + "/git/lab/", Token: secret})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func wantCode(t *testing.T, what string, err error, want forge.Code) {
	t.Helper()
	if got := forge.CodeOf(err); got != want {
		t.Errorf("%s: code %q, want %q (%v)", what, got, want, err)
	}
}

func user(id int64, login string) forge.User {
	return forge.User{ID: id, Login: login, Type: forge.Person}
}
