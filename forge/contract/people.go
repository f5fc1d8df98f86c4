package contract

import (
	"fmt"
	"os/exec"
	"slices"
	"testing"

	"lockkeeper/forge"
	"lockkeeper/forge/people"
)

func identity(t *testing.T, e *env) {
	me := must[forge.User](t)(e.f.Self(t.Context()))
	if me.ID == 0 || me.Login == "" {
		t.Errorf("Self is %+v", me)
	}
	if e.f.Kind() == "" || e.f.Limits().Comment < 1000 || e.f.Limits().Summary < 100 {
		t.Errorf("kind %q, limits %+v", e.f.Kind(), e.f.Limits())
	}
	alice := e.person(t, "alice")
	n := e.pull(t, alice, "x")
	c := must[forge.Comment](t)(e.f.CreateComment(t.Context(), e.ref, n, "hi"))
	if c.Author != me {
		t.Errorf("the bot comments as %+v but is %+v", c.Author, me)
	}
}

func repository(t *testing.T, e *env) {
	r := must[forge.Repo](t)(e.f.Repo(t.Context(), forge.RepoRef{ID: e.ref.ID, Owner: e.ref.Owner, Name: e.ref.Name}))
	if r.RepoRef != e.ref || r.DefaultBranch != "main" || r.CloneURL == "" || r.WebURL == "" || r.Archived {
		t.Errorf("%+v", r)
	}
	_, err := e.f.Repo(t.Context(), forge.RepoRef{ID: 1 << 40, Owner: "nobody", Name: "nothing"})
	wantCode(t, "unknown repository", err, forge.NotFound)

	auth := must[string](t)(e.f.GitAuth(t.Context(), e.ref))
	if out, err := lsRemote(t, r.CloneURL, auth); err != nil {
		t.Errorf("git with the driver's credential: %v\n%s", err, out)
	}
	if out, err := lsRemote(t, r.CloneURL, ""); err == nil {
		t.Errorf("git without a credential reads a private repository:\n%s", out)
	}
}

// A repository is its number: its name may lead to another one (threat 26).
func movedRepository(t *testing.T, e *env) {
	n := e.pull(t, e.person(t, "alice"), "x")
	moved := e.Move(t, e.ref)
	other := must[forge.RepoRef](t)(e.world.AddRepo(t.Context(), people.NewRepo{Owner: e.ref.Owner, Name: e.ref.Name, Private: true, Files: map[string]string{"other": "1\n"}}))
	ok(t, e.world.Admit(t.Context(), other.String()))
	// The first to ask may find that the way it knew is gone; it asks again.
	r, err := e.f.Repo(t.Context(), e.ref)
	if err != nil {
		r, err = e.f.Repo(t.Context(), e.ref)
	}
	if err != nil || r.RepoRef != moved {
		t.Errorf("found %+v, want %+v; %v", r.RepoRef, moved, err)
	}
	if p := must[forge.Pull](t)(e.f.Pull(t.Context(), e.ref, n)); p.Base.RepoID != e.ref.ID {
		t.Errorf("by the old name: %+v", p)
	}
	c := must[forge.Comment](t)(e.f.CreateComment(t.Context(), e.ref, n, "still here"))
	if list := must[[]forge.Comment](t)(e.f.Comments(t.Context(), moved, n)); len(list) != 1 || list[0].ID != c.ID {
		t.Errorf("comments by the new name: %+v", list)
	}
	if r := must[forge.Repo](t)(e.f.Repo(t.Context(), other)); r.RepoRef != other {
		t.Errorf("the other repository of the old name: %+v", r)
	}
}

func lsRemote(t *testing.T, url, auth string) (string, error) {
	cmd := exec.CommandContext(t.Context(), "git", "ls-remote", url)
	cmd.Env = gitEnv(auth)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func logins(users []forge.User) []string {
	var l []string
	for _, u := range users {
		l = append(l, u.Login)
	}
	slices.Sort(l)
	return l
}

func sameUsers(a, b []forge.User) bool {
	byID := func(x, y forge.User) int { return int(x.ID - y.ID) }
	a, b = slices.Clone(a), slices.Clone(b)
	slices.SortFunc(a, byID)
	slices.SortFunc(b, byID)
	return slices.Equal(a, b)
}

func teams(t *testing.T, e *env) {
	alice, bob, carol := e.person(t, "alice"), e.person(t, "bob"), e.person(t, "carol")
	ops := e.Team(t, e.ref, "ops", "", alice, bob)
	if got := must[[]forge.User](t)(e.f.TeamMembers(t.Context(), e.ref, ops)); !sameUsers(got, []forge.User{alice, bob}) {
		t.Errorf("members of %s: %+v", ops, got)
	}
	if e.Traits.ChildTeams {
		e.Team(t, e.ref, "ops-night", ops.Slug, carol)
		if got := must[[]forge.User](t)(e.f.TeamMembers(t.Context(), e.ref, ops)); !sameUsers(got, []forge.User{alice, bob, carol}) {
			t.Errorf("members of %s with a child team: %v", ops, logins(got))
		}
	}
	_, err := e.f.TeamMembers(t.Context(), e.ref, forge.Team{Org: ops.Org, Slug: "no-such-team"})
	wantCode(t, "unknown team", err, forge.NotFound)
}

// What a name said goes with the team, not with the name (threat 26).
func renamedTeam(t *testing.T, e *env) {
	alice, bob := e.person(t, "alice"), e.person(t, "bob")
	ops := e.Team(t, e.ref, "ops", "", alice)
	night := e.RenameTeam(t, ops, "night")
	members := func(team forge.Team) []forge.User {
		t.Helper()
		return must[[]forge.User](t)(e.f.TeamMembers(t.Context(), e.ref, team))
	}
	if got := members(night); !sameUsers(got, []forge.User{alice}) {
		t.Errorf("members of the renamed team: %v", logins(got))
	}
	_, err := e.f.TeamMembers(t.Context(), e.ref, ops)
	wantCode(t, "the old name", err, forge.NotFound)
	e.Team(t, e.ref, "ops", "", bob)
	if got := members(ops); !sameUsers(got, []forge.User{bob}) {
		t.Errorf("members of a new team of the old name: %v", logins(got))
	}
}

func teamPages(t *testing.T, e *env) {
	var all []forge.User
	for i := range e.past(1) {
		all = append(all, e.Person(t, fmt.Sprintf("member%d", i)))
	}
	big := e.Team(t, e.ref, "big", "", all...)
	if got := must[[]forge.User](t)(e.f.TeamMembers(t.Context(), e.ref, big)); !sameUsers(got, all) {
		t.Errorf("%d members, want %d", len(got), len(all))
	}
}

func permissions(t *testing.T, e *env) {
	for _, want := range []forge.Permission{forge.None, forge.Read, forge.Write, forge.Admin} {
		u := e.Person(t, fmt.Sprintf("level%d", want))
		if want != forge.None {
			e.Grant(t, e.ref, u, want)
		}
		if got := must[forge.Permission](t)(e.f.Permission(t.Context(), e.ref, u)); got != want {
			t.Errorf("permission of %s is %d, want %d", u.Login, got, want)
		}
		// Threat 26: the right login of a wrong account.
		other := u
		other.ID += 1 << 20
		if got, _ := e.f.Permission(t.Context(), e.ref, other); got != forge.None {
			t.Errorf("login %s under another id has permission %d", u.Login, got)
		}
	}
	for _, u := range []forge.User{{}, {ID: 5}, {Login: "level3"}, {ID: 5, Login: "nobody-of-that-name"}, {ID: 5, Login: "../level3"}} {
		if got, err := e.f.Permission(t.Context(), e.ref, u); got != forge.None || err != nil {
			t.Errorf("permission of %+v is %d, %v", u, got, err)
		}
	}
}

// Threat 26.
func takenOver(t *testing.T, e *env) {
	if !e.Traits.Reregister {
		t.Skip("this forge's fixture cannot register a login anew")
	}
	old := e.person(t, "mallory")
	if got := must[forge.Permission](t)(e.f.Permission(t.Context(), e.ref, old)); got != forge.Write {
		t.Fatalf("permission before is %d", got)
	}
	now := e.Reregister(t, old)
	e.Grant(t, e.ref, now, forge.Admin)
	if got := must[forge.Permission](t)(e.f.Permission(t.Context(), e.ref, old)); got != forge.None {
		t.Errorf("the old account has permission %d through its login's new owner", got)
	}
	if got := must[forge.Permission](t)(e.f.Permission(t.Context(), e.ref, now)); got != forge.Admin {
		t.Errorf("the new account has permission %d", got)
	}
}
