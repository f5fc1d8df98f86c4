// Package bare works on bare Git repositories with the real git: it is the
// storage half of the local GitHub look-alike.
package bare

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// ErrConflict tells that two sides cannot be merged without a person.
var ErrConflict = errors.New("merge conflict")

// ErrMoved tells that a ref was not where the caller thought.
var ErrMoved = errors.New("ref moved")

// ErrNoCommit tells that a revision names no commit.
var ErrNoCommit = errors.New("no such commit")

// Repo is a bare repository in Dir.
type Repo struct {
	Dir string

	mu    sync.Mutex
	known map[string]string // what git said of commits, which never change
}

// hook refuses updates that the server listed in the environment: locked refs
// take no push at all, kept refs no rewrite and no deletion.
const hook = `#!/bin/sh
zero=0000000000000000000000000000000000000000
while read old new ref; do
  case " $FORGETEST_LOCKED " in *" $ref "*)
    echo "error: GH006: Protected branch update failed for $ref." >&2
    exit 1;; esac
  case " $FORGETEST_KEPT " in *" $ref "*)
    [ "$old" = $zero ] && continue
    if [ "$new" = $zero ] || ! git merge-base --is-ancestor "$old" "$new"; then
      echo "error: GH006: Cannot force-push to or delete the protected branch $ref." >&2
      exit 1
    fi;; esac
done
`

var settings = [][2]string{
	{"http.receivepack", "true"},
	{"http.uploadpack", "true"},
	{"receive.hideRefs", "refs/pull"},
	{"uploadpack.allowAnySHA1InWant", "true"},
	{"uploadpack.allowFilter", "true"},
	{"gc.auto", "0"},
	{"core.logAllRefUpdates", "false"},
}

// Init makes an empty repository in dir whose HEAD is the branch.
func Init(ctx context.Context, dir, branch string) (*Repo, error) {
	r := &Repo{Dir: dir}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if _, err := r.Git(ctx, nil, "", "init", "-q", "--bare", "-b", branch, "."); err != nil {
		return nil, err
	}
	return r, r.configure()
}

func (r *Repo) configure() error {
	f, err := os.OpenFile(filepath.Join(r.Dir, "config"), os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	for _, kv := range settings {
		section, key, _ := strings.Cut(kv[0], ".")
		fmt.Fprintf(f, "[%s]\n\t%s = %s\n", section, key, kv[1])
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(r.Dir, "hooks"), 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.Dir, "hooks", "pre-receive"), []byte(hook), 0o755)
}

// Fork copies all branches into a new repository in dir.
func (r *Repo) Fork(ctx context.Context, dir, branch string) (*Repo, error) {
	f, err := Init(ctx, dir, branch)
	if err != nil {
		return nil, err
	}
	_, err = f.Git(ctx, nil, "", "fetch", "-q", r.Dir, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
	return f, err
}

// Git runs git in the repository with extra environment and standard input.
func (r *Repo) Git(ctx context.Context, env []string, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = r.Dir
	cmd.Env = append(Env(), env...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(errOut.String()))
	}
	return out.String(), nil
}

// ask is Git for a question about the commits or trees revs alone. Where all of
// them are named by their hashes, the answer is remembered: the look-alike is
// asked the same of the same commits all the time.
func (r *Repo) ask(ctx context.Context, revs []string, args ...string) (string, error) {
	if slices.ContainsFunc(revs, func(rev string) bool { return !hashes.MatchString(rev) }) {
		return r.Git(ctx, nil, "", args...)
	}
	key := strings.Join(args, "\x00")
	r.mu.Lock()
	out, ok := r.known[key]
	r.mu.Unlock()
	if ok {
		return out, nil
	}
	out, err := r.Git(ctx, nil, "", args...)
	if err != nil {
		return out, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known == nil {
		r.known = map[string]string{}
	}
	r.known[key] = out
	return out, nil
}

// hashes are a commit, or a range of them, by full hashes.
var hashes = regexp.MustCompile(`^[0-9a-f]{40}(\.\.[0-9a-f]{40})?$`)

// Env is the environment that git gets: nothing from the machine's
// configuration, so that results are the same everywhere.
func Env() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "LC_ALL=C", "TZ=UTC",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0",
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
	}
}

// Refs lists all refs with their object.
func (r *Repo) Refs(ctx context.Context) (map[string]string, error) {
	out, err := r.Git(ctx, nil, "", "for-each-ref", "--format=%(objectname) %(refname)")
	if err != nil {
		return nil, err
	}
	refs := map[string]string{}
	for line := range strings.Lines(out) {
		sha, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		refs[name] = sha
	}
	return refs, nil
}

// Resolve finds the commit that a SHA or a full ref name stands for.
func (r *Repo) Resolve(ctx context.Context, rev string) (string, error) {
	if rev == "" || strings.HasPrefix(rev, "-") {
		return "", ErrNoCommit
	}
	out, err := r.ask(ctx, []string{rev}, "rev-parse", "-q", "--verify", "--end-of-options", rev+"^{commit}")
	if err != nil {
		return "", fmt.Errorf("%w: %q", ErrNoCommit, rev)
	}
	return strings.TrimSpace(out), nil
}

// SetRef moves a ref from old to sha; empty old means "whatever it was",
// empty sha deletes.
func (r *Repo) SetRef(ctx context.Context, ref, sha, old string) error {
	args := []string{"update-ref", ref, sha}
	if sha == "" {
		args = []string{"update-ref", "-d", ref}
	}
	if old != "" {
		args = append(args, old)
	}
	if _, err := r.Git(ctx, nil, "", args...); err != nil {
		return fmt.Errorf("%w: %w", ErrMoved, err)
	}
	return nil
}

// Fetch copies a commit from another repository to ref.
func (r *Repo) Fetch(ctx context.Context, from *Repo, sha, ref string) error {
	_, err := r.Git(ctx, nil, "", "fetch", "-q", "--no-write-fetch-head", from.Dir, "+"+sha+":"+ref)
	return err
}

// IsAncestor reports whether a is reachable from b.
func (r *Repo) IsAncestor(ctx context.Context, a, b string) bool {
	_, err := r.ask(ctx, []string{a, b}, "merge-base", "--is-ancestor", a, b)
	return err == nil
}

// MergeBase finds the best common ancestor, "" if there is none.
func (r *Repo) MergeBase(ctx context.Context, a, b string) string {
	out, err := r.ask(ctx, []string{a, b}, "merge-base", a, b)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(out)
}
