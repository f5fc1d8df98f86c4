package manifest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"lockkeeper/cluster/manifest/closure"
)

// Reasons why a rendering has no result, apart from problems in the files.
var (
	ErrTimeout     = errors.New("rendering took too long and was stopped")
	ErrMemory      = errors.New("rendering needed too much memory and was stopped")
	ErrContainment = errors.New("the rendering process cannot be contained, so nothing is rendered")
	errDied        = errors.New("the rendering process ended unexpectedly")
)

// child is a running rendering process.
type child struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    io.Reader
	stderr tail
	used   int
	exited chan struct{} // closed when the process is gone
}

// startTimeout is generous: a child is ready within milliseconds, unless the
// machine is far too busy.
const startTimeout = 30 * time.Second

// start starts a child and waits until it is contained.
func start(ctx context.Context, limits Limits) (*child, error) {
	if _, nested := os.LookupEnv(marker); nested {
		// Without this, a test binary whose TestMain forgets Child would run all
		// its tests in every child, and each of them start more.
		return nil, fmt.Errorf("%w: this process is itself a rendering child; call manifest.Child first thing in main and in TestMain", ErrContainment)
	}
	self, err := executable()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrContainment, err)
	}
	c := &child{cmd: exec.Command(self), exited: make(chan struct{})}
	c.cmd.Args[0] = "lockkeeper-render"
	c.cmd.Dir = "/"
	c.cmd.Env = []string{"PATH=", marker + "=" + strconv.FormatInt(limits.Memory, 10)}
	c.cmd.Stderr = &c.stderr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReaderSize(out, 64<<10)
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the rendering process: %w", err)
	}
	var h hello
	stop := c.killOn(ctx, startTimeout, startTimeout)
	_, err = receive(c.out, &h)
	why := stop()
	go c.reap()
	switch {
	case why != nil:
		c.kill()
		return nil, why
	case err == nil && h.Error != "":
		c.kill()
		return nil, fmt.Errorf("%w: %s", ErrContainment, h.Error)
	case err != nil:
		c.kill()
		return nil, fmt.Errorf("%w at its start; does main call manifest.Child first?%s", errDied, c.stderr.cause())
	}
	return c, nil
}

// executable is the path of this program. On Linux it leads to the running
// program even if its file was replaced by an upgrade.
func executable() (string, error) {
	if runtime.GOOS == "linux" {
		if _, err := os.Stat("/proc/self/exe"); err == nil {
			return "/proc/self/exe", nil
		}
	}
	return os.Executable()
}

// reap waits for the process, which frees what the system keeps of it.
func (c *child) reap() {
	_ = c.cmd.Wait() // also waits until all of stderr is read
	close(c.exited)
}

// kill ends the process and waits until it is gone.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	<-c.exited
	_ = c.in.Close()
}

// killOn kills the child when ctx ends or the time is up, the last of the total
// that people are told. The returned function ends the watch and tells whether,
// and why, the child was killed.
func (c *child) killOn(ctx context.Context, after, total time.Duration) (stop func() error) {
	var once sync.Once
	var why error
	end := func(err error) {
		once.Do(func() {
			if why = err; err != nil {
				_ = c.cmd.Process.Kill()
			}
		})
	}
	timer := time.AfterFunc(after, func() { end(fmt.Errorf("%w (after %s)", ErrTimeout, total)) })
	unwatch := context.AfterFunc(ctx, func() { end(ctx.Err()) })
	return func() error {
		timer.Stop()
		unwatch()
		end(nil)
		return why
	}
}

// work has the child carry out an order, for at most some time, and answers its
// questions meanwhile. spent says that the child must not be used again; nor
// must it after an error.
func (c *child) work(ctx context.Context, rec *closure.Recorder, o order, data []byte, most time.Duration, limits Limits) (results []result, spent bool, err error) {
	if most <= 0 {
		return nil, false, fmt.Errorf("%w (after %s)", ErrTimeout, limits.Timeout)
	}
	o.Millis = 2 * limits.Timeout.Milliseconds()
	stop := c.killOn(ctx, most, limits.Timeout)
	outcomes, body, err := c.converse(rec, o, data)
	if why := stop(); why != nil {
		return nil, false, why
	}
	if err != nil {
		return nil, false, c.autopsy(err, limits)
	}
	for _, out := range outcomes {
		spent = spent || out.Spent
	}
	results, err = unpack(outcomes, body)
	return results, spent, err
}

func (c *child) converse(rec *closure.Recorder, o order, data []byte) ([]outcome, []byte, error) {
	if err := send(c.in, o, data); err != nil {
		return nil, nil, err
	}
	for {
		var req request
		body, err := receive(c.out, &req)
		if err != nil {
			return nil, nil, err
		}
		if req.Op == done {
			return req.Results, body, nil
		}
		if rec == nil {
			return nil, nil, errors.New("it asked for more than it was given")
		}
		var rep reply
		a, err := rec.Ask(req.Op, req.Path)
		if err != nil {
			rep.Error = err.Error()
		}
		rep.Answer = a
		if err := send(c.in, rep, a.Data); err != nil {
			return nil, nil, err
		}
	}
}

// autopsy says why a child is gone in the middle of a rendering.
func (c *child) autopsy(err error, limits Limits) error {
	c.kill()
	cause := c.stderr.cause()
	if strings.Contains(cause, "out of memory") || strings.Contains(cause, "cannot allocate memory") {
		return fmt.Errorf("%w (the limit is %d MiB)", ErrMemory, limits.Memory>>20)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, os.ErrClosed) || isBrokenPipe(err) {
		return fmt.Errorf("%w%s", errDied, cause)
	}
	return fmt.Errorf("%w: %w", errDied, err)
}

func isBrokenPipe(err error) bool { return strings.Contains(err.Error(), "broken pipe") }

// tail keeps the first lines of the child's stderr: a crash of the Go runtime
// starts with its cause.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write never fails: the child must not block on its stderr.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if room := 16<<10 - t.buf.Len(); room > 0 {
		t.buf.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// cause is what the runtime said, as ": out of memory". Other lines may quote
// the rendered files, and are left out.
func (t *tail) cause() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	for line := range strings.SplitSeq(t.buf.String(), "\n") {
		if why, is := strings.CutPrefix(line, "fatal error: "); is {
			return ": " + why
		}
	}
	return ""
}
