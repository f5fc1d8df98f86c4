package manifest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"time"

	"lockkeeper/cluster/manifest/closure"
	"lockkeeper/cluster/manifest/sandbox"
)

// marker is the environment variable that turns a process into a rendering
// child. Its value is the memory limit in bytes.
const marker = "LOCKKEEPER_RENDER_CHILD"

// Child must be called first thing in main, and in TestMain of tests that
// render. In a process that a Renderer started it renders until the parent
// closes the pipe, and exits; in any other process it returns at once.
func Child() {
	limit, set := os.LookupEnv(marker)
	if !set {
		return
	}
	memory, err := strconv.ParseInt(limit, 10, 64)
	if err == nil {
		// The garbage collector works harder near the limit; the hard limit that
		// contain sets is above it. Far from it, a process this short has better
		// to do.
		debug.SetMemoryLimit(memory)
		debug.SetGCPercent(400)
		err = sandbox.Enter(memory)
	}
	h := hello{}
	if err != nil {
		h.Error = err.Error()
	}
	if send(os.Stdout, h, nil) != nil || err != nil {
		os.Exit(1)
	}
	if err := serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "fatal error:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serve works order after order until the parent hangs up.
func serve(pipe io.Reader, out io.Writer) error {
	in := bufio.NewReaderSize(pipe, 64<<10)
	for {
		var o order
		data, err := receive(in, &o)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		// Should the parent die, nobody else ends a rendering that hangs.
		watchdog := time.AfterFunc(time.Duration(o.Millis)*time.Millisecond, func() { os.Exit(1) })
		results := work(&remote{in: in, out: out}, o, data)
		watchdog.Stop()
		body, err := pack(results)
		if err != nil {
			return err
		}
		if err := send(out, request{Op: done, Results: results}, body); err != nil {
			return err
		}
	}
}

func work(parent closure.Source, o order, data []byte) []outcome {
	if len(o.Files) == 0 {
		built, err := renderKustomize(parent, o.Path)
		if err != nil {
			// The parent knows the error: it is what it answered.
			built = outcome{}
		}
		return []outcome{built}
	}
	results := make([]outcome, len(o.Files))
	for i, f := range o.Files {
		results[i] = decodeFile(f.Path, data[:f.Size])
		data = data[f.Size:]
	}
	return results
}

// remote is the parent's tree, asked through the pipe.
type remote struct {
	in  io.Reader
	out io.Writer
}

func (r *remote) Ask(op closure.Op, path string) (closure.Answer, error) {
	if err := send(r.out, request{Op: op, Path: path}, nil); err != nil {
		return closure.Answer{}, err
	}
	var rep reply
	body, err := receive(r.in, &rep)
	if err != nil {
		return closure.Answer{}, err
	}
	if rep.Error != "" {
		return closure.Answer{}, errors.New(rep.Error)
	}
	rep.Answer.Data = body
	return rep.Answer, nil
}
