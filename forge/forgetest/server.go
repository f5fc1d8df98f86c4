package forgetest

import (
	"cmp"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"lockkeeper/forge/forgetest/internal/hub"
	"lockkeeper/forge/forgetest/internal/rest"
)

// Server is one look-alike: its state behind HTTP.
type Server struct {
	*hub.Hub

	http    *http.Server
	api     http.Handler
	pushing sync.Map // repository id -> *sync.Mutex

	faulty sync.Mutex
	fault  func(*http.Request) *Fault
}

// New starts a look-alike; Close ends it.
func New(opt hub.Options) (*Server, error) {
	l, err := net.Listen("tcp", cmp.Or(opt.Addr, "127.0.0.1:0"))
	if err != nil {
		return nil, err
	}
	h, err := hub.NewHub("http://"+l.Addr().String(), opt)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	s := &Server{Hub: h, api: rest.NewAPI(h)}
	s.http = &http.Server{Handler: s.router(), ReadHeaderTimeout: 10 * time.Second}
	go s.http.Serve(l) //nolint:errcheck // always http.ErrServerClosed after Close
	return s, nil
}

// Close stops answering and delivering, and removes the repositories.
func (s *Server) Close() error {
	return errors.Join(s.http.Close(), s.Hub.Close())
}

// apiRoots are the first path segments of the REST API; they are no logins.
var apiRoots = map[string]bool{
	"repos": true, "repositories": true, "user": true, "users": true, "orgs": true, "app": true, "apps": true,
	"app-manifests": true, "installation": true, "rate_limit": true, "graphql": true, "meta": true,
}

// router tells the API, Git and the pages for people apart by path.
func (s *Server) router() http.Handler {
	pages := s.pages()
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.EscapedPath()
		if rest, ok := strings.CutPrefix(path, "/api/"); ok {
			rest = "/" + strings.TrimPrefix(rest, "v3/")
			s.api.ServeHTTP(w, withPath(r, rest))
			return
		}
		first, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
		switch {
		case apiRoots[first] && !(first == "apps" && strings.Contains(rest, "installations")):
			s.api.ServeHTTP(w, r)
		case strings.Contains(path, ".git/"):
			s.serveGit(w, r)
		default:
			pages.ServeHTTP(w, r)
		}
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.tripped(w, r, answer) {
			answer.ServeHTTP(w, r)
		}
	})
}

func withPath(r *http.Request, escaped string) *http.Request {
	r2 := r.Clone(r.Context())
	u, err := r.URL.Parse(escaped)
	if err != nil {
		return r
	}
	u.RawQuery = r.URL.RawQuery
	r2.URL = u
	return r2
}
