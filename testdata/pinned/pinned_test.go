package pinned

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMissingProgramIsNamedInTheFirstLine(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for _, program := range []string{"go", "git", "diff"} {
		err := Require(program)
		if err == nil || !strings.HasPrefix(err.Error(), program+" is needed but was not found") {
			t.Errorf("%s: got %v", program, err)
		}
	}
	err := tiny.build(t.Context(), t.TempDir(), t.TempDir(), t.Output())
	first, _, _ := strings.Cut(errorText(err), "\n")
	if !strings.Contains(first, "go is needed but was not found") {
		t.Errorf("build without Go: first line is %q", first)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestBuildOutsideACloneSaysWhere(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	_, err := tiny.Build(t.Context(), t.Output())
	if err == nil || !strings.Contains(err.Error(), dir+" is not inside a clone") {
		t.Fatalf("got %v", err)
	}
}

// cloneWith makes a repository with the sources of two tiny programs.
func cloneWith(t *testing.T, source string) (root string) {
	t.Helper()
	root = t.TempDir()
	for name, content := range map[string]string{
		"go.mod":       "module example.test/tiny\n\ngo 1.26.0\n",
		"main.go":      source,
		"kwok/main.go": "package main\n\nfunc main() {}\n",
	} {
		path := filepath.Join(root, "testdata", "tiny", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(root)
	return root
}

var tiny = Programs{
	Module: "tiny", What: "the tiny programs", Takes: "~1 second",
	Packages: map[string]string{"tiny": ".", "kwok": "./kwok"},
	Links:    map[string]string{"small": "tiny"},
}

const emptyProgram = "package main\n\nfunc main() {}\n"

func TestProgramsAreBuiltAgainOnlyWhenSourcesChange(t *testing.T) {
	root := cloneWith(t, emptyProgram)
	progress := &strings.Builder{}
	builds := func() int {
		if _, err := tiny.Build(t.Context(), progress); err != nil {
			t.Fatal(err)
		}
		return strings.Count(progress.String(), "building the tiny programs")
	}
	if got := builds(); got != 1 {
		t.Fatalf("builds at first: got %d, want 1", got)
	}
	if to, err := os.Readlink(filepath.Join(root, "bin", "small")); to != "tiny" {
		t.Errorf("the further name leads to %q (%v), want tiny", to, err)
	}
	if got := builds(); got != 1 {
		t.Fatalf("builds when up to date: got %d, want 1", got)
	}
	source := filepath.Join(root, "testdata", "tiny", "main.go")
	if err := os.WriteFile(source, []byte(emptyProgram+"// changed\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := builds(); got != 2 {
		t.Fatalf("builds after a change: got %d, want 2", got)
	}
	if err := os.Remove(filepath.Join(root, "bin", "kwok")); err != nil {
		t.Fatal(err)
	}
	if got := builds(); got != 3 {
		t.Fatalf("builds after a program was removed: got %d, want 3", got)
	}
}

func TestFailedBuildShowsTheCompilersWords(t *testing.T) {
	root := cloneWith(t, "package main\n\nfunc main() { undefined() }\n")
	for range 2 { // a failure leaves no stamp
		_, err := tiny.Build(t.Context(), t.Output())
		if err == nil || !strings.Contains(err.Error(), "main.go:3:15: undefined: undefined") {
			t.Fatalf("got %v", err)
		}
	}
	if _, err := os.Stat(filepath.Join(root, "bin", "tiny.new")); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("half-built programs are left: %v", err)
	}
}

// signalWriter tells that something was written.
type signalWriter chan struct{}

func (w signalWriter) Write(p []byte) (int, error) {
	close(w)
	return len(p), nil
}

func TestSecondBuilderWaitsForTheFirst(t *testing.T) {
	bin := t.TempDir()
	unlock, err := tiny.lock(t.Context(), bin, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	waiting, entered := make(signalWriter), make(chan error)
	go func() {
		second, err := tiny.lock(t.Context(), bin, waiting)
		if err == nil {
			second()
		}
		entered <- err
	}()
	<-waiting
	select {
	case <-entered:
		t.Fatal("two builders at once")
	default:
	}
	unlock()
	if err := <-entered; err != nil {
		t.Fatal(err)
	}
}

func TestWaitingForTheBuildLockCanBeCancelled(t *testing.T) {
	bin := t.TempDir()
	unlock, err := tiny.lock(t.Context(), bin, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("changed my mind"))
	if _, err := tiny.lock(ctx, bin, t.Output()); err == nil || !strings.Contains(err.Error(), "changed my mind") {
		t.Fatalf("got %v, want the reason of the cancellation", err)
	}
}
