package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"lockkeeper/cluster"
)

// painter writes changes as text in the manner of a unified diff.
type painter struct {
	// most is how many lines of one field are shown, wide how many characters
	// of a line; 0 shows all. What is left out is said.
	most, wide int
}

// inComments keeps one huge value from crowding out everything else.
var inComments = painter{most: 150, wide: 400}

// change is one change as a block of a diff fence.
func (p painter) change(c cluster.Change) string {
	var b strings.Builder
	fmt.Fprintf(&b, "@@ %s %s @@", c.Action, oneLine(c.Ref.String()))
	if c.Source != "" {
		b.WriteString(" " + oneLine(c.Source))
	}
	b.WriteString("\n")
	for _, n := range remarks(c) {
		fmt.Fprintf(&b, "# %s\n", oneLine(n))
	}
	if c.Action == cluster.Delete {
		fmt.Fprintf(&b, "- %s\n", oneLine(c.Ref.String()))
	}
	if loss := c.Action == cluster.Delete || c.Action == cluster.Replace; loss && c.Reason != "" {
		fmt.Fprintf(&b, "! %s\n", oneLine(c.Reason))
	}
	p.fields(&b, c.Fields, c.Action == cluster.Create)
	for _, t := range c.Takeovers {
		fmt.Fprintf(&b, "! takes over %s from %s\n", oneLine(t.Path), oneLine(t.Manager))
	}
	for _, s := range c.Stays {
		fmt.Fprintf(&b, "! %s stays: owned by %s\n", oneLine(s.Path), oneLine(s.Manager))
	}
	return b.String()
}

// remarks say what else there is to know about a change.
func remarks(c cluster.Change) []string {
	var out []string
	add := func(ok bool, format string, args ...any) {
		if ok {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	add(c.From != "", "moves here from target %s", c.From)
	add(len(c.Managers) > 0, "made by %s, not by lockkeeper", strings.Join(c.Managers, ", "))
	add(c.Pending, "pending: merged earlier, not applied yet")
	add(c.Unverified != "", "predicted, not server-verified: %s", c.Unverified)
	add(c.Reason != "" && c.Action != cluster.Delete && c.Action != cluster.Replace, "%s", c.Reason)
	owner := c.Action == cluster.Adopt || c.Action == cluster.Transfer
	add(owner && len(c.Fields) == 0 && c.Reason == "", "no value changes, only who owns it")
	return out
}

// drift is what differed from Git before this pull, as a block.
func (p painter) drift(d cluster.Drift) string {
	var b strings.Builder
	what := "changed"
	if d.Deleted {
		what = "deleted"
	}
	fmt.Fprintf(&b, "@@ %s live: %s @@", what, oneLine(d.Ref.String()))
	if len(d.Managers) > 0 {
		b.WriteString(" by " + oneLine(strings.Join(d.Managers, ", ")))
	}
	b.WriteString("\n")
	p.fields(&b, d.Fields, false)
	if d.Effect != "" {
		fmt.Fprintf(&b, "! %s\n", oneLine(d.Effect))
	}
	return b.String()
}

// fields writes a tree of fields. Of a new object every line is new.
func (p painter) fields(b *strings.Builder, fields []cluster.FieldChange, created bool) {
	t := treeOf(fields)
	for _, f := range t.fields { // the object as a whole
		p.field(b, f, "the object", 0)
	}
	for _, k := range t.kids {
		p.node(b, k, 0, created && k.all(cluster.Add))
	}
}

// inline is how long a path may be to stand before its value in one line.
const inline = 40

func (p painter) node(b *strings.Builder, n *node, depth int, added bool) {
	segs, end := n.chain()
	if len(end.kids) > 0 {
		p.parent(b, end, label(segs), depth, added)
		for _, k := range end.kids {
			p.node(b, k, depth+1, added)
		}
		return
	}
	name := label(segs)
	at := lastKey(segs)
	item := isItem(segs[len(segs)-1]) && !slices.ContainsFunc(end.fields, func(f cluster.FieldChange) bool { return f.Op == cluster.Set })
	if item {
		at, name = len(segs)-1, ""
	}
	if at > 0 && (item || utf8.RuneCountInString(name) > inline) {
		p.group(b, label(segs[:at]), depth, added)
		depth++
		if !item {
			name = label(segs[at:])
		}
	}
	for _, f := range end.fields {
		p.field(b, f, name, depth)
	}
}

// parent writes the changes of a place that has others below it. A new map
// goes on with what the server adds to it; a list whose items are named has an
// order of its own.
func (p painter) parent(b *strings.Builder, n *node, name string, depth int, added bool) {
	for _, f := range n.fields {
		if _, isMap := f.After.(map[string]any); isMap && f.Op == cluster.Add {
			p.field(b, f, name, depth)
			return
		}
		p.field(b, f, name+" (order)", depth)
	}
	p.group(b, name, depth, added)
}

// isItem reports whether a segment names the item of a list by its fields or
// its value, which the item shows itself.
func isItem(seg string) bool {
	return strings.HasPrefix(seg, "[") && !strings.HasPrefix(seg, `["`) && strings.Contains(seg, "=")
}

// lastKey is where the last key begins, its selectors included.
func lastKey(segs []string) int {
	at := len(segs) - 1
	for at > 0 && strings.HasPrefix(segs[at], "[") && !strings.HasPrefix(segs[at], `["`) {
		at--
	}
	return at
}

func (p painter) group(b *strings.Builder, name string, depth int, added bool) {
	sign := " "
	if added {
		sign = "+"
	}
	p.write(b, []line{{sign, name + ":"}}, depth)
}

func (p painter) field(b *strings.Builder, f cluster.FieldChange, name string, depth int) {
	before, after, suffix := shownValues(f, p.wide)
	var ls []line
	switch f.Op {
	case cluster.Add:
		ls = lines("+", entry(name, after, suffix))
	case cluster.Remove:
		ls = lines("-", entry(name, before, suffix))
	default:
		ls = setLines(name, before, after, suffix)
	}
	left := 0
	if p.most > 0 && len(ls) > p.most {
		ls, left = ls[:p.most], len(ls)-p.most
	}
	p.write(b, ls, depth)
	if left > 0 {
		p.write(b, []line{{"!", fmt.Sprintf("… %s of %s not shown", count(left, "more line"), cmp.Or(name, "this item"))}}, depth)
	}
}

func (p painter) write(b *strings.Builder, ls []line, depth int) {
	for _, l := range ls {
		text := strings.Repeat("  ", depth) + l.text
		if n := utf8.RuneCountInString(text); p.wide > 0 && n > p.wide+200 {
			text = string([]rune(text)[:p.wide]) + fmt.Sprintf("…⟨%d characters⟩", n-p.wide)
		}
		b.WriteString(strings.TrimRight(l.sign+" "+text, " ") + "\n")
	}
}

// changeBlocks and driftBlocks are a plan, a block for each object.
func (p painter) changeBlocks(plan *cluster.Plan) []string {
	out := make([]string, len(plan.Changes))
	for i, c := range plan.Changes {
		out[i] = p.change(c)
	}
	return out
}

func (p painter) driftBlocks(plan *cluster.Plan) []string {
	out := make([]string, len(plan.Drift))
	for i, d := range plan.Drift {
		out[i] = p.drift(d)
	}
	return out
}
