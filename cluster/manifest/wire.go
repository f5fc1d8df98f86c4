package manifest

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"

	k8sjson "k8s.io/apimachinery/pkg/util/json"

	"lockkeeper/cluster"
	"lockkeeper/cluster/manifest/closure"
	"lockkeeper/cluster/manifest/document"
)

// Parent and child speak in frames over the child's stdin and stdout: the
// lengths of a JSON header and of a body, then both.
//
//	parent              child
//	                    hello: contained, or why not
//	order: a kustomization,
//	or files with their contents
//	                    request: a question ┐ as often as a
//	reply: the answer                       ┘ kustomization needs
//	                    request: done, body: the objects

const (
	maxHeader = 16 << 20  // a listing of a very large directory
	maxBody   = 256 << 20 // all objects of a target as JSON
)

// hello is the child's first word.
type hello struct {
	// Error says why the child could not be contained.
	Error string
}

// order asks the child for work: to build the kustomization at Path, or to
// decode Files, whose contents follow one another in the body.
type order struct {
	Path   string
	Files  []sized
	Millis int64 // after which the child ends itself, should the parent not
}

// sized is a file and how many bytes it has.
type sized struct {
	Path string
	Size int
}

// request is what the child says while it works. Op is a question's, or done;
// then Results has what each file led to, or the kustomization.
type request struct {
	Op      closure.Op
	Path    string
	Results []outcome
}

const done closure.Op = "done"

// reply answers a question; its body is the content of a file.
type reply struct {
	Answer closure.Answer
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

// rendered is an object on its way to the parent. Its canonical JSON is in the
// body, after that of the objects before it.
type rendered struct {
	Path    string
	Line    int
	Size    int
	content map[string]any
}

// pack writes the objects of outcomes as a body, and their sizes into them.
func pack(outcomes []outcome) ([]byte, error) {
	var body []byte
	for _, out := range outcomes {
		for i := range out.Objects {
			o := &out.Objects[i]
			doc, err := json.Marshal(o.content)
			if err != nil {
				return nil, fmt.Errorf("objects cannot be written as JSON")
			}
			o.Size = len(doc)
			body = append(body, doc...)
		}
	}
	return body, nil
}

// result is an outcome that has arrived.
type result struct {
	objects  []placed
	problems []Problem
}

// placed is an object, the line it begins on, and a hash of its canonical form.
type placed struct {
	path   string
	line   int
	object cluster.Object
	sum    [sha256.Size]byte
}

// unpack reads what pack wrote.
func unpack(outcomes []outcome, body []byte) ([]result, error) {
	out := make([]result, len(outcomes))
	for i, o := range outcomes {
		out[i].problems = o.Problems
		for _, w := range o.Objects {
			if w.Size < 0 || w.Size > len(body) {
				return nil, errDied
			}
			p, err := unpackObject(w, body[:w.Size])
			if err != nil {
				return nil, err
			}
			out[i].objects = append(out[i].objects, p)
			body = body[w.Size:]
		}
	}
	return out, nil
}

func unpackObject(w rendered, doc []byte) (placed, error) {
	p := placed{path: w.Path, line: w.Line, sum: sha256.Sum256(doc)}
	p.object.Source = document.Where(w.Path, w.Line)
	// Numbers become int64 or float64, which is what DeepCopyJSON wants.
	if err := k8sjson.Unmarshal(doc, &p.object.Content); err != nil {
		return p, fmt.Errorf("object from %s: %w", p.object.Source, err)
	}
	p.object.APIVersion, _ = p.object.Content["apiVersion"].(string)
	p.object.Ref = refOf(p.object.Content)
	return p, nil
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
