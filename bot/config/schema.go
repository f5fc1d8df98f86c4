package config

import (
	"encoding/json"
	"fmt"

	"github.com/invopop/jsonschema"
)

// Schema returns the JSON Schema of `.lockkeeper.yaml` (kind "repository") or
// of the operator's file (kind "server"), generated from the Go types.
func Schema(kind string) ([]byte, error) {
	// Requirements nest, so that types are referred to rather than written out.
	r := jsonschema.Reflector{FieldNameTag: "yaml", ExpandedStruct: true}
	var s *jsonschema.Schema
	switch kind {
	case "repository":
		s = r.Reflect(&File{})
		s.Title = RepoFile
	case "server":
		s = r.Reflect(&Server{})
		s.Title = "lockkeeper server file"
	default:
		return nil, fmt.Errorf("schema: got %q, want repository or server", kind)
	}
	s.ID = ""
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("schema of %s: %w", kind, err)
	}
	return append(b, '\n'), nil
}

// JSONSchemaExtend says that there is one section for one forge.
func (Server) JSONSchemaExtend(s *jsonschema.Schema) {
	for _, kind := range []string{OnGitHub, OnGitLab, OnGitea} {
		s.OneOf = append(s.OneOf, &jsonschema.Schema{Required: []string{kind}})
	}
}
