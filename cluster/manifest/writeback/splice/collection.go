package splice

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"lockkeeper/cluster/manifest/writeback/field"
)

// mapping changes a map entry by entry. It reports whether that is possible.
func (s *surgery) mapping(n *node, want map[string]any) bool {
	have, _ := s.value(n).(map[string]any)
	explicit := map[string]bool{}
	gone := make([]bool, len(n.pairs))
	last := -1
	for i, p := range n.pairs {
		if p.merge {
			last = i
			continue
		}
		k := p.key.yaml.Value
		explicit[k] = true
		w, keep := want[k]
		if gone[i] = !keep; !keep {
			continue
		}
		last = i
		if s.update(p.value, w) != nil {
			return false
		}
	}
	if last < 0 || !s.remove(n, gone) {
		return false
	}
	var added []string
	for _, k := range ordered(want) {
		if v, brought := have[k]; !explicit[k] && (!brought || !field.Same(v, want[k])) {
			added = append(added, k)
		}
	}
	for _, k := range added {
		s.add(n, n.pairs[last].value.end, k, want[k], n.pairs[last].key)
	}
	return true
}

// add puts an entry behind the one that ends at end.
func (s *surgery) add(n *node, end int, key string, v any, like *node) {
	if !n.flow {
		s.below(end, strings.Repeat(" ", n.column)+s.style.entry(key, v, n.column))
		return
	}
	text := keyText(key) + ": " + flowText(v)
	if s.json {
		text = quote(key) + ": " + s.flow(v, like)
	}
	s.put(end, end, s.comma(like)+text)
}

// below puts lines below the one in which a value ends. A block scalar that
// ends the file without a line break has none; it gets one, and must not.
func (s *surgery) below(end int, text string) {
	e := s.lineEnd(end)
	if e == len(s.data) {
		if at := s.header(); at >= 0 {
			s.put(at, at, "-")
		}
	}
	s.put(e, e, s.style.eol+text)
}

// header is where the header of the file's last value ends, if that is a block
// scalar which keeps its final line break; else -1.
func (s *surgery) header() int {
	n := s.roots[len(s.roots)-1]
	for n.kind != scalar && n.kind != alias {
		switch {
		case len(n.pairs) > 0:
			n = n.pairs[len(n.pairs)-1].value
		case len(n.items) > 0:
			n = n.items[len(n.items)-1].value
		default:
			return -1
		}
	}
	if n.end < len(s.data) || n.yaml.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0 {
		return -1
	}
	at := n.body + 1
	for strings.ContainsRune("123456789", rune(s.data[at])) {
		at++
	}
	if strings.ContainsRune("+-", rune(s.data[at])) {
		return -1
	}
	return at
}

// comma is what comes between two elements of a collection with brackets: a
// line break too, if the one that it is like begins a line.
func (s *surgery) comma(like *node) string {
	start := s.lineStart(like.start)
	space := s.leadingSpace(start)
	if start+len(space) == like.start && start > 0 {
		return "," + s.style.eol + space
	}
	return ", "
}

// span is the bytes of one element of a collection.
type span struct{ start, end int }

func (n *node) spans() []span {
	var out []span
	for _, p := range n.pairs {
		out = append(out, span{p.key.start, p.value.end})
	}
	for _, it := range n.items {
		start := it.value.start
		if !n.flow {
			start = it.dash
		}
		out = append(out, span{start, it.value.end})
	}
	return out
}

// remove takes elements out of a collection. It reports whether that is
// possible without writing the others anew.
func (s *surgery) remove(n *node, gone []bool) bool {
	spans := n.spans()
	for i := 0; i < len(gone); i++ {
		if !gone[i] {
			continue
		}
		j := i
		for j+1 < len(gone) && gone[j+1] {
			j++
		}
		if !s.removeRun(n, spans, i, j) {
			return false
		}
		i = j
	}
	return true
}

func (s *surgery) removeRun(n *node, spans []span, i, j int) bool {
	if n.flow {
		switch {
		case j+1 < len(spans):
			s.put(spans[i].start, spans[j+1].start, "")
		case i > 0:
			s.put(spans[i-1].end, spans[j].end, "")
		}
		return i > 0 || j+1 < len(spans)
	}
	start := s.lineStart(spans[i].start)
	if len(bytes.TrimSpace(s.data[start:spans[i].start])) > 0 {
		// The first element shares its line with what is around the collection.
		if j+1 == len(spans) || bytes.ContainsRune(s.data[spans[j].end:spans[j+1].start], '#') {
			return false
		}
		s.put(spans[i].start, spans[j+1].start, "")
		return true
	}
	for k := i; k <= j; k++ { // comments between them stay
		s.removeLines(spans[k])
	}
	return true
}

// removeLines takes out whole lines. If the file ends with them, and without a
// line break, it still does.
func (s *surgery) removeLines(at span) {
	start, end := s.lineStart(at.start), s.lineEnd(at.end)
	if end < len(s.data) || s.style.careful {
		s.put(start, s.nextLine(end), "")
		return
	}
	if start > 0 && s.data[start-1] == '\n' {
		start--
	}
	if start > 0 && s.data[start-1] == '\r' {
		start--
	}
	s.put(start, end, "")
}

// sequence changes a list item by item. It reports whether that is possible.
func (s *surgery) sequence(n *node, want []any) bool {
	have, _ := s.value(n).([]any)
	if len(have) != len(n.items) {
		return false
	}
	to := align(have, want)
	gone := make([]bool, len(have))
	from := make([]int, len(want)) // the item that becomes a wanted one, or -1
	for j := range from {
		from[j] = -1
	}
	kept := false
	for i, j := range to {
		if gone[i] = j < 0; j < 0 {
			continue
		}
		from[j], kept = i, true
		if s.update(n.items[i].value, want[j]) != nil {
			return false
		}
	}
	return kept && s.remove(n, gone) && s.insert(n, want, from)
}

// insert puts in the items that come from nowhere.
func (s *surgery) insert(n *node, want []any, from []int) bool {
	last := -1
	for j, i := range from {
		if i >= 0 {
			last = i
			continue
		}
		switch {
		case n.flow && last >= 0:
			s.put(n.items[last].value.end, n.items[last].value.end, s.comma(n.items[last].value)+s.flow(want[j], n.items[last].value))
		case n.flow:
			first := n.items[0].value
			s.put(first.start, first.start, s.flow(want[j], first)+s.comma(first))
		case last >= 0:
			s.below(n.items[last].value.end, strings.Repeat(" ", n.column)+s.style.element(want[j], n.column))
		default:
			dash := n.items[0].dash
			start := s.lineStart(dash)
			if len(bytes.TrimSpace(s.data[start:dash])) > 0 {
				return false
			}
			s.put(start, start, strings.Repeat(" ", n.column)+s.style.element(want[j], n.column)+s.style.eol)
		}
	}
	return true
}

// maxAlign bounds the work of aligning two lists.
const maxAlign = 4 << 20

// align finds for each item of a list what it becomes in another, or -1: the
// same items, by what identifies them, in the same order; between those, items
// pair up.
func align(have, want []any) []int {
	a, b := identities(have), identities(want)
	to := make([]int, len(a))
	for i := range to {
		to[i] = -1
	}
	head := 0
	for head < min(len(a), len(b)) && a[head] == b[head] {
		to[head] = head
		head++
	}
	tail := 0
	for tail < min(len(a), len(b))-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		to[len(a)-1-tail] = len(b) - 1 - tail
		tail++
	}
	a, b = a[head:len(a)-tail], b[head:len(b)-tail]
	if len(a)*len(b) <= maxAlign {
		common(a, b, func(i, j int) { to[head+i] = head + j })
	}
	pairUp(to, have, want)
	return to
}

// common calls found for a longest common subsequence.
func common(a, b []string, found func(i, j int)) {
	length := make([][]int, len(a)+1)
	for i := range length {
		length[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			length[i][j] = max(length[i+1][j], length[i][j+1])
			if a[i] == b[j] {
				length[i][j] = 1 + length[i+1][j+1]
			}
		}
	}
	for i, j := 0, 0; i < len(a) && j < len(b); {
		switch {
		case a[i] == b[j]:
			found(i, j)
			i, j = i+1, j+1
		case length[i+1][j] >= length[i][j+1]:
			i++
		default:
			j++
		}
	}
}

// pairUp lets items without a partner become those that are new at their
// place: scalars, and maps of which the number stays and that are either alike
// or not told apart by the same key.
func pairUp(to []int, have, want []any) {
	next := 0
	for i := 0; i < len(to); i++ {
		if to[i] >= 0 {
			next = to[i] + 1
			continue
		}
		end := i
		for end < len(to) && to[end] < 0 {
			end++
		}
		limit := len(want)
		if end < len(to) {
			limit = to[end]
		}
		for equal := limit-next == end-i; i < end; i++ {
			if next < limit && becomes(have[i], want[next], equal) {
				to[i] = next
				next++
			}
		}
		i--
	}
}

func becomes(from, to any, equal bool) bool {
	a, b := identity(from), identity(to)
	if a.scalar || b.scalar || !equal {
		return a.scalar && b.scalar
	}
	return a.key == "" || a.key != b.key || alike(from, to)
}

// alike reports whether two maps are the same but for few fields.
func alike(from, to any) bool {
	a, _ := from.(map[string]any)
	b, _ := to.(map[string]any)
	same := 0
	for k, v := range a {
		if w, set := b[k]; set && field.Same(v, w) {
			same++
		}
	}
	return 2*same >= max(len(a), len(b))-1
}

// keys name the fields that tell the items of a list apart.
var keys = []string{"name", "key", "path", "mountPath", "containerPort", "port", "ip", "host", "type", "topologyKey"}

// id is what identifies an item of a list: a key field, or all of it.
type id struct {
	key, text string
	scalar    bool
}

func identity(v any) id {
	m, is := v.(map[string]any)
	for _, k := range keys {
		if x, set := m[k]; set {
			return id{key: k, text: k + "=" + fmt.Sprint(x)}
		}
	}
	if is && m["metadata"] != nil {
		meta, _ := m["metadata"].(map[string]any)
		return id{key: "metadata", text: fmt.Sprint(m["kind"], "/", meta["namespace"], "/", meta["name"])}
	}
	b, _ := json.Marshal(v)
	_, list := v.([]any)
	return id{text: string(b), scalar: !is && !list}
}

func identities(list []any) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = identity(v).text
	}
	return out
}
