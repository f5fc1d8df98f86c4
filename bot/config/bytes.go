package config

import (
	"fmt"
	"math"
	"regexp"
	"strconv"

	"github.com/invopop/jsonschema"
	"go.yaml.in/yaml/v3"
)

// Bytes is an amount of data, written as "500MiB" or "10GiB".
type Bytes int64

var bytesText = regexp.MustCompile(`^([0-9]+)(KiB|MiB|GiB|TiB)$`)

// units are the sizes of the units in bytes, largest first.
var units = []struct {
	name string
	size int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// UnmarshalYAML reads a number with its unit.
func (b *Bytes) UnmarshalYAML(n *yaml.Node) error {
	bad := &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: got %q, want an amount of data such as 500MiB or 10GiB", n.Line, n.Value)}}
	m := bytesText.FindStringSubmatch(n.Value)
	if m == nil {
		return bad
	}
	count, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return bad
	}
	for _, u := range units {
		if u.name == m[2] {
			if count > math.MaxInt64/u.size {
				return bad
			}
			*b = Bytes(count * u.size)
		}
	}
	return nil
}

// String is the amount with the largest unit that gives a whole number.
func (b Bytes) String() string {
	for _, u := range units {
		if b > 0 && int64(b)%u.size == 0 {
			return fmt.Sprintf("%d%s", int64(b)/u.size, u.name)
		}
	}
	return fmt.Sprintf("%d bytes", int64(b))
}

// MarshalYAML writes the amount as a string.
func (b Bytes) MarshalYAML() (any, error) { return b.String(), nil }

// JSONSchema describes the string form.
func (Bytes) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Pattern: bytesText.String()}
}
