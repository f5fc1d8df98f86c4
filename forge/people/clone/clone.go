// Package clone is what people do with Git: they fetch a branch over HTTP, put
// commits on top, and push.
package clone

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"lockkeeper/forge"
	"lockkeeper/forge/forgetest/bare"
	"lockkeeper/forge/people"
)

// Desk is where somebody works on a repository.
type Desk struct {
	URL  string // HTTP, without credentials
	Auth string // value of the Authorization header
	// Name and Email are what the owner of the desk commits with.
	Name, Email string
	Now         func() time.Time
}

// Push adds commits to a branch and returns its head. It builds on the branch
// from, or on nothing if from is "". With force, whatever the branch holds is
// replaced. What the remote refuses is a *forge.Error.
func (d Desk) Push(ctx context.Context, branch, from string, force bool, commits ...people.Commit) (string, error) {
	dir, err := os.MkdirTemp("", "lockkeeper-clone-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	local, err := bare.Init(ctx, filepath.Join(dir, "repo.git"), "main")
	if err != nil {
		return "", err
	}
	tip := ""
	if from != "" {
		if _, err := d.git(ctx, local, "fetch", "-q", "--depth=1", d.URL, "refs/heads/"+from); err != nil {
			return "", err
		}
		if tip, err = local.Resolve(ctx, "FETCH_HEAD"); err != nil {
			return "", err
		}
	}
	if tip, err = d.commit(ctx, local, tip, commits); err != nil {
		return "", err
	}
	spec := tip + ":refs/heads/" + branch
	if force {
		spec = "+" + spec
	}
	_, err = d.git(ctx, local, "push", "-q", d.URL, spec)
	return tip, err
}

// commit makes the commits with one run of git fast-import.
func (d Desk) commit(ctx context.Context, local *bare.Repo, tip string, commits []people.Commit) (string, error) {
	if len(commits) == 0 {
		return tip, nil
	}
	const ref = "refs/heads/desk"
	var in strings.Builder
	for i, c := range commits {
		message := cmp.Or(c.Message, "Change")
		fmt.Fprintf(&in, "commit %s\nauthor %s\ncommitter %s\ndata %d\n%s\n", ref, d.who(c.Author), d.who(c.Committer), len(message), message)
		if i == 0 && tip != "" {
			fmt.Fprintf(&in, "from %s\n", tip)
		}
		for _, path := range slices.Sorted(maps.Keys(c.Files)) {
			if content := c.Files[path]; content == "" {
				fmt.Fprintf(&in, "D %s\n", quoted(path))
			} else {
				fmt.Fprintf(&in, "M 100644 inline %s\ndata %d\n%s\n", quoted(path), len(content), content)
			}
		}
		in.WriteByte('\n')
	}
	if _, err := local.Git(ctx, nil, in.String(), "fast-import", "--quiet"); err != nil {
		return "", err
	}
	return local.Resolve(ctx, ref)
}

// who is a signature with the address, or with the desk's owner's.
func (d Desk) who(address string) string {
	name := address
	if address == "" {
		name, address = d.Name, d.Email
	}
	return fmt.Sprintf("%s <%s> %d +0000", name, address, d.Now().Unix())
}

// quoted is a path as fast-import takes any.
func quoted(path string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(path) + `"`
}

// git runs git with the credential in a header, where no error shows it.
func (d Desk) git(ctx context.Context, r *bare.Repo, args ...string) (string, error) {
	env := []string{
		"GIT_CONFIG_COUNT=2", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
		"GIT_CONFIG_KEY_1=http.extraHeader", "GIT_CONFIG_VALUE_1=Authorization: " + d.Auth,
	}
	out, err := r.Git(ctx, env, "", args...)
	if err != nil {
		return "", refused(fmt.Sprintf("git %s as %s", args[0], d.Name), err)
	}
	return strings.TrimSpace(out), nil
}

// refused finds the kind of a refusal in Git's words; there is nothing else.
func refused(op string, err error) error {
	code := forge.Unavailable
	for _, kind := range []struct {
		code  forge.Code
		words []string
	}{
		{forge.Conflict, []string{"non-fast-forward", "fetch first", "stale info", "failed to update ref"}},
		{forge.Forbidden, []string{"hook declined", "protected branch", "returned error: 403"}},
		{forge.Unauthorized, []string{"Authentication failed", "returned error: 401", "could not read Username"}},
		{forge.NotFound, []string{"couldn't find remote ref", "not found"}},
	} {
		if slices.ContainsFunc(kind.words, func(w string) bool { return strings.Contains(err.Error(), w) }) {
			code = kind.code
			break
		}
	}
	return &forge.Error{Op: op, Code: code, Message: err.Error(), Err: err}
}
