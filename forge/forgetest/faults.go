package forgetest

import (
	"encoding/json"
	"maps"
	"net/http"
	"strconv"

	"lockkeeper/forge/forgetest/internal/api"
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
	json.NewEncoder(w).Encode(obj{"message": message, "documentation_url": api.Docs, "status": strconv.Itoa(fault.Status)}) //nolint:errcheck // the client went away
	return true
}

type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(int)             {}
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }

func (s *Server) noteFault(r *http.Request, status int) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	cred, _ := s.Authenticate(r)
	s.Note(r, cred, "(fault)", status)
}
