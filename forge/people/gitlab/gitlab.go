// Package gitlab is people.Forge on the look-alike of GitLab in
// forge/forgetest/gitlab.
package gitlab

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"lockkeeper/forge"
	server "lockkeeper/forge/forgetest/gitlab"
	"lockkeeper/forge/people"
)

// robot is the bot's account.
const robot = "lockkeeper"

// The access levels that people have here.
const (
	reporter   = 20
	developer  = 30
	maintainer = 40
)

// Events are the webhooks that the bot asks for.
var Events = []string{"push", "merge_request", "note", "pipeline"}

// Forge is one look-alike with its people.
type Forge struct {
	// Server has what only a look-alike can do: its clock, its faults, its log.
	Server *server.Server

	mu       sync.Mutex
	admitted map[int64]bool // projects
	hook     struct{ url, secret string }
}

var _ people.Forge = (*Forge)(nil)

// New starts a look-alike, with an account and a token for the bot.
func New(opt server.Options) (*Forge, error) {
	s, err := server.New(opt)
	if err != nil {
		return nil, err
	}
	s.AddServiceAccount(robot)
	return &Forge{Server: s, admitted: map[int64]bool{}}, nil
}

// Kind is "gitlab".
func (f *Forge) Kind() string { return "gitlab" }

// URL is the root of the pages.
func (f *Forge) URL() string { return f.Server.URL }

// Now is the look-alike's clock.
func (f *Forge) Now() time.Time { return f.Server.Now() }

// Advance moves the clock on.
func (f *Forge) Advance(d time.Duration) { f.Server.Advance(d) }

// Close ends the look-alike.
func (f *Forge) Close() error { return f.Server.Close() }

// Access is the bot's token.
func (f *Forge) Access() people.Access {
	return people.Access{APIURL: f.Server.URL, Token: f.Server.Token(robot), Login: robot}
}

// AddPerson registers an account; without addresses it has one at example.com.
func (f *Forge) AddPerson(_ context.Context, login string, emails ...string) (forge.User, error) {
	if len(emails) == 0 {
		emails = []string{login + "@example.com"}
	}
	return forge.User{ID: f.Server.AddUser(login, emails...), Login: login, Type: forge.Person}, nil
}

// DeletePerson removes an account. Its login can be registered anew (threat 26).
func (f *Forge) DeletePerson(_ context.Context, login string) error {
	f.Server.DeleteUser(login)
	return nil
}

// AddOrg makes a group.
func (f *Forge) AddOrg(_ context.Context, org, owner string) error {
	f.Server.AddGroup(org, owner)
	return nil
}

// AddMember makes somebody a member of the group, who reads its projects.
func (f *Forge) AddMember(_ context.Context, org, login string) error {
	f.Server.GrantGroup(org, login, reporter)
	return nil
}

// AddTeam makes a subgroup, or adds members to it.
func (f *Forge) AddTeam(_ context.Context, org, slug, parent string, members ...string) error {
	path := org + "/" + slug
	if parent != "" {
		above, err := f.team(org, parent)
		if err != nil {
			return err
		}
		path = above + "/" + slug
	}
	f.Server.AddGroup(path, "")
	for _, login := range members {
		f.Server.GrantGroup(path, login, developer)
	}
	return nil
}

// team finds a subgroup by the last part of its path, at any depth.
func (f *Forge) team(org, slug string) (string, error) {
	f.Server.Mu.Lock()
	defer f.Server.Mu.Unlock()
	for _, g := range f.Server.Groups {
		if full := g.Full(); g.Path == slug && strings.HasPrefix(full, org+"/") {
			return full, nil
		}
	}
	return "", &forge.Error{Op: "find subgroup " + slug + " of " + org, Code: forge.NotFound, Message: "there is none of that path"}
}

// RenameTeam gives a subgroup another path.
func (f *Forge) RenameTeam(_ context.Context, org, slug, to string) error {
	full, err := f.team(org, slug)
	if err == nil {
		f.Server.RenameGroup(full, to)
	}
	return err
}

// AddRepo makes a project.
func (f *Forge) AddRepo(ctx context.Context, r people.NewRepo) (forge.RepoRef, error) {
	id, err := f.Server.AddProject(ctx, server.NewProject{Owner: r.Owner, Path: r.Name, Files: r.Files, Private: r.Private})
	return forge.RepoRef{ID: id, Owner: r.Owner, Name: r.Name}, err
}

// MoveRepo renames a project, transfers it, or both.
func (f *Forge) MoveRepo(_ context.Context, repo, to string) error {
	owner, name := split(to)
	f.Server.MoveProject(repo, owner, name)
	return nil
}

// split takes the name off a path; the rest is the owner, which may be nested.
func split(full string) (owner, name string) {
	at := strings.LastIndex(full, "/")
	return full[:max(at, 0)], full[at+1:]
}

// Admit makes the bot a developer of the project, and lets it see the group with
// its subgroups.
func (f *Forge) Admit(_ context.Context, repo string) error {
	f.Server.Grant(repo, robot, developer)
	owner, _ := split(repo)
	top, _, _ := strings.Cut(owner, "/")
	f.Server.Mu.Lock()
	id, inGroup := f.Server.MustProject(repo).ID, f.Server.Group(top) != nil
	f.Server.Mu.Unlock()
	if inGroup {
		f.Server.GrantGroup(top, robot, reporter)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.admitted[id] = true
	f.deliver(id)
	return nil
}

// Hook gives every admitted project a webhook.
func (f *Forge) Hook(_ context.Context, url, secret string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook.url, f.hook.secret = url, secret
	for id := range f.admitted {
		f.deliver(id)
	}
	return nil
}

// deliver replaces the webhook of a project.
func (f *Forge) deliver(id int64) {
	if f.hook.url == "" {
		return
	}
	f.Server.Mu.Lock()
	defer f.Server.Mu.Unlock()
	if p := f.Server.Project(fmt.Sprint(id)); p != nil {
		p.Hooks = nil
		f.Server.AddHook(p, nil, f.hook.url, f.hook.secret, Events...)
	}
}

// Grant gives somebody an access level in the project.
func (f *Forge) Grant(_ context.Context, repo, login string, p forge.Permission) error {
	f.Server.Grant(repo, login, map[forge.Permission]int{forge.Read: reporter, forge.Write: developer, forge.Admin: maintainer}[p])
	return nil
}

// GrantTeam shares the project with a subgroup, whose members become developers.
func (f *Forge) GrantTeam(_ context.Context, repo, slug string) error {
	owner, _ := split(repo)
	top, _, _ := strings.Cut(owner, "/")
	full, err := f.team(top, slug)
	if err == nil {
		f.Server.Share(repo, full, developer)
	}
	return err
}

// Protect lets nobody push to the branch and developers merge into it. GitLab knows
// no checks by name: the whole pipeline must succeed.
func (f *Forge) Protect(_ context.Context, repo, branch string, p people.Protection) error {
	f.Server.Protect(repo, branch, server.Rules{Merge: developer, PipelinesMustSucceed: len(p.Checks) > 0, Approvals: p.Reviews})
	return nil
}

// Settle waits for the webhooks.
func (f *Forge) Settle(ctx context.Context) error { return f.Server.Settle(ctx) }

// Delivered counts the webhooks that were answered.
func (f *Forge) Delivered() int {
	n := 0
	for _, d := range f.Server.Post.Log() {
		if d.Done && d.Status != 0 {
			n++
		}
	}
	return n
}

// Head is where a branch points.
func (f *Forge) Head(_ context.Context, repo, branch string) (string, error) {
	return f.Server.Head(repo, branch), nil
}

// CloneURL is where Git finds a project.
func (f *Forge) CloneURL(repo string) string { return f.Server.CloneURL(repo) }

// As is somebody at work.
func (f *Forge) As(login string) people.Person { return &person{f: f, c: f.Server.As(login)} }
