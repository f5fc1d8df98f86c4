package writeback

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"lockkeeper/cluster/manifest"
	"lockkeeper/cluster/manifest/closure"
	"lockkeeper/cluster/manifest/document"
)

// survey knows the kustomizations of a tree, and what they refer to.
type survey struct {
	tree *closure.Tree
	// files are the kustomization files, by directory.
	files map[string]string
	// uses are the files and directories that a kustomization refers to, by its
	// directory: everything in it that might be a path, and leads somewhere.
	uses map[string][]string
	// target is the directory that is rendered, reach are the directories of
	// kustomizations that it is made of, from itself downwards.
	target string
	reach  []string
	others []string
}

func newSurvey(tree *closure.Tree, target string, others []string) (*survey, error) {
	s := &survey{tree: tree, files: map[string]string{}, uses: map[string][]string{}, target: target}
	for _, o := range others {
		if o = path.Clean(o); !slices.Contains(s.others, o) {
			s.others = append(s.others, o)
		}
	}
	if err := s.walk(".", 0); err != nil {
		return nil, fmt.Errorf("look for kustomizations: %w", err)
	}
	if _, is := s.files[target]; is {
		s.reach = []string{target}
	}
	for i := 0; i < len(s.reach); i++ {
		for _, u := range s.uses[s.reach[i]] {
			if _, is := s.files[u]; is && !slices.Contains(s.reach, u) {
				s.reach = append(s.reach, u)
			}
		}
	}
	return s, nil
}

func (s *survey) walk(dir string, depth int) error {
	list, err := s.tree.Ask(closure.List, dir)
	if err != nil || depth > manifest.MaxFolders {
		return err
	}
	if name := manifest.KustomizationFile(list.Entries); name != "" {
		if err := s.read(dir, name); err != nil {
			return err
		}
	}
	for _, e := range list.Entries {
		if e.Kind != closure.Folder || e.Name == ".git" {
			continue
		}
		if err := s.walk(path.Join(dir, e.Name), depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (s *survey) read(dir, name string) error {
	at := path.Join(dir, name)
	real, err := s.tree.Ask(closure.Real, at)
	if err != nil {
		return err
	}
	s.files[dir] = real.Real
	s.uses[dir] = []string{real.Real}
	a, err := s.tree.Ask(closure.Read, at)
	if err != nil || document.Bomb(at, a.Data) != nil {
		return err
	}
	nodes, _ := document.Parse("kustomization.yaml", a.Data)
	for _, n := range nodes {
		if err := s.refer(dir, n); err != nil {
			return err
		}
	}
	return nil
}

// refer notes what the scalars of a kustomization lead to.
func (s *survey) refer(dir string, n *yaml.Node) error {
	for _, c := range n.Content {
		if err := s.refer(dir, c); err != nil {
			return err
		}
	}
	text := n.Value
	if n.Kind != yaml.ScalarNode || text == "" || len(text) > 1000 || strings.ContainsAny(text, "\n\x00") {
		return nil
	}
	_, after, _ := strings.Cut(text, "=") // as in a generator's files
	for _, ref := range []string{text, after} {
		at := path.Join(dir, ref)
		if ref == "" || path.IsAbs(ref) || !fs.ValidPath(at) || at == dir {
			continue
		}
		real, err := s.tree.Ask(closure.Real, at)
		if err != nil {
			continue // leads out of the tree
		}
		k, err := s.tree.Ask(closure.Stat, real.Real)
		if err != nil {
			return err
		}
		if k.Kind != closure.Missing {
			s.uses[dir] = append(s.uses[dir], real.Real)
		}
	}
	return nil
}

// outsider is somebody else who uses a file: a kustomization that is no part
// of the target, or another target. It is "" if the file is the target's alone.
func (s *survey) outsider(file string) string {
	seen := []string{file}
	for i := 0; i < len(seen); i++ {
		for dir, uses := range s.uses {
			if slices.Contains(seen, dir) || !slices.Contains(uses, seen[i]) {
				continue
			}
			if !slices.Contains(s.reach, dir) || slices.Contains(s.others, dir) {
				return dir
			}
			seen = append(seen, dir)
		}
	}
	for _, o := range s.others {
		if _, is := s.files[o]; !is && (o == "." || strings.HasPrefix(file, o+"/")) {
			return o
		}
	}
	return ""
}
