package clustertest

import "testing"

func TestNamespaceNamesAreLabels(t *testing.T) {
	for name, want := range map[string]string{
		"TestPlan":                 "test-plan",
		"TestPlan/two_targets#01":  "test-plan-two-targets-01",
		"TestCRDAndCR/größe":       "test-c-r-d-and-c-r-gr-e",
		"FuzzRender/00ff11":        "fuzz-render-00ff11",
		"TestÄ/..":                 "test",
		"TestUnsignedWebhookIsOff": "test-unsigned-webhook-is-off",
	} {
		if got := dashed(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}
