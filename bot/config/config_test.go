package config_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
	"golang.org/x/tools/txtar"

	"lockkeeper/bot/config"
	"lockkeeper/cluster"
	"lockkeeper/forge"
)

var update = flag.Bool("update", false, "write the golden files anew")

// parse reads a file as its name says.
func parse(name string, data []byte) (any, error) {
	if strings.HasSuffix(name, config.RepoFile) {
		return config.ParseFile(name, data)
	}
	return config.ParseServer(name, data)
}

// Each txtar file is a file with mistakes, and all that is said about them.
func TestEveryProblemIsReportedWithFileAndLine(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			in := archive.Files[0]
			_, err = parse(in.Name, in.Data)
			if err == nil {
				t.Fatal("no problem was found")
			}
			var problems config.Problems
			if !errors.As(err, &problems) {
				t.Fatalf("got a %T, want Problems", err)
			}
			got := err.Error() + "\n"
			if *update {
				archive.Files = []txtar.File{in, {Name: "problems", Data: []byte(got)}}
				if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if len(archive.Files) < 2 || string(archive.Files[1].Data) != got {
				t.Errorf("problems:\n%s", got)
			}
		})
	}
}

func TestTooLargeFileIsRefused(t *testing.T) {
	data := append([]byte("# "), bytes.Repeat([]byte("x"), 1<<20)...)
	for _, name := range []string{config.RepoFile, "server.yaml"} {
		if _, err := parse(name, data); err == nil || !strings.Contains(err.Error(), "more than the 1048576 that are read") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAliasBombIsRefusedAtOnce(t *testing.T) { // threat 6
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 30; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 9), ", "))
	}
	start := time.Now()
	_, err := config.ParseFile(config.RepoFile, []byte(b.String()))
	if err == nil || !strings.Contains(err.Error(), "anchors, aliases and merge keys") {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestDeepNestingIsRefused(t *testing.T) { // threat 6
	_, err := config.ParseFile(config.RepoFile, bytes.Repeat([]byte("["), 200_000))
	if err == nil {
		t.Error("200,000 levels were read")
	}
}

const server = `store: /var/lib/lockkeeper/lockkeeper.db
cache: /var/cache/lockkeeper
github:
  app: {id: 7, privateKeyFile: key.pem}
  webhookSecretFiles: [secret]
clusters:
  main: {kubeconfig: kubeconfig}
repositories:
  - id: 42
    name: acme/shop
    allow:
      - paths: [platform, "overlays/**"]
        clusters: [main]
        environments: [staging, production]
        namespaces: [shop, "shop-*"]
        clusterKinds: [Namespace]
`

func TestServerDefaults(t *testing.T) {
	s, err := config.ParseServer("server.yaml", []byte(server))
	if err != nil {
		t.Fatal(err)
	}
	r := s.Repositories[0]
	if s.Listen != ":8080" || time.Duration(s.Sweep) != 5*time.Minute || s.MaxDeletes != 25 ||
		!slices.Equal(s.GitHub.ServiceAccounts, []int64{config.GitHubWebFlow}) ||
		r.Apply != config.ApplyOnComment || r.Merge != forge.MethodSquash {
		t.Errorf("defaults: %+v", s)
	}
	if got, ok := s.Repository(42); !ok || got.Ref() != (forge.RepoRef{ID: 42, Owner: "acme", Name: "shop"}) {
		t.Errorf("repository 42 is %+v", got)
	}
	if _, ok := s.Repository(43); ok { // threat 18
		t.Error("a repository that the operator does not list was found")
	}
}

func TestWrittenValuesStand(t *testing.T) {
	text := strings.NewReplacer("  webhookSecretFiles", "  serviceAccounts: []\n  webhookSecretFiles",
		"    allow:", "    apply: merge\n    merge: rebase\n    bases: [main, release]\n    allow:").Replace(server) +
		"listen: 127.0.0.1:1\nsweep: 90s\nmaxDeletes: 3\n"
	s, err := config.ParseServer("server.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	r := s.Repositories[0]
	if s.Listen != "127.0.0.1:1" || time.Duration(s.Sweep) != 90*time.Second || s.MaxDeletes != 3 ||
		len(s.GitHub.ServiceAccounts) != 0 || r.Apply != config.ApplyOnMerge || r.Merge != forge.MethodRebase {
		t.Errorf("got %+v", s)
	}
}

func dir() *fstest.MapFile { return &fstest.MapFile{Data: []byte("x")} }

// tree has three overlays, one of which has a name that nobody can type.
func tree() fstest.MapFS {
	return fstest.MapFS{
		"platform/a.yaml": dir(), "overlays/staging/a.yaml": dir(), "overlays/production/a.yaml": dir(),
		"overlays/README.md": dir(), "odd/with space/a.yaml": dir(), "odd/fine/a.yaml": dir(),
	}
}

func TestTargetsAreResolvedWithinWhatTheOperatorAllows(t *testing.T) {
	operator := &config.Repository{ID: 42, Name: "acme/shop", Allow: []config.Allowance{
		{Paths: []string{"platform"}, Clusters: []string{"main"}, Environments: []string{"production"}, Namespaces: []string{"shop"}, ClusterKinds: []string{"Namespace"}},
		{Paths: []string{"overlays/**"}, Clusters: []string{"main"}, Environments: []string{"staging"}, Namespaces: []string{"shop-*"}},
		{Paths: []string{"odd/*"}, Clusters: []string{"other"}, Environments: []string{"staging"}},
	}}
	tests := []struct {
		name, file string
		want       []string // name path fence
		problems   []string // parts, in order
	}{
		{name: "plain", file: "{path: platform, cluster: main, environment: production}", want: []string{"platform platform [shop] [Namespace]"}},
		{name: "named", file: "{path: platform, name: base, cluster: main, environment: production}", want: []string{"base platform [shop] [Namespace]"}},
		{name: "glob", file: "{path: overlays/*, cluster: main, environment: staging}", want: []string{
			"overlays/production overlays/production [shop-*] []", "overlays/staging overlays/staging [shop-*] []"}},
		{name: "another cluster", file: "{path: platform, cluster: other, environment: production}", // threat 18
			problems: []string{`:2: targets[0]: the operator does not allow platform to use cluster "other" as environment "production"`}},
		{name: "a laxer environment", file: "{path: platform, cluster: main, environment: staging}",
			problems: []string{`as environment "staging"`}},
		{name: "another path", file: "{path: odd/fine, cluster: main, environment: staging}", problems: []string{"does not allow odd/fine"}},
		{name: "gone", file: "{path: nowhere, cluster: main, environment: staging}", problems: []string{"the directory nowhere does not exist"}},
		{name: "a file", file: "{path: overlays/README.md, cluster: main, environment: staging}", problems: []string{"is a file; want a directory"}},
		{name: "a glob without matches", file: "{path: none/*, cluster: main, environment: staging}", problems: []string{"no directory matches none/*"}},
		{name: "one of the glob cannot be typed", file: "{path: odd/*, cluster: other, environment: staging}",
			want: []string{"odd/fine odd/fine [] []"}, problems: []string{`the directory "odd/with space" makes no usable name`}},
		{name: "a glob over a named target", want: []string{"overlays/production overlays/production [shop-*] []", "overlays/staging overlays/staging [shop-*] []"},
			file:     "{path: overlays/*, cluster: main, environment: staging}\n  - {path: overlays/staging, cluster: main, environment: staging}",
			problems: []string{`:3: targets[1]: two targets are named "overlays/staging"`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := config.ParseFile(config.RepoFile, []byte("targets:\n  - "+tt.file+"\n"))
			if err != nil {
				t.Fatal(err)
			}
			targets, problems := f.Resolve(tree(), operator)
			var got []string
			for _, x := range targets {
				got = append(got, fmt.Sprint(x.Name, " ", x.Path, " ", x.Fence.Namespaces, " ", x.Fence.ClusterKinds))
				if x.RepoID != 42 {
					t.Errorf("%s belongs to repository %d", x.Name, x.RepoID)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("targets %q, want %q", got, tt.want)
			}
			if len(problems) != len(tt.problems) {
				t.Fatalf("problems: %v", problems)
			}
			for i, want := range tt.problems {
				if !strings.Contains(problems[i].String(), want) {
					t.Errorf("problem %q, want %q in it", problems[i], want)
				}
			}
		})
	}
}

func TestWithoutAnOperatorAllButTheOwnNamespaceIsOpen(t *testing.T) {
	f, err := config.ParseFile(config.RepoFile, []byte("targets:\n  - {path: platform, cluster: any, environment: any, timeout: 90s, namespace: shop}\n"))
	if err != nil {
		t.Fatal(err)
	}
	targets, problems := f.Resolve(tree(), nil)
	if len(problems) > 0 || len(targets) != 1 || targets[0].Timeout != 90*time.Second || targets[0].Namespace != "shop" {
		t.Fatalf("%+v, %v", targets, problems)
	}
	fence := targets[0].Fence
	for ns, open := range map[string]bool{"shop": true, "kube-system": true, cluster.SystemNamespace: false} {
		why := fence.Check(cluster.Ref{Kind: "ConfigMap", Namespace: ns, Name: "x"}, cluster.Namespaced)
		if (why == "") != open {
			t.Errorf("%s: %q", ns, why)
		}
	}
}

func TestDeepGlobsOfTheOperatorCoverTheDirectoryItself(t *testing.T) {
	for _, tt := range []struct {
		glob, dir string
		want      bool
	}{
		{"apps/**", "apps", true}, {"apps/**", "apps/a/b", true}, {"apps/*", "apps/a/b", false}, {"apps/*", "apps", false},
		{"**", ".", true}, {"apps", "apps2", false}, {"apps/**", "other/apps", false},
	} {
		r := &config.Repository{Allow: []config.Allowance{{Paths: []string{tt.glob}, Clusters: []string{"c"}, Environments: []string{"e"}}}}
		f := config.File{Targets: []config.Target{{Path: tt.dir, Name: "x", Cluster: "c", Environment: "e"}}}
		fsys := fstest.MapFS{"apps/a/b/x.yaml": dir(), "apps2/x.yaml": dir(), "other/apps/x.yaml": dir()}
		_, problems := f.Resolve(fsys, r)
		if (len(problems) == 0) != tt.want {
			t.Errorf("%s allows %s: %v", tt.glob, tt.dir, problems)
		}
	}
}

func TestSchemasAcceptGoodFilesAndRefuseBadOnes(t *testing.T) {
	shop, err := os.ReadFile("../../testdata/shop/" + config.RepoFile)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := config.ParseFile(config.RepoFile, shop); err != nil {
		t.Errorf("the seed's file: %v", err)
	}
	for _, tt := range []struct {
		kind, text string
		ok         bool
	}{
		{"repository", string(shop), true},
		{"repository", "targets: []", false},
		{"repository", "targets: [{path: a, cluster: b}]", false},
		{"repository", "targets: [{path: a, cluster: b, environment: c, color: red}]", false},
		{"repository", "targets: [{path: a, cluster: b, environment: c}]\nenvironments: {c: {approvals: {}}}", false},
		{"repository", "targets: [{path: a, cluster: b, environment: c, timeout: 1m30s}]", true},
		{"repository", "targets: [{path: a, cluster: b, environment: c, timeout: soon}]", false},
		{"repository", policyFile + "environments: {c: {separation: {contributors: [opener]}}}", true},
		{"repository", policyFile + "environments: {c: {separation: {contributors: [reviewer]}}}", false},
		{"repository", policyFile + "environments: {c: {separation: {contributors: []}}}", false},
		{"repository", policyFile + "environments: {c: {override: {by: {users: [a]}, expires: 1h}}}", false},
		{"repository", policyFile + "rules: [{name: a, require: {any: [{approvals: 1}, {all: [{approvals: 2}]}]}}]", true},
		{"repository", policyFile + "rules: [{name: a, require: {any: [{all: [{approvals: 2, colour: red}]}]}}]", false},
		{"repository", policyFile + "rules: [{name: a}]", false},
		{"repository", policyFile + "rules: [{name: a, when: {actions: [destroy]}, require: {approvals: 1}}]", false},
		{"repository", everything(t, 0), true},
		{"server", everything(t, 1), true},
		{"server", server + "floors: {production: {}}", false},
		{"server", server, true},
		{"server", strings.Replace(server, "allow:", "apply: never\n    allow:", 1), false},
		{"server", strings.Replace(server, "id: 42", "id: 0", 1), false},
	} {
		if err := validate(t, tt.kind, tt.text); (err == nil) != tt.ok {
			t.Errorf("%s schema on\n%s\nsays %v", tt.kind, tt.text, err)
		}
	}
	if _, err := config.Schema("other"); err == nil {
		t.Error("there is a schema of nothing")
	}
}

const policyFile = "targets: [{path: a, cluster: b, environment: c}]\n"

// everything is one of the files that say everything there is to say.
func everything(t *testing.T, i int) string {
	t.Helper()
	_, _, archive := all(t)
	return string(archive.Files[i].Data)
}

// validate checks YAML against a generated schema.
func validate(t *testing.T, kind, text string) error {
	t.Helper()
	raw, err := config.Schema(kind)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	inst, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return schema.Validate(inst)
}
