package forgetest

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

	owner         *account
	bot           *account
	key           *rsa.PublicKey
	clientSecret  string
	installations []*installation
	created       time.Time
}

type installation struct {
	id      int64
	app     *App
	account *account
	repos   []*repo
	all     bool
	suspend *account
	created time.Time
}

func (in *installation) has(r *repo) bool {
	return in.account == r.owner && (in.all || slices.Contains(in.repos, r))
}

// AddUser registers a person. The first e-mail address is the one commits get;
// without any it is login@example.com.
func (s *Server) AddUser(login string, emails ...string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(emails) == 0 {
		emails = []string{login + "@example.com"}
	}
	return s.addAccount(login, "User", emails...).id
}

func (s *Server) addAccount(login, kind string, emails ...string) *account {
	a := &account{id: s.nextID(), login: login, kind: kind, emails: emails, created: s.tick(), owners: map[int64]bool{}, members: map[int64]bool{}}
	s.accounts[strings.ToLower(login)] = a
	return a
}

// AddOrg registers an organisation with its owners.
func (s *Server) AddOrg(login string, owners ...string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	org := s.addAccount(login, "Organization")
	for _, o := range owners {
		org.owners[s.mustAccount(o).id] = true
	}
	return org.id
}

// AddTeam makes a team; parent is the slug of the team above it, or "".
func (s *Server) AddTeam(org, slug, parent string, members ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &team{id: s.nextID(), org: s.mustAccount(org), slug: slug, members: map[int64]bool{}, created: s.tick()}
	if parent != "" {
		t.parent = s.team(org, parent)
	}
	for _, m := range members {
		a := s.mustAccount(m)
		t.members[a.id] = true
		t.org.members[a.id] = true
	}
	s.teams = append(s.teams, t)
}

// SetTeamMembers replaces a team's members.
func (s *Server) SetTeamMembers(org, slug string, members ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.team(org, slug)
	clear(t.members)
	for _, m := range members {
		t.members[s.mustAccount(m).id] = true
	}
}

// Grant gives a user a role in a repository: read, triage, write, maintain,
// admin, or "" to take it back.
func (s *Server) Grant(fullName, login, role string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, a := s.mustRepo(fullName), s.mustAccount(login)
	if role == "" {
		delete(r.grants, a.id)
		return
	}
	r.grants[a.id] = role
}

// GrantTeam gives a team a role in a repository.
func (s *Server) GrantTeam(fullName, slug, role string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.mustRepo(fullName)
	r.teamGrants[s.team(r.owner.login, slug)] = role
}

// Protect sets the rules of a branch; the zero Protection lifts them.
func (s *Server) Protect(fullName, branch string, p Protection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.mustRepo(fullName)
	r.protection[branch] = p
	if p.isZero() {
		delete(r.protection, branch)
	}
}

func (p Protection) isZero() bool {
	return p.Reviews == 0 && len(p.Checks) == 0 && !p.Strict && !p.MergeQueue && !p.Signatures
}

// DeleteUser removes an account; what it wrote stays under nobody's name, and
// its login can be registered again under another id (threat 26).
func (s *Server) DeleteUser(login string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.mustAccount(login)
	delete(s.accounts, strings.ToLower(login))
	maps.DeleteFunc(s.creds, func(_ string, c *credential) bool { return c.actor == a })
	a.id, a.login, a.emails = s.ghost.id, s.ghost.login, nil
}

// AddRepo makes a repository and returns its id.
func (s *Server) AddRepo(ctx context.Context, n NewRepo) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n.DefaultBranch == "" {
		n.DefaultBranch = "main"
	}
	owner := s.account(n.Owner)
	if owner == nil {
		return 0, fmt.Errorf("make repository %s/%s: no such owner; add the user or organisation first", n.Owner, n.Name)
	}
	r := s.newRepo(owner, n.Name, n.DefaultBranch, n.Private)
	var err error
	if r.git, err = bare.Init(ctx, s.gitDir(r), n.DefaultBranch); err != nil {
		return 0, err
	}
	if err := s.fill(ctx, r, n); err != nil {
		return 0, fmt.Errorf("fill repository %s: %w", r.full(), err)
	}
	if r.refs, err = r.git.Refs(ctx); err != nil {
		return 0, err
	}
	s.repos[strings.ToLower(r.full())] = r
	return r.id, nil
}

func (s *Server) newRepo(owner *account, name, branch string, private bool) *repo {
	at := s.tick()
	return &repo{
		id: s.nextID(), owner: owner, name: name, private: private, defaultBranch: branch,
		grants: map[int64]string{}, teamGrants: map[*team]string{}, protection: map[string]Protection{},
		methods: map[string]bool{"merge": true, "squash": true, "rebase": true},
		refs:    map[string]string{}, pulls: map[int]*pull{}, issues: map[int]*pull{}, comments: map[int64]*comment{},
		created: at, updated: at, pushed: at, webSigned: map[string]bool{},
	}
}

func (s *Server) gitDir(r *repo) string {
	return filepath.Join(s.dir, fmt.Sprintf("%d.git", r.id))
}

func (s *Server) fill(ctx context.Context, r *repo, n NewRepo) error {
	ref := "refs/heads/" + n.DefaultBranch
	if n.From != "" {
		_, err := r.git.Git(ctx, nil, "", "fetch", "-q", n.From, "+"+n.FromRef+":"+ref)
		return err
	}
	if len(n.Files) == 0 {
		return nil
	}
	var files []bare.File
	for _, path := range slices.Sorted(maps.Keys(n.Files)) {
		files = append(files, bare.File{Path: path, Content: []byte(n.Files[path])})
	}
	tree, err := r.git.WriteTree(ctx, "", filepath.Join(s.dir, "index-seed"), files)
	if err != nil {
		return err
	}
	who := bare.Person{Name: r.owner.login, Email: r.owner.email(), When: s.tick()}
	sha, err := r.git.CommitTree(ctx, bare.Commit{Tree: tree, Author: who, Committer: who, Message: "Initial commit"})
	if err != nil {
		return err
	}
	return r.git.SetRef(ctx, ref, sha, "")
}

// RenameRepo gives a repository a new name; the old one redirects to its id.
func (s *Server) RenameRepo(fullName, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.mustRepo(fullName)
	delete(s.repos, strings.ToLower(fullName))
	s.moved[strings.ToLower(fullName)] = r
	r.name = name
	s.repos[strings.ToLower(r.full())] = r
}

// ArchiveRepo makes a repository read-only.
func (s *Server) ArchiveRepo(fullName string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mustRepo(fullName).archived = true
}

// AddApp registers a GitHub App with a fresh key. Install it to let it act.
func (s *Server) AddApp(owner, slug string, permissions map[string]string, events ...string) (*App, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addApp(s.account(owner), slug, permissions, events)
}

func (s *Server) addApp(owner *account, slug string, permissions map[string]string, events []string) (*App, error) {
	if owner == nil {
		return nil, fmt.Errorf("register App %s: no such owner", slug)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
	app := &App{
		ID: s.nextID(), Slug: slug, Name: slug, Permissions: permissions, Events: events,
		Key: string(pem.EncodeToMemory(block)), key: &key.PublicKey, owner: owner, created: s.tick(),
		clientSecret: rand.Text(),
	}
	app.ClientID = fmt.Sprintf("Iv1.%016x", app.ID)
	app.bot = s.addAccount(slug+"[bot]", "Bot")
	s.apps = append(s.apps, app)
	return app, nil
}

// SetWebhook points an App's webhook at url, signed with secret.
func (s *Server) SetWebhook(app *App, url, secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	app.WebhookURL, app.WebhookSecret = url, secret
}

// Install gives the App access to an account's repositories (by full name; none
// is all of them) and returns the installation's id.
func (s *Server) Install(app *App, login string, repos ...string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := &installation{id: s.nextID(), app: app, account: s.mustAccount(login), all: len(repos) == 0, created: s.tick()}
	for _, name := range repos {
		in.repos = append(in.repos, s.mustRepo(name))
	}
	app.installations = append(app.installations, in)
	s.emitInstallation(in, "created", in.account)
	return in.id
}

// BotLogin is the login of the App's account, slug[bot].
func (a *App) BotLogin() string { return a.bot.login }

// mustAccount is for seeding, where a wrong name is a mistake in the test.
func (s *Server) mustAccount(login string) *account {
	if a := s.account(login); a != nil {
		return a
	}
	panic(fmt.Sprintf("forgetest: no account %q; add it first", login))
}

func (s *Server) mustRepo(fullName string) *repo {
	if r := s.repos[strings.ToLower(fullName)]; r != nil {
		return r
	}
	panic(fmt.Sprintf("forgetest: no repository %q; add it first", fullName))
}
