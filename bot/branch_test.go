package bot_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/config"
	"lockkeeper/forge/forgetest"
	"lockkeeper/forge/people"
)

// sweep is what happens at start, and each time the server file's interval is
// over.
func (h *house) sweep() {
	h.t.Helper()
	h.must(h.bot.WantAll(h.t.Context()))
	h.settle()
}

// pushDirectly pushes to main itself.
func (h *house) pushDirectly(login string, files map[string]string) string {
	h.t.Helper()
	sha := h.push(login, "main", files)
	h.settle()
	return sha
}

// issues are those of the repository, oldest first; state is open, closed or
// all.
func (h *house) issues(state string) []people.Issue {
	h.t.Helper()
	all, err := h.forge.As(opener).Issues(h.t.Context(), shop)
	h.must(err)
	all = slices.DeleteFunc(all, func(i people.Issue) bool { return state != "all" && string(i.State) != state })
	slices.Reverse(all)
	return all
}

// report is the one open issue about main.
func (h *house) report() people.Issue {
	h.t.Helper()
	open := h.issues("open")
	if len(open) != 1 {
		h.t.Fatalf("%d open issues, want one: %+v", len(open), open)
	}
	mustContain(h.t, open[0].Body, fmt.Sprintf("<!-- lockkeeper:branch/%d/main part=1 -->", h.repo.ID))
	return open[0]
}

// bypasses are the records about what was pushed to a base branch.
func (h *house) bypasses() []audit.Record {
	h.t.Helper()
	return slices.DeleteFunc(h.records(audit.Bypass), func(r audit.Record) bool { return r.Outcome != "found" && r.Outcome != "settled" })
}

// quiet fails if an issue is open.
func (h *house) quiet() {
	h.t.Helper()
	if open := h.issues("open"); len(open) > 0 {
		h.t.Fatalf("issues are open: %+v", open)
	}
}

func TestDirectPushIsReportedAndItsSyncNeedsSomebodyElse(t *testing.T) { // threat 34; what others push past the gate
	h := newHouse(t, build{})
	h.seedLive()
	sha := h.pushDirectly(second, map[string]string{"deploy/a.yaml": configMap("a", "pushed")})

	report := h.report()
	mustContain(t, report.Title, "main")
	mustContain(t, report.Body, sha[:8], "cho", "`"+h.ns+"`", "`deploy/a.yaml`")
	found := h.bypasses()
	if len(found) != 1 || found[0].Head != sha || found[0].Actor.Login != second || found[0].Outcome != "found" || found[0].Target != h.ns {
		t.Fatalf("recorded: %+v", found)
	}
	if h.value("a") != "one" {
		t.Fatalf("the push reached the cluster: %q", h.value("a"))
	}

	n := h.open(opener, "sync", map[string]string{"README.md": "look\n"})
	h.say(opener, n, "/sync "+h.ns)
	mustContain(t, h.say(second, n, "/approve"), "refused", sha[:7])
	mustContain(t, h.say(opener, n, "/apply"), "refused", "bypass")
	if h.value("a") != "one" {
		t.Fatalf("applied without an approval: %q", h.value("a"))
	}
	mustContain(t, h.say(reviewer, n, "/approve"), "approved")
	mustContain(t, h.say(opener, n, "/apply"), "🚀")
	if h.value("a") != "pushed" {
		t.Fatalf("live value is %q", h.value("a"))
	}
	h.quiet()
	if closed := h.issues("closed"); len(closed) != 1 || closed[0].Number != report.Number || !strings.Contains(closed[0].Body, "settled") {
		t.Fatalf("closed: %+v", closed)
	}
	found = h.bypasses()
	if len(found) != 2 || found[1].Outcome != "settled" || !strings.Contains(found[1].Reason, fmt.Sprintf("%s; approved by @%s", h.driver.Limits().PullName(n), reviewer)) {
		t.Fatalf("recorded: %+v", found)
	}
}

func TestPullDoesNotBringADirectPushAlongUnseen(t *testing.T) {
	h := newHouse(t, build{})
	h.seedLive()
	n := h.open(opener, "change", map[string]string{"deploy/b.yaml": configMap("b", "two")})
	mustContain(t, h.say(reviewer, n, "/approve"), "approved")
	h.pushDirectly(reviewer, map[string]string{"deploy/a.yaml": configMap("a", "pushed")})
	mustContain(t, h.say(opener, n, "/apply"), "refused", "bypass")
	mustContain(t, h.say("owner", n, "/approve"), "approved")
	mustContain(t, h.say(opener, n, "/apply"), "Merged as")
	if h.value("a") != "pushed" || h.value("b") != "two" {
		t.Fatalf("live: a is %q, b is %q", h.value("a"), h.value("b"))
	}
	h.quiet()
}

func TestDirectPushIsFoundThoughItsWebhookIsLost(t *testing.T) { // threat 15
	h := newHouse(t, build{})
	h.sweep()
	h.deaf()
	sha := h.pushDirectly(second, map[string]string{"deploy/a.yaml": configMap("a", "pushed")})
	h.quiet()
	h.sweep()
	mustContain(t, h.report().Body, sha[:8], "cho")
}

func TestApplyLooksAtTheBranchItself(t *testing.T) { // threat 15: nothing ever tells of the push
	h := newHouse(t, build{})
	h.seedLive()
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	mustContain(t, h.say(reviewer, n, "/approve"), "approved")
	h.deaf()
	sha := h.pushDirectly(reviewer, map[string]string{"deploy/c.yaml": configMap("c", "pushed")})
	id, err := h.as(opener).Comment(t.Context(), shop, n, "/apply\n/explain")
	h.must(err)
	h.must(h.store.Want(t.Context(), fmt.Sprintf("pull/%d/%d", h.repo.ID, n)))
	h.settle()
	mustContain(t, h.replyTo(n, id), "refused", "bypass", sha[:7])
	if len(h.bypasses()) != 1 {
		t.Fatal("the push is not recorded")
	}
}

func TestMergesAreNoBypass(t *testing.T) {
	h := newHouse(t, build{})
	h.sweep()
	n := h.open(opener, "own", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	h.say(reviewer, n, "/approve")
	mustContain(t, h.say(second, n, "/apply"), "Merged as")
	for _, method := range []string{"merge", "squash", "rebase"} {
		if method == "rebase" && h.forge.Kind() == config.OnGitLab {
			continue // a setting of the project there
		}
		branch := "by-hand-" + method
		h.push(opener, branch, map[string]string{"deploy/b.yaml": configMap("b", method)})
		n := h.open(opener, branch, map[string]string{"deploy/c.yaml": configMap("c", method)})
		_, err := h.as(second).Merge(t.Context(), shop, n, method)
		h.must(err)
		h.settle()
		h.sweep()
	}
	h.quiet()
	if found := h.bypasses(); len(found) > 0 {
		t.Fatalf("recorded: %+v", found)
	}
}

func TestPushThatTouchesNoTargetIsOnlyRecorded(t *testing.T) {
	h := newHouse(t, build{})
	h.sweep()
	h.pushDirectly(second, map[string]string{"docs/readme.md": "words\n"})
	h.quiet()
	if found := h.bypasses(); len(found) != 1 || !strings.Contains(found[0].Reason, "touches no target") {
		t.Fatalf("recorded: %+v", found)
	}
}

func TestDirectPushOfAKustomizeBaseTouchesItsOverlay(t *testing.T) {
	h := newHouse(t, build{Files: map[string]string{
		"deploy/kustomization.yaml": "resources: [../shared]\n",
		"shared/kustomization.yaml": "resources: [a.yaml]\n",
		"shared/a.yaml":             configMap("a", "one"),
	}})
	h.sweep()
	sha := h.pushDirectly(second, map[string]string{"shared/a.yaml": configMap("a", "pushed")})
	mustContain(t, h.report().Body, sha[:8], "`"+h.ns+"`", "`shared/a.yaml`")
}

func TestPolicyPushedDirectlyCountsForEveryPull(t *testing.T) {
	h := newHouse(t, build{})
	h.sweep()
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	sha := h.pushDirectly(opener, map[string]string{config.RepoFile: strings.Replace(plainConfig, "required: 1", "required: 0", 1)})
	mustContain(t, h.report().Body, sha[:8], "**targets and policy**", "`"+config.RepoFile+"`")
	mustContain(t, h.say(second, n, "/apply"), "refused", "bypass")
	mustContain(t, h.say(reviewer, n, "/approve"), "approved")
	mustContain(t, h.say(second, n, "/apply"), "refused", "policy: 1 approval") // a writer is no owner of the policy
	mustContain(t, h.say("owner", n, "/approve"), "approved")
	mustContain(t, h.say(second, n, "/apply"), "Merged as")
	h.quiet()
}

func TestForcePushIsReported(t *testing.T) { // threat 34
	h := newHouse(t, build{})
	h.sweep()
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	h.say(reviewer, n, "/approve")
	mustContain(t, h.say(second, n, "/apply"), "Merged as")
	lost := h.head("main")
	h.rewind(second, lost)

	report := h.report()
	mustContain(t, report.Body, "**rewritten**", lost[:8]+" was thrown away", "cho", "`"+h.ns+"`")
	found := h.bypasses()
	if len(found) != 1 || found[0].Base != lost || found[0].Actor.Login != second || !strings.Contains(found[0].Reason, "rewritten") {
		t.Fatalf("recorded: %+v", found)
	}
	// Set back to where it was: nothing is left of it.
	h.restore(second, lost)
	h.quiet()
}

// clone is somebody's desk: all branches, and what they held when the desk was
// looked at before.
func (h *house) clone() string {
	h.t.Helper()
	dir := filepath.Join(h.dir, "desk.git")
	h.git(h.dir, "init", "-q", "--bare", dir)
	h.git(dir, "fetch", "-q", "--prune", h.forge.CloneURL(shop), "+refs/heads/*:refs/heads/*")
	return dir
}

func (h *house) git(dir string, args ...string) string {
	h.t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(h.t.Context()), "git", args...)
	cmd.Dir, cmd.Env = dir, append(append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1"), h.gitAs("owner")...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		h.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// rewind force-pushes the parent of a commit to main.
func (h *house) rewind(login, from string) {
	h.t.Helper()
	dir := h.clone()
	h.must(h.pushFrom(login, dir, "+"+h.git(dir, "rev-parse", from+"^")+":refs/heads/main"))
	h.settle()
}

// restore force-pushes a commit to main.
func (h *house) restore(login, to string) {
	h.t.Helper()
	dir := h.clone()
	h.must(h.pushFrom(login, dir, "+"+to+":refs/heads/main"))
	h.settle()
}

func TestRevertedPushIsSettled(t *testing.T) {
	h := newHouse(t, build{})
	h.sweep()
	h.pushDirectly(second, map[string]string{"deploy/a.yaml": configMap("a", "pushed")})
	h.report()
	h.pushDirectly(second, map[string]string{"deploy/a.yaml": configMap("a", "one")})
	h.quiet()
}

func TestIssueThatSomebodyClosedComesBack(t *testing.T) {
	h := newHouse(t, build{})
	h.sweep()
	sha := h.pushDirectly(second, map[string]string{"deploy/a.yaml": configMap("a", "pushed")})
	first := h.report()
	h.must(h.as(second).CloseIssue(t.Context(), shop, first.Number))
	h.settle()
	h.sweep()
	again := h.report()
	mustContain(t, again.Body, sha[:8])
	next := h.pushDirectly(second, map[string]string{"deploy/b.yaml": configMap("b", "pushed")})
	if updated := h.report(); updated.Number != again.Number || !strings.Contains(updated.Body, next[:8]) || !strings.Contains(updated.Body, sha[:8]) {
		t.Fatalf("after the second push: %+v", updated)
	}
}

func TestUnknownPusherIsAskedForAgain(t *testing.T) {
	h := newHouse(t, build{})
	h.seedLive()
	activity := func(r *http.Request) *forgetest.Fault {
		if strings.HasSuffix(r.URL.Path, "/activity") || asksLockkeeper(r) && strings.HasSuffix(r.URL.Path, "/events") {
			return &forgetest.Fault{Status: http.StatusForbidden, Message: "Resource not accessible by integration"}
		}
		return nil
	}
	h.fail(activity)
	sha := h.pushDirectly(second, map[string]string{"deploy/a.yaml": configMap("a", "pushed")})
	mustContain(t, h.report().Body, sha[:8], "**nobody knows**")
	n := h.open(opener, "sync", map[string]string{"README.md": "look\n"})
	h.say(opener, n, "/sync "+h.ns)
	h.say(reviewer, n, "/approve")
	mustContain(t, h.say(opener, n, "/apply"), "refused", "nobody knows by whom")

	h.fail(nil)
	h.advance(2 * time.Minute)
	h.sweep()
	mustContain(t, h.report().Body, "cho")
	h.say(reviewer, n, "/approve")
	mustContain(t, h.say(opener, n, "/apply"), "🚀")
	h.quiet()
}

func TestRepositoryWithoutIssuesKeepsTheAuditTrail(t *testing.T) {
	h := newHouse(t, build{})
	h.sweep()
	h.fail(func(r *http.Request) *forgetest.Fault {
		if strings.HasSuffix(r.URL.Path, "/issues") {
			return &forgetest.Fault{Status: http.StatusGone, Message: "Issues are disabled for this repo"}
		}
		return nil
	})
	h.pushDirectly(second, map[string]string{"deploy/a.yaml": configMap("a", "pushed")})
	h.fail(nil)
	if found := h.bypasses(); len(found) != 1 {
		t.Fatalf("recorded: %+v", found)
	}
}
