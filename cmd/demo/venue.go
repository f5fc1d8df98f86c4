package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"lockkeeper/forge"
	"lockkeeper/forge/forgetest"
	"lockkeeper/forge/forgetest/gitea"
	"lockkeeper/forge/forgetest/gitlab"
	"lockkeeper/forge/github"
	"lockkeeper/forge/people"
	ongitea "lockkeeper/forge/people/gitea"
	ongithub "lockkeeper/forge/people/github"
	ongitlab "lockkeeper/forge/people/gitlab"
)

// venue is a forge on which the tour is played, and what differs there.
type venue struct {
	kind  string
	what  string // it is, in words
	start func(ctx context.Context, w *world) (people.Forge, error)
	// pull is the path of a pull's page below the repository's.
	pull string
	// section is the forge's part of the operator's file, but for webhooks.
	section string
	// sign stands before the number of a pull.
	sign string
	// coarse is true where the clock counts whole seconds.
	coarse bool
	// taken are commands that the forge keeps for itself.
	taken []string
	// wordless is true where reviews have no text.
	wordless bool
	// folded are states of checks that the forge shows as others.
	folded map[forge.CheckState]forge.CheckState
	// honest says what holds of the forge after the whole tour.
	honest string
	// page says how to go on in a browser; curl is a command that comments.
	page, curl string
}

// venues are all forges, the default first.
var venues = []venue{
	{
		kind: "github", what: "the GitHub look-alike", start: startGitHub, pull: "/pull/%d", sign: "#",
		section: "github:\n  apiURL: %s\n  app:\n    id: %d\n    privateKeyFile: app.pem",
		honest:  "the look-alike kept to GitHub's published schemas all the time",
		page:    "(choose on the page who you are)",
		curl:    `curl -H 'Authorization: Bearer {secret}' -d '{"body": "{body}"}' {url}/api/v3/repos/acme/shop/issues/{number}/comments`,
	},
	{
		kind: "gitlab", what: "the GitLab look-alike", start: startGitLab, pull: "/-/merge_requests/%d", sign: "!",
		section: "gitlab:\n  url: %s\n  tokenFile: token",
		taken:   []string{"/approve", "/unapprove", "/unlock"}, wordless: true,
		folded: map[forge.CheckState]forge.CheckState{forge.ActionRequired: forge.Failure},
		honest: "every event that the look-alike told of was taken",
		page:   "(choose on the page who you are)",
		curl:   `curl -H 'PRIVATE-TOKEN: {secret}' --data-urlencode 'body={body}' {url}/api/v4/projects/acme%2Fshop/merge_requests/{number}/notes`,
	},
	{
		kind: "gitea", what: "a real Gitea", start: startGitea, pull: "/pulls/%d", sign: "#",
		section: "gitea:\n  url: %s\n  tokenFile: token",
		coarse:  true,
		folded:  map[forge.CheckState]forge.CheckState{forge.ActionRequired: forge.Failure},
		honest:  "every event that Gitea told of was taken",
		page:    "(sign in as {user} with the password {secret}; Gitea's own styles and scripts are not in its Go module, so that pages are plain, and merging is for /apply or the API)",
		curl:    `curl -u {user}:{secret} -H 'Content-Type: application/json' -d '{"body": "{body}"}' {url}/api/v1/repos/acme/shop/issues/{number}/comments`,
	},
}

// venueOf finds a forge by its name.
func venueOf(kind string) (venue, error) {
	var all []string
	for _, v := range venues {
		if v.kind == kind {
			return v, nil
		}
		all = append(all, "FORGE="+v.kind)
	}
	last := len(all) - 1
	return venue{}, fmt.Errorf("there is no forge %q to play on: use %s or %s", kind, strings.Join(all[:last], ", "), all[last])
}

func startGitHub(_ context.Context, w *world) (people.Forge, error) {
	m, err := github.Manifest("http://127.0.0.1", "http://127.0.0.1/done", "lockkeeper")
	if err != nil {
		return nil, err
	}
	return ongithub.New(ongithub.Options{
		Options:     forgetest.Options{RealTime: true, Validate: w.violation, RateLimit: 1_000_000},
		Permissions: m.DefaultPermissions, Events: m.DefaultEvents,
	})
}

func startGitLab(context.Context, *world) (people.Forge, error) {
	return ongitlab.New(gitlab.Options{RealTime: true, RateLimit: 1_000_000})
}

func startGitea(ctx context.Context, _ *world) (people.Forge, error) {
	return ongitea.Start(ctx, gitea.Options{Progress: aside{}})
}

// violation notes that the look-alike said what its model would not.
func (w *world) violation(v string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.violations = append(w.violations, v)
}

// typed is a command as people type it on this forge.
func (v venue) typed(body string) string {
	if word, _, _ := strings.Cut(body, " "); slices.Contains(v.taken, word) {
		return "/lockkeeper " + strings.TrimPrefix(body, "/")
	}
	return body
}

// goOn tells how people go on with a pull, in a browser, by curl and by Git.
func (w *world) goOn(c *conversation) []string {
	auth := w.forge.As(bob).GitAuth()
	user, secret := credential(auth)
	fill := strings.NewReplacer("{user}", user, "{secret}", secret, "{url}", w.forge.URL(), "{number}", fmt.Sprint(c.number), "{body}", w.venue.typed("/approve"))
	return []string{
		c.url(),
		fill.Replace(w.venue.page), "",
		"or from a terminal, as bob:", "",
		fill.Replace(w.venue.curl),
		fmt.Sprintf("git -c http.extraHeader='Authorization: %s' clone %s", auth, w.forge.CloneURL(shop)),
	}
}

// credential is what an Authorization header says; a token has no user.
func credential(auth string) (user, secret string) {
	scheme, rest, _ := strings.Cut(auth, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return "", rest
	}
	plain, err := base64.StdEncoding.DecodeString(rest)
	if err != nil {
		return "", rest
	}
	user, secret, _ = strings.Cut(string(plain), ":")
	return user, secret
}
