package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"lockkeeper/bot/config"
	"lockkeeper/bot/policy"
)

const allCase = "testdata/compile/all.txtar"

// all reads the case that says everything there is to say.
func all(t testing.TB) (file *config.File, server *config.Server, archive *txtar.Archive) {
	t.Helper()
	archive, err := txtar.ParseFile(allCase)
	if err != nil {
		t.Fatal(err)
	}
	if file, err = config.ParseFile(config.RepoFile, archive.Files[0].Data); err != nil {
		t.Fatal(err)
	}
	if server, err = config.ParseServer("server.yaml", archive.Files[1].Data); err != nil {
		t.Fatal(err)
	}
	return file, server, archive
}

func TestAPolicyIsCompiledWithTheFloorsBesideIt(t *testing.T) {
	file, server, archive := all(t)
	var got bytes.Buffer
	enc := json.NewEncoder(&got)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(config.Compile(file, server)); err != nil {
		t.Fatal(err)
	}
	if *update {
		archive.Files = append(archive.Files[:2], txtar.File{Name: "policy.json", Data: got.Bytes()})
		if err := os.WriteFile(allCase, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want := archive.Files[2].Data; !bytes.Equal(got.Bytes(), want) {
		t.Errorf("got\n%swant\n%s", got.Bytes(), want)
	}
}

// What the case above leaves out would not be seen to be lost.
func TestTheCompiledCaseSaysEverything(t *testing.T) {
	file, server, _ := all(t)
	said := map[string]bool{}
	mentioned(reflect.ValueOf(file.Policy), said)
	mentioned(reflect.ValueOf(config.Compile(file, server)), said)
	for field, ok := range said {
		if !ok {
			t.Errorf("%s says nothing about %s", allCase, field)
		}
	}
}

// mentioned notes for each field of each type whether it is set anywhere.
func mentioned(v reflect.Value, said map[string]bool) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			mentioned(v.Elem(), said)
		}
	case reflect.Slice:
		for i := range v.Len() {
			mentioned(v.Index(i), said)
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			mentioned(v.MapIndex(k), said)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			name := v.Type().String() + "." + v.Type().Field(i).Name
			said[name] = said[name] || !v.Field(i).IsZero()
			mentioned(v.Field(i), said)
		}
	}
}

func TestWithoutAFileTheFloorsStandAlone(t *testing.T) {
	_, server, _ := all(t)
	p := config.Compile(nil, server)
	if len(p.Rules) != 1 || len(p.Environments) != 1 || len(p.Groups) != 1 || len(p.Owners) != 1 || p.Default.Approvals != 1 {
		t.Errorf("got %+v", p)
	}
}

func TestWithoutAServerFileNothingIsAFloor(t *testing.T) {
	file, _, _ := all(t)
	p := config.Compile(file, nil)
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b, []byte("floor")) || !slices.Equal(p.ServiceAccounts, []int64{config.GitHubWebFlow}) {
		t.Errorf("got %s", b)
	}
	if bare := config.Compile(nil, nil); bare.Default.Approvals != 1 {
		t.Errorf("without anything, nothing is asked for: %+v", bare)
	}
}

// The order in which maps are written or read does not matter to approvals.
func TestTheRevisionDoesNotDependOnTheOrderOfKeys(t *testing.T) {
	parts := []string{
		"groups:\n  a: {users: [x]}\n  b: {users: [y]}\n", "environments:\n  p: {approvals: {required: 1}}\n  q: {approvals: {required: 2}}\n",
		"targets:\n  - {path: a, cluster: c, environment: p}\n",
	}
	mirrored := []string{
		parts[2], "environments:\n  q: {approvals: {required: 2}}\n  p: {approvals: {required: 1}}\n",
		"groups:\n  b: {users: [y]}\n  a: {users: [x]}\n",
	}
	revision := func(parts []string) string {
		f, err := config.ParseFile(config.RepoFile, []byte(strings.Join(parts, "")))
		if err != nil {
			t.Fatal(err)
		}
		return config.Compile(f, nil).Revision()
	}
	if revision(parts) != revision(mirrored) {
		t.Error("the revisions differ")
	}
}

// Whatever a repository writes, what the operator asks for stays as it is.
func TestFloorsAreTheSameBesideAnyFile(t *testing.T) {
	file, server, _ := all(t)
	alone, beside := config.Compile(nil, server), config.Compile(file, server)
	if got := floors(beside); !reflect.DeepEqual(got, floors(alone)) {
		t.Errorf("beside a file, floors are %+v", got)
	}
}

func floors(p policy.Policy) policy.Policy {
	return policy.Policy{
		Environments: keep(p.Environments, func(e policy.Environment) bool { return e.Floor }),
		Rules:        keep(p.Rules, func(r policy.Rule) bool { return r.Floor }),
		Groups:       keep(p.Groups, func(g policy.Group) bool { return g.Floor }),
		Owners:       keep(p.Owners, func(o policy.Owners) bool { return o.Floor }),
	}
}

func keep[T any](list []T, wanted func(T) bool) []T {
	return slices.DeleteFunc(slices.Clone(list), func(x T) bool { return !wanted(x) })
}

// A file that is accepted can be evaluated, and reads back from its record.
func evaluable(t *testing.T, p policy.Policy) {
	t.Helper()
	if _, err := policy.Compile(p); err != nil {
		t.Fatalf("valid, but it cannot be evaluated: %v\n%+v", err, p)
	}
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var again policy.Policy
	if err := json.Unmarshal(b, &again); err != nil {
		t.Fatal(err)
	}
	if again.Revision() != p.Revision() {
		t.Fatalf("another policy after it was recorded:\n%s\n%s", b, fmt.Sprint(again))
	}
}

func TestTheCompiledPolicyCanBeEvaluated(t *testing.T) {
	file, server, _ := all(t)
	evaluable(t, config.Compile(file, server))
}
