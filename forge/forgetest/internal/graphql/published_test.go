package graphql

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"

	"lockkeeper/forge/forgetest/schema"
)

// What the look-alike answers is a part of what GitHub publishes, by the same
// names and types, so that a query which passes here is one that GitHub takes.
func TestSchemaIsPartOfGitHubs(t *testing.T) {
	dir, err := schema.Install()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "graphql-schema", "schema.graphql"))
	if err != nil {
		t.Fatal(err)
	}
	// Parsed only: a published schema that defines a field twice is not valid.
	theirs, err := parser.ParseSchema(&ast.Source{Name: "github", Input: string(text)})
	if err != nil {
		t.Fatal(err)
	}
	for name, ours := range published.Types {
		if ours.BuiltIn || strings.HasPrefix(name, "__") {
			continue
		}
		real := theirs.Definitions.ForName(name)
		if real == nil || real.Kind != ours.Kind {
			t.Errorf("GitHub has no %s %s", ours.Kind, name)
			continue
		}
		for _, face := range ours.Interfaces {
			if !has(real.Interfaces, face) {
				t.Errorf("%s is no %s", name, face)
			}
		}
		for _, v := range ours.EnumValues {
			if real.EnumValues.ForName(v.Name) == nil {
				t.Errorf("%s has no %s", name, v.Name)
			}
		}
		compareFields(t, name, ours, real)
	}
}

func has(list []string, want string) bool {
	for _, s := range list {
		if s == want {
			return true
		}
	}
	return false
}

func compareFields(t *testing.T, name string, ours, real *ast.Definition) {
	for _, f := range ours.Fields {
		if strings.HasPrefix(f.Name, "__") {
			continue
		}
		r := real.Fields.ForName(f.Name)
		if r == nil || r.Type.String() != f.Type.String() {
			t.Errorf("%s.%s: %s is not as GitHub has it: %v", name, f.Name, f.Type, r)
			continue
		}
		for _, a := range f.Arguments {
			if other := r.Arguments.ForName(a.Name); other == nil || other.Type.String() != a.Type.String() {
				t.Errorf("%s.%s(%s: %s) is not as GitHub has it", name, f.Name, a.Name, a.Type)
			}
		}
		for _, a := range r.Arguments {
			if a.Type.NonNull && a.DefaultValue == nil && f.Arguments.ForName(a.Name) == nil {
				t.Errorf("%s.%s lacks %s, which GitHub demands", name, f.Name, a.Name)
			}
		}
	}
	for _, r := range real.Fields {
		if ours.Kind == ast.InputObject && ours.Fields.ForName(r.Name) == nil {
			t.Errorf("%s lacks %s, which GitHub takes", name, r.Name)
		}
	}
}
