// Package lab is the state of the GitLab look-alike, and what follows from a
// change of it: new versions of merge requests, approvals that are reset, quick
// actions, webhooks. It speaks no HTTP itself.
package lab

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"lockkeeper/forge/forgetest/bare"
	"lockkeeper/forge/forgetest/gitlab/internal/post"
	"lockkeeper/forge/forgetest/internal/courier"
)

// obj is a JSON object on its way out.
type obj = map[string]any

// Options are what a look-alike can be told at its start.
type Options struct {
	// Addr is the loopback address to listen on; "" is 127.0.0.1:0.
	Addr string
	// Root is the relative URL root of a GitLab that lives below a path, such as
	// "/tools/gitlab"; "" is none.
	Root string
	// RealTime lets the clock follow the machine's; it still moves at least a
	// second with every write.
	RealTime bool
	// RateLimit is the number of requests a token has per minute; 0 is 2000, as
	// on gitlab.com.
	RateLimit int
}

// Lab is the state of one look-alike. Mu guards all of it: exported methods that
// take names lock by themselves, those that take pointers are called with the
// lock held.
type Lab struct {
	// URL is where people and programs find it, the relative root included.
	URL string

	Opt  Options
	Dir  string // where the repositories are
	life context.Context
	end  context.CancelFunc
	Post *courier.Courier
	// Client is what the people and the courier use.
	Client *http.Client

	Mu       sync.Mutex
	last     time.Time
	lastID   int64
	Users    []*User
	Groups   []*Group
	Projects []*Project
	Tokens   map[string]*Token
	Moved    map[string]*Project // by the path that a project had
	// System hooks are told of every project.
	System []*post.Hook
	Used   map[string]int // requests per token
	calls  []Call
}

// New makes an empty state for a look-alike that is found at url.
func New(url string, opt Options) (*Lab, error) {
	if opt.RateLimit == 0 {
		opt.RateLimit = 2000
	}
	s := &Lab{
		URL: url + opt.Root, Opt: opt, last: time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC), lastID: 100,
		Tokens: map[string]*Token{}, Moved: map[string]*Project{}, Used: map[string]int{}, Client: &http.Client{},
	}
	dir, err := os.MkdirTemp("", "gitlabtest-")
	if err != nil {
		return nil, err
	}
	s.Dir = dir
	s.life, s.end = context.WithCancel(context.Background()) // ends with Close
	s.Post = courier.New(s.Client)
	s.Post.Watch(s.answered)
	return s, nil
}

// Close ends deliveries and removes the repositories.
func (s *Lab) Close() error {
	s.Post.Close()
	s.end()
	s.Client.CloseIdleConnections()
	return os.RemoveAll(s.Dir)
}

// Tick moves the clock and says what it shows. Every write has a time of its own,
// a second and some milliseconds after the one before.
func (s *Lab) Tick() time.Time {
	next := s.last.Add(time.Second + 7*time.Millisecond)
	if now := time.Now().UTC().Truncate(time.Millisecond); s.Opt.RealTime && now.After(next) {
		next = now
	}
	s.last = next
	return next
}

// Clock is what the clock shows now.
func (s *Lab) Clock() time.Time {
	if now := time.Now().UTC(); s.Opt.RealTime && now.After(s.last) {
		return now
	}
	return s.last
}

// Now is Clock for those who do not hold the lock.
func (s *Lab) Now() time.Time {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return s.Clock()
}

// Advance moves the clock on.
func (s *Lab) Advance(d time.Duration) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.last = s.Clock().Add(d)
}

// NextID is a number that nothing has.
func (s *Lab) NextID() int64 {
	s.lastID++
	return s.lastID
}

// Stamp writes a time as GitLab's API does.
func Stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// orNil is null for an empty text.
func orNil(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// Call is one request, for those who count them.
type Call struct {
	Method, Route, Path string
	User                string
	Status              int
}

// Note writes a request down.
func (s *Lab) Note(c Call) { s.calls = append(s.calls, c) }

// Calls lists the requests so far.
func (s *Lab) Calls() []Call {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return append([]Call(nil), s.calls...)
}

// GitDir is where a project's repository is kept: by number, because projects
// are renamed and moved.
func (s *Lab) GitDir(p *Project) string {
	return filepath.Join(s.Dir, fmt.Sprintf("%d.git", p.ID))
}

// Signature is what a user's commits say, at a new moment of the clock.
func (s *Lab) Signature(login string) bare.Person {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return person(s.MustUser(login), s.Tick())
}

// Settle waits until every webhook was answered.
func (s *Lab) Settle(ctx context.Context) error { return s.Post.Flush(ctx) }

// person is what a user's commits say.
func person(u *User, at time.Time) bare.Person {
	return bare.Person{Name: u.Name, Email: u.Email(), When: at}
}
