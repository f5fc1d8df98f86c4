// Package secret sees to it that no value of a Secret is shown: it masks the
// values where objects are compared, and takes them out of texts of servers.
package secret

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"lockkeeper/cluster"
)

const (
	// LastApplied is the annotation with kubectl's copy of an object.
	LastApplied = "kubectl.kubernetes.io/last-applied-configuration"
	// Placeholder is shown in the place of a secret value.
	Placeholder = "(secret)"
	// shortest is the length from which a secret value is searched for in
	// texts: shorter ones would blank out ordinary words.
	shortest = 4
)

// token stands in for a secret value while objects are compared: equal for
// equal values, keyed, and never shown.
type token string

func isSecret(ref cluster.Ref) bool { return ref.Group == "" && ref.Kind == "Secret" }

// MAC is a keyed digest: nobody without the key can try values against it.
type MAC func(parts ...[]byte) []byte

// Masked is a copy of an object, fit to be shown after Unmask: the values of a
// Secret become tokens made by mac, and kubectl's copy of the whole object in an
// annotation becomes one (for Secrets) or a short note.
func Masked(ref cluster.Ref, obj map[string]any, mac MAC) map[string]any {
	out := (&unstructured.Unstructured{Object: obj}).DeepCopy().Object
	if isSecret(ref) {
		for _, f := range []string{"data", "stringData"} {
			m, ok := out[f].(map[string]any)
			if !ok && out[f] != nil {
				out[f] = mac.token(out[f])
			}
			for k := range m {
				m[k] = mac.token(m[k])
			}
		}
	}
	ann, _, _ := unstructured.NestedMap(obj, "metadata", "annotations")
	text, ok := ann[LastApplied].(string)
	if !ok {
		return out
	}
	shown := out["metadata"].(map[string]any)["annotations"].(map[string]any)
	if isSecret(ref) {
		shown[LastApplied] = mac.token(text)
	} else {
		sum := sha256.Sum256([]byte(text))
		shown[LastApplied] = fmt.Sprintf("(kubectl's copy of the object, sha256 %s)", hex.EncodeToString(sum[:6]))
	}
	return out
}

func (mac MAC) token(x any) token {
	b, err := json.Marshal(x)
	if err != nil {
		b = []byte(err.Error())
	}
	return token(hex.EncodeToString(mac(b)))
}

// Unmask replaces tokens in the changes by placeholders; the result maps the
// paths of masked fields to what enters the digest for them.
func Unmask(fields []cluster.FieldChange) map[string]string {
	secrets := map[string]string{}
	for i := range fields {
		f := &fields[i]
		before, b := f.Before.(token)
		after, a := f.After.(token)
		if !a && !b {
			continue
		}
		f.Masked = true
		secrets[f.Path] = string(before) + ">" + string(after)
		if b {
			f.Before = Placeholder
		}
		if a {
			f.After = Placeholder
		}
	}
	return secrets
}

// Fold moves a Secret's stringData into data, as the server does.
func Fold(ref cluster.Ref, obj map[string]any) {
	if !isSecret(ref) {
		return
	}
	plain, ok := obj["stringData"].(map[string]any)
	if !ok {
		return // where it is not valid, the server refuses it and says so
	}
	data, ok := obj["data"].(map[string]any)
	if !ok && obj["data"] != nil {
		return // likewise
	}
	if !ok {
		data = map[string]any{}
	}
	for k, val := range plain {
		s, ok := val.(string)
		if !ok {
			return
		}
		data[k] = base64.StdEncoding.EncodeToString([]byte(s))
	}
	obj["data"] = data
	delete(obj, "stringData")
}

// Scrubber takes secret values out of texts that come from servers: errors and
// warnings may quote what they were given.
type Scrubber struct {
	mu     sync.Mutex
	values map[string]bool
}

// NewScrubber knows the values of the Secrets among the objects.
func NewScrubber(objs ...[]cluster.Object) *Scrubber {
	s := &Scrubber{values: map[string]bool{}}
	for _, o := range slices.Concat(objs...) {
		s.Learn(o.Ref, o.Content)
	}
	return s
}

// Learn remembers the values of an object, if it is a Secret.
func (s *Scrubber) Learn(ref cluster.Ref, obj map[string]any) {
	if !isSecret(ref) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range []string{"data", "stringData"} {
		s.addAll(obj[f])
	}
}

// addAll remembers every scalar below v, also where a Secret is malformed.
func (s *Scrubber) addAll(v any) {
	switch x := v.(type) {
	case nil:
	case map[string]any:
		for _, sub := range x {
			s.addAll(sub)
		}
	case []any:
		for _, sub := range x {
			s.addAll(sub)
		}
	default:
		s.add(fmt.Sprint(x))
	}
}

func (s *Scrubber) add(v string) {
	s.values[v] = true
	if raw, err := base64.StdEncoding.DecodeString(v); err == nil {
		s.values[string(raw)] = true
	}
	s.values[base64.StdEncoding.EncodeToString([]byte(v))] = true
	quoted, _ := json.Marshal(v) // a string always encodes
	s.values[strings.Trim(string(quoted), `"`)] = true
}

// Text is t without secret values. A message about a Secret that quotes even a
// short value is withheld whole.
func (s *Scrubber) Text(ref cluster.Ref, t string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	longestFirst := slices.SortedFunc(maps.Keys(s.values), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b))
	})
	for _, v := range longestFirst {
		switch {
		case v == "" || !strings.Contains(t, v):
		case len(v) >= shortest:
			t = strings.ReplaceAll(t, v, Placeholder)
		case isSecret(ref):
			return "the server refused this Secret; its message is withheld because it may quote a value: check the types and the base64 of its data"
		}
	}
	return t
}
