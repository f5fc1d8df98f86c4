// Package child runs the real lockkeeper as a process of its own, for the demo,
// the replay, the bench and the soak: built from the clone, with its log in a file, and
// gone when its parent is.
package child

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Build builds bin/lockkeeper of the clone whose bin directory is given and
// returns its path.
func Build(ctx context.Context, bin string) (string, error) {
	binary := filepath.Join(bin, "lockkeeper")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/lockkeeper")
	cmd.Dir = filepath.Dir(bin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./cmd/lockkeeper: %w\n%s", err, out)
	}
	return binary, nil
}

// Process is a running `lockkeeper serve`.
type Process struct {
	// Log is the file that holds what it says.
	Log string
	// Done is closed when it has ended.
	Done <-chan struct{}

	cmd   *exec.Cmd
	begin int64 // where its part of the log does
	err   error // once Done is closed
}

// Serve starts `lockkeeper serve` with an operator's file, appending to a log,
// in a process group of its own, so that Ctrl-C reaches only us and we can end things in order.
// Stop ends it.
func Serve(binary, config, log string) (*Process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	done := make(chan struct{})
	end, err := out.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	p := &Process{Log: log, Done: done, begin: end, cmd: exec.Command(binary, "serve", "--config", config)}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = attributes()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(done)
	}()
	return p, nil
}

// Address waits until the process listens, and returns where.
func (p *Process) Address(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		data, err := os.ReadFile(p.Log)
		if err != nil {
			return "", err
		}
		for line := range bytes.Lines(data[p.begin:]) {
			var entry struct{ Msg, Address string }
			if json.Unmarshal(line, &entry) == nil && entry.Msg == "listening" {
				return entry.Address, nil
			}
		}
		select {
		case <-p.Done:
			return "", p.Ended()
		case <-ctx.Done():
			return "", fmt.Errorf("wait for lockkeeper serve to listen: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Ended is an error if the process is not running any more.
func (p *Process) Ended() error {
	select {
	case <-p.Done:
		return fmt.Errorf("lockkeeper serve ended by itself (%v):\n%s", p.cmd.ProcessState, p.LastLines(10))
	default:
		return nil
	}
}

// LastLines is the end of the log.
func (p *Process) LastLines(n int) string {
	data, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// PID is its process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal to the process alone.
func (p *Process) Signal(sig os.Signal) error { return p.cmd.Process.Signal(sig) }

// Kill ends the process at once, as a crash would, and waits until it is gone.
func (p *Process) Kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.Done
	return nil
}

// stopping is how long a process has to end: as long as it may drain by
// default, and some.
const stopping = time.Minute

// Stop asks the process to end as an operator would, and makes it if it does
// not within a minute. It is an error if it did not end well. A nil
// Process has ended.
func (p *Process) Stop() error {
	if p == nil {
		return nil
	}
	if err := p.Ended(); err != nil {
		return err
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.Done:
	case <-time.After(stopping):
		return errors.Join(errors.New("lockkeeper serve did not end on SIGTERM"), p.cmd.Process.Kill())
	}
	if p.err != nil {
		return fmt.Errorf("lockkeeper serve did not end well: %w\n%s", p.err, p.LastLines(10))
	}
	return nil
}
