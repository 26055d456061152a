package provision

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"margay/nodedb"
)

// An ImageBuild is a diskless image to make.
type ImageBuild struct {
	Image   *nodedb.Image
	Dir     string // where kernel, initial RAM disk and root go
	Root    string // a root that is there already; empty: make one
	Mirror  string // address of the distribution's packages; empty: the image's pkgdir
	Say     func(format string, args ...any)
	Install string   // the install directory
	With    []string // programs for a system for work, beside busybox
}

// An Imager is a family that makes diskless images.
type Imager interface {
	// Genimage writes an image into b.Dir, which is empty.
	Genimage(ctx context.Context, b *ImageBuild) error
}

// Genimage makes the diskless image that an osimage describes. It is made
// beside its place and put there in one step; nodes that boot meanwhile get
// the one that was there.
func (s *Service) Genimage(ctx context.Context, name string, b ImageBuild) error {
	snap := s.DB.Snapshot()
	img, err := snap.Image(name)
	if err != nil {
		return fmt.Errorf("Cannot find the OS image %s in the osimage table.", name)
	}
	if img.ProvMethod != string(nodedb.ModeNetboot) {
		return fmt.Errorf("osimage %s: provmethod is %q; genimage makes images that are netbooted: %w", name, img.ProvMethod, nodedb.ErrInvalid)
	}
	if !plainName(img.OS) || !plainName(img.Arch) || !plainName(img.Profile) {
		return fmt.Errorf("osimage %s: osvers, osarch and profile must be set: %w", name, nodedb.ErrInvalid)
	}
	f, err := s.family(img.OS)
	if err != nil {
		return err
	}
	imager, ok := f.(Imager)
	if !ok {
		return fmt.Errorf("osimage %s: %s needs no image; nodeset takes its install tree: %w", name, img.OS, nodedb.ErrInvalid)
	}
	b.Image, b.Install = img, s.InstallDir(snap)
	dir := filepath.Join(b.Install, "netboot", img.OS, img.Arch, img.Profile)
	return s.imageBeside(dir, func(tmp string) error {
		b.Dir = tmp
		return imager.Genimage(ctx, &b)
	})
}

// imageBeside has an image made in a directory of its own, which then takes
// the place of dir.
func (s *Service) imageBeside(dir string, make func(tmp string) error) error {
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(parent, partialImage+filepath.Base(dir)+"-")
	if err != nil {
		return err
	}
	defer s.cleanImage(tmp)
	if err := make(tmp); err != nil {
		return err
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	return swap(tmp, dir)
}

// partialImage marks an image that is being made.
const partialImage = ".genimage-"

// cleanImages removes what killed genimage runs left.
func (s *Service) cleanImages(install string) {
	old, _ := filepath.Glob(filepath.Join(install, "netboot", "*", "*", partialImage+"*"))
	work, _ := filepath.Glob(filepath.Join(install, osWork, partialImage+"*"))
	for _, dir := range append(old, work...) {
		s.Log.Warn("removing a half made image", "dir", dir)
		s.cleanImage(dir)
	}
}

// cleanImage removes a directory, unless something of the server's own is
// mounted in it, as programs that make roots do.
func (s *Service) cleanImage(dir string) {
	if mounts, err := os.ReadFile("/proc/self/mounts"); err != nil || strings.Contains(string(mounts), " "+dir+"/") {
		s.Log.Error("an image's directory is left: something is mounted in it; unmount it, then remove it", "dir", dir)
		return
	}
	os.RemoveAll(dir)
}
