package manifest

import (
	"encoding/json"
	"reflect"
	"regexp"
	"testing"

	k8sjson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"

	"lockkeeper/cluster"
)

// FuzzPlainYAML: whatever a file holds, decoding ends without a panic, gives
// JSON values, and agrees with kubectl's parser on single documents.
func FuzzPlainYAML(f *testing.F) {
	for _, archive := range layouts {
		for _, content := range files(archive) {
			f.Add([]byte(content))
		}
	}
	for _, b := range bombs() {
		f.Add([]byte(b))
	}
	for _, s := range []string{"", "---", "a: &a [*a]", "{<<: {a: b}, c: d}", "? [a]\n: b", "a: !!binary aGk=", "- ~\n- 0o7\n- .inf\n- 1e400", "%YAML 1.1\n---\na: on", "a: |\n  x\n--- b\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, name := range []string{"x.yaml", "x.json"} {
			docs, problems := decode(name, data)
			c := collector{seen: map[cluster.Ref]string{}}
			for _, d := range docs {
				if _, err := json.Marshal(d.value); err != nil {
					t.Fatalf("not JSON: %v", err)
				}
				c.add(d.value, place{name, d.line, d.node})
			}
			if name == "x.yaml" && len(docs) == 1 && len(problems) == 0 {
				agreesWithKubectl(t, data, docs[0].value)
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
