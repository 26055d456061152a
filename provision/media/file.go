package media

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// An openFile is a file of the medium being read.
type openFile struct {
	*io.SectionReader
	r io.ReaderAt // of the image
	n *node
}

func newOpenFile(r io.ReaderAt, n *node) *openFile {
	return &openFile{io.NewSectionReader(extentReader{r, n.extents}, 0, n.size), r, n}
}

// Extent tells where what begins at off lies in the image's file: n bytes from
// at on. It is nil where it lies in none: the image is none, or keeps zeros of
// which it only knows how many.
func (f *openFile) Extent(off int64) (image *os.File, at, n int64) {
	image, _ = f.r.(*os.File)
	for _, e := range f.n.extents {
		if off >= e.Len {
			off -= e.Len
			continue
		}
		if e.Off < 0 {
			return nil, 0, e.Len - off
		}
		return image, e.Off + off, e.Len - off
	}
	return nil, 0, 0
}

func (f *openFile) Stat() (fs.FileInfo, error) { return info{f.n}, nil }
func (f *openFile) Close() error               { return nil }

// An extentReader reads a file's extents as one.
type extentReader struct {
	r       io.ReaderAt
	extents []Extent
}

// ReadAt implements io.ReaderAt.
func (x extentReader) ReadAt(p []byte, off int64) (int, error) {
	done := 0
	for _, e := range x.extents {
		if off >= e.Len {
			off -= e.Len
			continue
		}
		part := p[done:min(len(p), done+int(min(e.Len-off, int64(len(p)))))]
		if e.Off < 0 {
			clear(part)
		} else if n, err := x.r.ReadAt(part, e.Off+off); n < len(part) {
			return done + n, noEOF(err)
		}
		if done += len(part); done == len(p) {
			return done, nil
		}
		off = 0
	}
	return done, io.EOF
}

// noEOF makes an end of the image inside a file an error of its own.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// An openDir is a directory being read.
type openDir struct {
	node *node
	at   int
}

func (d *openDir) Stat() (fs.FileInfo, error) { return info{d.node}, nil }
func (d *openDir) Close() error               { return nil }

// Read implements fs.File; a directory has no bytes.
func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.node.name, Err: errors.New("is a directory")}
}

// ReadDir implements fs.ReadDirFile.
func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	rest := d.node.entries()[d.at:]
	if n > 0 {
		if len(rest) == 0 {
			return nil, io.EOF
		}
		rest = rest[:min(n, len(rest))]
	}
	d.at += len(rest)
	return rest, nil
}
