package writeback

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/tools/txtar"

	"lockkeeper/cluster"
	"lockkeeper/cluster/clustertest"
	"lockkeeper/cluster/manifest"
	"lockkeeper/cluster/manifest/writeback/field"
)

var plane = clustertest.Shared{}

// shared is the renderer of all tests.
var shared = manifest.New(manifest.Limits{Timeout: time.Minute})

func TestMain(m *testing.M) {
	manifest.Child()
	plane.Main(m)
}

// repo is a tree from an archive. A file whose name ends with " (bare)" loses
// its final line break.
func repo(archive string) fstest.MapFS {
	out := fstest.MapFS{}
	for _, f := range txtar.Parse([]byte(archive)).Files {
		out[f.Name] = &fstest.MapFile{Data: f.Data}
	}
	return out
}

// written is the tree with the edits made.
func written(tree fstest.MapFS, edits map[string]Edit) fstest.MapFS {
	out := maps.Clone(tree)
	for name, e := range edits {
		if e.Delete {
			delete(out, name)
			continue
		}
		out[name] = &fstest.MapFile{Data: e.Content}
	}
	return out
}

func objects(t testing.TB, tree fs.FS, dir string) map[cluster.Ref]any {
	t.Helper()
	r, err := shared.Render(t.Context(), tree, dir)
	if err != nil {
		t.Fatalf("render %s: %v", dir, err)
	}
	out := map[cluster.Ref]any{}
	for _, o := range r.Objects {
		out[o.Ref] = o.Content
	}
	return out
}

func refOf(kind, name string) cluster.Ref {
	group := map[string]string{"Deployment": "apps", "StatefulSet": "apps"}[kind]
	return cluster.Ref{Group: group, Kind: kind, Namespace: "shop", Name: name}
}

// wantOf reads "Deployment web" and changes: "path = YAML", "- path", or
// "delete".
func wantOf(t testing.TB, object string, changes ...string) Want {
	t.Helper()
	kind, name, _ := strings.Cut(object, " ")
	w := Want{Ref: refOf(kind, name)}
	for _, c := range changes {
		if c == "delete" {
			w.Delete = true
			continue
		}
		f := cluster.FieldChange{Op: cluster.Set}
		path, value, set := strings.Cut(c, " = ")
		if f.Path = path; !set {
			f.Path, f.Op = strings.TrimPrefix(path, "- "), cluster.Remove
		} else {
			f.After = yamlValue(t, value)
		}
		w.Fields = append(w.Fields, f)
	}
	return w
}

// expected are the objects with the wants fulfilled, but for those refused.
func expected(t testing.TB, have map[cluster.Ref]any, wants []Want, refused []Refusal) map[cluster.Ref]any {
	t.Helper()
	out := maps.Clone(have)
	for _, w := range wants {
		is := func(path string) func(Refusal) bool {
			return func(r Refusal) bool { return r.Ref == w.Ref && r.Path == path }
		}
		ref := w.Ref
		if _, there := out[ref]; !there {
			ref.Namespace = ""
		}
		if w.Delete && !slices.ContainsFunc(refused, is("")) {
			delete(out, ref)
		}
		for _, f := range w.Fields {
			if slices.ContainsFunc(refused, is(f.Path)) {
				continue
			}
			p, err := field.Parse(f.Path)
			if err != nil {
				t.Fatal(err)
			}
			if out[ref], err = (field.Change{Path: p, Op: f.Op, Value: field.Clone(f.After)}).Apply(out[ref]); err != nil {
				t.Fatalf("%s: %v", f.Path, err)
			}
		}
	}
	return out
}

// same compares objects by ref.
func same(t testing.TB, got, want map[cluster.Ref]any) {
	t.Helper()
	for ref := range want {
		if _, there := got[ref]; !there {
			t.Errorf("%s is gone", ref)
		} else if !field.Same(got[ref], want[ref]) {
			t.Errorf("%s is\n%v\nwant\n%v", ref, got[ref], want[ref])
		}
	}
	for ref := range got {
		if _, there := want[ref]; !there {
			t.Errorf("%s is there", ref)
		}
	}
}

// adopted proposes, and checks all that must hold of any proposal.
func adopted(t testing.TB, tree fstest.MapFS, target string, others []string, wants ...Want) (*Proposal, fstest.MapFS) {
	t.Helper()
	w := &Writer{Renderer: shared}
	p, err := w.Propose(t.Context(), tree, target, others, wants)
	if err != nil {
		t.Fatal(err)
	}
	after := written(tree, p.Edits)
	if len(p.Refused) == 0 || len(p.Edits) > 0 {
		same(t, objects(t, after, target), expected(t, objects(t, tree, target), wants, p.Refused))
	}
	for _, o := range others {
		if o != target {
			same(t, objects(t, after, o), objects(t, tree, o))
		}
	}
	for _, r := range p.Refused {
		if r.Reason == "" {
			t.Errorf("%s %s is refused without a reason", r.Ref, r.Path)
		}
	}
	again, err := w.Propose(t.Context(), after, target, others, wants)
	if err != nil || len(again.Edits) > 0 {
		t.Errorf("not idempotent: %v, %d edits, %v", err, len(again.Edits), again.Refused)
	}
	return p, after
}

func archive(tree fstest.MapFS, edits map[string]Edit) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(edits)) {
		fmt.Fprintf(&b, "-- %s --\n", name)
		if edits[name].Delete {
			b.WriteString("(deleted)\n")
			continue
		}
		b.Write(edits[name].Content)
	}
	return b.String()
}
