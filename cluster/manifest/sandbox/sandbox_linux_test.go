//go:build linux && (amd64 || arm64)

package sandbox

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	probe()
	os.Exit(m.Run())
}

// probed is the environment variable that makes this test binary contain
// itself, try what must not work, and print what happened.
const probed = "LOCKKEEPER_TEST_PROBE"

func probe() {
	if os.Getenv(probed) == "" {
		return
	}
	results := map[string]string{}
	note := func(what string, err error) {
		results[what] = "allowed"
		if err != nil {
			results[what] = err.Error()
		}
	}
	if err := Enter(256 << 20); err != nil {
		note("enter", err)
	}
	raw := func(call uintptr, args ...uintptr) error {
		a := append(args, 0, 0, 0, 0, 0, 0)
		_, _, errno := syscall.Syscall6(call, a[0], a[1], a[2], a[3], a[4], a[5])
		if errno != 0 {
			return errno
		}
		return nil
	}
	_, err := net.Dial("tcp", "127.0.0.1:1")
	note("dial", err)
	_, err = syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	note("unix socket", err)
	_, err = os.Open("/etc/passwd")
	note("open", err)
	_, err = os.Stat("/etc/passwd")
	note("stat", err)
	note("write", os.WriteFile("/tmp/lockkeeper-probe", nil, 0o600))
	note("run", exec.Command("/bin/true").Run())
	note("execve", syscall.Exec("/bin/true", []string{"true"}, nil))
	note("fork", raw(unix.SYS_CLONE, uintptr(unix.SIGCHLD)))
	note("kill", syscall.Kill(os.Getppid(), 0))
	note("tgkill parent", raw(unix.SYS_TGKILL, uintptr(os.Getppid()), uintptr(os.Getppid()), 0))
	note("ptrace", raw(unix.SYS_PTRACE, uintptr(unix.PTRACE_ATTACH), uintptr(os.Getppid())))
	note("io_uring", raw(unix.SYS_IO_URING_SETUP, 1))
	note("raise limit", syscall.Setrlimit(unix.RLIMIT_DATA, &syscall.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}))
	note("memfd", raw(unix.SYS_MEMFD_CREATE))
	// Threads and garbage collection must go on working.
	wait := make(chan int)
	for i := range 50 {
		go func() { b := make([]byte, 1<<20); b[i] = 1; wait <- len(b) }()
	}
	for range 50 {
		<-wait
	}
	_ = json.NewEncoder(os.Stdout).Encode(results)
	os.Exit(0)
}

func runProbe(t *testing.T, as *syscall.Credential) map[string]string {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{probed + "=1"}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("probe: %v", err)
	}
	results := map[string]string{}
	if err := json.Unmarshal(out, &results); err != nil {
		t.Fatalf("probe said %q: %v", out, err)
	}
	return results
}

// Threats 3 and 5: whatever rendering is tricked into, it runs nothing, reads
// nothing and connects to nothing.
func TestChildCanReachNothing(t *testing.T) {
	wantNothingAllowed(t, runProbe(t, nil))
}

func TestContainmentNeedsNoPrivileges(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("already unprivileged: TestChildCanReachNothing covers it")
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Skip("there is no user nobody to run as: ", err)
	}
	uid, _ := strconv.Atoi(nobody.Uid)
	gid, _ := strconv.Atoi(nobody.Gid)
	wantNothingAllowed(t, runProbe(t, &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}))
}

func wantNothingAllowed(t *testing.T, results map[string]string) {
	t.Helper()
	if len(results) < 14 {
		t.Errorf("only %d probes ran: %v", len(results), results)
	}
	for what, happened := range results {
		if !strings.Contains(happened, "operation not permitted") {
			t.Errorf("%s: %s, want it refused by the filter", what, happened)
		}
	}
}
