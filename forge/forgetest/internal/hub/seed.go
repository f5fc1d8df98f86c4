package hub

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"lockkeeper/forge/forgetest/bare"
)

// Protection is what a protected branch demands.
type Protection struct {
	// Reviews is how many approvals a merge needs; 0 is none.
	Reviews int
	// DismissStale drops approvals when the head moves.
	DismissStale bool
	// Checks are the contexts (check run or status names) that must succeed.
	Checks []string
	// Strict demands that the head contains the tip of the base.
	Strict bool
	// EnforceAdmins holds administrators to the same rules.
	EnforceAdmins bool
	// Ruleset shows these rules through rules/branches instead of through
	// branches/{branch}/protection, as repositories with rulesets do.
	Ruleset bool
	// MergeQueue is shown as a rule; see Enqueue.
	MergeQueue bool
	// Signatures refuses merges of unsigned commits.
	Signatures bool
}

// NewRepo says how a repository is made.
type NewRepo struct {
	Owner, Name   string
	DefaultBranch string // "" is main
	Private       bool
	// Files are the content of a first commit by the owner; none leaves the
	// repository empty.
	Files map[string]string
	// From is a local Git repository whose ref FromRef becomes the default
	// branch; it excludes Files.
	From, FromRef string
}

// App is a GitHub App: its bot account, its key and where its hook goes.
type App struct {
	ID            int64
	Slug          string
	Name          string
	ClientID      string
	Permissions   map[string]string
	Events        []string
	WebhookSecret string
	WebhookURL    string
	// Key is the PEM of the App's private key.
	Key string

	owner         *Account
	bot           *Account
	public        *rsa.PublicKey
	ClientSecret  string
	Installations []*Installation
	created       time.Time
}

// Installation is an App on an account, on all of its repositories or some.
type Installation struct {
	ID      int64
	app     *App
	Account *Account
	repos   []*Repo
	All     bool
	Suspend *Account
	created time.Time
}

// Has tells whether the installation reaches a repository.
func (in *Installation) Has(r *Repo) bool {
	return in.Account == r.Owner && (in.All || slices.Contains(in.repos, r))
}

// AddUser registers a person. The first e-mail address is the one commits get;
// without any it is login@example.com.
func (s *Hub) AddUser(login string, emails ...string) int64 {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	if len(emails) == 0 {
		emails = []string{login + "@example.com"}
	}
	return s.addAccount(login, "User", emails...).ID
}

func (s *Hub) addAccount(login, kind string, emails ...string) *Account {
	// An address belongs to one account only: it stays with the first.
	emails = slices.DeleteFunc(emails, func(e string) bool { return s.AccountByEmail(e) != nil })
	a := &Account{ID: s.NextID(), Login: login, Kind: kind, emails: emails, Created: s.Tick(), Owners: map[int64]bool{}, Members: map[int64]bool{}}
	s.Accounts[strings.ToLower(login)] = a
	return a
}

// AddOrg registers an organisation with its owners.
func (s *Hub) AddOrg(login string, owners ...string) int64 {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	org := s.addAccount(login, "Organization")
	for _, o := range owners {
		org.Owners[s.MustAccount(o).ID] = true
	}
	return org.ID
}

// AddMember makes somebody a member of an organisation. People who only have a
// role in one of its repositories are outside collaborators.
func (s *Hub) AddMember(org, login string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.MustAccount(org).Members[s.MustAccount(login).ID] = true
}

// RemoveMember takes somebody out of an organisation and its teams; roles in
// single repositories stay.
func (s *Hub) RemoveMember(org, login string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	o, a := s.MustAccount(org), s.MustAccount(login)
	delete(o.Members, a.ID)
	delete(o.Owners, a.ID)
	for _, t := range s.Teams {
		if t.Org == o {
			delete(t.members, a.ID)
		}
	}
}

// AddTeam makes a team, or adds members to it; parent is the slug of the team
// above a new one, or "".
func (s *Hub) AddTeam(org, slug, parent string, members ...string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	t := s.Team(org, slug)
	if t == nil {
		t = &Team{ID: s.NextID(), Org: s.MustAccount(org), Slug: slug, members: map[int64]bool{}, Created: s.Tick()}
		if parent != "" {
			t.parent = s.Team(org, parent)
		}
		s.Teams = append(s.Teams, t)
	}
	for _, m := range members {
		a := s.MustAccount(m)
		t.members[a.ID] = true
		t.Org.Members[a.ID] = true
	}
}

// SetTeamMembers replaces a team's members.
func (s *Hub) SetTeamMembers(org, slug string, members ...string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	t := s.Team(org, slug)
	clear(t.members)
	for _, m := range members {
		t.members[s.MustAccount(m).ID] = true
	}
}

// Grant gives a user a role in a repository: read, triage, write, maintain,
// admin, or "" to take it back.
func (s *Hub) Grant(fullName, login, role string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	r, a := s.MustRepo(fullName), s.MustAccount(login)
	if role == "" {
		delete(r.grants, a.ID)
		return
	}
	r.grants[a.ID] = role
}

// GrantTeam gives a team a role in a repository.
func (s *Hub) GrantTeam(fullName, slug, role string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	r := s.MustRepo(fullName)
	r.teamGrants[s.Team(r.Owner.Login, slug)] = role
}

// Protect sets the rules of a branch; the zero Protection lifts them.
func (s *Hub) Protect(fullName, branch string, p Protection) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	r := s.MustRepo(fullName)
	r.Protection[branch] = p
	if p.IsZero() {
		delete(r.Protection, branch)
	}
}

// IsZero tells that nothing is demanded.
func (p Protection) IsZero() bool {
	return p.Reviews == 0 && len(p.Checks) == 0 && !p.Strict && !p.MergeQueue && !p.Signatures
}

// DeleteUser removes an account; what it wrote stays under nobody's name, and
// its login can be registered again under another id (threat 26).
func (s *Hub) DeleteUser(login string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	a := s.MustAccount(login)
	delete(s.Accounts, strings.ToLower(login))
	maps.DeleteFunc(s.creds, func(_ string, c *Credential) bool { return c.Actor == a })
	a.ID, a.Login, a.emails = s.Ghost.ID, s.Ghost.Login, nil
}

// RenameUser gives an account another login. Tokens stay good, and the old
// login is free for whoever registers it next (threat 26).
func (s *Hub) RenameUser(login, to string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	a := s.MustAccount(login)
	if s.Account(to) != nil && s.Account(to) != a {
		panic(fmt.Sprintf("forgetest: login %q is taken", to))
	}
	delete(s.Accounts, strings.ToLower(login))
	a.Login = to
	s.Accounts[strings.ToLower(to)] = a
}

// AddRepo makes a repository and returns its id.
func (s *Hub) AddRepo(ctx context.Context, n NewRepo) (int64, error) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	if n.DefaultBranch == "" {
		n.DefaultBranch = "main"
	}
	owner := s.Account(n.Owner)
	if owner == nil {
		return 0, fmt.Errorf("make repository %s/%s: no such owner; add the user or organisation first", n.Owner, n.Name)
	}
	r := s.newRepo(owner, n.Name, n.DefaultBranch, n.Private)
	var err error
	if r.Git, err = bare.Init(ctx, s.gitDir(r), n.DefaultBranch); err != nil {
		return 0, err
	}
	if err := s.fill(ctx, r, n); err != nil {
		return 0, fmt.Errorf("fill repository %s: %w", r.Full(), err)
	}
	if r.Refs, err = r.Git.Refs(ctx); err != nil {
		return 0, err
	}
	s.Repos[strings.ToLower(r.Full())] = r
	return r.ID, nil
}

func (s *Hub) newRepo(owner *Account, name, branch string, private bool) *Repo {
	at := s.Tick()
	return &Repo{
		ID: s.NextID(), Owner: owner, Name: name, private: private, DefaultBranch: branch,
		grants: map[int64]string{}, teamGrants: map[*Team]string{}, Protection: map[string]Protection{},
		Methods: map[string]bool{"merge": true, "squash": true, "rebase": true},
		Refs:    map[string]string{}, Pulls: map[int]*Pull{}, Issues: map[int]*Pull{}, Comments: map[int64]*Comment{},
		created: at, updated: at, pushed: at,
	}
}

func (s *Hub) gitDir(r *Repo) string {
	return filepath.Join(s.Root, fmt.Sprintf("%d.git", r.ID))
}

func (s *Hub) fill(ctx context.Context, r *Repo, n NewRepo) error {
	ref := "refs/heads/" + n.DefaultBranch
	if n.From != "" {
		_, err := r.Git.Git(ctx, nil, "", "fetch", "-q", n.From, "+"+n.FromRef+":"+ref)
		return err
	}
	if len(n.Files) == 0 {
		return nil
	}
	var files []bare.File
	for _, path := range slices.Sorted(maps.Keys(n.Files)) {
		files = append(files, bare.File{Path: path, Content: []byte(n.Files[path])})
	}
	tree, err := r.Git.WriteTree(ctx, "", filepath.Join(s.Root, "index-seed"), files)
	if err != nil {
		return err
	}
	who := bare.Person{Name: r.Owner.Login, Email: r.Owner.Email(), When: s.Tick()}
	sha, err := r.Git.CommitTree(ctx, bare.Commit{Tree: tree, Author: who, Committer: who, Message: "Initial commit"})
	if err != nil {
		return err
	}
	return r.Git.SetRef(ctx, ref, sha, "")
}

// AddApp registers a GitHub App with a fresh key. Install it to let it act.
func (s *Hub) AddApp(owner, slug string, permissions map[string]string, events ...string) (*App, error) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return s.RegisterApp(s.Account(owner), slug, permissions, events)
}

// RegisterApp makes an App with a fresh key and a bot account.
func (s *Hub) RegisterApp(owner *Account, slug string, permissions map[string]string, events []string) (*App, error) {
	if owner == nil {
		return nil, fmt.Errorf("register App %s: no such owner", slug)
	}
	key, err := rsa.GenerateKey(rand.Reader, 1024) // as short as Go takes: it guards nothing, and stories make hundreds
	if err != nil {
		return nil, err
	}
	block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
	app := &App{
		ID: s.NextID(), Slug: slug, Name: slug, Permissions: permissions, Events: append([]string{}, events...),
		Key: string(pem.EncodeToMemory(block)), public: &key.PublicKey, owner: owner, created: s.Tick(),
		ClientSecret: rand.Text(),
	}
	app.ClientID = fmt.Sprintf("Iv1.%016x", app.ID)
	app.bot = s.addAccount(slug+"[bot]", "Bot")
	s.Apps = append(s.Apps, app)
	return app, nil
}

// SetWebhook points an App's webhook at url, signed with secret.
func (s *Hub) SetWebhook(app *App, url, secret string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	app.WebhookURL, app.WebhookSecret = url, secret
}

// Install gives the App access to an account's repositories (by full name; none
// is all of them) and returns the installation's id.
func (s *Hub) Install(app *App, login string, repos ...string) int64 {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	in := &Installation{ID: s.NextID(), app: app, Account: s.MustAccount(login), All: len(repos) == 0, created: s.Tick()}
	for _, name := range repos {
		in.repos = append(in.repos, s.MustRepo(name))
	}
	app.Installations = append(app.Installations, in)
	s.EmitInstallation(in, "created", in.Account)
	return in.ID
}

// BotLogin is the login of the App's account, slug[bot].
func (a *App) BotLogin() string { return a.bot.Login }

// MustAccount is for seeding, where a wrong name is a mistake in the test.
func (s *Hub) MustAccount(login string) *Account {
	if a := s.Account(login); a != nil {
		return a
	}
	panic(fmt.Sprintf("forgetest: no account %q; add it first", login))
}

// MustRepo is for seeding too.
func (s *Hub) MustRepo(fullName string) *Repo {
	if r := s.Repos[strings.ToLower(fullName)]; r != nil {
		return r
	}
	panic(fmt.Sprintf("forgetest: no repository %q; add it first", fullName))
}
