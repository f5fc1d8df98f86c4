package writeback

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"lockkeeper/cluster"
	"lockkeeper/cluster/manifest/writeback/field"
	"lockkeeper/cluster/manifest/writeback/splice"
)

// strategic is a strategic merge patch that makes the change as well.
func strategic(doc any, ch field.Change) (map[string]any, error) {
	var v any
	var err error
	last := ch.Path[len(ch.Path)-1]
	switch {
	case ch.Op != cluster.Remove:
		v, err = field.With(doc, ch.Path, ch.Value)
	case last.IsKey():
		v, err = field.With(doc, ch.Path, nil)
	case len(last.Where) > 0:
		item, _ := last.Fresh().(map[string]any)
		item["$patch"] = "delete"
		v, err = field.With(doc, ch.Path, item)
	default:
		return nil, fmt.Errorf("an item without a key cannot be removed by a patch")
	}
	m, _ := v.(map[string]any)
	return m, err
}

// newPatches are the patches that the target's own kustomization may get: a
// strategic one, or an operation of a JSON patch, which needs no merge keys and
// says where in a list an item goes.
func (c *aim) newPatches() []candidate {
	out := []candidate{func() (map[string]Edit, error) { return c.add(c.unit.change, c.sourceName()) }}
	if n := c.ownName(); n != c.sourceName() {
		out = append(out, func() (map[string]Edit, error) { return c.add(c.unit.change, n) })
	}
	return append(out, c.addOperation)
}

// sourceName is what the object is called where it is written.
func (c *aim) sourceName() string {
	if c.found {
		return c.source.name()
	}
	return c.object.Ref.Name
}

// ownName is what the object is called before the target's own kustomization
// adds a prefix or a suffix.
func (c *aim) ownName() string {
	name := c.object.Ref.Name
	if levels := c.levels(); len(levels) > 0 && levels[0].dir == c.target {
		name = strings.TrimPrefix(name, text(levels[0].value, "namePrefix"))
		name = strings.TrimSuffix(name, text(levels[0].value, "nameSuffix"))
	}
	return name
}

// add gives the target's kustomization a strategic merge patch.
func (c *aim) add(ch field.Change, name string) (map[string]Edit, error) {
	body, err := strategic(c.head(name), ch)
	if err != nil {
		return nil, err
	}
	return c.addPatch(c.fileName(""), body, nil)
}

// head is a patch that says nothing yet.
func (c *aim) head(name string) map[string]any {
	meta := map[string]any{"name": name}
	if ns := text(c.source.value, "metadata", "namespace"); c.found && ns != "" {
		meta["namespace"] = ns
	}
	return map[string]any{"apiVersion": c.object.APIVersion, "kind": c.object.Ref.Kind, "metadata": meta}
}

// addOperation gives the target's kustomization an operation of a JSON patch.
func (c *aim) addOperation() (map[string]Edit, error) {
	op, err := c.operation()
	if err != nil {
		return nil, err
	}
	target := map[string]any{"kind": c.object.Ref.Kind, "name": c.sourceName()}
	group, version, cut := strings.Cut(c.object.APIVersion, "/")
	if !cut {
		group, version = "", group
	}
	target["version"] = version
	if group != "" {
		target["group"] = group
	}
	name := c.fileName("-json")
	if real, f, err := c.state.open(name); err == nil {
		if ops, is := f.Documents()[0].([]any); is {
			data, err := f.Update(0, append(slices.Clone(ops), op))
			if err != nil {
				return nil, err
			}
			return map[string]Edit{real: {Content: data}}, c.own(real)
		}
	}
	return c.addPatch(name, []any{op}, target)
}

// operation is the change as an operation on what is rendered now.
func (c *aim) operation() (any, error) {
	ch := c.unit.change
	steps, whole := field.Concrete(c.object.Content, ch.Path)
	if ch.Op == cluster.Remove {
		return map[string]any{"op": "remove", "path": pointer(steps)}, nil
	}
	if whole {
		return map[string]any{"op": "replace", "path": pointer(steps), "value": ch.Value}, nil
	}
	wanted, err := ch.Apply(c.object.Content)
	if err != nil {
		return nil, err
	}
	// What is missing is added as a whole: the first step that leads to nothing.
	value, _ := field.Get(wanted, ch.Path[:len(steps)+1])
	if missing := ch.Path[len(steps)]; missing.IsKey() {
		return map[string]any{"op": "add", "path": pointer(append(steps, missing.Key)), "value": value}, nil
	}
	return map[string]any{"op": "add", "path": pointer(append(steps, "-")), "value": value}, nil
}

// fileName is where a patch of the object goes.
func (c *aim) fileName(suffix string) string {
	clean := func(s string) string {
		return strings.Map(func(r rune) rune {
			if r == '-' || r == '.' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' {
				return r
			}
			return '-'
		}, strings.ToLower(s))
	}
	return path.Join(c.target, "drift-"+clean(c.object.Ref.Kind)+"-"+clean(c.object.Ref.Name)+suffix+".yaml")
}

// addPatch writes a patch, and an entry for it in the target's kustomization.
func (c *aim) addPatch(name string, body, target any) (map[string]Edit, error) {
	levels := c.levels()
	if len(levels) == 0 || levels[0].dir != c.target {
		return nil, fmt.Errorf("the kustomization in %s %w", c.target, splice.ErrSplice)
	}
	own := levels[0]
	if err := c.own(own.path); err != nil {
		return nil, err
	}
	stem := strings.TrimSuffix(name, ".yaml")
	for n := 2; c.state.exists(name); n++ {
		name = fmt.Sprintf("%s-%d.yaml", stem, n)
	}
	entry := map[string]any{"path": path.Base(name)}
	if target != nil {
		entry["target"] = target
	}
	list, _ := own.value["patches"].([]any)
	value, err := field.With(own.value, at("patches"), append(slices.Clone(list), entry))
	if err != nil {
		return nil, err
	}
	edits, err := own.edit(value)
	if err != nil {
		return nil, err
	}
	edits[name] = Edit{Content: splice.Encode(body)}
	return edits, nil
}
