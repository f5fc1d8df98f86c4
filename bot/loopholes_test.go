package bot_test

import (
	"io/fs"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/config"
	"lockkeeper/bot/policy/owners"
)

// Who merges a side branch into a pull brings in what it holds, whoever its
// commits name as their author (threats 10, 13).
func TestCleanMergeOfASideBranchContributes(t *testing.T) {
	h := newHouse(t, build{})
	n := h.open(opener, "change", change("two"))
	h.push(opener, "side", map[string]string{"deploy/b.yaml": configMap("b", "smuggled")})
	h.mergeBranch(reviewer, "change", "side")
	h.settle()
	mustContain(t, h.say(reviewer, n, "/approve"), "refused", "contributed to this pull")
	h.refused(second, n, "two", "1 approval")
}

// A review closes what was done until then; using the override again owes
// another.
func TestOverrideThatIsUsedAgainOwesAnotherReview(t *testing.T) {
	h := newHouse(t, build{Config: twoTargets + "    override: {by: {users: [cho]}, expires: 1h, review: 24h}\n",
		Files: map[string]string{"more/b.yaml": configMap("b", "one")}})
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two"), "more/b.yaml": configMap("b", "two")})
	h.say(second, n, "/override checkout is down")
	mustContain(t, h.say(second, n, "/apply "+h.ns), "🚀")
	mustContain(t, h.say(reviewer, n, "/reviewed"), "reviewed", "closed")
	mustContain(t, h.say(second, n, "/apply "+h.ns+"-more"), "🚀")
	mustContain(t, h.sticky(n), "owes a review")
}

const lenientSoak = `targets:
  - {name: NS, path: deploy, cluster: main, environment: production}
  - {name: NS-stage, path: stage, cluster: main, environment: staging}
environments:
  staging:
    approvals: {required: 0}
  production:
    approvals: {required: 0}
    soak: {in: staging, for: 30m, untouched: allow}
`

// That nothing is left to change in staging does not mean that the pull changed
// nothing there: an earlier head did.
func TestPushDoesNotEndASoak(t *testing.T) {
	h := newHouse(t, build{Config: lenientSoak})
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two"), "stage/b.yaml": configMap("b", "two")})
	mustContain(t, h.say(second, n, "/apply "+h.ns+"-stage"), "🚀")
	h.push(opener, "change", map[string]string{"README.md": "another head\n"})
	h.settle()
	h.refused(second, n, "two", "apply "+h.ns+"-stage in staging first")
	mustContain(t, h.say(second, n, "/apply "+h.ns+"-stage"), "🚀")
	h.refused(second, n, "two", "has to soak in staging until")
	h.advance(31 * time.Minute)
	h.applied(second, n, "two")
}

func TestMergedPullSoaks(t *testing.T) {
	h := newHouse(t, build{Config: strings.Replace(lenientSoak, "production:\n    approvals: {required: 0}", "production:\n    approvals: {required: 1}", 1),
		Server: func(s *config.Server) { s.Repositories[0].Apply = config.ApplyOnMerge }})
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two"), "stage/b.yaml": configMap("b", "two")})
	_, err := h.as("owner").Merge(t.Context(), shop, n, "merge")
	h.must(err)
	h.settle()
	h.say(reviewer, n, "/approve")
	mustContain(t, h.say(second, n, "/apply "+h.ns+"-stage"), "🚀")
	h.refused(second, n, "two", "has to soak in staging until")
	h.advance(31 * time.Minute)
	h.say(second, n, "/apply")
	if got := h.value("a"); got != "two" {
		t.Fatalf("after the soak a is %q:\n%s", got, h.sticky(n))
	}
}

// A pull that aims elsewhere for a while, at a branch that is not looked after,
// comes back without its approvals (threat 29).
func TestRetargetingToABranchThatIsNotLookedAfterVoidsApprovals(t *testing.T) {
	h := newHouse(t, build{})
	h.push("owner", "elsewhere", map[string]string{"README.md": "elsewhere\n"})
	n := h.approved()
	for _, base := range []string{"elsewhere", "main"} {
		h.must(h.as(opener).Retarget(t.Context(), shop, n, base))
		h.settle()
	}
	h.refused(second, n, "two", "retargeted")
}

// Threat 27: what an administrator merges while lockkeeper is down, and others
// build upon, is found, recorded and said, and not applied.
func TestMergesWhileLockkeeperWasDownAreFound(t *testing.T) {
	h := newHouse(t, build{})
	h.seedLive()
	h.stop()
	var numbers []int
	for _, value := range []string{"two", "three"} {
		h.push(opener, "to-"+value, map[string]string{"deploy/a.yaml": configMap("a", value)})
		n, err := h.as(opener).OpenPull(t.Context(), shop, "main", "to-"+value, value, "")
		h.must(err)
		_, err = h.as("owner").Merge(t.Context(), shop, n, "merge")
		h.must(err)
		numbers = append(numbers, n)
	}
	h.start()
	h.must(h.store.Want(t.Context(), "base/"+strconv.FormatInt(h.server.Repositories[0].ID, 10)+"/main"))
	h.settle()
	mustContain(t, h.sticky(numbers[0]), "before lockkeeper had looked at it", "That is recorded")
	mustContain(t, h.sticky(numbers[1]), "owner", "not applied yet")
	if h.value("a") != "one" {
		t.Fatalf("a is %q: applied without an approval", h.value("a"))
	}
	if got := h.records(audit.Bypass); len(got) < 2 {
		t.Errorf("%d merges past the gate are recorded, want both", len(got))
	}
	h.chain()
}

// Threat 4: who changes what a link points to would change the policy, or who
// owns which files, without touching either.
func TestPolicyBehindALinkIsRefused(t *testing.T) {
	for _, link := range []string{".lockkeeper.yaml", "CODEOWNERS", ".github"} {
		tree := fstest.MapFS{
			"elsewhere/.lockkeeper.yaml": {Data: []byte(plainConfig)}, "elsewhere/CODEOWNERS": {Data: []byte("* @ann\n")},
			link: {Mode: fs.ModeSymlink, Data: []byte("elsewhere/" + link)},
		}
		if link == ".github" {
			tree[link] = &fstest.MapFile{Mode: fs.ModeSymlink, Data: []byte("elsewhere")}
		}
		_, err := config.ReadFile(tree)
		if link != ".lockkeeper.yaml" {
			_, err = config.ReadOwners(tree, owners.GitHub)
		}
		if err == nil || !strings.Contains(err.Error(), link+" is a symbolic link") {
			t.Errorf("%s: got %v, want to be told of the link", link, err)
		}
	}
}

// Threat 27: to the forge, a push that contains a pull's head merges the pull.
// What else it brings along was approved by nobody, and who pushed it cannot.
func TestPushedMergeThatHoldsMoreThanThePullWaits(t *testing.T) {
	h := newHouse(t, build{Server: func(s *config.Server) { s.Repositories[0].Apply = config.ApplyOnMerge }})
	h.seedLive()
	n := h.open(opener, "change", change("two"))
	h.say(reviewer, n, "/approve")
	h.push(opener, "evil", map[string]string{"deploy/a.yaml": configMap("a", "two"), "deploy/b.yaml": configMap("b", "smuggled")})
	h.push("owner", "main", map[string]string{"README.md": "moved on\n"})
	h.settle()
	dir := h.clone()
	merge := h.git(dir, "-c", "user.name=owner", "-c", "user.email=owner@example.com",
		"commit-tree", "evil^{tree}", "-p", "main", "-p", "change", "-m", "Merge")
	h.must(h.pushFrom("owner", dir, merge+":refs/heads/main"))
	h.settle()
	if !h.pull(n).Merged {
		h.hub("a push that holds a pull's head merges no pull there, unless the repository is set so")
		t.Fatal("the look-alike does not take the push for a merge")
	}
	mustContain(t, h.sticky(n), "merged this although the policy had not allowed it")
	mustContain(t, h.say("owner", n, "/approve"), "refused")
	if h.value("a") != "one" || h.value("b") != "" {
		t.Fatalf("a is %q, b is %q: applied without an approval", h.value("a"), h.value("b"))
	}
	if len(h.records(audit.Bypass)) == 0 {
		t.Error("nothing is recorded")
	}
	h.chain()
}
