package pgtest

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestDatabasesAreEmptyAndApart(t *testing.T) {
	s, err := Shared()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		begin := time.Now()
		url, err := s.Database(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("a database takes %s", time.Since(begin))
		conn, err := pgx.Connect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), "CREATE TABLE only_here (a BIGINT)"); err != nil {
			t.Errorf("%s is not empty: %v", url, err)
		}
		if err := conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// TestVictim is killed by TestServerEndsWithItsProcess.
func TestVictim(t *testing.T) {
	if os.Getenv("LOCKKEEPER_PGTEST_VICTIM") == "" {
		t.Skip("is run by TestServerEndsWithItsProcess only")
	}
	s, err := Start(t.Context(), os.Getenv("LOCKKEEPER_PGTEST_VICTIM"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("home", s.url.Query().Get("host"))
	select {}
}

func TestServerEndsWithItsProcess(t *testing.T) {
	if os.Getenv(External) != "" {
		t.Skipf("%s is set: that server stays", External)
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestVictim$")
	cmd.Env = append(os.Environ(), "LOCKKEEPER_PGTEST_VICTIM="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var home string
	for scan := bufio.NewScanner(out); home == "" && scan.Scan(); {
		home, _ = strings.CutPrefix(scan.Text(), "home ")
	}
	if _, err := os.Stat(filepath.Join(home, "log")); home == "" || err != nil {
		t.Fatalf("the server is not in %q: %v", home, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	deadline := time.Now().Add(30 * time.Second)
	for gone(home) != nil || gone(filepath.Join(dir, "data")) != nil {
		if time.Now().After(deadline) {
			t.Fatalf("30 s after the kill there is still %s, or its data", home)
		}
		time.Sleep(10 * time.Millisecond) // for another process, that nobody can wait for
	}
}

func gone(path string) error {
	if _, err := os.Stat(path); err == nil {
		return fs.ErrExist
	}
	return nil
}
