package plan_test

import (
	"slices"
	"testing"
	"testing/fstest"

	"lockkeeper/bot/config"
	"lockkeeper/bot/plan"
)

func sources(t *testing.T, tree fstest.MapFS) *plan.Sources {
	t.Helper()
	p := &plan.Planner{Renderer: renderer}
	s, err := p.Sources(t.Context(), tree, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFilesTouchTheTargetsThatReadThem(t *testing.T) {
	tree := files(config.RepoFile, twoTargets, "web/kustomization.yaml", "resources: [../shared]\n",
		"shared/kustomization.yaml", "resources: [a.yaml]\n", "shared/a.yaml", configMap("a", "1"),
		"db/b.yaml", configMap("b", "1"), "docs/x.md", "x")
	broken := with(tree, "web/kustomization.yaml", "resources: [gone.yaml]\n")
	unknown := with(tree, config.RepoFile, "targets: [\n")
	for name, c := range map[string]struct {
		tree fstest.MapFS
		file string
		want []string
	}{
		"a file of the target":           {tree, "db/b.yaml", []string{"db"}},
		"a new file of the target":       {tree, "db/sub/new.yaml", []string{"db"}},
		"a base elsewhere":               {tree, "shared/a.yaml", []string{"web"}},
		"nobody's":                       {tree, "docs/x.md", nil},
		"anything, of a broken target":   {broken, "docs/x.md", []string{"web"}},
		"anything, of unreadable config": {unknown, "docs/x.md", []string{config.RepoFile}},
	} {
		if got := sources(t, c.tree).Touched(c.file); !slices.Equal(got, c.want) {
			t.Errorf("%s: touches %v, want %v", name, got, c.want)
		}
	}
	if got := sources(t, tree).Names(); !slices.Equal(got, []string{"db", "web"}) {
		t.Errorf("targets are %v", got)
	}
}

func TestTargetIsTheSameIfItMakesTheSameInTheSamePlace(t *testing.T) {
	tree := files(config.RepoFile, twoTargets, "web/a.yaml", configMap("a", "1"), "db/b.yaml", configMap("b", "1"))
	for name, c := range map[string]struct {
		other fstest.MapFS
		want  bool
	}{
		"untouched":         {tree, true},
		"another file":      {with(tree, "web/a.yaml", "", "web/z.yaml", configMap("a", "1")), true},
		"another target":    {with(tree, "db/b.yaml", configMap("b", "2")), true},
		"another value":     {with(tree, "web/a.yaml", configMap("a", "2")), false},
		"broken":            {with(tree, "web/a.yaml", "kind: ["), false},
		"gone":              {with(tree, config.RepoFile, "targets:\n  - {name: db, path: db, cluster: main, environment: staging}\n"), false},
		"unreadable config": {with(tree, config.RepoFile, "targets: [\n"), false},
		"another environment": {with(tree, config.RepoFile,
			"targets:\n  - {name: web, path: web, cluster: main, environment: staging}\n"), false},
		"another cluster": {with(tree, config.RepoFile,
			"targets:\n  - {name: web, path: web, cluster: other, environment: production}\n"), false},
	} {
		if got := sources(t, tree).Same(sources(t, c.other), "web"); got != c.want {
			t.Errorf("%s: same is %v", name, got)
		}
	}
	if !sources(t, tree).Same(sources(t, tree), "none") {
		t.Error("a target that is in neither is not the same")
	}
}
