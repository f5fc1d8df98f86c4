package report

import (
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"

	"lockkeeper/bot/command"
)

// markdown reads as forges do: with tables, and with links made of what looks
// like an address.
var markdown = goldmark.New(goldmark.WithExtensions(extension.GFM, extension.Footnote))

// sound asserts what must hold for every comment, whatever is in it.
func sound(t *testing.T, key string, bodies []string, limit int) {
	t.Helper()
	for i, body := range bodies {
		if want := Marker(key, i+1) + "\n"; !strings.HasPrefix(body, want) {
			t.Errorf("part %d does not begin with %q: %.100q", i+1, want, body)
		}
		// Threat 10: text from elsewhere cannot pretend to be a comment of ours.
		if n := len(regexp.MustCompile(`(?i)<!--\s*lockkeeper:`).FindAllString(body, -1)); n != 1 {
			t.Errorf("part %d has %d markers", i+1, n)
		}
		if n := utf8.RuneCountInString(body); n > limit {
			t.Errorf("part %d has %d characters, the limit is %d", i+1, n, limit)
		}
		quiet(t, body)
		balanced(t, body)
	}
}

// quiet asserts that a text deceives nobody, calls nobody and commands nothing.
func quiet(t *testing.T, body string) {
	t.Helper()
	// Threat 9: nothing changes the direction of text.
	for _, r := range body {
		if unicode.Is(unicode.Bidi_Control, r) || unicode.IsControl(r) && r != '\n' && r != '\t' || r == utf8.RuneError {
			t.Errorf("holds %U", r)
		}
	}
	// Threats 21 and 22: we give no commands, whoever may have written them.
	if cmds := command.Parse(body); len(cmds) > 0 {
		t.Errorf("holds the command %q", cmds[0].Line)
	}
	src := []byte(body)
	_ = ast.Walk(markdown.Parser().Parse(text.NewReader(src)), func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch x := n.(type) {
		case *ast.CodeSpan, *ast.FencedCodeBlock:
			return ast.WalkSkipChildren, nil
		case *ast.CodeBlock, *ast.Image, *ast.AutoLink:
			t.Errorf("holds a %s: %.200s", n.Kind(), n.Lines().Value(src))
		case *ast.Text:
			noMention(t, string(x.Value(src)))
		case *ast.RawHTML:
			allowedHTML(t, string(x.Segments.Value(src)))
		case *ast.HTMLBlock:
			allowedHTML(t, string(x.Lines().Value(src)))
		}
		return ast.WalkContinue, nil
	})
}

var mention = regexp.MustCompile(`@[A-Za-z0-9]`)

func noMention(t *testing.T, s string) {
	t.Helper()
	if mention.MatchString(s) {
		t.Errorf("mentions somebody: %.200q", s)
	}
}

var ours = regexp.MustCompile(`^<!-- lockkeeper:[^<>]* -->$|^</?(details|details open|summary|sub|b|br)>$`)

// allowedHTML asserts that only elements of our own are there.
func allowedHTML(t *testing.T, s string) {
	t.Helper()
	noMention(t, s)
	for _, tag := range regexp.MustCompile(`<[^>]*>?`).FindAllString(s, -1) {
		if !ours.MatchString(tag) {
			t.Errorf("holds the HTML %.200q", tag)
		}
	}
}

// balanced asserts that what is folded ends, and that no fence ends early.
func balanced(t *testing.T, body string) {
	t.Helper()
	depth, fence := 0, ""
	for line := range strings.SplitSeq(body, "\n") {
		ticks := line[:len(line)-len(strings.TrimLeft(line, "`"))]
		switch {
		case fence != "" && line == fence:
			fence = ""
		case fence != "":
			if longestRun(line, '`') >= len(fence) {
				t.Errorf("a run of backquotes is as long as the fence around it: %.100q", line)
			}
		case len(ticks) >= 3 && line == ticks+"diff":
			fence = ticks
		case strings.HasPrefix(line, "<details"):
			depth++
		case line == "</details>":
			depth--
		}
		if depth < 0 || depth > 1 {
			t.Fatalf("details are nested %d deep at %.100q", depth, line)
		}
	}
	if depth != 0 || fence != "" {
		t.Errorf("ends inside details or a fence %q", fence)
	}
}
