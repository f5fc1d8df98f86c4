//lint:file-ignore SA1019 repositories still use the deprecated fields of kustomizations

// Package discover looks through a repository for what could be targets.
package discover

import (
	"bytes"
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/types"

	"lockkeeper/cluster/manifest"
	"lockkeeper/cluster/manifest/closure"
	"lockkeeper/cluster/manifest/document"
)

// Found is a directory that could be a target.
type Found struct {
	Path        string
	Kustomize   bool   // else a plain directory of manifests
	Name        string // suggested, unique among what was found
	Environment string // guessed from the path: "production", "staging"..., or ""
	// Note says what keeps it from being rendered as it is, or "".
	Note string
}

// Targets finds directories that could be targets: kustomizations that no
// other kustomization builds on, and the topmost directories that hold plain
// manifests. Hidden and vendored directories and Helm charts are left out.
func Targets(fsys fs.FS) ([]Found, error) {
	s := scan{src: closure.NewTree(fsys), used: map[string]bool{}, kustomizations: map[string]*types.Kustomization{}}
	if err := s.walk(".", 0); err != nil {
		return nil, fmt.Errorf("look for targets: %w", err)
	}
	if err := s.followReferences(); err != nil {
		return nil, fmt.Errorf("look for targets: %w", err)
	}
	found := append(s.roots(), s.plain()...)
	slices.SortFunc(found, func(a, b Found) int { return cmp.Compare(a.Path, b.Path) })
	nameThem(found)
	return found, nil
}

// scan is what one walk over a tree has seen.
type scan struct {
	src            closure.Source
	kustomizations map[string]*types.Kustomization // by directory; nil if it cannot be read
	manifests      []string                        // files outside of kustomization directories
	used           map[string]bool                 // files and directories that kustomizations refer to
}

// skipped are directories that hold other people's files.
var skipped = map[string]bool{"node_modules": true, "vendor": true, "testdata": true}

func (s *scan) walk(dir string, depth int) error {
	list, err := s.src.Ask(closure.List, dir)
	if err != nil || depth > manifest.MaxFolders {
		return err
	}
	if name := manifest.KustomizationFile(list.Entries); name != "" {
		if err := s.read(dir, name); err != nil {
			return err
		}
	}
	if slices.Contains(list.Entries, closure.Entry{Name: "Chart.yaml", Kind: closure.File}) {
		return nil
	}
	_, kustomized := s.kustomizations[dir]
	for _, e := range list.Entries {
		at := path.Join(dir, e.Name)
		switch {
		case strings.HasPrefix(e.Name, ".") || skipped[e.Name]:
		case e.Kind == closure.Folder:
			if err := s.walk(at, depth+1); err != nil {
				return err
			}
		case e.Kind == closure.File && manifest.IsManifest(e.Name) && !kustomized:
			s.manifests = append(s.manifests, at)
		}
	}
	return nil
}

func (s *scan) read(dir, name string) error {
	s.kustomizations[dir] = nil
	a, err := s.src.Ask(closure.Read, path.Join(dir, name))
	if err != nil {
		return err
	}
	k := &types.Kustomization{}
	if document.Bomb(name, a.Data) == nil && document.Safely(func() error { return k.Unmarshal(a.Data) }) == nil {
		k.FixKustomization()
		s.kustomizations[dir] = k
	}
	return nil
}

// followReferences marks what kustomizations build on.
func (s *scan) followReferences() error {
	for dir, k := range s.kustomizations {
		if k == nil {
			continue
		}
		for _, ref := range slices.Concat(k.Resources, k.Components, k.Generators, k.Transformers, k.Validators, k.Crds, k.Configurations) {
			if err := s.use(dir, ref); err != nil {
				return err
			}
		}
		for _, p := range slices.Concat(k.Patches, k.PatchesJson6902) {
			if err := s.use(dir, p.Path); err != nil {
				return err
			}
		}
		for _, p := range k.PatchesStrategicMerge {
			if err := s.use(dir, string(p)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *scan) use(dir, ref string) error {
	p := path.Join(dir, ref)
	if ref == "" || manifest.IsRemote(ref) || strings.Contains(ref, "\n") || !fs.ValidPath(p) {
		return nil
	}
	real, err := s.src.Ask(closure.Real, p)
	if err != nil {
		return err
	}
	s.used[p], s.used[real.Real] = true, true
	return nil
}

// roots are the kustomizations that nothing builds on.
func (s *scan) roots() []Found {
	var found []Found
	for dir, k := range s.kustomizations {
		switch {
		case s.used[dir] || k != nil && k.Kind == types.ComponentKind:
			continue
		case k == nil:
			found = append(found, Found{Path: dir, Kustomize: true, Note: "its kustomization file cannot be read"})
		case len(k.HelmCharts) > 0:
			found = append(found, Found{Path: dir, Kustomize: true, Note: "uses helmCharts, which are not supported yet"})
		default:
			found = append(found, Found{Path: dir, Kustomize: true})
		}
	}
	return found
}

// plain are the topmost directories with manifests that no kustomization uses.
func (s *scan) plain() []Found {
	var dirs []string
	for _, f := range s.manifests {
		if s.used[f] || !s.looksLikeObject(f) {
			continue
		}
		dirs = append(dirs, path.Dir(f))
	}
	slices.Sort(dirs)
	var found []Found
	for _, dir := range slices.Compact(dirs) {
		if slices.ContainsFunc(found, func(f Found) bool { return within(dir, f.Path) }) {
			continue
		}
		f := Found{Path: dir}
		for _, k := range slices.Sorted(maps.Keys(s.kustomizations)) {
			if within(k, dir) && f.Note == "" {
				f.Note = "holds manifests beside the kustomization in " + k + "; a plain directory cannot: move one of them"
			}
		}
		found = append(found, f)
	}
	return found
}

// within reports whether dir is outer or below it.
func within(dir, outer string) bool {
	return dir == outer || outer == "." || strings.HasPrefix(dir, outer+"/")
}

var (
	hasVersion = regexp.MustCompile(`(?m)^[\s{"]*apiVersion["']?\s*:`)
	hasKind    = regexp.MustCompile(`(?m)["'\s]?kind["']?\s*:`)
)

// looksLikeObject tells manifests from other YAML and JSON files, which
// repositories have many of. It does not have to be exact: rendering is.
func (s *scan) looksLikeObject(f string) bool {
	a, err := s.src.Ask(closure.Read, f)
	if err != nil || bytes.Contains(a.Data, []byte("{{")) {
		return false
	}
	return hasVersion.Match(a.Data) && hasKind.Match(a.Data)
}

// environments are the words in paths that tell an environment.
var environments = map[string]string{
	"production": "production", "prod": "production", "prd": "production", "live": "production",
	"staging": "staging", "stage": "staging", "stg": "staging", "preprod": "staging",
	"development": "development", "develop": "development", "dev": "development",
	"test": "test", "testing": "test", "qa": "qa", "uat": "uat", "sandbox": "sandbox", "preview": "preview",
}

// generic are the words in paths that tell targets apart from nothing.
var generic = map[string]bool{
	"": true, ".": true, "deploy": true, "deployment": true, "deployments": true, "k8s": true, "kubernetes": true, "kube": true,
	"manifest": true, "manifests": true, "overlay": true, "overlays": true, "env": true, "envs": true, "environment": true,
	"environments": true, "app": true, "apps": true, "cluster": true, "clusters": true, "kustomize": true, "base": true, "config": true,
}

var notInName = regexp.MustCompile(`[^a-z0-9-]+`)

// nameThem suggests names and environments from paths: the words that say
// something, and the whole path where that is not unique.
func nameThem(found []Found) {
	count := map[string]int{}
	for i := range found {
		f := &found[i]
		var words []string
		for segment := range strings.SplitSeq(f.Path, "/") {
			if !generic[strings.ToLower(segment)] {
				words = append(words, segment)
			}
			for word := range strings.FieldsFuncSeq(strings.ToLower(segment), func(r rune) bool { return strings.ContainsRune("-_.", r) }) {
				if env := environments[word]; env != "" {
					f.Environment = env
				}
			}
		}
		f.Name = cleanName(strings.Join(words, "-"))
		count[f.Name]++
	}
	taken := map[string]bool{}
	for i := range found {
		f := &found[i]
		if f.Name == "" || count[f.Name] > 1 {
			f.Name = cmp.Or(cleanName(strings.ReplaceAll(f.Path, "/", "-")), "main")
		}
		for base, n := f.Name, 2; taken[f.Name]; n++ {
			f.Name = fmt.Sprintf("%s-%d", base, n)
		}
		taken[f.Name] = true
	}
}

func cleanName(s string) string {
	s = strings.Trim(notInName.ReplaceAllString(strings.ToLower(s), "-"), "-")
	if len(s) > 50 {
		s = strings.Trim(s[len(s)-50:], "-")
	}
	return s
}
