package rest

import (
	"fmt"
	"net/http"
	"time"

	"lockkeeper/forge/forgetest/internal/hub"
)

var accountRoutes = []route{
	{"GET /user", "", "", self},
	{"GET /user/{account_id}", "", "", userByID},
	{"GET /users/{username}", "", "", getUser},
	{"GET /orgs/{org}/teams", "", "members:read", listTeams},
	{"GET /orgs/{org}/teams/{team_slug}", "", "members:read", getTeam},
	{"GET /orgs/{org}/teams/{team_slug}/members", "", "members:read", listMembers},
	{"GET /orgs/{org}/teams/{team_slug}/memberships/{username}", "", "members:read", getMembership},
	{"GET /repos/{owner}/{repo}/collaborators/{username}/permission", "read", "metadata:read", getPermission},
	{"GET /rate_limit", "", "", rateLimit},
}

func self(c *call) reply {
	switch {
	case c.cred == nil:
		return refuse(http.StatusUnauthorized, "Requires authentication")
	case c.viaApp() || c.actor() == nil:
		return refuse(http.StatusForbidden, "Resource not accessible by integration")
	}
	o := c.s.UserLong(c.actor())
	return ok(o)
}

func userByID(c *call) reply {
	if a := c.s.AccountByID(pathID(c, "account_id")); a != nil {
		return ok(c.s.UserLong(a))
	}
	return notFound()
}

func getUser(c *call) reply {
	if a := c.s.Account(c.r.PathValue("username")); a != nil {
		return ok(c.s.UserLong(a))
	}
	return notFound()
}

// orgAccess: members and installations on the organisation see its teams.
func (c *call) orgAccess() (*hub.Account, reply) {
	org := c.s.Account(c.r.PathValue("org"))
	switch {
	case c.cred == nil:
		return nil, refuse(http.StatusUnauthorized, "Requires authentication")
	case org == nil || org.Kind != "Organization":
		return nil, notFound()
	case c.viaApp():
		if c.cred.Installation.Account != org {
			return nil, notFound()
		}
		if !c.cred.Grants("members:read") {
			return nil, refuse(http.StatusForbidden, "Resource not accessible by integration")
		}
	case c.actor() == nil || (!org.Members[c.actor().ID] && !org.Owners[c.actor().ID]):
		return nil, notFound()
	}
	return org, reply{}
}

func (c *call) team() (*hub.Team, reply) {
	org, out := c.orgAccess()
	if org == nil {
		return nil, out
	}
	t := c.s.Team(org.Login, c.r.PathValue("team_slug"))
	if t == nil {
		return nil, notFound()
	}
	return t, reply{}
}

func listTeams(c *call) reply {
	org, refused := c.orgAccess()
	if org == nil {
		return refused
	}
	var list []*hub.Team
	for _, t := range c.s.Teams {
		if t.Org == org {
			list = append(list, t)
		}
	}
	out := []any{}
	for _, t := range paginate(c, list) {
		out = append(out, c.s.TeamJSON(t))
	}
	return ok(out)
}

func getTeam(c *call) reply {
	t, refused := c.team()
	if t == nil {
		return refused
	}
	o := c.s.TeamJSON(t)
	org := c.s.OrgJSON(t.Org)
	for k, v := range (obj{
		"html_url": c.s.URL + "/" + t.Org.Login, "has_organization_projects": false, "has_repository_projects": false, "public_repos": 0,
		"public_gists": 0, "followers": 0, "following": 0, "created_at": hub.Stamp(t.Org.Created), "updated_at": hub.Stamp(t.Org.Created),
		"type": "Organization", "archived_at": nil,
	}) {
		org[k] = v
	}
	o["members_count"], o["repos_count"], o["organization"] = len(c.s.TeamMembers(t)), 0, org
	o["created_at"], o["updated_at"] = hub.Stamp(t.Created), hub.Stamp(t.Created)
	return ok(o)
}

func listMembers(c *call) reply {
	t, refused := c.team()
	if t == nil {
		return refused
	}
	out := []any{}
	for _, a := range paginate(c, c.s.TeamMembers(t)) {
		out = append(out, c.s.UserJSON(a))
	}
	return ok(out)
}

func getMembership(c *call) reply {
	t, refused := c.team()
	if t == nil {
		return refused
	}
	for _, a := range c.s.TeamMembers(t) {
		if a == c.s.Account(c.r.PathValue("username")) {
			return ok(obj{
				"url":  fmt.Sprintf("%s/organizations/%d/team/%d/memberships/%s", c.s.URL, t.Org.ID, t.ID, a.Login),
				"role": "member", "state": "active"})
		}
	}
	return notFound()
}

// oldRoles are the names that the permission field knows.
var oldRoles = map[string]string{"none": "none", "read": "read", "triage": "read", "write": "write", "maintain": "write", "admin": "admin"}

func getPermission(c *call) reply {
	a := c.s.Account(c.r.PathValue("username"))
	if a == nil {
		return refuse(http.StatusNotFound, c.r.PathValue("username")+" is not a user")
	}
	if !c.viaApp() && !hub.AtLeast(c.s.Role(c.cred, c.repo), "write") {
		return refuse(http.StatusForbidden, "Must have push access to view collaborator permission.")
	}
	role := c.s.Permission(c.repo, a)
	user := c.s.UserJSON(a).(obj)
	user["role_name"] = role
	user["permissions"] = obj{
		"admin": role == "admin", "maintain": hub.AtLeast(role, "maintain"), "push": hub.AtLeast(role, "write"),
		"triage": hub.AtLeast(role, "triage"), "pull": hub.AtLeast(role, "read"),
	}
	return ok(obj{"permission": oldRoles[role], "role_name": role, "user": user})
}

func rateLimit(c *call) reply {
	used := 0
	if c.cred != nil {
		c.s.Used[c.cred.Token]-- // looking is free
		used = c.s.Used[c.cred.Token]
	}
	o := obj{"limit": c.s.Opt.RateLimit, "remaining": max(0, c.s.Opt.RateLimit-used), "used": used, "reset": time.Now().Add(time.Hour).Unix()}
	return ok(obj{"resources": obj{"core": o, "search": o, "graphql": o}, "rate": o})
}
