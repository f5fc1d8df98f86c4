package manifest

import (
	"fmt"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"

	"lockkeeper/cluster"
	"lockkeeper/cluster/manifest/document"
)

// collector checks objects as they come and keeps the good ones.
type collector struct {
	objects  []rendered
	problems []Problem
	seen     map[cluster.Ref]string // and their sources
	full     bool
}

func newCollector() *collector { return &collector{seen: map[cluster.Ref]string{}} }

func (c *collector) outcome() outcome {
	if len(c.problems) > 0 {
		return outcome{Problems: sorted(c.problems)}
	}
	return outcome{Objects: c.objects}
}

// place is where an object came from.
type place struct {
	path string
	line int
	node *yaml.Node // the document, if it was read from the file itself
}

// at is the line of a field, or the document's.
func (p place) at(fields ...string) int {
	line, n := p.line, p.node
	for _, f := range fields {
		var v *yaml.Node
		if n != nil && n.Kind == yaml.MappingNode {
			for i := 0; i+1 < len(n.Content); i += 2 {
				if n.Content[i].Value == f {
					line, v = n.Content[i].Line, n.Content[i+1]
				}
			}
		}
		n = v
	}
	return line
}

func (c *collector) fail(p place, field []string, format string, args ...any) {
	c.problems = append(c.problems, Problem{Path: p.path, Line: p.at(field...), Message: fmt.Sprintf(format, args...)})
}

// add takes one document: an object, or a list of them.
func (c *collector) add(value any, p place) {
	m, ok := value.(map[string]any)
	if !ok {
		c.fail(p, nil, "is not a Kubernetes object: expected a map with apiVersion, kind and metadata")
		return
	}
	if encrypted(m) {
		c.fail(p, []string{"sops"}, "is encrypted with SOPS, which is not supported yet; "+
			"move it out of the target, or let a controller in the cluster decrypt it")
		return
	}
	kind, _ := m["kind"].(string)
	items, isList := m["items"].([]any)
	if strings.HasSuffix(kind, "List") && isList {
		c.addItems(m, kind, items, p)
		return
	}
	if kind == "List" {
		c.fail(p, []string{"kind"}, "kind List has no items")
		return
	}
	c.addObject(m, p)
}

// addItems expands a list. The items of a typed list, such as RoleBindingList,
// may leave out what the list's kind says.
func (c *collector) addItems(list map[string]any, kind string, items []any, p place) {
	for i, item := range items {
		at := p
		if p.node != nil {
			at.line, at.node = item1(p.node, i, p.line)
		}
		m, ok := item.(map[string]any)
		if !ok {
			c.fail(at, nil, "items[%d] of %s is not an object", i, kind)
			continue
		}
		if of := strings.TrimSuffix(kind, "List"); of != "" && m["kind"] == nil {
			m["kind"] = of
			if m["apiVersion"] == nil {
				m["apiVersion"] = list["apiVersion"]
			}
		}
		c.add(m, at)
	}
}

// item1 finds the node of items[i] and its line.
func item1(list *yaml.Node, i, line int) (int, *yaml.Node) {
	for k := 0; k+1 < len(list.Content); k += 2 {
		v := list.Content[k+1]
		if list.Content[k].Value == "items" && v.Kind == yaml.SequenceNode && i < len(v.Content) {
			return v.Content[i].Line, v.Content[i]
		}
	}
	return line, nil
}

// encrypted reports whether a document was encrypted by SOPS, which leaves its
// metadata under the key sops.
func encrypted(m map[string]any) bool {
	meta, ok := m["sops"].(map[string]any)
	if !ok {
		return false
	}
	_, mac := meta["mac"]
	_, version := meta["version"]
	return mac || version
}

func (c *collector) addObject(m map[string]any, p place) {
	before := len(c.problems)
	ref := c.identify(m, p)
	meta, _ := m["metadata"].(map[string]any)
	for _, field := range []string{"labels", "annotations"} {
		c.checkStrings(meta, field, p)
	}
	if len(c.problems) > before {
		return
	}
	source := document.Where(p.path, p.line)
	if first, twice := c.seen[ref]; twice {
		c.problems = append(c.problems, definedTwice(p.path, p.line, ref, first))
		return
	}
	if len(c.objects) == MaxObjects {
		if !c.full {
			c.problems = append(c.problems, tooMany(p.path, p.line))
		}
		c.full = true
		return
	}
	c.seen[ref] = source
	c.objects = append(c.objects, rendered{Path: p.path, Line: p.line, content: m})
}

// identify checks what names an object.
func (c *collector) identify(m map[string]any, p place) cluster.Ref {
	api := c.text(m, p, "apiVersion")
	kind := c.text(m, p, "kind")
	meta, ok := m["metadata"].(map[string]any)
	if !ok {
		c.fail(p, []string{"metadata"}, "%s has no metadata.name", orObject(kind))
		return cluster.Ref{}
	}
	name, _ := meta["name"].(string)
	_, generate := meta["generateName"]
	switch {
	case name == "" && generate:
		c.fail(p, []string{"metadata", "generateName"}, "%s has metadata.generateName: every apply would make another object; give it a name", orObject(kind))
	case meta["name"] != nil && name == "":
		c.fail(p, []string{"metadata", "name"}, "metadata.name of %s must be a string that is not empty", orObject(kind))
	case name == "":
		c.fail(p, []string{"metadata"}, "%s has no metadata.name", orObject(kind))
	}
	ns, ok := meta["namespace"].(string)
	if !ok && meta["namespace"] != nil {
		c.fail(p, []string{"metadata", "namespace"}, "metadata.namespace of %s must be a string", orObject(kind))
	}
	for field, v := range map[string]string{"name": name, "namespace": ns} {
		if why := badName(v); why != "" {
			c.fail(p, []string{"metadata", field}, "metadata.%s %q %s", field, v, why)
		}
	}
	group, version, cut := strings.Cut(api, "/")
	if !cut {
		group, version = "", api
	}
	if api != "" && (version == "" || strings.Contains(version, "/") || badName(group+version) != "") {
		c.fail(p, []string{"apiVersion"}, "apiVersion %q is not a version such as v1 or apps/v1", api)
	}
	return cluster.Ref{Group: group, Kind: kind, Namespace: ns, Name: name}
}

func orObject(kind string) string {
	if kind == "" {
		return "the object"
	}
	return kind
}

// text is a required string at the top of an object.
func (c *collector) text(m map[string]any, p place, field string) string {
	s, ok := m[field].(string)
	switch {
	case m[field] == nil:
		c.fail(p, nil, "has no %s", field)
	case !ok || s == "":
		c.fail(p, []string{field}, "%s must be a string that is not empty", field)
	case badName(s) != "" && field == "kind":
		c.fail(p, []string{field}, "kind %q %s", s, badName(s))
	}
	return s
}

// badName says why a name cannot name an object, or "". Stricter rules are the
// API server's; these are what would confuse a path or a person.
func badName(s string) string {
	switch {
	case s == "." || s == "..":
		return "cannot be used as a name"
	case len(s) > 253:
		return "is longer than 253 bytes"
	case strings.ContainsAny(s, "/%"):
		return "holds a slash or a percent sign"
	case strings.ContainsFunc(s, hidden):
		return "holds white space or a control character"
	}
	return ""
}

// hidden reports characters that a reader would not see: white space, controls,
// and format characters such as those that turn the direction of text.
func hidden(r rune) bool {
	return unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r)
}

// checkStrings checks that labels or annotations map strings to strings.
func (c *collector) checkStrings(meta map[string]any, field string, p place) {
	path := []string{"metadata", field}
	if meta[field] == nil {
		return
	}
	m, ok := meta[field].(map[string]any)
	if !ok {
		c.fail(p, path, "metadata.%s must be a map", field)
		return
	}
	for k, v := range m {
		if _, ok := v.(string); !ok {
			c.fail(p, append(path, k), "metadata.%s[%q] must be a string; put the value in quotes", field, k)
		}
	}
}
