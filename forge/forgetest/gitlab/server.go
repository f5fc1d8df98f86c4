package gitlab

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"lockkeeper/forge/forgetest/bare"
	"lockkeeper/forge/forgetest/gitlab/internal/graphql"
	"lockkeeper/forge/forgetest/gitlab/internal/lab"
	"lockkeeper/forge/forgetest/gitlab/internal/rest"
)

// Options are what a look-alike can be told at its start.
type Options = lab.Options

// obj is a JSON object.
type obj = map[string]any

// Server is one look-alike: its state behind HTTP.
type Server struct {
	*lab.Lab

	http    *http.Server
	rest    http.Handler
	pages   http.Handler
	pushing sync.Map // project id -> *sync.Mutex

	faulty sync.Mutex
	fault  func(*http.Request) *Fault
}

// New starts a look-alike; Close ends it.
func New(opt Options) (*Server, error) {
	l, err := net.Listen("tcp", cmp.Or(opt.Addr, "127.0.0.1:0"))
	if err != nil {
		return nil, err
	}
	state, err := lab.New("http://"+l.Addr().String(), opt)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	s := &Server{Lab: state, rest: rest.New(state)}
	s.pages = s.browser()
	s.http = &http.Server{Handler: http.HandlerFunc(s.serve), ReadHeaderTimeout: 10 * time.Second}
	go s.http.Serve(l) //nolint:errcheck // always http.ErrServerClosed after Close
	return s, nil
}

// Close stops answering and delivering, and removes the repositories.
func (s *Server) Close() error { return errors.Join(s.http.Close(), s.Lab.Close()) }

// serve takes the relative root off, and answers unless a fault was asked for.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	path, below := strings.CutPrefix(r.URL.EscapedPath(), s.Opt.Root)
	if !below || path != "" && path[0] != '/' {
		http.NotFound(w, r)
		return
	}
	inner := withPath(r, path)
	answer := http.HandlerFunc(s.route)
	if !s.tripped(w, inner, answer) {
		answer.ServeHTTP(w, inner)
	}
}

// route tells the APIs, Git and the pages for people apart.
func (s *Server) route(w http.ResponseWriter, r *http.Request) {
	path := r.URL.EscapedPath()
	switch {
	case strings.HasPrefix(path, "/api/v4/"):
		s.rest.ServeHTTP(w, withPath(r, strings.TrimPrefix(path, "/api/v4")))
	case path == "/api/graphql":
		s.graphql(w, r)
	case strings.Contains(path, ".git/"):
		s.git(w, r)
	default:
		s.pages.ServeHTTP(w, r)
	}
}

func withPath(r *http.Request, escaped string) *http.Request {
	r2 := r.Clone(r.Context())
	u, err := url.Parse(escaped)
	if err != nil {
		return r
	}
	u.RawQuery = r.URL.RawQuery
	r2.URL = u
	return r2
}

// token finds the token of a request, and whether it is good: it came in any of the
// ways that GitLab takes one. No token at all is good, and nobody's.
func (s *Server) token(r *http.Request) (*lab.Token, bool) {
	value := r.Header.Get("Private-Token")
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		value = bearer
	} else if _, password, ok := r.BasicAuth(); ok {
		value = password // the name does not matter
	}
	if value == "" {
		return nil, true
	}
	t := s.Tokens[value]
	if t == nil || !t.Active(s.Clock()) {
		return nil, false
	}
	return t, true
}

func (s *Server) graphql(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	var in struct {
		Query     string
		Variables map[string]any
	}
	if err != nil || json.Unmarshal(body, &in) != nil {
		http.Error(w, `{"errors":[{"message":"Unexpected end of document"}]}`, http.StatusUnprocessableEntity)
		return
	}
	s.Mu.Lock()
	defer s.Mu.Unlock()
	t, good := s.token(r)
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	call := lab.Call{Method: r.Method, Route: "/graphql", Path: r.URL.Path, Status: http.StatusOK}
	var out any
	var user *lab.User
	if t != nil {
		user = t.User
		call.User = user.Login
	}
	if good {
		out = graphql.Answer(context.WithoutCancel(r.Context()), s.Lab, user, in.Query, in.Variables)
	} else {
		call.Status, out = http.StatusUnauthorized, obj{"errors": []any{obj{"message": "Invalid token"}}}
		w.WriteHeader(call.Status)
	}
	s.Note(call)
	json.NewEncoder(w).Encode(out) //nolint:errcheck // the client went away
}

// git hands a request to the real git http-backend. Pushes to one project go one
// after the other, so that each is attributed to its pusher.
func (s *Server) git(w http.ResponseWriter, r *http.Request) {
	full, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), ".git/")
	push := rest == "git-receive-pack" || r.URL.Query().Get("service") == "git-receive-pack"
	s.Mu.Lock()
	project, user, status := s.gitAccess(r, full, push)
	var env []string
	if status == 0 {
		locked, kept := s.Guards(user, project)
		env = []string{"FORGETEST_LOCKED=" + strings.Join(locked, " "), "FORGETEST_KEPT=" + strings.Join(kept, " ")}
	}
	s.Mu.Unlock()
	if status != 0 {
		s.refuseGit(w, status)
		return
	}
	if rest == "git-receive-pack" {
		lock, _ := s.pushing.LoadOrStore(project.ID, &sync.Mutex{})
		lock.(*sync.Mutex).Lock()
		defer lock.(*sync.Mutex).Unlock()
	}
	bare.Serve(w, r, s.Dir, "/"+filepath.Base(project.Git.Dir)+"/"+rest, env)
	if rest == "git-receive-pack" {
		s.Mu.Lock()
		defer s.Mu.Unlock()
		// The push has happened whether or not the client still listens.
		s.RefsMoved(context.WithoutCancel(r.Context()), project, user) //nolint:errcheck // the client sees git's own answer
	}
}

func (s *Server) refuseGit(w http.ResponseWriter, status int) {
	text := map[int]string{
		http.StatusUnauthorized: "HTTP Basic: Access denied. If a password was provided for Git authentication, the password was incorrect or you're required to use a token instead of a password.",
		http.StatusNotFound:     "The project you were looking for could not be found or you don't have permission to view it.",
		http.StatusForbidden:    "You are not allowed to push code to this project.",
	}[status]
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="GitLab"`)
	}
	http.Error(w, text, status)
}

func (s *Server) gitAccess(r *http.Request, full string, push bool) (*lab.Project, *lab.User, int) {
	t, good := s.token(r)
	if !good {
		return nil, nil, http.StatusUnauthorized
	}
	var user *lab.User
	if t != nil {
		user = t.User
	}
	project := s.Project(full)
	if project == nil {
		project = s.Moved[strings.ToLower(full)]
	}
	switch {
	case (project == nil || push || !s.Sees(nil, project)) && user == nil:
		return nil, nil, http.StatusUnauthorized
	case project == nil || !s.Sees(user, project):
		return nil, nil, http.StatusNotFound
	case !s.Reads(user, project):
		return nil, nil, http.StatusForbidden
	case t != nil && !t.Can("read_repository") && !push, push && !t.Can("write_repository"):
		return nil, nil, http.StatusForbidden
	case push && (!s.May(user, project, lab.Developer) || project.Archived):
		return nil, nil, http.StatusForbidden
	}
	return project, user, 0
}
