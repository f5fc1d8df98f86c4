// Package document reads the YAML and JSON documents of files that outsiders
// wrote: as kubectl would, with limits, and with a file and a line for
// everything that is wrong.
package document

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Limits of what is read. They bound work, not style: real manifests are far below.
const (
	MaxFile    = 10 << 20 // bytes of one file, and so of one document
	MaxDepth   = 100      // levels of nesting in one document
	MaxAliases = 100_000  // nodes that the aliases of one document stand for
)

// TooLarge says that a file is over MaxFile.
var TooLarge = fmt.Sprintf("is larger than %d MiB", MaxFile>>20)

// Problem is one thing wrong with a file. Line is 0 where none fits.
type Problem struct {
	Path    string `json:"path"`
	Line    int    `json:"line,omitempty"`
	Message string `json:"message"`
}

// String is "deploy/web.yaml:12: message".
func (p Problem) String() string { return Where(p.Path, p.Line) + ": " + p.Message }

// Where is "deploy/web.yaml:12", or the path alone without a line.
func Where(path string, line int) string {
	if line == 0 {
		return path
	}
	return fmt.Sprintf("%s:%d", path, line)
}

// Document is one decoded document of a file.
type Document struct {
	Line  int
	Value any        // JSON types: map[string]any, []any, string, bool, int64, uint64, float64, nil
	Node  *yaml.Node // for the lines of what is inside
}

// Decode reads all documents of a YAML or JSON file, as kubectl would: scalars
// resolve as in YAML 1.1 (yes and on are true). Empty documents are left out.
// It returns what it could read along with the problems.
func Decode(path string, data []byte) ([]Document, []Problem) {
	if len(data) > MaxFile {
		return nil, []Problem{{path, 0, TooLarge}}
	}
	if !utf8.Valid(data) {
		return nil, []Problem{{path, 0, "is not UTF-8 text"}}
	}
	nodes, problem := Parse(path, data)
	var problems []Problem
	if problem != nil {
		problems = append(problems, *problem)
	}
	var docs []Document
	for _, n := range nodes {
		if p := checkSize(path, n); p != nil {
			problems = append(problems, *p)
			continue
		}
		c := converter{path: path}
		v := c.value(n)
		problems = append(problems, c.problems...)
		if v != nil && len(c.problems) == 0 {
			docs = append(docs, Document{n.Line, v, n})
		}
	}
	return docs, problems
}

// ValueOf is the value of a node of a document that Parse read, in JSON types.
// The document must not be a Bomb.
func ValueOf(path string, n *yaml.Node) (any, []Problem) {
	c := converter{path: path}
	v := c.value(n)
	return v, c.problems
}

// Parse splits a file into the root nodes of its documents.
func Parse(path string, data []byte) ([]*yaml.Node, *Problem) {
	if strings.HasSuffix(path, ".json") {
		if nodes, err := parseJSON(data); err == nil {
			return nodes, nil
		}
		// Not JSON after all: YAML reads it, or says what is wrong.
	}
	var nodes []*yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc yaml.Node
		err := Safely(func() error { return dec.Decode(&doc) })
		switch {
		case errors.Is(err, io.EOF):
			return nodes, nil
		case err != nil:
			p := SyntaxProblem(path, err)
			p.Line = max(p.Line, 1) // the parser leaves out the first line's number
			return nodes, &p
		}
		if len(doc.Content) == 1 {
			nodes = append(nodes, doc.Content[0])
		}
	}
}

// Safely turns a panic of a parser into an error: what it reads comes from
// outside, and other problems of the target are still to be reported.
func Safely(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("cannot be parsed")
		}
	}()
	return f()
}

var lineOf = regexp.MustCompile(`(?:yaml: )?line (\d+): `)

// SyntaxProblem takes the line out of a parser's error. What it quotes of the
// file is left out, since that may be a secret.
func SyntaxProblem(path string, err error) Problem {
	msg := quoted.ReplaceAllString(err.Error(), "...")
	line := 0
	if m := lineOf.FindStringSubmatch(msg); m != nil {
		line, _ = strconv.Atoi(m[1])
		msg = strings.Replace(msg, m[0], "", 1)
	}
	return Problem{path, line, "invalid YAML: " + strings.TrimPrefix(msg, "yaml: ")}
}

var quoted = regexp.MustCompile("`[^`]*`|\"[^\"]*\"")

// parseJSON makes nodes of JSON values, which YAML 1.1 parsers read almost but
// not quite (tabs, surrogate pairs).
func parseJSON(data []byte) ([]*yaml.Node, error) {
	p := jsonParser{data: data, dec: json.NewDecoder(bytes.NewReader(data)), line: 1}
	p.dec.UseNumber()
	var nodes []*yaml.Node
	for {
		n, err := p.node(0)
		if errors.Is(err, io.EOF) {
			return nodes, nil
		}
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
	}
}

type jsonParser struct {
	data []byte
	dec  *json.Decoder
	at   int64 // offset up to which lines are counted
	line int
}

func (p *jsonParser) node(depth int) (*yaml.Node, error) {
	if depth > 2*MaxDepth {
		return nil, errors.New("nested too deeply")
	}
	tok, err := p.dec.Token()
	if err != nil {
		return nil, err
	}
	end := p.dec.InputOffset()
	p.line += bytes.Count(p.data[p.at:end], []byte{'\n'})
	p.at = end
	n := &yaml.Node{Kind: yaml.ScalarNode, Line: p.line}
	switch v := tok.(type) {
	case json.Delim:
		return n, p.children(n, v, depth)
	case string:
		n.Tag, n.Value, n.Style = "!!str", v, yaml.DoubleQuotedStyle
	case json.Number:
		n.Tag, n.Value = "!!int", v.String()
		if strings.ContainsAny(n.Value, ".eE") {
			n.Tag = "!!float"
		}
	case bool:
		n.Tag, n.Value = "!!bool", strconv.FormatBool(v)
	case nil:
		n.Tag, n.Value = "!!null", "null"
	}
	return n, nil
}

func (p *jsonParser) children(n *yaml.Node, open json.Delim, depth int) error {
	n.Kind, n.Tag = yaml.MappingNode, "!!map"
	if open == '[' {
		n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
	}
	for p.dec.More() {
		c, err := p.node(depth + 1)
		if err != nil {
			return err
		}
		n.Content = append(n.Content, c)
	}
	_, err := p.dec.Token()
	return err
}

// Bomb finds a document whose aliases stand for too much, or that nests too
// deeply, without expanding anything. What cannot be parsed is no bomb.
func Bomb(path string, data []byte) *Problem {
	if bytes.IndexByte(data, '&') < 0 || bytes.IndexByte(data, '*') < 0 {
		return nil
	}
	nodes, _ := Parse(path, data)
	for _, n := range nodes {
		if p := checkSize(path, n); p != nil {
			return p
		}
	}
	return nil
}

// checkSize refuses documents that nest too deeply or whose aliases stand for
// too much, without expanding anything (threat 6).
func checkSize(path string, root *yaml.Node) *Problem {
	s := sizer{sizes: map[*yaml.Node]int{}}
	if s.size(root, 0) < 0 {
		return &Problem{path, s.line, s.message}
	}
	return nil
}

// sizer counts nodes with aliases expanded; each anchor is counted once.
type sizer struct {
	sizes   map[*yaml.Node]int // of anchored nodes; 0 while being counted
	aliased int
	line    int
	message string
}

func (s *sizer) size(n *yaml.Node, depth int) int {
	if depth > MaxDepth {
		return s.fail(n, fmt.Sprintf("nested deeper than %d levels", MaxDepth))
	}
	if n.Kind == yaml.AliasNode {
		size, counted := s.sizes[n.Alias]
		if !counted || size == 0 {
			return s.fail(n, fmt.Sprintf("alias *%s refers to itself", n.Value))
		}
		if s.aliased += size; s.aliased > MaxAliases {
			return s.fail(n, fmt.Sprintf("aliases stand for more than %d values", MaxAliases))
		}
		return size
	}
	if n.Anchor != "" {
		s.sizes[n] = 0
	}
	total := 1
	for _, c := range n.Content {
		size := s.size(c, depth+1)
		if size < 0 {
			return size
		}
		total += size
	}
	if n.Anchor != "" {
		s.sizes[n] = total
	}
	return total
}

func (s *sizer) fail(n *yaml.Node, message string) int {
	s.line, s.message = n.Line, message
	return -1
}

// converter turns nodes into JSON values.
type converter struct {
	path     string
	depth    int
	problems []Problem
}

func (c *converter) fail(n *yaml.Node, format string, args ...any) {
	c.problems = append(c.problems, Problem{c.path, n.Line, fmt.Sprintf(format, args...)})
}

func (c *converter) value(n *yaml.Node) any {
	// Aliases can nest deeper than the document that holds them.
	if c.depth++; c.depth > 2*MaxDepth {
		c.fail(n, "nested deeper than %d levels", MaxDepth)
		c.depth--
		return nil
	}
	defer func() { c.depth-- }()
	switch n.Kind {
	case yaml.AliasNode:
		return c.value(n.Alias)
	case yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for _, e := range n.Content {
			list = append(list, c.value(e))
		}
		return list
	case yaml.MappingNode:
		return c.mapping(n)
	}
	v, err := scalar(n)
	if err != nil {
		c.fail(n, "%v", err)
	}
	return v
}

// mapping converts a map and applies its merge keys.
func (c *converter) mapping(n *yaml.Node) map[string]any {
	m := make(map[string]any, len(n.Content)/2)
	lines := make(map[string]int, len(n.Content)/2)
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.ShortTag() == "!!merge" {
			merges = append(merges, v)
			continue
		}
		key, ok := c.key(k)
		if !ok {
			continue
		}
		if first, twice := lines[key]; twice {
			c.fail(k, "key %q is already set on line %d", key, first)
			continue
		}
		lines[key] = k.Line
		m[key] = c.value(v)
	}
	for _, v := range merges {
		c.merge(m, v)
	}
	return m
}

// key is a map key as a string, as JSON has no others.
func (c *converter) key(k *yaml.Node) (string, bool) {
	for k.Kind == yaml.AliasNode {
		k = k.Alias
	}
	if k.Kind != yaml.ScalarNode {
		c.fail(k, "a map key must be a string")
		return "", false
	}
	v, err := scalar(k)
	if err != nil || v == nil {
		c.fail(k, "a map key must be a string")
		return "", false
	}
	if f, ok := v.(float64); ok {
		return strconv.FormatFloat(f, 'g', -1, 32), true
	}
	return fmt.Sprint(v), true
}

// merge adds what "<<" brings and m does not have; earlier maps win.
func (c *converter) merge(m map[string]any, v *yaml.Node) {
	for v.Kind == yaml.AliasNode {
		v = v.Alias
	}
	switch v.Kind {
	case yaml.MappingNode:
		from, _ := c.value(v).(map[string]any)
		for k, x := range from {
			if _, set := m[k]; !set {
				m[k] = x
			}
		}
	case yaml.SequenceNode:
		for _, e := range v.Content {
			c.merge(m, e)
		}
	default:
		c.fail(v, "the merge key << needs a map")
	}
}

// old are the words that YAML 1.1, and so kubectl, takes for booleans.
var old = map[string]bool{
	"y": true, "Y": true, "yes": true, "Yes": true, "YES": true, "on": true, "On": true, "ON": true,
	"n": false, "N": false, "no": false, "No": false, "NO": false, "off": false, "Off": false, "OFF": false,
}

// scalar is the JSON value of a scalar.
func scalar(n *yaml.Node) (any, error) {
	plain := n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
	switch n.ShortTag() {
	case "!!null":
		return nil, nil
	case "!!bool":
		var b bool
		if err := n.Decode(&b); err != nil {
			return nil, errors.New("not a boolean")
		}
		return b, nil
	case "!!int", "!!float":
		return number(n)
	case "!!binary":
		b, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(n.Value), ""))
		if err != nil || !utf8.Valid(b) {
			return nil, errors.New("!!binary must be base64 of UTF-8 text")
		}
		return string(b), nil
	}
	if b, is := old[n.Value]; is && plain && n.Style&yaml.TaggedStyle == 0 {
		return b, nil
	}
	return n.Value, nil
}

func number(n *yaml.Node) (any, error) {
	if strings.Contains(n.Value, "0o") { // an octal number in YAML 1.2 only
		return n.Value, nil
	}
	if n.ShortTag() == "!!int" {
		var i int64
		if n.Decode(&i) == nil {
			return i, nil
		}
		var u uint64
		if n.Decode(&u) == nil {
			return u, nil
		}
	}
	var f float64
	if err := n.Decode(&f); err != nil {
		return nil, errors.New("not a number")
	}
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil, errors.New("infinite numbers and NaN cannot be sent to a cluster")
	}
	return f, nil
}
