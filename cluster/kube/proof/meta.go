package proof

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/fields"
)

// metaBytes is how much of the hash is kept: 96 bits.
const metaBytes = 12

// meta hashes all of an object's metadata that people and tools can set, and
// that neither generation nor uid speak of. It is made for every object of a
// list, so it takes care to be quick.
func meta(mac MAC, ref cluster.Ref, live metav1.Object) string {
	b := make([]byte, 0, 1024)
	b = appendStrings(b, ref.Group, ref.Kind, ref.Namespace, ref.Name)
	b = appendMap(b, live.GetLabels(), nil)
	b = appendMap(b, live.GetAnnotations(), noisy[ref.GroupKind()])
	b = appendStrings(b, live.GetFinalizers()...)
	for _, o := range live.GetOwnerReferences() {
		b = appendStrings(b, o.APIVersion, o.Kind, o.Name, string(o.UID), flag(o.Controller), flag(o.BlockOwnerDeletion))
	}
	for _, e := range live.GetManagedFields() {
		if fields.IsOurs(e) {
			b = appendStrings(b, e.APIVersion, string(canonical(e.FieldsV1)))
		}
	}
	return base64.RawStdEncoding.EncodeToString(mac(b)[:metaBytes])
}

func flag(b *bool) string {
	if b == nil {
		return ""
	}
	return strconv.FormatBool(*b)
}

// appendStrings writes a list so that no two lists are written alike.
func appendStrings(b []byte, list ...string) []byte {
	b = append(strconv.AppendInt(b, int64(len(list)), 10), '[')
	for _, s := range list {
		b = append(strconv.AppendInt(b, int64(len(s)), 10), ':')
		b = append(b, s...)
	}
	return b
}

func appendMap(b []byte, m map[string]string, without []string) []byte {
	list := make([]string, 0, 2*len(m))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if !slices.Contains(without, key) {
			list = append(list, key, m[key])
		}
	}
	return appendStrings(b, list...)
}

// canonical is a set of fields with sorted keys: answers in JSON and in protobuf
// differ in their order. Most come sorted.
func canonical(f *metav1.FieldsV1) []byte {
	if f == nil {
		return nil
	}
	raw := f.GetRawBytes()
	if rest, ok := sorted(raw); ok && len(rest) == 0 {
		return raw
	}
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return raw // not a set of fields: any change of it is a change
	}
	b, err := json.Marshal(v)
	if err != nil {
		return raw
	}
	return b
}

// sorted reports whether text begins with an object as json.Marshal writes it,
// all of whose values are such objects, and returns what follows. It says no
// to some that are sorted, if their keys need care.
func sorted(text []byte) (rest []byte, ok bool) {
	if len(text) < 2 || text[0] != '{' {
		return nil, false
	}
	if text[1] == '}' {
		return text[2:], true
	}
	text = text[1:]
	var last []byte
	for {
		key, after, ok := plainKey(text)
		if !ok || last != nil && !before(last, key) {
			return nil, false
		}
		last = key
		if text, ok = sorted(after); !ok || len(text) == 0 {
			return nil, false
		}
		switch text[0] {
		case '}':
			return text[1:], true
		case ',':
			text = text[1:]
		default:
			return nil, false
		}
	}
}

// plainKey reads "key": from text. The only escape that it knows is of quotes,
// which keys of list items have.
func plainKey(text []byte) (key, rest []byte, ok bool) {
	if len(text) == 0 || text[0] != '"' {
		return nil, nil, false
	}
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			return text[1:i], text[min(i+2, len(text)):], i+1 < len(text) && text[i+1] == ':'
		case c == '\\':
			if i++; i == len(text) || text[i] != '"' {
				return nil, nil, false
			}
		case c < ' ' || c > '~' || c == '<' || c == '>' || c == '&':
			return nil, nil, false // json.Marshal may write it otherwise
		}
	}
	return nil, nil, false
}

// before compares keys as they are once their quotes are not escaped.
func before(a, b []byte) bool {
	for i := range min(len(a), len(b)) {
		if x, y := a[i], b[i]; x != y {
			return unescaped(x) < unescaped(y)
		}
	}
	return len(a) < len(b)
}

func unescaped(c byte) byte {
	if c == '\\' {
		return '"'
	}
	return c
}
