// Package gitea drives Gitea and Forgejo as a forge.Forge. Nothing outside this
// room imports Gitea's SDK.
//
// Everything is asked with one access token, whose account is the bot. Calls go
// through forge/internal/wire, which counts them, repeats reads that got no whole
// answer, and speaks to no host but the forge's. The bot's own commits are pushed
// with Git, because the API neither knows file modes nor compares where a branch
// is.
package gitea

import (
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

	"lockkeeper/forge"
	"lockkeeper/forge/gitea/internal/verdict"
	"lockkeeper/forge/internal/wire"
)

// Kind is what Forge.Kind returns.
const Kind = "gitea"

// Config says where Gitea or Forgejo is and who we are there.
type Config struct {
	// URL is the root of its pages, such as https://git.example.com or
	// https://example.com/git. Plain http is accepted on loopback only.
	URL string
	// Token is an access token of the bot's account.
	Token string
	// CAFile is a PEM file of authorities for Git over HTTPS, "" for the system's.
	// That of the API is HTTPClient's.
	CAFile string

	// HTTPClient is used for its Transport and Timeout; nil means the defaults.
	HTTPClient *http.Client
	// UserAgent is sent with each request.
	UserAgent string
	// Now is the clock by which what is remembered gets old; nil means time.Now.
	Now func() time.Time
}

// String names the forge, and never the token (threat 8).
func (c Config) String() string { return fmt.Sprintf("gitea %s with a token", c.URL) }

// GoString keeps %#v from printing the token.
func (c Config) GoString() string { return c.String() }

// LogValue keeps slog from printing the token.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Forge is Gitea as lockkeeper sees it.
type Forge struct {
	cfg   Config
	root  string // URL of the pages, without a slash at the end
	wire  *wire.Wire
	http  *http.Client
	token atomic.Pointer[string]

	names    names
	members  members
	verdicts verdict.Memory
	feeds    feeds

	selfMu sync.Mutex
	self   account // zero: to be read
	first  int64   // the account that we were at first
}

var _ forge.Forge = (*Forge)(nil)

// New checks the configuration. It makes no call: the token is first tried by
// Self or by the first call for a repository.
func New(_ context.Context, cfg Config) (*Forge, error) {
	root, err := url.Parse(strings.TrimRight(cfg.URL, "/"))
	if err != nil {
		return nil, fmt.Errorf("gitea: url: %w", err)
	}
	if err := checkURL(root); err != nil {
		return nil, err
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	f := &Forge{cfg: cfg, root: root.String()}
	if err := f.Rotate(cfg); err != nil {
		return nil, err
	}
	f.wire = wire.New(wire.Config{
		HTTP: cfg.HTTPClient, Hosts: []*url.URL{root.JoinPath("api", "v1")}, Now: cfg.Now, Terse: true,
		Names: map[string]int{"repos": 2, "orgs": 1, "branches": 1, "compare": 1, "collaborators": 1, "members": 1, "public_members": 1, "teams": 1},
	})
	f.http = f.wire.Client(f.wire.Refused(f.wire.Budget("token").Over(authorized{f})))
	return f, nil
}

func checkURL(u *url.URL) error {
	loopback := u.Hostname() == "localhost"
	if ip := net.ParseIP(u.Hostname()); ip != nil {
		loopback = ip.IsLoopback()
	}
	switch {
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return errors.New("gitea: url must not carry credentials, a query or a fragment")
	case u.Host == "":
		return fmt.Errorf("gitea: url %q names no host", u)
	case u.Scheme == "https", u.Scheme == "http" && loopback:
		return nil
	}
	return fmt.Errorf("gitea: url %q would send credentials unencrypted; use https", u)
}

// Rotate has everything that is asked from now on asked with cfg's token: another
// one of the same account. The rest of cfg is not looked at. An error leaves the
// old one in use.
func (f *Forge) Rotate(cfg Config) error {
	if cfg.Token == "" || strings.ContainsFunc(cfg.Token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return errors.New("gitea: the token is missing, or holds characters that no token has")
	}
	f.token.Store(&cfg.Token)
	f.selfMu.Lock()
	defer f.selfMu.Unlock()
	f.self = account{}
	return nil
}

// authorized adds the token to what goes out.
type authorized struct{ f *Forge }

func (a authorized) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "token "+*a.f.token.Load())
	if a.f.cfg.UserAgent != "" {
		req.Header.Set("User-Agent", a.f.cfg.UserAgent)
	}
	return a.f.wire.RoundTrip(req)
}

// Kind is "gitea", for Forgejo too.
func (f *Forge) Kind() string { return Kind }

// maxText is the longest comment or description that is written, in characters.
// Gitea takes what fits into a request; but it lists all comments of a pull in one
// answer, so that longer ones would make each look at the pull slow.
const maxText = 65536

// Limits are ours, as Gitea sets none.
func (f *Forge) Limits() forge.Limits {
	return forge.Limits{Comment: maxText, Summary: maxText, HasChecks: false}
}

// Calls reports how many requests went over the wire, by method and route.
func (f *Forge) Calls() map[string]int { return f.wire.Counts() }

// account is our own one, with the address that its commits carry.
type account struct {
	forge.User
	name, email string
}

// Self is the owner of the token. It is read once a token.
func (f *Forge) Self(ctx context.Context) (forge.User, error) {
	a, err := f.me(ctx)
	return a.User, err
}

func (f *Forge) me(ctx context.Context) (account, error) {
	f.selfMu.Lock()
	defer f.selfMu.Unlock()
	if f.self.ID != 0 {
		return f.self, nil
	}
	const op = "read the bot's own account"
	u, _, err := f.client(ctx).GetMyUserInfo()
	if err != nil {
		return account{}, wire.Fail(op, err)
	}
	if f.first != 0 && f.first != u.ID {
		return account{}, wire.Fail(op, &forge.Error{Code: forge.Unauthorized, Unsent: true, Message: fmt.Sprintf(
			"the new token is of another account (%s, id %d, not %d), which needs a restart", u.UserName, u.ID, f.first)})
	}
	f.first = u.ID
	f.self = account{User: toUser(u), name: u.UserName, email: u.Email}
	return f.self, nil
}

// GitAuth is a Basic authorization: the token is the password, the name does not
// matter.
func (f *Forge) GitAuth(context.Context, forge.RepoRef) (string, error) {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte("lockkeeper:"+*f.token.Load())), nil
}

// FailedDeliveries cannot be told: the API does not list webhooks that were sent.
func (f *Forge) FailedDeliveries(context.Context, time.Time) ([]forge.Delivery, bool, error) {
	return nil, false, nil
}

// Redeliver is refused, as no delivery is ever listed.
func (f *Forge) Redeliver(context.Context, int64) error {
	return &forge.Error{Op: "redeliver a webhook", Code: forge.Invalid, Unsent: true,
		Message: "Gitea's API does not know deliveries; its pages can repeat one"}
}
