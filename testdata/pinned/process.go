package pinned

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Process is a running child whose life hangs on ours: it has our lifeline, a
// pipe, for its standard input, and is expected to end when that does.
type Process struct {
	name     string
	log      string // file with its output
	cmd      *exec.Cmd
	lifeline io.Closer     // its standard input: closing it ends the child
	done     chan struct{} // closed when it has ended
}

// Start runs binary in dir, with its output added to dir/logs/NAME.log. The
// environment is bare but for env, so that the variables of whoever runs the
// tests (KUBECONFIG, ETCD_*, proxies) change nothing.
func Start(dir, name, binary string, args []string, env ...string) (*Process, error) {
	log, err := os.OpenFile(filepath.Join(dir, "logs", name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(binary, args...)
	cmd.Dir = dir
	cmd.Env = append([]string{"HOME=" + dir, "TMPDIR=" + dir, "PATH=" + os.Getenv("PATH")}, env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	lifeline, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &Process{name: name, log: log.Name(), cmd: cmd, lifeline: lifeline, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Kill ends the process at once and waits until it is gone; nil is gone already.
// There is nothing to save: its data is removed next, or is kept by another.
func (p *Process) Kill() error {
	if p == nil {
		return nil
	}
	err := p.cmd.Process.Kill()
	<-p.done
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", p.name, err)
	}
	return nil
}

// PID is the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Running reports whether it has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Ended is why the process is no longer there, with the end of its log.
func (p *Process) Ended() error {
	return fmt.Errorf("%s ended by itself (%s); its log ends with:\n%s", p.name, p.cmd.ProcessState, p.Tail())
}

// Tail is the end of its log.
func (p *Process) Tail() string {
	log, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return LastLines(string(log), 15)
}

// PortWasTaken reports whether it said that somebody else has its port.
func (p *Process) PortWasTaken() bool {
	log, err := os.ReadFile(p.log)
	return err == nil && strings.Contains(string(log), "address already in use")
}

// LastLines is the end of a longer text.
func LastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// FreePort is a port of loopback that nobody listens on. It looks below the range
// from which kernels take the ports of outgoing connections, so that a stopped
// server finds its port free again.
func FreePort() (int, error) {
	var last error
	for range 100 {
		n, err := rand.Int(rand.Reader, big.NewInt(12000))
		if err != nil {
			return 0, err
		}
		port := 20000 + int(n.Int64())
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			return port, listener.Close()
		}
		last = err
	}
	return 0, fmt.Errorf("find a free port: %w", last)
}
