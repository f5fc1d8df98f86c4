package tables

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"lockkeeper/bot/store/internal/database"
)

// ErrElsewhere: the database is another forge's.
var ErrElsewhere = errors.New("numbers of repositories, pulls and accounts mean others on another forge")

// Home says which forge the database is for, by its kind and address. The first
// caller decides; ErrElsewhere tells that it was another one.
func (s *Tables) Home(ctx context.Context, forge string) error {
	return s.tx(ctx, "note the forge", "home", func(tx *database.Tx) error {
		var was string
		err := tx.QueryRowContext(ctx, "SELECT forge FROM home").Scan(&was)
		if errors.Is(err, sql.ErrNoRows) {
			_, err = tx.ExecContext(ctx, "INSERT INTO home (forge) VALUES (?)", forge)
			return err
		}
		if err == nil && was != forge {
			err = fmt.Errorf("the database is for %s, not for %s: %w; name another store, or, if it is the same forge and only its address changed, tell the database: UPDATE home SET forge = '%s'",
				was, forge, ErrElsewhere, forge)
		}
		return err
	})
}
