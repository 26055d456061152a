package provision

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"margay/netboot"
	"margay/nodedb"
)

// tree opens the install tree of a release: a directory, reached through an
// os.Root so that no link leads out, or a medium that is served in place.
func (s *Service) tree(snap *nodedb.Snapshot, osName, arch string) (fs.FS, error) {
	if !plainName(osName) || !plainName(arch) {
		return nil, fmt.Errorf("install tree %s/%s: not a name: %w", osName, arch, nodedb.ErrInvalid)
	}
	m, ok := mediaOf(snap, osName, arch)
	if ok && m.InPlace {
		return s.mediumTree(m)
	}
	dir := s.treeDir(snap, osName, arch, m.Dir)
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.roots[dir]; r != nil && sameDir(r, dir) {
		return r.FS(), nil
	}
	r, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("no install tree %s; run copycds with the %s medium: %w", dir, osName, nodedb.ErrNotFound)
	}
	s.roots[dir] = r // the old one stays open for those who read from it
	return r.FS(), nil
}

// treeSource is the directory of an install tree; "" for a medium in place.
func (s *Service) treeSource(snap *nodedb.Snapshot, osName, arch string) string {
	m, ok := mediaOf(snap, osName, arch)
	if ok && m.InPlace {
		return ""
	}
	return s.treeDir(snap, osName, arch, m.Dir)
}

// treeFile is where a file of an install tree is on disk; "" for a medium in
// place. It is asked for each file that a machine has.
func (s *Service) treeFile(snap *nodedb.Snapshot, osName, arch, name string) string {
	r, _ := snap.Record(mediaKey(osName, arch)) // all of it is not needed
	if r.Attrs["media.inplace"] != "" {
		return ""
	}
	return s.treeDir(snap, osName, arch, r.Attrs["media.dir"]) + "/" + name
}

// treeDir is the directory of an install tree.
func (s *Service) treeDir(snap *nodedb.Snapshot, osName, arch, dir string) string {
	if dir != "" {
		return dir
	}
	return filepath.Join(s.InstallDir(snap), osName, arch)
}

// mediumTree opens a medium that is served in place. The file must still be
// the one that copycds saw.
func (s *Service) mediumTree(m Media) (fs.FS, error) {
	fi, err := os.Stat(m.ISO)
	if err != nil || fi.Size() != m.Size || !fi.ModTime().Equal(m.ModTime) {
		return nil, fmt.Errorf("%s/%s is served from %s, which is gone or was changed; put it back, or run copycds again: %w", m.OS, m.Arch, m.ISO, nodedb.ErrNotFound)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := m.ISO + " " + m.ModTime.String()
	if t := s.mediums[key]; t != nil {
		return t, nil
	}
	t, err := s.Medium(m.ISO)
	if err != nil {
		return nil, err
	}
	s.mediums[key] = t
	return t, nil
}

// mediumName is a tree's medium, as one file of the tree: some installers load
// it whole.
const mediumName = "medium.iso"

// wholeMedium is the path of the medium that a tree came from, if the file is
// still the one that copycds saw.
func (s *Service) wholeMedium(snap *nodedb.Snapshot, osName, arch string) (string, error) {
	m, ok := mediaOf(snap, osName, arch)
	if !ok {
		return "", netboot.ErrNotFound
	}
	fi, err := os.Stat(m.ISO)
	if err != nil || fi.Size() != m.Size || !fi.ModTime().Equal(m.ModTime) {
		return "", netboot.ErrNotFound
	}
	return m.ISO, nil
}

// sameDir says whether r is still what dir names: copycds swaps whole trees.
func sameDir(r *os.Root, dir string) bool {
	a, err1 := r.Stat(".")
	b, err2 := os.Stat(dir)
	return err1 == nil && err2 == nil && os.SameFile(a, b)
}
