package splice

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"lockkeeper/cluster/manifest/document"
)

// parseJSON reads JSON values with their places.
func parseJSON(data []byte) ([]*node, error) {
	p := jsonParser{data: data, dec: json.NewDecoder(bytes.NewReader(data)), line: 1}
	p.dec.UseNumber()
	var roots []*node
	for {
		n, err := p.node(0)
		if errors.Is(err, io.EOF) {
			return roots, nil
		}
		if err != nil {
			return nil, err
		}
		roots = append(roots, n)
	}
}

type jsonParser struct {
	data    []byte
	dec     *json.Decoder
	line    int // of the offset up to which lines are counted
	counted int
}

func (p *jsonParser) node(depth int) (*node, error) {
	if depth > document.MaxDepth {
		return nil, errors.New("nested too deeply")
	}
	from := int(p.dec.InputOffset())
	tok, err := p.dec.Token()
	if err != nil {
		return nil, err
	}
	end := int(p.dec.InputOffset())
	start := from + len(p.data[from:end]) - len(bytes.TrimLeft(p.data[from:end], " \t\r\n,:"))
	p.line += bytes.Count(p.data[p.counted:start], []byte{'\n'})
	p.counted = start
	n := &node{start: start, body: start, end: end, flow: true, inFlow: true, indent: -1}
	n.yaml = &yaml.Node{Kind: yaml.ScalarNode, Line: p.line}
	switch v := tok.(type) {
	case json.Delim:
		return n, p.children(n, v, depth)
	case string:
		n.yaml.Tag, n.yaml.Value, n.yaml.Style = "!!str", v, yaml.DoubleQuotedStyle
	case json.Number:
		n.yaml.Tag, n.yaml.Value = "!!int", v.String()
		if strings.ContainsAny(n.yaml.Value, ".eE") {
			n.yaml.Tag = "!!float"
		}
	case bool:
		n.yaml.Tag, n.yaml.Value = "!!bool", strconv.FormatBool(v)
	case nil:
		n.yaml.Tag, n.yaml.Value = "!!null", "null"
	}
	return n, nil
}

func (p *jsonParser) children(n *node, open json.Delim, depth int) error {
	n.kind, n.yaml.Kind, n.yaml.Tag = mapping, yaml.MappingNode, "!!map"
	if open == '[' {
		n.kind, n.yaml.Kind, n.yaml.Tag = sequence, yaml.SequenceNode, "!!seq"
	}
	for p.dec.More() {
		c, err := p.node(depth + 1)
		if err != nil {
			return err
		}
		n.yaml.Content = append(n.yaml.Content, c.yaml)
		if n.kind == sequence {
			n.items = append(n.items, item{value: c})
			continue
		}
		v, err := p.node(depth + 1)
		if err != nil {
			return err
		}
		v.after = c.end + bytes.IndexByte(p.data[c.end:], ':') + 1
		n.yaml.Content = append(n.yaml.Content, v.yaml)
		n.pairs = append(n.pairs, pair{key: c, value: v})
	}
	_, err := p.dec.Token()
	n.end = int(p.dec.InputOffset())
	return err
}
