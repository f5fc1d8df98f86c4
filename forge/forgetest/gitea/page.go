package gitea

import (
	"embed"
	"io/fs"
	"os"
	"path/filepath"
)

// page is what makes Gitea's pages of use to people: the styles and scripts of
// its own are built with node, and are not in its Go module.
//
//go:embed page
var page embed.FS

// dress puts it where Gitea looks for its administrator's own assets first.
func (s *Server) dress() error {
	assets := filepath.Join(s.dir, "custom", "public", "assets")
	for kind, names := range map[string][]string{"js": {"iife.js", "index.js"}, "css": {"index.css"}} {
		if err := os.MkdirAll(filepath.Join(assets, kind), 0o700); err != nil {
			return err
		}
		for _, name := range names {
			content, err := fs.ReadFile(page, "page/"+name)
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(assets, kind, name), content, 0o600); err != nil {
				return err
			}
		}
	}
	return nil
}
