package forgetest

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"sync"

	"lockkeeper/forge/forgetest/bare"
	"lockkeeper/forge/forgetest/internal/hub"
)

// serveGit hands a request to the real git http-backend. Pushes to one
// repository go one after the other, so that each is attributed to its pusher.
func (s *Server) serveGit(w http.ResponseWriter, r *http.Request) {
	full, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), ".git/")
	push := rest == "git-receive-pack" || r.URL.Query().Get("service") == "git-receive-pack"
	s.Mu.Lock()
	repo, cred, status := s.gitAccess(r, full, push)
	var env []string
	if status == 0 {
		env = s.Guards(repo, cred)
	}
	s.Mu.Unlock()
	if status != 0 {
		if status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Basic realm="GitHub"`)
		}
		http.Error(w, "Repository not found or access denied.", status)
		return
	}
	if rest == "git-receive-pack" {
		lock, _ := s.pushing.LoadOrStore(repo.ID, &sync.Mutex{})
		lock.(*sync.Mutex).Lock()
		defer lock.(*sync.Mutex).Unlock()
	}
	bare.Serve(w, r, s.Root, "/"+filepath.Base(repo.Git.Dir)+"/"+rest, env)
	if rest == "git-receive-pack" {
		s.Mu.Lock()
		defer s.Mu.Unlock()
		// The push has happened whether or not the client still listens.
		s.RefsMoved(context.WithoutCancel(r.Context()), repo, cred.Actor) //nolint:errcheck // the client sees git's own answer
	}
}

func (s *Server) gitAccess(r *http.Request, full string, push bool) (*hub.Repo, *hub.Credential, int) {
	cred, valid := s.Authenticate(r)
	if !valid {
		return nil, nil, http.StatusUnauthorized
	}
	repo := s.Repos[strings.ToLower(full)]
	if repo == nil {
		repo = s.Moved[strings.ToLower(full)]
	}
	switch {
	case repo == nil || !s.Sees(cred, repo):
		if cred == nil {
			return nil, nil, http.StatusUnauthorized
		}
		return nil, nil, http.StatusNotFound
	case push && cred == nil:
		return nil, nil, http.StatusUnauthorized
	case push && (!hub.AtLeast(s.Role(cred, repo), "write") || !cred.Grants("contents:write") || repo.Archived):
		return nil, nil, http.StatusForbidden
	case cred != nil && !cred.Grants("contents:read"):
		return nil, nil, http.StatusForbidden
	}
	return repo, cred, 0
}
