package manifest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"
)

// doubling is a kustomization whose every level builds the one below twice:
// 2^levels objects, without a single alias.
func doubling(levels int) fstest.MapFS {
	files := map[string]string{"level0/kustomization.yaml": "resources: [x.yaml]\n", "level0/x.yaml": configMap("x")}
	for i := 1; i <= levels; i++ {
		files[fmt.Sprintf("level%d/kustomization.yaml", i)] = "resources: [l, r]\n"
		for _, side := range []string{"l", "r"} {
			files[fmt.Sprintf("level%d/%s/kustomization.yaml", i, side)] = fmt.Sprintf("namePrefix: %s\nresources: [../../level%d]\n", side, i-1)
		}
	}
	return repo(files)
}

// gone reports whether the child's process has ended and was waited for.
func gone(c *child) bool {
	select {
	case <-c.exited:
		return c.cmd.ProcessState != nil
	default:
		return false
	}
}

// watched is a renderer whose only child the test knows before it is used.
func watched(t *testing.T, l Limits) (*Renderer, *child) {
	t.Helper()
	r := newRenderer(t, l)
	mustRender(t, r, repo(map[string]string{"warm/a.yaml": configMap("a")}), "warm")
	return r, r.idle[0]
}

// Threat 6: a rendering that does not end is stopped, and its process with it.
func TestRenderingThatTakesTooLongIsKilled(t *testing.T) {
	r, c := watched(t, Limits{})
	r.limits.Timeout = 300 * time.Millisecond
	_, err := r.Render(t.Context(), doubling(30), "level30")
	if !errors.Is(err, ErrTimeout) || !strings.Contains(err.Error(), "render level30: ") || !strings.Contains(err.Error(), "300ms") {
		t.Errorf("got %v, want the target's name and ErrTimeout", err)
	}
	if !gone(c) {
		t.Error("the child is still there")
	}
	if len(r.idle) != 0 {
		t.Error("a killed child is kept for later")
	}
	r.limits.Timeout = time.Minute
	mustRender(t, r, repo(map[string]string{"a/a.yaml": configMap("a")}), "a")
}

// Threat 6: a rendering that eats memory is stopped without harm to anyone else.
func TestRenderingThatNeedsTooMuchMemoryIsKilled(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector Go maps memory in another way, and crashes without saying why")
	}
	r, c := watched(t, Limits{Timeout: time.Minute, Memory: 32 << 20})
	keys := ""
	for i := range 100 {
		keys += fmt.Sprintf("  - k%d=big.txt\n", i)
	}
	tree := repo(map[string]string{
		"k/kustomization.yaml": "configMapGenerator:\n- name: x\n  files:\n" + keys,
		"k/big.txt":            strings.Repeat("x", 9<<20),
	})
	_, err := r.Render(t.Context(), tree, "k")
	if !errors.Is(err, ErrMemory) || !strings.Contains(err.Error(), "32 MiB") {
		t.Errorf("got %v, want ErrMemory", err)
	}
	if !gone(c) {
		t.Error("the child is still there")
	}
}

func TestCancelledRenderingIsKilled(t *testing.T) {
	r, c := watched(t, Limits{})
	ctx, cancel := context.WithCancel(t.Context())
	tree := &notify{FS: doubling(30), path: "level1/kustomization.yaml", reached: cancel}
	_, err := r.Render(ctx, tree, "level30")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if !gone(c) {
		t.Error("the child is still there")
	}
}

// notify calls reached when a path is opened.
type notify struct {
	fs.FS
	path    string
	reached func()
}

func (n *notify) Open(name string) (fs.File, error) {
	if name == n.path {
		n.reached()
	}
	return n.FS.Open(name)
}

func TestChildThatDiesIsReplaced(t *testing.T) {
	r, c := watched(t, Limits{})
	tree := &notify{FS: repo(map[string]string{"a/a.yaml": configMap("a")}), path: "a/a.yaml", reached: func() { c.kill() }}
	_, err := r.Render(t.Context(), tree, "a")
	if !errors.Is(err, errDied) {
		t.Errorf("got %v, want errDied", err)
	}
	tree.reached = func() {}
	mustRender(t, r, tree, "a")
}

func TestCustomisedSchemaEndsTheChild(t *testing.T) {
	r, c := watched(t, Limits{})
	mustRender(t, r, repo(map[string]string{
		"k/kustomization.yaml": "resources: [x.yaml]\nopenapi: {path: schema.json}\n",
		"k/schema.json":        `{"definitions": {}}`,
		"k/x.yaml":             configMap("x"),
	}), "k")
	if !gone(c) {
		t.Error("a child with a customised schema is used again")
	}
}

func TestConcurrentRenderingsShareChildren(t *testing.T) {
	r := newRenderer(t, Limits{})
	files := map[string]string{}
	for i := range 40 {
		files[fmt.Sprintf("t%d/kustomization.yaml", i)] = "resources: [x.yaml]\nnamespace: shop\n"
		files[fmt.Sprintf("t%d/x.yaml", i)] = configMap(fmt.Sprintf("x%d", i))
	}
	tree := newHashedQuiet(files)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			got, err := r.Render(t.Context(), tree, fmt.Sprintf("t%d", i))
			if err != nil || got.Objects[0].Ref.Name != fmt.Sprintf("x%d", i) {
				t.Errorf("t%d: %v %v", i, got, err)
			}
		})
	}
	wg.Wait()
	if n := len(r.idle); n > cap(r.slots) {
		t.Errorf("%d children for %d slots", n, cap(r.slots))
	}
}

// newHashedQuiet is newHashed without the counting, for concurrent use, and
// without MapFS's search through everything for what is missing.
func newHashedQuiet(files map[string]string) fs.FS {
	h := newHashed(files)
	return quiet{h.MapFS, h.sums}
}

type quiet struct {
	files fstest.MapFS
	sums  map[string]string
}

func (q quiet) Hash(p string) (string, bool) { s, ok := q.sums[p]; return s, ok }

func (q quiet) Open(p string) (fs.File, error) {
	if _, exists := q.sums[p]; !exists {
		return nil, &fs.PathError{Op: "open", Path: p, Err: fs.ErrNotExist}
	}
	return q.files.Open(p)
}

func TestCloseEndsTheChildren(t *testing.T) {
	r, c := watched(t, Limits{})
	r.Close()
	if !gone(c) {
		t.Error("the child outlives its renderer")
	}
	mustRender(t, r, repo(map[string]string{"a/a.yaml": configMap("a")}), "a")
	if len(r.idle) != 0 {
		t.Error("a closed renderer keeps a child")
	}
}

func TestWarmChildrenAreUsedAndEnd(t *testing.T) {
	r := New(Limits{})
	r.slots = make(chan struct{}, 2)
	r.Warm(t.Context())
	coming := r.coming
	mustRender(t, r, repo(map[string]string{"a/a.yaml": configMap("a")}), "a")
	if len(r.idle) != 1 || len(r.coming) != 1 {
		t.Fatalf("%d children are idle and %d unused, want one of each", len(r.idle), len(r.coming))
	}
	used, unused := r.idle[0], <-coming[1]
	coming[1] <- unused
	r.Close()
	if !gone(used) || !gone(unused) {
		t.Error("a warm child outlives its renderer")
	}
}

func TestChildEndsWhenItsParentHangsUp(t *testing.T) {
	_, c := watched(t, Limits{})
	if err := c.in.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-c.exited:
	case <-time.After(time.Minute):
		t.Fatal("the child is still there a minute after its pipe was closed")
	}
	if code := c.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

func TestChildStartsNoChildren(t *testing.T) {
	t.Setenv(marker, "1")
	r := newRenderer(t, Limits{})
	_, err := r.Render(t.Context(), repo(map[string]string{"a/a.yaml": configMap("a")}), "a")
	if !errors.Is(err, ErrContainment) || !strings.Contains(err.Error(), "manifest.Child") {
		t.Errorf("got %v, want to be told to call Child", err)
	}
}
