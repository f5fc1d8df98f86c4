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
	if hasAlias(&root) {
		d.add("anchors and aliases are not used here; write the values out")
		return d
	}
	strict := yaml.NewDecoder(bytes.NewReader(data))
	strict.KnownFields(true)
	if err := strict.Decode(v); err != nil {
		d.addYAML(err)
	}
	return d
}

// hasAlias finds an alias; refusing them keeps alias bombs out (threat 6).
func hasAlias(n *yaml.Node) bool {
	return n.Kind == yaml.AliasNode || slices.ContainsFunc(n.Content, hasAlias)
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
		p := Problem{File: d.file, Message: strings.TrimPrefix(msg, "yaml: ")}
		if m := yamlLine.FindStringSubmatch(msg); m != nil {
			p.Line, _ = strconv.Atoi(m[1])
			p.Message = m[2]
		}
		p.Message = plainField.ReplaceAllString(p.Message, "unknown field $1")
		d.problems = append(d.problems, p)
	}
}

var plainField = regexp.MustCompile(`field (\S+) not found in type \S+`)

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
