// Package gitea runs a real Gitea server for tests and the demo. It listens on
// loopback, keeps everything in one temporary directory with SQLite, and ends
// with the process that started it, however that ends.
//
// The program comes from testdata/gitea, a Go module of its own, and is built
// into bin/ on first use, or beforehand with
//
//	go run ./forge/forgetest/gitea/build
//
// It serves the API, Git over HTTP and webhooks. The scripts and styles of its
// pages are not in Gitea's Go module, so that pages come out bare; nobody here
// looks at them.
package gitea

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"text/template"
	"time"

	"lockkeeper/testdata/pinned"
)

// startTimeout bounds Start, on a machine that is busy with other tests too.
// Alone, it takes one to two seconds.
const startTimeout = 2 * time.Minute

// Admin is the login of the administrator.
const Admin = "gitea-admin"

var program = pinned.Programs{
	Module: "gitea", What: "the Gitea server", Takes: "~5 minutes",
	Packages: map[string]string{"gitea": ".", "gitea-hook": "./gitea-hook"},
}

//go:embed app.ini
var settings string

var settingsTemplate = template.Must(template.New("app.ini").Parse(settings))

// Options say how to start. The zero value will do.
type Options struct {
	// Progress hears of slow steps, such as the first build; nil is stderr.
	Progress io.Writer
}

// Server is a running Gitea. Its methods may be used by several goroutines at
// once.
type Server struct {
	// URL is its root, without a slash at the end.
	URL string
	// Password is the administrator's, and by agreement everybody's.
	Password string

	dir, binary string
	process     *pinned.Process
	control     *http.Client // to the program's own socket
	stop        func() error
}

// Binary returns the path of the program, and builds it when it is missing or
// older than its sources, saying so on progress.
func Binary(ctx context.Context, progress io.Writer) (string, error) {
	bin, err := program.Build(ctx, progress)
	return filepath.Join(bin, "gitea"), err
}

// Start builds the program if need be, starts a server and returns when it
// answers. ctx bounds the start only; the server runs until Stop.
func Start(ctx context.Context, options Options) (*Server, error) {
	if options.Progress == nil {
		options.Progress = os.Stderr
	}
	binary, err := Binary(ctx, options.Progress)
	if err != nil {
		return nil, err
	}
	if err := pinned.Require("git"); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "lockkeeper-gitea-")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, binary: binary, Password: rand.Text()}
	s.stop = sync.OnceValue(func() error { return errors.Join(s.process.Kill(), os.RemoveAll(dir)) })
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start Gitea: %w", err), s.Stop())
	}
	return s, nil
}

// Stop ends the server at once and removes its files. It may be called more than
// once.
func (s *Server) Stop() error { return s.stop() }

func (s *Server) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("not ready after %s", startTimeout))
	defer cancel()
	assets, err := assets(ctx)
	if err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(s.dir, "logs"), 0o700); err != nil {
		return err
	}
	socket := filepath.Join(s.dir, "settle.sock")
	s.control = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	if err := s.startOnFreePort(ctx, assets, socket); err != nil {
		return err
	}
	return s.command(ctx, "admin", "user", "create", "--username", Admin, "--password", s.Password,
		"--email", Admin+"@example.com", "--admin", "--must-change-password=false")
}

// assets is where Gitea's templates and texts lie: in its module.
func assets(ctx context.Context) (string, error) {
	module, err := program.Dir()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", "code.gitea.io/gitea")
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly", "PWD="+module)
	out, err := cmd.Output()
	var answer struct{ Dir, Error string }
	if jsonErr := json.Unmarshal(out, &answer); err != nil || jsonErr != nil || answer.Dir == "" {
		return "", fmt.Errorf("find Gitea's templates with go mod download in testdata/gitea: %w: %s", errors.Join(err, jsonErr), answer.Error)
	}
	return answer.Dir, nil
}

// startOnFreePort tries ports until one is not taken by somebody else between
// our look and Gitea's: it cannot listen on port 0.
func (s *Server) startOnFreePort(ctx context.Context, assets, socket string) error {
	for attempt := 1; ; attempt++ {
		port, err := pinned.FreePort()
		if err != nil {
			return err
		}
		s.URL = fmt.Sprintf("http://127.0.0.1:%d", port)
		if err := s.configure(port, assets); err != nil {
			return err
		}
		if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		s.process, err = pinned.Start(s.dir, "gitea", s.binary, []string{"web", "--config", s.config()},
			"GITEA_LIFELINE=1", "GITEA_REMOVE="+s.dir, "GITEA_SETTLE_SOCKET="+socket, "TZ=UTC")
		if err != nil {
			return err
		}
		err = s.ready(ctx)
		if err == nil || attempt == 5 || !s.process.PortWasTaken() {
			return err
		}
		if err := s.process.Kill(); err != nil {
			return err
		}
	}
}

func (s *Server) config() string { return filepath.Join(s.dir, "app.ini") }

func (s *Server) configure(port int, assets string) error {
	var text bytes.Buffer
	err := settingsTemplate.Execute(&text, map[string]any{
		"Dir": s.dir, "Assets": assets, "Port": port, "URL": s.URL, "Secret": rand.Text(), "Internal": rand.Text(),
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.config(), text.Bytes(), 0o600); err != nil {
		return err
	}
	return s.dress()
}

// command runs Gitea's command line, as its administrator would on its host.
func (s *Server) command(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, s.binary, append(args, "--config", s.config())...)
	cmd.Dir = s.dir
	cmd.Env = []string{"HOME=" + s.dir, "TMPDIR=" + s.dir, "PATH=" + os.Getenv("PATH")}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("gitea %s %s: %w\n%s", args[0], args[1], err, pinned.LastLines(string(out), 15))
	}
	return nil
}

// ready waits until the server answers.
func (s *Server) ready(ctx context.Context) error {
	for {
		err := answers(ctx, s.URL+"/api/v1/version")
		if err == nil {
			return nil
		}
		if !s.process.Running() {
			return s.process.Ended()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; last answer: %w; its log ends with:\n%s", context.Cause(ctx), err, s.process.Tail())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func answers(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", url, res.Status)
	}
	return nil
}

// Settle waits until the server has done everything that it was asked before,
// the deliveries of webhooks included, and returns how many of these were
// answered so far, or given up.
func (s *Server) Settle(ctx context.Context) (delivered int, err error) {
	return s.ask(ctx, "settled")
}

// Delivered is how many webhooks were answered so far, or given up.
func (s *Server) Delivered(ctx context.Context) (int, error) { return s.ask(ctx, "delivered") }

func (s *Server) ask(ctx context.Context, what string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://gitea/"+what, nil)
	if err != nil {
		return 0, err
	}
	res, err := s.control.Do(req)
	if err != nil {
		return 0, fmt.Errorf("ask Gitea what it is doing: %w", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("ask Gitea what it is doing: %s: %s: %w", res.Status, body, err)
	}
	var answer struct{ Delivered int }
	err = json.Unmarshal(body, &answer)
	return answer.Delivered, err
}

// Log is the end of what the server said, for a failed test.
func (s *Server) Log() string { return s.process.Tail() }
