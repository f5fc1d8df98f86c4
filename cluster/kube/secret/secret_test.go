package secret

import (
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"lockkeeper/cluster"
)

func TestScrubberTakesOutEveryFormOfAValue(t *testing.T) {
	s := NewScrubber()
	ref := cluster.Ref{Kind: "Secret", Name: "x"}
	obj := map[string]any{}
	if err := yaml.Unmarshal([]byte("data: {a: Y29ycmVjdA==, b: 7, c: {d: nested-value}}\nstringData: {e: \"with \\\"quotes\\\"\"}"), &obj); err != nil {
		t.Fatal(err)
	}
	s.Learn(ref, obj)
	for _, text := range []string{"got Y29ycmVjdA==", "got correct", "got nested-value", `got with "quotes"`, `got with \"quotes\"`} {
		if got := s.Text(cluster.Ref{}, text); !strings.HasPrefix(got, "got "+Placeholder) {
			t.Errorf("%s became %s", text, got)
		}
	}
	if got := s.Text(ref, "byte 7 is wrong"); strings.Contains(got, "7") {
		t.Errorf("a short value of a Secret is quoted: %s", got)
	}
	if got := s.Text(cluster.Ref{Kind: "ConfigMap"}, "byte 7 is wrong"); got != "byte 7 is wrong" {
		t.Errorf("a text about something else is withheld: %s", got)
	}
}
