// Package config reads lockkeeper's two files: `.lockkeeper.yaml` in a
// repository, which asks, and the operator's server file, which allows. The
// running bot, `lockkeeper check` and the offline commands share its parsers.
//
// Parsing is strict, and returns every problem with file and line rather than
// the first one.
package config

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/invopop/jsonschema"
	"go.yaml.in/yaml/v3"
)

// RepoFile is the name of the repository's file, at its root.
const RepoFile = ".lockkeeper.yaml"

// File is `.lockkeeper.yaml`.
type File struct {
	// Targets are the directories that are rendered and applied.
	Targets []Target `yaml:"targets" json:"targets" jsonschema:"minItems=1"`
	// Policy is read from the base branch only.
	Policy `yaml:",inline"`

	lines []int // of the targets
}

// Target is one entry of File.Targets.
type Target struct {
	// Path is a directory, or a glob (`*` within a segment, `**` across) of
	// directories that each become a target.
	Path string `yaml:"path" json:"path" jsonschema:"minLength=1"`
	// Name is what people type; default: the path. Not allowed with a glob.
	Name string `yaml:"name,omitempty" json:"name,omitempty"`
	// Cluster is a name from the operator's file.
	Cluster string `yaml:"cluster" json:"cluster" jsonschema:"minLength=1"`
	// Environment selects the policy.
	Environment string `yaml:"environment" json:"environment" jsonschema:"minLength=1"`
	// Namespace is given to objects that name none.
	Namespace string `yaml:"namespace,omitempty" json:"namespace,omitempty"`
	// Timeout is how long apply waits for health; default 5m, at most 1h.
	Timeout Duration `yaml:"timeout,omitempty" json:"timeout,omitempty"`
}

// Duration is a time.Duration written as "90s", "5m" or "1h".
type Duration time.Duration

// UnmarshalYAML reads a duration string.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	v, err := time.ParseDuration(n.Value)
	if err != nil || v < 0 {
		return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: got %q, want a duration such as 90s, 5m or 1h", n.Line, n.Value)}}
	}
	*d = Duration(v)
	return nil
}

// MarshalYAML writes the duration as a string.
func (d Duration) MarshalYAML() (any, error) { return time.Duration(d).String(), nil }

// JSONSchema describes the string form.
func (Duration) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Pattern: `^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`}
}

// ParseFile reads `.lockkeeper.yaml`. The error is of type Problems and lists
// all of them; the file is usable only if it is nil.
func ParseFile(name string, data []byte) (*File, error) {
	var f File
	doc := decode(name, data, &f)
	if doc.decoded {
		f.validate(doc)
	}
	for i := range f.Targets {
		f.lines = append(f.lines, doc.line([]any{"targets", i}))
	}
	return &f, doc.outcome()
}

func (f *File) validate(d *document) {
	if len(f.Targets) == 0 {
		d.add("targets: none given; list at least one directory to apply (`lockkeeper init` writes the file)", "targets")
	}
	names := map[string]int{}
	for i, t := range f.Targets {
		t.validate(d, i)
		name := t.Name
		if name == "" {
			name = t.Path
		}
		if first, ok := names[name]; ok {
			d.add(fmt.Sprintf("targets[%d]: the name %q is taken by targets[%d]; names are unique", i, name, first), "targets", i)
		}
		names[name] = i
	}
	f.Policy.validate(d.at())
}

func (t Target) validate(d *document, i int) {
	at := func(field, msg string) { d.add(fmt.Sprintf("targets[%d].%s: %s", i, field, msg), "targets", i, field) }
	if problem := checkPath(t.Path); problem != "" {
		at("path", problem)
	}
	if t.Name != "" && IsGlob(t.Path) {
		at("name", "not possible with a glob, where each directory is named by its path; remove it")
	}
	if t.Name != "" && !validName(t.Name) {
		at("name", fmt.Sprintf("got %q, want letters, digits, '.', '_', '-' and '/'", t.Name))
	}
	switch {
	case t.Cluster == "":
		at("cluster", "missing; name a cluster of the operator's file")
	case !validName(t.Cluster):
		at("cluster", fmt.Sprintf("got %q, want letters, digits, '.', '_', '-' and '/'", t.Cluster))
	}
	switch {
	case t.Environment == "":
		at("environment", "missing; for example staging or production")
	case !validName(t.Environment):
		at("environment", fmt.Sprintf("got %q, want letters, digits, '.', '_', '-' and '/'", t.Environment))
	}
	if t.Namespace != "" && !dnsLabel.MatchString(t.Namespace) {
		at("namespace", fmt.Sprintf("got %q, want the name of a namespace: at most 63 of a-z, 0-9 and '-'", t.Namespace))
	}
	if time.Duration(t.Timeout) > maxTimeout {
		at("timeout", fmt.Sprintf("got %v, want at most %v: an apply holds its target meanwhile", time.Duration(t.Timeout), maxTimeout))
	}
}

// maxTimeout bounds how long a repository can keep an apply waiting.
const maxTimeout = time.Hour

var dnsLabel = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

var userName = regexp.MustCompile(`^[^\s@/#]+(#[1-9][0-9]*)?$`)

// validName allows what the chat commands' parser accepts as a target.
func validName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-/", r))
	})
}

// checkPath says what is wrong with a target path, or "".
func checkPath(p string) string {
	switch {
	case p == "":
		return "missing; give a directory of the repository"
	case strings.HasPrefix(p, "/") || slices.Contains(strings.Split(p, "/"), ".."):
		return fmt.Sprintf("got %q, want a path inside the repository, relative to its root", p)
	case path.Clean(p) != p:
		return fmt.Sprintf("got %q, want it in short form: %q", p, path.Clean(p))
	case IsGlob(p) && !doublestar.ValidatePattern(p):
		return fmt.Sprintf("%q is not a glob; `*` matches within a segment, `**` across segments", p)
	case !IsGlob(p) && p != "." && !validName(p):
		return fmt.Sprintf("got %q, want letters, digits, '.', '_', '-' and '/'", p)
	}
	return ""
}

// IsGlob reports whether a path has glob characters.
func IsGlob(p string) bool { return strings.ContainsAny(p, "*?[{") }
