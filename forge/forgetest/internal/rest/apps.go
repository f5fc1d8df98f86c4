package rest

import (
	"cmp"
	"net/http"
	"slices"

	"lockkeeper/forge/forgetest/internal/api"
	"lockkeeper/forge/forgetest/internal/hub"
)

var appRoutes = []route{
	api.On("GET /app", "", "", getApp),
	api.On("GET /apps/{app_slug}", "", "", getAppBySlug),
	api.On("GET /app/installations", "", "", listInstallations),
	api.On("GET /app/installations/{installation_id}", "", "", getInstallation),
	api.On("POST /app/installations/{installation_id}/access_tokens", "", "", createInstallationToken),
	api.On("GET /repos/{owner}/{repo}/installation", "", "", repoInstallation),
	api.On("GET /orgs/{org}/installation", "", "", accountInstallation),
	api.On("GET /users/{username}/installation", "", "", accountInstallation),
	api.On("GET /installation/repositories", "", "", installationRepos),
	api.On("POST /app-manifests/{code}/conversions", "", "", convertManifest),
}

// findApp is the App whose JWT came with the call; user and installation tokens
// cannot speak for it.
func findApp(c *call) (*hub.App, reply) {
	if c.Cred == nil || c.Cred.App == nil || c.Cred.Installation != nil {
		return nil, api.Refuse(http.StatusUnauthorized, "A JSON web token could not be decoded")
	}
	return c.Cred.App, reply{}
}

func getApp(c *call) reply {
	app, refused := findApp(c)
	if app == nil {
		return refused
	}
	o := c.Hub.AppJSON(app).(obj)
	o["installations_count"] = len(app.Installations)
	return api.OK(o)
}

func getAppBySlug(c *call) reply {
	for _, a := range c.Hub.Apps {
		if a.Slug == c.Request.PathValue("app_slug") {
			return api.OK(c.Hub.AppJSON(a))
		}
	}
	return api.NotFound()
}

func listInstallations(c *call) reply {
	app, refused := findApp(c)
	if app == nil {
		return refused
	}
	out := []any{}
	for _, in := range api.Paginate(c, app.Installations) {
		out = append(out, c.Hub.InstallationJSON(in))
	}
	return api.OK(out)
}

// installationOf finds the installation that pick accepts.
func installationOf(c *call, pick func(*hub.Installation) bool) reply {
	app, refused := findApp(c)
	if app == nil {
		return refused
	}
	if i := slices.IndexFunc(app.Installations, pick); i >= 0 {
		return api.OK(c.Hub.InstallationJSON(app.Installations[i]))
	}
	return api.NotFound()
}

func getInstallation(c *call) reply {
	return installationOf(c, func(in *hub.Installation) bool { return in.ID == api.PathID(c, "installation_id") })
}

func repoInstallation(c *call) reply {
	owner, name := c.Request.PathValue("owner"), c.Request.PathValue("repo")
	r := c.Hub.Repo(owner, name)
	return installationOf(c, func(in *hub.Installation) bool { return r != nil && in.Has(r) })
}

func accountInstallation(c *call) reply {
	a := c.Hub.Account(cmp.Or(c.Request.PathValue("org"), c.Request.PathValue("username")))
	return installationOf(c, func(in *hub.Installation) bool { return in.Account == a })
}

func createInstallationToken(c *call) reply {
	app, refused := findApp(c)
	if app == nil {
		return refused
	}
	i := slices.IndexFunc(app.Installations, func(in *hub.Installation) bool { return in.ID == api.PathID(c, "installation_id") })
	if i < 0 {
		return api.NotFound()
	}
	in := app.Installations[i]
	if in.Suspend != nil {
		return api.Refuse(http.StatusForbidden, "This installation has been suspended")
	}
	var want struct {
		Repositories  []string
		RepositoryIDs []int64 `json:"repository_ids"`
		Permissions   map[string]string
	}
	if out, good := c.Decode(&want); !good {
		return out
	}
	var repos []*hub.Repo
	for _, r := range c.Hub.SortedRepos() {
		if in.Has(r) && (slices.Contains(want.Repositories, r.Name) || slices.Contains(want.RepositoryIDs, r.ID)) {
			repos = append(repos, r)
		}
	}
	if len(repos) < len(want.Repositories)+len(want.RepositoryIDs) {
		return api.Refuse(http.StatusUnprocessableEntity, "There is at least one repository that does not exist or is not accessible to the parent installation.")
	}
	for name, level := range want.Permissions {
		if have := app.Permissions[name]; have == "" || (level == "write" && have == "read") {
			return api.Refuse(http.StatusUnprocessableEntity, "The permissions requested are not granted to this installation.")
		}
	}
	permissions := want.Permissions
	if permissions == nil {
		permissions = app.Permissions
	}
	cred := c.Hub.Mint(in, repos, permissions)
	selection := "all"
	if !in.All || len(repos) > 0 {
		selection = "selected"
	}
	return api.Created(obj{"token": cred.Token, "expires_at": hub.Stamp(cred.Expires), "permissions": permissions, "repository_selection": selection})
}

func installationRepos(c *call) reply {
	if !c.ViaApp() {
		return api.Refuse(http.StatusForbidden, "You must authenticate with an installation access token in order to list repositories for an installation.")
	}
	var list []*hub.Repo
	for _, r := range c.Hub.SortedRepos() {
		if c.Cred.Installation.Has(r) {
			list = append(list, r)
		}
	}
	out := []any{}
	for _, r := range api.Paginate(c, list) {
		out = append(out, c.Hub.RepoFull(c.Cred, r))
	}
	return api.OK(obj{"total_count": len(list), "repositories": out})
}

// convertManifest ends the App manifest flow; a code works once.
func convertManifest(c *call) reply {
	code := c.Request.PathValue("code")
	app := c.Hub.Codes[code]
	if app == nil {
		return api.NotFound()
	}
	delete(c.Hub.Codes, code)
	o := c.Hub.AppJSON(app).(obj)
	o["client_id"], o["client_secret"], o["webhook_secret"], o["pem"] = app.ClientID, app.ClientSecret, app.WebhookSecret, app.Key
	return api.Created(o)
}
