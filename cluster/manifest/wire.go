package manifest

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
)

// Parent and child speak in frames over the child's stdin and stdout: the
// lengths of a JSON header and of a body, then both.
//
//	parent              child
//	                    hello: contained, or why not
//	order: a target
//	                    request: a question ┐ as often
//	reply: the answer                       ┘ as needed
//	                    request: done, body: outcome

const (
	maxHeader = 16 << 20  // a listing of a very large directory
	maxBody   = 256 << 20 // all objects of a target as JSON
)

// hello is the child's first word.
type hello struct {
	// Error says why the child could not be contained.
	Error string
}

// order asks the child to render a target.
type order struct {
	Path   string
	Millis int64 // after which the child ends itself, should the parent not
}

// request is what the child says while rendering. Op is a question's, or done.
type request struct {
	Op   Op
	Path string
}

const done Op = "done"

// reply answers a question; its body is the content of a file.
type reply struct {
	Answer answer
	Error  string
}

// outcome is what rendering led to: objects or problems.
type outcome struct {
	Objects  []rendered
	Problems []Problem
	// Spent says that the child's process-wide state was customised, so that it
	// must not render anything else.
	Spent bool
}

// rendered is an object on its way to the parent.
type rendered struct {
	Source  string
	Content map[string]any
}

func send(w io.Writer, header any, body []byte) error {
	head, err := json.Marshal(header)
	if err != nil {
		return err
	}
	frame := make([]byte, 8, 8+len(head)+len(body))
	binary.BigEndian.PutUint32(frame[:4], uint32(len(head)))
	binary.BigEndian.PutUint32(frame[4:], uint32(len(body)))
	_, err = w.Write(append(append(frame, head...), body...))
	return err
}

func receive(r io.Reader, header any) (body []byte, err error) {
	var lengths [8]byte
	if _, err := io.ReadFull(r, lengths[:]); err != nil {
		return nil, err
	}
	h, b := binary.BigEndian.Uint32(lengths[:4]), binary.BigEndian.Uint32(lengths[4:])
	if h > maxHeader || b > maxBody {
		return nil, fmt.Errorf("frame of %d+%d bytes is over the limit", h, b)
	}
	buf := make([]byte, int(h)+int(b))
	if _, err := io.ReadFull(r, buf); err != nil {
		return nil, err
	}
	return buf[h:], json.Unmarshal(buf[:h], header)
}
