package config

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Forges are the sections of the operator's file that say which forge to work
// with. There is one of them.
type Forges struct {
	// GitHub is github.com, or a GitHub Enterprise Server.
	GitHub *GitHub `yaml:"github,omitempty" json:"github,omitempty"`
	// GitLab is gitlab.com, or a GitLab of one's own.
	GitLab *Host `yaml:"gitlab,omitempty" json:"gitlab,omitempty"`
	// Gitea is a Gitea or a Forgejo.
	Gitea *Host `yaml:"gitea,omitempty" json:"gitea,omitempty"`
}

// GitHub says how to reach GitHub and as whom. Either App or TokenFile is set.
type GitHub struct {
	// APIURL is for GitHub Enterprise Server: https://HOST/api/v3; with data
	// residency https://api.SUBDOMAIN.ghe.com.
	APIURL string `yaml:"apiURL,omitempty" json:"apiURL,omitempty"`
	// App is a GitHub App (`lockkeeper setup` makes one).
	App *App `yaml:"app,omitempty" json:"app,omitempty"`
	// TokenFile holds a personal access token; commit statuses are then
	// written instead of check runs.
	TokenFile string `yaml:"tokenFile,omitempty" json:"tokenFile,omitempty"`
	Dealings  `yaml:",inline"`
}

// App is a GitHub App's identity.
type App struct {
	ID             int64  `yaml:"id" json:"id"`
	PrivateKeyFile string `yaml:"privateKeyFile" json:"privateKeyFile"`
}

// Host says how to reach a GitLab, a Gitea or a Forgejo, and as whom.
type Host struct {
	// URL is where its pages are, with the path that it is served under if any;
	// default https://gitlab.com for gitlab.
	URL string `yaml:"url,omitempty" json:"url,omitempty"`
	// TokenFile holds an access token of the account that lockkeeper acts as
	// (GitLab: a project's, a group's or a user's).
	TokenFile string `yaml:"tokenFile" json:"tokenFile"`
	Dealings  `yaml:",inline"`
}

// Dealings is what the sections of all forges have.
type Dealings struct {
	// CAFile holds the authorities, in PEM, that the forge's certificate may come
	// from beside the system's.
	CAFile string `yaml:"caFile,omitempty" json:"caFile,omitempty"`
	// WebhookSecretFiles hold the secrets that deliveries may be signed with (on
	// GitLab: that come with them); more than one while a secret is being rotated.
	WebhookSecretFiles []string `yaml:"webhookSecretFiles" json:"webhookSecretFiles" jsonschema:"minItems=1"`
	// ServiceAccounts are account ids that commit on behalf of people, and are
	// not people; default on GitHub its web-flow (19864447), elsewhere none.
	ServiceAccounts []int64 `yaml:"serviceAccounts,omitempty" json:"serviceAccounts,omitempty"`
	// ServiceNames are names or e-mail addresses that tools write into
	// co-author trailers, such as noreply@tool.example: a co-author without an
	// account who is called so is not a person either.
	ServiceNames []string `yaml:"serviceNames,omitempty" json:"serviceNames,omitempty"`
}

// GitHubWebFlow is the account that commits for people in GitHub's web pages.
const GitHubWebFlow = 19864447

// GitLabURL is the GitLab that is meant where none is named.
const GitLabURL = "https://gitlab.com"

// The kinds of forges, as forge.Forge calls them and as their sections are
// called.
const (
	OnGitHub = "github"
	OnGitLab = "gitlab"
	OnGitea  = "gitea"
)

// Kind is the forge that the file is for, "" if it names none.
func (f Forges) Kind() string {
	switch {
	case f.GitHub != nil:
		return OnGitHub
	case f.GitLab != nil:
		return OnGitLab
	case f.Gitea != nil:
		return OnGitea
	}
	return ""
}

// Where says which forge the file is for by its kind and address, which is lower
// case and without a slash at the end. Numbers of repositories, pulls and accounts
// mean others elsewhere.
func (f Forges) Where() string {
	at := "https://api.github.com"
	if f.GitHub != nil {
		at = cmp.Or(f.GitHub.APIURL, at)
	} else if h := f.Host(); h != nil {
		at = h.URL
	}
	return f.Kind() + " at " + strings.ToLower(strings.TrimRight(at, "/"))
}

// Dealings is what all sections have, of the one that is there.
func (f Forges) Dealings() Dealings {
	switch f.Kind() {
	case OnGitHub:
		return f.GitHub.Dealings
	case OnGitLab:
		return f.GitLab.Dealings
	case OnGitea:
		return f.Gitea.Dealings
	}
	return Dealings{}
}

// Host is the section of a forge that is not GitHub, nil if there is none.
func (f Forges) Host() *Host {
	if f.GitLab != nil {
		return f.GitLab
	}
	return f.Gitea
}

func (f *Forges) defaults() {
	if g := f.GitHub; g != nil && g.ServiceAccounts == nil {
		g.ServiceAccounts = []int64{GitHubWebFlow}
	}
	if g := f.GitLab; g != nil && g.URL == "" {
		g.URL = GitLabURL
	}
}

// validateForges sees that there is one section, and looks at each.
func (f Forges) validateForges(d *document) {
	first := ""
	for _, section := range []struct {
		kind  string
		there bool
		look  func(place)
	}{
		{OnGitHub, f.GitHub != nil, func(at place) { f.GitHub.validate(at) }},
		{OnGitLab, f.GitLab != nil, func(at place) { f.GitLab.validate(at) }},
		{OnGitea, f.Gitea != nil, func(at place) { f.Gitea.validate(at) }},
	} {
		if !section.there {
			continue
		}
		if first != "" {
			d.add(fmt.Sprintf("%s: there is %s too; lockkeeper works with one forge, run another one for the other", section.kind, first), section.kind)
		}
		first = section.kind
		section.look(d.at(section.kind))
	}
	if first == "" {
		d.add("github, gitlab or gitea: none given; say which forge to work with")
	}
}

func (g *GitHub) validate(at place) {
	if (g.App != nil) == (g.TokenFile != "") {
		at.add("give either app or tokenFile")
	}
	if g.App != nil && (g.App.ID <= 0 || g.App.PrivateKeyFile == "") {
		at.at("app").add("needs id and privateKeyFile")
	}
	if problem := checkURL(g.APIURL, "https://HOST/api/v3"); problem != "" {
		at.at("apiURL").add("%s", problem)
	}
	g.Dealings.validate(at)
}

// apiPath ends the address of an API, where that of the pages is wanted.
var apiPath = regexp.MustCompile(`/api(/v[0-9]+|/graphql)?/?$`)

func (h *Host) validate(at place) {
	if h.TokenFile == "" {
		at.at("tokenFile").add("missing; name the file with the token of the account that lockkeeper acts as")
	}
	problem := checkURL(h.URL, "https://HOST")
	switch {
	case h.URL == "":
		problem = "missing; give the address of its pages, such as https://HOST"
	case problem == "" && apiPath.MatchString(h.URL):
		problem = "got the address of the API, want that of the pages: " + apiPath.ReplaceAllString(h.URL, "")
	}
	if problem != "" {
		at.at("url").add("%s", problem)
	}
	h.Dealings.validate(at)
}

func (a Dealings) validate(at place) {
	secrets := at.at("webhookSecretFiles")
	if len(a.WebhookSecretFiles) == 0 {
		secrets.add("none; lockkeeper refuses to listen without a webhook secret")
	}
	for i, file := range a.WebhookSecretFiles {
		if file == "" {
			secrets.at(i).add("empty; name a file")
		}
	}
}

// checkURL says what is wrong with the URL of a forge, or "". The credentials
// travel to it, so that plain HTTP is for this machine only.
func checkURL(raw, example string) string {
	if raw == "" {
		return ""
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" || u.Fragment != "" {
		return "want an address such as " + example + ", without credentials"
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme == "http" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "want https: credentials would travel in the clear"
	}
	return ""
}

// nextForges is what of n's sections can be followed while the bot runs as s
// says: all but where the forge is, and as whom lockkeeper is there. Restart
// names what n says otherwise.
func (f Forges) nextForges(n Forges) (next Forges, restart []string) {
	if f.Kind() != n.Kind() {
		return f, []string{n.Kind() + " (instead of " + f.Kind() + ")"}
	}
	keep := func(changed bool, what string) {
		if changed {
			restart = append(restart, f.Kind()+"."+what)
		}
	}
	keep(f.Dealings().CAFile != n.Dealings().CAFile, "caFile")
	if f.GitHub != nil {
		g := *n.GitHub
		keep(g.APIURL != f.GitHub.APIURL, "apiURL")
		g.APIURL, g.CAFile = f.GitHub.APIURL, f.GitHub.CAFile
		if g.account() != f.GitHub.account() {
			keep(true, "app.id")
			g.App, g.TokenFile = f.GitHub.App, f.GitHub.TokenFile
		}
		return Forges{GitHub: &g}, restart
	}
	if f.Host() == nil {
		return f, nil
	}
	h := *n.Host()
	keep(h.URL != f.Host().URL, "url")
	h.URL, h.CAFile = f.Host().URL, f.Host().CAFile
	if f.GitLab != nil {
		return Forges{GitLab: &h}, restart
	}
	return Forges{Gitea: &h}, restart
}

// account is who the bot is on GitHub: the number of its App, 0 for a token's
// owner.
func (g *GitHub) account() int64 {
	if g.App == nil {
		return 0
	}
	return g.App.ID
}

// files are the names of the files that the sections tell of.
func (f Forges) files() []*string {
	var out []*string
	if g := f.GitHub; g != nil {
		out = append(out, &g.TokenFile, &g.CAFile)
		if g.App != nil {
			out = append(out, &g.App.PrivateKeyFile)
		}
		out = append(out, pointers(g.WebhookSecretFiles)...)
	}
	for _, h := range []*Host{f.GitLab, f.Gitea} {
		if h != nil {
			out = append(out, &h.TokenFile, &h.CAFile)
			out = append(out, pointers(h.WebhookSecretFiles)...)
		}
	}
	return out
}

func pointers(list []string) []*string {
	out := make([]*string, len(list))
	for i := range list {
		out[i] = &list[i]
	}
	return slices.Clip(out)
}

// checkName says what is wrong with the name of a repository on a kind of forge,
// or "". GitLab nests groups.
func checkName(kind, name string) string {
	parts := strings.Split(name, "/")
	switch {
	case slices.Contains(parts, "") || len(parts) < 2 || kind != OnGitLab && kind != "" && len(parts) != 2:
		if kind == OnGitLab {
			return fmt.Sprintf("got %q, want group/project, or group/subgroup/project", name)
		}
		return fmt.Sprintf("got %q, want owner/name", name)
	}
	return ""
}
