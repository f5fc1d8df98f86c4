package forgetest

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

var appRoutes = []route{
	{"GET /app", "", "", getApp},
	{"GET /apps/{app_slug}", "", "", getAppBySlug},
	{"GET /app/installations", "", "", listInstallations},
	{"GET /app/installations/{installation_id}", "", "", getInstallation},
	{"POST /app/installations/{installation_id}/access_tokens", "", "", createInstallationToken},
	{"GET /repos/{owner}/{repo}/installation", "", "", repoInstallation},
	{"GET /orgs/{org}/installation", "", "", accountInstallation},
	{"GET /users/{username}/installation", "", "", accountInstallation},
	{"GET /installation/repositories", "", "", installationRepos},
	{"POST /app-manifests/{code}/conversions", "", "", convertManifest},
}

// app is the App whose JWT came with the call; user and installation tokens
// cannot speak for it.
func (c *call) app() (*App, reply) {
	if c.cred == nil || c.cred.app == nil || c.cred.installation != nil {
		return nil, refuse(http.StatusUnauthorized, "A JSON web token could not be decoded")
	}
	return c.cred.app, reply{}
}

func getApp(c *call) reply {
	app, refused := c.app()
	if app == nil {
		return refused
	}
	o := c.s.appJSON(app).(obj)
	o["installations_count"] = len(app.installations)
	return ok(o)
}

func getAppBySlug(c *call) reply {
	for _, a := range c.s.apps {
		if a.Slug == c.r.PathValue("app_slug") {
			return ok(c.s.appJSON(a))
		}
	}
	return notFound()
}

func listInstallations(c *call) reply {
	app, refused := c.app()
	if app == nil {
		return refused
	}
	out := []any{}
	for _, in := range paginate(c, app.installations) {
		out = append(out, c.s.installationJSON(in))
	}
	return ok(out)
}

// installationOf finds the installation that pick accepts.
func (c *call) installationOf(pick func(*installation) bool) reply {
	app, refused := c.app()
	if app == nil {
		return refused
	}
	if i := slices.IndexFunc(app.installations, pick); i >= 0 {
		return ok(c.s.installationJSON(app.installations[i]))
	}
	return notFound()
}

func getInstallation(c *call) reply {
	return c.installationOf(func(in *installation) bool { return in.id == pathID(c, "installation_id") })
}

func repoInstallation(c *call) reply {
	owner, name := c.r.PathValue("owner"), c.r.PathValue("repo")
	r := c.s.repo(owner, name)
	return c.installationOf(func(in *installation) bool { return r != nil && in.has(r) })
}

func accountInstallation(c *call) reply {
	a := c.s.account(cmpOr(c.r.PathValue("org"), c.r.PathValue("username")))
	return c.installationOf(func(in *installation) bool { return in.account == a })
}

func createInstallationToken(c *call) reply {
	app, refused := c.app()
	if app == nil {
		return refused
	}
	i := slices.IndexFunc(app.installations, func(in *installation) bool { return in.id == pathID(c, "installation_id") })
	if i < 0 {
		return notFound()
	}
	in := app.installations[i]
	if in.suspend != nil {
		return refuse(http.StatusForbidden, "This installation has been suspended")
	}
	var want struct {
		Repositories  []string
		RepositoryIDs []int64 `json:"repository_ids"`
		Permissions   map[string]string
	}
	if out, good := c.decode(&want); !good {
		return out
	}
	var repos []*repo
	for _, r := range c.s.sortedRepos() {
		if in.has(r) && (slices.Contains(want.Repositories, r.name) || slices.Contains(want.RepositoryIDs, r.id)) {
			repos = append(repos, r)
		}
	}
	if len(repos) < len(want.Repositories)+len(want.RepositoryIDs) {
		return refuse(http.StatusUnprocessableEntity, "There is at least one repository that does not exist or is not accessible to the parent installation.")
	}
	for name, level := range want.Permissions {
		if have := app.Permissions[name]; have == "" || (level == "write" && have == "read") {
			return refuse(http.StatusUnprocessableEntity, "The permissions requested are not granted to this installation.")
		}
	}
	permissions := want.Permissions
	if permissions == nil {
		permissions = app.Permissions
	}
	cred := c.s.mint(in, repos, permissions)
	selection := "all"
	if !in.all || len(repos) > 0 {
		selection = "selected"
	}
	return created(obj{"token": cred.token, "expires_at": stamp(cred.expires), "permissions": permissions, "repository_selection": selection})
}

func installationRepos(c *call) reply {
	if !c.viaApp() {
		return refuse(http.StatusForbidden, "You must authenticate with an installation access token in order to list repositories for an installation.")
	}
	var list []*repo
	for _, r := range c.s.sortedRepos() {
		if c.cred.installation.has(r) {
			list = append(list, r)
		}
	}
	out := []any{}
	for _, r := range paginate(c, list) {
		out = append(out, c.s.repoFull(c, r))
	}
	return ok(obj{"total_count": len(list), "repositories": out})
}

// convertManifest ends the App manifest flow; a code works once.
func convertManifest(c *call) reply {
	code := c.r.PathValue("code")
	app := c.s.codes[code]
	if app == nil {
		return notFound()
	}
	delete(c.s.codes, code)
	o := c.s.appJSON(app).(obj)
	o["client_id"], o["client_secret"], o["webhook_secret"], o["pem"] = app.ClientID, app.clientSecret, app.WebhookSecret, app.Key
	return created(o)
}

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
	s.mu.Lock()
	defer s.mu.Unlock()
	owner := s.account(r.PathValue("org"))
	if owner == nil {
		owner = s.pageUser(r)
	}
	slug := strings.ToLower(strings.ReplaceAll(cmpOr(m.Name, "app-"+strconv.FormatInt(s.lastID, 10)), " ", "-"))
	app, err := s.addApp(owner, slug, m.Permissions, m.Events)
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	app.Name, app.WebhookURL, app.WebhookSecret = m.Name, m.Hook.URL, rand.Text()
	code := rand.Text()
	s.codes[code] = app
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
