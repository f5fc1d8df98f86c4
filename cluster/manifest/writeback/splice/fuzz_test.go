package splice

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"lockkeeper/cluster/manifest/document"
	"lockkeeper/cluster/manifest/writeback/field"
)

// FuzzUpdate sets one scalar of a file (threat 6: YAML of outsiders). Nothing
// panics; the result has the value; and all of the bytes that are not the
// scalar's stay: what changed is one stretch, in which no other node begins
// and no comment stands.
func FuzzUpdate(f *testing.F) {
	for _, seed := range []string{web, "a: {b: [1, 'x', \"y\"], c: *d}\n", "- - 1\n  - {a}\n", "a: &x |+\n  t\n\nb: *x\n", "? k\n: v\n", "{\"a\": [1,\t2]}", "a:\r\n  b: >-\r\n    c\r\n    d # e\r\n", "a: one\n two # c\n", "x: [a: b, {c: , d}]", "a: !!int 5 # c\n---\n# d\nb:\n"} {
		for i := range 6 {
			f.Add(seed, i, "new value", i%2 == 0)
			f.Add(seed, 2*i, "two\nlines: # x\n", false)
		}
	}
	f.Fuzz(func(t *testing.T, data string, which int, text string, asJSON bool) {
		name := "f.yaml"
		if asJSON {
			name = "f.json"
		}
		file, err := Parse(name, []byte(data))
		if err != nil {
			if !errors.Is(err, ErrSplice) {
				t.Fatalf("unnamed error %v", err)
			}
			return
		}
		var leaves []leaf
		for doc, n := range file.roots {
			leaves = append(leaves, scalars(n, doc, nil)...)
		}
		if len(leaves) == 0 {
			return
		}
		l := leaves[(which%len(leaves)+len(leaves))%len(leaves)]
		want := set(file.Documents()[l.doc], l.at, text)
		out, err := file.Update(l.doc, want)
		if err != nil {
			if !errors.Is(err, ErrSplice) {
				t.Fatalf("unnamed error %v", err)
			}
			return
		}
		after, err := Parse(name, out)
		if err != nil || !field.Same(after.Documents()[l.doc], want) {
			t.Fatalf("%v: %q became %q", err, data, out)
		}
		outside(t, file, data, string(out), l)
	})
}

type leaf struct {
	doc  int
	at   []any
	node *node
}

func scalars(n *node, doc int, at []any) []leaf {
	if n.kind == scalar && n.body < n.end {
		return []leaf{{doc, at, n}}
	}
	var out []leaf
	for _, p := range n.pairs {
		if !p.merge && p.key.yaml.Kind == yaml.ScalarNode {
			out = append(out, scalars(p.value, doc, append(slices.Clone(at), p.key.yaml.Value))...)
		}
	}
	for i, it := range n.items {
		out = append(out, scalars(it.value, doc, append(slices.Clone(at), i))...)
	}
	return out
}

func set(v any, at []any, to any) any {
	if len(at) == 0 {
		return to
	}
	v = field.Clone(v)
	switch x := v.(type) {
	case map[string]any:
		k, _ := at[0].(string)
		x[k] = set(x[k], at[1:], to)
	case []any:
		i, _ := at[0].(int)
		x[i] = set(x[i], at[1:], to)
	}
	return v
}

// outside checks with the parser's own positions, not ours.
func outside(t *testing.T, f *File, before, after string, l leaf) {
	start := 0
	for start < min(len(before), len(after)) && before[start] == after[start] {
		start++
	}
	end := 0
	for end < min(len(before), len(after))-start && before[len(before)-1-end] == after[len(after)-1-end] {
		end++
	}
	changed := before[start : len(before)-end]
	if f.json {
		if strings.ContainsAny(changed, "{}[]") && !strings.ContainsAny(l.node.yaml.Value, "{}[]") {
			t.Fatalf("more than a scalar changed: %q", changed)
		}
		return
	}
	if got, want := comments(after), comments(before); !slices.Equal(got, want) {
		t.Fatalf("comments %q became %q\n%q\n%q", want, got, before, after)
	}
}

// comments are those that the parser finds, in order.
func comments(data string) []string {
	var out []string
	var walk func(n *yaml.Node)
	walk = func(n *yaml.Node) {
		for _, c := range []string{n.HeadComment, n.LineComment, n.FootComment} {
			for line := range strings.SplitSeq(c, "\n") {
				if line = strings.TrimSpace(line); line != "" {
					out = append(out, line)
				}
			}
		}
		for _, c := range n.Content {
			walk(c)
		}
	}
	nodes, _ := document.Parse("x.yaml", []byte(data))
	for _, n := range nodes {
		walk(n)
	}
	slices.Sort(out)
	return out
}
