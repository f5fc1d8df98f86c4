package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"lockkeeper/cluster/manifest/closure"
	"lockkeeper/cluster/manifest/document"
)

// renderKustomize builds a kustomization, once it holds nothing refused.
func renderKustomize(src closure.Source, dir string) (outcome, error) {
	v := newVetter(src)
	if err := v.kustomization(dir); err != nil {
		return outcome{}, err
	}
	if len(v.problems) > 0 {
		return outcome{Problems: sorted(v.problems)}, nil
	}
	spent := v.customised
	fsys := &kustomizeFS{src: src}
	resources, err := build(fsys, dir)
	switch {
	case fsys.err != nil:
		return outcome{}, fsys.err
	case err != nil && len(fsys.problems) > 0:
		return outcome{Problems: sorted(fsys.problems), Spent: spent}, nil
	case err != nil:
		return outcome{Problems: []Problem{{Path: path.Join(dir, v.top), Message: v.secrets.scrub(err.Error())}}, Spent: spent}, nil
	}
	c := newCollector()
	places := findPlaces(src, dir, v.top, resources)
	for i, r := range resources.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			c.fail(places[i], nil, "%s cannot be written as YAML", r.CurId())
			continue
		}
		docs, problems := document.Decode(places[i].path, text)
		for _, p := range problems {
			c.fail(places[i], nil, "%s %s: %s", r.GetKind(), r.GetName(), p.Message)
		}
		for _, d := range docs {
			c.add(d.Value, places[i])
		}
	}
	out := c.outcome()
	out.Spent = spent
	return out, nil
}

// build runs Kustomize with everything off that could leave the tree.
func build(fsys *kustomizeFS, dir string) (m resmap.ResMap, err error) {
	defer func() {
		if r := recover(); r != nil {
			m, err = nil, errors.New("this kustomization makes Kustomize panic; simplify it until it builds")
		}
	}()
	opts := krusty.MakeDefaultOptions()
	// Bases outside the overlay's own directory may read files beside them: the
	// tree is the border, and kustomizeFS keeps it.
	opts.LoadRestrictions = types.LoadRestrictionsNone
	return krusty.MakeKustomizer(opts).Run(fsys, toAbs(dir))
}

// findPlaces says where each resource came from. Kustomize tells when asked for
// origin annotations, but those can change what patches of annotations do. So
// they come from a second build, and only serve to name sources.
func findPlaces(src closure.Source, dir, top string, m resmap.ResMap) []place {
	fallback := path.Join(dir, top)
	places := make([]place, m.Size())
	for i := range places {
		places[i].path = fallback
	}
	data, err := src.Ask(closure.Read, fallback)
	if err != nil {
		return places
	}
	overridden, err := withOrigins(data.Data)
	if err != nil {
		return places
	}
	annotated, err := build(&kustomizeFS{src: src, override: map[string][]byte{fallback: overridden}}, dir)
	if err != nil || annotated.Size() != m.Size() {
		return places
	}
	f := finder{src: src, documents: map[string][]document.Document{}}
	for i, r := range annotated.Resources() {
		if r.CurId() == m.Resources()[i].CurId() {
			places[i] = f.place(dir, r, fallback)
		}
	}
	return places
}

// withOrigins adds originAnnotations to a kustomization's buildMetadata. All
// other fields keep their JSON byte for byte.
func withOrigins(kustomization []byte) ([]byte, error) {
	asJSON, err := yaml.YAMLToJSON(kustomization)
	if err != nil {
		return nil, err
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(asJSON, &fields); err != nil {
		return nil, err
	}
	var metadata []string
	if raw, set := fields["buildMetadata"]; set {
		if err := json.Unmarshal(raw, &metadata); err != nil {
			return nil, err
		}
	}
	if !slices.Contains(metadata, types.OriginAnnotations) {
		metadata = append(metadata, types.OriginAnnotations)
	}
	if fields["buildMetadata"], err = json.Marshal(metadata); err != nil {
		return nil, err
	}
	return json.Marshal(fields)
}

// finder finds the documents that resources were made from.
type finder struct {
	src       closure.Source
	documents map[string][]document.Document
}

func (f *finder) place(dir string, r *resource.Resource, fallback string) place {
	origin, err := r.GetOrigin()
	if err != nil || origin == nil {
		return place{path: fallback}
	}
	if origin.ConfiguredIn != "" {
		return place{path: inTree(dir, origin.ConfiguredIn, fallback)}
	}
	at := inTree(dir, origin.Path, fallback)
	docs, known := f.documents[at]
	if !known {
		if a, err := f.src.Ask(closure.Read, at); err == nil && a.Kind == closure.File {
			docs, _ = document.Decode(at, a.Data)
		}
		f.documents[at] = docs
	}
	return place{path: at, line: lineIn(docs, r.GetKind(), r.GetName())}
}

func inTree(dir, rel, fallback string) string {
	if p := path.Join(dir, rel); rel != "" && fs.ValidPath(p) {
		return p
	}
	return fallback
}

// lineIn is the line of the document that became the named resource: prefixes
// and suffixes may have been added to its name. 0 if more than one may be it.
func lineIn(docs []document.Document, kind, name string) int {
	best, length, tie := 0, 0, false
	for _, d := range docs {
		m, _ := d.Value.(map[string]any)
		meta, _ := m["metadata"].(map[string]any)
		was, _ := meta["name"].(string)
		if m["kind"] != kind || was == "" || !strings.Contains(name, was) || len(was) < length {
			continue
		}
		best, tie, length = d.Line, len(was) == length, len(was)
	}
	if tie {
		return 0
	}
	return best
}

// treeRoot is where the tree appears to Kustomize. It is not the root of the
// file system, so that a path with too many ".." is seen to leave the tree
// instead of being cut short.
const treeRoot = "/the-repository"

func toAbs(p string) string { return path.Join(treeRoot, p) }

// kustomizeFS is the tree as Kustomize's file system. It cannot be written.
type kustomizeFS struct {
	src      closure.Source
	override map[string][]byte // contents that stand in for files
	problems []Problem
	err      error // the first question that could not be answered
}

func (k *kustomizeFS) ask(op closure.Op, abs string) (closure.Answer, string, error) {
	p, err := fromAbs(abs)
	if err != nil {
		return closure.Answer{}, "", err
	}
	a, err := k.src.Ask(op, p)
	if err != nil && k.err == nil {
		k.err = err
	}
	return a, p, err
}

// fromAbs is a path in the tree, from one that Kustomize uses.
func fromAbs(abs string) (string, error) {
	clean := path.Clean(abs)
	if clean == treeRoot {
		return ".", nil
	}
	p, inside := strings.CutPrefix(clean, treeRoot+"/")
	if !inside {
		return "", fmt.Errorf("%s %w", strings.TrimPrefix(clean, "/"), closure.ErrOutside)
	}
	return p, nil
}

// ReadFile reads a file, and refuses one whose aliases are a bomb.
func (k *kustomizeFS) ReadFile(abs string) ([]byte, error) {
	a, p, err := k.ask(closure.Read, abs)
	if err != nil {
		return nil, err
	}
	if data, stands := k.override[p]; stands {
		return data, nil
	}
	switch a.Kind {
	case closure.File:
	case closure.Missing:
		return nil, &fs.PathError{Op: "read", Path: p, Err: fs.ErrNotExist}
	case closure.Large:
		k.problems = append(k.problems, Problem{Path: p, Message: document.TooLarge})
		return nil, errors.New(p + " " + document.TooLarge)
	default:
		return nil, &fs.PathError{Op: "read", Path: p, Err: errors.New("is not a file")}
	}
	if problem := document.Bomb(p, a.Data); problem != nil {
		k.problems = append(k.problems, *problem)
		return nil, errors.New(problem.String())
	}
	return a.Data, nil
}

// IsDir reports whether a path is a directory.
func (k *kustomizeFS) IsDir(abs string) bool {
	a, _, err := k.ask(closure.Stat, abs)
	return err == nil && a.Kind == closure.Folder
}

// Exists reports whether something is at a path.
func (k *kustomizeFS) Exists(abs string) bool {
	a, _, err := k.ask(closure.Stat, abs)
	return err == nil && a.Kind != closure.Missing
}

// ReadDir lists the names in a directory.
func (k *kustomizeFS) ReadDir(abs string) ([]string, error) {
	a, p, err := k.ask(closure.List, abs)
	if err != nil {
		return nil, err
	}
	if a.Kind != closure.Folder {
		return nil, &fs.PathError{Op: "readdir", Path: p, Err: fs.ErrNotExist}
	}
	names := make([]string, len(a.Entries))
	for i, e := range a.Entries {
		names[i] = e.Name
	}
	return names, nil
}

// CleanedAbs follows links, so that what a base refers to is relative to where
// the base really is.
func (k *kustomizeFS) CleanedAbs(abs string) (filesys.ConfirmedDir, string, error) {
	a, _, err := k.ask(closure.Real, abs)
	if err != nil {
		return "", "", err
	}
	at, p, err := k.ask(closure.Stat, toAbs(a.Real))
	switch {
	case err != nil:
		return "", "", err
	case at.Kind == closure.Folder:
		return filesys.ConfirmedDir(toAbs(p)), "", nil
	case at.Kind == closure.Missing:
		return "", "", &fs.PathError{Op: "open", Path: p, Err: fs.ErrNotExist}
	}
	return filesys.ConfirmedDir(toAbs(path.Dir(p))), path.Base(p), nil
}

// Glob finds names by pattern in one directory.
func (k *kustomizeFS) Glob(pattern string) ([]string, error) {
	names, err := k.ReadDir(path.Dir(pattern))
	if err != nil {
		return nil, nil
	}
	var found []string
	for _, n := range names {
		if ok, err := path.Match(path.Base(pattern), n); err != nil {
			return nil, err
		} else if ok {
			found = append(found, path.Join(path.Dir(pattern), n))
		}
	}
	return found, nil
}

var errReadOnly = errors.New("rendering cannot write files")

// Create is refused.
func (k *kustomizeFS) Create(string) (filesys.File, error) { return nil, errReadOnly }

// Mkdir is refused.
func (k *kustomizeFS) Mkdir(string) error { return errReadOnly }

// MkdirAll is refused.
func (k *kustomizeFS) MkdirAll(string) error { return errReadOnly }

// RemoveAll is refused.
func (k *kustomizeFS) RemoveAll(string) error { return errReadOnly }

// Open is refused: building reads whole files.
func (k *kustomizeFS) Open(string) (filesys.File, error) {
	return nil, errors.New("rendering reads whole files only")
}

// WriteFile is refused.
func (k *kustomizeFS) WriteFile(string, []byte) error { return errReadOnly }

// Walk is refused: building names every file it reads.
func (k *kustomizeFS) Walk(string, filepath.WalkFunc) error {
	return errors.New("rendering does not walk directories")
}

// secrets collects values that must not show up in an error, and takes them out.
type secrets map[string]bool

// minSecret is the shortest value worth masking: taking out every "1" would
// make errors unreadable and hide nothing.
const minSecret = 4

func (s secrets) add(v string) {
	for line := range strings.SplitSeq(v, "\n") {
		if line = strings.TrimSpace(line); len(line) >= minSecret {
			s[line] = true
		}
	}
}

var (
	// Kustomize quotes whole configurations and patches in its errors.
	quotedConfig = regexp.MustCompile("(?s)`[^`]*`|\\[[^]]*\n[^]]*\\]|\\{[^}]*\n[^}]*\\}")
	literal      = regexp.MustCompile(`(invalid literal source) .*?(, expected)`)
)

// scrub makes a Kustomize error fit to be shown: paths as in the repository, no
// quoted files, no secret values.
func (s secrets) scrub(msg string) string {
	msg = quotedConfig.ReplaceAllString(msg, "...")
	msg = literal.ReplaceAllString(msg, "$1 ...$2")
	values := make([]string, 0, len(s))
	for v := range s {
		values = append(values, v)
	}
	// The longest first, so that none survives as the rest of another.
	slices.SortFunc(values, func(a, b string) int { return len(b) - len(a) })
	for _, v := range values {
		msg = strings.ReplaceAll(msg, v, "***")
	}
	msg = strings.ReplaceAll(msg, treeRoot+"/", "")
	msg = strings.ReplaceAll(msg, treeRoot, "the repository")
	return strings.TrimSpace(msg)
}
