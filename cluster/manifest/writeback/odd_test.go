package writeback

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lockkeeper/cluster"
)

const widget = `apiVersion: example.org/v1
kind: Widget
metadata: {name: w, namespace: shop}
spec:
  parts:
  - name: a # A
    size: 1
  - name: b
    size: 2
`

// Layouts that are less common, each with the files that the edit may touch.
func TestUncommonLayouts(t *testing.T) {
	base := "-- base/kustomization.yaml --\nresources: [web.yaml, widget.yaml]\n-- base/web.yaml --\n" + deployment + "-- base/widget.yaml --\n" + widget
	other := "-- other/kustomization.yaml --\nresources: [../base]\n"
	widgetRef := cluster.Ref{Group: "example.org", Kind: "Widget", Namespace: "shop", Name: "w"}
	for _, c := range []struct {
		name, files string
		ref         cluster.Ref
		changes     []string
		edits       string // names of the files
	}{
		{"prefix of the overlay", base + other + "-- prod/kustomization.yaml --\nresources: [../base]\nnamePrefix: p-\nnameSuffix: -s\n", refOf("Deployment", "p-web-s"),
			[]string{"spec.replicas = 6"}, "prod/drift-deployment-p-web-s.yaml prod/kustomization.yaml"},
		{"list of a custom resource", base + other + "-- prod/kustomization.yaml --\nresources: [../base]\n", widgetRef,
			[]string{"spec.parts[name=b].size = 3"}, "prod/drift-widget-w-json.yaml prod/kustomization.yaml"},
		{"several of a list of a custom resource", base + other + "-- prod/kustomization.yaml --\nresources: [../base]\n", widgetRef,
			[]string{"spec.parts[name=b].size = 3", "- spec.parts[name=a].size", "metadata.labels.x = z"}, "prod/drift-widget-w-json.yaml prod/drift-widget-w.yaml prod/kustomization.yaml"},
		{"old fields for patches", base + other + "-- prod/kustomization.yaml --\nbases: [../base]\npatchesStrategicMerge:\n- p.yaml\n- |-\n  kind: Widget\n  apiVersion: example.org/v1\n  metadata: {name: w, namespace: shop}\n  spec: {color: red} # red\npatchesJson6902:\n- target: {version: v1, group: example.org, kind: Widget, name: w}\n  path: j.json\n-- prod/p.yaml --\nkind: Deployment\napiVersion: apps/v1\nmetadata: {name: web, namespace: shop}\nspec:\n  paused: true # wait\n-- prod/j.json --\n[\n  {\"op\": \"add\", \"path\": \"/spec/mode\", \"value\": {\"deep\": [1, 2]}}\n]\n", widgetRef,
			[]string{"spec.color = blue", "spec.mode.deep = [1, 2, 3]"}, "prod/j.json prod/kustomization.yaml"},
		{"a value of an old patch is removed", base + other + "-- prod/kustomization.yaml --\nbases: [../base]\npatchesStrategicMerge: [p.yaml]\n-- prod/p.yaml --\nkind: Deployment\napiVersion: apps/v1\nmetadata: {name: web, namespace: shop}\nspec:\n  paused: true # wait\n  minReadySeconds: 3\n", refOf("Deployment", "web"),
			[]string{"- spec.paused"}, "prod/p.yaml"},
		{"removed from source and patch", "-- prod/kustomization.yaml --\nresources: [web.yaml]\npatches: [{path: p.yaml}]\n-- prod/web.yaml --\n" + deployment + "-- prod/p.yaml --\nkind: Deployment\napiVersion: apps/v1\nmetadata: {name: web, namespace: shop}\nspec:\n  replicas: 9\n  paused: true\n", refOf("Deployment", "web"),
			[]string{"- spec.replicas"}, "prod/p.yaml prod/web.yaml"},
		{"a base below the target", "-- prod/kustomization.yml --\nresources: [base]\n-- prod/base/kustomization.yaml --\nresources: [web.yaml]\n-- prod/base/web.yaml --\n" + deployment, refOf("Deployment", "web"),
			[]string{"spec.replicas = 6"}, "prod/base/web.yaml"},
		{"a base that is a target too", base + "-- prod/kustomization.yaml --\nresources: [../base]\n", refOf("Deployment", "web"),
			[]string{"spec.replicas = 6"}, "prod/drift-deployment-web.yaml prod/kustomization.yaml"},
		{"two levels, the patch below is shared", base + other + "-- mid/kustomization.yaml --\nresources: [../base]\nreplicas: [{name: web, count: 5}]\n-- other/x/kustomization.yaml --\nresources: [../../mid]\n-- prod/kustomization.yaml --\nresources: [../mid]\n", refOf("Deployment", "web"),
			[]string{"spec.replicas = 6"}, "prod/drift-deployment-web.yaml prod/kustomization.yaml"},
		{"without a namespace", "-- prod/web.yaml --\n" + strings.Replace(deployment, "  namespace: shop\n", "", 1), refOf("Deployment", "web"),
			[]string{"spec.replicas = 6"}, "prod/web.yaml"},
		{"same name in two namespaces", "-- prod/web.yaml --\n" + deployment + "---\n" + strings.Replace(deployment, "namespace: shop\n", "namespace: more\n", 1), refOf("Deployment", "web"),
			[]string{"spec.replicas = 6"}, "prod/web.yaml"},
		{"a file for the patch is taken", base + other + "-- prod/kustomization.yaml --\nresources: [../base]\n-- prod/drift-deployment-web.yaml --\nx: 1\n", refOf("Deployment", "web"),
			[]string{"spec.replicas = 6"}, "prod/drift-deployment-web-2.yaml prod/kustomization.yaml"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree := repo(c.files)
			var others []string
			for _, o := range []string{"other", "base"} {
				if _, there := tree[o+"/kustomization.yaml"]; there {
					others = append(others, o)
				}
			}
			w := wantOf(t, "Deployment web", c.changes...)
			w.Ref = c.ref
			p, _ := adopted(t, tree, "prod", others, w)
			if got := strings.Join(slices.Sorted(maps.Keys(p.Edits)), " "); got != c.edits || len(p.Refused) > 0 {
				t.Errorf("edited %s\n%+v\n%s", got, p.Refused, archive(tree, p.Edits))
			}
		})
	}
}

// A file behind a link is edited where it is, unless others are moved by that.
func TestFilesBehindLinksAreEditedWhereTheyAre(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"prod", "staging", "files"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "files/web.yaml"), []byte(deployment), 0o600); err != nil {
		t.Fatal(err)
	}
	link := func(d string) {
		if err := os.Symlink("../files/web.yaml", filepath.Join(dir, d, "web.yaml")); err != nil {
			t.Fatal(err)
		}
	}
	link("prod")
	wants := []Want{wantOf(t, "Deployment web", "spec.replicas = 8")}
	w := &Writer{Renderer: shared}
	p, err := w.Propose(t.Context(), os.DirFS(dir), "prod", nil, wants)
	if err != nil || len(p.Refused) > 0 || len(p.Edits) != 1 || !strings.Contains(string(p.Edits["files/web.yaml"].Content), "replicas: 8 # enough") {
		t.Errorf("%v %+v", err, p)
	}
	link("staging")
	p, err = w.Propose(t.Context(), os.DirFS(dir), "prod", []string{"staging"}, wants)
	if err != nil || len(p.Refused) != 1 || len(p.Edits) != 0 || !strings.Contains(p.Refused[0].Reason, "would also change the target in staging") {
		t.Errorf("%v %+v", err, p)
	}
}

// One directory that two clusters get cannot say what is live on one of them.
func TestADirectoryOfTwoClustersIsNotEdited(t *testing.T) {
	tree := repo("-- prod/web.yaml --\n" + deployment)
	p, err := (&Writer{Renderer: shared}).Propose(t.Context(), tree, "prod", []string{"prod/"}, []Want{wantOf(t, "Deployment web", "spec.replicas = 8")})
	if err != nil || len(p.Edits) > 0 || len(p.Refused) != 1 || !strings.Contains(p.Refused[0].Reason, "another target too") {
		t.Errorf("%v %+v", err, p)
	}
}

func TestACancelledProposalIsAnError(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	tree := repo("-- prod/web.yaml --\n" + strings.Replace(deployment, "enough", "cancelled", 1))
	if _, err := (&Writer{Renderer: shared}).Propose(ctx, tree, "prod", nil, []Want{wantOf(t, "Deployment web", "spec.replicas = 8")}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestNothingToDoNeedsNoEdit(t *testing.T) {
	tree := repo("-- prod/web.yaml --\n" + deployment)
	p, _ := adopted(t, tree, "prod", nil, wantOf(t, "Deployment web", "spec.replicas = 3", "- spec.paused"), wantOf(t, "ConfigMap gone", "delete"))
	if len(p.Edits)+len(p.Refused) > 0 {
		t.Errorf("%+v", p)
	}
}

// The tree with edits answers as a tree that had them.
func TestATreeWithEdits(t *testing.T) {
	base := repo("-- a/b/c --\n1\n-- a/d --\n2\n-- e --\n3\n")
	tree := newEdited(base).with(map[string]Edit{"a/b/c": {Delete: true}, "a/d": {Content: []byte("new")}, "x": {Content: []byte("y")}, "e": {Content: []byte("3\n")}, "gone": {Delete: true}})
	if len(tree.edits) != 3 {
		t.Errorf("edits that change nothing are kept: %v", tree.edits)
	}
	var names []string
	err := fs.WalkDir(tree, ".", func(p string, _ fs.DirEntry, err error) error {
		names = append(names, p)
		return err
	})
	if got := strings.Join(names, " "); err != nil || got != ". a a/d e x" {
		t.Errorf("%v: %s", err, got)
	}
	for name, want := range map[string]string{"a/d": "new", "x": "y", "e": "3\n", "a/b/c": "", "a/b": "", "../e": ""} {
		data, err := fs.ReadFile(tree, name)
		if string(data) != want || (err != nil) != (want == "") {
			t.Errorf("%s: %q %v", name, data, err)
		}
		if _, err := fs.Stat(tree, name); (err != nil) != (want == "") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
