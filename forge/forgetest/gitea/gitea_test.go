package gitea

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("GITEATEST_DOOMED_PARENT"); dir != "" {
		doomedParent(dir)
	}
	os.Exit(m.Run())
}

func TestStoppedServerLeavesNothing(t *testing.T) {
	s, err := Start(t.Context(), Options{Progress: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := s.Settle(t.Context()); n != 0 || err != nil {
		t.Errorf("at first %d webhooks were delivered (%v)", n, err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/api/v1/user", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(Admin, s.Password)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err = errors.Join(err, res.Body.Close()); err != nil || !strings.Contains(string(body), `"is_admin":true`) {
		t.Errorf("the administrator is %s (%v)", body, err)
	}
	for _, asset := range []string{"js/iife.js", "js/index.js", "css/index.css"} {
		if err := answers(t.Context(), s.URL+"/assets/"+asset); err != nil {
			t.Errorf("pages are without %s: %v", asset, err)
		}
	}
	for range 2 {
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(s.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory is still there: %v", err)
	}
	if err := answers(t.Context(), s.URL+"/api/v1/version"); err == nil {
		t.Error("the server still answers")
	}
	if _, err := s.Settle(t.Context()); err == nil {
		t.Error("a stopped server has settled")
	}
}

func TestCancelledStartLeavesNothingBehind(t *testing.T) {
	if _, err := Binary(t.Context(), t.Output()); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("changed my mind"))
	if _, err := Start(ctx, Options{}); err == nil {
		t.Fatal("a cancelled start succeeded")
	}
	if left, _ := os.ReadDir(os.Getenv("TMPDIR")); len(left) != 0 {
		t.Fatalf("left behind: %v", left)
	}
}

// TestServerDiesWithItsParent kills a process that holds a server, which then
// cannot clean up.
func TestServerDiesWithItsParent(t *testing.T) {
	dir := t.TempDir()
	parent := exec.CommandContext(t.Context(), os.Args[0])
	parent.Env = append(os.Environ(), "GITEATEST_DOOMED_PARENT="+dir)
	parent.Stderr = os.Stderr
	output, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, readErr := bufio.NewReader(output).ReadString('\n')
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || readErr != nil {
		t.Fatalf("the parent did not get as far as a server: %q, %v", line, readErr)
	}
	deadline := time.Now().Add(30 * time.Second)
	for alive(pid) || !empty(dir) {
		if time.Now().After(deadline) {
			t.Fatalf("30 s after the kill there is still process group %d, or something in %s", pid, dir)
		}
		time.Sleep(10 * time.Millisecond) // for other processes, that nobody can wait for
	}
}

// alive looks for the server and what it started, which are one process group;
// those that nobody has reaped yet are dead.
func alive(group int) bool {
	out, _ := exec.Command("ps", "-e", "-o", "pgid=,stat=").Output()
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) == 2 && f[0] == strconv.Itoa(group) && !strings.HasPrefix(f[1], "Z") {
			return true
		}
	}
	return len(out) == 0 && syscall.Kill(-group, 0) == nil // where there is no ps
}

func empty(dir string) bool {
	left, err := os.ReadDir(dir)
	return err == nil && len(left) == 0
}

// doomedParent starts a server, says so, and waits to be killed.
func doomedParent(dir string) {
	if err := os.Setenv("TMPDIR", dir); err != nil {
		panic(err)
	}
	s, err := Start(context.Background(), Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(s.process.PID())
	select {}
}
