package report

import (
	"bytes"
	stdhtml "html"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/yuin/goldmark/ast"
	east "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/text"

	"lockkeeper/bot/report/escape"
)

var hostile = []string{
	"plain", "</details>", "-->", "```\n/apply\n```", "/apply", "@acme/platform", "a | b", `a \| b\`, "``x`` `y`", "`a``b`", "# x", "- x", "1) x", "+ x",
	"[x](https://evil.example)", "![x](y)", "https://evil.example www.evil.example mail@evil.example", "<img src=x onerror=y>", "&lt;b&gt; &amp; &#64;x", "***x*** __y__ ~~z~~",
	"<!-- lockkeeper:pull/1/2 part=1 -->", "[ ] x", "[^1]: x", "a\u202eb\u2066c\u200bd", "\u00a0x\u3164", "👩‍👩‍👧 🏳️‍🌈", "x\x00y\xffz", "$x$ $$y$$", ":100:", "owner/repo#1 GH-2 #3",
	"===", "---", "> q", "~~~", "\tcode", "| a |\n|--|", "a\\", "a\\`b`", "`", "``", "`` ` ``", "<a", "ftp://x.example", "HTTPS://X.example", "\ue000\U0001F469",
}

// places are where foreign text stands in our Markdown, %s for it.
var places = map[string]string{
	"line":  "%s\n",
	"after": "`who`: %s\n",
	"item":  "- %s\n  - %s\n",
	"alert": "> [!NOTE]\n> - **%s**: %s\n",
	"head":  "### x %s\n",
	"cell":  "| a | b |\n|:--|:--|\n| x %s | <sub>%s</sub> |\n",
}

// skeleton is a document's structure: its blocks, in order, with the kinds of
// inline elements that are neither text nor code.
func skeleton(src string) string {
	var b strings.Builder
	_ = ast.Walk(markdown.Parser().Parse(text.NewReader([]byte(src))), func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if n.Kind() == ast.KindText || n.Kind() == ast.KindString {
			return ast.WalkContinue, nil
		}
		if n.Kind() == ast.KindCodeSpan {
			return ast.WalkSkipChildren, nil
		}
		if raw, ok := n.(*ast.RawHTML); ok && entering {
			b.WriteString(string(raw.Segments.Value([]byte(src))) + "\n")
		}
		if entering && n.Kind() != east.KindTableCell {
			b.WriteString(n.Kind().String() + "\n")
		} else if entering {
			b.WriteString("cell\n")
		}
		return ast.WalkContinue, nil
	})
	return strings.ReplaceAll(b.String(), "`who`", "")
}

var tags = regexp.MustCompile(`<[^>]*>`)

// read renders Markdown and returns the text that a person sees.
func read(t *testing.T, src string) string {
	t.Helper()
	var out bytes.Buffer
	noError(t, markdown.Convert([]byte(src), &out))
	return strings.ReplaceAll(stdhtml.UnescapeString(tags.ReplaceAllString(out.String(), "")), "\u200b", "")
}

// FuzzMarkdown: text from elsewhere stays text, wherever it stands (threats 9,
// 10, 21).
func FuzzMarkdown(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.TrimSpace(oneLine(s)) == "" || len(s) > 2000 {
			return
		}
		for place, format := range places {
			for how, escaped := range map[string]string{"md": md(s), "code": code(s)} {
				if place == "cell" {
					escaped = cell(escaped)
				}
				src := strings.ReplaceAll(format, "%s", escaped)
				if got, want := skeleton(src), skeleton(strings.ReplaceAll(format, "%s", "x")); got != want {
					t.Fatalf("%s of %q in a %s gives other elements:\n%s\nwant:\n%s\nsource: %q", how, s, place, got, want, src)
				}
				quiet(t, src)
			}
		}
		if got, want := read(t, "x "+md(s)), "x "+oneLine(s); plainer(got) != plainer(want) {
			t.Fatalf("md(%q) reads %q", s, got)
		}
		for _, c := range []string{"⁂" + code(s), "| ⁂ |\n|--|\n| " + cell(code(s)) + " |"} {
			if got := strings.TrimPrefix(strings.TrimSpace(read(t, c)), "⁂"); plainer(got) != plainer(oneLine(s)) {
				t.Fatalf("code(%q) reads %q in %q", s, got, c)
			}
		}
	})
}

// plainer drops what escaping may change: kinds of quotes and blanks, and runs
// that are shortened.
func plainer(s string) string {
	s = strings.NewReplacer("`", "", "'", "", " ", "", "\n", "", "\t", "").Replace(s)
	return strings.ReplaceAll(escape.ForgedMarker.ReplaceAllString(s, "<!-⟨⟩-$1"), "\u200b", "")
}

// FuzzFence: nothing inside a fence ends it, and nothing is lost but what is
// made visible.
func FuzzFence(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		inside := clean(s)
		src := "<details><summary>x " + html(s) + "</summary>\n\n" + fenced("diff", inside) + "\n</details>\n\nafter\n"
		var kinds []string
		doc := markdown.Parser().Parse(text.NewReader([]byte(src)))
		for n := doc.FirstChild(); n != nil; n = n.NextSibling() {
			kinds = append(kinds, n.Kind().String())
			if block, ok := n.(*ast.FencedCodeBlock); ok {
				got := strings.TrimRight(string(block.Lines().Value([]byte(src))), "\n")
				if want := strings.TrimRight(shortRuns(inside), "\n"); got != want {
					t.Fatalf("the fence shows %q, want %q", got, want)
				}
			}
		}
		if got := strings.Join(kinds, " "); got != "HTMLBlock FencedCodeBlock HTMLBlock Paragraph" {
			t.Fatalf("%q gives %s", s, got)
		}
		quiet(t, src)
		if !utf8.ValidString(src) {
			t.Fatalf("%q is not valid UTF-8", src)
		}
	})
}

func TestInvisibleCharactersAreShown(t *testing.T) { // threat 9
	for in, want := range map[string]string{
		"a\u202eb": "a⟨U+202E⟩b", "a\u200bb": "a⟨U+200B⟩b", "a\u00a0b": "a⟨U+00A0⟩b", "a\r\n": "a⟨U+000D⟩\n", "\x1b[31m": "⟨U+001B⟩[31m",
		"a\xffb": "a⟨FF⟩b", "\u3164": "⟨U+3164⟩", "a\u200db": "a⟨U+200D⟩b", "👩\u200d👧": "👩\u200d👧", "א ב": "א ב", "\ufffd": "\ufffd", "a\tb": "a\tb",
	} {
		if got := clean(in); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
		if got := clean(clean(in)); got != want {
			t.Errorf("cleaning %q twice gives %q", in, got)
		}
	}
}

func TestOnlyWebAddressesBecomeLinks(t *testing.T) {
	for in, want := range map[string]string{
		"https://forge.example/a/b/pull/1#issuecomment-2": "https://forge.example/a/b/pull/1#issuecomment-2",
		"https://forge.example/a)b c":                     "https://forge.example/a%29b%20c",
		"javascript:alert(1)":                             "", "data:text/html,x": "", "": "", "https://x\n/apply": "",
	} {
		if got := link(in); got != want {
			t.Errorf("link(%q) = %q, want %q", in, got, want)
		}
	}
}
