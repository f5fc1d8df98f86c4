package rest

import (
	"cmp"
	"net/http"
	"slices"

	"lockkeeper/forge/forgetest/internal/hub"
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
func (c *call) app() (*hub.App, reply) {
	if c.cred == nil || c.cred.App == nil || c.cred.Installation != nil {
		return nil, refuse(http.StatusUnauthorized, "A JSON web token could not be decoded")
	}
	return c.cred.App, reply{}
}

func getApp(c *call) reply {
	app, refused := c.app()
	if app == nil {
		return refused
	}
	o := c.s.AppJSON(app).(obj)
	o["installations_count"] = len(app.Installations)
	return ok(o)
}

func getAppBySlug(c *call) reply {
	for _, a := range c.s.Apps {
		if a.Slug == c.r.PathValue("app_slug") {
			return ok(c.s.AppJSON(a))
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
	for _, in := range paginate(c, app.Installations) {
		out = append(out, c.s.InstallationJSON(in))
	}
	return ok(out)
}

// installationOf finds the installation that pick accepts.
func (c *call) installationOf(pick func(*hub.Installation) bool) reply {
	app, refused := c.app()
	if app == nil {
		return refused
	}
	if i := slices.IndexFunc(app.Installations, pick); i >= 0 {
		return ok(c.s.InstallationJSON(app.Installations[i]))
	}
	return notFound()
}

func getInstallation(c *call) reply {
	return c.installationOf(func(in *hub.Installation) bool { return in.ID == pathID(c, "installation_id") })
}

func repoInstallation(c *call) reply {
	owner, name := c.r.PathValue("owner"), c.r.PathValue("repo")
	r := c.s.Repo(owner, name)
	return c.installationOf(func(in *hub.Installation) bool { return r != nil && in.Has(r) })
}

func accountInstallation(c *call) reply {
	a := c.s.Account(cmp.Or(c.r.PathValue("org"), c.r.PathValue("username")))
	return c.installationOf(func(in *hub.Installation) bool { return in.Account == a })
}

func createInstallationToken(c *call) reply {
	app, refused := c.app()
	if app == nil {
		return refused
	}
	i := slices.IndexFunc(app.Installations, func(in *hub.Installation) bool { return in.ID == pathID(c, "installation_id") })
	if i < 0 {
		return notFound()
	}
	in := app.Installations[i]
	if in.Suspend != nil {
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
	var repos []*hub.Repo
	for _, r := range c.s.SortedRepos() {
		if in.Has(r) && (slices.Contains(want.Repositories, r.Name) || slices.Contains(want.RepositoryIDs, r.ID)) {
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
	cred := c.s.Mint(in, repos, permissions)
	selection := "all"
	if !in.All || len(repos) > 0 {
		selection = "selected"
	}
	return created(obj{"token": cred.Token, "expires_at": hub.Stamp(cred.Expires), "permissions": permissions, "repository_selection": selection})
}

func installationRepos(c *call) reply {
	if !c.viaApp() {
		return refuse(http.StatusForbidden, "You must authenticate with an installation access token in order to list repositories for an installation.")
	}
	var list []*hub.Repo
	for _, r := range c.s.SortedRepos() {
		if c.cred.Installation.Has(r) {
			list = append(list, r)
		}
	}
	out := []any{}
	for _, r := range paginate(c, list) {
		out = append(out, c.s.RepoFull(c.cred, r))
	}
	return ok(obj{"total_count": len(list), "repositories": out})
}

// convertManifest ends the App manifest flow; a code works once.
func convertManifest(c *call) reply {
	code := c.r.PathValue("code")
	app := c.s.Codes[code]
	if app == nil {
		return notFound()
	}
	delete(c.s.Codes, code)
	o := c.s.AppJSON(app).(obj)
	o["client_id"], o["client_secret"], o["webhook_secret"], o["pem"] = app.ClientID, app.ClientSecret, app.WebhookSecret, app.Key
	return created(o)
}
