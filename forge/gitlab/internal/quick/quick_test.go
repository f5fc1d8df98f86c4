package quick

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/text"

	"lockkeeper/forge"
)

// Threats 21 and 22: GitLab carries out what stands at the start of a line of
// what we write, with our rights; and what we write holds other people's words.
func TestNothingIsLeftForGitLabToCarryOut(t *testing.T) {
	for in, want := range map[string]string{
		"":                              "",
		"nothing / here":                "nothing / here",
		"/merge":                        `\/merge`,
		"text\n/approve\nmore":          "text\n\\/approve\nmore",
		" /close":                       ` \/close`,
		"   /close":                     `   \/close`,
		"\t/close":                      "\t\\/close",
		"\r/close\r\nx":                 "\\/close\nx",
		"a\n\r/label ~x":                "a\n\\/label ~x",
		"//x":                           `\//x`,
		`\/x`:                           `\\/x`,
		"> /merge":                      "> /merge",
		"- /merge":                      "- /merge",
		"`/merge`":                      "`/merge`",
		"```\n/merge\n```\n/merge":      "```\n/merge\n```\n\\/merge",
		"````\n/a\n```\n/b\n````\n/c":   "````\n/a\n```\n/b\n````\n\\/c",
		"~~~ yaml\n/a\n~~~\n/b":         "~~~ yaml\n/a\n~~~\n\\/b",
		"```\n/never closed":            "```\n/never closed",
		"```a`b\n/no fence":             "```a`b\n\\/no fence",
		"<!-- m -->\n```\n/x\n```":      "<!-- m -->\n```\n/x\n```",
		"text\n```\n/x\n```\n/y":        "text\n```\n/x\n```\n\\/y",
		"<details>\n\n```\n/x\n```\n/y": "<details>\n\n```\n/x\n```\n\\/y",
		"~~~\n/x\n```\n/x\n  ~~~~ \n/y": "~~~\n/x\n```\n/x\n  ~~~~ \n\\/y",
		// Where it is not certain, a backslash too many is the lesser evil.
		"- x\n  ```\n/out of the list":  "- x\n  ```\n\\/out of the list",
		"> ```\n/out of the quote":      "> ```\n\\/out of the quote",
		"<details>\n```\n/in HTML\n```": "<details>\n```\n\\/in HTML\n```",
		"<!-- x\n```\n-->\n/y\n```":     "<!-- x\n```\n-->\n\\/y\n```",
		"text\n<div>\n```\n\n/y\n```":   "text\n<div>\n```\n\n\\/y\n```",
		"<pre>\n\n```\n</pre>\n/y":      "<pre>\n\n```\n</pre>\n\\/y",
		">>>\n```\n>>>\n/y":             ">>>\n```\n>>>\n\\/y",
		"    ```\n/indented":            "    ```\n\\/indented",
		"```\n```\n/empty fence before": "```\n```\n\\/empty fence before",
		"- a\n  ```\n  c\n```\n/d\n```": "- a\n  ```\n  c\n```\n\\/d\n```",
	} {
		got, err := Plain(in)
		if err != nil || got != want {
			t.Errorf("%q: %q, want %q (%v)", in, got, want, err)
		}
		if back := Original(got); back != strings.ReplaceAll(in, "\r", "") {
			t.Errorf("%q comes back as %q", in, back)
		}
	}
}

func TestTextsBeyondTheLimitAreRefused(t *testing.T) {
	full := strings.Repeat("ü", Max)
	if _, err := Plain(full); err != nil {
		t.Error(err)
	}
	for _, long := range []string{full + "x", "/" + full[2:]} { // the second one by its backslash
		if _, err := Plain(long); forge.CodeOf(err) != forge.Invalid {
			t.Errorf("%d bytes: %v", len(long), err)
		}
	}
}

func TestLongTextsTakeNoTime(t *testing.T) {
	for _, part := range []string{"[", "](", "*a_", "`", "<a ", "> ", "- ", "\n> - ", "```\n", "/x\n", "<!-- "} {
		in := "/x\n" + strings.Repeat(part, 100_000/len(part))
		start := time.Now()
		if _, err := Plain(in); err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d > 20*time.Second {
			t.Errorf("%q: %v", part, d)
		}
	}
}

// command is what GitLab looks for in the lines of a paragraph at the top level.
//
// Source: lib/gitlab/quick_actions/extractor.rb and
// lib/banzai/filter/quick_action_filter.rb of GitLab
var command = regexp.MustCompile(`(?m)^/[A-Za-z_]+`)

// Whatever the text: no paragraph at its top level has a line that starts with a
// slash, what was escaped comes back, and twice is the same as once undone twice.
func FuzzPlain(f *testing.F) {
	for _, s := range []string{"/merge", "a\n/close", "```\n/x\n```\n/y", "<pre>\n```\n</pre>\n/z", "1. ```\n/x", "***\n/x", "[a]: b\n/x", ">>>\n/x\n>>>", "---\n/x\n---", "| a |\n|-|\n/x", "\\\n/x", "text\n<div>\n```\n\n/y", "a\r/x", "\ufeff/x", "~~~\n/x\n ~~~~\n/y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		if len(in) > 1<<12 {
			t.Skip("long texts take the whole parser long, and show nothing that short ones do not")
		}
		got, err := Plain(in)
		if err != nil {
			t.Fatal(err)
		}
		in = strings.ReplaceAll(in, "\r", "")
		if back := Original(got); back != in {
			t.Fatalf("%q became %q and came back as %q", in, got, back)
		}
		doc := goldmark.DefaultParser().Parse(text.NewReader([]byte(got)))
		for n := doc.FirstChild(); n != nil; n = n.NextSibling() {
			if n.Kind() != ast.KindFencedCodeBlock && n.Type() == ast.TypeBlock && n.Lines() != nil {
				if s := string(n.Lines().Value([]byte(got))); n.Kind() == ast.KindParagraph && command.MatchString(s) {
					t.Fatalf("%q became %q, in which %q is carried out", in, got, s)
				}
			}
		}
	})
}
