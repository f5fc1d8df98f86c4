package hub

import (
	"fmt"
	"net/http"
)

// Call is one API request that was answered.
type Call struct {
	Method string
	// Route is the pattern, e.g. "/repos/{owner}/{repo}/pulls/{pull_number}".
	Route  string
	Path   string
	Actor  string // login of the user or App's bot, the App's slug for a JWT, "" if anonymous
	Status int
}

// String is one line for a failed test.
func (c Call) String() string {
	return fmt.Sprintf("%s %s (%s): %d", c.Method, c.Path, c.Actor, c.Status)
}

// Note adds a request to the log.
func (s *Hub) Note(r *http.Request, cred *Credential, route string, status int) {
	s.calls = append(s.calls, Call{Method: r.Method, Route: route, Path: r.URL.Path, Actor: cred.Who(), Status: status})
}

// Calls lists the API requests so far; with logins, only those of these actors.
func (s *Hub) Calls(actors ...string) []Call {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	var list []Call
	for _, c := range s.calls {
		for _, a := range actors {
			if c.Actor == a {
				list = append(list, c)
			}
		}
		if len(actors) == 0 {
			list = append(list, c)
		}
	}
	return list
}

// ForgetCalls empties the call log.
func (s *Hub) ForgetCalls() {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.calls = nil
}
