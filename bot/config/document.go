package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Problem is one thing wrong with a file. Line is 0 when it concerns no line.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`
	Message string `json:"message"`

	decoding bool // found before the values were looked at
}

// String is "file:line: message".
func (p Problem) String() string {
	if p.Line == 0 {
		return p.File + ": " + p.Message
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Message)
}

// Problems is all that is wrong with a file, as an error.
type Problems []Problem

// Error lists the problems, a line each.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

func (ps Problems) orNil() error {
	if len(ps) == 0 {
		return nil
	}
	slices.SortStableFunc(ps, func(a, b Problem) int { return a.Line - b.Line })
	return ps
}

// document is a decoded file that can tell the line of each of its values.
type document struct {
	file     string
	root     *yaml.Node
	decoded  bool // into the Go type, as far as its types allow
	problems Problems
}

// maxFile caps a configuration file; real ones have a few kilobytes.
const maxFile = 1 << 20

// decode reads exactly one YAML document into v, strictly.
func decode(file string, data []byte, v any) *document {
	d := &document{file: file}
	if len(data) > maxFile {
		d.add(fmt.Sprintf("the file has %d bytes, more than the %d that are read", len(data), maxFile))
		return d
	}
	var root yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(&root); err != nil {
		if errors.Is(err, io.EOF) {
			d.add("the file is empty")
		} else {
			d.addYAML(err)
		}
		return d
	}
	d.root = &root
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		d.add("the file has more than one YAML document; want one")
	}
	if n := shortcut(&root); n != nil {
		d.problems = append(d.problems, Problem{File: file, Line: n.Line, Message: "anchors, aliases and merge keys are not used here; write the values out"})
		return d
	}
	strict := yaml.NewDecoder(bytes.NewReader(data))
	strict.KnownFields(true)
	err := strict.Decode(v)
	if err != nil {
		d.addYAML(err)
	}
	d.wholeNumbers(&root)
	// An entry of a list that could not be read is left out by the decoder, and
	// those behind it would be blamed at the wrong lines.
	d.decoded = !slices.ContainsFunc(d.problems, func(p Problem) bool { return !strings.HasPrefix(p.Message, unknownField) })
	return d
}

// wholeNumbers refuses fractions, which the decoder would cut: an approval of
// 0.9 people is none.
func (d *document) wholeNumbers(n *yaml.Node) {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!float" {
		d.problems = append(d.problems, Problem{File: d.file, Line: n.Line, decoding: true,
			Message: fmt.Sprintf("got the number %s; want a whole number, or quotes around text", n.Value)})
	}
	for _, c := range n.Content {
		d.wholeNumbers(c)
	}
}

// shortcut finds an anchor, an alias or a merge key, or nil; refusing them
// keeps alias bombs out (threat 6).
func shortcut(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode || n.Anchor != "" || n.ShortTag() == "!!merge" {
		return n
	}
	for _, c := range n.Content {
		if found := shortcut(c); found != nil {
			return found
		}
	}
	return nil
}

// outcome is all problems as an error. A line that could not be decoded is not
// also blamed for what is missing on it.
func (d *document) outcome() error {
	bad := map[int]bool{}
	var all Problems
	for _, p := range d.problems {
		if p.decoding {
			bad[p.Line] = true
		}
	}
	for _, p := range d.problems {
		if p.decoding || !bad[p.Line] {
			p.decoding = false
			all = append(all, p)
		}
	}
	return all.orNil()
}

// add records a problem at the line of the deepest part of path that exists.
func (d *document) add(message string, path ...any) {
	d.problems = append(d.problems, Problem{File: d.file, Line: d.line(path), Message: message})
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)

// addYAML takes the decoder's error apart into one problem a line.
func (d *document) addYAML(err error) {
	msgs := []string{err.Error()}
	var typed *yaml.TypeError
	if errors.As(err, &typed) {
		msgs = typed.Errors
	}
	for _, msg := range msgs {
		p := Problem{File: d.file, Message: strings.TrimPrefix(msg, "yaml: "), decoding: true}
		if m := yamlLine.FindStringSubmatch(msg); m != nil {
			p.Line, _ = strconv.Atoi(m[1])
			p.Message = m[2]
		}
		p.Message = plain(p.Message)
		d.problems = append(d.problems, p)
	}
}

var (
	plainField = regexp.MustCompile(`^field (\S+) not found in type \S+$`)
	plainType  = regexp.MustCompile("^cannot unmarshal !!(\\w+)( `.*`)? into (\\S+)$")
)

const unknownField = "unknown field "

// plain says what the decoder says without the names of Go types.
func plain(msg string) string {
	if m := plainField.FindStringSubmatch(msg); m != nil {
		return unknownField + m[1]
	}
	m := plainType.FindStringSubmatch(msg)
	if m == nil {
		return msg
	}
	got := map[string]string{"seq": "a list", "map": "a mapping", "str": "text", "int": "a number", "float": "a fraction", "bool": "true or false"}[m[1]]
	if got == "" {
		got = m[1]
	}
	want := "a mapping"
	switch t := m[3]; {
	case strings.HasPrefix(t, "[]"):
		want = "a list"
	case t == "string" || strings.HasSuffix(t, "Mode") || strings.HasSuffix(t, "Method"):
		want = "text"
	case t == "bool":
		want = "true or false"
	case strings.HasPrefix(t, "int"):
		want = "a whole number"
	}
	return fmt.Sprintf("got %s%s, want %s", got, m[2], want)
}

// line walks the YAML tree along keys (string) and indices (int).
func (d *document) line(path []any) int {
	if d.root == nil || len(d.root.Content) == 0 || len(path) == 0 {
		return 0
	}
	n := d.root.Content[0]
	line := n.Line
	for _, step := range path {
		next, at := child(n, step)
		if next == nil {
			return line
		}
		n, line = next, at
	}
	return line
}

// has reports whether the whole path is there.
func (d *document) has(path []any) bool {
	if d.root == nil || len(d.root.Content) == 0 {
		return false
	}
	n := d.root.Content[0]
	for _, step := range path {
		if n, _ = child(n, step); n == nil {
			return false
		}
	}
	return true
}

func child(n *yaml.Node, step any) (*yaml.Node, int) {
	switch s := step.(type) {
	case int:
		if n.Kind == yaml.SequenceNode && s < len(n.Content) {
			return n.Content[s], n.Content[s].Line
		}
	case string:
		for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == s {
				return n.Content[i+1], n.Content[i].Line
			}
		}
	}
	return nil, 0
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
