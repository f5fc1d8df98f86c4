package report

import (
	"strconv"
	"strings"

	"lockkeeper/cluster"
)

// segments splits a field's path at its keys and selectors, so that joining
// them gives the path again: spec, .containers, [name=web], .image.
func segments(path string) []string {
	var out []string
	start, depth, quoted := 0, 0, false
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case quoted && c == '\\':
			i++
		case c == '"' && depth > 0:
			quoted = !quoted
		case quoted:
		case c == '[':
			if depth == 0 && i > start {
				out, start = append(out, path[start:i]), i
			}
			depth++
		case c == ']' && depth > 0:
			depth--
		case c == '.' && depth == 0 && i > start:
			out, start = append(out, path[start:i]), i
		}
	}
	if start < len(path) || len(out) == 0 {
		out = append(out, path[start:])
	}
	return out
}

// node is a place in an object, with the changes at it and below it.
type node struct {
	seg    string
	fields []cluster.FieldChange
	kids   []*node
}

// treeOf arranges fields by their paths, each place in the order in which it is
// met first.
func treeOf(fields []cluster.FieldChange) *node {
	root := &node{}
	for _, f := range fields {
		at := root
		for _, seg := range segments(f.Path) {
			at = at.kid(seg)
		}
		at.fields = append(at.fields, f)
	}
	return root
}

func (n *node) kid(seg string) *node {
	for _, k := range n.kids {
		if k.seg == seg {
			return k
		}
	}
	k := &node{seg: seg}
	n.kids = append(n.kids, k)
	return k
}

// chain follows the only children from n down: their segments, and the place
// where the way ends or parts.
func (n *node) chain() ([]string, *node) {
	segs := []string{n.seg}
	for len(n.fields) == 0 && len(n.kids) == 1 {
		n = n.kids[0]
		segs = append(segs, n.seg)
	}
	return segs, n
}

// all reports whether every change at and below n is of one kind.
func (n *node) all(op cluster.Op) bool {
	for _, f := range n.fields {
		if f.Op != op {
			return false
		}
	}
	for _, k := range n.kids {
		if !k.all(op) {
			return false
		}
	}
	return true
}

// label is how segments read at the start of a line: a quoted key there needs
// no brackets.
func label(segs []string) string {
	first := strings.TrimPrefix(segs[0], ".")
	if inner, ok := strings.CutPrefix(first, "["); ok && len(segs) == 1 {
		if key, err := strconv.Unquote(strings.TrimSuffix(inner, "]")); err == nil && key != "" {
			first = key
		}
	}
	return oneLine(first + strings.Join(segs[1:], ""))
}
