package contract

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// gitEnv is an environment in which git depends on nothing outside and sends
// auth as its Authorization header.
func gitEnv(auth string) []string {
	env := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_CONFIG_GLOBAL=/dev/null", "LC_ALL=C.UTF-8",
	}
	if auth != "" {
		env = append(env, "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=http.extraHeader", "GIT_CONFIG_VALUE_0=Authorization: "+auth)
	}
	return env
}

// secretsIn are the forms of a credential that an error could hold.
func secretsIn(auth string) []string {
	_, coded, _ := strings.Cut(auth, " ")
	plain, _ := base64.StdEncoding.DecodeString(coded)
	list := []string{coded}
	if _, token, ok := strings.Cut(string(plain), ":"); ok {
		list = append(list, token)
	}
	return slices.DeleteFunc(list, func(s string) bool { return s == "" })
}

// gitPush makes the commits of p with git and pushes them to the repository at
// url; it returns the tip.
func gitPush(t *testing.T, url, auth string, p Push) string {
	t.Helper()
	dir := t.TempDir()
	run := func(stdin string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir, cmd.Env, cmd.Stdin = dir, gitEnv(auth), strings.NewReader(stdin)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Run(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, errs.String())
		}
		return strings.TrimSpace(out.String())
	}
	run("", "init", "-q", "--bare")
	run("", "fetch", "-q", url, "+refs/heads/*:refs/heads/*")
	from := p.From
	if from == "" {
		from = p.Branch
	}
	tip := run("", "rev-parse", from+"^{commit}")
	if len(p.Commits) > 0 {
		stream := fastImport(p.Commits, tip, func(branch string) string { return run("", "rev-parse", branch) })
		run(stream, "fast-import", "--quiet", "--force")
		tip = run("", "rev-parse", "refs/heads/contract-tip")
	}
	args := []string{"push", "-q", url}
	if p.Force {
		args = append(args, "--force")
	}
	for _, b := range append([]string{p.Branch}, p.Also...) {
		args = append(args, tip+":refs/heads/"+b)
	}
	run("", args...)
	return tip
}

// fastImport writes the commits as git fast-import reads them. Times rise by a
// second, so that forges that sort by time keep the order.
func fastImport(list []Commit, from string, resolve func(string) string) string {
	var b strings.Builder
	data := func(s string) { fmt.Fprintf(&b, "data %d\n%s\n", len(s), s) }
	for i, c := range list {
		committer := c.Committer
		if committer == "" {
			committer = c.Author
		}
		when := 1767600000 + i
		fmt.Fprintf(&b, "commit refs/heads/contract-tip\n")
		fmt.Fprintf(&b, "author Ünï 🚢 %s <%s> %d +0000\n", c.Author, Email(c.Author), when)
		fmt.Fprintf(&b, "committer %s <%s> %d +0000\n", committer, Email(committer), when)
		data(c.Message)
		if i == 0 {
			fmt.Fprintf(&b, "from %s\n", from)
		}
		if c.Merge != "" {
			fmt.Fprintf(&b, "merge %s\n", resolve(c.Merge))
		}
		for _, name := range slices.Sorted(maps.Keys(c.Files)) {
			fmt.Fprintf(&b, "M 100644 inline %s\n", name)
			data(c.Files[name])
		}
	}
	return b.String()
}
