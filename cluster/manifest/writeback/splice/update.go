package splice

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"lockkeeper/cluster/manifest/document"
	"lockkeeper/cluster/manifest/writeback/field"
)

// change replaces the bytes from start to end.
type change struct {
	start, end int
	text       string
}

// surgery collects the changes of one document.
type surgery struct {
	*File
	changes []change
}

// Update returns the file with another value for one of its documents. What is
// the same in both stays byte for byte. An error is ErrSplice: the file uses
// anchors, merge keys or a form that stands in the way.
func (f *File) Update(doc int, want any) ([]byte, error) {
	want = field.Clone(want)
	data, err := f.spliced(doc, want)
	if err != nil && !f.style.careful {
		// Block scalars cannot stand before a comment, and lose their line break at
		// the end of a file that has none.
		careful := *f
		careful.style.careful = true
		return careful.spliced(doc, want)
	}
	return data, err
}

func (f *File) spliced(doc int, want any) ([]byte, error) {
	s := &surgery{File: f}
	if err := s.update(f.roots[doc], want); err != nil {
		return nil, fmt.Errorf("%s:%d: %w", f.path, f.Line(doc), err)
	}
	return f.proven(s.changes, doc, want)
}

// proven makes the changes, and reads the result again.
func (f *File) proven(changes []change, doc int, want any) ([]byte, error) {
	// Insertions come before what is replaced at the same place.
	slices.SortStableFunc(changes, func(a, b change) int {
		return cmp.Or(a.start-b.start, min(a.end-a.start, 1)-min(b.end-b.start, 1))
	})
	var out bytes.Buffer
	at := 0
	for _, c := range changes {
		if c.start < at {
			return nil, fmt.Errorf("%s %w: two changes meet on one place", f.path, ErrSplice)
		}
		out.Write(f.data[at:c.start])
		out.WriteString(c.text)
		at = c.end
	}
	out.Write(f.data[at:])
	after, err := Parse(f.path, out.Bytes())
	if err != nil {
		return nil, err
	}
	wanted := f.Documents()
	wanted[doc] = want
	got := after.Documents()
	if len(got) != len(wanted) {
		return nil, fmt.Errorf("%s %w: its documents would not stay apart", f.path, ErrSplice)
	}
	for i := range got {
		if !field.Same(got[i], wanted[i]) {
			return nil, fmt.Errorf("%s %w: %s", f.path, ErrSplice, f.obstacle())
		}
	}
	return out.Bytes(), nil
}

// obstacle is what most likely stood in the way of an edit.
func (f *File) obstacle() string {
	if bytes.ContainsRune(f.data, '&') && bytes.ContainsRune(f.data, '*') {
		return "the value is used in other places by an anchor, or a merge key brings it"
	}
	return "the way in which it is written does not allow for the value"
}

func (s *surgery) value(n *node) any {
	v, _ := document.ValueOf(s.path, n.yaml)
	return v
}

func (s *surgery) put(start, end int, text string) {
	s.changes = append(s.changes, change{start, end, text})
}

// update changes a node to a value, in its parts where it can.
func (s *surgery) update(n *node, want any) error {
	if field.Same(s.value(n), want) {
		return nil
	}
	before := len(s.changes)
	var fits bool
	switch w := want.(type) {
	case map[string]any:
		fits = n.kind == mapping && !n.odd && len(n.pairs) > 0 && len(w) > 0 && s.mapping(n, w)
	case []any:
		fits = n.kind == sequence && !n.odd && len(n.items) > 0 && len(w) > 0 && s.sequence(n, w)
	default:
		fits = n.kind == scalar && n.body < n.end
		if fits {
			s.scalar(n, want)
		}
	}
	if !fits {
		s.changes = s.changes[:before]
		return s.replace(n, want)
	}
	return nil
}

func (s *surgery) scalar(n *node, want any) {
	if text, is := want.(string); is && s.blockScalar(n, text) {
		return
	}
	text := s.style.scalarText(want, n, s.json)
	start := n.body
	if n.yaml.Style&yaml.TaggedStyle != 0 {
		start = n.start
		text = anchor(n) + text
	}
	s.put(start, n.end, text)
}

// blockScalar changes the lines of a literal, which keeps its indentation and
// the comment on its first line. It reports whether that is possible.
func (s *surgery) blockScalar(n *node, text string) bool {
	if n.yaml.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0 || s.json {
		return false
	}
	first := n.body + 1
	for first < n.end && strings.ContainsRune("+-123456789", rune(s.data[first])) {
		first++
	}
	end := s.lineEnd(n.body)
	at := s.nextLine(end)
	for at < n.end && len(bytes.TrimSpace(s.data[at:s.lineEnd(at)])) == 0 {
		at = s.nextLine(s.lineEnd(at))
	}
	indent := len(s.leadingSpace(at))
	lit, ok := s.style.literal(text, indent)
	if !ok || at >= n.end || strings.ContainsAny(string(s.data[n.body:first]), "123456789") {
		return false
	}
	header, rest, _ := strings.Cut(lit, s.style.eol)
	had := string(s.data[n.body:first])
	unended := n.end == len(s.data) && header == "|-" && had == "|" // there is no line break to keep
	if header != had && !unended {
		s.put(n.body, first, header)
	}
	s.put(end, n.end, s.style.eol+rest)
	return true
}

func anchor(n *node) string {
	if n.yaml.Anchor != "" && n.kind != alias {
		return "&" + n.yaml.Anchor + " "
	}
	return ""
}

// replace writes a node anew.
func (s *surgery) replace(n *node, want any) error {
	_, isMap := want.(map[string]any)
	_, isList := want.([]any)
	switch {
	case n.inFlow:
		text := anchor(n) + s.flow(want, n)
		if n.start == n.end { // nothing stands there
			text = " " + strings.TrimSpace(text)
		}
		s.put(n.start, n.end, text)
		return nil
	case n.odd:
		return ErrSplice
	case n.indent < 0 && n.after == 0:
		return s.root(n, want)
	case n.flow && (isMap || isList):
		s.put(n.start, n.end, anchor(n)+flowText(want))
		return nil
	}
	text := s.style.block(want, n.indent)
	if n.yaml.Anchor != "" && n.kind != alias {
		text = " &" + n.yaml.Anchor + text
	}
	if s.data[n.after-1] == '-' {
		text = s.style.element(want, n.after-1-s.lineStart(n.after-1))[1:]
		if n.yaml.Anchor != "" && n.kind != alias {
			return ErrSplice
		}
	}
	s.instead(n, text)
	return nil
}

// instead puts text behind the key or dash of a node, in place of its value. A
// comment on the line of the key stays.
func (s *surgery) instead(n *node, text string) {
	between := s.data[n.after:n.start]
	if comment := bytes.IndexByte(between, '#'); comment >= 0 {
		end := s.lineEnd(n.after)
		gap := end
		first, rest, _ := strings.Cut(text, s.style.eol)
		s.put(n.after, n.after, strings.TrimRight(first, " "))
		if rest != "" {
			rest = s.style.eol + rest
		}
		s.put(gap, n.end, rest)
		return
	}
	s.put(n.after, n.end, text)
}

// root writes a document anew.
func (s *surgery) root(n *node, want any) error {
	if n.start != n.body || n.flow {
		return ErrSplice
	}
	text := strings.TrimLeft(s.style.block(want, -s.style.step), " \r\n")
	s.put(n.start, n.end, text)
	return nil
}

// flow writes a value between brackets, in the manner of the file.
func (s *surgery) flow(want any, at *node) string {
	if !s.json {
		if _, is := want.(string); is {
			return s.style.scalarText(want, at, false)
		}
		return flowText(want)
	}
	start := s.lineStart(at.start)
	indent := s.leadingSpace(start)
	var b []byte
	// A collection in a file with one value a line gets lines of its own.
	if bytes.ContainsRune(s.data, '\n') && len(bytes.TrimSpace(s.data)) > 0 && strings.TrimSpace(indent) == "" && len(bytes.Split(bytes.TrimSpace(s.data), []byte("\n"))) > 2 {
		b, _ = json.MarshalIndent(want, indent, s.jsonStep())
	} else {
		b, _ = json.Marshal(want)
	}
	return strings.ReplaceAll(string(b), "\n", s.style.eol)
}

// jsonStep is the indentation of the file's first indented line.
func (s *surgery) jsonStep() string {
	for at := s.nextLine(s.lineEnd(0)); at < len(s.data); at = s.nextLine(s.lineEnd(at)) {
		if space := s.leadingSpace(at); space != "" {
			return space
		}
	}
	return "  "
}

func (s *surgery) leadingSpace(at int) string {
	end := at
	for end < len(s.data) && (s.data[end] == ' ' || s.data[end] == '\t') {
		end++
	}
	return string(s.data[at:end])
}

// Drop returns the file without one of its documents. Comments before the
// file's first "---", and behind its last document, stay. An error is ErrSplice.
func (f *File) Drop(doc int) ([]byte, error) {
	start, end := f.opening(doc), len(f.data)
	switch {
	case f.json && doc > 0:
		start, end = f.roots[doc-1].end, f.roots[doc].end
	case doc+1 < len(f.roots):
		end = f.opening(doc + 1)
	case f.json:
		end = f.roots[doc].end
	case doc > 0:
		if rest := f.nextLine(f.lineEnd(f.roots[doc].end)); bytes.ContainsRune(f.data[rest:], '#') {
			end = rest // comments at the end of the file
		}
	}
	out := append(bytes.Clone(f.data[:start]), f.data[end:]...)
	after, err := Parse(f.path, out)
	if err != nil {
		return nil, err
	}
	rest := slices.Delete(f.Documents(), doc, doc+1)
	empty := func(v any) bool { return v == nil }
	if !field.Same(slices.DeleteFunc(rest, empty), slices.DeleteFunc(after.Documents(), empty)) {
		return nil, fmt.Errorf("%s %w: its documents hang together", f.path, ErrSplice)
	}
	return out, nil
}

// opening is where a document begins: at its "---", or else where its first
// line begins.
func (f *File) opening(doc int) int {
	if f.json {
		return f.roots[doc].start
	}
	first := 0
	if doc > 0 {
		first = f.roots[doc-1].end
	}
	opening := f.lineStart(f.roots[doc].start)
	for at := f.lineStart(f.roots[doc].start); at >= first; at = f.lineStart(at - 1) {
		if marker(string(f.data[at:f.lineEnd(at)])) {
			return at
		}
		if at == 0 || at == f.lineStart(0) {
			break
		}
	}
	return opening
}
