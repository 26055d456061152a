package provision

import (
	"fmt"
	"os"
	"path/filepath"

	"margay/nodedb"
)

// ImageProblem is why nodes cannot be installed from an image, as far as that
// can be known without one of them: its install tree or its own template is
// missing. It is nil for images of other kinds.
func (s *Service) ImageProblem(snap *nodedb.Snapshot, img *nodedb.Image) error {
	if mode := nodedb.Mode(img.ProvMethod); mode != nodedb.ModeInstall && mode != nodedb.ModeNetboot {
		return nil
	}
	if img.OS == "" || img.Arch == "" {
		return fmt.Errorf("no osvers or no osarch; set them with chdef -t osimage: %w", nodedb.ErrInvalid)
	}
	if _, err := s.tree(snap, img.OS, img.Arch); err != nil {
		return err
	}
	if filepath.IsAbs(img.Template) {
		if _, err := os.Stat(img.Template); err != nil {
			return fmt.Errorf("template %s is missing: %w", img.Template, nodedb.ErrNotFound)
		}
	}
	return nil
}

// HasAttempt says whether nodeset of ours made a node ready for its next
// boot; the state that another program left in the table is no such thing.
func HasAttempt(snap *nodedb.Snapshot, node string) bool { return attempt(snap, node) != nil }
