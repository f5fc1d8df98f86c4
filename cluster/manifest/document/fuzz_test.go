package document

import (
	"encoding/json"
	"reflect"
	"regexp"
	"testing"

	k8sjson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"
)

// FuzzPlainYAML: whatever a file holds, decoding ends without a panic, gives
// JSON values, and agrees with kubectl's parser on single documents.
func FuzzPlainYAML(f *testing.F) {
	for _, s := range []string{
		"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x # why\ndata:\n  a: |\n    text\n  b: >-\n    more\n  'c': \"d\\n\"\n",
		"{\"apiVersion\": \"v1\", \"items\": [1, 2.5, true, null]}",
		"spec: {a: yes, b: \"yes\", c: 0644, d: 1e3, e: 1.50, f: 12345678901234567890, g: ~, h: 2020-01-01, i: 0x1F, j: off, k: !!str 12, l: 1_000}",
		"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "a: &a {x: y}\nb: {<<: *a, z: 1}\n",
		"", "---", "a: &a [*a]", "{<<: {a: b}, c: d}", "? [a]\n: b", "a: !!binary aGk=", "- ~\n- 0o7\n- .inf\n- 1e400",
		"%YAML 1.1\n---\na: on", "a: |\n  x\n--- b\n", "1: a\nyes: b\n1.5: c\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, name := range []string{"x.yaml", "x.json"} {
			docs, problems := Decode(name, data)
			for _, d := range docs {
				if _, err := json.Marshal(d.Value); err != nil {
					t.Fatalf("not JSON: %v", err)
				}
			}
			if name == "x.yaml" && len(docs) == 1 && len(problems) == 0 {
				agreesWithKubectl(t, data, docs[0].Value)
			}
		}
	})
}

// loneTag is YAML's tag without a name, "!", which yaml.v3 drops unseen.
var loneTag = regexp.MustCompile(`!([^!a-zA-Z]|$)`)

// agreesWithKubectl compares with the strict parser of Kubernetes, where that
// parser accepts the file as one document.
func agreesWithKubectl(t *testing.T, data []byte, got any) {
	asJSON, err := yaml.YAMLToJSONStrict(data)
	if err != nil || loneTag.Match(data) {
		return
	}
	var want, have any
	ours, err := json.Marshal(got)
	if err != nil || k8sjson.Unmarshal(asJSON, &want) != nil || k8sjson.Unmarshal(ours, &have) != nil || want == nil {
		return
	}
	if !reflect.DeepEqual(have, want) {
		t.Fatalf("got %s, kubectl reads %s", ours, asJSON)
	}
}
