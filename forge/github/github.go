// Package github drives GitHub (github.com, GitHub Enterprise Server, and the
// look-alike in forge/forgetest) as a forge.Forge. Nothing outside this room
// imports go-github or ghinstallation, so that a successor of either is a change
// in here.
//
// With App credentials every repository gets a token of its own, limited to
// that repository and to the permissions lockkeeper uses. With a personal
// token that token is used for everything. Both go through one chain of
// transports that counts calls, keeps to what a credential may still ask, repeats
// reads that got no whole answer, answers unchanged GETs from a cache by ETag,
// and refuses to speak to any host but the API's.
package github

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"lockkeeper/forge"
	"lockkeeper/forge/github/internal/sdk"
	"lockkeeper/forge/internal/wire"
)

// Kind is what Forge.Kind returns.
const Kind = "github"

// PublicAPI is the REST address of github.com.
const PublicAPI = "https://api.github.com"

// Config says where GitHub is and who we are there. Exactly one of App
// credentials (AppID and PrivateKey) or Token is given.
type Config struct {
	// APIURL is the REST root: empty for github.com, https://HOST/api/v3 for
	// GitHub Enterprise Server. Plain http is accepted on loopback only.
	APIURL string
	// GraphQLURL is derived from APIURL when empty.
	GraphQLURL string

	AppID      int64
	PrivateKey []byte // PEM

	Token string // personal access token

	// HTTPClient is used for its Transport and Timeout; nil means the defaults.
	HTTPClient *http.Client
	// UserAgent is sent with each request; GitHub refuses requests without one.
	UserAgent string
	// Now is the clock by which rate limits end; nil means time.Now.
	Now func() time.Time
}

// String names the forge and the kind of credential, never its value (threat 8).
func (c Config) String() string {
	cred := "token"
	if c.AppID != 0 {
		cred = fmt.Sprintf("app %d", c.AppID)
	}
	return fmt.Sprintf("github %s as %s", c.apiURL(), cred)
}

// GoString keeps %#v from printing credentials.
func (c Config) GoString() string { return c.String() }

// LogValue keeps slog from printing credentials.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

func (c Config) apiURL() string {
	if c.APIURL == "" {
		return PublicAPI
	}
	return strings.TrimRight(c.APIURL, "/")
}

// graphQLURL follows the two layouts GitHub has: /graphql beside the REST root
// on github.com and ghe.com, /api/graphql beside /api/v3 on Enterprise Server.
func (c Config) graphQLURL() string {
	if c.GraphQLURL != "" {
		return c.GraphQLURL
	}
	api := c.apiURL()
	if rest, ok := strings.CutSuffix(api, "/v3"); ok {
		return rest + "/graphql"
	}
	return api + "/graphql"
}

// Forge is GitHub as lockkeeper sees it.
type Forge struct {
	cfg     Config
	api     *url.URL // REST root with a trailing slash
	graphQL *url.URL
	wire    *wire.Wire
	creds   *rotating
	names   names

	selfMu sync.Mutex
	self   forge.User

	owners sync.Map // lower-case login of an owner -> whether it is an organisation
}

var _ forge.Forge = (*Forge)(nil)

// New checks the configuration. It makes no call: credentials are first tried
// by Self or by the first call for a repository.
func New(_ context.Context, cfg Config) (*Forge, error) {
	f := &Forge{cfg: cfg}
	var err error
	if f.api, err = checkURL("apiURL", cfg.apiURL()+"/"); err != nil {
		return nil, err
	}
	if f.graphQL, err = checkURL("graphqlURL", cfg.graphQLURL()); err != nil {
		return nil, err
	}
	f.wire = wayOut(cfg.HTTPClient, f.api, f.graphQL, cfg.Now)
	creds, err := f.credentialsOf(cfg)
	if err != nil {
		return nil, err
	}
	f.creds = rotatingFrom(creds)
	return f, nil
}

// wayOut is what GitHub's API differs in from others.
func wayOut(client *http.Client, api, graphQL *url.URL, now func() time.Time) *wire.Wire {
	return wire.New(wire.Config{
		HTTP: client, Hosts: []*url.URL{api}, GraphQL: graphQL, Now: now,
		Names: map[string]int{
			"repos": 2, "orgs": 1, "teams": 1, "branches": 1, "collaborators": 1, "users": 1, "compare": 1, "app-manifests": 1, "apps": 1,
		},
		Limits: wire.Headers{
			Limit: "X-RateLimit-Limit", Remaining: "X-RateLimit-Remaining", Reset: "X-RateLimit-Reset", Resource: "X-RateLimit-Resource",
		},
	})
}

func checkURL(field, raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, fmt.Errorf("github: %s: %w", field, err)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("github: %s must not carry credentials, a query or a fragment", field)
	case u.Host == "":
		return nil, fmt.Errorf("github: %s %q names no host", field, raw)
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u.Hostname()):
		return u, nil
	}
	return nil, fmt.Errorf("github: %s %q would send credentials unencrypted; use https", field, raw)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Kind is "github".
func (f *Forge) Kind() string { return Kind }

// Limits are GitHub's published limits; they count characters.
func (f *Forge) Limits() forge.Limits {
	return forge.Limits{Comment: 65536, Summary: 65535, HasChecks: f.creds.appID() != 0}
}

// Calls reports how many requests went over the wire, by method and route,
// token minting included. Answers that were "not modified" count too, though
// GitHub does not charge for them.
func (f *Forge) Calls() map[string]int { return f.wire.Counts() }

// Self is the account the bot acts as: the App's bot account, or the owner of
// the token. It is read once.
func (f *Forge) Self(ctx context.Context) (forge.User, error) {
	f.selfMu.Lock()
	defer f.selfMu.Unlock()
	if f.self.ID != 0 {
		return f.self, nil
	}
	u, err := f.creds.self(ctx)
	if err != nil {
		return forge.User{}, sdk.Fail("read the bot's own account", err)
	}
	f.self = sdk.User(u)
	return f.self, nil
}

// GitAuth is a Basic authorization under the name GitHub gives to tokens.
func (f *Forge) GitAuth(ctx context.Context, ref forge.RepoRef) (string, error) {
	tok, err := f.creds.token(ctx, ref)
	if err != nil {
		return "", sdk.Fail("get a Git credential for "+ref.String(), err)
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte("x-access-token:"+tok)), nil
}
