package manifest

import (
	"context"
	"fmt"
	"path"
	"strings"

	"sigs.k8s.io/kustomize/api/konfig"

	"lockkeeper/cluster"
	"lockkeeper/cluster/manifest/closure"
	"lockkeeper/cluster/manifest/document"
)

// MaxFolders bounds how deep directories nest, should a tree lie about itself.
const MaxFolders = 100

// KustomizationFile is the name of the kustomization file in a listing, or "".
func KustomizationFile(entries []closure.Entry) string {
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		for _, e := range entries {
			if e.Name == name && e.Kind != closure.Folder {
				return name
			}
		}
	}
	return ""
}

// IsManifest reports whether a plain directory takes a file for a manifest.
func IsManifest(name string) bool {
	if strings.HasPrefix(name, ".") {
		return false
	}
	switch path.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// plain renders a directory of manifests.
func (r *Renderer) plain(ctx context.Context, rec *closure.Recorder, dir string, entries []closure.Entry) (*remembered, error) {
	w := walk{rec: rec}
	if err := w.directory(dir, entries, 0); err != nil {
		return nil, err
	}
	found, err := r.decode(ctx, rec.Tree, w.files)
	if err != nil {
		return nil, err
	}
	all := result{problems: w.problems}
	seen := map[cluster.Ref]string{}
	for i, f := range found {
		if err := rec.NoteRead(w.files[i], f.answer); err != nil {
			return nil, err
		}
		all.problems = append(all.problems, f.problems...)
		for _, p := range f.objects {
			all.add(p, seen)
		}
	}
	all.problems = sorted(all.problems)
	return finish(dir, all, rec.Closure()), nil
}

// add takes an object of one of the files of a target, unless it is too much.
func (r *result) add(p placed, seen map[cluster.Ref]string) {
	switch first, twice := seen[p.object.Ref]; {
	case twice:
		r.problems = append(r.problems, definedTwice(p.path, p.line, p.object.Ref, first))
	case len(r.objects) == MaxObjects:
		if len(seen) == MaxObjects { // said once
			r.problems = append(r.problems, tooMany(p.path, p.line))
		}
		seen[p.object.Ref] = p.object.Source
	default:
		seen[p.object.Ref] = p.object.Source
		r.objects = append(r.objects, p)
	}
}

func definedTwice(path string, line int, ref cluster.Ref, first string) Problem {
	return Problem{Path: path, Line: line, Message: fmt.Sprintf("%s is already defined in %s; keep one of them", ref, first)}
}

func tooMany(path string, line int) Problem {
	return Problem{Path: path, Line: line, Message: fmt.Sprintf("the target has more than %d objects; split it", MaxObjects)}
}

// walk finds the manifests of a plain directory.
type walk struct {
	rec      *closure.Recorder
	files    []string
	problems []Problem
}

func (w *walk) fail(path, format string, args ...any) {
	w.problems = append(w.problems, Problem{Path: path, Message: fmt.Sprintf(format, args...)})
}

func (w *walk) directory(dir string, entries []closure.Entry, depth int) error {
	if depth > MaxFolders {
		w.fail(dir, "directories nest deeper than %d", MaxFolders)
		return nil
	}
	for _, e := range entries {
		at := path.Join(dir, e.Name)
		if strings.HasPrefix(e.Name, ".") {
			continue
		}
		k := e.Kind
		if k == closure.Link {
			a, err := w.rec.Ask(closure.Stat, at)
			if err != nil {
				return err
			}
			if k = a.Kind; k == closure.Folder {
				w.fail(at, "is a link to a directory, which a plain directory does not follow; make it a target of its own, or use a kustomization")
				continue
			}
		}
		if err := w.visit(at, k, depth); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) visit(at string, k closure.Kind, depth int) error {
	switch manifest := IsManifest(path.Base(at)); {
	case k == closure.Folder:
		return w.enter(at, depth+1)
	case k == closure.Other:
		w.fail(at, "is a submodule or another kind of entry whose files are not in this repository; move it out of the target")
	case k == closure.Missing && manifest:
		w.fail(at, "is a link to a file that does not exist")
	case k == closure.File && path.Base(at) == "Chart.yaml":
		w.fail(at, "is a Helm chart, which is not supported yet; render it with `helm template` and commit the result")
	case k == closure.File && manifest:
		w.files = append(w.files, at)
	}
	return nil
}

func (w *walk) enter(dir string, depth int) error {
	list, err := w.rec.Ask(closure.List, dir)
	if err != nil {
		return err
	}
	if name := KustomizationFile(list.Entries); name != "" {
		w.fail(path.Join(dir, name), "a kustomization inside a plain directory; make %s a target of its own, or list it in a kustomization of the target", dir)
		return nil
	}
	return w.directory(dir, list.Entries, depth)
}

// decodeAnswer decodes what a tree said to Read.
func decodeAnswer(path string, a closure.Answer) ([]document.Document, []Problem) {
	if a.Kind == closure.Large {
		return nil, []Problem{{Path: path, Message: document.TooLarge}}
	}
	return document.Decode(path, a.Data)
}
