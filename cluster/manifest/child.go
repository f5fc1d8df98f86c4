package manifest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"time"

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

// serve renders target after target until the parent hangs up.
func serve(pipe io.Reader, out io.Writer) error {
	in := bufio.NewReaderSize(pipe, 64<<10)
	for {
		var o order
		if _, err := receive(in, &o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		// Should the parent die, nobody else ends a rendering that hangs.
		watchdog := time.AfterFunc(time.Duration(o.Millis)*time.Millisecond, func() { os.Exit(1) })
		result, err := render(&remote{in: in, out: out}, o.Path)
		if err != nil {
			// The parent knows the error: it is what it answered.
			result = outcome{}
		}
		watchdog.Stop()
		body, err := json.Marshal(result)
		if err != nil {
			return fmt.Errorf("objects cannot be written as JSON")
		}
		if err := send(out, request{Op: done}, body); err != nil {
			return err
		}
	}
}

// remote is the parent's tree, asked through the pipe.
type remote struct {
	in  io.Reader
	out io.Writer
	// asked are the files that were asked for ahead and not answered yet, in
	// order; early are the answers that came before they were needed.
	asked []string
	early map[string]told
}

// told is what the parent said to one question.
type told struct {
	answer answer
	err    error
}

// maxAhead is how many bytes of questions may be under way: no more than the
// smallest pipe holds, so that a parent that is busy with a long answer never
// keeps us from reading it.
const maxAhead = 4 << 10

// ahead asks for files that will be read soon, all in one go: that saves the
// two processes from waiting for each other at every file. What does not fit is
// asked for when it is needed.
func (r *remote) ahead(files []string) error {
	var questions bytes.Buffer
	for _, f := range files {
		if questions.Len()+6*len(f)+64 > maxAhead { // JSON may need six bytes for one
			break
		}
		if err := send(&questions, request{Read, f}, nil); err != nil {
			return err
		}
		r.asked = append(r.asked, f)
	}
	_, err := r.out.Write(questions.Bytes())
	return err
}

func (r *remote) ask(op Op, path string) (answer, error) {
	if t, known := r.early[path]; known && op == Read {
		delete(r.early, path)
		return t.answer, t.err
	}
	for len(r.asked) > 0 {
		file := r.asked[0]
		r.asked = r.asked[1:]
		t := r.hear()
		if op == Read && file == path {
			return t.answer, t.err
		}
		if r.early == nil {
			r.early = map[string]told{}
		}
		r.early[file] = t
	}
	if err := send(r.out, request{op, path}, nil); err != nil {
		return answer{}, err
	}
	t := r.hear()
	return t.answer, t.err
}

// hear receives one answer.
func (r *remote) hear() told {
	var rep reply
	body, err := receive(r.in, &rep)
	if err != nil {
		return told{err: err}
	}
	if rep.Error != "" {
		return told{err: errors.New(rep.Error)}
	}
	rep.Answer.data = body
	return told{answer: rep.Answer}
}
