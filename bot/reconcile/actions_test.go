package reconcile

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// TestTheActionSetIsComplete reads the code: whatever has an action's method is
// in the set, once, under a name of its own, and the bot has a case for it.
func TestTheActionSetIsComplete(t *testing.T) {
	var listed []string
	names := map[string]string{}
	for _, a := range Actions() {
		typ := strings.TrimPrefix(fmt.Sprintf("%T", a), "reconcile.")
		listed = append(listed, typ)
		if other := names[Name(a)]; other != "" {
			t.Errorf("%s and %s are both called %q", typ, other, Name(a))
		}
		names[Name(a)] = typ
	}
	slices.Sort(listed)
	written := implementers(t, ".")
	if !slices.Equal(listed, written) {
		t.Errorf("Actions lists %v, and the code has %v", listed, written)
	}
	if got := cases(t, "../run.go", "reconcile"); !slices.Equal(got, written) {
		t.Errorf("package bot carries out %v, and the actions are %v", got, written)
	}
}

// implementers are the types of a package that have a method name() string,
// sorted.
func implementers(t *testing.T, dir string) []string {
	t.Helper()
	//lint:ignore SA1019 this package has no build tags
	pkgs, err := parser.ParseDir(token.NewFileSet(), dir, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, pkg := range pkgs {
		ast.Inspect(pkg, func(n ast.Node) bool {
			f, ok := n.(*ast.FuncDecl)
			if !ok || f.Recv == nil || f.Name.Name != "name" || len(f.Type.Params.List) > 0 {
				return true
			}
			typ := f.Recv.List[0].Type
			if p, ok := typ.(*ast.StarExpr); ok {
				typ = p.X
			}
			out = append(out, typ.(*ast.Ident).Name)
			return true
		})
	}
	slices.Sort(out)
	return out
}

// cases are the types of a package for which a file's type switches have a case,
// sorted.
func cases(t *testing.T, file, pkg string) []string {
	t.Helper()
	tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	ast.Inspect(tree, func(n ast.Node) bool {
		sw, ok := n.(*ast.TypeSwitchStmt)
		if !ok {
			return true
		}
		for _, clause := range sw.Body.List {
			for _, e := range clause.(*ast.CaseClause).List {
				if sel, ok := e.(*ast.SelectorExpr); ok && sel.X.(*ast.Ident).Name == pkg {
					out = append(out, sel.Sel.Name)
				}
			}
		}
		return true
	})
	slices.Sort(out)
	return slices.Compact(out)
}
