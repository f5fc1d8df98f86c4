package forgetest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
)

// Fault is a bad answer. Exactly one of Status, Cut and Hang is set.
type Fault struct {
	// Status is the HTTP status to answer with, with GitHub's error body.
	Status  int
	Message string
	Header  http.Header
	// Cut closes the connection without an answer.
	Cut bool
	// Hang answers nothing until the client gives up or the server closes.
	Hang bool
	// After lets the request take effect first, and loses only the answer.
	After bool
}

// Fail asks f about every request from now on (Git's included); nil answers
// normally. Fail(nil) ends it.
func (s *Server) Fail(f func(*http.Request) *Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// tripped answers a request badly if a fault was asked for.
func (s *Server) tripped(w http.ResponseWriter, r *http.Request) bool {
	s.mu.Lock()
	f := s.fault
	s.mu.Unlock()
	if f == nil {
		return false
	}
	fault := f(r)
	if fault == nil {
		return false
	}
	if fault.After {
		s.api.ServeHTTP(&discard{header: http.Header{}}, r)
	} else {
		s.noteFault(r, fault.Status)
	}
	switch {
	case fault.Cut:
		panic(http.ErrAbortHandler)
	case fault.Hang:
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	maps.Copy(w.Header(), fault.Header)
	w.WriteHeader(fault.Status)
	message := fault.Message
	if message == "" {
		message = http.StatusText(fault.Status)
	}
	json.NewEncoder(w).Encode(obj{"message": message, "documentation_url": docs, "status": strconv.Itoa(fault.Status)}) //nolint:errcheck // the client went away
	return true
}

type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(int)             {}
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }

// Call is one API request that was answered.
type Call struct {
	Method string
	// Route is the pattern, e.g. "/repos/{owner}/{repo}/pulls/{pull_number}".
	Route  string
	Path   string
	Actor  string // login of the user or App's bot, the App's slug for a JWT, "" if anonymous
	Status int
}

func (c Call) String() string {
	return fmt.Sprintf("%s %s (%s): %d", c.Method, c.Path, c.Actor, c.Status)
}

func (s *Server) record(c *call, rt route, status int) {
	_, pattern, _ := strings.Cut(rt.pattern, " ")
	s.calls = append(s.calls, Call{Method: c.r.Method, Route: pattern, Path: c.r.URL.Path, Actor: c.cred.who(), Status: status})
}

func (s *Server) noteFault(r *http.Request, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	cred, _ := s.authenticate(r)
	s.calls = append(s.calls, Call{Method: r.Method, Route: "(fault)", Path: r.URL.Path, Actor: cred.who(), Status: status})
}

// Calls lists the API requests so far; with logins, only those of these actors.
func (s *Server) Calls(actors ...string) []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
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
func (s *Server) ForgetCalls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = nil
}
