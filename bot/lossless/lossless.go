// Package lossless reads and writes JSON documents that an earlier and a later
// release share while replicas are exchanged one by one: what a release does not
// know of a document, it hands on as it was. That holds for the fields of the
// document itself, not for those further down, so that a later release puts what
// is new at the top.
package lossless

import (
	"encoding/json"
	"maps"
	"reflect"
	"strings"
)

// Rest is what a document holds beside what is known.
type Rest map[string]json.RawMessage

// Unmarshal decodes a document into the struct that v points to, and returns the
// rest.
func Unmarshal(doc []byte, v any) (Rest, error) {
	if err := json.Unmarshal(doc, v); err != nil {
		return nil, err
	}
	var rest Rest
	if err := json.Unmarshal(doc, &rest); err != nil {
		return nil, err
	}
	known := fields(reflect.TypeOf(v).Elem())
	maps.DeleteFunc(rest, func(name string, _ json.RawMessage) bool { return known[strings.ToLower(name)] })
	return rest, nil
}

// Marshal encodes a struct together with the rest of the document that it came
// from. What the struct says counts.
func Marshal(v any, rest Rest) ([]byte, error) {
	doc, err := json.Marshal(v)
	if err != nil || len(rest) == 0 {
		return doc, err
	}
	all := maps.Clone(rest)
	if err := json.Unmarshal(doc, &all); err != nil {
		return nil, err
	}
	return json.Marshal(all)
}

// fields are the names, in lower case, of a struct's fields as encoding/json
// decodes them: it does not look at the case.
func fields(t reflect.Type) map[string]bool {
	out := map[string]bool{}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			name = f.Name
		}
		if f.IsExported() {
			out[strings.ToLower(name)] = true
		}
	}
	return out
}
