package splice

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// scalar finds the end of a scalar.
func (b *builder) scalar(n *node) {
	y := n.yaml
	switch {
	case y.Style&yaml.DoubleQuotedStyle != 0:
		n.end = b.quoted(n, '"')
	case y.Style&yaml.SingleQuotedStyle != 0:
		n.end = b.quoted(n, '\'')
	case y.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		n.end = b.block(n)
	default:
		n.end = b.plain(n)
	}
}

func (b *builder) quoted(n *node, quote byte) int {
	if b.from(n.body) != quote {
		b.fail(n.yaml)
		return n.body
	}
	for i := n.body + 1; i < len(b.data); i++ {
		switch {
		case b.data[i] == '\\' && quote == '"':
			i++
		case b.data[i] != quote:
		case quote == '\'' && b.from(i+1) == quote:
			i++
		default:
			return i + 1
		}
	}
	b.fail(n.yaml)
	return n.body
}

// plain follows the value through the file: where the value has white space,
// the file may have line breaks.
func (b *builder) plain(n *node) int {
	i, v := n.body, n.yaml.Value
	for v != "" {
		r, size := utf8.DecodeRuneInString(v)
		if unicode.IsSpace(r) {
			v = strings.TrimLeftFunc(v, unicode.IsSpace)
			from := i
			for i < len(b.data) {
				c, w := utf8.DecodeRune(b.data[i:])
				if !unicode.IsSpace(c) {
					break
				}
				i += w
			}
			if i == from {
				b.fail(n.yaml)
				return n.body
			}
			continue
		}
		if i+size > len(b.data) || string(b.data[i:i+size]) != v[:size] {
			b.fail(n.yaml)
			return n.body
		}
		i, v = i+size, v[size:]
	}
	return i
}

// block finds the end of a literal or folded scalar: that of its last line
// which is not blank, or of its last line if blank lines are kept.
func (b *builder) block(n *node) int {
	if c := b.from(n.body); c != '|' && c != '>' {
		b.fail(n.yaml)
		return n.body
	}
	header := string(b.data[n.body:b.lineEnd(n.body)])
	header, _, _ = strings.Cut(header, " ")
	keep := strings.Contains(header, "+")
	least := n.indent + 1
	if i := strings.IndexAny(header, "123456789"); i >= 0 {
		least = max(n.indent, 0) + int(header[i]-'0')
	}
	end := b.lineEnd(n.body)
	for at := b.nextLine(end); at < len(b.data); at = b.nextLine(b.lineEnd(at)) {
		line := string(b.data[at:b.lineEnd(at)])
		text := strings.TrimLeft(line, " ")
		blank := strings.TrimSpace(line) == ""
		if !blank && (len(line)-len(text) < least || n.indent < 0 && marker(line)) {
			break
		}
		if !blank || keep {
			end = b.lineEnd(at)
		}
	}
	return end
}

// marker reports whether a line separates documents.
func marker(line string) bool {
	return line == "---" || line == "..." || strings.HasPrefix(line, "--- ") || strings.HasPrefix(line, "... ")
}

// lineEnd is where the line of i ends, before its line break.
func (f *File) lineEnd(i int) int {
	for i < len(f.data) && f.data[i] != '\n' && f.data[i] != '\r' {
		i++
	}
	return i
}

// nextLine is where the line after the break at i begins.
func (f *File) nextLine(i int) int {
	if i < len(f.data) && f.data[i] == '\r' {
		i++
	}
	if i < len(f.data) && f.data[i] == '\n' {
		i++
	}
	return i
}

// lineStart is where the line of i begins.
func (f *File) lineStart(i int) int {
	for i > 0 && f.data[i-1] != '\n' && f.data[i-1] != '\r' {
		i--
	}
	if i == 0 && strings.HasPrefix(string(f.data[:min(3, len(f.data))]), "\ufeff") {
		return 3
	}
	return i
}
