package main

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/types"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"
)

const module = "lockkeeper/"

// listed is a package as `go list` tells it, without its test files' imports.
type listed struct {
	ImportPath                string
	Imports                   []string
	TestImports, XTestImports []string
}

func listPackages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 20 {
		t.Fatalf("go list found only %d packages", len(all))
	}
	return all
}

// under reports whether a package is one of the rooms, or below one.
func under(pkg string, rooms ...string) bool {
	return slices.ContainsFunc(rooms, func(r string) bool {
		return pkg == module+r || strings.HasPrefix(pkg, module+r+"/")
	})
}

// forbidden says why one package of the module must not import another.
func forbidden(from, to string) string {
	switch {
	case under(from, "forge") && under(to, "cluster", "bot", "cmd", "templates"):
		return "forge knows no clusters and no bot"
	case under(from, "cluster") && under(to, "forge", "bot", "cmd", "templates"):
		return "cluster knows no forges and no bot"
	case under(from, "bot") && (to == module+"bot" || under(to, "cmd")):
		return "the bot's rooms do not know the bot"
	case under(from, "templates") && under(to, "bot", "forge", "cluster", "cmd"):
		return "templates are text"
	case to == module+"templates" && !under(from, "bot/report", "bot/web", "cmd"):
		return "templates are for reports and pages"
	case under(to, drivers...) && !under(from, "cmd") && from != to:
		return "drivers are wired in cmd only"
	case under(to, worlds...) && !under(from, append(worlds, "cmd")...):
		return "test servers are for tests and the demo"
	case under(from, "forge/internal/wire") && under(to, "forge") && to != module+"forge":
		return "the way out is below every driver"
	case under(from, drivers...) && under(to, "forge") && to != module+"forge" && !under(to, "forge/git", "forge/internal"):
		return "a driver knows the nouns, Git and the way out"
	}
	return ""
}

var (
	drivers = []string{"forge/github", "forge/gitlab", "forge/gitea", "cluster/kube"}
	// worlds are what is only run for tests and the demo.
	worlds = []string{"forge/forgetest", "forge/contract", "forge/people", "cluster/clustertest"}
)

func TestImportsRunOneWay(t *testing.T) {
	for _, p := range listPackages(t) {
		for _, to := range p.Imports {
			if why := forbidden(p.ImportPath, to); why != "" && !sameRoom(p.ImportPath, to) {
				t.Errorf("%s imports %s: %s", p.ImportPath, to, why)
			}
		}
	}
}

// sameRoom lets the parts of a driver import each other.
func sameRoom(from, to string) bool {
	for _, room := range append(drivers, "forge/forgetest", "cluster/clustertest") {
		if under(from, room) && under(to, room) {
			return true
		}
	}
	return false
}

// TestPureRoomsImportNothingThatReachesOut: what decides gets everything it looks
// at, the moment included, as a value.
func TestPureRoomsImportNothingThatReachesOut(t *testing.T) {
	seen := 0
	for _, p := range listPackages(t) {
		if !under(p.ImportPath, "bot/policy", "bot/reconcile") {
			continue
		}
		seen++
		for _, to := range p.Imports {
			if slices.Contains([]string{"context", "io/fs", "log/slog", "math/rand", "math/rand/v2", "os", "os/exec"}, to) ||
				strings.HasPrefix(to, "net/http") || under(to, "forge/git") {
				t.Errorf("%s imports %s: it decides, and does no I/O", p.ImportPath, to)
			}
		}
	}
	if seen < 2 {
		t.Errorf("only %d pure rooms: this test looks for the wrong names", seen)
	}
}

// The libraries that one room keeps to itself, so that a successor is a change
// in one room.
func TestLibrariesStayInTheirRooms(t *testing.T) {
	rooms := map[string][]string{
		"github.com/google/go-github/":        {"forge/github"},
		"github.com/bradleyfalzon/":           {"forge/github"},
		"gitlab.com/gitlab-org/":              {"forge/gitlab"},
		"code.gitea.io/":                      {"forge/gitea"},
		"github.com/sergi/go-diff/":           {"bot/report"},
		"k8s.io/client-go/":                   {"cluster", "cmd/demo", "cmd/bench", "cmd/replay", "cmd/soak"},
		"k8s.io/api/":                         {"cluster", "cmd/demo", "cmd/bench", "cmd/replay", "cmd/soak"},
		"sigs.k8s.io/kustomize/":              {"cluster/manifest"},
		"github.com/riverqueue/river":         {"bot/store"},
		"modernc.org/sqlite":                  {"bot/store"},
		"github.com/jackc/pgx/":               {"bot/store", "cmd/soak"},
		"github.com/prometheus/client_golang": {"bot/web"},
	}
	used := map[string]bool{}
	for _, p := range listPackages(t) {
		for _, to := range p.Imports {
			for prefix, allowed := range rooms {
				if !strings.HasPrefix(to, prefix) {
					continue
				}
				used[prefix] = true
				if !under(p.ImportPath, allowed...) {
					t.Errorf("%s imports %s, which belongs to %v", p.ImportPath, to, allowed)
				}
			}
		}
	}
	for _, must := range []string{"github.com/google/go-github/", "github.com/bradleyfalzon/", "gitlab.com/gitlab-org/", "code.gitea.io/", "github.com/sergi/go-diff/", "k8s.io/client-go/"} {
		if !used[must] {
			t.Errorf("nothing imports %s: this test looks for the wrong name", must)
		}
	}
}

// TestOneGate holds invariant 2: only carryOut calls a cluster's Apply, it
// takes a permit, and only gate makes one.
func TestOneGate(t *testing.T) {
	pkgs, err := packages.Load(&packages.Config{
		Context: t.Context(), Dir: "../..", Mode: packages.NeedName | packages.NeedFiles | packages.NeedSyntax | packages.NeedTypes | packages.NeedTypesInfo | packages.NeedImports,
	}, "./bot/...", "./cluster", "./cmd/lockkeeper")
	if err != nil {
		t.Fatal(err)
	}
	var applies, permits []string
	for _, p := range pkgs {
		if len(p.Errors) > 0 {
			t.Fatalf("%s: %v", p.PkgPath, p.Errors)
		}
		for _, f := range p.Syntax {
			for _, d := range f.Decls {
				name := p.PkgPath
				if fn, ok := d.(*ast.FuncDecl); ok {
					name += "." + fn.Name.Name
				}
				ast.Inspect(d, func(n ast.Node) bool {
					if sel, ok := n.(*ast.SelectorExpr); ok && isApply(p.TypesInfo.Uses[sel.Sel]) {
						applies = append(applies, name)
					}
					if e, ok := n.(ast.Expr); ok && makesPermit(p.TypesInfo, e) {
						permits = append(permits, name)
					}
					return true
				})
			}
		}
	}
	if want := []string{module + "bot.carryOut"}; !slices.Equal(slices.Compact(applies), want) {
		t.Errorf("a cluster's Apply is used in %v, want %v", applies, want)
	}
	if want := []string{module + "bot.gate"}; !slices.Equal(slices.Compact(permits), want) {
		t.Errorf("permits are made in %v, want %v", permits, want)
	}
}

// isApply recognises the method of the interface and those of its drivers.
func isApply(o types.Object) bool {
	f, ok := o.(*types.Func)
	if !ok || f.Name() != "Apply" || f.Pkg() == nil || !under(f.Pkg().Path(), "cluster") {
		return false
	}
	return f.Signature().Recv() != nil
}

// makesPermit recognises permit{} and new(permit).
func makesPermit(info *types.Info, e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.CompositeLit:
		return isPermit(info.TypeOf(e))
	case *ast.CallExpr:
		if id, ok := e.Fun.(*ast.Ident); ok && id.Name == "new" && len(e.Args) == 1 {
			return isPermit(info.TypeOf(e.Args[0]))
		}
	}
	return false
}

func isPermit(t types.Type) bool {
	n, ok := t.(*types.Named)
	return ok && n.Obj().Name() == "permit" && n.Obj().Pkg().Path() == module+"bot"
}
