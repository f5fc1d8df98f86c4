package config_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"lockkeeper/bot/config"
	"lockkeeper/forge"
)

// with is the server file for another forge.
func with(section string) string {
	before, rest, _ := strings.Cut(server, "github:\n")
	_, after, _ := strings.Cut(rest, "clusters:\n")
	return before + section + "clusters:\n" + after
}

const (
	onGitLab = "gitlab:\n  tokenFile: token\n  webhookSecretFiles: [one, two]\n"
	onGitea  = "gitea:\n  url: https://git.example.com/code\n  tokenFile: token\n  webhookSecretFiles: [one]\n  serviceAccounts: [9]\n  serviceNames: [tool]\n"
)

func TestForgesAreKindsWithDefaultsOfTheirOwn(t *testing.T) {
	for text, want := range map[string]struct {
		kind, url string
		accounts  []int64
	}{
		server:         {config.OnGitHub, "", []int64{config.GitHubWebFlow}},
		with(onGitLab): {config.OnGitLab, "https://gitlab.com", nil},
		with(onGitea):  {config.OnGitea, "https://git.example.com/code", []int64{9}},
	} {
		s := parsed(t, text)
		url := ""
		if h := s.Host(); h != nil {
			url = h.URL
		}
		if s.Kind() != want.kind || url != want.url || !slices.Equal(s.Dealings().ServiceAccounts, want.accounts) {
			t.Errorf("%s at %q, service accounts %v; want %+v", s.Kind(), url, s.Dealings().ServiceAccounts, want)
		}
		if p := config.Compile(nil, s); !slices.Equal(p.ServiceAccounts, want.accounts) {
			t.Errorf("%s: service accounts in force: %v", want.kind, p.ServiceAccounts)
		}
	}
}

func TestFilesOfEveryForgeAreFoundBesideTheServerFile(t *testing.T) {
	s := parsed(t, with(strings.Replace(onGitLab, "gitlab:\n", "gitlab:\n  caFile: ca.pem\n", 1)))
	s.Resolve("/etc/lk")
	if h := s.GitLab; h.TokenFile != "/etc/lk/token" || h.CAFile != "/etc/lk/ca.pem" || !slices.Equal(h.WebhookSecretFiles, []string{"/etc/lk/one", "/etc/lk/two"}) {
		t.Errorf("got %+v", h)
	}
}

func TestProjectsNest(t *testing.T) {
	s := parsed(t, strings.Replace(with(onGitLab), "acme/shop", "acme/platform/edge/shop", 1))
	want := forge.RepoRef{ID: 42, Owner: "acme/platform/edge", Name: "shop"}
	if got := s.Repositories[0].Ref(); got != want || got.String() != s.Repositories[0].Name {
		t.Errorf("got %+v", got)
	}
}

func TestAnotherForgeNeedsARestart(t *testing.T) {
	old := parsed(t, with(onGitLab))
	for name, c := range map[string]struct {
		text    string
		restart []string
	}{
		"another forge":  {server, []string{"github (instead of gitlab)"}},
		"another place":  {strings.Replace(with(onGitLab), "  tokenFile", "  url: https://gitlab.example.com\n  tokenFile", 1), []string{"gitlab.url"}},
		"an authority":   {strings.Replace(with(onGitLab), "  tokenFile", "  caFile: x\n  tokenFile", 1), []string{"gitlab.caFile"}},
		"other secrets":  {strings.Replace(with(onGitLab), "[one, two]", "[three]", 1), nil},
		"another token":  {strings.Replace(with(onGitLab), "tokenFile: token", "tokenFile: other", 1), nil},
		"nothing at all": {with(onGitLab), nil},
	} {
		n := parsed(t, c.text)
		next, restart := old.Next(n)
		if !slices.Equal(restart, c.restart) {
			t.Errorf("%s: needs a restart: %v, want %v", name, restart, c.restart)
		}
		if next.Kind() != config.OnGitLab || next.GitLab.URL != old.GitLab.URL || next.GitLab.CAFile != "" {
			t.Errorf("%s: %+v is in force", name, next.GitLab)
		}
		if c.restart == nil && (next.GitLab.TokenFile != n.GitLab.TokenFile || !slices.Equal(next.GitLab.WebhookSecretFiles, n.GitLab.WebhookSecretFiles)) {
			t.Errorf("%s: %+v is in force, not %+v", name, next.GitLab, n.GitLab)
		}
	}
}

// The schema asks for one forge, and lists the fields of each.
func TestSchemaHasOneForge(t *testing.T) {
	b, err := config.Schema("server")
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		OneOf      []struct{ Required []string }
		Required   []string
		Properties map[string]struct {
			Ref string `json:"$ref"`
		}
		Defs map[string]struct {
			Properties map[string]any
			Required   []string
		} `json:"$defs"`
	}
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	if len(s.OneOf) != 3 || slices.Contains(s.Required, "github") {
		t.Errorf("one of %v, required %v", s.OneOf, s.Required)
	}
	for kind, field := range map[string]string{"github": "apiURL", "gitlab": "url", "gitea": "url"} {
		def := s.Defs[strings.TrimPrefix(s.Properties[kind].Ref, "#/$defs/")]
		for _, name := range []string{field, "tokenFile", "caFile", "webhookSecretFiles", "serviceNames"} {
			if def.Properties[name] == nil {
				t.Errorf("%s has no %s", kind, name)
			}
		}
		if !slices.Contains(def.Required, "webhookSecretFiles") {
			t.Errorf("%s requires %v", kind, def.Required)
		}
	}
}

func TestForgesAreToldApartByKindAndAddress(t *testing.T) {
	for want, f := range map[string]config.Forges{
		"github at https://api.github.com":         {GitHub: &config.GitHub{}},
		"github at https://git.example.com/api/v3": {GitHub: &config.GitHub{APIURL: "https://git.example.com/api/v3/"}},
		"gitlab at https://gitlab.com":             {GitLab: &config.Host{URL: config.GitLabURL}},
		"gitea at https://example.com/git":         {Gitea: &config.Host{URL: "https://EXAMPLE.com/git/"}},
	} {
		if got := f.Where(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
