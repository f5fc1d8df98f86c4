package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"lockkeeper/forge"
	"lockkeeper/forge/forgetest"
	"lockkeeper/forge/git"
	"lockkeeper/forge/github"
	"lockkeeper/forge/people"
	ongithub "lockkeeper/forge/people/github"
)

// venue is a forge on which the tour is played, and what differs there.
type venue struct {
	kind  string
	what  string   // it is, in words
	needs []string // programs beyond those that every tour needs
	start func(ctx context.Context, w *world) (people.Forge, error)
	// pull is the path of a pull's page below the repository's.
	pull string
	// section is the forge's part of the operator's file, but for webhooks.
	section func(people.Access) string
	// taken are commands that the forge keeps for itself.
	taken []string
	// folded are states of checks that the forge shows as others.
	folded map[forge.CheckState]forge.CheckState
	// honest says what holds of the forge after the whole tour.
	honest string
	// page says how to go on in a browser; curl is a command that comments.
	page string
	curl func(c *conversation, user, secret, body string) string
}

// venues are all forges, the default first.
var venues = []venue{
	{
		kind: "github", what: "the GitHub look-alike", start: startGitHub, pull: "/pull/%d",
		section: func(a people.Access) string {
			return fmt.Sprintf("github:\n  apiURL: %s\n  app:\n    id: %d\n    privateKeyFile: app.pem", a.APIURL, a.AppID)
		},
		honest: "the look-alike kept to GitHub's published schemas all the time",
		page:   "choose on the page who you are",
		curl: func(c *conversation, _, secret, body string) string {
			return fmt.Sprintf("curl -H 'Authorization: Bearer %s' -d '{\"body\": %q}' %s/api/v3/repos/%s/issues/%d/comments", secret, body, c.world.forge.URL(), shop, c.number)
		},
	},
}

// kinds are the names of all forges.
func kinds() string {
	var all []string
	for _, v := range venues {
		all = append(all, v.kind)
	}
	return strings.Join(all, ", ")
}

func venueOf(kind string) (venue, bool) {
	i := slices.IndexFunc(venues, func(v venue) bool { return v.kind == kind })
	if i < 0 {
		return venue{}, false
	}
	return venues[i], true
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

// violation notes that the look-alike said what its model would not.
func (w *world) violation(v string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.violations = append(w.violations, v)
}

// forgeWasHonest is an error if the forge did what its model would not do, or if
// an event of it was not taken.
func (t *tour) forgeWasHonest(ctx context.Context) error {
	if err := t.forge.Settle(ctx); err != nil {
		return err
	}
	t.printf("  %s\n", t.style(faint, fmt.Sprintf("%d webhooks were delivered and answered", t.forge.Delivered())))
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.violations) > 0 {
		return fmt.Errorf("%d times not, first: %s", len(t.violations), t.violations[0])
	}
	return nil
}

// typed is a command as people type it on this forge.
func (w *world) typed(body string) string {
	if word, _, _ := strings.Cut(body, " "); slices.Contains(w.venue.taken, word) {
		return "/lockkeeper " + strings.TrimPrefix(body, "/")
	}
	return body
}

// checked waits until the bot's check on the pull's head is in a state, and shows
// it as the forge does.
func (t *tour) checked(ctx context.Context, want forge.CheckState) error {
	shown, folded := t.venue.folded[want]
	if !folded {
		shown = want
	}
	c, err := t.talk.check(ctx, shown)
	if err != nil {
		return err
	}
	t.printf("  the check %s: %s “%s”", t.style(bold, c.Name), t.style(cyan, string(c.State)), c.Title)
	if folded {
		t.printf(" %s", t.style(faint, fmt.Sprintf("(%q, for which this forge has no word)", want)))
	}
	t.printf("\n")
	return nil
}

// onMain is a file of the branch main, fetched as ann fetches.
func (w *world) onMain(ctx context.Context, path string) ([]byte, error) {
	dir, err := os.MkdirTemp(w.dir, "clone-")
	if err != nil {
		return nil, err
	}
	cache, err := git.OpenCache(ctx, filepath.Join(dir, "mirrors"), git.Options{})
	if err != nil {
		return nil, err
	}
	defer cache.Close() //nolint:errcheck // only read from
	mirror := cache.Mirror(ctx, shop)
	heads, err := mirror.Fetch(ctx, w.forge.CloneURL(shop), w.forge.As(ann).GitAuth(), "refs/heads/main")
	if err != nil {
		return nil, err
	}
	sha, err := mirror.TreeOf(ctx, heads[0])
	if err != nil {
		return nil, err
	}
	tree, err := mirror.Tree(ctx, sha)
	if err != nil {
		return nil, err
	}
	return tree.ReadFile(path)
}

// goOn tells how people go on with a pull, in a browser, by curl and by Git.
func (w *world) goOn(c *conversation) []string {
	auth := w.forge.As(bob).GitAuth()
	user, secret := credential(auth)
	return []string{
		c.url(), w.venue.page, "",
		"or from a terminal, as bob:",
		w.venue.curl(c, user, secret, w.typed("/approve")),
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
