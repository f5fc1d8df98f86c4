package report

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/sergi/go-diff/diffmatchpatch"
	"go.yaml.in/yaml/v3"

	"lockkeeper/cluster"
)

// maxFieldLines is how many lines of one field are shown; what is cut off is
// said.
const maxFieldLines = 120

// changeText is one change as a block of a diff fence.
func changeText(c cluster.Change) string {
	var b strings.Builder
	fmt.Fprintf(&b, "@@ %s %s%s @@\n", c.Action, clean(c.Ref.String()), label(c))
	for _, f := range c.Fields {
		b.WriteString(fieldText(f))
	}
	for _, t := range c.Takeovers {
		fmt.Fprintf(&b, "! takes over %s from %s\n", oneLine(t.Path), oneLine(t.Manager))
	}
	for _, s := range c.Stays {
		fmt.Fprintf(&b, "! %s stays: owned by %s\n", oneLine(s.Path), oneLine(s.Manager))
	}
	return b.String()
}

// label says what else there is to know about a change, behind its name.
func label(c cluster.Change) string {
	var notes []string
	add := func(ok bool, format string, args ...any) {
		if ok {
			notes = append(notes, oneLine(fmt.Sprintf(format, args...)))
		}
	}
	add(c.From != "", "transferred from %s", c.From)
	add(len(c.Managers) > 0, "made by %s", strings.Join(c.Managers, ", "))
	add(c.Pending, "pending: merged earlier, not applied")
	add(c.Unverified != "", "predicted, not server-verified: %s", c.Unverified)
	add(c.Reason != "", "%s", c.Reason)
	if c.Action != cluster.Delete {
		add(c.Source != "", "%s", c.Source)
	}
	if len(notes) == 0 {
		return ""
	}
	return " (" + strings.Join(notes, "; ") + ")"
}

func fieldText(f cluster.FieldChange) string {
	suffix := ""
	if f.Server {
		suffix = "  # assigned by the server"
	}
	before, after, multiline := valueText(f.Before), valueText(f.After), false
	bs, bok := f.Before.(string)
	as, aok := f.After.(string)
	if f.Op == cluster.Set && bok && aok {
		multiline = strings.Contains(bs, "\n") || strings.Contains(as, "\n")
	}
	path := oneLine(f.Path)
	switch {
	case multiline:
		return cut(" "+path+": |\n"+lineDiff(clean(bs), clean(as)), path)
	case f.Op == cluster.Add:
		return cut(prefixed("+", path, after, suffix), path)
	case f.Op == cluster.Remove:
		return cut(prefixed("-", path, before, suffix), path)
	}
	return cut(prefixed("-", path, before, suffix)+prefixed("+", path, after, suffix), path)
}

// prefixed writes "path: value", each line behind a sign.
func prefixed(sign, path, value, suffix string) string {
	if !strings.Contains(value, "\n") {
		return sign + " " + path + ": " + value + suffix + "\n"
	}
	var b strings.Builder
	b.WriteString(sign + " " + path + ":" + suffix + "\n")
	for _, line := range strings.Split(value, "\n") {
		b.WriteString(sign + "   " + line + "\n")
	}
	return b.String()
}

// valueText is a value as YAML: scalars on one line, maps and lists as blocks.
func valueText(v any) string {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(v); err != nil {
		return clean(fmt.Sprint(v))
	}
	return clean(strings.TrimRight(b.String(), "\n"))
}

// lineDiff compares two texts line by line, with two lines of context.
func lineDiff(before, after string) string {
	dmp := diffmatchpatch.New()
	a, b, lines := dmp.DiffLinesToChars(before, after)
	diffs := dmp.DiffCharsToLines(dmp.DiffMain(a, b, false), lines)
	var out strings.Builder
	for i, d := range diffs {
		text := strings.Split(strings.TrimSuffix(d.Text, "\n"), "\n")
		switch d.Type {
		case diffmatchpatch.DiffInsert:
			writeLines(&out, "+   ", text)
		case diffmatchpatch.DiffDelete:
			writeLines(&out, "-   ", text)
		default:
			writeLines(&out, "    ", context(text, i == 0, i == len(diffs)-1))
		}
	}
	return out.String()
}

func writeLines(b *strings.Builder, prefix string, lines []string) {
	for _, l := range lines {
		b.WriteString(prefix + l + "\n")
	}
}

const contextLines = 2

// context keeps the lines next to a difference.
func context(lines []string, first, last bool) []string {
	switch {
	case first && last || len(lines) <= 2*contextLines:
		return lines
	case first:
		return append([]string{"…"}, lines[len(lines)-contextLines:]...)
	case last:
		return append(lines[:contextLines:contextLines], "…")
	}
	out := append(lines[:contextLines:contextLines], "…")
	return append(out, lines[len(lines)-contextLines:]...)
}

// cut bounds one field's text.
func cut(s, path string) string {
	lines := strings.SplitAfter(s, "\n")
	if len(lines) <= maxFieldLines {
		return s
	}
	return strings.Join(lines[:maxFieldLines], "") + fmt.Sprintf("  … %d more lines of %s are not shown\n", len(lines)-maxFieldLines-1, path)
}

// driftText is what differed from Git before this pull, as a block.
func driftText(d cluster.Drift) string {
	var b strings.Builder
	who := ""
	if len(d.Managers) > 0 {
		who = " by " + oneLine(strings.Join(d.Managers, ", "))
	}
	what := "changed live"
	if d.Deleted {
		what = "deleted live"
	}
	fmt.Fprintf(&b, "@@ drift: %s, %s%s; %s @@\n", clean(d.Ref.String()), what, who, oneLine(d.Effect))
	for _, f := range d.Fields {
		b.WriteString(fieldText(f))
	}
	return b.String()
}
