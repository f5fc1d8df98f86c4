package forgetest

import (
	"fmt"
	"net/http"
	"time"
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
	o := c.s.userLong(c.actor())
	return ok(o)
}

func userByID(c *call) reply {
	if a := c.s.accountByID(pathID(c, "account_id")); a != nil {
		return ok(c.s.userLong(a))
	}
	return notFound()
}

func getUser(c *call) reply {
	if a := c.s.account(c.r.PathValue("username")); a != nil {
		return ok(c.s.userLong(a))
	}
	return notFound()
}

// orgAccess: members and installations on the organisation see its teams.
func (c *call) orgAccess() (*account, reply) {
	org := c.s.account(c.r.PathValue("org"))
	switch {
	case c.cred == nil:
		return nil, refuse(http.StatusUnauthorized, "Requires authentication")
	case org == nil || org.kind != "Organization":
		return nil, notFound()
	case c.viaApp():
		if c.cred.installation.account != org {
			return nil, notFound()
		}
		if !c.cred.grants("members:read") {
			return nil, refuse(http.StatusForbidden, "Resource not accessible by integration")
		}
	case c.actor() == nil || (!org.members[c.actor().id] && !org.owners[c.actor().id]):
		return nil, notFound()
	}
	return org, reply{}
}

func (c *call) team() (*team, reply) {
	org, out := c.orgAccess()
	if org == nil {
		return nil, out
	}
	t := c.s.team(org.login, c.r.PathValue("team_slug"))
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
	var list []*team
	for _, t := range c.s.teams {
		if t.org == org {
			list = append(list, t)
		}
	}
	out := []any{}
	for _, t := range paginate(c, list) {
		out = append(out, c.s.teamJSON(t))
	}
	return ok(out)
}

func getTeam(c *call) reply {
	t, refused := c.team()
	if t == nil {
		return refused
	}
	o := c.s.teamJSON(t)
	org := c.s.orgJSON(t.org)
	for k, v := range (obj{
		"html_url": c.s.URL + "/" + t.org.login, "has_organization_projects": false, "has_repository_projects": false, "public_repos": 0,
		"public_gists": 0, "followers": 0, "following": 0, "created_at": stamp(t.org.created), "updated_at": stamp(t.org.created),
		"type": "Organization", "archived_at": nil,
	}) {
		org[k] = v
	}
	o["members_count"], o["repos_count"], o["organization"] = len(c.s.teamMembers(t)), 0, org
	o["created_at"], o["updated_at"] = stamp(t.created), stamp(t.created)
	return ok(o)
}

func listMembers(c *call) reply {
	t, refused := c.team()
	if t == nil {
		return refused
	}
	out := []any{}
	for _, a := range paginate(c, c.s.teamMembers(t)) {
		out = append(out, c.s.userJSON(a))
	}
	return ok(out)
}

func getMembership(c *call) reply {
	t, refused := c.team()
	if t == nil {
		return refused
	}
	for _, a := range c.s.teamMembers(t) {
		if a == c.s.account(c.r.PathValue("username")) {
			return ok(obj{
				"url":  fmt.Sprintf("%s/organizations/%d/team/%d/memberships/%s", c.s.URL, t.org.id, t.id, a.login),
				"role": "member", "state": "active"})
		}
	}
	return notFound()
}

// oldRoles are the names that the permission field knows.
var oldRoles = map[string]string{"none": "none", "read": "read", "triage": "read", "write": "write", "maintain": "write", "admin": "admin"}

func getPermission(c *call) reply {
	a := c.s.account(c.r.PathValue("username"))
	if a == nil {
		return refuse(http.StatusNotFound, c.r.PathValue("username")+" is not a user")
	}
	if !c.viaApp() && !atLeast(c.s.role(c.cred, c.repo), "write") {
		return refuse(http.StatusForbidden, "Must have push access to view collaborator permission.")
	}
	role := c.s.permission(c.repo, a)
	user := c.s.userJSON(a).(obj)
	user["role_name"] = role
	user["permissions"] = obj{
		"admin": role == "admin", "maintain": atLeast(role, "maintain"), "push": atLeast(role, "write"),
		"triage": atLeast(role, "triage"), "pull": atLeast(role, "read"),
	}
	return ok(obj{"permission": oldRoles[role], "role_name": role, "user": user})
}

func rateLimit(c *call) reply {
	used := 0
	if c.cred != nil {
		c.s.used[c.cred.token]-- // looking is free
		used = c.s.used[c.cred.token]
	}
	o := obj{"limit": c.s.opt.RateLimit, "remaining": max(0, c.s.opt.RateLimit-used), "used": used, "reset": time.Now().Add(time.Hour).Unix()}
	return ok(obj{"resources": obj{"core": o, "search": o, "graphql": o}, "rate": o})
}
