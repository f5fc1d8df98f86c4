package bot_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/config"
	"lockkeeper/bot/report/escape"
	"lockkeeper/forge"
	"lockkeeper/forge/forgetest"
	"lockkeeper/forge/people"
)

// What an auditor wants and nobody enforces end to end, in twelve rows, each told
// through the whole bot. Direct pushes to the base branch, the other half of row
// 11, are told in branch_test.go.

// oneTarget is the story's target; the policy follows.
const oneTarget = `targets:
  - {name: NS, path: deploy, cluster: main, environment: production}
`

// change is what most stories change.
func change(value string) map[string]string {
	return map[string]string{"deploy/a.yaml": configMap("a", value)}
}

// Want 1: everybody who contributed is barred from approving, over all of
// base..head.
func TestWant01EveryKindOfContributorIsBarred(t *testing.T) {
	h := newHouse(t, build{})
	mine, his := opener+"@example.com", reviewer+"@example.com"
	for _, c := range []struct {
		branch, opener, says string
		make                 func(branch string)
	}{
		{"open", reviewer, "opened it", func(b string) { h.pushAs(opener, b, people.Commit{Message: "one"}) }},
		{"author", opener, "author of", func(b string) { h.pushAs(opener, b, people.Commit{Message: "one", Author: his}) }},
		{"committer", opener, "committer of", func(b string) {
			h.pushAs(opener, b, people.Commit{Message: "one", Committer: his})
		}},
		{"coauthor", opener, "co-author of", func(b string) {
			h.pushAs(opener, b, people.Commit{Message: "one\n\nCo-authored-by: " + reviewer + " <" + his + ">"})
		}},
		{"pusher", opener, "pushed to it", func(b string) {
			h.pushAs(reviewer, b, people.Commit{Message: "one", Author: mine, Committer: mine})
		}},
		{"suggestion", opener, "suggested", func(b string) {
			h.pushAs(opener, b, people.Commit{Message: "one\n\nCo-authored-by: " + reviewer + " <" + his + ">", Committer: "noreply@github.com"})
		}},
		// The middle commit is hidden below a newer one.
		{"older", opener, "author of", func(b string) {
			h.pushAs(opener, b, people.Commit{Message: "one", Author: his})
			h.pushAs(opener, b, people.Commit{Message: "two"})
		}},
		// The merge adds nothing itself; what it merges has an author.
		{"parent", opener, "author of", func(b string) {
			h.pushAs(reviewer, "side", people.Commit{Message: "one"})
			h.pushAs(opener, b, people.Commit{Message: "one"})
			h.mergeBranch(opener, b, "side")
		}},
	} {
		c.make(c.branch)
		n, err := h.as(c.opener).OpenPull(t.Context(), shop, "main", c.branch, "Change", "")
		h.must(err)
		h.settle()
		if slices.Contains(map[string][]string{
			config.OnGitLab: {"committer", "coauthor", "suggestion"}, config.OnGitea: {"coauthor", "suggestion"},
		}[h.forge.Kind()], c.branch) {
			// These forges do not name them: whoever took part may be anybody.
			mustContain(t, h.say(reviewer, n, "/approve"), "without an account")
			mustContain(t, h.say(second, n, "/apply"), "refused", "without an account")
			h.must(h.as(c.opener).Close(t.Context(), shop, n))
			h.settle()
			continue
		}
		mustContain(t, h.say(reviewer, n, "/approve"), "refused", "contributed to this pull", c.says)
		if c.opener != reviewer { // whom the forge itself does not let review
			h.approve(reviewer, n)
			mustContain(t, h.sticky(n), "not counted", "@\u200b"+reviewer+": contributed to this pull ("+c.says)
		}
		mustContain(t, h.say(second, n, "/apply"), "refused", "1 approval")
		if got := h.value(c.branch); got != "" {
			t.Fatalf("%s: the cluster has %q", c.branch, got)
		}
		h.must(h.as(c.opener).Close(t.Context(), shop, n))
		h.settle()
	}
}

// Want 1, the other way round: who only brings the base branch in contributes
// nothing, and neither do the forge's own account and a tool's.
func TestWant01UpdatesOfTheBranchAndServicesContributeNothing(t *testing.T) {
	h := newHouse(t, build{Server: func(s *config.Server) { dealings(s).ServiceNames = []string{"noreply@tool.example"} }})
	commit := people.Commit{Message: "two\n\nCo-authored-by: Helper <noreply@tool.example>"}
	if h.forge.Kind() == config.OnGitHub {
		commit.Committer = "noreply@github.com"
	}
	h.pushAs(opener, "a", commit)
	n, err := h.as(opener).OpenPull(t.Context(), shop, "main", "a", "Change", "")
	h.must(err)
	h.settle()
	h.land("words", map[string]string{"README.md": "words\n"})
	h.update(reviewer, n)
	mustContain(t, h.say(reviewer, n, "/approve"), "approved")
	h.applied(second, n, "two")
}

// Want 2: what cannot be attributed to an account fails closed.
func TestWant02UnattributableCommitsFailClosed(t *testing.T) {
	h := newHouse(t, build{})
	h.pushAs(opener, "a", people.Commit{Message: "two", Author: "somebody@nowhere.example"})
	n, err := h.as(opener).OpenPull(t.Context(), shop, "main", "a", "Change", "")
	h.must(err)
	h.settle()
	h.say(reviewer, n, "/approve")
	mustContain(t, h.sticky(n), "without an account")
	h.refused(second, n, "two", "without an account")
	_, err = h.as(opener).ForcePush(t.Context(), shop, "a", "main", people.Commit{Message: "mine", Files: map[string]string{"deploy/a.yaml": h.in(configMap("a", "two"))}})
	h.must(err)
	h.settle()
	h.say(reviewer, n, "/approve")
	h.applied(second, n, "two")
}

// Want 2: where signatures are asked for, one that the forge did not verify
// fails closed, whatever its reason.
func TestWant02UnverifiedSignaturesFailClosed(t *testing.T) {
	h := newHouse(t, build{Config: oneTarget + `environments:
  production:
    approvals: {required: 1}
    separation: {signatures: true}
`})
	file := forgetest.Text(map[string]string{"deploy/a.yaml": h.in(configMap("a", "two"))})
	n := 0
	for _, signature := range []string{"", "unknown_key", "valid"} {
		_, err := h.hub(fine).As(opener).ForcePush(t.Context(), shop, "change", "main", forgetest.Commit{Message: "signed " + signature, Files: file, Signature: signature})
		h.must(err)
		if n == 0 {
			n, err = h.as(opener).OpenPull(t.Context(), shop, "main", "change", "Change", "")
			h.must(err)
		}
		h.settle()
		h.say(reviewer, n, "/approve")
		if signature == "valid" {
			break
		}
		mustContain(t, h.sticky(n), "has no verified signature")
		h.refused(second, n, "two", "has no verified signature")
	}
	h.applied(second, n, "two")
}

// Want 3: author, approver and applier are three people where the environment
// says so.
func TestWant03AuthorApproverAndApplierAreThreePeople(t *testing.T) {
	h := newHouse(t, build{Config: oneTarget + `environments:
  production:
    approvals: {required: 1}
    separation: {approverMayApply: false, contributorMayApply: false}
`})
	n := h.open(opener, "change", change("two"))
	h.say(reviewer, n, "/approve")
	h.refused(opener, n, "two", "may not apply, having contributed")
	h.refused(reviewer, n, "two", "approver and applier have to be different people")
	h.applied(second, n, "two")
	f, r := h.gateFacts()
	if f.Applier == nil || f.Applier.ID != h.id(second) || r.Outcome != "allow" || !strings.Contains(r.Reason, "@"+reviewer) {
		t.Fatalf("the gate recorded %q (%s) for %+v", r.Outcome, r.Reason, f.Applier)
	}
}

// Want 4: an approval is one of this repository, pull, base, head, plan, policy
// and ticket. Each is changed in turn; the report says what became of the
// approval, and a new one is needed.
func TestWant04ApprovalsBindToAllThatTheyWereGivenFor(t *testing.T) {
	const file = oneTarget + `environments:
  production:
    approvals: {required: 1}
    ticket: {pattern: "CHG[0-9]{3}"}
`
	h := newHouse(t, build{Config: file, Server: func(s *config.Server) { s.Repositories[0].Bases = []string{"main", "next"} }})
	n := h.open(opener, "change", change("two"))
	h.say(second, n, "/ticket CHG001")
	for _, c := range []struct {
		what, says string
		do         func()
	}{
		{"nothing", "", func() {}},
		{"ticket", "approved for another ticket or window", func() { h.say(second, n, "/ticket CHG002") }},
		{"head", "the head is now", func() { h.push(opener, "change", map[string]string{"README.md": "more\n"}); h.settle() }},
		{"live state", "the plan has changed since that approval", func() {
			h.kubectl("-n", h.ns, "create", "configmap", "a", "--from-literal=key=by hand")
			h.say(second, n, "/plan")
		}},
		{"policy", "approved under a policy that has changed since", func() {
			h.land("policy", map[string]string{config.RepoFile: file + "    minimumAge: 1s\n"})
		}},
		{"base", "retargeted from main to next", func() {
			h.must(h.as(opener).CreateBranch(t.Context(), shop, "next", "main"))
			h.must(h.as(opener).Retarget(t.Context(), shop, n, "next"))
			h.settle()
			h.must(h.as(opener).Retarget(t.Context(), shop, n, "main"))
			h.settle()
			h.say(second, n, "/ticket CHG003")
		}},
	} {
		c.do()
		if c.says != "" {
			mustContain(t, h.sticky(n), "not counted: @\u200b"+reviewer+":", c.says)
			h.refused(second, n, "two", c.says)
		}
		mustContain(t, h.say(reviewer, n, "/approve"), "approved")
		h.advance(time.Minute)
		if !strings.Contains(h.say(second, n, "/status"), "ready for") {
			t.Fatalf("%s: a new approval is not enough:\n%s", c.what, h.sticky(n))
		}
	}
	// The same commit, with the same plan, in another pull: not approved.
	h.must(h.as(opener).CreateBranch(t.Context(), shop, "copy", "change"))
	other, err := h.as(opener).OpenPull(t.Context(), shop, "main", "copy", "Copy", "")
	h.must(err)
	h.settle()
	h.say(second, other, "/ticket CHG003")
	h.refused(second, other, "two", "1 approval")
	h.applied(second, n, "two")
	f, _ := h.gateFacts()
	if f.Pull.Repo.ID != h.repo.ID || f.Pull.Number != n || f.Ticket.ID != "CHG003" {
		t.Fatalf("the gate recorded another pull: %+v, ticket %+v", f.Pull, f.Ticket)
	}
}

// Want 5: the same commit on another live state is another plan, with another
// digest, and needs another approval.
func TestWant05ChangedLiveStateIsANewPlan(t *testing.T) {
	h := newHouse(t, build{})
	h.seedLive()
	n := h.open(opener, "change", change("two"))
	head, before := h.pull(n).Head.SHA, h.digest(n)
	h.say(reviewer, n, "/approve "+before)
	h.kubectl("-n", h.ns, "patch", "configmap", "a", "--type=merge", "-p", `{"data":{"key":"by hand"}}`)
	h.refused(second, n, "two", "no longer what the plan showed")
	after := h.digest(n)
	if after == before || h.pull(n).Head.SHA != head {
		t.Fatalf("digest %s then %s, head %s", before, after, head)
	}
	mustContain(t, h.sticky(n), "by hand", "the plan has changed since that approval")
	mustContain(t, h.say(reviewer, n, "/approve "+before), "refused", after[:7])
	mustContain(t, h.say(reviewer, n, "/approve "+after), "approved")
	h.applied(second, n, "two")
	// What was approved is what was applied: all changes of the record are among
	// the approval's.
	f, r := h.gateFacts()
	if r.Outcome != "allow" || len(f.Changes) != 1 {
		t.Fatalf("the gate recorded %q of %d changes", r.Outcome, len(f.Changes))
	}
	last := f.Votes[len(f.Votes)-1]
	if len(last.Digests) != 1 || last.Digests[0] != f.Changes[0].Digest {
		t.Fatalf("approved %v, applied %s", last.Digests, f.Changes[0].Digest)
	}
}

// Want 6: who has to approve follows from the objects that change, read from
// the plan (kind, action, field), and from the owners of the touched files.
func TestWant06OwnersOfChangedResources(t *testing.T) {
	owners := "/deploy/ @acme/platform\n/deploy/pay.yaml @dan\n"
	if stage(t) == config.OnGitea { // which reads regular expressions
		owners = "deploy/.* @acme/platform\ndeploy/pay\\.yaml @dan\n"
	}
	h := newHouse(t, build{
		Config: oneTarget + `environments:
  production:
    approvals: {required: 1, from: {teams: [acme/platform], codeowners: true}}
rules:
  - name: keys
    when: {kinds: [ConfigMap], fields: ["data.key"], actions: [update]}
    require: {approvals: 1, from: {teams: [acme/keys]}}
  - name: nobody deletes alone
    when: {actions: [delete]}
    require: {approvals: 1, from: {teams: [acme/dba]}}
  - name: never matches
    when: {kinds: [Secret]}
    require: {approvals: 9, from: {teams: [acme/dba]}}
`,
		Files: map[string]string{
			"deploy/b.yaml": configMap("b", "one"), "deploy/pay.yaml": configMap("pay", "one"),
			"CODEOWNERS": owners,
		},
	})
	h.person("dan")
	h.team("keys", second)
	h.team("dba", "owner")
	h.member("dan")
	h.grant("dan", forge.Write)
	h.live(reviewer)
	n := h.open(opener, "change", map[string]string{
		"deploy/a.yaml": configMap("a", "two"), "deploy/b.yaml": "",
		"deploy/pay.yaml": strings.Replace(configMap("pay", "one"), "key:", "other:", 1),
	})
	report := h.sticky(n)
	mustContain(t, report, "keys", "nobody deletes alone", "for deploy/pay.yaml", "for deploy/a.yaml")
	mustNotContain(t, report, "never matches")
	h.refused(second, n, "two", "acme/keys", "acme/dba", "@\u200bdan or acme/platform for deploy/pay.yaml")
	h.say("dan", n, "/approve") // owns pay.yaml, and no other
	h.refused(second, n, "two", "acme/platform", "acme/keys", "acme/dba")
	h.say(second, n, "/approve") // acme/keys
	h.refused(reviewer, n, "two", "acme/platform", "acme/dba")
	h.say(reviewer, n, "/approve") // acme/platform
	h.refused(reviewer, n, "two", "acme/dba")
	h.say("owner", n, "/approve")
	h.applied(reviewer, n, "two")
	if h.value("b") != "" {
		t.Fatal("b was not deleted")
	}
}

// Want 7: accounts count by id, however they are called; bots never count, nor
// do accounts that are gone, and outside collaborators only if a rule names
// them by id (threat 26).
func TestWant07PeopleCountByIDAndBotsNever(t *testing.T) {
	h := newHouse(t, build{})
	for _, u := range []string{"dan", "fay"} {
		h.person(u)
		h.grant(u, forge.Write)
	}
	h.member("fay") // dan is an outside collaborator
	bob, dan := h.id(reviewer), h.id("dan")
	h.land("policy", map[string]string{config.RepoFile: fmt.Sprintf(oneTarget+`environments:
  production:
    approvals: {required: 1}
rules:
  - name: both of them
    require: {approvals: 2, from: {users: ["bob#%d", "dan#%d"]}}
`, bob, dan)})
	helper, err := h.hub(programs).AddApp("acme", "helper", map[string]string{"pull_requests": "write", "metadata": "read", "contents": "write", "issues": "write"})
	h.must(err)
	h.hub(programs).Install(helper, "acme", shop)

	n := h.open(opener, "change", change("two"))
	h.say("dan", n, "/approve")
	_, err = h.hub(programs).AsApp(helper, shop).Review(t.Context(), shop, n, "APPROVE", "")
	h.must(err)
	h.hub(accounts).RenameUser(reviewer, "robert")
	h.person(reviewer) // somebody else takes the login
	h.member(reviewer)
	h.approve(reviewer, n)
	h.approve("fay", n)
	h.hub(accounts).DeleteUser("fay")
	h.say(opener, n, "/plan")

	report := h.sticky(n)
	mustContain(t, report, "an outside collaborator", "a bot is not a person", "the account is gone",
		fmt.Sprintf("@\u200b%s: not among", reviewer), "so far by @\u200bdan")
	h.refused(second, n, "two", "production: 1 approval", "both of them: 1 more approval")
	// The account that the number means has another login now, and counts.
	mustContain(t, h.say("robert", n, "/approve"), "approved")
	h.applied(second, n, "two")
	if f, _ := h.gateFacts(); !strings.Contains(fmt.Sprint(f.Votes), fmt.Sprint(bob)) {
		t.Fatal("the record does not name the account by id")
	}
}

// Want 8: who is in a team is read when applying, and what was read is in the
// record.
func TestWant08TeamsAreReadWhenApplying(t *testing.T) {
	h := newHouse(t, build{Config: oneTarget + `environments:
  production:
    approvals: {required: 1, from: {teams: [acme/platform]}}
`})
	members := func() []int64 {
		f, _ := h.gateFacts()
		return f.Teams["acme/platform"]
	}
	n := h.open(opener, "change", change("two"))
	mustContain(t, h.say(second, n, "/approve"), "refused", "not among acme/platform")
	h.say(reviewer, n, "/approve")
	mustContain(t, h.sticky(n), "ready for")
	h.hub(accounts).SetTeamMembers("acme", "platform", second) // no webhook tells
	h.refused(second, n, "two", "left acme/platform since that approval")
	if got := members(); len(got) != 1 || got[0] != h.id(second) {
		t.Fatalf("the record says that the team had %v", got)
	}
	mustContain(t, h.sticky(n), "left acme/platform since that approval")
	h.say(second, n, "/approve")
	h.hub(accounts).SetTeamMembers("acme", "platform", reviewer, second)
	h.applied(reviewer, n, "two")
	if got := members(); len(got) != 2 {
		t.Fatalf("the record says that the team had %v", got)
	}
}

// Want 9: a change of the policy is judged by the policy it would replace, is
// shown, and needs the policy's owners (threat 2).
func TestWant09PolicyChangesNeedTheirOwners(t *testing.T) {
	const file = oneTarget + `owners: {teams: [acme/keepers]}
environments:
  production:
    approvals: {required: %d, from: {teams: [acme/platform]}}
`
	h := newHouse(t, build{Config: fmt.Sprintf(file, 1)})
	h.team("keepers", second)
	red := func(n int, says ...string) {
		t.Helper()
		if got := h.check(h.pull(n).Head.SHA); got != "action_required" {
			t.Fatalf("check of #%d concluded %q:\n%s", n, got, h.sticky(n))
		}
		mustContain(t, h.sticky(n), append(says, "acme/keepers", "judged by the policy that stands")...)
	}
	// With objects: it does not help itself to its own leniency.
	n := h.open(opener, "both", map[string]string{"deploy/a.yaml": configMap("a", "two"), config.RepoFile: fmt.Sprintf(file, 0)})
	red(n, "production")
	h.say(reviewer, n, "/approve")
	red(n)
	h.refused(second, n, "two", "acme/keepers")
	h.must(h.as(opener).Close(t.Context(), shop, n))
	h.settle()
	// Only the policy, and only CODEOWNERS: the check is what keeps them out.
	for branch, files := range map[string]map[string]string{
		"policy": {config.RepoFile: fmt.Sprintf(file, 2)},
		"owners": {"CODEOWNERS": "* @eve\n"},
	} {
		n := h.open(opener, branch, files)
		red(n)
		h.approve(reviewer, n)
		red(n, "not among acme/keepers")
		h.approve("owner", n) // an administrator is not an owner of this policy
		red(n)
		h.approve(second, n)
		if got := h.check(h.pull(n).Head.SHA); got != "success" {
			t.Fatalf("check of #%d concluded %q:\n%s", n, got, h.sticky(n))
		}
		_, err := h.as(opener).Merge(t.Context(), shop, n, "squash")
		h.must(err)
		h.settle()
	}
	// The new policy holds for what comes next.
	n = h.open(opener, "change", change("two"))
	mustContain(t, h.sticky(n), "2 approvals from acme/platform")
}

const breakGlass = oneTarget + `environments:
  production:
    approvals: {required: 1, from: {teams: [acme/platform]}}
    override: {by: {teams: [acme/oncall]}, expires: 1h, review: 48h, actions: [create, update]}
`

// Want 10: the glass is broken by somebody whom the policy names, with a
// reason, for a time; that is announced, recorded and owes a review by somebody
// else.
func TestWant10BreakGlassIsAnnouncedAndOwesAReview(t *testing.T) {
	h := newHouse(t, build{Config: breakGlass})
	h.team("oncall", second, opener)
	n := h.open(opener, "change", change("two"))
	mustContain(t, h.say(reviewer, n, "/override please"), "refused", "not among acme/oncall")
	mustContain(t, h.say(second, n, "/override"), "not understood")
	mustContain(t, h.say(second, n, "/override checkout is down, INC-77"), "overridden", "checkout is down, INC-77", "/reviewed")
	mustContain(t, h.sticky(n), "@\u200bcho", "checkout is down, INC-77", "ready for")
	h.advance(2 * time.Hour)
	h.refused(second, n, "two", "expired", "1 approval")
	h.say(second, n, "/override still down, INC-77")
	h.push(opener, "change", change("three"))
	h.settle()
	h.refused(second, n, "three", "the head is now", "1 approval") // narrower than the pull
	h.say(second, n, "/override still down, INC-77")
	h.applied(second, n, "three")
	if got := h.records(audit.Override); len(got) != 3 || got[0].Reason != "checkout is down, INC-77" || got[0].Actor.ID != h.id(second) {
		t.Fatalf("records of overrides: %+v", got)
	}
	if _, r := h.gateFacts(); !strings.Contains(r.Reason, "overridden by @cho (still down, INC-77)") {
		t.Fatalf("the gate recorded %q", r.Reason)
	}
	mustContain(t, h.sticky(n), "owes a review", "/reviewed")
	mustContain(t, h.say(second, n, "/reviewed"), "refused", "somebody else has to review it")
	mustContain(t, h.say(opener, n, "/reviewed"), "refused", "contributed to this pull")
	mustContain(t, h.say(outsider, n, "/reviewed"), "refused", "not among acme/platform")
	mustContain(t, h.say(reviewer, n, "/reviewed the fix was right"), "reviewed", "closed")
	mustNotContain(t, h.sticky(n), "owes a review")
	if got := h.records(audit.Review); len(got) != 1 || got[0].Actor.ID != h.id(reviewer) || !strings.Contains(got[0].Reason, "the fix was right") {
		t.Fatalf("records of reviews: %+v", got)
	}
	mustContain(t, h.say(reviewer, n, "/reviewed"), "refused", "owes no review")
}

// Want 10: an override covers what the policy says, and neither a hold nor a
// change of the policy itself.
func TestWant10OverrideReachesNoFurtherThanThePolicySays(t *testing.T) {
	h := newHouse(t, build{Config: breakGlass, Files: map[string]string{"deploy/b.yaml": configMap("b", "one")}})
	h.team("oncall", second)
	h.live(reviewer)
	held := h.open(opener, "held", change("two"))
	h.say(second, held, "/override checkout is down")
	h.say(reviewer, held, "/hold wait for me")
	h.refused(second, held, "two", "holds it (wait for me)")

	wider := h.open(opener, "wider", map[string]string{"deploy/a.yaml": configMap("a", "two"), "deploy/b.yaml": ""})
	h.say(second, wider, "/override checkout is down")
	h.refused(second, wider, "two", "covers create, update only, and the plan has a delete of ConfigMap "+h.ns+"/b", "1 approval")
	if h.value("b") != "one" {
		t.Fatal("b was deleted")
	}

	policy := h.open(opener, "policy", map[string]string{"deploy/a.yaml": configMap("a", "two"), config.RepoFile: strings.Replace(breakGlass, "48h", "480h", 1)})
	h.say(second, policy, "/override checkout is down")
	h.refused(second, policy, "two", "policy: 1 approval from somebody with admin access")
	if got := h.records(audit.Review); len(got) != 0 || strings.Contains(h.sticky(held), "owes a review") {
		t.Fatal("an override that was not used owes a review")
	}
}

// Want 10: a review that is overdue keeps everybody from applying in that
// environment, and nobody overrides that.
func TestWant10OverdueReviewsBlockTheEnvironment(t *testing.T) {
	h := newHouse(t, build{Config: breakGlass})
	h.team("oncall", second)
	first := h.open(opener, "first", change("two"))
	h.say(second, first, "/override checkout is down")
	h.applied(second, first, "two")
	n := h.open(opener, "next", change("three"))
	h.say(reviewer, n, "/approve")
	mustContain(t, h.sticky(n), "ready for") // not overdue yet
	h.advance(49 * time.Hour)
	h.refused(second, n, "three", escape.Markdown("override of "+h.driver.Limits().PullName(first)+" was due"), "/reviewed")
	h.say(second, n, "/override we cannot wait")
	h.refused(second, n, "three", "was due")
	mustContain(t, h.say(reviewer, n, "/reviewed"), "refused", "owes no review") // said on the wrong pull
	mustContain(t, h.say(reviewer, first, "/reviewed"), "reviewed")
	h.applied(second, n, "three")
}

// Want 11: what reached the base branch past the gate is found, reported,
// recorded and not applied before somebody else approves it (threat 27).
func TestWant11AdminMergeIsFoundAndWaitsForAnApproval(t *testing.T) {
	h := newHouse(t, build{Protect: people.Protection{Checks: []string{"lockkeeper"}}})
	n := h.open(opener, "change", change("two"))
	if _, err := h.as(opener).Merge(t.Context(), shop, n, "squash"); err == nil {
		t.Fatal("the forge merged what the check did not pass")
	}
	h.mergePast("owner", n)
	mustContain(t, h.sticky(n), "not applied yet", "@\u200bowner merged this although the policy had not allowed it")
	got := h.records(audit.Bypass)
	if len(got) != 1 || got[0].Actor.ID != h.id("owner") || !strings.Contains(got[0].Reason, "1 approval") {
		t.Fatalf("records of what came past the gate: %+v", got)
	}
	h.refused(second, n, "two", "1 approval")
	mustContain(t, h.say("owner", n, "/approve"), "refused", "past the gate")
	h.say(reviewer, n, "/approve")
	mustContain(t, h.say(second, n, "/apply"), "🚀")
	if h.value("a") != "two" {
		t.Fatalf("a is %q", h.value("a"))
	}
}

// Want 11: a live change without a record is recorded once it is seen, without
// its values, and once only.
func TestWant11LiveChangesWithoutARecordAreRecorded(t *testing.T) {
	h := newHouse(t, build{})
	h.seedLive()
	h.kubectl("-n", h.ns, "patch", "configmap", "a", "--type=merge", "-p", `{"data":{"key":"by hand"}}`)
	n := h.open(opener, "change", change("two"))
	mustContain(t, h.sticky(n), "changed live", "by hand")
	h.say(opener, n, "/plan")
	h.say(reviewer, n, "/approve")
	h.applied(second, n, "two")
	got := h.records(audit.Bypass)
	if len(got) != 1 || got[0].Outcome != "changed live" || got[0].Pull != n || !strings.Contains(string(got[0].Facts), `"data.key"`) {
		t.Fatalf("records of what came past the gate: %+v", got)
	}
	mustNotContain(t, string(got[0].Facts), "by hand")
}

// Want 12: a change ticket of the right form, in its window, where the
// environment asks for one.
func TestWant12TicketAndItsWindow(t *testing.T) {
	h := newHouse(t, build{Config: oneTarget + `environments:
  production:
    approvals: {required: 1}
    ticket: {pattern: "CHG[0-9]{4}", window: required}
`})
	in := func(d time.Duration) string { return h.forge.Now().Add(d).Format("2006-01-02T15:04Z07:00") }
	n := h.open(opener, "change", change("two"))
	h.say(reviewer, n, "/approve")
	h.refused(second, n, "two", "name the change ticket with `/ticket ID FROM TO`")
	mustContain(t, h.say(outsider, n, "/ticket CHG0001"), "refused", "write access")
	h.say(second, n, "/ticket INC-7 "+in(time.Hour)+" "+in(2*time.Hour))
	h.refused(second, n, "two", "INC-7 is no ticket like CHG")
	mustContain(t, h.say(second, n, "/ticket CHG0001"), "CHG0001")
	h.refused(second, n, "two", "CHG0001 needs its window", "approved for another ticket or window")
	mustContain(t, h.say(second, n, "/ticket CHG0001 "+in(2*time.Hour)+" "+in(time.Hour)), "ends before it starts")

	h.say(second, n, "/ticket CHG0001 "+in(time.Hour)+" "+in(2*time.Hour))
	h.say(reviewer, n, "/approve")
	mustContain(t, h.sticky(n), "CHG0001", "given by @\u200bcho")
	h.refused(second, n, "two", "the window of ticket CHG0001 begins at")
	h.advance(3 * time.Hour)
	h.refused(second, n, "two", "the window of ticket CHG0001 ended at")

	h.say(second, n, "/ticket CHG0002 "+in(-time.Hour)+" "+in(time.Hour))
	h.refused(second, n, "two", "approved for another ticket or window")
	h.say(reviewer, n, "/approve")
	h.applied(second, n, "two")
	if f, _ := h.gateFacts(); f.Ticket == nil || f.Ticket.ID != "CHG0002" || f.Ticket.By.ID != h.id(second) {
		t.Fatalf("the gate recorded the ticket %+v", f.Ticket)
	}
}

// Want 12: the comment that gave the ticket is what gives it.
func TestWant12EditedTicketIsNoTicket(t *testing.T) {
	h := newHouse(t, build{Config: oneTarget + `environments:
  production:
    approvals: {required: 1}
    ticket: {pattern: "CHG[0-9]{4}"}
`})
	n := h.open(opener, "change", change("two"))
	id, err := h.as(second).Comment(t.Context(), shop, n, "/ticket CHG0001")
	h.must(err)
	h.settle()
	h.say(reviewer, n, "/approve")
	mustContain(t, h.sticky(n), "ready for")
	h.must(h.as(second).EditComment(t.Context(), shop, n, id, "/ticket CHG0002"))
	h.settle()
	h.refused(second, n, "two", "name the change ticket")
}
