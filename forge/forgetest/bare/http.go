package bare

import (
	"net/http"
	"net/http/cgi"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// backend finds git-http-backend. Asking git for it at each request would start
// one process more.
var backend = sync.OnceValues(func() (string, error) {
	dir, err := exec.Command("git", "--exec-path").Output()
	return filepath.Join(strings.TrimSpace(string(dir)), "git-http-backend"), err
})

// Serve hands a request to the real git http-backend, for what stands at path
// below root. env is added to Env, and reaches hooks.
func Serve(w http.ResponseWriter, r *http.Request, root, path string, env []string) {
	program, err := backend()
	if err != nil {
		http.Error(w, "git is not installed on this machine: "+err.Error(), http.StatusInternalServerError)
		return
	}
	to := r.Clone(r.Context())
	to.URL.Path, to.URL.RawPath = path, ""
	h := &cgi.Handler{
		Path: program, Root: "/", Dir: root,
		Env: append(append(Env(), env...), "GIT_PROJECT_ROOT="+root, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=git",
			"GIT_PROTOCOL="+r.Header.Get("Git-Protocol")),
	}
	h.ServeHTTP(w, to)
}
