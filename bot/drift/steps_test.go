package drift

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// TestTheStepSetIsComplete reads the code: whatever has a step's method is in the
// set, once, under a name of its own, and is carried out.
func TestTheStepSetIsComplete(t *testing.T) {
	var listed []string
	names := map[string]bool{}
	for _, s := range steps() {
		listed = append(listed, strings.TrimPrefix(fmt.Sprintf("%T", s), "drift."))
		if names[s.name()] {
			t.Errorf("two steps are called %q", s.name())
		}
		names[s.name()] = true
	}
	slices.Sort(listed)
	//lint:ignore SA1019 this package has no build tags
	pkgs, err := parser.ParseDir(token.NewFileSet(), ".", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var written, carriedOut []string
	for _, pkg := range pkgs {
		ast.Inspect(pkg, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv != nil && n.Name.Name == "name" {
					written = append(written, n.Recv.List[0].Type.(*ast.Ident).Name)
				}
			case *ast.CaseClause:
				for _, e := range n.List {
					if id, ok := e.(*ast.Ident); ok {
						carriedOut = append(carriedOut, id.Name)
					}
				}
			}
			return true
		})
	}
	slices.Sort(written)
	if !slices.Equal(listed, written) {
		t.Errorf("the set has %v, and the code %v", listed, written)
	}
	for _, s := range written {
		if !slices.Contains(carriedOut, s) {
			t.Errorf("nothing carries out %s", s)
		}
	}
}
