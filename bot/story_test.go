package bot_test

import (
	"testing"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/config"
	"lockkeeper/forge"
	"lockkeeper/forge/forgetest"
	"lockkeeper/forge/people"
)

func TestPullIsPlannedApprovedAppliedAndMerged(t *testing.T) {
	h := newHouse(t, build{})
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	report := h.sticky(n)
	mustContain(t, report, "not yet allowed", "`/approve`", "+ data.key: two")
	if got := h.check(h.pull(n).Head.SHA); got != "action_required" {
		t.Fatalf("check concluded %q before the approval", got)
	}
	if got := h.value("a"); got != "" {
		t.Fatalf("planning wrote to the cluster: %q", got)
	}

	mustContain(t, h.say(second, n, "/apply"), "refused", "1 approval")
	mustContain(t, h.say(opener, n, "/approve"), "refused", "opened it")
	mustContain(t, h.say(reviewer, n, "/approve"), "approved")
	mustContain(t, h.sticky(n), "ready for `/apply`", "bob")
	mustContain(t, h.say(second, n, "/apply"), "🚀", "Merged as")

	if got := h.value("a"); got != "two" {
		t.Fatalf("live value is %q, want two", got)
	}
	if p := h.pull(n); !p.Merged {
		t.Fatal("the pull is not merged")
	}
	mustContain(t, h.sticky(n), "Applied and merged")
	if len(h.records(audit.ApplyStart)) != 1 || len(h.records(audit.ApplyEnd)) != 1 || len(h.records(audit.Merge)) == 0 {
		t.Fatal("the audit trail lacks the apply or the merge")
	}
}

func TestWebhookToReportTakesAtMostTwelveForgeCalls(t *testing.T) {
	h := newHouse(t, build{})
	h.push(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	h.settle()
	h.hub(counted).ForgetCalls()
	_, err := h.as(opener).OpenPull(t.Context(), shop, "main", "change", "Change", "")
	h.must(err)
	h.settle()
	calls := h.hub(counted).Calls(h.login, h.app().Slug)
	if len(calls) == 0 || len(calls) > 12 {
		t.Errorf("%d forge calls from webhook to report, want 1 to 12:", len(calls))
		for _, c := range calls {
			t.Log(c)
		}
	}
}

func TestApplyWaitsWhileTheForgeComputesMergeability(t *testing.T) {
	h := newHouse(t, build{Lazy: true})
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	h.say(reviewer, n, "/approve")
	h.push(opener, "other", map[string]string{"README.md": "moves nothing\n"})
	mustContain(t, h.say(second, n, "/apply"), "Merged as")
}

func TestSyncBringsABaseToAnEmptyCluster(t *testing.T) {
	h := newHouse(t, build{Files: map[string]string{"deploy/b.yaml": configMap("b", "two")}})
	h.seedLive()
	if h.value("a") != "one" || h.value("b") != "two" {
		t.Fatalf("after the sync a is %q and b is %q", h.value("a"), h.value("b"))
	}
}

func TestThreat16PushAfterApprovalVoidsIt(t *testing.T) { // threat 16
	h := newHouse(t, build{})
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	h.say(reviewer, n, "/approve")
	h.push(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "evil")})
	h.settle()
	got := h.say(second, n, "/apply")
	mustContain(t, got, "refused", "1 approval")
	mustContain(t, h.sticky(n), "the head is now")
	if h.value("a") != "" {
		t.Fatalf("applied %q without an approval of it", h.value("a"))
	}
}

func TestLiveChangeAfterApprovalIsRefusedAndPlannedAgain(t *testing.T) {
	h := newHouse(t, build{})
	h.seedLive()
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	h.say(reviewer, n, "/approve")
	h.kubectl("-n", h.ns, "patch", "configmap", "a", "--type=merge", "-p", `{"data":{"key":"by hand"}}`)
	got := h.say(second, n, "/apply")
	mustContain(t, got, "refused", "no longer what the plan showed")
	mustContain(t, h.sticky(n), "by hand")
	if h.value("a") != "by hand" {
		t.Fatalf("live value is %q", h.value("a"))
	}
	mustContain(t, h.say(reviewer, n, "/approve"), "approved")
	mustContain(t, h.say(second, n, "/apply"), "Merged as")
	if h.value("a") != "two" {
		t.Fatalf("live value is %q", h.value("a"))
	}
}

func TestThreat11EditedAndDeletedApprovalsDoNotCount(t *testing.T) { // threat 11
	t.Parallel()
	for _, act := range []string{"edited", "deleted"} {
		t.Run(act, func(t *testing.T) {
			h := newHouse(t, build{})
			n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
			id, err := h.as(reviewer).Comment(t.Context(), shop, n, "/approve")
			h.must(err)
			h.settle()
			mustContain(t, h.sticky(n), "ready for")
			if act == "edited" {
				h.must(h.as(reviewer).EditComment(t.Context(), shop, n, id, "never mind"))
			} else {
				h.must(h.as(reviewer).DeleteComment(t.Context(), shop, n, id))
				if h.forge.Kind() == config.OnGitLab { // which tells nobody of it
					h.sweep()
				}
			}
			h.settle()
			mustContain(t, h.sticky(n), "not counted", act)
			mustContain(t, h.say(second, n, "/apply"), "refused")
		})
	}
}

func TestReviewApprovesAndRequestForChangesBlocks(t *testing.T) {
	h := newHouse(t, build{})
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	_, err := h.as(reviewer).Review(t.Context(), shop, n, forge.Approved, "")
	h.must(err)
	objection, err := h.as(second).Review(t.Context(), shop, n, forge.ChangesRequested, "not like this")
	h.must(err)
	h.settle()
	mustContain(t, h.say(reviewer, n, "/apply"), "refused", "requests changes")
	h.must(h.as("owner").Dismiss(t.Context(), shop, n, objection))
	h.settle()
	mustContain(t, h.say(reviewer, n, "/apply"), "Merged as")
}

func TestHoldKeepsFromApplying(t *testing.T) {
	h := newHouse(t, build{})
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	h.say(reviewer, n, "/approve")
	mustContain(t, h.say(second, n, "/hold until the sale is over"), "held", "until the sale is over")
	mustContain(t, h.say(second, n, "/apply"), "refused", "holds it")
	mustContain(t, h.say(second, n, "/unhold"), "lifted")
	mustContain(t, h.say(second, n, "/apply"), "Merged as")
}

func TestThreat22OutsiderMayNotCommand(t *testing.T) { // threat 22
	h := newHouse(t, build{})
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	h.say(reviewer, n, "/approve")
	for _, c := range []string{"/apply", "/hold", "/plan", "/sync " + h.ns} {
		mustContain(t, h.say(outsider, n, c), "refused", "write access")
	}
	mustContain(t, h.say(outsider, n, "/status"), "ready for")
	mustContain(t, h.say(outsider, n, "/aply"), "did you mean")
	mustContain(t, h.say(outsider, n, "/help"), "/unlock")
	mustContain(t, h.say(outsider, n, "/explain"), "1 approval")
}

func TestApprovalOfAnOutsiderDoesNotCount(t *testing.T) {
	h := newHouse(t, build{})
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	mustContain(t, h.say(outsider, n, "/approve"), "refused", "write access")
	onGitLab := h.forge.Kind() == config.OnGitLab // which lets nobody approve who may not write: they may lose that later
	if onGitLab {
		h.must(h.forge.Grant(t.Context(), shop, outsider, forge.Write))
	}
	_, err := h.as(outsider).Review(t.Context(), shop, n, forge.Approved, "")
	h.must(err)
	if onGitLab {
		h.must(h.forge.Grant(t.Context(), shop, outsider, forge.Read))
	}
	h.settle()
	mustContain(t, h.say(second, n, "/apply"), "refused", "not counted")
	mustContain(t, h.sticky(n), "not counted")
}

func TestThreat1ForkIsPlannedOnlyWhenAdmitted(t *testing.T) { // threat 1
	h := newHouse(t, build{})
	_, err := h.as(outsider).Fork(t.Context(), shop)
	h.must(err)
	sha, err := h.as(outsider).Push(t.Context(), outsider+"/shop", "change", "main", people.Commit{Message: "from a fork", Files: map[string]string{"deploy/a.yaml": h.in(configMap("a", "two"))}})
	h.must(err)
	n, err := h.as(outsider).OpenPull(t.Context(), shop, "main", outsider+":change", "From a fork", "")
	h.must(err)
	h.settle()
	mustContain(t, h.sticky(n), "Not planned yet", "/plan "+sha[:7])
	mustNotContain(t, h.sticky(n), "two")
	mustContain(t, h.say(outsider, n, "/plan "+sha[:7]), "refused", "write access")
	mustContain(t, h.say(second, n, "/plan 0123456"), "refused", "the head is")
	mustContain(t, h.say(second, n, "/plan "+sha[:7]), "admitted")
	mustContain(t, h.sticky(n), "+ data.key: two")
	h.say(reviewer, n, "/approve")
	// What was admitted is that commit, and not what comes after it.
	next, err := h.as(outsider).Push(t.Context(), outsider+"/shop", "change", "main", textCommit(map[string]string{"deploy/a.yaml": h.in(configMap("a", "evil"))}))
	h.must(err)
	h.settle()
	mustContain(t, h.sticky(n), "Not planned yet", "/plan "+next[:7])
	mustNotContain(t, h.sticky(n), "evil")
	mustContain(t, h.say(second, n, "/apply"), "refused", next[:7])
	mustContain(t, h.say(second, n, "/plan "+sha[:7]), "refused", "the head is")
	h.untouched()
}

func TestDraftIsPlannedOnRequest(t *testing.T) {
	h := newHouse(t, build{})
	h.push(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	n, err := h.as(opener).OpenDraft(t.Context(), shop, "main", "change", "Draft", "")
	h.must(err)
	h.settle()
	mustContain(t, h.sticky(n), "Not planned yet")
	mustContain(t, h.say(opener, n, "/plan"), "planned")
	mustContain(t, h.sticky(n), "+ data.key: two")
	h.say(reviewer, n, "/approve")
	mustContain(t, h.say(second, n, "/apply"), "refused", "draft")
	h.must(h.as(opener).MarkReady(t.Context(), shop, n))
	h.settle()
	mustContain(t, h.say(second, n, "/apply"), "Merged as")
}

func TestThreat29PullAgainstABranchOfOnesOwnIsNotHandled(t *testing.T) { // threat 29
	h := newHouse(t, build{})
	h.must(h.as(opener).CreateBranch(t.Context(), shop, "mine", "main"))
	_, err := h.as(opener).Push(t.Context(), shop, "mine", "main", people.Commit{Message: "a policy of my own", Files: map[string]string{".lockkeeper.yaml": h.in(plainConfig[:len(plainConfig)-2] + "0\n")}})
	h.must(err)
	h.push(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	n, err := h.as(opener).OpenPull(t.Context(), shop, "mine", "change", "Change", "")
	h.must(err)
	h.settle()
	if got := h.say(opener, n, "/apply"); got != "" || h.value("a") != "" {
		t.Fatalf("answered %q, live value %q", got, h.value("a"))
	}
	// Retargeted to main, it is judged by main's policy.
	h.must(h.as(opener).Retarget(t.Context(), shop, n, "main"))
	h.settle()
	mustContain(t, h.sticky(n), "not yet allowed")
	mustContain(t, h.say(opener, n, "/apply"), "refused")
}

func TestThreat29RetargetingVoidsApprovals(t *testing.T) { // threat 29
	h := newHouse(t, build{Server: func(s *config.Server) { s.Repositories[0].Bases = []string{"main", "next"} }})
	h.must(h.as(opener).CreateBranch(t.Context(), shop, "next", "main"))
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	h.say(reviewer, n, "/approve")
	_, err := h.as(reviewer).Review(t.Context(), shop, n, forge.Approved, "")
	h.must(err)
	h.settle()
	mustContain(t, h.sticky(n), "ready for")
	h.must(h.as(opener).Retarget(t.Context(), shop, n, "next"))
	h.settle()
	mustContain(t, h.sticky(n), "not yet allowed")
	mustContain(t, h.say(second, n, "/apply"), "refused", "1 approval")
	h.must(h.as(opener).Retarget(t.Context(), shop, n, "main"))
	h.settle()
	mustContain(t, h.say(second, n, "/apply"), "refused", "1 approval", "not counted")
	h.untouched()
	mustContain(t, h.say(reviewer, n, "/approve"), "approved")
	mustContain(t, h.say(second, n, "/apply"), "Merged as")
}

func TestTwoPullsOnOneTarget(t *testing.T) {
	h := newHouse(t, build{Protect: people.Protection{}})
	h.seedLive()
	first := h.open(opener, "first", map[string]string{"deploy/a.yaml": configMap("a", "first")})
	other := h.open(opener, "other", map[string]string{"deploy/b.yaml": configMap("b", "other")})
	h.say(reviewer, first, "/approve")
	h.say(reviewer, other, "/approve")
	mustContain(t, h.say(second, first, "/apply"), "Merged as")
	// The merge moved the base; the other pull was planned again and its
	// changes are the ones that were approved.
	mustContain(t, h.sticky(other), "ready for")
	mustContain(t, h.say(second, other, "/apply"), "Merged as")
	if h.value("a") != "first" || h.value("b") != "other" {
		t.Fatalf("a is %q, b is %q", h.value("a"), h.value("b"))
	}
}

func TestRemovedObjectIsDeleted(t *testing.T) {
	h := newHouse(t, build{Files: map[string]string{"deploy/b.yaml": configMap("b", "two")}})
	h.seedLive()
	n := h.open(opener, "remove", map[string]string{"deploy/b.yaml": ""})
	mustContain(t, h.sticky(n), "**deletes**", "ConfigMap "+h.ns+"/b")
	h.say(reviewer, n, "/approve")
	mustContain(t, h.say(second, n, "/apply"), "Merged as")
	if h.value("b") != "" || h.value("a") != "one" {
		t.Fatalf("a is %q, b is %q", h.value("a"), h.value("b"))
	}
}

func TestRenamedTargetDirectoryIsTransferred(t *testing.T) { // threat 31
	noName := `targets:
  - path: NS/*
    cluster: main
    environment: production
`
	h := newHouse(t, build{Config: noName, Files: map[string]string{"NS/old/a.yaml": configMap("x", "one")}})
	seed := h.open(opener, "seed", map[string]string{"README.md": "seed\n"})
	mustContain(t, h.say(second, seed, "/sync "+h.ns+"/old"), "planned the sync")

	h.say(reviewer, seed, "/approve")
	mustContain(t, h.say(second, seed, "/apply"), "🚀")
	uid := h.kubectl("-n", h.ns, "get", "configmap", "x", "-o", "jsonpath={.metadata.uid}")

	n := h.open(opener, "rename", map[string]string{h.ns + "/old/a.yaml": "", h.ns + "/new/a.yaml": configMap("x", "one")})
	mustContain(t, h.sticky(n), "transfer ConfigMap", h.ns+"/old")
	mustNotContain(t, h.sticky(n), "**deletes**")
	h.say(reviewer, n, "/approve")
	mustContain(t, h.say(second, n, "/apply"), "Merged as")
	if got := h.kubectl("-n", h.ns, "get", "configmap", "x", "-o", "jsonpath={.metadata.uid}"); got != uid {
		t.Fatalf("the object is another one: %s, was %s", got, uid)
	}
	// The new target owns it: removing it there deletes it.
	n = h.open(opener, "remove", map[string]string{h.ns + "/new/a.yaml": configMap("other", "two")})
	mustContain(t, h.sticky(n), "**deletes**")
}

func TestThreat30ObjectOutsideTheFenceIsRefused(t *testing.T) { // threat 30
	h := newHouse(t, build{})
	for name, text := range map[string]string{
		"kube-system": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  namespace: kube-system\n",
		"own":         "apiVersion: v1\nkind: Secret\nmetadata:\n  name: lockkeeper-key\n  namespace: lockkeeper-system\n",
		"cluster":     "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: NS\n",
	} {
		n := h.open(opener, name, map[string]string{"deploy/" + name + ".yaml": text})
		mustContain(t, h.sticky(n), "cannot be applied", "deploy/"+name+".yaml")
		h.say(reviewer, n, "/approve")
		mustContain(t, h.say(second, n, "/apply"), "refused")
		if got := h.check(h.pull(n).Head.SHA); got != "failure" {
			t.Fatalf("%s: check concluded %q", name, got)
		}
	}
}

// stuck is a Deployment that no node takes until one has the label.
const stuck = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: z
  namespace: NS
spec:
  progressDeadlineSeconds: 2
  selector: {matchLabels: {app: z}}
  template:
    metadata: {labels: {app: z}}
    spec:
      nodeSelector: {NS: "yes"}
      containers:
        - {name: z, image: registry.example/z:1}
`

func TestClosedAfterAFailedApplyIsRestored(t *testing.T) {
	h := newHouse(t, build{Files: map[string]string{"deploy/b.yaml": configMap("b", "one")}})
	h.seedLive()
	n := h.open(opener, "change", map[string]string{
		"deploy/a.yaml": configMap("a", "two"), "deploy/z.yaml": stuck,
	})
	h.say(reviewer, n, "/approve")
	mustContain(t, h.say(second, n, "/apply"), "1 of 2", "Deployment.apps "+h.ns+"/z")
	mustContain(t, h.sticky(n), "half-way")
	if h.pull(n).Merged {
		t.Fatal("a half-applied pull was merged")
	}
	h.must(h.as(opener).Close(t.Context(), shop, n))
	h.settle()
	mustContain(t, h.sticky(n), "Closed after it was applied", "/unlock restore")
	mustContain(t, h.say(opener, n, "/unlock restore"), "refused")
	h.say(reviewer, n, "/approve")
	// Whoever asks for a restore does not count among its approvers.
	mustContain(t, h.say(reviewer, n, "/unlock restore"), "refused", "asked for it")
	mustContain(t, h.say(second, n, "/unlock restore"), "🚀")
	if h.value("a") != "one" {
		t.Fatalf("a is %q after the restore", h.value("a"))
	}
}

// A process that dies after it gave up a lease, and before it noted that, gives it
// up once more when it starts again: by then it may be another pull's.
func TestLeaseThatIsAnothersByNowIsNotGivenUp(t *testing.T) {
	h := newHouse(t, build{Files: map[string]string{"deploy/b.yaml": configMap("b", "one")}})
	h.seedLive()
	n := h.open(opener, "change", map[string]string{
		"deploy/a.yaml": configMap("a", "two"), "deploy/z.yaml": stuck,
	})
	h.say(reviewer, n, "/approve")
	mustContain(t, h.say(second, n, "/apply"), "1 of 2")
	h.must(h.as(opener).Close(t.Context(), shop, n))
	h.settle()
	leases, err := h.store.Leases(t.Context())
	h.must(err)
	if len(leases) != 1 {
		t.Fatalf("leases: %v", leases)
	}
	h.must(h.store.Release(t.Context(), leases[0]))
	other, ok, _, err := h.store.Acquire(t.Context(), leases[0].Key, "pull/1/999", "apply", 0)
	h.must(err)
	mustContain(t, h.say(second, n, "/unlock keep"), "🔓")
	if now, err := h.store.Lease(t.Context(), other.Key); !ok || err != nil || now.Holder != other.Holder {
		t.Errorf("the lease of another pull was given up: %v, %v", now, err)
	}
}

func TestFailedApplyIsContinued(t *testing.T) {
	h := newHouse(t, build{Files: map[string]string{"deploy/b.yaml": configMap("b", "one")}})
	h.seedLive()
	n := h.open(opener, "change", map[string]string{
		"deploy/a.yaml": configMap("a", "two"), "deploy/z.yaml": stuck,
	})
	h.say(reviewer, n, "/approve")
	mustContain(t, h.say(second, n, "/apply"), "1 of 2", "Deployment.apps "+h.ns+"/z")
	mustContain(t, h.sticky(n), "half-way")
	// Nothing is left to write, but what was written is still not healthy.
	mustContain(t, h.say(second, n, "/apply"), "❌", "Deployment.apps "+h.ns+"/z")
	h.freeNodes()
	mustContain(t, h.say(second, n, "/apply"), "Merged as")
	if h.value("a") != "two" {
		t.Fatalf("a is %q", h.value("a"))
	}
}

func TestAppliedAfterTheMerge(t *testing.T) {
	h := newHouse(t, build{Server: func(s *config.Server) { s.Repositories[0].Apply = config.ApplyOnMerge }})
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	if got := h.check(h.pull(n).Head.SHA); got != "action_required" {
		t.Fatalf("check concluded %q", got)
	}
	mustContain(t, h.say(second, n, "/apply"), "refused")
	h.say(reviewer, n, "/approve")
	if got := h.check(h.pull(n).Head.SHA); got != "success" {
		t.Fatalf("check concluded %q", got)
	}
	_, err := h.as(second).Merge(t.Context(), shop, n, "merge")
	h.must(err)
	h.settle()
	if h.value("a") != "two" {
		t.Fatalf("a is %q after the merge", h.value("a"))
	}
	mustContain(t, h.sticky(n), "Applied and merged")
}

func TestLostDoubledAndShuffledWebhooksChangeNothing(t *testing.T) { // threats 12 and 15
	h := newHouse(t, build{})
	h.hub(bent).SetDelivery(forgetest.DeliveryMode{Copies: 2, Hold: true, Shuffle: 7})
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	h.say(reviewer, n, "/approve")
	mustContain(t, h.say(second, n, "/apply"), "Merged as")
	if got := len(h.records(audit.ApplyStart)); got != 1 {
		t.Fatalf("%d applies for one command", got)
	}
}

func TestMergeQueueIsAnswered(t *testing.T) {
	h := newHouse(t, build{Server: func(s *config.Server) { s.Repositories[0].Apply = config.ApplyOnMerge }})
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	sha, err := h.hub(queues).Enqueue(t.Context(), shop, n)
	h.must(err)
	h.settle()
	if got := h.check(sha); got != "success" {
		t.Fatalf("the check on the queue's commit concluded %q", got)
	}
	if h.value("a") != "" {
		t.Fatal("applied from the queue, before the merge")
	}
}

func TestUntouchedPullIsLetThrough(t *testing.T) {
	h := newHouse(t, build{})
	n := h.open(opener, "words", map[string]string{"README.md": "words\n"})
	mustContain(t, h.sticky(n), "No target is affected")
	mustNotContain(t, h.sticky(n), "digest")
	if got := h.check(h.pull(n).Head.SHA); got != "success" {
		t.Fatalf("check concluded %q", got)
	}
}
