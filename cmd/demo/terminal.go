package main

import (
	"bytes"
	"fmt"
	"html"
	"io"
	"regexp"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	extast "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/text"
	"golang.org/x/text/width"
)

// terminal writes Markdown as the forges know it for people who read it in a
// terminal: tables aligned, folded parts unfolded and indented, hidden markers
// left out, and diffs coloured if asked for.
type terminal struct {
	w      io.Writer
	colour bool
}

// The styles, as ANSI select graphic rendition codes.
const (
	bold    = "1"
	faint   = "2"
	red     = "31"
	green   = "32"
	yellow  = "33"
	blue    = "34"
	magenta = "35"
	cyan    = "36"
)

func (t terminal) style(code, s string) string {
	if !t.colour || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (t terminal) printf(format string, args ...any) { fmt.Fprintf(t.w, format, args...) }

// box shows a comment: who wrote it, and what, behind a line.
func (t terminal) box(who, markdown string) {
	t.printf("  %s %s\n", t.style(faint, "╭─"), t.style(bold, who))
	for _, line := range t.markdown(markdown) {
		t.printf("  %s %s\n", t.style(faint, "│"), line)
	}
	t.printf("  %s\n", t.style(faint, "╰─"))
}

var markdownParser = goldmark.New(goldmark.WithExtensions(extension.GFM)).Parser()

// markdown renders a comment as lines.
func (t terminal) markdown(source string) []string {
	r := &renderer{terminal: t, source: []byte(source)}
	r.blocks(markdownParser.Parse(text.NewReader(r.source)))
	for len(r.lines) > 0 && r.lines[len(r.lines)-1] == "" {
		r.lines = r.lines[:len(r.lines)-1]
	}
	return r.lines
}

type renderer struct {
	terminal
	source []byte
	lines  []string
	indent string
}

func (r *renderer) line(s string) {
	r.lines = append(r.lines, strings.TrimRight(r.indent+s, " "))
}

// gap is an empty line, never two.
func (r *renderer) gap() {
	if n := len(r.lines); n > 0 && strings.TrimSpace(r.lines[n-1]) != "" {
		r.lines = append(r.lines, "")
	}
}

func (r *renderer) indented(by string, f func()) {
	before := r.indent
	r.indent += by
	f()
	r.indent = before
}

func (r *renderer) blocks(parent ast.Node) {
	for n := parent.FirstChild(); n != nil; n = n.NextSibling() {
		r.block(n)
	}
}

func (r *renderer) block(n ast.Node) {
	switch n := n.(type) {
	case *ast.Heading:
		r.gap()
		r.line(r.style(bold, r.inline(n)))
		r.gap()
	case *ast.List:
		r.list(n)
	case *ast.Blockquote:
		r.callout(n)
	case *ast.FencedCodeBlock:
		r.fence(n)
	case *ast.HTMLBlock:
		r.html(n)
	case *extast.Table:
		r.table(n)
	default:
		for _, s := range strings.Split(r.inline(n), "\n") {
			r.line(s)
		}
		if n.Kind() == ast.KindParagraph {
			r.gap()
		}
	}
}

func (r *renderer) list(list *ast.List) {
	number := list.Start
	for item := list.FirstChild(); item != nil; item = item.NextSibling() {
		bullet := "• "
		if list.IsOrdered() {
			bullet = fmt.Sprintf("%d. ", number)
			number++
		}
		from := len(r.lines)
		r.indented("  ", func() { r.blocks(item) })
		if from < len(r.lines) {
			r.lines[from] = r.indent + bullet + strings.TrimPrefix(r.lines[from], r.indent+"  ")
		}
	}
	if _, nested := list.Parent().(*ast.ListItem); !nested {
		r.gap()
	}
}

// alerts are the kinds of a quote that begins with [!KIND].
var alerts = map[string]struct{ mark, code string }{
	"[!NOTE]": {"ℹ️", blue}, "[!TIP]": {"💡", green}, "[!IMPORTANT]": {"❗", magenta},
	"[!WARNING]": {"⚠️", yellow}, "[!CAUTION]": {"🛑", red},
}

func (r *renderer) callout(quote ast.Node) {
	inner := &renderer{terminal: r.terminal, source: r.source}
	inner.blocks(quote)
	style, bar := faint, "▌ "
	if len(inner.lines) > 0 {
		if a, ok := alerts[strings.TrimSpace(inner.lines[0])]; ok {
			style = a.code
			inner.lines = inner.lines[1:]
			r.line(r.style(style, bar+a.mark))
		}
	}
	for i, s := range inner.lines {
		if s != "" || i < len(inner.lines)-1 && i > 0 {
			r.line(r.style(style, bar) + s)
		}
	}
	r.gap()
}

func (r *renderer) fence(n *ast.FencedCodeBlock) {
	diff := string(n.Language(r.source)) == "diff"
	for i := range n.Lines().Len() {
		s := n.Lines().At(i)
		line := strings.TrimRight(string(s.Value(r.source)), "\n")
		if diff {
			line = r.style(diffStyle(line), line)
		}
		r.line(line)
	}
	r.gap()
}

func diffStyle(line string) string {
	switch {
	case strings.HasPrefix(line, "@@"):
		return cyan
	case strings.HasPrefix(line, "+"):
		return green
	case strings.HasPrefix(line, "-"):
		return red
	case strings.HasPrefix(line, "!"):
		return yellow
	}
	return "0"
}

var (
	hidden  = regexp.MustCompile(`(?s)<!--.*?-->`)
	summary = regexp.MustCompile(`(?s)<summary>(.*?)</summary>`)
	tag     = regexp.MustCompile(`</?[a-zA-Z][^<>]*>`)
)

// html follows <details>: its summary becomes a line, what is inside indented.
func (r *renderer) html(n *ast.HTMLBlock) {
	var raw bytes.Buffer
	for i := range n.Lines().Len() {
		s := n.Lines().At(i)
		raw.Write(s.Value(r.source))
	}
	text := hidden.ReplaceAllString(raw.String(), "")
	const step = "  "
	if strings.Contains(text, "</details>") {
		r.indent = strings.TrimSuffix(r.indent, step)
		r.gap()
	}
	if m := summary.FindStringSubmatch(text); m != nil {
		r.gap()
		r.line(r.style(bold, "▾ "+plainHTML(m[1])))
		text = strings.Replace(text, m[0], "", 1)
	}
	for _, s := range strings.Split(plainHTML(text), "\n") {
		if s = strings.TrimSpace(s); s != "" {
			r.line(s)
		}
	}
	if strings.Contains(text, "<details") {
		r.indent += step
	}
}

func plainHTML(s string) string {
	return strings.ReplaceAll(html.UnescapeString(tag.ReplaceAllString(s, "")), "\u200b", "")
}

// inline is the text of a block's content.
func (r *renderer) inline(parent ast.Node) string {
	var b strings.Builder
	for n := parent.FirstChild(); n != nil; n = n.NextSibling() {
		b.WriteString(r.span(n))
	}
	return b.String()
}

func (r *renderer) span(n ast.Node) string {
	switch n := n.(type) {
	case *ast.Text:
		s := string(n.Value(r.source))
		s = html.UnescapeString(backslash.ReplaceAllString(s, "$1"))
		if n.SoftLineBreak() || n.HardLineBreak() {
			s += "\n"
		}
		return strings.ReplaceAll(s, "\u200b", "")
	case *ast.CodeSpan:
		var b strings.Builder
		for c := n.FirstChild(); c != nil; c = c.NextSibling() {
			if t, ok := c.(*ast.Text); ok {
				b.Write(t.Value(r.source))
			}
		}
		return r.style(cyan, b.String())
	case *ast.Emphasis:
		return r.style(bold, r.inline(n))
	case *ast.RawHTML:
		if s := n.Segments.At(0); strings.HasPrefix(string(s.Value(r.source)), "<br") {
			return " "
		}
		return ""
	case *ast.Link:
		return r.inline(n) + " " + r.style(faint, "("+string(n.Destination)+")")
	}
	return r.inline(n)
}

var backslash = regexp.MustCompile("\\\\([!-/:-@\\[-`{-~])")

// table aligns the columns by what they take on a screen.
func (r *renderer) table(table *extast.Table) {
	var rows [][]string
	var widths []int
	for row := table.FirstChild(); row != nil; row = row.NextSibling() {
		var cells []string
		for cell := row.FirstChild(); cell != nil; cell = cell.NextSibling() {
			s := r.inline(cell)
			if i := len(cells); i == len(widths) {
				widths = append(widths, columns(s))
			} else {
				widths[i] = max(widths[i], columns(s))
			}
			cells = append(cells, s)
		}
		rows = append(rows, cells)
	}
	for i, cells := range rows {
		var b strings.Builder
		for j, s := range cells {
			pad := strings.Repeat(" ", widths[j]-columns(s))
			if i == 0 {
				s = r.style(faint, s)
			}
			if table.Alignments[j] == extast.AlignRight {
				s = pad + s
			} else {
				s += pad
			}
			b.WriteString(s + "  ")
		}
		if strings.TrimSpace(b.String()) != "" {
			r.line(b.String())
		}
	}
	r.gap()
}

var escapes = regexp.MustCompile("\x1b\\[[0-9;]*m")

// columns is how many columns of a screen a text takes.
func columns(s string) int {
	n := 0
	for _, c := range escapes.ReplaceAllString(s, "") {
		switch kind := width.LookupRune(c).Kind(); {
		case c == '\ufe0f' || c == '\u200d':
		case kind == width.EastAsianWide || kind == width.EastAsianFullwidth:
			n += 2
		default:
			n++
		}
	}
	return n
}
