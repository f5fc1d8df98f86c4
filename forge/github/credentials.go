package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/bradleyfalzon/ghinstallation/v2"
	gh "github.com/google/go-github/v60/github"
	// ghinstallation takes its token options from this version of go-github.
	ghtoken "github.com/google/go-github/v88/github"

	"lockkeeper/forge"
	"lockkeeper/forge/github/internal/sdk"
	"lockkeeper/forge/internal/wire"
)

// credentials hands out clients and tokens that fit one repository.
type credentials interface {
	appID() int64 // 0 for a personal token
	// asApp acts as the App itself, not as an installation; false for a token.
	asApp() (*gh.Client, bool)
	self(ctx context.Context) (*gh.User, error)
	client(ctx context.Context, ref forge.RepoRef) (*gh.Client, error)
	token(ctx context.Context, ref forge.RepoRef) (string, error)
	// forget drops what is known of how to reach a repository.
	forget(ref forge.RepoRef)
	// left drops it if a repository is not of the account any more by which it is
	// reached, and says so.
	left(ref forge.RepoRef, owner int64) bool
}

// newClient builds a go-github client over rt.
func (f *Forge) newClient(rt http.RoundTripper) *gh.Client {
	c := gh.NewClient(f.wire.Client(following{next: rt, api: f.api.Path, names: &f.names}))
	c.BaseURL = f.api
	c.UserAgent = f.cfg.UserAgent
	if c.UserAgent == "" {
		c.UserAgent = "lockkeeper"
	}
	return c
}

// tokenCredentials is one personal token for everything.
type tokenCredentials struct {
	secret string
	c      *gh.Client
}

func newTokenCredentials(f *Forge, token string) *tokenCredentials {
	return &tokenCredentials{secret: token, c: f.newClient(f.wire.Budget("token").Over(bearer{token: token, next: f.wire}))}
}

func (t *tokenCredentials) appID() int64 { return 0 }

func (t *tokenCredentials) asApp() (*gh.Client, bool) { return nil, false }

func (t *tokenCredentials) self(ctx context.Context) (*gh.User, error) {
	u, _, err := t.c.Users.Get(ctx, "")
	return u, err
}

func (t *tokenCredentials) client(context.Context, forge.RepoRef) (*gh.Client, error) {
	return t.c, nil
}

func (t *tokenCredentials) token(context.Context, forge.RepoRef) (string, error) {
	return t.secret, nil
}

func (t *tokenCredentials) forget(forge.RepoRef) {}

func (t *tokenCredentials) left(forge.RepoRef, int64) bool { return false }

type bearer struct {
	token string
	next  http.RoundTripper
}

func (b bearer) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "Bearer "+b.token)
	return b.next.RoundTrip(req)
}

// appCredentials mints a token per repository (threat 19).
type appCredentials struct {
	f   *Forge
	id  int64
	jwt *ghinstallation.AppsTransport
	app *gh.Client // acts as the App itself, not as an installation

	mu    sync.Mutex
	repos map[string]*installation
	// astray are the repositories whose name led to an installation that gives no
	// token for them.
	astray map[int64]bool
}

// installation is what reaches one repository. Its mutex makes concurrent
// first calls share one look-up.
type installation struct {
	mu sync.Mutex
	tr *ghinstallation.Transport
	c  *gh.Client
	// account is whose repositories it reaches, 0 if GitHub did not say.
	account int64
}

func newAppCredentials(f *Forge, id int64, pem []byte) (*appCredentials, error) {
	jwt, err := ghinstallation.NewAppsTransport(asApp{own: f.wire.Budget("app").Over(f.wire), other: f.wire}, id, pem)
	if err != nil {
		// The cause could quote the key.
		return nil, errors.New("github: privateKey is not an RSA private key in PEM form; download a new one from the App's settings")
	}
	a := &appCredentials{f: f, id: id, jwt: jwt, repos: map[string]*installation{}, astray: map[int64]bool{}}
	a.app = f.newClient(cloning{jwt})
	return a, nil
}

// asApp spends the App's own budget for what is asked in its name, tokens
// included, and leaves installations to theirs: ghinstallation sends both
// through one transport, and App tokens as "Bearer".
type asApp struct{ own, other http.RoundTripper }

func (a asApp) RoundTrip(req *http.Request) (*http.Response, error) {
	if strings.HasPrefix(req.Header.Get("Authorization"), "Bearer ") {
		return a.own.RoundTrip(req)
	}
	return a.other.RoundTrip(req)
}

// cloning keeps the RoundTripper contract for AppsTransport, which writes the
// headers of the request it was given.
type cloning struct{ next http.RoundTripper }

func (c cloning) RoundTrip(req *http.Request) (*http.Response, error) {
	return c.next.RoundTrip(req.Clone(req.Context()))
}

func (a *appCredentials) appID() int64 { return a.id }

func (a *appCredentials) asApp() (*gh.Client, bool) { return a.app, true }

// self reads the bot account. Only installation tokens may read accounts where
// a server hides them from strangers, so the first installation's is used.
func (a *appCredentials) self(ctx context.Context) (*gh.User, error) {
	app, _, err := a.app.Apps.Get(ctx, "")
	if err != nil {
		return nil, err
	}
	list, _, err := a.app.Apps.ListInstallations(ctx, &gh.ListOptions{PerPage: 1})
	if err != nil {
		return nil, err
	}
	c := a.f.newClient(a.f.wire.Budget("nobody").Over(a.f.wire))
	if len(list) > 0 {
		tr := a.transport(list[0].GetID(), &ghtoken.InstallationTokenOptions{
			Permissions: &ghtoken.InstallationPermissions{Metadata: gh.String("read")},
		})
		c = a.f.newClient(a.budget(list[0].GetID()).Over(tr))
	}
	u, _, err := c.Users.Get(ctx, app.GetSlug()+"[bot]")
	return u, err
}

func (a *appCredentials) client(ctx context.Context, ref forge.RepoRef) (*gh.Client, error) {
	i, err := a.installation(ctx, ref)
	if err != nil {
		return nil, err
	}
	return i.c, nil
}

func (a *appCredentials) token(ctx context.Context, ref forge.RepoRef) (string, error) {
	i, err := a.installation(ctx, ref)
	if err != nil {
		return "", err
	}
	return i.tr.Token(ctx)
}

func repoKey(ref forge.RepoRef) string {
	if ref.ID == 0 {
		return ref.String()
	}
	return fmt.Sprint(ref.ID)
}

func (a *appCredentials) installation(ctx context.Context, ref forge.RepoRef) (*installation, error) {
	key := repoKey(ref)
	a.mu.Lock()
	i := a.repos[key]
	if i == nil {
		i = &installation{}
		a.repos[key] = i
	}
	a.mu.Unlock()

	i.mu.Lock()
	defer i.mu.Unlock()
	if i.c != nil {
		return i, nil
	}
	in, err := a.find(ctx, ref)
	if err != nil {
		return nil, err
	}
	opts := &ghtoken.InstallationTokenOptions{Permissions: grantable(in.GetPermissions())}
	if ref.ID != 0 {
		opts.RepositoryIDs = []int64{ref.ID}
	} else {
		opts.Repositories = []string{ref.Name}
	}
	i.account = in.GetAccount().GetID()
	i.tr = a.transport(in.GetID(), opts)
	i.c = a.f.newClient(a.budget(in.GetID()).Over(forgetting{next: i.tr, forget: func(minting bool) { a.drop(ref, i, minting) }}))
	return i, nil
}

// budget is shared by all repositories of an installation.
func (a *appCredentials) budget(installation int64) *wire.Budget {
	return a.f.wire.Budget(fmt.Sprintf("installation/%d", installation))
}

// find asks by name, which is the documented way and follows renames. A name
// that another repository took over leads to an installation that gives no token
// for ours, or to none: then the ID is asked by, as GitHub's own redirects do.
func (a *appCredentials) find(ctx context.Context, ref forge.RepoRef) (*gh.Installation, error) {
	a.mu.Lock()
	astray := a.astray[ref.ID]
	a.mu.Unlock()
	if !astray && checkName(ref) == nil {
		in, _, err := a.app.Apps.FindRepositoryInstallation(ctx, ref.Owner, ref.Name)
		if err == nil || ref.ID == 0 || forge.CodeOf(sdk.Fail("", err)) != forge.NotFound {
			return in, err
		}
	}
	in, _, err := a.app.Apps.FindRepositoryInstallationByID(ctx, ref.ID)
	return in, err
}

func (a *appCredentials) transport(id int64, opts *ghtoken.InstallationTokenOptions) *ghinstallation.Transport {
	// A copy each: Transport writes to its AppsTransport.
	jwt := *a.jwt
	tr := ghinstallation.NewFromAppsTransport(&jwt, id)
	tr.BaseURL = a.f.cfg.apiURL()
	tr.InstallationTokenOptions = opts
	return tr
}

// forget has the installation of a repository looked up again.
func (a *appCredentials) forget(ref forge.RepoRef) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.repos, repoKey(ref))
}

func (a *appCredentials) left(ref forge.RepoRef, owner int64) bool {
	a.mu.Lock()
	i := a.repos[repoKey(ref)]
	a.mu.Unlock()
	if i == nil {
		return false
	}
	i.mu.Lock()
	gone := i.c != nil && i.account != 0 && i.account != owner
	i.mu.Unlock()
	if gone {
		a.forget(ref)
	}
	return gone
}

// drop forgets an installation that is not accepted any more, unless another has
// taken its place.
func (a *appCredentials) drop(ref forge.RepoRef, i *installation, minting bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if key := repoKey(ref); a.repos[key] == i {
		delete(a.repos, key)
		a.astray[ref.ID] = minting && ref.ID != 0 && !a.astray[ref.ID]
	}
}

// forgetting notices that an installation or its token is no longer accepted:
// the App was removed and installed again, or was granted other permissions.
type forgetting struct {
	next   http.RoundTripper
	forget func(minting bool)
}

func (g forgetting) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := g.next.RoundTrip(req)
	var mint *ghinstallation.HTTPError
	switch {
	case errors.As(err, &mint) && mint.Response != nil:
		g.forget(true)
	case err == nil && resp.StatusCode == http.StatusUnauthorized:
		g.forget(false)
	}
	return resp, err
}

// grantable is what lockkeeper uses, less what the installation does not
// grant: asking for more makes GitHub refuse the token, and personal accounts
// have no members to read.
func grantable(have *gh.InstallationPermissions) *ghtoken.InstallationPermissions {
	if have == nil {
		have = &gh.InstallationPermissions{}
	}
	p := &ghtoken.InstallationPermissions{Metadata: gh.String("read")}
	for _, want := range []struct {
		level string
		have  *string
		ask   **string
	}{
		{permissions["checks"], have.Checks, &p.Checks},
		{permissions["contents"], have.Contents, &p.Contents},
		{permissions["issues"], have.Issues, &p.Issues},
		{permissions["members"], have.Members, &p.Members},
		{permissions["pull_requests"], have.PullRequests, &p.PullRequests},
		{permissions["statuses"], have.Statuses, &p.Statuses},
	} {
		switch {
		case want.have == nil:
		case *want.have == "read":
			*want.ask = gh.String("read")
		default:
			*want.ask = gh.String(want.level)
		}
	}
	return p
}
