// Package media reads installer media: ISO 9660 (ECMA-119) of levels 1 to 3
// with Rock Ridge or Joliet, multi-extent files, and UDF 1.02 to 2.01.
//
// An Image is an fs.FS. Names are what Linux's mount would show: Rock Ridge's
// own, else UDF's, else Joliet's, else ISO 9660's in lower case without version
// and trailing dot. The whole index is read by Open and checked against the
// image's size, so that a medium that was cut short, or made to do harm, is
// refused before anything is done with it.
package media

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// ErrFormat says that an image is not a medium that this package reads.
var ErrFormat = errors.New("not a readable ISO 9660 or UDF image")

// ErrCut says that an image ends before its files do.
var ErrCut = errors.New("image is cut short")

// An Image is a medium. It may be used by several goroutines at once.
type Image struct {
	Format string // which tree is shown: "rockridge", "joliet", "iso9660", "udf"
	Volume string // the medium's label

	path string // empty unless opened by name
	r    io.ReaderAt
	c    io.Closer
	size int64
	root *node
}

// An Extent is where part of a file lies in the image. Off is -1 where the
// image keeps nothing: Len zeros.
type Extent struct{ Off, Len int64 }

// Open reads the index of the image file or device at path. Close it.
func Open(path string) (*Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	im, err := fromFile(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	im.path, im.c = path, f
	return im, nil
}

func fromFile(f *os.File) (*Image, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if fi.IsDir() {
		return nil, fmt.Errorf("is a directory: %w", ErrFormat)
	}
	size, err := f.Seek(0, io.SeekEnd) // also right for block devices
	if err != nil {
		return nil, err
	}
	return New(f, size)
}

// New reads the index of an image of size bytes that r holds. Close does
// nothing to r.
func New(r io.ReaderAt, size int64) (*Image, error) {
	im := &Image{r: r, size: size}
	s := &scan{r: r, size: size}
	if err := s.open(im); err != nil {
		return nil, err
	}
	return im, nil
}

// Close closes the file that Open opened. Files of the image cannot be read
// after it.
func (im *Image) Close() error {
	if im.c == nil {
		return nil
	}
	return im.c.Close()
}

// Size is the image's size in bytes.
func (im *Image) Size() int64 { return im.size }

// Open implements fs.FS. The file is also an io.Seeker and io.ReaderAt; a
// directory is an fs.ReadDirFile. Symbolic links are followed inside the
// medium.
func (im *Image) Open(name string) (fs.File, error) {
	n, err := im.follow("open", name)
	if err != nil {
		return nil, err
	}
	if n.mode.IsDir() {
		return &openDir{node: n}, nil
	}
	return newOpenFile(im.r, n), nil
}

// Stat implements fs.StatFS; it follows symbolic links.
func (im *Image) Stat(name string) (fs.FileInfo, error) {
	n, err := im.follow("stat", name)
	if err != nil {
		return nil, err
	}
	return info{n}, nil
}

// Lstat implements fs.ReadLinkFS: as Stat, but a link is itself.
func (im *Image) Lstat(name string) (fs.FileInfo, error) {
	n, err := im.lookup("lstat", name)
	if err != nil {
		return nil, err
	}
	return info{n}, nil
}

// ReadLink implements fs.ReadLinkFS.
func (im *Image) ReadLink(name string) (string, error) {
	n, err := im.lookup("readlink", name)
	if err != nil {
		return "", err
	}
	if n.mode&fs.ModeSymlink == 0 {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	return n.link, nil
}

// ReadDir implements fs.ReadDirFS: the entries sorted by name.
func (im *Image) ReadDir(name string) ([]fs.DirEntry, error) {
	n, err := im.follow("readdir", name)
	if err != nil {
		return nil, err
	}
	if !n.mode.IsDir() {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("not a directory")}
	}
	return n.entries(), nil
}

// Extents says where a file's bytes lie in the image, in order; their lengths
// add up to its size. By it a file can be sent straight from the image.
func (im *Image) Extents(name string) ([]Extent, error) {
	n, err := im.follow("extents", name)
	if err != nil {
		return nil, err
	}
	if n.mode.IsDir() {
		return nil, &fs.PathError{Op: "extents", Path: name, Err: errors.New("is a directory")}
	}
	return append([]Extent(nil), n.extents...), nil
}
