// Package quick keeps GitLab from carrying out lines of what we write: it takes
// lines such as "/merge" for its own, with the rights of whoever wrote them.
package quick

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/text"

	"lockkeeper/forge"
)

// Max is the longest note, in characters. Descriptions may have 1 MiB, which
// are held to the same.
const Max = 1_000_000

// slashed is a line that starts with a slash, or with what Plain made of one.
var slashed = regexp.MustCompile(`(?m)^[ \t]{0,3}\\*/`)

// Plain is a text in which GitLab finds nothing to carry out: a backslash before
// the slash that a line starts with, which Markdown shows as the slash alone.
// GitLab looks for quick actions in paragraphs at the top level; lines in fenced
// code are left alone where a Markdown parser is sure that they are in it.
func Plain(body string) (string, error) {
	body = strings.ReplaceAll(body, "\r", "") // as GitLab does before it looks
	if slashed.MatchString(body) {
		code := fences(body)
		body = eachSlash(body, code, func(line string) string {
			at := strings.IndexAny(line, `\/`)
			return line[:at] + `\` + line[at:]
		})
	}
	if n := utf8.RuneCountInString(body); n > Max {
		return "", &forge.Error{Code: forge.Invalid, Unsent: true, Message: fmt.Sprintf("the text has %d characters, and the forge takes %d", n, Max)}
	}
	return body, nil
}

// Original undoes Plain.
func Original(body string) string {
	if !slashed.MatchString(body) {
		return body
	}
	return eachSlash(body, fences(body), func(line string) string {
		return strings.Replace(line, `\`, "", 1)
	})
}

// eachSlash changes the lines outside of code that start with a slash.
func eachSlash(body string, code []text.Segment, change func(string) string) string {
	var b strings.Builder
	at := 0
	for line := range strings.SplitAfterSeq(body, "\n") {
		for len(code) > 0 && code[0].Stop <= at {
			code = code[1:]
		}
		inside := len(code) > 0 && code[0].Start <= at
		if !inside && slashed.MatchString(line) {
			b.WriteString(change(line))
		} else {
			b.WriteString(line)
		}
		at += len(line)
	}
	return b.String()
}

// fences finds what fenced code holds at the top level of a text.
func fences(body string) []text.Segment {
	src := []byte(body)
	var out []text.Segment
	doc := goldmark.DefaultParser().Parse(text.NewReader(src))
	for n := doc.FirstChild(); n != nil; n = n.NextSibling() {
		lines := n.Lines()
		if n.Kind() != ast.KindFencedCodeBlock || lines.Len() == 0 {
			continue
		}
		out = append(out, text.NewSegment(lines.At(0).Start, lines.At(lines.Len()-1).Stop))
	}
	return out
}
