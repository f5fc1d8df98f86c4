package discover

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"lockkeeper/cluster/manifest"
)

func TestMain(m *testing.M) {
	manifest.Child()
	os.Exit(m.Run())
}

// repo makes a tree from a map of paths to contents.
func repo(files map[string]string) fstest.MapFS {
	m := fstest.MapFS{}
	for p, content := range files {
		m[p] = &fstest.MapFile{Data: []byte(content)}
	}
	return m
}

func configMap(name string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: " + name + "\n  namespace: shop\n"
}

// broken answers nothing.
type broken struct{ err error }

func (b broken) Open(string) (fs.File, error) { return nil, b.err }

func TestDiscoverFindsWhatCouldBeTargets(t *testing.T) {
	tree := repo(map[string]string{
		"README.md":                                        "# shop",
		".github/ci.yaml":                                  "apiVersion: v1\nkind: X\n",
		"package.json":                                     `{"name": "x"}`,
		"docker-compose.yml":                               "services: {}\n",
		"apps/shop/base/kustomization.yaml":                "resources: [web.yaml]\n",
		"apps/shop/base/web.yaml":                          configMap("web"),
		"apps/shop/overlays/staging/kustomization.yaml":    "resources: [../../base]\n",
		"apps/shop/overlays/production/kustomization.yaml": "resources: [../../base]\ncomponents: [../../tls]\n",
		"apps/shop/tls/kustomization.yaml":                 "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n",
		"apps/blog/overlays/staging/kustomization.yaml":    "resources: []\n",
		"infra/prod-eu/ns.yaml":                            "kind: Namespace\napiVersion: v1\nmetadata: {name: x}\n",
		"infra/prod-eu/rbac/role.yaml":                     "apiVersion: v1\nkind: X\n",
		"infra/dev/ns.json":                                `{"apiVersion": "v1", "kind": "Namespace"}`,
		"charts/x/Chart.yaml":                              "name: x\n",
		"charts/x/templates/x.yaml":                        "apiVersion: v1\nkind: {{ .Values.kind }}\n",
		"node_modules/x/x.yaml":                            configMap("x"),
		"mixed/a.yaml":                                     configMap("a"),
		"mixed/sub/kustomization.yaml":                     "resources: [a.yaml]\n",
		"helm/kustomization.yaml":                          "helmCharts: [{name: x}]\n",
		"broken/kustomization.yaml":                        "a: b: c\n",
	})
	found, err := Targets(tree)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range found {
		note, _, _ := strings.Cut(f.Note, ",")
		got = append(got, fmt.Sprintf("%s %v %s %s %s", f.Path, f.Kustomize, f.Name, f.Environment, note))
	}
	want := []string{
		"apps/blog/overlays/staging true blog-staging staging ",
		"apps/shop/overlays/production true shop-production production ",
		"apps/shop/overlays/staging true shop-staging staging ",
		"broken true broken  its kustomization file cannot be read",
		"helm true helm  uses helmCharts",
		"infra/dev false infra-dev development ",
		"infra/prod-eu false infra-prod-eu production ",
		"mixed false mixed  holds manifests beside the kustomization in mixed/sub; a plain directory cannot: move one of them",
		"mixed/sub true mixed-sub  ",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestDiscoverRendersWhatItFinds(t *testing.T) {
	in := map[string]string{
		"base/kustomization.yaml": "resources: [web.yaml]\n",
		"base/web.yaml":           configMap("web"),
		"top/kustomization.yaml":  "resources: [../base]\n",
		"plain/a.yaml":            configMap("a"),
	}
	found, err := Targets(repo(in))
	if err != nil || len(found) != 2 {
		t.Fatalf("got %v %v", found, err)
	}
	r := manifest.New(manifest.Limits{})
	defer r.Close()
	for _, f := range found {
		if _, err := r.Render(t.Context(), repo(in), f.Path); err != nil {
			t.Error(err)
		}
	}
}

func TestDiscoverGivesUniqueNames(t *testing.T) {
	found, err := Targets(repo(map[string]string{
		"deploy/a.yaml": configMap("a"), "k8s/a.yaml": configMap("a"), "A/b/x.yaml": configMap("a"), "a-b/x.yaml": configMap("a"), "a_b/x.yaml": configMap("x"),
	}))
	seen := map[string]bool{}
	for _, f := range found {
		if f.Name == "" || seen[f.Name] {
			t.Errorf("name %q of %s is empty or taken", f.Name, f.Path)
		}
		seen[f.Name] = true
	}
	if err != nil || len(found) != 5 {
		t.Errorf("got %v %v", found, err)
	}
}

func TestDiscoverPassesErrorsOn(t *testing.T) {
	if _, err := Targets(broken{errors.New("disk on fire")}); err == nil || !strings.Contains(err.Error(), "disk on fire") {
		t.Errorf("got %v", err)
	}
}
