package store

import (
	"slices"
	"strings"
	"testing"
	"time"

	"lockkeeper/bot/store/internal/database"
	"lockkeeper/bot/store/pgtest"
)

func postgresURL(t *testing.T) string {
	t.Helper()
	server, err := pgtest.Shared()
	ok(t, err)
	return must[string](t)(server.Database(t.Context()))
}

func postgresOpener(t *testing.T) opener {
	url := postgresURL(t)
	return func(t *testing.T, opts Options) *Store {
		t.Helper()
		s, err := Open(t.Context(), url, opts)
		ok(t, err)
		t.Cleanup(func() { ok(t, s.Close()) })
		return s
	}
}

// TestStoreOnPostgreSQL runs the suite that SQLite runs.
func TestStoreOnPostgreSQL(t *testing.T) {
	for name, test := range suite {
		if name == "SecondRunIsRefused" { // any number of processes share it
			continue
		}
		t.Run(name, func(t *testing.T) { t.Parallel(); test(t, postgresOpener(t)) })
	}
}

// Both databases have the same tables and columns, and the same migrations led
// there.
func TestBothDatabasesHaveTheSameSchema(t *testing.T) {
	lite := sqliteOpener(t)(t, Options{})
	pg := postgresOpener(t)(t, Options{})
	columns := func(s *Store, query string) []string {
		return must[[]string](t)(database.List(t.Context(), s.db.DB, "read the schema", func(r database.Scanner) (c string, err error) { return c, r.Scan(&c) }, query))
	}
	want := columns(lite, `SELECT m.name || '.' || c.name || ' ' || CASE c.type WHEN 'INTEGER' THEN 'bigint' WHEN 'BLOB' THEN 'bytea' ELSE lower(c.type) END
		|| ' ' || c."notnull" || ' ' || c.pk || ' ' || coalesce(c.dflt_value, '')
		FROM sqlite_master m, pragma_table_info(m.name) c
		WHERE m.type = 'table' AND m.name NOT LIKE 'river%' AND m.name NOT LIKE 'sqlite%' AND m.name <> 'schema_version' ORDER BY 1`)
	have := columns(pg, `SELECT c.table_name || '.' || c.column_name || ' ' || c.data_type
		|| ' ' || CASE c.is_nullable WHEN 'NO' THEN 1 ELSE 0 END || ' ' || coalesce(k.ordinal_position, 0) || ' ' || coalesce(replace(c.column_default, '::text', ''), '')
		FROM information_schema.columns c LEFT JOIN information_schema.key_column_usage k
		ON k.table_schema = c.table_schema AND k.table_name = c.table_name AND k.column_name = c.column_name
		WHERE c.table_schema = 'public' AND c.table_name NOT LIKE 'river%' AND c.table_name <> 'schema_version' ORDER BY 1`)
	slices.Sort(want)
	slices.Sort(have)
	if len(want) < 50 || !slices.Equal(want, have) {
		t.Errorf("SQLite has\n%s\nPostgreSQL has\n%s", strings.Join(want, "\n"), strings.Join(have, "\n"))
	}
	versions := "SELECT 'version ' || version FROM schema_version ORDER BY version"
	if want, have := columns(lite, versions), columns(pg, versions); !slices.Equal(want, have) {
		t.Errorf("SQLite is at %v, PostgreSQL at %v", want, have)
	}
	indexes := "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND name NOT LIKE 'river%' ORDER BY name"
	if want, have := columns(lite, indexes), columns(pg, "SELECT indexname FROM pg_indexes WHERE schemaname = 'public' AND indexname NOT LIKE 'river%' AND indexname NOT LIKE '%_pkey' ORDER BY indexname COLLATE \"C\""); !slices.Equal(want, have) {
		t.Errorf("SQLite has the indexes %v, PostgreSQL %v", want, have)
	}
}

// No URL shows its password, whatever is wrong with it.
func TestPasswordOfTheDatabaseIsNotTold(t *testing.T) {
	for _, url := range []string{
		"postgres://lock:hid%den@host/db", "postgres://lock:hidden@host:many/db", "postgres://lock:hidden@127.0.0.1:1/db",
		"postgres://lock:hidden@127.0.0.1:1/db?sslmode=perhaps", "postgres:// lock:hidden@host/db",
		"postgres://lock:hidden/x@host/db", "postgres://lock:hid#den@host/db", "postgres://lock:hid?den@host/db", "postgres://lock:hid@den@127.0.0.1:1/db",
		"postgres://lock:hid den@host/db", "postgres://lock:hid[den@host/db", "postgres://lock:hid,den/@host/db", "postgres://lock:1234/hidden@host/db?connect_timeout=1",
		"postgres://user@127.0.0.1:1/db?password=hidden&sslmode=disable", "postgres://user@127.0.0.1:1/db?password=hid%zzden&sslmode=disable",
	} {
		_, err := Open(t.Context(), url, Options{})
		if err == nil || strings.Contains(err.Error(), "hid") || strings.Contains(err.Error(), "den@") {
			t.Errorf("%s: %v", url, err)
		}
	}
	s, err := Open(t.Context(), postgresURL(t)+"&password=hidden", Options{})
	ok(t, err)
	ok(t, s.Close())
	if err := s.Ping(t.Context()); err == nil || strings.Contains(err.Error(), "hidden") {
		t.Errorf("closed: %v", err)
	}
}

// Replicas go by the database's clock.
func TestClockIsTheDatabases(t *testing.T) {
	s := postgresOpener(t)(t, Options{})
	s.offset.Store(int64(time.Hour)) // as if the machine's clock were an hour behind
	if now := s.now(); now.Before(time.Now().Add(59 * time.Minute)) {
		t.Errorf("it is %s", now)
	}
	ok(t, s.setClock(t.Context()))
	if off := time.Until(s.now()).Abs(); off > time.Minute {
		t.Errorf("the clock of a database on this machine is off by %s", off)
	}
}
