// Package hub is the state of the GitHub look-alike, and what follows from a
// change of it: moved heads, closed pulls, webhooks. It speaks no HTTP itself.
package hub

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"lockkeeper/forge/forgetest/bare"
	"lockkeeper/forge/forgetest/internal/courier"
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

// Hub is the state of one look-alike. Mu guards all of it: methods that take
// names lock by themselves, methods that take a *Repo, *Pull or *Account are
// called with the lock held.
type Hub struct {
	// URL is where the look-alike listens.
	URL string

	Opt     Options
	Root    string // where the repositories are
	Schemas *schema.Set
	hooks   *courier.Courier
	Client  *http.Client

	Mu       sync.Mutex
	Last     time.Time
	LastID   int64
	Accounts map[string]*Account
	Ghost    *Account
	WebFlow  *Account
	Teams    []*Team
	Repos    map[string]*Repo
	Moved    map[string]*Repo
	Apps     []*App
	creds    map[string]*Credential
	Codes    map[string]*App
	// Signatures are GitHub's words for the signatures of commits, by SHA.
	Signatures map[string]string
	Used       map[string]int // requests per credential
	calls      []Call
}

// NewHub makes an empty state for a look-alike that listens on url.
func NewHub(url string, opt Options) (*Hub, error) {
	s := &Hub{
		URL: url, Opt: opt, Last: time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC), LastID: 1000,
		Accounts: map[string]*Account{}, Repos: map[string]*Repo{}, Moved: map[string]*Repo{},
		creds: map[string]*Credential{}, Signatures: map[string]string{}, Codes: map[string]*App{}, Used: map[string]int{}, Client: &http.Client{},
	}
	if opt.RateLimit == 0 {
		s.Opt.RateLimit = 5000
	}
	if opt.Validate != nil {
		set, err := schema.Load()
		if err != nil {
			return nil, err
		}
		s.Schemas = set
	}
	dir, err := os.MkdirTemp("", "forgetest-")
	if err != nil {
		return nil, err
	}
	s.Root = dir
	s.Ghost = s.addAccount("ghost", "User")
	s.WebFlow = s.addAccount("web-flow", "User", "noreply@github.com")
	s.Ghost.ID, s.WebFlow.ID = 10137, 19864447 // as on github.com
	s.hooks = courier.New(s.Client)
	return s, nil
}

// Close ends deliveries and removes the repositories.
func (s *Hub) Close() error {
	s.hooks.Close()
	s.Client.CloseIdleConnections()
	return os.RemoveAll(s.Root)
}

// Signature is what a user's commits say, at a new moment of the clock.
func (s *Hub) Signature(login string) bare.Person {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	who := s.MustAccount(login)
	return bare.Person{Name: who.Login, Email: who.Email(), When: s.Tick()}
}

// ForkRepo copies a repository to another owner, as a fork.
func (s *Hub) ForkRepo(ctx context.Context, fullName, owner string) (int64, error) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	f, err := s.Fork(ctx, s.MustRepo(fullName), s.MustAccount(owner))
	if err != nil {
		return 0, err
	}
	return f.ID, nil
}

// Fork copies a repository to another owner.
func (s *Hub) Fork(ctx context.Context, r *Repo, to *Account) (*Repo, error) {
	if s.Repo(to.Login, r.Name) != nil {
		return nil, fmt.Errorf("fork %s: %s already has a repository of that name", r.Full(), to.Login)
	}
	f := s.newRepo(to, r.Name, r.DefaultBranch, r.private)
	f.Parent = r
	var err error
	if f.Git, err = r.Git.Fork(ctx, s.gitDir(f), r.DefaultBranch); err != nil {
		return nil, err
	}
	if f.Refs, err = f.Git.Refs(ctx); err != nil {
		return nil, err
	}
	s.Repos[strings.ToLower(f.Full())] = f
	return f, nil
}
