package forgetest

import (
	"time"

	"lockkeeper/forge/forgetest/internal/courier"
	"lockkeeper/forge/forgetest/internal/hub"
)

// What a test says to the state behind the server, and hears from it.
type (
	// Options are what a look-alike can be told at its start.
	Options = hub.Options
	// NewRepo says how a repository is made.
	NewRepo = hub.NewRepo
	// Protection is what a protected branch demands.
	Protection = hub.Protection
	// App is a GitHub App: its bot account, its key and where its hook goes.
	App = hub.App
	// Delivery is one webhook call, as sent or still waiting.
	Delivery = courier.Delivery
	// DeliveryMode bends how webhooks arrive, for tests.
	DeliveryMode = courier.Mode
	// Call is one API request that was answered.
	Call = hub.Call
)

// Sign gives the X-Hub-Signature-256 header for a body.
func Sign(secret string, body []byte) string { return courier.Sign(secret, body) }

// Dir is the bare repository's directory, for tests that look inside.
func (s *Server) Dir(fullName string) string {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return s.MustRepo(fullName).Git.Dir
}

// CloneURL is the repository's HTTP URL, without credentials.
func (s *Server) CloneURL(fullName string) string { return s.URL + "/" + fullName + ".git" }

// Head is the commit a branch points to, "" when there is no such branch.
func (s *Server) Head(fullName, branch string) string {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return s.MustRepo(fullName).Branch(branch)
}

// RepoID is a repository's number.
func (s *Server) RepoID(fullName string) int64 {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return s.MustRepo(fullName).ID
}

// UserID is an account's number.
func (s *Server) UserID(login string) int64 {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return s.MustAccount(login).ID
}

// Now is the look-alike's clock.
func (s *Server) Now() time.Time {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return s.Last
}

// Advance moves the clock on.
func (s *Server) Advance(d time.Duration) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.Last = s.Last.Add(d.Truncate(time.Second))
}
