package github

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"lockkeeper/forge"
	"lockkeeper/forge/forgetest"
)

// fates is a look-alike with a pull in acme/shop and a driver that was told the
// repository's name once.
func fates(t *testing.T) (*forgetest.Server, *forgetest.App, *Forge, forge.RepoRef) {
	t.Helper()
	hub, err := forgetest.New(forgetest.Options{Validate: func(v string) { t.Error(v) }})
	done(t, err)
	t.Cleanup(func() { done(t, hub.Close()) })
	hub.AddUser("owner")
	hub.AddOrg("acme", "owner")
	hub.AddOrg("umbrella", "owner")
	id, err := hub.AddRepo(t.Context(), forgetest.NewRepo{Owner: "acme", Name: "shop", Files: map[string]string{"a": "a"}})
	done(t, err)
	owner := hub.As("owner")
	_, err = owner.Push(t.Context(), "acme/shop", "x", "main", forgetest.Commit{Message: "x", Files: map[string][]byte{"b": []byte("b")}})
	done(t, err)
	_, err = owner.OpenPull(t.Context(), "acme/shop", "main", "x", "X", "")
	done(t, err)
	m, err := Manifest("http://127.0.0.1", "http://127.0.0.1/done", "lockkeeper")
	done(t, err)
	app, err := hub.AddApp("acme", "lockkeeper", m.DefaultPermissions, m.DefaultEvents...)
	done(t, err)
	hub.Install(app, "acme")
	f, err := New(t.Context(), Config{APIURL: hub.URL, AppID: app.ID, PrivateKey: []byte(app.Key)})
	done(t, err)
	ref := forge.RepoRef{ID: id, Owner: "acme", Name: "shop"}
	_, err = f.CreateComment(t.Context(), ref, 1, "before")
	done(t, err)
	return hub, app, f, ref
}

// comments are those of pull 1, as a person sees them.
func comments(t *testing.T, hub *forgetest.Server, repo string) int {
	t.Helper()
	var list []any
	done(t, hub.As("owner").Do(t.Context(), "GET", "/repos/"+repo+"/issues/1/comments", nil, &list))
	return len(list)
}

// A caller goes on with the name of its configuration; the number decides.
func TestRepositoryIsFoundUnderItsNewName(t *testing.T) {
	for name, move := range map[string]func(*forgetest.Server, *forgetest.App) string{
		"renamed": func(hub *forgetest.Server, _ *forgetest.App) string {
			hub.RenameRepo("acme/shop", "store")
			return "acme/store"
		},
		"transferred to where the App is too": func(hub *forgetest.Server, app *forgetest.App) string {
			hub.Install(app, "umbrella")
			hub.TransferRepo("acme/shop", "umbrella")
			return "umbrella/shop"
		},
		"renamed, and the name taken": func(hub *forgetest.Server, _ *forgetest.App) string {
			hub.RenameRepo("acme/shop", "store")
			_, err := hub.AddRepo(t.Context(), forgetest.NewRepo{Owner: "acme", Name: "shop", Files: map[string]string{"a": "a"}})
			done(t, err)
			owner := hub.As("owner")
			_, err = owner.Push(t.Context(), "acme/shop", "x", "main", forgetest.Commit{Message: "x", Files: map[string][]byte{"b": []byte("b")}})
			done(t, err)
			_, err = owner.OpenPull(t.Context(), "acme/shop", "main", "x", "X", "")
			done(t, err)
			return "acme/store"
		},
		"transferred, and the name taken": func(hub *forgetest.Server, app *forgetest.App) string {
			hub.Install(app, "umbrella")
			hub.TransferRepo("acme/shop", "umbrella")
			_, err := hub.AddRepo(t.Context(), forgetest.NewRepo{Owner: "acme", Name: "shop", Files: map[string]string{"a": "a"}})
			done(t, err)
			return "umbrella/shop"
		},
	} {
		t.Run(name, func(t *testing.T) {
			hub, app, f, ref := fates(t)
			now := move(hub, app)
			// Whatever the first tries meet, they do not write elsewhere, and soon
			// the new name is known.
			var err error
			for range 3 {
				if _, err = f.Pull(t.Context(), ref, 1); err == nil {
					break
				}
				f.Repo(t.Context(), ref) //nolint:errcheck // what callers do before anything else
			}
			done(t, err)
			for range 2 {
				if _, err = f.CreateComment(t.Context(), ref, 1, "after"); err == nil {
					break
				}
			}
			if err != nil || comments(t, hub, now) != 2 {
				t.Errorf("%v, %d comments under %s", err, comments(t, hub, now), now)
			}
			fresh, err := New(t.Context(), Config{APIURL: hub.URL, AppID: app.ID, PrivateKey: []byte(app.Key)})
			done(t, err)
			var r forge.Repo
			for range 2 { // a name that leads astray is believed once
				if r, err = fresh.Repo(t.Context(), ref); err == nil {
					break
				}
			}
			if err != nil || r.String() != now || r.ID != ref.ID {
				t.Errorf("a new process: %v, %v", r, err)
			}
			if _, err := fresh.CreateComment(t.Context(), ref, 1, "later"); err != nil || comments(t, hub, now) != 3 {
				t.Errorf("a new process: %v", err)
			}
		})
	}
}

// An App that is taken off, suspended or put back, and tokens that are revoked:
// the code tells which, and once it is over the driver goes on by itself.
func TestAccessIsTakenAwayAndGivenBack(t *testing.T) {
	hub, app, f, ref := fates(t)
	installed := hub.Install(app, "umbrella") // not of the repository's owner
	hub.TransferRepo("acme/shop", "owner")
	mustFail := func(what string, codes ...forge.Code) {
		t.Helper()
		for range 3 {
			_, err := f.Repo(t.Context(), ref)
			var e *forge.Error
			if !errors.As(err, &e) || !strings.Contains(err.Error(), "acme/shop") {
				t.Fatalf("%s: %v", what, err)
			}
			if _, err := f.CreateComment(t.Context(), ref, 1, "x"); err == nil {
				t.Errorf("%s: written", what)
			}
		}
		_, err := f.Repo(t.Context(), ref)
		if code := forge.CodeOf(err); code != codes[0] {
			t.Errorf("%s: %v", what, err)
		}
	}
	_ = installed
	back := func(what string) {
		t.Helper()
		var err error
		for range 2 {
			if _, err = f.Repo(t.Context(), ref); err == nil {
				break
			}
		}
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if _, err := f.CreateComment(t.Context(), ref, 1, what); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	mustFail("transferred to where the App is not", forge.NotFound)
	id := hub.Install(app, "owner")
	back("installed there")
	hub.Suspend(id, true)
	mustFail("suspended", forge.Forbidden)
	hub.Suspend(id, false)
	back("unsuspended")
	hub.Revoke(app.BotLogin())
	back("tokens revoked")
	hub.Uninstall(app, "owner")
	mustFail("uninstalled", forge.NotFound)
	hub.Install(app, "owner")
	back("installed anew")
	hub.ArchiveRepo("owner/shop")
	if r, err := f.Repo(t.Context(), ref); err != nil || !r.Archived {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := f.CreateComment(t.Context(), ref, 1, "x"); forge.CodeOf(err) != forge.Forbidden || !strings.Contains(err.Error(), "archived") {
		t.Error(err)
	}
	hub.UnarchiveRepo("owner/shop")
	back("unarchived")
	hub.SetDefaultBranch("owner/shop", "x")
	if r, err := f.Repo(t.Context(), ref); err != nil || r.DefaultBranch != "x" {
		t.Errorf("%+v, %v", r, err)
	}
	hub.DeleteRepo("owner/shop")
	mustFail("deleted", forge.NotFound)
}

// A personal token that was revoked is told from everything else.
func TestRevokedTokenIsUnauthorized(t *testing.T) {
	hub, _, _, ref := fates(t)
	f, err := New(t.Context(), Config{APIURL: hub.URL, Token: hub.Token("owner"), HTTPClient: &http.Client{}})
	done(t, err)
	_, err = f.Repo(t.Context(), ref)
	done(t, err)
	hub.Revoke("owner")
	if _, err = f.Repo(t.Context(), ref); forge.CodeOf(err) != forge.Unauthorized || !strings.Contains(err.Error(), "renew") {
		t.Error(err)
	}
}
