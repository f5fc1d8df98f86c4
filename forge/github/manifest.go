package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	gh "github.com/google/go-github/v60/github"

	"lockkeeper/forge/github/internal/sdk"
)

// HookPath is where lockkeeper receives webhooks, below its public address.
const HookPath = "/webhook"

// permissions is all that lockkeeper uses of GitHub; the manifest asks for it
// and each minted token is limited to it (threat 19).
var permissions = map[string]string{
	"checks":        "write", // the check run
	"contents":      "write", // merge; branches of drift and revert pulls; who pushed
	"issues":        "write", // comments and reactions; issues about drift and bypasses
	"members":       "read",  // teams
	"metadata":      "read",
	"pull_requests": "write", // pulls, reviews and requests for them
	"statuses":      "read",  // other systems' checks
}

// events is what lockkeeper listens to. GitHub sends ping, installation and
// installation_repositories to every App unasked.
var events = []string{
	"check_run", "check_suite", "issue_comment", "merge_group",
	"pull_request", "pull_request_review", "push", "repository", "status",
}

// AppManifest describes the App that GitHub is asked to create.
type AppManifest struct {
	Name               string            `json:"name"`
	URL                string            `json:"url"`
	HookAttributes     HookAttributes    `json:"hook_attributes"`
	RedirectURL        string            `json:"redirect_url"`
	Description        string            `json:"description"`
	Public             bool              `json:"public"`
	DefaultEvents      []string          `json:"default_events"`
	DefaultPermissions map[string]string `json:"default_permissions"`
}

// HookAttributes is the webhook of an App.
type HookAttributes struct {
	URL    string `json:"url"`
	Active bool   `json:"active"`
}

// Manifest is the App for a lockkeeper that GitHub reaches at publicURL;
// GitHub sends the person who created it back to redirectURL with a code for
// ConvertManifest.
func Manifest(publicURL, redirectURL, name string) (AppManifest, error) {
	for field, raw := range map[string]string{"public URL": publicURL, "redirect URL": redirectURL} {
		u, err := url.Parse(raw)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			return AppManifest{}, fmt.Errorf("the %s %q is not an http(s) address", field, raw)
		}
	}
	// GitHub's own limit on App names.
	if n := len([]rune(name)); n == 0 || n > 34 {
		return AppManifest{}, fmt.Errorf("the App's name has %d characters; GitHub takes 1 to 34", n)
	}
	m := AppManifest{
		Name:               name,
		URL:                publicURL,
		HookAttributes:     HookAttributes{URL: strings.TrimRight(publicURL, "/") + HookPath, Active: true},
		RedirectURL:        redirectURL,
		Description:        "lockkeeper plans, checks and applies infrastructure from pull requests.",
		DefaultEvents:      append([]string(nil), events...),
		DefaultPermissions: map[string]string{},
	}
	for k, v := range permissions {
		m.DefaultPermissions[k] = v
	}
	return m, nil
}

// AppCredentials is what GitHub hands out once for a new App. It is printed
// without its secrets.
type AppCredentials struct {
	AppID         int64
	Slug          string
	WebURL        string
	PrivateKey    []byte // PEM
	WebhookSecret []byte
	ClientID      string
	ClientSecret  string
}

// String names the App only (threat 8).
func (a AppCredentials) String() string { return fmt.Sprintf("app %d (%s)", a.AppID, a.Slug) }

// GoString keeps %#v from printing secrets.
func (a AppCredentials) GoString() string { return a.String() }

var codeRE = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

// ConvertManifest trades the code of the manifest flow for the new App's
// credentials. The code works once, within an hour. apiURL is empty for
// github.com.
func ConvertManifest(ctx context.Context, client *http.Client, apiURL, code string) (AppCredentials, error) {
	const op = "fetch the new App's credentials"
	if !codeRE.MatchString(code) {
		return AppCredentials{}, errors.New(op + ": the address GitHub sent you back to carries no valid code; start again")
	}
	cfg := Config{APIURL: apiURL}
	api, err := checkURL("apiURL", cfg.apiURL()+"/")
	if err != nil {
		return AppCredentials{}, err
	}
	w := wayOut(client, api, nil, nil)
	c := gh.NewClient(w.Client(w.Budget("nobody").Over(w)))
	c.BaseURL = api
	c.UserAgent = "lockkeeper"
	app, _, err := c.Apps.CompleteAppManifest(ctx, code)
	if err != nil {
		return AppCredentials{}, sdk.Fail(op, err)
	}
	out := AppCredentials{
		AppID:         app.GetID(),
		Slug:          app.GetSlug(),
		WebURL:        app.GetHTMLURL(),
		PrivateKey:    []byte(app.GetPEM()),
		WebhookSecret: []byte(app.GetWebhookSecret()),
		ClientID:      app.GetClientID(),
		ClientSecret:  app.GetClientSecret(),
	}
	if out.AppID == 0 || len(out.PrivateKey) == 0 || len(out.WebhookSecret) == 0 {
		return AppCredentials{}, errors.New(op + ": GitHub's answer lacks the id, the key or the webhook secret")
	}
	return out, nil
}
