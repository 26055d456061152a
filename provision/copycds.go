package provision

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"margay/nodedb"
)

// A MediumFile is an opened installer medium.
type MediumFile interface {
	fs.FS
	// Unpack writes all files below dir and calls progress with bytes.
	Unpack(ctx context.Context, dir string, progress func(done, total int64)) error
	Close() error
}

// A Medium opens an installer medium by its path; its errors begin with it.
type Medium func(path string) (MediumFile, error)

// Copy is what copycds was told.
type Copy struct {
	Path     string    // or an address that begins with http:// or https://
	From     io.Reader // in place of Path: a medium that a client sends
	SHA256   string    // what the medium must have, in hexadecimal; empty: any
	OS       string    // -n: in place of the name that the medium gives
	Arch     string    // -a: must be the medium's
	Dir      string    // -p: in place of <installdir>/<os>/<arch>
	Detail   bool      // -s: the update release in the name
	NoImage  bool      // -o
	NoRepeat bool      // -w: do not copy again
	InPlace  bool      // keep the medium where it is and serve its files from it
	// Progress is called with bytes done and in all; it must not block.
	Progress func(done, total int64)
	// Begin is called once with the directory before anything is copied.
	Begin func(dir string)

	source string // where a medium that was brought came from
	sum    string // its sha256, if that is known already
}

// ErrCopied says that the medium is there already and was not to be copied
// again.
var ErrCopied = errors.New("The disc iso has already been copied in!")

// Inspect says what a medium is without copying it. One from an address is
// kept for a week, for the copycds that may follow.
func (s *Service) Inspect(ctx context.Context, c Copy) (*Release, error) {
	if c.From != nil {
		return nil, errors.New("copycds -i wants a file or an address")
	}
	if _, err := s.bring(ctx, &c); err != nil {
		return nil, err
	}
	m, rel, err := s.openMedium(c)
	if err != nil {
		return nil, err
	}
	m.Close()
	return rel, nil
}

func (s *Service) openMedium(c Copy) (MediumFile, *Release, error) {
	fi, err := os.Stat(c.Path)
	if err != nil || fi.IsDir() {
		return nil, nil, fmt.Errorf("The management server was unable to find/read %s. Ensure that file exists on the server at the specified location.", c.Path)
	}
	m, err := s.Medium(c.Path)
	if err != nil {
		return nil, nil, err
	}
	rel, err := s.recognize(m, c)
	if err != nil {
		m.Close()
		return nil, nil, err
	}
	return m, rel, nil
}

func (s *Service) recognize(m fs.FS, c Copy) (*Release, error) {
	for _, f := range s.Families {
		rel, err := f.Recognize(m)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.Path, err)
		}
		if rel == nil {
			continue
		}
		if c.Arch != "" && c.Arch != rel.Arch {
			return nil, fmt.Errorf("Requested distribution architecture %s, but media is %s", c.Arch, rel.Arch)
		}
		if c.Detail && rel.Detail != "" {
			rel.OS += "_" + rel.Detail
		}
		if c.OS != "" {
			if !f.Owns(c.OS) || !plainName(c.OS) || strings.Contains(c.OS, "-") {
				return nil, fmt.Errorf("-n %s: not a name for %s media; it begins with %s and holds no dash", c.OS, rel.Title, strings.TrimRight(rel.OS, "0123456789._"))
			}
			rel.OS = c.OS
		}
		return rel, nil
	}
	return nil, errors.New("copycds could not identify the ISO supplied, you may wish to try -n <osver>")
}

// Copycds unpacks a medium and defines its osimages. The tree is made beside
// its place and renamed into it whole; a tree that was there is replaced in
// one step and stays readable for those who have it open.
func (s *Service) Copycds(ctx context.Context, c Copy) (*Release, error) {
	brought, err := s.bring(ctx, &c)
	if err != nil {
		return nil, err
	}
	rel, err := s.copycds(ctx, c, brought)
	if brought && ctx.Err() == nil { // who was interrupted will want to go on
		s.Spool.Drop(c.Path)
	}
	if brought && err != nil {
		err = &sourceError{err, c.Path, c.source}
	}
	return rel, err
}

func (s *Service) copycds(ctx context.Context, c Copy, brought bool) (*Release, error) {
	m, rel, err := s.openMedium(c)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	snap := s.DB.Snapshot()
	dir := c.Dir
	if dir == "" {
		dir = filepath.Join(s.InstallDir(snap), rel.OS, rel.Arch)
	}
	if _, err := os.Stat(dir); err == nil && c.NoRepeat {
		return rel, ErrCopied
	}
	md, err := s.media(c, rel)
	if err != nil {
		return rel, err
	}
	if !c.InPlace {
		if c.Begin != nil {
			c.Begin(dir)
		}
		if md.SHA256, err = unpackBeside(ctx, m, c.Path, dir, c.Progress); err != nil {
			return rel, err
		}
	}
	if brought {
		if err := s.settle(&md, rel); err != nil {
			return rel, err
		}
	}
	old, _ := mediaOf(snap, rel.OS, rel.Arch)
	err = s.DB.Update(ctx, func(tx *nodedb.Tx) error {
		tx.Put(mediaKey(rel.OS, rel.Arch), md.attrs())
		if !c.NoImage {
			defineImages(tx, rel, dir)
		}
		return nil
	})
	if err == nil && old.Own && old.ISO != md.ISO {
		os.Remove(old.ISO)
	}
	return rel, err
}

// media is what is kept of a medium.
func (s *Service) media(c Copy, rel *Release) (Media, error) {
	path, err := filepath.Abs(c.Path)
	if err != nil {
		return Media{}, err
	}
	fi, err := os.Stat(path)
	if err != nil {
		return Media{}, err
	}
	return Media{Title: rel.Title, ISO: path, SHA256: c.sum, Size: fi.Size(), ModTime: fi.ModTime(), Taken: s.Now(), InPlace: c.InPlace, Dir: c.Dir, Source: c.source}, nil
}

// partial marks a tree that is being unpacked. What a crash leaves under such
// a name is removed by the next copycds of the same release and at start.
const partial = ".copycds-"

// unpackBeside unpacks a medium, and meanwhile sums it up: the whole of it,
// which is returned, and each file, which goes into the tree's manifest.
func unpackBeside(ctx context.Context, m MediumFile, iso, dir string, progress func(done, total int64)) (string, error) {
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(parent, partial+filepath.Base(dir)+"-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp) // the old tree, or what was unpacked so far
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sums := make(chan summed, 1)
	go func() { sums <- sumUp(ctx, m, iso) }()
	if err := m.Unpack(ctx, tmp, progress); err != nil {
		cancel()
		<-sums
		return "", err
	}
	got := <-sums
	if got.err != nil {
		return "", got.err
	}
	if err := writeSynced(filepath.Join(tmp, manifest), got.manifest); err != nil {
		return "", err
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return "", err
	}
	return got.sum, swap(tmp, dir)
}

type summed struct {
	sum      string
	manifest []byte
	err      error
}

func sumUp(ctx context.Context, m fs.FS, iso string) summed {
	var list bytes.Buffer
	err := writeManifest(ctx, m, &list)
	if err != nil {
		return summed{err: err}
	}
	s, err := sumFile(ctx, iso)
	return summed{s, list.Bytes(), err}
}

func writeSynced(name string, data []byte) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}

// swap puts tmp in dir's place in one step; what was there is in tmp then.
func swap(tmp, dir string) error {
	err := unix.Renameat2(unix.AT_FDCWD, tmp, unix.AT_FDCWD, dir, unix.RENAME_NOREPLACE)
	if errors.Is(err, fs.ErrExist) {
		err = unix.Renameat2(unix.AT_FDCWD, tmp, unix.AT_FDCWD, dir, unix.RENAME_EXCHANGE)
	}
	if err != nil {
		return fmt.Errorf("%s: cannot put the new tree in place: %w", dir, err)
	}
	return syncDir(filepath.Dir(dir))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// CleanPartial removes what killed copycds runs left below the install
// directory.
func (s *Service) CleanPartial() {
	old, _ := filepath.Glob(filepath.Join(s.InstallDir(s.DB.Snapshot()), "*", partial+"*"))
	for _, dir := range old {
		s.Log.Warn("removing a half unpacked tree", "dir", dir)
		os.RemoveAll(dir)
	}
	if s.Spool != nil {
		s.Spool.Clean(s.Now())
	}
	s.cleanImages(s.InstallDir(s.DB.Snapshot()))
}

// defineImages writes a release's osimages. One that an operator has changed
// keeps his changes.
func defineImages(tx *nodedb.Tx, rel *Release, dir string) {
	for _, spec := range rel.Images {
		name := fmt.Sprintf("%s-%s-%s-%s", rel.OS, rel.Arch, spec.Mode, spec.Profile)
		k := nodedb.Key{Kind: nodedb.KindImage, Name: name}
		old, _ := tx.Get(k)
		for col, v := range map[string]string{
			"osimage.imagetype":    "linux",
			"osimage.provmethod":   string(spec.Mode),
			"osimage.profile":      spec.Profile,
			"osimage.osname":       spec.OSName,
			"osimage.osvers":       rel.OS,
			"osimage.osarch":       rel.Arch,
			"osimage.osdistroname": rel.OS + "-" + rel.Arch,
			"linuximage.pkgdir":    dir,
		} {
			if old.Attrs[col] == "" {
				tx.Set(k, col, v)
			}
		}
	}
}
