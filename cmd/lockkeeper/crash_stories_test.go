package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"lockkeeper/bot/drift"
	"lockkeeper/bot/store"
	"lockkeeper/forge"
	"lockkeeper/forge/people"
)

const crashTargets = `targets:
  - {name: NS, path: deploy, cluster: main, environment: production, timeout: 1m}
`

const crashPolicy = crashTargets + `environments:
  production:
    approvals: {required: 1, from: {users: [bob, ann]}}
    override: {by: {users: [dan]}, expires: 1h, review: 24h}
`

// sleeper is a Deployment that is well once a controller has looked at it, and
// there is none: see wake.
const sleeper = `apiVersion: apps/v1
kind: Deployment
metadata: {name: z, namespace: NS}
spec:
  replicas: 0
  selector: {matchLabels: {app: z}}
  template:
    metadata: {labels: {app: z}}
    spec: {containers: [{name: z, image: "registry.example/z:1"}]}
`

// wake does what the controller of Deployments would.
func (h *crashHouse) wake() error {
	ctx := context.WithoutCancel(h.t.Context())
	d, err := h.kube.AppsV1().Deployments(h.ns).Get(ctx, "z", metav1.GetOptions{})
	if err != nil {
		return err
	}
	d.Status.ObservedGeneration = d.Generation
	for _, c := range []appsv1.DeploymentConditionType{appsv1.DeploymentAvailable, appsv1.DeploymentProgressing} {
		d.Status.Conditions = append(d.Status.Conditions, appsv1.DeploymentCondition{Type: c, Status: "True", Reason: "NewReplicaSetAvailable"})
	}
	_, err = h.kube.AppsV1().Deployments(h.ns).UpdateStatus(ctx, d, metav1.UpdateOptions{})
	return err
}

// wakeWhenAwaited wakes the sleeper once the bot died waiting for it, and waits
// again.
func (h *crashHouse) wakeWhenAwaited(act string) (done func()) {
	ended := make(chan error, 1)
	ctx, stop := context.WithCancel(h.t.Context())
	go func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for !slices.Contains(h.met(), act+": before wait") || h.logged(`"step":"wait"`) < 2 {
			select {
			case <-tick.C:
			case <-ctx.Done():
				ended <- nil
				return
			}
		}
		ended <- h.wake()
	}()
	return func() {
		stop()
		h.must(<-ended)
	}
}

// applyStory: a pull that updates, creates, waits and deletes is opened, approved,
// applied and merged.
func applyStory(t *testing.T, url string) {
	h := newCrashHouse(t, crashStory{Store: url, Config: crashPolicy, Files: map[string]string{
		"deploy/a.yaml": configMap("a", "one"), "deploy/b.yaml": configMap("b", "one"),
	}})
	h.seedLive()
	var n int
	h.act("open", func() {
		n = h.open("change", map[string]string{
			"deploy/a.yaml": configMap("a", "two"), "deploy/b.yaml": "", "deploy/c.yaml": configMap("c", "new"), "deploy/z.yaml": sleeper,
		})
	}, "webhook", "check", "plan", "publish", "request-review")
	h.act("approve", func() { h.says("bob", n, "/approve", "approved") }, "take", "vote", "answer", "publish", "check")
	awake := h.wakeWhenAwaited("apply")
	h.act("apply", func() { h.says("cho", n, "/apply", "Merged as") },
		"take", "lease", "free", "gate", "intent", "apply/create", "wait", "prune", "merge", "record",
		"note-merge", "judge-merge", "publish", "check", "settle", "answer")
	awake()
	if a, b, c := h.value("a"), h.value("b"), h.value("c"); a != "two" || b != "" || c != "new" || !h.pull(n).Merged {
		t.Errorf("a is %q, b %q, c %q, merged %t", a, b, c, h.pull(n).Merged)
	}
	if !strings.Contains(h.report(n), "Applied and merged") {
		t.Errorf("the report does not tell of it:\n%s", h.report(n))
	}
	z, err := h.kube.AppsV1().Deployments(h.ns).Get(t.Context(), "z", metav1.GetOptions{})
	h.must(err)
	if z.Generation != 1 {
		t.Errorf("the Deployment was written %d times", z.Generation)
	}
	h.told()
}

// applyAfterMergeStory: what people merge is applied by itself.
func applyAfterMergeStory(t *testing.T) {
	h := newCrashHouse(t, crashStory{Apply: "merge", Config: crashPolicy, Files: map[string]string{"deploy/a.yaml": configMap("a", "one")}})
	h.seedLive()
	n := h.open("change", map[string]string{"deploy/a.yaml": configMap("a", "two"), "deploy/c.yaml": configMap("c", "new")})
	h.says("bob", n, "/approve", "approved")
	h.act("merge", func() {
		_, err := h.as("cho").Merge(t.Context(), shop, n, "squash")
		h.must(err)
		h.settle()
	}, "judge-merge", "note-merge", "gate", "intent", "record", "settle")
	if a, c := h.value("a"), h.value("c"); a != "two" || c != "new" {
		t.Errorf("a is %q, c %q", a, c)
	}
	h.told()
}

// changedMeanwhileStory: the bot dies in the middle of an apply, and before it
// lives again somebody changes what it had written, or was about to write. What
// people did not see is not applied, and what became of the apply is told.
func changedMeanwhileStory(t *testing.T) {
	h := newCrashHouse(t, crashStory{Config: crashPolicy, Files: map[string]string{
		"deploy/a.yaml": configMap("a", "one"), "deploy/ns.yaml": configMap("b", "one"),
	}})
	h.seedLive()
	for i, object := range []string{"a", "b"} {
		value := fmt.Sprintf("now-%d", i)
		n := h.open("change-"+object, map[string]string{"deploy/a.yaml": configMap("a", value), "deploy/ns.yaml": configMap("b", value)})
		h.says("bob", n, "/approve", "approved")
		h.mu.Lock()
		h.between = func() { h.must(h.byHand(object, "by hand")) }
		h.mu.Unlock()
		h.act("apply "+object, func() { h.says("cho", n, "/apply", "stopped in the middle", "no longer what the plan showed") }, outside, "apply/update")
		if got := h.value(object); got != "by hand" {
			t.Errorf("%s is %q: the change of somebody else was overwritten unseen", object, got)
		}
		if !strings.Contains(h.report(n), "by hand") {
			t.Errorf("the report does not show what was done meanwhile:\n%s", h.report(n))
		}
		h.says("bob", n, "/approve", "approved")
		h.act("go on with "+object, func() { h.says("cho", n, "/apply", "Merged as") }, "apply", "apply/update")
		if a, b := h.value("a"), h.value("b"); a != value || b != value {
			t.Errorf("a is %q, b is %q, want %q", a, b, value)
		}
	}
	h.told()
}

// talkStory: what people may say on a pull before anything is applied, and an
// override with its review.
func talkStory(t *testing.T) {
	h := newCrashHouse(t, crashStory{Config: crashPolicy, Files: map[string]string{"deploy/a.yaml": configMap("a", "one")}})
	h.push("ann", "draft", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	n, err := h.as("ann").OpenDraft(t.Context(), shop, "main", "draft", "Draft", "")
	h.must(err)
	h.settle()
	h.act("draft", func() { h.says("ann", n, "/plan", "planned") }, "take", "ask", "forget", "answer")
	if !strings.Contains(h.report(n), "+ key: two") && !strings.Contains(h.report(n), "two") {
		t.Errorf("the draft is not planned:\n%s", h.report(n))
	}
	h.must(h.as("ann").MarkReady(t.Context(), shop, n))
	h.settle()

	_, err = h.as("eve").Fork(t.Context(), shop)
	h.must(err)
	sha, err := h.as("eve").Push(t.Context(), "eve/shop", "change", "main", people.Commit{Message: "from a fork", Files: map[string]string{"deploy/a.yaml": h.in(configMap("a", "forked"))}})
	h.must(err)
	fork, err := h.as("eve").OpenPull(t.Context(), shop, "main", "eve:change", "From a fork", "")
	h.must(err)
	h.settle()
	h.act("fork", func() { h.says("cho", fork, "/plan "+sha[:7], "admitted") }, "take", "admit", "forget", "answer")

	h.act("hold", func() { h.says("cho", n, "/hold until noon", "held") }, "hold", "answer")
	h.act("unhold", func() { h.says("cho", n, "/unhold", "lifted") }, "hold", "answer")
	h.act("ticket", func() { h.says("cho", n, "/ticket CHG1", "CHG1") }, "ticket", "answer")
	h.says("bob", n, "/approve", "approved")
	h.act("unapprove", func() { h.says("bob", n, "/unapprove", "taken back") }, "vote", "answer")
	h.act("override", func() { h.says("dan", n, "/override checkout is down", "overrid") }, "override", "answer")
	h.says("cho", n, "/apply", "Merged as")
	h.act("reviewed", func() { h.says("bob", n, "/reviewed", "reviewed") }, "review", "answer")
	h.act("sync", func() { h.says("cho", fork, "/sync "+h.ns, "sync") }, "take", "set-sync", "answer")

	// Somebody who may merges past the policy, and somebody rewrites the branch.
	h.killAtWrites()
	past := h.open("past", map[string]string{"deploy/a.yaml": configMap("a", "past")})
	h.act("past the policy", func() {
		_, err := h.as("owner").Merge(t.Context(), shop, past, "squash")
		h.must(err)
		h.settle()
	}, "judge-merge", "note-merge")
	h.act("rewrite", func() {
		_, err := h.as("owner").ForcePush(t.Context(), shop, "main", "draft", people.Commit{Message: "rewritten", Files: map[string]string{
			".lockkeeper.yaml": h.in(crashPolicy), "deploy/a.yaml": h.in(configMap("a", "rewritten")),
		}})
		h.must(err)
		h.settle()
	}, "freeze")
	h.told(past)
}

// undoStory: a pull is rolled back; one that failed half-way is closed, and
// another one gives up what it holds.
func undoStory(t *testing.T) {
	h := newCrashHouse(t, crashStory{Config: strings.Replace(crashPolicy, "1m}", "1s}", 1), Files: map[string]string{"deploy/a.yaml": configMap("a", "one")}})
	h.seedLive()
	n := h.open("change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	h.says("bob", n, "/approve", "approved")
	h.says("cho", n, "/apply", "Merged as")
	h.act("rollback", func() { h.says("cho", n, "/rollback", "undoes it") }, "rollback")
	if got := h.botsPulls("lockkeeper/rollback/"); len(got) != 1 || got[0].State != forge.Open {
		t.Errorf("rollbacks: %+v", got)
	}
	h.must(h.as("ann").Close(t.Context(), shop, h.botsPulls("lockkeeper/rollback/")[0].Number))
	h.settle()

	n = h.open("unwanted", map[string]string{"deploy/a.yaml": configMap("a", "three"), "deploy/z.yaml": sleeper})
	h.says("bob", n, "/approve", "approved")
	h.mu.Lock()
	h.between = func() {
		_, err := h.as("bob").Comment(context.WithoutCancel(t.Context()), shop, n, "/cancel")
		h.must(err)
	}
	h.mu.Unlock()
	h.act("cancel", func() { h.says("cho", n, "/apply", "after the process was stopped in the middle") }, outside, "apply/create", "cancel")
	if h.value("a") == "three" && !strings.Contains(h.report(n), "1 to") && !strings.Contains(h.report(n), "nothing to do") {
		t.Errorf("the report does not tell what is left:\n%s", h.report(n))
	}
	h.says("cho", n, "/apply", "not healthy")
	h.must(h.wake())
	h.says("cho", n, "/apply", "Merged as")

	n = h.open("half", map[string]string{"deploy/a.yaml": configMap("a", "four"), "deploy/z.yaml": strings.Replace(sleeper, "z:1", "z:2", 1)})
	h.says("bob", n, "/approve", "approved")
	h.act("fail", func() { h.says("cho", n, "/apply", "not healthy", "`/rollback` goes back instead") }, "wait", "record", "answer")
	h.act("close", func() { h.says("cho", n, "/rollback", "the plan above puts main back") }, "close", "answer")
	if p := h.pull(n); p.State != forge.Closed {
		t.Errorf("the pull is %s", p.State)
	}
	h.act("unlock", func() { h.says("bob", n, "/unlock keep", "stay as they are") }, "unlock", "answer")
	h.told()
}

// botsPulls are the bot's pulls from branches that begin so, newest first.
func (h *crashHouse) botsPulls(prefix string) []people.Pull {
	h.t.Helper()
	return slices.DeleteFunc(h.pulls(), func(p people.Pull) bool { return !strings.HasPrefix(p.Head, prefix) })
}

// look has the bot look at the cluster.
func (h *crashHouse) look() {
	h.t.Helper()
	h.must(h.store.Want(h.t.Context(), drift.Key("main")))
	h.settle()
}

// driftPull is the one drift pull that there must be, among so many.
func (h *crashHouse) driftPull(of int, state forge.PullState) people.Pull {
	h.t.Helper()
	all := h.botsPulls(drift.BranchPrefix)
	if len(all) != of || all[0].State != state {
		h.t.Fatalf("pulls about drift: %+v, want %d, the last one %s", all, of, state)
	}
	return all[0]
}

const crashSecret = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: db\n  namespace: NS\nstringData:\n  password: first\n"

// driftStory: the life of a drift pull, and of an issue.
func driftStory(t *testing.T) {
	h := newCrashHouse(t, crashStory{Config: crashPolicy, Files: map[string]string{"deploy/a.yaml": configMap("a", "one"), "deploy/db.yaml": crashSecret}})
	h.seedLive()
	byHand := func(value string) func() {
		return func() {
			h.must(h.byHand("a", value))
			h.look()
		}
	}
	h.act("found", byHand("by hand"), "drift/think", "drift/open-pull", "drift/wait")
	first := h.driftPull(1, forge.Open)
	h.act("changed", byHand("by another hand"), "drift/update-pull")
	if p := h.driftPull(1, forge.Open); !strings.Contains(p.Body, "by another hand") {
		t.Errorf("the pull is not up to date:\n%s", p.Body)
	}
	h.act("closed", func() { h.must(h.as("bob").Close(t.Context(), shop, first.Number)); h.settle() }, "drift/hush")
	h.act("reopened", func() { h.must(h.as("bob").Reopen(t.Context(), shop, first.Number)); h.settle() }, "drift/unhush")
	h.act("gone", byHand("one"), "drift/close-pull", "drift/forget")
	h.driftPull(1, forge.Closed)

	// The bot dies as the forge carries out what it asked for: what was made is
	// taken up, and not made again.
	h.killAtWrites()
	h.act("found again", byHand("again"), outside, "drift/adopt")
	if p := h.driftPull(2, forge.Open); !strings.Contains(p.Body, "again") {
		t.Errorf("the pull does not tell of the drift:\n%s", p.Body)
	}
	h.act("gone again", byHand("one"), outside)

	password := func(value string) func() {
		return func() {
			if out, err := h.plane.Kubectl(t.Context(), "-n", h.ns, "patch", "secret", "db", "--type=merge", "-p", fmt.Sprintf(`{"stringData":{"password":%q}}`, value)).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			h.look()
		}
	}
	h.act("secret", password("by-hand"), "drift/tell-issue")
	if got := h.issues(forge.Open); len(got) != 1 {
		t.Errorf("issues: %+v", got)
	}
	h.forge.Fail(nil)
	h.act("secret gone", password("first"), "drift/close-issue")
	if open, all := h.issues(forge.Open), h.issues(forge.Open, forge.Closed); len(open) != 0 || len(all) != 1 {
		t.Errorf("issues: %+v", all)
	}
	h.told()
}

// healStory: what drifts is put back by itself, until somebody fights over it. A
// heal that is cut short is not tried again before a minute is over, so that there
// is a target for each point at which the bot dies.
func healStory(t *testing.T) {
	const targets = 10 // more at once would be no drift of targets
	config, files := "targets:\n", map[string]string{}
	for i := range targets {
		config += fmt.Sprintf("  - {name: NS-%d, path: t%d, cluster: main, environment: production}\n", i, i)
		files[fmt.Sprintf("t%d/a.yaml", i)] = configMap(fmt.Sprintf("a%d", i), "one")
	}
	h := newCrashHouse(t, crashStory{Config: config + "environments:\n  production:\n    approvals: {required: 0}\n    drift: {heal: auto}\n", Files: map[string]string{"README.md": "shop\n"}})
	n := h.open("all", files)
	h.says("cho", n, "/apply", "Merged as")
	h.act("heal", func() {
		for i := range targets {
			h.must(h.byHand(fmt.Sprintf("a%d", i), "by hand"))
		}
		h.look()
	}, outside, "drift/heal", "lease", "intent", "apply/update", "record")
	for _, step := range []string{"lease", "intent", "apply/update", "record"} {
		if !h.died("heal", step) {
			t.Errorf("the bot did not come to the step %q of a heal", step)
		}
	}
	left := -1
	for i := range targets {
		if h.value(fmt.Sprintf("a%d", i)) == "by hand" {
			left = i
		}
	}
	if left < 0 {
		t.Fatal("every heal succeeded, although the bot died in some")
	}
	h.nothingLost()

	for i := range 3 {
		h.must(h.store.AddHeal(t.Context(), store.Heal{
			RepoID: h.repo, Cluster: "main", Target: fmt.Sprintf("%s-%d", h.ns, left), At: time.Now().Add(-time.Duration(30-i) * time.Minute), Outcome: "succeeded",
			Fields: []string{fmt.Sprintf("ConfigMap %s/a%d data.key", h.ns, left)},
		}))
	}
	h.act("fight", h.look, "drift/alarm")
	if p := h.driftPull(1, forge.Open); !strings.Contains(p.Body, "Two parties fight") {
		t.Errorf("nobody is told of the fight:\n%s", p.Body)
	}
	h.told()
}

// writesStory: the bot dies at every kind of write to the forge, before the forge
// carries it out, and after it did.
func writesStory(t *testing.T) {
	h := newCrashHouse(t, crashStory{Config: crashPolicy, Files: map[string]string{"deploy/a.yaml": configMap("a", "one")}})
	h.seedLive()
	h.killAtWrites()
	var n int
	h.act("open", func() { n = h.open("change", map[string]string{"deploy/a.yaml": configMap("a", "two")}) }, outside)
	h.act("approve", func() { h.says("bob", n, "/approve", "approved") }, outside)
	h.act("apply", func() { h.says("cho", n, "/apply", "Merged as") }, outside)
	h.act("rollback", func() { h.says("cho", n, "/rollback", "undoes it") }, outside)
	if got := h.botsPulls("lockkeeper/rollback/"); len(got) != 1 || got[0].State != forge.Open {
		t.Errorf("rollbacks: %+v", got)
	}
	h.told()
}
