package git

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"lockkeeper/forge/git/internal/check"
)

// errMissing means that the repository has no object of that hash.
var errMissing = errors.New("object is missing")

const (
	maxReaders = 4                // cat-file processes per repository
	idleAfter  = 30 * time.Second // an unused one ends after this
)

// object is one object as git stores it. Data is nil when only asked for info.
type object struct {
	kind string // commit, tree, blob, tag
	size int64
	data []byte
}

// readers is a pool of `git cat-file --batch-command` processes: starting one
// costs milliseconds, asking one costs microseconds.
type readers struct {
	start func() (*reader, error)
	slots chan struct{}

	mu   sync.Mutex
	idle []*reader
}

func newReaders(b binary, gitDir string, maxBlob int64) *readers {
	return &readers{
		slots: make(chan struct{}, maxReaders),
		start: func() (*reader, error) { return startReader(b, gitDir, maxBlob) },
	}
}

// info asks for an object's kind and size.
func (p *readers) info(ctx context.Context, sha string) (object, error) {
	return p.ask(ctx, "info", sha)
}

// contents reads an object; a blob over the limit is ErrTooLarge.
func (p *readers) contents(ctx context.Context, sha string) (object, error) {
	return p.ask(ctx, "contents", sha)
}

func (p *readers) ask(ctx context.Context, command, sha string) (object, error) {
	var obj object
	err := p.with(ctx, []string{sha}, func(r *reader) (err error) {
		obj, err = r.ask(command, sha)
		return err
	})
	return obj, err
}

// all reads several objects with one round trip. An error is about any of them.
func (p *readers) all(ctx context.Context, shas []string) ([]object, error) {
	var objs []object
	err := p.with(ctx, shas, func(r *reader) (err error) {
		objs, err = r.all(shas)
		return err
	})
	return objs, err
}

// with lends a reader, and ends it where it cannot be used again.
func (p *readers) with(ctx context.Context, shas []string, use func(r *reader) error) error {
	for _, sha := range shas {
		if err := check.SHA(sha); err != nil {
			return err
		}
	}
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r, err := p.take()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, r.kill)
	err = use(r)
	// After an error among several, answers are left that nobody will read.
	if !stop() || err != nil && (!errors.Is(err, errMissing) || len(shas) > 1) {
		r.kill()
		r.wait()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	p.put(r)
	return err
}

// take returns the reader used last, or a new one.
func (p *readers) take() (*reader, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.idle); n > 0 {
		r := p.idle[n-1]
		p.idle = p.idle[:n-1]
		r.timer.Stop()
		return r, nil
	}
	return p.start()
}

func (p *readers) put(r *reader) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r.timer = time.AfterFunc(idleAfter, func() { p.expire(r) })
	p.idle = append(p.idle, r)
}

// expire ends r if it is still idle.
func (p *readers) expire(r *reader) {
	p.mu.Lock()
	found := false
	for i, other := range p.idle {
		if other == r {
			p.idle = append(p.idle[:i], p.idle[i+1:]...)
			found = true
			break
		}
	}
	p.mu.Unlock()
	if found {
		r.close()
	}
}

// close ends all idle readers; the pool stays usable.
func (p *readers) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	for _, r := range idle {
		r.timer.Stop()
		r.close()
	}
}

// reader is one cat-file process. It serves one question at a time.
type reader struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	stderr  *tail
	maxBlob int64
	timer   *time.Timer
	once    sync.Once
}

func startReader(b binary, gitDir string, maxBlob int64) (*reader, error) {
	// Objects above the limit are streamed by git instead of being loaded.
	c := call{gitDir: gitDir, config: []string{"core.bigFileThreshold", strconv.FormatInt(maxBlob+1, 10)}}
	cmd := exec.Command(b.path, "cat-file", "--batch-command")
	cmd.Env, cmd.Dir = b.environ(c), gitDir
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	r := &reader{cmd: cmd, in: in, out: bufio.NewReaderSize(out, 64<<10), stderr: &tail{max: 4 << 10}, maxBlob: maxBlob}
	cmd.Stderr = r.stderr
	killGroup(cmd)
	cmd.Cancel = nil // the process outlives the question that started it
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("git cat-file: %w", err)
	}
	return r, nil
}

// ask sends one command and reads its answer to the end, unless it is too large.
func (r *reader) ask(command, sha string) (object, error) {
	if _, err := io.WriteString(r.in, command+" "+sha+"\n"); err != nil {
		return object{}, r.broken(err)
	}
	return r.hear(sha, command == "contents")
}

// all reads objects that were asked for in one go. The questions must fit into
// a pipe, or both sides would wait for each other.
func (r *reader) all(shas []string) ([]object, error) {
	var questions strings.Builder
	for _, sha := range shas {
		questions.WriteString("contents " + sha + "\n")
	}
	if _, err := io.WriteString(r.in, questions.String()); err != nil {
		return nil, r.broken(err)
	}
	objs := make([]object, len(shas))
	for i, sha := range shas {
		var err error
		if objs[i], err = r.hear(sha, true); err != nil {
			return nil, err
		}
	}
	return objs, nil
}

// hear reads one answer, with the content if that was asked for.
func (r *reader) hear(sha string, contents bool) (object, error) {
	header, err := r.out.ReadString('\n')
	if err != nil {
		return object{}, r.broken(err)
	}
	fields := strings.Fields(header)
	if len(fields) == 2 && fields[1] == "missing" {
		return object{}, errMissing
	}
	if len(fields) != 3 || fields[0] != sha {
		return object{}, fmt.Errorf("git cat-file: unexpected answer %q", header)
	}
	obj := object{kind: fields[1]}
	if obj.size, err = strconv.ParseInt(fields[2], 10, 64); err != nil {
		return object{}, fmt.Errorf("git cat-file: unexpected answer %q", header)
	}
	if !contents {
		return obj, nil
	}
	if obj.size > r.maxBlob {
		return obj, fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, obj.size, r.maxBlob)
	}
	obj.data = make([]byte, obj.size+1)
	if _, err := io.ReadFull(r.out, obj.data); err != nil {
		return object{}, r.broken(err)
	}
	obj.data = obj.data[:obj.size]
	return obj, nil
}

// broken explains why the process stopped answering: git says so when it met
// an object that it cannot read, and nothing when it was killed.
func (r *reader) broken(err error) error {
	r.kill()
	r.wait()
	if words := scrub(r.stderr.String(), ""); words != "" {
		return fmt.Errorf("%w: %s", ErrCorrupt, words)
	}
	return fmt.Errorf("git cat-file ended unexpectedly: %w", err)
}

func (r *reader) kill() { _ = r.cmd.Process.Kill() }

func (r *reader) wait() { r.once.Do(func() { _ = r.cmd.Wait() }) }

// close lets the process end by itself, which it does at the end of its input.
func (r *reader) close() {
	_ = r.in.Close()
	r.wait()
}
