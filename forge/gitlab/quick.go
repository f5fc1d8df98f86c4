package gitlab

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

// reserved are commands of ours that are quick actions too: GitLab carries them
// out (or not), and takes their lines out of the comment, or does not make the
// comment at all. "status" is one of work items only; whether older releases take
// it away from pulls as well is not documented.
//
// Source: https://docs.gitlab.com/user/project/quick_actions/
var reserved = []string{"approve", "unapprove", "unlock", "status"}

// maxText is the longest note, in characters. Descriptions may have 1 MiB, which
// are held to the same.
const maxText = 1_000_000

// slashed is a line that starts with a slash, or with what plain made of one.
var slashed = regexp.MustCompile(`(?m)^[ \t]{0,3}\\*/`)

// plain is a text in which GitLab finds nothing to carry out: a backslash before
// the slash that a line starts with, which Markdown shows as the slash alone.
// GitLab looks for quick actions in paragraphs at the top level; lines in fenced
// code are left alone where a Markdown parser is sure that they are in it.
func plain(body string) (string, error) {
	body = strings.ReplaceAll(body, "\r", "") // as GitLab does before it looks
	if slashed.MatchString(body) {
		code := fences(body)
		body = eachSlash(body, code, func(line string) string {
			at := strings.IndexAny(line, `\/`)
			return line[:at] + `\` + line[at:]
		})
	}
	if n := utf8.RuneCountInString(body); n > maxText {
		return "", &forge.Error{Code: forge.Invalid, Unsent: true, Message: fmt.Sprintf("the text has %d characters, and the forge takes %d", n, maxText)}
	}
	return body, nil
}

// original undoes plain.
func original(body string) string {
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
