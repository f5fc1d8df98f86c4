package forgetest

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
)

// manifest is what a person's browser posts to create an App.
type manifest struct {
	Name        string `json:"name"`
	URL         string `json:"url"`
	RedirectURL string `json:"redirect_url"`
	Hook        struct {
		URL string `json:"url"`
	} `json:"hook_attributes"`
	Permissions map[string]string `json:"default_permissions"`
	Events      []string          `json:"default_events"`
}

// createFromManifest is the page github.com/settings/apps/new, for a person
// who presses the button at once: it makes the App and sends the browser back.
// The account is the organisation of the path, else the user of the session.
func (s *Server) createFromManifest(w http.ResponseWriter, r *http.Request) {
	var m manifest
	if err := json.Unmarshal([]byte(r.FormValue("manifest")), &m); err != nil || m.URL == "" || m.RedirectURL == "" {
		http.Error(w, "Error: the manifest needs url and redirect_url", http.StatusUnprocessableEntity)
		return
	}
	s.Mu.Lock()
	defer s.Mu.Unlock()
	owner := s.Account(r.PathValue("org"))
	if owner == nil {
		owner = s.pageUser(r)
	}
	slug := strings.ToLower(strings.ReplaceAll(cmp.Or(m.Name, "app "+rand.Text()), " ", "-"))
	app, err := s.RegisterApp(owner, slug, m.Permissions, m.Events)
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	app.Name, app.WebhookURL, app.WebhookSecret = m.Name, m.Hook.URL, rand.Text()
	code := rand.Text()
	s.Codes[code] = app
	back, err := url.Parse(m.RedirectURL)
	if err != nil {
		http.Error(w, "Error: redirect_url is no URL", http.StatusUnprocessableEntity)
		return
	}
	q := back.Query()
	q.Set("code", code)
	if state := r.URL.Query().Get("state"); state != "" {
		q.Set("state", state)
	}
	back.RawQuery = q.Encode()
	http.Redirect(w, r, back.String(), http.StatusFound)
}
