package manifest

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"lockkeeper/cluster/manifest/closure"
	"lockkeeper/cluster/manifest/document"
)

func TestBadManifestsAreExplained(t *testing.T) {
	const head = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\n"
	for name, c := range map[string]struct {
		file string
		line int
		want string
	}{
		"invalid YAML":           {head + "data:\n  a: b: c\n", 6, "invalid YAML"},
		"tab":                    {head + "data:\n\ta: b\n", 6, "invalid YAML"},
		"duplicate key":          {head + "data:\n  a: 1\n  b: 2\n  a: 3\n", 8, `key "a" is already set on line 6`},
		"duplicate kind":         {head + "kind: Secret\n", 5, `key "kind" is already set on line 2`},
		"no kind":                {"# hello\napiVersion: v1\nmetadata: {name: x}\n", 2, "has no kind"},
		"no apiVersion":          {"kind: ConfigMap\nmetadata: {name: x}\n", 1, "has no apiVersion"},
		"kind is a number":       {"apiVersion: v1\nkind: 5\nmetadata: {name: x}\n", 2, "kind must be a string"},
		"bad apiVersion":         {"apiVersion: a/b/c\nkind: X\nmetadata: {name: x}\n", 1, `apiVersion "a/b/c"`},
		"no metadata":            {"apiVersion: v1\nkind: ConfigMap\n", 1, "ConfigMap has no metadata.name"},
		"no name":                {"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  labels: {}\n", 3, "ConfigMap has no metadata.name"},
		"name is a number":       {"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: 12\n", 4, "must be a string"},
		"generateName":           {"apiVersion: batch/v1\nkind: Job\nmetadata:\n  generateName: x-\n", 4, "generateName: every apply would make another"},
		"second document":        {head + "---\nkind: X\n", 6, "has no apiVersion"},
		"not a map":              {"- a\n- b\n", 1, "not a Kubernetes object"},
		"text":                   {"hello\n", 1, "not a Kubernetes object"},
		"label is a number":      {head + "  labels:\n    a: b\n    version: 12\n", 7, `metadata.labels["version"] must be a string`},
		"annotation is a bool":   {head + "  annotations: {a: yes}\n", 5, `metadata.annotations["a"] must be a string`},
		"labels are a list":      {head + "  labels: [a]\n", 5, "metadata.labels must be a map"},
		"namespace is a number":  {head + "  namespace: 5\n", 5, "metadata.namespace of ConfigMap must be a string"},
		"right-to-left override": {"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: \"a\\u202Eb\"\n", 4, `"a\u202eb" holds white space or a control character`},
		"zero-width space":       {"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: \"a\\u200Bb\"\n", 4, "control character"},
		"control in kind":        {"apiVersion: v1\nkind: \"A\\u0007\"\nmetadata: {name: x}\n", 2, "control character"},
		"slash in name":          {"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ../x\n", 4, "slash"},
		"control in namespace":   {head + "  namespace: \"a\\nb\"\n", 5, "control character"},
		"SOPS":                   {head + "data: {a: 'ENC[AES256_GCM,data:x]'}\nsops:\n  mac: x\n", 6, "encrypted with SOPS, which is not supported yet"},
		"list without items":     {"apiVersion: v1\nkind: List\n", 2, "kind List has no items"},
		"bad item":               {"apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {}\n", 6, "no metadata.name"},
		"not a number":           {head + "data: {a: .nan}\n", 5, "NaN"},
		"key is a map":           {head + "data: {{a: b}: c}\n", 5, "a map key must be a string"},
		"endless alias":          {head + "data: &a\n  b: *a\n", 6, "alias *a refers to itself"},
		"Unicode error":          {"apiVersion: \xff\n", 0, "not UTF-8"},
		"deep nesting":           {head + "data: " + strings.Repeat("[", 150) + strings.Repeat("]", 150) + "\n", 5, "nested deeper than 100 levels"},
		"very deep nesting":      {head + "data: " + strings.Repeat("[", 500_000) + "\n", 5, "exceeded max depth"},
		"10 MiB":                 {"#" + strings.Repeat("x", document.MaxFile) + "\n" + head, 0, "larger than 10 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			if len(c.file) > 1<<20 && testing.Short() {
				t.Skip("short: input of several megabytes")
			}
			plain := problems(t, repo(map[string]string{"p/x.yaml": c.file}), "p")
			wantProblem(t, plain, "p/x.yaml", c.line, c.want)
		})
	}
}

func TestJSONProblemsHaveLinesToo(t *testing.T) {
	tree := repo(map[string]string{
		"p/a.json": "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"ConfigMap\",\n\t\"kind\": \"x\",\n\t\"metadata\": {\"name\": \"\\ud83d\\ude00\"}\n}\n",
		"p/b.json": "{\n  \"apiVersion\": \"v1\",\n  oops\n",
	})
	got := problems(t, tree, "p")
	wantProblem(t, got, "p/a.json", 4, `key "kind" is already set on line 3`)
	if len(got) < 2 || got[1].Path != "p/b.json" {
		t.Errorf("the broken file is not reported: %v", got)
	}
}

func TestAllProblemsAreReportedAtOnce(t *testing.T) {
	got := problems(t, repo(map[string]string{
		"p/a.yaml": "kind: X\n---\napiVersion: v1\n---\n" + configMap("ok"),
		"p/b.yaml": "a: b: c\n",
		"p/c.yaml": "[]\n",
	}), "p")
	wantProblem(t, got, "p/a.yaml", 1, "has no apiVersion")
	wantProblem(t, got, "p/a.yaml", 3, "has no kind")
	wantProblem(t, got, "p/b.yaml", 1, "invalid YAML")
	wantProblem(t, got, "p/c.yaml", 1, "not a Kubernetes object")
	err := &Errors{"p", got}
	if !strings.Contains(err.Error(), "p: 6 problems\np/a.yaml:1: ") {
		t.Errorf("the error is %q", err)
	}
}

func TestDuplicatesNameBothSources(t *testing.T) {
	got := problems(t, repo(map[string]string{
		"p/a.yaml": configMap("x"), "p/b.yaml": configMap("y") + "---\n" + strings.Replace(configMap("x"), "v1", "v1", 1),
	}), "p")
	wantProblem(t, got, "p/b.yaml", 7, "ConfigMap shop/x is already defined in p/a.yaml:1")
}

func TestListsAreExpanded(t *testing.T) {
	got := mustRender(t, shared, repo(map[string]string{"p/a.yaml": `
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}
- apiVersion: rbac.authorization.k8s.io/v1
  kind: RoleList
  items:
  - metadata: {name: r}
`}), "p")
	if len(got.Objects) != 2 || got.Objects[1].Ref.GroupKind() != "Role.rbac.authorization.k8s.io" || got.Objects[1].Source != "p/a.yaml:9" {
		t.Errorf("got %v from %s", refs(got.Objects), got.Objects[1].Source)
	}
}

func TestMergeKeysAndAliasesExpand(t *testing.T) {
	got := mustRender(t, shared, repo(map[string]string{"p/a.yaml": configMap("a") + `
data: &d {a: x, b: y}
more: {<<: *d, b: z}
twice: [*d, *d]
`}), "p")
	want := "map[a:x b:z]"
	if s := fmt.Sprint(got.Objects[0].Content["more"]); s != want {
		t.Errorf("got %s, want %s", s, want)
	}
}

// bombs are documents of a few hundred bytes that stand for billions of values.
func bombs() map[string]string {
	laughs := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c <= 'k'; c++ {
		laughs += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c, ", c-1), 10), ", "))
	}
	maps := "a: &a {x: y}\n"
	for c := 'b'; c <= 'k'; c++ {
		maps += fmt.Sprintf("%c: &%c {%s}\n", c, c, strings.Join([]string{fmt.Sprintf("l: *%c", c-1), fmt.Sprintf("m: *%c", c-1), fmt.Sprintf("n: *%c", c-1), fmt.Sprintf("o: *%c", c-1)}, ", "))
	}
	return map[string]string{"lists": laughs, "maps": maps}
}

// Threat 6.
func TestAliasBombsAreRefused(t *testing.T) {
	for name, bomb := range bombs() {
		t.Run(name, func(t *testing.T) {
			body := configMap("x") + bomb
			got := problems(t, repo(map[string]string{"p/x.yaml": body}), "p")
			if len(got) != 1 || !strings.Contains(got[0].Message, "aliases stand for more than 100000 values") || got[0].Line == 0 {
				t.Errorf("plain: got %v", got)
			}
			for what, files := range map[string]map[string]string{
				"resource":      {"k/kustomization.yaml": "resources: [x.yaml]\n", "k/x.yaml": body},
				"kustomization": {"k/kustomization.yaml": bomb},
				"patch":         {"k/kustomization.yaml": "resources: [ok.yaml]\npatches: [{path: x.yaml}]\n", "k/x.yaml": body, "k/ok.yaml": configMap("x")},
				"odd name":      {"k/kustomization.yaml": "resources: [x.txt]\n", "k/x.txt": body},
			} {
				got := problems(t, repo(files), "k")
				if len(got) != 1 || !strings.Contains(got[0].Message, "aliases stand for more than 100000 values") {
					t.Errorf("%s: got %v", what, got)
				}
			}
		})
	}
}

func TestTooManyObjectsAreRefused(t *testing.T) {
	var b strings.Builder
	for i := range MaxObjects + 5 {
		fmt.Fprintf(&b, "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: n%d}}\n", i)
	}
	got := problems(t, repo(map[string]string{"p/x.yaml": b.String()}), "p")
	if len(got) != 1 || !strings.Contains(got[0].Message, "more than 10000 objects") {
		t.Errorf("got %v", got)
	}
}

func TestLargeFilesOfKustomizationsAreRefused(t *testing.T) {
	got := problems(t, repo(map[string]string{
		"k/kustomization.yaml": "configMapGenerator:\n- name: x\n  files: [big.txt]\n",
		"k/big.txt":            strings.Repeat("x", document.MaxFile+1),
	}), "k")
	wantProblem(t, got, "k/big.txt", 0, "larger than 10 MiB")
}

func TestConfusingDirectoriesAreErrors(t *testing.T) {
	tree := repo(map[string]string{
		"p/a.yaml":                 configMap("a"),
		"p/sub/kustomization.yaml": "resources: []\n",
		"c/Chart.yaml":             "name: x\n",
		"file.yaml":                "x",
	})
	tree["s/module"] = &fstest.MapFile{Mode: fs.ModeIrregular}
	wantProblem(t, problems(t, tree, "s"), "s/module", 0, "is a submodule")
	wantProblem(t, problems(t, tree, "p"), "p/sub/kustomization.yaml", 0, "a kustomization inside a plain directory; make p/sub a target")
	wantProblem(t, problems(t, tree, "c"), "c/Chart.yaml", 0, "Helm chart")
	wantProblem(t, problems(t, tree, "nope"), "nope", 0, "there is no such directory")
	wantProblem(t, problems(t, tree, "file.yaml"), "file.yaml", 0, "is not a directory")
	if _, err := shared.Render(t.Context(), tree, "../x"); err == nil || !strings.Contains(err.Error(), "not a path in the repository") {
		t.Errorf("got %v, want ../x to be refused", err)
	}
}

// linked is a tree with symbolic links, which refuses those that leave it, as
// trees of Git objects do.
type linked struct{ fstest.MapFS }

var errLeaves = errors.New("link leaves the tree")

func (l linked) check(op, name string) error {
	for p, f := range l.MapFS {
		if f.Mode&fs.ModeSymlink != 0 && strings.HasPrefix(string(f.Data), "/") && (name == p || strings.HasPrefix(name, p+"/")) {
			return &fs.PathError{Op: op, Path: name, Err: errLeaves}
		}
	}
	return nil
}

func (l linked) ReadFile(name string) ([]byte, error) {
	if err := l.check("read", name); err != nil {
		return nil, err
	}
	return l.MapFS.ReadFile(name)
}

func (l linked) Stat(name string) (fs.FileInfo, error) {
	if err := l.check("stat", name); err != nil {
		return nil, err
	}
	return l.MapFS.Stat(name)
}

func symlink(to string) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte(to), Mode: fs.ModeSymlink | 0o777}
}

// Threat 4.
func TestLinksThatLeaveTheTreeAreErrors(t *testing.T) {
	tree := linked{repo(map[string]string{
		"p/a.yaml":             configMap("a"),
		"k/kustomization.yaml": "resources: [x.yaml]\n",
		"b/kustomization.yaml": "resources: [base]\n",
	})}
	tree.MapFS["p/x.yaml"] = symlink("/etc/passwd")
	tree.MapFS["k/x.yaml"] = symlink("/etc/passwd")
	tree.MapFS["b/base"] = symlink("/etc")
	for _, dir := range []string{"p", "k", "b"} {
		_, err := shared.Render(t.Context(), tree, dir)
		if !errors.Is(err, errLeaves) && !errors.Is(err, closure.ErrOutside) || !strings.Contains(err.Error(), "render "+dir) {
			t.Errorf("%s: got %v, want the tree's error", dir, err)
		}
	}
}

func TestLinksInsideTheTreeAreFollowed(t *testing.T) {
	tree := repo(map[string]string{
		"shared/cm.yaml":                configMap("a"),
		"real/base/kustomization.yaml":  "resources: [../common, x.yaml]\n",
		"real/base/x.yaml":              configMap("x"),
		"real/common/kustomization.yml": "resources: [y.yaml]\n",
		"real/common/y.yaml":            configMap("y"),
		"top/kustomization.yaml":        "resources: [base]\n",
	})
	tree["p/cm.yaml"] = symlink("../shared/cm.yaml")
	tree["top/base"] = symlink("../real/base")
	tree["q/dir"] = symlink("../shared")
	if got := refs(mustRender(t, shared, tree, "p").Objects); len(got) != 1 {
		t.Errorf("plain: got %v", got)
	}
	// ../common is beside the real base, not beside the link.
	if got := refs(mustRender(t, shared, tree, "top").Objects); len(got) != 2 {
		t.Errorf("kustomize: got %v", got)
	}
	wantProblem(t, problems(t, tree, "q"), "q/dir", 0, "is a link to a directory")
}
