package house

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

// process is `lockkeeper serve`, with its log in a file.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when it has ended, with err set
	err  error
}

// start starts a child in a process group of its own, so that Ctrl-C reaches
// only us and we can end things in order.
func start(log, binary string, args ...string) (*process, error) {
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
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		data, err := os.ReadFile(p.log)
		if err != nil {
			return "", err
		}
		for line := range bytes.Lines(data) {
			var entry struct{ Msg, Address string }
			if json.Unmarshal(line, &entry) == nil && entry.Msg == "listening" {
				return entry.Address, nil
			}
		}
		select {
		case <-p.done:
			return "", p.ended()
		case <-ctx.Done():
			return "", fmt.Errorf("wait for lockkeeper serve to listen: %w", ctx.Err())
		case <-time.After(poll):
		}
	}
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

// stop asks the child to end, and makes it if it does not.
func (p *process) stop() error {
	if p == nil {
		return nil
	}
	if err := p.ended(); err != nil {
		return err
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
