package command

import (
	"bytes"
	"cmp"
	"regexp"
	"slices"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"
)

// markdown reads comments as GitHub does, but for bare links, which cannot
// hide a line and would make a reason with a URL look like markup.
var markdown = goldmark.New(goldmark.WithExtensions(
	extension.Table, extension.Strikethrough, extension.TaskList, extension.Footnote)).Parser()

// candidate is a line that could be a command for where it stands.
type candidate struct {
	text string
	// plain is set when the whole line is text without any markup.
	plain bool
	// inside names the quote or list that the line continues, so that it is
	// no command though its author may think so.
	inside string
}

// candidates returns the lines of the top-level paragraphs whose first word
// is plain text, and lines that continue a quote or list without its marks.
func candidates(src []byte) []candidate {
	doc := markdown.Parse(text.NewReader(src))
	open := enclosure{}
	quoted := longQuotes(doc, src)
	var out []candidate
	for n := doc.FirstChild(); n != nil; n = n.NextSibling() {
		switch n.Kind() {
		case ast.KindHTMLBlock:
			open.read(htmlOf(n.(*ast.HTMLBlock), src))
		case ast.KindParagraph:
			if found := paragraph(n, src, open); !quoted(n.Lines().At(0).Start) {
				out = append(out, found...)
			}
		case ast.KindBlockquote:
			out = append(out, continued(n, src, open, "quote")...)
		case ast.KindList:
			out = append(out, continued(n, src, open, "list")...)
		}
	}
	return out
}

// longQuote is a line that begins or ends one of GitLab's quotes of many lines.
//
// Source: https://docs.gitlab.com/user/markdown/#multiline-blockquote
var longQuote = regexp.MustCompile(`(?m)^>{3,}[ \t]*$`)

// longQuotes finds GitLab's quotes between two lines of ">>>", which elsewhere are
// lines of no meaning. What they hold may be somebody else's command. One with
// more marks may hold others; one without an end goes on to the end of the text.
func longQuotes(doc ast.Node, src []byte) func(at int) bool {
	type mark struct{ at, open int }
	var marks []mark
	var open []int // how many marks each has
	code := blocks(doc)
	for _, m := range longQuote.FindAllIndex(src, -1) {
		for len(code) > 0 && code[0].Stop <= m[0] {
			code = code[1:]
		}
		if len(code) > 0 && code[0].Start <= m[0] {
			continue
		}
		size := len(bytes.TrimRight(src[m[0]:m[1]], " \t"))
		if n := len(open); n > 0 && open[n-1] <= size {
			open = open[:n-1]
		} else {
			open = append(open, size)
		}
		marks = append(marks, mark{m[0], len(open)})
	}
	return func(at int) bool {
		i, _ := slices.BinarySearchFunc(marks, at, func(m mark, at int) int { return cmp.Compare(m.at, at) })
		return i > 0 && marks[i-1].open > 0
	}
}

// blocks are where there is code or HTML, in order.
func blocks(doc ast.Node) []text.Segment {
	var out []text.Segment
	for n := doc.FirstChild(); n != nil; n = n.NextSibling() {
		switch n.Kind() {
		case ast.KindFencedCodeBlock, ast.KindCodeBlock, ast.KindHTMLBlock:
			if l := n.Lines(); l.Len() > 0 {
				out = append(out, text.NewSegment(l.At(0).Start, l.At(l.Len()-1).Stop))
			}
		}
	}
	return out
}

// paragraph returns the candidates of one paragraph and follows its inline HTML.
func paragraph(n ast.Node, src []byte, open enclosure) []candidate {
	var out []candidate
	plain, html := inlines(n)
	for i := range n.Lines().Len() {
		seg := n.Lines().At(i)
		for len(html) > 0 && html[0].Segments.At(0).Start < seg.Start {
			open.read(html[0].Segments.Value(src))
			html = html[1:]
		}
		line, ok := wholeLine(src, seg.Start)
		if !ok || len(open) > 0 {
			continue
		}
		wordEnd := line.Start
		for wordEnd < line.Stop && src[wordEnd] != ' ' && src[wordEnd] != '\t' {
			wordEnd++
		}
		if covered(plain, line.Start, wordEnd) {
			out = append(out, candidate{text: string(line.Value(src)), plain: covered(plain, line.Start, line.Stop)})
		}
	}
	for _, h := range html {
		open.read(h.Segments.Value(src))
	}
	return out
}

// continued finds lines inside a quote or list that carry no mark of it and
// are exactly a command.
func continued(n ast.Node, src []byte, open enclosure, what string) []candidate {
	var out []candidate
	if len(open) > 0 {
		return nil
	}
	for c := n.FirstChild(); c != nil; c = c.NextSibling() {
		if c.Kind() != ast.KindParagraph && c.Kind() != ast.KindTextBlock {
			if c.Type() == ast.TypeBlock && c.HasChildren() && c.FirstChild().Type() == ast.TypeBlock {
				out = append(out, continued(c, src, open, what)...)
			}
			continue
		}
		plain, _ := inlines(c)
		for i := range c.Lines().Len() {
			line, ok := wholeLine(src, c.Lines().At(i).Start)
			if !ok || !covered(plain, line.Start, line.Stop) {
				continue
			}
			if _, _, known := named(string(line.Value(src))); known {
				out = append(out, candidate{text: string(line.Value(src)), plain: true, inside: what})
			}
		}
	}
	return out
}

// wholeLine returns the line of src that starts at start but for at most three
// spaces, without surrounding space; ok is false if anything else precedes.
func wholeLine(src []byte, start int) (line text.Segment, ok bool) {
	begin := bytes.LastIndexByte(src[:start], '\n') + 1
	end := len(src)
	if i := bytes.IndexByte(src[begin:], '\n'); i >= 0 {
		end = begin + i
	}
	for begin < end && src[begin] == ' ' {
		begin++
	}
	if begin != start || start-bytes.LastIndexByte(src[:start], '\n')-1 > 3 {
		return line, false
	}
	for end > begin && (src[end-1] == ' ' || src[end-1] == '\t') {
		end--
	}
	return text.NewSegment(begin, end), true
}

// inlines returns where a paragraph has text directly in it, and where it or
// anything in it has HTML tags, both in the order of the source.
func inlines(n ast.Node) (plain []text.Segment, html []*ast.RawHTML) {
	for c := n.FirstChild(); c != nil; c = c.NextSibling() {
		if t, ok := c.(*ast.Text); ok && !t.IsRaw() {
			plain = append(plain, t.Segment)
		}
	}
	_ = ast.Walk(n, func(c ast.Node, entering bool) (ast.WalkStatus, error) {
		if raw, ok := c.(*ast.RawHTML); ok && entering {
			html = append(html, raw)
		}
		return ast.WalkContinue, nil
	})
	return plain, html
}

// covered reports whether segments, in order, cover from..to without a gap.
func covered(segments []text.Segment, from, to int) bool {
	i, _ := slices.BinarySearchFunc(segments, from, func(s text.Segment, at int) int { return cmp.Compare(s.Stop, at+1) })
	for ; from < to && i < len(segments); i++ {
		if segments[i].Start > from {
			return false
		}
		from = max(from, segments[i].Stop)
	}
	return from >= to
}

// htmlOf is the source of an HTML block.
func htmlOf(n *ast.HTMLBlock, src []byte) []byte {
	html := n.Lines().Value(src)
	if n.HasClosure() {
		html = append(bytes.Clone(html), n.ClosureLine.Value(src)...)
	}
	return html
}

// enclosure counts the HTML elements that are open where one stands: a
// paragraph between <details> or <blockquote> tags is folded or a quote.
type enclosure map[string]int

var (
	htmlComment = regexp.MustCompile(`(?s)<!--.*?(?:-->|$)`)
	htmlTag     = regexp.MustCompile(`<(/?)([a-zA-Z][a-zA-Z0-9]*)((?:[^"'>]|"[^"]*"|'[^']*')*)>`)
)

// enclosing are the elements that change what the text in them is. Others,
// such as an unclosed <cluster> in a sentence, do no harm.
var enclosing = strings.Fields(`blockquote code dd del details div dl dt h1 h2 h3 h4 h5 h6 iframe kbd li noscript ol pre
	q s samp script span strike style summary table tbody td template textarea tfoot th thead title tr tt ul`)

// read follows the tags in a piece of HTML.
func (e enclosure) read(html []byte) {
	for _, m := range htmlTag.FindAllSubmatch(htmlComment.ReplaceAll(html, nil), -1) {
		name := strings.ToLower(string(m[2]))
		switch {
		case !slices.Contains(enclosing, name):
		case len(m[1]) == 0:
			e[name]++
		case e[name] > 1:
			e[name]--
		default:
			delete(e, name)
		}
	}
}
