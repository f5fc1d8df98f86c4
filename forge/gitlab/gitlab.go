// Package gitlab drives GitLab (gitlab.com and self-managed, under a sub-path
// too) as a forge.Forge. Nothing outside this room imports GitLab's client, so
// that its successor is a change in here.
//
// Everything is asked by numeric ID: projects that are renamed or moved are
// found all the same. What REST does not tell (who edited a note, which account
// a commit belongs to, all that blocks a merge, which accounts are programs) is
// asked by GraphQL.
//
// GitLab carries out lines such as "/merge" in every text that it is given, with
// the rights of whoever wrote it. What we write holds other people's words, so
// that all of it goes through internal/quick first.
package gitlab

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	gl "gitlab.com/gitlab-org/api/client-go"

	"lockkeeper/forge"
	"lockkeeper/forge/gitlab/internal/api"
	"lockkeeper/forge/gitlab/internal/quick"
	"lockkeeper/forge/internal/wire"
)

// Kind is what Forge.Kind returns.
const Kind = "gitlab"

// PublicURL is the address of gitlab.com.
const PublicURL = "https://gitlab.com"

// Config says where GitLab is and who we are there.
type Config struct {
	// URL is the root of its pages: empty for gitlab.com, https://HOST or
	// https://HOST/sub/path for self-managed ones. Plain http is accepted on
	// loopback only.
	URL string
	// Token is a project, group or personal access token with the scope api.
	Token string

	// HTTPClient is used for its Transport and Timeout; nil means the defaults.
	HTTPClient *http.Client
	// CAFile is a PEM file of authorities for Git pushes, "" for the system's.
	CAFile string
	// UserAgent is sent with each request.
	UserAgent string
	// Now is the clock by which rate limits and memberships end; nil means
	// time.Now.
	Now func() time.Time
}

// String names the forge and never the token (threat 8).
func (c Config) String() string { return "gitlab " + c.root() + " with a token" }

// GoString keeps %#v from printing the token.
func (c Config) GoString() string { return c.String() }

// LogValue keeps slog from printing the token.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

func (c Config) root() string { return strings.TrimRight(cmp.Or(c.URL, PublicURL), "/") }

// Forge is GitLab as lockkeeper sees it.
type Forge struct {
	cfg   Config
	root  string // of the pages, without a slash at its end
	wire  *wire.Wire
	api   *api.API
	token atomic.Pointer[string]

	selfMu sync.Mutex
	self   account // zero: to be read
	first  int64   // the account that we were at first
}

var _ forge.Forge = (*Forge)(nil)

// names are the path segments that free names follow.
var names = map[string]int{"projects": 1, "groups": 1, "branches": 1, "users": 1}

// rateLimits are GitLab's headers; self-managed ones send none unless they limit.
//
// Source: https://docs.gitlab.com/administration/settings/user_and_ip_rate_limits/#response-headers
var rateLimits = wire.Headers{Limit: "RateLimit-Limit", Remaining: "RateLimit-Remaining", Reset: "RateLimit-Reset"}

// New checks the configuration. It makes no call: the token is first tried by
// Self or by the first call for a repository.
func New(_ context.Context, cfg Config) (*Forge, error) {
	root, err := checkURL(cfg.root())
	if err != nil {
		return nil, err
	}
	f := &Forge{cfg: cfg, root: cfg.root()}
	if err := f.Rotate(cfg); err != nil {
		return nil, err
	}
	f.wire = wire.New(wire.Config{
		HTTP: cfg.HTTPClient, Hosts: []*url.URL{root.JoinPath("api/v4/"), root.JoinPath("/")}, GraphQL: root.JoinPath("api/graphql"),
		Now: cfg.Now, Names: names, Limits: rateLimits,
	})
	way := f.wire.Client(f.wire.Refused(f.wire.Budget("token").Over(signing{f})))
	sdk, err := gl.NewAuthSourceClient(gl.Unauthenticated{}, // signing does it, so that tokens can change
		gl.WithBaseURL(root.JoinPath("api/v4").String()), gl.WithHTTPClient(way), gl.WithUserAgent(cfg.UserAgent),
		gl.WithoutRetries(), gl.WithCustomLimiter(unhindered{}), // both are the wire's
		gl.WithURLWarningLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return nil, fmt.Errorf("gitlab: %w", err)
	}
	f.api = &api.API{SDK: sdk, Wire: f.wire}
	return f, nil
}

func checkURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, fmt.Errorf("gitlab: url: %w", err)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("gitlab: url must not carry credentials, a query or a fragment")
	case u.Host == "":
		return nil, fmt.Errorf("gitlab: url %q names no host", raw)
	case strings.HasSuffix(u.Path, "/api/v4"):
		return nil, fmt.Errorf("gitlab: url %q is the API's; give the address that people open", raw)
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u.Hostname()):
		return u, nil
	}
	return nil, fmt.Errorf("gitlab: url %q would send credentials unencrypted; use https", raw)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// unhindered leaves limits to the wire.
type unhindered struct{}

func (unhindered) Wait(context.Context) error { return nil }

// signing adds the token of now to a request.
type signing struct{ f *Forge }

func (s signing) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("PRIVATE-TOKEN", *s.f.token.Load())
	return s.f.wire.RoundTrip(req)
}

// Rotate has everything that is asked from now on asked with cfg's token, which
// has to be the same account's. The rest of cfg is not looked at. An error leaves
// the old token in use.
func (f *Forge) Rotate(cfg Config) error {
	if cfg.Token == "" || strings.ContainsFunc(cfg.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("gitlab: the token is empty, or holds spaces or other characters that no token has")
	}
	f.token.Store(&cfg.Token)
	f.selfMu.Lock()
	defer f.selfMu.Unlock()
	f.self = account{}
	return nil
}

// Kind is "gitlab".
func (f *Forge) Kind() string { return Kind }

// Limits are GitLab's: notes have 1,000,000 characters, descriptions 1 MiB.
//
// Source: https://docs.gitlab.com/administration/instance_limits/
func (f *Forge) Limits() forge.Limits {
	return forge.Limits{Comment: quick.Max, Summary: quick.Max, Reserved: reserved, PullSign: "!"}
}

// Calls reports how many requests went over the wire, by method and route.
func (f *Forge) Calls() map[string]int { return f.wire.Counts() }

// reserved are commands of ours that are quick actions too: GitLab carries them
// out (or not), and takes their lines out of the comment, or does not make the
// comment at all. "status" is one of work items only; whether older releases take
// it away from pulls as well is not documented.
//
// Source: https://docs.gitlab.com/user/project/quick_actions/
var reserved = []string{"approve", "unapprove", "unlock", "status"}

// account is what GitLab says of an account to itself.
type account struct {
	user  forge.User
	name  string
	email string // that commits are to have
}

// Self is the account behind the token: a person's, a service account, or the
// bot that GitLab makes for each project or group access token.
func (f *Forge) Self(ctx context.Context) (forge.User, error) {
	a, err := f.me(ctx)
	return a.user, err
}

// me reads our own account, once a token.
func (f *Forge) me(ctx context.Context) (account, error) {
	const op = "read the bot's own account"
	f.selfMu.Lock()
	defer f.selfMu.Unlock()
	if f.self.user.ID != 0 {
		return f.self, nil
	}
	var u struct {
		gl.User
		CommitEmail string `json:"commit_email"`
	}
	if err := f.api.Get(ctx, "user", nil, &u); err != nil {
		return account{}, wire.Fail(op, err)
	}
	if u.ID == 0 || u.Username == "" {
		return account{}, wire.Fail(op, &forge.Error{Code: forge.Unavailable, Message: "the forge named no account"})
	}
	if f.first != 0 && f.first != u.ID {
		return account{}, wire.Fail(op, &forge.Error{Code: forge.Unauthorized, Unsent: true, Message: fmt.Sprintf(
			"the new token is of another account (%s, id %d, not %d), which needs a restart; project and group access tokens keep theirs when they are rotated rather than made anew", u.Username, u.ID, f.first)})
	}
	kind := forge.Person
	if u.Bot {
		kind = forge.Bot
	}
	f.first = u.ID
	f.self = account{user: forge.User{ID: u.ID, Login: u.Username, Type: kind}, name: cmp.Or(u.Name, u.Username), email: cmp.Or(u.CommitEmail, u.Email)}
	f.api.LearnKind(u.ID, kind)
	return f.self, nil
}

// GitAuth is a Basic authorization under the name that GitLab gives to tokens.
func (f *Forge) GitAuth(context.Context, forge.RepoRef) (string, error) {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte("oauth2:"+*f.token.Load())), nil
}
