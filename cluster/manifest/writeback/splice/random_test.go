package splice

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"lockkeeper/cluster/manifest/document"
	"lockkeeper/cluster/manifest/writeback/field"
)

// dice makes random values.
type dice struct{ *rand.Rand }

func (d dice) text() string {
	return []string{"web", "a b", "yes", "1", "1.5", "x: y", "it's", `say "x"`, "# no", "two\nlines\n", "three\n\nlines", "", " lead", "trail ", "ü✓", "{a}", "a, b", "- x",
		"0x1f", "2020-01-01", "tab\there", "80:80", "*x", "&x", "%d", "@at", "`q`", "null", "a\nb\n\n", "  in\n out\n", "|", ">", "!t", "x#y", "x #y", "?", ":", "-", "http://a/b:c"}[d.IntN(39)]
}

func (d dice) scalar() any {
	switch d.IntN(6) {
	case 0:
		return int64(d.IntN(1000))
	case 1:
		return d.IntN(2) == 0
	case 2:
		return nil
	case 3:
		return float64(d.IntN(100)) + 0.5
	}
	return d.text()
}

func (d dice) value(depth int) any {
	switch n := d.IntN(10); {
	case depth > 4 || n < 4:
		return d.scalar()
	case n < 7:
		m := map[string]any{}
		for range d.IntN(5) {
			m[fmt.Sprintf("k%d", d.IntN(8))] = d.value(depth + 1)
		}
		return m
	case n < 9:
		list := []any{}
		for i := range d.IntN(4) {
			list = append(list, map[string]any{"name": fmt.Sprintf("n%d", i), "v": d.value(depth + 1)})
		}
		return list
	}
	list := []any{}
	for range d.IntN(4) {
		list = append(list, d.value(depth+1))
	}
	return list
}

// mutated is a value with about one change.
func (d dice) mutated(v any, depth int) any {
	switch x := v.(type) {
	case map[string]any:
		out := field.Clone(x).(map[string]any)
		for k := range out {
			if d.IntN(2) == 0 {
				out[k] = d.mutated(out[k], depth+1)
				return out
			}
			if d.IntN(4) == 0 {
				delete(out, k)
				return out
			}
		}
		out[fmt.Sprintf("k%d", d.IntN(12))] = d.value(depth + 1)
		return out
	case []any:
		out := field.Clone(x).([]any)
		if len(out) == 0 || d.IntN(4) == 0 {
			at := d.IntN(len(out) + 1)
			return append(out[:at:at], append([]any{d.value(depth + 1)}, out[at:]...)...)
		}
		at := d.IntN(len(out))
		if d.IntN(3) == 0 {
			return append(out[:at:at], out[at+1:]...)
		}
		out[at] = d.mutated(out[at], depth+1)
		return out
	}
	if d.IntN(5) == 0 {
		return d.value(depth)
	}
	return d.scalar()
}

// write is a value in one of several hands, with comments where those are safe.
func (d dice) write(v any) (name, text string) {
	var b bytes.Buffer
	switch d.IntN(6) {
	case 0:
		j, _ := json.Marshal(v)
		return "f.json", string(j)
	case 1:
		j, _ := json.MarshalIndent(v, "", "\t")
		return "f.json", string(j) + "\n"
	case 2:
		j, _ := json.MarshalIndent(v, "", "  ")
		return "f.yaml", string(j) + "\n"
	case 3:
		b.Write(Encode(v))
	case 4:
		e := yaml.NewEncoder(&b)
		e.SetIndent(2 + d.IntN(4))
		_ = e.Encode(v)
	case 5:
		b.WriteString((&style{step: 3, dented: true, eol: "\n"}).block(v, -3)[1:] + "\n")
	}
	text = b.String()
	if d.IntN(2) == 0 && !strings.ContainsAny(text, "|>\"'") {
		var lines []string
		for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
			lines = append(lines, fmt.Sprintf("%s # c%d", line, i))
		}
		text = strings.Join(lines, "\n") + "\n"
	}
	switch d.IntN(4) {
	case 0:
		text = strings.ReplaceAll(text, "\n", "\r\n")
	case 1:
		text = strings.TrimRight(text, "\n")
	case 2:
		text = "# head\n---\nfirst: 1 # one\n---\n" + text + "---\nlast: [1]\n"
	}
	return "f.yaml", text
}

// TestRandomValuesAreWrittenInAllHands changes random documents at random:
// whatever the change, it can be made, and what is not changed stays.
func TestRandomValuesAreWrittenInAllHands(t *testing.T) {
	for seed := range uint64(1500) {
		d := dice{rand.New(rand.NewPCG(seed, 7))}
		v := map[string]any{"k0": d.value(0), "k1": d.value(0), "keep": "me"}
		name, text := d.write(v)
		if _, problem := document.Parse(name, []byte(text)); problem != nil {
			continue // the encoder writes some texts so that nobody can read them
		}
		f, err := Parse(name, []byte(text))
		if err != nil {
			t.Fatalf("seed %d: %v\n%q", seed, err, text)
		}
		doc := 0
		if len(f.Documents()) > 1 {
			doc = 1
		}
		if !field.Same(f.Documents()[doc], v) {
			continue // no final line break: a block scalar lost its own
		}
		want := d.mutated(v, 0).(map[string]any)
		out, err := f.Update(doc, want)
		if err != nil {
			t.Errorf("seed %d: %v\n%q\n%v\n%v", seed, err, text, v, want)
			continue
		}
		if field.Same(v, want) && string(out) != text {
			t.Errorf("seed %d: changed for nothing\n%s\n%s", seed, text, out)
		}
		if back, err := Parse(name, out); err != nil || !field.Same(back.Documents()[doc], want) {
			t.Errorf("seed %d: %v\n%s", seed, err, out)
		} else if again, err := back.Update(doc, want); err != nil || !bytes.Equal(again, out) {
			t.Errorf("seed %d: not idempotent", seed)
		}
	}
}
