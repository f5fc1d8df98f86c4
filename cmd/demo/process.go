package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// goBuild builds one command of the clone.
func goBuild(ctx context.Context, root, binary, pkg string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", binary, pkg)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// process is a child whose output goes to a file.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when it has ended, with err set
	err  error
}

// startProcess starts a child in a process group of its own, so that Ctrl-C
// reaches only us and we can end things in order.
func startProcess(log, binary string, args ...string) (*process, error) {
	out, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p := &process{cmd: exec.Command(binary, args...), log: log, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = childAttributes()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// listening waits until the bot says where it listens.
func (p *process) listening(ctx context.Context) (string, error) {
	var address string
	err := eventually(ctx, "the bot to listen", func(context.Context) (bool, error) {
		select {
		case <-p.done:
			return false, fmt.Errorf("lockkeeper serve ended: %w\n%s", p.err, p.lastLines(10))
		default:
		}
		data, err := os.ReadFile(p.log)
		for line := range bytes.Lines(data) {
			var entry struct{ Msg, Address string }
			if json.Unmarshal(line, &entry) == nil && entry.Msg == "listening" {
				address = entry.Address
			}
		}
		return address != "", err
	})
	return address, err
}

// ended is an error if the child is not running any more.
func (p *process) ended() error {
	select {
	case <-p.done:
		return fmt.Errorf("lockkeeper serve ended by itself: %w\n%s", p.err, p.lastLines(10))
	default:
		return nil
	}
}

func (p *process) lastLines(n int) string {
	data, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// stop asks the child to end, and makes it if it does not. It is an error if
// it did not end well.
func (p *process) stop() error {
	if p == nil {
		return nil
	}
	select {
	case <-p.done:
		return nil // reported by whoever needed it
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
	case <-time.After(30 * time.Second):
		return errors.Join(errors.New("lockkeeper serve did not end on SIGTERM"), p.cmd.Process.Kill())
	}
	if p.err != nil {
		return fmt.Errorf("lockkeeper serve did not end well: %w\n%s", p.err, p.lastLines(10))
	}
	return nil
}

// patience bounds every wait: generous, because it only matters when
// something is wrong.
const patience = 2 * time.Minute

// eventually waits until the condition holds. An error of the condition ends
// the wait.
func eventually(ctx context.Context, what string, holds func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("still not so after %s", patience))
	defer cancel()
	pause := 10 * time.Millisecond
	for {
		ok, err := holds(ctx)
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, context.Cause(ctx))
		case <-time.After(pause):
		}
		pause = min(pause*3/2, 200*time.Millisecond)
	}
}
