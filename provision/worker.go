package provision

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"margay/nodedb"
)

// A Worker is a family that makes the small system in which machines work.
type Worker interface {
	// Workimage writes it into b.Dir, which is empty, from the root b.Root.
	Workimage(ctx context.Context, b *ImageBuild) error
}

// Workimage makes the small system for an architecture, beside its place and
// put there in one step.
func (s *Service) Workimage(ctx context.Context, arch string, b ImageBuild) error {
	if err := workArch(arch); err != nil {
		return err
	}
	f, err := s.family(osWork)
	if err != nil {
		return err
	}
	worker, ok := f.(Worker)
	if !ok {
		return fmt.Errorf("no small system can be made here: %w", nodedb.ErrInvalid)
	}
	b.Image, b.Install = &nodedb.Image{Name: osWork + "." + arch, OS: osWork, Arch: arch}, s.InstallDir(s.DB.Snapshot())
	return s.imageBeside(filepath.Join(b.Install, osWork, arch), func(tmp string) error {
		b.Dir = tmp
		return worker.Workimage(ctx, &b)
	})
}

func workArch(arch string) error {
	if !slices.Contains([]string{"x86_64", "aarch64", "ppc64le"}, arch) {
		return fmt.Errorf("architecture %q: not one of x86_64, aarch64, ppc64le: %w", arch, nodedb.ErrInvalid)
	}
	return nil
}

// Memtest takes memtest86+ from a directory, where Debian's package has it in
// /boot, and says what it took.
func (s *Service) Memtest(arch, from string) ([]string, error) {
	if arch != "x86_64" {
		return nil, fmt.Errorf("memtest86+ is for x86_64, not %s: %w", arch, nodedb.ErrInvalid)
	}
	var took []string
	err := s.imageBeside(filepath.Join(s.InstallDir(s.DB.Snapshot()), osMemtest, arch), func(tmp string) error {
		for _, name := range []string{"memtest86+x64.bin", "memtest86+x64.efi"} {
			err := copyInto(tmp, from, name)
			if err == nil {
				took = append(took, name)
			} else if !os.IsNotExist(err) {
				return err
			}
		}
		if len(took) == 0 {
			return fmt.Errorf("no memtest86+x64.bin or memtest86+x64.efi in %s; install Debian's package memtest86+, or name the directory: %w", from, nodedb.ErrNotFound)
		}
		return nil
	})
	return took, err
}

func copyInto(dir, from, name string) error {
	in, err := os.Open(filepath.Join(from, name))
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
