// Package escape makes foreign text safe to stand in what lockkeeper writes: it
// stays text, mentions nobody, ends no fence, table or marker, and hides nothing.
package escape

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Clean makes visible what could deceive a reader: control characters other
// than tab and newline, marks that change the direction of text, and what
// takes up no room, looks like an ordinary space or has no agreed meaning
// (threat 9). Two values that differ in such a character look different.
func Clean(s string) string {
	plain := func(r rune) bool { return r == '\n' || r == '\t' || r >= ' ' && r <= '~' }
	if !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	var b strings.Builder
	previous := rune(0)
	for i, r := range s {
		_, width := utf8.DecodeRuneInString(s[i:])
		switch {
		case plain(r):
			b.WriteRune(r)
		case r == utf8.RuneError && width == 1:
			fmt.Fprintf(&b, "⟨%02X⟩", s[i])
		case deceptive(r, previous):
			fmt.Fprintf(&b, "⟨U+%04X⟩", r)
		default:
			b.WriteRune(r)
		}
		previous = r
	}
	return b.String()
}

// deceptive reports whether a character is invisible or moves others. The
// joiner that makes one emoji of several is let through between emoji only.
func deceptive(r, previous rune) bool {
	const joiner, emojiStyle = '\u200d', '\ufe0f'
	switch {
	case r == joiner:
		return !unicode.In(previous, unicode.So, unicode.Sk) && previous != emojiStyle
	case unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co, unicode.Bidi_Control):
		return true
	case r != ' ' && unicode.Is(unicode.Zs, r):
		return true
	}
	return unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r) || r == '\u2800'
}

// OneLine makes foreign text fit where a line break would end something.
func OneLine(s string) string { return strings.Join(strings.Fields(Clean(s)), " ") }

// Clip bounds a text to n characters and says so.
func Clip(s string, n int) string {
	if n <= 0 || utf8.RuneCountInString(s) <= n {
		return s
	}
	return strings.TrimRight(string([]rune(s)[:n]), " ") + "…"
}

var markdownEscapes = strings.NewReplacer(
	`\`, `\\`, "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", "&lt;", ">", "&gt;",
	"#", `\#`, "~", `\~`, "!", `\!`, "&", "&amp;", "$", `\$`, "^", `\^`,
)

// live is what forges turn into links without any markup: mentions, addresses,
// references to issues. An invisible space inside keeps it text.
var live = regexp.MustCompile(`(?i)@|[a-z]:/|www\.|#\d|gh-\d`)

func inert(s string) string {
	return live.ReplaceAllStringFunc(s, func(m string) string {
		switch last := len(m) - 1; {
		case m == "@":
			return m + "\u200b"
		default:
			return m[:last] + "\u200b" + m[last:]
		}
	})
}

// blockStart is what begins a list, a quote, a rule or a command at the start
// of a line.
var blockStart = regexp.MustCompile(`^(\d*)([-+=/.)|:])`)

// Markdown shows foreign text as itself in Markdown, on one line, and mentions
// nobody. Text between single backquotes stays code, because our own messages
// use it to set off commands.
func Markdown(s string) string {
	parts := strings.Split(OneLine(s), "`")
	if len(parts)%2 == 0 { // an unpaired backquote is foreign: show it
		parts = []string{strings.Join(parts, "'")}
	}
	var b strings.Builder
	for i, p := range parts {
		switch {
		case i%2 == 1:
			b.WriteString(Code(p))
		case p == "" && i > 0 && i < len(parts)-1:
			b.WriteString(" ") // two spans in a row would read as one
		case i == 0:
			b.WriteString(blockStart.ReplaceAllString(markdownEscapes.Replace(inert(p)), `$1\$2`))
		default:
			b.WriteString(markdownEscapes.Replace(inert(p)))
		}
	}
	return b.String()
}

// Code shows text as a code span, with a fence longer than any run of
// backquotes inside.
func Code(s string) string {
	s = ShortRuns(OneLine(s))
	if s == "" {
		return "` `"
	}
	fence := strings.Repeat("`", LongestRun(s, '`')+1)
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") {
		s = " " + s + " "
	}
	return fence + s + fence
}

// Cell makes Markdown of ours fit into a table, whose cells end at every pipe
// that no backslash precedes, in code as well.
func Cell(s string) string {
	var b strings.Builder
	backslashes := 0
	for _, r := range s {
		switch {
		case r == '|' && backslashes%2 == 1:
			b.WriteString("\u200b\\") // the backslash before is not the pipe's
		case r == '|':
			b.WriteString(`\`)
		}
		if b.WriteRune(r); r == '\\' {
			backslashes++
		} else {
			backslashes = 0
		}
	}
	return b.String()
}

// Fenced shows text as a block that nothing inside it can end.
func Fenced(language, text string) string {
	text = ShortRuns(text)
	fence := FenceOf(LongestRun(text, '`'))
	return fence + language + "\n" + strings.TrimRight(text, "\n") + "\n" + fence + "\n"
}

// FenceOf is a fence for text whose longest run of backquotes is known.
func FenceOf(run int) string { return strings.Repeat("`", max(3, run+1)) }

// MaxRun is the longest run of backquotes that is shown as it is: a fence has
// to be longer.
const MaxRun = 30

var longRuns = regexp.MustCompile(fmt.Sprintf("`{%d,}", MaxRun+1))

// ForgedMarker finds what looks like the hidden marker of our own comments.
var ForgedMarker = regexp.MustCompile(`(?i)<!--(\s*lockkeeper:)`)

// ShortRuns makes foreign text fit for code: it bounds runs of backquotes, and
// breaks what looks like the hidden marker of our own comments (threat 10).
func ShortRuns(s string) string {
	s = longRuns.ReplaceAllStringFunc(s, func(run string) string {
		return fmt.Sprintf("%s⟨%d more⟩", run[:MaxRun], len(run)-MaxRun)
	})
	return ForgedMarker.ReplaceAllString(s, "<!-⟨⟩-$1")
}

// LongestRun is the length of the longest run of c in s.
func LongestRun(s string, c rune) int {
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

var htmlEscapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;")

// HTML shows foreign text inside an HTML element.
func HTML(s string) string { return htmlEscapes.Replace(inert(OneLine(s))) }

// Link is an address that can stand in a Markdown link, "" if it is none.
func Link(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" {
		return ""
	}
	return strings.NewReplacer("(", "%28", ")", "%29", "<", "%3C", ">", "%3E", " ", "%20", `\`, "%5C", "`", "%60").Replace(u.String())
}

// Size is the length of a text as the strictest of the forges counts it: in
// units of UTF-16, which are never fewer than characters.
func Size(s string) int {
	n := 0
	for _, r := range s {
		n += max(1, utf16.RuneLen(r))
	}
	return n
}
