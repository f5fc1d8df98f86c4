//lint:file-ignore SA1019 repositories still use the deprecated fields of kustomizations

package manifest

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/types"

	"lockkeeper/cluster/manifest/closure"
	"lockkeeper/cluster/manifest/document"
)

// vetter reads a kustomization and all it builds on, before Kustomize does,
// and refuses by name what would run code or leave the tree (threats 3 and 5).
// The child's containment would stop it too, but could not explain it.
type vetter struct {
	src        closure.Source
	top        string // name of the first kustomization file
	seen       map[string]bool
	problems   []Problem
	secrets    secrets
	customised bool // an OpenAPI schema replaces Kustomize's process-wide one
}

func newVetter(src closure.Source) *vetter {
	return &vetter{src: src, seen: map[string]bool{}, secrets: secrets{}}
}

// config is one kustomization file being vetted.
type config struct {
	*vetter
	dir, file string
	node      *yaml.Node
}

// kustomization vets the kustomization in dir. An error means that a question
// could not be answered.
func (v *vetter) kustomization(dir string) error {
	real, err := v.src.Ask(closure.Real, dir)
	if err != nil {
		return err
	}
	dir = real.Real
	if v.seen[dir] {
		return nil
	}
	v.seen[dir] = true
	list, err := v.src.Ask(closure.List, dir)
	if err != nil {
		return err
	}
	name := KustomizationFile(list.Entries)
	if name == "" {
		return nil // Kustomize says that there is none
	}
	if v.top == "" {
		v.top = name
	}
	c := config{vetter: v, dir: dir, file: path.Join(dir, name)}
	a, err := v.src.Ask(closure.Read, c.file)
	if err != nil {
		return err
	}
	k := c.parse(a.Data)
	if k == nil {
		return nil
	}
	return c.vet(k)
}

func (c *config) parse(data []byte) *types.Kustomization {
	if p := document.Bomb(c.file, data); p != nil {
		c.problems = append(c.problems, *p)
		return nil
	}
	nodes, problem := document.Parse(c.file, data)
	if problem != nil {
		c.problems = append(c.problems, *problem)
		return nil
	}
	if len(nodes) > 0 {
		c.node = nodes[0]
	}
	k := &types.Kustomization{}
	if err := document.Safely(func() error { return k.Unmarshal(data) }); err != nil {
		p := document.SyntaxProblem(c.file, err)
		p.Message = strings.TrimPrefix(err.Error(), "invalid Kustomization: ")
		if m := unknownField.FindStringSubmatch(err.Error()); m != nil {
			p.Line = place{node: c.node}.at(m[1])
			p.Message = fmt.Sprintf("Kustomize knows no field %q", m[1])
		}
		p.Message = c.secrets.scrub(p.Message)
		c.problems = append(c.problems, p)
		return nil
	}
	return k
}

var unknownField = regexp.MustCompile(`unknown field "([^"]*)"`)

func (c *config) refuse(field, format string, args ...any) {
	line := place{node: c.node}.at(field)
	c.problems = append(c.problems, Problem{Path: c.file, Line: line, Message: fmt.Sprintf(format, args...)})
}

// refuseValue is refuse with the line of a value in the field.
func (c *config) refuseValue(field, value, format string, args ...any) {
	line := place{node: c.node}.at(field)
	if n := scalarWith(c.node, value); n != nil {
		line = n.Line
	}
	c.problems = append(c.problems, Problem{Path: c.file, Line: line, Message: fmt.Sprintf(format, args...)})
}

// scalarWith finds a value, or a "key=value" with it.
func scalarWith(n *yaml.Node, value string) *yaml.Node {
	if n == nil || n.Kind == yaml.AliasNode {
		return nil
	}
	if n.Kind == yaml.ScalarNode && (n.Value == value || strings.HasSuffix(n.Value, "="+value)) {
		return n
	}
	for _, child := range n.Content {
		if found := scalarWith(child, value); found != nil {
			return found
		}
	}
	return nil
}

func (c *config) vet(k *types.Kustomization) error {
	const helm = "Helm charts are not supported yet, and Kustomize would run helm for them; render the chart with `helm template` and commit the result"
	if len(k.HelmCharts) > 0 {
		c.refuse("helmCharts", "helmCharts is refused: %s", helm)
	}
	if len(k.HelmChartInflationGenerator) > 0 {
		c.refuse("helmChartInflationGenerator", "helmChartInflationGenerator is refused: %s", helm)
	}
	if k.HelmGlobals != nil {
		c.refuse("helmGlobals", "helmGlobals is refused: %s", helm)
	}
	if len(k.OpenAPI) > 0 {
		c.customised = true
		c.local("openapi", k.OpenAPI["path"])
	}
	c.vetFiles(k)
	c.vetGenerators(k)
	for field, refs := range map[string][]string{
		"resources": k.Resources, "bases": k.Bases, "components": k.Components,
	} {
		for _, ref := range refs {
			if err := c.resource(field, ref); err != nil {
				return err
			}
		}
	}
	for field, refs := range map[string][]string{
		"generators": k.Generators, "transformers": k.Transformers, "validators": k.Validators,
	} {
		for _, ref := range refs {
			if err := c.plugin(field, ref); err != nil {
				return err
			}
		}
	}
	return nil
}

// vetFiles vets the fields that name files.
func (c *config) vetFiles(k *types.Kustomization) {
	for _, f := range k.Crds {
		c.local("crds", f)
	}
	for _, f := range k.Configurations {
		c.local("configurations", f)
	}
	for _, p := range k.Patches {
		c.local("patches", p.Path)
	}
	for _, p := range k.PatchesJson6902 {
		c.local("patchesJson6902", p.Path)
	}
	for _, p := range k.PatchesStrategicMerge {
		if !strings.Contains(string(p), "\n") {
			c.local("patchesStrategicMerge", string(p))
		}
	}
	for _, r := range k.Replacements {
		c.local("replacements", r.Path)
	}
}

func (c *config) vetGenerators(k *types.Kustomization) {
	for _, g := range k.ConfigMapGenerator {
		c.sources("configMapGenerator", g.KvPairSources, false)
	}
	for _, g := range k.SecretGenerator {
		c.sources("secretGenerator", g.KvPairSources, true)
	}
}

func (c *config) sources(field string, s types.KvPairSources, secret bool) {
	files := append(append([]string{}, s.EnvSources...), s.EnvSource)
	for _, f := range s.FileSources {
		if _, after, cut := strings.Cut(f, "="); cut {
			f = after
		}
		files = append(files, f)
	}
	for _, f := range files {
		if f != "" && c.local(field, f) {
			c.content(field, f, secret)
		}
	}
	for _, l := range s.LiteralSources {
		if secret {
			c.secrets.add(l)
			_, v, _ := strings.Cut(l, "=")
			c.secrets.add(v)
		}
	}
}

// content looks into a file that a generator reads: what is encrypted would be
// applied as it stands, and what is secret must not show up in errors.
func (c *config) content(field, f string, secret bool) {
	a, err := c.src.Ask(closure.Read, path.Join(c.dir, f))
	if err != nil || a.Kind != closure.File {
		return // Kustomize meets it again, and says so
	}
	if bytes.Contains(a.Data, []byte("ENC[AES256_GCM,")) && bytes.Contains(a.Data, []byte("sops")) {
		c.refuseValue(field, f, "%s: %s is encrypted with SOPS, which is not supported yet", field, f)
	}
	if !secret || len(a.Data) > 1<<20 {
		return
	}
	for line := range strings.SplitSeq(string(a.Data), "\n") {
		c.secrets.add(line)
		if _, v, cut := strings.Cut(line, "="); cut {
			c.secrets.add(v)
		}
	}
}

// local refuses a file that is remote or outside the tree. It reports whether
// the file may be read.
func (c *config) local(field, ref string) bool {
	if ref == "" {
		return false
	}
	if IsRemote(ref) {
		c.refuseValue(field, ref, "%s: %s is remote; only files of this repository are used, so copy it in", field, printable(ref))
		return false
	}
	if path.IsAbs(ref) || !fs.ValidPath(path.Join(c.dir, ref)) {
		c.refuseValue(field, ref, "%s: %s points outside the tree; only files of this repository are used", field, printable(ref))
		return false
	}
	return true
}

// printable keeps credentials in URLs out of errors.
func printable(ref string) string {
	return userInfo.ReplaceAllString(ref, "$1***@")
}

var userInfo = regexp.MustCompile(`(://)[^/@\s]*@`)

// IsRemote reports whether Kustomize might fetch ref instead of reading it. It
// errs on the side of refusing: it is wider than Kustomize's own parser.
func IsRemote(ref string) bool {
	lower := strings.ToLower(strings.TrimSpace(ref))
	switch {
	case strings.Contains(lower, "://"), strings.HasPrefix(lower, "git::"),
		strings.HasPrefix(lower, "http:"), strings.HasPrefix(lower, "https:"),
		strings.HasPrefix(lower, "github.com/"), strings.HasPrefix(lower, "github.com:"),
		strings.HasPrefix(lower, "gh:"), strings.HasPrefix(lower, "oci:"):
		return true
	case strings.Contains(lower, "?ref=") || strings.Contains(lower, "?version="):
		return true
	}
	return scpLike.MatchString(lower)
}

// scpLike is user@host:path and user@host/path.
var scpLike = regexp.MustCompile(`^[a-z][a-z0-9._-]*@[^/:]+[:/]`)

// resource vets one entry of resources, bases or components.
func (c *config) resource(field, ref string) error {
	if strings.Contains(ref, "\n") || !c.local(field, ref) {
		return nil
	}
	p := path.Join(c.dir, ref)
	at, err := c.src.Ask(closure.Stat, p)
	if err != nil {
		return err
	}
	switch at.Kind {
	case closure.Folder:
		return c.kustomization(p)
	case closure.Missing:
		c.refuseValue(field, ref, "%s: there is no %s", field, p)
	case closure.File:
		return c.manifest(p)
	}
	return nil
}

// manifest reads a resource file for the values of its Secrets, and reports
// what is wrong with its YAML by line, which Kustomize does not.
func (c *config) manifest(p string) error {
	if c.seen[p] {
		return nil
	}
	c.seen[p] = true
	a, err := c.src.Ask(closure.Read, p)
	if err != nil {
		return err
	}
	docs, problems := decodeAnswer(p, a)
	c.problems = append(c.problems, problems...)
	for _, d := range docs {
		m, _ := d.Value.(map[string]any)
		if m["kind"] != "Secret" {
			continue
		}
		for _, field := range []string{"data", "stringData"} {
			values, _ := m[field].(map[string]any)
			for _, v := range values {
				if s, ok := v.(string); ok {
					c.secrets.add(s)
				}
			}
		}
	}
	return nil
}

// plugin vets one entry of generators, transformers or validators: a file, a
// directory, or the configuration itself.
func (c *config) plugin(field, ref string) error {
	if strings.Contains(ref, "\n") || strings.HasPrefix(strings.TrimSpace(ref), "{") {
		docs, _ := document.Decode(c.file, []byte(ref))
		c.vetPlugins(field, ref, docs)
		return nil
	}
	if !c.local(field, ref) {
		return nil
	}
	p := path.Join(c.dir, ref)
	at, err := c.src.Ask(closure.Stat, p)
	if err != nil {
		return err
	}
	if at.Kind == closure.Folder {
		return c.kustomization(p)
	}
	a, err := c.src.Ask(closure.Read, p)
	if err != nil {
		return err
	}
	docs, problems := decodeAnswer(p, a)
	c.problems = append(c.problems, problems...)
	c.vetPlugins(field, ref, docs)
	return nil
}

// vetPlugins lets only Kustomize's own plugins through, and those only with
// files of the tree.
func (c *config) vetPlugins(field, ref string, docs []document.Document) {
	for _, d := range docs {
		m, _ := d.Value.(map[string]any)
		kind, _ := m["kind"].(string)
		meta, _ := m["metadata"].(map[string]any)
		notes, _ := meta["annotations"].(map[string]any)
		_, function := notes["config.kubernetes.io/function"]
		_, older := notes["config.k8s.io/function"]
		switch {
		case function || older:
			c.refuseValue(field, ref, "%s: %s is a function plugin, which runs a container or a program; plugins are refused", field, kind)
		case kind == "HelmChartInflationGenerator":
			c.refuseValue(field, ref, "%s: HelmChartInflationGenerator is refused: Helm charts are not supported yet, and Kustomize would run helm for them", field)
		case m["apiVersion"] != "builtin":
			c.refuseValue(field, ref, "%s: %s (apiVersion %v) is an exec plugin, which runs a program; only Kustomize's builtin plugins are allowed", field, kind, m["apiVersion"])
		default:
			c.pluginFiles(field, d.Value)
		}
	}
}

// fileFields are the fields of builtin plugins that name files.
var fileFields = map[string]bool{
	"path": true, "paths": true, "files": true, "env": true, "envs": true, "resources": true,
}

func (c *config) pluginFiles(field string, v any) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			c.pluginFiles(field, e)
		}
	case map[string]any:
		for k, e := range v {
			list, isList := e.([]any)
			if !isList {
				list = []any{e}
			}
			for _, x := range list {
				if s, ok := x.(string); ok && fileFields[k] {
					c.pluginFile(field, s)
				}
			}
			c.pluginFiles(field, e)
		}
	}
}

// pluginFile refuses remote files. "path" is also the name of field paths such
// as spec/replicas, so anything else is left to Kustomize and its file system.
func (c *config) pluginFile(field, s string) {
	if _, after, cut := strings.Cut(s, "="); cut && IsRemote(after) {
		s = after
	}
	if IsRemote(s) {
		c.local(field, s)
	}
}
