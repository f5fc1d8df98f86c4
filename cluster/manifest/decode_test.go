package manifest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
)

// counting is a tree with hashes that counts what is read, all at once or one
// by one, and can be made to fail.
type counting struct {
	quiet
	mu   sync.Mutex
	read []string
	// before is called ahead of each reading of several files.
	before func()
}

func newCounting(files map[string]string) *counting {
	return &counting{quiet: newHashedQuiet(files).(quiet)}
}

func (c *counting) ReadFiles(names []string) ([][]byte, error) {
	if c.before != nil {
		c.before()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read = append(c.read, names...)
	out := make([][]byte, len(names))
	for i, name := range names {
		data, err := fs.ReadFile(c.quiet, name)
		if err != nil {
			return nil, err
		}
		out[i] = data
	}
	return out, nil
}

// plainShop is a directory of n files.
func plainShop(n int) map[string]string {
	files := map[string]string{}
	for i := range n {
		files[fmt.Sprintf("p/%03d.yaml", i)] = configMap(fmt.Sprintf("x%d", i))
	}
	return files
}

func TestOnlyWhatDiffersIsReadAndDecodedAgain(t *testing.T) {
	r := newRenderer(t, Limits{})
	files := plainShop(100)
	base := newCounting(files)
	before := mustRender(t, r, base, "p")
	merge := newCounting(with(files, "p/040.yaml", configMap("other"), "p/new.yaml", configMap("new")))
	after := mustRender(t, r, merge, "p")
	if len(base.read) != 100 {
		t.Errorf("the first rendering read %d files, want 100", len(base.read))
	}
	if want := []string{"p/040.yaml", "p/new.yaml"}; !slices.Equal(merge.read, want) {
		t.Errorf("the second rendering read %v, want %v", merge.read, want)
	}
	if len(after.Objects) != 101 || after.Objects[40].Ref.Name != "other" || after.Digest == before.Digest {
		t.Errorf("%d objects, the changed one is %s", len(after.Objects), after.Objects[40].Ref)
	}
	alone := mustRender(t, newRenderer(t, Limits{}), merge, "p")
	if alone.Digest != after.Digest || alone.Closure.Digest() != after.Closure.Digest() {
		t.Error("what was remembered makes another rendering than what is read anew")
	}
}

func TestAFileThatMovesIsNamedByItsNewPath(t *testing.T) {
	r := newRenderer(t, Limits{})
	mustRender(t, r, newCounting(map[string]string{"p/a.yaml": configMap("x")}), "p")
	got := mustRender(t, r, newCounting(map[string]string{"p/b.yaml": configMap("x")}), "p")
	if got.Objects[0].Source != "p/b.yaml:1" {
		t.Errorf("source %s, want p/b.yaml:1", got.Objects[0].Source)
	}
}

func TestTwoRenderingsAtOnceShareTheWork(t *testing.T) {
	r := newRenderer(t, Limits{})
	files := plainShop(200)
	base, merge := newCounting(files), newCounting(with(files, "p/007.yaml", configMap("other")))
	var wg sync.WaitGroup
	for _, tree := range []*counting{base, merge} {
		wg.Go(func() {
			if got, err := r.Render(t.Context(), tree, "p"); err != nil || len(got.Objects) != 200 {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
	wg.Wait()
	if n := len(base.read) + len(merge.read); n != 201 {
		t.Errorf("%d files were read, want each of the 201 once", n)
	}
}

// Whoever waits for a file that another rendering gave up decodes it itself.
func TestARenderingOutlivesTheOneItWaitedFor(t *testing.T) {
	r := newRenderer(t, Limits{})
	r.slots = make(chan struct{}, 2) // also on a machine with one processor
	files := plainShop(20)
	ctx, cancel := context.WithCancel(t.Context())
	claimed, waiting := make(chan struct{}), make(chan struct{})
	first := newCounting(files)
	first.before = func() { close(claimed); <-waiting }
	gaveUp := make(chan error)
	go func() {
		_, err := r.Render(ctx, first, "p")
		gaveUp <- err
	}()
	<-claimed
	second := newCounting(with(files, "p/000.yaml", configMap("other")))
	second.before = sync.OnceFunc(func() { cancel(); close(waiting) })
	got, err := r.Render(t.Context(), second, "p")
	if err := <-gaveUp; !errors.Is(err, context.Canceled) {
		t.Errorf("the first rendering: %v, want context.Canceled", err)
	}
	if err != nil || len(got.Objects) != 20 {
		t.Fatalf("got %v, %v", got, err)
	}
}

// Threat 6: what a target's files hold together is bounded.
func TestFilesThatAreTooMuchTogetherAreRefused(t *testing.T) {
	files := map[string]string{}
	big := "# " + strings.Repeat("x", 9<<20)
	for i := range MaxBytes/len(big) + 1 {
		files[fmt.Sprintf("p/%03d.yaml", i)] = big
	}
	_, err := newRenderer(t, Limits{}).Render(t.Context(), newHashedQuiet(files), "p")
	if err == nil || !strings.Contains(err.Error(), "256 MiB together; split the target") {
		t.Errorf("got %v, want to be told to split the target", err)
	}
}

func TestWhatNobodyAsksForIsForgotten(t *testing.T) {
	var d decoded
	add := func(i, size int) {
		k := fileKey{fmt.Sprint(i), "x"}
		e, mine := d.claim(k)
		if !mine {
			t.Fatalf("file %d is known", i)
		}
		d.settle(k, e, content{size: size}, nil)
	}
	add(0, 1)
	for i := range 4 {
		add(i+1, maxDecoded+1)
	}
	if len(d.young)+len(d.old) > 2 {
		t.Errorf("%d and %d files are remembered, want the last ones only", len(d.young), len(d.old))
	}
	if _, mine := d.claim(fileKey{"0", "x"}); !mine {
		t.Error("the first file is still known")
	}
}
