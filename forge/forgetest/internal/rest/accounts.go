package rest

import (
	"fmt"
	"net/http"
	"time"

	"lockkeeper/forge/forgetest/internal/api"
	"lockkeeper/forge/forgetest/internal/hub"
)

var accountRoutes = []route{
	api.On("GET /user", "", "", self),
	api.On("GET /user/{account_id}", "", "", userByID),
	api.On("GET /users/{username}", "", "", getUser),
	api.On("GET /orgs/{org}/teams", "", "members:read", listTeams),
	api.On("GET /orgs/{org}/teams/{team_slug}", "", "members:read", getTeam),
	api.On("GET /orgs/{org}/teams/{team_slug}/members", "", "members:read", listMembers),
	api.On("GET /orgs/{org}/teams/{team_slug}/memberships/{username}", "", "members:read", getMembership),
	api.On("GET /repos/{owner}/{repo}/collaborators/{username}/permission", "read", "metadata:read", getPermission),
	api.On("GET /rate_limit", "", "", rateLimit),
}

func self(c *call) reply {
	switch {
	case c.Cred == nil:
		return api.Refuse(http.StatusUnauthorized, "Requires authentication")
	case c.ViaApp() || c.Actor() == nil:
		return api.Refuse(http.StatusForbidden, "Resource not accessible by integration")
	}
	o := c.Hub.UserLong(c.Actor())
	return api.OK(o)
}

func userByID(c *call) reply {
	if a := c.Hub.AccountByID(api.PathID(c, "account_id")); a != nil {
		return api.OK(c.Hub.UserLong(a))
	}
	return api.NotFound()
}

func getUser(c *call) reply {
	if a := c.Hub.Account(c.Request.PathValue("username")); a != nil {
		return api.OK(c.Hub.UserLong(a))
	}
	return api.NotFound()
}

// orgAccess: members and installations on the organisation see its teams.
func orgAccess(c *call) (*hub.Account, reply) {
	org := c.Hub.Account(c.Request.PathValue("org"))
	switch {
	case c.Cred == nil:
		return nil, api.Refuse(http.StatusUnauthorized, "Requires authentication")
	case org == nil || org.Kind != "Organization":
		return nil, api.NotFound()
	case c.ViaApp():
		if c.Cred.Installation.Account != org {
			return nil, api.NotFound()
		}
		if !c.Cred.Grants("members:read") {
			return nil, api.Refuse(http.StatusForbidden, "Resource not accessible by integration")
		}
	case c.Actor() == nil || (!org.Members[c.Actor().ID] && !org.Owners[c.Actor().ID]):
		return nil, api.NotFound()
	}
	return org, reply{}
}

func findTeam(c *call) (*hub.Team, reply) {
	org, out := orgAccess(c)
	if org == nil {
		return nil, out
	}
	t := c.Hub.Team(org.Login, c.Request.PathValue("team_slug"))
	if t == nil {
		return nil, api.NotFound()
	}
	return t, reply{}
}

func listTeams(c *call) reply {
	org, refused := orgAccess(c)
	if org == nil {
		return refused
	}
	var list []*hub.Team
	for _, t := range c.Hub.Teams {
		if t.Org == org {
			list = append(list, t)
		}
	}
	out := []any{}
	for _, t := range api.Paginate(c, list) {
		out = append(out, c.Hub.TeamJSON(t))
	}
	return api.OK(out)
}

func getTeam(c *call) reply {
	t, refused := findTeam(c)
	if t == nil {
		return refused
	}
	o := c.Hub.TeamJSON(t)
	org := c.Hub.OrgJSON(t.Org)
	for k, v := range (obj{
		"html_url": c.Hub.URL + "/" + t.Org.Login, "has_organization_projects": false, "has_repository_projects": false, "public_repos": 0,
		"public_gists": 0, "followers": 0, "following": 0, "created_at": hub.Stamp(t.Org.Created), "updated_at": hub.Stamp(t.Org.Created),
		"type": "Organization", "archived_at": nil,
	}) {
		org[k] = v
	}
	o["members_count"], o["repos_count"], o["organization"] = len(c.Hub.TeamMembers(t)), 0, org
	o["created_at"], o["updated_at"] = hub.Stamp(t.Created), hub.Stamp(t.Created)
	return api.OK(o)
}

func listMembers(c *call) reply {
	t, refused := findTeam(c)
	if t == nil {
		return refused
	}
	out := []any{}
	for _, a := range api.Paginate(c, c.Hub.TeamMembers(t)) {
		out = append(out, c.Hub.UserJSON(a))
	}
	return api.OK(out)
}

func getMembership(c *call) reply {
	t, refused := findTeam(c)
	if t == nil {
		return refused
	}
	for _, a := range c.Hub.TeamMembers(t) {
		if a == c.Hub.Account(c.Request.PathValue("username")) {
			return api.OK(obj{
				"url":  fmt.Sprintf("%s/organizations/%d/team/%d/memberships/%s", c.Hub.URL, t.Org.ID, t.ID, a.Login),
				"role": "member", "state": "active"})
		}
	}
	return api.NotFound()
}

// oldRoles are the names that the permission field knows.
var oldRoles = map[string]string{"none": "none", "read": "read", "triage": "read", "write": "write", "maintain": "write", "admin": "admin"}

func getPermission(c *call) reply {
	a := c.Hub.Account(c.Request.PathValue("username"))
	if a == nil {
		return api.Refuse(http.StatusNotFound, c.Request.PathValue("username")+" is not a user")
	}
	if !c.ViaApp() && !hub.AtLeast(c.Hub.Role(c.Cred, c.Repo), "write") {
		return api.Refuse(http.StatusForbidden, "Must have push access to view collaborator permission.")
	}
	role := c.Hub.Permission(c.Repo, a)
	user := c.Hub.UserJSON(a).(obj)
	user["role_name"] = role
	user["permissions"] = obj{
		"admin": role == "admin", "maintain": hub.AtLeast(role, "maintain"), "push": hub.AtLeast(role, "write"),
		"triage": hub.AtLeast(role, "triage"), "pull": hub.AtLeast(role, "read"),
	}
	return api.OK(obj{"permission": oldRoles[role], "role_name": role, "user": user})
}

func rateLimit(c *call) reply {
	used := 0
	if c.Cred != nil {
		c.Hub.Used[c.Cred.Token]-- // looking is free
		used = c.Hub.Used[c.Cred.Token]
	}
	o := obj{"limit": c.Hub.Opt.RateLimit, "remaining": max(0, c.Hub.Opt.RateLimit-used), "used": used, "reset": time.Now().Add(time.Hour).Unix()}
	return api.OK(obj{"resources": obj{"core": o, "search": o, "graphql": o}, "rate": o})
}
