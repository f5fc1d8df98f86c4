package report

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/sergi/go-diff/diffmatchpatch"
	"go.yaml.in/yaml/v3"

	"lockkeeper/cluster"
)

// entry is "label: value" as lines of YAML; maps, lists and long texts take
// more than one. Without a label it is an item of a list.
func entry(label string, v any, suffix string) []string {
	if label == "" {
		return yamlLines([]any{v})[1:]
	}
	if s, ok := v.(string); ok && strings.Contains(s, "\n") {
		lines := []string{label + ": " + blockMark(s) + suffix}
		for _, l := range textLines(s) {
			lines = append(lines, "  "+l)
		}
		return lines
	}
	lines := yamlLines(v)
	lines[0] = label + ":" + lines[0] + suffix
	return lines
}

// yamlLines is a value as it stands behind a key.
func yamlLines(v any) []string {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	enc.CompactSeqIndent()
	y := yamlWriter{}
	m := &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{y.scalar("k"), y.node(v)}}
	if err := enc.Encode(m); err != nil {
		return []string{" " + oneLine(fmt.Sprint(v))}
	}
	text := strings.Map(y.restore, strings.TrimPrefix(strings.TrimRight(b.String(), "\n"), "k:"))
	return strings.Split(text, "\n")
}

// yamlWriter makes nodes of values. The encoder would write emoji, and all else
// beyond the first 65,536 characters, as escapes: each stays behind a stand-in
// from the private use area, which clean leaves nothing of.
type yamlWriter struct{ away []rune }

const private, privateEnd = '\ue000', '\uf8ff'

func (y *yamlWriter) hide(r rune) rune {
	if r <= 0xffff {
		return r
	}
	at := slices.Index(y.away, r)
	if at < 0 {
		if at = len(y.away); private+rune(at) > privateEnd {
			return r
		}
		y.away = append(y.away, r)
	}
	return private + rune(at)
}

func (y *yamlWriter) restore(r rune) rune {
	if at := int(r - private); at >= 0 && at < len(y.away) {
		return y.away[at]
	}
	return r
}

func (y *yamlWriter) scalar(v any) *yaml.Node {
	n := &yaml.Node{}
	if s, ok := v.(string); ok {
		v = strings.Map(y.hide, clean(s))
	}
	if err := n.Encode(v); err != nil {
		n.SetString(strings.Map(y.hide, clean(fmt.Sprint(v))))
	}
	return n
}

// node orders the keys of maps as people write them: what names a thing comes
// first.
func (y *yamlWriter) node(v any) *yaml.Node {
	switch x := v.(type) {
	case map[string]any:
		n := &yaml.Node{Kind: yaml.MappingNode}
		keys := slices.SortedFunc(maps.Keys(x), func(a, b string) int {
			return cmp.Or(cmp.Compare(precedence(a), precedence(b)), strings.Compare(a, b))
		})
		for _, k := range keys {
			n.Content = append(n.Content, y.scalar(k), y.node(x[k]))
		}
		return n
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for _, item := range x {
			n.Content = append(n.Content, y.node(item))
		}
		return n
	}
	return y.scalar(v)
}

func precedence(key string) int {
	if i := slices.Index([]string{"name", "image", "apiVersion", "apiGroup", "kind", "metadata"}, key); i >= 0 {
		return i
	}
	return 100
}

// blockMark is how YAML marks a text of several lines by how it ends.
func blockMark(s string) string {
	switch {
	case strings.HasSuffix(s, "\n\n") || s == "\n":
		return "|+"
	case strings.HasSuffix(s, "\n"):
		return "|"
	}
	return "|-"
}

// textLines are the lines of a text, with blanks at their ends made visible.
func textLines(s string) []string {
	lines := strings.Split(strings.TrimSuffix(clean(s), "\n"), "\n")
	for i, l := range lines {
		if kept := strings.TrimRight(l, " \t"); kept != l {
			lines[i] = kept + strings.NewReplacer(" ", "·", "\t", "→").Replace(l[len(kept):])
		}
	}
	return lines
}

// setLines shows a changed value. Texts and lists of several lines are compared
// line by line.
func setLines(label string, before, after any, suffix string) []line {
	bs, bok := before.(string)
	as, aok := after.(string)
	if bok && aok && (strings.Contains(bs, "\n") || strings.Contains(as, "\n")) {
		mark := blockMark(as)
		if blockMark(bs) != mark {
			mark = blockMark(bs) + " → " + mark
		}
		return append([]line{{" ", label + ": " + mark + suffix}}, indented(lineDiff(textLines(bs), textLines(as)))...)
	}
	b, a := entry(label, before, suffix), entry(label, after, suffix)
	if len(b) > 1 && len(a) > 1 && b[0] == a[0] {
		return append([]line{{" ", b[0]}}, lineDiff(b[1:], a[1:])...)
	}
	return append(lines("-", b), lines("+", a)...)
}

// line is one line of a diff and the sign before it: "+", "-", "!" or " ".
type line struct{ sign, text string }

func lines(sign string, texts []string) []line {
	out := make([]line, len(texts))
	for i, t := range texts {
		out[i] = line{sign, t}
	}
	return out
}

func indented(ls []line) []line {
	for i := range ls {
		ls[i].text = "  " + ls[i].text
	}
	return ls
}

const (
	contextLines = 3
	// maxCompared bounds the work of comparing two texts, whose time grows
	// with the product of their lengths.
	maxCompared = 4000 * 4000
)

// lineDiff compares two texts line by line, with a few lines of context.
func lineDiff(before, after []string) []line {
	head := 0
	for head < min(len(before), len(after)) && before[head] == after[head] {
		head++
	}
	tail := 0
	for tail < min(len(before), len(after))-head && before[len(before)-1-tail] == after[len(after)-1-tail] {
		tail++
	}
	out := lastOf(before[:head])
	out = append(out, compare(before[head:len(before)-tail], after[head:len(after)-tail])...)
	return append(out, firstOf(before[len(before)-tail:])...)
}

// compare diffs what is left between equal beginnings and ends.
func compare(before, after []string) []line {
	if len(before)*len(after) > maxCompared {
		return append(lines("-", before), lines("+", after)...)
	}
	dmp := diffmatchpatch.New()
	dmp.DiffTimeout = 0 // the same input gives the same lines, however busy the machine is
	a, b, table := dmp.DiffLinesToChars(joined(before), joined(after))
	diffs := dmp.DiffCharsToLines(dmp.DiffMain(a, b, false), table)
	var out []line
	for _, d := range diffs {
		text := strings.Split(strings.TrimSuffix(d.Text, "\n"), "\n")
		switch d.Type {
		case diffmatchpatch.DiffInsert:
			out = append(out, lines("+", text)...)
		case diffmatchpatch.DiffDelete:
			out = append(out, lines("-", text)...)
		default:
			out = append(out, between(text)...)
		}
	}
	return out
}

func joined(ls []string) string {
	if len(ls) == 0 {
		return ""
	}
	return strings.Join(ls, "\n") + "\n"
}

func unchanged(n int) line { return line{" ", fmt.Sprintf("… %s unchanged", count(n, "line"))} }

func firstOf(ls []string) []line {
	if len(ls) <= contextLines+1 {
		return lines(" ", ls)
	}
	return append(lines(" ", ls[:contextLines]), unchanged(len(ls)-contextLines))
}

func lastOf(ls []string) []line {
	if len(ls) <= contextLines+1 {
		return lines(" ", ls)
	}
	return append([]line{unchanged(len(ls) - contextLines)}, lines(" ", ls[len(ls)-contextLines:])...)
}

func between(ls []string) []line {
	if len(ls) <= 2*contextLines+1 {
		return lines(" ", ls)
	}
	out := append(lines(" ", ls[:contextLines]), unchanged(len(ls)-2*contextLines))
	return append(out, lines(" ", ls[len(ls)-contextLines:])...)
}

// window shortens two long one-line texts to where they differ.
func window(before, after string, wide int) (string, string) {
	b, a := []rune(before), []rune(after)
	if wide <= 0 || max(len(b), len(a)) <= wide {
		return before, after
	}
	same := 0
	for same < min(len(b), len(a)) && b[same] == a[same] {
		same++
	}
	from := max(0, same-wide/4)
	return around(b, from, wide), around(a, from, wide)
}

func around(s []rune, from, wide int) string {
	from = min(from, len(s))
	to := min(len(s), from+wide)
	if len(s)-to < 60 {
		to = len(s)
	}
	out := string(s[from:to])
	if from > 0 {
		out = fmt.Sprintf("⟨%d characters⟩…", from) + out
	}
	if to < len(s) {
		out += fmt.Sprintf("…⟨%d characters⟩", len(s)-to)
	}
	return out
}

// masked is what stands for a secret value, whatever the plan holds.
const masked = "(secret)"

// assigned is what plans put in place of a value that the server will choose.
const assigned = "(assigned by the server)"

// shownValues are the values of a field as they may be seen.
func shownValues(f cluster.FieldChange, wide int) (before, after any, suffix string) {
	before, after = f.Before, f.After
	if f.Server && after != assigned {
		suffix = "  # assigned by the server"
	}
	if f.Masked {
		before, after = masked, masked
		if f.Op == cluster.Set {
			suffix += "  # another value; secrets are never shown"
		}
	}
	bs, bok := before.(string)
	as, aok := after.(string)
	if bok && aok && !strings.Contains(bs+as, "\n") && utf8.ValidString(bs+as) {
		before, after = window(bs, as, wide)
	}
	return before, after, suffix
}
