// Package github is people.Forge on the look-alike of GitHub in forge/forgetest.
package github

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"lockkeeper/forge"
	"lockkeeper/forge/forgetest"
	"lockkeeper/forge/people"
)

// Options say how the look-alike is, and what the bot has on it.
type Options struct {
	forgetest.Options
	// Token gives the bot a personal access token rather than an App.
	Token bool
	// Permissions and Events are those of the App, as in its manifest.
	Permissions map[string]string
	Events      []string
}

// robot is the account of a bot with a token, and the slug of its App.
const robot = "lockkeeper"

// Forge is one look-alike with its people.
type Forge struct {
	// Server has what only a look-alike can do: its clock, its faults, its log.
	Server *forgetest.Server
	// App is the bot's, nil if it has a token.
	App *forgetest.App

	mu       sync.Mutex
	admitted map[string]bool   // repositories
	owners   map[string]string // login by organisation
	hook     struct{ url, secret string }
}

var _ people.Forge = (*Forge)(nil)

// New starts a look-alike, with the bot's App or account.
func New(opt Options) (*Forge, error) {
	s, err := forgetest.New(opt.Options)
	if err != nil {
		return nil, err
	}
	f := &Forge{Server: s, admitted: map[string]bool{}, owners: map[string]string{}}
	if opt.Token {
		s.AddUser(robot)
		return f, nil
	}
	s.AddOrg(robot)
	if f.App, err = s.AddApp(robot, robot, opt.Permissions, opt.Events...); err != nil {
		s.Close() //nolint:errcheck // the first error counts
		return nil, err
	}
	return f, nil
}

// Kind is "github".
func (f *Forge) Kind() string { return "github" }

// URL is the root of the pages.
func (f *Forge) URL() string { return f.Server.URL }

// Now is the look-alike's clock.
func (f *Forge) Now() time.Time { return f.Server.Now() }

// Advance moves the clock on.
func (f *Forge) Advance(d time.Duration) { f.Server.Advance(d) }

// Close ends the look-alike.
func (f *Forge) Close() error { return f.Server.Close() }

// Access is the App's key, or the token.
func (f *Forge) Access() people.Access {
	a := people.Access{APIURL: f.Server.URL + "/api/v3", Login: robot}
	if f.App == nil {
		a.Token = f.Server.Token(robot)
		return a
	}
	a.AppID, a.Key, a.Login = f.App.ID, f.App.Key, f.App.BotLogin()
	return a
}

// AddPerson registers an account.
func (f *Forge) AddPerson(_ context.Context, login string, emails ...string) (forge.User, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.Server.Mu.Lock()
	there := f.Server.Account(login)
	f.Server.Mu.Unlock()
	u := forge.User{Login: login, Type: forge.Person}
	if there != nil {
		u.ID = there.ID
		return u, nil
	}
	u.ID = f.Server.AddUser(login, emails...)
	return u, nil
}

// DeletePerson removes an account. Its login can be registered anew (threat 26).
func (f *Forge) DeletePerson(_ context.Context, login string) error {
	f.Server.DeleteUser(login)
	return nil
}

// AddOrg makes an organisation.
func (f *Forge) AddOrg(_ context.Context, org, owner string) error {
	f.Server.AddOrg(org, owner)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.owners[org] = owner
	return nil
}

// AddMember makes somebody a member of an organisation.
func (f *Forge) AddMember(_ context.Context, org, login string) error {
	f.Server.AddMember(org, login)
	return nil
}

// AddTeam makes a team, or adds members to it.
func (f *Forge) AddTeam(_ context.Context, org, slug, parent string, members ...string) error {
	f.Server.AddTeam(org, slug, parent, members...)
	return nil
}

// RenameTeam gives a team another slug.
func (f *Forge) RenameTeam(_ context.Context, org, slug, to string) error {
	f.Server.RenameTeam(org, slug, to)
	return nil
}

// AddRepo makes a repository.
func (f *Forge) AddRepo(ctx context.Context, r people.NewRepo) (forge.RepoRef, error) {
	id, err := f.Server.AddRepo(ctx, forgetest.NewRepo{Owner: r.Owner, Name: r.Name, Private: r.Private, Files: r.Files})
	return forge.RepoRef{ID: id, Owner: r.Owner, Name: r.Name}, err
}

// MoveRepo renames and transfers a repository. The App follows to an owner who
// has it installed.
func (f *Forge) MoveRepo(_ context.Context, repo, to string) error {
	owner, name, _ := strings.Cut(repo, "/")
	newOwner, newName, _ := strings.Cut(to, "/")
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.admitted, repo)
	if newName != name {
		f.Server.RenameRepo(repo, newName)
	}
	if newOwner != owner {
		f.Server.TransferRepo(owner+"/"+newName, newOwner)
	}
	return nil
}

// Admit installs the App on the repository. An account with a token becomes a
// member of the organisation, since others do not see its teams.
func (f *Forge) Admit(ctx context.Context, repo string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	owner, _, _ := strings.Cut(repo, "/")
	switch {
	case f.admitted[repo]:
		return nil
	case f.App != nil:
		f.Server.Install(f.App, owner, repo)
	default:
		if f.owners[owner] != "" {
			f.Server.AddMember(owner, robot)
		}
		f.Server.Grant(repo, robot, "write")
	}
	f.admitted[repo] = true
	return f.hookOf(ctx, repo)
}

// Grant gives somebody a role in a repository.
func (f *Forge) Grant(_ context.Context, repo, login string, p forge.Permission) error {
	f.Server.Grant(repo, login, map[forge.Permission]string{forge.Read: "read", forge.Write: "write", forge.Admin: "admin"}[p])
	return nil
}

// GrantTeam gives a team write access.
func (f *Forge) GrantTeam(_ context.Context, repo, slug string) error {
	f.Server.GrantTeam(repo, slug, "write")
	return nil
}

// Protect sets the rules of a branch, which hold for administrators as well: as a
// ruleset for an App and as branch protection for a token, so that both forms
// are in use.
func (f *Forge) Protect(_ context.Context, repo, branch string, p people.Protection) error {
	f.Server.Protect(repo, branch, forgetest.Protection{Checks: p.Checks, Reviews: p.Reviews, EnforceAdmins: true, Ruleset: f.App != nil})
	return nil
}

// Hook points the App's webhook at url, or the webhooks of the repositories.
func (f *Forge) Hook(ctx context.Context, url, secret string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook.url, f.hook.secret = url, secret
	if f.App != nil {
		f.Server.SetWebhook(f.App, url, secret)
		return nil
	}
	for repo := range f.admitted {
		if err := f.hookOf(ctx, repo); err != nil {
			return err
		}
	}
	return nil
}

// hookOf replaces the webhook of a repository, for a bot with a token.
func (f *Forge) hookOf(ctx context.Context, repo string) error {
	if f.App != nil || f.hook.url == "" {
		return nil
	}
	f.Server.Mu.Lock()
	f.Server.MustRepo(repo).Hooks = nil
	f.Server.Mu.Unlock()
	owner, _, _ := strings.Cut(repo, "/")
	in := map[string]any{"active": true, "events": []string{"*"}, "config": map[string]string{"url": f.hook.url, "secret": f.hook.secret, "content_type": "json"}}
	return f.Server.As(cmp.Or(f.owners[owner], owner)).Do(ctx, "POST", "/repos/"+repo+"/hooks", in, nil)
}

// Settle waits for the webhooks.
func (f *Forge) Settle(ctx context.Context) error { return f.Server.Flush(ctx) }

// Delivered counts the webhooks that were sent.
func (f *Forge) Delivered() int {
	n := 0
	for _, d := range f.Server.Deliveries() {
		if d.Done {
			n++
		}
	}
	return n
}

// Head is where a branch points.
func (f *Forge) Head(_ context.Context, repo, branch string) (string, error) {
	return f.Server.Head(repo, branch), nil
}

// CloneURL is the repository's address for Git.
func (f *Forge) CloneURL(repo string) string { return f.Server.CloneURL(repo) }

// As is somebody at work.
func (f *Forge) As(login string) people.Person { return &person{Client: f.Server.As(login)} }

// AppCheck is the result of another App for a commit; it returns that App's
// number. Nothing keeps it from using our check's name (threat 25).
func (f *Forge) AppCheck(ctx context.Context, repo, sha, name string, good bool) (int64, error) {
	app, err := f.Server.AddApp(robot, fmt.Sprintf("other-%d", f.Server.Now().Unix()), map[string]string{"checks": "write"})
	if err != nil {
		return 0, err
	}
	owner, _, _ := strings.Cut(repo, "/")
	f.Server.Install(app, owner)
	_, err = f.Server.AsApp(app, repo).Check(ctx, repo, sha, name, map[bool]string{true: "success", false: "failure"}[good])
	return app.ID, err
}
