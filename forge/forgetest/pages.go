package forgetest

import "net/http"

func (s *Server) pages() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /settings/apps/new", s.createFromManifest)
	mux.HandleFunc("POST /organizations/{org}/settings/apps/new", s.createFromManifest)
	return mux
}

// pageUser is who sits in front of the browser.
func (s *Server) pageUser(r *http.Request) *account {
	if c, err := r.Cookie("user"); err == nil {
		return s.account(c.Value)
	}
	return nil
}
