package bot_test

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/config"
	"lockkeeper/bot/store"
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
