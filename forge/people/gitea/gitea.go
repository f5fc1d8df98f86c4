// Package gitea is people.Forge on a real Gitea server.
package gitea

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"lockkeeper/forge"
	server "lockkeeper/forge/forgetest/gitea"
	"lockkeeper/forge/people"
)

// Events are the webhooks that the bot asks for.
var Events = []string{"push", "create", "delete", "pull_request", "status", "repository"}

// Scopes are those of the bot's token.
var Scopes = []string{"write:repository", "write:issue", "read:organization", "read:user"}

// Forge is a Gitea with its people, and a bot of its own. Several may share a
// server: they have the accounts, organisations and repositories in common.
type Forge struct {
	// Server is what it runs on.
	Server *server.Server

	login, token string // the bot's
	own          bool   // Close stops the server

	mu     sync.Mutex
	emails map[string]string // first address by login, of those who were added
	owners map[string]string // login by organisation
	hook   struct{ url, secret string }
	hooks  map[string]int64 // webhook by admitted repository, 0 before there was an address
}

var _ people.Forge = (*Forge)(nil)

// Start starts a server of its own, which ends with Close.
func Start(ctx context.Context, options server.Options) (*Forge, error) {
	s, err := server.Start(ctx, options)
	if err != nil {
		return nil, err
	}
	f, err := On(ctx, s)
	if err != nil {
		s.Stop() //nolint:errcheck // the first error counts
		return nil, err
	}
	f.own = true
	return f, nil
}

// Shared is the one server of this process, which starts with the first call and
// ends with the process.
var Shared = sync.OnceValues(func() (*server.Server, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour) // of no caller's: it outlives them, and may have to be built
	defer cancel()
	return server.Start(ctx, server.Options{})
})

// On makes a bot on a running server, with a token. The first is called
// lockkeeper, the next lockkeeper-2.
func On(ctx context.Context, s *server.Server) (*Forge, error) {
	f := &Forge{Server: s, emails: map[string]string{}, owners: map[string]string{}, hooks: map[string]int64{}}
	f.login = "lockkeeper"
	for n := 2; ; n++ {
		_, err := f.register(ctx, f.login, f.login+"@example.com")
		if err == nil {
			break
		}
		if forge.CodeOf(err) != forge.Invalid || n > 1000 {
			return nil, fmt.Errorf("make the bot's account: %w", err)
		}
		f.login = fmt.Sprintf("lockkeeper-%d", n)
	}
	var token struct {
		SHA1 string `json:"sha1"`
	}
	err := f.as(f.login).post(ctx, "/users/"+f.login+"/tokens", obj{"name": "lockkeeper", "scopes": Scopes}, &token)
	if err != nil {
		return nil, fmt.Errorf("make the bot's token: %w", err)
	}
	f.token = token.SHA1
	return f, nil
}

// Kind is "gitea".
func (f *Forge) Kind() string { return "gitea" }

// URL is the server's root.
func (f *Forge) URL() string { return f.Server.URL }

// Now is the machine's clock, which is the server's too. What the server tells
// of it are whole seconds.
func (f *Forge) Now() time.Time { return time.Now() }

// Access is the bot's token.
func (f *Forge) Access() people.Access {
	return people.Access{APIURL: f.Server.URL, Token: f.token, Login: f.login}
}

// Close stops the server if nobody else uses it.
func (f *Forge) Close() error {
	if f.own {
		return f.Server.Stop()
	}
	return nil
}

// AddPerson registers an account; without addresses it has one at example.com.
func (f *Forge) AddPerson(ctx context.Context, login string, emails ...string) (forge.User, error) {
	if len(emails) == 0 {
		emails = []string{login + "@example.com"}
	}
	id, err := f.register(ctx, login, emails...)
	if forge.CodeOf(err) == forge.Invalid {
		var there struct {
			ID    int64
			Email string
		}
		if adminErr := f.admin().get(ctx, "/users/"+login, &there); adminErr != nil {
			return forge.User{}, err
		}
		id, err, emails = there.ID, nil, []string{there.Email}
	}
	if err != nil {
		return forge.User{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.emails[login] = emails[0]
	return forge.User{ID: id, Login: login, Type: forge.Person}, nil
}

func (f *Forge) register(ctx context.Context, login string, emails ...string) (int64, error) {
	var made struct{ ID int64 }
	err := f.admin().post(ctx, "/admin/users", obj{
		"username": login, "email": emails[0], "password": f.Server.Password, "must_change_password": false,
	}, &made)
	if err != nil || len(emails) == 1 {
		return made.ID, err
	}
	return made.ID, f.as(login).post(ctx, "/user/emails", obj{"emails": emails[1:]}, nil)
}

// DeletePerson removes an account. Its login can be registered anew (threat 26).
func (f *Forge) DeletePerson(ctx context.Context, login string) error {
	return f.admin().do(ctx, http.MethodDelete, "/admin/users/"+login+"?purge=true", nil, nil)
}

// AddOrg makes an organisation.
func (f *Forge) AddOrg(ctx context.Context, org, owner string) error {
	err := f.admin().post(ctx, "/admin/users/"+owner+"/orgs", obj{"username": org}, nil)
	if err == nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.owners[org] = owner
	}
	return err
}

// AddMember makes somebody a member of an organisation: of a team that has
// nothing, since Gitea knows no other way.
func (f *Forge) AddMember(ctx context.Context, org, login string) error {
	return f.AddTeam(ctx, org, members, "", login)
}

// members is the team of an organisation's members without more rights.
const members = "members"

// AddTeam makes a team, or adds members to it, and the bot: Gitea shows a team's
// members to nobody but members and owners. There are no teams below others.
func (f *Forge) AddTeam(ctx context.Context, org, slug, parent string, members ...string) error {
	if parent != "" {
		return &forge.Error{Op: "make team " + org + "/" + slug, Code: forge.Invalid, Message: "Gitea has no teams below others"}
	}
	id, err := f.team(ctx, org, slug)
	if forge.CodeOf(err) == forge.NotFound {
		var made struct{ ID int64 }
		err = f.admin().post(ctx, "/orgs/"+org+"/teams", obj{
			"name": slug, "permission": "write", "units": []string{"repo.code", "repo.issues", "repo.pulls"},
		}, &made)
		id = made.ID
	}
	for _, login := range append(slices.Clone(members), f.login) {
		if err == nil {
			err = f.admin().put(ctx, fmt.Sprintf("/teams/%d/members/%s", id, login), nil)
		}
	}
	return err
}

// team finds a team's number.
func (f *Forge) team(ctx context.Context, org, slug string) (int64, error) {
	type team struct {
		ID   int64
		Name string
	}
	teams, err := all[team](ctx, f.admin(), "/orgs/"+org+"/teams")
	if err != nil {
		return 0, err
	}
	for _, t := range teams {
		if strings.EqualFold(t.Name, slug) {
			return t.ID, nil
		}
	}
	return 0, &forge.Error{Op: "find team " + org + "/" + slug, Code: forge.NotFound, Message: "there is none of that name"}
}

// RenameTeam gives a team another name.
func (f *Forge) RenameTeam(ctx context.Context, org, slug, to string) error {
	id, err := f.team(ctx, org, slug)
	if err != nil {
		return err
	}
	return f.admin().patch(ctx, fmt.Sprintf("/teams/%d", id), obj{"name": to}, nil)
}

// AddRepo makes a repository, whose owner pushes the files.
func (f *Forge) AddRepo(ctx context.Context, r people.NewRepo) (forge.RepoRef, error) {
	f.mu.Lock()
	pusher, path := f.owners[r.Owner], "/orgs/"+r.Owner+"/repos"
	f.mu.Unlock()
	if pusher == "" {
		pusher, path = r.Owner, "/admin/users/"+r.Owner+"/repos"
	}
	var made struct{ ID int64 }
	if err := f.admin().post(ctx, path, obj{"name": r.Name, "private": r.Private, "default_branch": "main"}, &made); err != nil {
		return forge.RepoRef{}, err
	}
	ref := forge.RepoRef{ID: made.ID, Owner: r.Owner, Name: r.Name}
	_, err := f.as(pusher).push(ctx, ref.String(), "main", "", false, people.Commit{Message: "Begin", Files: r.Files})
	if err != nil {
		return ref, err
	}
	return ref, f.Settle(ctx)
}

// MoveRepo renames a repository, gives it to another owner, or both.
func (f *Forge) MoveRepo(ctx context.Context, repo, to string) error {
	owner, name, _ := strings.Cut(repo, "/")
	newOwner, newName, _ := strings.Cut(to, "/")
	if newOwner != owner {
		if err := f.admin().post(ctx, "/repos/"+repo+"/transfer", obj{"new_owner": newOwner}, nil); err != nil {
			return err
		}
	}
	if newName != name {
		if err := f.admin().patch(ctx, "/repos/"+newOwner+"/"+name, obj{"name": newName}, nil); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if id, ok := f.hooks[repo]; ok {
		delete(f.hooks, repo)
		f.hooks[to] = id
	}
	return nil
}

// Admit makes the bot a collaborator who may administrate the repository, which
// is what Gitea asks of whoever wants to know what others may do in it, and a
// member of the organisation, who sees the other members. A webhook is added once
// Hook was called.
func (f *Forge) Admit(ctx context.Context, repo string) error {
	owner, _, _ := strings.Cut(repo, "/")
	f.mu.Lock()
	_, isOrg := f.owners[owner]
	f.mu.Unlock()
	if isOrg {
		if err := f.AddTeam(ctx, owner, members, ""); err != nil {
			return err
		}
	}
	if err := f.admin().put(ctx, "/repos/"+repo+"/collaborators/"+f.login, obj{"permission": "admin"}); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hooks[repo] = 0
	return f.deliver(ctx, repo)
}

// Hook has the webhooks of all admitted repositories delivered there.
func (f *Forge) Hook(ctx context.Context, url, secret string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook.url, f.hook.secret = url, secret
	for _, repo := range slices.Sorted(maps.Keys(f.hooks)) {
		if err := f.deliver(ctx, repo); err != nil {
			return err
		}
	}
	return nil
}

// deliver puts a webhook into a repository in place of the former one: Gitea
// does not change the secret of one that is there.
func (f *Forge) deliver(ctx context.Context, repo string) error {
	if f.hook.url == "" {
		return nil
	}
	if old := f.hooks[repo]; old != 0 {
		if err := f.admin().do(ctx, http.MethodDelete, fmt.Sprintf("/repos/%s/hooks/%d", repo, old), nil, nil); err != nil {
			return err
		}
	}
	var made struct{ ID int64 }
	err := f.admin().post(ctx, "/repos/"+repo+"/hooks", obj{
		"type": "gitea", "active": true, "events": Events,
		"config": obj{"url": f.hook.url, "content_type": "json", "secret": f.hook.secret},
	}, &made)
	f.hooks[repo] = made.ID
	return err
}

// Grant makes somebody a collaborator, or none any more.
func (f *Forge) Grant(ctx context.Context, repo, login string, p forge.Permission) error {
	path := "/repos/" + repo + "/collaborators/" + login
	if p == forge.None {
		return f.admin().do(ctx, http.MethodDelete, path, nil, nil)
	}
	return f.admin().put(ctx, path, obj{"permission": map[forge.Permission]string{
		forge.Read: "read", forge.Write: "write", forge.Admin: "admin",
	}[p]})
}

// GrantTeam gives a team write access.
func (f *Forge) GrantTeam(ctx context.Context, repo, slug string) error {
	org, _, _ := strings.Cut(repo, "/")
	id, err := f.team(ctx, org, slug)
	if err != nil {
		return err
	}
	return f.admin().put(ctx, fmt.Sprintf("/teams/%d/repos/%s", id, repo), nil)
}

// Protect makes or replaces the rule for a branch. A review that asks for changes
// keeps the pull from being merged where reviews are asked for at all.
func (f *Forge) Protect(ctx context.Context, repo, branch string, p people.Protection) error {
	rule := obj{
		"rule_name": branch, "enable_push": false,
		"enable_status_check": len(p.Checks) > 0, "status_check_contexts": append([]string{}, p.Checks...),
		"required_approvals": p.Reviews, "block_on_rejected_reviews": p.Reviews > 0,
	}
	path := "/repos/" + repo + "/branch_protections"
	err := f.admin().get(ctx, path+"/"+branch, nil)
	if err == nil {
		return f.admin().patch(ctx, path+"/"+branch, rule, nil)
	}
	if forge.CodeOf(err) != forge.NotFound {
		return err
	}
	return f.admin().post(ctx, path, rule, nil)
}

// Settle waits until the server is done.
func (f *Forge) Settle(ctx context.Context) error {
	_, err := f.Server.Settle(ctx)
	return err
}

// Delivered counts the webhooks of the whole server; 0 when it is gone.
func (f *Forge) Delivered() int {
	n, err := f.Server.Delivered(context.Background())
	if err != nil {
		return 0
	}
	return n
}

// Head is where a branch points.
func (f *Forge) Head(ctx context.Context, repo, branch string) (string, error) {
	var found struct{ Commit struct{ ID string } }
	err := f.admin().get(ctx, "/repos/"+repo+"/branches/"+branch, &found)
	if forge.CodeOf(err) == forge.NotFound {
		return "", nil
	}
	return found.Commit.ID, err
}

// CloneURL is where a repository is cloned from.
func (f *Forge) CloneURL(repo string) string { return f.Server.URL + "/" + repo + ".git" }

// As is somebody at work.
func (f *Forge) As(login string) people.Person { return f.as(login) }
