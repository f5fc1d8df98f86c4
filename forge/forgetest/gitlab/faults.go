package gitlab

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"

	"lockkeeper/forge/forgetest/gitlab/internal/lab"
)

// Fault is a bad answer. Exactly one of Status, Cut and Hang is set.
type Fault struct {
	// Status is the HTTP status to answer with, in GitLab's form.
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

// Fail asks f about every request from now on (Git's included), with the path below
// the relative root; nil answers normally. Fail(nil) ends it.
func (s *Server) Fail(f func(*http.Request) *Fault) {
	s.faulty.Lock()
	defer s.faulty.Unlock()
	s.fault = f
}

// tripped answers a request badly if a fault was asked for.
func (s *Server) tripped(w http.ResponseWriter, r *http.Request, answer http.Handler) bool {
	s.faulty.Lock()
	f := s.fault
	s.faulty.Unlock()
	if f == nil {
		return false
	}
	fault := f(r)
	if fault == nil {
		return false
	}
	if fault.After {
		answer.ServeHTTP(&discard{header: http.Header{}}, r)
	} else {
		s.Mu.Lock()
		s.Note(lab.Call{Method: r.Method, Route: "(fault)", Path: r.URL.Path, Status: fault.Status})
		s.Mu.Unlock()
	}
	switch {
	case fault.Cut:
		panic(http.ErrAbortHandler)
	case fault.Hang:
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/json")
	maps.Copy(w.Header(), fault.Header)
	w.WriteHeader(fault.Status)
	message := fault.Message
	if message == "" {
		message = fmt.Sprintf("%d %s", fault.Status, http.StatusText(fault.Status))
	}
	json.NewEncoder(w).Encode(obj{"message": message}) //nolint:errcheck // the client went away
	return true
}

type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(int)             {}
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
