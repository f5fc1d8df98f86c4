package splice

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"

	"lockkeeper/cluster/manifest/document"
)

// style is how a file is written, for what is added to it.
type style struct {
	step    int    // of the indentation
	dented  bool   // lists are indented below their key
	eol     string // line break
	careful bool   // no block scalars, and line breaks stay
}

// styleOf reads the habits of a file.
func (f *File) styleOf() style {
	s := style{step: 2, eol: "\n"}
	if i := bytes.IndexByte(f.data, '\n'); i > 0 && f.data[i-1] == '\r' {
		s.eol = "\r\n"
	}
	steps, dented, level := map[int]int{}, 0, 0
	var walk func(n *node)
	walk = func(n *node) {
		for _, p := range n.pairs {
			switch v := p.value; {
			case n.flow || v.flow || v.start <= f.lineEnd(p.key.start):
			case v.kind == mapping && len(v.pairs) > 0:
				steps[v.column-n.column]++
			case v.kind == sequence && len(v.items) > 0 && v.column > n.column:
				dented++
			case v.kind == sequence && len(v.items) > 0:
				level++
			}
			walk(p.value)
		}
		for _, it := range n.items {
			walk(it.value)
		}
	}
	for _, n := range f.roots {
		walk(n)
	}
	for _, step := range slices.Sorted(maps.Keys(steps)) {
		if step > 0 && (steps[step] > steps[s.step] || steps[s.step] == 0) {
			s.step = step
		}
	}
	s.dented = dented > level
	return s
}

// Encode writes a value as a YAML document of its own.
func Encode(v any) []byte {
	s := style{step: 2, eol: "\n"}
	text := s.block(v, -s.step)
	return []byte(strings.TrimLeft(text, " \n") + "\n")
}

// block is the text that follows "key:" for a value, without a final line
// break; indent is the column of the key.
func (s style) block(v any, indent int) string {
	switch x := v.(type) {
	case map[string]any:
		if len(x) > 0 {
			return s.lines(x, indent+s.step)
		}
	case []any:
		if len(x) > 0 {
			at := max(indent, 0)
			if s.dented && indent >= 0 {
				at += s.step
			}
			return s.list(x, at)
		}
	case string:
		if text, ok := s.literal(x, max(indent, 0)+s.step); ok {
			return " " + text
		}
	}
	return " " + flowText(v)
}

func (s style) lines(m map[string]any, at int) string {
	var b strings.Builder
	for _, k := range ordered(m) {
		b.WriteString(s.eol + strings.Repeat(" ", at) + s.entry(k, m[k], at))
	}
	return b.String()
}

// entry is "key: value".
func (s style) entry(key string, v any, at int) string {
	return keyText(key) + ":" + s.block(v, at)
}

func (s style) list(items []any, at int) string {
	var b strings.Builder
	for _, v := range items {
		b.WriteString(s.eol + strings.Repeat(" ", at) + s.element(v, at))
	}
	return b.String()
}

// element is "- value" with the dash at a column.
func (s style) element(v any, at int) string {
	text := ""
	switch x := v.(type) {
	case map[string]any:
		if len(x) > 0 {
			text = s.lines(x, at+2)
		}
	case []any:
		if len(x) > 0 {
			text = s.list(x, at+2)
		}
	case string:
		if lit, ok := s.literal(x, at+2); ok {
			text = " " + lit
		}
	}
	if text == "" {
		text = " " + flowText(v)
	}
	return "- " + strings.TrimLeft(text, " \r\n")
}

// literal is a text of several lines as a block scalar, if it can be one.
func (s style) literal(text string, at int) (string, bool) {
	body := strings.TrimRight(text, "\n")
	odd := func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) || r == '\ufeff' }
	if s.careful || !strings.Contains(text, "\n") || body == "" || strings.ContainsFunc(text, odd) ||
		strings.ContainsAny(body[:1], " \t\n") || len(text)-len(body) > 1 {
		return "", false
	}
	header := "|"
	if body == text {
		header = "|-"
	}
	var b strings.Builder
	b.WriteString(header)
	for line := range strings.SplitSeq(body, "\n") {
		b.WriteString(s.eol)
		if line != "" {
			b.WriteString(strings.Repeat(" ", at) + line)
		}
	}
	return b.String(), true
}

// leading are keys that people write first.
var leading = []string{"apiVersion", "kind", "$patch", "metadata", "name", "namespace", "op", "path"}

// ordered are the keys of a map in the order in which they are written.
func ordered(m map[string]any) []string {
	keys := slices.Sorted(maps.Keys(m))
	rank := func(k string) int {
		if i := slices.Index(leading, k); i >= 0 {
			return i
		}
		return len(leading)
	}
	slices.SortStableFunc(keys, func(a, b string) int { return rank(a) - rank(b) })
	return keys
}

func keyText(k string) string {
	if plainIn(k, true) {
		return k
	}
	return quote(k)
}

// quote writes text in double quotes, as JSON and YAML both read it.
func quote(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // text can be written
	// What JSON leaves as it is and YAML cannot print.
	return strings.NewReplacer("\u007f", `\u007f`, "\u0085", `\u0085`, "\ufeff", `\ufeff`).Replace(strings.TrimSuffix(b.String(), "\n"))
}

// flowText writes a value on one line, in YAML.
func flowText(v any) string {
	switch x := v.(type) {
	case map[string]any:
		parts := make([]string, 0, len(x))
		for _, k := range ordered(x) {
			parts = append(parts, keyText(k)+": "+flowText(x[k]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case []any:
		parts := make([]string, 0, len(x))
		for _, e := range x {
			parts = append(parts, flowText(e))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case string:
		if plainIn(x, true) {
			return x
		}
		return quote(x)
	}
	return bare(v)
}

// bare writes what is neither text nor a collection.
func bare(v any) string {
	switch x := v.(type) {
	case nil:
		return "null"
	case float64:
		return strconv.FormatFloat(x, 'g', -1, 64)
	}
	return fmt.Sprint(v)
}

var (
	plainText = regexp.MustCompile(`^[\p{L}\p{N}_./\\(<$^+-][^\x00-\x1f\x7f-\x{a0}\x{2028}\x{2029}\x{feff}\x{fffe}\x{ffff}]*$`)
	// numeric is what some YAML parser or other may read as a number or a date.
	numeric = regexp.MustCompile(`^[-+]?(0[xob][0-9a-fA-F_]*|[0-9_]*\.?[0-9_]*([eE][-+]?[0-9]*)?|[0-9]+(:[0-9]+)+(\.[0-9]*)?|[0-9]{4}-[0-9].*)$`)
)

// words are what some YAML parser or other takes for something else than text.
var words = []string{"y", "n", "yes", "no", "on", "off", "true", "false", "null", "~", "<<", "=", ".inf", "-.inf", "+.inf", ".nan", "nan", "inf"}

// plainIn reports whether text can be written without quotes.
func plainIn(s string, flow bool) bool {
	if s == "" || !plainText.MatchString(s) || strings.ContainsAny(s, "0123456789") && numeric.MatchString(s) || slices.Contains(words, strings.ToLower(s)) ||
		strings.Contains(s, ": ") || strings.Contains(s, " #") || strings.ContainsAny(s[len(s)-1:], ": ") ||
		strings.HasPrefix(s, "- ") || s == "-" || strings.HasPrefix(s, "---") || strings.HasPrefix(s, "...") ||
		strings.Contains(s, "\t") || flow && strings.ContainsAny(s, ",[]{}") {
		return false
	}
	docs, problems := document.Decode("", []byte(s))
	return len(problems) == 0 && len(docs) == 1 && docs[0].Value == any(s)
}

// scalarText writes a scalar in the manner of the one that it replaces.
func (s style) scalarText(v any, old *node, json bool) string {
	text, is := v.(string)
	switch {
	case json && is:
		return quote(text)
	case !is:
		return bare(v)
	}
	st := old.yaml.Style
	if old.kind == scalar && st&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 && !old.inFlow {
		if lit, ok := s.literal(text, max(old.indent, 0)+s.step); ok {
			return lit
		}
	}
	switch {
	case old.kind == scalar && st&yaml.SingleQuotedStyle != 0 && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "'" + strings.ReplaceAll(text, "'", "''") + "'"
	case old.kind == scalar && st&yaml.DoubleQuotedStyle != 0:
		return quote(text)
	case !old.inFlow:
		if lit, ok := s.literal(text, max(old.indent, 0)+s.step); ok {
			return lit
		}
	}
	if plainIn(text, old.inFlow) {
		return text
	}
	return quote(text)
}
