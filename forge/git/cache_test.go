package git

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lockkeeper/forge/git/internal/shelf"
)

func newCache(t testing.TB, dir string, limit int64) *Cache {
	t.Helper()
	c, err := OpenCache(t.Context(), dir, Options{Limit: limit})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// noise is text that does not compress.
func noise(t testing.TB, bytes int) string {
	t.Helper()
	b := make([]byte, bytes)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// commitNoise commits a file of a size and returns the commit.
func commitNoise(t testing.TB, r *remote, bytes int) string {
	t.Helper()
	r.write("a", noise(t, bytes))
	return r.commit("noise")
}

func there(m *Mirror) bool {
	_, err := os.Stat(filepath.Join(m.dir, "HEAD"))
	return err == nil
}

func TestLeastRecentlyUsedMirrorsGoBeyondTheLimit(t *testing.T) {
	const size = 300 << 10
	r := newRemote(t)
	sha := commitNoise(t, r, size)
	c, ctx := newCache(t, t.TempDir(), 3*size), t.Context()
	var all []*Mirror
	fetch := func(i int) {
		t.Helper()
		if _, err := all[i].Fetch(ctx, r.url, secret, sha); err != nil {
			t.Fatal(err)
		}
	}
	held, release := Hold(ctx)
	for i := range 3 {
		with := ctx
		if i == 0 {
			with = held // the oldest, and in use
		}
		all = append(all, c.Mirror(with, fmt.Sprint(i)))
		if i < 2 {
			fetch(i)
		}
	}
	fetch(2)
	if !there(all[0]) || there(all[1]) || !there(all[2]) {
		t.Fatalf("there are %v %v %v, want the one in use and the latest", there(all[0]), there(all[1]), there(all[2]))
	}
	release()
	fetch(2)                                                                     // present: the network is spared, and it is used now
	if _, err := c.Mirror(ctx, "1").Fetch(ctx, r.url, secret, sha); err != nil { // as if it had never been there
		t.Fatal(err)
	}
	if there(all[0]) || !there(all[1]) || !there(all[2]) {
		t.Errorf("there are %v %v %v, want the last two used", there(all[0]), there(all[1]), there(all[2]))
	}
	checkTree(t, all[1], sha)
	left, err := filepath.Glob(filepath.Join(c.dir, "old-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func checkTree(t *testing.T, m *Mirror, commit string) {
	t.Helper()
	sha, err := m.TreeOf(t.Context(), commit)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := m.Tree(t.Context(), sha)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tree.ReadFile("a"); err != nil {
		t.Error(err)
	}
}

// The order of use outlives the process.
func TestMirrorsOfTheLastProcessCountAndGo(t *testing.T) {
	const size = 300 << 10
	r := newRemote(t)
	sha := commitNoise(t, r, size)
	dir, ctx := t.TempDir(), t.Context()
	c := newCache(t, dir, 0)
	for _, key := range []string{"first", "second"} {
		if _, err := c.Mirror(ctx, key).Fetch(ctx, r.url, secret, sha); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = c.Mirror(ctx, "first").Fetch(ctx, r.url, secret, sha) // used again
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "old-1-left"), 0o700); err != nil { // by a kill
		t.Fatal(err)
	}
	c = newCache(t, dir, 3*size)
	if _, err := os.Stat(filepath.Join(dir, "old-1-left")); err == nil {
		t.Error("what a killed process was removing is still there")
	}
	if _, err := c.Mirror(ctx, "third").Fetch(ctx, r.url, secret, sha); err != nil {
		t.Fatal(err)
	}
	if !there(c.Mirror(ctx, "first")) || there(c.Mirror(ctx, "second")) || !there(c.Mirror(ctx, "third")) {
		t.Errorf("there are %v %v %v, want the first and the third", there(c.Mirror(ctx, "first")), there(c.Mirror(ctx, "second")), there(c.Mirror(ctx, "third")))
	}
}

func TestSecondProcessIsRefusedTheDirectory(t *testing.T) {
	dir := t.TempDir()
	c := newCache(t, dir, 0)
	_, err := OpenCache(t.Context(), dir, Options{})
	if !errors.Is(err, shelf.ErrInUse) || !strings.Contains(err.Error(), dir) {
		t.Fatalf("got %v, want %v with the directory", err, shelf.ErrInUse)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	newCache(t, dir, 0)
}
