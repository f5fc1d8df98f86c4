package store

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/riverqueue/river/rivermigrate"
)

// migration is one forward step of the schema; there are none backwards.
type migration struct {
	version int
	name    string
	sql     string
}

// migrate brings River's tables and ours up to date in one transaction, so
// that a crash leaves either the old schema or the new one.
func (s *Store) migrate(ctx context.Context) error {
	dir, err := s.migrations()
	if err != nil {
		return err
	}
	steps, err := readMigrations(dir)
	if err != nil {
		return err
	}
	jobs, err := rivermigrate.New(s.driver(), &rivermigrate.Config{Logger: s.riverLog()})
	if err != nil {
		return fmt.Errorf("job queue migrations: %w", err)
	}
	return s.tx(ctx, "bring the schema up to date", func(tx *sql.Tx) error {
		have, err := schemaVersion(ctx, tx)
		if err != nil {
			return err
		}
		if last := steps[len(steps)-1].version; have > last {
			return fmt.Errorf("schema version is %d, this lockkeeper knows %d: %w", have, last, ErrNewer)
		}
		if err := migrateJobs(ctx, jobs, tx, have > 0); err != nil {
			return err
		}
		for _, m := range steps {
			if m.version > have {
				if err := s.apply(ctx, tx, m); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func schemaVersion(ctx context.Context, tx *sql.Tx) (int, error) {
	_, err := tx.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL PRIMARY KEY, applied BIGINT NOT NULL)")
	if err != nil {
		return 0, err
	}
	var version int
	err = tx.QueryRowContext(ctx, "SELECT coalesce(max(version), 0) FROM schema_version").Scan(&version)
	return version, err
}

func (s *Store) apply(ctx context.Context, tx *sql.Tx, m migration) error {
	if _, err := tx.ExecContext(ctx, m.sql); err != nil {
		return fmt.Errorf("migration %s: %w", m.name, err)
	}
	_, err := tx.ExecContext(ctx, "INSERT INTO schema_version (version, applied) VALUES (?, ?)", m.version, micros(s.now()))
	if err != nil {
		return fmt.Errorf("migration %s: %w", m.name, err)
	}
	return nil
}

// readMigrations reads NNNN_name.sql files, in order of their number.
func readMigrations(dir fs.FS) ([]migration, error) {
	names, err := fs.Glob(dir, "*.sql")
	if err != nil {
		return nil, err
	}
	var steps []migration
	for _, name := range names {
		number, _, _ := strings.Cut(name, "_")
		version, err := strconv.Atoi(number)
		if err != nil || version != len(steps)+1 {
			return nil, fmt.Errorf("migration %s: its number should be %04d", name, len(steps)+1)
		}
		text, err := fs.ReadFile(dir, name)
		if err != nil {
			return nil, err
		}
		steps = append(steps, migration{version, name, string(text)})
	}
	return slices.Clip(steps), nil
}
