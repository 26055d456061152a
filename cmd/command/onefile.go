package command

import (
	"io"
	"io/fs"
	"time"
)

// A oneFile is a file system of one file that is open already and stays so.
type oneFile struct {
	name string
	io.ReaderAt
	size int64
}

// Open gives the file out.
func (o oneFile) Open(name string) (fs.File, error) {
	if name != o.name {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return openOne{o, io.NewSectionReader(o, 0, o.size)}, nil
}

// An openOne is that file.
type openOne struct {
	oneFile
	r *io.SectionReader
}

func (o openOne) Read(p []byte) (int, error) { return o.r.Read(p) }
func (openOne) Close() error                 { return nil }
func (o openOne) Stat() (fs.FileInfo, error) { return oneInfo{o.oneFile}, nil }

// oneInfo says how large it is.
type oneInfo struct{ o oneFile }

func (i oneInfo) Name() string     { return i.o.name }
func (i oneInfo) Size() int64      { return i.o.size }
func (oneInfo) Mode() fs.FileMode  { return 0o444 }
func (oneInfo) ModTime() time.Time { return time.Time{} }
func (oneInfo) IsDir() bool        { return false }
func (oneInfo) Sys() any           { return nil }
