package owners

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// pattern matches paths. Go's regular expressions take time linear in the path,
// whatever the pattern is.
type pattern struct {
	part string // of every match; cheaper to look for
	re   *regexp.Regexp
	not  bool // matches what the expression does not
}

func (p *pattern) match(path string) bool {
	return (strings.Contains(path, p.part) && p.re.MatchString(path)) != p.not
}

// part is the longest text that whatever matches has in it.
func part(text string) string {
	longest := ""
	if strings.ContainsAny(text, `[\`) {
		return longest
	}
	for _, s := range strings.FieldsFunc(text, func(r rune) bool { return r == '*' || r == '?' }) {
		if s = strings.Trim(s, "/"); len(s) > len(longest) {
			longest = s
		}
	}
	return longest
}

// compile reads a pattern of a dialect.
//
// GitHub follows gitignore: a pattern with a slash that is not its last
// character begins at the root, and one that matches a directory owns what is
// in it, except that a last segment `*` is for files directly in place.
//
// GitLab follows Ruby's fnmatch: only a slash in front begins at the root, and
// only one at the end owns what is in a directory.
func compile(text string, d Dialect) (pattern, error) {
	read := readGitHub
	if d == GitLab {
		read = readGitLab
	}
	expr, err := read(text)
	if err != nil {
		return pattern{}, err
	}
	re, err := regexp.Compile(expr)
	if err != nil {
		return pattern{}, fmt.Errorf("the pattern cannot be used: %w", err)
	}
	return pattern{part: part(text), re: re}, nil
}

func readGitHub(text string) (string, error) {
	switch {
	case strings.Trim(text, "/") == "":
		return "", fmt.Errorf("got the pattern %q, which matches no file", text)
	case strings.HasPrefix(text, "!"):
		return "", errors.New("got a pattern with `!`, which GitHub does not support here")
	case strings.ContainsAny(text, "[]#"):
		return "", fmt.Errorf("got the pattern %q; GitHub supports neither brackets nor `#` in it, and skips the line", text)
	case strings.Contains(text, "***"):
		return "", fmt.Errorf("got the pattern %q; more than two asterisks mean nothing", text)
	}
	body := strings.TrimSuffix(text, "/")
	floats := !strings.Contains(body, "/")
	segments := strings.Split(strings.TrimPrefix(body, "/"), "/")
	if floats && segments[0] != "**" {
		segments = append([]string{"**"}, segments...)
	}
	tail := `(?:/.*)?`
	switch last := segments[len(segments)-1]; {
	case strings.HasSuffix(text, "/") || last == "**":
		tail = `/.+`
		for len(segments) > 0 && segments[len(segments)-1] == "**" {
			segments = segments[:len(segments)-1]
		}
		if len(segments) == 0 && strings.HasSuffix(text, "/") {
			segments = []string{"**", "*"} // any directory
		}
	case last == "*":
		tail = ``
	}
	return GitHub.build(segments, tail)
}

func readGitLab(text string) (string, error) {
	if strings.Trim(text, "/") == "" {
		return "", fmt.Errorf("got the pattern %q, which matches no file", text)
	}
	if text == "*" {
		text = "/**/*"
	}
	if !strings.HasPrefix(text, "/") {
		text = "/**/" + text
	}
	if strings.HasSuffix(text, "/") {
		text += "**/*"
	}
	segments := strings.Split(text[1:], "/")
	if last := len(segments) - 1; segments[last] == "**" {
		segments[last] = "*" // fnmatch wants a slash behind it
	}
	return GitLab.build(segments, "")
}

// build makes the expression of segments, where `**` is any number of
// directories.
func (d Dialect) build(segments []string, tail string) (string, error) {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for i, s := range segments {
		if s == "**" {
			b.WriteString(`(?:.+/)?`)
			continue
		}
		expr, err := d.segment(s)
		if err != nil {
			return "", err
		}
		b.WriteString(expr)
		if i < len(segments)-1 {
			b.WriteByte('/')
		}
	}
	if len(segments) == 0 { // everything
		tail = `.+`
	}
	return b.String() + tail + `\z`, nil
}

// segment translates what is between two slashes.
func (d Dialect) segment(s string) (string, error) {
	if s == "" {
		return "", errors.New("the pattern has two slashes in a row")
	}
	if s == "*" {
		return `[^/]+`, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '*':
			b.WriteString(`[^/]*`)
		case c == '?':
			b.WriteString(`[^/]`)
		case c == '[' && d == GitLab:
			class, n, err := bracket(s[i:])
			if err != nil {
				return "", err
			}
			b.WriteString(class)
			i += n - 1
		case c == '\\':
			i++
			if i == len(s) {
				return "", errors.New(`the pattern ends in a \ that escapes nothing`)
			}
			b.WriteString(quote(s[i]))
		default:
			b.WriteString(quote(c))
		}
	}
	return b.String(), nil
}

// quote makes a byte stand for itself.
func quote(c byte) string {
	if c < 0x80 {
		return regexp.QuoteMeta(string(c))
	}
	return string([]byte{c}) // part of a longer character
}

// bracket translates a class such as [a-z] or [!0-9] at the start of s, and
// says how long it is.
func bracket(s string) (expr string, length int, err error) {
	end := strings.IndexByte(s, ']')
	if end < 2 || strings.ContainsAny(s[1:end], `\[`) {
		return "", 0, fmt.Errorf("got %q, want a class of characters such as [a-z]", s)
	}
	body := s[1:end]
	negate := body[0] == '!' || body[0] == '^'
	if negate {
		body = body[1:]
	}
	if body == "" {
		return "", 0, fmt.Errorf("got %q, want a class of characters such as [a-z]", s)
	}
	body = strings.ReplaceAll(body, "^", `\^`)
	if negate {
		return "[^/" + body + "]", end + 1, nil
	}
	return "[" + body + "]", end + 1, nil
}
