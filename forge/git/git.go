// Package git reads and writes Git repositories with the real git binary:
// mirrors of what a forge holds, trees of objects as file systems, merge
// results without a checkout, and small commits for the bot's own branches.
//
// Nothing here ever checks a file out, so that a hostile tree has no file
// system to act on. Git itself runs in a hardened environment: no system or
// user configuration, no hooks, no credential helpers, no prompts, no
// transport but HTTP(S), no redirects, and nothing on its PATH but itself.
// Arguments are vectors; names and hashes are checked before they are passed.
package git

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"golang.org/x/sync/errgroup"
)

// Failures that callers tell apart. All of them are wrapped with the object
// or name they concern.
var (
	// ErrNoRevision means that a commit, branch or ref is not known here.
	ErrNoRevision = errors.New("no such revision")
	// ErrUnrelated means that two commits have no common ancestor.
	ErrUnrelated = errors.New("unrelated histories")
	// ErrStale means that a pushed ref no longer stood where it was expected.
	ErrStale = errors.New("the branch moved since it was read")
	// ErrTooLarge means that a file is larger than Options.MaxBlob.
	ErrTooLarge = errors.New("file too large")
	// ErrOutsideTree means that a symbolic link leaves the tree (threat 4).
	ErrOutsideTree = errors.New("symbolic link leaves the repository")
	// ErrLinkCycle means that symbolic links lead back to themselves.
	ErrLinkCycle = errors.New("symbolic links form a cycle")
	// ErrSubmodule means that a path lies in a submodule, whose content is
	// not part of the repository.
	ErrSubmodule = errors.New("path is in a submodule, whose content lockkeeper does not read")
	// ErrCorrupt means that an object which must exist is missing or broken.
	ErrCorrupt = errors.New("repository is damaged or incomplete")
)

// DefaultMaxBlob is the largest file that is read unless Options say otherwise.
const DefaultMaxBlob = 16 << 20

// Options of a repository or a cache of mirrors.
type Options struct {
	// MaxBlob is the largest file in bytes that is read; 0 is DefaultMaxBlob.
	MaxBlob int64
	// Limit is how many bytes a cache of mirrors may take up; 0 is no limit.
	// Beyond it those go that were not used for the longest time, and never one
	// in use.
	Limit int64
	// AllowFile also lets mirrors fetch from and push to file:// URLs, for
	// repositories on this machine.
	AllowFile bool
	// CAFile is a PEM file of the authorities that a remote's certificate may come
	// from, instead of the system's; "" for those.
	CAFile string
}

func (o Options) maxBlob() int64 {
	if o.MaxBlob > 0 {
		return o.MaxBlob
	}
	return DefaultMaxBlob
}

// binary is the git that was found on this machine.
type binary struct {
	path     string // the executable
	execPath string // where git keeps its own helpers
	caFile   string // Options.CAFile
}

// oldest is the first git with `merge-tree --write-tree`.
var oldest = [2]int{2, 38}

// find looks git up in PATH and refuses one that is too old.
func find(ctx context.Context, opts Options) (binary, error) {
	path, err := exec.LookPath("git")
	if err != nil {
		return binary{}, fmt.Errorf("git is not installed or not in PATH; install git %d.%d or newer: %w", oldest[0], oldest[1], err)
	}
	b := binary{path: path, caFile: opts.CAFile}
	var version, dir []byte
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { version, err = b.run(gctx, call{args: []string{"version"}}); return err })
	g.Go(func() (err error) { dir, err = b.run(gctx, call{args: []string{"--exec-path"}}); return err })
	if err := g.Wait(); err != nil {
		return binary{}, err
	}
	if err := checkVersion(string(version)); err != nil {
		return binary{}, fmt.Errorf("%s: %w", path, err)
	}
	b.execPath = strings.TrimSpace(string(dir))
	return b, nil
}

// checkVersion reads "git version 2.39.5 (Apple Git-154)".
func checkVersion(out string) error {
	var major, minor int
	if _, err := fmt.Sscanf(out, "git version %d.%d", &major, &minor); err != nil {
		return fmt.Errorf("cannot read the version of git from %q", strings.TrimSpace(out))
	}
	if major < oldest[0] || major == oldest[0] && minor < oldest[1] {
		return fmt.Errorf("git %d.%d is too old for merge results; install %d.%d or newer", major, minor, oldest[0], oldest[1])
	}
	return nil
}

// call is one run of git.
type call struct {
	gitDir string // GIT_DIR; "" for commands outside a repository
	args   []string
	stdin  io.Reader
	env    []string // in addition to the hardened environment
	config []string // key, value, key, value... in addition to the base
	auth   string   // value of the Authorization header; "" for none
	files  bool     // allow file:// URLs
}

// hardened is configuration that every run gets; environment configuration
// outranks what a repository's own config file says.
var hardened = []string{
	"core.hooksPath", os.DevNull,
	"core.fsmonitor", "false",
	"core.attributesFile", os.DevNull,
	"core.logAllRefUpdates", "false",
	"credential.helper", "",
	"safe.directory", "*",
	"init.templateDir", "",
	"gc.auto", "0",
	"maintenance.auto", "false",
	// Packs arrive whole or not at all; loose objects could arrive in part,
	// and then a present commit would not prove its trees.
	"transfer.unpackLimit", "1",
	"fetch.recurseSubmodules", "false",
	"submodule.recurse", "false",
	// A redirect would carry our credential to another host.
	"http.followRedirects", "false",
	"http.lowSpeedLimit", "1000",
	"http.lowSpeedTime", "60",
}

// passed are the variables of our own environment that git may see: the way
// out of the building, and whom to trust there.
var passed = []string{
	"HTTPS_PROXY", "https_proxy", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy",
	"SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "CURL_CA_BUNDLE", "TMPDIR",
}

// environ builds the environment of one call from nothing.
func (b binary) environ(c call) []string {
	path := b.execPath
	if path == "" {
		path = filepath.Dir(b.path)
	}
	protocols := "http:https"
	if c.files {
		protocols += ":file"
	}
	env := []string{
		"PATH=" + path,
		"HOME=" + os.DevNull, // also hides ~/.netrc from curl
		"LC_ALL=C",
		"TZ=UTC",
		"GIT_CONFIG_NOSYSTEM=1",
		"GIT_CONFIG_GLOBAL=" + os.DevNull,
		"GIT_ATTR_NOSYSTEM=1",
		"GIT_TERMINAL_PROMPT=0",
		"GIT_NO_REPLACE_OBJECTS=1",
		"GIT_NO_LAZY_FETCH=1",
		"GIT_OPTIONAL_LOCKS=0",
		"GIT_ALLOW_PROTOCOL=" + protocols,
	}
	for _, name := range passed {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	if b.caFile != "" {
		env = append(env, "GIT_SSL_CAINFO="+b.caFile) // the last one counts
	}
	if c.gitDir != "" {
		env = append(env, "GIT_DIR="+c.gitDir)
	}
	config := append(append([]string{}, hardened...), c.config...)
	if c.auth != "" {
		config = append(config, "http.extraHeader", "Authorization: "+c.auth)
	}
	env = append(env, "GIT_CONFIG_COUNT="+strconv.Itoa(len(config)/2))
	for i := 0; i < len(config); i += 2 {
		n := strconv.Itoa(i / 2)
		env = append(env, "GIT_CONFIG_KEY_"+n+"="+config[i], "GIT_CONFIG_VALUE_"+n+"="+config[i+1])
	}
	return append(env, c.env...)
}

// run runs git to its end and returns what it printed. The error is a
// *failure unless git could not be started or ctx ended.
func (b binary) run(ctx context.Context, c call) ([]byte, error) {
	cmd := exec.CommandContext(ctx, b.path, c.args...)
	cmd.Env = b.environ(c)
	cmd.Dir = c.gitDir
	cmd.Stdin = c.stdin
	var stdout bytes.Buffer
	stderr := &tail{max: 16 << 10}
	cmd.Stdout, cmd.Stderr = &stdout, stderr
	killGroup(cmd)
	err := cmd.Run()
	if err == nil {
		return stdout.Bytes(), nil
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("git %s: %w", c.args[0], context.Cause(ctx))
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return nil, fmt.Errorf("git %s: %w", c.args[0], err)
	}
	return stdout.Bytes(), onDisk(&failure{command: c.args[0], exit: exit.ExitCode(), stderr: scrub(stderr.String(), c.auth)})
}

// killGroup makes the end of the context end git's helpers too (git-remote-https).
func killGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
}

// failure is a git that ended with an exit code.
type failure struct {
	command string
	exit    int
	stderr  string
}

func (f *failure) Error() string {
	if f.stderr == "" {
		return fmt.Sprintf("git %s: exit code %d", f.command, f.exit)
	}
	return fmt.Sprintf("git %s: %s", f.command, f.stderr)
}

// exitCode returns the exit code in err's chain, or -1.
func exitCode(err error) int {
	var f *failure
	if errors.As(err, &f) {
		return f.exit
	}
	return -1
}

// scrub makes git's words fit for people: one line, no control characters,
// no credential even if a server echoes it (threat 8), at most 1,000 bytes.
func scrub(text, auth string) string {
	for _, secret := range secretsIn(auth) {
		text = strings.ReplaceAll(text, secret, "[redacted]")
	}
	var lines []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(strings.Map(printable, line))
		if line != "" {
			lines = append(lines, line)
		}
	}
	text = strings.Join(lines, "; ")
	if len(text) > 1000 {
		text = strings.ToValidUTF8(text[:1000], "") + "…"
	}
	return text
}

// printable maps everything that could act on a terminal or a page to a space.
func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return ' '
}

// secretsIn lists the forms in which an Authorization header could be echoed.
func secretsIn(auth string) []string {
	if auth == "" {
		return nil
	}
	secrets := []string{auth}
	scheme, credential, ok := strings.Cut(auth, " ")
	if !ok || credential == "" {
		return secrets
	}
	secrets = append(secrets, credential)
	if strings.EqualFold(scheme, "basic") {
		if plain, err := base64.StdEncoding.DecodeString(credential); err == nil {
			secrets = append(secrets, string(plain))
			if _, password, ok := strings.Cut(string(plain), ":"); ok && len(password) > 3 {
				secrets = append(secrets, password)
			}
		}
	}
	return secrets
}

// tail keeps the last max bytes written to it.
type tail struct {
	max int
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - t.max; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.buf) }
