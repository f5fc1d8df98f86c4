package manifest

import (
	"slices"
	"testing"
)

func TestPlainDirectoryIsReadRecursively(t *testing.T) {
	tree := repo(map[string]string{
		"deploy/a.yaml":              configMap("a") + "data: {on: yes, n: 1, f: 1.5, o: 0644}\n---\n# nothing\n---\n" + configMap("b"),
		"deploy/sub/c.yml":           configMap("c"),
		"deploy/d.json":              "{\n\t\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\",\n\t\"metadata\": {\"name\": \"d\"}}\n",
		"deploy/README.md":           "# not a manifest",
		"deploy/.hidden/x.yaml":      "nonsense",
		"deploy/.lockkeeper.yaml":    "nonsense",
		"elsewhere/not-a-target.yml": "nonsense",
	})
	got := mustRender(t, shared, tree, "deploy")
	want := []string{"ConfigMap shop/a", "ConfigMap shop/b", "ConfigMap d", "ConfigMap shop/c"}
	if !slices.Equal(refs(got.Objects), want) {
		t.Fatalf("got %v, want %v", refs(got.Objects), want)
	}
	sources := []string{got.Objects[0].Source, got.Objects[1].Source, got.Objects[2].Source}
	if want := []string{"deploy/a.yaml:1", "deploy/a.yaml:10", "deploy/d.json:1"}; !slices.Equal(sources, want) {
		t.Errorf("sources: got %v, want %v", sources, want)
	}
	t.Log(got.Objects[0].Content)
}

func TestKustomizeSmoke(t *testing.T) {
	tree := repo(map[string]string{
		"base/kustomization.yaml":    "resources: [web.yaml]\nconfigMapGenerator:\n- name: cfg\n  literals: [a=b]\n",
		"base/web.yaml":              configMap("web"),
		"overlay/kustomization.yaml": "resources: [../base]\nnamePrefix: prod-\nnamespace: x\n",
	})
	got := mustRender(t, shared, tree, "overlay")
	for _, o := range got.Objects {
		t.Log(o.Ref, o.Source)
	}
	for _, c := range got.Closure {
		t.Log(c)
	}
	again := mustRender(t, shared, tree, "overlay")
	if again != got {
		t.Error("rendered again")
	}
}
