// Package quick keeps GitLab from carrying out lines of what we write: it takes
// lines such as "/merge" for its own, with the rights of whoever wrote them.
package quick

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"lockkeeper/forge"
)

// Max is the longest note, in characters. Descriptions may have 1 MiB, which
// are held to the same.
const Max = 1_000_000

// slashed is a line that starts with a slash, or with what Plain made of one.
var slashed = regexp.MustCompile(`(?m)^[ \t]{0,3}\\*/`)

// Plain is a text in which GitLab finds nothing to carry out: a backslash before
// the slash that a line starts with, which Markdown shows as the slash alone.
// GitLab looks for quick actions in paragraphs at the top level: lines that are
// certainly in fenced code, where the backslash would be seen, are left alone.
func Plain(body string) (string, error) {
	body = strings.ReplaceAll(body, "\r", "") // as GitLab does before it looks
	body = eachSlash(body, func(line string) string {
		at := strings.IndexAny(line, `\/`)
		return line[:at] + `\` + line[at:]
	})
	if n := utf8.RuneCountInString(body); n > Max {
		return "", &forge.Error{Code: forge.Invalid, Unsent: true, Message: fmt.Sprintf("the text has %d characters, and the forge takes %d", n, Max)}
	}
	return body, nil
}

// Original undoes Plain.
func Original(body string) string {
	return eachSlash(body, func(line string) string { return strings.Replace(line, `\`, "", 1) })
}

// eachSlash changes the lines that start with a slash, and are not certainly in
// fenced code.
func eachSlash(body string, change func(string) string) string {
	if !slashed.MatchString(body) {
		return body
	}
	var b strings.Builder
	b.Grow(len(body) + 16)
	var place place
	for line := range strings.SplitAfterSeq(body, "\n") {
		inside := place.step(strings.TrimSuffix(line, "\n"))
		if !inside && strings.HasPrefix(strings.TrimLeft(line, " \t\\"), "/") && slashed.MatchString(line) {
			line = change(line)
		}
		b.WriteString(line)
	}
	return b.String()
}

// place is where one stands while one reads a text line by line. It knows as much
// of Markdown as is needed to be sure of fenced code at the top level; when it is
// not sure once, it is not sure to the end.
type place struct {
	fence  string // that has to be closed, "" outside
	html   bool   // since the last empty line, HTML began: what looks like a fence may be part of it
	unsure bool
}

var (
	fenceRE = regexp.MustCompile("^(```+|~~~+)([^\n]*)$")
	// oddRE are lines after which a fence may be none: HTML that goes on beyond
	// empty lines, GitLab's quotes of several lines, and fences that may belong to
	// a list.
	oddRE = regexp.MustCompile("(?i)^ {0,3}<(?:script|pre|style|textarea|\\?|!)|^>>>|^ {1,3}(?:```|~~~)")
	// remarkRE is a comment that ends where it began, such as our markers.
	remarkRE = regexp.MustCompile("^<!--[^>]*-->[ \t]*$")
)

// step reads a line and reports whether it is certainly in fenced code.
func (p *place) step(line string) (inside bool) {
	if p.fence != "" {
		if closes(line, p.fence) {
			p.fence, p.html = "", false
		}
		return true
	}
	if line == "" || !strings.Contains("`~<> \t", line[:1]) {
		p.html = p.html && line != ""
		return false
	}
	m := fenceRE.FindStringSubmatch(line)
	opens := m != nil && (m[1][0] == '~' || !strings.Contains(m[2], "`"))
	remark := remarkRE.MatchString(line)
	switch {
	case p.unsure, remark:
	case oddRE.MatchString(line), opens && p.html:
		p.unsure = true
	case opens:
		p.fence = m[1]
	case strings.Trim(line, " \t") == "":
		p.html = false
	case strings.HasPrefix(strings.TrimLeft(line, " "), "<"):
		p.html = true
	}
	return false
}

// closes reports whether a line ends a fence.
func closes(line, fence string) bool {
	rest := strings.TrimLeft(line, " ")
	run := len(rest) - len(strings.TrimLeft(rest, fence[:1]))
	return len(line)-len(rest) <= 3 && run >= len(fence) && strings.Trim(rest[run:], " \t") == ""
}
