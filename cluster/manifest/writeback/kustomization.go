package writeback

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"lockkeeper/cluster"
	"lockkeeper/cluster/manifest/writeback/field"
	"lockkeeper/cluster/manifest/writeback/splice"
)

// level is one kustomization of the target.
type level struct {
	dir, path string
	file      *splice.File
	value     map[string]any
}

// levels are the kustomizations of the target, from its own downwards. One
// that cannot be edited is left out.
func (c *aim) levels() []level {
	var out []level
	for _, dir := range c.survey.reach {
		real, f, err := c.state.open(c.survey.files[dir])
		if err != nil || len(f.Documents()) == 0 {
			continue
		}
		if v, is := f.Documents()[0].(map[string]any); is {
			out = append(out, level{dir, real, f, v})
		}
	}
	return out
}

// edit is the kustomization with another value.
func (l level) edit(value any) (map[string]Edit, error) {
	data, err := l.file.Update(0, value)
	if err != nil {
		return nil, err
	}
	return map[string]Edit{l.path: {Content: data}}, nil
}

// at is a path of keys and positions.
func at(steps ...any) field.Path {
	var p field.Path
	for _, s := range steps {
		switch x := s.(type) {
		case string:
			p = append(p, field.Step{Key: x})
		case int:
			p = append(p, field.Step{Index: x, At: true})
		}
	}
	return p
}

// entry changes an entry of a list of a kustomization.
func (c *aim) entry(l level, list string, i int, to any) candidate {
	return func() (map[string]Edit, error) {
		if err := c.own(l.path); err != nil {
			return nil, err
		}
		value, err := field.With(l.value, at(list, i), to)
		if err != nil {
			return nil, err
		}
		return l.edit(value)
	}
}

// names are what patches and the like may call the object.
func (c *aim) names() []string {
	names := []string{c.object.Ref.Name}
	if n := c.source.name(); c.found && n != c.object.Ref.Name {
		names = append(names, n)
	}
	return names
}

// replicas are changes of the count in the replicas of a kustomization.
func (c *aim) replicas() []candidate {
	p := c.unit.change.Path
	if len(p) != 2 || p[0].Key != "spec" || p[1].Key != "replicas" {
		return nil
	}
	var out []candidate
	for _, l := range c.levels() {
		list, _ := l.value["replicas"].([]any)
		for i, e := range list {
			m, _ := e.(map[string]any)
			if m["count"] == nil || !slices.Contains(c.names(), text(m, "name")) {
				continue
			}
			to := maps.Clone(m)
			to["count"] = c.unit.change.Value
			out = append(out, c.entry(l, "replicas", i, to))
		}
	}
	return out
}

// image is an image's name, tag and digest.
type image struct{ name, tag, digest string }

func imageOf(s string) image {
	var i image
	i.name, i.digest, _ = strings.Cut(s, "@")
	if colon := strings.LastIndexByte(i.name, ':'); colon > strings.LastIndexByte(i.name, '/') {
		i.name, i.tag = i.name[:colon], i.name[colon+1:]
	}
	return i
}

// images are changes of the entry for an image in a kustomization.
func (c *aim) images() []candidate {
	p := c.unit.change.Path
	want, is := c.unit.change.Value.(string)
	now, _ := field.Get(c.object.Content, p)
	old, was := now.(string)
	if !is || !was || p[len(p)-1].Key != "image" {
		return nil
	}
	from, to := imageOf(old), imageOf(want)
	var out []candidate
	for _, l := range c.levels() {
		list, _ := l.value["images"].([]any)
		for i, e := range list {
			m, _ := e.(map[string]any)
			current := text(m, "newName")
			if current == "" {
				current = text(m, "name")
			}
			if current == from.name {
				out = append(out, c.entry(l, "images", i, to.entry(m, current)))
			}
		}
	}
	return out
}

// entry is the entry of a kustomization's images that leads to the image.
func (i image) entry(m map[string]any, current string) map[string]any {
	out := maps.Clone(m)
	if i.name != current {
		out["newName"] = i.name
	}
	for k, v := range map[string]string{"newTag": i.tag, "digest": i.digest} {
		if out[k] = v; v == "" {
			delete(out, k)
		}
	}
	return out
}

// patch is a patch that a kustomization applies to the object.
type patch struct {
	level
	// entry is where the kustomization names or holds the patch.
	entry []any
	// text is where the kustomization holds it; nil if it is a file.
	text []any
	body *splice.File
	name string // of the file
	doc  int
	// target is set if the entry says what to patch.
	target bool
}

func (p patch) value() any { return p.body.Documents()[p.doc] }

// strategic reports whether it is a strategic merge patch, else a JSON patch.
func (p patch) strategic() bool {
	_, is := p.value().(map[string]any)
	return is
}

// patches are the patches of the object, those of the target's own
// kustomization first.
func (c *aim) patches() []patch {
	var out []patch
	for _, l := range c.levels() {
		for _, list := range []string{"patches", "patchesStrategicMerge", "patchesJson6902"} {
			entries, _ := l.value[list].([]any)
			for i, e := range entries {
				p := patch{level: l, entry: []any{list, i}}
				ref, m := "", map[string]any{}
				switch x := e.(type) {
				case string:
					if ref = x; strings.Contains(x, "\n") {
						p.text, ref = []any{list, i}, ""
					}
				case map[string]any:
					m, ref = x, text(x, "path")
					if ref == "" {
						p.text = []any{list, i, "patch"}
					}
				}
				out = append(out, c.patchesIn(p, ref, m["target"])...)
			}
		}
	}
	return out
}

// patchesIn are those of an entry's documents that speak of the object.
func (c *aim) patchesIn(p patch, ref string, target any) []patch {
	var err error
	if ref != "" {
		p.name, p.body, err = c.state.open(path.Join(p.dir, ref))
	} else {
		v, _ := field.Get(p.level.value, at(p.text...))
		body, _ := v.(string)
		name := "patch.yaml"
		if strings.HasPrefix(strings.TrimSpace(body), "[") || strings.HasPrefix(strings.TrimSpace(body), "{") {
			name = "patch.json"
		}
		p.body, err = splice.Parse(name, []byte(body))
	}
	if err != nil {
		return nil
	}
	p.target = target != nil
	var out []patch
	for doc, v := range p.body.Documents() {
		if v != nil && c.means(v, target) {
			p.doc = doc
			out = append(out, p)
		}
	}
	return out
}

// means reports whether a patch is of the object.
func (c *aim) means(v, target any) bool {
	if target == nil {
		return text(v, "kind") == c.object.Ref.Kind && slices.Contains(c.names(), text(v, "metadata", "name"))
	}
	kind, name := text(target, "kind"), text(target, "name")
	if kind != "" && !matches(kind, c.object.Ref.Kind) {
		return false
	}
	return name == "" || slices.ContainsFunc(c.names(), func(n string) bool { return matches(name, n) })
}

func matches(pattern, s string) bool {
	re, err := regexp.Compile("^(?:" + pattern + ")$")
	return err == nil && re.MatchString(s)
}

// sets reports whether the patch speaks of the field.
func (p patch) sets(f field.Path, content any) bool {
	if p.strategic() {
		_, set := field.Get(p.value(), f)
		return set
	}
	_, _, found := p.operation(f, content)
	return found
}

// operation finds the last operation of a JSON patch on the field or on what
// holds it, and the rest of the path.
func (p patch) operation(f field.Path, content any) (op int, rest field.Path, found bool) {
	ops, _ := p.value().([]any)
	for i, o := range slices.Backward(ops) {
		if k := text(o, "op"); k != "add" && k != "replace" {
			continue
		}
		for n := len(f); n > 0; n-- {
			steps, whole := field.Concrete(content, f[:n])
			if whole && pointer(steps) == text(o, "path") {
				return i, f[n:], true
			}
		}
	}
	return 0, nil, false
}

// pointer is a path as in RFC 6901.
func pointer(steps []any) string {
	var b strings.Builder
	for _, s := range steps {
		switch x := s.(type) {
		case int:
			b.WriteString("/" + strconv.Itoa(x))
		case string:
			b.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(x))
		}
	}
	return b.String()
}

// inPatch changes the field in a patch.
func (c *aim) inPatch(p patch) (map[string]Edit, error) {
	var value any
	var err error
	ch := c.unit.change
	if p.strategic() {
		_, set := field.Get(p.value(), ch.Path)
		if ch.Op == cluster.Remove && set {
			value = field.Without(p.value(), ch.Path)
		} else {
			value, err = strategic(p.value(), ch)
		}
	} else {
		value, err = p.operated(ch, c.object.Content)
	}
	if err != nil {
		return nil, err
	}
	return c.rewrite(p, value)
}

// operated is a JSON patch whose operation leads to the change.
func (p patch) operated(ch field.Change, content any) (any, error) {
	i, rest, _ := p.operation(ch.Path, content)
	ops, _ := p.value().([]any)
	if len(rest) == 0 {
		if ch.Op == cluster.Remove {
			return slices.Delete(slices.Clone(ops), i, i+1), nil
		}
		return field.With(p.value(), at(i, "value"), ch.Value)
	}
	op, _ := ops[i].(map[string]any)
	value, err := field.Change{Path: rest, Op: ch.Op, Value: ch.Value}.Apply(op["value"])
	if err != nil {
		return nil, err
	}
	return field.With(p.value(), at(i, "value"), value)
}

// rewrite edits the file of a patch, or the kustomization that holds it.
func (c *aim) rewrite(p patch, value any) (map[string]Edit, error) {
	file := p.name
	if p.text != nil {
		file = p.level.path
	}
	if err := c.own(file); err != nil {
		return nil, err
	}
	data, err := p.body.Update(p.doc, value)
	if err != nil {
		return nil, fmt.Errorf("patch in %s: %w", file, err)
	}
	if p.text == nil {
		return map[string]Edit{file: {Content: data}}, nil
	}
	k, err := field.With(p.level.value, at(p.text...), string(data))
	if err != nil {
		return nil, err
	}
	return p.level.edit(k)
}
