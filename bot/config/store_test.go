package config_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"lockkeeper/bot/config"
)

func parsed(t *testing.T, text string) *config.Server {
	t.Helper()
	s, err := config.ParseServer("server.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// on is the server file of the other tests with its store somewhere else.
func on(store string) string {
	lines := strings.Split(server, "\n")
	i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "store:") })
	lines[i] = "store: " + store
	return strings.Join(lines, "\n")
}

func TestStoreIsAFileOrPostgreSQL(t *testing.T) {
	for _, tt := range []struct{ store, resolved, password string }{
		{"lockkeeper.db", "/etc/lk/lockkeeper.db", ""},
		{"/var/lib/lockkeeper.db", "/var/lib/lockkeeper.db", ""},
		{"sqlite://lockkeeper.db", "/etc/lk/lockkeeper.db", ""},
		{"sqlite:///var/lib/lockkeeper.db", "/var/lib/lockkeeper.db", ""},
		{"postgres://bot@db.example.com/lockkeeper?sslmode=verify-full", "postgres://bot@db.example.com/lockkeeper?sslmode=verify-full", ""},
		{"postgresql://bot:p%40ss%2Fword@db.example.com:5433/lockkeeper", "postgresql://bot:p%40ss%2Fword@db.example.com:5433/lockkeeper", "p@ss/word"},
		{"postgres:///lockkeeper?host=/run/postgresql", "postgres:///lockkeeper?host=/run/postgresql", ""},
	} {
		s := parsed(t, on(tt.store))
		s.Resolve("/etc/lk")
		if s.Store != tt.resolved || s.StorePassword() != tt.password {
			t.Errorf("%s becomes %q with the password %q", tt.store, s.Store, s.StorePassword())
		}
		if s.Postgres() != strings.HasPrefix(tt.store, "postgres") {
			t.Errorf("%s: PostgreSQL is %v", tt.store, s.Postgres())
		}
	}
}

func TestPasswordOfAFileGetsIntoTheAddress(t *testing.T) {
	s := parsed(t, on("postgres://bot@db.example.com/lockkeeper?sslmode=require")+"\nstorePasswordFile: pw\n")
	const password = "a b/c@d:e?f#g%h"
	address, err := s.WithPassword(password)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := u.User.Password(); got != password || u.User.Username() != "bot" || u.Host != "db.example.com" || u.Query().Get("sslmode") != "require" {
		t.Errorf("got %s", address)
	}
	if s.Resolve("/etc/lk"); s.StorePasswordFile != "/etc/lk/pw" {
		t.Errorf("the file is %s", s.StorePasswordFile)
	}
}

// Threat 8: what is wrong with an address is said without its password.
func TestProblemsDoNotQuoteAPassword(t *testing.T) {
	for _, store := range []string{
		"postgres://bot:plainword@db.example.com/x?password=plainword", "mysql://bot:plainword@db/x", "postgres://bot:plainword%zz@db/x", "postgres://bot:plainword@:x",
		"postgres://bot:plain@word@db/x", "postgres://bot:p@plainword/rest@db/x", "postgres://bot:p/plainword@db/x",
	} {
		_, err := config.ParseServer("server.yaml", []byte(on(store)))
		if err == nil || strings.Contains(err.Error(), "plain") {
			t.Errorf("%s: %v", store, err)
		}
	}
}

func TestDefaultsOfDrainAndCache(t *testing.T) {
	s := parsed(t, server)
	if time.Duration(s.Drain) != 30*time.Second || s.CacheLimit != 10<<30 {
		t.Errorf("drain %v, cacheLimit %v", time.Duration(s.Drain), s.CacheLimit)
	}
	s = parsed(t, server+"drain: 2m\ncacheLimit: 1536MiB\n")
	if time.Duration(s.Drain) != 2*time.Minute || s.CacheLimit != 1536<<20 || s.CacheLimit.String() != "1536MiB" {
		t.Errorf("drain %v, cacheLimit %v", time.Duration(s.Drain), s.CacheLimit)
	}
}

func TestReloadedFileNamesWhatNeedsARestart(t *testing.T) {
	old := parsed(t, server)
	floors := "floors:\n  environments:\n    production:\n      approvals:\n        required: 2\n"
	n := parsed(t, strings.Replace(server, "clusters:\n", "clusters:\n  second: {}\n", 1)+floors+"listen: 127.0.0.1:1\nsweep: 90s\ndrain: 1m\nmaxDeletes: 3\n")
	next, restart := old.Next(n)
	if want := []string{"listen", "drain", "maxDeletes", "clusters.second"}; !slices.Equal(restart, want) {
		t.Errorf("needs a restart: %v, want %v", restart, want)
	}
	if next.Listen != old.Listen || next.Drain != old.Drain || len(next.Clusters) != len(old.Clusters) || next.MaxDeletes != old.MaxDeletes {
		t.Errorf("what needs a restart has changed: %+v", next)
	}
	if time.Duration(next.Sweep) != 90*time.Second || next.Floors.Environments["production"].Approvals == nil {
		t.Errorf("what needs none has not: %+v", next)
	}
	live := config.NewLive(old)
	if live.Store(next); live.Load() != next {
		t.Error("the next file is not in force")
	}
	if _, restart := next.Next(next); len(restart) > 0 {
		t.Errorf("the same file needs a restart: %v", restart)
	}
}

func TestReloadKeepsWhoTheBotIs(t *testing.T) {
	old := parsed(t, server)
	n := parsed(t, strings.Replace(server, "id: 7,", "id: 8,", 1))
	next, restart := old.Next(n)
	if !slices.Equal(restart, []string{"github.app.id"}) || next.GitHub.App != old.GitHub.App || next.GitHub.TokenFile != old.GitHub.TokenFile {
		t.Errorf("restart %v, %+v", restart, next.GitHub)
	}
}
