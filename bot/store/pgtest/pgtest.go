// Package pgtest runs a real PostgreSQL for tests, for the soak and for
// benchmarks: the one that comes with testdata/npm, or the one that
// LOCKKEEPER_TEST_POSTGRES names.
//
// The server listens on a Unix socket that its own user and root can reach. It
// ends, and its files go away, with the process that started it, however that
// ends. It is made for speed: it does not wait for the disk, so that only a
// crash of the machine, and none of a process, could cost it data.
package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// External is the environment variable with the URL of a PostgreSQL to use
// instead. Its role needs the right to create databases, which Stop drops.
const External = "LOCKKEEPER_TEST_POSTGRES"

const (
	// nobody runs the server when root runs the tests: it refuses to be root.
	nobody = 65534
	// startTimeout bounds the server's start on a busy machine.
	startTimeout = 2 * time.Minute
)

// Server is a running PostgreSQL. It is safe for concurrent use.
type Server struct {
	url  *url.URL // of the database "postgres", without a path if it is External
	stop func() error

	mu      sync.Mutex
	dropped []string // databases to drop at the end
}

// Start starts a server whose data are in dir, or in a folder of their own if
// dir is "" or out of the reach of the server's user. They are gone after Stop.
func Start(ctx context.Context, dir string) (*Server, error) {
	if external := os.Getenv(External); external != "" {
		u, err := url.Parse(external)
		if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
			return nil, fmt.Errorf("start PostgreSQL: %s is no postgres:// URL", External)
		}
		s := &Server{url: u}
		s.stop = s.dropAll
		return s, nil
	}
	s, err := start(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	return s, nil
}

// Shared starts one server for the whole process the first time, and returns it
// each time. It ends with the process.
var Shared = sync.OnceValues(func() (*Server, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout) // of no caller's: it outlives them
	defer cancel()
	return Start(ctx, "")
})

// Stop ends the server and removes its files.
func (s *Server) Stop() error { return s.stop() }

// Database creates an empty database and returns its URL.
func (s *Server) Database(ctx context.Context) (string, error) {
	name := "lockkeeper_" + strings.ToLower(rand.Text())
	if err := s.exec(ctx, "CREATE DATABASE "+name); err != nil {
		return "", fmt.Errorf("create a database: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropped = append(s.dropped, name)
	u := *s.url
	u.Path = "/" + name
	return u.String(), nil
}

func (s *Server) exec(ctx context.Context, statement string) error {
	conn, err := pgx.Connect(ctx, s.url.String())
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, statement)
	return errors.Join(err, conn.Close(ctx))
}

func (s *Server) dropAll() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	var err error
	for _, name := range s.dropped {
		err = errors.Join(err, s.exec(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"))
	}
	s.dropped = nil
	return err
}

// start initialises a data folder and runs the server on it.
func start(ctx context.Context, dir string) (*Server, error) {
	native, err := install(ctx)
	if err != nil {
		return nil, err
	}
	// A socket's path has to be short, and dir may not be.
	home, err := os.MkdirTemp("", "lkpg-")
	if err != nil {
		return nil, err
	}
	if dir == "" || os.Geteuid() == 0 && !reachable(dir) {
		dir = home
	}
	s, err := startIn(ctx, native, home, dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(home))
	}
	return s, nil
}

func startIn(ctx context.Context, native, home, dir string) (*Server, error) {
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		return nil, err
	}
	attr := &syscall.SysProcAttr{Setpgid: true} // a ^C at the terminal is for us: it ends with us
	if os.Geteuid() == 0 {
		attr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
		if !reachable(filepath.Join(native, "bin", "postgres")) {
			copied := filepath.Join(home, "native")
			if err := os.CopyFS(copied, os.DirFS(native)); err != nil {
				return nil, err
			}
			native = copied
			if err := link(native); err != nil {
				return nil, err
			}
		}
		if err := errors.Join(os.Chown(home, nobody, nobody), os.Chown(data, nobody, nobody)); err != nil {
			return nil, err
		}
	}
	init := exec.CommandContext(ctx, filepath.Join(native, "bin", "initdb"), "--pgdata", data, "--username", "postgres",
		"--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions")
	init.SysProcAttr, init.Dir, init.Env = attr, home, environment()
	if out, err := init.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	stop, err := guard(attr, home, data, filepath.Join(native, "bin", "postgres"))
	if err != nil {
		return nil, err
	}
	s := &Server{stop: stop, url: &url.URL{Scheme: "postgres", Path: "/postgres", RawQuery: url.Values{"host": {home}, "user": {"postgres"}}.Encode()}}
	if err := s.ready(ctx); err != nil {
		said, _ := os.ReadFile(filepath.Join(home, "log"))
		return nil, errors.Join(fmt.Errorf("%w\n%s", err, said), stop())
	}
	return s, nil
}

func environment() []string { return []string{"PATH=" + os.Getenv("PATH"), "TZ=UTC", "LC_ALL=C"} }

// guardScript runs the server until standard input ends, which it does when we
// do, and then removes its files.
const guardScript = `home=$1 data=$2; shift 2
"$@" >"$home/log" 2>&1 </dev/null & server=$!
cat >/dev/null
kill -QUIT $server 2>/dev/null
wait $server
rm -rf -- "$data" "$home"`

func guard(attr *syscall.SysProcAttr, home, data, postgres string) (stop func() error, err error) {
	settings := []string{
		"listen_addresses=", "unix_socket_directories=" + home, "unix_socket_permissions=0700",
		"fsync=off", "full_page_writes=off", "wal_level=minimal", "max_wal_senders=0",
		"max_connections=300", "shared_buffers=32MB", "jit=off",
	}
	args := []string{"-c", guardScript, "sh", home, data, postgres, "-D", data}
	for _, s := range settings {
		args = append(args, "-c", s)
	}
	cmd := exec.Command("sh", args...)
	cmd.SysProcAttr, cmd.Dir, cmd.Env = attr, "/", environment()
	alive, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return sync.OnceValue(func() error {
		err := alive.Close()
		if wait := cmd.Wait(); wait != nil && !errors.Is(wait, io.ErrClosedPipe) {
			err = errors.Join(err, wait)
		}
		// Root may have to finish what the server's user could not.
		return errors.Join(err, os.RemoveAll(data), os.RemoveAll(home))
	}), nil
}

// ready waits until the server answers.
func (s *Server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := s.exec(ctx, "SELECT 1")
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it does not answer: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
