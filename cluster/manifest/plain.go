package manifest

import (
	"fmt"
	"path"
	"strings"

	"sigs.k8s.io/kustomize/api/konfig"

	"lockkeeper/cluster"
	"lockkeeper/cluster/manifest/document"
)

// maxFolders bounds how deep directories nest, should a tree lie about itself.
const maxFolders = 100

// render renders the target at dir: with Kustomize if it has a kustomization
// file, else as plain files.
func render(src source, dir string) (outcome, error) {
	at, err := src.ask(Stat, dir)
	if err != nil {
		return outcome{}, err
	}
	switch at.Kind {
	case missing:
		return outcome{Problems: []Problem{{Path: dir, Message: "there is no such directory"}}}, nil
	case folder:
	default:
		return outcome{Problems: []Problem{{Path: dir, Message: "is not a directory"}}}, nil
	}
	list, err := src.ask(List, dir)
	if err != nil {
		return outcome{}, err
	}
	if kustomization(list.Entries) != "" {
		return renderKustomize(src, dir)
	}
	p := plain{src: src, collector: collector{seen: map[cluster.Ref]string{}}}
	if err := p.walk(dir, list.Entries, 0); err != nil {
		return outcome{}, err
	}
	return p.outcome(), nil
}

func (c *collector) outcome() outcome {
	if len(c.problems) > 0 {
		return outcome{Problems: sorted(c.problems)}
	}
	return outcome{Objects: c.objects}
}

// kustomization is the name of the kustomization file in a listing, or "".
func kustomization(entries []entry) string {
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		for _, e := range entries {
			if e.Name == name && e.Kind != folder {
				return name
			}
		}
	}
	return ""
}

// isManifest reports whether a plain directory takes a file for a manifest.
func isManifest(name string) bool {
	if strings.HasPrefix(name, ".") {
		return false
	}
	switch path.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// plain reads directories of manifests.
type plain struct {
	src source
	collector
}

func (p *plain) walk(dir string, entries []entry, depth int) error {
	if depth > maxFolders {
		p.problems = append(p.problems, Problem{Path: dir, Message: fmt.Sprintf("directories nest deeper than %d", maxFolders)})
		return nil
	}
	for i, e := range entries {
		if i%readAhead == 0 {
			if err := p.ahead(dir, entries[i:min(i+readAhead, len(entries))]); err != nil {
				return err
			}
		}
		at := path.Join(dir, e.Name)
		if strings.HasPrefix(e.Name, ".") {
			continue
		}
		k := e.Kind
		if k == link {
			a, err := p.src.ask(Stat, at)
			if err != nil {
				return err
			}
			if k = a.Kind; k == folder {
				p.problems = append(p.problems, Problem{Path: at, Message: "is a link to a directory, which a plain directory does not follow; make it a target of its own, or use a kustomization"})
				continue
			}
		}
		if err := p.visit(at, k, depth); err != nil {
			return err
		}
	}
	return nil
}

// readAhead is how many entries of a directory are asked for at once.
const readAhead = 32

// ahead tells the tree, if it wants to know, which files come next.
func (p *plain) ahead(dir string, entries []entry) error {
	tree, ok := p.src.(interface{ ahead([]string) error })
	if !ok {
		return nil
	}
	var files []string
	for _, e := range entries {
		if e.Kind == file && isManifest(e.Name) {
			files = append(files, path.Join(dir, e.Name))
		}
	}
	return tree.ahead(files)
}

func (p *plain) visit(at string, k kind, depth int) error {
	switch {
	case k == folder:
		return p.enter(at, depth+1)
	case k == other:
		p.problems = append(p.problems, Problem{Path: at, Message: "is a submodule or another kind of entry whose files are not in this repository; move it out of the target"})
	case k == missing && isManifest(path.Base(at)):
		p.problems = append(p.problems, Problem{Path: at, Message: "is a link to a file that does not exist"})
	case k == file && isManifest(path.Base(at)):
		return p.file(at)
	}
	return nil
}

func (p *plain) enter(dir string, depth int) error {
	list, err := p.src.ask(List, dir)
	if err != nil {
		return err
	}
	if name := kustomization(list.Entries); name != "" {
		p.problems = append(p.problems, Problem{Path: path.Join(dir, name), Message: "a kustomization inside a plain directory; make " + dir + " a target of its own, or list it in a kustomization of the target"})
		return nil
	}
	return p.walk(dir, list.Entries, depth)
}

func (p *plain) file(at string) error {
	a, err := p.src.ask(Read, at)
	if err != nil {
		return err
	}
	if path.Base(at) == "Chart.yaml" {
		p.problems = append(p.problems, Problem{Path: at, Message: "is a Helm chart, which is not supported yet; render it with `helm template` and commit the result"})
		return nil
	}
	docs, problems := decodeAnswer(at, a)
	p.problems = append(p.problems, problems...)
	for _, d := range docs {
		p.add(d.Value, place{at, d.Line, d.Node})
	}
	return nil
}

// decodeAnswer decodes what a tree said to Read.
func decodeAnswer(path string, a answer) ([]document.Document, []Problem) {
	if a.Kind == large {
		return nil, []Problem{{Path: path, Message: document.TooLarge}}
	}
	return document.Decode(path, a.data)
}
