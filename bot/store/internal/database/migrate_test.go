package database

import (
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

func TestMigrationsAreNumberedWithoutGaps(t *testing.T) {
	file := &fstest.MapFile{Data: []byte("SELECT 1;")}
	for name, files := range map[string]fstest.MapFS{
		"gap":     {"0001_a.sql": file, "0003_b.sql": file},
		"doubled": {"0001_a.sql": file, "0001_b.sql": file},
		"unnamed": {"first.sql": file},
		"none":    {},
	} {
		if _, err := readMigrations(files); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if steps, err := readMigrations(fstest.MapFS{"0001_a.sql": file, "0002_b.sql": file}); err != nil || len(steps) != 2 {
		t.Errorf("two in order: %v, %v", steps, err)
	}
}

func TestFailedMigrationLeavesTheOldSchema(t *testing.T) {
	db, err := Open(t.Context(), filepath.Join(t.TempDir(), "db"), false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	err = db.Tx(t.Context(), "schema", func(tx *Tx) error {
		return migration{2, "0002_bad.sql", "CREATE TABLE half (a INTEGER); CREATE TABEL x;"}.apply(t.Context(), tx, time.Now())
	})
	if err == nil || !strings.Contains(err.Error(), "0002_bad.sql") {
		t.Fatalf("error %v does not name the migration", err)
	}
	var n int
	if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM sqlite_master WHERE name = 'half'").Scan(&n); err != nil || n != 0 {
		t.Errorf("half of the migration stayed (%d, %v)", n, err)
	}
}
