package bot_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/command"
	"lockkeeper/bot/config"
	"lockkeeper/forge"
	"lockkeeper/forge/forgetest"
	"lockkeeper/forge/people"
)

// Attacks by what people say, who they are, and what they may see; see
// threats_test.go.

// TestThreat21SmuggledCommandsDoNothing: what looks like an approval or an
// apply to one reader and not to the other, from people whose plain words would
// count.
func TestThreat21SmuggledCommandsDoNothing(t *testing.T) {
	h := newHouse(t, build{})
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	smuggle := func(login, name string) {
		t.Helper()
		for what, body := range map[string]string{
			"fence":              "```\n/%s\n```",
			"tilde fence":        "~~~\n/%s\n~~~",
			"fence without end":  "```sh\n/%s",
			"indented code":      "    /%s",
			"code span":          "`/%s`",
			"quote":              "> /%s",
			"quote without mark": "> as they say\n/%s",
			"list":               "- /%s",
			"list's second line": "1. first\n   /%s",
			"HTML comment":       "<!--\n/%s\n-->",
			"HTML block":         "<div>\n/%s\n</div>",
			"details":            "<details>\n<summary>log</summary>\n/%s\n</details>",
			"link":               "[/%s](https://example.com)",
			"emphasis":           "**/%s**",
			"middle of a line":   "please /%s now",
			"no-break space":     "\u00a0/%s",
			"no-break tail":      "/%s\u00a0all",
			"zero width":         "\u200b/%s",
			"zero width inside":  "/%s\u200b",
			"right to left":      "\u202e/%s",
			"full-width slash":   "\uff0f%s",
			"fraction slash":     "\u2044%s",
			"flag":               "/%s --force",
			"short flag":         "/%s -y",
			"unknown target":     "/%s nowhere/else extra words!",
		} {
			got := h.say(login, n, fmt.Sprintf(body, name))
			if strings.Contains(got, "🚀") || strings.Contains(got, "Merged") || strings.Contains(got, "approved") {
				t.Errorf("%s %q was carried out:\n%s", what, fmt.Sprintf(body, name), got)
			}
		}
		// Cyrillic а and р stand for the Latin letters.
		for _, disguise := range []*strings.Replacer{strings.NewReplacer("a", "\u0430"), strings.NewReplacer("p", "\u0440")} {
			if got := h.say(login, n, "/"+disguise.Replace(name)); strings.Contains(got, "🚀") || strings.Contains(got, "approved") {
				t.Errorf("a homoglyph of /%s was carried out:\n%s", name, got)
			}
		}
	}
	smuggle(reviewer, "approve")
	if got := h.records(audit.Approval); len(got) > 0 {
		t.Errorf("%d approvals were smuggled in", len(got))
	}
	mustContain(t, h.sticky(n), "not yet allowed")
	mustContain(t, h.say(reviewer, n, "/approve"), "approved")
	smuggle(second, "apply")
	h.untouched()
	mustContain(t, h.say(second, n, "/apply"), "Merged as")
	h.chain()
}

// TestThreat22BotsAreNotHeardAndDoNotTalkToThemselves: another app with every
// permission gives commands and a review; nothing that lockkeeper itself writes
// is a command to whoever quotes or copies it whole.
func TestThreat22BotsAreNotHeardAndDoNotTalkToThemselves(t *testing.T) {
	h := newHouse(t, build{})
	parrot, err := h.hub(programs).AddApp("acme", "parrot", map[string]string{"issues": "write", "pull_requests": "write", "contents": "write", "administration": "write"})
	h.must(err)
	h.hub(programs).Install(parrot, "acme", shop)
	bot := h.hub(programs).AsApp(parrot, shop)
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	comments := len(h.comments(n))
	for _, body := range []string{"/approve", "/apply", "/hold", "/aply", "/help"} {
		id, err := bot.Comment(t.Context(), shop, n, body)
		h.must(err)
		h.settle()
		if got := h.replyTo(n, id); got != "" {
			t.Errorf("a bot's %q was answered: %s", body, got)
		}
		comments++
	}
	_, err = bot.Review(t.Context(), shop, n, "APPROVE", "")
	h.must(err)
	h.settle()
	if got := len(h.comments(n)); got != comments {
		t.Errorf("%d comments, want %d", got, comments)
	}
	mustContain(t, h.say(second, n, "/apply"), "refused", "1 approval")
	h.untouched()

	// People without write access, and with access that was taken back.
	h.say(reviewer, n, "/approve")
	h.hub(fine).Grant(shop, outsider, "triage")
	mustContain(t, h.say(outsider, n, "/apply"), "refused", "write access")
	h.grant(second, forge.None)
	mustContain(t, h.say(second, n, "/apply"), "refused", "write access")
	h.untouched()
	for _, c := range []string{"/help", "/explain", "/status", "/aply", "/apply --force\n/approve"} {
		h.say(outsider, n, c)
	}
	for _, c := range h.comments(n) {
		if c.Author != h.login {
			continue
		}
		for _, p := range command.Parse(c.Body) {
			t.Errorf("lockkeeper's own text holds the command %q:\n%s", p.Line, c.Body)
		}
	}
	h.chain()
}

// ciApp is another App that writes checks.
func (h *house) ciApp(slug string) (*forgetest.App, *forgetest.Client) {
	h.t.Helper()
	app, err := h.hub(programs).AddApp("acme", slug, map[string]string{"checks": "write", "statuses": "write"})
	h.must(err)
	h.hub(programs).Install(app, "acme", shop)
	return app, h.hub(programs).AsApp(app, shop)
}

// TestThreat25ForgedStatusDoesNotOpenTheGate: others write a check and a status
// under lockkeeper's name, and one that the policy wants from a certain app.
// The forge may be taken in by the name; lockkeeper is not.
func TestThreat25ForgedStatusDoesNotOpenTheGate(t *testing.T) {
	h := newHouse(t, build{Protect: people.Protection{Checks: []string{"lockkeeper"}}})
	ci, tests := h.ciApp("ci")
	_, forger := h.ciApp("forger")
	h.push("owner", "main", map[string]string{config.RepoFile: plainConfig + fmt.Sprintf("    checks: [{name: ci/test, app: %d}]\n", ci.ID)})
	h.settle()
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	head := h.pull(n).Head.SHA
	for _, name := range []string{"lockkeeper", "ci/test"} {
		_, err := forger.Check(t.Context(), shop, head, name, "success")
		h.must(err)
		h.must(forger.Status(t.Context(), shop, head, name, "success"))
		h.must(h.as(opener).Status(t.Context(), shop, head, name, forge.Success))
	}
	h.settle()
	mustContain(t, h.say(second, n, "/apply"), "refused", "1 approval", "ci/test")
	h.say(reviewer, n, "/approve")
	mustContain(t, h.say(second, n, "/apply"), "refused", "check ci/test", "forger", "has not run")
	mustNotContain(t, h.sticky(n), "ready for `/apply`")
	h.untouched()
	if got := h.checkOf(head, h.app().Slug); got != "action_required" {
		t.Errorf("our own check concluded %q", got)
	}
	_, err := tests.Check(t.Context(), shop, head, "ci/test", "failure")
	h.must(err)
	h.settle()
	mustContain(t, h.say(second, n, "/apply"), "refused", "check ci/test", "failure")
	h.untouched()
	_, err = tests.Check(t.Context(), shop, head, "ci/test", "success")
	h.must(err)
	h.settle()
	mustContain(t, h.sticky(n), "ready for `/apply`")
	mustContain(t, h.say(second, n, "/apply"), "Merged as")
	h.chain()
}

// checkOf is the conclusion of an app's newest check named lockkeeper.
func (h *house) checkOf(sha, slug string) string {
	h.t.Helper()
	var out struct {
		CheckRuns []struct {
			Name, Conclusion string
			App              struct{ Slug string }
		} `json:"check_runs"`
	}
	h.must(h.hub(programs).As(opener).Do(h.t.Context(), "GET", fmt.Sprintf("/repos/%s/commits/%s/check-runs", shop, sha), nil, &out))
	for _, r := range out.CheckRuns {
		if r.Name == "lockkeeper" && r.App.Slug == slug {
			return r.Conclusion
		}
	}
	return "missing"
}

// TestThreat26LoginsAreNotPeople: a renamed account keeps its approval; a
// deleted one takes it along, and whoever registers the login next has neither
// the approval nor the right to give one that a rule gives the old account.
func TestThreat26LoginsAreNotPeople(t *testing.T) {
	h := newHouse(t, build{})
	rule := fmt.Sprintf("      from: {users: [%s#%d, %s#%d]}\n", reviewer, h.id(reviewer), second, h.id(second))
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	h.say(reviewer, n, "/approve")
	h.hub(accounts).RenameUser(reviewer, "robert")
	mustContain(t, h.say(outsider, n, "/status"), "ready for")
	h.person(reviewer) // somebody takes the login
	h.grant(reviewer, forge.Write)
	mustContain(t, h.say(outsider, n, "/status"), "ready for")
	mustContain(t, h.sticky(n), "robert")
	mustContain(t, h.say(second, n, "/apply"), "Merged as")
	if h.value("a") != "two" {
		t.Fatalf("a is %q: the renamed account lost its approval", h.value("a"))
	}

	// From now on, a rule names the people, and their numbers.
	h.push("owner", "main", map[string]string{config.RepoFile: plainConfig + rule})
	h.settle()
	h.person("dora") // another administrator, for what was pushed past the gate
	h.member("dora")
	h.grant("dora", forge.Admin)
	other := h.open(opener, "other", map[string]string{"deploy/a.yaml": configMap("a", "three")})
	mustContain(t, h.say(reviewer, other, "/approve"), "refused", "does not count")
	h.say("dora", other, "/approve")
	h.say(second, other, "/approve")
	_, err := h.as(second).Review(t.Context(), shop, other, forge.Approved, "")
	h.must(err)
	h.settle()
	mustContain(t, h.sticky(other), "ready for")
	h.hub(accounts).DeleteUser(second)
	h.person(second)
	h.member(second)
	h.grant(second, forge.Write)
	mustContain(t, h.say(second, other, "/apply"), "refused", "1 approval")
	// The login is a member's again, whose look at the rule's direct push counts,
	// and at nothing that the rule asks for.
	h.say(second, other, "/approve")
	_, err = h.as(second).Review(t.Context(), shop, other, forge.Approved, "")
	h.must(err)
	h.settle()
	mustContain(t, h.say(second, other, "/apply"), "refused", "1 approval")
	if h.value("a") != "two" {
		t.Fatalf("a is %q", h.value("a"))
	}
	// The rule goes by the number: robert may.
	mustContain(t, h.say("robert", other, "/approve"), "approved")
	mustContain(t, h.say(second, other, "/apply"), "Merged as")
	h.chain()
}

// TestThreat27AdminMergeWithoutApproval: an administrator merges past the rules
// of the branch. That is recorded and said, and nothing is applied until
// somebody approves who neither merged nor contributed.
func TestThreat27AdminMergeWithoutApproval(t *testing.T) {
	t.Parallel()
	for _, mode := range []config.ApplyMode{config.ApplyOnComment, config.ApplyOnMerge} {
		t.Run(string(mode), func(t *testing.T) {
			h := newHouse(t, build{
				Protect: people.Protection{Checks: []string{"lockkeeper"}},
				Server:  func(s *config.Server) { s.Repositories[0].Apply = mode },
			})
			n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
			if _, err := h.as(second).Merge(t.Context(), shop, n, "squash"); err == nil {
				t.Fatal("a writer merged without lockkeeper's check")
			}
			h.mergePast("owner", n)
			mustContain(t, h.sticky(n), "merged this although the policy had not allowed it", "/approve")
			found := h.records(audit.Bypass)
			if len(found) != 1 || found[0].Actor.Login != "owner" || !strings.Contains(found[0].Reason, "1 approval") {
				t.Errorf("recorded as %+v", found)
			}
			apply := func(login string) string {
				t.Helper()
				return h.say(login, n, "/apply")
			}
			mustContain(t, apply(second), "refused", "1 approval")
			for _, who := range []string{"owner", opener} { // who merged, and who wrote it
				mustContain(t, h.say(who, n, "/approve"), "refused")
				_, err := h.as(who).Review(t.Context(), shop, n, forge.Approved, "")
				if err == nil {
					h.settle()
				}
				mustContain(t, apply(second), "refused", "1 approval")
			}
			h.must(h.bot.WantAll(t.Context()))
			h.settle()
			h.untouched()
			mustContain(t, h.say(reviewer, n, "/approve"), "approved")
			if mode == config.ApplyOnComment {
				h.untouched()
				mustContain(t, apply(second), "🚀")
			}
			if h.value("a") != "two" {
				t.Fatalf("a is %q after the approval", h.value("a"))
			}
			if got := len(h.records(audit.Bypass)); got != 1 {
				t.Errorf("%d records of one merge", got)
			}
			h.free()
			h.chain()
		})
	}
}

// TestThreat30FencedObjectsLeadToNoClusterRequest: the cluster is out of reach,
// and what is wrong is said all the same; fences as wide as can be leave out
// lockkeeper's own namespace, and Kubernetes'.
func TestThreat30FencedObjectsLeadToNoClusterRequest(t *testing.T) {
	link, err := plane.Get(t).Delay(0)
	if err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, build{Server: func(s *config.Server) {
		s.Clusters["main"] = config.Cluster{Kubeconfig: link.Kubeconfig}
		s.Repositories[0].Allow[0].Namespaces = []string{"*"}
	}})
	in := func(kind, version, namespace, name string) string {
		if namespace != "" {
			namespace = "\n  namespace: " + namespace
		}
		return fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata:\n  name: %s%s\n", version, kind, name, namespace)
	}
	h.must(link.Cut())
	before := link.Traffic()
	for name, text := range map[string]string{
		"own-secret":    in("Secret", "v1", "lockkeeper-system", "lockkeeper-key"),
		"own-inventory": in("ConfigMap", "v1", "lockkeeper-system", "inventory"),
		"own-namespace": in("Namespace", "v1", "", "lockkeeper-system"),
		"kube-system":   in("Secret", "v1", "kube-system", "bootstrap-token"),
		"cluster-role":  in("ClusterRoleBinding", "rbac.authorization.k8s.io/v1", "", h.ns) + "roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}\n",
		"webhook":       in("ValidatingWebhookConfiguration", "admissionregistration.k8s.io/v1", "", h.ns),
	} {
		n := h.open(opener, name, map[string]string{"deploy/" + name + ".yaml": text})
		expect(t, name, h.sticky(n), "cannot be applied", "deploy/"+name+".yaml")
		if strings.Contains(h.sticky(n), "cannot be reached") {
			t.Errorf("%s: the cluster was asked:\n%s", name, h.sticky(n))
		}
		h.say(reviewer, n, "/approve")
		expect(t, name, h.say(second, n, "/apply"), "refused", "deploy/"+name+".yaml")
		h.must(h.as(opener).Close(t.Context(), shop, n))
	}
	if after := link.Traffic(); after != before {
		t.Errorf("the traffic was %+v, and is %+v", before, after)
	}
	h.must(link.Restore())
	h.nothingWritten("fenced")
}

// TestThreat32ApprovalIsOfThePlanThatWasShown: a second plan takes the place of
// the one that the approver read, by a push, by the base branch and by a change
// of the cluster, while webhooks are on their way.
func TestThreat32ApprovalIsOfThePlanThatWasShown(t *testing.T) {
	t.Parallel()
	moves := map[string]func(*house){
		"push": func(h *house) {
			h.push(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "evil")})
		},
		"base": func(h *house) {
			h.push("owner", "main", map[string]string{"deploy/evil.yaml": configMap("evil", "x"), "deploy/a.yaml": configMap("a", "one") + "  evil: yes-it-is\n"})
		},
		"live": func(h *house) {
			h.kubectl("-n", h.ns, "patch", "configmap", "a", "--type=merge", "-p", `{"data":{"key":"by hand"}}`)
		},
	}
	for name, move := range moves {
		for _, via := range []string{"command", "review"} {
			t.Run(name+" and "+via, func(t *testing.T) {
				h := newHouse(t, build{})
				h.seedLive()
				n := h.open(opener, "change", map[string]string{"deploy/b.yaml": configMap("b", "two"), "deploy/a.yaml": configMap("a", "two")})
				mustContain(t, h.sticky(n), "+ data.key: two")
				h.hub(bent).SetDelivery(forgetest.DeliveryMode{Hold: true, Shuffle: 3})
				move(h)
				var id int64
				var err error
				if via == "command" {
					id, err = h.as(reviewer).Comment(t.Context(), shop, n, "/approve")
				} else {
					_, err = h.as(reviewer).Review(t.Context(), shop, n, forge.Approved, "")
				}
				h.must(err)
				apply, err := h.as(second).Comment(t.Context(), shop, n, "/apply")
				h.must(err)
				h.settle()
				if got := h.replyTo(n, apply); !strings.Contains(got, "refused") {
					t.Errorf("the apply was answered: %s\n%s", got, h.replyTo(n, id))
				}
				if h.value("b") != "" || h.value("a") == "two" || h.value("a") == "evil" {
					t.Errorf("a is %q, b is %q: what was approved was another plan", h.value("a"), h.value("b"))
				}
			})
		}
	}
}

// TestThreat32ApprovalInTheSecondOfThePlanIsOfTheOneBefore: the forge's clock
// has no finer grain, and nobody reads a plan in less.
func TestThreat32ApprovalInTheSecondOfThePlanIsOfTheOneBefore(t *testing.T) {
	h := newHouse(t, build{})
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	type stamped struct {
		ID      int64
		Body    string
		Created time.Time `json:"created_at"`
		Updated time.Time `json:"updated_at"`
	}
	comments := func() (out []stamped) {
		t.Helper()
		h.must(h.hub(clock).As(opener).Do(t.Context(), "GET", fmt.Sprintf("/repos/%s/issues/%d/comments?per_page=100", shop, n), nil, &out))
		return out
	}
	h.push(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "evil")})
	h.settle()
	shown := comments()[0].Updated
	mustContain(t, comments()[0].Body, "+ data.key: evil")
	h.advance(shown.Sub(h.forge.Now()) - time.Second)
	id, err := h.as(reviewer).Comment(t.Context(), shop, n, "/approve")
	h.must(err)
	for _, c := range comments() {
		if c.ID == id && !c.Created.Equal(shown) {
			t.Fatalf("said at %s, the plan is of %s", c.Created, shown)
		}
	}
	h.settle()
	mustContain(t, h.replyTo(n, id), "refused", "look at the new plan")
	mustContain(t, h.say(second, n, "/apply"), "refused", "1 approval")
	h.untouched()
	mustContain(t, h.say(reviewer, n, "/approve"), "approved")
	mustContain(t, h.say(second, n, "/apply"), "Merged as")
}

// TestThreat32OnlyTheDigestOfThePresentPlanCounts where the environment asks
// for one: no plain approval, no review, no digest of an earlier plan.
func TestThreat32OnlyTheDigestOfThePresentPlanCounts(t *testing.T) {
	h := newHouse(t, build{Config: plainConfig + "    separation: {digest: true}\n"})
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	digest := func() string {
		t.Helper()
		all := h.records(audit.Plan)
		return all[len(all)-1].PlanDigest
	}
	old := digest()
	mustContain(t, h.sticky(n), old[:8])
	h.push(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "three")})
	h.settle()
	h.say(reviewer, n, "/approve")
	_, err := h.as(reviewer).Review(t.Context(), shop, n, forge.Approved, "/approve "+digest())
	h.must(err)
	h.settle()
	mustContain(t, h.say(second, n, "/apply"), "refused", "digest")
	mustContain(t, h.say(reviewer, n, "/approve "+old[:12]), "refused", old[:7])
	mustContain(t, h.say(second, n, "/apply"), "refused", "digest")
	h.untouched()
	mustContain(t, h.say(reviewer, n, "/approve "+digest()[:12]), "approved")
	mustContain(t, h.say(second, n, "/apply"), "Merged as")
	h.chain()
}
