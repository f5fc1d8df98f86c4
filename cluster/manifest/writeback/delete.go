package writeback

import (
	"bytes"
	"fmt"
	"maps"
	"path"
	"slices"
)

// deletions are the candidates for an object that shall not be rendered.
func (c *aim) deletions() []candidate {
	var out []candidate
	if c.found {
		out = append(out, c.takeOut)
	}
	if len(c.survey.reach) > 0 {
		return append(out, c.patchAway)
	}
	return append(out, c.blank)
}

// takeOut removes the object's document, the file if nothing else is in it,
// and what kustomizations say of either.
func (c *aim) takeOut() (map[string]Edit, error) {
	edits, gone, err := c.withoutDocument()
	if err != nil {
		return nil, err
	}
	return c.repeat(edits, func(now *aim) (map[string]Edit, error) { return now.forget(gone) })
}

// repeat makes more edits on top of edits until there are no more.
func (c *aim) repeat(edits map[string]Edit, more func(now *aim) (map[string]Edit, error)) (map[string]Edit, error) {
	for range maxForgotten {
		now := *c
		now.state = c.state.with(edits)
		next, err := more(&now)
		if err != nil {
			return nil, err
		}
		if len(next) == 0 {
			return edits, nil
		}
		maps.Copy(edits, next)
	}
	return nil, fmt.Errorf("kustomizations say more than %d things of it", maxForgotten)
}

// maxForgotten bounds what is taken out of kustomizations with one object.
const maxForgotten = 100

// withoutDocument removes the document, and says which file went with it.
func (c *aim) withoutDocument() (edits map[string]Edit, gone string, err error) {
	src := c.source
	if err := c.own(src.path); err != nil {
		return nil, "", err
	}
	others := 0
	for _, v := range src.file.Documents() {
		if v != nil {
			others++
		}
	}
	if src.item >= 0 {
		doc, _ := src.with(nil).(map[string]any)
		if items, _ := doc["items"].([]any); len(items) > 0 {
			data, err := src.file.Update(src.doc, doc)
			return map[string]Edit{src.path: {Content: data}}, "", err
		}
	}
	if others == 1 {
		return map[string]Edit{src.path: {Delete: true}}, src.path, nil
	}
	data, err := src.file.Drop(src.doc)
	return map[string]Edit{src.path: {Content: data}}, "", err
}

// forget removes one thing that a kustomization says of a file that is gone, or
// of the object. No edit means that nothing is left to forget.
func (c *aim) forget(gone string) (map[string]Edit, error) {
	for _, l := range c.levels() {
		for _, list := range []string{"resources", "bases"} {
			entries, _ := l.value[list].([]any)
			for i, e := range entries {
				ref, _ := e.(string)
				if real, err := c.state.tree.real("read", path.Join(l.dir, ref)); gone != "" && err == nil && real == gone {
					return c.unlist(l, list, i)
				}
			}
		}
	}
	if edits, err := c.forgetReplicas(); err != nil || len(edits) > 0 {
		return edits, err
	}
	return c.forgetPatch()
}

// forgetReplicas removes one entry of the object's in the replicas of a
// kustomization, which would miss it.
func (c *aim) forgetReplicas() (map[string]Edit, error) {
	for _, l := range c.levels() {
		entries, _ := l.value["replicas"].([]any)
		for i, e := range entries {
			if slices.Contains(c.names(), text(e, "name")) {
				return c.unlist(l, "replicas", i)
			}
		}
	}
	return nil, nil
}

// forgetPatch removes one patch of the object, which would miss it.
func (c *aim) forgetPatch() (map[string]Edit, error) {
	for _, p := range c.patches() {
		if p.target || !p.strategic() {
			continue
		}
		if len(p.body.Documents()) > 1 {
			data, err := p.body.Drop(p.doc)
			if err != nil || p.text != nil {
				return nil, fmt.Errorf("its patch in %s stands with others", p.path)
			}
			return map[string]Edit{p.name: {Content: data}}, c.own(p.name)
		}
		list, _ := p.entry[0].(string)
		i, _ := p.entry[1].(int)
		edits, err := c.unlist(p.level, list, i)
		if err == nil && p.text == nil && c.own(p.name) == nil {
			edits[p.name] = Edit{Delete: true}
		}
		return edits, err
	}
	return nil, nil
}

// unlist takes an entry out of a list of a kustomization.
func (c *aim) unlist(l level, list string, i int) (map[string]Edit, error) {
	if err := c.own(l.path); err != nil {
		return nil, err
	}
	entries, _ := l.value[list].([]any)
	rest := slices.Delete(slices.Clone(entries), i, i+1)
	value := maps.Clone(l.value)
	if value[list] = rest; len(rest) == 0 {
		delete(value, list)
	}
	return l.edit(value)
}

// patchAway deletes the object by a patch in the target's own kustomization.
func (c *aim) patchAway() (map[string]Edit, error) {
	body := c.head(c.sourceName())
	body["$patch"] = "delete"
	edits, err := c.addPatch(c.fileName("-deleted"), body, nil)
	if err != nil {
		return nil, err
	}
	return c.repeat(edits, (*aim).forgetReplicas)
}

// blank empties the last file of a plain directory, which would be no
// directory without it. Its comments stay.
func (c *aim) blank() (map[string]Edit, error) {
	edits, gone, err := c.withoutDocument()
	if err != nil || gone == "" {
		return edits, err
	}
	if path.Ext(gone) == ".json" {
		return map[string]Edit{gone: {}}, nil
	}
	data, err := c.source.file.Drop(c.source.doc)
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(data)) == 0 {
		data = nil
	}
	return map[string]Edit{gone: {Content: data}}, nil
}
