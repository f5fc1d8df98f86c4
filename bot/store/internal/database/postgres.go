package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
)

const (
	// leastConns is how many connections a process may open if its URL does
	// not say so (pool_max_conns): handlers hold one only while they write.
	leastConns = 16
	// idleInTransaction is how long the server lets a transaction wait for a
	// process that was stopped in the midst of it, and with it everybody who
	// waits for its locks.
	idleInTransaction = 10 * time.Second
	// maxTries is how often a transaction is run that lost to another one.
	maxTries = 10
	// channel carries the messages of Notify.
	channel = "lockkeeper"
)

func openPostgres(ctx context.Context, text string) (*DB, error) {
	u, err := url.Parse(text)
	if err != nil || strings.Contains(u.Path, "@") {
		// Neither the URL nor what is wrong with it: parts of a password may be in both.
		return nil, errors.New("open store: the postgres:// URL cannot be read; special characters of a password are written as %XX")
	}
	// pgx reads what we read: an "@" too many, for one, is where we take it to be.
	config, err := pgxpool.ParseConfig(u.String())
	if err != nil {
		return nil, fmt.Errorf("open store: %w", parseError(err))
	}
	config.ConnConfig.DialFunc = (&net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: callTimeout, Interval: callTimeout / 4, Count: 3}, Control: noticeSilence}).DialContext
	if !u.Query().Has("pool_max_conns") {
		config.MaxConns = max(config.MaxConns, leastConns)
	}
	set := config.ConnConfig.RuntimeParams
	if set["application_name"] == "" {
		set["application_name"] = "lockkeeper"
	}
	set["idle_in_transaction_session_timeout"] = strconv.FormatInt(idleInTransaction.Milliseconds(), 10)
	name := "postgres://" + net.JoinHostPort(config.ConnConfig.Host, strconv.Itoa(int(config.ConnConfig.Port))) + "/" + config.ConnConfig.Database
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", name, err)
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("open store %s: %w", name, err)
	}
	return &DB{sql: stdlib.OpenDBFromPool(pool), pool: pool, name: name}, nil
}

// tcpUserTimeout is Linux's option for how long data that was sent may go without
// an answer, in milliseconds; other systems have none.
const tcpUserTimeout = 0x12

// noticeSilence has the system cut a connection to a machine that is gone: else
// it sends again for a quarter of an hour.
func noticeSilence(network, _ string, c syscall.RawConn) error {
	if runtime.GOOS != "linux" || !strings.HasPrefix(network, "tcp") {
		return nil
	}
	var set error
	err := c.Control(func(fd uintptr) {
		set = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(callTimeout.Milliseconds()))
	})
	return errors.Join(err, set)
}

// parseError keeps the URL, which may hold a password, out of the error.
func parseError(err error) error {
	if bad, ok := errors.AsType[*pgconn.ParseConfigError](err); ok && bad.Unwrap() != nil {
		err = bad.Unwrap()
	}
	return fmt.Errorf("the postgres:// URL cannot be read: %w", err)
}

func (d *DB) postgresTx(ctx context.Context, lock string, fn func(*Tx) error) error {
	for try := 1; ; try++ {
		err := d.tryTx(ctx, lock, fn)
		if try == maxTries || !lostToAnother(err) {
			return err
		}
		// Those that met would meet again at once.
		timer := time.NewTimer(rand.N(time.Duration(try) * 10 * time.Millisecond))
		select {
		case <-ctx.Done():
			timer.Stop()
			return errors.Join(err, ctx.Err())
		case <-timer.C:
		}
	}
}

// lostToAnother recognises serialization_failure, deadlock_detected and
// lock_not_available, after which a transaction has had no effect and may be run
// again.
func lostToAnother(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (e.Code == "40001" || e.Code == "40P01" || e.Code == "55P03")
}

// tryTx begins the transaction on pgx's connection, where River can take part,
// and runs our queries through database/sql on the same one.
func (d *DB) tryTx(ctx context.Context, lock string, fn func(*Tx) error) (err error) {
	conn, err := d.sql.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if end := conn.Close(); end != nil && err == nil {
			err = end
		}
	}()
	var pg pgx.Tx
	err = conn.Raw(func(driver any) error {
		pg, err = driver.(*stdlib.Conn).Conn().Begin(ctx)
		return err
	})
	if err != nil {
		return err
	}
	tx := &Tx{db: d, on: conn, pg: pg}
	if lock != "" {
		err = tx.Lock(ctx, lock)
	}
	if err == nil {
		err = fn(tx)
	}
	// Through Raw: a connection that broke is not ours any more.
	if err == nil {
		return conn.Raw(func(any) error { return pg.Commit(ctx) })
	}
	// A context that ended would break the connection instead of undoing.
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	back := conn.Raw(func(any) error { return pg.Rollback(undo) })
	if back != nil && !errors.Is(back, pgx.ErrTxClosed) && !errors.Is(back, sql.ErrConnDone) && ctx.Err() == nil {
		err = errors.Join(err, back)
	}
	return err
}

// Offset is what to add to this machine's clock to have the database's, which
// all processes share; 0 on SQLite.
func (d *DB) Offset(ctx context.Context) (time.Duration, error) {
	if d.pool == nil {
		return 0, nil
	}
	var there time.Time
	before := time.Now()
	ctx, cancel := d.Limit(ctx)
	defer cancel()
	if err := d.pool.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&there); err != nil {
		return 0, err
	}
	after := time.Now()
	return there.Sub(before.Add(after.Sub(before) / 2)), nil
}

// Notify sends a message of less than 8000 bytes to every process that Listens
// to the database. A message may get lost.
func (d *DB) Notify(ctx context.Context, message string) error {
	if d.pool == nil {
		return nil
	}
	_, err := d.pool.Exec(ctx, "SELECT pg_notify($1, $2)", channel, message)
	return err
}

// Listen calls heard with each message until ctx ends or the connection does,
// and first with "", since it does not know what was said before.
func (d *DB) Listen(ctx context.Context, heard func(message string)) error {
	if d.pool == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	conn, err := pgx.ConnectConfig(ctx, d.pool.Config().ConnConfig)
	if err != nil {
		return err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		_ = conn.Close(end) // nothing is lost with it
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return err
	}
	heard("")
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		heard(n.Payload)
	}
}
