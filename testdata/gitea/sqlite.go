package main

import (
	"database/sql"
	"database/sql/driver"
	"strings"

	"code.gitea.io/gitea/modules/setting"

	"modernc.org/sqlite"
)

// serveSQLite offers the translated SQLite under the name of the one in C, that
// Gitea asks for.
func serveSQLite() {
	sql.Register("sqlite3", translated{new(sqlite.Driver)})
	setting.EnableSQLite3 = true
	setting.SupportedDatabaseTypes = append(setting.SupportedDatabaseTypes, "sqlite3")
}

type translated struct{ *sqlite.Driver }

// Open understands Gitea's data source names. A cache shared by connections
// would make readers fail at tables that are being written to; with a
// write-ahead log of their own they need not wait.
func (d translated) Open(name string) (driver.Conn, error) {
	file, _, _ := strings.Cut(name, "?")
	return d.Driver.Open(file + "?_txlock=immediate&_pragma=busy_timeout(60000)&_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)")
}
