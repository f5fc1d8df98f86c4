package report

import (
	"strings"
	"unicode"
)

// clean drops what could deceive a reader: control characters other than tab
// and newline, and the marks that change the direction of text (threat 9).
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r == unicode.ReplacementChar || unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r):
			return '�'
		case unicode.Is(unicode.Cf, r) && r != '\u200d':
			return '�'
		}
		return r
	}, s)
}

// oneLine makes foreign text fit where a line break would end something.
func oneLine(s string) string { return strings.Join(strings.Fields(clean(s)), " ") }

var markdownEscapes = strings.NewReplacer(
	`\`, `\\`, "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", "&lt;", ">", "&gt;",
	"#", `\#`, "|", `\|`, "~", `\~`, "!", `\!`, "&", "&amp;", "@", "@\u200b",
)

// md shows foreign text as itself in Markdown, on one line, and mentions
// nobody. Text between single backquotes stays code, because our own messages
// use it to set off commands.
func md(s string) string {
	parts := strings.Split(oneLine(s), "`")
	if len(parts)%2 == 0 { // an unpaired backquote is foreign: show it
		return markdownEscapes.Replace(strings.Join(parts, "'"))
	}
	var b strings.Builder
	for i, p := range parts {
		if i%2 == 1 {
			b.WriteString(code(p))
			continue
		}
		b.WriteString(markdownEscapes.Replace(p))
	}
	return b.String()
}

// code shows text as a code span, in a table as well, with a fence longer than
// any run of backquotes inside.
func code(s string) string {
	s = strings.ReplaceAll(oneLine(s), "|", `\|`)
	if s == "" {
		return "` `"
	}
	fence := strings.Repeat("`", longestRun(s, '`')+1)
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") {
		s = " " + s + " "
	}
	return fence + s + fence
}

// fenced shows text as a block that nothing inside it can end.
func fenced(language, text string) string {
	fence := strings.Repeat("`", max(3, longestRun(text, '`')+1))
	return fence + language + "\n" + strings.TrimRight(text, "\n") + "\n" + fence + "\n"
}

func longestRun(s string, c rune) int {
	longest, run := 0, 0
	for _, r := range s {
		if r != c {
			run = 0
			continue
		}
		run++
		longest = max(longest, run)
	}
	return longest
}

var htmlEscapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "@", "@\u200b")

// html shows foreign text inside an HTML element.
func html(s string) string { return htmlEscapes.Replace(oneLine(s)) }
