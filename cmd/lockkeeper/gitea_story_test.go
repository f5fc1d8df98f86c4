package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"lockkeeper/bot/drift"
	"lockkeeper/forge"
	"lockkeeper/forge/people"
	ongitea "lockkeeper/forge/people/gitea"
)

// TestTheWholeStoryOnGitea has nothing in it that is not real: `lockkeeper serve`,
// a Gitea that protects its main branch, and a Kubernetes API server.
func TestTheWholeStoryOnGitea(t *testing.T) {
	s, err := ongitea.Shared()
	if err != nil {
		t.Fatal(err)
	}
	world, err := ongitea.On(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	h := newHosted(t, world, "gitea:\n  url: %s\n  tokenFile: token", false)
	h.must(world.Protect(t.Context(), h.repo.String(), "main", people.Protection{Checks: []string{"lockkeeper"}, Reviews: 1}))

	h.change("two")
	second := h.change("three")
	h.undo(second, "two")
	h.adopt("by hand")
}

// change brings a value to the cluster and to main, as far as reviews go: without
// one, it is refused.
func (h *hosted) change(value string) (number int) {
	h.t.Helper()
	ctx, repo, before := h.t.Context(), h.repo.String(), h.live()
	head, err := h.As("ann").Push(ctx, repo, "to-"+value, "main", people.Commit{Message: "To " + value, Files: map[string]string{"deploy/a.yaml": aConfigMap("a", value)}})
	h.must(err)
	number, err = h.As("ann").OpenPull(ctx, repo, "main", "to-"+value, "To "+value, "")
	h.must(err)
	h.settle()
	h.contain(h.said(number), "<!-- lockkeeper:pull/", "ConfigMap", value)
	h.shown(head, false)
	h.contain(h.reply("cho", number, "/apply"), "refused", "1 of 1 required approving reviews are missing")
	if live := h.live(); live != before {
		h.t.Fatalf("a refused apply changed the cluster from %q to %q", before, live)
	}
	h.approve("bob", number)
	h.applied("cho", number, value)
	h.shown(head, true)
	return number
}

// approve reviews, as the forge's own button does.
func (h *hosted) approve(who string, number int) {
	h.t.Helper()
	_, err := h.As(who).Review(h.t.Context(), h.repo.String(), number, forge.Approved, "")
	h.must(err)
	h.settle()
}

// applied applies a pull, after which it is merged and the value is live and in
// Git.
func (h *hosted) applied(who string, number int, value string) {
	h.t.Helper()
	if reply := h.reply(who, number, "/apply"); !strings.Contains(reply, "Merged as") {
		h.t.Fatalf("%s\nof:\n%s", reply, h.said(number))
	}
	p, err := h.As("ann").Pull(h.t.Context(), h.repo.String(), number)
	h.must(err)
	if !p.Merged || p.MergeSHA == "" {
		h.t.Fatalf("not merged: %+v\n%s", p, h.said(number))
	}
	if live := h.live(); live != value {
		h.t.Errorf("the cluster has %q, want %q", live, value)
	}
	h.contain(h.inMain("deploy/a.yaml"), value)
}

// undo goes back to a value by the pull that the bot opens.
func (h *hosted) undo(number int, value string) {
	h.t.Helper()
	named := regexp.MustCompile(`#(\d+)`).FindStringSubmatch(h.reply("cho", number, "/rollback"))
	if named == nil {
		h.t.Fatalf("no pull is named:\n%s", h.said(number))
	}
	back, err := strconv.Atoi(named[1])
	h.must(err)
	h.settle()
	h.ours(back, "lockkeeper/rollback/")
	h.contain(h.reply("ann", back, "/apply"), "refused")
	h.approve("bob", back)
	h.applied("ann", back, value)
}

// adopt changes the cluster by hand and takes up the pull that the bot opens of
// itself, with one approval more, as nobody knows who did it (threat 33).
func (h *hosted) adopt(value string) {
	h.t.Helper()
	mustKubectl(h.t, controlPlane(h.t).Access, "", "-n", h.ns, "patch", "configmap", "a", "--type=merge", "-p", fmt.Sprintf(`{"data":{"key":%q}}`, value))
	ctx, cancel := context.WithTimeoutCause(h.t.Context(), time.Minute, fmt.Errorf("nothing was opened about drift"))
	defer cancel()
	number := 0
	for number == 0 {
		h.pause(ctx)
		all, err := h.As("ann").Pulls(h.t.Context(), h.repo.String())
		h.must(err)
		if i := slices.IndexFunc(all, func(p people.Pull) bool { return strings.HasPrefix(p.Head, drift.BranchPrefix) }); i >= 0 {
			number = all[i].Number
		}
	}
	h.settle()
	h.contain(h.ours(number, drift.BranchPrefix).Body, "`data.key`", value)
	h.approve("bob", number)
	h.contain(h.reply("cho", number, "/apply"), "refused", "approval")
	h.approve("ann", number)
	h.applied("cho", number, value)
}

// ours is a pull that the bot opened, from a branch that begins so, with commits
// that Gitea knows for the bot's.
func (h *hosted) ours(number int, branch string) people.Pull {
	h.t.Helper()
	p, err := h.As("ann").Pull(h.t.Context(), h.repo.String(), number)
	h.must(err)
	if p.Author != h.Access().Login || !strings.HasPrefix(p.Head, branch) || p.State != forge.Open {
		h.t.Fatalf("the bot's pull is %+v", p)
	}
	return p
}

// reply comments, and returns what the bot answered.
func (h *hosted) reply(who string, number int, body string) string {
	h.t.Helper()
	id, err := h.As(who).Comment(h.t.Context(), h.repo.String(), number, body)
	h.must(err)
	h.settle()
	comments, err := h.As(who).Comments(h.t.Context(), h.repo.String(), number)
	h.must(err)
	var replies []string
	for _, c := range comments {
		if strings.HasPrefix(c.Body, fmt.Sprintf("<!-- lockkeeper:reply/%d/", id)) {
			replies = append(replies, c.Body)
		}
	}
	return strings.Join(replies, "\n")
}

func (h *hosted) contain(text string, wants ...string) {
	h.t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			h.t.Fatalf("%q is not in:\n%s", want, text)
		}
	}
}

// live is the value in the cluster, "" if there is none.
func (h *hosted) live() string {
	h.t.Helper()
	return mustKubectl(h.t, controlPlane(h.t).Access, "", "-n", h.ns, "get", "configmap", "a", "--ignore-not-found", "-o", "jsonpath={.data.key}")
}

// inMain reads a file of the main branch by Git.
func (h *hosted) inMain(path string) string {
	h.t.Helper()
	dir := h.t.TempDir()
	cmd := exec.CommandContext(h.t.Context(), "git", "-c", "http.extraHeader=Authorization: "+h.As("ann").GitAuth(), "clone", "-q", "--depth=1", h.CloneURL(h.repo.String()), dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		h.t.Fatalf("git clone: %v\n%s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(dir, path))
	h.must(err)
	return string(text)
}
