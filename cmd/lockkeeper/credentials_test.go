package main

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/store"
)

// operatorFile writes a server file whose store is somewhere, and what it names
// beside it, and returns its path.
func operatorFile(t *testing.T, where string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"token": "ghp_token-of-the-bot", "webhook": "secret-of-the-webhook", "kube": "users: []\n", "password": "p@ss/word of-the-store\n"} {
		write(t, filepath.Join(dir, name), text)
	}
	path := filepath.Join(dir, "server.yaml")
	write(t, path, where+`
cache: mirrors
listen: 127.0.0.1:0
github: {tokenFile: token, webhookSecretFiles: [webhook], apiURL: "http://127.0.0.1:1/api/v3"}
clusters: {main: {kubeconfig: kube}}
repositories:
  - {id: 1, name: acme/shop, allow: [{paths: ["**"], clusters: [main], environments: [e], namespaces: ["*"]}]}
`)
	return path
}

// Threat 8: a database that does not answer is named, and its password is not.
func TestPasswordOfTheStoreIsNeverSaid(t *testing.T) {
	const password = "p@ss/word of-the-store"
	for name, where := range map[string]string{
		"in a file":        "store: postgres://bot@127.0.0.1:1/lockkeeper?connect_timeout=2\nstorePasswordFile: password",
		"in the address":   "store: postgres://" + url.UserPassword("bot", password).String() + "@127.0.0.1:1/lockkeeper?connect_timeout=2",
		"a wrong setting":  "store: postgres://bot@127.0.0.1:1/lockkeeper?sslmode=perhaps\nstorePasswordFile: password",
		"a wrong port":     "store: postgres://bot@127.0.0.1:port/lockkeeper\nstorePasswordFile: password",
		"an odd parameter": "store: postgres://bot@127.0.0.1:1/lockkeeper?connect_timeout=soon\nstorePasswordFile: password",
	} {
		t.Run(name, func(t *testing.T) {
			file := operatorFile(t, where)
			for _, args := range [][]string{{"serve", "--config", file}, {"audit", "list", "--config", file}} {
				code, out, errs := lockkeeper(t.Context(), args...)
				if code != 1 || errs == "" {
					t.Errorf("%s: code %d, %q", args[0], code, errs)
				}
				for _, form := range []string{password, "p%40ss", "word of-the-store", "of-the-store"} {
					if strings.Contains(out+errs, form) {
						t.Errorf("%s says the password: %s", args[0], errs)
					}
				}
				if name == "in a file" && !strings.Contains(errs, "127.0.0.1") {
					t.Errorf("%s does not say which database: %s", args[0], errs)
				}
			}
		})
	}
}

func TestAuditFindsTheStoreInTheServerFile(t *testing.T) {
	file := operatorFile(t, "store: lockkeeper.db")
	s, err := store.Open(t.Context(), filepath.Join(filepath.Dir(file), "lockkeeper.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.AppendRecord(t.Context(), audit.Record{Type: audit.Gate, Time: time.Unix(1_780_000_000, 0), Pull: 7, Outcome: "deny"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := lockkeeper(t.Context(), "audit", "list", "--config", file); code != 0 || !strings.Contains(out, "deny") {
		t.Errorf("code %d\n%s%s", code, out, errs)
	}
}

func TestEveryMissingSecretFileIsNamed(t *testing.T) {
	for _, name := range []string{"token", "webhook", "kube"} {
		file := operatorFile(t, "store: lockkeeper.db")
		if err := os.Remove(filepath.Join(filepath.Dir(file), name)); err != nil {
			t.Fatal(err)
		}
		if code, _, errs := lockkeeper(t.Context(), "serve", "--config", file); code != 1 || !strings.Contains(errs, filepath.Join(filepath.Dir(file), name)) {
			t.Errorf("%s: code %d, %q", name, code, errs)
		}
	}
}
