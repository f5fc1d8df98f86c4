package forgetest

import (
	"context"
	"net/http"
	"net/http/cgi"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"lockkeeper/forge/forgetest/bare"
)

// serveGit hands a request to the real git http-backend. Pushes to one
// repository go one after the other, so that each is attributed to its pusher.
func (s *Server) serveGit(w http.ResponseWriter, r *http.Request) {
	full, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), ".git/")
	push := rest == "git-receive-pack" || r.URL.Query().Get("service") == "git-receive-pack"
	s.mu.Lock()
	repo, cred, status := s.gitAccess(r, full, push)
	var env []string
	if status == 0 {
		env = s.guards(repo, cred)
	}
	s.mu.Unlock()
	if status != 0 {
		if status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Basic realm="GitHub"`)
		}
		http.Error(w, "Repository not found or access denied.", status)
		return
	}
	if rest == "git-receive-pack" {
		lock, _ := s.pushing.LoadOrStore(repo.id, &sync.Mutex{})
		lock.(*sync.Mutex).Lock()
		defer lock.(*sync.Mutex).Unlock()
	}
	s.backend(w, r, repo, rest, env)
	if rest == "git-receive-pack" {
		s.mu.Lock()
		defer s.mu.Unlock()
		// The push has happened whether or not the client still listens.
		s.refsMoved(context.WithoutCancel(r.Context()), repo, cred.actor) //nolint:errcheck // the client sees git's own answer
	}
}

func (s *Server) gitAccess(r *http.Request, full string, push bool) (*repo, *credential, int) {
	cred, valid := s.authenticate(r)
	if !valid {
		return nil, nil, http.StatusUnauthorized
	}
	repo := s.repos[strings.ToLower(full)]
	if repo == nil {
		repo = s.moved[strings.ToLower(full)]
	}
	switch {
	case repo == nil || !s.sees(cred, repo):
		if cred == nil {
			return nil, nil, http.StatusUnauthorized
		}
		return nil, nil, http.StatusNotFound
	case push && cred == nil:
		return nil, nil, http.StatusUnauthorized
	case push && (!atLeast(s.role(cred, repo), "write") || !cred.grants("contents:write") || repo.archived):
		return nil, nil, http.StatusForbidden
	case cred != nil && !cred.grants("contents:read"):
		return nil, nil, http.StatusForbidden
	}
	return repo, cred, 0
}

// guards tell the repository's hook which branches this pusher may not touch.
func (s *Server) guards(r *repo, cred *credential) []string {
	var locked, kept []string
	for branch, p := range r.protection {
		ref := "refs/heads/" + branch
		kept = append(kept, ref)
		bypass := !p.EnforceAdmins && s.role(cred, r) == "admin"
		if (p.Reviews > 0 || len(p.Checks) > 0 || p.MergeQueue) && !bypass {
			locked = append(locked, ref)
		}
	}
	return []string{"FORGETEST_LOCKED=" + strings.Join(locked, " "), "FORGETEST_KEPT=" + strings.Join(kept, " ")}
}

func (s *Server) backend(w http.ResponseWriter, r *http.Request, repo *repo, rest string, env []string) {
	git, err := exec.LookPath("git")
	if err != nil {
		http.Error(w, "git is not installed on this machine", http.StatusInternalServerError)
		return
	}
	name := filepath.Base(repo.git.Dir)
	r2 := withPath(r, "/"+name+"/"+rest)
	h := &cgi.Handler{
		Path: git, Args: []string{"http-backend"}, Root: "/", Dir: s.dir,
		Env: append(append(bare.Env(), env...), "GIT_PROJECT_ROOT="+s.dir, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=git",
			"GIT_PROTOCOL="+r.Header.Get("Git-Protocol")),
	}
	h.ServeHTTP(w, r2)
}
