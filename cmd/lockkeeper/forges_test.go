package main

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lockkeeper/bot/config"
	"lockkeeper/bot/secret"
	"lockkeeper/bot/store"
	"lockkeeper/bot/web"
	"lockkeeper/forge"
)

// on is a server file for a forge, with what it names beside it.
func on(t *testing.T, section, name string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"token": "the-token-of-the-bot\n", "webhook": "the-secret-of-the-webhook"} {
		write(t, filepath.Join(dir, name), text)
	}
	path := filepath.Join(dir, "server.yaml")
	write(t, path, "store: lockkeeper.db\ncache: mirrors\n"+section+"\nclusters: {main: {}}\nrepositories:\n  - {id: 1, name: "+name+", allow: [{paths: ['**'], clusters: [main], environments: [e], namespaces: ['*']}]}\n")
	return path
}

// Each forge that a server file can name is reached at its address, with the
// token of the file, and knows its own webhooks.
func TestEveryForgeOfTheServerFileIsReached(t *testing.T) {
	for kind, tt := range map[string]struct {
		fields, project, path, header, scheme string
		hook                                  http.Header
	}{
		config.OnGitHub: {"apiURL: %s/sub/api/v3", "acme/shop", "/sub/api/v3/", "Authorization", "Bearer ",
			http.Header{"X-Github-Event": {"ping"}, "X-Github-Delivery": {"1"}}},
		config.OnGitLab: {"url: %s/sub", "acme/platform/shop", "/sub/api/v4/", "Private-Token", "",
			http.Header{"X-Gitlab-Event": {"Push Hook"}, "X-Gitlab-Event-Uuid": {"1"}}},
		config.OnGitea: {"url: %s/sub", "acme/shop", "/sub/api/v1/", "Authorization", "token ",
			http.Header{"X-Gitea-Event": {"push"}, "X-Gitea-Delivery": {"1"}}},
	} {
		t.Run(kind, func(t *testing.T) {
			token, path := "", ""
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				token, path = r.Header.Get(tt.header), r.URL.Path
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusUnauthorized)
				w.Write([]byte(`{"message":"who are you?"}`)) //nolint:errcheck // the client may be gone
			}))
			t.Cleanup(srv.Close)
			section := kind + ": {" + strings.Replace(tt.fields, "%s", srv.URL, 1) + ", tokenFile: token, webhookSecretFiles: [webhook]}"
			file, err := readServer(on(t, section, tt.project))
			if err != nil {
				t.Fatal(err)
			}
			redact := &secret.Redactor{}
			creds, err := readCredentials(file, redact)
			if err != nil {
				t.Fatal(err)
			}
			by, err := newRoad(creds.authorities, t.TempDir(), web.NewMetrics())
			if err != nil || by.gitCA != "" {
				t.Fatal(by, err)
			}
			f, err := reach(t.Context(), file.Forges, creds, by)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.Self(t.Context()); forge.CodeOf(err) != forge.Unauthorized || strings.Contains(err.Error(), "App") {
				t.Errorf("error %v", err)
			}
			if f.Kind() != kind || token != tt.scheme+"the-token-of-the-bot" || !strings.HasPrefix(path, tt.path) {
				t.Errorf("%s was asked at %s with %q", f.Kind(), path, token)
			}
			creds.token = []byte("another")
			if err := f.rotate(creds); err != nil {
				t.Error(err)
			}
			if _, err := f.Self(t.Context()); forge.CodeOf(err) != forge.Unauthorized || token != tt.scheme+"another" {
				t.Errorf("after another token: %q, %v", token, err)
			}
			if err := f.verify(tt.hook, []byte("{}"), [][]byte{[]byte("the-secret-of-the-webhook")}); err == nil {
				t.Error("an unsigned webhook is let in")
			}
			if _, err := f.parse(tt.hook, []byte("{}")); err != nil {
				t.Errorf("its webhook is not understood: %v", err)
			}
			if got := redact.Redact("the-token-of-the-bot the-secret-of-the-webhook"); strings.Contains(got, "of-the") {
				t.Errorf("the log would say %q", got)
			}
		})
	}
}

// Small numbers of repositories, pulls and accounts are on every forge, and are
// others on each.
func TestStoreOfAnotherForgeIsRefused(t *testing.T) {
	path := on(t, "gitlab: {tokenFile: token, webhookSecretFiles: [webhook]}", "acme/shop")
	begin := func() error {
		s, err := open(t.Context(), path, &secret.Redactor{}, slog.New(slog.DiscardHandler))
		if err == nil {
			s.close()
		}
		return err
	}
	if err := begin(); errors.Is(err, store.ErrElsewhere) {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, strings.Replace(string(text), "gitlab: {", "gitea: {url: https://git.example.com, ", 1))
	if err := begin(); !errors.Is(err, store.ErrElsewhere) || !strings.Contains(err.Error(), "gitea at https://git.example.com") {
		t.Errorf("%v", err)
	}
}

// The system's authorities stay trusted beside the operator's, by Git too, and the
// next start takes the place of the copy that Git reads.
func TestAuthoritiesAreAddedToTheSystems(t *testing.T) {
	_, file := enterprise(t, "http://127.0.0.1:1")
	a, err := readAuthorities(file)
	if err != nil {
		t.Fatal(err)
	}
	system := filepath.Join(t.TempDir(), "system.pem")
	write(t, system, "# the system's\n")
	t.Setenv("SSL_CERT_FILE", system)
	dir := t.TempDir()
	for range 2 {
		by, err := newRoad(a, dir, web.NewMetrics())
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(by.gitCA)
		if err != nil || !strings.HasPrefix(string(text), "# the system's\n") || strings.Count(string(text), string(a)) != 1 {
			t.Errorf("Git trusts\n%s%v", text, err)
		}
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) != 1 {
		t.Errorf("%s has %v, %v", dir, all, err)
	}
}

// The examples hold as they are, and with what is commented out in them.
func TestExamplesOfServerFilesHold(t *testing.T) {
	for _, kind := range []string{config.OnGitHub, config.OnGitLab, config.OnGitea} {
		name := "../../deploy/server/" + kind + ".yaml"
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all := strings.NewReplacer("  # apiURL:", "  apiURL:", "  # caFile:", "  caFile:").Replace(string(text))
		for _, text := range []string{string(text), all} {
			s, err := config.ParseServer(name, []byte(text))
			if err != nil || s.Kind() != kind {
				t.Errorf("%s is for %q: %v", name, s.Kind(), err)
				continue
			}
			if full := s.Dealings().CAFile != ""; full != (text == all) {
				t.Errorf("%s names authorities: %v", name, full)
			}
		}
	}
}
