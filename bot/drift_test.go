package bot_test

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/config"
	"lockkeeper/bot/drift"
	"lockkeeper/bot/store"
	"lockkeeper/cluster"
	"lockkeeper/forge/forgetest"
)

// lookForDrift looks at the cluster once, as after news from its watch.
func (h *house) lookForDrift() {
	h.t.Helper()
	h.must(h.store.Want(h.t.Context(), drift.Key("main")))
	h.settle()
}

// driftPulls are the bot's pulls about drift, newest first.
func (h *house) driftPulls() (out []pull) {
	h.t.Helper()
	all, err := h.forge.As(opener).Pulls(h.t.Context(), shop)
	h.must(err)
	for _, p := range all {
		if strings.HasPrefix(p.Head, drift.BranchPrefix) {
			out = append(out, pullOf(p))
		}
	}
	return out
}

// driftPull is the one that there must be, among so many.
func (h *house) driftPull(of int) pull {
	h.t.Helper()
	all := h.driftPulls()
	if len(all) != of {
		h.t.Fatalf("%d pulls about drift, want %d: %+v", len(all), of, all)
	}
	return all[0]
}

// drifted are the outcomes of the records about drift, in order.
func (h *house) drifted() string {
	h.t.Helper()
	var out []string
	for _, r := range h.records(audit.Drift) {
		if strings.HasPrefix(r.Reason, "target ") && !strings.Contains(r.Reason, h.ns) {
			continue // another test's, whose repository has the same ID
		}
		out = append(out, r.Outcome)
	}
	return strings.Join(out, ", ")
}

// byHand changes a ConfigMap as somebody at a terminal does.
func (h *house) byHand(name, value string) {
	h.t.Helper()
	_, err := h.kube.CoreV1().ConfigMaps(h.ns).Patch(h.t.Context(), name, types.MergePatchType,
		fmt.Appendf(nil, `{"data":{"key":%q}}`, value), metav1.PatchOptions{FieldManager: "kubectl-patch"})
	h.must(err)
}

func (h *house) drifts() []store.Drift {
	h.t.Helper()
	all, err := h.store.Drifts(h.t.Context(), "main")
	h.must(err)
	return all
}

const scalable = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: NS
spec:
  replicas: 0 # nobody is awake
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
        - name: web
          image: registry.example/web:1
`

// Threat 33: a live change passes the gate as anybody's pull does, with one
// approval more, as nobody knows who made it.
func TestThreat33SomebodyScalesProductionByHandAndItIsAdopted(t *testing.T) { // threat 33
	h := newHouse(t, build{Files: map[string]string{"deploy/web.yaml": scalable}})
	h.seedLive()
	h.watch()
	h.kubectl("-n", h.ns, "scale", "deployment/web", "--replicas=2")
	h.until("there is a pull", func() bool { return len(h.driftPulls()) > 0 })
	h.settle()
	p := h.driftPull(1)
	mustContain(t, p.Title, "Drift: "+h.ns, "1 object")
	mustContain(t, p.Body, "`spec.replicas`", "| `0` | `2` | `kubectl`", "`/restore`", "**Keep it**")
	mustContain(t, h.sticky(p.Number), "2 approvals")
	h.approve(reviewer, p.Number)
	mustContain(t, h.say(second, p.Number, "/apply"), "refused", "approval")
	h.approve(opener, p.Number)
	mustContain(t, h.say(second, p.Number, "/apply"), "Merged as")
	got := h.inGit("deploy/web.yaml")
	if want := strings.Replace(h.in(scalable), "replicas: 0 #", "replicas: 2 #", 1); got != want {
		t.Errorf("Git says\n%s\nwant\n%s", got, want)
	}
	h.until("the drift is over", func() bool { return len(h.drifts()) == 0 })
	h.settle()
	if got := h.kubectl("-n", h.ns, "get", "deployment", "web", "-o", "jsonpath={.spec.replicas}"); got != "2" {
		t.Errorf("%s replicas after the adoption", got)
	}
	if got := h.drifted(); got != "found, proposed, gone" {
		t.Errorf("records: %s", got)
	}
	h.driftPull(1)
}

func TestDriftPullLivesAsLongAsItsDrift(t *testing.T) {
	h := newHouse(t, build{Files: map[string]string{"deploy/b.yaml": configMap("b", "two")}})
	h.seedLive()
	h.lookForDrift()
	if n := len(h.driftPulls()); n != 0 {
		t.Fatalf("%d pulls although nothing drifts", n)
	}

	h.byHand("a", "by hand")
	h.lookForDrift()
	first := h.driftPull(1)
	mustContain(t, first.Body, "by hand")
	h.lookForDrift()
	if again := h.driftPull(1); again != first {
		t.Fatalf("the pull changed although the drift did not: %+v", again)
	}
	h.byHand("a", "by another hand")
	h.lookForDrift()
	if changed := h.driftPull(1); changed.Head.SHA == first.Head.SHA || !strings.Contains(changed.Body, "by another hand") {
		t.Fatalf("the pull is not up to date: %+v", changed)
	}
	h.byHand("a", "one")
	h.lookForDrift()
	if gone := h.driftPull(1); gone.State != "closed" || gone.Merged {
		t.Fatalf("the drift is gone, and the pull is %+v", gone)
	}
	if said := h.ours(first.Number, "<!-- lockkeeper:remark/"); len(said) != 1 {
		t.Errorf("remarks: %q", said)
	}

	// Closed by a person, it stays closed until something else drifts.
	h.byHand("a", "again")
	h.lookForDrift()
	second := h.driftPull(2)
	h.must(h.as(reviewer).Close(t.Context(), shop, second.Number))
	h.settle()
	h.lookForDrift()
	if left := h.driftPull(2); left.State != "closed" {
		t.Fatalf("reopened although nothing changed: %+v", left)
	}
	h.kubectl("-n", h.ns, "delete", "configmap", "b")
	h.lookForDrift()
	third := h.driftPull(3)
	mustContain(t, third.Body, "ConfigMap "+h.ns+"/b", "**deleted**", "again")

	// Threat 33: what others push there is theirs; the bot keeps off.
	h.push(opener, third.Head.Ref, map[string]string{"deploy/a.yaml": configMap("a", "slipped in")})
	h.settle()
	tip := h.head(third.Head.Ref)
	mustContain(t, h.driftPull(3).Body, "not lockkeeper's", tip[:7])
	h.byHand("a", "once more")
	h.lookForDrift()
	if got := h.head(third.Head.Ref); got != tip {
		t.Fatalf("the bot pushed over somebody's commit: %s", got)
	}
	mustContain(t, h.driftPull(3).Body, "once more")
	wanted := "found, proposed, changed, gone, found, proposed, silenced, changed, proposed, foreign commits, changed"
	if got := h.drifted(); got != wanted {
		t.Errorf("records:\n%s, want\n%s", got, wanted)
	}
}

// What others pushed to the branch was merged with it: it keeps nobody from
// proposing what drifts later, as it would if it were all that there is of it.
func TestDriftBranchWithCommitsOfOthersIsUsedAgainOnceItWasMerged(t *testing.T) {
	h := newHouse(t, build{})
	h.seedLive()
	h.byHand("a", "by hand")
	h.lookForDrift()
	first := h.driftPull(1)
	h.push(second, first.Head.Ref, map[string]string{"NOTES": "seen by cho"})
	h.settle()
	mustContain(t, h.driftPull(1).Body, "not lockkeeper's")
	h.approve(reviewer, first.Number)
	h.approve(opener, first.Number)
	mustContain(t, h.say(opener, first.Number, "/apply"), "Merged as")
	tip := h.head(first.Head.Ref)

	h.byHand("a", "by another hand")
	h.lookForDrift()
	next := h.driftPull(2)
	mustContain(t, next.Body, "by another hand")
	if next.State != "open" || next.Head.Ref != first.Head.Ref || h.head(next.Head.Ref) == tip {
		t.Errorf("%+v", next)
	}
	if got := h.inGit("NOTES"); got != "seen by cho" {
		t.Errorf("main has %q", got)
	}
}

const secretManifest = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: db\n  namespace: NS\nstringData:\n  password: " + gitMark + "first\n"

// Threat 7: a Secret that drifts is reported, and what it holds is neither
// written to Git nor told. Threat 24: that an object is gone is proposed, and
// adopted only with approvals.
func TestThreat7DriftOfSecretsIsReportedOnlyAndADeletionAdopted(t *testing.T) { // threats 7, 24
	h := newHouse(t, build{Files: map[string]string{"deploy/b.yaml": configMap("b", "two"), "deploy/secret.yaml": secretManifest}})
	h.seedLive()
	h.kubectl("-n", h.ns, "patch", "secret", "db", "--type=merge", "-p", `{"stringData":{"password":"`+liveMark+`by-hand"}}`)
	h.lookForDrift()
	if n := len(h.driftPulls()); n != 0 {
		t.Fatalf("%d pulls about a Secret", n)
	}
	issues := h.issues("open")
	if len(issues) != 1 {
		t.Fatalf("issues: %+v", issues)
	}
	mustContain(t, issues[0].Body, "Secret "+h.ns+"/db", "never written to Git")
	h.kubectl("-n", h.ns, "patch", "secret", "db", "--type=merge", "-p", `{"stringData":{"password":"`+liveMark+`again"}}`)
	h.lookForDrift()
	mustContain(t, h.drifted(), "changed") // another value is another drift, though neither is told

	h.kubectl("-n", h.ns, "delete", "configmap", "b")
	h.lookForDrift()
	p := h.driftPull(1)
	mustContain(t, p.Body, "**deleted**", "_reported only_")
	if issues := h.issues("open"); len(issues) != 0 {
		t.Errorf("the pull took over, and the issue is open: %+v", issues)
	}
	h.approve(reviewer, p.Number)
	h.approve(opener, p.Number)
	mustContain(t, h.say(second, p.Number, "/apply"), "Merged as")
	if got := h.inGit("deploy/b.yaml"); got != "" {
		t.Errorf("Git has the object still:\n%s", got)
	}
}

// Threat 23: what empties a cluster is not proposed to Git.
func TestThreat23ManyChangesAtOnceAreOneIssue(t *testing.T) { // threat 23
	files, have, targets := map[string]string{}, map[string]string{}, "targets:\n"
	for i := range 11 {
		dir := fmt.Sprintf("apps/t%02d", i)
		have[dir+"/README.md"] = "a target\n"
		files[dir+"/c.yaml"] = configMap(fmt.Sprintf("t%02d", i), "one")
		targets += fmt.Sprintf("  - {path: %s, name: NS-t%02d, cluster: main, environment: production}\n", dir, i)
	}
	h := newHouse(t, build{Config: targets, Files: have})
	n := h.open(opener, "all", files)
	h.approve(reviewer, n)
	h.applied(second, n, "")
	each := func(value string) {
		for i := range 11 {
			h.byHand(fmt.Sprintf("t%02d", i), value)
		}
		h.lookForDrift()
	}
	each("by hand")
	if n := len(h.driftPulls()); n != 0 {
		t.Fatalf("%d pulls, although so much changed", n)
	}
	issues := h.issues("open")
	if len(issues) != 1 || !strings.Contains(issues[0].Title, "Many changes on cluster main") {
		t.Fatalf("issues: %+v", issues)
	}
	mustContain(t, issues[0].Body, "11 targets", h.ns+"-t10")
	each("one")
	if issues := h.issues("open"); len(issues) != 0 {
		t.Errorf("it is over, and issues are open: %+v", issues)
	}
	if n := len(h.driftPulls()); n != 0 {
		t.Errorf("it is over, and %d pulls are there", n)
	}
	mustContain(t, h.drifted(), "many changes", "many changes are over")
}

// No answer is never "clean" (invariant 9): what drifted before the cluster went
// out of reach is told of still, and that nobody can look is said.
func TestDriftIsUnknownWhileTheClusterIsOutOfReach(t *testing.T) {
	link, err := plane.Get(t).Delay(0)
	if err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, build{Server: func(s *config.Server) { s.Clusters["main"] = config.Cluster{Kubeconfig: link.Kubeconfig} }})
	h.seedLive()
	h.byHand("a", "by hand")
	h.lookForDrift()
	h.driftPull(1)
	h.must(link.Cut())
	h.lookForDrift()
	if still := h.driftPull(1); still.State != "open" || len(h.drifts()) != 1 {
		t.Fatalf("nobody looked, and the pull is %+v", still)
	}
	mustContain(t, h.driftPull(1).Body, "Not everything could be looked at")
	standing, err := h.bot.Standing(t.Context())
	h.must(err)
	if len(standing) != 1 || standing[0].Unknown.IsZero() || standing[0].Drifting != 1 {
		t.Errorf("standing: %+v", standing)
	}
	h.must(link.Restore())
	h.byHand("a", "one")
	h.lookForDrift()
	if gone := h.driftPull(1); gone.State != "closed" {
		t.Fatalf("left open: %+v", gone)
	}
	mustContain(t, h.drifted(), "unknown", "known again", "gone")
}

// Threats 15 and 28: looking again, from the start, with nothing remembered,
// opens no second pull; a target that somebody holds is left alone.
func TestThreat15DriftIsFoundAgainByAnotherProcess(t *testing.T) { // threats 15, 28
	h := newHouse(t, build{Config: plainConfig + "drift:\n  humans: [our-console]\n"})
	h.seedLive()
	h.byHand("a", "by hand")
	h.kubectl("-n", h.ns, "annotate", "configmap", "a", "note=from-the-console", "--field-manager=our-console")
	repo := h.server.Repositories[0].ID
	key := fmt.Sprintf("target/main/%s/%d", h.ns, repo)
	lease, _, _, err := h.store.Acquire(t.Context(), key, "pull/1/99", "apply", 0)
	h.must(err)
	h.lookForDrift()
	if n := len(h.driftPulls()); n != 0 || len(h.drifts()) != 0 {
		t.Fatalf("%d pulls about a target that is being applied", n)
	}
	h.must(h.store.Release(t.Context(), lease))
	h.lookForDrift()
	first := h.driftPull(1)
	h.must(h.store.DropDrift(t.Context(), repo, "main", h.ns))
	h.stop()
	h.start()
	h.lookForDrift()
	if again := h.driftPull(1); again.State != "open" || again.Head.SHA != first.Head.SHA {
		t.Fatalf("found again as %+v", again)
	}
	if d := h.drifts(); len(d) != 1 || d[0].Number != first.Number || d[0].Tip != first.Head.SHA {
		t.Fatalf("known: %+v", d)
	}

	// Put back what was applied, through the gate: the asker may not approve.
	h.say(second, first.Number, "/restore")
	mustContain(t, h.sticky(first.Number), "- data.key: by hand", "+ data.key: one", "- metadata.annotations.note: from-the-console")
	mustContain(t, h.say(second, first.Number, "/approve"), "refused")
	h.say(reviewer, first.Number, "/approve")
	mustContain(t, h.say(second, first.Number, "/apply"), "🚀")
	h.settle()
	if gone := h.driftPull(1); gone.State != "closed" || gone.Merged || h.value("a") != "one" || len(h.drifts()) != 0 {
		t.Fatalf("restored: %+v, a is %q, known: %+v", gone, h.value("a"), h.drifts())
	}
	if left := h.kubectl("-n", h.ns, "get", "configmap", "a", "-o", "jsonpath={.metadata.annotations.note}"); left != "" {
		t.Errorf("what somebody added is still there: %s", left)
	}

	// What was set back by hand is as it should be, but whose it is.
	h.byHand("a", "by hand")
	h.lookForDrift()
	h.driftPull(2)
	h.byHand("a", "one")
	h.lookForDrift()
	if gone := h.driftPull(2); gone.State != "closed" {
		t.Fatalf("left open: %+v", gone)
	}
	if d := h.drifts(); len(d) != 1 || d[0].Number != 0 || len(d[0].Findings) != 1 || d[0].Findings[0].Kind != cluster.Disowned {
		t.Errorf("known: %+v", d)
	}
}

// Threat 28: what is carried out although its answer is lost is done once.
func TestThreat28LostAnswersAboutDriftDoubleNothing(t *testing.T) { // threat 28
	h := newHouse(t, build{})
	h.seedLive()
	broken := 0
	act := func(value string) pull {
		fail, names := onceEach(forgetest.Fault{Cut: true, After: true})
		h.fail(fail)
		h.byHand("a", value)
		h.must(h.store.Want(t.Context(), drift.Key("main")))
		h.recover()
		h.fail(nil)
		h.lookForDrift()
		broken += len(names())
		return h.driftPull(1)
	}
	opened := act("by hand")
	mustNotContain(t, opened.Body, "not lockkeeper's")
	if d := h.drifts(); len(d) != 1 || d[0].Number != opened.Number || d[0].Tip != opened.Head.SHA || opened.State != "open" {
		t.Fatalf("opened %+v, known: %+v", opened, d)
	}
	changed := act("again by hand")
	mustContain(t, changed.Body, "again by hand")
	mustNotContain(t, changed.Body, "not lockkeeper's")
	if d := h.drifts(); d[0].Tip != changed.Head.SHA || changed.Head.SHA == opened.Head.SHA {
		t.Fatalf("changed %+v, known: %+v", changed, d)
	}
	gone := act("one")
	if said := h.ours(gone.Number, "<!-- lockkeeper:remark/"); gone.State != "closed" || len(said) != 1 {
		t.Fatalf("gone %+v, remarks: %q", gone, said)
	}
	if broken < 8 {
		t.Errorf("only %d requests were broken", broken)
	}
}

const healingConfig = plainConfig + "    drift: {heal: auto}\n"

func TestDriftIsHealedUntilTwoPartiesFight(t *testing.T) {
	h := newHouse(t, build{Config: healingConfig})
	h.seedLive()
	for i := range 3 {
		h.byHand("a", "by hand")
		h.lookForDrift()
		if got := h.value("a"); got != "one" || len(h.driftPulls()) != 0 || len(h.drifts()) != 0 {
			t.Fatalf("heal %d: a is %q, %d pulls, known: %+v", i+1, got, len(h.driftPulls()), h.drifts())
		}
		if i == 0 { // too soon for another
			h.byHand("a", "by hand")
			h.lookForDrift()
			if got := h.value("a"); got != "by hand" || len(h.driftPulls()) != 0 {
				t.Fatalf("healed again at once: a is %q, %d pulls", got, len(h.driftPulls()))
			}
		}
		h.advance(10 * time.Minute)
	}
	if ops := h.records(audit.ApplyEnd); len(ops) != 4 { // with the one that made it live
		t.Errorf("%d operations are recorded", len(ops))
	}
	h.byHand("a", "by hand")
	h.lookForDrift()
	if got := h.value("a"); got != "by hand" {
		t.Errorf("healed while two fight: a is %q", got)
	}
	mustContain(t, h.driftPull(1).Body, "Two parties fight", "data.key", "kubectl-patch")
	mustContain(t, h.drifted(), "fight, proposed")
}

// What the policy leaves to people is not taken along by a heal that nobody asked
// for: a pull asks instead.
func TestAHealLeavesAloneWhatIsNoDrift(t *testing.T) {
	both := configMap("a", "one") + "  tuned: low\n"
	h := newHouse(t, build{Config: healingConfig + "drift:\n  ignore:\n    - fields: [data.tuned]\n", Files: map[string]string{"deploy/a.yaml": both}})
	h.seedLive()
	h.byHand("a", "by hand")
	h.lookForDrift()
	if got := h.value("a"); got != "one" || len(h.driftPulls()) != 0 {
		t.Fatalf("not healed: a is %q", got)
	}
	h.kubectl("-n", h.ns, "patch", "configmap", "a", "-p", `{"data":{"tuned":"high"}}`)
	h.advance(10 * time.Minute)
	h.byHand("a", "by hand")
	h.lookForDrift()
	if got := h.kubectl("-n", h.ns, "get", "configmap", "a", "-o", "jsonpath={.data.tuned}"); got != "high" {
		t.Errorf("tuned is %q after a heal of something else", got)
	}
	mustContain(t, h.driftPull(1).Body, "data.tuned", "no drift")
}

// Threat 33: a live edit and a pull that says the same need the approvals of the
// pull, though it changes nothing live any more.
func TestThreat33APullThatSaysWhatSomebodyDidLiveNeedsItsApprovals(t *testing.T) { // threat 33
	h := newHouse(t, build{Files: map[string]string{
		"deploy/a.yaml": configMap("a", "one") + "  guard: strict\n", "deploy/b.yaml": configMap("b", "one"),
	}})
	h.seedLive()
	h.kubectl("-n", h.ns, "patch", "configmap", "a", "-p", `{"data":{"guard":null}}`)
	h.kubectl("-n", h.ns, "delete", "configmap", "b")
	for branch, files := range map[string]map[string]string{
		"field": {"deploy/a.yaml": configMap("a", "one")}, "object": {"deploy/b.yaml": ""},
	} {
		n := h.open(opener, branch, files)
		if got := h.check(h.pull(n).Head.SHA); got == "success" {
			t.Errorf("%s: it may be merged without an approval:\n%s", branch, h.sticky(n))
		}
		mustContain(t, h.say(second, n, "/apply"), "refused", "approval")
		h.approve(reviewer, n)
		mustContain(t, h.say(second, n, "/apply"), "Merged as")
	}
}

// inGit is a file of main, "" if there is none.
func (h *house) inGit(path string) string {
	h.t.Helper()
	out, err := exec.CommandContext(h.t.Context(), "git", "--git-dir", h.clone(), "show", "main:"+path).Output()
	if err != nil {
		return ""
	}
	return string(out)
}

// watch has the bot follow the clusters until the story ends.
func (h *house) watch() {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(h.t.Context()))
	done := make(chan error, 1)
	go func() { done <- h.bot.Watch(ctx) }()
	h.t.Cleanup(func() {
		cancel()
		h.must(<-done)
	})
}
