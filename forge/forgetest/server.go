package forgetest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"lockkeeper/forge/forgetest/schema"
)

// Options are what a look-alike can be told at its start.
type Options struct {
	// Addr is the loopback address to listen on; "" is 127.0.0.1:0.
	Addr string
	// RealTime lets the clock follow the machine's; it still moves at least a
	// second with every write.
	RealTime bool
	// LazyMergeable answers mergeable=null the first time after a change, as
	// GitHub does while it computes.
	LazyMergeable bool
	// Validate is called with every answer or payload that GitHub's published
	// schemas would not allow.
	Validate func(violation string)
	// RateLimit is the number of requests a credential has per hour; 0 is 5000.
	RateLimit int
}

// Server is one look-alike.
type Server struct {
	// URL is where it listens. The REST API answers under / and /api/v3/.
	URL string

	opt     Options
	dir     string
	http    *http.Server
	api     http.Handler
	schemas *schema.Set
	hooks   *courier
	client  *http.Client

	mu       sync.Mutex
	last     time.Time
	lastID   int64
	accounts map[string]*account
	ghost    *account
	webFlow  *account
	teams    []*team
	repos    map[string]*repo
	moved    map[string]*repo
	apps     []*App
	creds    map[string]*credential
	codes    map[string]*App
	used     map[string]int // requests per credential
	fault    func(*http.Request) *Fault
	calls    []Call
	pushing  sync.Map // repository id -> *sync.Mutex
}

// New starts a look-alike; Close ends it.
func New(opt Options) (*Server, error) {
	s := &Server{
		opt: opt, last: time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC), lastID: 1000,
		accounts: map[string]*account{}, repos: map[string]*repo{}, moved: map[string]*repo{},
		creds: map[string]*credential{}, codes: map[string]*App{}, used: map[string]int{}, client: &http.Client{},
	}
	if opt.RateLimit == 0 {
		s.opt.RateLimit = 5000
	}
	if opt.Validate != nil {
		set, err := schema.Load()
		if err != nil {
			return nil, err
		}
		s.schemas = set
	}
	dir, err := os.MkdirTemp("", "forgetest-")
	if err != nil {
		return nil, err
	}
	s.dir = dir
	s.ghost = s.addAccount("ghost", "User")
	s.webFlow = s.addAccount("web-flow", "User", "noreply@github.com")
	if err := s.listen(opt.Addr); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

func (s *Server) listen(addr string) error {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	s.URL = "http://" + l.Addr().String()
	s.hooks = newCourier(s)
	s.api = s.apiMux()
	s.http = &http.Server{Handler: s.router(), ReadHeaderTimeout: 10 * time.Second}
	go s.http.Serve(l) //nolint:errcheck // always http.ErrServerClosed after Close
	return nil
}

// Close stops answering and delivering, and removes the repositories.
func (s *Server) Close() error {
	s.hooks.close()
	s.client.CloseIdleConnections()
	return errors.Join(s.http.Close(), os.RemoveAll(s.dir))
}

// apiRoots are the first path segments of the REST API; they are no logins.
var apiRoots = map[string]bool{
	"repos": true, "repositories": true, "user": true, "users": true, "orgs": true, "app": true, "apps": true,
	"app-manifests": true, "installation": true, "rate_limit": true, "graphql": true, "meta": true,
}

// router tells the API, Git and the pages for people apart by path.
func (s *Server) router() http.Handler {
	pages := s.pages()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.tripped(w, r) {
			return
		}
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

// Dir is the bare repository's directory, for tests that look inside.
func (s *Server) Dir(fullName string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mustRepo(fullName).git.Dir
}

// CloneURL is the repository's HTTP URL, without credentials.
func (s *Server) CloneURL(fullName string) string { return s.URL + "/" + fullName + ".git" }

// Head is the commit a branch points to, "" when there is no such branch.
func (s *Server) Head(fullName, branch string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mustRepo(fullName).branch(branch)
}

// RepoID is a repository's number.
func (s *Server) RepoID(fullName string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mustRepo(fullName).id
}

// UserID is an account's number.
func (s *Server) UserID(login string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mustAccount(login).id
}

// Now is the look-alike's clock.
func (s *Server) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// Advance moves the clock on.
func (s *Server) Advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = s.last.Add(d.Truncate(time.Second))
}

// ForkRepo copies a repository to another owner, as a fork.
func (s *Server) ForkRepo(ctx context.Context, fullName, owner string) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.fork(ctx, s.mustRepo(fullName), s.mustAccount(owner))
	if err != nil {
		return 0, err
	}
	return f.id, nil
}

func (s *Server) fork(ctx context.Context, r *repo, to *account) (*repo, error) {
	if s.repo(to.login, r.name) != nil {
		return nil, fmt.Errorf("fork %s: %s already has a repository of that name", r.full(), to.login)
	}
	f := s.newRepo(to, r.name, r.defaultBranch, r.private)
	f.parent = r
	var err error
	if f.git, err = r.git.Fork(ctx, s.gitDir(f), r.defaultBranch); err != nil {
		return nil, err
	}
	if f.refs, err = f.git.Refs(ctx); err != nil {
		return nil, err
	}
	s.repos[strings.ToLower(f.full())] = f
	return f, nil
}

// DeleteRepo removes a repository; pulls that came from it keep their commits.
func (s *Server) DeleteRepo(fullName string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	gone := s.mustRepo(fullName)
	delete(s.repos, strings.ToLower(fullName))
	for _, r := range s.repos {
		for _, p := range r.pulls {
			if p.headRepo == gone {
				p.headRepo = nil
			}
		}
	}
}
