package manifest

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"lockkeeper/cluster"
)

func TestMain(m *testing.M) {
	Child()
	os.Exit(m.Run())
}

// repo makes a tree from a txtar-like map of paths to contents.
func repo(files map[string]string) fstest.MapFS {
	m := fstest.MapFS{}
	for p, content := range files {
		m[p] = &fstest.MapFile{Data: []byte(content)}
	}
	return m
}

func newRenderer(t testing.TB, l Limits) *Renderer {
	t.Helper()
	r := New(l)
	t.Cleanup(r.Close)
	return r
}

func mustRender(t testing.TB, r *Renderer, tree fs.FS, dir string) *Rendering {
	t.Helper()
	got, err := r.Render(t.Context(), tree, dir)
	if err != nil {
		t.Fatalf("render %s: %v", dir, err)
	}
	return got
}

// problems renders a target that must have some.
func problems(t testing.TB, tree fs.FS, dir string) []Problem {
	t.Helper()
	_, err := shared.Render(t.Context(), tree, dir)
	var e *Errors
	if !errors.As(err, &e) {
		t.Fatalf("render %s: got %v, want problems", dir, err)
	}
	return e.Problems
}

// shared is the renderer of tests that need none of their own: it saves
// starting children.
var shared = New(Limits{Timeout: time.Minute})

func refs(objects []cluster.Object) []string {
	var s []string
	for _, o := range objects {
		s = append(s, o.Ref.String())
	}
	return s
}

func configMap(name string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: " + name + "\n  namespace: shop\n"
}

func with(files map[string]string, more ...string) map[string]string {
	out := maps.Clone(files)
	for i := 0; i < len(more); i += 2 {
		out[more[i]] = more[i+1]
	}
	return out
}

func wantProblem(t *testing.T, got []Problem, path string, line int, contains ...string) {
	t.Helper()
	ok := slices.ContainsFunc(got, func(p Problem) bool {
		for _, c := range contains {
			if !strings.Contains(p.Message, c) {
				return false
			}
		}
		return p.Path == path && p.Line == line
	})
	if !ok {
		t.Errorf("no problem at %s:%d with %q in\n%v", path, line, contains, got)
	}
}
