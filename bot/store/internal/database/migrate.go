package database

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/riverqueue/river/rivermigrate"
)

// The migrations of both databases have the same numbers and names. One only
// adds (tables, columns with a default, indexes), so that the release before it
// goes on working on the new schema while replicas are exchanged one by one. What
// a release adds to what is known of a drift or of a cluster (drifts.doc,
// watches.unknown, watches.issues) goes into columns of its own: the release
// before writes those documents anew, without what it does not know.
//
//go:embed migrations
var migrationFiles embed.FS

// migration is one forward step of the schema; there are none backwards.
type migration struct {
	version int
	name    string
	sql     string
}

// Migrate brings River's tables and ours up to date in one transaction, so
// that a crash leaves either the old schema or the new one, and several
// processes that do it at once follow each other. A database of a newer
// lockkeeper is refused with ErrNewer and left alone.
func (d *DB) Migrate(ctx context.Context, now func() time.Time, log *slog.Logger) error {
	steps, err := d.migrations()
	if err != nil {
		return err
	}
	jobs, err := rivermigrate.New(d.Queue(nil), &rivermigrate.Config{Logger: log})
	if err != nil {
		return fmt.Errorf("job queue migrations: %w", err)
	}
	err = d.longTx(ctx, "schema", func(tx *Tx) error {
		if err := tx.giveWay(ctx); err != nil {
			return err
		}
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
				if err := m.apply(ctx, tx, now()); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("bring the schema up to date: %w", err)
	}
	return nil
}

func (d *DB) migrations() ([]migration, error) {
	dialect := "sqlite"
	if d.pool != nil {
		dialect = "postgres"
	}
	dir, err := fs.Sub(migrationFiles, "migrations/"+dialect)
	if err != nil {
		return nil, err
	}
	return readMigrations(dir)
}

// giveWay has a migration fail, and be tried again, that waits for somebody who
// reads a table for long, such as a backup: whoever asks for the table meanwhile
// would queue up behind it, the replicas at work included.
func (t *Tx) giveWay(ctx context.Context) error {
	if t.pg == nil {
		return nil
	}
	_, err := t.ExecContext(ctx, "SET LOCAL lock_timeout = '5s'")
	return err
}

func schemaVersion(ctx context.Context, tx *Tx) (int, error) {
	_, err := tx.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL PRIMARY KEY, applied BIGINT NOT NULL)")
	if err != nil {
		return 0, err
	}
	var version int
	err = tx.QueryRowContext(ctx, "SELECT coalesce(max(version), 0) FROM schema_version").Scan(&version)
	return version, err
}

func (m migration) apply(ctx context.Context, tx *Tx, now time.Time) error {
	if _, err := tx.ExecContext(ctx, m.sql); err != nil {
		return fmt.Errorf("migration %s: %w", m.name, err)
	}
	_, err := tx.ExecContext(ctx, "INSERT INTO schema_version (version, applied) VALUES (?, ?)", m.version, now.UnixMicro())
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
	if len(steps) == 0 {
		return nil, errors.New("no migrations")
	}
	return slices.Clip(steps), nil
}

// migrateJobs does River's own migrations. Its table exists when ours does.
// Both databases can take all of them in our transaction, and then two
// processes that open a new database at the same time do not meet half-way.
func migrateJobs(ctx context.Context, jobs *rivermigrate.Migrator[*Tx], tx *Tx, exists bool) error {
	all := jobs.AllVersions()
	last := all[len(all)-1].Version
	if exists {
		var have int
		if err := tx.QueryRowContext(ctx, "SELECT coalesce(max(version), 0) FROM river_migration").Scan(&have); err != nil {
			return fmt.Errorf("job queue migrations: %w", err)
		}
		if have > last {
			return fmt.Errorf("job queue schema version is %d, this lockkeeper knows %d: %w", have, last, ErrNewer)
		}
		if have == last {
			return nil
		}
	}
	//lint:ignore SA1019 those of PostgreSQL that cannot share a transaction would fail here, and our tests with them
	if _, err := jobs.MigrateTx(ctx, tx, rivermigrate.DirectionUp, nil); err != nil {
		return fmt.Errorf("job queue migrations: %w", err)
	}
	return nil
}
