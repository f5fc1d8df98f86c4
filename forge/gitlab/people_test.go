package gitlab

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"lockkeeper/forge"
)

func TestRolesArePermissions(t *testing.T) {
	for name, c := range map[string]struct {
		member string
		want   forge.Permission
	}{
		"no access":       {`"state":"active","access_level":0`, forge.None},
		"minimal access":  {`"state":"active","access_level":5`, forge.None},
		"guest":           {`"state":"active","access_level":10`, forge.Read},
		"planner":         {`"state":"active","access_level":15`, forge.Read},
		"reporter":        {`"state":"active","access_level":20`, forge.Read},
		"a role to come":  {`"state":"active","access_level":25`, forge.Read},
		"developer":       {`"state":"active","access_level":30,"membership_state":"active"`, forge.Write},
		"maintainer":      {`"state":"active","access_level":40`, forge.Admin},
		"owner":           {`"state":"active","access_level":50`, forge.Admin},
		"blocked":         {`"state":"blocked","access_level":50`, forge.None},
		"deactivated":     {`"state":"deactivated","access_level":30`, forge.None},
		"no state":        {`"access_level":30`, forge.None},
		"not yet let in":  {`"state":"active","access_level":30,"membership_state":"awaiting"`, forge.None},
		"over":            {`"state":"active","access_level":30,"expires_at":"2026-05-04"`, forge.None},
		"over long since": {`"state":"active","access_level":30,"expires_at":"2025-12-31"`, forge.None},
		"until tomorrow":  {`"state":"active","access_level":30,"expires_at":"2026-05-05"`, forge.Write},
	} {
		g := driverAt(t, at("12:00:00"), answers{"GET /projects/7/members/all/2": ok(`{"id":2,"username":"Alice",` + c.member + `}`)})
		got, err := g.Permission(t.Context(), shop, user(2, "alice"))
		if err != nil || got != c.want {
			t.Errorf("%s: %d, %v; want %d", name, got, err, c.want)
		}
	}
}

func driverAt(t *testing.T, now time.Time, a answers) *Forge {
	t.Helper()
	f := driver(t, a)
	f2, err := New(t.Context(), Config{URL: f.root, Token: secret, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	return f2
}

// Threat 26: a login may have become another's, an ID never does.
func TestPermissionIsOfTheNumberAndTheName(t *testing.T) {
	f := driver(t, answers{
		"GET /projects/7/members/all/2": ok(`{"id":2,"username":"alice","state":"active","access_level":50}`),
		"GET /projects/7/members/all/3": ok(`{"id":2,"username":"alice","state":"active","access_level":50}`),
		"GET /projects/7":               ok(`{"id":7,"path_with_namespace":"acme/shop","visibility":"private"}`),
	})
	for _, u := range []forge.User{{}, {ID: 2}, {Login: "alice"}, {ID: 2, Login: "bob"}, {ID: 3, Login: "alice"}, {ID: 4, Login: "alice"}, {ID: -2, Login: "alice"}, {ID: 2, Login: "../alice"}} {
		if got, err := f.Permission(t.Context(), shop, u); got != forge.None || err != nil {
			t.Errorf("%+v: %d, %v", u, got, err)
		}
	}
}

func TestStrangersMayReadWhatIsPublic(t *testing.T) {
	for visibility, want := range map[string]forge.Permission{"public": forge.Read, "internal": forge.None, "private": forge.None, "": forge.None} {
		f := driver(t, answers{
			"GET /projects/7": ok(`{"id":7,"path_with_namespace":"acme/shop","visibility":"` + visibility + `"}`),
			"GET /users/2":    ok(`{"id":2,"username":"alice","state":"active"}`),
			"GET /users/3":    ok(`{"id":3,"username":"bob","state":"blocked"}`),
		})
		if got, err := f.Permission(t.Context(), shop, user(2, "alice")); got != want || err != nil {
			t.Errorf("%s: %d, %v", visibility, got, err)
		}
		for _, u := range []forge.User{user(3, "bob"), user(4, "gone"), user(2, "bob")} {
			if got, err := f.Permission(t.Context(), shop, u); got != forge.None || err != nil {
				t.Errorf("%s, %s: %d, %v", visibility, u.Login, got, err)
			}
		}
	}
}

func TestMembersOfAGroupAreItsOwnAndThoseBelow(t *testing.T) {
	member := func(id int, rest string) string {
		return fmt.Sprintf(`{"id":%d,"username":"user%d","state":"active","access_level":30%s}`, id, id, rest)
	}
	f := driver(t, answers{
		"GET /groups/acme/platform/sre":      ok(`{"id":20}`),
		"GET /groups/20/descendant_groups":   ok(`[{"id":21},{"id":22}]`),
		"GET /groups/20/members":             ok(`[` + member(1, "") + `,` + member(2, `,"membership_state":"awaiting"`) + `,{"id":3,"username":"user3","state":"blocked","access_level":50},{"id":4,"username":"user4","state":"active","access_level":5}]`),
		"GET /groups/21/members":             ok(`[` + member(1, "") + `,` + member(5, "") + `,` + member(95, "") + `]`),
		"GET /groups/22/members":             ok(`[` + member(6, "") + `]`),
		"GET /groups/20/members/all":         ok(`[` + member(9, "") + `]`),
		"GET /groups/acme/platform/sre/gone": say(404, `{"message":"404 Group Not Found"}`),
	})
	got, err := f.TeamMembers(t.Context(), shop, forge.Team{Org: "acme", Slug: "platform/sre"})
	want := []forge.User{user(1, "user1"), user(5, "user5"), {ID: 95, Login: "user95", Type: forge.Bot}, user(6, "user6")}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v\nwant %+v", got, err, want)
	}
	_, err = f.TeamMembers(t.Context(), shop, forge.Team{Org: "acme", Slug: "platform/sre/gone"})
	wantCode(t, "a group that is not there", err, forge.NotFound)
	for _, bad := range []forge.Team{{Org: "", Slug: "20"}, {Org: "20", Slug: ""}, {Org: "acme", Slug: "../20"}, {Org: "acme", Slug: "a?b=c"}} {
		if _, err = f.TeamMembers(t.Context(), shop, bad); err == nil {
			t.Errorf("%s is taken for a group", bad)
		}
	}
}

// A token's bot and service accounts are programs; GitLab tells so only when
// asked about the account itself.
func TestProgramsAreToldFromPeople(t *testing.T) {
	n := 0
	a := answers{
		"GET /users/50": ok(`{"id":50,"username":"blocked","bot":false,"state":"blocked"}`),
		"GET /users/51": ok(`{"id":51,"username":"project_7_bot_old","bot":true}`),
		"QUERY users(": func(w http.ResponseWriter, r *http.Request) {
			n++
			ok(`{"data":{"users":{"nodes":[{"id":"gid://gitlab/User/1","username":"alice","bot":false},{"id":"gid://gitlab/User/2","username":"group_3_bot_5a","bot":true},
				{"id":"gid://gitlab/User/3","username":"ghost","bot":false},{"id":"gid://gitlab/User/4","username":"service_account_7","bot":true},
				{"id":"gid://gitlab/User/5","username":"ghost1","name":"Ghost User","bot":false},{"id":"gid://gitlab/User/6","username":"ghost7","name":"Ada","bot":false}]}}}`)(w, r)
		},
	}
	f := driver(t, a)
	for range 2 {
		users := []forge.User{{ID: 1}, {ID: 2}, {ID: 3}, {ID: 4}, {ID: 50}, {ID: 51}, {ID: 52}, {Type: forge.Deleted}, {ID: 1}, {ID: 5}, {ID: 6}}
		var to []*forge.User
		for i := range users {
			to = append(to, &users[i])
		}
		if err := f.api.Typed(t.Context(), to...); err != nil {
			t.Fatal(err)
		}
		want := []forge.AccountType{forge.Person, forge.Bot, forge.Deleted, forge.Bot, forge.Person, forge.Bot, forge.Deleted, forge.Deleted, forge.Person, forge.Deleted, forge.Person}
		for i, u := range users {
			if u.Type != want[i] {
				t.Errorf("%d: %s, want %s", u.ID, u.Type, want[i])
			}
		}
	}
	if n != 1 {
		t.Errorf("asked %d times", n)
	}
}
