package bot_test

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/config"
	"lockkeeper/bot/store"
	"lockkeeper/forge"
	"lockkeeper/forge/people"
)

// expect is mustContain for stories that go on after a miss, so that one run
// of a table tells of all its rows.
func expect(t *testing.T, row, text string, wants ...string) {
	t.Helper()
	for _, w := range wants {
		if !strings.Contains(text, w) {
			t.Errorf("%s: does not say %q:\n%s", row, w, text)
		}
	}
}

// nothingWritten checks that the story's namespace holds nothing of ours.
func (h *house) nothingWritten(row string) {
	h.t.Helper()
	list, err := h.kube.CoreV1().ConfigMaps(h.ns).List(h.t.Context(), metav1.ListOptions{})
	h.must(err)
	for _, cm := range list.Items {
		if cm.Name != "kube-root-ca.crt" {
			h.t.Errorf("%s: the ConfigMap %s was written", row, cm.Name)
		}
	}
	if got := h.records(audit.ApplyStart); len(got) > 0 {
		h.t.Errorf("%s: %d applies began", row, len(got))
	}
}

// chain checks that the audit trail is whole.
func (h *house) chain() {
	h.t.Helper()
	all, err := h.store.Records(h.t.Context(), store.Filter{})
	h.must(err)
	if len(all) == 0 {
		h.t.Error("there is no audit trail")
	}
	if _, err := audit.Verify(audit.Genesis, all); err != nil {
		h.t.Errorf("the audit trail is broken: %v", err)
	}
}

func textCommit(files map[string]string) people.Commit {
	return people.Commit{Message: "another change", Files: files}
}

// bomb doubles a list with every line.
func bomb() string {
	var b strings.Builder
	b.WriteString("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: bomb\n  namespace: NS\ndata:\n  a0: &a0 [x, x]\n")
	for i := 1; i < 40; i++ {
		fmt.Fprintf(&b, "  a%d: &a%d [*a%d, *a%d]\n", i, i, i-1, i-1)
	}
	return b.String()
}

// TestBadManifestsAreExplainedAndNeverApplied: whatever is wrong with a file is
// said on the pull with the file it is in, the check fails, an approved /apply
// is refused, and the cluster is not touched.
func TestBadManifestsAreExplainedAndNeverApplied(t *testing.T) {
	h := newHouse(t, build{Server: func(s *config.Server) {
		s.Repositories[0].Allow[0].Namespaces = append(s.Repositories[0].Allow[0].Namespaces, "not-there")
	}})
	for _, row := range []struct {
		name  string
		files map[string]string
		wants []string
	}{
		{"invalid YAML", map[string]string{"deploy/bad.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: [b\n"}, []string{"deploy/bad.yaml:3", "invalid YAML"}},
		{"a tab", map[string]string{"deploy/bad.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n\tname: b\n"}, []string{"deploy/bad.yaml:4"}},
		{"not an object", map[string]string{"deploy/bad.yaml": "- just\n- a list\n"}, []string{"deploy/bad.yaml:1"}},
		{"duplicate object", map[string]string{"deploy/b.yaml": configMap("a", "other")}, []string{"deploy/b.yaml", "deploy/a.yaml", "ConfigMap"}},
		{"duplicate key", map[string]string{"deploy/b.yaml": configMap("b", "x") + "  key: y\n"}, []string{"deploy/b.yaml:8", "key"}},
		{"unknown kind", map[string]string{"deploy/b.yaml": "apiVersion: acme.example/v1\nkind: Widget\nmetadata:\n  name: b\n  namespace: NS\n"}, []string{"deploy/b.yaml", "Widget", "acme.example"}},
		{"unknown field", map[string]string{"deploy/b.yaml": strings.Replace(configMap("b", "x"), "\ndata:", "\ndatum:", 1)}, []string{"deploy/b.yaml", "datum"}},
		{"invalid value", map[string]string{"deploy/b.yaml": strings.Replace(stuck, "spec:\n", "spec:\n  replicas: three\n", 1)}, []string{"deploy/b.yaml", "replicas"}},
		{"namespace that is not there", map[string]string{"deploy/b.yaml": strings.Replace(configMap("b", "x"), "NS", "not-there", 1)}, []string{"deploy/b.yaml", "not-there"}},
		{"no namespace", map[string]string{"deploy/b.yaml": strings.Replace(configMap("b", "x"), "  namespace: NS\n", "", 1)}, []string{"deploy/b.yaml", "namespace"}},
		{"kustomization outside the tree", map[string]string{"deploy/kustomization.yaml": "resources: [a.yaml, ../../../../etc]\n"}, []string{"deploy/kustomization.yaml", "etc"}},
		{"remote base", map[string]string{"deploy/kustomization.yaml": "resources: [a.yaml, 'https://example.com/x//base?ref=v1']\n"}, []string{"deploy/kustomization.yaml", "example.com"}},
		{"alias bomb", map[string]string{"deploy/b.yaml": bomb()}, []string{"deploy/b.yaml", "alias"}},
		{"10 MiB document", map[string]string{"deploy/b.yaml": configMap("b", strings.Repeat("x", 10<<20))}, []string{"deploy/b.yaml", "MiB"}},
		{"invalid name", map[string]string{"deploy/b.yaml": configMap("Not_A_Name", "x")}, []string{"deploy/b.yaml", `Not\_A\_Name`}},
	} {
		n := h.open(opener, strings.ReplaceAll(row.name, " ", "-"), row.files)
		report := h.sticky(n)
		expect(t, row.name, report, append(row.wants, "annot be")...)
		expect(t, row.name, h.say(reviewer, n, "/approve"), "lockkeeper:reply")
		expect(t, row.name, h.say(second, n, "/apply"), "refused")
		if got := h.check(h.pull(n).Head.SHA); got != "failure" {
			t.Errorf("%s: check concluded %q", row.name, got)
		}
		h.nothingWritten(row.name)
		h.must(h.as(opener).Close(t.Context(), shop, n))
	}
	h.settle()
	h.chain()
}

// twoTargets is plainConfig with one target more.
const twoTargets = `targets:
  - name: NS
    path: deploy
    cluster: main
    environment: production
  - name: NS-more
    path: more
    cluster: main
    environment: production
environments:
  production:
    approvals:
      required: 1
`

// TestBrokenConfigurationOfAHeadIsExplained: the file comes from the merge
// result, within what the operator allows.
func TestBrokenConfigurationOfAHeadIsExplained(t *testing.T) {
	h := newHouse(t, build{})
	for _, row := range []struct {
		name, config string
		wants        []string
	}{
		{"not YAML", "targets: [\n", []string{".lockkeeper.yaml:"}},
		{"unknown key", strings.Replace(plainConfig, "    path: deploy", "    path: deploy\n    kluster: main", 1), []string{".lockkeeper.yaml:4", "kluster"}},
		{"no such directory", strings.Replace(plainConfig, "path: deploy", "path: nowhere", 1), []string{".lockkeeper.yaml:2", "nowhere", "does not exist"}},
		{"cluster not allowed", strings.Replace(plainConfig, "cluster: main", "cluster: other", 1), []string{".lockkeeper.yaml:2", "other"}},
		{"environment not allowed", strings.Replace(plainConfig, "environment: production", "environment: playground", 1), []string{".lockkeeper.yaml:2", "playground"}},
		{"outside the tree", strings.Replace(plainConfig, "path: deploy", "path: ../deploy", 1), []string{".lockkeeper.yaml:", "../deploy"}},
		{"two of one name", strings.Replace(twoTargets, "NS-more", "NS", 1), []string{".lockkeeper.yaml:6", "unique"}},
	} {
		n := h.open(opener, strings.ReplaceAll(row.name, " ", "-"), map[string]string{config.RepoFile: row.config, "deploy/a.yaml": configMap("a", "two")})
		expect(t, row.name, h.sticky(n), append(row.wants, "annot be")...)
		h.say(reviewer, n, "/approve")
		expect(t, row.name, h.say(second, n, "/apply"), "refused")
		if got := h.check(h.pull(n).Head.SHA); got != "failure" {
			t.Errorf("%s: check concluded %q", row.name, got)
		}
		h.nothingWritten(row.name)
		h.must(h.as(opener).Close(t.Context(), shop, n))
	}
	h.settle()
	h.chain()
}

// TestBrokenConfigurationOfTheBaseBlocksUntilItIsMended: nobody knows what
// policy was meant.
func TestBrokenConfigurationOfTheBaseBlocksUntilItIsMended(t *testing.T) {
	h := newHouse(t, build{})
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	h.say(reviewer, n, "/approve")
	h.push("owner", "main", map[string]string{config.RepoFile: "targets: [\n"})
	h.settle()
	mustContain(t, h.sticky(n), ".lockkeeper.yaml:", "main")
	mustContain(t, h.say(second, n, "/apply"), "refused", ".lockkeeper.yaml:")
	mend := h.open(opener, "mend", map[string]string{config.RepoFile: plainConfig})
	mustContain(t, h.sticky(mend), "until it is corrected there")
	h.say(reviewer, mend, "/approve")
	mustContain(t, h.say(second, mend, "/apply"), "refused", "until it is corrected there")
	h.nothingWritten("broken base")
	h.push("owner", "main", map[string]string{config.RepoFile: plainConfig})
	h.settle()
	mustContain(t, h.say(second, n, "/apply"), "Merged as")
	h.chain()
}

func TestTargetsAddedAndRemovedByAPullAreSaidSo(t *testing.T) {
	h := newHouse(t, build{Files: map[string]string{"more/b.yaml": configMap("b", "one")}})
	h.seedLive()
	n := h.open(opener, "add", map[string]string{config.RepoFile: twoTargets})
	mustContain(t, h.sticky(n), "added", h.ns+"-more", "ConfigMap "+h.ns+"/b")
	h.say(reviewer, n, "/approve")
	mustContain(t, h.say(second, n, "/apply"), "refused", "policy:") // targets are the policy owners' to change
	h.say("owner", n, "/approve")
	mustContain(t, h.say(second, n, "/apply"), "Merged as")
	if h.value("b") != "one" {
		t.Fatalf("b is %q", h.value("b"))
	}
	n = h.open(opener, "remove", map[string]string{config.RepoFile: plainConfig})
	mustContain(t, h.sticky(n), "removed", "**deletes**", "ConfigMap "+h.ns+"/b")
	h.say(reviewer, n, "/approve")
	mustContain(t, h.say(second, n, "/apply"), "refused", "policy:") // targets are the policy owners' to change
	h.say("owner", n, "/approve")
	mustContain(t, h.say(second, n, "/apply"), "Merged as")
	if h.value("b") != "" || h.value("a") != "one" {
		t.Fatalf("a is %q, b is %q", h.value("a"), h.value("b"))
	}
	h.chain()
}

func TestMergeConflictIsNamedAndGoesAway(t *testing.T) {
	h := newHouse(t, build{})
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	h.say(reviewer, n, "/approve")
	h.push("owner", "main", map[string]string{"deploy/a.yaml": configMap("a", "three")})
	h.settle()
	mustContain(t, h.sticky(n), "conflicts with main", "deploy/a.yaml", "rebase")
	mustContain(t, h.say(second, n, "/apply"), "refused", "conflicts with main")
	if got := h.check(h.pull(n).Head.SHA); got != "failure" {
		t.Errorf("check concluded %q", got)
	}
	h.nothingWritten("conflict")
	_, err := h.as(opener).ForcePush(t.Context(), shop, "change", "main", textCommit(map[string]string{"deploy/a.yaml": h.in(configMap("a", "four"))}))
	h.must(err)
	h.settle()
	mustNotContain(t, h.sticky(n), "conflicts")
	mustContain(t, h.say(second, n, "/apply"), "refused", "1 approval")
	h.say(reviewer, n, "/approve")
	mustContain(t, h.say(second, n, "/apply"), "Merged as")
	if h.value("a") != "four" {
		t.Fatalf("a is %q", h.value("a"))
	}
	h.chain()
}

func TestTeamThatDoesNotExistApprovesNothing(t *testing.T) {
	h := newHouse(t, build{Config: plainConfig + "      from: {teams: [acme/ghosts]}\n"})
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	mustContain(t, h.say(reviewer, n, "/approve"), "refused", "acme/ghosts")
	mustContain(t, h.say(second, n, "/apply"), "refused", "acme/ghosts")
	_, err := h.as(reviewer).Review(t.Context(), shop, n, forge.Approved, "")
	h.must(err)
	h.settle()
	mustContain(t, h.sticky(n), "not yet allowed", "acme/ghosts", "does not know")
	h.nothingWritten("no such team")
	h.chain()
}

// TestDisguisedTextIsShownAndAppliedAsItIs: emoji pass, controls that turn the
// direction of text are made visible, and the cluster gets exactly what the
// files say (threat 19).
func TestDisguisedTextIsShownAndAppliedAsItIs(t *testing.T) {
	h := newHouse(t, build{})
	value := "\u202egnp.exe \u2066x\u2069 🚀 שלום"
	n := h.open(opener, "emoji-🚢", map[string]string{
		"deploy/🚢.yaml": strings.Replace(configMap("b", "x"), "key: x", fmt.Sprintf("key: %q", value), 1),
	})
	report := h.sticky(n)
	mustContain(t, report, "🚀", "שלום", "202E")
	mustNotContain(t, report, "\u202e", "\u2066")
	h.say(reviewer, n, "/approve")
	mustContain(t, h.say(second, n, "/apply"), "Merged as")
	if got := h.value("b"); got != value {
		t.Fatalf("live value is %q", got)
	}
	h.chain()
}

// TestPullWithManyFilesFillsSeveralComments, of which none is too long, and a
// smaller plan takes the surplus away.
func TestPullWithManyFilesFillsSeveralComments(t *testing.T) {
	h := newHouse(t, build{})
	files := map[string]string{"deploy/one.yaml": configMap("big", strings.Repeat("long ", 65537/5+1))}
	for i := range 300 {
		files[fmt.Sprintf("deploy/b%03d.yaml", i)] = configMap(fmt.Sprintf("b%03d", i), strings.Repeat("v", 400))
	}
	n := h.open(opener, "many", files)
	parts, all, limit := 0, 0, h.driver.Limits().Comment
	for _, c := range h.comments(n) {
		parts++
		all += len([]rune(c.Body))
		if len([]rune(c.Body)) > limit {
			t.Errorf("a comment has %d characters", len([]rune(c.Body)))
		}
	}
	if all < 100_000 || parts < 2 && all > limit {
		t.Errorf("%d characters in %d comments for a plan of 300 files", all, parts)
	}
	mustContain(t, h.sticky(n), "| 301 |")
	if got := h.check(h.pull(n).Head.SHA); got != "action_required" {
		t.Errorf("check concluded %q", got)
	}
	_, err := h.as(opener).ForcePush(t.Context(), shop, "many", "main", textCommit(map[string]string{"deploy/a.yaml": h.in(configMap("a", "two"))}))
	h.must(err)
	h.settle()
	mustContain(t, h.sticky(n), "+ data.key: two")
	if got := len(h.comments(n)); got != 1 {
		t.Errorf("%d comments are left", got)
	}
	h.chain()
}
