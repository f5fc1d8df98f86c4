// Package splice changes values in YAML and JSON files byte by byte: what it
// does not have to touch stays as it is, with its comments, quotes, order,
// indentation and line ends. Every change is proven by reading the result
// again. It is pure.
package splice

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"lockkeeper/cluster/manifest/document"
)

// ErrSplice says that a file is written in a way that cannot be changed safely.
var ErrSplice = errors.New("cannot be edited in place")

type kind int

const (
	scalar kind = iota
	mapping
	sequence
	alias
)

// node is a value and where in the file it stands.
type node struct {
	kind kind
	yaml *yaml.Node
	// start is where the value begins, with its anchor and tag; body where it
	// begins without them; end where it ends.
	start, body, end int
	flow             bool // written with brackets
	inFlow           bool // inside of brackets
	odd              bool // a form of a collection that is only replaced as a whole
	// indent is the column of the block collection around the node, -1 at the
	// root; column is that of the keys or dashes of a block collection.
	indent, column int
	pairs          []pair
	items          []item
	// colon is where the value's key ends, dash where its item begins.
	after int
}

type pair struct {
	key, value *node
	merge      bool
}

type item struct {
	dash  int // of "-" in a block
	value *node
}

// File is a parsed file.
type File struct {
	path  string
	data  []byte
	json  bool
	roots []*node
	lines []int // where lines start
	style style
}

// Parse reads a file. An error is ErrSplice.
func Parse(path string, data []byte) (*File, error) {
	f := &File{path: path, data: data}
	if len(data) > document.MaxFile || !utf8.Valid(data) || document.Bomb(path, data) != nil {
		return nil, fmt.Errorf("%s %w", path, ErrSplice)
	}
	if strings.HasSuffix(path, ".json") {
		if roots, err := parseJSON(data); err == nil {
			f.roots, f.json = roots, true
		}
	}
	if !f.json {
		nodes, problem := document.Parse("file.yaml", data)
		if problem != nil {
			return nil, fmt.Errorf("%s %w: %s", path, ErrSplice, problem.Message)
		}
		f.lines = lineStarts(data)
		for _, n := range nodes {
			b := builder{File: f}
			root := b.build(n, -1, false)
			if b.err != nil {
				return nil, b.err
			}
			f.roots = append(f.roots, root)
		}
	}
	f.style = f.styleOf()
	if _, err := f.values(); err != nil {
		return nil, err
	}
	return f, nil
}

// values are those of all documents.
func (f *File) values() ([]any, error) {
	out := make([]any, len(f.roots))
	for i, n := range f.roots {
		v, problems := document.ValueOf(f.path, n.yaml)
		if len(problems) > 0 {
			return nil, fmt.Errorf("%w: %s", ErrSplice, problems[0])
		}
		out[i] = v
	}
	return out, nil
}

// Documents are the values of the file's documents. Empty ones are left out.
func (f *File) Documents() []any {
	out, _ := f.values()
	return out
}

// Line is the line on which a document begins, as in document.Document.
func (f *File) Line(doc int) int { return f.roots[doc].yaml.Line }

// lineStarts finds lines as the YAML parser counts them.
func lineStarts(data []byte) []int {
	starts := []int{0}
	if strings.HasPrefix(string(data[:min(3, len(data))]), "\ufeff") {
		starts[0] = 3
	}
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == '\r' && i+1 < len(data) && data[i+1] == '\n' {
			size = 2
		}
		i += size
		if r == '\n' || r == '\r' || r == '\u0085' || r == '\u2028' || r == '\u2029' {
			starts = append(starts, i)
		}
	}
	return starts
}

// builder finds the extents of the nodes of one document.
type builder struct {
	*File
	err error
	// line, column and offset are the last position that was looked up: on a long
	// line the next one is counted from there.
	line, column, offset int
}

func (b *builder) fail(n *yaml.Node) {
	if b.err == nil {
		b.err = fmt.Errorf("%s:%d %w", b.path, n.Line, ErrSplice)
	}
}

// at is the offset of a parser's position.
func (b *builder) at(n *yaml.Node) int {
	if n.Line < 1 || n.Line > len(b.lines) {
		b.fail(n)
		return 0
	}
	i, column := b.lines[n.Line-1], 1
	if n.Line == b.line && n.Column >= b.column {
		i, column = b.offset, b.column
	}
	for ; column < n.Column; column++ {
		if i >= len(b.data) {
			b.fail(n)
			return len(b.data)
		}
		_, size := utf8.DecodeRune(b.data[i:])
		i += size
	}
	b.line, b.column, b.offset = n.Line, column, i
	return i
}

func (b *builder) build(y *yaml.Node, indent int, inFlow bool) *node {
	n := &node{yaml: y, indent: indent, inFlow: inFlow, start: b.at(y)}
	n.body, n.end = n.start, n.start
	if b.err != nil {
		return n
	}
	n.body = b.skipProperties(n.start)
	n.end = n.body
	switch y.Kind {
	case yaml.AliasNode:
		n.kind, n.end = alias, n.body+1+len(y.Value)
		if b.from(n.body) != '*' || n.end > len(b.data) {
			b.fail(y)
		}
	case yaml.MappingNode:
		n.kind = mapping
		b.mapping(n)
	case yaml.SequenceNode:
		n.kind = sequence
		b.sequence(n)
	default:
		b.scalar(n)
	}
	return n
}

// from is the byte at i, or 0 at the end.
func (b *builder) from(i int) byte {
	if i >= len(b.data) {
		return 0
	}
	return b.data[i]
}

// skipProperties goes over an anchor and a tag, and the space behind them.
func (b *builder) skipProperties(i int) int {
	for b.from(i) == '&' || b.from(i) == '!' {
		for i < len(b.data) && !strings.ContainsRune(" \t\r\n,[]{}", rune(b.data[i])) {
			i++
		}
		if next := b.skipBlank(i); strings.ContainsRune("&!", rune(b.from(next))) || b.sameLine(i, next) {
			i = next
		}
	}
	return i
}

func (b *builder) sameLine(i, j int) bool {
	return !strings.ContainsAny(string(b.data[i:min(j, len(b.data))]), "\r\n")
}

// skipBlank goes over white space and comments.
func (b *builder) skipBlank(i int) int {
	for i < len(b.data) {
		switch c := b.data[i]; {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			i++
		case c == '#' && (i == 0 || strings.ContainsRune(" \t\r\n", rune(b.data[i-1]))):
			for i < len(b.data) && b.data[i] != '\n' {
				i++
			}
		default:
			return i
		}
	}
	return i
}

func (b *builder) columnOf(i int) int {
	c := 0
	for i-c > 0 && b.data[i-c-1] != '\n' && b.data[i-c-1] != '\r' {
		c++
	}
	return c
}

func (b *builder) mapping(n *node) {
	y := n.yaml
	n.flow = y.Style&yaml.FlowStyle != 0
	switch {
	case n.flow && b.from(n.body) != '{':
		n.odd = true // a: b, alone in a list
	case n.flow:
	case len(y.Content) > 0:
		n.body = b.skipBlank(n.body)
		n.column = b.columnOf(n.body)
		n.odd = b.from(n.body) == '?'
	}
	inner := n.column
	if n.flow {
		inner = n.indent
	}
	end := n.body
	if n.flow && !n.odd {
		end++
	}
	for i := 0; i+1 < len(y.Content) && b.err == nil; i += 2 {
		p := pair{key: b.build(y.Content[i], inner, n.flow || n.inFlow), merge: y.Content[i].ShortTag() == "!!merge"}
		n.odd = n.odd || p.key.kind != scalar || p.key.start != p.key.body
		colon := b.skipBlank(p.key.end)
		if b.from(colon) == ':' {
			colon++
		} else {
			n.odd, colon = true, p.key.end
		}
		p.value = b.build(y.Content[i+1], inner, n.flow || n.inFlow)
		p.value.after = colon
		if p.value.end < colon { // nothing stands there
			p.value.start, p.value.body, p.value.end = colon, colon, colon
		}
		n.pairs = append(n.pairs, p)
		end = max(end, p.value.end)
	}
	b.close(n, end, '}')
}

func (b *builder) sequence(n *node) {
	y := n.yaml
	n.flow = y.Style&yaml.FlowStyle != 0
	end := n.body
	if n.flow {
		if b.from(n.body) != '[' {
			b.fail(y)
			return
		}
		end++
	} else if len(y.Content) > 0 {
		n.body = b.skipBlank(n.body)
		n.column, end = b.columnOf(n.body), n.body
	}
	inner := n.column
	if n.flow {
		inner = n.indent
	}
	for _, c := range y.Content {
		it := item{}
		if !n.flow {
			it.dash = b.skipBlank(end)
			if b.from(it.dash) != '-' {
				b.fail(c)
				return
			}
			end = it.dash + 1
		}
		it.value = b.build(c, inner, n.flow || n.inFlow)
		if it.value.end < end {
			it.value.start, it.value.body, it.value.end = end, end, end
		}
		it.value.after = end
		if b.err != nil {
			return
		}
		n.items = append(n.items, it)
		end = max(end, it.value.end)
	}
	b.close(n, end, ']')
}

// close finds the end of a collection, whose last element ends at end.
func (b *builder) close(n *node, end int, bracket byte) {
	if n.flow && !n.odd || n.flow && b.from(n.body) == '{' {
		for end = b.skipBlank(end); b.from(end) == ',' || b.from(end) == ':' || b.from(end) == '?'; {
			end = b.skipBlank(end + 1)
		}
		if b.from(end) != bracket {
			b.fail(n.yaml)
		}
		end++
	}
	n.end = min(end, len(b.data))
}
