package writeback

import (
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"lockkeeper/cluster"
	"lockkeeper/cluster/manifest/closure"
	"lockkeeper/cluster/manifest/writeback/splice"
)

// open parses a file of the tree as it is now, links followed.
func (s *state) open(name string) (string, *splice.File, error) {
	real, err := s.tree.real("read", name)
	if err != nil {
		return "", nil, err
	}
	data, err := fs.ReadFile(s.tree, real)
	if err != nil {
		return "", nil, fmt.Errorf("%s cannot be read", name)
	}
	f, err := splice.Parse(real, data)
	return real, f, err
}

func (s *state) exists(name string) bool {
	a, err := closure.NewTree(s.tree).Ask(closure.Stat, name)
	return err == nil && a.Kind != closure.Missing
}

// source is where an object is written.
type source struct {
	path string
	file *splice.File
	doc  int
	// item is the position in the items of a list, or -1.
	item int
	// value is the object as it is written.
	value map[string]any
}

// with is the document with another value for the object.
func (s source) with(object any) any {
	if s.item < 0 {
		return object
	}
	doc, _ := s.file.Documents()[s.doc].(map[string]any)
	items, _ := doc["items"].([]any)
	out, list := map[string]any{}, append([]any(nil), items...)
	for k, v := range doc {
		out[k] = v
	}
	if list[s.item] = object; object == nil {
		list = append(list[:s.item], list[s.item+1:]...)
	}
	out["items"] = list
	return out
}

// name is what the object is called where it is written.
func (s source) name() string { return text(s.value, "metadata", "name") }

// text is a string below keys, or "".
func text(v any, keys ...string) string {
	for _, k := range keys {
		m, _ := v.(map[string]any)
		v = m[k]
	}
	out, _ := v.(string)
	return out
}

// sourceOf finds where an object is written. Kustomize may have changed its
// name and namespace since.
func (s *state) sourceOf(o cluster.Object) (source, error) {
	name, line := o.Source, 0
	if i := strings.LastIndexByte(name, ':'); i >= 0 {
		if n, err := strconv.Atoi(name[i+1:]); err == nil {
			name, line = name[:i], n
		}
	}
	real, f, err := s.open(name)
	if err != nil {
		return source{}, err
	}
	best, rank, tie := source{path: real, file: f}, 0, false
	take := func(doc, item int, v any) {
		m, _ := v.(map[string]any)
		r := resembles(o, m)
		if r > 0 && f.Line(doc) == line {
			r++ // the renderer's word, between equals
		}
		switch {
		case r > rank:
			best, rank, tie = source{real, f, doc, item, m}, r, false
		case r == rank && r > 0:
			tie = true
		}
	}
	for doc, v := range f.Documents() {
		m, _ := v.(map[string]any)
		if items, is := m["items"].([]any); is && strings.HasSuffix(text(v, "kind"), "List") {
			for i, item := range items {
				take(doc, i, item)
			}
			continue
		}
		take(doc, -1, v)
	}
	switch {
	case rank == 0:
		return best, fmt.Errorf("%s does not hold it: it is made from something else", real)
	case tie:
		return best, fmt.Errorf("%s holds more than one object that it may come from", real)
	}
	return best, nil
}

// resembles grades, from 0, how surely a document is what an object is made from.
func resembles(o cluster.Object, m map[string]any) int {
	name, ns := text(m, "metadata", "name"), text(m, "metadata", "namespace")
	group, _, _ := strings.Cut(text(m, "apiVersion"), "/")
	if !strings.Contains(text(m, "apiVersion"), "/") {
		group = ""
	}
	kind := text(m, "kind")
	if kind != o.Ref.Kind && kind != "" || group != o.Ref.Group && kind != "" || name == "" || !strings.Contains(o.Ref.Name, name) {
		return 0
	}
	grade := 10 * len(name)
	if ns == o.Ref.Namespace {
		grade += 5
	}
	return grade
}

// generator names the generator that makes an object, or "".
func (a *attempt) generator(s *state, o cluster.Object) string {
	for _, dir := range a.survey.reach {
		_, f, err := s.open(a.survey.files[dir])
		if err != nil || len(f.Documents()) == 0 {
			continue
		}
		k, _ := f.Documents()[0].(map[string]any)
		field := map[string]string{"ConfigMap": "configMapGenerator", "Secret": "secretGenerator"}[o.Ref.Kind]
		list, _ := k[field].([]any)
		for _, g := range list {
			if name := text(g, "name"); name != "" && strings.Contains(o.Ref.Name, name) {
				return fmt.Sprintf("%s %s in %s makes it: change what it is made from", field, name, a.survey.files[dir])
			}
		}
		for _, field := range []string{"generators", "helmCharts"} {
			if k[field] != nil && path.Base(strings.Split(o.Source, ":")[0]) == path.Base(a.survey.files[dir]) {
				return fmt.Sprintf("%s in %s makes it: change what it is made from", field, a.survey.files[dir])
			}
		}
	}
	return ""
}
